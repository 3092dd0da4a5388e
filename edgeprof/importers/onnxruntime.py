"""ONNX Runtime profiles (``SessionOptions.enable_profiling``) as `Spans`, and as a `Trace` of origin "imported".

Read and tested against files of versions 1.19 to 1.32. `decode` is for what the local board records block by block,
`read` and `read_trace` for whole files, `OnnxRuntimeTrace` is the member of `edgeprof.importers`.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from edgeprof.errors import TraceError
from edgeprof.importers.events import LOAD, OTHER, Events, read_events
from edgeprof.importers.nesting import Runs, assign_runs, depths, find_parents, find_runs, kinds_by_place
from edgeprof.models.graph import Graph
from edgeprof.records.trace import Block, MemoryTrace, RunPlan, Spans, Trace

EVENT_CAP = 1_000_000
"""The profiler drops events, without a word in the file, once it holds this many."""

_GZIP = b"\x1f\x8b"
_HEAD = re.compile(rb'(?:\xef\xbb\xbf)?\s*\[\s*(?:\]\s*$|\{[^{}]*"cat"\s*:\s*"(?:Session|Node|Kernel|Api)")')
_EMPTY = np.empty(0, np.int64)


@dataclass(frozen=True)
class Recording:
    """What one profile holds.

    ``messages`` are ``(id, sentence)`` on what is missing or odd; ``complete`` is False when events are missing.
    ``load_ns``: loading and initialisation of the session, None when not in the file. ``skipped``: lines not readable.
    """

    spans: Spans
    messages: tuple[tuple[str, str], ...]
    complete: bool
    load_ns: int | None
    skipped: int


def decode(data: bytes, *, start_ns: int = 0, version: str = "") -> Spans:
    """The node events of a profile as ONNX Runtime wrote it, in the order they started.

    ``start_ns`` is ``InferenceSession.get_profiling_start_time_ns()``; times in the file count from there. ``version`` is that
    of ONNX Runtime when it is known: from 1.31 on node names are escaped in the file, before they are not; without it the
    file itself is asked.
    """
    return read(data, start_ns=start_ns, version=version).spans


def decode_memory(data: bytes) -> MemoryTrace:
    """The node events of a profile with what each says of memory; columns of that are None when this version's events say nothing."""
    events = read_events(io.BytesIO(data), memory=True)
    spans, order = _spans(events, find_runs(events), 0)
    if events.memory is None:
        return MemoryTrace(spans)
    return MemoryTrace(spans, *np.ascontiguousarray(events.memory[order].T))


def read_trace(source: str | Path | BinaryIO | bytes, *, start_ns: int = 0, version: str = "") -> Spans:
    """The same of a path, an open binary file or bytes; gzip is accepted. Read in blocks, never as a whole."""
    return read(source, start_ns=start_ns, version=version).spans


def read(source: str | Path | BinaryIO | bytes, *, start_ns: int = 0, version: str = "") -> Recording:
    """The events of a profile with all that is to be said about the file; TraceError when it is not one.

    1. Spans are node events (``..._kernel_time``). Fences of old versions and a GPU's own kernel events are left out.
    2. Runs are numbered from 0 by start; events after the last whole run (a cut file, a full profiler) have run -1.
    3. An element type is named as in `edgeprof.models.graph` (``float32`` for ONNX Runtime's ``float``).
    """
    escaped = None if not version else _version(version) >= (1, 31)
    if isinstance(source, bytes):
        events = _events(io.BytesIO(source), escaped)
    elif isinstance(source, (str, Path)):
        try:
            with Path(source).open("rb") as file:
                events = _events(file, escaped)
        except OSError as error:
            raise TraceError(f"Cannot read the trace {source}: {error.strerror or error}. Check the path.") from error
    else:
        events = _events(source, escaped)
    return _recording(events, start_ns)


def _events(file: BinaryIO, escaped: bool | None) -> Events:
    if isinstance(file, io.BufferedReader):
        return _plain_or_packed(file, escaped)
    buffered: io.BufferedReader = io.BufferedReader(cast(io.RawIOBase, file))
    try:
        return _plain_or_packed(buffered, escaped)
    finally:
        buffered.detach()  # or it would close the caller's file


def _plain_or_packed(buffered: io.BufferedReader, escaped: bool | None) -> Events:
    if not buffered.peek(2).startswith(_GZIP):
        return read_events(buffered, escaped=escaped)
    try:
        with gzip.open(buffered) as unpacked:
            return read_events(cast(BinaryIO, unpacked), escaped=escaped)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"the gzipped trace is damaged ({error}). Unpack what can be saved of it and read that.") from error


