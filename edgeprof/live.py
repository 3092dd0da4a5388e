"""`Live`: what a measurement has brought so far, while it runs, as a Profile that grows.

Rules:

1. Whoever looks on is never in the way. Profiles are made in a thread of their own, which takes its copy of what has arrived
   (`edgeprof.boards.base.Job.snapshot`) and then lets go; events only leave a note of what they said. Nothing goes back to the board.
2. It costs little: after work of so long, the next begins when that was `SHARE` of the time at most (see `Pace`).
3. It never fails the measurement. What cannot be built or kept now is left out, and `Live.note` says why.
4. The end is always there in full: the last Profile is that of the whole recording.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgeprof import units
from edgeprof.boards.base import Arrived, Cancelled, Done, Event, Failed, Job, Planned, Progress, Sampled, Started, Waiting
from edgeprof.building import Builder
from edgeprof.models.graph import Graph
from edgeprof.records import bundle
from edgeprof.records.profile import Finding, Origin, Profile
from edgeprof.records.sensing import Channel, Samples
from edgeprof.records.trace import Trace

SHARE = 0.05
"""Of the time, at most, goes into building."""

MOST_POINTS = 20_000
"""Recent readings that are kept of a channel."""

_LATENCY = frozenset({"load", "send", "warmup", "measure"})
"""Phases in which only a session's layer times are news; in others each step is."""

_ENDS_WITHIN_S = 60.0
Ended = Literal["", "done", "cancelled", "failed"]


@dataclass(frozen=True)
class LiveProgress:
    """How far a job is. ``total`` 0 is not known.

    ``seconds_left`` of the phase is an estimate from its pace so far, or what the job announced; None while there is none.
    ``said`` is what the job said last for people (whom it waits for, what it is about to do), ``ended`` is empty while it runs.
    """

    phase: str = ""
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    said: str = ""
    ended: Ended = ""

    @property
    def text(self) -> str:
        """In words: ``measure 34/100, about 12 s left (estimated)``."""
        if self.ended:
            return self.ended
        words = f"{self.phase} {Progress(self.phase, self.done, self.total).amount}".strip() or "starting"
        if self.seconds_left is None:
            return words
        left = f"about {units.duration(self.seconds_left)}" if self.seconds_left >= 1 else "less than 1 s"
        return f"{words}, {left} left (estimated)"


@dataclass(frozen=True)
class Recent:
    """The last readings of a channel. ``time_s``: since the first reading of the job, on the board's clock; ``value`` in its unit."""

    channel: Channel
    time_s: npt.NDArray[np.float64]
    value: npt.NDArray[np.float64]

    @property
    def power_mw(self) -> npt.NDArray[np.float64] | None:
        """The power at each time: of a counter of energy, what it grew by since the reading before. None when this is no power."""
        if not self.channel.is_power:
            return None
        if self.channel.unit == "mW":
            return self.value
        power = np.full(len(self.value), np.nan)
        if len(power) > 1:
            grown, took = np.diff(self.value), np.diff(self.time_s)
            power[1:] = np.divide(grown, took, out=np.full(len(took), np.nan), where=(took > 0) & (grown >= 0))
        return power


class Pace:
    """When work may be done again: ``min_interval_s`` after it began last, and later when it took more than ``share`` of the time."""

    def __init__(self, min_interval_s: float, share: float = SHARE) -> None:
        self._least, self._share = min_interval_s, share
        self._began = -float("inf")
        self.due = -float("inf")
        """The time from which on it may begin."""

    def began(self, now: float) -> None:
        """It begins at ``now``."""
        self._began, self.due = now, float("inf")

    def ended(self, now: float) -> None:
        """It is over at ``now``."""
        self.due = self._began + max(self._least, (now - self._began) / self._share)


