"""Mixed-precision islands: a few int8 layers between float ones, or the other way, that cost more at their shores than they gain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgeprof import units
from edgeprof.analysis.doctor.base import FLOAT, INT8, Case, Cost, Diagnosis, Row, cost_of, diagnosis, finite, many
from edgeprof.analysis.doctor.conversions import QUANTIZED_KERNELS
from edgeprof.analysis.names import listed

MOST_SHARE = 0.5
"""An island takes at most this part of the layers' time: the rest is the sea."""


@dataclass(frozen=True)
class _Island:
    """``shore``: the conversions around it. ``gain_ms``: what its layers gain against the baseline; NaN without one."""

    precision: str
    rows: tuple[Row, ...]
    shore: tuple[Row, ...]
    gain_ms: float

    @property
    def loss_ms(self) -> float:
        """What the conversions take beyond the gain, where that is known."""
        boundary = cost_of(self.shore).ms
        return boundary if math.isnan(self.gain_ms) else boundary - self.gain_ms


def islands(case: Case) -> Iterator[Diagnosis]:
    """All islands in one diagnosis.

    1. An island is what hangs together of one precision, with executed conversions both into and out of it, beyond which layers of the
       other precision stand. It takes at most half of the layers' time.
    2. What an int8 island gains is known with a baseline: what its layers took there less what they take here. It counts when the
       conversions take more.
    3. Without one, and for an island in float (which gains accuracy), it counts when the conversions take more than the layers themselves.
    """
    found = sorted(_found(case), key=lambda island: -island.loss_ms)
    if not found:
        return
    shore = list(dict.fromkeys(row for island in found for row in island.shore))
    rows = [row for island in found for row in island.rows]
    boundary, own = cost_of(shore), cost_of(rows)
    gains = [island.gain_ms for island in found if not math.isnan(island.gain_ms)]
    gain = sum(gains) if gains else math.nan
    cost = boundary if math.isnan(gain) else Cost(finite(boundary.ms - gain))
    if not case.worth(cost):
        return
    worst = found[0]
    names = listed((row.name for row in worst.rows), most=2)
    gained = "" if math.isnan(gain) else f", and int8 gains {units.latency(gain)} in them"
    text = (
        f"{many(len(found), 'island')} of {many(len(rows), 'layer')} in another precision than what surrounds them; the dearest is"
        f" {names} in {worst.precision}. Conversions around them take {units.latency(boundary.ms)}, the layers themselves"
        f" {units.latency(own.ms)}{gained}."
    )
    other = "fp32" if worst.precision == "int8" else "int8"
    experiment = f'Give {names} the precision of what surrounds it (precision = "{other}" in a recipe).'
    if other == "int8" and not all(row.cores & QUANTIZED_KERNELS for row in worst.rows):
        experiment = f'Leave more of what surrounds {names} in float (precision = "fp32" in a recipe): not all of it can be int8.'
    evidence = {"islands": len(found), "layers": len(rows), "boundary_ms": boundary.ms, "own_ms": own.ms, "gain_ms": gain}
    yield diagnosis("precision-islands", case.severity(cost), "Mixed-precision islands", text, rows, evidence, cost, experiment)


def _found(case: Case) -> Iterator[_Island]:
    precision = {row.at: told for row in case.rows if (told := _precision(row))}
    whole = cost_of(case.rows[at] for at in precision).ms
    before = _baseline_ms(case)
    for part in _parts(case, precision):
        rows = tuple(case.rows[at] for at in sorted(part))
        own = cost_of(rows).ms
        shore = _shore(case, part, precision)
        if not shore or not own <= MOST_SHARE * whole:
            continue
        told = precision[rows[0].at]
        gain = math.nan
        if told == "int8":
            gain = finite(sum(before.get(row.at, math.nan) for row in rows) - own)
        boundary = cost_of(shore).ms
        if boundary > (own if math.isnan(gain) else gain):
            yield _Island(told, rows, shore, gain)


def _precision(row: Row) -> str:
    if row.converts or row.kind != "layer":
        return ""
    return "int8" if row.precision in INT8 else "float" if row.precision in FLOAT else ""


def _parts(case: Case, precision: Mapping[int, str]) -> Iterator[set[int]]:
    """Rows of one precision that hang together."""
    left = set(precision)
    while left:
        start = min(left)
        part, frontier = {start}, [start]
        while frontier:
            at = frontier.pop()
            for near in case.before.get(at, frozenset()) | case.after.get(at, frozenset()):
                if near not in part and precision.get(near) == precision[start]:
                    part.add(near)
                    frontier.append(near)
        left -= part
        yield part


def _shore(case: Case, part: set[int], precision: Mapping[int, str]) -> tuple[Row, ...]:
    """Conversions around it; none unless layers of the other precision stand beyond them on both sides."""
    own = precision[min(part)]

    def beyond(near: Mapping[int, frozenset[int]]) -> list[Row]:
        conversions = {at for row in part for at in near.get(row, ()) if case.rows[at].converts and not case.of_weights(case.rows[at])}
        return [case.rows[at] for at in conversions if any(precision.get(far, own) != own for far in near.get(at, ()))]

    entry, leaving = beyond(case.before), beyond(case.after)
    return tuple(sorted({*entry, *leaving}, key=lambda row: row.at)) if entry and leaving else ()


def _baseline_ms(case: Case) -> Mapping[int, float]:
    """Position of a row -> what the same nodes took in the baseline, where the row stands for them alone."""
    if case.aligned is None:
        return {}
    table = case.profile.measured_layers
    called = [runtime or name for runtime, name in zip(table["runtime_name"], table["name"], strict=True)]
    at = dict(zip(reversed(called), reversed(range(len(called))), strict=True))
    before, cells = case.aligned.column(0, "latency_ms"), case.aligned.cells
    own = cells[cells["profile"] == 1]
    return {
        at[ran[0]]: float(before[position]) for position, ran in zip(own["row"], own["ran"], strict=True) if len(ran) == 1 and ran[0] in at
    }
