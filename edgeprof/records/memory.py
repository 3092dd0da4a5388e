"""Memory by layer and by tensor, from the memory phase of a Trace; from shapes alone where the runtime says nothing.

1. **Live** bytes are those that the runtime's allocator had handed out when the layer had just ended, its inputs still held, beyond
   what it had handed out before the first layer (weights and the like: `Memory.base_bytes`). ONNX Runtime 1.28 and newer say it.
2. **Workspace** is what the kernel took for itself, summed over the run of the layer, from ``session.collect_node_memory_stats_to_file``.
3. **Peak** is live plus workspace, at most the allocator's own high-water mark. Without statistics the high-water mark tells it for a
   layer at which it rose in the first run, and the live bytes are a lower bound for the others.
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
from edgeprof.records.trace import EventKind, MemoryTrace, ProcessMemory

Floats = npt.NDArray[np.float64]

EVENTS = "the runtime's events: bytes requested of its allocator"
STATISTICS = "the runtime's statistics by node: temporary bytes, summed over one run of the layer"
RISEN = "the runtime's events: high-water mark where it rose, else the live bytes (a lower bound)"
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
    tensors = lifetimes(shown, rows.rows)
    if not any(t.kind != "input" for t in tensors.values()):
        blank = np.full(len(rows.rows), math.nan)
        return LayerMemory(blank, blank, blank, empty_table("tensors"), Memory(process=process))
    if trace is None or trace.requested_bytes is None:
        return _from_shapes(trace, rows, shown, tensors, process)
    return _from_events(trace, rows, shown, tensors, process)


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
    requested, allocated, base = _live(trace, rows.of_kind, len(rows.rows))
    share_storage(tensors, shown, rows.rows, allocated)
    workspace = _workspace(trace, rows.rows, shown)
    high = trace.in_use_peak_bytes
    most = float(high.max()) - base if high is not None and len(high) else math.inf
    sources = {"live_memory_bytes": EVENTS}
    if np.isnan(workspace).all():
        peak = np.fmax(requested, _risen(trace, rows.of_kind, len(rows.rows), base))
        sources["peak_memory_bytes"] = RISEN
    else:
        peak = np.maximum(requested, np.minimum(requested + np.nan_to_num(workspace), most))
        sources |= {"workspace_bytes": STATISTICS, "peak_memory_bytes": BOTH}
    held = trace.held_bytes
    held_bytes = float(held.max()) if held is not None and len(held) else None
    context = Memory(sources, base_bytes=base, held_bytes=held_bytes, process=process)
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
    return LayerMemory(live, peak, workspace, tensor_table(tensors, at), context)


def _live(trace: MemoryTrace, of_kind: Mapping[EventKind, int], rows: int) -> tuple[Floats, Floats, float]:
    """(rows,) live bytes and bytes taken during the layer, of the last whole run; and what was in use before that run.

    Each provider has an allocator of its own: what they hold is added up.
    """
    spans, requested, delta = trace.spans, trace.requested_bytes, trace.requested_delta_bytes
    live, allocated = np.full(rows, math.nan), np.full(rows, math.nan)
    if requested is None or delta is None or not len(spans) or int(spans.run.max(initial=-1)) < 0:
        return live, allocated, 0.0
    chosen = np.flatnonzero(spans.run == spans.run.max())
    ended = chosen[np.argsort(spans.start_ns[chosen] + spans.duration_ns[chosen], kind="stable")]
    base: dict[str, float] = {}
    now: dict[str, float] = {}
    for event in ended.tolist():
        kind = spans.kinds[spans.kind[event]]
        base.setdefault(kind.provider, float(requested[event] - delta[event]))
        now[kind.provider] = float(requested[event])
        row = of_kind.get(kind)
        if row is not None:
            live[row] = np.fmax(live[row], sum(now.values()) - sum(base[p] for p in now))
            if math.isnan(allocated[row]):
                allocated[row] = float(delta[event])
    return live, allocated, sum(base.values())


def _risen(trace: MemoryTrace, of_kind: Mapping[EventKind, int], rows: int, base: float) -> Floats:
    """(rows,) the high-water mark after the layer, beyond ``base``, for those at which it rose; else NaN."""
    found, high = np.full(rows, math.nan), trace.in_use_peak_bytes
    if high is None:
        return found
    before: dict[str, int] = {}
    for event, (kind_id, mark) in enumerate(zip(trace.spans.kind.tolist(), high.tolist(), strict=True)):
        kind = trace.spans.kinds[kind_id]
        row = of_kind.get(kind)
        if row is not None and event and mark > before.get(kind.provider, mark):
            found[row] = np.fmax(found[row], mark - base)
        before[kind.provider] = mark
    return found


def _workspace(trace: MemoryTrace | None, rows: Sequence[Row], shown: Graph) -> Floats:
    """(rows,) temporary bytes; NaN where the runtime does not tell, or tells different things of nodes that it calls the same.

    A node without a name goes by its op type.
    """
    found = np.full(len(rows), math.nan)
    if trace is None or trace.temporary_bytes is None:
        return found
    given = {layer.name: layer.given_name for layer in shown.layers}
    for index, row in enumerate(rows):
        told = set(trace.temporary_bytes.get(given.get(row.runtime_name, row.runtime_name) or row.op_type, ()))
        if len(told) == 1:
            found[index] = told.pop()
    return found


def _where_top(rows: Sequence[Row], values: Floats) -> Floats:
    """The values of rows at the top level; of what runs in bodies the shapes tell too little."""
    return np.where([row.kind == "nested" for row in rows], math.nan, values)
