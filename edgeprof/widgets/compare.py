"""`compare`: two or more profiles in a cell: a waterfall of where the time went, rows side by side, and a heatmap, with one selection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import traitlets

from edgeprof.analysis.align import INTERVALS, Alignment, align_variants
from edgeprof.analysis.difference import difference as differences
from edgeprof.errors import UsageError
from edgeprof.figures.boards import boards as boards_data
from edgeprof.figures.difference import GROUPINGS, pair
from edgeprof.figures.difference import difference as difference_data
from edgeprof.figures.difference_picture import draw
from edgeprof.figures.modules import script, style
from edgeprof.figures.pen import WIDTH
from edgeprof.figures.view import ViewData
from edgeprof.records.profile import Profile
from edgeprof.records.schema import column
from edgeprof.widgets.base import LayersView, module, refuse_unknown

TABS = ("waterfall", "side", "heatmap")


class CompareView(LayersView):
    """What differs between profiles. Made by `compare`; see there.

    ``selection`` (names of rows), ``tab``, ``metric``, ``baseline``, ``other``, ``by``, ``top``, ``sort`` and ``height`` can be read, set
    and observed. The data of the heatmap is sent when it is looked at.
    """

    _esm = module(
        script("difference", "heatmap") + (Path(__file__).parent / "compare.js").read_text("utf-8"),
        'connect(renderCompare, ["tab", "by", "top", "sort", "height", "theme"], '
        '{ options: { canAsk: true }, parts: ["difference", "boards"] })',
    )
    _css = style("difference", "heatmap")
    _where = "in these profiles"

    picture_width = WIDTH

    difference: Any = traitlets.Dict().tag(sync=True)
    boards: Any = traitlets.Dict().tag(sync=True)
    tab: Any = traitlets.Enum(TABS, "waterfall").tag(sync=True)
    metric: Any = traitlets.Unicode("latency_ms").tag(sync=True)
    baseline: Any = traitlets.Unicode().tag(sync=True)
    other: Any = traitlets.Unicode().tag(sync=True)
    by: Any = traitlets.Enum(tuple(GROUPINGS), "row").tag(sync=True)
    top: Any = traitlets.Int(12, min=0).tag(sync=True)
    sort: Any = traitlets.Enum(("size", "execution", "ratio"), "size").tag(sync=True)
    height: Any = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, alignment: Alignment, **traits: Any) -> None:
        self._alignment = alignment
        first, second = pair(alignment, traits.get("baseline"), traits.get("other"))
        traits |= {"baseline": alignment.labels[first], "other": alignment.labels[second]}
        data = difference_data(alignment, metric=traits.get("metric", "latency_ms"), baseline=traits["baseline"], other=traits["other"])
        super().__init__(alignment, difference=_plain(data), **traits)
        self._bring_boards()

    @property
    def alignment(self) -> Alignment:
        """The rows that the profiles have in common, and what each ran for them."""
        return self._alignment

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles that are compared."""
        return self._alignment.profiles

    @property
    def table(self) -> pd.DataFrame:
        """A row for each aligned row: ``metric`` of the baseline and of the other, their difference and ratio, with the ends of intervals.

        ``distinguishable`` is False where the intervals overlap, NA where one is not known. Names end in the metric's unit.
        """
        layers = self._alignment.layers
        first, second = pair(self._alignment, self.baseline, self.other)
        told = differences(self._alignment, baseline=first, other=second, metric=self.metric)
        unit = self.metric.rpartition("_")[2] if column(self.metric).unit else ""
        with_unit = {name: f"{name}_{unit}" if unit and not name.startswith(("ratio", "dist")) else name for name in told.columns}
        known = [name for name in told.columns if self.metric in INTERVALS or not name.endswith(("_low", "_high"))]
        return pd.concat([layers, told[known].rename(columns=with_unit)], axis=1)

    @property
    def selected(self) -> pd.DataFrame:
        """The rows of `table` that are selected, in the model's order."""
        table = self.table
        return table[table["name"].isin(self.selection)].reset_index(drop=True)

    def picture(self) -> bytes:
        """The view as a PNG picture: the waterfall, and below it the rows that differ most side by side."""
        return draw(ViewData(**self.difference), by=self.by, top=self.top, sort=self.sort, selection=self.selection)

    @traitlets.validate("metric", "baseline", "other")
    def _can_be_shown(self, proposal: Any) -> str:
        """Refuses what cannot be drawn before anything has changed. Who names one side as the other too exchanges them."""
        name, value = proposal["trait"].name, str(proposal["value"])
        wish = {"metric": self.metric, "baseline": self.baseline or None, "other": self.other or None} | {name: value}
        if wish["baseline"] == wish["other"]:
            wish["other"] = None
        try:
            difference_data(self._alignment, **wish)
        except UsageError as error:
            raise traitlets.TraitError(str(error)) from error
        return value

    @traitlets.observe("metric", "baseline", "other")
    def _bring_data(self, change: Any) -> None:
        if not self.difference:
            return  # still being made
        if self.baseline == self.other:
            swapped = "other" if change["name"] == "baseline" else "baseline"
            setattr(self, swapped, change["old"])
            return
        self.difference = _plain(difference_data(self._alignment, metric=self.metric, baseline=self.baseline, other=self.other))
        self.boards = {}
        self._bring_boards()

    @traitlets.observe("tab")
    def _bring_boards(self, _: Any = None) -> None:
        """The heatmap holds all profiles: it is sent when it is looked at."""
        if self.tab == "heatmap" and not self.boards:
            self.boards = _plain(boards_data(self._alignment, metric=self.metric, baseline=self.baseline))


