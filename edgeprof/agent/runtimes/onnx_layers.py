"""One-layer models cut from an optimised ONNX model, on the board: each layer by itself, with the inputs of a real run.

The optimised model is a protobuf message; cutting it needs no more than copying some of its fields, so that is done on the wire format
itself (https://protobuf.dev/programming-guides/encoding/), with the field numbers of onnx.proto3. Weights stay where the runtime wrote
them, in a file beside the model that the cut models refer to as well.

1. A model in which all tensors between layers are outputs too is run once; what layers read is kept on disk.
2. A cut model holds the nodes, the initializers they read, and their other inputs as inputs of the model. Each node stands in it
   ``copies`` times, so that a short layer is not drowned by what a call of the runtime costs; only the last copy's results are kept.
3. It is run with all optimisation off: the nodes are the optimised ones already.
4. A node with bodies (If, Loop, Scan) is cut with them; what they read from outside becomes an input too.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

from . import Refused
from .base import Isolation, Session

TAP_BYTES = 256 << 20
"""Tensors that are kept in memory at once while they are captured."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _SPARSE = 1, 5, 11, 12, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS, _TENSOR_NAME, _SPARSE_VALUES, _VALUE_NAME = 6, 11, 8, 1, 1
_ELEMENT_TYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "object": 8, "bool": 9, "float16": 10,
    "float64": 11, "uint32": 12, "uint64": 13, "complex64": 14, "complex128": 15,
}  # fmt: skip


class Node(NamedTuple):
    """A node of the top level: its message, and the names it reads (bodies included) and makes."""

    message: bytes
    op_type: str
    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]


class Model:
    """What cutting needs of a model file."""

    def __init__(self, data: bytes) -> None:
        self.header: List[bytes] = []
        self.nodes: List[Node] = []
        self.initializers: Dict[str, bytes] = {}
        self.graph: List[Tuple[int, bytes]] = []
        for number, raw, value in fields(data):
            if number != _MODEL_GRAPH:
                self.header.append(raw)
                continue
            for inner, inner_raw, message in fields(value):
                if inner == _NODE:
                    self.nodes.append(_node(message))
                elif inner in (_INITIALIZER, _SPARSE):
                    self.initializers[_initializer_name(inner, message)] = inner_raw
                self.graph.append((inner, inner_raw))

    def between(self) -> List[str]:
        """Names of tensors that nodes make and other nodes read."""
        made = {name for node in self.nodes for name in node.outputs}
        return [name for name in dict.fromkeys(t for node in self.nodes for t in node.inputs) if name in made]

    def tap(self, names: Sequence[str]) -> bytes:
        """The whole model with ``names`` as its outputs."""
        graph = b"".join(raw for number, raw in self.graph if number != _OUTPUT)
        return self._model(graph + b"".join(message(_OUTPUT, text(_VALUE_NAME, name)) for name in names))

    def cut(self, nodes: Sequence[int], inputs: Dict[str, Any], copies: int) -> bytes:
        """A model of these nodes, each ``copies`` times; ``inputs`` are arrays by name, of which it declares those that are read."""
        chosen = [self.nodes[i] for i in nodes]
        read = list(dict.fromkeys(name for node in chosen for name in node.inputs))
        parts = [raw for node in chosen for copy in range(copies) for raw in [message(_NODE, _renamed(node.message, copy))]]
        parts.append(text(2, "cut"))
        parts += [self.initializers[name] for name in read if name in self.initializers]
        parts += [message(_INPUT, _value(name, inputs[name])) for name in read if name in inputs]
        outputs = [name for node in chosen for name in node.outputs if name]
        parts += [message(_OUTPUT, text(_VALUE_NAME, _copy_name(name, copies - 1))) for name in outputs]
        return self._model(b"".join(parts))

    def _model(self, graph: bytes) -> bytes:
        return b"".join(self.header) + message(_MODEL_GRAPH, graph)


