"""`fit`: what the parts of a model cost on a board, from its profile and those of its variants.

1. **A unit's time** at a precision is measured in place: in each variant that has it so. Over widths it is a line in its work (MACs, or
   bytes moved where it has none), ``t = a + b * work`` with ``a, b >= 0``, times a factor for the channels it reads and one for those it
   makes: kernels have fast and slow widths (12 channels may take twice as long as 16). Both by least squares of relative errors; factors
   are drawn towards 1 where few variants tell of them. Where a unit was never measured at a precision, the median ratio of others of its
   op type stands in, and a finding says so. A float layer that only passes values on (MaxPool, Reshape ...) to 8-bit layers counts as a
   case of its own: the runtime moves the change of format in front of it, and it runs in 8 bits outside of the fast layout.
2. **Boundaries** are the layers without an original node (QuantizeLinear, DequantizeLinear, reorders, transposes of layouts). How many of
   each op, and how many elements, come with a tensor that goes from one format to another (float of a convolution, which is blocked; other
   float; int8) is counted in the variants; what an op takes, ``a`` a call and ``b`` an element, is fitted to all of their rows.
3. **What must come out right is the whole.** In each variant the layers' times are shared out over its plain median, so the rest between
   layers (1 to 2 % on a quiet machine) is part of the layers' times here, and the estimate has no such row.
4. **The error** is that of variants that were left out: each is estimated from all others, and the root mean square of the relative errors
   (with Student's t for so many) is the 95 % interval. The model as it is, which every estimate starts from, does not count.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof.errors import UsageError
from edgeprof.models.graph import Graph
from edgeprof.recipes.kernels import PASSING
from edgeprof.recipes.plan import Plan, plan
from edgeprof.recipes.recipe import FLOAT, Recipe, parse_recipe
from edgeprof.recipes.target import Target, target_of
from edgeprof.records.profile import Profile
from edgeprof.whatif.units import Crossings, Unit, boundary_rows, crossings, unit_figures, unit_times, units_of, widths_of, work_of

Floats = NDArray[np.float64]

READ_AS_INT8 = "fp32, read as int8"
"""State of a float unit that only passes values on, to 8-bit units alone."""
RIDGE = 0.5
"""How strongly factors of widths are drawn towards 1: as half a variant that knows of none."""
SAME_WORK = 0.005
"""Relative difference of work below which two variants count as the same."""
_BLOCKED = frozenset({"Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
_T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)


Formats = Mapping[tuple[str, str], tuple[int, float]]
"""(from, to) -> (tensors, elements) that change their format."""


@dataclass(frozen=True, eq=False)
class Variant:
    """One profile as the fit sees it: of each unit precision, work and time, all boundary time, which sum to the plain median (ms)."""

    precision: tuple[str, ...]
    states: tuple[str, ...]
    work: Floats
    widths: tuple[tuple[int, int], ...]
    time_ms: Floats
    boundary_ms: float
    boundary: tuple[tuple[str, float, float], ...]
    formats: Formats
    plain_ms: float


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

    @cached_property
    def as_it_is(self) -> Plan:
        """The plan that changes nothing."""
        return Plan({}, self.graph)

    @cached_property
    def figures(self) -> list[dict[str, Any]]:
        """What the base profile says of each unit; see `units.unit_figures`."""
        return unit_figures(self.units, self.base)

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
        crossed = crossings(self.units, planned.graph)
        states = _states(self.units, precision, crossed)
        missing = sorted({p for p in precision if p not in self.precisions})
        if missing:
            raise UsageError(
                f"No variant of {self.graph.name} was measured with {' or '.join(missing)} layers on {self.base.context.board}, so nothing"
                " can be said of them. `edgeprof estimate` measures what a recipe needs; so does ep.measure_variants(precisions=...)."
            )
        work = np.array(work_of(self.units, planned.costs))
        times, borrowed = np.empty(len(self.units)), []
        widths = widths_of(self.units, planned.graph)
        for number, unit in enumerate(self.units):
            times[number], own = self._lines.time(number, states[number], work[number], widths[number])
            if not own:
                borrowed.append(unit.leader)
        boundary = self._boundaries.time(_formats(self.units, precision, crossed))
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
    seen = [_variant(units, base, Plan({}, graph))]
    seen += [_variant(units, one, plan(parse_recipe(one.context.recipe), graph, target)) for one in variants]
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


def _variant(units: Sequence[Unit], profile: Profile, planned: Plan) -> Variant:
    plain = profile.context.latency.median_ms or math.nan
    times, boundary = unit_times(units, profile)
    layers = float(np.nansum(times)) + boundary
    scale = plain / layers if layers > 0 else math.nan
    precision, crossed = _unit_precisions(units, planned), crossings(units, planned.graph)
    return Variant(
        precision=precision,
        states=_states(units, precision, crossed),
        work=np.array(work_of(units, planned.costs)),
        time_ms=np.array(times) * scale,
        widths=tuple(widths_of(units, planned.graph)),
        boundary_ms=boundary * scale,
        boundary=tuple((op, elements, time * scale) for op, elements, time in boundary_rows(units, profile)),
        formats=_formats(units, precision, crossed),
        plain_ms=plain,
    )


def _unit_precisions(units: Sequence[Unit], planned: Plan) -> tuple[str, ...]:
    return tuple(planned.precision.get(unit.leader, FLOAT) for unit in units)


def _states(units: Sequence[Unit], precision: Sequence[str], crossed: Crossings) -> tuple[str, ...]:
    """Of each unit its precision, or `READ_AS_INT8`; see the module, case 1."""
    readers: dict[int, set[str]] = defaultdict(set)
    for maker, reader, _ in crossed:
        readers[maker].add(precision[reader] if reader >= 0 else FLOAT)
    return tuple(
        READ_AS_INT8 if own == FLOAT and unit.op_type in PASSING and readers.get(number) == {"int8"} else own
        for number, (unit, own) in enumerate(zip(units, precision, strict=True))
    )


def _formats(units: Sequence[Unit], precision: Sequence[str], crossed: Crossings) -> Formats:
    """What changes its format between units."""

    def kind(number: int) -> str:
        if number < 0:
            return "float"
        if precision[number] == "int8":
            return "int8"
        if precision[number] == "fp16":
            return "fp16"
        return "blocked" if units[number].op_type in _BLOCKED else "float"

    found: dict[tuple[str, str], tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for maker, reader, elements in crossed:
        pair = (kind(maker), kind(reader))
        if pair[0] != pair[1]:
            count, total = found[pair]
            found[pair] = (count + 1, total + elements)
    return dict(found)


@dataclass(frozen=True)
class _Curve:
    """``(start + slope * work)`` times a factor by channels read and one by channels made; work is relative to the whole unit's."""

    start: float
    slope: float
    reads: Mapping[int, float]
    makes: Mapping[int, float]
    scatter: float = 0.0

    def time(self, work: float, widths: tuple[int, int]) -> float:
        return max(0.0, self.start + self.slope * work) * self.reads.get(widths[0], 1.0) * self.makes.get(widths[1], 1.0)