class RecentSamples:
    """The readings of the last ``seconds``, at most `MOST_POINTS` a channel; any thread may ask."""

    def __init__(self, seconds: float) -> None:
        self._span_ns = int(seconds * 1e9)
        self._parts: deque[Samples] = deque()
        self._count = 0
        self._channels: tuple[Channel, ...] = ()
        self._first_ns: int | None = None
        self._lock = threading.Lock()

    def add(self, channels: tuple[Channel, ...], samples: Samples) -> None:
        """Takes in what came."""
        if not len(samples):
            return
        with self._lock:
            self._channels = channels
            self._parts.append(samples)
            self._count += len(samples)
            if self._first_ns is None:
                self._first_ns = int(samples.time_ns.min())
            oldest, most = int(samples.time_ns.max()) - self._span_ns, MOST_POINTS * max(1, len(channels))
            while len(self._parts) > 1 and (self._count > most or self._parts[0].time_ns.max() < oldest):
                self._count -= len(self._parts.popleft())

    def by_channel(self) -> dict[str, Recent]:
        """The readings by the channel's name, those that failed left out."""
        with self._lock:
            parts, channels, first_ns = list(self._parts), self._channels, self._first_ns or 0
        if not parts:
            return {}
        joined = Samples(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("time_ns", "channel", "value")))
        oldest = int(joined.time_ns.max()) - self._span_ns
        found = {}
        for number, channel in enumerate(channels):
            time_ns, value = joined.of(number)
            chosen = np.flatnonzero(time_ns >= oldest)[-MOST_POINTS:]
            if len(chosen):
                found[channel.name] = Recent(channel, (time_ns[chosen] - first_ns) / 1e9, value[chosen])
        return found


