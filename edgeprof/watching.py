"""A measurement watched in a notebook's cell: the heatmap fills, power scrolls. `edgeprof.profile(model, progress="live")`.

The places in the cell are made before anything is measured, on the thread that runs the cell; what stands in them is exchanged by
`edgeprof.live.Live`'s thread. So it keeps its place, also when another cell is run meanwhile, and drawing counts as `Live`'s time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeprof.boards.base import Cancelled, Done, Event, Failed
from edgeprof.errors import MissingExtra
from edgeprof.figures.power_lane import power_lane
from edgeprof.figures.theme import origin_label
from edgeprof.live import SHARE, Live
from edgeprof.models.graph import Graph
from edgeprof.records.profile import Origin, Profile

EVERY_S = 1.0
ELSEWHERE_SHARE = 0.2
"""Of the time, at most, where it is another machine that is measured."""

_ENDS_WITHIN_S = 30.0


def can_watch() -> bool:
    """True in a notebook that somebody looks at, with what draws views installed."""
    try:
        from edgeprof.widgets.base import somebody_is_there
    except MissingExtra:
        return False
    return somebody_is_there()


class Watcher:
    """Listens to a job (`edgeprof.profiler.profile`) and shows what there is so far, below ``bar``, which hears each event first.

    ``here``: it is this machine that is measured.
    """

    def __init__(self, graph: Graph, input_source: str, origin: Origin, bar: Callable[[Event], None], *, here: bool) -> None:
        self._bar, self._cell = bar, _Cell()
        share = SHARE if here else ELSEWHERE_SHARE
        self._live = Live(graph, origin=origin, input_source=input_source, on_update=self._cell.show, min_interval_s=EVERY_S, share=share)

    def __call__(self, event: Event) -> None:
        """Takes in an event; the last one returns when the end is drawn."""
        self._bar(event)
        self._live(event)
        if isinstance(event, Done | Cancelled | Failed):
            self._live.wait(_ENDS_WITHIN_S)


def lane_of(live: Live, profile: Profile) -> str:
    """The recent readings of power as HTML; empty when there are none."""
    lines = [
        (recent.channel.title or name, recent.time_s, power)
        for name, recent in live.recent_samples.items()
        if (power := recent.power_mw) is not None
    ]
    return power_lane(lines, live.recent_s, origin_label(profile))


class _Cell:
    """Three places in the cell: the lane of power, the heatmap, and the picture that stands for the heatmap in a saved notebook."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        from edgeprof.figures.heatmap import heatmap as heatmap_data
        from edgeprof.widgets.heatmap import HeatmapView  # takes a second or two, which is not to fall into the measurement

        class Growing(HeatmapView):
            def show(self, profile: Profile) -> None:
                self._profile = self._subject = profile
                self._names = frozenset(profile.layers["name"])
                self.selection = tuple(name for name in self.selection if name in self._names)
                data = heatmap_data(profile)
                self.data = {"meta": data.meta, "numbers": data.numbers}

        self._view: Any = Growing
        self._heatmap: Any = None
        self._html: Any = HTML
        self._places: list[Any] = [display(HTML(""), display_id=True) for _ in range(3)]  # type: ignore[no-untyped-call]

    def show(self, live: Live) -> None:
        """Draws what there is now."""
        profile, ended = live.profile, live.is_over
        if profile is None:
            return
        lane, view, still = self._places
        if self._heatmap is None:
            self._heatmap = self._view(profile)
            view.update(_bundle(self._heatmap), raw=True)
        elif profile is not self._heatmap.profile:
            self._heatmap.show(profile)
        lane.update(self._html("" if ended else lane_of(live, profile)))
        if ended:
            picture, metadata = self._heatmap._repr_mimebundle_()
            self._heatmap.still = picture["image/png"][-64:]
            still.update(picture, metadata=metadata, raw=True)


def _bundle(view: Any) -> dict[str, Any]:
    """What shows the live view alone; the empty HTML is for readers without widgets."""
    from edgeprof.widgets.base import WIDGET_MIME

    spec = {"version_major": 2, "version_minor": 1, "model_id": view.model_id}
    return {"text/plain": repr(view), "text/html": "", WIDGET_MIME: spec}
