"""Small tensors computed without running the model: shapes of known tensors and the arithmetic on them.

Only what stays small is computed (at most `MOST_ELEMENTS` elements), with ONNX's own reference implementation, so that every
operator means what its version of the standard says.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof.models.graph import TensorInfo
from edgeprof.models.layers import domain_of
from edgeprof.models.wire import DTYPES

MOST_ELEMENTS = 1024

Array = NDArray[Any]

_FOLDED = """
Shape Size Gather GatherElements GatherND Concat Unsqueeze Squeeze Slice Cast Identity Reshape Flatten Transpose
Add Sub Mul Div Mod Neg Abs Min Max Pow Sqrt Floor Ceil Round Sign Reciprocal Clip
Equal Greater GreaterOrEqual Less LessOrEqual And Or Not Xor Where
Range ConstantOfShape Expand Tile ReduceProd ReduceSum ReduceMin ReduceMax CumSum NonZero ScatterND ScatterElements
"""
_FOLDED_NAMES = frozenset(_FOLDED.split())
_NUMERIC = frozenset({"float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"})


class Values:
    """Values of the small tensors of a model's main graph; `fold` turns the nodes that make them into Constants."""

    def __init__(self, model: Any) -> None:
        self.graph = model.graph
        self.opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
        self._known: dict[str, Array] | None = None
        self._failed: set[int] = set()

    def fold(self, tensors: Mapping[str, TensorInfo]) -> int:
        """Number of nodes newly replaced by a Constant; ``tensors`` is what is known of shapes by now."""
        if self._known is None:
            self._known = dict(_small_constants(self.graph))
        replaced = 0
        for position, node in enumerate(self.graph.node):
            if node.op_type not in _FOLDED_NAMES or domain_of(node) or len(node.output) != 1 or position in self._failed:
                continue
            try:
                value = self._value(node, position, tensors)
            except (
                IndexError,
                ValueError,
                TypeError,
                OverflowError,
            ):  # a node with too few inputs, or such attributes, is left to the runtime
                value = None
                self._failed.add(position)
            if value is not None:
                self._known[node.output[0]] = value
                _make_constant(node, value)
                replaced += 1
        return replaced

    def _value(self, node: Any, position: int, tensors: Mapping[str, TensorInfo]) -> Array | None:
        known = self._known or {}
        if node.op_type in ("Shape", "Size"):
            return _shape_value(node, tensors)
        if any(name and name not in known for name in node.input):
            return None
        feeds = {name: known[name] for name in node.input if name}
        value = self._evaluate(node, feeds) if _elements_made(node, feeds) <= MOST_ELEMENTS else None
        if value is None or value.size > MOST_ELEMENTS:
            self._failed.add(position)
            return None
        return value

    def _evaluate(self, node: Any, feeds: dict[str, Array]) -> Array | None:
        from onnx.reference import ReferenceEvaluator

        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made: Any = ReferenceEvaluator(node, opsets={"": self.opset}).run(None, feeds)
                value = np.asarray(made[0])
        except Exception:  # a node that cannot be computed stays what it is: not known
            return None
        return value if value.dtype.name in _NUMERIC else None


def _small_constants(graph: Any) -> Iterator[tuple[str, Array]]:
    from onnx import numpy_helper

    made = ((node.output[0], node.attribute[0].t) for node in graph.node if _is_tensor_constant(node))
    for name, tensor in [*((t.name, t) for t in graph.initializer), *made]:
        if tensor.data_location != tensor.EXTERNAL and DTYPES.get(tensor.data_type) in _NUMERIC and math.prod(tensor.dims) <= MOST_ELEMENTS:
            yield name, numpy_helper.to_array(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and not _is_tensor_constant(node):
            attribute = node.attribute[0]
            if attribute.name in ("value_int", "value_ints"):
                yield node.output[0], np.array(attribute.i if attribute.name == "value_int" else list(attribute.ints), np.int64)
            elif attribute.name in ("value_float", "value_floats"):
                yield node.output[0], np.array(attribute.f if attribute.name == "value_float" else list(attribute.floats), np.float32)


def _is_tensor_constant(node: Any) -> bool:
    return node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].HasField("t")


def _shape_value(node: Any, tensors: Mapping[str, TensorInfo]) -> Array | None:
    info = tensors.get(node.input[0])
    if info is None or info.shape is None or any(not isinstance(dim, int) for dim in info.shape):
        return None
    shape = np.array(info.shape, np.int64)
    if node.op_type == "Size":
        return np.array(np.prod(shape), np.int64)
    bounds: dict[str, int] = {attribute.name: attribute.i for attribute in node.attribute}
    part: Array = shape[bounds.get("start", 0) : bounds.get("end", len(shape))]
    return part


def _elements_made(node: Any, feeds: Mapping[str, Array]) -> float:
    """How many elements the node would make, for the operators that can make many out of few."""
    inputs = [feeds[name] for name in node.input if name]
    if node.op_type in ("ConstantOfShape", "Expand"):
        return float(np.prod(np.maximum(inputs[-1], 1).astype(float)))
    if node.op_type == "Tile":
        return float(inputs[0].size * np.prod(inputs[1].astype(float)))
    if node.op_type == "Range":
        start, limit, delta = (float(np.asarray(value).reshape(-1)[0]) for value in inputs)
        return (limit - start) / delta if delta else math.inf
    return 0.0  # the others make at most what they are given, or its broadcast: small times small


def _make_constant(node: Any, value: Array) -> None:
    from onnx import numpy_helper

    del node.input[:]
    del node.attribute[:]
    node.op_type = "Constant"
    attribute = node.attribute.add()
    attribute.name, attribute.type = "value", attribute.TENSOR
    attribute.t.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value) if value.ndim else value))
