"""What a model is: a `Graph` of `Layer`s and the tensors between them, without the weights' values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

Dim = int | str | None
"""One axis: a known size, a symbolic name, or unknown."""

AttributeValue = int | float | str | bytes | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
"""Attributes that matter for cost and display; tensors and subgraphs are left out."""

DTYPE_BITS: Mapping[str, int] = {
    "float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "float8e4m3fn": 8, "float8e4m3fnuz": 8,
    "float8e5m2": 8, "float8e5m2fnuz": 8, "float8e8m0": 8, "float6e2m3": 6, "float6e3m2": 6, "float4e2m1": 4,
    "complex64": 64, "complex128": 128,
    "int64": 64, "int32": 32, "int16": 16, "int8": 8, "int4": 4, "int2": 2,
    "uint64": 64, "uint32": 32, "uint16": 16, "uint8": 8, "uint4": 4, "uint2": 2, "bool": 8,
}  # fmt: skip
"""Bits an element; ``string`` has no fixed size and is not here."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's name, element type and shape.

    ``dtype`` is a key of `DTYPE_BITS`, ``"string"``, or ``""`` when unknown (sequences, optionals, maps too).
    ``shape`` is None when not even the rank is known.
    """

    name: str
    dtype: str = ""
    shape: tuple[Dim, ...] | None = None

    @property
    def elements(self) -> float:
        """Number of elements; NaN when an axis is not known."""
        if self.shape is None or any(not isinstance(dim, int) for dim in self.shape):
            return math.nan
        return float(math.prod(dim for dim in self.shape if isinstance(dim, int)))

    @property
    def nbytes(self) -> float:
        """Size in bytes; NaN when shape or type is not known."""
        return self.elements * DTYPE_BITS[self.dtype] / 8 if self.dtype in DTYPE_BITS else math.nan


@dataclass(frozen=True)
class Layer:
    """One node of the model.

    ``name`` is unique in its Graph: a node without a name, or with one already taken, gets
    ``<op_type>_<position>``; the node's own name is kept in ``given_name``. A node inside a subgraph or
    function is named ``<outer name>/<branch>/<inner name>`` and has ``parent`` (the outer layer's name) and
    ``branch`` (``then_branch``, ``else_branch``, ``body``, or the function's name).
    An absent optional input or output is the empty string.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    domain: str = ""
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    given_name: str = ""
    parent: str | None = None
    branch: str | None = None


@dataclass(frozen=True)
class Graph:
    """A model without its weights' values.

    ``layers`` stand in the file's order, each nested layer after its parent. ``tensors`` holds all whose type or
    shape is known, initializers included; ``initializers`` are the names of those that the file stores (tensors
    that a ``Constant`` node makes are not among them). Tensors of a function body are prefixed with the call's name and ``/``.
    ``constants`` holds the values of small integer initializers and Constant nodes (at most 64 elements, flattened) that shapes and costs
    depend on, such as Reshape's target; it is not the weights. ``digest`` is the sha256 of the model file.
    ``notes`` are sentences on what was assumed (sizes for symbolic axes, what shape inference could not find).
    """

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    tensors: Mapping[str, TensorInfo]
    initializers: frozenset[str] = frozenset()
    constants: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    format: str = "onnx"
    opsets: Mapping[str, int] = field(default_factory=dict)
    ir_version: int = 0
    producer: str = ""
    path: str = ""
    digest: str = ""
    file_bytes: int = 0
    external_files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def tensor(self, name: str) -> TensorInfo:
        """The tensor's description; one with nothing known if the model says nothing of it."""
        return self.tensors.get(name, TensorInfo(name))
