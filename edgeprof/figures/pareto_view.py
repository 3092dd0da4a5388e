"""View data of the Pareto chart: candidates by any two objectives, the front of each pair. Drawn by ``static/pareto.js``, `pareto_picture`.

1. A point is known by its ``key``, which is what a selection holds; a model may be here twice, estimated and measured.
2. The front, the sweet spot and how far the axes reach belong to a pair of objectives. Those of every pair come along, so that a person
   changes axes without asking; all of them are worked out by `edgeprof.analysis.pareto`.
3. ``estimates`` and ``measurements`` are the rows of an estimate and of the measurement of the same model, and ``errors`` says how far the
   estimate lay off: in parts of what was measured, of a share in points.
4. Numbers are written out here, in the unit and with the digits that their interval allows; the arrays are for the places of points.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof.analysis.names import listed, shorten
from edgeprof.analysis.objectives import Objective, axes_of, objective, objectives_of, second_axis
from edgeprof.analysis.pareto import KNEE, Pareto, Standing, pareto_fronts
from edgeprof.errors import UsageError, did_you_mean
from edgeprof.figures import pareto_words as words
from edgeprof.figures.placing import span_of
from edgeprof.figures.theme import ORIGIN_LABELS, origin_label
from edgeprof.figures.view import ViewData, pack, themes
from edgeprof.recipes.recipe import Recipe
from edgeprof.records.profile import Profile

STANDINGS: tuple[Standing, ...] = ("front", "unsure", "dominated", "aside", "missing")
"""A point's code in the arrays ``standing <pair>`` is the position here."""

NONE = 0xFFFF
"""No row, in the arrays ``by <pair>``."""

_MOST = 2000
_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_LOGARITHMIC = ("ms", "mJ", "B")


def pareto_view(
    profiles: Sequence[Profile],
    *,
    keys: Sequence[str],
    x: str | None = None,
    y: str | None = None,
    constraints: Mapping[str, float | str] | None = None,
    labels: Sequence[str] | None = None,
    recipes: Sequence[Recipe | str | None] | None = None,
    baseline: str | None = None,
    best: str = KNEE,
) -> ViewData:
    """Candidates by two objectives, with all that other axes, the hover card and the legend need.

    Args:
        profiles: a candidate each, estimated or measured.
        keys: what each is known by; no two are equal.
        x: the objective that is shown from left to right at first, see `analysis.objectives`; None is what says most.
        y: the same from bottom to top.
        constraints: as for `pareto_front`.
        labels: what each is called; None takes the model's name and what else differs.
        recipes: what was changed in each: a Recipe, words or None; None reads them from the profiles.
        baseline: key of the model that the others are held against; None marks those that others here were made from.
        best: what the sweet spot is, as for `pareto_front`; on axes that have no such objective it is the knee.

    Raises:
        UsageError: an argument makes no sense; the sentence says which.
    """
    profiles, keys = tuple(profiles), tuple(map(str, keys))
    _check(profiles, keys, baseline)
    changes = tuple(map(words.recipe_of, profiles)) if recipes is None else tuple(recipes)
    if len(changes) != len(profiles):
        raise UsageError(f"Expected a recipe, words or None for each of {len(profiles)} profiles, got {len(changes)}.")
    first, second = _axes(profiles, x, y)
    limited = [objective(profiles, name) for name in constraints or ()]
    every = list(dict.fromkeys([*objectives_of(profiles), first, second, *limited]))
    pairs = [(a.name, b.name) for a, b in permutations(every, 2)]
    fronts = dict(zip(pairs, pareto_fronts(profiles, pairs, constraints=constraints, labels=labels, best=best), strict=True))
    shown = fronts[first.name, second.name]
    numbers = {name: table for made in fronts.values() for name, table in made.numbers.items()}
    arrays: dict[str, NDArray[Any]] = {}
    for i, one in enumerate(every):
        for end in ("value", "low", "high"):
            arrays[f"{end} {i}"] = numbers[one.name][end].to_numpy(np.float64)
    estimates, measurements = _twins(shown)
    arrays |= {"estimates": estimates.astype(np.uint16), "measurements": measurements.astype(np.uint16)}
    arrays |= {"baseline": _baselines(profiles, keys, baseline).astype(np.uint8)}
    arrays |= {name: shown.points[name].to_numpy().astype(np.uint8) for name in ("meets", "doubt")}
    texts = _factorized(arrays, {
        "basis": [profile.basis for profile in profiles],
        "model": [_model(profile) for profile in profiles],
        "recipe": [words.recipe_words(change) for change in changes],
        "where": [_where(profile) for profile in profiles],
        "origin": [origin_label(profile) for profile in profiles],
        **{f"note {i}": [note or why for note, why in zip(numbers[one.name]["note"], numbers[one.name]["why"], strict=True)]
           for i, one in enumerate(every)},
    })  # fmt: skip
    meta = {
        "view": "pareto",
        "title": f"Pareto front of {_counted(len(profiles))}",
        "header": _header(profiles, shown),
        "findings": [],
        "keys": list(keys),
        "labels": list(shown.points["label"]),
        "objectives": [{"name": one.name, "title": one.title, "unit": one.unit, "better": one.better} for one in every],
        "axes": {"x": first.name, "y": second.name},
        "shown": [[words.show(one, *ends) for ends in _ends(numbers[one.name])] for one in every],
        "errors": [[_error(one, numbers[one.name], *pair) for one in every] for pair in zip(estimates, measurements, strict=True)],
        "constraints": [
            {"objective": limit.objective.name, "bound": limit.bound, "text": f"{limit.words} {words.show(limit.objective, limit.bound)}"}
            for limit in shown.constraints
        ],
        "standings": list(STANDINGS),
        "standing_words": dict(words.STANDING_WORDS),
        "pairs": {f"{a} {b}": _pair(made, profiles, f"{a} {b}", arrays, texts) for (a, b), made in fronts.items()},
        "texts": texts,
        "themes": themes([]),
    }  # fmt: skip
    return pack(meta, arrays)


