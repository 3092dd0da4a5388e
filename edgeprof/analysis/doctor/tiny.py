"""Layers so short that starting them takes most of their time."""

from __future__ import annotations

from collections.abc import Iterator

from edgeprof.analysis.bottlenecks import TINY_MS, tiny_layers
from edgeprof.analysis.doctor.base import Case, Diagnosis, cost_of, diagnosis
from edgeprof.analysis.names import listed
from edgeprof.units import latency


def tiny(case: Case) -> Iterator[Diagnosis]:
    """Those of the finding with this name (`edgeprof.analysis.bottlenecks`), but not conversions and what the runtime inserted.

    These have diagnoses of their own.
    """
    found = set(tiny_layers(case.profile).index)
    told = zip(case.rows, case.profile.measured_layers.index, strict=True)
    rows = [row for row, at in told if at in found and row.kind != "inserted" and not row.converts]
    cost = cost_of(rows)
    if not case.worth(cost):
        return
    ops = sorted({row.op_type for row in rows}, key=lambda op: -sum(row.op_type == op for row in rows))
    text = (
        f"{len(rows)} of {len(case.rows)} layers take under {latency(TINY_MS, 1)} each, together {case.takes(cost)}."
        f" There the runtime's cost of starting a layer rules, most often for {listed(ops)}."
    )
    experiment = "Export with fused operators (LayerNormalization, Gelu, Attention), or fold chains of small ones into one, and compare."
    evidence = {"layers": len(rows), "of": len(case.rows), "below_ms": TINY_MS}
    yield diagnosis("tiny-layers", case.severity(cost), "Tiny kernels", text, rows, evidence, cost, experiment)
