"""Layers x boards in a cell: one model on several boards; mode, metric and baseline can be changed from both sides. Made by `heatmap`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import traitlets

from edgeprof.analysis.align import Alignment, align
from edgeprof.errors import UsageError
from edgeprof.figures.boards import MODES, boards
from edgeprof.figures.heatmap_picture import draw
from edgeprof.figures.modules import script, style
from edgeprof.figures.pen import WIDTH
from edgeprof.figures.view import ViewData
from edgeprof.records.profile import Profile
from edgeprof.widgets.base import LayersView, known_sort, module

_SORTS = ("execution", "latency", "op_type")

MODULE = module(
    script("heatmap"),
    'connect(renderHeatmap, ["runs", "mode", "sort", "group", "values", "statistic", "height", "theme"], '
    '{ options: { canAsk: true }, beside: ["runs"] })',
)
"""Of the heatmap, of one profile as of several: what a view has no trait for is left alone."""


class BoardsView(LayersView):
    """Layers x boards of several Profiles of one model. Made by `heatmap`; see there.

    ``selection`` (names of rows), ``mode``, ``metric``, ``baseline``, ``sort`` and ``height`` can be read, set and observed.
    """

    _esm = MODULE
    _css = style("heatmap")
    _where = "in these profiles"

    picture_width = WIDTH

    data: Any = traitlets.Dict().tag(sync=True)
    mode: Any = traitlets.Enum(tuple(MODES), "absolute").tag(sync=True)
    metric: Any = traitlets.Unicode("latency_ms").tag(sync=True)
    baseline: Any = traitlets.Unicode(allow_none=True, default_value=None).tag(sync=True)
    sort: Any = traitlets.Unicode("execution").tag(sync=True)
    height: Any = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, profiles: Sequence[Profile], **traits: Any) -> None:
        self._alignment = align(profiles)
        data = boards(self._alignment, metric=traits.get("metric", "latency_ms"), baseline=traits.get("baseline"))
        self._sorts = _sorts(data)
        super().__init__(self._alignment, data=_plain(data), **traits)

    @property
    def alignment(self) -> Alignment:
        """The rows that the profiles have in common, and what each ran for them."""
        return self._alignment

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles that are shown."""
        return self._alignment.profiles

    @property
    def selected(self) -> pd.DataFrame:
        """The selected rows in the model's order, with a column of the metric for each board."""
        table = self._alignment.table(self.metric)
        return table[table["name"].isin(self.selection)].reset_index(drop=True)

    def picture(self) -> bytes:
        """The view as a PNG picture: the mode, sort order and selection that it has now."""
        return draw(ViewData(**self.data), mode=self.mode, sort=self.sort, selection=self.selection)

    @traitlets.validate("sort")
    def _known_sort(self, proposal: Any) -> str:
        return known_sort(proposal["value"], self._sorts)

    @traitlets.validate("metric", "baseline")
    def _can_be_shown(self, proposal: Any) -> str | None:
        """Refuses what cannot be drawn before anything has changed."""
        wish = {"metric": self.metric, "baseline": self.baseline} | {proposal["trait"].name: proposal["value"]}
        try:
            boards(self._alignment, **wish)
        except UsageError as error:
            raise traitlets.TraitError(str(error)) from error
        return str(proposal["value"]) if proposal["value"] is not None else None

    @traitlets.observe("metric", "baseline")
    def _bring_data(self, _: Any) -> None:
        data = boards(self._alignment, metric=self.metric, baseline=self.baseline)
        self._sorts = _sorts(data)
        if self.sort not in self._sorts:
            self.sort = "execution"
        if self.mode not in data.meta["modes"]:
            self.mode = "absolute"
        self.data = _plain(data)


def _sorts(data: ViewData) -> tuple[str, ...]:
    return (*_SORTS, *(column["name"] for mode in data.meta["modes"].values() for column in mode["columns"]))


def _plain(view: ViewData) -> dict[str, Any]:
    return {"meta": view.meta, "numbers": view.numbers}
