"""Memory by layer and by tensor, from the memory phase of a Trace; from shapes alone where the runtime says nothing.

1. **Live** bytes are those that the runtime's allocator had handed out when the layer had just ended, its inputs still held, beyond
   what it had handed out before the first layer (weights and the like: `Memory.base_bytes`). ONNX Runtime 1.28 and newer say it.
2. **Workspace** is what the kernel took for itself, summed over the run of the layer, from ``session.collect_node_memory_stats_to_file``.
3. **Peak** is live plus workspace, at most the allocator's own high-water mark. Without statistics the high-water mark tells it for a
   layer at which it rose in the first run, and the live bytes are a lower bound for the others. That of a layer with bodies is at least
   that of each layer in them.
4. Without what events say, live bytes are the sizes of the tensors that are alive, each in memory of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from edgeprof.models.graph import Graph
from edgeprof.records.context import Memory
from edgeprof.records.lifetimes import Tensor, alive, lifetimes, share_storage, tensor_table
from edgeprof.records.profile import empty_table
from edgeprof.records.rows import Row, Rows
from edgeprof.records.trace import EventKind, MemoryTrace, ProcessMemory, Spans

Floats = npt.NDArray[np.float64]

EVENTS = "the runtime's events: bytes requested of its allocator"
STATISTICS = "the runtime's statistics by node: temporary bytes, summed over one run of the layer"
RISEN = "the runtime's events: high-water mark where it rose (with what its allocator rounds up), else the live bytes (a lower bound)"
BOTH = "live bytes plus workspace, at most the runtime's high-water mark"
SHAPES = "shapes: tensors alive at the layer, each in memory of its own (an estimate)"


@dataclass(frozen=True)
class LayerMemory:
    """(rows,) bytes, NaN where not known; the tensor table; what the context keeps."""

    live: Floats
    peak: Floats
    workspace: Floats
    tensors: pd.DataFrame
    context: Memory


def layer_memory(
    trace: MemoryTrace | None, rows: Rows, executed: Graph | None, graph: Graph, process: Mapping[str, ProcessMemory]
) -> LayerMemory:
    """Memory of each row. ``executed`` is the optimised graph, or None; then ``graph`` is taken, if its layers are those that ran."""
    shown = executed if executed is not None else graph
    tensors = lifetimes(shown, rows.rows) if executed is not None or _is_what_ran(graph, rows) else {}
    if trace is not None and _tells(trace):
        return _from_events(trace, rows, shown, tensors, process)
    if any(t.kind != "input" for t in tensors.values()):
        return _from_shapes(trace, rows, shown, tensors, process)
    blank = np.full(len(rows.rows), math.nan)
    return LayerMemory(blank, blank, blank, empty_table("tensors"), Memory(process=process))


def _is_what_ran(graph: Graph, rows: Rows) -> bool:
    """Whether each layer of the original graph was run as it is; runtimes make initializers of its constants."""
    op_types = {row.runtime_name: row.op_type for row in rows.rows}
    kept = [layer for layer in graph.layers if layer.parent is None and layer.op_type != "Constant"]
    return not rows.unattributed and all(op_types.get(layer.name) == layer.op_type for layer in kept)


def _tells(trace: MemoryTrace) -> bool:
    """Whether its events say what was in use, in a whole run at least."""
    return trace.requested_bytes is not None and trace.requested_delta_bytes is not None and bool((trace.spans.run >= 0).any())


def _from_shapes(
    trace: MemoryTrace | None, rows: Rows, shown: Graph, tensors: dict[str, Tensor], process: Mapping[str, ProcessMemory]
) -> LayerMemory:
    live = _where_top(rows.rows, alive(tensors, len(rows.rows)))
    workspace = _workspace(trace, rows.rows, shown)
    peak = live + np.nan_to_num(workspace)
    sources = {"live_memory_bytes": SHAPES, "peak_memory_bytes": SHAPES}
    if not np.isnan(workspace).all():
        sources |= {"workspace_bytes": STATISTICS, "peak_memory_bytes": f"{SHAPES}, plus workspace"}
    return _made(rows, live, peak, workspace, tensors, Memory(sources=sources, process=process))


def _from_events(
    trace: MemoryTrace, rows: Rows, shown: Graph, tensors: dict[str, Tensor], process: Mapping[str, ProcessMemory]
) -> LayerMemory:
    bases = _bases(trace)
    requested, allocated, before = _live(trace, rows.of_kind, len(rows.rows), bases)
    share_storage(tensors, shown, rows.rows, allocated, before)
    workspace = _workspace(trace, rows.rows, shown)
    sources = {"live_memory_bytes": EVENTS}
    if np.isnan(workspace).all():
        peak = np.fmax(requested, _risen(trace, rows.of_kind, len(rows.rows), bases))
        sources["peak_memory_bytes"] = RISEN
    else:
        high = _highest(trace, trace.in_use_peak_bytes)
        most = math.inf if high is None else high - sum(bases.values())
        peak = np.maximum(requested, np.minimum(requested + np.nan_to_num(workspace), most))
        sources |= {"workspace_bytes": STATISTICS, "peak_memory_bytes": BOTH}
    context = Memory(sources, base_bytes=sum(bases.values()), held_bytes=_highest(trace, trace.held_bytes), process=process)
    return _made(rows, requested, peak, workspace, tensors, context)


def _made(rows: Rows, live: Floats, peak: Floats, workspace: Floats, tensors: dict[str, Tensor], context: Memory) -> LayerMemory:
    known = ~np.isnan(peak)
    at = int(np.nanargmax(peak)) if known.any() else None
    context = Memory(
        context.sources,
        float(peak[at]) if at is not None else None,
        rows.rows[at].name if at is not None else "",
        context.base_bytes,
        context.held_bytes,
        context.process,
    )
    return LayerMemory(live, _with_bodies(rows.rows, peak), workspace, tensor_table(tensors, at), context)


def _with_bodies(rows: Sequence[Row], peak: Floats) -> Floats:
    """The peaks, that of a layer with bodies at least as high as any of what runs in them (which stands behind it)."""
    found, at = peak.copy(), {row.name: index for index, row in enumerate(rows)}
    for index in reversed(range(len(rows))):
        outer = at.get(rows[index].parent)
        if outer is not None and not math.isnan(found[outer]):
            found[outer] = np.fmax(found[outer], found[index])
    return found


def _bases(trace: MemoryTrace) -> dict[str, float]:
    """Bytes in use before the last whole run, by provider, each of which has an allocator of its own."""
    spans, requested, delta = trace.spans, trace.requested_bytes, trace.requested_delta_bytes
    found: dict[str, float] = {}
    if requested is not None and delta is not None:
        for event in np.flatnonzero(spans.run == spans.run.max(initial=0)).tolist():  # in the order they started: a layer before its bodies
            found.setdefault(spans.kinds[spans.kind[event]].provider, float(requested[event] - delta[event]))
    return found


def _live(trace: MemoryTrace, of_kind: Mapping[EventKind, int], rows: int, bases: Mapping[str, float]) -> tuple[Floats, Floats, Floats]:
    """(rows,) live bytes, bytes taken during the layer and bytes in use when it began, of the last whole run."""
    spans, requested, delta = trace.spans, trace.requested_bytes, trace.requested_delta_bytes
    live, allocated, before = (np.full(rows, math.nan) for _ in range(3))
    if requested is None or delta is None:
        return live, allocated, before
    now: dict[str, float] = {}
    for event in _in_order_of_end(spans, spans.run == spans.run.max(initial=0)):
        kind = spans.kinds[spans.kind[event]]
        now[kind.provider] = float(requested[event]) - bases[kind.provider]
        row = of_kind.get(kind)
        if row is not None:
            total = sum(now.values())
            live[row] = np.fmax(live[row], total)
            if math.isnan(allocated[row]):
                allocated[row], before[row] = float(delta[event]), total - float(delta[event])
    return live, allocated, before


def _risen(trace: MemoryTrace, of_kind: Mapping[EventKind, int], rows: int, bases: Mapping[str, float]) -> Floats:
    """(rows,) the high-water mark of the layer's allocator after it, beyond its base, for those at which it rose; else NaN.

    The mark counts what requests were rounded up to, of weights too. What it was above the requests when the first layer had ended is
    taken off; what activations are rounded up to stays in it (a sixth was seen).
    """
    found, high, requested, spans = np.full(rows, math.nan), trace.in_use_peak_bytes, trace.requested_bytes, trace.spans
    if high is None or requested is None:
        return found
    before: dict[str, float] = {}
    rounding: dict[str, float] = {}
    for event in _in_order_of_end(spans, np.ones(len(spans), bool)):
        kind, mark = spans.kinds[spans.kind[event]], float(high[event])
        off = bases.get(kind.provider, 0.0) + rounding.setdefault(kind.provider, max(0.0, mark - float(requested[event])))
        row = of_kind.get(kind)
        if row is not None and mark > before.get(kind.provider, mark):
            found[row] = np.fmax(found[row], mark - off)
        before[kind.provider] = mark
    return found


def _in_order_of_end(spans: Spans, chosen: npt.NDArray[np.bool_]) -> list[int]:
    """Positions of the ``chosen`` events; of those that end in the same microsecond what ran in a body comes before the layer around it."""
    depth, above = np.zeros(len(spans), np.int64), spans.parent
    while (nested := above >= 0).any():
        depth += nested
        above = np.where(nested, spans.parent[above], -1)
    order = np.lexsort((-depth, spans.start_ns + spans.duration_ns))
    return [int(event) for event in order[chosen[order]]]


def _highest(trace: MemoryTrace, values: npt.NDArray[np.int64] | None) -> float | None:
    """The highest of what each provider's allocator said, added up."""
    if values is None or not len(values):
        return None
    _, provider = np.unique([kind.provider for kind in trace.spans.kinds], return_inverse=True)
    highest = np.zeros(len(trace.spans.kinds))
    np.maximum.at(highest, provider[trace.spans.kind], values)
    return float(highest.sum())


def _workspace(trace: MemoryTrace | None, rows: Sequence[Row], shown: Graph) -> Floats:
    """(rows,) temporary bytes; NaN where the runtime does not tell, or tells different things of nodes that it calls the same.

    A node without a name goes by its op type, so that what never ran could be taken for others of its kind.
    """
    found = np.full(len(rows), math.nan)
    if trace is None or trace.temporary_bytes is None:
        return found
    given = {layer.name: layer.given_name for layer in shown.layers}
    for index, row in enumerate(rows):
        told = set(trace.temporary_bytes.get(given.get(row.runtime_name, row.runtime_name) or row.op_type, ()))
        if len(told) == 1 and row.types is not None:
            found[index] = told.pop()
    return found


def _where_top(rows: Sequence[Row], values: Floats) -> Floats:
    """The values of rows at the top level; of what runs in bodies the shapes tell too little."""
    return np.where([row.kind == "nested" for row in rows], math.nan, values)
