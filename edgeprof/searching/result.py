"""What a search found: candidates with what was estimated and, of those that were built, what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from edgeprof.analysis.names import shorten
from edgeprof.recipes.recipe import Recipe
from edgeprof.records.profile import Profile
from edgeprof.searching.constraints import OBJECTIVES, Constraints

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Candidate:
    """A recipe: ``estimated`` and ``measured`` values by objective (NaN: not known), and the profiles that they are from.

    ``failed`` says why one that was to be built and measured was not. ``round``: 2 where the estimate knows what was built in round 1.
    """

    name: str
    recipe: Recipe
    estimated: Mapping[str, float]
    estimate: Profile
    measured: Mapping[str, float] = field(default_factory=dict)
    profile: Profile | None = None
    failed: str = ""
    round: int = 1

    def gap(self, objective: str) -> float:
        """Estimate over measurement, minus 1; of a loss, which may be 0, the difference. NaN where one is not known."""
        guess, truth = self.estimated.get(objective, math.nan), self.measured.get(objective, math.nan)
        return guess - truth if objective == "loss" else guess / truth - 1 if truth else math.nan


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Candidates on the estimated front, those that were measured first; of these those of the first round before those of the second.

    ``base``: the model as it is. ``trials``: how many recipes were estimated. ``complete``: False when it was interrupted.
    """

    base: Profile
    objectives: tuple[str, ...]
    constraints: Constraints
    metric: str
    candidates: tuple[Candidate, ...]
    trials: int
    complete: bool = True

    @property
    def profiles(self) -> list[Profile]:
        """The model, estimates and measurements: what `ep.pareto` draws."""
        made = [profile for one in self.candidates for profile in (one.estimate, one.profile) if profile is not None]
        return [self.base, *made]

    @property
    def best(self) -> Candidate | None:
        """Of the measured candidates that keep to all constraints the one that is best in the first objective; None when none does."""
        fitting = [one for one in self.candidates if one.profile is not None and self.constraints.holds(one.measured)]
        return min(fitting, key=lambda one: one.measured[self.objectives[0]], default=None)

    @property
    def table(self) -> pd.DataFrame:
        """One row a candidate: estimated, measured and gap of each objective, and whether it keeps to the constraints."""
        import pandas as pd

        rows = []
        for one in self.candidates:
            row: dict[str, object] = {"candidate": one.name, "round": one.round}
            for name in self.objectives:
                row[f"estimated_{name}"] = one.estimated.get(name, math.nan)
                row[f"measured_{name}"] = one.measured.get(name, math.nan)
                row[f"gap_{name}"] = one.gap(name)
            row["fits"] = self.constraints.holds(one.measured if one.profile is not None else one.estimated)
            rows.append(row | {"decisions": len(one.recipe.decisions), "failed": one.failed})
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        built = sum(one.profile is not None for one in self.candidates)
        state = "" if self.complete else ", interrupted"
        return f"<Search of {self.base.title}: {self.trials} trials, {len(self.candidates)} candidates, {built} measured{state}>"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(text)}</th>" for text in self.headings())
        body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in self.rows())
        return f"<p>{escape(repr(self)[1:-1])}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def headings(self) -> list[str]:
        """Titles of the table, with units."""
        found = ["Candidate"]
        for name in self.objectives:
            title, unit = OBJECTIVES[name]
            if name == "loss":
                title, unit = f"{title} of {self.metric}", "points" if self.metric == "top1" else "dB" if self.metric == "sqnr_db" else ""
            unit = f" ({unit})" if unit else ""
            found += [f"{title}{unit}, estimated", f"{title}{unit}, measured", "Gap"]
        return [*found, "Fits"]

    def rows(self) -> list[list[str]]:
        """The table as texts, in the order of its headings."""
        found = []
        for one in self.candidates:
            row = [shorten(one.name, 40)]
            for name in self.objectives:
                gap, scale = one.gap(name), 100 if name == "loss" and self.metric == "top1" else 1
                shown = "–" if math.isnan(gap) else f"{gap * scale:+.3g}" if name == "loss" else f"{gap:+.1%}"
                row += [_number(values.get(name, math.nan) * scale) for values in (one.estimated, one.measured)]
                row.append(shown)
            fits = self.constraints.holds(one.measured if one.profile is not None else one.estimated)
            found.append([*row, one.failed or ("yes" if fits else "no")])
        return found


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
