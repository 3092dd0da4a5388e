"""Frames of a job -> Trace: keeps what an agent said, and makes a Trace of it, whole or partial."""

from __future__ import annotations

import re
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from edgeprof.agent.measure import EARLY, EXECUTED
from edgeprof.agent.memory import SUBJECT as MEMORY
from edgeprof.agent.protocol import Frame, ProtocolError
from edgeprof.boards.metering import Metering
from edgeprof.boards.sensed import FRAMES, Sensed, process_memory
from edgeprof.boards.words import whole
from edgeprof.errors import TraceError
from edgeprof.importers import onnxruntime
from edgeprof.importers.tokens import with_names_of
from edgeprof.models.probes import Probe
from edgeprof.records.sensing import Channel, Samples
from edgeprof.records.trace import Block, Int64, ProbeRuns, RunPlan, Spans, Trace

MODEL = ""
"""Name of the subject that is the model itself; probes have their own."""

MAX_TRACE_BYTES = 2 << 30
MAX_TRACES_BYTES = 16 << 30
"""Of the traces that are not whole yet, which is one session's from an honest board, and of all of a job."""
MAX_EXECUTED_BYTES = 1 << 30
MAX_MESSAGES = 1000
MAX_ID = 40
_ODD = re.compile("[^a-z0-9-]+")
"""What the id of a message does not hold: programs read it, and reports show it as it is."""
MAX_BLOCKS = 1_000_000
_EARLY_MESSAGE = (
    "corrected-early",
    "layer times are corrected with what the runtime's profiler cost at the beginning; in the end it is with what it cost meanwhile",
)
NO_SPANS = Spans(
    (),
    *(np.empty(0, t) for t in (np.int32, np.int32, np.int64, np.int64, np.int32, np.int64, np.int64)),  # type: ignore[arg-type]
)


@dataclass
class _Subject:
    """What was heard of the model or of one probe."""

    blocks: list[dict[str, Any]] = field(default_factory=list)
    spans: dict[int, Spans] = field(default_factory=dict)
    pieces: bytearray = field(default_factory=bytearray)
    inflate: Any = field(default_factory=zlib.decompressobj)


