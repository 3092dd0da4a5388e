"""Measures one cell at a time on one board: here, for any board that this machine reaches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from edgeprof.boards.base import Board, Cancelled, Event, Job, Started
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

    def run(self, task: Task, hear: Hear) -> Outcome:
        """Measures a cell; returns when it has ended, whatever came of it."""

    def cancel(self) -> None:
        """Asks what runs now and later to stop soon and to keep what it has. Any thread may call it."""

    def kill(self) -> None:
        """Ends what runs at once."""


class HostRunner:
    """Runs on ``board`` from this process."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._job: Job | None = None
        self._wish = 0  # 1: cancel, 2: kill
        self._order = threading.Lock()  # a wish comes before the job is there or after it

    def run(self, task: Task, hear: Hear) -> Outcome:
        """See `Runner.run`."""
        stopped: list[bool] = []

        def listen(event: Event) -> None:
            if isinstance(event, Started):
                self._take(event.job)
            elif isinstance(event, Cancelled):
                stopped.append(True)
            hear(event)

        try:
            task.check()
            found = profile(task.graph, board=self._board, **task.options, progress=listen)
        except KeyboardInterrupt:
            return Outcome("cancelled", None, "It was stopped before anything was measured.")
        except BoardError as error:
            return Outcome("failed", error.profile, _told(error))
        except EdgeprofError as error:
            return Outcome("failed", None, _told(error))
        finally:
            self._take(None)
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
