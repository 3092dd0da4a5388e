"""One-layer models cut from an optimised ONNX model, on the board: each layer by itself, with the inputs of a real run.

The optimised model is a protobuf message; cutting it needs no more than copying some of its fields, so that is done on the wire format
itself (https://protobuf.dev/programming-guides/encoding/), with the field numbers of onnx.proto3. Weights stay where the runtime wrote
them, in a file beside the model that the cut models refer to as well.

1. A model in which all tensors between layers are outputs too is run once; what layers read is kept on disk.
2. A cut model holds the nodes, the initializers they read, and their other inputs as inputs of the model. Each node stands in it
   ``copies`` times, so that a short layer is not drowned by what a call of the runtime costs; only the last copy's results are kept.
3. It is run with all optimisation off: the nodes are the optimised ones already.
4. A node with bodies (If, Loop, Scan) is cut with them; what they read from outside becomes an input too.
5. What cannot be kept as an array (sequences, optionals, texts, bfloat16) has no cut model that reads it: those nodes have a reason.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from . import Refused
from .base import Isolation, Session

TAP_BYTES = 256 << 20
"""Tensors that are kept in memory at once while they are captured."""

MOST_NODE_BYTES = 64 << 20
"""Messages of all nodes in one cut model together: a tree ensemble holds megabytes in its attributes."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH = 7
_NODE, _GRAPH_NAME, _INITIALIZER, _INPUT, _OUTPUT, _SPARSE = 1, 2, 5, 11, 12, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS, _TENSOR_NAME, _SPARSE_VALUES, _VALUE_NAME = 6, 11, 8, 1, 1
_ELEMENT_TYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "object": 8, "bool": 9, "float16": 10,
    "float64": 11, "uint32": 12, "uint64": 13, "complex64": 14, "complex128": 15,
}  # fmt: skip


class Node(NamedTuple):
    """A node of the top level: its message, and the names it reads (bodies included) and makes."""

    message: memoryview
    op_type: str
    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]


class Model:
    """What cutting needs of a model file; all of it are views of ``data``. ValueError or the like when it is damaged."""

    def __init__(self, data: bytes) -> None:
        self.header: List[memoryview] = []
        self.nodes: List[Node] = []
        self.initializers: Dict[str, memoryview] = {}
        self.graph: List[Tuple[int, memoryview]] = []
        self._mark = "/copy"
        while self._mark.encode() in data:  # a copy's outputs are called like nothing in the model
            self._mark += "_"
        for number, raw, value in fields(data):
            if number != _MODEL_GRAPH:
                self.header.append(raw)
                continue
            for inner, inner_raw, message in fields(_content(value)):
                if inner == _NODE:
                    self.nodes.append(_node(_content(message)))
                elif inner in (_INITIALIZER, _SPARSE):
                    self.initializers[_initializer_name(inner, _content(message))] = inner_raw
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
        parts: List[Any] = [message(_NODE, self._renamed(node.message, copy)) for node in chosen for copy in range(copies)]
        parts.append(text(_GRAPH_NAME, "cut"))
        parts += [self.initializers[name] for name in read if name in self.initializers]
        parts += [message(_INPUT, _value(name, inputs[name])) for name in read if name in inputs]
        outputs = [name for node in chosen for name in node.outputs if name]
        parts += [message(_OUTPUT, text(_VALUE_NAME, self.name_of_copy(name, copies - 1))) for name in outputs]
        return self._model(b"".join(parts))

    def name_of_copy(self, name: str, copy: int) -> str:
        """What the output ``name`` is called of a node's ``copy``-th copy."""
        return "%s%s%d" % (name, self._mark, copy)

    def _renamed(self, node: memoryview, copy: int) -> bytes:
        """The node with the outputs of its ``copy``-th copy, and without a name."""
        parts: List[Any] = []
        for field, raw, value in fields(node):
            if field == _NODE_OUTPUT:
                name = _text(_content(value))
                parts.append(text(_NODE_OUTPUT, self.name_of_copy(name, copy) if name else ""))
            elif field != _NODE_NAME:
                parts.append(raw)
        return b"".join(parts)

    def _model(self, graph: bytes) -> bytes:
        return b"".join(self.header) + message(_MODEL_GRAPH, graph)


