"""The Pareto front of models when every number has an interval: what is better beyond doubt, what cannot be told, the sweet spot.

All objectives are read so that less is better. A point's number in one of them is a value with an interval; without one it is exact.

1. **a certainly dominates b** when in every objective the worst end of a is no worse than the best end of b, and in one it is better:
   the intervals there do not meet. That is domination whatever the true values inside the intervals are, and it is the only kind that
   rules a model out. Conversely, for a point that nothing certainly dominates there are values inside all intervals that put it on the
   front. (Intervals in place of probabilities: Teich 2001, "Pareto-front exploration with uncertain objectives", where it is domination
   with probability 1 of independent values. "Beyond doubt" means beyond the 95 % intervals.)
2. It is irreflexive, antisymmetric and transitive; with intervals of no width it is ordinary domination.
3. Three standings. ``front``: no point's values dominate its values. ``dominated``: a point certainly dominates it.
   ``unsure``: by the values it is dominated, but no single point does so beyond doubt; it may belong to the front.
4. A point without a number in an objective is ``missing``: listed with the reason, no part of the front. One that is held out of the
   comparison is ``aside``: it misses a constraint on a quantity that is no axis, or it is an estimate whose model was measured here too
   (the measurement speaks for it).
5. A constraint on an axis removes no point from the front, which shows what more room would give; the sweet spot meets all of them.
   By its value: where the bound lies inside the interval, the sentence on the sweet spot says so.
6. The sweet spot is a point on the front that meets all constraints: the one nearest to the ideal corner ("knee"), each axis scaled by the
   range of such points, or the best in one objective. Equals are told apart by the objectives in their order.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof.analysis.budget import parse_budget
from edgeprof.analysis.labels import DIFFERENCES, unique
from edgeprof.analysis.names import shorten
from edgeprof.analysis.objectives import Objective, Reading, objective, readings, second_axis
from edgeprof.errors import RecipeError, UsageError, did_you_mean
from edgeprof.recipes.recipe import parse_recipe
from edgeprof.records.profile import Profile

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Numbers = Mapping[str, pd.DataFrame]
"""Of each objective, by its name, a row a point: ``value``, ``low``, ``high``; NaN is not known."""
Standing = Literal["front", "unsure", "dominated", "aside", "missing"]

KNEE = "knee"
_READING = tuple(one.name for one in fields(Reading))


@dataclass(frozen=True)
class Constraint:
    """``objective`` at most (where less is better) or at least ``bound``."""

    objective: Objective
    bound: float

    @property
    def words(self) -> str:
        """Which way it goes."""
        return "at most" if self.objective.better == "lower" else "at least"

    def met(self, values: Floats) -> Flags:
        """Which ``values`` meet it; a NaN does not."""
        return values <= self.bound if self.objective.better == "lower" else values >= self.bound


@dataclass(frozen=True, eq=False)
class Pareto:
    """Points, who dominates whom and the sweet spot. Made by `pareto_front`; see the module for the rules.

    ``points`` has one row a profile: ``label``, ``basis``, ``standing``, ``by`` (row of a point that dominates it, -1: none), ``why`` (it
    is missing or aside), ``meets`` (all constraints), ``doubt`` (a bound lies inside an interval), ``twin`` (row of the measurement of an
    estimate's model, -1: none). ``numbers`` has the `Reading`s of each axis and constrained objective as a table, by its name.
    ``sweet`` is the sweet spot's row, -1 when there is none; ``reason`` says in a few words why it is that one.
    """

    axes: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    points: pd.DataFrame
    numbers: Numbers
    sweet: int
    reason: str

    @property
    def table(self) -> pd.DataFrame:
        """``points`` with the values, one column an objective."""
        taken = set(self.points.columns)
        values = {f"{name} (score)" if name in taken else name: read["value"] for name, read in self.numbers.items()}
        return pd.concat([self.points, pd.DataFrame(values, index=self.points.index)], axis=1)

    def rows(self, *standings: Standing) -> list[int]:
        """Rows of the points with one of these standings."""
        return [row for row, one in enumerate(self.points["standing"].tolist()) if one in standings]

    def __repr__(self) -> str:
        return f"<Pareto front of {len(self.points)} points: {len(self.rows('front'))} on it>"


def pareto_front(
    profiles: Sequence[Profile],
    x: str = "latency_ms",
    y: str | None = None,
    z: str | None = None,
    *,
    constraints: Mapping[str, float | str] | None = None,
    labels: Sequence[str] | None = None,
    best: str = KNEE,
) -> Pareto:
    """The Pareto front of ``profiles`` by two or three objectives.

    Args:
        profiles: of one model and what was made of it, or of any models.
        x: an objective, see `analysis.objectives`.
        y: another; None is a score where the profiles have one, else what differs between them.
        z: a third, or None.
        constraints: the most (or, where more is better, the least) of an objective; of bytes also as text, ``"512 kB"``. An objective
            need not be an axis.
        labels: what each profile is called; None takes the model's name and what else differs.
        best: ``"knee"``, or the objective that decides among the points that meet all constraints.

    Raises:
        UsageError: an objective, a constraint or the number of labels makes no sense; the sentence says which.
    """
    profiles = tuple(profiles)
    return _Compared(profiles, labels, constraints).by(_axes(profiles, x, y, z), best)


def pareto_fronts(
    profiles: Sequence[Profile],
    pairs: Sequence[tuple[str, str]],
    *,
    constraints: Mapping[str, float | str] | None = None,
    labels: Sequence[str] | None = None,
    best: str = KNEE,
) -> list[Pareto]:
    """`pareto_front` by each of ``pairs`` of objectives, with every profile read once. Where ``best`` is not to be had it is the knee."""
    profiles = tuple(profiles)
    compared = _Compared(profiles, labels, constraints)
    fronts = []
    for x, y in pairs:
        axes = _axes(profiles, x, y, None)
        fronts.append(compared.by(axes, best if best in compared.deciding(axes) else KNEE))
    return fronts


class _Compared:
    """Profiles that are to be compared, read once by each objective."""

    def __init__(self, profiles: tuple[Profile, ...], labels: Sequence[str] | None, constraints: Mapping[str, float | str] | None) -> None:
        self._profiles = profiles
        self._limits = tuple(_constraint(profiles, name, bound) for name, bound in (constraints or {}).items())
        self._read: dict[str, pd.DataFrame] = {}
        self._points = pd.DataFrame({
            "label": pd.Series(labels_of(profiles, labels), dtype=object), "basis": pd.Series([p.basis for p in profiles], dtype=object),
            "twin": pd.Series(_twins(profiles), dtype=int),
        })  # fmt: skip

    def deciding(self, axes: Sequence[Objective]) -> list[str]:
        """What ``best`` can be."""
        return [KNEE, *dict.fromkeys(one.name for one in (*axes, *(limit.objective for limit in self._limits)))]

    def by(self, axes: tuple[Objective, ...], best: str) -> Pareto:
        """The front by ``axes``."""
        if best not in (names := self.deciding(axes)):
            raise UsageError(f"best is {shorten(repr(best))}{did_you_mean(str(best), names)}; it can be one of {', '.join(names)}.")
        every = tuple(dict.fromkeys([*axes, *(limit.objective for limit in self._limits)]))
        numbers = {one.name: self._numbers(one) for one in every}
        meets, doubt = _met(numbers, self._limits, len(self._points))
        why = pd.Series(_why(self._points, numbers, axes, self._limits), dtype=object)
        points = self._points.assign(meets=meets, doubt=doubt, why=why)
        points["standing"], points["by"] = _standings(points, numbers, axes)
        sweet, reason = _sweet_spot(points, numbers, axes, self._limits, best)
        return Pareto(axes, self._limits, points, numbers, sweet, reason)

    def _numbers(self, one: Objective) -> pd.DataFrame:
        if one.name not in self._read:
            self._read[one.name] = pd.DataFrame(readings(self._profiles, one), columns=list(_READING))
        return self._read[one.name]


def front(numbers: Numbers, objectives: Sequence[Objective]) -> tuple[list[Standing], list[int]]:
    """Of each point its standing (front, unsure, dominated, or missing where a value is NaN), and a point that dominates it.

    ``numbers`` has by objective a table with ``value``, and ``low`` and ``high`` where there are intervals. The point that dominates does
    so certainly, or for ``unsure`` by its values, and is one on the front where there is such; -1 is none.
    """
    best, value, worst = _oriented(numbers, objectives)
    known = np.flatnonzero(np.isfinite(value).all(axis=1))
    ahead = {int(j): known[_before(value[known], value[j])] for j in known}
    on_front = np.zeros(len(value), bool)
    on_front[[j for j, others in ahead.items() if not len(others)]] = True
    standing: list[Standing] = ["missing"] * len(value)
    by = [-1] * len(value)
    for j, others in ahead.items():
        certain = known[_before(worst[known], best[j])]
        standing[j] = "dominated" if len(certain) else "unsure" if len(others) else "front"
        rivals = certain if len(certain) else others
        if len(rivals):
            by[j] = int(rivals[np.argmax(on_front[rivals])])
    return standing, by


def certainly_dominates(numbers: Numbers, objectives: Sequence[Objective], a: int, b: int) -> bool:
    """Whether point ``a`` dominates point ``b`` whatever the true values inside their intervals are."""
    best, _, worst = _oriented(numbers, objectives)
    return bool(_before(worst[[a]], best[b])[0])


def knee(values: Floats) -> Floats:
    """Distance of each row of ``values`` (points, objectives; less is better) to the best of each column, in ranges of the columns."""
    lowest = values.min(axis=0)
    span = values.max(axis=0) - lowest
    away: Floats = np.sqrt((((values - lowest) / np.where(span > 0, span, 1)) ** 2).sum(axis=1))
    return away


def labels_of(profiles: Sequence[Profile], labels: Sequence[str] | None = None) -> list[str]:
    """What each profile is called: ``labels``, else the model, and then only what is needed to tell them apart. No two are equal."""
    if labels is not None:
        if isinstance(labels, str) or len(labels) != len(profiles):
            raise UsageError(f"Expected a label for each of {len(profiles)} profiles, got {shorten(repr(labels), 60)}.")
        return unique([str(label) for label in labels])
    told = [[profile.context.model_name.removesuffix(".onnx") or "?"] for profile in profiles]
    for tell in (lambda profile: profile.context.board, _unmeasured, *DIFFERENCES):
        if len({tuple(words) for words in told}) == len(told):
            break
        texts = [tell(profile) for profile in profiles]
        if len(set(texts)) > 1:
            told = [[*words, text] if text else words for words, text in zip(told, texts, strict=True)]
    return unique([", ".join(words) for words in told])


def _unmeasured(profile: Profile) -> str:
    return "" if profile.basis == "measured" else profile.basis


def _axes(profiles: Sequence[Profile], x: str, y: str | None, z: str | None) -> tuple[Objective, ...]:
    y = second_axis(profiles, (x, z or "")).name if y is None else y
    axes = tuple(objective(profiles, name) for name in (x, y, z) if name is not None)
    if len(set(axes)) < len(axes):
        raise UsageError(f"The axes are {', '.join(one.name for one in axes)}; expected a different objective on each.")
    return axes


def _constraint(profiles: Sequence[Profile], name: str, bound: float | str) -> Constraint:
    of = objective(profiles, name)
    if of.unit == "B":
        return Constraint(of, float(parse_budget(bound)))
    if isinstance(bound, bool) or not isinstance(bound, Real) or not math.isfinite(bound):
        unit = ", a share from 0 to 1" if of.unit == "%" else f" in {of.unit}" if of.unit else ""
        raise UsageError(f"The constraint on {name} is {shorten(repr(bound))}; expected a number{unit}.")
    if of.unit == "%" and not 0 <= bound <= 1:
        raise UsageError(f"The constraint on {name} is {bound}; expected a share from 0 to 1, such as 0.95 for 95 %.")
    return Constraint(of, float(bound))


def _twins(profiles: Sequence[Profile]) -> list[int]:
    """Row of the measurement of the same file, or the same recipe for the same model, board and threads as an estimate; else -1."""
    measured: dict[Hashable, int] = {}
    for row, profile in enumerate(profiles):
        if profile.basis != "estimated":
            for subject in _subjects(profile):
                measured.setdefault(subject, row)
    # An estimate that bears the digest of the model it was made from has no model file of its own: that one is no measurement of it.
    found = []
    for profile in profiles:
        subjects = _subjects(profile) if profile.basis == "estimated" else []
        found.append(next((measured[subject] for subject in subjects if subject in measured), -1))
    return found


def _subjects(profile: Profile) -> list[Hashable]:
    """What a profile is of, in each way that tells: its model file, and its recipe for a parent."""
    context = profile.context
    where = (context.board, context.runtime, context.providers, context.threads)
    found: list[Hashable] = []
    if context.model_sha256 not in ("", profile.parent):
        found.append(("file", context.model_sha256, *where))
    if context.recipe and profile.parent:
        found.append(("recipe", _decided(context.recipe), profile.parent, *where))
    return found


def _decided(text: str) -> Hashable:
    """What a recipe decides, whatever it is called; the text itself where it is none."""
    try:
        recipe = parse_recipe(text)
    except RecipeError:
        return text
    return recipe.decisions, recipe.quantization


def _met(read: Numbers, limits: Sequence[Constraint], count: int) -> tuple[Flags, Flags]:
    """Which points meet all constraints by their values, and of which an interval holds a bound."""
    meets, doubt = np.ones(count, bool), np.zeros(count, bool)
    for limit in limits:
        value, low, high = (read[limit.objective.name][end].to_numpy(float) for end in ("value", "low", "high"))
        meets &= limit.met(value)
        doubt |= (low < limit.bound) & (limit.bound < high)
    return meets, doubt


def _why(points: pd.DataFrame, read: Numbers, axes: Sequence[Objective], limits: Sequence[Constraint]) -> list[str]:
    """Why a point takes no part in the comparison, empty where it does."""
    lacking = _lacking(read, axes, len(points))
    missed = [_missed(read, limit) for limit in limits if limit.objective not in axes]
    why = []
    for row, twin in enumerate(points["twin"]):
        if lacking[row]:
            why.append(lacking[row])
        elif twin >= 0 and not lacking[twin]:
            why.append(f"measured too, as {points['label'].iloc[twin]}")
        else:
            why.append(next(filter(None, (told[row] for told in missed)), ""))
    return why


def _lacking(read: Numbers, axes: Sequence[Objective], count: int) -> list[str]:
    """Of each point why it has no number on an axis, empty where it has all."""
    lacks = [(read[one.name]["value"].isna().to_numpy(), list(read[one.name]["why"])) for one in axes]
    return [", ".join(why[row] for lack, why in lacks if lack[row]) for row in range(count)]


def _missed(read: Numbers, limit: Constraint) -> list[str]:
    """Of each point how it misses a constraint, empty where it does not."""
    table = read[limit.objective.name]
    misses = f"misses the constraint on {limit.objective.title.lower()}"
    told = zip(table["value"].isna(), table["why"], limit.met(table["value"].to_numpy(float)), strict=True)
    return [f"constrained, but {why}" if unknown else "" if met else misses for unknown, why, met in told]


def _standings(points: pd.DataFrame, read: Numbers, axes: Sequence[Objective]) -> tuple[list[Standing], list[int]]:
    """`front` of the points that take part; the others are aside, or missing."""
    part = np.flatnonzero(points["why"] == "")
    lacks = np.any([read[one.name]["value"].isna() for one in axes], axis=0)
    standing: list[Standing] = ["missing" if lack else "aside" for lack in lacks]
    by = [-1] * len(points)
    for row, own, other in zip(part, *front({name: table.iloc[part] for name, table in read.items()}, axes), strict=True):
        standing[row], by[row] = own, int(part[other]) if other >= 0 else -1
    return standing, by


def _sweet_spot(points: pd.DataFrame, read: Numbers, axes: Sequence[Objective], limits: Sequence[Constraint], best: str) -> tuple[int, str]:
    """Row of the sweet spot, -1 when there is none, and why it is that one; see the module, rule 6."""
    on_front = points["standing"] == "front"
    free = np.flatnonzero(on_front & points["meets"])
    if not len(free):
        return -1, "no point meets all constraints" if on_front.any() else ""
    chosen = {name: table.iloc[free] for name, table in read.items()}
    _, value, _ = _oriented(chosen, axes)
    deciding = next((one for one in (*axes, *(limit.objective for limit in limits)) if one.name == best), None)
    first = np.round(knee(value), 12) if deciding is None else _oriented(chosen, [deciding])[1][:, 0]
    sweet = int(free[np.lexsort([*value.T[::-1], first])[0]])
    among = "on the front" + (" that meet all constraints" if limits else "")
    rule = "nearest to the ideal corner" if deciding is None else f"the best by {deciding.title.lower()}"
    reason = f"{rule} of {len(free)} {among}"
    if len(free) == 1:
        reason = "the only one on the front" + (" that meets all constraints" if limits else "")
    return sweet, reason + (", though a bound lies inside its interval" if points["doubt"].iloc[sweet] else "")


def _oriented(read: Numbers, objectives: Sequence[Objective]) -> tuple[Floats, Floats, Floats]:
    """Best ends, values and worst ends, (points, objectives) each, less being better. Without an interval all three are the value."""
    parts = []
    for one in objectives:
        table = read[one.name]
        value = table["value"].to_numpy(float)
        ends = [table[end].to_numpy(float) if end in table else value for end in ("low", "high")]
        low, high = np.fmin(ends[0], value), np.fmax(ends[1], value)
        parts.append((low, value, high) if one.better == "lower" else (-high, -value, -low))
    best, value, worst = (np.stack(part, axis=1) for part in zip(*parts, strict=True))
    return best, value, worst


def _before(many: Floats, one: Floats) -> Flags:
    """Which rows of ``many`` are no worse than ``one`` in all objectives and better in one."""
    return np.logical_and((many <= one).all(axis=1), (many < one).any(axis=1))