def _recording(events: Events, start_ns: int) -> Recording:
    runs = find_runs(events)
    spans, _ = _spans(events, runs, start_ns)
    load = events.duration_us[events.code == LOAD]
    messages = _messages(events, spans, runs)
    complete = not {"trace-cut", "trace-full", "trace-lines-skipped"} & {identity for identity, _ in messages}
    return Recording(spans, messages, complete, int(load.sum()) * 1000 if len(load) else None, events.skipped)


def _spans(events: Events, runs: Runs, start_ns: int) -> tuple[Spans, npt.NDArray[np.int64]]:
    """The spans, and for each the position of its event."""
    rows = np.flatnonzero(events.code >= 0)
    run, parent = assign_runs(events, rows, runs), find_parents(events, rows)
    order = _start_order(events.start_us[rows], parent)
    place = np.empty(len(rows) + 1, np.int64)
    place[order], place[-1] = np.arange(len(rows)), -1
    ordered, above = rows[order], place[parent[order]]
    kinds, kind = kinds_by_place(events.kinds, events.code[ordered], above)
    return Spans(
        kinds=kinds,
        kind=kind.astype(np.int32),
        run=run[order].astype(np.int32),
        start_ns=start_ns + events.start_us[ordered] * 1000,
        duration_ns=events.duration_us[ordered] * 1000,
        parent=above.astype(np.int32),
        run_start_ns=start_ns + runs.start_us * 1000,
        run_duration_ns=(runs.end_us - runs.start_us) * 1000,
    ), ordered


def _start_order(start_us: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """Order by start; of events that start in the same microsecond a parent comes first, then the file's order."""
    return np.lexsort((depths(parent), start_us))


def _messages(events: Events, spans: Spans, runs: Runs) -> tuple[tuple[str, str], ...]:
    found = []
    if events.skipped:
        text = f"{events.skipped} of {events.skipped + events.total} lines of the trace could not be read; their events are missing."
        found.append(("trace-lines-skipped", text))
    if events.cut:
        found.append(("trace-cut", "The trace ends in the middle: it was cut off while it was written. What came before was read."))
    if events.total >= EVENT_CAP:
        text = (
            f"The trace holds {events.total:,} events and the profiler stops at {EVENT_CAP:,}: later runs are missing or incomplete. "
            "Profile fewer runs at a time."
        )
        found.append(("trace-full", text))
    outside = int((spans.run < 0).sum())
    if outside:
        found.append(("trace-events-outside-runs", f"{outside} events belong to no whole run and are not counted in any."))
    if runs.overlap:
        text = "Runs of the trace overlap: several threads used the session at once. Layer times hold their mutual disturbance."
        found.append(("trace-runs-overlap", text))
    others = int((events.code == OTHER).sum())
    if others:
        text = f"{others} events of the trace are no layers (kernels of an accelerator, its own calls) and are left out."
        found.append(("trace-other-events", text))
    return tuple(found)


def _version(text: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


class OnnxRuntimeTrace:
    """A profile that ONNX Runtime wrote, plain or gzipped."""

    runtime = "onnxruntime"

    def sniff(self, head: bytes) -> bool:
        """Whether a file that begins like this is one; ``head`` is its first few kB."""
        if head.startswith(_GZIP):
            try:
                head = zlib.decompressobj(wbits=31).decompress(head, 65536)
            except zlib.error:
                return False
        return _HEAD.match(head) is not None

    def read(self, path: Path, graph: Graph) -> Trace:
        """The trace of one block: instrumented runs as the runtime timed them, no plain runs, no environment.

        TraceError when it holds no whole run. A message says when none of its events is named like a layer of ``graph``.
        """
        recording = read(path)
        spans = recording.spans
        runs = len(spans.run_start_ns)
        if not runs:
            raise TraceError(f"{path.name} holds no whole run of the model. Run the model at least once before the profiler is ended.")
        block = Block(0, 0, False, _EMPTY, _EMPTY, spans.run_start_ns, spans.run_duration_ns, spans)
        providers = tuple(dict.fromkeys(kind.provider for kind in spans.kinds if kind.provider))
        return Trace(
            plan=RunPlan(runs=runs, warmup=0, providers=providers, save_executed=False),
            runtime=self.runtime,
            runtime_version="",
            providers=providers,
            blocks=(block,),
            board="",
            load_ns=recording.load_ns,
            messages=recording.messages + _other_model(spans, graph),
            complete=recording.complete,
        )


def _other_model(spans: Spans, graph: Graph) -> tuple[tuple[str, str], ...]:
    """A message when no event is named like a layer or output of the model."""
    known = {name for layer in graph.layers for name in (layer.name, layer.given_name, layer.name.rsplit("/", 1)[-1], *layer.outputs)}
    if not spans.kinds or any(kind.name in known or kind.name.rsplit("_", 1)[0] in known for kind in spans.kinds):
        return ()
    return (("trace-other-model", f"No event of the trace is named like a layer of {graph.name}: is it a profile of another model?"),)
