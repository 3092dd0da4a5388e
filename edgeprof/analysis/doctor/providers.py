"""Layers that run on the CPU although an accelerator was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from edgeprof.analysis.doctor.base import Case, Diagnosis, cost_of, dearest, diagnosis
from edgeprof.analysis.names import listed

CPU = "CPUExecutionProvider"


def fallback(case: Case) -> Iterator[Diagnosis]:
    """All layers that the other providers did not take."""
    asked = [name for name in case.profile.context.providers if name and name != CPU]
    rows = dearest(row for row in case.rows if row.provider == CPU)
    if not asked or not rows:
        return
    cost, timed = cost_of(rows), [row for row in case.rows if row.provider]
    ops = Counter(row.op_type for row in rows)
    whole = "All" if len(rows) == len(timed) else f"{len(rows)} of {len(timed)}"
    time = f": {case.takes(cost)}" if cost.ms > 0 else ""
    told = listed((f"{n} {op}" for op, n in ops.most_common()))
    text = f"{whole} layers run on the CPU though {listed(asked)} came first{time}. They are {told}."
    experiment = f"Profile on the CPU alone and compare, and look for a form of {listed(ops, most=2)} that {listed(asked, most=1)} takes."
    evidence: dict[str, float | str] = {"layers": len(rows), "of": len(timed), "providers": ", ".join(asked), "op_types": ", ".join(ops)}
    severity = "warning" if len(rows) == len(timed) else case.severity(cost)
    yield diagnosis("cpu-fallback", severity, "Layers that fell back to the CPU", text, rows, evidence, cost, experiment)
