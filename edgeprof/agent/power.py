"""Which power channels count as the total, and a first look at what they read: enough to tell whether energy can be measured at all.

Rules of `choose`, in this order:

1. Channels that were asked for by name; the end of a name will do (``VDD_IN`` for ``ina3221/VDD_IN_mw``).
2. An external meter that sees the whole board or module: somebody wired it for this. Of several the one that was named first.
3. What sees the whole board or module.
4. The processor packages with their memory, and beside them the GPUs that the model's provider runs on.
5. What sees the processor and a GPU inside it; then the only chip of which nobody knows what it sees; then a battery, whose gauge is slow.
6. Never channels that overlap, and never a sensor of something that the model does not run on.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .sampler import unpack

_WHOLE = ("board", "module")
_LAST = ("soc", "device", "battery")
_NVIDIA, _AMD = ("CUDA", "Tensorrt", "TensorRT", "NvTensorRT"), ("ROCM", "MIGraphX")
_MAKERS = {"nvml/": _NVIDIA, "hwmon/nouveau": _NVIDIA, "hwmon/amdgpu": _AMD, "hwmon/radeon": _AMD, "hwmon/i915": (), "hwmon/xe": ()}
"""Providers that run on the GPU that channels of this name see; those of any other name may be any GPU's."""

_PARTS = 5
_MOST_KEPT = 2_000_000


class Source(NamedTuple):
    """Channels whose sum is the power that counts, what they cover, how often the slowest is read, the longest time a reading averages."""

    channels: Tuple[str, ...]
    scope: str
    rate_hz: float
    average_s: float = 0.0


class Window(NamedTuple):
    """Power over a stretch of time: mean, its standard error, number of readings, number of different values."""

    mean_mw: float
    error_mw: float
    readings: int
    values: int


def choose(sensors: Sequence[Dict[str, Any]], wanted: Sequence[str], providers: Sequence[str]) -> Tuple[Optional[Source], str]:
    """The source, or None and why there is none. ``sensors`` as in a ``sensors`` frame; external meters have ``external`` set."""
    power = [(c["name"], s["rate_hz"], s.get("average_s", 0.0)) for s in sensors for c in s["channels"] if _is_power(c)]
    if wanted:
        return _asked_for(power, wanted)
    if not power:
        return None, "there is no power sensor"
    totals = _totals(sensors)
    if totals.get("meter"):
        return totals["meter"][0], ""
    for scope in _WHOLE:
        if totals.get(scope):
            return max(totals[scope], key=lambda total: total.rate_hz), ""
    parts = {scope: totals.get(scope, []) for scope in ("package", "dram")}
    parts["gpu"] = [total for total in totals.get("gpu", []) if _runs_on(total.channels[0], providers)]
    if parts["package"] or parts["gpu"]:
        chosen = [total for some in parts.values() for total in some]
        return _sum_of(chosen, "+".join(scope for scope, some in parts.items() if some)), ""
    for scope in _LAST:
        if totals.get(scope):
            return totals[scope][0], ""
    if {name for name, _, _ in power} <= {name for total in totals.get("gpu", []) for name in total.channels}:
        return None, "the only power sensor covers the GPU, and the model runs elsewhere"
    return None, "no power channel is known to be the total; name those to add up with --rail: %s" % ", ".join(name for name, _, _ in power)


def _sum_of(totals: Sequence[Source], scope: str) -> Source:
    names = tuple(name for total in totals for name in total.channels)
    return Source(names, scope, min(total.rate_hz for total in totals), max(total.average_s for total in totals))


def _runs_on(channel: str, providers: Sequence[str]) -> bool:
    """Whether one of the providers runs on the GPU that the channel sees."""
    made = next((makers for start, makers in _MAKERS.items() if channel.startswith(start)), _NVIDIA + _AMD)
    return any(provider.startswith(maker) for provider in providers for maker in made)


def _totals(sensors: Sequence[Dict[str, Any]]) -> Dict[str, List[Source]]:
    """The totals of all sensors by what they cover; those of external meters and of batteries under ``meter`` and ``battery``.

    What an external meter sees of a part of the board alone may overlap with the board's own sensors, so it counts when asked for only.
    """
    found: Dict[str, List[Source]] = {}
    for sensor in sensors:
        for scope, names in sensor["totals"].items():
            if sensor.get("external") and scope not in (*_WHOLE, "device"):
                continue
            key = "meter" if sensor.get("external") else "battery" if sensor["name"].startswith("battery") else scope
            found.setdefault(key, []).append(Source(tuple(names), scope, sensor["rate_hz"], sensor.get("average_s", 0.0)))
    return found


