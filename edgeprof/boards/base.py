"""Where a model runs, seen from here: `Board.start(model, plan)` gives a `Job`, a Job yields events and ends in a Trace.

Hardware is touched nowhere else. Every board speaks the agent's protocol over a `Link`; what differs is how the agent is
started and how bytes reach it.
"""

from __future__ import annotations

import queue
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeprof import units
from edgeprof.agent import protocol
from edgeprof.boards.collect import Collector
from edgeprof.boards.failures import failure_of, lost, waits_for, with_what_is_kept
from edgeprof.boards.words import clean, tidy
from edgeprof.errors import BoardError, BoardLost, UsageError, did_you_mean
from edgeprof.records.profile import Origin, Profile
from edgeprof.records.sensing import Channel, Samples
from edgeprof.records.trace import RunPlan, Spans, Trace


@dataclass(frozen=True)
class Started:
    """What listeners of `edgeprof.profiler.profile` hear first: the job itself, which any thread may cancel or kill."""

    job: Job


@dataclass(frozen=True)
class Progress:
    """How far a phase (``load``, ``send`` in bytes, ``warmup``, ``measure``, ``memory``, ``isolate``, ``energy``) is; ``total`` 0 means not
    known.
    """

    phase: str
    done: int
    total: int

    @property
    def amount(self) -> str:
        """``20/100``, or ``4.22 MB of 47.2 MB`` of what is sent; empty while the total is not known."""
        if not self.total:
            return ""
        return f"{units.size(self.done)} of {units.size(self.total)}" if self.phase == "send" else f"{self.done}/{self.total}"


@dataclass(frozen=True)
class Arrived:
    """Layer times of one session of the model, as they came."""

    spans: Spans


@dataclass(frozen=True)
class Planned:
    """What is about to begin will take ``seconds``; ``text`` says so for people."""

    seconds: float
    text: str


@dataclass(frozen=True)
class Sampled:
    """Readings of sensors as they came, on the clock of the job; ``channels`` are all that there are."""

    channels: tuple[Channel, ...]
    samples: Samples


@dataclass(frozen=True)
class Waiting:
    """Somebody else measures on the board; ``text`` says who since when, and how long it will be waited for."""

    text: str


@dataclass(frozen=True)
class Done:
    """The job ended as planned; ``trace`` is a Profile where there is nothing left to compute: a recording was played to its end, or
    `edgeprof.profiler.profile` tells its listeners what it will return.
    """

    trace: Trace | Profile


@dataclass(frozen=True)
class Cancelled:
    """The job was stopped on request; ``trace`` holds what was measured (see `Done`), or is None when nothing was."""

    trace: Trace | Profile | None


@dataclass(frozen=True)
class Failed:
    """The job failed; ``error.trace`` holds what had arrived, or is None; ``error.profile`` what `edgeprof.profiler.profile` made of it."""

    error: BoardError


Event = Started | Progress | Arrived | Planned | Sampled | Waiting | Done | Cancelled | Failed


class Link(Protocol):
    """An agent that was given one job, or will be, and the way to it."""

    def frames(self) -> Iterator[protocol.Frame]:
        """Frames as they come, until the agent closes its end.

        Raises:
            ProtocolError: what comes is no frame.
            BoardError: the board cannot be reached, does not take the job, or the way to it is lost.
        """

    def begin(self) -> None:
        """Has the agent do the job, or lets it go when it was cancelled; called when it has said hello."""

    def cancel(self) -> None:
        """Asks the agent to stop after the runs it is in, or never to begin."""

    def kill(self) -> None:
        """Ends the job at once, whatever it is doing."""

    def close(self) -> str:
        """Ends the agent and frees what it used; how it died in words (``exit status 1``, ``killed by SIGSEGV``), or ``""``."""

    def last_words(self) -> str:
        """The end of what it said on standard error."""


class Board(Protocol):
    """A place where models run."""

    @property
    def name(self) -> str:
        """What the board is called in titles and bundles."""

    @property
    def origin(self) -> Origin:
        """What a Profile made here is: ``measured``, ``replayed`` or ``simulated``."""

    def start(self, model: Path, plan: RunPlan, runtime: str = "onnxruntime") -> Job:
        """Starts a measurement and returns at once; BoardError when the agent cannot be started."""


