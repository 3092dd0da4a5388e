"""Row 7: how near are estimates to what is measured afterwards?

For each of two architectures (MobileNetV2 with residuals, SqueezeNet with concatenations) 20 random recipes are drawn first, from a seed
of their own: precision of each layer, width of each group. Then variants are measured and fitted, all recipes are estimated, and only then
built and measured. Nothing of the 20 is used for the estimates. The model itself is measured again at the end: how far it is then from
where it was says how far measurements themselves agree here.

    python benchmarks/bench_whatif.py [STUDY]      STUDY keeps models and profiles; what is there is not measured again
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import LIGHT, SAMPLES, machine

import edgeprof as ep
from edgeprof.models import load_model
from edgeprof.variants import measure_variants, random_recipe
from edgeprof.whatif import Costs, estimate, fit
from edgeprof.workshop import Workshop

RECIPES, SEED, RUNS = 20, 20261129, 200
MODELS = {
    "mobilenetv2_clutter (residuals)": (SAMPLES / "mobilenetv2_clutter.onnx", SAMPLES / "held_out_clutter.toml"),
    "squeezenet (concatenations)": (LIGHT / "light_squeezenet.onnx", None),
}


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as made:
        root = Path(sys.argv[1] if len(sys.argv) > 1 else made)
        errors = [error for name, (path, data) in MODELS.items() for error in architecture(name, path, data, root)]
    print(f"row 7: all {len(errors)} recipes: {spread(errors)} (reach: median 5 %, p90 10 %)")


def architecture(name: str, path: Path, data: Path | None, root: Path) -> list[float]:
    """Relative errors of the estimates; one line of them, then the worst."""
    samples = data if data is not None else some_samples(path)
    with Workshop(path, data=samples, study=root / path.stem, runs=RUNS, memory=False) as shop:
        rng = np.random.default_rng(SEED)
        recipes = [random_recipe(shop.graph, rng, name=f"recipe {number + 1}") for number in range(RECIPES)]
        variants = measure_variants(shop, mixed=8)
        costs = fit(variants.base, variants.profiles, target=shop.target)
        guesses = [estimate(costs, recipe) for recipe in recipes]
        measured = [shop.measure(recipe, score=False, mend=False) for recipe in recipes]
        before = variants.base.context.latency.median_ms
        again = ep.profile(path, runs=RUNS, memory=False, progress=False).context.latency.median_ms
    pairs = [(g.context.latency.median_ms, m.context.latency.median_ms) for g, m in zip(guesses, measured, strict=True)]
    errors = [guess / truth - 1 for guess, truth in pairs]
    print(f"row 7: {name}: {before:.3f} ms, {len(variants.profiles)} variants, {len(costs.units)} units; {spread(errors)};")
    print(f"       its own error bar {costs.error:.1%} (95 %); the model itself measured again at the end: {again / before - 1:+.1%}")
    inside = sum(g.context.latency.low_ms <= truth <= g.context.latency.high_ms for g, (_, truth) in zip(guesses, pairs, strict=True))
    print(f"       {inside} of {len(pairs)} measurements lie within the estimate's interval; worst misses:")
    for position in sorted(range(len(errors)), key=lambda i: -abs(errors[i]))[:4]:
        print(
            f"       {recipes[position].name}: estimated {pairs[position][0]:.3f} ms, measured {pairs[position][1]:.3f} ms"
            f" ({errors[position]:+.1%}); {why(costs, recipes[position], measured[position])}"
        )
    return errors


def why(costs: Costs, recipe: object, measured: ep.Profile) -> str:
    """Where a miss comes from: layers or changes of format, and the layer that was missed most."""
    own = fit(costs.base, [replace(measured)], target=costs.target)
    from edgeprof.recipes.plan import plan

    predicted = costs.predict(plan(recipe, costs.graph, costs.target))
    truth = own.variants[1]
    at = {unit.nodes: time for unit, time in zip(own.units, truth.time_ms, strict=True)}
    missed = {unit.leader: time - at[unit.nodes] for unit, time in zip(costs.units, predicted.time_ms, strict=True) if unit.nodes in at}
    worst = max(missed, key=lambda leader: abs(missed[leader]), default="")
    layers = float(np.nansum(predicted.time_ms) - np.nansum(truth.time_ms))
    return (
        f"layers {layers * 1e3:+.0f} us, changes of format {(predicted.boundary_ms - truth.boundary_ms) * 1e3:+.0f} us,"
        f" most of all {worst} {missed.get(worst, 0) * 1e3:+.0f} us"
    )


def some_samples(path: Path) -> dict[str, np.ndarray]:
    """Random samples: for times they do as well as any."""
    rng = np.random.default_rng(0)
    return {t.name: rng.standard_normal((8, *t.shape[1:])).astype(np.float32) for t in load_model(path).inputs}


def spread(errors: list[float]) -> str:
    values = np.abs(errors)
    return f"median error {np.median(values):.1%}, p90 {np.quantile(values, 0.9):.1%}, worst {values.max():.1%}"


if __name__ == "__main__":
    main()
