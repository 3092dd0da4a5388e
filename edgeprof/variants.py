"""Variants of a model, built and measured on a board, so that recipes can be estimated there (`edgeprof.whatif`).

What is measured, besides the model as it is:

1. the whole model at each precision;
2. the whole model at each of a few widths, float, and at the narrowest also at each precision;
3. mixtures drawn at random: about half of the layers at another precision, widths drawn anew for every group of layers. They show what
   changes of format cost, and are what the error bar of an estimate comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeprof.errors import BoardBusy, BoardError, BoardLost, BoardUnreachable, RecipeError
from edgeprof.models.graph import Graph
from edgeprof.recipes.plan import follow, prunable_groups, quantizable
from edgeprof.recipes.recipe import Decision, Precision, Recipe
from edgeprof.records.profile import Profile
from edgeprof.workshop import Workshop

Told = Callable[[str, int, int], None]
WIDTHS = (0.25, 0.5)
MIXED = 12


@dataclass(frozen=True, eq=False)
class Variants:
    """What was measured of a model and its variants on one board. ``failed``: recipes that could not be built or run, and why."""

    base: Profile
    profiles: tuple[Profile, ...]
    failed: tuple[tuple[Recipe, str], ...] = ()

    def __repr__(self) -> str:
        return f"<Variants of {self.base.title}: {len(self.profiles)} measured, {len(self.failed)} failed>"


def designs(
    graph: Graph,
    *,
    precisions: Sequence[Precision] = ("int8",),
    widths: Sequence[float] = WIDTHS,
    mixed: int = MIXED,
    seed: int = 0,
) -> list[Recipe]:
    """The recipes of the variants to measure; see the module. Fewer where nothing can be pruned or quantized."""
    can = quantizable(graph)
    groups = prunable_groups(graph)
    found = []
    if can:
        found += [Recipe((Decision(pattern="*", precision=p),), name=f"all {p}") for p in precisions]
    if groups:
        found += [Recipe(_widths(groups, dict.fromkeys(range(len(groups)), w)), name=f"pruned {w:.0%}") for w in widths]
        narrowest = max(widths, default=0.0)
        if can and narrowest:
            pruned = _widths(groups, dict.fromkeys(range(len(groups)), narrowest))
            found += [Recipe((Decision(pattern="*", precision=p), *pruned), name=f"all {p}, pruned {narrowest:.0%}") for p in precisions]
    rng = np.random.default_rng(seed)
    drawn = range(1, (mixed if (can and precisions) or groups else 0) + 1)
    return found + [random_recipe(graph, rng, precisions=precisions, widths=(0.0, *widths), name=f"mixture {n}") for n in drawn]


def random_recipe(
    graph: Graph,
    rng: np.random.Generator,
    *,
    precisions: Sequence[Precision] = ("int8",),
    widths: Sequence[float] = (0.0, *WIDTHS),
    name: str = "",
) -> Recipe:
    """A recipe drawn at random: layers float or at one of ``precisions``, each group of layers pruned by one of ``widths``."""
    decisions: list[Decision] = []
    part = rng.uniform(0.25, 0.75)
    chosen = [layer for layer in quantizable(graph) if rng.random() < part]
    drawn = {layer: precisions[int(rng.integers(len(precisions)))] for layer in chosen} if precisions else {}
    decisions += [Decision(layer=layer, precision=precision) for layer, precision in follow(graph, drawn).items()]
    groups = prunable_groups(graph)
    ratios = {number: float(widths[int(rng.integers(len(widths)))]) for number in range(len(groups))} if widths else {}
    decisions += _widths(groups, ratios)
    return Recipe(tuple(decisions), name=name) if decisions else Recipe(name=name)


def _widths(groups: Sequence[str], ratios: Mapping[int, float]) -> tuple[Decision, ...]:
    """A decision for each group, by the layer that stands for it, that loses channels."""
    return tuple(Decision(layer=layer, prune=ratios[number]) for number, layer in enumerate(groups) if ratios.get(number))


def measure_variants(
    shop: Workshop,
    recipes: Sequence[Recipe] | None = None,
    *,
    precisions: Sequence[Precision] = ("int8",),
    widths: Sequence[float] = WIDTHS,
    mixed: int = MIXED,
    seed: int = 0,
    score: bool = False,
    told: Told | None = None,
) -> Variants:
    """Builds variants of the workshop's model and measures them and the model on its board.

    Args:
        shop: where they are built and measured; what its study has already is neither built nor measured again.
        recipes: what to measure; None is `designs` with the options that follow.
        precisions: those that estimates will need.
        widths: parts of the channels that go, of every group at once; the more, the better curves over widths.
        mixed: how many mixtures; the error bar of estimates comes from them.
        seed: for the mixtures.
        score: whether to score each too; otherwise pruned ones are not mended, which their time does not show.
        told: hears of progress.

    Raises:
        EdgeprofError: the model itself cannot be measured, or the data does not fit. A variant that fails is listed in ``failed``.
    """
    base = shop.base(told=told)
    wanted = designs(shop.graph, precisions=precisions, widths=widths, mixed=mixed, seed=seed) if recipes is None else list(recipes)
    found, failed = [], []
    for number, recipe in enumerate(wanted):
        if told is not None:
            told(recipe.name or f"recipe {number + 1}", number, len(wanted))
        try:
            found.append(shop.measure(recipe, score=score, mend=score))
        except (RecipeError, BoardError) as error:
            if isinstance(error, BoardUnreachable | BoardLost | BoardBusy):
                raise
            failed.append((recipe, str(error)))
    return Variants(base, tuple(found), tuple(failed))
