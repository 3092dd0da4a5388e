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
from edgeprof.records.sensing import Channel, Samples, SensorUse

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class EnergyPlan:
    """How energy is measured (docs/energy.md).

    A window is long enough when it holds ``samples`` readings of the power sensor and lasts ``model_s`` (the whole model) or
    ``loop_s`` (a layer); the readings of a layer are spread over ``passes``. ``budget_s`` is the time for all loops of layers
    together, in place of that rule. ``idle_s``: rest between loops that the baseline is read in. ``warm_limit_s``: longest
    warm-up until run time and temperature are flat. ``cool_down_s``: rest between passes. ``channels``: power channels whose
    sum is the total; empty is the sensor's own rule. ``average_s``: a reading is a mean over so long before it; None is what the sensor
    says. ``small_us``: shorter layers share a loop with others of their op type.
    """

    passes: int = 3
    samples: int = 200
    loop_s: float = 2.0
    model_s: float = 5.0
    idle_s: float = 2.0
    budget_s: float | None = None
    warm_limit_s: float = 60.0
    cool_down_s: float = 0.0
    on_throttle: Literal["mark", "stop"] = "mark"
    channels: tuple[str, ...] = ()
    average_s: float | None = None
    small_us: float = 20.0
    seed: int = 0


EnergyMode = Literal["off", "model", "layers"]


@dataclass(frozen=True)
class RunPlan:
    """What to run and how. ``runs`` plain runs and as many instrumented ones are made.

    ``optimization``: how far the runtime may rewrite the graph.
    ``warmup`` is a number of runs, or ``"auto"``: until run times are flat. ``inputs`` holds one array a model input, ``input_source`` is
    ``random`` or ``given``.
    ``time_limit_s`` ends the measurement early and keeps what it has. ``runtime_options`` go to the runtime's session as they are.
    ``sensors``: names of the board's sensor families to read, None for all that are there; ``meters``: external ones, read from here.
    ``external_files``: files beside the model that hold its weights, relative to its folder. ``wait_s``: how long to wait for a board that
    somebody else measures on.
    """

    runs: int = 100
    warmup: int | Literal["auto"] = "auto"
    threads: int = 1
    providers: tuple[str, ...] = ()
    provider_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    optimization: Literal["all", "extended", "basic", "disabled"] = "all"
    cpus: tuple[int, ...] | None = None
    inputs: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    input_source: str = "random"
    probes: tuple[Probe, ...] = ()
    runtime_options: Mapping[str, str] = field(default_factory=dict)
    time_limit_s: float | None = None
    save_executed: bool = True
    memory: bool = True
    energy: EnergyMode = "off"
    energy_plan: EnergyPlan = EnergyPlan()
    sensors: tuple[str, ...] | None = None
    meters: tuple[str, ...] = ()
    external_files: tuple[str, ...] = ()
    wait_s: float = 10.0


@dataclass(frozen=True)
class EventKind:
    """What identifies an event of a runtime's trace: everything but its times.

    ``name`` is as the runtime wrote it, without its suffix. ``node_index`` is the runtime's own number of the node
    (-1 unknown). ``input_types`` and ``output_types`` are ``((dtype, shape), ...)`` as run, empty when not told.
    ``inside`` holds the names of the events around it, outermost first, each on a line: nodes of a body and of the graph around it
    may agree in all the rest.
    """

    name: str
    op_type: str
    provider: str = ""
    node_index: int = -1
    input_types: tuple[tuple[str, tuple[int, ...]], ...] = ()
    output_types: tuple[tuple[str, tuple[int, ...]], ...] = ()
    inside: str = ""


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
class Window:
    """A stretch of the job: what ran from ``start_ns`` to ``end_ns``. Fields as in `schema.WINDOW_COLUMNS`; ``round`` is its pass."""

    phase: str
    start_ns: int
    end_ns: int
    label: str = ""
    group: int = -1
    round: int = -1
    runs: int = 0
    note: str = ""


@dataclass(frozen=True)
class ProcessMemory:
    """Memory of the process that the runtime was loaded in, at the end of a phase (import, load, first run, steady).

    ``peak_bytes`` is the highest resident set within the phase; faults are those of the phase. None is not known.
    """

    rss_bytes: int | None = None
    peak_bytes: int | None = None
    minor_faults: int | None = None
    major_faults: int | None = None


@dataclass(frozen=True)
class MemoryTrace:
    """What the memory phase recorded: instrumented runs of one session with the arena on and memory patterns off.

    ``requested_bytes``, ``requested_delta_bytes``, ``in_use_peak_bytes``, ``held_bytes``: (events,) int64 beside ``spans``, the
    state of the provider's allocator after each event and its change during it; None when this runtime's events do not say.
    ``temporary_bytes`` maps a node's name (its op type when it has none) to the temporary bytes that kernels of that name took, one
    number a node; None when the runtime does not collect them.
    """

    spans: Spans
    requested_bytes: Int64 | None = None
    requested_delta_bytes: Int64 | None = None
    in_use_peak_bytes: Int64 | None = None
    held_bytes: Int64 | None = None
    temporary_bytes: Mapping[str, tuple[int, ...]] | None = None


@dataclass(frozen=True)
class EnergyGroup:
    """What one loop of the energy measurement runs: nodes of the executed graph, by their position at its top level.

    A round of the loop runs each of them ``copies`` times. ``isolated_ns``: time of each in a loop of its own, 0 when it was not timed.
    """

    nodes: tuple[int, ...]
    copies: int
    isolated_ns: tuple[float, ...] = ()


@dataclass(frozen=True)
class EnergyTrace:
    """How the energy measurement went; its loops are `Trace.windows`.

    ``channels`` are the names of the power channels whose sum counts, ``scope`` what they cover. ``skipped`` maps positions of nodes to the
    reason why they have no loop. ``refused`` is why layers (or all of it) were not measured. ``planned_s`` is the time that was announced.
    """

    channels: tuple[str, ...] = ()
    scope: str = ""
    groups: tuple[EnergyGroup, ...] = ()
    skipped: Mapping[int, str] = field(default_factory=dict)
    refused: str = ""
    planned_s: float | None = None
    warm_s: float | None = None
    flat: bool | None = None
    throttled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trace:
    """All that one job brought back.

    ``complete`` is False when it was interrupted, lost or cut short; ``stopped_in`` is the phase (latency, memory, energy) that it
    was stopped in, where that is known.
    ``executed_model`` is the optimised model as the runtime saved it, or None. ``environment`` is the board's
    fingerprint before, ``environment_after`` after. ``messages`` are things the agent noticed, as ``(id, sentence)``.
    ``channels`` and ``samples`` are what sensors said meanwhile, ``sensors`` how well they were read, ``sampling`` what that
    cost (``cpu_share``). ``windows`` say what ran when. ``memory`` and ``energy`` are None when those were not measured,
    ``process`` is by phase. ``no_power`` is why power cannot be had there, empty when it can.
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
    channels: tuple[Channel, ...] = ()
    samples: Samples = field(default_factory=Samples)
    sensors: tuple[SensorUse, ...] = ()
    sampling: Mapping[str, float] = field(default_factory=dict)
    windows: tuple[Window, ...] = ()
    memory: MemoryTrace | None = None
    energy: EnergyTrace | None = None
    no_power: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    environment_after: Mapping[str, Any] = field(default_factory=dict)
    process: Mapping[str, ProcessMemory] = field(default_factory=dict)
    messages: tuple[tuple[str, str], ...] = ()
    complete: bool = True
    stopped_in: str = ""
