"""Traces made by hand, with times that can be added up in the head."""

from __future__ import annotations

import numpy as np

from edgeprof.models.probes import Probe
from edgeprof.records.trace import Block, EventKind, ProbeRuns, RunPlan, Spans, Trace

US = 1000


def kind(name: str, op_type: str = "Relu", tensors: int = 2) -> EventKind:
    types = (("float32", (1, 8)),)
    return EventKind(name, op_type, "CPUExecutionProvider", 0, types * (tensors - 1), types)


def spans(kinds, durations_us, *, gap_us=3, runs=4, parents=None) -> Spans:
    """Each run has one event of each kind, in order, ``gap_us`` apart; a nested event starts 1 µs after its parent."""
    n = len(kinds)
    parents = [-1] * n if parents is None else parents
    start, at = [], 0
    for i, parent in enumerate(parents):
        if parent >= 0:
            siblings = [j for j in range(i) if parents[j] == parent]
            start.append(start[siblings[-1]] + durations_us[siblings[-1]] + gap_us if siblings else start[parent] + 1)
        else:
            start.append(at)
            at += durations_us[i] + gap_us
    length = at + 5
    base = np.repeat(np.arange(runs) * length, n)
    return Spans(
        tuple(kinds),
        np.tile(np.arange(n, dtype=np.int32), runs),
        np.repeat(np.arange(runs, dtype=np.int32), n),
        _ns(base + np.tile(start, runs)),
        _ns(np.tile(np.array(durations_us, float), runs)),
        np.concatenate([np.where(np.array(parents) < 0, -1, np.array(parents) + r * n) for r in range(runs)]).astype(np.int32)
        if n
        else np.empty(0, np.int32),
        _ns(np.arange(runs) * length),
        _ns(np.full(runs, length)),
    )


def _ns(us) -> np.ndarray:
    return np.round(np.asarray(us, float) * US).astype(np.int64)


def block(index, plain_us, made: Spans) -> Block:
    runs = len(made.run_start_ns)
    start = np.arange(runs, dtype=np.int64) * 1_000_000 + index * 100_000_000
    return Block(
        index,
        0,
        index % 2 == 0,
        start,
        np.full(runs, int(plain_us * US), np.int64),
        start + 500_000,
        made.run_duration_ns,
        made,
    )


def probe_runs(name, tensors, node_us, inside_us, gap_us, blocks=6, short=8, long=24) -> tuple[ProbeRuns, ProbeRuns]:
    """A probe whose nodes cost ``node_us`` plain; the profiler adds ``inside_us`` to each and leaves ``gap_us`` between two.

    The trace holds what a clock that rounds down says on average: half a microsecond less in a layer, as much more between two.
    """
    kinds = [kind(f"m0_{i}", tensors=tensors) for i in range(long)]
    made = spans(kinds, [node_us + inside_us - 0.5] * long, gap_us=gap_us + 0.5)
    empty = spans([], [], runs=4)
    runs = []
    for nodes, instrumented in ((short, False), (long, True)):
        probe = Probe(name, b"", nodes, tensors, (1,), instrumented)
        runs.append(ProbeRuns(probe, tuple(block(i, 5 + nodes * node_us, made if instrumented else empty) for i in range(blocks))))
    return runs[0], runs[1]


def trace(blocks, probes=(), **fields) -> Trace:
    return Trace(
        RunPlan(runs=sum(len(b.plain_ns) for b in blocks)),
        "onnxruntime",
        "1.32.0",
        ("CPUExecutionProvider",),
        tuple(blocks),
        probes=probes,
        **fields,
    )
