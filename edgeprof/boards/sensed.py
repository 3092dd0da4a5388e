"""What an agent says beside layer times: sensors and their samples, windows, memory, energy. Made into parts of a Trace."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprof.agent.protocol import Frame, ProtocolError
from edgeprof.boards.words import whole
from edgeprof.importers import onnxruntime
from edgeprof.importers.tokens import with_names_of
from edgeprof.records.sensing import Channel, Samples, SensorUse
from edgeprof.records.trace import EnergyGroup, EnergyTrace, MemoryTrace, ProcessMemory, Spans, Window

if TYPE_CHECKING:
    from edgeprof.boards.metering import Metering

RECORD = np.dtype([("time_ns", "<i8"), ("channel", "<u2"), ("value", "<f8")])
"""As `edgeprof.agent.sampler.RECORD` packs it."""

_STATISTIC = re.compile(r"_[0-9]{1,20}(?:,[0-9]{1,20}){3},([0-9]{1,20})\r?$")
"""The end of a record of the runtime's statistics: what stands behind the node's name."""

MAX_SAMPLES = 50_000_000
MAX_UNPACKED_BYTES = 256 << 20
MAX_WINDOWS = 1_000_000
_MOST_INDEX = (1 << 31) - 1
MAX_STATISTICS_BYTES = 256 << 20
FRAMES = ("sensors", "samples", "window", "groups", "energy", "node-memory")


class Sensed:
    """Takes frames of the types in `FRAMES`."""

    def __init__(self) -> None:
        self.channels: tuple[Channel, ...] = ()
        self._sensors: list[dict[str, Any]] = []
        self.problems: tuple[tuple[str, str], ...] = ()
        self.source: dict[str, Any] | None = None
        self.why_not = ""
        self._parts: list[Samples] = []
        self._count = 0
        self._windows: list[Window] = []
        self._groups: dict[str, Any] = {}
        self._energy: dict[str, Any] | None = None
        self._statistics = bytearray()
        self.memory: MemoryTrace | None = None
        self._renamed: dict[str, str] = {}

    def take(self, frame: Frame) -> Samples | None:
        """Takes in one frame; the samples that came with it."""
        fields = frame.fields
        if frame.type == "sensors":
            self._take_sensors(fields)
        elif frame.type == "samples":
            return self._add(samples_of(_unpacked(frame.payload), len(self.channels)))
        elif frame.type == "window":
            if len(self._windows) >= MAX_WINDOWS:
                raise ProtocolError(f"more than {MAX_WINDOWS:,} windows came")
            self._windows.append(_window(fields))
        elif frame.type == "groups":
            self._groups = fields
        elif frame.type == "energy":
            self._energy = fields
        else:
            self._statistics += frame.payload
            if len(self._statistics) > MAX_STATISTICS_BYTES:
                raise ProtocolError("the runtime's memory statistics are over the size limit")
        return None

    def _add(self, samples: Samples) -> Samples:
        self._count += len(samples)
        if self._count > MAX_SAMPLES:
            raise ProtocolError(f"more than {MAX_SAMPLES:,} samples came")
        self._parts.append(samples)
        return samples

    def take_memory_trace(self, data: bytes, reference: Spans | None) -> None:
        """Takes in the trace of the memory phase; ``reference`` has the names of the session whose optimised model was saved.

        Raises:
            TraceError: it cannot be read.
        """
        memory = onnxruntime.decode_memory(data)
        renamed = memory.spans if reference is None else with_names_of(memory.spans, reference)
        self._renamed = {old.name: new.name for old, new in zip(memory.spans.kinds, renamed.kinds, strict=True)}
        self.memory = replace(memory, spans=renamed)

    def trace_fields(self, sampling: Mapping[str, Any], metering: Metering | None) -> dict[str, Any]:
        """What of a Trace these frames make. ``sampling``: how well sensors were read, of the job's ``result``.

        Meters stand behind the board's own sensors in the list of channels.
        """
        share = sampling.get("cpu_share")
        told = [*sampling.get("sensors", ()), *(metering.told() if metering is not None else ())]
        samples = _joined([*self._parts, *self._of_meters(metering)])
        return {
            "channels": self.channels,
            "samples": samples,
            "sensors": self._uses(told, samples),
            "sampling": {} if share is None else {"cpu_share": float(share)},
            "windows": tuple(self._windows),
            "memory": self._memory_trace(),
            "energy": self._energy_trace(),
            "no_power": self.why_not,
        }

    def _of_meters(self, metering: Metering | None) -> list[Samples]:
        """What external meters said, if the agent got so far as to say which channels there are."""
        if metering is None or not self._sensors:
            return []
        own = len(self.channels) - sum(len(sensor["channels"]) for sensor in self._sensors if sensor.get("external"))
        return [replace(part, channel=part.channel + own) for part in metering.samples()]

    def _take_sensors(self, fields: Mapping[str, Any]) -> None:
        self._sensors = list(fields["sensors"])
        self.channels = tuple(Channel(**channel) for sensor in self._sensors for channel in sensor["channels"])
        self.problems = tuple((str(key), str(text)) for key, text in fields["problems"])
        self.source, self.why_not = fields.get("source"), str(fields.get("why_not", ""))

    def _uses(self, told: Sequence[Mapping[str, Any]], samples: Samples) -> tuple[SensorUse, ...]:
        """How each sensor was read; what cannot be used is there too, with no channels and its problem.

        Readings of one that could not say how it went are counted here.
        """
        by_name = {entry["name"]: entry for entry in told}
        count = np.bincount(samples.channel, minlength=len(self.channels))
        uses, first = [], 0
        for sensor in self._sensors:
            entry = by_name.get(sensor["name"], {})
            came = int(count[first]) if sensor["channels"] else 0
            first += len(sensor["channels"])
            rate = entry.get("achieved_hz")
            uses.append(
                SensorUse(
                    str(sensor["name"]),
                    tuple(Channel(**channel) for channel in sensor["channels"]),
                    float(sensor["rate_hz"]),
                    None if rate is None else float(rate),
                    int(entry.get("samples", came)),
                    int(entry.get("missed", 0)),
                    str(entry.get("problem", "")),
                )
            )
        return (*uses, *(SensorUse(key, problem=text) for key, text in self.problems))

    def _memory_trace(self) -> MemoryTrace | None:
        if self.memory is None:
            return None
        told = _temporary_bytes(bytes(self._statistics))
        if told is not None:
            told = {self._renamed.get(name, name): sizes for name, sizes in told.items()}
        return replace(self.memory, temporary_bytes=told)

    def _energy_trace(self) -> EnergyTrace | None:
        told, groups = self._energy or {}, self._groups
        if self._energy is None and not groups and not any(window.phase == "model" for window in self._windows):
            return None
        source = self.source or {}
        return EnergyTrace(
            channels=tuple(told.get("channels") or source.get("channels") or ()),
            scope=str(told.get("scope") or source.get("scope") or ""),
            groups=tuple(EnergyGroup(tuple(g["nodes"]), int(g["copies"]), tuple(g["isolated_ns"])) for g in groups.get("groups", ())),
            skipped={int(node): str(reason) for node, reason in groups.get("skipped", ())},
            refused=str(told.get("refused", "")),
            planned_s=groups.get("planned_s"),
            warm_s=told.get("warm_s"),
            flat=told.get("flat"),
            throttled=tuple(map(str, told.get("throttled", ()))),
        )


def _window(fields: Mapping[str, Any]) -> Window:
    said = {f.name: fields[f.name] for f in fields_of(Window) if f.name in fields}
    texts = {name: str(said[name]) for name in ("phase", "label", "note") if name in said}
    numbers = {name: whole(said[name], -1, _MOST_INDEX) for name in ("group", "round", "runs") if name in said}
    return Window(**texts, **numbers, start_ns=whole(fields["start_ns"]), end_ns=whole(fields["end_ns"]))  # type: ignore[arg-type]


def process_memory(told: Mapping[str, Mapping[str, int]]) -> dict[str, ProcessMemory]:
    """The process' memory by phase, from the job's ``result``."""
    names = [f.name for f in fields_of(ProcessMemory)]
    return {str(phase): ProcessMemory(**{name: sizes.get(name) for name in names}) for phase, sizes in told.items()}


def _unpacked(payload: bytes) -> bytes:
    inflate = zlib.decompressobj()
    data = inflate.decompress(payload, MAX_UNPACKED_BYTES)
    if inflate.unconsumed_tail:
        raise ProtocolError("samples unpack to more than the size limit")
    return data


def samples_of(data: bytes, channels: int) -> Samples:
    """The samples in the records of a ``samples`` frame; ProtocolError when they are none, or of a channel that there is not."""
    if len(data) % RECORD.itemsize:
        raise ProtocolError("samples end in the middle of a record")
    records = np.frombuffer(data, RECORD)
    if len(records) and int(records["channel"].max()) >= channels:
        raise ProtocolError("a sample is of a channel that there is not")
    return Samples(records["time_ns"].astype(np.int64), records["channel"].astype(np.int32), records["value"].astype(np.float64))


def _joined(parts: Sequence[Samples]) -> Samples:
    if not parts:
        return Samples()
    return Samples(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields_of(Samples)))


def _temporary_bytes(data: bytes) -> dict[str, tuple[int, ...]] | None:
    """Temporary bytes by node from ONNX Runtime's ``session.collect_node_memory_stats_to_file``; None when there is no such file.

    A record is ``name_hash,input_sizes,initializers_sizes,total_dynamic_sizes,total_temp_allocations``. The name stands there as it is,
    with commas and line ends where it holds such. Names are as `edgeprof.importers.events` gives them.
    """
    if not data:
        return None
    found: defaultdict[str, list[int]] = defaultdict(list)
    head: list[str] = []
    for line in data.decode("utf-8", "backslashreplace").split("\n")[1:]:
        record = _STATISTIC.search(line)
        if record is None:
            head.append(line)
            continue
        name = "\n".join([*head, line[: record.start()]])
        head = []
        if len(record[1]) < 19:
            found[name].append(int(record[1]))
    return {name: tuple(sizes) for name, sizes in found.items()}