class Job:
    """One measurement under way. Its events are read by one reader, with `events` or `result`."""

    def __init__(self) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        self._cancelled = threading.Event()

    def events(self) -> Iterator[Event]:
        """Events as they come; the last one is Done, Cancelled or Failed."""
        while True:
            event = self._events.get()
            yield event
            if isinstance(event, Done | Cancelled | Failed):
                return

    def cancel(self) -> None:
        """Asks it to stop soon; the job then ends with Cancelled. Can be called twice."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """True once it was asked to stop."""
        return self._cancelled.is_set()

    def kill(self) -> None:
        """Ends it at once, with Cancelled; what had arrived is kept."""
        self.cancel()

    def snapshot(self) -> Trace | Profile | None:
        """What there is so far, for whoever looks on, from any thread (see `Done`); None when no layer time is there yet."""
        return None

    def settle(self, within_s: float) -> None:
        """Waits until nothing of a job that was killed is under way any more, at most so long."""

    def hold(self) -> None:
        """Asks that a board which keeps what it measured keeps it until `let_go`."""

    def let_go(self, *, saved: bool) -> str:
        """What was held may go when it is ``saved``; the name by which it can be attached to when it is still there, or ``""``."""
        return ""

    def result(self) -> Trace | Profile:
        """Waits for the end and returns what came of it (see `Done`); raises the BoardError of a failed job."""
        for event in self.events():
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Done):
                return event.trace
            if isinstance(event, Cancelled) and event.trace is not None:
                return event.trace
        raise BoardError("The job was cancelled before anything was measured. Start it again.")


_SPEAKING = ("progress", "plan", "waiting", "message", "loaded", "sensors", "energy", "result", "error")
"""Frames whose texts people read; names of layers are those of the model file, and are shown with the same care as that."""


class AgentJob(Job):
    """A job that an agent does at the other end of a link."""

    def __init__(self, link: Link, collector: Collector) -> None:
        super().__init__()
        self._link, self._collector = link, collector
        self._thread = threading.Thread(target=self._pump, name="edgeprof-job", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Asks the agent to stop after the runs it is in; the job then ends with Cancelled. Can be called twice."""
        if not self._cancelled.is_set():
            self._cancelled.set()
            self._link.cancel()

    def kill(self) -> None:
        """Ends the agent at once; the job ends with Cancelled, and what had arrived is kept."""
        self._cancelled.set()
        self._link.kill()

    def snapshot(self) -> Trace | None:
        """See `Job.snapshot`; until a session's layers are there it is one run (see `Collector.snapshot`)."""
        return self._collector.snapshot()

    def settle(self, within_s: float) -> None:
        """See `Job.settle`."""
        self._thread.join(within_s)

    def _pump(self) -> None:
        try:
            end = self._run()
        except Exception as error:  # whatever an agent says, who waits for the end must hear of one
            said = clean(f"{type(error).__name__}: {error}")
            text = f"The agent said something that makes no sense ({said}). Nothing of it can be used."
            end = Failed(BoardLost(text))
        self._events.put(end)

    def _run(self) -> Event:
        end: Event | None = None
        try:
            for frame in self._link.frames():
                end = self._take(frame)
                if end is not None:
                    break
        except (protocol.ProtocolError, zlib.error) as error:
            if not self._cancelled.is_set():
                end = Failed(lost(self._collector, f"it said something that is no message ({error})", self._link.last_words()))
        except BoardError as error:
            if not self._cancelled.is_set():
                end = Failed(with_what_is_kept(error, self._collector))
        finally:
            death = self._link.close()
            if self._collector.metering is not None:
                self._collector.metering.close()
        if end is not None:
            return end
        if self._cancelled.is_set():
            return Cancelled(self._collector.trace(complete=False))
        return Failed(lost(self._collector, death or "it closed the connection", self._link.last_words()))

    def _take(self, frame: protocol.Frame) -> Event | None:
        """Takes in one frame; the event that ends the job, if this is it."""
        if frame.type in _SPEAKING:
            frame = frame._replace(fields=tidy(frame.fields))
        if frame.type == "hello":
            self._link.begin()
        elif frame.type == "waiting":
            self._events.put(Waiting(waits_for(frame.fields, self._collector.board)))
        elif frame.type == "progress":
            self._events.put(Progress(str(frame.fields["phase"]), int(frame.fields["done"]), int(frame.fields["total"])))
        elif frame.type == "plan":
            self._events.put(Planned(float(frame.fields["seconds"]), str(frame.fields["text"])))
        elif frame.type == "error":
            return Failed(failure_of(frame.fields, self._collector, self._link.last_words))
        elif frame.type == "result":
            self._collector.take(frame)
            if self._collector.metering is not None:
                self._collector.metering.close()
            trace = self._collector.trace(complete=bool(frame.fields["complete"]))
            if trace is not None and (trace.complete or not self._cancelled.is_set()):
                return Done(trace)
            if trace is None and not self._cancelled.is_set():
                return Failed(lost(self._collector, "it ended before it had measured anything", self._link.last_words()))
            return Cancelled(trace)
        else:
            for part in self._collector.take(frame):
                self._events.put(Arrived(part) if isinstance(part, Spans) else Sampled(self._collector.channels, part))
        return None


def refuse_unknown_sensors(wanted: Sequence[str] | None, known: Sequence[str]) -> None:
    """UsageError when a family of sensors is wanted that a board cannot have."""
    for name in wanted or ():
        if name not in known:
            raise UsageError(f"There are no sensors called '{name}'{did_you_mean(name, known)}. Known are: {', '.join(known)}.")
