"""What each view of the Workbench is drawn from, made when it is asked for, and why one has nothing to show.

A view is about the profile that is looked at, or about all candidates. The rows of the latter are aligned by original nodes
(`edgeprof.analysis.align`); their data says in ``rows_of`` which row each layer of the profile that is looked at belongs to, so that one
selection of layers serves all views.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeprof.analysis.align import Alignment, align_variants
from edgeprof.errors import UsageError
from edgeprof.figures.boards import boards
from edgeprof.figures.difference import difference
from edgeprof.figures.graph import graph
from edgeprof.figures.heatmap import heatmap, heatmap_runs
from edgeprof.figures.icicle import icicle
from edgeprof.figures.memory import memory
from edgeprof.figures.pareto_view import pareto_view
from edgeprof.figures.roofline_view import roofline_view
from edgeprof.figures.timeline import Session
from edgeprof.figures.view import ViewData
from edgeprof.peaks import cached_peaks
from edgeprof.records.profile import Profile
from edgeprof.widgets.timeline import MOST_POINTS, MOST_SPANS

Parts = dict[str, ViewData]
Values = Mapping[str, Any]

VIEWS = ("heatmap", "icicle", "table", "timeline", "candidates", "pareto", "roofline", "compare", "graph", "memory")
MODULES = ("heatmap", "icicle", "layer_table", "timeline", "pareto", "roofline", "difference", "graph", "memory")
"""ES modules that draw them (figures/modules.py)."""

OF_ALL = ("candidates", "pareto", "compare")
"""Views of more than one profile."""

ESTIMATE = " estimate"
"""Behind the key of a candidate that was measured: its point as it was estimated."""

MOST_ALIGNED = 16
"""Candidates side by side: more columns than that nobody reads."""


class Views:
    """Makes view data. Keeps what is dear to make for as long as it is looked at: of each view the last, alignments, a session in order.

    Several threads may ask at once: what was kept is found or made anew.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, tuple[Profile, Session]] = {}
        self._aligned: dict[tuple[int, ...], tuple[tuple[Profile, ...], Alignment]] = {}
        self._made: dict[str, tuple[tuple[Any, ...], Parts]] = {}

    def make(
        self,
        name: str,
        subjects: Mapping[str, Profile],
        shown: str,
        against: str,
        values: Values,
        points: Mapping[str, Profile] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Parts:
        """The data of view ``name``, by part.

        Args:
            name: one of `VIEWS`.
            subjects: all profiles that can be looked at, by key.
            shown: key of the one that is looked at.
            against: key of the one that it is compared with, or empty.
            values: what was chosen in the view: metric, mode, window ...
            points: what the Pareto chart shows, by key; None is ``subjects``.
            labels: what candidates are called, by key; None is what their profiles say.
        """
        chosen = tuple(subjects.values()) if name in OF_ALL else (subjects[shown],)
        about = (shown, against, dict(values), [*(points or ()), *(labels or {}).items()]) if name in OF_ALL else (dict(values),)
        profiles = (*chosen, *(points or {}).values()) if name == "pareto" else chosen
        made = self._made.get(name)
        if made is not None and made[0][1] == about and _are(made[0][0], profiles):
            return made[1]
        parts = self._make(name, subjects, shown, against, values, points, labels)
        self._made[name] = ((profiles, about), parts)
        return parts

    def _make(
        self,
        name: str,
        subjects: Mapping[str, Profile],
        shown: str,
        against: str,
        values: Values,
        points: Mapping[str, Profile] | None,
        labels: Mapping[str, str] | None,
    ) -> Parts:
        if name == "pareto":
            shown_points = subjects if points is None else points
            names = None if labels is None else [_called(key, labels) for key in shown_points]
            return {"data": pareto_view(list(shown_points.values()), keys=list(shown_points), labels=names, **_only(values, "x", "y"))}
        if name == "candidates":
            return self._candidates(subjects, subjects[shown], values)
        if name == "compare":
            return self._compared(subjects, shown, against, values)
        return self._of_one(name, subjects[shown], values)

    def _of_one(self, name: str, profile: Profile, values: Values) -> Parts:
        if name == "heatmap":
            runs = values.get("runs")
            parts = {"data": heatmap(profile)}
            return parts if runs is None else {**parts, "runs": heatmap_runs(profile, statistic="median" if runs == "median" else "max")}
        if name == "timeline":
            return self._timeline(profile, values.get("window"))
        makers: dict[str, Callable[[], ViewData]] = {
            "icicle": lambda: icicle(profile),
            "roofline": lambda: roofline_view(profile, peaks=cached_peaks(profile)),
            "graph": lambda: graph(profile, **_only(values, "metric", "collapse")),
            "memory": lambda: memory(profile),
        }
        return {"data": makers[name]()}

    def _timeline(self, profile: Profile, window: Sequence[float] | None) -> Parts:
        kept = self._sessions.get(id(profile))
        if kept is None or kept[0] is not profile:
            kept = (profile, Session(profile))
            self._sessions = {id(profile): kept}
        session = kept[1]
        limits = {"most_points": MOST_POINTS, "most_spans": MOST_SPANS}
        parts = {"data": session.whole(**limits)}
        if window and session.extent and tuple(window) != tuple(session.extent):
            start, end = map(float, window)
            width, (first, last) = end - start, session.extent
            parts["detail"] = session.detail(max(first, start - width), min(last, end + width), **limits)
        return parts

    def _candidates(self, subjects: Mapping[str, Profile], shown: Profile, values: Values) -> Parts:
        chosen = list(subjects.values())[:MOST_ALIGNED]
        aligned = self._align(chosen if shown in chosen else [*chosen[:-1], shown])
        return {"data": _with_rows(boards(aligned, **_only(values, "metric", "baseline"), own_findings=False), aligned, shown)}

    def _compared(self, subjects: Mapping[str, Profile], shown: str, against: str, values: Values) -> Parts:
        if against not in subjects:
            raise UsageError("There is nothing to compare with. Choose it at the top: “against”.")
        aligned = self._align([subjects[against], subjects[shown]])
        return {"data": _with_rows(difference(aligned, **_only(values, "metric")), aligned, subjects[shown])}

    def _align(self, profiles: Sequence[Profile]) -> Alignment:
        key = tuple(map(id, profiles))
        kept = self._aligned.get(key)
        if kept is None:
            kept = (tuple(profiles), align_variants(profiles))  # the profiles are kept too: an id is only theirs while they live
            self._aligned = {**dict(list(self._aligned.items())[-3:]), key: kept}
        return kept[1]


def _called(key: str, labels: Mapping[str, str]) -> str:
    """A candidate's name; the estimate that came before a measurement says that it is one."""
    name = labels.get(key.removesuffix(ESTIMATE), key)
    return f"{name}, estimated" if key.endswith(ESTIMATE) else name


def _are(some: Sequence[Profile], others: Sequence[Profile]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


def _only(values: Values, *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) is not None}


def _with_rows(view: ViewData, aligned: Alignment, shown: Profile) -> ViewData:
    """``view`` with the row of each layer of ``shown`` in its ``rows_of``."""
    row_of = {node: name for name, nodes in zip(aligned.layers["name"], aligned.layers["source_nodes"], strict=True) for node in nodes}
    names = set(aligned.layers["name"])
    rows = {}
    for name, op_type, nodes in shown.layers[["name", "op_type", "source_nodes"]].itertuples(index=False):
        row = next((row_of[node] for node in nodes if node in row_of), None) or (name if name in names else f"({op_type})")
        if row in names:
            rows[name] = row
    return ViewData({**view.meta, "rows_of": rows}, view.numbers)