def _asked_for(power: Sequence[Tuple[str, float, float]], wanted: Sequence[str]) -> Tuple[Optional[Source], str]:
    found = []
    for name in wanted:
        fits = [c for c in power if c[0] == name] or [c for c in power if _short(c[0]) == name]
        if len(fits) != 1:
            have = ", ".join(c[0] for c in power) or "none"
            word = "several power channels are" if fits else "no power channel is"
            return None, "%s called %r; there are: %s" % (word, name, have)
        found += [c for c in fits if c not in found]
    return Source(tuple(c[0] for c in found), "chosen", min(c[1] for c in found), max(c[2] for c in found)), ""


def _short(name: str) -> str:
    """``VDD_IN`` of ``ina3221/VDD_IN_mw``."""
    return name.partition("/")[2].rpartition("_")[0]


def _is_power(channel: Dict[str, Any]) -> bool:
    return bool(channel["unit"] == "mW" or (channel["unit"] == "mJ" and channel["kind"] == "counter"))


class _Series:
    """Readings of one channel, kept as they come: of a counter how far it grew, and over which time (a step down tells neither)."""

    def __init__(self, kind: str) -> None:
        self._counter = kind == "counter"
        self._last = math.nan
        self.times: List[int] = []
        self.failed: List[int] = []  # times of readings that were no measurement
        self._values: List[float] = []
        self._known_ns: List[int] = []  # of a counter: time over which its growth is known

    def add(self, time_ns: int, value: float) -> None:
        """Takes in a reading."""
        if len(self.times) >= _MOST_KEPT:
            del self.times[: _MOST_KEPT // 2], self._values[: _MOST_KEPT // 2], self._known_ns[: _MOST_KEPT // 2]
        if self._counter:
            step, self._last = value - self._last, value
            grew = bool(self.times) and step >= 0
            self._known_ns.append((self._known_ns[-1] if self.times else 0) + (time_ns - self.times[-1] if grew else 0))
            value = (self._values[-1] if self.times else 0.0) + (step if grew else 0.0)
        self.times.append(time_ns)
        self._values.append(value)

    def window(self, start_ns: int, end_ns: int) -> Optional[Window]:
        """See `Readings.window`."""
        first, last = bisect_left(self.times, start_ns), bisect_right(self.times, end_ns)
        if last - first < 2 * _PARTS:
            return None
        edges = [first + (last - first - 1) * i // _PARTS for i in range(_PARTS + 1)]
        parts = [part for part in (self._mean(a, b) for a, b in zip(edges, edges[1:])) if part is not None]
        if len(parts) < 2:
            return None
        mean = sum(parts) / len(parts)
        spread = math.sqrt(sum((part - mean) ** 2 for part in parts) / (len(parts) - 1))
        return Window(mean, spread / math.sqrt(len(parts)), last - first, len(set(self._values[first:last])))

    def _mean(self, first: int, last: int) -> Optional[float]:
        if not self._counter:
            return sum(self._values[first:last]) / (last - first)
        known_ns = self._known_ns[last] - self._known_ns[first]
        return (self._values[last] - self._values[first]) / known_ns * 1e9 if known_ns else None


class Readings:
    """Readings of the channels of a source, kept as they come."""

    def __init__(self, sensors: Sequence[Dict[str, Any]], source: Source) -> None:
        channels = [channel for sensor in sensors for channel in sensor["channels"]]
        self._series = {i: _Series(channel["kind"]) for i, channel in enumerate(channels) if channel["name"] in source.channels}

    def add(self, records: bytes) -> None:
        """Takes in records of a ``samples`` frame."""
        for time_ns, channel, value in unpack(records):
            series = self._series.get(channel)
            if series is not None and math.isfinite(value):
                series.add(time_ns, value)
            elif series is not None:
                series.failed.append(time_ns)

    def failed(self, start_ns: int, end_ns: int) -> int:
        """Readings from ``start_ns`` to ``end_ns`` that were no measurement, of the channel that has most."""
        return max((sum(start_ns <= at <= end_ns for at in series.failed) for series in self._series.values()), default=0)

    def window(self, start_ns: int, end_ns: int) -> Optional[Window]:
        """Power from ``start_ns`` to ``end_ns``; None when a channel says too little there."""
        found = [series.window(start_ns, end_ns) for series in self._series.values()]
        known = [window for window in found if window is not None]
        if not found or len(known) < len(found):
            return None
        error = math.sqrt(sum(window.error_mw**2 for window in known))
        return Window(sum(w.mean_mw for w in known), error, min(w.readings for w in known), max(w.values for w in known))


def answer(readings: Readings, start_ns: int, end_ns: int, source: Optional[Source], problems: Sequence[Sequence[str]]) -> Dict[str, Any]:
    """What a phase that asks for the power is told: a `Window`, or no ``readings``, how many ``failed``, and the sensor's ``problems``."""
    window = readings.window(start_ns, end_ns)
    if window is not None:
        return window._asdict()
    families = {name.partition("/")[0] for name in source.channels} if source is not None else set()
    texts = [text for key, text in problems if any(key.startswith(family) for family in families)]
    return {"readings": 0, "failed": readings.failed(start_ns, end_ns), "problems": texts}
