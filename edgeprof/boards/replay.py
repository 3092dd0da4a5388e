"""A board that plays a recorded profile, as it went, at a chosen speed: for people without the board, and for what must look alive.

What comes out is the recorded Profile itself, marked as replayed; nothing is measured or computed again.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import numpy.typing as npt
import pandas as pd

from edgeprof.boards.base import Arrived, Cancelled, Done, Event, Failed, Job, Progress, Sampled
from edgeprof.boards.played import played
from edgeprof.errors import BoardError, UsageError
from edgeprof.records.bundle import load
from edgeprof.records.profile import Origin, Profile
from edgeprof.records.sensing import Channel, Samples
from edgeprof.records.trace import EventKind, RunPlan, Spans

PREFIX = "replay:"
_ENERGY = ("idle", "model", "layers", "cooldown")
_PHASES = {name: name for name in ("load", "warmup", "memory")} | dict.fromkeys(_ENERGY, "energy")


class ReplayBoard:
    """Plays the profile in ``source`` (a Profile or the path of a bundle), ``speed`` times as fast as it went; infinity: at once."""

    origin: Origin = "replayed"

    def __init__(self, source: Profile | str | Path, *, speed: float = float("inf"), name: str = "") -> None:
        if not speed > 0:
            raise UsageError(f"The speed of a replay is {speed}; give a number above 0, or inf.")
        self._profile = source if isinstance(source, Profile) else load(source)
        self._speed, self._name = speed, name or self._profile.context.board

    @classmethod
    def named(cls, name: str) -> ReplayBoard:
        """The board that ``replay:FILE.edgeprof`` or ``replay:FILE.edgeprof?speed=10`` stands for."""
        path, _, query = name.removeprefix(PREFIX).partition("?")
        if not path:
            raise UsageError("A replay needs a file: replay:FILE.edgeprof, or replay:FILE.edgeprof?speed=1 to see it as it went.")
        options = parse_qs(query, keep_blank_values=True)
        unknown = sorted(set(options) - {"speed"})
        if unknown:
            raise UsageError(f"A replay has no option '{unknown[0]}'. It has: speed.")
        text = options.get("speed", ["inf"])[-1]
        try:
            speed = float(text)
        except ValueError as error:
            raise UsageError(f"The speed of a replay is '{text}'; give a number above 0, such as speed=1.") from error
        return cls(path, speed=speed)

    @property
    def name(self) -> str:
        """The board that the recording was made on."""
        return self._name

    @property
    def profile(self) -> Profile:
        """The recording."""
        return self._profile

    def start(self, model: Path, plan: RunPlan, runtime: str = "onnxruntime") -> ReplayJob:
        """See `edgeprof.boards.base.Board.start`; BoardError when the recording is of another model."""
        from edgeprof.models import load_model

        recorded = self._profile.context
        if plan.meters or plan.sensors is not None:
            raise UsageError("A replay plays what was recorded and reads nothing; leave meters and sensors out.")
        digest = load_model(model).digest
        if recorded.model_sha256 and digest != recorded.model_sha256:
            raise BoardError(
                f"The recording is of {recorded.model_name} (sha256 {recorded.model_sha256[:12]}), "
                f"not of {model.name} (sha256 {digest[:12]}). "
                "Give the model that was recorded, or record this one."
            )
        if plan.energy != "off" and recorded.energy.asked == "off":
            reason = "The recording has no energy: it was not asked for when it was made."
            recorded = replace(recorded, energy=replace(recorded.energy, asked=plan.energy, reason=reason))
        return ReplayJob(replace(self._profile, context=recorded), self._speed)


class ReplayJob(Job):
    """A replay under way. Stopped before its end it gives nothing: the recording is whole in its file.

    ``wait`` waits so many seconds, or until the job is cancelled.
    """

    def __init__(self, profile: Profile, speed: float, wait: Callable[[float], object] | None = None) -> None:
        super().__init__()
        self._profile, self._speed, self._wait = profile, speed, wait or self._cancelled.wait
        self._reached = (-math.inf, 0)
        threading.Thread(target=self._play, name="edgeprof-replay", daemon=True).start()

    def snapshot(self) -> Profile | None:
        """See `Job.snapshot`."""
        until_ms, blocks = self._reached
        return played(self._profile, until_ms, blocks) if blocks else None

    def _play(self) -> None:
        try:
            end = self._played()
        except Exception as error:  # a bundle may hold anything, and who waits for the end must hear of one
            text = f"The recording cannot be played ({type(error).__name__}: {error}). Record it again."
            end = Failed(BoardError(text))
        self._events.put(end)

    def _played(self) -> Event:
        began_ms = 0.0
        for at_ms, events in _timeline(self._profile):
            if self._speed != float("inf") and at_ms > began_ms:
                self._wait(min((at_ms - began_ms) / 1e3 / self._speed, threading.TIMEOUT_MAX))
                began_ms = at_ms
            if self.cancelled:
                return Cancelled(None)
            self._reached = (max(at_ms, self._reached[0]), self._reached[1] + sum(isinstance(event, Arrived) for event in events))
            for event in events:
                self._events.put(event)
        context = replace(self._profile.context, recorded_origin=self._profile.basis)
        return Done(replace(self._profile, origin="replayed", context=context))


def _timeline(profile: Profile) -> Iterator[tuple[float, list[Event]]]:
    """(time in ms, what happened then), in the order of time: blocks of runs, other windows, and the samples read meanwhile."""
    steps = sorted([*_blocks(profile), *_windows(profile)], key=lambda step: step[0])
    time, samples = _samples(profile)
    sent = 0
    for at, events in steps:
        until = int(np.searchsorted(time, at, "right"))
        yield at, [*_sampled(profile, samples, sent, until), *events]
        sent = until
    if sent < len(time):
        yield float(time[-1]), _sampled(profile, samples, sent, len(time))


def _blocks(profile: Profile) -> Iterator[tuple[float, list[Event]]]:
    runs, done = profile.runs, 0
    counted = runs["instrumented"] == runs["instrumented"].all()  # the plain ones, where there are such
    total = int(counted.sum())
    kinds = tuple(EventKind(name, op) for name, op in zip(profile.layers["name"], profile.layers["op_type"], strict=True))
    spans = profile.spans[profile.spans["layer"].between(0, len(kinds) - 1)]
    by_run = dict(tuple(spans.groupby("run", sort=False)))
    for _, block in runs.groupby("block", sort=False):
        done += int(counted[block.index].sum())
        end = _ms((block["start_ms"] + block["latency_ms"]).max())
        yield end, [Progress("measure", done, total), Arrived(_spans(block[block["instrumented"]], by_run, kinds))]


def _spans(runs: pd.DataFrame, by_run: Mapping[Any, pd.DataFrame], kinds: tuple[EventKind, ...]) -> Spans:
    parts = [by_run[run].assign(run=i) for i, run in enumerate(runs["run"]) if run in by_run]
    spans = pd.concat(parts, ignore_index=True).sort_values(["run", "start_ms"], kind="stable") if parts else pd.DataFrame()
    column = (lambda name: spans[name].to_numpy()) if parts else (lambda name: np.empty(0))
    return Spans(
        kinds,
        column("layer").astype(np.int32),
        column("run").astype(np.int32),
        _ns(column("start_ms")),
        _ns(column("latency_raw_ms")),
        np.full(len(column("run")), -1, np.int32),
        _ns(runs["start_ms"].to_numpy()),
        _ns(runs["latency_ms"].to_numpy()),
    )


def _windows(profile: Profile) -> Iterator[tuple[float, list[Event]]]:
    windows = profile.windows[profile.windows["phase"].isin(list(_PHASES))].sort_values("end_ms", kind="stable")
    energy = windows["phase"].map(_PHASES) == "energy"
    done, total = 0, int(energy.sum())
    for phase, end, is_energy in zip(windows["phase"].map(_PHASES), windows["end_ms"], energy, strict=True):
        done += int(is_energy)
        yield _ms(end), [Progress(phase, done if is_energy else 0, total if is_energy else 0)]


def _samples(profile: Profile) -> tuple[npt.NDArray[np.float64], Samples]:
    """Times in ms, and the samples of known channels, both in the order of time."""
    numbers = {channel.name: i for i, channel in enumerate(_channels(profile))}
    table = profile.samples[profile.samples["channel"].isin(list(numbers)) & np.isfinite(profile.samples["time_ms"])]
    table = table.sort_values("time_ms", kind="stable")
    index = np.asarray(table["channel"].map(numbers), np.int32)
    return table["time_ms"].to_numpy(float), Samples(_ns(table["time_ms"]), index, table["value"].to_numpy(float))


def _sampled(profile: Profile, samples: Samples, first: int, last: int) -> list[Event]:
    if first >= last:
        return []
    return [Sampled(_channels(profile), Samples(samples.time_ns[first:last], samples.channel[first:last], samples.value[first:last]))]


def _channels(profile: Profile) -> tuple[Channel, ...]:
    return tuple(channel for use in profile.context.sensors for channel in use.channels)


def _ms(value: float) -> float:
    """A time that can be waited for: what is none is the start."""
    return float(value) if math.isfinite(value) else 0.0


def _ns(ms: Any) -> Any:
    return np.round(np.nan_to_num(np.clip(np.asarray(ms, float), -_LATEST_MS, _LATEST_MS)) * 1e6).astype(np.int64)


_LATEST_MS = 9e12
"""The latest time that fits into ns of 64 bits."""
