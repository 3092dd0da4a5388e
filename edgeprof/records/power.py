"""Power over stretches of time, from samples of the channels whose sum counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edgeprof.records.sensing import Channel, Samples
from edgeprof.records.trace import Window

Floats = npt.NDArray[np.float64]

NS_PER_S = 1e9
PARTS = 5
"""Parts of a window whose scatter tells how sure its mean is."""

ENOUGH = 20
"""Readings that are all the same by chance when there are fewer."""

_MOST_SPANS = 10_000
LONGEST_TRIM = 0.3
TRIM_PERIODS = 1.5
"""A reading may be a mean over the time since the one before: those too close to the start of a window are not its own."""


@dataclass(frozen=True)
class WindowPower:
    """(windows,) mean power in mW and its standard error, middle of the window in ns, seconds, readings.

    Power is NaN where a channel says too little.
    """

    mean_mw: Floats
    error_mw: Floats
    at_ns: Floats
    seconds: Floats
    readings: npt.NDArray[np.int64]


class _Series:
    """One channel's readings in the order of time. Of a counter steps down (it was reset) are left out, with the time that they took."""

    def __init__(self, channel: Channel, time_ns: npt.NDArray[np.int64], value: Floats) -> None:
        self.counter = channel.kind == "counter"
        # of a counter two readings at one time tell no power
        order = np.unique(time_ns, return_index=True)[1] if self.counter else np.argsort(time_ns, kind="stable")
        self.time, self.value = time_ns[order], value[order]
        self.period = float(np.median(np.diff(self.time))) if len(self.time) > 1 else 0.0
        self.sums = np.concatenate([[0.0], np.cumsum(self.value)])
        if self.counter:
            step, took = np.diff(self.value), np.diff(self.time)
            self.grown, self.known_ns = (np.concatenate([[0.0], np.cumsum(np.where(step >= 0, what, 0.0))]) for what in (step, took))

    def mean(self, start: float, end: float) -> tuple[float, float, int]:
        """(mean power, its standard error, readings) between two times; NaN with fewer than two readings."""
        if not self.counter:
            start = start + min(LONGEST_TRIM * (end - start), TRIM_PERIODS * self.period)
        first, last = int(np.searchsorted(self.time, start)), int(np.searchsorted(self.time, end, "right"))
        if last - first < 2:
            return math.nan, math.nan, last - first
        edges = np.linspace(first, last - 1 if self.counter else last, PARTS + 1).astype(int)
        parts = [part for part in (self._between(a, b) for a, b in pairwise(edges.tolist()) if b > a) if not math.isnan(part)]
        spread = float(np.std(parts, ddof=1)) / math.sqrt(len(parts)) if len(parts) > 1 else math.nan
        return self._between(first, last - 1 if self.counter else last), spread, last - first

    def _between(self, first: int, last: int) -> float:
        if self.counter:
            known_ns = self.known_ns[last] - self.known_ns[first]
            return float((self.grown[last] - self.grown[first]) / known_ns * NS_PER_S) if known_ns > 0 else math.nan
        return float((self.sums[last] - self.sums[first]) / (last - first))


def window_power(windows: Sequence[Window], channels: Sequence[Channel], samples: Samples, names: Sequence[str]) -> WindowPower:
    """The summed power of the channels ``names`` in each window."""
    series = [_Series(channel, *samples.of(i)) for i, channel in enumerate(channels) if channel.name in names]
    found = [[one.mean(w.start_ns, w.end_ns) for one in series] for w in windows]
    complete = len(series) == len(set(names)) > 0
    mean = np.array([sum(m for m, _, _ in row) if complete else math.nan for row in found], float)
    error = np.array([math.sqrt(sum(e * e for _, e, _ in row)) if complete else math.nan for row in found], float)
    readings = np.array([min((n for _, _, n in row), default=0) for row in found], np.int64)
    start, end = (np.array([getattr(w, name) for w in windows], float) for name in ("start_ns", "end_ns"))
    return WindowPower(mean, error, (start + end) / 2, (end - start) / NS_PER_S, readings)


def is_stuck(channels: Sequence[Channel], samples: Samples, names: Sequence[str]) -> bool:
    """True when none of the channels ever changed, though one was read often: a rail that rests is not stuck as long as another moves.

    A counter is stuck when it does not grow.
    """
    read = [samples.of(i)[1] for i, channel in enumerate(channels) if channel.name in names]
    return any(len(values) >= ENOUGH for values in read) and all(float(np.ptp(values)) == 0 for values in read if len(values))


def stuck_spans(
    channels: Sequence[Channel], samples: Samples, names: Sequence[str], windows: Sequence[Window]
) -> tuple[tuple[float, float], ...]:
    """(start, end) in ns of times in which none of the channels changed, though the model ran in a loop and the board was at rest."""
    read = [samples.of(i) for i, channel in enumerate(channels) if channel.name in names]
    spans: list[tuple[float, float]] | None = None
    for time, value in read:
        if len(value):
            own = _constant(time, value)
            spans = own if spans is None else _common(spans, own)
    seen = [
        {w.phase for w in windows if 2 * (min(w.end_ns, end) - max(w.start_ns, start)) > w.end_ns - w.start_ns}
        for start, end in spans or ()
    ]
    return tuple(span for span, phases in zip(spans or (), seen, strict=True) if phases >= {"model", "idle"})


def _constant(time: npt.NDArray[np.int64], value: Floats) -> list[tuple[float, float]]:
    """Times in which at least `ENOUGH` readings were the same."""
    edges = np.flatnonzero(np.diff(value)) + 1
    first, last = np.concatenate([[0], edges]), np.concatenate([edges, [len(value)]])
    return [(float(time[a]), float(time[b - 1])) for a, b in zip(first.tolist(), last.tolist(), strict=True) if b - a >= ENOUGH]


def _common(some: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    both = [(max(a, c), min(b, d)) for a, b in some for c, d in others if max(a, c) < min(b, d)]
    return both[:_MOST_SPANS]