def _check(profiles: Sequence[Profile], keys: Sequence[str], baseline: str | None) -> None:
    if len(keys) != len(profiles):
        raise UsageError(f"Expected a key for each of {len(profiles)} profiles, got {len(keys)}.")
    if len(profiles) > _MOST:
        raise UsageError(f"There are {len(profiles)} candidates; a Pareto chart shows at most {_MOST}. Leave some out.")
    twice = [key for key, n in Counter(keys).items() if n > 1]
    if twice:
        raise UsageError(f"The key {shorten(repr(twice[0]))} stands for {Counter(keys)[twice[0]]} candidates; give each its own.")
    if baseline is not None and baseline not in keys:
        raise UsageError(f"No candidate has the key {shorten(repr(baseline))} of the baseline{did_you_mean(baseline, keys)}.")


def _axes(profiles: Sequence[Profile], x: str | None, y: str | None) -> tuple[Objective, Objective]:
    """What is shown at first: what was wished for, else what says most."""
    telling = axes_of(profiles) or ()
    if x is None:
        known = [one.name for one in (*telling, *objectives_of(profiles)) if one.name != y]
        x = next(iter(known), "latency_ms" if y != "latency_ms" else "model_bytes")
    if y is None:
        y = next((one.name for one in telling if one.name != x), None) or second_axis(profiles, (x,)).name
    if x == y:
        raise UsageError(f"Both axes are {x}; expected a different objective on each.")
    return objective(profiles, x), objective(profiles, y)


def _pair(
    made: Pareto, profiles: Sequence[Profile], name: str, arrays: dict[str, NDArray[Any]], texts: dict[str, list[str]]
) -> dict[str, Any]:
    """What belongs to one pair of axes; the standings go into ``arrays``, why a point takes no part into ``texts``."""
    points, drawn = made.points, made.rows("front", "unsure", "dominated", "aside")
    arrays[f"standing {name}"] = np.array([STANDINGS.index(one) for one in points["standing"]], np.uint8)
    arrays[f"by {name}"] = np.where(points["by"] < 0, NONE, points["by"]).astype(np.uint16)
    texts |= _factorized(arrays, {f"why {name}": list(points["why"])})
    told = words.lines(made, profiles)[1:]
    sweet = made.points["label"].iloc[made.sweet] if made.sweet >= 0 else ""
    return {
        "axes": [_axis(made, position, drawn) for position in (0, 1)] if drawn else [],
        "sweet": made.sweet,
        "number": shorten(sweet, 30) or _counted(len(points)),
        "number_note": f"sweet spot: {made.reason}"
        if sweet
        else made.reason or (f"{len(made.rows('front'))} on the front" if drawn else ""),
        "lines": told,
        "empty": "" if drawn else _empty(made),
    }


