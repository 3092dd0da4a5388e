"""One queue a board: each board has a thread that works its queue off, one job at a time; boards run side by side.

A board elsewhere gets its next job as soon as one has ended; the profile of that is made meanwhile.

Listeners are called in the thread that called `conduct`, one at a time, so they may draw. Ctrl-C asks all jobs to end and to keep what they
have; the second ends them at once; the third stops waiting for them.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edgeprof.boards.base import Event
from edgeprof.errors import EdgeprofError
from edgeprof.studies import Cell, Study
from edgeprof.studies.index import Row
from edgeprof.studies.table import sentence
from edgeprof.sweeping.plan import Task
from edgeprof.sweeping.runner import Outcome, Runner


@dataclass(frozen=True)
class Begun:
    """A board began with a cell, its ``number``-th of ``total``, the first being 1."""

    cell: Cell
    number: int
    total: int


@dataclass(frozen=True)
class Ended:
    """A board has ended with a cell. ``status``: done, failed, cancelled, or skipped: it was done before, or is measured elsewhere."""

    cell: Cell
    status: str
    error: str = ""


OnEvent = Callable[[str, Event | Begun | Ended], None]


@dataclass(frozen=True)
class Lane:
    """A board's queue and what works it off."""

    runner: Runner
    tasks: Sequence[Task]


@dataclass(frozen=True)
class _Left:
    """A board's thread has come to its end."""


_INTERRUPT = "interrupt"
_ELSEWHERE = "Another sweep is measuring it now. Sweep again when that has ended."


def conduct(lanes: Mapping[str, Lane], study: Study, listen: OnEvent, *, again: bool) -> tuple[dict[str, Row], bool]:
    """Works all queues off; the rows by key, and whether it was interrupted. ``again`` measures what is done already too."""
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()  # its put may be called by a signal handler
    rows: dict[str, Row] = {}
    stopping = threading.Event()
    with study.owner() as owner, _interrupts(inbox):
        work = _Work(study, owner, again, inbox, stopping, rows)
        for board, lane in lanes.items():
            threading.Thread(target=work.off, args=(board, lane), name=f"edgeprof-sweep-{board}", daemon=True).start()
        try:
            _hear(lanes, inbox, listen, stopping)
        except BaseException:
            stopping.set()
            for lane in lanes.values():
                lane.runner.kill()
            raise
    return rows, stopping.is_set()


def _hear(lanes: Mapping[str, Lane], inbox: queue.SimpleQueue[Any], listen: OnEvent, stopping: threading.Event) -> None:
    """Passes events on until all threads have ended."""
    left, interrupts = len(lanes), 0
    while left:
        message = inbox.get()
        if message is not _INTERRUPT:
            board, event = message
            if isinstance(event, _Left):
                left -= 1
                continue
            try:
                listen(board, event)
                continue
            except KeyboardInterrupt:  # a listener's own way of stopping
                pass
        interrupts += 1
        stopping.set()
        if interrupts > 2:
            raise KeyboardInterrupt
        for lane in lanes.values():
            (lane.runner.cancel if interrupts == 1 else lane.runner.kill)()


@dataclass(frozen=True)
class _Work:
    """What the threads of all boards share."""

    study: Study
    owner: str
    again: bool
    inbox: queue.SimpleQueue[Any]
    stopping: threading.Event
    rows: dict[str, Row]

    def off(self, board: str, lane: Lane) -> None:
        """Works one queue off. While a job runs, the profile of the one before it may still be made."""
        before: threading.Thread | None = None
        try:
            for number, task in enumerate(lane.tasks, 1):
                if not self.stopping.is_set():
                    self.inbox.put((board, Begun(task.cell, number, len(lane.tasks))))
                free = threading.Event()
                cell = threading.Thread(
                    target=self._cell, args=(board, lane.runner, task, free), name=f"edgeprof-cell-{board}", daemon=True
                )
                cell.start()
                free.wait()
                if before is not None:
                    before.join()
                before = cell
            if before is not None:
                before.join()
        finally:
            self.inbox.put((board, _Left()))

    def _cell(self, board: str, runner: Runner, task: Task, free: threading.Event) -> None:
        """Does one cell; ``free`` is set when its board can have the next."""
        try:
            row = self._row(task, runner, lambda event: self.inbox.put((board, event)), free.set)
            self.rows[task.cell.key] = row
            self.inbox.put((board, Ended(task.cell, row["status"], row["error"])))
        finally:
            free.set()

    def _row(self, task: Task, runner: Runner, hear: Callable[[Event], None], free: Callable[[], object]) -> Row:
        """What came of one cell; an error of any kind is that of this cell alone."""
        cell = task.cell
        try:
            if self.stopping.is_set():
                return {**self.study.row(cell), "status": "cancelled", "error": "It was not begun."}
            other = self.study.claim(cell, self.owner, again=self.again)
            if other is not None:
                return {**other, "status": "skipped", "error": _ELSEWHERE if other["status"] == "running" else ""}
            try:
                outcome = runner.run(task, hear, free)
            except Exception as error:
                outcome = Outcome("failed", None, _bug(error))
            return self.study.finish(cell, outcome.status, outcome.profile, outcome.error)
        except EdgeprofError as error:
            text = str(error)
        except Exception as error:
            text = _bug(error)
        return {**self.study.blank(cell), "status": "failed", "error": sentence(text)}


def _bug(error: Exception) -> str:
    return f"edgeprof itself failed with {type(error).__name__}: {error}. This is a bug: report it."


@contextmanager
def _interrupts(inbox: queue.SimpleQueue[Any]) -> Iterator[None]:
    """Puts each Ctrl-C into ``inbox`` meanwhile, where that is this thread's to decide."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: inbox.put(_INTERRUPT))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
