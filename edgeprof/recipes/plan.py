"""What a recipe will make of each layer, without building anything: for estimates, which must be quick.

It follows the steps of `apply`: what they would refuse or leave out is left out here too (``tests/recipes/test_plan.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeprof.models.graph import Graph
from edgeprof.recipes.recipe import Choice, Precision, Recipe, choices
from edgeprof.recipes.target import Target


@dataclass(frozen=True, eq=False)
class Plan:
    """``precision``: of each layer that does not stay as it is. ``graph``: the model with its widths after pruning, types as before."""

    precision: Mapping[str, Precision]
    graph: Graph


def plan(recipe: Recipe, graph: Graph, target: Target) -> Plan:
    """What ``recipe`` will make of ``graph``. RecipeError where `apply` would refuse it for what the graph alone tells."""
    found = choices(recipe, graph)
    return Plan(_precisions(found, graph), _shrunk(found, graph, target))


def _precisions(found: Mapping[str, Choice], graph: Graph) -> dict[str, Precision]:
    return {name: choice.precision for name, choice in found.items() if choice.precision not in (None, "fp32")}


def _shrunk(found: Mapping[str, Choice], graph: Graph, target: Target) -> Graph:
    return graph


def quantizable(graph: Graph) -> tuple[str, ...]:
    """Layers with weights that int8 has kernels for, in the model's order: those whose precision is worth a decision."""
    return tuple(layer.name for layer in graph.layers if layer.parent is None and layer.op_type in ("Conv", "Gemm", "MatMul"))


def prunable_groups(graph: Graph) -> tuple[str, ...]:
    """A layer for each group that can lose channels."""
    return ()
