"""`fit`: what the parts of a model cost on a board, from its profile and those of its variants.

1. **A unit's time** at a precision is measured in place: in each variant that has it so. Over widths it is a line in its work (MACs, or
   bytes moved where it has none), ``t = a + b * work``, fitted by least squares with ``a, b >= 0``; variants whose work is the same are
   averaged. Where a unit was never measured at a precision, its ops' median ratio to float stands in, and a finding says so.
2. **Boundaries** (QuantizeLinear, DequantizeLinear, reorders, layout transposes) are what layers without an original node took. Their time
   in each variant is explained by the elements of the tensors that change format on their way, from which to which: float of a
   convolution (blocked), other float, int8; non-negative least squares.
3. **What must come out right is the whole.** In each variant the layers' times are shared out over its plain median, so the rest between
   layers (1 to 2 % on a quiet machine) is part of the layers' times here, and the estimate has no such row.
4. **The error** is that of variants that were left out: each is estimated from all others, and the root mean square of the relative errors
   (with Student's t for so many) is the 95 % interval. The model as it is, which every estimate starts from, does not count.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeprof.errors import UsageError
from edgeprof.models.graph import Graph
from edgeprof.recipes.plan import Plan, plan
from edgeprof.recipes.recipe import FLOAT, Recipe, parse_recipe
from edgeprof.recipes.target import Target, target_of
from edgeprof.records.profile import Profile
from edgeprof.whatif.units import Unit, crossings, unit_times, units_of, work_of

Floats = NDArray[np.float64]

SAME_WORK = 0.005
"""Relative difference of work below which two variants count as the same."""
_BLOCKED = frozenset({"Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
_T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)


@dataclass(frozen=True, eq=False)
class Variant:
    """One profile as the fit sees it: of each unit precision, work and time, all boundary time, which sum to the plain median (ms)."""

    precision: tuple[str, ...]
    work: Floats
    time_ms: Floats
    boundary_ms: float
    formats: Mapping[tuple[str, str], tuple[int, float]]
    plain_ms: float
    is_base: bool


@dataclass(frozen=True, eq=False)
class Costs:
    """What was learned of one model on one board; `fit` makes it, `estimate` reads it.

    ``base`` is the profile of the model as it is, ``error`` the half-width of the 95 % interval as a part of the estimate (NaN: not known,
    fewer than two variants), ``errors`` the relative errors of the variants that were left out in turn.
    """

    base: Profile
    graph: Graph
    target: Target
    units: tuple[Unit, ...]
    variants: tuple[Variant, ...]
    errors: tuple[float, ...] = ()

    @property
    def error(self) -> float:
        """Half-width of the 95 % interval, as a part of the estimate."""
        n = len(self.errors)
        if n < 2:
            return math.nan
        rms = math.sqrt(math.fsum(e * e for e in self.errors) / n)
        return rms * (_T95[n - 1] if n <= len(_T95) else 1.96 + 2.5 / n)

    def spread(self, number: int) -> float:
        """Relative scatter of a unit's times around its line, root mean square, doubled: how far one estimate of it may be off."""
        return self._lines.spread(number)

    @cached_property
    def precisions(self) -> frozenset[str]:
        """Those that some unit was measured at."""
        return frozenset(
            p for variant in self.variants for p, t in zip(variant.precision, variant.time_ms, strict=True) if not math.isnan(t)
        )

    def predict(self, planned: Plan) -> Prediction:
        """Times for a plan; UsageError when it needs a precision that no variant has."""
        precision = _unit_precisions(self.units, planned)
        missing = sorted({p for p in precision if p not in self.precisions})
        if missing:
            raise UsageError(
                f"No variant of {self.graph.name} was measured with {' or '.join(missing)} layers on {self.base.context.board}, so nothing"
                " can be said of them. Measure one: `edgeprof variants --precision`, or ep.measure_variants(precisions=...)."
            )
        work = np.array(work_of(self.units, planned.graph))
        times, borrowed = np.empty(len(self.units)), []
        for number, unit in enumerate(self.units):
            times[number], own = self._lines.time(number, precision[number], work[number])
            if not own:
                borrowed.append(unit.leader)
        boundary = self._boundaries.time(_formats(self.units, precision, planned.graph))
        return Prediction(precision, work, times, boundary, tuple(borrowed))

    @cached_property
    def _lines(self) -> _Lines:
        return _Lines(self.units, self.variants)

    @cached_property
    def _boundaries(self) -> _Boundaries:
        return _Boundaries(self.variants)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Milliseconds of each unit and of all boundaries. ``borrowed``: units whose precision was measured on others only."""

    precision: tuple[str, ...]
    work: Floats
    time_ms: Floats
    boundary_ms: float
    borrowed: tuple[str, ...]

    @property
    def total_ms(self) -> float:
        """End to end."""
        return float(np.nansum(self.time_ms)) + self.boundary_ms


def fit(base: Profile, variants: Sequence[Profile] = (), *, target: Target | None = None) -> Costs:
    """What this model's parts cost on the board of ``base``.

    Args:
        base: profile of the model as it is.
        variants: profiles of models that recipes made of it (their contexts hold the recipes), on the same board and runtime.
        target: the processor; None is the one that the profile tells of.

    Raises:
        UsageError: a profile has no times or no graph, or is of another model, board, runtime or number of threads.
    """
    graph = base.graph
    if graph is None or base.context.latency.median_ms is None:
        raise UsageError(f"The profile of {base.context.model_name} has no graph or no latency; profile the model anew.")
    for variant in variants:
        _check_same(base, variant)
    target = target or target_of(base.context.fingerprint, base.context.board)
    units = units_of(graph, [base, *variants])
    seen = [_variant(units, base, Plan({}, graph), is_base=True)]
    seen += [_variant(units, one, plan(parse_recipe(one.context.recipe), graph, target), is_base=False) for one in variants]
    costs = Costs(base, graph, target, units, tuple(seen))
    return Costs(base, graph, target, units, tuple(seen), tuple(_left_out(costs, [parse_recipe(one.context.recipe) for one in variants])))


def _check_same(base: Profile, variant: Profile) -> None:
    if variant.parent != base.context.model_sha256 or not variant.context.recipe:
        name, of = variant.context.model_name, base.context.model_name
        raise UsageError(f"{name} is no variant of {of}: its profile names another parent, or no recipe.")
    if variant.origin == "estimated":
        raise UsageError("An estimate cannot be made from estimates. Give measured profiles of variants.")
    for name in ("board", "runtime", "threads", "optimization", "providers"):
        ours, theirs = getattr(base.context, name), getattr(variant.context, name)
        if ours != theirs:
            what = f"The variant {variant.context.model_name} was measured with {name} {theirs!r}, the model with {ours!r}"
            raise UsageError(f"{what}; an estimate needs the same.")


def _variant(units: Sequence[Unit], profile: Profile, planned: Plan, *, is_base: bool) -> Variant:
    plain = profile.context.latency.median_ms or math.nan
    times, boundary = unit_times(units, profile)
    layers = float(np.nansum(times)) + boundary
    scale = plain / layers if layers > 0 else math.nan
    precision = _unit_precisions(units, planned)
    return Variant(
        precision=precision,
        work=np.array(work_of(units, planned.graph)),
        time_ms=np.array(times) * scale,
        boundary_ms=boundary * scale,
        formats=_formats(units, precision, planned.graph),
        plain_ms=plain,
        is_base=is_base,
    )


def _unit_precisions(units: Sequence[Unit], planned: Plan) -> tuple[str, ...]:
    return tuple(planned.precision.get(unit.leader, FLOAT) for unit in units)


def _formats(units: Sequence[Unit], precision: Sequence[str], graph: Graph) -> dict[tuple[str, str], tuple[int, float]]:
    """(from, to) -> (tensors, elements) that change their format between units."""

    def kind(number: int) -> str:
        if number < 0:
            return "float"
        if precision[number] == "int8":
            return "int8"
        if precision[number] == "fp16":
            return "fp16"
        return "blocked" if units[number].op_type in _BLOCKED else "float"

    found: dict[tuple[str, str], tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for maker, reader, elements in crossings(units, graph):
        pair = (kind(maker), kind(reader))
        if pair[0] != pair[1]:
            count, total = found[pair]
            found[pair] = (count + 1, total + elements)
    return dict(found)


class _Lines:
    """Each unit's time over its work, at each precision."""

    def __init__(self, units: Sequence[Unit], variants: Sequence[Variant]) -> None:
        self._units = units
        self._base_work = variants[0].work
        self._lines: dict[tuple[int, str], tuple[float, float]] = {}
        self._ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._spread: list[float] = []
        for number, unit in enumerate(units):
            seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
            for variant in variants:
                if variant.time_ms[number] == variant.time_ms[number] and variant.work[number] > 0:
                    seen[variant.precision[number]].append((variant.work[number] / self._base_work[number], variant.time_ms[number]))
            shape = _line(seen[FLOAT]) if seen.get(FLOAT) else None
            for precision, points in seen.items():
                self._lines[number, precision] = _line(points, shape)
            self._spread.append(self._scatter(number, seen))
            if (number, FLOAT) in self._lines:
                whole = sum(self._lines[number, FLOAT])
                for precision in seen:
                    if precision != FLOAT and whole > 0:
                        self._ratios[unit.op_type, precision].append(sum(self._lines[number, precision]) / whole)
                        self._ratios["", precision].append(self._ratios[unit.op_type, precision][-1])

    def _scatter(self, number: int, seen: Mapping[str, Sequence[tuple[float, float]]]) -> float:
        residuals = []
        for precision, points in seen.items():
            a, b = self._lines[number, precision]
            residuals += [time / (a + b * width) - 1 for width, time in points if len(points) > 1 and a + b * width > 0]
        return 2 * math.sqrt(math.fsum(r * r for r in residuals) / len(residuals)) if residuals else 0.0

    def spread(self, number: int) -> float:
        """Twice the root mean square of the unit's relative residuals; 0 where each precision was seen once."""
        return self._spread[number]

    def time(self, number: int, precision: str, work: float) -> tuple[float, bool]:
        """Milliseconds, and whether the unit was itself measured at this precision. NaN time where it never ran."""
        ratio = work / self._base_work[number] if self._base_work[number] > 0 else 1.0
        line = self._lines.get((number, precision))
        if line is not None:
            return max(0.0, line[0] + line[1] * ratio), True
        line = self._lines.get((number, FLOAT)) or next((own for (n, _), own in self._lines.items() if n == number), None)
        if line is None:
            return math.nan, True
        factors = self._ratios.get((self._units[number].op_type, precision)) or self._ratios.get(("", precision)) or [1.0]
        return max(0.0, (line[0] + line[1] * ratio) * float(np.median(factors))), False


