"""Which rows a layer table has, and which events of a trace belong to each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeprof.models.cost import Cost, group_costs
from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.models.identity import match
from edgeprof.models.optypes import core_types
from edgeprof.records.attribution import attribute, attribute_directly, node_fates
from edgeprof.records.profile import NodeFate
from edgeprof.records.schema import Kind
from edgeprof.records.trace import Block, EventKind

_QUANTIZED = frozenset({"int8", "uint8", "int4", "uint4", "int2", "uint2"})
_CONVERTERS = frozenset({"Cast", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


@dataclass(frozen=True)
class Row:
    """One layer as executed; ``types`` is one of its events, or None when it never ran.

    ``runtime_name`` is what the runtime calls it; ``name`` is what people call it (see `_named`).
    """

    name: str
    runtime_name: str
    op_type: str
    kind: Kind
    parent: str = ""
    sources: tuple[str, ...] = ()
    types: EventKind | None = None

    @property
    def precision(self) -> str:
        """Element type that the layer computes in: the quantised one if an input has it, else its first output's."""
        if self.types is None:
            return ""
        inputs = [dtype for dtype, _ in self.types.input_types]
        quantized = [dtype for dtype in inputs if dtype in _QUANTIZED]
        if quantized and self.op_type not in _CONVERTERS:
            return "int8" if quantized[0] in ("int8", "uint8") else quantized[0]
        return self.types.output_types[0][0] if self.types.output_types else ""

    @property
    def output_shape(self) -> str:
        """Shape of the first output as run: ``1×16×112×112``, or ``scalar``."""
        if self.types is None or not self.types.output_types:
            return ""
        shape = self.types.output_types[0][1]
        return "×".join(map(str, shape)) or "scalar"

    @property
    def moved_bytes(self) -> float:
        """Bytes of all tensors read and written, from the shapes as run; NaN when they are not known."""
        if self.types is None or not (self.types.input_types or self.types.output_types):
            return math.nan
        return sum(TensorInfo("", dtype, shape).nbytes for dtype, shape in (*self.types.input_types, *self.types.output_types))


@dataclass(frozen=True)
class Rows:
    """All rows, in the order of execution, and where events go.

    ``of_kind``: event kind -> position in ``rows``. ``unattributed``: names of events that fit no layer; each has a row too.
    """

    rows: tuple[Row, ...]
    of_kind: Mapping[EventKind, int]
    nodes: tuple[NodeFate, ...]
    unattributed: tuple[str, ...]


def make_rows(blocks: Sequence[Block], graph: Graph, executed: Graph | None) -> Rows:
    """The rows for these blocks of runs of ``graph``, which the runtime rewrote into ``executed`` (None: it did not say)."""
    return _named(_with_executed(blocks, graph, executed) if executed is not None else _directly(blocks, graph), graph)


def _named(rows: Rows, graph: Graph) -> Rows:
    """The same rows under the names that people know.

    A layer is called by the original node that it is about: among those that it carries out, the only one of its type (a FusedMatMul is a
    MatMul), or the only one at all; provided that no other layer carries it out too. Every other layer keeps the runtime's name.
    """
    op_types = {layer.name: layer.op_type for layer in graph.layers}
    shared = Counter(source for row in rows.rows for source in row.sources)
    taken = Counter(row.name for row in rows.rows)
    names: dict[str, str] = {}
    for row in rows.rows:
        core = core_types(Layer("", row.op_type, (), ()))
        same = [s for s in row.sources if op_types[s] in core] or list(row.sources)
        if len(same) == 1 and shared[same[0]] == 1 and (same[0] == row.name or not taken[same[0]]):
            names[row.name] = same[0]
            taken[same[0]] += 1
    return Rows(
        tuple(replace(row, name=names.get(row.name, row.name), parent=names.get(row.parent, row.parent)) for row in rows.rows),
        rows.of_kind,
        tuple(replace(node, layers=tuple(names.get(layer, layer) for layer in node.layers)) for node in rows.nodes),
        rows.unattributed,
    )


def row_costs(rows: Sequence[Row], graph: Graph) -> list[Cost]:
    """What each row costs, from the original layers that it carries out.

    An original layer that several rows carry out counts in the one of its own op type, or else in the first. What the runtime
    inserted computes nothing and moves what its shapes say.
    """
    layers = {layer.name: layer for layer in graph.layers}
    owner: dict[str, int] = {}
    for index, row in enumerate(rows):
        for source in row.sources:
            if source not in owner or (row.op_type == layers[source].op_type and rows[owner[source]].op_type != row.op_type):
                owner[source] = index
    groups = [[layers[s] for s in row.sources if owner[s] == index] for index, row in enumerate(rows)]
    return [_cost(row, group, cost) for row, group, cost in zip(rows, groups, group_costs(groups, graph), strict=True)]


