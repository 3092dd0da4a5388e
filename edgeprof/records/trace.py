"""What was recorded, raw: a `Trace` of plain and instrumented runs, as the board said it.

Times are integer nanoseconds on the board's monotonic clock. They become milliseconds once, in `records/build.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeprof.models.probes import Probe

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class RunPlan:
    """What to run and how. ``runs`` plain runs and as many instrumented ones are made.

    ``optimization``: how far the runtime may rewrite the graph.
    ``warmup`` is a number of runs, or ``"auto"``: until run times are flat. ``inputs`` holds one array a model input.
    ``time_limit_s`` ends the measurement early and keeps what it has. ``runtime_options`` go to the runtime's session as they are.
    """

    runs: int = 100
    warmup: int | Literal["auto"] = "auto"
    threads: int = 1
    providers: tuple[str, ...] = ()
    provider_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    optimization: Literal["all", "extended", "basic", "disabled"] = "all"
    cpus: tuple[int, ...] | None = None
    inputs: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    runtime_options: Mapping[str, str] = field(default_factory=dict)
    time_limit_s: float | None = None
    save_executed: bool = True


@dataclass(frozen=True)
class EventKind:
    """What identifies an event of a runtime's trace: everything but its times.

    ``name`` is as the runtime wrote it, without its suffix. ``node_index`` is the runtime's own number of the node
    (-1 unknown). ``input_types`` and ``output_types`` are ``((dtype, shape), ...)`` as run, empty when not told.
    """

    name: str
    op_type: str
    provider: str = ""
    node_index: int = -1
    input_types: tuple[tuple[str, tuple[int, ...]], ...] = ()
    output_types: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class Spans:
    """Events of instrumented runs in columns, in the order they started.

    ``kind``: (n,) int32 index into ``kinds``. ``run``: (n,) int32, which instrumented run of its block, from 0; -1 when it
    belongs to none. ``start_ns``, ``duration_ns``: (n,) int64. ``parent``: (n,) int32, index of the event that encloses it
    (a node of an If or Loop body), -1 at the top. ``run_start_ns``, ``run_duration_ns``: (runs,) int64, the runtime's own
    event around each run.
    """

    kinds: tuple[EventKind, ...]
    kind: Int32
    run: Int32
    start_ns: Int64
    duration_ns: Int64
    parent: Int32
    run_start_ns: Int64
    run_duration_ns: Int64

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True)
class Block:
    """One block of interleaved runs, made in one pair of sessions.

    ``plain_start_ns``, ``plain_ns``, ``instrumented_start_ns``, ``instrumented_ns``: (runs of the block,) int64, measured
    around the call from outside. ``plain_first`` says which kind came first. ``spans.run`` counts the block's instrumented runs.
    """

    index: int
    session: int
    plain_first: bool
    plain_start_ns: Int64
    plain_ns: Int64
    instrumented_start_ns: Int64
    instrumented_ns: Int64
    spans: Spans


@dataclass(frozen=True)
class ProbeRuns:
    """A probe as run on the board: one Block for each block of the model's own runs, made within the same moments."""

    probe: Probe
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Sample:
    """One reading of a channel; the unit is the ending of the channel's name."""

    time_ns: int
    channel: str
    value: float


@dataclass(frozen=True)
class Trace:
    """All that one job brought back. ``complete`` is False when it was interrupted, lost or cut short.

    ``executed_model`` is the optimised model as the runtime saved it, or None. ``environment`` is the board's
    fingerprint before, ``environment_after`` after. ``messages`` are things the agent noticed, as ``(id, sentence)``.
    """

    plan: RunPlan
    runtime: str
    runtime_version: str
    providers: tuple[str, ...]
    blocks: tuple[Block, ...]
    board: str = "local"
    start_ns: int = 0
    started_at: str = ""
    load_ns: int | None = None
    first_run_ns: int | None = None
    warmup_ns: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    probes: tuple[ProbeRuns, ...] = ()
    executed_model: bytes | None = None
    samples: tuple[Sample, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    environment_after: Mapping[str, Any] = field(default_factory=dict)
    peak_memory_bytes: Mapping[str, int] = field(default_factory=dict)
    messages: tuple[tuple[str, str], ...] = ()
    complete: bool = True