def _line(points: Sequence[tuple[float, float]], shape: tuple[float, float] | None = None) -> tuple[float, float]:
    """(a, b) of ``a + b * work``, work relative to the whole unit's. Without several widths the shape of the float line, else ``(t, 0)``
    scaled to where it was seen.
    """
    at = np.array([point[0] for point in points])
    times = np.array([point[1] for point in points])
    if at.max() - at.min() > SAME_WORK:
        return _straight(at, times.clip(1e-9))
    time, width = float(times.mean()), float(at.mean())
    if shape is not None and shape[0] + shape[1] * width > 0:
        factor = time / (shape[0] + shape[1] * width)
        return shape[0] * factor, shape[1] * factor
    return 0.0, time / width


def _straight(at: Floats, times: Floats) -> tuple[float, float]:
    """(a, b) >= 0 of ``a + b * at`` with the least sum of squared relative errors."""
    ones, work = 1 / times, at / times
    matrix = np.array([[ones @ ones, ones @ work], [ones @ work, work @ work]])
    a, b = np.linalg.solve(matrix, [ones.sum(), work.sum()]).tolist()
    if a < 0:
        return 0.0, float(work.sum() / (work @ work))
    return (a, b) if b >= 0 else (float(ones.sum() / (ones @ ones)), 0.0)


