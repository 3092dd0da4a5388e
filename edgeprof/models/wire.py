"""The bytes of a model file without its weights, made without reading the weights.

An ONNX file is one protobuf message. `strip_weights` walks its fields over a memory map and copies all but the
payloads of large tensors, so a 2 GB model costs a few hundred kilobytes of memory. On the way it checks what a
parser would trust: that every length stays inside the file, that every tensor holds as much as its dims say,
and that messages are not nested without end.

A tensor whose payload was left out keeps name, dims and type, and has ``data_location = EXTERNAL`` with no location.
See the encoding at https://protobuf.dev/programming-guides/encoding and the messages in onnx.proto.
"""

from __future__ import annotations

import math
import mmap
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeprof import units
from edgeprof.errors import ModelError, ModelNotFound, UnsafeModel
from edgeprof.models.graph import DTYPE_BITS

SMALL_PAYLOAD_BYTES = 1024
"""Payloads up to this size are kept: they may be shapes, axes or scales that shape inference needs."""

SMALL_LIST_BYTES = 65536
"""Lists of numbers or strings in an attribute up to this size are kept (tree ensembles hold millions)."""

DEEPEST_NESTING = 96
"""Messages inside messages; protobuf's own limit is 100."""

DTYPES: Mapping[int, str] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
    17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4",
    23: "float4e2m1", 24: "float8e8m0", 25: "uint2", 26: "int2", 27: "float6e2m3", 28: "float6e3m2",
}  # fmt: skip
"""TensorProto.DataType by number."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_ANOTHER_BYTE = 0x80


@dataclass(frozen=True)
class _Message:
    """Fields of one message type: which hold messages to walk into, which are left out of the copy, which are names."""

    name: str
    children: dict[int, _Message] = field(default_factory=dict)
    dropped: frozenset[int] = frozenset()
    texts: frozenset[int] = frozenset()


_TENSOR = _Message("tensor")
_SPARSE = _Message("sparse tensor", {1: _TENSOR, 2: _TENSOR})
_ATTRIBUTE = _Message("attribute", dropped=frozenset({13}), texts=frozenset({1, 21}))
_NODE = _Message("node", {5: _ATTRIBUTE}, frozenset({6, 9, 10}), frozenset({1, 2, 3, 4, 7, 8}))
_DIM = _Message("axis", texts=frozenset({2}))
_TENSOR_TYPE = _Message("tensor type", {2: _Message("shape", {1: _DIM})})
_VALUE = _Message("value", {2: _Message("type", {1: _TENSOR_TYPE})}, frozenset({3, 4}), frozenset({1}))
_GRAPH = _Message("graph", {1: _NODE, 5: _TENSOR, 11: _VALUE, 12: _VALUE, 13: _VALUE, 15: _SPARSE}, frozenset({10, 14, 16}), frozenset({2}))
_OPSET = _Message("opset", texts=frozenset({1}))
_FUNCTION = _Message("function", {7: _NODE, 9: _OPSET, 11: _ATTRIBUTE}, frozenset({8, 12, 14}), frozenset({1, 4, 5, 6, 10, 13}))
_MODEL = _Message("model", {7: _GRAPH, 8: _OPSET, 25: _FUNCTION}, frozenset({6, 14, 20, 26}), frozenset({2, 3, 4}))
_ATTRIBUTE.children.update({5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE})

_MODEL_FIELDS = {1: _VARINT, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _VARINT, 6: _BYTES, 7: _BYTES, 8: _BYTES, 14: _BYTES,
                 20: _BYTES, 25: _BYTES, 26: _BYTES}  # fmt: skip
_IR_VERSION, _MODEL_GRAPH = 1, 7
_ATTRIBUTE_NAME = 1
_ATTRIBUTE_LISTS = frozenset({7, 8, 9})
_TENSOR_DIMS, _TENSOR_DTYPE, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 2, 8, 13, 14
_FLOATS, _INT32S, _STRINGS, _INT64S, _RAW, _DOUBLES, _UINT64S = 4, 5, 6, 7, 9, 10, 11
_PAYLOADS = frozenset({_FLOATS, _INT32S, _STRINGS, _INT64S, _RAW, _DOUBLES, _UINT64S})
_LEFT_OUT = bytes([_TENSOR_LOCATION << 3 | _VARINT, 1])  # data_location = EXTERNAL


class _NotProtobuf(Exception):
    """These bytes are no ModelProto at all."""


def strip_weights(path: Path) -> bytes:
    """The ModelProto in the file at ``path``, serialized again without the payloads of large tensors."""
    size = _file_size(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return _Walker(mapped, size, path.name).model()
    except _NotProtobuf as error:
        with path.open("rb") as file:
            head = file.read(512)
        raise ModelError(f"{path.name} is not an ONNX model{_looks_like(head)}. Give the .onnx file itself.") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error


def strip(data: bytes, name: str = "model") -> bytes:
    """The same for a ModelProto that is in memory."""
    try:
        return _Walker(data, len(data), name).model()
    except _NotProtobuf as error:
        raise ModelError(f"{name} is not an ONNX model{_looks_like(data[:512])}.") from error


def _file_size(path: Path) -> int:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise ModelNotFound(f"There is no model at {path}. Check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ModelError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise ModelError(f"{path} is a folder, expected a model file. Give the .onnx file inside it.")
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path} is not a regular file, expected a model file.")
    if status.st_size == 0:
        raise ModelError(f"{path.name} is empty (0 bytes), expected an ONNX model. Export or download it again.")
    return status.st_size


_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (4, b"TFL3", "a TFLite model"),
    (4, b"ORTM", "a model in ONNX Runtime's own .ort format; give the .onnx it was made from"),
    (0, b"PK\x03\x04", "a zip file, such as a PyTorch checkpoint or a .keras file; export it to ONNX first"),
    (0, b"\x89HDF", "an HDF5 file, such as a Keras model; convert it to ONNX first"),
    (0, b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (0, b"\x80", "a Python pickle, such as an old PyTorch checkpoint; export it to ONNX first"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"\x1f\x8b", "gzip data; unpack it first"),
)


def _looks_like(head: bytes) -> str:
    for offset, magic, what in _SIGNATURES:
        if head[offset:].startswith(magic):
            return f": it looks like {what}"
    start = head.lstrip()[:16].lower()
    if start.startswith((b"<!doctype", b"<html")):
        return ": it looks like a web page, so the download went wrong"
    if start.startswith((b"{", b"[", b"<?xml")) or all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return ": it looks like a text file"
    return ""


class _Walker:
    """Copies one ModelProto, field by field. All offsets are absolute in ``data``."""

    def __init__(self, data: bytes | mmap.mmap, size: int, name: str) -> None:
        self.data = data
        self.size = size
        self.name = name

    def model(self) -> bytes:
        seen = set()
        for number, wire, start, value, end in self._fields(_MODEL, 0, self.size):
            if _MODEL_FIELDS.get(number, _BYTES) != wire:
                raise _NotProtobuf
            if end > self.size and number not in _MODEL_FIELDS:
                raise _NotProtobuf
            if end > self.size:
                what = _MODEL.children[number].name if number in _MODEL.children else "header"
                raise ModelError(
                    f"{self.name} is truncated: {self.size:,} bytes are there, its {what} (from byte {start:,}) needs "
                    f"{end - value:,} and would end at byte {end:,}. Copy or download it again."
                )
            seen.add(number)
        if _IR_VERSION not in seen and _MODEL_GRAPH not in seen:
            raise _NotProtobuf
        if _MODEL_GRAPH not in seen:
            raise ModelError(f"{self.name} holds no graph: it may be truncated after its header. Copy or export it again.")
        copied = self._copy(_MODEL, 0, self.size, 0)
        return bytes(self.data[: self.size]) if copied is None else copied

    def _copy(self, message: _Message, start: int, end: int, depth: int) -> bytes | None:
        """The message in ``start:end`` without what is left out; None when nothing is."""
        if message is _TENSOR:
            return self._copy_tensor(start, end)
        if depth > DEEPEST_NESTING:
            raise UnsafeModel(f"{self.name} nests its graphs deeper than {DEEPEST_NESTING} messages; no exporter does that.")
        dropped = message.dropped
        if message is _ATTRIBUTE and end - start > SMALL_LIST_BYTES:
            dropped |= self._long_lists(start, end)
        pieces: list[bytes] = []
        kept = start  # start of what was not copied yet
        for number, wire, field_start, value, field_end in self._fields(message, start, end):
            if field_end > end:
                raise self._damaged(message, field_start, field_end - value, end - value)
            if number in message.texts:
                self._text(message, value, field_end)
                continue
            child = message.children.get(number)
            if child is not None and wire == _BYTES:
                new = self._copy(child, value, field_end, depth + 1)
                if new is None:
                    continue
                pieces += [self.data[kept:field_start], _key(number), _varint(len(new)), new]
            elif number in dropped:
                pieces.append(self.data[kept:field_start])
            else:
                continue
            kept = field_end
        if not pieces:
            return None
        pieces.append(self.data[kept:end])
        return b"".join(pieces)

    def _copy_tensor(self, start: int, end: int) -> bytes | None:
        tensor = _Tensor(self, start, end)
        tensor.check()
        if tensor.payload_bytes <= SMALL_PAYLOAD_BYTES:
            return None
        return b"".join(self.data[a:b] for a, b in tensor.kept) + _LEFT_OUT

    def _text(self, message: _Message, start: int, end: int) -> str:
        try:
            return bytes(self.data[start:end]).decode()
        except UnicodeDecodeError as error:
            raise ModelError(
                f"{self.name} is damaged: at byte {start:,} the name in a {message.name} is not text (UTF-8). Copy or export it again."
            ) from error

    def _long_lists(self, start: int, end: int) -> frozenset[int]:
        """The list fields of an attribute that are too long to keep; a Constant's value_ints and value_floats are its tensor."""
        lengths = dict.fromkeys(_ATTRIBUTE_LISTS, 0)
        for number, _wire, _start, value, field_end in self._fields(_ATTRIBUTE, start, end):
            if number in lengths:
                lengths[number] += field_end - value
            elif number == _ATTRIBUTE_NAME and self.data[value:field_end].startswith(b"value_"):
                return frozenset()
        return frozenset(number for number, length in lengths.items() if length > SMALL_LIST_BYTES)

    def _fields(self, message: _Message, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """(number, wire type, start of the field, start of its value, its end) of each field; the last end may lie beyond ``end``."""
        data = self.data
        position = start
        while position < end:
            field_start = position
            key = data[position]
            position += 1
            if key >= _ANOTHER_BYTE:
                key, position = self._read_varint(message, field_start, end)
            number, wire = key >> 3, key & 7
            value = position
            if wire == _BYTES:
                if position >= end:
                    raise self._damaged(message, field_start, 1, 0)
                length = data[position]
                position += 1
                if length >= _ANOTHER_BYTE:
                    length, position = self._read_varint(message, value, end)
                value = position
                position += length
            elif wire == _VARINT:
                _, position = self._read_varint(message, position, end)
            elif wire == _FIXED32:
                position += 4
            elif wire == _FIXED64:
                position += 8
            else:
                raise self._malformed(message, field_start)
            if number == 0:
                raise self._malformed(message, field_start)
            yield number, wire, field_start, value, position

    def _read_varint(self, message: _Message, position: int, end: int) -> tuple[int, int]:
        value = shift = 0
        start = position
        while position < end and shift < 70:
            byte = self.data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < _ANOTHER_BYTE:
                return value & 0xFFFFFFFFFFFFFFFF, position
            shift += 7
        raise self._damaged(message, start, position - start + 1, end - start) if position >= end else self._malformed(message, start)

    def _damaged(self, message: _Message, start: int, needs: int, has: int) -> Exception:
        if message is _MODEL and start == 0:
            return _NotProtobuf()
        return ModelError(
            f"{self.name} is damaged or truncated: at byte {start:,} of {self.size:,} a field of a {message.name} needs "
            f"{needs:,} bytes and {max(has, 0):,} are left for it. Copy or download it again."
        )

    def _malformed(self, message: _Message, start: int) -> Exception:
        if message is _MODEL:
            return _NotProtobuf()
        return ModelError(f"{self.name} is damaged: at byte {start:,} a {message.name} holds no valid field. Copy or download it again.")


class _Tensor:
    """What one TensorProto says of itself and how much it holds."""

    def __init__(self, walker: _Walker, start: int, end: int) -> None:
        self.walker = walker
        self.dims: list[int] = []
        self.dtype = 0
        self.name = ""
        self.external = self.has_place = False
        self.payload_bytes = 0
        self.held: dict[int, int] = {}  # entries by payload field
        self.kept: list[tuple[int, int]] = []  # spans that are not payload
        for number, wire, field_start, value, field_end in walker._fields(_TENSOR, start, end):
            if field_end > end:
                raise walker._damaged(_TENSOR, field_start, field_end - value, end - value)
            if number in _PAYLOADS:
                self.payload_bytes += field_end - value
                self.held[number] = self.held.get(number, 0) + self._entries(number, wire, value, field_end)
                continue
            self._keep(field_start, field_end)
            if number == _TENSOR_DIMS:
                self.dims += self._integers(wire, value, field_end)
            elif number == _TENSOR_DTYPE:
                self.dtype = walker._read_varint(_TENSOR, value, field_end)[0]
            elif number == _TENSOR_NAME and wire == _BYTES:
                self.name = walker._text(_TENSOR, value, field_end)
            elif number == _TENSOR_EXTERNAL:
                self.has_place = True
                walker._text(_TENSOR, value, field_end)
            elif number == _TENSOR_LOCATION:
                self.external = walker.data[value] == 1

    def check(self) -> None:
        """ModelError unless the payload is as long as dims and type say."""
        if any(dim < 0 for dim in self.dims):
            raise ModelError(f"{self._title()} has the dims {self.dims}; a size cannot be negative.")
        dtype = DTYPES.get(self.dtype, "")
        if self.external and not self.has_place:
            raise ModelError(f"{self._title()} keeps its data in another file but does not say which. Export it again.")
        if self.external or not dtype:  # external sizes are checked against their files; a type we do not know has no size
            return
        elements = math.prod(self.dims)
        held = {number: entries for number, entries in self.held.items() if entries}
        if not held and elements:
            self._refuse(dtype, elements, "nothing")
        for number, entries in held.items():
            expected = _expected_entries(number, dtype, elements)
            if expected is not None and entries != expected:
                unit = "bytes" if number == _RAW else "values"
                self._refuse(dtype, elements, f"{entries:,} {unit} where {expected:,} are needed")

    def _refuse(self, dtype: str, elements: int, holds: str) -> None:
        nbytes = elements * DTYPE_BITS.get(dtype, 8) / 8
        kind = UnsafeModel if nbytes > self.walker.size else ModelError
        shape = "×".join(str(dim) for dim in self.dims) or "scalar"
        raise kind(
            f"{self._title()} claims {shape} of {dtype} ({units.size(nbytes)}) but holds {holds}. "
            "The file is damaged or was made to mislead; export it again."
        )

    def _title(self) -> str:
        return f"Tensor '{self.name}' in {self.walker.name}"

    def _keep(self, start: int, end: int) -> None:
        if self.kept and self.kept[-1][1] == start:
            start = self.kept.pop()[0]
        self.kept.append((start, end))

    def _entries(self, number: int, wire: int, start: int, end: int) -> int:
        if number == _RAW:
            return end - start
        if number == _STRINGS or wire != _BYTES:
            return 1
        if number in (_FLOATS, _DOUBLES):
            return (end - start) // (4 if number == _FLOATS else 8)
        return _count_varints(self.walker.data, start, end)

    def _integers(self, wire: int, start: int, end: int) -> list[int]:
        values = []
        while start < end:
            value, start = self.walker._read_varint(_TENSOR, start, end)
            values.append(value - (1 << 64) if value >= 1 << 63 else value)
            if wire == _VARINT:
                break
        return values


def _expected_entries(number: int, dtype: str, elements: int) -> int | None:
    """Entries of a payload field that ``elements`` of a type take, see TensorProto in onnx.proto; None when not defined."""
    if dtype == "string":
        return elements if number == _STRINGS else None
    if dtype not in DTYPE_BITS:
        return None
    bits = DTYPE_BITS[dtype]
    if number == _RAW:
        return -(-elements * bits // 8)
    if dtype.startswith("complex"):
        return elements * 2
    return -(-elements * bits // 8) if bits < 8 else elements  # int4: two in an entry


def _count_varints(data: bytes | mmap.mmap, start: int, end: int, block: int = 1 << 22) -> int:
    count = 0
    for a in range(start, end, block):
        count += int(np.count_nonzero(np.frombuffer(data[a : min(a + block, end)], np.uint8) < _ANOTHER_BYTE))
    return count


def _key(number: int) -> bytes:
    return _varint(number << 3 | _BYTES)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= _ANOTHER_BYTE:
        out.append(value & 0x7F | _ANOTHER_BYTE)
        value >>= 7
    out.append(value)
    return bytes(out)