def _axis(made: Pareto, position: int, drawn: Sequence[int]) -> dict[str, Any]:
    """How far an axis reaches, in powers of ten when it is logarithmic, and what its numbers are multiplied by to be in ``unit``."""
    one = made.axes[position]
    scale, unit = words.unit_of(made, one, drawn)
    value, low, high = (made.numbers[one.name][end].to_numpy(float)[drawn] for end in ("value", "low", "high"))
    if one.unit == "%":
        scale = 100.0
    elif one.unit == "B":
        scale, unit = next(((1 / factor, unit) for factor, unit in _BYTES if value.max() >= factor), (1.0, "B"))
    bound = next((limit.bound for limit in made.constraints if limit.objective == one), math.nan)
    span = span_of(value * scale, low * scale, high * scale, bound * scale, may_be_log=one.unit in _LOGARITHMIC)
    way = "← better" if one.better == "lower" else "better →"
    return {
        "low": float(span.low), "high": float(span.high), "log": span.log, "scale": scale,
        "title": f"{shorten(one.title)}{f' ({unit})' if unit else ''}, {way}",
    }  # fmt: skip


def _empty(made: Pareto) -> str:
    first, second = (words.lower(one.title) for one in made.axes)
    reasons = "" if made.points.empty else f" {'. '.join(words.empty_lines(made)[1:])}."
    return f"No candidate has both {first} and {second} yet: estimate or measure a recipe.{reasons}"


def _ends(table: pd.DataFrame) -> list[tuple[float, float, float]]:
    return list(zip(table["value"], table["low"], table["high"], strict=True))


def _twins(made: Pareto) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of estimates that were measured too, and of their measurements."""
    twin = made.points["twin"].to_numpy()
    estimates = np.flatnonzero(twin >= 0)
    return estimates, twin[estimates]


def _error(one: Objective, table: pd.DataFrame, estimate: int, measurement: int) -> str:
    """How far the estimate lay off, as a person reads it; empty where one of both is not known."""
    guessed, real = (float(table["value"].iloc[row]) for row in (estimate, measurement))
    if math.isnan(guessed) or math.isnan(real):
        return ""
    if one.unit == "%":
        return f"{(guessed - real) * 100:+.1f} points".replace("-", "−")
    if one.unit not in _LOGARITHMIC or real == 0:
        return f"{guessed - real:+.3g} {one.unit}".rstrip().replace("-", "−")
    return f"{(guessed / real - 1) * 100:+.1f} %".replace("-", "−")


def _baselines(profiles: Sequence[Profile], keys: Sequence[str], baseline: str | None) -> NDArray[np.bool_]:
    """Which points others are held against: the one that was named, else the measured models that others here were made from."""
    if baseline is not None:
        return np.array([key == baseline for key in keys], bool)
    parents = {profile.parent for profile in profiles} - {None}
    return np.array([not p.parent and p.basis != "estimated" and p.context.model_sha256 in parents for p in profiles], bool)


def _factorized(arrays: dict[str, NDArray[Any]], columns: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The different texts of each column; which one a row has goes into ``arrays``."""
    texts = {}
    for name, values in columns.items():
        codes, different = pd.factorize(pd.Series(values, dtype=object))
        arrays[name], texts[name] = codes.astype(np.uint16), [str(value) for value in different]
    return texts


def _model(profile: Profile) -> str:
    made_from = f", made from {shorten(profile.parent[:12], 12)}" if profile.parent else ""
    return shorten(profile.context.model_name, 70) + made_from


def _where(profile: Profile) -> str:
    context = profile.context
    threads = "" if context.threads is None else f"{context.threads} thread{'s' * (context.threads != 1)}"
    told = (f"on {context.board}", f"{context.runtime} {context.runtime_version}".strip(), threads)
    return shorten(", ".join(filter(None, told)), 90)


def _header(profiles: Sequence[Profile], made: Pareto) -> dict[str, Any]:
    bases = Counter(profile.basis for profile in profiles).most_common()
    only = bases[0][0] if len(bases) == 1 else ""
    boards = list(dict.fromkeys(profile.context.board for profile in profiles))
    return {
        "model": listed(dict.fromkeys(profile.context.model_name for profile in profiles), most=1, limit=40) or "No candidates",
        "facts": [f"on {listed(boards, most=3, limit=30)}"] if boards else [],
        "origin": only,
        "origin_label": ORIGIN_LABELS[only] if only else ", ".join(f"{n} {basis}" for basis, n in bases) or "nothing yet",
        "number": _counted(len(made.points)),
        "number_note": "",
    }


def _counted(count: int) -> str:
    return f"{count} candidate{'s' * (count != 1)}"