_Point = tuple[float, tuple[int, int], float]
"""Relative work, widths, milliseconds."""


class _Lines:
    """Each unit's time over its work and widths, at each precision."""

    def __init__(self, units: Sequence[Unit], variants: Sequence[Variant]) -> None:
        self._units = units
        self._base_work = variants[0].work
        self._curves: dict[tuple[int, str], _Curve] = {}
        self._ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
        for number, unit in enumerate(units):
            seen: dict[str, list[_Point]] = defaultdict(list)
            for variant in variants:
                if not math.isnan(variant.time_ms[number]) and variant.work[number] > 0:
                    point = (variant.work[number] / self._base_work[number], variant.widths[number], variant.time_ms[number])
                    seen[variant.states[number]].append(point)
            shape = _curve(seen[FLOAT]) if seen.get(FLOAT) else None
            for precision, points in seen.items():
                self._curves[number, precision] = _curve(points, shape)
            self._compare(number, unit, seen)

    def _compare(self, number: int, unit: Unit, seen: Mapping[str, Sequence[_Point]]) -> None:
        """Notes how the whole unit's time at each precision compares with float."""
        whole = self._curves.get((number, FLOAT))
        for precision in seen if whole is not None and whole.start + whole.slope > 0 else ():
            own = self._curves[number, precision]
            for key in ("", unit.op_type) if precision != FLOAT else ():
                self._ratios[key, precision].append((own.start + own.slope) / (whole.start + whole.slope))  # type: ignore[union-attr]

    def spread(self, number: int) -> float:
        """Twice the root mean square of the unit's relative residuals, the largest of its precisions; 0 where each was seen once."""
        return max((2 * curve.scatter for (unit, _), curve in self._curves.items() if unit == number), default=0.0)

    def time(self, number: int, precision: str, work: float, widths: tuple[int, int]) -> tuple[float, bool]:
        """Milliseconds, and whether the unit was itself measured at this precision. NaN time where it never ran."""
        ratio = work / self._base_work[number] if self._base_work[number] > 0 else 1.0
        curve = self._curves.get((number, precision))
        if curve is not None:
            return curve.time(ratio, widths), True
        curve = self._curves.get((number, FLOAT)) or next((own for (n, _), own in self._curves.items() if n == number), None)
        if curve is None:
            return math.nan, True
        factors = self._ratios.get((self._units[number].op_type, precision)) or self._ratios.get(("", precision)) or [1.0]
        return curve.time(ratio, widths) * float(np.median(factors)), False


