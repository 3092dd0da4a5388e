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
    """One channel's readings in the order of time."""

    def __init__(self, channel: Channel, time_ns: npt.NDArray[np.int64], value: Floats) -> None:
        self.counter = channel.kind == "counter"
        # of a counter two readings at one time tell no power
        order = np.unique(time_ns, return_index=True)[1] if self.counter else np.argsort(time_ns, kind="stable")
        self.time, self.value = time_ns[order], value[order]
        self.period = float(np.median(np.diff(self.time))) if len(self.time) > 1 else 0.0
        self.sums = np.concatenate([[0.0], np.cumsum(self.value)])

    def mean(self, start: float, end: float) -> tuple[float, float, int]:
        """(mean power, its standard error, readings) between two times; NaN with fewer than two readings."""
        if not self.counter:
            start = start + min(LONGEST_TRIM * (end - start), TRIM_PERIODS * self.period)
        first, last = int(np.searchsorted(self.time, start)), int(np.searchsorted(self.time, end, "right"))
        if last - first < 2:
            return math.nan, math.nan, last - first
        edges = np.linspace(first, last - 1 if self.counter else last, PARTS + 1).astype(int)
        parts = [self._between(a, b) for a, b in pairwise(edges.tolist()) if b > a]
        spread = float(np.std(parts, ddof=1)) / math.sqrt(len(parts)) if len(parts) > 1 else math.nan
        return self._between(first, last - 1 if self.counter else last), spread, last - first

    def _between(self, first: int, last: int) -> float:
        if self.counter:
            return float((self.value[last] - self.value[first]) / (self.time[last] - self.time[first]) * NS_PER_S)
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
