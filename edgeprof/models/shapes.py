"""Sizes of the inputs: the user's, and sensible defaults for what the file leaves open.

Every size that was assumed is said in a sentence, so that nobody takes the MACs of 224 pixels for those of 512.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from edgeprof.errors import InputError
from edgeprof.models.graph import Dim, TensorInfo
from edgeprof.models.wire import DTYPES

LARGEST_SIZE = 1 << 40
"""No axis is longer than this; a file that says otherwise was made to mislead."""

BATCH, IMAGE_SIDE, SEQUENCE, CHANNELS = 1, 224, 128, 3
"""Defaults for axes of unknown size; every other axis is 1."""

_BATCH_NAME = re.compile(r"batch|^(n|b|bs|bsz)$", re.IGNORECASE)
_SEQUENCE_NAME = re.compile(r"seq|len|tok|time|frame|past|text|words|^(t|l|s)$", re.IGNORECASE)
_SIDE_NAME = re.compile(r"height|width|^(h|w|hw|img|image|pixels?)$|image_?size|img_?size|(^|_)(h|w)$", re.IGNORECASE)
_CHANNELS_NAME = re.compile(r"channel|^(c|ch)$", re.IGNORECASE)
_INPUT_CHANNELS = (1, 3, 4)


# Inputs: what the user gave, what is assumed


@dataclass
class InputShapes:
    """The sizes chosen for the model's inputs."""

    inputs: tuple[TensorInfo, ...]
    symbols: Mapping[str, int]
    notes: tuple[str, ...]


def choose(inputs: Sequence[TensorInfo], given: Mapping[str, Sequence[int]], feature_sizes: Mapping[str, Mapping[int, int]]) -> InputShapes:
    """Concrete shapes for ``inputs``, whose axes may be symbolic.

    1. A shape in ``given`` decides; it must fit the axes that the model fixes. 2. An axis of a symbol that is decided
    has the symbol's size, an expression of such symbols its value. 3. ``feature_sizes`` (input -> axis -> size) is what the
    weights of the first layer ask for. 4. Else the default by name and position; cases 3 and 4 are announced.
    """
    return _Choice(inputs, given, feature_sizes).run()


class _Choice:
    def __init__(self, inputs: Sequence[TensorInfo], given: Mapping[str, Sequence[int]], features: Mapping[str, Mapping[int, int]]) -> None:
        self.inputs = inputs
        self.given = given
        self.features = features
        self.symbols: dict[str, int] = {}
        self.notes: list[str] = []

    def run(self) -> InputShapes:
        by_name = {tensor.name: tensor for tensor in self.inputs}
        for name, shape in self.given.items():
            if name not in by_name:
                raise InputError(f"A shape was given for '{name}', which is no input. {describe_inputs(self.inputs)}")
            self._check_given(by_name[name], shape)
        chosen = [self._shape_of(tensor) for tensor in self.inputs]
        return InputShapes(tuple(chosen), self.symbols, tuple(self.notes))

    def _check_given(self, tensor: TensorInfo, shape: Sequence[int]) -> None:
        what = f"The shape {show_shape(shape)} does not fit the input '{tensor.name}'"
        if any(isinstance(size, bool) or not isinstance(size, Integral) or not 0 <= size <= LARGEST_SIZE for size in shape):
            raise InputError(f"{what}: sizes must be whole numbers, 0 or more. Give them as --shape {_example(tensor)}.")
        if tensor.shape is None:
            return
        if len(shape) != len(tensor.shape):
            raise InputError(
                f"{what}: it has {len(shape)} axes, the model has {len(tensor.shape)}, {show_shape(tensor.shape)}. "
                f"Give it as --shape {_example(tensor)}."
            )
        for axis, (dim, size) in enumerate(zip(tensor.shape, shape, strict=True)):
            if isinstance(dim, int) and dim != size:
                raise InputError(
                    f"{what}: the model fixes axis {axis} to {dim}, {size} was given. Its shape is {show_shape(tensor.shape)}."
                )
            if isinstance(dim, str) and self.symbols.setdefault(dim, int(size)) != size:
                raise InputError(
                    f"{what}: axis {axis} is '{dim}', which was already given as {self.symbols[dim]}. Give it the same size everywhere."
                )

    def _shape_of(self, tensor: TensorInfo) -> TensorInfo:
        if tensor.name in self.given:
            return TensorInfo(tensor.name, tensor.dtype, tuple(int(size) for size in self.given[tensor.name]))
        if tensor.shape is None:
            if tensor.dtype:
                self.notes.append(f"Input '{tensor.name}': the model does not say its shape; give it with --shape {tensor.name}=...")
            return tensor
        shape: list[Dim] = list(tensor.shape)
        for axis, dim in enumerate(tensor.shape):
            if not isinstance(dim, int):
                shape[axis] = self._size(tensor, axis, dim)
        assumed = [(axis, dim, shape[axis]) for axis, dim in enumerate(tensor.shape) if not isinstance(dim, int)]
        self._announce(tensor, [(a, d, s) for a, d, s in assumed if d is None or not self._was_given(d)], shape)
        return TensorInfo(tensor.name, tensor.dtype, tuple(shape))

    def _size(self, tensor: TensorInfo, axis: int, dim: Dim) -> int:
        if isinstance(dim, str):
            known = self.symbols.get(dim)
            if known is None:
                known = evaluate(dim, self.symbols)
            if known is None:
                known = self._default(tensor, axis, dim)
                self.symbols[dim] = known
            return known
        return self._default(tensor, axis, "")

    def _default(self, tensor: TensorInfo, axis: int, symbol: str) -> int:
        wanted = self.features.get(tensor.name, {}).get(axis)
        return wanted if wanted is not None else default_size(tensor, axis, symbol)

    def _was_given(self, symbol: Dim) -> bool:
        return any(symbol in (tensor.shape or ()) for tensor in self.inputs if tensor.name in self.given)

    def _announce(self, tensor: TensorInfo, assumed: list[tuple[int, Dim, Dim]], shape: list[Dim]) -> None:
        if not assumed:
            return
        axes = ", ".join(f"axis {axis}{f' ({dim!r})' if dim else ''} as {size}" for axis, dim, size in assumed)
        self.notes.append(
            f"Input '{tensor.name}': the model leaves sizes open; taken {axes}. "
            f"Use --shape {tensor.name}={','.join(str(size) for size in shape)} to say otherwise."
        )