class Collector:
    """Takes frames in the order they come. ``board`` is the board's name, ``metering`` reads external meters meanwhile.

    ``remote``: the board is set up by edgeprof. ``started_at``: when the job began, for one that is taken up later; None is now.
    """

    def __init__(
        self,
        board: str,
        runtime: str,
        plan: RunPlan,
        metering: Metering | None = None,
        *,
        remote: bool = False,
        started_at: str | None = None,
    ) -> None:
        self.metering, self.remote = metering, remote
        self.board, self._runtime, self._plan = board, runtime, plan
        self._subjects: defaultdict[str, _Subject] = defaultdict(_Subject)
        self._lock = threading.RLock()  # a frame is taken in whole before anybody sees what is there
        self._loaded: dict[str, Any] = {}
        self._executed = bytearray()
        self._executed_whole: bytes | None = None
        self._first_look: tuple[Spans, Int64] | None = None
        self._blocks_taken = self._trace_bytes = self._pending_bytes = 0
        self._reference: Spans | None = None
        self._warmup: list[int] = []
        self._result: dict[str, Any] = {}
        self._messages: list[tuple[str, str]] = []
        self._sensed = Sensed()
        self._started_at = started_at or datetime.now(UTC).isoformat(timespec="seconds")

    @property
    def channels(self) -> tuple[Channel, ...]:
        """All channels that are sampled, once the agent has said which there are."""
        return self._sensed.channels

    def take(self, frame: Frame) -> Iterable[Spans | Samples]:
        """Takes in one frame; yields the spans of the model when a session's trace is complete, and samples as they come."""
        with self._lock:
            return self._take(frame)

    def _take(self, frame: Frame) -> Iterable[Spans | Samples]:
        fields = frame.fields
        if frame.type == "loaded":
            self._loaded = fields
        elif frame.type == "warmup":
            self._warmup += fields["times_ns"]
        elif frame.type == "message":
            if len(self._messages) >= MAX_MESSAGES:
                raise ProtocolError(f"more than {MAX_MESSAGES} messages came")
            self._messages.append((_ODD.sub("-", str(fields["id"]))[:MAX_ID], str(fields["text"])))
        elif frame.type == "executed":
            self._executed += frame.payload
            self._executed_whole = None
            if len(self._executed) > MAX_EXECUTED_BYTES:
                raise ProtocolError("the optimised model is over the size limit")
        elif frame.type == "block":
            self._blocks_taken += 1
            if self._blocks_taken > MAX_BLOCKS:
                raise ProtocolError(f"more than {MAX_BLOCKS:,} blocks came")
            self._subjects[fields["of"]].blocks.append(fields)
        elif frame.type == "result":
            self._result = fields
        elif frame.type == "trace":
            return self._take_trace(self._subjects[fields["of"]], frame)
        elif frame.type in FRAMES:
            samples = self._sensed.take(frame)
            return () if samples is None else (samples,)
        return ()

    def trace(self, *, complete: bool) -> Trace | None:
        """The Trace of what was heard; None when not one block of the model came."""
        with self._lock:
            blocks = self._blocks(MODEL)
            return self._trace(blocks, complete=complete) if blocks else None

    def snapshot(self) -> Trace | None:
        """The Trace of what was heard until now, for whoever looks on, from any thread; None when no layer time came.

        The probes' traces come in the end; until then those of the first moments stand in for them. Until the first session's layers
        arrive it holds one run as the only block, with no plain runs and no calibration beside it: the first instrumented one, in a
        session that had run nothing before.
        """
        with self._lock:
            blocks = self._blocks(MODEL)
            if any(len(block.spans.run_start_ns) for block in blocks):
                return self._corrected_early(self._trace(blocks, complete=False))
            if self._first_look is None:
                return None
            return self._trace((_block_of_one_run(*self._first_look),), complete=False)

    def _corrected_early(self, trace: Trace) -> Trace:
        """``trace`` with the early blocks of the probes in turn as those of the model's blocks, unless all of the probes' own have come."""
        if all(any(len(block.spans) for block in runs.blocks) for runs in trace.probes if runs.probe.instrumented):
            return trace
        numbers = [block.index for block in trace.blocks]
        probes = []
        for runs in trace.probes:
            early = self._blocks(EARLY + subject_name(runs.probe))
            if not early:
                return trace
            probes.append(replace(runs, blocks=tuple(replace(early[i % len(early)], index=n) for i, n in enumerate(numbers))))
        return replace(trace, probes=tuple(probes), messages=(*trace.messages, _EARLY_MESSAGE))

    def _trace(self, blocks: tuple[Block, ...], *, complete: bool) -> Trace:
        if self._executed and self._executed_whole is None:  # once: it may be large, and who looks on knows it again by its identity
            self._executed_whole = bytes(self._executed)
        probes = {(p.name, p.nodes): p for p in self._plan.probes}
        return Trace(
            plan=self._plan,
            runtime=self._runtime,
            runtime_version=str(self._loaded.get("runtime_version", "")),
            providers=tuple(self._loaded.get("providers", ())),
            blocks=blocks,
            board=self.board,
            start_ns=whole(self._loaded.get("start_ns", 0)),
            started_at=self._started_at,
            load_ns=_time(self._loaded.get("load_ns")),
            first_run_ns=_time(self._loaded.get("first_run_ns")),
            warmup_ns=np.asarray(self._warmup, np.int64),
            probes=tuple(ProbeRuns(probe, self._blocks(subject_name(probe))) for probe in probes.values()),
            executed_model=self._executed_whole,
            environment=_mapping(self._loaded.get("environment")),
            environment_after=_mapping(self._result.get("environment_after")),
            process=process_memory(self._result.get("process", {})),
            messages=tuple(self._messages),
            complete=complete,
            stopped_in=str(self._result.get("stopped_in", "")),
            **self._sensed.trace_fields(self._result.get("sampling", {}), self.metering),
        )

    def _take_trace(self, subject: _Subject, frame: Frame) -> Iterable[Spans]:
        piece = subject.inflate.decompress(frame.payload, MAX_TRACE_BYTES - self._pending_bytes + 1)
        self._pending_bytes += len(piece)
        if self._pending_bytes > MAX_TRACE_BYTES:
            raise ProtocolError("a trace is over the size limit")
        subject.pieces += piece
        if not frame.fields.get("last"):
            return ()
        self._pending_bytes -= len(subject.pieces)
        self._trace_bytes += len(subject.pieces)
        if self._trace_bytes > MAX_TRACES_BYTES:
            raise ProtocolError("traces are over the size limit")
        data, subject.pieces, subject.inflate = bytes(subject.pieces), bytearray(), zlib.decompressobj()
        if frame.fields["of"] == MEMORY:
            try:
                self._sensed.take_memory_trace(data, self._reference)
            except TraceError as error:  # no reason to lose what was measured before
                self._messages.append(("memory-unreadable", f"memory by layer is not known, {error}"))
            return ()
        try:
            spans = onnxruntime.decode(data)
        except TraceError as error:
            raise ProtocolError(f"the runtime's trace cannot be read: {error}") from error
        if frame.fields["of"] == EXECUTED:
            self._reference = spans
            self._first_look = spans, np.asarray(frame.fields["starts_ns"], np.int64)
            return ()
        if frame.fields["of"] == MODEL and self._reference is not None:
            spans = with_names_of(spans, self._reference)
        starts = np.asarray(frame.fields["starts_ns"], np.int64)
        spans = _on_board_clock(spans, starts)
        for number, part in _by_block(spans, frame.fields["order"], len(starts)):
            subject.spans[number] = part
        return (spans,) if frame.fields["of"] == MODEL else ()

    def _blocks(self, of: str) -> tuple[Block, ...]:
        subject = self._subjects[of]
        return tuple(_block(fields, subject.spans.get(int(fields["index"]), NO_SPANS)) for fields in subject.blocks)