class OnnxIsolation(Isolation):
    """See `Isolation`. ``runtime`` opens models; ``executed`` lies in the job's folder, with its weights beside it."""

    def __init__(self, runtime: Any, executed: str, inputs: Dict[str, Any], options: Dict[str, Any]) -> None:
        import numpy

        self._numpy, self._runtime = numpy, runtime
        self._options = dict(options, optimization="disabled")
        self._executed, self._folder = executed, os.path.dirname(executed)
        self._inputs = inputs
        try:
            with open(executed, "rb") as file:
                self._model = Model(file.read())
        except OSError as error:
            raise Refused("isolate", "the runtime's optimised model is not there: %s" % (error.strerror or error)) from error
        except (ValueError, IndexError, RecursionError) as error:
            raise Refused("isolate", "the runtime's optimised model cannot be taken apart: %s" % error) from error
        self.op_types = [node.op_type for node in self._model.nodes]
        self._files: Dict[str, str] = {}
        self._runs = False
        try:
            self._capture(self._model.between())
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):  # numpy's own says how many bytes were written, and not why no more
                text = "tensors between layers cannot be kept in %s, which may be full (%s)"
                raise Refused("isolate", text % (self._folder, error.strerror or error)) from error
            raise
        reasons = {i: self._reason(node) for i, node in enumerate(self._model.nodes)}
        self.reasons = {i: reason for i, reason in reasons.items() if reason}

    def open(self, nodes: Sequence[int], copies: int) -> Session:
        """See `Isolation.open`."""
        names = {name for i in nodes for name in self._model.nodes[i].inputs}
        arrays = {name: self._array(name) for name in sorted(names) if name in self._files or name in self._inputs}
        model = self._model.cut(nodes, arrays, copies)
        return self._loaded(model, lambda path: self._runtime.open(path, arrays, self._options))  # type: ignore[no-any-return]

    def most_copies(self, nodes: Sequence[int], wanted: int) -> int:
        """See `Isolation.most_copies`."""
        size = sum(len(self._model.nodes[i].message) for i in nodes)
        return max(1, min(wanted, MOST_NODE_BYTES // max(1, size)))

    def close(self) -> None:
        """See `Isolation.close`."""
        for path in self._files.values():
            if os.path.exists(path):
                os.remove(path)
        self._files = {}

    def _capture(self, names: List[str]) -> None:
        """Runs the model with tensors between layers as outputs, as many at once as memory allows, and keeps what came."""
        names, count, largest = [name for name in names if _is_utf8(name)], 8, 1
        while names:
            some, names = names[:count], names[count:]
            for name, value in self._results(some):
                largest = max(largest, getattr(value, "nbytes", 0))
                self._keep(name, value)
            count = max(1, min(8 * count, TAP_BYTES // largest))

    def _results(self, names: List[str]) -> Iterator[Tuple[str, Any]]:
        """Tensors of one run by name; those that the runtime cannot hand out are left out."""
        try:
            yield from self._run(self._model.tap(names)).items()
        except Refused:
            if not self._runs:
                self._runtime.open(self._executed, self._inputs, self._options).run(1)  # if that fails, no tensor is to blame
                self._runs = True
            if len(names) == 1:
                return
            for half in (names[: len(names) // 2], names[len(names) // 2 :]):
                yield from self._results(half)

    def _run(self, model: bytes) -> Dict[str, Any]:
        session = self._loaded(model, lambda path: self._runtime.open_for_results(path, self._inputs, self._options))
        try:
            return session.results()  # type: ignore[no-any-return]
        finally:
            session.close()

    def _keep(self, name: str, value: Any) -> None:
        if isinstance(value, self._numpy.ndarray) and str(value.dtype) in _ELEMENT_TYPES and value.dtype != object:
            path = self._files[name] = os.path.join(self._folder, "tensor-%d.npy" % len(self._files))
            self._numpy.save(path, value, allow_pickle=False)

    def _reason(self, node: Node) -> str:
        """Why a node cannot be run by itself, or nothing."""
        for name in node.inputs:
            if name not in self._files and name not in self._inputs and name not in self._model.initializers:
                return "its input %s is no plain tensor" % shown(name)
        if not all(_is_utf8(name) for name in node.outputs):
            return "its output %s has a name that is no UTF-8" % shown(next(name for name in node.outputs if not _is_utf8(name)))
        return "" if any(node.outputs) else "it has no output"

    def _array(self, name: str) -> Any:
        return self._inputs[name] if name in self._inputs else self._numpy.load(self._files[name], allow_pickle=False)

    def _loaded(self, model: bytes, load: Callable[[str], Any]) -> Any:
        """What ``load`` makes of the model in a file beside its weights; the file is there for so long and no longer."""
        path = os.path.join(self._folder, "cut.onnx")
        try:
            with open(path, "wb") as file:
                file.write(model)
            return load(path)
        finally:
            if os.path.exists(path):
                os.remove(path)


# The wire format


def fields(data: Any) -> Iterator[Tuple[int, memoryview, Any]]:
    """``(number, raw, value)`` of each field of a message: raw with its key, value what a length-delimited one holds, else None.

    Both are views of ``data``, nothing is copied. ValueError or IndexError when it is no message.
    """
    view, at, end = memoryview(data), 0, len(data)
    while at < end:
        start = at
        key, at = _varint(view, at)
        kind, value = key & 7, None
        if kind == _VARINT:
            _, at = _varint(view, at)
        elif kind == _BYTES:
            size, at = _varint(view, at)
            value = view[at : at + size]
            at += size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("field kind %d" % kind)
        if at > end:
            raise ValueError("a field ends behind its message")
        yield key >> 3, view[start:at], value


def _content(value: Optional[memoryview]) -> memoryview:
    """What a field holds that must be length-delimited."""
    if value is None:
        raise ValueError("a field of another kind than it should be")
    return value


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


def _text(value: Any) -> str:
    return bytes(_content(value)).decode("utf-8", "surrogateescape")


def _is_utf8(name: str) -> bool:
    """Whether the runtime can say this name in Python."""
    return name == shown(name)


def shown(name: str) -> str:
    """A name fit for a message: bytes that are no UTF-8 are written out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _node(data: memoryview) -> Node:
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
            for body in _bodies(_content(value)):
                inputs += sorted(_read_from_outside(body))
    return Node(data, op_type, tuple(dict.fromkeys(filter(None, inputs))), tuple(outputs))


def _bodies(attribute: memoryview) -> List[memoryview]:
    return [_content(value) for field, _, value in fields(attribute) if field in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS)]


def _read_from_outside(graph: memoryview) -> Set[str]:
    """Names that a body reads and does not define itself."""
    read: Set[str] = set()
    own: Set[str] = set()
    for field, _, value in fields(graph):
        if field == _NODE:
            node = _node(_content(value))
            read.update(node.inputs)
            own.update(node.outputs)
        elif field == _OUTPUT:  # a body may hand on what it read outside
            read.update(_text(v) for f, _, v in fields(_content(value)) if f == _VALUE_NAME)
        elif field in (_INITIALIZER, _SPARSE):
            own.add(_initializer_name(field, _content(value)))
        elif field == _INPUT:
            own.update(_text(v) for f, _, v in fields(_content(value)) if f == _VALUE_NAME)
    return read - own - {""}


def _initializer_name(kind: int, data: memoryview) -> str:
    if kind == _SPARSE:
        return next((_initializer_name(_INITIALIZER, _content(v)) for f, _, v in fields(data) if f == _SPARSE_VALUES), "")
    return next((_text(value) for field, _, value in fields(data) if field == _TENSOR_NAME), "")


def _value(name: str, array: Any) -> bytes:
    """A ValueInfoProto with the array's element type and shape."""
    dims = b"".join(message(1, number(1 << 3 | _VARINT) + number(size)) for size in array.shape)
    element = number(1 << 3 | _VARINT) + number(_ELEMENT_TYPES[str(array.dtype)])
    return text(_VALUE_NAME, name) + message(2, message(1, element + message(2, dims)))