class _Boundaries:
    """Time at changes of format: so much an element, by from and to, and so much a tensor."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        self._pairs = sorted({pair for variant in variants for pair in variant.formats})
        matrix = np.array([self._features(variant.formats) for variant in variants]).reshape(len(variants), -1)
        target = np.array([variant.boundary_ms for variant in variants])
        scale = np.abs(matrix).max(axis=0, initial=0.0)
        scale[scale == 0] = 1.0
        self._prices = nnls(matrix / scale, target) / scale if matrix.size else np.zeros(0)

    def time(self, formats: Mapping[tuple[str, str], tuple[int, float]]) -> float:
        """Milliseconds of all boundaries. A pair that no variant had costs as much as the dearest element."""
        unknown = math.fsum(elements for pair, (_, elements) in formats.items() if pair not in self._pairs)
        prices = self._prices[1:]
        return float(np.dot(self._features(formats), self._prices)) + unknown * float(prices.max(initial=0.0))

    def _features(self, formats: Mapping[tuple[str, str], tuple[int, float]]) -> list[float]:
        return [float(sum(count for count, _ in formats.values())), *(formats.get(pair, (0, 0.0))[1] for pair in self._pairs)]


def nnls(matrix: Floats, target: Floats, rounds: int = 2000) -> Floats:
    """X >= 0 that minimises ``|matrix x - target|``, by coordinate descent (Franc, Hlavac & Navara 2005); few unknowns only."""
    gram, right = matrix.T @ matrix, matrix.T @ target
    x = np.zeros(matrix.shape[1])
    for _ in range(rounds):
        before = x.copy()
        for i in range(len(x)):
            if gram[i, i] > 0:
                x[i] = max(0.0, x[i] + (right[i] - gram[i] @ x) / gram[i, i])
        if np.abs(x - before).max(initial=0.0) <= 1e-12 * (1 + np.abs(x).max(initial=0.0)):
            break
    return x


def _left_out(costs: Costs, recipes: Sequence[Recipe]) -> list[float]:
    """Relative error for each variant when it is estimated from all others; one that the others know nothing of does not count."""
    found = []
    for number, recipe in enumerate(recipes, 1):
        rest = Costs(costs.base, costs.graph, costs.target, costs.units, costs.variants[:number] + costs.variants[number + 1 :])
        if costs.variants[number].plain_ms > 0:
            try:
                predicted = rest.predict(plan(recipe, costs.graph, costs.target)).total_ms
            except UsageError:
                continue
            found.append(predicted / costs.variants[number].plain_ms - 1)
    return found
