"""The simulated world: a clock that only what is done moves, and the power that was drawn at each moment.

Power is kept as stretches of a repeated pattern, so that energy between any two times can be had exactly, whatever the scale: a run's
layers take microseconds, a loop minutes. Warming is a first-order lag on top: ``leak_mw`` times the warmth, which goes to 1 under load
and to 0 at rest with the time constant ``warm_s``.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgeprof.boards.simulation.spec import BoardSpec

Floats = npt.NDArray[np.float64]

NS = 1e9
START_NS = 1_000_000_000_000


@dataclass(frozen=True, eq=False)
class Pattern:
    """What is drawn while something runs once: ``seconds`` and ``milliwatts`` (above idle) of its parts."""

    seconds: Floats
    milliwatts: Floats
    ends: Floats = field(init=False)
    joules: Floats = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ends", np.concatenate([[0.0], np.cumsum(self.seconds)]))
        object.__setattr__(self, "joules", np.concatenate([[0.0], np.cumsum(self.seconds * self.milliwatts)]))

    @property
    def length(self) -> float:
        """Seconds of one round."""
        return float(self.ends[-1])

    def drawn(self, at: Floats) -> Floats:
        """(n,) mW·s from the start until ``at`` seconds, round after round."""
        if self.length <= 0:
            return np.zeros(len(at))
        whole, rest = np.divmod(at, self.length)
        return np.asarray(whole * self.joules[-1] + np.interp(rest, self.ends, self.joules))


@dataclass
class _Stretch:
    """From ``start`` on for ``seconds``: a pattern stretched by ``slower``, the warmth it began with and goes to, and ``extra_mw``."""

    start: float
    seconds: float
    pattern: Pattern | None
    slower: float
    warmth: float
    towards: float
    extra_mw: float


class World:
    """Time, power and warmth of one job. Times in seconds since its start; `now_ns` is the clock of the board."""

    def __init__(self, spec: BoardSpec) -> None:
        self.spec = spec
        self.rng = np.random.default_rng([spec.seed, 11])
        self.now = 0.0
        self.warmth = 0.0
        self.throttled_at: list[float] = []  # when it became too hot
        self.sampling_mw = spec.sampling_mw
        self._hot = False
        self._stretches: list[_Stretch] = []
        self._starts: list[float] = []
        self._before = [0.0]  # energy in mW·s at the start of each stretch

    def now_ns(self) -> int:
        """The board's monotonic clock."""
        return START_NS + round(self.now * NS)

    @property
    def temperature_c(self) -> float:
        """Of its one zone."""
        return self.spec.ambient_c + self.spec.heat_c * self.warmth

    @property
    def slower(self) -> float:
        """How many times as long everything takes now."""
        if self.temperature_c > self.spec.throttle_c:
            if not self._hot:
                self.throttled_at.append(self.now)
            self._hot = True
        elif self.temperature_c < self.spec.throttle_c - 1:
            self._hot = False
        return self.spec.throttle_factor if self._hot else 1.0

    def rest(self, seconds: float) -> None:
        """Nothing runs for so long."""
        self._go(seconds, None, 1.0, 0.0)

    def run(self, pattern: Pattern, count: int) -> npt.NDArray[np.int64]:
        """(2 · count,) ns: start and end of each of ``count`` rounds, with jitter; power follows the pattern."""
        if not count:
            return np.empty(0, np.int64)
        slower = self.slower
        rounds = pattern.length * slower * np.clip(1 + self.spec.jitter * self.rng.standard_normal(count), 0.5, None)
        ends = self.now + np.cumsum(rounds)
        starts = ends - rounds
        self._go(float(rounds.sum()), pattern, float(rounds.sum()) / (count * pattern.length) if pattern.length else 1.0, 1.0)
        return START_NS + np.round(np.stack([starts, ends], axis=1).ravel() * NS).astype(np.int64)

    def energy(self, times: Floats) -> Floats:
        """(n,) mW·s drawn from the start until each of ``times`` (seconds), idle power included."""
        found = self.spec.idle_mw * np.clip(times, 0, None)
        place = self._stretch_at(times)
        for i in np.unique(place[place >= 0]):
            chosen, stretch = place == i, self._stretches[i]
            found[chosen] += self._before[i] + _drawn(stretch, np.minimum(times[chosen] - stretch.start, stretch.seconds), self.spec)
        return found

    def warmth_at(self, times: Floats) -> Floats:
        """(n,) warmth at each of ``times`` (seconds)."""
        place = self._stretch_at(times)
        found = np.zeros(len(times))
        for i in np.unique(place[place >= 0]):
            chosen, stretch = place == i, self._stretches[i]
            age = np.exp(-(times[chosen] - stretch.start) / self.spec.warm_s)
            found[chosen] = stretch.towards + (stretch.warmth - stretch.towards) * age
        return found

    def _stretch_at(self, times: Floats) -> npt.NDArray[np.int64]:
        """(n,) index of the stretch that each of ``times`` lies in, -1 before the first. It is quick for what was not long ago."""
        first = max(0, bisect.bisect_right(self._starts, float(np.min(times, initial=math.inf))) - 1)
        return np.asarray(first - 1 + np.searchsorted(np.array(self._starts[first:]), times, "right"), np.int64)

    def _go(self, seconds: float, pattern: Pattern | None, slower: float, load: float) -> None:
        if seconds <= 0:
            return
        last = self._stretches[-1] if self._stretches else None
        if last and last.pattern is pattern and last.extra_mw == self.sampling_mw and math.isclose(last.slower, slower, rel_tol=0.02):
            total = last.seconds + seconds
            last.slower = (last.slower * last.seconds + slower * seconds) / total
            last.seconds = total
        else:
            self._starts.append(self.now)
            self._stretches.append(_Stretch(self.now, seconds, pattern, slower, self.warmth, load, self.sampling_mw))
            self._before.append(0.0)
        newest = self._stretches[-1]
        self._before[-1] = self._before[len(self._stretches) - 1] + float(_drawn(newest, np.array([newest.seconds]), self.spec)[0])
        self.now += seconds
        self.warmth = load + (newest.warmth - load) * math.exp(-newest.seconds / self.spec.warm_s)


def _drawn(stretch: _Stretch, seconds: Floats, spec: BoardSpec) -> Floats:
    """(n,) mW·s above idle within the stretch until ``seconds`` after its start."""
    found = stretch.extra_mw * seconds
    if stretch.pattern is not None:
        found = found + stretch.slower * stretch.pattern.drawn(seconds / stretch.slower)
    lag = spec.warm_s * (1 - np.exp(-seconds / spec.warm_s))
    return np.asarray(found + spec.leak_mw * (stretch.towards * seconds + (stretch.warmth - stretch.towards) * lag))