def compare(
    *profiles: Profile | str | Path,
    metric: str = "latency_ms",
    baseline: str | None = None,
    other: str | None = None,
    labels: Sequence[str] | None = None,
    by: str = "row",
    by_name: bool = False,
    tab: str = "waterfall",
    selection: Sequence[str] = (),
    height: int | None = None,
    **unknown: Any,
) -> CompareView:
    """What differs between two or more profiles, for a notebook cell (see docs/compare.md).

    They are of one model (on boards, with settings, before and after) or of a model and of what recipes made of it, measured or estimated.

    Args:
        *profiles: Profiles or paths of ``.edgeprof`` files; or one list of them.
        metric: what is compared: ``"latency_ms"``, ``"energy_mj"``, ``"macs"`` ...
        baseline: the label of the profile that the others are compared to; None is the first.
        other: the label of the one that is shown beside it at first; None is the first other.
        labels: what the profiles are called; None says what differs between them.
        by: ``"row"``, ``"op_type"`` or ``"block"``.
        by_name: True aligns models that are not known to be related, by equal names of nodes.
        tab: ``"waterfall"``, ``"side"`` or ``"heatmap"``.
        selection: names of the layers that are selected at first.
        height: of the charts in CSS pixels; None fits the rows.
        **unknown: refused with a sentence.
    """
    refuse_unknown("compare", unknown, ("metric", "baseline", "other", "labels", "by", "by_name", "tab", "selection", "height"))
    given = profiles[0] if len(profiles) == 1 and isinstance(profiles[0], (list, tuple)) else profiles
    aligned = align_variants([_loaded(one) for one in given], by_name=by_name, labels=labels)
    sides = {name: label for name, label in (("baseline", baseline), ("other", other)) if label is not None}
    return CompareView(aligned, metric=metric, by=by, tab=tab, selection=selection, height=height or 0, **sides)


def _loaded(profile: Any) -> Profile:
    if isinstance(profile, str | Path):
        from edgeprof.records.bundle import load

        return load(profile)
    if not isinstance(profile, Profile):
        raise UsageError(f"compare expected Profiles or paths of .edgeprof files, got {type(profile).__name__}.")
    return profile


def _plain(view: ViewData) -> dict[str, Any]:
    return {"meta": view.meta, "numbers": view.numbers}
