"""Events of an ONNX Runtime profile, read line by line into columns.

The file is a JSON array with one object a line, always with the keys in this order::

    {"cat" : "Node","pid" :1,"tid" :1,"dur" :44,"ts" :3926,"ph" : "X","name" :"/conv_kernel_time","args" : {...}},

It is read in blocks of whole lines, so memory stays bounded. Rules for the hard cases:

1. A block with no backslash in it that is valid JSON is decoded at once (typed, by msgspec). Each name seen for the first time
   is compared with its line, so that a name holding ``","name" :"`` cannot pass for another one.
2. Any other block is taken apart by the fixed key order, a record at a time: ONNX Runtime up to 1.30 writes names as they
   are, quotes, backslashes, newlines and broken UTF-8 included; from 1.31 on it escapes them.
3. Whether names are escaped is decided for the whole file (`_escaped`), never for one name.
4. A record that cannot be read is counted in ``skipped``; half a record at the end means ``cut``.
5. A file in another layout (rewritten by a JSON tool) is decoded whole, up to `_WHOLE_LIMIT`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, BinaryIO, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edgeprof.errors import TraceError
from edgeprof.records.trace import EventKind, Int32, Int64

IGNORED, MODEL_RUN, EXECUTE, LOAD, OTHER = -1, -2, -3, -4, -5
"""Codes of events that are no layers: fences; the event around a run; the executor of a graph or subgraph; loading and
initialisation of the session; everything else, such as a GPU's own kernel events."""

_BLOCK_BYTES = 512 << 10  # small enough for a cache: twice as fast as 8 MiB
_WHOLE_LIMIT = 128 << 20
_SUFFIX = "_kernel_time"
_FENCES = ("_fence_before", "_fence_after")
_CODES = {"model_run": MODEL_RUN, "SequentialExecutor::Execute": EXECUTE, "ParallelExecutor::Execute": EXECUTE}
_DTYPES = {"float": "float32", "double": "float64"}
_MAX_US = 4 * 10**15  # a century, and its nanoseconds still fit into int64 behind any start

_Microseconds = Annotated[int, msgspec.Meta(ge=0, le=_MAX_US)]
_Thread = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Types = tuple[tuple[str, tuple[int, ...]], ...]


class _Args(msgspec.Struct, gc=False):
    """What identifies a node; the order of keys differs from event to event."""

    op_name: str = ""
    provider: str = ""
    node_index: str = ""
    input_type_shape: msgspec.Raw = msgspec.Raw(b"")
    output_type_shape: msgspec.Raw = msgspec.Raw(b"")


class _OldArgs(_Args, gc=False):
    """The same of old versions, which have no ``node_index``."""

    graph_index: str = ""
    exec_plan_index: str = ""


class _MemoryArgs(msgspec.Struct, gc=False):
    """The state of the provider's allocator after the node, as texts; in events of ONNX Runtime 1.28 and newer."""

    mem_bytes_requested_in_use: str
    mem_requested_in_use_delta: str
    mem_in_use_peak: str
    mem_arena_held: str


