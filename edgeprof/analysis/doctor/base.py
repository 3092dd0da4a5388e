"""What every rule of the doctor works with: a `Case` (a profile, ready to be asked), and what it gives: `Diagnosis`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import pandas as pd

from edgeprof import units
from edgeprof.analysis.align import Alignment, align
from edgeprof.models.graph import Graph, Layer
from edgeprof.models.optypes import core_types
from edgeprof.recipes.target import Target, target_of
from edgeprof.records.peaks import Peaks
from edgeprof.records.profile import Profile

SCHEMA_VERSION = 1

Severity = Literal["info", "warning", "error"]

WARNING_SHARE = 0.05
"""From this part of the model's time on a cost is a warning."""

LEAST_SHARE = 0.005
"""Costs below this part of the model's time are not worth a word."""

INT8 = frozenset({"int8", "uint8"})
FLOAT = frozenset({"float32", "float16", "bfloat16", "float64"})
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})

_NAN = math.nan
_BEYOND = 1e100
"""No time in ms, no count and no bytes are as many: sums and widths of what is below stay finite."""


@dataclass(frozen=True)
class Diagnosis:
    """Something about a model on a board that takes time and can be tried to change.

    ``id`` is stable and meant for machines (docs/doctor.md lists them); ``text`` says in one or two sentences what was found, ``evidence``
    in numbers. ``cost_ms`` is the time in question in one run of the model: the most that can be won, no promise. Its interval is the sum
    of the layers' intervals, so rather too wide; all three are NaN where they are not known. Costs of several diagnoses may hold the same
    layers and do not add up. ``experiment`` says what to try.
    """

    id: str
    severity: Severity
    title: str
    text: str
    layers: tuple[str, ...] = ()
    evidence: Mapping[str, float | str] = field(default_factory=dict)
    cost_ms: float = _NAN
    cost_low_ms: float = _NAN
    cost_high_ms: float = _NAN
    experiment: str = ""

    @property
    def cost(self) -> str:
        """The cost with its interval as people read it; a dash when it is not known."""
        return units.latency_interval(self.cost_ms, self.cost_low_ms, self.cost_high_ms)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not known is None."""
        return {
            "id": self.id, "severity": self.severity, "title": self.title, "text": self.text, "layers": list(self.layers),
            "evidence": {key: _plain(value) for key, value in self.evidence.items()}, "cost_ms": _plain(self.cost_ms),
            "cost_low_ms": _plain(self.cost_low_ms), "cost_high_ms": _plain(self.cost_high_ms), "experiment": self.experiment,
        }  # fmt: skip


class Diagnoses(tuple[Diagnosis, ...]):
    """All diagnoses of one profile, the dearest first. A tuple that a notebook shows as a table."""

    __slots__ = ()

    @property
    def table(self) -> pd.DataFrame:
        """A row a diagnosis; `Diagnosis.evidence` stays with the diagnoses themselves."""
        columns = ["id", "severity", "title", "cost_ms", "cost_low_ms", "cost_high_ms", "text", "experiment", "layers"]
        rows = [[getattr(one, name) for name in columns[:-1]] + [len(one.layers)] for one in self]
        return pd.DataFrame(rows, columns=columns)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with ``schema_version``."""
        return {"schema_version": SCHEMA_VERSION, "diagnoses": [one.as_dict() for one in self]}

    def __repr__(self) -> str:
        lines = [f"{one.severity:<8} {one.id:<24} {one.cost:<26} {one.title}".rstrip() for one in self]
        return "\n".join([f"<{len(self)} diagnos{'is' if len(self) == 1 else 'es'}>", *lines])

    def _repr_html_(self) -> str:
        from html import escape

        from edgeprof.analysis.names import visible

        head = "".join(f"<th>{text}</th>" for text in ("", "Diagnosis", "Cost", "What was found", "What to try"))
        rows = "".join(
            "<tr>" + "".join(f'<td style="text-align: left">{escape(visible(text))}</td>' for text in cells) + "</tr>"
            for cells in ((one.severity, one.title, one.cost, one.text, one.experiment) for one in self)
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" if self else "<p>Nothing was found.</p>"


class Cost(NamedTuple):
    """Time of several layers together, in ms."""

    ms: float = _NAN
    low_ms: float = _NAN
    high_ms: float = _NAN

    def times(self, factor: float) -> Cost:
        """A part of it."""
        return Cost(self.ms * factor, self.low_ms * factor, self.high_ms * factor)


class Row(NamedTuple):
    """One executed layer; ``at`` is its position among the profile's layers. Numbers that are not finite are NaN."""

    at: int
    name: str
    op_type: str
    kind: str
    sources: tuple[str, ...]
    provider: str
    precision: str
    ms: float
    low_ms: float
    high_ms: float
    macs: float
    param_bytes: float
    intensity: float

    @property
    def converts(self) -> bool:
        """Whether it is a QuantizeLinear or DequantizeLinear that runs as a layer of its own."""
        return self.op_type in CONVERSIONS

    @property
    def cores(self) -> frozenset[str]:
        """Op types of the model that it is built around: ``QLinearConv`` is a Conv."""
        return core_types(Layer("", self.op_type, (), ()))


@dataclass(frozen=True)
class Case:
    """A profile as the rules ask it; ``baseline`` is one of the model that this one was made from, ``peaks`` what its board can do."""

    profile: Profile
    baseline: Profile | None = None
    peaks: Peaks | None = None

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """All executed layers, in the order they ran."""
        texts = ("name", "op_type", "kind", "source_nodes", "provider", "precision")
        numbers = ("latency_ms", "latency_low_ms", "latency_high_ms", "macs", "param_bytes", "arithmetic_intensity")
        table = self.profile.measured_layers
        columns = [table[name].tolist() for name in (*texts, *numbers)]
        return tuple(
            Row(at, name, op_type, kind, tuple(sources), provider, precision, *map(finite, told))
            for at, (name, op_type, kind, sources, provider, precision, *told) in enumerate(zip(*columns, strict=True))
        )

    @cached_property
    def aligned(self) -> Alignment | None:
        """Baseline and profile side by side, by the names of nodes that both models have; None without a baseline."""
        if self.baseline is None:
            return None
        return align([_measurable(self.baseline), _measurable(self.profile)], same_file=False)

    @cached_property
    def total_ms(self) -> float:
        """Median time of the model, or the sum of its layers where that was not measured; NaN when neither is above 0."""
        median = self.profile.context.latency.median_ms
        total = finite(median) if median is not None else cost_of(self.rows).ms
        return total if total > 0 else _NAN

    @cached_property
    def target(self) -> Target:
        """The processor that it ran on."""
        return target_of(self.profile.context.fingerprint, self.profile.context.board)

    @cached_property
    def graph(self) -> Graph:
        """The model; one without layers where the profile does not hold it."""
        return self.profile.graph if self.profile.graph is not None else Graph("", (), (), (), {})

    @cached_property
    def layer(self) -> Mapping[str, Layer]:
        """Layers of the model by name."""
        return {layer.name: layer for layer in self.graph.layers}

    @cached_property
    def maker(self) -> Mapping[str, Layer]:
        """The layer that makes a tensor."""
        return {tensor: layer for layer in self.graph.layers for tensor in layer.outputs if tensor}

    @cached_property
    def readers(self) -> Mapping[str, Sequence[Layer]]:
        """The layers that read a tensor, bodies of other layers included."""
        found: dict[str, list[Layer]] = defaultdict(list)
        for layer in self.graph.layers:
            for tensor in dict.fromkeys(layer.inputs):
                if tensor:
                    found[tensor].append(layer)
        return found

    @cached_property
    def results(self) -> frozenset[str]:
        """Outputs of the model."""
        return frozenset(tensor.name for tensor in self.graph.outputs)

    @cached_property
    def row_of(self) -> Mapping[str, Row]:
        """The row that carries out a layer of the model; one of its own type where several do."""
        found: dict[str, Row] = {}
        for row in self.rows:
            for source in row.sources:
                layer = self.layer.get(source)
                if source not in found or (layer is not None and layer.op_type in row.cores and layer.op_type not in found[source].cores):
                    found[source] = row
        return found

    @cached_property
    def before(self) -> Mapping[int, frozenset[int]]:
        """Position of a row -> positions of the rows that make what it reads, through layers that did not run at all."""
        made: dict[str, frozenset[int]] = {}
        before: dict[int, set[int]] = defaultdict(set)
        for layer in self.graph.layers:
            row = self.row_of.get(layer.name)
            read = frozenset[int]().union(*(made.get(tensor, frozenset()) for tensor in layer.inputs))
            if row is not None:
                before[row.at] |= read - {row.at}
            for tensor in layer.outputs:
                made[tensor] = read if row is None else frozenset({row.at})
        return {at: frozenset(rows) for at, rows in before.items()}

    @cached_property
    def after(self) -> Mapping[int, frozenset[int]]:
        """Position of a row -> positions of the rows that read what it makes."""
        after: dict[int, set[int]] = defaultdict(set)
        for at, makers in self.before.items():
            for maker in makers:
                after[maker].add(at)
        return {at: frozenset(rows) for at, rows in after.items()}

    def is_constant(self, tensor: str) -> bool:
        """Whether the model stores it: a weight."""
        return tensor in self.graph.initializers or (tensor in self.maker and self.maker[tensor].op_type == "Constant")

    def of_weights(self, row: Row) -> bool:
        """Whether it is a DequantizeLinear of what the model stores."""
        layers = [self.layer[source] for source in row.sources if source in self.layer]
        return row.op_type == "DequantizeLinear" and any(
            layer.op_type == "DequantizeLinear" and bool(layer.inputs) and self.is_constant(layer.inputs[0]) for layer in layers
        )

    def part(self, cost: Cost) -> float:
        """The part of the model's time that a cost is; NaN when either is not known."""
        return finite(cost.ms / self.total_ms)

    def worth(self, cost: Cost) -> bool:
        """Whether a cost is above zero and large enough for a word."""
        return cost.ms > 0 and not self.part(cost) < LEAST_SHARE

    def severity(self, cost: Cost) -> Severity:
        """A warning from `WARNING_SHARE` on."""
        return "warning" if self.part(cost) >= WARNING_SHARE else "info"

    def takes(self, cost: Cost) -> str:
        """``1.20 ms, 12.0 % of the time``."""
        return f"{units.latency(cost.ms)}, {units.share(self.part(cost))} of the time"


def diagnosis(
    id_: str,
    severity: Severity,
    title: str,
    text: str,
    rows: Iterable[Row | str],
    evidence: Mapping[str, float | str],
    cost: Cost,
    experiment: str,
) -> Diagnosis:
    """A `Diagnosis` about ``rows`` (or names of layers) with this cost; one that is read below zero is not known."""
    names = tuple(row if isinstance(row, str) else row.name for row in rows)
    return Diagnosis(id_, severity, title, text, names, evidence, *(Cost() if cost.ms < 0 else cost), experiment)


def cost_of(rows: Iterable[Row]) -> Cost:
    """What rows take together: of those that have a time. The interval is not known where one of them has none."""
    return total(Cost(row.ms, row.low_ms, row.high_ms) for row in rows if not math.isnan(row.ms))


def total(costs: Iterable[Cost]) -> Cost:
    """The sum; a part without an interval leaves it without one."""
    parts = list(costs)
    return Cost(*(finite(sum(values)) for values in zip(*parts, strict=True))) if parts else Cost()


def dearest(rows: Iterable[Row]) -> list[Row]:
    """Rows, those with the most time first."""
    return sorted(rows, key=lambda row: math.inf if math.isnan(row.ms) else -row.ms)


def finite(value: float) -> float:
    """``value``, or NaN when it is not finite or beyond all that can be measured, as in a damaged file."""
    return float(value) if abs(value) < _BEYOND else _NAN


def _measurable(profile: Profile) -> Profile:
    """The same with NaN for numbers that `finite` does not take."""
    numbers = profile.layers.select_dtypes("float64")
    return replace(profile, layers=profile.layers.assign(**numbers.where(numbers.abs() < _BEYOND)))


def many(n: int, noun: str) -> str:
    """``1 layer``, ``2 layers``."""
    return f"{n} {noun}{'s' * (n != 1)}"


def _plain(value: float | str) -> float | str | None:
    return value if isinstance(value, (str, int)) else None if not math.isfinite(value) else float(value)
