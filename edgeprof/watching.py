"""A measurement watched in a notebook's cell: the heatmap fills, power scrolls. `edgeprof.profile(model, progress="live")`.

Drawn on the thread that follows the job, which in a cell is the kernel's main thread: so outputs land in the cell, also when
another one is run afterwards. Between two events there is nothing new to draw.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from edgeprof.boards.base import Cancelled, Done, Event, Failed
from edgeprof.errors import MissingExtra
from edgeprof.figures.power_lane import power_lane
from edgeprof.figures.theme import origin_label
from edgeprof.live import SHARE, Live, Pace
from edgeprof.models.graph import Graph
from edgeprof.records.profile import Origin, Profile

EVERY_S = 1.0
_ENDS_WITHIN_S = 30.0


def can_watch() -> bool:
    """True in a notebook that somebody looks at, with what draws views installed."""
    try:
        from edgeprof.widgets.base import somebody_is_there
    except MissingExtra:
        return False
    return somebody_is_there()


class Watcher:
    """Listens to a job (`edgeprof.profiler.profile`) and shows what there is so far, beside ``bar``, which hears each event first."""

    def __init__(self, graph: Graph, input_source: str, origin: Origin, bar: Callable[[Event], None]) -> None:
        share = SHARE if origin == "measured" else 0.2
        self._live = Live(graph, origin=origin, input_source=input_source, min_interval_s=EVERY_S, share=share)
        self._bar, self._pace = bar, Pace(EVERY_S, share)
        self._cell: _Cell | None = None
        self._broken = False

    def __call__(self, event: Event) -> None:
        """Takes in an event and, when it is time, draws."""
        self._bar(event)
        self._live(event)
        ended = isinstance(event, Done | Cancelled | Failed)
        if ended:
            self._live.wait(_ENDS_WITHIN_S)
        if self._broken or not (ended or self._pace.due <= time.monotonic()):
            return
        self._pace.began(time.monotonic())
        try:
            self._draw(ended=ended)
        except Exception:  # the measurement is worth more than its picture; the bar goes on
            self._broken = True
        self._pace.ended(time.monotonic())

    def _draw(self, *, ended: bool) -> None:
        profile = self._live.profile
        if profile is None:
            return
        if self._cell is None:
            self._cell = _Cell(profile)
        self._cell.show(profile)
        if ended:
            self._cell.leave()
        else:
            self._cell.show_power(lane_of(self._live, profile))


def lane_of(live: Live, profile: Profile) -> str:
    """The recent readings of power as HTML; empty when there are none."""
    lines = [
        (recent.channel.title or name, recent.time_s, power)
        for name, recent in live.recent_samples.items()
        if (power := recent.power_mw) is not None
    ]
    return power_lane(lines, live.recent_s, origin_label(profile))


class _Cell:
    """What stands in the cell, shown where it is made and then exchanged in place."""

    def __init__(self, profile: Profile) -> None:
        from edgeprof.figures.heatmap import heatmap as heatmap_data
        from edgeprof.widgets.heatmap import HeatmapView

        class Growing(HeatmapView):
            def show(self, profile: Profile) -> None:
                self._profile = self._subject = profile
                self._names = frozenset(profile.layers["name"])
                self.selection = tuple(name for name in self.selection if name in self._names)
                data = heatmap_data(profile)
                self.data = {"meta": data.meta, "numbers": data.numbers}

        self._heatmap = Growing(profile)
        self._lane: Any = None
        _show_live(self._heatmap)

    def show(self, profile: Profile) -> None:
        """Shows ``profile`` in the heatmap."""
        if profile is not self._heatmap.profile:
            self._heatmap.show(profile)

    def show_power(self, lane: str) -> None:
        """Shows the lane of power below."""
        from IPython.display import HTML, display

        if self._lane is not None:
            self._lane.update(HTML(lane))  # type: ignore[no-untyped-call]
        elif lane:
            self._lane = display(HTML(lane), display_id=True)  # type: ignore[no-untyped-call]

    def leave(self) -> None:
        """Leaves the heatmap with the picture that stands for it in a saved notebook."""
        from IPython.display import display

        self.show_power("")
        still, metadata = self._heatmap._repr_mimebundle_()
        self._heatmap.still = still["image/png"][-64:]
        display(still, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]


def _show_live(view: Any) -> None:
    """Shows the live view alone: its picture comes when it is whole."""
    from IPython.display import display

    from edgeprof.widgets.base import WIDGET_MIME

    if view.comm is not None:
        spec = {"version_major": 2, "version_minor": 1, "model_id": view.model_id}
        display({"text/plain": repr(view), "text/html": "", WIDGET_MIME: spec}, raw=True)  # type: ignore[no-untyped-call]
