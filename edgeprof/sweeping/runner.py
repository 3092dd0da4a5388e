"""Measures one cell at a time on one board: here, for any board that this machine reaches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal, Protocol

from edgeprof.boards.base import Board, Cancelled, Done, Event, Failed, Job, Started
from edgeprof.boards.local import LocalBoard
from edgeprof.errors import BoardError, EdgeprofError
from edgeprof.profiler import profile
from edgeprof.records.profile import Profile
from edgeprof.sweeping.plan import Task

Status = Literal["done", "failed", "cancelled"]
Hear = Callable[[Event], None]


@dataclass(frozen=True)
class Outcome:
    """What came of a cell; ``profile`` is what was measured, whole or in part, or None."""

    status: Status
    profile: Profile | None = None
    error: str = ""


class Runner(Protocol):
    """One board's."""

    def run(self, task: Task, hear: Hear, free: Callable[[], object]) -> Outcome:
        """Measures a cell; returns when it has ended, whatever came of it.

        ``free`` may be called before: from then on the board can have the next job, while a Profile is made of what this one brought.
        """

    def cancel(self) -> None:
        """Asks what runs now and later to stop soon and to keep what it has. Any thread may call it."""

    def kill(self) -> None:
        """Ends what runs at once."""


class HostRunner:
    """Runs on ``board`` from this process. Who holds ``making`` makes a Profile: one at a time, so that jobs can begin meanwhile."""

    def __init__(self, board: Board, making: threading.Lock) -> None:
        self._board, self._making = board, making
        self._is_here = isinstance(board, LocalBoard)  # nothing else may go on here while it measures
        self._job: Job | None = None
        self._wish = 0  # 1: cancel, 2: kill
        self._order = threading.Lock()  # a wish comes before the job is there or after it

    def run(self, task: Task, hear: Hear, free: Callable[[], object]) -> Outcome:
        """See `Runner.run`."""
        stopped: list[bool] = []
        held = ExitStack()

        def listen(event: Event) -> None:
            if isinstance(event, Started):
                self._take(event.job)
            elif isinstance(event, Done | Cancelled | Failed):
                self._take(None)
                if isinstance(event, Cancelled):
                    stopped.append(True)
                if not self._is_here:
                    free()
                    held.enter_context(self._making)
            hear(event)

        with held:
            try:
                task.check()
                found = profile(task.graph, board=self._board, **task.options, progress=listen)
            except KeyboardInterrupt:
                return Outcome("cancelled", None, "It was stopped before anything was measured.")
            except BoardError as error:
                return Outcome("failed", error.profile, _told(error))
            except EdgeprofError as error:
                return Outcome("failed", None, _told(error))
        if stopped:
            return Outcome("cancelled", found, "It was stopped before its end; what was measured is kept.")
        return Outcome("done", found)

    def cancel(self) -> None:
        """See `Runner.cancel`."""
        self._want(1)

    def kill(self) -> None:
        """See `Runner.kill`."""
        self._want(2)

    def _want(self, wish: int) -> None:
        with self._order:
            self._wish = max(self._wish, wish)
            self._grant()

    def _take(self, job: Job | None) -> None:
        with self._order:
            self._job = job
            self._grant()

    def _grant(self) -> None:
        if self._job is not None and self._wish:
            (self._job.cancel if self._wish == 1 else self._job.kill)()


def _told(error: EdgeprofError) -> str:
    return " ".join([str(error), *getattr(error, "__notes__", ())])
