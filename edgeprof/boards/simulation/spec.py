"""What a simulated board is: its numbers, the presets, and the names that stand for it (``simulated:PRESET?key=value&key=value``)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from urllib.parse import parse_qsl

from edgeprof.errors import UsageError, did_you_mean

PREFIX = "simulated"


@dataclass(frozen=True)
class BoardSpec:
    """Numbers of a simulated board. They are in the range of small boards; none is a measurement of a real one.

    Layers: ``gmacs_per_s`` and ``gb_per_s`` are what it can do at most, a layer reaches a part of that by its name and ``seed``;
    ``layer_us`` and ``call_us`` are what starting a layer and a run costs; ``jitter`` is the relative spread of run times.
    Power: ``idle_mw``, and above it ``compute_mw`` and ``memory_mw`` for a layer that is at either limit.
    Sensor: ``rate_hz`` readings a second, each the mean of the last ``average_ms``, with relative noise ``noise``, in steps of ``step_mw``,
    stamped ``skew_ms`` too late. ``sampling_mw`` is what reading it at the full rate costs. ``rate_hz=0``: there is no power sensor.
    Heat: under load it warms with the time constant ``warm_s`` by ``heat_c`` from ``ambient_c``; warm, it draws ``leak_mw`` more. Above
    ``throttle_c`` everything takes ``throttle_factor`` times as long.
    ``isolation_bias``: relative spread of a layer's power in a loop of its own against its power in the model (caches, clocks).
    """

    gmacs_per_s: float = 8.0
    gb_per_s: float = 4.0
    layer_us: float = 3.0
    call_us: float = 12.0
    jitter: float = 0.004
    idle_mw: float = 2400.0
    compute_mw: float = 3200.0
    memory_mw: float = 1600.0
    rate_hz: float = 50.0
    average_ms: float = 20.0
    noise: float = 0.01
    step_mw: float = 40.0
    skew_ms: float = 0.0
    sampling_mw: float = 15.0
    ambient_c: float = 42.0
    heat_c: float = 18.0
    warm_s: float = 30.0
    leak_mw: float = 250.0
    throttle_c: float = math.inf
    throttle_factor: float = 1.6
    isolation_bias: float = 0.01
    seed: int = 0


PRESETS: dict[str, BoardSpec] = {
    "board": BoardSpec(),
    "slow-sensor": BoardSpec(rate_hz=10.0, average_ms=100.0),
    "fast-sensor": BoardSpec(rate_hz=1000.0, average_ms=1.0, step_mw=1.0, noise=0.002),
    "hot": BoardSpec(throttle_c=55.0),
    "no-sensor": BoardSpec(rate_hz=0.0),
}
"""``board``: a quad-core board with a power monitor at its input. The others differ from it in what their names say."""


def parse(name: str) -> BoardSpec:
    """The spec that ``simulated``, ``simulated:PRESET``, ``simulated:?seed=3`` or ``simulated:PRESET?seed=3&noise=0`` stands for."""
    preset, _, query = name.removeprefix(PREFIX).removeprefix(":").partition("?")
    if preset and preset not in PRESETS:
        raise UsageError(f"There is no simulated board '{preset}'{did_you_mean(preset, PRESETS)}. There are: {', '.join(PRESETS)}.")
    spec = PRESETS[preset or "board"]
    known = [field.name for field in fields(BoardSpec)]
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise UsageError(f"A simulated board has no '{key}'{did_you_mean(key, known)}. It has: {', '.join(known)}.")
        spec = replace(spec, **{key: _number(key, text)})  # type: ignore[arg-type]  # the seed is an int, all else float
    return checked(spec)


_LIMITS: dict[str, tuple[float, float]] = {
    "gmacs_per_s": (0.01, 1e9), "gb_per_s": (0.01, 1e9), "call_us": (1, 1e9), "jitter": (0, 1), "rate_hz": (0, 1e5), "noise": (0, 1),
    "skew_ms": (-1e6, 1e6), "ambient_c": (-273, 1e4), "warm_s": (0.001, 1e9), "throttle_c": (-273, math.inf), "throttle_factor": (0.1, 100),
    "isolation_bias": (0, 1), "seed": (0, 2**64),
}  # fmt: skip
"""What numbers may be; from 0 to 1e9 where nothing else is said. A call takes some time, or a loop until the board is warm has no end."""


def checked(spec: BoardSpec) -> BoardSpec:
    """``spec`` itself; UsageError when its numbers make no board."""
    for field in fields(BoardSpec):
        value = getattr(spec, field.name)
        least, most = _LIMITS.get(field.name, (0, 1e9))
        if not least <= value <= most:
            raise UsageError(f"{field.name} of a simulated board is {value}; give a number from {least:g} to {most:g}.")
    return spec


def _number(key: str, text: str) -> float:
    try:
        return int(text) if key == "seed" else float(text)
    except ValueError as error:
        raise UsageError(f"{key} of a simulated board is '{text}'; give a number, such as {key}={getattr(BoardSpec(), key)}.") from error
