"""What a recipe will make of each layer, without building anything: for estimates, which must be quick.

It follows the steps of `apply`: what they would refuse or leave out is left out here too (``tests/recipes/test_plan.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from edgeprof.models.cost import Cost, graph_costs
from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.recipes.kernels import ACTIVATIONS, COMPUTING, PASSING
from edgeprof.recipes.pruning.groups import Coupling, couple
from edgeprof.recipes.pruning.widths import width, wishes
from edgeprof.recipes.recipe import FLOAT, Choice, Precision, Recipe, choices
from edgeprof.recipes.target import Target

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True, eq=False)
class Plan:
    """``precision``: of each layer that does not stay as it is. ``graph``: the model with its widths after pruning, types as before."""

    precision: Mapping[str, Precision]
    graph: Graph

    @cached_property
    def costs(self) -> dict[str, Cost]:
        """What each layer costs at its new widths, in float32."""
        return _costs(_ByIdentity(self.graph))


def plan(recipe: Recipe, graph: Graph, target: Target) -> Plan:
    """What ``recipe`` will make of ``graph``. RecipeError where `apply` would refuse it for what the graph alone tells."""
    found = choices(recipe, graph)
    return Plan(_precisions(found, graph), _shrunk(found, graph, target))


def quantizable(graph: Graph) -> tuple[str, ...]:
    """Layers with weights that can be 8-bit, in the model's order: those whose precision is worth a decision of its own."""
    return tuple(layer.name for layer in graph.layers if layer.op_type in WEIGHTED and _can_be_int8(layer, graph))


def prunable_groups(graph: Graph) -> tuple[str, ...]:
    """The layer that stands for each group whose channels can go, in the model's order."""
    return tuple(group.name for group in _coupling(graph).groups if not group.reason)


def follow(graph: Graph, chosen: Mapping[str, Precision]) -> dict[str, Precision]:
    """``chosen``, and ``int8`` for each layer without weights that reads nothing but what 8-bit layers make."""
    made: dict[str, bool] = {}  # tensor -> is 8-bit
    found: dict[str, Precision] = dict(chosen)
    for layer in graph.layers:
        if layer.parent is not None:
            continue
        if layer.name not in found and layer.op_type not in WEIGHTED and _can_be_int8(layer, graph):
            data = [name for name in layer.inputs if name and name not in _coupling(graph).flow.constants]
            if data and all(made.get(name, False) for name in data):
                found[layer.name] = "int8"
        made.update(dict.fromkeys(layer.outputs, found.get(layer.name) == "int8"))
    return found


def _precisions(found: Mapping[str, Choice], graph: Graph) -> dict[str, Precision]:
    layers = {layer.name: layer for layer in graph.layers}
    made: dict[str, Precision] = {}
    for name, choice in found.items():
        if choice.precision in (None, FLOAT) or (choice.precision == "int8" and not _can_be_int8(layers[name], graph)):
            continue
        made[name] = choice.precision
    return made


def _can_be_int8(layer: Layer, graph: Graph) -> bool:
    if layer.parent is not None or layer.domain not in ("", "ai.onnx") or layer.op_type not in COMPUTING | PASSING | ACTIVATIONS:
        return False
    if layer.op_type in ("Conv", "Gemm"):
        return all(name in _coupling(graph).flow.constants for name in layer.inputs[1:] if name)
    return all(graph.tensor(name).dtype in ("float32", "") for name in layer.outputs[:1])


def _shrunk(found: Mapping[str, Choice], graph: Graph, target: Target) -> Graph:
    """The graph with fewer channels. Which of them go does not matter here, only how many."""
    if not any(choice.is_pruned for choice in found.values()):
        return graph
    coupling = _coupling(graph)
    reasons = {group.name: group.reason for group in coupling.groups}
    gone: set[int] = set()
    for name, wish in wishes(coupling, found).items():
        if not wish.is_whole and not reasons[name]:
            for block in coupling.blocks[name]:
                stay = width(coupling, block, wish, target.channel_multiple).stay
                gone.update(block.units[stay:])
    if not gone:
        return graph
    flow, table = coupling.flow, np.array(sorted(gone))
    tensors = dict(graph.tensors)

    def left(ids: NDArray[np.int64]) -> int:
        return int((~np.isin(flow.labels.roots(ids), table)).sum())

    for name, axes in flow.axes.items():
        for axis, ids in enumerate(axes):
            if ids is not None:
                _resize(tensors, name, axis, left(ids))
    inputs = {layer.name: layer.inputs for layer in graph.layers}
    for edit in flow.sliced:
        _resize(tensors, inputs[edit.layer][edit.input], edit.axis, left(edit.ids))
    return replace(graph, tensors=tensors, layers=tuple(_regrouped(layer, graph, tensors) for layer in graph.layers))


def _resize(tensors: dict[str, TensorInfo], name: str, axis: int, size: int) -> None:
    info = tensors.get(name)
    if info is not None and info.shape is not None and -len(info.shape) <= axis < len(info.shape):
        shape = list(info.shape)
        shape[axis] = size
        tensors[name] = replace(info, shape=tuple(shape))


def _regrouped(layer: Layer, graph: Graph, tensors: Mapping[str, TensorInfo]) -> Layer:
    """A depthwise convolution has as many groups as channels."""
    count = layer.attributes.get("group")
    if layer.op_type not in ("Conv", "ConvTranspose") or not isinstance(count, int) or count <= 1:
        return layer
    before, after = graph.tensor(layer.inputs[0]).shape, tensors.get(layer.inputs[0], TensorInfo("")).shape
    if before is None or after is None or before[1] != count or not isinstance(after[1], int):
        return layer
    return replace(layer, attributes={**layer.attributes, "group": after[1]})


@lru_cache(maxsize=8)
def _coupled(graph: _ByIdentity) -> Coupling:
    return couple(graph.graph)


def _coupling(graph: Graph) -> Coupling:
    return _coupled(_ByIdentity(graph))


@lru_cache(maxsize=8)
def _costs(graph: _ByIdentity) -> dict[str, Cost]:
    return graph_costs(graph.graph)


class _ByIdentity:
    """A graph as a key of a cache: the same object is the same graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and other.graph is self.graph

    def __hash__(self) -> int:
        return id(self.graph)