def _cost(row: Row, group: Sequence[object], cost: Cost) -> Cost:
    if group:
        moved = row.moved_bytes - cost.param_bytes if math.isnan(cost.activation_bytes) else cost.activation_bytes
        return Cost(cost.macs, cost.params, cost.param_bytes, moved)
    if row.kind == "inserted" or row.sources:
        return Cost(0.0, 0.0, 0.0, row.moved_bytes)
    return Cost(math.nan, math.nan, math.nan, row.moved_bytes)


def _with_executed(blocks: Sequence[Block], graph: Graph, executed: Graph) -> Rows:
    kinds, events, parents = _events(blocks)
    attribution = attribute(kinds, events, parents, executed)
    identity = match(graph, executed)
    kinds_of: dict[str, list[int]] = {}
    for index, name in enumerate(attribution.layers):
        if name is not None:
            kinds_of.setdefault(name, []).append(index)
    made: list[tuple[Row, list[int]]] = []
    for layer in executed.layers:
        found, own = identity.by_layer[layer.name], kinds_of.get(layer.name, [])
        types = kinds[own[0]] if own else None
        made.append((Row(layer.name, layer.name, layer.op_type, found.kind, layer.parent or "", found.sources, types), own))
    lost = [index for index, name in enumerate(attribution.layers) if name is None]
    made += _rows_of_their_own(lost, kinds, {row.name for row, _ in made})
    return _ordered(made, kinds, _first_positions(events), node_fates(identity), tuple(kinds[k].name for k in lost))


def _directly(blocks: Sequence[Block], graph: Graph) -> Rows:
    kinds, events, _ = _events(blocks)
    named = attribute_directly(kinds, graph)
    groups: dict[tuple[str, str, int], list[int]] = {}
    for index, kind in enumerate(kinds):
        groups.setdefault((kind.name, kind.op_type, kind.node_index), []).append(index)
    made: list[tuple[Row, list[int]]] = []
    taken: set[str] = set()
    for (name, op_type, _), own in groups.items():
        sources = tuple(dict.fromkeys(s for k in own for s in named[k]))
        made.append((Row(_unique(name, taken), name, op_type, "layer", "", sources, kinds[own[0]]), own))
    executed_in = {s: tuple(row.name for row, _ in made if s in row.sources) for row, _ in made for s in row.sources}
    nodes = tuple(
        NodeFate(layer.name, layer.op_type, "executed" if layer.name in executed_in else "unattributed", executed_in.get(layer.name, ()))
        for layer in graph.layers
    )
    lost = tuple(kinds[own[0]].name for row, own in made if not row.sources)
    return _ordered(made, kinds, _first_positions(events), nodes, lost)


def _rows_of_their_own(lost: Sequence[int], kinds: Sequence[EventKind], taken: set[str]) -> list[tuple[Row, list[int]]]:
    by_name: dict[tuple[str, str], list[int]] = {}
    for kind in lost:
        by_name.setdefault((kinds[kind].name, kinds[kind].op_type), []).append(kind)
    return [(Row(_unique(name, taken), name, op, "layer", "", (), kinds[own[0]]), own) for (name, op), own in by_name.items()]


def _unique(name: str, taken: set[str]) -> str:
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{name} ({number})"
    taken.add(unique)
    return unique


def _events(blocks: Sequence[Block]) -> tuple[list[EventKind], list[int], list[int]]:
    """Kinds of all blocks as one list, and the events of the first block that has any, in terms of it."""
    number: dict[EventKind, int] = {}
    for block in blocks:
        for kind in block.spans.kinds:
            number.setdefault(kind, len(number))
    events: list[int] = []
    parents: list[int] = []
    for block in blocks:
        spans = block.spans
        table = np.array([number[kind] for kind in spans.kinds], np.int64)
        parents += [p + len(events) if p >= 0 else -1 for p in spans.parent.tolist()]
        events += table[spans.kind].tolist() if len(spans) else []
        if len(events) > _ENOUGH_EVENTS:
            break
    return list(number), events, parents


_ENOUGH_EVENTS = 200_000


def _first_positions(events: Sequence[int]) -> dict[int, int]:
    first: dict[int, int] = {}
    for position, kind in enumerate(events):
        first.setdefault(kind, position)
    return first


def _ordered(
    made: Sequence[tuple[Row, list[int]]],
    kinds: Sequence[EventKind],
    first: Mapping[int, int],
    nodes: tuple[NodeFate, ...],
    unattributed: tuple[str, ...],
) -> Rows:
    """Rows by when they first ran; one that never ran stands behind the one before it in the executed graph."""
    keyed, last = [], (-1, 0)
    for position, (row, own) in enumerate(made):
        started = min((first.get(kind, math.inf) for kind in own), default=math.inf)
        last = (int(started), 0) if started != math.inf else (last[0], position + 1)
        keyed.append((last, row, own))
    keyed.sort(key=lambda entry: entry[0])
    of_kind = {kinds[kind]: index for index, (_, _, own) in enumerate(keyed) for kind in own}
    return Rows(tuple(row for _, row, _ in keyed), of_kind, nodes, unattributed)
