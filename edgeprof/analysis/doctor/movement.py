"""Layers that compute nothing: reorders between memory layouts, casts, transposes, copies between devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from edgeprof.analysis.doctor.base import Case, Diagnosis, cost_of, diagnosis
from edgeprof.analysis.names import listed


@dataclass(frozen=True)
class _Movement:
    """Op types that are told together; ``inserted``: only those that the runtime put there."""

    id: str
    title: str
    op_types: frozenset[str]
    why: str
    experiment: str
    inserted: bool = False


_MOVEMENTS = (
    _Movement(
        "layout-reorders",
        "Reorders between memory layouts",
        frozenset({"ReorderInput", "ReorderOutput"}),
        "They bring tensors into the blocked layout of fast convolutions and back, wherever a layer between does not take it",
        "Profile with `--optimization extended`, which leaves the blocked layout out, and compare; bring channels to full blocks.",
    ),
    _Movement(
        "casts",
        "Casts between element types",
        frozenset({"Cast"}),
        "Each stands where neighbours compute in different types",
        "Give both sides of the longest cast one precision in the recipe, or export the model without it.",
    ),
    _Movement(
        "transposes",
        "Transposes inserted by the runtime",
        frozenset({"Transpose"}),
        "They turn channels-first into channels-last and back, around layers that only run that way, as int8 convolutions do",
        "Quantize what stands between two of them too, so that both can go.",
        inserted=True,
    ),
    _Movement(
        "device-copies",
        "Copies between devices",
        frozenset({"MemcpyToHost", "MemcpyFromHost"}),
        "They stand where one layer runs on the accelerator and the next does not",
        "Replace the operators that the accelerator does not take (see cpu-fallback), or run the whole model on one provider.",
    ),
)


def moved(case: Case) -> Iterator[Diagnosis]:
    """One diagnosis a kind of movement."""
    for kind in _MOVEMENTS:
        rows = [row for row in case.rows if row.op_type in kind.op_types and (row.kind == "inserted" or not kind.inserted)]
        cost = cost_of(rows)
        if not case.worth(cost):
            continue
        counts = Counter(row.op_type for row in rows)
        ops = listed((f"{n} {op}" for op, n in counts.most_common()), most=4)
        text = f"{ops}: {case.takes(cost)}. {kind.why}."
        evidence = {"layers": len(rows), "inserted": sum(row.kind == "inserted" for row in rows)}
        yield diagnosis(kind.id, case.severity(cost), kind.title, text, rows, evidence, cost, kind.experiment)