def _curve(points: Sequence[_Point], shape: _Curve | None = None) -> _Curve:
    """The curve through ``points``. Where all have the same work it is the float curve, ``shape``, scaled, or a line through 0."""
    at, times = np.array([point[0] for point in points]), np.array([point[2] for point in points]).clip(1e-9)
    widths = [point[1] for point in points]
    if at.max() - at.min() > SAME_WORK:
        start, slope = _straight(at, times)
        reads, makes = _factors(widths, np.log(times / np.maximum(start + slope * at, 1e-12)))
    else:
        expected = np.array([shape.time(work, own) if shape is not None else work for work, own, _ in points])
        factor = float(np.mean(times / expected)) if (expected > 0).all() else 0.0
        start, slope = (shape.start * factor, shape.slope * factor) if shape is not None else (0.0, factor)
        reads, makes = (dict(shape.reads), dict(shape.makes)) if shape is not None else ({}, {})
    curve = _Curve(start, slope, reads, makes)
    guessed = np.array([curve.time(work, own) for work, own, _ in points])
    scatter = float(np.sqrt(np.mean((times / guessed - 1) ** 2))) if len(points) > 1 and (guessed > 0).all() else 0.0
    return replace(curve, scatter=scatter)


def _factors(widths: Sequence[tuple[int, int]], residuals: Floats) -> tuple[dict[int, float], dict[int, float]]:
    """Factors by channels read and by channels made that explain the residuals (logarithms), each drawn towards 1: ridge regression."""
    levels = [sorted({own[side] for own in widths}) for side in (0, 1)]
    matrix = np.array([[float(own[side] == level) for side in (0, 1) for level in levels[side]] for own in widths])
    found = np.exp(np.linalg.solve(matrix.T @ matrix + RIDGE * np.eye(matrix.shape[1]), matrix.T @ residuals)).tolist()
    return dict(zip(levels[0], found, strict=False)), dict(zip(levels[1], found[len(levels[0]) :], strict=True))


