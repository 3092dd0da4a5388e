"""The recipes that a search may try: a precision for each layer with weights, a width for each group of layers that can be pruned.

Layers without weights follow: one becomes 8-bit where all that it reads is 8-bit, else it stays float, since a change of format costs
more than it brings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeprof.models.graph import Graph
from edgeprof.recipes.plan import follow, prunable_groups, quantizable
from edgeprof.recipes.recipe import FLOAT, Decision, Precision, Recipe

Params = Mapping[str, str | float]


@dataclass(frozen=True, eq=False)
class Space:
    """Variables by name: ``precision LAYER`` and ``prune LAYER``, each with its choices, the first of which changes nothing."""

    graph: Graph
    variables: Mapping[str, tuple[str | float, ...]]

    def recipe(self, params: Params, name: str = "") -> Recipe:
        """The recipe that ``params`` stand for: decisions by layer, in the model's order."""
        chosen: dict[str, Precision] = {}
        pruned: dict[str, float] = {}
        for variable, value in params.items():
            kind, _, layer = variable.partition(" ")
            if kind == "precision" and value != FLOAT:
                chosen[layer] = value  # type: ignore[assignment]
            elif kind == "prune" and value:
                pruned[layer] = float(value)
        every = follow(self.graph, chosen)
        decisions = [
            Decision(layer=layer.name, precision=every.get(layer.name), prune=pruned.get(layer.name))
            for layer in self.graph.layers
            if layer.name in every or layer.name in pruned
        ]
        return Recipe(tuple(decisions), name=name)

    def unchanged(self) -> dict[str, str | float]:
        """The params that change nothing."""
        return {name: choices[0] for name, choices in self.variables.items()}

    def uniform(self, precision: str = FLOAT, prune: float = 0.0) -> dict[str, str | float]:
        """Every layer at ``precision``, every group pruned by ``prune``, where it has such a choice."""
        wanted: dict[str, str | float] = {"precision": precision, "prune": prune}
        return {
            name: wanted[name.partition(" ")[0]] if wanted[name.partition(" ")[0]] in choices else choices[0]
            for name, choices in self.variables.items()
        }


def make_space(graph: Graph, precisions: Sequence[Precision], widths: Sequence[float]) -> Space:
    """All that may be decided of ``graph``."""
    variables: dict[str, tuple[str | float, ...]] = {}
    if precisions:
        variables |= {f"precision {layer}": (FLOAT, *precisions) for layer in quantizable(graph)}
    if widths:
        variables |= {f"prune {layer}": (0.0, *sorted(widths)) for layer in prunable_groups(graph)}
    return Space(graph, variables)