class Live:
    """A measurement that is looked at while it runs: hand it each event, ``ep.profile(model, progress=Live(graph, origin="measured"))``.

    Args:
        graph: of the model that is measured.
        origin: what the board's Profiles are (`Board.origin`).
        on_update: called with this object, in a thread of its own, when there is news, at the end too.
        min_interval_s: least time between two of those.
        share: of the time, at most, that goes into building Profiles; more is no harm where this machine is not the one that is measured.
        input_source: ``random`` or ``given``, as of the Profile.
        keep: a path where the Profile so far is kept meanwhile, so that nothing is lost with this process; `done` removes it.
        keep_every_s: how often.
        recent_s: how far `recent_samples` goes back.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        origin: Origin,
        on_update: Callable[[Live], None] | None = None,
        min_interval_s: float = 0.7,
        share: float = SHARE,
        input_source: str = "random",
        keep: Path | None = None,
        keep_every_s: float = 10.0,
        recent_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._builder = Builder(graph, input_source, origin)
        self._on_update, self._keep, self._keep_every_s, self._clock = on_update, keep, keep_every_s, clock
        self.recent_s = recent_s
        self._recent = RecentSamples(recent_s)
        self._pace = Pace(min_interval_s, share)
        self._progress = LiveProgress()
        self._phase_began = (clock(), 0)
        self._announced: tuple[float, float] | None = None
        self._news = threading.Condition()
        self._job: Job | None = None
        self._profile: Profile | None = None
        self._told = self._grown = self._closed = False
        self._end: Done | Cancelled | Failed | None = None
        self._kept_at = -float("inf")
        self._thread: threading.Thread | None = None
        self.is_over = False
        """True once the end is there in full."""
        self.note = ""
        """Why the last Profile could not be built or kept; empty when it could."""

    @property
    def profile(self) -> Profile | None:
        """The Profile so far; None while no layer time has arrived. While it runs, its finding ``running`` says how far it is.

        In the end the Profile of all that was measured, without that finding.
        """
        return self._profile

    @property
    def progress(self) -> LiveProgress:
        """How far it is."""
        with self._news:
            return replace(self._progress, seconds_left=None if self._progress.ended else self._seconds_left())

    @property
    def recent_samples(self) -> Mapping[str, Recent]:
        """The last readings of each channel, for a chart that scrolls."""
        return self._recent.by_channel()

    def __call__(self, event: Event) -> None:
        """Takes in an event, from the thread that follows the job. Returns at once and never raises."""
        try:
            self._take(event)
        except Exception as error:  # rule 3
            self.note = f"An event could not be shown ({type(error).__name__}: {error})."

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until the end is there in full and `on_update` has heard of it; False when that takes longer."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
            return not thread.is_alive()
        return True

    def done(self) -> None:
        """The whole Profile is saved, or nobody wants it: ends the thread and removes the file that it was kept in."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self.wait(_ENDS_WITHIN_S)
        if self._keep is not None:
            with suppress(OSError):
                self._keep.unlink(missing_ok=True)

    # Events

    def _take(self, event: Event) -> None:
        if isinstance(event, Sampled):
            self._recent.add(event.channels, event.samples)
        with self._news:
            if isinstance(event, Started):
                self._job = event.job
            elif isinstance(event, Progress):
                self._take_progress(event)
            elif isinstance(event, Arrived):
                self._grown = True
            elif isinstance(event, Planned):
                self._announced = (self._clock() + event.seconds, event.seconds)
                self._progress = replace(self._progress, said=event.text)
            elif isinstance(event, Waiting):
                self._progress = replace(self._progress, said=event.text)
            elif isinstance(event, Done | Cancelled | Failed):
                self._end = event
                words: Mapping[type, Ended] = {Done: "done", Cancelled: "cancelled", Failed: "failed"}
                said = str(event.error) if isinstance(event, Failed) else ""
                self._progress = replace(self._progress, ended=words[type(event)], said=said)
            self._told = True
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="edgeprof-live", daemon=True)
                self._thread.start()
            self._news.notify_all()

    def _take_progress(self, event: Progress) -> None:
        if event.phase != self._progress.phase:
            self._phase_began, self._grown = (self._clock(), event.done), True
            if event.phase not in ("energy", "isolate"):
                self._announced = None
        elif event.phase not in _LATENCY:
            self._grown = True
        self._progress = replace(self._progress, phase=event.phase, done=event.done, total=event.total, said="")

    def _seconds_left(self) -> float | None:
        if self._announced is not None:
            return max(0.0, self._announced[0] - self._clock())
        began, first = self._phase_began
        done, left = self._progress.done - first, self._progress.total - self._progress.done
        took = self._clock() - began
        return took / done * left if done > 0 and left >= 0 and took > 0 else None

    # The thread

    def _work(self) -> None:
        while self._wait_for_news():
            with self._news:
                end, grown = self._end, self._grown
                self._told = self._grown = False
            self._pace.began(self._clock())
            if end is not None or grown:
                self._try(self._grow if end is None else partial(self._finish, end), "What has arrived cannot be built")
            self.is_over = end is not None
            if self._on_update is not None:
                self._try(partial(self._on_update, self), "What has arrived cannot be shown")
            self._pace.ended(self._clock())
            if end is not None:
                return

    def _try(self, work: Callable[[], None], otherwise: str) -> None:
        try:
            work()
        except Exception as error:  # rule 3
            self.note = f"{otherwise} ({type(error).__name__}: {error})."

    def _wait_for_news(self) -> bool:
        """True when there is news and it is time for it, or the end is there; False when nobody looks on any more."""
        with self._news:
            while not self._closed:
                if self._end is not None:
                    return True
                wait_s = self._pace.due - self._clock()
                if self._told and wait_s <= 0:
                    return True
                self._news.wait(wait_s if self._told else None)
            return False

    def _grow(self) -> None:
        found = self._job.snapshot() if self._job is not None else None
        if found is None:
            return
        whole = self._builder.build(found, passing=True) if isinstance(found, Trace) else found
        self._profile = _running(whole, self.progress)
        self.note = ""
        if whole.context.runs and self._clock() - self._kept_at >= self._keep_every_s:
            self._kept_at = self._clock()
            self._save(whole)

    def _finish(self, end: Done | Cancelled | Failed) -> None:
        found = end.trace if not isinstance(end, Failed) else end.error.profile or end.error.trace
        whole = self._builder.build_partial(found) if isinstance(found, Trace) else found
        if whole is not None:
            self._profile, self.note = whole, ""
            self._save(whole)
        elif self._profile is not None:  # nothing of it counts, but whoever looked at it may look on
            text = "The job ended before there was anything to keep; what is shown is what had arrived."
            others = (finding for finding in self._profile.findings if finding.id != RUNNING)
            self._profile = replace(self._profile, findings=(Finding("incomplete", "warning", text), *others))

    def _save(self, profile: Profile) -> None:
        if self._keep is None:
            return
        try:
            bundle.save(profile, self._keep)
        except Exception as error:  # rule 3: no room, no right to write there
            self.note = f"What has arrived could not be kept ({error})."


RUNNING = "running"
"""Id of the finding of a Profile that still grows."""


def _running(profile: Profile, progress: LiveProgress) -> Profile:
    """``profile`` with what there is to know of a job that still runs, in place of what is said of one that was stopped."""
    runs = profile.context.runs
    if not runs:
        text = "Running: the first layer times are of one run in a cold session, not corrected for the profiler."
    elif progress.phase == "measure":
        with_layers = f", layer times of {runs} so far" if runs != progress.done else ""
        text = f"Running: {progress.done} of {progress.total} runs{with_layers}."
    else:
        text = f"Running: {progress.phase} {Progress(progress.phase, progress.done, progress.total).amount}".strip() + "."
    others = (finding for finding in profile.findings if finding.id not in ("incomplete", *(["not-corrected"] if not runs else [])))
    return replace(profile, findings=(Finding(RUNNING, "info", text), *others))