def _straight(at: Floats, times: Floats) -> tuple[float, float]:
    """(a, b) >= 0 of ``a + b * at`` with the least sum of squared relative errors."""
    ones, work = 1 / times, at / times
    matrix = np.array([[ones @ ones, ones @ work], [ones @ work, work @ work]])
    a, b = np.linalg.solve(matrix, [ones.sum(), work.sum()]).tolist()
    if a < 0:
        return 0.0, float(work.sum() / (work @ work))
    return (a, b) if b >= 0 else (float(ones.sum() / (ones @ ones)), 0.0)


class _Boundaries:
    """Time at changes of format: how much of which op comes with them, and what an op takes."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        self._pairs = sorted({pair for variant in variants for pair in variant.formats})
        rows: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for variant in variants:
            for op, elements, time in variant.boundary:
                rows[op].append((elements, time))
        self._prices = {op: _price(np.array(own)) for op, own in rows.items()}
        self._shares = {op: self._share(op, variants) for op in rows}

    def time(self, formats: Formats) -> float:
        """Milliseconds of all boundaries. A change that no variant had is taken as the dearest that one had."""
        total = 0.0
        for op, (call, element) in self._prices.items():
            counts, elements, rest = self._shares[op]
            total += call * rest[0] + element * rest[1]
            for pair, (count, size) in formats.items():
                known = pair in self._pairs
                at = self._pairs.index(pair) if known else -1
                total += call * count * (counts[at] if known else counts.max(initial=0.0))
                total += element * size * (elements[at] if known else elements.max(initial=0.0))
        return total

    def _share(self, op: str, variants: Sequence[Variant]) -> tuple[Floats, Floats, tuple[float, float]]:
        """Of an op: calls by tensor and elements by element of each change of format, and what is there without any."""
        own = [[(elements, time) for name, elements, time in variant.boundary if name == op] for variant in variants]
        calls = self._explained([float(len(rows)) for rows in own], variants, 0)
        elements = self._explained([math.fsum(size for size, _ in rows) for rows in own], variants, 1)
        return calls[1:], elements[1:], (float(calls[0]), float(elements[0]))

    def _explained(self, values: Sequence[float], variants: Sequence[Variant], part: int) -> Floats:
        matrix = np.array([[1.0, *(float(variant.formats.get(pair, (0, 0.0))[part]) for pair in self._pairs)] for variant in variants])
        scale = matrix.max(axis=0, initial=0.0)
        scale[scale == 0] = 1.0
        return np.asarray(nnls(matrix / scale, np.array(values)) / scale, np.float64)


def _price(rows: Floats) -> tuple[float, float]:
    """(milliseconds a call, an element) of an op from (elements, milliseconds) of its rows; the total comes out right."""
    if len(rows) < 2 or np.ptp(rows[:, 0]) == 0:
        return float(rows[:, 1].mean()), 0.0
    call, element = nnls(np.stack([np.ones(len(rows)), rows[:, 0] / rows[:, 0].max()], axis=1), rows[:, 1])
    return float(call), float(element / rows[:, 0].max())


def nnls(matrix: Floats, target: Floats) -> Floats:
    """X >= 0 that minimises ``|matrix x - target|``: the active set method of Lawson & Hanson, Solving Least Squares Problems, 1974."""
    n = matrix.shape[1]
    x, free = np.zeros(n), np.zeros(n, bool)
    least = 1e-10 * (1 + float(np.abs(matrix.T @ target).max(initial=0.0)))
    for _ in range(3 * n):
        gain = np.where(free, -np.inf, matrix.T @ (target - matrix @ x))
        if not n or gain.max() <= least:
            break
        free[int(gain.argmax())] = True
        while True:
            best = np.zeros(n)
            best[free] = np.linalg.lstsq(matrix[:, free], target, rcond=None)[0]
            low = free & (best <= 0)
            if not low.any():
                break
            step = float((x[low] / (x[low] - best[low]).clip(1e-300)).min())
            x = x + step * (best - x)
            free &= x > 1e-14
            x[~free] = 0.0
            if not free.any():
                best = np.zeros(n)
                break
        x = best
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
