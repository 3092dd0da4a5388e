"""`Follower`: what a measurement of the model has brought so far stands in the Workbench while it runs, and is kept meanwhile.

The Profile that grows (`edgeprof.live.Live`) becomes `Bench.live`; it is written to the study every ten seconds, so that a kernel that dies
loses no more than that. What a dead kernel left is told when the study is opened again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeprof.boards import get_board
from edgeprof.boards.base import Cancelled, Done, Event, Failed, Started
from edgeprof.live import SHARE, Live
from edgeprof.watching import ELSEWHERE_SHARE, lane_of
from edgeprof.workbench.bench import Bench
from edgeprof.workbench.candidates import BASE
from edgeprof.workbench.tasks import Task

KEPT = "measuring.edgeprof"
_EVERY_S = 0.8


class Follower:
    """Follows the measurements of ``bench``'s model. ``on_lane`` hears the recent readings of power as HTML; empty when it is over."""

    def __init__(self, bench: Bench, on_lane: Callable[[str], None]) -> None:
        self._bench, self._on_lane = bench, on_lane
        self._live: Live | None = None
        bench.on_event = self._heard
        left = self._keep
        if left is not None and left.is_file() and bench.base is None:
            bench.findings.append(f"A measurement ended with its kernel. What there was of it is in {left}: ep.load shows it.")

    @property
    def _keep(self) -> Path | None:
        return self._bench.study / KEPT if self._bench.study is not None else None

    def _heard(self, task: Task, event: Event) -> None:
        """In the thread that follows the job."""
        if isinstance(event, Started) and task.key == BASE and self._bench.graph is not None:
            board = get_board(self._bench.board)
            share = SHARE if board.name == "local" else ELSEWHERE_SHARE
            keep = self._keep if self._keep is not None and self._keep.parent.is_dir() else None
            self._live = Live(self._bench.graph, origin=board.origin, on_update=self._show, min_interval_s=_EVERY_S, keep=keep, share=share)
        live = self._live
        if live is None:
            return
        live(event)
        if isinstance(event, Done | Cancelled | Failed):
            self._live = None
            live.done()
            self._bench.live = None
            self._on_lane("")

    def _show(self, live: Live) -> None:
        profile = live.profile
        if profile is None or live.is_over:
            return
        self._bench.live = profile
        self._on_lane(lane_of(live, profile))
