"""Products with a single row: each weight is read for one multiplication, so memory sets the time."""

from __future__ import annotations

from collections.abc import Iterator

from edgeprof import units
from edgeprof.analysis.doctor.base import Case, Diagnosis, Row, cost_of, dearest, diagnosis, finite, many, total
from edgeprof.analysis.names import listed

LEAST_BYTES = 256 << 10
"""Weights below this stay in a cache from run to run."""

MOST_INTENSITY = 4.0
"""FLOP for each byte; one row of float32 is 0.5, of int8 2."""

NEAR = 0.3
"""Part of the board's memory bandwidth from which on a layer counts as bound by it, where that bandwidth is known."""

_INT8 = "int8-weights"
_FEWER = {"float64": (8, _INT8), "float32": (4, _INT8), "float16": (2, _INT8), "bfloat16": (2, _INT8)}
"""By how much weights of this type shrink, and to what; int8 ones to half."""


def bound_by_memory(case: Case) -> Iterator[Diagnosis]:
    """Gemm and MatMul with low arithmetic intensity; the cost is what fewer bytes a weight would save if bytes were all that counts."""
    limit = case.peaks.memory_gb_s.value if case.peaks is not None else 0.0
    rows = [row for row in dearest(case.rows) if _low(row) and not _rate(row) < NEAR * limit]
    if not case.worth(cost_of(rows)):
        return
    smaller = [_FEWER.get(row.precision, (2, "int4-weights")) for row in rows]
    cost = total(cost_of([row]).times(1 - 1 / times) for row, (times, _) in zip(rows, smaller, strict=True))
    spent, nbytes, names = cost_of(rows), finite(sum(row.param_bytes for row in rows)), listed((row.name for row in rows), most=2)
    rate = finite(nbytes / spent.ms / 1e6)
    at = f", at {_speed(rate)}" if rate > 0 else ""
    of = f" (the board: {_speed(limit)})" if limit > 0 else ""
    one = len(rows) == 1
    text = (
        f"{many(len(rows), 'layer')} ({names}) read{'s' * one} {units.size(nbytes)} of weights and make{'s' * one}"
        f" few operations with each: {case.takes(spent)}{at}{of}. With fewer bytes a weight up to {units.latency(cost.ms)} of it may go"
        " (an estimate)."
    )
    experiment = f'Store fewer bits for {names} (precision = "{smaller[0][1]}" in a recipe), or batch requests.'
    evidence = {"layers": len(rows), "weight_bytes": nbytes, "gb_s": rate, "board_gb_s": limit or float("nan"), "layers_ms": spent.ms}
    yield diagnosis("memory-bound-weights", case.severity(cost), "Bound by reading weights", text, rows, evidence, cost, experiment)


def _low(row: Row) -> bool:
    product = bool(row.cores & {"Gemm", "MatMul"})
    return product and row.param_bytes >= LEAST_BYTES and 0 < row.intensity <= MOST_INTENSITY and row.ms > 0


def _speed(gb_s: float) -> str:
    return f"{units.significant(gb_s, 3)} GB/s"


def _rate(row: Row) -> float:
    """GB/s of weights."""
    return row.param_bytes / row.ms / 1e6
