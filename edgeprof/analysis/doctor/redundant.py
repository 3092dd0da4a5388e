"""Layers of the model that need not be there: nobody uses what they make, or another one makes the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeprof.analysis.doctor.base import CONVERSIONS, Case, Cost, Diagnosis, Row, cost_of, diagnosis, many
from edgeprof.analysis.names import listed
from edgeprof.models.graph import Layer

_NOT_COMPARED = frozenset({
    "Constant", "ConstantOfShape", "If", "Loop", "Scan", "SequenceMap", "Dropout", "Bernoulli", "Multinomial", "RandomNormal",
    "RandomNormalLike", "RandomUniform", "RandomUniformLike",
}) | CONVERSIONS  # fmt: skip
"""Values and bodies that a Graph does not hold, chance, and conversions, which quantizers double on purpose."""


def dead(case: Case) -> Iterator[Diagnosis]:
    """Layers whose results reach no output of the model; only of the main graph."""
    if not case.results:
        return
    bodies = {layer.parent for layer in case.graph.layers if layer.parent is not None}
    wanted = set(case.results) | {t for layer in case.graph.layers if layer.parent is not None for t in layer.inputs}
    found: list[Layer] = []
    for layer in reversed(case.graph.layers):
        if layer.parent is not None:
            continue
        if layer.name in bodies or wanted & set(layer.outputs):
            wanted |= set(layer.inputs)
        else:
            found.append(layer)
    if found:
        yield from _told(case, "dead-layers", "Layers that nobody uses", "make what no output of the model depends on", found[::-1])


def duplicates(case: Case) -> Iterator[Diagnosis]:
    """Layers of the main graph with the same operator, attributes and inputs as an earlier one, inputs being equal by the same rule."""
    same: dict[str, str] = {}
    seen: dict[object, Layer] = {}
    found: list[Layer] = []
    for layer in case.graph.layers:
        if layer.parent is not None or layer.op_type in _NOT_COMPARED or layer.domain not in ("", "ai.onnx") or not layer.inputs:
            continue
        attributes = tuple(sorted((key, repr(value)) for key, value in layer.attributes.items()))
        key = (layer.op_type, attributes, tuple(same.get(t, t) for t in layer.inputs), tuple(bool(t) for t in layer.outputs))
        first = seen.setdefault(key, layer)
        if first is not layer:
            same.update(zip(layer.outputs, first.outputs, strict=True))
            found.append(layer)
    if found:
        yield from _told(case, "duplicate-layers", "Layers that compute the same", "compute what an earlier one computes too", found)


def _told(case: Case, id_: str, title: str, what: str, layers: Sequence[Layer]) -> Iterator[Diagnosis]:
    """Their cost is the time of rows that carry out nothing else; what the runtime itself leaves out costs none."""
    names = {layer.name for layer in layers}
    rows: list[Row] = [row for row in case.rows if row.sources and set(row.sources) <= names]
    running = {source for row in rows for source in row.sources}
    cost = cost_of(rows) if rows else Cost(0.0, 0.0, 0.0)
    plural = len(layers) != 1
    spent = case.takes(cost) if cost.ms > 0 else "too short to be told from zero"
    time = (
        f"{len(running)} of them run{'s' * (len(running) == 1)}: {spent}" if rows else "The runtime leaves them out, so they cost no time"
    )
    text = f"{many(len(layers), 'layer')} {what if plural else _singular(what)} ({listed(layer.name for layer in layers)}). {time}."
    experiment = "Drop them from the model, for example by exporting it anew, and check that the outputs stay the same."
    evidence = {"layers": len(layers), "running": len(running)}
    yield diagnosis(id_, case.severity(cost), title, text, (layer.name for layer in layers), evidence, cost, experiment)


def _singular(what: str) -> str:
    verb, _, rest = what.partition(" ")
    return f"{verb}s {rest}"
