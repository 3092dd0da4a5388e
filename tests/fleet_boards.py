"""Boards for tests of sweeps: quick ones, and ones that go wrong on purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgeprof.boards.base import Cancelled, Done, Event, Failed, Job, Progress
from edgeprof.boards.replay import ReplayBoard
from edgeprof.boards.simulated import SimulatedBoard
from edgeprof.errors import BoardError, BoardLost
from edgeprof.records.trace import RunPlan
from edgeprof.testing import make_profile


def quick(name: str, latency_ms: float = 1.0, **options) -> ReplayBoard:
    """A board that answers at once, for any model."""
    profile = make_profile([latency_ms], plain_ms=latency_ms, **options)
    return ReplayBoard(replace(profile, context=replace(profile.context, model_sha256="", board=name)), name=name)


class ScriptedJob(Job):
    """Says ``events`` and then waits until it is killed, or cancelled where it ``obeys``."""

    def __init__(self, *events: Event, obeys: bool = True) -> None:
        super().__init__()
        self._obeys = obeys
        for event in events:
            self._events.put(event)

    def cancel(self) -> None:
        super().cancel()
        if self._obeys:
            self._events.put(Cancelled(None))

    def kill(self) -> None:
        super().cancel()
        self._events.put(Cancelled(None))


class ScriptedBoard:
    """Counts how many jobs it has at once; ``make`` makes each."""

    origin = "simulated"

    def __init__(self, name: str, make: Callable[[], Job]) -> None:
        self.name, self._make = name, make
        self.started = 0

    def start(self, model: Path, plan: RunPlan, runtime: str = "onnxruntime") -> Job:
        self.started += 1
        return self._make()


def playing(name: str, before: Callable[[], object] = lambda: None) -> ScriptedBoard:
    """`quick`, which counts its jobs and calls ``before`` at the start of each."""
    profile = quick(name).profile
    return ScriptedBoard(name, lambda: before() or ScriptedJob(Done(profile)))


def refusing(name: str, error: str) -> ScriptedBoard:
    """A board that no job can be started on."""

    def fail() -> Job:
        raise BoardError(error)

    return ScriptedBoard(name, fail)


def stubborn(name: str) -> ScriptedBoard:
    """A board whose jobs end only when they are killed."""
    return ScriptedBoard(name, lambda: ScriptedJob(Progress("measure", 0, 1), obeys=False))


class LostBoard(SimulatedBoard):
    """A board whose cable falls out when all is measured: what had arrived is a trace that is not complete."""

    def start(self, model: Path, plan: RunPlan, runtime: str = "onnxruntime") -> Job:
        trace = replace(super().start(model, plan, runtime).result(), complete=False)
        return ScriptedJob(Failed(BoardLost("The link to the board was lost. Start it again.", trace)))


class Counting:
    """A listener that notes what it hears, and whose thread calls it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, object]] = []
        self.threads: set[int] = set()

    def __call__(self, board: str, event: object) -> None:
        self.heard.append((board, event))
        self.threads.add(threading.get_ident())

    def of(self, kind: type, board: str | None = None) -> list:
        return [event for place, event in self.heard if isinstance(event, kind) and board in (None, place)]
