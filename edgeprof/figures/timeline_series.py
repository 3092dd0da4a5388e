"""Readings of sensors as series that can be drawn: counters become power, the total is summed, too many readings become columns.

1. A value holds from its time to the next one's (`Series.end_ms` for the last). Readings that failed are NaN and hold as nothing.
2. A counter of energy becomes power: its growth between two readings over the time between them, holding for that time. Next to a
   reading that failed the growth is not known, and neither is it where the counter fell.
3. The total is the sum of the channels that `Energy.channels` names, each holding its last value; it is known where all of them are.
4. Too many readings for a view are put into columns of equally many: the least, the mean and the most of each, and whether
   a reading in it failed. No extreme is ever lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof.records.profile import Profile
from edgeprof.records.sensing import Channel

Floats = NDArray[np.float64]

LANES = {"mW": "power", "B": "memory", "°C": "temperature", "MHz": "clocks"}
"""Lane of each unit; after these every other unit has a lane of its own, and so has every quantity without a unit: they share no scale."""

_ENDINGS = {"mw": "mW", "mj": "mJ", "bytes": "B", "c": "°C", "mhz": "MHz"}


@dataclass(frozen=True)
class Series:
    """One line of a lane. ``time_ms``, ``value``: (n,) in the order of time; ``value`` is in ``unit``.

    ``channels`` are the names of what it was read from, ``counter`` says that it was made by rule 2, ``total`` that it is (rule 3)
    the total. ``sensor`` is empty for a sum.
    """

    title: str
    unit: str
    channels: tuple[str, ...]
    scope: str
    sensor: str
    time_ms: Floats
    value: Floats
    end_ms: float
    counter: bool = False
    total: bool = False

    @property
    def lane(self) -> str:
        """Where it is drawn: series of one unit share a scale, of those without one all that are called the same."""
        if not self.unit:
            return f"of {self.channels[0].rpartition('/')[2]}"
        return LANES.get(self.unit, f"in {self.unit}")

    def __len__(self) -> int:
        return len(self.time_ms)

    def between(self, start_ms: float, end_ms: float) -> slice:
        """The readings that hold somewhere from ``start_ms`` to ``end_ms``, and one beyond, so that lines reach the edge."""
        first = int(np.searchsorted(self.time_ms, start_ms, side="right")) - 1
        last = int(np.searchsorted(self.time_ms, end_ms, side="right")) + 1
        return slice(max(0, first), min(len(self), last))

    def mean(self) -> float:
        """Mean over time of what is known; NaN when nothing is."""
        held = np.diff(np.append(self.time_ms, self.end_ms))
        known = ~np.isnan(self.value)
        seconds = float(held[known].sum())
        if seconds > 0:
            return float((self.value[known] * held[known]).sum()) / seconds
        return float(self.value[known].mean()) if known.any() else float("nan")


@dataclass(frozen=True)
class Columns:
    """A series in columns of up to ``per`` readings (rule 4); with ``per`` 1 every reading is there and ``low`` is all of them.

    ``time_ms``: time of the first reading of each column. ``failed``: True where a reading of the column failed.
    """

    time_ms: Floats
    low: Floats
    mean: Floats
    high: Floats
    failed: NDArray[np.bool_]
    per: int


def all_series(profile: Profile) -> list[Series]:
    """The series of ``profile`` in the order of their lanes: total first, then as sensors name their channels."""
    read = dict(_readings(profile.samples))
    made = [one for channel, sensor in _channels(profile, read) if (one := _series(channel, sensor, *read[channel.name])) is not None]
    made = _with_total(made, profile)
    places = list(dict.fromkeys([*LANES.values(), *sorted(s.lane for s in made)]))
    return sorted(made, key=lambda s: (places.index(s.lane), not s.total))


def columns(time_ms: Floats, value: Floats, most: int) -> Columns:
    """At most ``most`` columns of these readings: the smallest columns of equally many readings that are that few."""
    n = len(value)
    if n <= most:
        return Columns(time_ms, value, value, value, np.isnan(value), 1)
    per = -(-n // max(1, most))
    starts = np.arange(0, n, per)
    known = np.add.reduceat(~np.isnan(value), starts, dtype=np.int64)
    sums = np.add.reduceat(np.nan_to_num(value), starts)
    return Columns(
        time_ms[starts],
        np.fmin.reduceat(value, starts),
        np.divide(sums, known, out=np.full(len(starts), np.nan), where=known > 0),
        np.fmax.reduceat(value, starts),
        np.logical_or.reduceat(np.isnan(value), starts),
        per,
    )


def budgets(lengths: Sequence[int], most: int) -> list[int]:
    """How many of ``most`` places each gets: all of them have room for the short ones, the long ones share the rest evenly."""
    given = [0] * len(lengths)
    left = most
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for place, i in enumerate(order):
        given[i] = min(lengths[i], max(1, left // (len(order) - place)))
        left -= given[i]
    return given


def _readings(samples: pd.DataFrame) -> Iterator[tuple[str, tuple[Floats, Floats]]]:
    """``(channel, (time_ms, value))`` of each channel, in the order of time; of two readings at one time the later row."""
    codes, names = pd.factorize(samples["channel"])
    times, values = samples["time_ms"].to_numpy(float), samples["value"].to_numpy(float)
    order = np.lexsort((times, codes))
    order = order[np.isfinite(times[order])]
    starts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    for name, first, last in zip(names, starts[:-1], starts[1:], strict=True):
        chosen = order[first:last]
        chosen = chosen[np.append(np.diff(times[chosen]) > 0, True)[: len(chosen)]]
        # an infinite reading is no reading either
        yield str(name), (times[chosen], np.where(np.isfinite(values[chosen]), values[chosen], np.nan))


def _channels(profile: Profile, read: dict[str, tuple[Floats, Floats]]) -> Iterator[tuple[Channel, str]]:
    """``(channel, sensor)`` of all that was read; what no sensor describes has its unit from its name."""
    described = {channel.name: (channel, use.name) for use in profile.context.sensors for channel in use.channels}
    yield from (pair for name, pair in described.items() if name in read)
    for name in read:
        if name not in described:
            yield Channel(name, _ENDINGS.get(name.rpartition("_")[2].lower(), "")), name.partition("/")[0]


def _series(channel: Channel, sensor: str, time_ms: Floats, value: Floats) -> Series | None:
    """The series of one channel; None when there is nothing to draw: no reading, or a single one of a counter."""
    counter = channel.kind == "counter" and channel.unit == "mJ"
    title, scope = channel.title or channel.name.rpartition("/")[2], channel.scope
    if not counter:
        return Series(title, channel.unit, (channel.name,), scope, sensor, time_ms, value, float(time_ms[-1])) if len(value) else None
    if len(value) < 2:
        return None
    growth = np.diff(value)
    power_mw = np.where(growth >= 0, growth, np.nan) / np.diff(time_ms) * 1000  # mJ over ms is W
    return Series(title, "mW", (channel.name,), scope, sensor, time_ms[:-1], power_mw, float(time_ms[-1]), counter=True)


def _with_total(made: list[Series], profile: Profile) -> list[Series]:
    """``made`` with the total in it: of several channels a series of its own, of one channel that channel's."""
    wanted = profile.context.energy.channels
    parts = [s for s in made if s.lane == "power" and s.channels[0] in wanted]
    if not parts or len(parts) < len(set(wanted)):
        return made
    if len(parts) > 1:
        total = _sum(parts, profile.context.energy.scope)
        return made if total is None else [total, *made]
    only = parts[0]
    marked = Series(
        f"{only.title} = total", only.unit, only.channels, only.scope, only.sensor, only.time_ms, only.value, only.end_ms,
        counter=only.counter, total=True,
    )  # fmt: skip
    return [marked if s is only else s for s in made]


def _sum(parts: Sequence[Series], scope: str) -> Series | None:
    """Rule 3; None when the parts have no time in common."""
    start, end = max(float(s.time_ms[0]) for s in parts), min(s.end_ms for s in parts)
    grid = np.unique(np.concatenate([s.time_ms for s in parts]))
    grid = grid[(grid >= start) & (grid <= end)]
    if not len(grid):
        return None
    held = [s.value[np.searchsorted(s.time_ms, grid, side="right") - 1] for s in parts]
    names = tuple(s.channels[0] for s in parts)
    counter = any(s.counter for s in parts)
    return Series("total", "mW", names, scope, "", grid, np.sum(held, axis=0), end, counter=counter, total=True)