def default_size(tensor: TensorInfo, axis: int, symbol: str = "") -> int:
    """The size taken for an axis that nobody decided: by the symbol's name, else by rank and position."""
    shape = tensor.shape or ()
    for pattern, size in ((_BATCH_NAME, BATCH), (_SIDE_NAME, IMAGE_SIDE), (_SEQUENCE_NAME, SEQUENCE), (_CHANNELS_NAME, CHANNELS)):
        if pattern.search(symbol):
            return size
    if axis == 0:
        return BATCH
    floating = tensor.dtype.startswith(("float", "bfloat")) or tensor.dtype == "uint8"
    if len(shape) == 4 and floating:
        channels_last = shape[3] in _INPUT_CHANNELS and shape[1] not in _INPUT_CHANNELS
        channel_axis = 3 if channels_last else 1
        return CHANNELS if axis == channel_axis else IMAGE_SIDE
    if len(shape) == 2 and axis == 1 and tensor.dtype.startswith("int"):
        return SEQUENCE
    return 1


_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv, ast.Div: operator.floordiv,
}  # fmt: skip


def evaluate(expression: str, symbols: Mapping[str, int]) -> int | None:
    """Value of a symbolic axis such as ``past_len + seq_len`` where all its symbols are known; else None."""
    try:
        value = _value(ast.parse(expression.strip(), mode="eval").body, symbols) if len(expression) < 200 else None
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None
    return value if value is not None and 0 <= value < 1 << 48 else None


def _value(node: ast.expr, symbols: Mapping[str, int]) -> int | None:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        return symbols.get(node.id)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left, symbols), _value(node.right, symbols)
        return None if left is None or right is None else _OPERATORS[type(node.op)](left, right)
    return None


def show_shape(shape: Sequence[Dim] | None) -> str:
    """``[batch, 3, 224, 224]``, an unknown axis as ``?``."""
    return "of unknown rank" if shape is None else f"[{', '.join('?' if dim is None else str(dim) for dim in shape)}]"


def describe_inputs(inputs: Sequence[TensorInfo]) -> str:
    """``The model's inputs are 'x' float32 [1, 3].``"""
    if not inputs:
        return "The model has no inputs."
    listed = ", ".join(f"'{t.name}' {t.dtype or 'not a tensor'} {show_shape(t.shape)}" for t in inputs)
    return f"The model's input{'s are' if len(inputs) > 1 else ' is'} {listed}."


def _example(tensor: TensorInfo) -> str:
    sizes = ",".join(str(dim if isinstance(dim, int) else default_size(tensor, i, dim or "")) for i, dim in enumerate(tensor.shape or ()))
    return f"{tensor.name}={sizes}"


# Protobuf types


def info_of(name: str, type_proto: Any, symbols: Mapping[str, int] | None = None) -> TensorInfo:
    """A TypeProto as TensorInfo, symbols replaced by their sizes where known."""
    if type_proto.WhichOneof("value") != "tensor_type":
        return TensorInfo(name)
    tensor = type_proto.tensor_type
    dtype = DTYPES.get(tensor.elem_type, "")
    if not tensor.HasField("shape"):
        return TensorInfo(name, dtype)
    return TensorInfo(name, dtype, tuple(_dim(dim, symbols or {}) for dim in tensor.shape.dim))


def _dim(dim: Any, symbols: Mapping[str, int]) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    if dim.dim_param:
        known = symbols.get(dim.dim_param)
        if known is None:
            known = evaluate(dim.dim_param, symbols)
        return known if known is not None else str(dim.dim_param)
    return None


def set_shape(value_info: Any, info: TensorInfo) -> None:
    """Write the sizes of ``info`` into a ValueInfoProto of a tensor."""
    shape = value_info.type.tensor_type.shape
    del shape.dim[:]
    shape.SetInParent()
    for dim in info.shape or ():
        new = shape.dim.add()
        if isinstance(dim, int):
            new.dim_value = dim
        elif dim:
            new.dim_param = dim
