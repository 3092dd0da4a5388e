"""What a layer costs by the model alone: MACs, parameters, bytes of weights and of activations.

**MACs** are the multiply-accumulates of contractions: operators whose definition sums products of two operands (convolutions,
matrix products, recurrent cells, attention). Elementwise arithmetic, activations, normalizations, pooling, reductions, interpolation and
moving of data have none, by this convention; `operators` names the class of every operator. A MAC where the second operand is
padding or a masked position counts like any other, and a bias adds none. NaN means that the number is not defined or a size is
not known; `uncounted` lists such operators.

**Parameters** are the elements of stored tensors (initializers, Constant nodes) that the layer reads, without integers of 64 bits,
booleans and strings, which are shapes, indices and switches. **param_bytes** are the bytes of all stored tensors that it reads.
**activation_bytes** are the bytes of all other tensors that it reads, and of those that it makes, each once.
See ``docs/costs.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from edgeprof.models.graph import Graph, Layer
from edgeprof.models.macs import FORMULAS
from edgeprof.models.operators import CONTROL_FLOW, ONLY_THE_SHAPE, has_no_macs

_NOT_WEIGHTS = frozenset({"int64", "uint64", "bool", "string"})


@dataclass(frozen=True)
class Cost:
    """What one layer, or several, cost. Not known is NaN."""

    macs: float
    params: float
    param_bytes: float
    activation_bytes: float


def layer_cost(layer: Layer, graph: Graph) -> Cost:
    """Cost of one layer. For all layers use `graph_costs`, which reads the graph once."""
    return _Counter(graph).cost([layer])


def graph_costs(graph: Graph) -> dict[str, Cost]:
    """Cost of each layer by its name, nested ones included (one pass of their body)."""
    counter = _Counter(graph)
    return {layer.name: counter.cost([layer]) for layer in graph.layers}


def group_cost(layers: Iterable[Layer], graph: Graph) -> Cost:
    """Cost of layers that run as one (fused): tensors that only pass between them are not activations."""
    return _Counter(graph).cost(list(layers))


def group_costs(groups: Iterable[Iterable[Layer]], graph: Graph) -> list[Cost]:
    """`group_cost` of each group; the graph is read once."""
    counter = _Counter(graph)
    return [counter.cost(list(group)) for group in groups]


def total_cost(graph: Graph) -> Cost:
    """Cost of the model: the counted MACs (see `uncounted` for what is missing), each weight once, inputs and outputs of every layer."""
    costs = graph_costs(graph).values()
    counter = _Counter(graph)
    stored = counter.weights({name for layer in graph.layers for name in layer.inputs})
    return Cost(
        _sum(cost.macs for cost in costs if not math.isnan(cost.macs)),
        counter.params(stored),
        _sum(graph.tensor(name).nbytes for name in stored),
        _sum(cost.activation_bytes for cost in costs),
    )


def weight_bytes(graph: Graph) -> float:
    """``param_bytes`` of `total_cost`, without counting the rest."""
    return _sum(graph.tensor(name).nbytes for name in _Counter(graph).weights({name for layer in graph.layers for name in layer.inputs}))


def uncounted(graph: Graph) -> tuple[str, ...]:
    """Operators, sorted, of layers whose MACs are NaN: not defined for them, or a size is not known."""
    counter = _Counter(graph)
    return tuple(sorted({layer.op_type for layer in graph.layers if math.isnan(counter.macs(layer))}))


class _Counter:
    """What must be known of the whole graph to count one layer."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        made_by_constants = {name for layer in graph.layers if layer.op_type == "Constant" for name in layer.outputs}
        self.stored = graph.initializers | made_by_constants
        self.functions = {layer.parent for layer in graph.layers if layer.parent is not None}
        self.readers: dict[str, set[str]] = {}
        for layer in graph.layers:
            for name in layer.inputs:
                self.readers.setdefault(name, set()).add(layer.name)
        self.outputs = {output.name for output in graph.outputs}

    def cost(self, layers: list[Layer]) -> Cost:
        weights = self.weights({name for layer in layers for name in layer.inputs})
        activations = self.activations(layers)
        return Cost(
            _sum(self.macs(layer) for layer in layers),
            self.params(weights),
            _sum(self.graph.tensor(name).nbytes for name in weights),
            _sum(self.graph.tensor(name).nbytes for name in activations),
        )

    def macs(self, layer: Layer) -> float:
        if (layer.domain, layer.op_type) in CONTROL_FLOW:
            return math.nan
        if layer.name in self.functions:  # a call of a model-local function: its rows have all the work
            return 0.0
        formula = FORMULAS.get((layer.domain, layer.op_type))
        if formula is not None:
            return formula(layer, self.graph)
        return 0.0 if has_no_macs(layer.domain, layer.op_type) else math.nan

    def weights(self, names: Iterable[str]) -> list[str]:
        return sorted(set(names) & self.stored)

    def params(self, weights: Iterable[str]) -> float:
        return _sum(tensor.elements for tensor in map(self.graph.tensor, weights) if tensor.dtype not in _NOT_WEIGHTS)

    def activations(self, layers: list[Layer]) -> set[str]:
        names = {layer.name for layer in layers}
        made = {name for layer in layers if layer.op_type != "Constant" for name in layer.outputs if self._is_used(name)}
        inner = {name for name in made if self._only_read_by(names, name)}
        read = {
            name
            for layer in layers
            for name in layer.inputs
            if name and name not in self.stored and (layer.domain, layer.op_type) not in ONLY_THE_SHAPE
        }
        return (read | made) - inner - self.stored

    def _only_read_by(self, names: set[str], tensor: str) -> bool:
        readers = self.readers.get(tensor, set())
        return bool(readers) and readers <= names and tensor not in self.outputs

    def _is_used(self, tensor: str) -> bool:
        """False for an output that nobody reads and whose size nobody knows, such as the mask of an old Dropout."""
        return bool(tensor) and (tensor in self.readers or tensor in self.outputs or not math.isnan(self.graph.tensor(tensor).nbytes))


def _sum(values: Iterable[float]) -> float:
    return float(sum(values))