def _mapping(said: Any) -> dict[str, Any]:
    return said if isinstance(said, dict) else {}


def _time(said: Any) -> int | None:
    return None if said is None else whole(said)


def subject_name(probe: Probe) -> str:
    """How a probe is called in messages; the two probes of a kind differ in it."""
    return f"{probe.name}-{probe.nodes}"


def _block(fields: dict[str, Any], spans: Spans) -> Block:
    plain, instrumented = (np.asarray(fields[kind], np.int64).reshape(-1, 2) for kind in ("plain", "instrumented"))
    return Block(
        int(fields["index"]),
        int(fields["session"]),
        bool(fields["plain_first"]),
        plain[:, 0],
        plain[:, 1] - plain[:, 0],
        instrumented[:, 0],
        instrumented[:, 1] - instrumented[:, 0],
        spans,
    )


def _block_of_one_run(spans: Spans, starts_ns: Int64) -> Block:
    """The block of the run that was made to see what there is; it has no plain runs, and nobody timed it from outside."""
    none = np.empty(0, np.int64)
    return Block(0, 0, False, none, none, none, none, _on_board_clock(spans, starts_ns))


def _on_board_clock(spans: Spans, starts_ns: Int64) -> Spans:
    """The same spans on the clock of ``starts_ns``, the starts of the instrumented runs as the agent saw them.

    The runtime counts from a start of its own, on a clock that differs by version; its own event around each run begins a few
    microseconds after the agent's call, so the median difference over runs ties the two together.
    """
    runs = min(len(starts_ns), len(spans.run_start_ns))
    if not runs:
        return spans
    offset = int(np.median(starts_ns[:runs] - spans.run_start_ns[:runs]))
    return Spans(
        spans.kinds,
        spans.kind,
        spans.run,
        spans.start_ns + offset,
        spans.duration_ns,
        spans.parent,
        spans.run_start_ns + offset,
        spans.run_duration_ns,
    )


def _by_block(spans: Spans, order: Sequence[Sequence[int]], runs: int) -> Iterable[tuple[int, Spans]]:
    """Each block's own spans, its runs numbered from 0; runs that only settled (block -1) are left out."""
    if len(spans.run_start_ns) > runs:
        raise ProtocolError(f"the trace holds {len(spans.run_start_ns)} runs, {runs} were made")
    block_of_run = np.repeat([block for block, _ in order], [count for _, count in order])
    block_of_event = np.where(spans.run >= 0, block_of_run[np.maximum(spans.run, 0)], -1)
    for block in sorted({int(b) for b, _ in order if b >= 0}):
        events = np.flatnonzero(block_of_event == block)
        members = np.flatnonzero(block_of_run == block)
        members = members[members < len(spans.run_start_ns)]
        position = np.full(len(spans) + 1, -1, np.int32)
        position[events] = np.arange(len(events), dtype=np.int32)
        yield (
            block,
            Spans(
                spans.kinds,
                spans.kind[events],
                (spans.run[events] - (members[0] if len(members) else 0)).astype(np.int32),
                spans.start_ns[events],
                spans.duration_ns[events],
                position[spans.parent[events]],
                spans.run_start_ns[members],
                spans.run_duration_ns[members],
            ),
        )