class OnnxIsolation(Isolation):
    """See `Isolation`. ``runtime`` opens models; ``executed`` lies in the job's folder, with its weights beside it."""

    def __init__(self, runtime: Any, executed: str, inputs: Dict[str, Any], options: Dict[str, Any]) -> None:
        import numpy

        self._numpy, self._runtime = numpy, runtime
        self._options = dict(options, optimization="disabled")
        self._folder = os.path.dirname(executed)
        self._inputs = inputs
        try:
            with open(executed, "rb") as file:
                self._model = Model(file.read())
        except OSError as error:
            raise Refused("isolate", "the runtime's optimised model is not there: %s" % (error.strerror or error)) from error
        except (ValueError, IndexError, UnicodeDecodeError) as error:
            raise Refused("isolate", "the runtime's optimised model cannot be taken apart: %s" % error) from error
        self.op_types = [node.op_type for node in self._model.nodes]
        self.reasons: Dict[int, str] = {}
        self._files: Dict[str, str] = {}
        self._capture()

    def open(self, nodes: Sequence[int], copies: int) -> Session:
        """See `Isolation.open`."""
        names = {name for i in nodes for name in self._model.nodes[i].inputs}
        arrays = {name: self._array(name) for name in sorted(names) if name in self._files or name in self._inputs}
        path = self._write("cut.onnx", self._model.cut(nodes, arrays, copies))
        return self._runtime.open(path, arrays, self._options)  # type: ignore[no-any-return]

    def close(self) -> None:
        """See `Isolation.close`."""
        for path in self._files.values():
            os.remove(path)
        self._files = {}

    def _capture(self) -> None:
        """Runs the model with the tensors between layers as outputs, as many at once as memory allows, and keeps what came."""
        names, count, largest = self._model.between(), 8, 1
        while names:
            some, names = names[:count], names[count:]
            path = self._write("tap.onnx", self._model.tap(some))
            session = self._runtime.open_for_results(path, self._inputs, self._options)
            for name, value in session.results().items():
                largest = max(largest, getattr(value, "nbytes", 0))
                self._keep(name, value)
            session.close()
            count = max(1, min(64, TAP_BYTES // largest))
        for i, node in enumerate(self._model.nodes):
            reason = self._reason(node)
            if reason:
                self.reasons[i] = reason

    def _keep(self, name: str, value: Any) -> None:
        if isinstance(value, self._numpy.ndarray) and str(value.dtype) in _ELEMENT_TYPES and value.dtype != object:
            path = os.path.join(self._folder, "tensor-%d.npy" % len(self._files))
            self._numpy.save(path, value, allow_pickle=False)
            self._files[name] = path

    def _reason(self, node: Node) -> str:
        """Why a node cannot be run by itself, or nothing."""
        for name in node.inputs:
            if name and name not in self._files and name not in self._inputs and name not in self._model.initializers:
                return "its input %s is no plain tensor" % name
        return "" if any(node.outputs) else "it has no output"

    def _array(self, name: str) -> Any:
        return self._inputs[name] if name in self._inputs else self._numpy.load(self._files[name], allow_pickle=False)

    def _write(self, name: str, data: bytes) -> str:
        path = os.path.join(self._folder, name)
        with open(path, "wb") as file:
            file.write(data)
        return path


# The wire format


def fields(data: bytes) -> Iterator[Tuple[int, bytes, Any]]:
    """``(number, raw, value)`` of each field of a message: raw with its key, value the bytes of a length-delimited one, else None."""
    view, at, end = memoryview(data), 0, len(data)
    while at < end:
        start = at
        key, at = _varint(view, at)
        kind, value = key & 7, None
        if kind == _VARINT:
            _, at = _varint(view, at)
        elif kind == _BYTES:
            size, at = _varint(view, at)
            value = bytes(view[at : at + size])
            at += size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("field kind %d" % kind)
        if at > end:
            raise ValueError("a field ends behind its message")
        yield key >> 3, bytes(view[start:at]), value


def _varint(view: memoryview, at: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def number(value: int) -> bytes:
    """A varint."""
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def message(field: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return number(field << 3 | _BYTES) + number(len(content)) + content


def text(field: int, content: str) -> bytes:
    """A string field."""
    return message(field, content.encode("utf-8", "surrogateescape"))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _node(data: bytes) -> Node:
    inputs: List[str] = []
    outputs: List[str] = []
    op_type = ""
    for field, _, value in fields(data):
        if field == _NODE_INPUT:
            inputs.append(_text(value))
        elif field == _NODE_OUTPUT:
            outputs.append(_text(value))
        elif field == _NODE_OP_TYPE:
            op_type = _text(value)
        elif field == _NODE_ATTRIBUTE:
            for body in _bodies(value):
                inputs += sorted(_read_from_outside(body))
    return Node(data, op_type, tuple(dict.fromkeys(filter(None, inputs))), tuple(outputs))


def _bodies(attribute: bytes) -> List[bytes]:
    return [value for field, _, value in fields(attribute) if field in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS)]


def _read_from_outside(graph: bytes) -> Set[str]:
    """Names that a body reads and does not define itself."""
    read: Set[str] = set()
    own: Set[str] = set()
    for field, _, value in fields(graph):
        if field == _NODE:
            node = _node(value)
            read.update(node.inputs)
            own.update(node.outputs)
        elif field == _OUTPUT:  # a body may hand on what it read outside
            read.update(_text(v) for f, _, v in fields(value) if f == _VALUE_NAME)
        elif field in (_INITIALIZER, _SPARSE):
            own.add(_initializer_name(field, value))
        elif field == _INPUT:
            own.update(_text(v) for f, _, v in fields(value) if f == _VALUE_NAME)
    return read - own - {""}


def _initializer_name(kind: int, data: bytes) -> str:
    if kind == _SPARSE:
        return next((_initializer_name(_INITIALIZER, v) for f, _, v in fields(data) if f == _SPARSE_VALUES), "")
    return next((_text(value) for field, _, value in fields(data) if field == _TENSOR_NAME), "")


def _renamed(node: bytes, copy: int) -> bytes:
    """The node with the outputs of its ``copy``-th copy, and without a name."""
    parts = []
    for field, raw, value in fields(node):
        if field == _NODE_OUTPUT:
            parts.append(text(_NODE_OUTPUT, _copy_name(_text(value), copy) if value else ""))
        elif field != _NODE_NAME:
            parts.append(raw)
    return b"".join(parts)


def _copy_name(name: str, copy: int) -> str:
    return "%s/copy%d" % (name, copy)


def _value(name: str, array: Any) -> bytes:
    """A ValueInfoProto with the array's element type and shape."""
    dims = b"".join(message(1, number(1 << 3 | _VARINT) + number(size)) for size in array.shape)
    element = number(1 << 3 | _VARINT) + number(_ELEMENT_TYPES[str(array.dtype)])
    return text(_VALUE_NAME, name) + message(2, message(1, element + message(2, dims)))
