"""What the Pareto chart says in words: the lines under its title, the text on hover, why it is empty."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Sequence

from edgeprof import units
from edgeprof.analysis.names import listed, shorten
from edgeprof.analysis.objectives import Objective
from edgeprof.analysis.pareto import Pareto, Standing
from edgeprof.errors import RecipeError
from edgeprof.figures.labels import wrapped
from edgeprof.figures.theme import origin_label
from edgeprof.recipes.recipe import Decision, Recipe, parse_recipe
from edgeprof.records.profile import Profile

STANDING_WORDS: dict[Standing, str] = {
    "front": "on the front", "unsure": "cannot be told", "dominated": "dominated", "aside": "aside",
}  # fmt: skip


_FEW_MODELS = 3
_SCALES = {"ms": ((1.0, 1e3, "µs"), (1e4, 1e-3, "s")), "mJ": ((1.0, 1e3, "µJ"), (1e4, 1e-3, "J"))}


def unit_of(made: Pareto, one: Objective, rows: Sequence[int]) -> tuple[float, str]:
    """What the numbers are multiplied by to be drawn, and their unit then: a chart where nothing takes a millisecond is in µs."""
    values = made.numbers[one.name]["value"].to_numpy(float)[list(rows)]
    if not len(values) or one.unit not in _SCALES:
        return 1.0, one.unit
    (small, more, finer), (large, less, coarser) = _SCALES[one.unit]
    return (more, finer) if values.max() < small else (less, coarser) if values.max() >= large else (1.0, one.unit)


def show(one: Objective, value: float, low: float = math.nan, high: float = math.nan) -> str:
    """``95.1 % [93.9, 96.2]``: a number of an objective with its interval, in a unit that suits it."""
    if math.isnan(value):
        return units.MISSING
    if one.unit == "ms":
        return units.latency_interval(value, low, high)
    if one.unit == "mJ":
        return units.energy_interval(value, low, high)
    if one.unit == "B":
        return units.size(value)
    scale, form, unit = (100.0, ".1f", " %") if one.unit == "%" else (1.0, ".4g", f" {one.unit}".rstrip())
    ends = "" if math.isnan(low) or math.isnan(high) else f" [{low * scale:{form}}, {high * scale:{form}}]"
    return f"{value * scale:{form}}{unit}{ends}"


def lines(made: Pareto, profiles: Sequence[Profile]) -> list[str]:
    """What stands under the title: of what, on what, how many, which constraints, which sweet spot. Not escaped."""
    if not profiles:
        return []
    return list(filter(None, [_about(made, profiles), _counts(made), _limits(made), _sweet(made)]))


def empty_lines(made: Pareto) -> list[str]:
    """What stands in place of the points when there are none. Not escaped."""
    if made.points.empty:
        return ["No profiles: there is nothing to compare"]
    reasons = Counter(made.points["why"]).most_common(3)
    return [f"No profile has {' and '.join(lower(one.title) for one in made.axes)}", *(f"{n}: {shorten(why, 90)}" for why, n in reasons)]


def hover(made: Pareto, row: int, profile: Profile, recipe: Recipe | str | None) -> list[str]:
    """Title and lines of a point, as plotly's HTML."""
    point, context = made.points.iloc[row], profile.context
    threads = "" if context.threads is None else f"{context.threads} thread{'s' * (context.threads != 1)}"
    runtime = f"{context.runtime} {context.runtime_version}".strip()
    changed = recipe_words(recipe)
    told = [
        *(f"{_line(one.title, 48)}: {_number(made, one, row)}" for one in objectives(made)),
        "",
        _line(context.model_name, 70) + (f", made from {_line(profile.parent[:12], 12)}" if profile.parent else ""),
        *([f"recipe: {wrapped(changed, 66, 260)}"] if changed else []),
        _line(", ".join(filter(None, [f"on {context.board}", runtime, threads])), 90),
        _line(origin_label(profile), 80),
        _standing(made, row),
    ]
    if made.constraints:
        verdict = "meets all constraints" if point["meets"] else "does not meet all constraints"
        told.append(verdict + (", a bound lies inside an interval" if point["doubt"] else ""))
    return [wrapped(point["label"]), "<br>".join(told)]


def objectives(made: Pareto) -> list[Objective]:
    """The axes, and what else is constrained."""
    return list(dict.fromkeys([*made.axes, *(limit.objective for limit in made.constraints)]))


def recipe_of(profile: Profile) -> Recipe | str | None:
    """The recipe that a profile's model was made by; its text where that is no recipe."""
    text = profile.context.recipe
    if not text:
        return None
    try:
        return parse_recipe(text)
    except RecipeError:
        return text


