"""Work in the background: tasks that wait for each other in one thread, say how far they are, and can be cancelled in every phase."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from edgeprof.errors import EdgeprofError, Stopped

Status = Literal["waiting", "running", "done", "failed", "cancelled"]
MOST_KEPT = 100
"""Tasks that are listed; the oldest that ended are forgotten."""
_TOLD_EVERY_S = 0.1
_INSISTS_AFTER_S = 0.25
_AT_ONCE_AFTER_S = 4.0
"""A measurement that is asked to end sends what it has after the block of runs that it is in; one that is ended at once may lose it."""


class Task:
    """One piece of work.

    ``label`` says what it does, ``kind`` in one word, ``key`` for which candidate ("" for none). ``phase`` with ``done`` of ``total`` (0:
    not known) is how far it is, ``detail`` what it waits for or how long it takes. ``error`` is a sentence once it failed, ``trace`` the
    traceback of what should not have happened. ``result`` is what came of it. Times are seconds as of `time.time`, NaN before.
    """

    def __init__(self, number: int, kind: str, label: str, work: Callable[[Task], Any], changed: Callable[[], None], key: str = "") -> None:
        self.id, self.kind, self.label, self.key = number, kind, label, key
        self.status: Status = "waiting"
        self.phase, self.done, self.total, self.detail = "", 0, 0, ""
        self.error, self.trace = "", ""
        self.result: Any = None
        self.queued, self.started, self.ended = time.time(), float("nan"), float("nan")
        self._work: Callable[[Task], Any] | None = work
        self._changed: Callable[[], None] | None = changed
        self._stop: Callable[[bool], None] | None = None
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._over = threading.Event()
        self._told = 0.0
        self._insisting: threading.Thread | None = None

    def __repr__(self) -> str:
        far = f", {self.phase} {self.done}/{self.total}" if self.status == "running" and self.phase else ""
        return f"<Task {self.id}: {self.label}, {self.status}{far}{f': {self.error}' if self.error else ''}>"

    @property
    def is_over(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self._over.is_set()

    @property
    def is_cancelling(self) -> bool:
        """Whether it was asked to end and has not ended yet."""
        return self._asked.is_set() and not self._over.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is over, at most ``timeout`` seconds; whether it is."""
        return self._over.wait(timeout)

    def cancel(self) -> None:
        """Has it end soon; one that waits never begins. May be called from any thread, and again."""
        with self._lock:
            if self._over.is_set() or self._asked.is_set():
                return
            self._asked.set()
            if self.status == "running":
                self._insisting = threading.Thread(target=self._insist, name="edgeprof-cancel", daemon=True)
                self._insisting.start()
                return
        self._end("cancelled")

    def check(self) -> None:
        """Raises Stopped when it was asked to end."""
        if self._asked.is_set():
            raise Stopped(f"{self.label} was cancelled.")

    def tell(self, phase: str, done: int = 0, total: int = 0) -> None:
        """Says how far it is; Stopped when it was asked to end."""
        self.check()
        new = phase != self.phase
        self.phase, self.done, self.total = phase, done, total
        self.say(self.detail if not new else "", always=new)

    def say(self, detail: str, *, always: bool = False) -> None:
        """Says more of the phase that it is in."""
        self.detail = detail
        if always or time.monotonic() - self._told > _TOLD_EVERY_S:
            self._told = time.monotonic()
            self._tell_of_it()

    def record(self) -> dict[str, Any]:
        """What it says of itself, as plain values."""
        names = ("id", "kind", "label", "key", "status", "phase", "done", "total", "detail", "error", "queued", "started", "ended")
        return {name: getattr(self, name) for name in names} | {"cancelling": self.is_cancelling}

    # For the runner

    def _run(self, stop: Callable[[bool], None]) -> None:
        with self._lock:
            if self._asked.is_set() or self._work is None:
                return
            work, self._stop = self._work, stop
            self.status, self.started = "running", time.time()
        self._tell_of_it()
        status: Status = "done"
        try:
            self.result = work(self)
        except BaseException as error:  # whatever it is: it ends here, as a sentence
            status = "cancelled" if self._asked.is_set() or isinstance(error, Stopped | KeyboardInterrupt) else "failed"
            self._note(error)
        self._end(status)

    def _note(self, error: BaseException) -> None:
        if isinstance(error, EdgeprofError):
            self.error = str(error)
        elif not isinstance(error, KeyboardInterrupt):
            self.error = f"edgeprof itself failed with {type(error).__name__}: {error}. This is a bug; report it with the details."
            self.trace = "".join(traceback.format_exception(error))

    def _end(self, status: Status) -> None:
        with self._lock:
            if self._over.is_set():
                return
            self.status, self.ended = status, time.time()
            self._over.set()
            insisting = self._insisting
        if insisting is not None:
            insisting.join()
        self._tell_of_it()
        self._work = self._changed = self._stop = None  # they hold more than a list of tasks should

    def _insist(self) -> None:
        """Asks again and again: what it is about to begin may not have heard the first time."""
        begun = time.monotonic()
        self._tell_of_it()
        while not self._over.is_set():
            stop = self._stop
            if stop is not None:
                with contextlib.suppress(Exception):
                    stop(time.monotonic() - begun > _AT_ONCE_AFTER_S)
            self._over.wait(_INSISTS_AFTER_S)

    def _tell_of_it(self) -> None:
        changed = self._changed
        if changed is not None:
            changed()


class Runner:
    """One thread that does tasks one after the other. ``stop`` ends what is under way, ``go_on`` follows when it has ended."""

    def __init__(self, stop: Callable[[bool], None], go_on: Callable[[], None]) -> None:
        self._stop, self._go_on = stop, go_on
        self._queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._tasks: deque[Task] = deque()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._count = 0
        self._closed = False

    @property
    def tasks(self) -> list[Task]:
        """The first first."""
        with self._lock:
            return list(self._tasks)

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more tasks."""
        return self._closed

    def add(self, kind: str, label: str, work: Callable[[Task], Any], changed: Callable[[], None], key: str = "") -> Task:
        """A task that will be done after those that wait already."""
        with self._lock:
            self._count += 1
            task = Task(self._count, kind, label, work, changed, key)
            self._tasks.append(task)
            over = [one for one in self._tasks if one.is_over]
            for one in over[: max(0, len(self._tasks) - MOST_KEPT)]:
                self._tasks.remove(one)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="edgeprof-workbench", daemon=True)
                self._thread.start()
            self._queue.put(task)
        changed()
        return task

    def close(self, within_s: float = 5.0) -> None:
        """Cancels all tasks and ends the thread."""
        self._closed = True
        for task in self.tasks:
            task.cancel()
        self._queue.put(None)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(within_s)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            task._run(self._stop)
            with contextlib.suppress(Exception):
                self._go_on()
