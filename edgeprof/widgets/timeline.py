"""`timeline`: phases, runs, layers and readings over time in a cell; window and selection are readable and settable from Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import traitlets

from edgeprof.errors import UsageError
from edgeprof.figures.modules import script, style
from edgeprof.figures.pen import WIDTH
from edgeprof.figures.timeline import Session
from edgeprof.figures.timeline_picture import draw
from edgeprof.figures.view import ViewData
from edgeprof.records.profile import Profile
from edgeprof.widgets.base import module, refuse_unknown
from edgeprof.widgets.runs import RunsView

MOST_POINTS, MOST_SPANS = 12_000, 10_000
"""What one message holds: a screen shows no more, and what is zoomed into comes when it is looked at."""

_FINER = 6  # a detail is wide enough to pan in; it is made anew where the window is this many times narrower


class _Window(traitlets.Tuple):
    """Start and end; None is no window, as in every argument, and an empty one means the same."""

    def _validate(self, obj: Any, value: Any) -> Any:
        return super()._validate(obj, () if value is None else value)


class TimelineView(RunsView):
    """Timeline of a Profile. Made by `timeline`; see there.

    ``window`` (start and end in ms since the job's start), ``selection`` (names of layers), ``selected_runs`` (numbers of runs) and
    ``height`` can be read, set and observed. Setting ``window`` to None shows the whole session.
    """

    _esm = module(
        script("timeline"),
        'connect(renderTimeline, ["detail", "window", "height", "theme"], { options: { canDetail: true }, beside: ["detail", "window"] })',
    )
    _css = style("timeline")

    picture_width = WIDTH

    data: Any = traitlets.Dict().tag(sync=True)
    detail: Any = traitlets.Dict().tag(sync=True)
    window: Any = _Window().tag(sync=True)
    height: Any = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, profile: Profile, **traits: Any) -> None:
        self._session = Session(profile)
        data = _plain(self._session.whole(most_points=MOST_POINTS, most_spans=MOST_SPANS))
        super().__init__(profile, data=data, **{"window": None, **traits})

    def picture(self) -> bytes:
        """The view as a PNG picture: the whole session, and the window that it shows now or a typical run."""
        return draw(self.profile, session=self._session, window=self.window, selection=self.selection)

    @traitlets.validate("window")
    def _within_the_session(self, proposal: Any) -> tuple[float, ...]:
        extent, wish = self._session.extent, proposal["value"]
        if extent is None or not wish:
            return tuple(extent or ())
        try:
            start, end = map(float, wish)
        except (TypeError, ValueError):
            start = end = math.nan
        if not (math.isfinite(start) and math.isfinite(end) and start < end):
            raise traitlets.TraitError(f"A window is (start_ms, end_ms) with start_ms < end_ms, not {wish!r}. None is the whole session.")
        if start >= extent[1] or end <= extent[0]:
            raise traitlets.TraitError(f"The window {wish!r} lies outside of the session, which goes from {extent[0]} to {extent[1]} ms.")
        return max(start, extent[0]), min(end, extent[1])

    @traitlets.observe("window")
    def _bring_detail(self, _: Any) -> None:
        """Where the whole session holds less than was recorded, what is zoomed into is sent more finely."""
        if not self.window or not _is_coarse(self.data) or self._is_fine_enough():
            return
        start, end = self.window
        width = end - start
        first, last = self._session.extent or self.window
        around = max(first, start - width), min(last, end + width)
        self.detail = _plain(self._session.detail(*around, most_points=MOST_POINTS, most_spans=MOST_SPANS))

    def _is_fine_enough(self) -> bool:
        start, end = self.window
        if (start, end) == tuple(self._session.extent or ()):
            return True
        first, last = self.detail.get("meta", {}).get("window", (math.inf, -math.inf))
        covered = first <= start and end <= last
        return covered and (not _is_coarse(self.detail) or last - first <= _FINER * (end - start))


def timeline(
    profile: Profile | str | Path,
    *,
    window: Sequence[float] | None = None,
    selection: Sequence[str] = (),
    selected_runs: Sequence[int] = (),
    height: int | None = None,
    **unknown: Any,
) -> TimelineView:
    """Timeline of ``profile`` (a Profile, or the path of a ``.edgeprof``) for a notebook cell.

    Args:
        profile: what to show.
        window: ``(start_ms, end_ms)`` that is shown at first, in ms since the job's start; None is the whole session.
        selection: names of the layers that are selected at first.
        selected_runs: numbers of the runs that are selected at first, as in ``profile.runs``.
        height: of the lanes in CSS pixels; None fits them.
        **unknown: refused with a sentence.
    """
    refuse_unknown("timeline", unknown, ("window", "selection", "selected_runs", "height"))
    if isinstance(profile, str | Path):
        from edgeprof.records.bundle import load

        profile = load(profile)
    if not isinstance(profile, Profile):
        raise UsageError(f"timeline expected a Profile or the path of a .edgeprof file, got {type(profile).__name__}.")
    return TimelineView(profile, window=window, selection=selection, selected_runs=selected_runs, height=height or 0)


def _plain(view: ViewData) -> dict[str, Any]:
    return {"meta": view.meta, "numbers": view.numbers}


def _is_coarse(view: dict[str, Any]) -> bool:
    """True where something was recorded that this view data does not hold."""
    meta = view["meta"]
    thinned = any(shown < all_ for shown, all_ in (meta["runs_of"], meta["spans_of"]))
    return thinned or any(series["per"] > 1 for series in meta["series"])
