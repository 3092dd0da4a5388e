"""Row 12 and the table of decisions: each trained sample model as it is, with the best manual recipe and with the best searched.

128 of the held-out images calibrate; scores are from all others, and a loss is that of pairs, the same image before and after. Manual
recipes are: all layers int8; all but those that `ep.sensitivity` names for a loss of half a point; all int8 with a quarter of the
channels gone. The best is the fastest that loses at most a point. The search has the same limit.

    python benchmarks/decisions.py [STUDY] [NAME ...]      STUDY keeps everything; names of sample models, all four unless said
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from common import SAMPLES, machine

import edgeprof as ep
from edgeprof.errors import RecipeError
from edgeprof.recipes.build import prune_recipe, quantize_recipe
from edgeprof.recipes.recipe import Recipe
from edgeprof.scoring import Drop, drop
from edgeprof.searching import Constraints
from edgeprof.workshop import Workshop

MODELS = {
    "resnet8_mnist": "held_out_digits.toml",
    "dscnn_mnist": "held_out_digits.toml",
    "mobilenetv2_clutter": "held_out_clutter.toml",
    "vit_clutter": "held_out_clutter.toml",
}
MOST_LOSS = 0.01
RUNS = 200


@dataclass(frozen=True)
class Row:
    """A recipe that was measured and scored."""

    what: str
    name: str
    profile: ep.Profile
    loss: Drop | None

    def __str__(self) -> str:
        context = self.profile.context
        latency = context.latency
        lost = "" if self.loss is None else f", loss {points(self.loss)}"
        return (
            f"{self.what} ({self.name}): top1 {context.scores['top1']['value']:.2%}{lost}, {latency.median_ms:.3f} ms"
            f" ({latency.low_ms:.3f} to {latency.high_ms:.3f}), {context.model_bytes / 1e6:.3f} MB,"
            f" peak memory {context.memory.peak_bytes / 1e3:,.0f} kB"
        )


def points(loss: Drop) -> str:
    return f"{loss.value * 100:+.2f} points ({loss.low * 100:+.2f} to {loss.high * 100:+.2f})"


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as made:
        root = Path(sys.argv[1] if len(sys.argv) > 1 else made)
        for name in sys.argv[2:] or MODELS:
            decide(name, root)


def decide(name: str, root: Path) -> None:
    began = time.monotonic()
    with Workshop(SAMPLES / f"{name}.onnx", data=SAMPLES / MODELS[name], study=root / name, runs=RUNS) as shop:
        base = shop.base()
        print(f"{name}: {Row('as it is', 'float', base, None)}")
        rows = [row for recipe in manual(shop) if (row := tried(shop, "best manual", recipe)) is not None]
        print(f"{name}: {fastest(rows) or 'no manual recipe keeps to a point'}")
        found = ep.search(shop, constraints=Constraints(loss=MOST_LOSS), trials=300, build=6)
        built = [one for one in found.candidates if one.profile is not None]
        searched = [row for one in built if (row := tried(shop, "best searched", one.recipe)) is not None]
        print(f"{name}: {fastest(searched) or 'no searched recipe keeps to a point'}")
        latency = ", ".join(f"{one.gap('latency_ms'):+.1%}" for one in built)
        loss = ", ".join(f"{one.gap('loss') * 100:+.2f}" for one in built)
        print(f"{name}: estimate against measurement of the {len(built)} built: latency {latency}; loss {loss} points")
        if name == "mobilenetv2_clutter":
            int8 = next(row for row in rows if row.name == "all int8")
            speed = base.context.latency.median_ms / int8.profile.context.latency.median_ms
            print(f"row 12: int8 of {name}: {speed:.2f} x as fast, loss {points(int8.loss)} (reach 1.6 x, 1 point)")
    print(f"{name}: {time.monotonic() - began:.0f} s in all", flush=True)


def manual(shop: Workshop) -> list[Recipe]:
    """What a person would try first."""
    careful = ep.sensitivity(shop, modes="only", progress=False).recipe(0.005)
    narrow = prune_recipe(0.25, graph=shop.graph).decisions
    return [
        Recipe(quantize_recipe().decisions, name="all int8"),
        Recipe(careful.decisions, careful.quantization, name=careful.name),
        Recipe((*quantize_recipe().decisions, *narrow), name="all int8, a quarter pruned"),
    ]


def tried(shop: Workshop, what: str, recipe: Recipe) -> Row | None:
    try:
        profile = shop.measure(recipe)
        return Row(what, recipe.name, profile, drop(shop.base_score, shop.score(recipe)))
    except RecipeError as error:
        print(f"{shop.graph.name}: {recipe.name}: {error}")
        return None


def fastest(rows: list[Row]) -> Row | None:
    """The fastest that loses at most a point."""
    kept = [row for row in rows if row.loss is not None and row.loss.value <= MOST_LOSS]
    return min(kept, key=lambda row: row.profile.context.latency.median_ms, default=None)


if __name__ == "__main__":
    main()