class _Line(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One event as ONNX Runtime writes it: these keys in this order and no others."""

    cat: Literal["Session", "Node", "Kernel", "Api"]
    pid: int
    tid: _Thread
    dur: _Microseconds
    ts: _Microseconds
    ph: Literal["X"]
    name: str
    args: _Args


class _Event(msgspec.Struct, gc=False):
    """One event of a file in any layout."""

    cat: str
    tid: _Thread
    dur: _Microseconds
    ts: _Microseconds
    name: str
    args: _OldArgs


_LINES = msgspec.json.Decoder(list[_Line])
_EVENTS = msgspec.json.Decoder(list[_Event])
_ARGS = msgspec.json.Decoder(_OldArgs)
_MEMORY = msgspec.json.Decoder(_MemoryArgs)
_SHAPES = msgspec.json.Decoder(list[dict[str, list[int]]])
_HEAD = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*")
_BETWEEN_RECORDS = re.compile(rb',?\r?\n(?=\{"cat")')
_NEXT_RECORD = b'\n{"cat"'
_PREFIX = re.compile(
    rb'\{"cat"\s*:\s*"(?P<cat>\w*)",\s*"pid"\s*:\s*-?\d+,\s*"tid"\s*:\s*(?P<tid>-?\d{1,20}),\s*"dur"\s*:\s*(?P<dur>\d{1,20}),'
    rb'\s*"ts"\s*:\s*(?P<ts>\d{1,20}),\s*"ph"\s*:\s*"X",\s*"name"\s*:\s*"'
)
_ARGS_KEY = re.compile(rb'",\s*"args"\s*:\s*(?=\{)')


@dataclass(frozen=True)
class Events:
    """All events of a file in its order; fences are left out.

    ``code``: (n,) int32, index into ``kinds`` or one of the codes above. ``thread``, ``start_us``, ``duration_us``: (n,) int64.
    ``total`` counts every event that was read, ``skipped`` the records that could not be. ``cut`` is True when the file
    ends before its closing bracket. ``memory``: (n, 4) int64, bytes requested, change of that during the event, highest in use so
    far, held from the system, 0 for events that are no nodes; None unless it was asked for and every node's event says it.
    """

    kinds: tuple[EventKind, ...]
    code: Int32
    thread: Int64
    start_us: Int64
    duration_us: Int64
    total: int = 0
    skipped: int = 0
    cut: bool = False
    memory: Int64 | None = None


def read_events(file: BinaryIO, *, escaped: bool | None = None, memory: bool = False) -> Events:
    """The events of ``file``; TraceError when it is not an ONNX Runtime profile.

    ``escaped`` says whether the writer escaped names (ONNX Runtime 1.31 and newer); None finds out from the file. With
    ``memory`` what events say of memory is read too, a record at a time: slower, for files of a few runs.
    """
    table = _MemoryTable() if memory else _Table()
    head = file.read(4096)
    start = _HEAD.match(head)
    if start is None:
        raise TraceError(_not_a_trace("it is empty" if not head.strip() else "it does not start with '['"))
    rest = head[start.end() :]
    if rest.startswith(b'{"cat"') and b"\n" in start.group():
        for block, closed in _blocks(rest, file):
            table.add_block(block, closed=closed)
    else:
        escaped = True
        table.add_whole(rest, file)
    return table.events(escaped)


def _blocks(rest: bytes, file: BinaryIO) -> Iterator[tuple[memoryview, bool]]:
    """JSON arrays of whole records each, and whether the file ended as it should; an array is valid until the next is asked for.

    They are read into one buffer, and the comma behind the last whole record is overwritten with the closing bracket.
    """
    buffer = bytearray(1 + len(rest) + _BLOCK_BYTES)
    while True:
        filled = 1 + len(rest)
        if len(buffer) < filled + _BLOCK_BYTES:
            buffer = bytearray(filled + _BLOCK_BYTES)
        buffer[:filled] = b"[" + rest
        added = file.readinto(memoryview(buffer)[filled:])  # type: ignore[attr-defined]  # every binary file has it
        if not added:
            break
        end = filled + added
        cut = buffer.rfind(_NEXT_RECORD, 0, end)
        if cut > 0:
            rest = bytes(memoryview(buffer)[cut + 1 : end])
            yield _closed(buffer, cut), True
        elif end > _WHOLE_LIMIT:
            raise TraceError(_not_a_trace(f"one line of it is longer than {_WHOLE_LIMIT >> 20} MiB"))
        else:
            rest = bytes(memoryview(buffer)[1:end])
    rest = rest.rstrip()
    closed = rest.endswith(b"\n]")  # a shape that was cut off may end with a bracket too
    rest = rest[: -1 if closed else None].rstrip().removesuffix(b",")
    yield memoryview(b"".join((b"[", rest, b"]"))), closed


def _closed(buffer: bytearray, end: int) -> memoryview:
    """The records before ``end`` as a JSON array."""
    while buffer[end - 1] in b"\r ":
        end -= 1
    end -= buffer[end - 1] == ord(",")
    buffer[end] = ord("]")
    return memoryview(buffer)[: end + 1]


class _Table:
    """Columns that grow block by block, and the kinds met so far."""

    def __init__(self) -> None:
        self._kinds: list[EventKind] = []
        self._kind_ids: dict[tuple[str, ...], int] = {}
        self._types: dict[str, Types] = {}
        self._last: dict[str, tuple[_Args, int]] = {}
        self._fresh: set[str] = set()
        self._fences = False
        self._careful = False
        self._columns: list[tuple[Int32, Int64, Int64, Int64]] = []
        self._total = 0
        self._skipped = 0
        self._cut = False

    def add_block(self, block: memoryview, *, closed: bool) -> None:
        """Adds the events of an array of whole records; not ``closed``: the last of them may be half a one."""
        self._cut = not closed
        if not self._add_decoded(block):
            self._add_records(bytes(block[1:-1]))

    def add_whole(self, rest: bytes, file: BinaryIO) -> None:
        """Adds the events of a file in another layout."""
        data = b"[" + rest + file.read(_WHOLE_LIMIT)
        if file.read(1):
            raise TraceError(_not_a_trace("it does not hold one event a line"))
        try:
            events = _EVENTS.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TraceError(_not_a_trace(str(error))) from error
        self._add_events([self._code(e) for e in events], events)

    def _add_decoded(self, block: memoryview) -> bool:
        """True when the block could be decoded at once (case 1)."""
        if self._careful or (np.frombuffer(block, np.uint8) == ord("\\")).any():
            return False
        try:
            events = _LINES.decode(block)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        self._fresh.clear()
        known, unknown = self._last.get, (None, 0)
        codes = [hit[1] if (hit := known(e.name, unknown))[0] == e.args else self._code(e) for e in events]
        if self._fresh and not _names_stand_in_lines(self._fresh, events, block):
            self._careful = True
        if self._careful:
            for name in self._fresh:
                del self._last[name]
            return False
        self._add_events(codes, events)
        return True

    def _add_events(self, codes: list[int], events: list[_Line] | list[_Event]) -> None:
        self._append(codes, [e.tid for e in events], [e.ts for e in events], [e.dur for e in events])

    def _append(self, codes: list[int], threads: list[int], starts: list[int], durations: list[int]) -> None:
        self._total += len(codes)
        code = np.array(codes, np.int32)
        kept = code != IGNORED
        columns = (np.array(values, np.int64)[kept] for values in (threads, starts, durations))
        self._columns.append((code[kept], *columns))

    def _add_records(self, block: bytes) -> None:
        """Adds records one by one (case 2)."""
        rows: list[tuple[int, int, int, int]] = []
        records = _BETWEEN_RECORDS.split(block)
        for i, record in enumerate(records):
            row = self._record(record)
            if row is not None:
                rows.append(row)
            elif not (self._cut and i == len(records) - 1):  # half a record is told by ``cut``
                self._skipped += 1
        self._append(*([row[i] for row in rows] for i in range(4)))

    def _record(self, record: bytes) -> tuple[int, int, int, int] | None:
        """``(code, thread, start, duration)`` of one record; None when it cannot be read."""
        parts = _take_apart(record)
        if parts is None:
            return None
        prefix, name, args_text = parts
        try:
            args = _ARGS.decode(args_text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        thread, start, duration = int(prefix["tid"]), int(prefix["ts"]), int(prefix["dur"])
        if not -(2**63) <= thread < 2**63 or max(start, duration) > _MAX_US:
            return None
        event = _Event(prefix["cat"].decode(), thread, duration, start, name.decode("utf-8", "surrogateescape"), args)
        known = self._last.get(event.name)
        code = known[1] if known is not None and known[0] == args else self._code(event)
        return code, thread, start, duration

    def _code(self, event: _Line | _Event) -> int:
        """The kind's number, or the code of an event that is no layer. Remembers it by the event's name.

        Only nodes have an index in args, so what is remembered is never taken for another category's event.
        """
        name, args = event.name, event.args
        if event.cat not in ("Session", "Node"):
            return OTHER
        if name not in self._last:
            self._fresh.add(name)
        if event.cat == "Session":
            code = _CODES.get(name, LOAD if name.startswith(("model_loading", "session_init")) else OTHER)
        elif name.endswith(_SUFFIX):
            code = self._kind(name.removesuffix(_SUFFIX), args)
        elif name.endswith(_FENCES):
            code, self._fences = IGNORED, True
        else:
            code = OTHER
        args.input_type_shape = args.input_type_shape.copy()  # a view would keep its whole block alive
        args.output_type_shape = args.output_type_shape.copy()
        self._last[name] = (args, code)
        return code

    def _kind(self, name: str, args: _Args) -> int:
        index = args.node_index
        if not index and isinstance(args, _OldArgs):
            index = args.graph_index or args.exec_plan_index
        elif not index:
            self._careful = True  # an old version: its indices have other names
        inputs, outputs = (bytes(raw).decode("utf-8", "replace") for raw in (args.input_type_shape, args.output_type_shape))
        key = (name, args.op_name, args.provider, index, inputs, outputs)
        found = self._kind_ids.get(key)
        if found is None:
            found = self._kind_ids[key] = len(self._kinds)
            number = int(index) if index.isdecimal() and len(index) < 10 else -1
            self._kinds.append(EventKind(name, args.op_name, args.provider, number, self._typed(inputs), self._typed(outputs)))
        return found

    def _typed(self, text: str) -> Types:
        found = self._types.get(text)
        if found is None:
            found = self._types[text] = _parse_types(text)
        return found

    def events(self, escaped: bool | None) -> Events:
        """All that was added; kinds that no event has are left out."""
        if self._skipped and not self._total:
            raise TraceError(_not_a_trace("no line of it is an event"))
        code, thread, start, duration = (np.concatenate(column) for column in zip(_none(), *self._columns, strict=True))
        used, compact = np.unique(code[code >= 0], return_inverse=True)
        code[code >= 0] = compact
        kinds = [self._kinds[i] for i in used]
        if escaped is None:
            escaped = not self._fences and _escaped([kind.name for kind in kinds if "\\" in kind.name or '"' in kind.name])
        named = tuple(kind if kind.name.isascii() and "\\" not in kind.name else _renamed(kind, escaped) for kind in kinds)
        return Events(named, code, thread, start, duration, self._total, self._skipped, self._cut)


class _MemoryTable(_Table):
    """The same, keeping what each node's event says of memory."""

    def __init__(self) -> None:
        super().__init__()
        self._careful = True  # each record by itself
        self._memory: list[tuple[int, int, int, int] | None] = []

    def _record(self, record: bytes) -> tuple[int, int, int, int] | None:
        row = super()._record(record)
        if row is not None and row[0] != IGNORED:
            self._memory.append(_memory_of(record) if row[0] >= 0 else (0, 0, 0, 0))
        return row

    def events(self, escaped: bool | None) -> Events:
        """See `_Table.events`."""
        found = super().events(escaped)
        if len(self._memory) != len(found.code) or None in self._memory or not (found.code >= 0).any():
            return found
        return replace(found, memory=np.array(self._memory, np.int64).reshape(-1, 4))


def _memory_of(record: bytes) -> tuple[int, int, int, int] | None:
    """What the record says of memory; None when it says nothing, or nonsense."""
    parts = _take_apart(record)
    try:
        args = _MEMORY.decode(parts[2] if parts is not None else b"")
        texts = args.mem_bytes_requested_in_use, args.mem_requested_in_use_delta, args.mem_in_use_peak, args.mem_arena_held
        values = tuple(int(text) for text in texts)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return None
    return values if all(abs(value) < 2**62 for value in values) else None  # type: ignore[return-value]  # four of them


def _none() -> tuple[Int32, Int64, Int64, Int64]:
    empty: npt.NDArray[np.int64] = np.empty(0, np.int64)
    return np.empty(0, np.int32), empty, empty, empty


def _take_apart(record: bytes) -> tuple[re.Match[bytes], bytes, bytes] | None:
    """The keys before the name, the name as it stands there, and the text of args; None when the record has another form.

    The name may hold anything, ``","args" : {`` too: the last such place is the real one.
    """
    prefix = _PREFIX.match(record)
    last = record.rfind(b'"args"')
    key = _ARGS_KEY.match(record, record.rfind(b'"', 0, max(last, 0)))
    if prefix is None or key is None or key.start() < prefix.end():
        return None
    args = record[key.end() :].rstrip().removesuffix(b",")
    return (prefix, record[prefix.end() : key.start()], args[:-1]) if args.endswith(b"}") else None


def _names_stand_in_lines(names: set[str], events: list[_Line], block: memoryview) -> bool:
    """True when each of ``names`` stands as it is in the line of the first event that has it."""
    lines = bytes(block[1:-1]).split(b"\n")
    if len(lines) != len(events):
        return False
    missing = set(names)
    for event, line in zip(events, lines, strict=True):
        if event.name in missing:
            missing.remove(event.name)
            parts = _take_apart(line)
            if parts is None or parts[1] != event.name.encode():
                return False
    return True


def _parse_types(text: str) -> Types:
    """``[{"float":[1,3]},{"int64":[]}]`` as ``(("float32", (1, 3)), ("int64", ()))``; empty when it says anything else."""
    try:
        if text.startswith('"'):
            text = msgspec.json.decode(text, type=str)
        shapes = _SHAPES.decode(text) if text else []
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()
    return tuple((_DTYPES.get(dtype, dtype), tuple(shape)) for entry in shapes for dtype, shape in entry.items())


def _escaped(names: list[str]) -> bool:
    r"""Whether these names, which hold quotes or backslashes, were escaped by the writer.

    1. They were not when one of them is no valid JSON string.
    2. They were when all are and one holds an escaped quote or backslash: by chance it would not.
    3. Else they were not: ``C:\new`` is a name rather than a line break.
    """
    if any(_unescape(name) is None for name in names):
        return False
    return any('\\"' in name or "\\\\" in name for name in names)


def _unescape(name: str) -> str | None:
    try:
        text = json.loads(f'"{name}"')
    except ValueError:
        return None
    return text if isinstance(text, str) else None


def _renamed(kind: EventKind, escaped: bool) -> EventKind:
    r"""The kind under its real name; bytes that are not UTF-8 become ``\xNN``."""
    name = (_unescape(kind.name) or kind.name) if escaped and "\\" in kind.name else kind.name
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return EventKind(name, kind.op_type, kind.provider, kind.node_index, kind.input_types, kind.output_types)


def _not_a_trace(reason: str) -> str:
    return (
        f"this is not a profile written by ONNX Runtime ({reason}). Expected the JSON file that SessionOptions.enable_profiling "
        "makes, as it is or gzipped."
    )
