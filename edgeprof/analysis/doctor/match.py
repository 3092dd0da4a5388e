"""A model's layers beside those of the model it was made from: by the names of nodes, which a recipe keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgeprof.analysis.align import Alignment, align
from edgeprof.analysis.doctor.base import Case


def matched(case: Case) -> Alignment | None:
    """Both profiles side by side, the baseline first; None without a baseline."""
    return None if case.baseline is None else align([case.baseline, case.profile], same_file=False)


def baseline_ms(case: Case) -> Mapping[int, float]:
    """Position of a row -> what the same nodes took in the baseline, where the row stands for them alone; NaN when they have no time."""
    aligned = matched(case)
    if aligned is None:
        return {}
    names: dict[str, int] = {}
    for row in case.rows:
        names.setdefault(row.name, row.at)
    before, cells = aligned.column(0, "latency_ms"), aligned.cells[aligned.cells["profile"] == 1]
    runtime = {(row_name or name): name for row_name, name in _names(case)}
    found = {}
    for position, ran in zip(cells["row"], cells["ran"], strict=True):
        if len(ran) == 1 and (name := runtime.get(ran[0])) in names:
            found[names[name]] = float(before.get(position, math.nan))
    return found


def _names(case: Case) -> list[tuple[str, str]]:
    table = case.profile.measured_layers
    return list(zip(table["runtime_name"], table["name"], strict=True))
