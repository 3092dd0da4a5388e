"""Row 7: how near are estimates to what is measured afterwards?

For each of two architectures (MobileNetV2 with residuals, SqueezeNet with concatenations) 20 random recipes are drawn first, from a seed
of their own: precision of each layer, width of each group. Then variants are measured and fitted, all recipes are estimated, and only then
built and measured: three times, the variants in turn with them, the middle of which counts. Nothing of the 20 is used for the estimates.

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
from edgeprof.recipes.plan import plan
from edgeprof.recipes.recipe import Recipe, recipe_text
from edgeprof.variants import measure_variants, random_recipe
from edgeprof.whatif import Costs, estimate, fit
from edgeprof.workshop import Workshop

RECIPES, SEED, RUNS, ROUNDS = 20, 20261129, 100, 3
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
    graph = load_model(path)
    rng = np.random.default_rng(SEED)
    recipes = [random_recipe(graph, rng, name=f"recipe {number + 1}") for number in range(RECIPES)]
    variants, bases, measured = [], [], []
    for turn in range(ROUNDS):  # variants and recipes in turn: what changes on the machine meanwhile is the same for both
        with Workshop(path, data=samples, study=root / path.stem, runs=RUNS, memory=False, seed=turn) as shop:
            found = measure_variants(shop)
            bases.append(found.base)
            variants += found.profiles
            measured.append([shop.measure(recipe, score=False, mend=False) for recipe in recipes])
            target = shop.target
    again = [as_variant(base) for base in bases[1:]]
    costs = fit(bases[0], [*variants, *again], target=target)
    guesses = [estimate(costs, recipe) for recipe in recipes]
    truths = [float(np.median([turn[at].context.latency.median_ms for turn in measured])) for at in range(RECIPES)]
    errors = [guess.context.latency.median_ms / truth - 1 for guess, truth in zip(guesses, truths, strict=True)]
    whole = [base.context.latency.median_ms for base in bases]
    print(f"row 7: {name}: {np.median(whole):.3f} ms, {len(variants) // ROUNDS} variants, {len(costs.units)} units; {spread(errors)};")
    repeats = [turn[at].context.latency.median_ms / truths[at] - 1 for at in range(RECIPES) for turn in measured]
    print(f"       the error bar of an estimate {costs.error:.1%} (95 %); measurements of one recipe among themselves: {spread(repeats)}")
    inside = sum(
        guess.context.latency.low_ms <= truth <= guess.context.latency.high_ms for guess, truth in zip(guesses, truths, strict=True)
    )
    print(f"       {inside} of {RECIPES} measurements lie within the estimate's interval; worst misses:")
    for at in sorted(range(RECIPES), key=lambda i: -abs(errors[i]))[:4]:
        guess = guesses[at].context.latency.median_ms
        told = f"estimated {guess:.3f} ms, measured {truths[at]:.3f} ms ({errors[at]:+.1%})"
        print(f"       {recipes[at].name}: {told}; {why(costs, recipes[at], measured[0][at])}")
    return errors


def as_variant(base: ep.Profile) -> ep.Profile:
    """The model measured another time, as the variant that changes nothing."""
    return replace(base, parent=base.context.model_sha256, context=replace(base.context, recipe=recipe_text(Recipe())))


def why(costs: Costs, recipe: object, measured: ep.Profile) -> str:
    """Where a miss comes from: layers or changes of format, and the layer that was missed most."""
    own = fit(costs.base, [measured], target=costs.target)
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
