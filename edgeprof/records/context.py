"""The context of a Profile: everything needed to read its numbers and to repeat them. None is not known or not measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeprof.records.sensing import SensorUse
from edgeprof.records.trace import ProcessMemory


@dataclass(frozen=True)
class Latency:
    """End-to-end latency of the plain (not instrumented) runs, in ms. None is not measured."""

    median_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    runs: int = 0


@dataclass(frozen=True)
class Instrument:
    """How the runtime's profiler changed what it measured, and the correction used (see docs/method.md).

    The time that the profiler spends inside a layer's own time is ``(base_ratio + tensor_ratio * tensors) * gap``: ``tensors``
    are the layer's inputs and outputs, ``gap`` the time from one event's end to the next one's start, which the profiler spends
    too and which is seen in the model's own trace. The two ratios are fitted on the board with nets of tiny nodes, run
    among the model's runs. ``gap_us`` and ``offset_us`` are the medians over layers, ``resolution_us`` the step of the
    runtime's durations, which it rounds down. All None when there was no calibration: then nothing was corrected.
    """

    method: str = "none"
    base_ratio: float | None = None
    tensor_ratio: float | None = None
    gap_us: float | None = None
    offset_us: float | None = None
    resolution_us: float | None = None
    instrumented_median_ms: float | None = None


@dataclass(frozen=True)
class Memory:
    """Memory of the whole run; by layer it stands in the layer table, by tensor in the tensor table. None is not known.

    ``sources`` says of each memory column where its numbers come from. ``peak_bytes`` is the most that activations and workspace took at
    once, while ``peak_layer`` ran. ``base_bytes`` is what the runtime's allocator held before the first layer (weights and such),
    ``held_bytes`` what it had taken from the system. ``process`` is the process that held the runtime and nothing else, by phase.
    """

    sources: Mapping[str, str] = field(default_factory=dict)
    peak_bytes: float | None = None
    peak_layer: str = ""
    base_bytes: float | None = None
    held_bytes: float | None = None
    process: Mapping[str, ProcessMemory] = field(default_factory=dict)


@dataclass(frozen=True)
class EnergyGroupUse:
    """One loop of the energy measurement as a result: layers that shared it, their power above idle, and how long the loop ran."""

    layers: tuple[str, ...]
    power_mw: float | None = None
    low_mw: float | None = None
    high_mw: float | None = None
    copies: int = 1
    seconds: float | None = None


@dataclass(frozen=True)
class Energy:
    """Energy of one inference and how it was measured (docs/energy.md). None is not measured.

    ``asked`` is what was asked for: off, model or layers. ``method`` is what was done: empty, ``model`` (the whole model in a
    loop) or ``layers`` (each layer in a loop of its own too). ``reason`` says in a sentence why there is no number, or none by
    layer. ``inference_mj`` is all that the channels took during one inference, ``above_idle_mj`` what they took beyond idling.
    ``layers_mj`` is the sum over layers, ``closure_gap`` is ``1 - layers_mj / above_idle_mj`` with its 95 % interval.
    ``idle_mw`` is idle power around the model's loop. ``sampling_mw`` is what reading the sensors at their full rate adds to idle power,
    with its standard error. ``lag`` is which part of the step from loop to rest the readings still had to go, on average over the
    first third of the rest. ``stuck_s``: seconds in which the sensor read the same at rest and under load; they do not count.
    """

    asked: str = "off"
    method: str = ""
    reason: str = ""
    channels: tuple[str, ...] = ()
    scope: str = ""
    inference_mj: float | None = None
    inference_low_mj: float | None = None
    inference_high_mj: float | None = None
    above_idle_mj: float | None = None
    above_idle_low_mj: float | None = None
    above_idle_high_mj: float | None = None
    loop_mw: float | None = None
    loop_ms: float | None = None
    idle_mw: float | None = None
    idle_before_mw: float | None = None
    idle_after_mw: float | None = None
    sampling_mw: float | None = None
    sampling_error_mw: float | None = None
    lag: float | None = None
    stuck_s: float | None = None
    runs: int = 0
    samples: int = 0
    seconds: float | None = None
    passes: int = 0
    layers_mj: float | None = None
    closure_gap: float | None = None
    closure_gap_low: float | None = None
    closure_gap_high: float | None = None
    planned_s: float | None = None
    groups: tuple[EnergyGroupUse, ...] = ()


@dataclass(frozen=True)
class Thermal:
    """How warm the board was and whether it slowed itself down. None is not known.

    ``warm_s``: warm-up before energy was read; ``flat``: run time and temperature had stopped changing by then.
    Temperatures are those of the hottest zone. ``throttled``: what the board said, once for each time it was seen.
    """

    warm_s: float | None = None
    flat: bool | None = None
    start_c: float | None = None
    hottest_c: float | None = None
    end_c: float | None = None
    throttled: tuple[str, ...] = ()
    on_throttle: str = ""
    cool_down_s: float | None = None


@dataclass(frozen=True)
class RunContext:
    """Everything needed to read the numbers and to repeat them. None is not known or not measured.

    ``recorded_origin`` is the origin of the recording that was replayed, empty for all else. ``recipe`` is the text of the recipe that the
    model was made by (`edgeprof.recipes`) of the one that the profile's ``parent`` names, empty for a model as it came.
    """

    model_name: str
    model_sha256: str = ""
    model_format: str = "onnx"
    model_bytes: int | None = None
    board: str = "local"
    runtime: str = ""
    runtime_version: str = ""
    providers: tuple[str, ...] = ()
    provider_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    threads: int | None = None
    optimization: str = "all"
    cpus: tuple[int, ...] | None = None
    runs: int = 0
    warmup_runs: int | None = None
    blocks: int | None = None
    sessions: int | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    input_source: str = "random"
    started_at: str = ""
    latency: Latency = Latency()
    load_ms: float | None = None
    first_run_ms: float | None = None
    instrument: Instrument = Instrument()
    closure: float | None = None
    memory: Memory = Memory()
    energy: Energy = Energy()
    thermal: Thermal = Thermal()
    sensors: tuple[SensorUse, ...] = ()
    sampling_cpu_share: float | None = None
    fingerprint: Mapping[str, object] = field(default_factory=dict)
    fingerprint_after: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, object] = field(default_factory=dict)
    recipe: str = ""
    recorded_origin: str = ""
