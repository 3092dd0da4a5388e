"""Ceilings from a profile of the nets of `edgeprof.models.peak_nets`: the highest that any of their layers reached.

FLOPs and bytes are counted as for every layer (``docs/costs.md``): 2 a MAC; each weight and each tensor that is read or written once. So a
layer and the roof that it is judged by are counted the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprof.models.peak_nets import MB, PRECISIONS, Mark, parse_name
from edgeprof.records.peaks import Ceiling
from edgeprof.records.profile import Profile

QUANTILE = 0.25
"""A layer's time is this quantile of its runs: neighbours and interrupts only ever slow a layer down, and a ceiling is what is left
without them. The very fastest run would be a matter of luck, and of the profiler's clock."""

FEWEST_RUNS = 4
SAME = 1.15
"""An array half as large may go so many times as fast before caches are suspected to help still."""

WIDE = 0.2
"""An interval wider than this part of its value is worth a word."""

_Z95 = 1.96


@dataclass(frozen=True)
class Reached:
    """What one layer reached: GFLOP/s, or GB/s of a ``memory`` layer, with its 95 % interval; ``nbytes`` it moved, ``seconds`` it took."""

    mark: Mark
    precision: str
    value: float
    low: float
    high: float
    nbytes: float
    seconds: float

    def ceiling(self) -> Ceiling:
        """As a ceiling of its own."""
        kind = "memory" if self.mark.group == "memory" else "compute"
        precision = "" if kind == "memory" else self.mark.group
        return Ceiling("memory" if kind == "memory" else "compute", self.value, self.low, self.high, precision, self.mark.words)


def reached(profile: Profile) -> list[Reached]:
    """What each marked layer reached. A layer that the runtime computed in another precision than its name says is left out: a float16
    product that a provider without such kernels computed in float32 tells nothing of float16.
    """
    return list(_reached(profile))


def _reached(profile: Profile) -> Iterator[Reached]:
    times = dict(iter(profile.spans.groupby("layer")["latency_ms"]))
    for row in profile.measured_layers.to_dict("records"):
        marks = [mark for mark in map(parse_name, row["source_nodes"]) if mark is not None]
        seen = np.sort(times[row["index"]].to_numpy(float)) if row["index"] in times else np.empty(0)
        if len(marks) != 1 or len(seen) < FEWEST_RUNS or not seen[0] > 0:
            continue
        mark = marks[0]
        moved = float(np.nansum([row["param_bytes"], row["activation_bytes"]]))
        work = moved if mark.group == "memory" else 2 * float(row["macs"])
        if not work > 0 or (mark.group != "memory" and row["precision"] != mark.group):
            continue
        ms, low_ms, high_ms = quantile(seen)
        yield Reached(mark, row["precision"], work / ms / 1e6, work / high_ms / 1e6, work / low_ms / 1e6, moved, ms / 1e3)


def quantile(ordered: NDArray[np.float64]) -> tuple[float, float, float]:
    """`QUANTILE` of values in ascending order, and its 95 % interval from ranks (no form of the spread is assumed)."""
    n = len(ordered)
    half = _Z95 * math.sqrt(n * QUANTILE * (1 - QUANTILE))
    low, high = max(0, math.floor(n * QUANTILE - half)), min(n - 1, math.ceil(n * QUANTILE + half))
    middle = float(np.quantile(ordered, QUANTILE))
    return middle, min(middle, float(ordered[low])), max(middle, float(ordered[high]))


def ceilings_of(found: Sequence[Reached]) -> tuple[dict[str, Ceiling], Ceiling | None, list[str]]:
    """The compute ceiling of each precision, the memory ceiling, and what must be said of them.

    1. The highest stands, whatever shape or operator reached it.
    2. Of memory only the largest arrays count: smaller ones may stay in a cache. Where an array half as large goes much faster with the
       same operator, caches may help the largest too, and a note says so.
    """
    compute: dict[str, Ceiling] = {}
    for precision in PRECISIONS:
        best = max((one for one in found if one.mark.group == precision), key=_value, default=None)
        if best is not None:
            compute[precision] = best.ceiling()
    memory, notes = _memory(found)
    notes += [_wide(one) for one in [*compute.values(), *([memory] if memory else [])] if one.high - one.low > WIDE * one.value]
    return compute, memory, notes


def _memory(found: Sequence[Reached]) -> tuple[Ceiling | None, list[str]]:
    by_size: dict[int, dict[str, Reached]] = {}
    for one in found:
        if one.mark.group == "memory":
            words, _, size = one.mark.words.rpartition(", ")
            by_size.setdefault(int(size.split()[0]), {})[words] = one
    if not by_size:
        return None, []
    sizes = sorted(by_size)
    words, best = max(by_size[sizes[-1]].items(), key=lambda item: item[1].value)
    return best.ceiling(), _cached(by_size, words, sizes)


def _cached(by_size: Mapping[int, Mapping[str, Reached]], words: str, sizes: Sequence[int]) -> list[str]:
    smaller = by_size[sizes[-2]].get(words) if len(sizes) > 1 else None
    best = by_size[sizes[-1]][words]
    if smaller is None or smaller.value <= SAME * best.value:
        return []
    times, size = smaller.value / best.value, sizes[-1] * MB / 1e6
    return [
        f"Memory may be slower than its ceiling: arrays of half the size went {times:.1f} times as fast. Caches may still help"
        f" those of {size:.0f} MB, the largest that there was time and room for."
    ]


def _wide(ceiling: Ceiling) -> str:
    return (
        f"The {ceiling.label} ceiling is uncertain ({ceiling.low:.3g} to {ceiling.high:.3g} {ceiling.unit}): something else ran on the"
        " board. Measure again when it is quiet."
    )


def _value(one: Reached) -> float:
    return one.value
