"""Which power channels count as the total, and a first look at what they read: enough to tell whether energy can be measured at all.

Rules of `choose`, in this order:

1. Channels that were asked for by name; the end of a name will do (``VDD_IN`` for ``ina3221/VDD_IN_mw``).
2. An external meter that sees the whole board or module: somebody wired it for this. Of several the one that was named first.
3. What sees the whole board or module; a battery only when there is nothing else, since its gauge is slow.
4. The processor packages with their memory, and the GPU beside them when the model runs on it.
5. Never channels that overlap, and never a sensor of something that the model does not run on.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .sampler import unpack

_WHOLE = ("board", "module", "device")
_GPU_PROVIDERS = ("CUDA", "Tensorrt", "TensorRT", "ROCM", "MIGraphX", "NvTensorRT")
_PARTS = 5
_MOST_KEPT = 2_000_000


class Source(NamedTuple):
    """Channels whose sum is the power that counts, what they cover, and how often the slowest of them is read."""

    channels: Tuple[str, ...]
    scope: str
    rate_hz: float


class Window(NamedTuple):
    """Power over a stretch of time: mean, its standard error, number of readings, number of different values."""

    mean_mw: float
    error_mw: float
    readings: int
    values: int


def choose(sensors: Sequence[Dict[str, Any]], wanted: Sequence[str], providers: Sequence[str]) -> Tuple[Optional[Source], str]:
    """The source, or None and why there is none. ``sensors`` as in a ``sensors`` frame; external meters have ``external`` set."""
    power = [(c["name"], s["rate_hz"]) for s in sensors for c in s["channels"] if _is_power(c)]
    if wanted:
        return _asked_for(power, wanted)
    if not power:
        return None, "there is no power sensor"
    totals = _totals(sensors)
    for scope in ("meter", *_WHOLE):
        if totals.get(scope):
            return (totals[scope][0] if scope == "meter" else max(totals[scope], key=lambda total: total.rate_hz)), ""
    on_gpu = any(provider.startswith(_GPU_PROVIDERS) for provider in providers)
    parts = [scope for scope in ("package", "dram", *(["gpu"] if on_gpu else [])) if totals.get(scope)]
    if parts and parts != ["dram"]:
        chosen = [total for scope in parts for total in totals[scope]]
        names = tuple(name for total in chosen for name in total.channels)
        return Source(names, "+".join(parts), min(total.rate_hz for total in chosen)), ""
    if totals.get("battery"):
        return totals["battery"][0], ""
    if {name for name, _ in power} <= {name for total in totals.get("gpu", []) for name in total.channels}:
        return None, "the only power sensor covers the GPU, and the model runs elsewhere"
    return None, "no power channel is known to be the total; name those to add up with --rail: %s" % ", ".join(name for name, _ in power)


def _totals(sensors: Sequence[Dict[str, Any]]) -> Dict[str, List[Source]]:
    """The totals of all sensors by what they cover; those of external meters and of batteries under ``meter`` and ``battery``.

    What an external meter sees of a part of the board alone may overlap with the board's own sensors, so it counts when asked for only.
    """
    found: Dict[str, List[Source]] = {}
    for sensor in sensors:
        for scope, names in sensor["totals"].items():
            if sensor.get("external") and scope not in _WHOLE:
                continue
            key = "meter" if sensor.get("external") else "battery" if sensor["name"].startswith("battery") else scope
            found.setdefault(key, []).append(Source(tuple(names), scope, sensor["rate_hz"]))
    return found


def _asked_for(power: Sequence[Tuple[str, float]], wanted: Sequence[str]) -> Tuple[Optional[Source], str]:
    found = []
    for name in wanted:
        fits = [c for c in power if c[0] == name] or [c for c in power if _short(c[0]) == name]
        if len(fits) != 1:
            have = ", ".join(c[0] for c in power) or "none"
            word = "several power channels are" if fits else "no power channel is"
            return None, "%s called %r; there are: %s" % (word, name, have)
        found += [c for c in fits if c not in found]
    return Source(tuple(name for name, _ in found), "chosen", min(rate for _, rate in found)), ""


def _short(name: str) -> str:
    """``VDD_IN`` of ``ina3221/VDD_IN_mw``."""
    return name.partition("/")[2].rpartition("_")[0]


def _is_power(channel: Dict[str, Any]) -> bool:
    return bool(channel["unit"] == "mW" or (channel["unit"] == "mJ" and channel["kind"] == "counter"))


class Readings:
    """Readings of the channels of a source, kept as they come."""

    def __init__(self, sensors: Sequence[Dict[str, Any]], source: Source) -> None:
        channels = [channel for sensor in sensors for channel in sensor["channels"]]
        self._series: Dict[int, Tuple[str, List[int], List[float]]] = {
            number: (channel["kind"], [], []) for number, channel in enumerate(channels) if channel["name"] in source.channels
        }

    def add(self, records: bytes) -> None:
        """Takes in records of a ``samples`` frame."""
        for time_ns, channel, value in unpack(records):
            series = self._series.get(channel)
            if series is not None and not math.isnan(value):
                if len(series[1]) >= _MOST_KEPT:
                    del series[1][: _MOST_KEPT // 2], series[2][: _MOST_KEPT // 2]
                series[1].append(time_ns)
                series[2].append(value)

    def window(self, start_ns: int, end_ns: int) -> Optional[Window]:
        """Power from ``start_ns`` to ``end_ns``; None when a channel says too little there."""
        found = [_of_channel(series, start_ns, end_ns) for series in self._series.values()]
        known = [window for window in found if window is not None]
        if not found or len(known) < len(found):
            return None
        error = math.sqrt(sum(window.error_mw**2 for window in known))
        return Window(sum(w.mean_mw for w in known), error, min(w.readings for w in known), max(w.values for w in known))


def _of_channel(series: Tuple[str, List[int], List[float]], start_ns: int, end_ns: int) -> Optional[Window]:
    kind, times, values = series
    first, last = bisect_left(times, start_ns), bisect_right(times, end_ns)
    if last - first < 2 * _PARTS:
        return None
    edges = [first + (last - first - 1) * i // _PARTS for i in range(_PARTS + 1)]
    if kind == "counter":
        parts = [(values[b] - values[a]) / (times[b] - times[a]) * 1e9 for a, b in zip(edges, edges[1:])]
    else:
        parts = [sum(values[a:b]) / (b - a) for a, b in zip(edges, edges[1:])]
    mean = sum(parts) / _PARTS
    spread = math.sqrt(sum((part - mean) ** 2 for part in parts) / (_PARTS - 1))
    return Window(mean, spread / math.sqrt(_PARTS), last - first, len(set(values[first:last])))