def recipe_words(recipe: Recipe | str | None) -> str:
    """A recipe in a line: its name, or its first decisions."""
    if recipe is None or isinstance(recipe, str):
        return recipe or ""
    return recipe.name or listed(map(_decided, recipe.decisions), most=4, limit=60)


def lower(title: str) -> str:
    """``title`` inside a sentence: abbreviations stay as they are."""
    return title if title.isupper() else title[:1].lower() + title[1:]


def _decided(decision: Decision) -> str:
    pruned = f"{decision.prune:.0%} pruned" if decision.prune else f"{decision.channels} channels" if decision.channels else ""
    sparse = f"{decision.sparsity:.0%} sparse" if decision.sparsity else ""
    return f"{decision.selector} {' '.join(filter(None, [decision.precision, pruned, sparse])) or 'as it is'}"


def _about(made: Pareto, profiles: Sequence[Profile]) -> str:
    names = list(dict.fromkeys(profile.context.model_name for profile in profiles))
    models = listed(names, limit=40) if len(names) <= _FEW_MODELS else f"{len(names)} models"
    boards = list(dict.fromkeys(profile.context.board for profile in profiles))
    labels = list(dict.fromkeys(origin_label(profile) for profile in profiles))
    mixed = Counter(profile.basis for profile in profiles).most_common()
    how = labels[0] if len(labels) == 1 else ", ".join(f"{n} {basis}" for basis, n in mixed)
    scored = {name for profile in profiles for name in profile.context.scores}
    notes = [
        (one, note) for one in objectives(made) if one.name in scored for note in dict.fromkeys(made.numbers[one.name]["note"]) if note
    ]
    on_data = [one for one in objectives(made) if one.name in scored]
    notes = [(one, note) for one in on_data for note in dict.fromkeys(made.numbers[one.name]["note"]) if note]
    data = [f"{lower(one.title)} {note}".replace("n = ", "n\u00a0=\u00a0") for one, note in notes[:2]]
    return "; ".join([f"{models} on {listed(boards, most=3, limit=30)}", how, *data])


def _counts(made: Pareto) -> str:
    if len(made.points) < 2:
        return "One profile: there is nothing to compare it with."
    counted = [f"{n} {word}" for standing, word in STANDING_WORDS.items() if (n := len(made.rows(standing))) and standing != "aside"]
    return f"{len(made.points)} points: {', '.join([*counted, *_reasons(made, 'aside', 'aside'), *_reasons(made, 'missing', 'not drawn')])}"


def _reasons(made: Pareto, standing: Standing, word: str) -> list[str]:
    """How many there are and why; which measurement stands for an estimate is not said here."""
    reasons = Counter(why.split(", as ")[0] for why in made.points["why"].iloc[made.rows(standing)])
    total = sum(reasons.values())
    told = ", ".join(why if n == total else f"{why}: {n}" for why, n in reasons.most_common(3))
    return [f"{total} {word} ({told})"] if total else []


def _limits(made: Pareto) -> str:
    told = []
    for limit in made.constraints:
        values = made.numbers[limit.objective.name]["value"].to_numpy(float)
        met = f"{int(limit.met(values).sum())} of {len(values)}"
        told.append(f"{lower(limit.objective.title)} {limit.words} {show(limit.objective, limit.bound)} (met by {met})")
    return f"Constraints: {', '.join(told)}" if told else ""


def _sweet(made: Pareto) -> str:
    if made.sweet < 0:
        return f"No sweet spot: {made.reason}" if made.reason else ""
    if len(made.points) < 2:
        return ""
    point = made.points.iloc[made.sweet]
    how = "" if point["basis"] == "measured" or point["label"].endswith(point["basis"]) else f" ({point['basis']})"
    return f"Sweet spot: {shorten(point['label'], 50)}{how}, {made.reason}"


def _number(made: Pareto, one: Objective, row: int) -> str:
    number = made.numbers[one.name].iloc[row]
    if math.isnan(number["value"]):
        return f"{units.MISSING} ({_line(number['why'], 80)})"
    note = f" ({_line(number['note'], 80)})" if number["note"] else ""
    return show(one, number["value"], number["low"], number["high"]) + note


def _standing(made: Pareto, row: int) -> str:
    point = made.points.iloc[row]
    by = _line(made.points["label"].iloc[point["by"]], 60) if point["by"] >= 0 else ""
    words = {
        "front": "on the front" + (", the sweet spot" if row == made.sweet else ""),
        "unsure": f"cannot be told from the front: {by} is better by its values,<br>but not beyond the intervals",
        "dominated": f"dominated by {by}",
    }
    return words.get(point["standing"], _line(point["why"], 100))


def _line(text: str, limit: int) -> str:
    return html.escape(shorten(text, limit), quote=False)
