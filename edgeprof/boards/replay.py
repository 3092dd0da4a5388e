"""A board that plays a recorded profile, as it went, at a chosen speed: for people without the board, and for what must look alive.

What comes out is the recorded Profile itself, marked as replayed; nothing is measured or computed again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pandas as pd

from edgeprof.boards.base import Arrived, Cancelled, Done, Event, Job, Progress, Sampled
from edgeprof.errors import BoardError, UsageError
from edgeprof.records.bundle import load
from edgeprof.records.profile import Origin, Profile
from edgeprof.records.sensing import Samples
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
        digest = load_model(model).digest
        if recorded.model_sha256 and digest != recorded.model_sha256:
            raise BoardError(
                f"The recording is of {recorded.model_name} (sha256 {recorded.model_sha256[:12]}), "
                f"not of {model.name} (sha256 {digest[:12]}). "
                "Give the model that was recorded, or record this one."
            )
        return ReplayJob(self._profile, self._speed)


class ReplayJob(Job):
    """A replay under way. Stopped before its end it gives nothing: the recording is whole in its file."""

    def __init__(self, profile: Profile, speed: float) -> None:
        super().__init__()
        self._profile, self._speed = profile, speed
        threading.Thread(target=self._play, name="edgeprof-replay", daemon=True).start()

    def _play(self) -> None:
        began_ms = 0.0
        for at_ms, events in _timeline(self._profile):
            if self._speed != float("inf"):
                self._cancelled.wait(max(0.0, at_ms - began_ms) / 1e3 / self._speed)
                began_ms = at_ms
            if self.cancelled:
                self._events.put(Cancelled(None))
                return
            for event in events:
                self._events.put(event)
        self._events.put(Done(replace(self._profile, origin="replayed")))


def _timeline(profile: Profile) -> Iterator[tuple[float, list[Event]]]:
    """(time in ms, what happened then), in the order of time: blocks of runs, other windows, and the samples read meanwhile."""
    steps = [*_blocks(profile), *_windows(profile)]
    read = 0.0
    for at, events in sorted(steps, key=lambda step: step[0]):
        yield at, [*_samples(profile, read, at), *events]
        read = at


def _blocks(profile: Profile) -> Iterator[tuple[float, list[Event]]]:
    runs, done = profile.runs, 0
    total = int((~runs["instrumented"]).sum()) or len(runs)
    kinds = tuple(EventKind(name, op) for name, op in zip(profile.layers["name"], profile.layers["op_type"], strict=True))
    by_run = dict(tuple(profile.spans.groupby("run", sort=False)))
    for _, block in runs.groupby("block", sort=False):
        done += int((~block["instrumented"]).sum())
        end = float((block["start_ms"] + block["latency_ms"]).max())
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


def _ns(ms: Any) -> Any:
    return np.round(np.asarray(ms, float) * 1e6).astype(np.int64)


def _windows(profile: Profile) -> Iterator[tuple[float, list[Event]]]:
    windows = profile.windows[profile.windows["phase"].isin(list(_PHASES))]
    energy = windows["phase"].map(_PHASES) == "energy"
    done, total = 0, int(energy.sum())
    for phase, end, is_energy in zip(windows["phase"].map(_PHASES), windows["end_ms"], energy, strict=True):
        done += int(is_energy)
        yield float(end), [Progress(phase, done if is_energy else 0, total if is_energy else 0)]


def _samples(profile: Profile, after_ms: float, until_ms: float) -> list[Event]:
    table = profile.samples
    chosen = table[(table["time_ms"] > after_ms) & (table["time_ms"] <= until_ms)]
    channels = tuple(channel for use in profile.context.sensors for channel in use.channels)
    numbers = {channel.name: i for i, channel in enumerate(channels)}
    chosen = chosen[chosen["channel"].isin(list(numbers))]
    if chosen.empty:
        return []
    index = np.asarray(chosen["channel"].map(numbers), np.int32)
    return [Sampled(channels, Samples(_ns(chosen["time_ms"]), index, chosen["value"].to_numpy(float)))]
