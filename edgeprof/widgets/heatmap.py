"""`heatmap`: layers x metrics, layers x runs, layers x boards in a cell; the selection is readable and settable from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import traitlets

from edgeprof.errors import UsageError
from edgeprof.figures.heatmap import GROUPINGS, heatmap_runs
from edgeprof.figures.heatmap import heatmap as heatmap_data
from edgeprof.figures.heatmap_picture import PICTURE_RUNS, draw
from edgeprof.figures.modules import style
from edgeprof.figures.pen import WIDTH
from edgeprof.figures.view import ViewData
from edgeprof.records.profile import Profile
from edgeprof.widgets.base import known_sort, refuse_unknown
from edgeprof.widgets.boards import MODULE, BoardsView
from edgeprof.widgets.runs import RunsView

SORTS = ("execution", "latency", "op_type")


class HeatmapView(RunsView):
    """Heatmap of a Profile. Made by `heatmap`; see there.

    ``selection`` (names of layers), ``selected_runs`` (numbers of runs), ``mode``, ``sort``, ``group``, ``values``, ``statistic`` and
    ``height`` can be read, set and observed.
    """

    _esm = MODULE
    _css = style("heatmap")

    picture_width = WIDTH

    data: Any = traitlets.Dict().tag(sync=True)
    runs: Any = traitlets.Dict().tag(sync=True)
    mode: Any = traitlets.Enum(("metrics", "runs"), "metrics").tag(sync=True)
    sort: Any = traitlets.Unicode("execution").tag(sync=True)
    group: Any = traitlets.Enum(("none", *GROUPINGS), "none").tag(sync=True)
    values: Any = traitlets.Enum(("absolute", "share"), "absolute").tag(sync=True)
    statistic: Any = traitlets.Enum(("max", "median"), "max").tag(sync=True)
    height: Any = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, profile: Profile, **traits: Any) -> None:
        data = heatmap_data(profile)
        self._sorts = (*SORTS, *(column["name"] for column in data.meta["columns"]))
        runs = _runs(profile, traits.get("statistic", "max")) if traits.get("mode") == "runs" else {}
        super().__init__(profile, data={"meta": data.meta, "numbers": data.numbers}, runs=runs, **traits)

    def picture(self) -> bytes:
        """The view as a PNG picture: the mode, sort order, groups (all closed) and selection that it has now."""
        runs = heatmap_runs(self.profile, max_columns=PICTURE_RUNS) if self.mode == "runs" else None
        return draw(
            ViewData(**self.data), runs=runs, sort=self.sort, selection=self.selection,
            group=self.group, values=self.values, selected_runs=self.selected_runs,
        )  # fmt: skip

    @traitlets.validate("sort")
    def _known_sort(self, proposal: Any) -> str:
        return known_sort(proposal["value"], self._sorts)

    @traitlets.observe("mode", "statistic")
    def _bring_runs(self, _: Any) -> None:
        """The runs are many numbers: they are sent when they are looked at."""
        if self.mode == "runs" and self.runs.get("meta", {}).get("statistic") != self.statistic:
            self.runs = _runs(self.profile, self.statistic)


def heatmap(
    profile: Profile | str | Path | Sequence[Profile | str | Path],
    *,
    mode: str | None = None,
    sort: str = "execution",
    height: int | None = None,
    selection: Sequence[str] = (),
    group: str = "none",
    values: str = "absolute",
    selected_runs: Sequence[int] = (),
    metric: str = "latency_ms",
    baseline: str | None = None,
    **unknown: Any,
) -> HeatmapView | BoardsView:
    """Heatmap for a notebook cell: of one Profile, or of several of the same model as layers x boards (see docs/compare-boards.md).

    Args:
        profile: what to show: a Profile or the path of a ``.edgeprof``; or a list of two or more of one model.
        mode: ``"metrics"`` (layers x metrics) or ``"runs"`` (layers x instrumented runs); of several profiles ``"absolute"``,
            ``"share"`` or ``"ratio"``. None is the first of them.
        sort: ``"execution"``, ``"latency"``, ``"op_type"`` or the name of a shown column, such as ``"macs"`` or ``"ratio: pi5"``.
        height: of the grid in CSS pixels; None fits the layers, up to 22 rows.
        selection: names of the layers that are selected at first.
        group: of one profile, ``"op_type"`` or ``"block"`` puts rows together, to be opened by a click; ``"none"`` shows all layers.
        values: of one profile, ``"share"`` shows numbers that can be summed as shares of the column's total, ``"absolute"`` as they are.
        selected_runs: of one profile, numbers of the runs that are selected at first.
        metric: of several profiles, what is compared: ``"latency_ms"``, ``"energy_mj"``, ``"peak_memory_bytes"`` ...
        baseline: of several profiles, the board that ratios are to, as its column is called; None is the first.
        **unknown: refused with a sentence.
    """
    known = ("mode", "sort", "height", "selection", "group", "values", "selected_runs", "metric", "baseline")
    refuse_unknown("heatmap", unknown, known)
    shared: dict[str, Any] = {"sort": sort, "height": height or 0, "selection": selection} | ({"mode": mode} if mode else {})
    own: dict[str, Any] = {"group": group, "values": values, "selected_runs": selected_runs}
    if isinstance(profile, (list, tuple)):
        if (group, values, tuple(selected_runs)) != ("none", "absolute", ()):
            raise UsageError(
                "group, values and selected_runs are for the heatmap of one profile; several have mode='share' and mode='ratio'."
            )
        return BoardsView([loaded(one) for one in profile], metric=metric, baseline=baseline, **shared)
    if metric != "latency_ms" or baseline is not None:
        raise UsageError("metric and baseline are for a list of profiles; the heatmap of one profile shows all metrics.")
    return HeatmapView(loaded(profile), **shared, **own)


def loaded(profile: Any) -> Profile:
    """``profile``, or the Profile in the bundle at that path; UsageError when it is neither."""
    if isinstance(profile, str | Path):
        from edgeprof.records.bundle import load

        return load(profile)
    if not isinstance(profile, Profile):
        raise UsageError(f"heatmap expected a Profile or the path of a .edgeprof file, got {type(profile).__name__}.")
    return profile


def _runs(profile: Profile, statistic: Any) -> dict[str, Any]:
    view = heatmap_runs(profile, statistic="median" if statistic == "median" else "max")
    return {"meta": view.meta, "numbers": view.numbers}
