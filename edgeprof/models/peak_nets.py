"""Nets that a board is driven to its peaks with: products and convolutions in several shapes and precisions, sweeps over large arrays.

Node names say what a node is for (`parse_name`): ``peak/float32/MatMul 448x512x512/1``, ``peak/memory/Relu, 128 MiB/1``. Large tensors are
made on the board, by an Expand of the net's small input, so that little is sent; an Expand of an input is nothing that a runtime can
compute once and keep. Weights of a chain are shared by its nodes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Activation = Literal["uint8", "int8"]

WIDTH = 4096
"""Elements of the input, and of a row of the swept arrays."""

CHAIN = 2
"""Nodes of a chain: the first finds its data as an Expand left them, the next as a layer does."""

PRECISIONS = ("float32", "int8", "float16")
MB = 1 << 20
_OPSET, _IR_VERSION = 13, 7  # read by every ONNX Runtime from 1.8 on
_PREFIX = "peak"
_SCALE, _WEIGHT_SCALE = 0.05, 0.002
_NAME = re.compile(rf"{_PREFIX}/(\w+)/([^/]+)/\d+")


class Mark(NamedTuple):
    """What a node is for: its precision (or ``memory``), and what it does, in words."""

    group: str
    words: str


@dataclass(frozen=True)
class Work:
    """What a net is to do: FLOPs of one node by precision, and MiB of each array that is swept."""

    flops: Mapping[str, float]
    array_mib: Sequence[int] = ()
    activation: Activation = "uint8"


def parse_name(name: str) -> Mark | None:
    """What the node of this name is for; None when it only prepares or joins."""
    match = _NAME.fullmatch(name)
    return Mark(match[1], match[2]) if match else None


def peak_net(work: Work) -> bytes:
    """The model, serialised."""
    net = _Net()
    for precision, flops in work.flops.items():
        chain = _Chain(net, precision, work.activation)
        wide, narrow = _widths(flops)
        chain.matmul(_rows(flops, wide * wide), wide)
        chain.matmul(_rows(flops, narrow * narrow), narrow)
        chain.conv(_rows(flops, narrow * narrow), narrow, kernel=1)
        third = max(32, narrow // 2)
        chain.conv(_rows(flops, 9 * third * third), third, kernel=3)
    for mib in work.array_mib:
        net.sweep(mib)
    return net.model()


def _widths(flops: float) -> tuple[int, int]:
    """Widths of the two products: as wide as leaves them some hundred rows."""
    wide = next((width for width in (1024, 512, 256) if flops >= 2.0 * width**3 / 2), 128)
    return wide, wide // 2


def _rows(flops: float, macs_per_row: int) -> int:
    return int(min(1 << 17, max(1, round(flops / (2 * macs_per_row * 64)))) * 64)


class _Net:
    """Nodes and weights as they are put together."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.results: list[str] = []
        self._names: dict[str, int] = {}

    def const(self, name: str, array: NDArray[Any] | np.generic) -> str:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op_type: str, inputs: list[str], name: str = "", **attributes: Any) -> str:
        """A new node; its output."""
        from onnx import helper

        number = len(self.nodes)
        self.nodes.append(helper.make_node(op_type, inputs, [f"t{number}"], name=name or f"prepare/{number}", **attributes))
        return f"t{number}"

    def marked(self, group: str, words: str) -> str:
        """A name that `parse_name` reads, and that no other node has."""
        start = f"{_PREFIX}/{group}/{words}"
        self._names[start] = self._names.get(start, 0) + 1
        return f"{start}/{self._names[start]}"

    def sizes(self, *values: int) -> str:
        return self.const(f"sizes{len(self.weights)}", np.array(values, np.int64))

    def spread(self, shape: Sequence[int], source: str = "x") -> str:
        """A large tensor from the small input: its first elements along axis 1, repeated along the others."""
        width = shape[1]
        row = source if width == WIDTH else self.node("Slice", [source, self.sizes(0), self.sizes(width), self.sizes(1)])
        if len(shape) != 2:
            row = self.node("Reshape", [row, self.sizes(1, width, *(1 for _ in shape[2:]))])
        return self.node("Expand", [row, self.sizes(*shape)])

    def result(self, tensor: str) -> None:
        """Ends a branch: one number of it is an output of the net."""
        self.results.append(self.node("ReduceMean", [tensor], keepdims=0))

    def sweep(self, mib: int) -> None:
        """Reads an array and writes it in place, reads it in a sum, reads it in a product with one row. Sweeps come one after another: each
        begins with a number that the one before ends with, so that one array is alive at a time.
        """
        rows = mib * MB // (4 * WIDTH)
        begin = self.node("Add", ["x", self.results[-1]]) if self.results else "x"
        array = self.node("Relu", [self.spread((rows, WIDTH), begin)], self.marked("memory", f"Relu, {mib} MiB"))
        means = self.node("ReduceMean", [array], self.marked("memory", f"ReduceMean, {mib} MiB"), axes=[1], keepdims=1)
        row = self.node("Reshape", [means, self.sizes(1, rows)])
        product = self.node("MatMul", [row, array], self.marked("memory", f"MatMul of a row, {mib} MiB"))
        self.result(product)

    def model(self) -> bytes:
        from onnx import TensorProto, helper

        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in self.results]
        begin = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])]
        graph = helper.make_graph(self.nodes, "peaks", begin, ends, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        return bytes(model.SerializeToString())


class _Chain:
    """Makes chains of equal layers of one precision. int8 is written as QuantizeLinear and DequantizeLinear around float layers, which
    runtimes make 8-bit kernels of.
    """

    def __init__(self, net: _Net, precision: str, activation: Activation) -> None:
        self._net, self._precision = net, precision
        self._rng = np.random.default_rng(0)
        self._zero = np.uint8(128) if activation == "uint8" else np.int8(0)

    def matmul(self, rows: int, width: int) -> None:
        """``CHAIN`` products of (rows, width) with (width, width)."""
        words = f"MatMul {rows}x{width}x{width}"
        self._chain("MatMul", words, self._net.spread((rows, width)), (width, width), width)

    def conv(self, pixels: int, channels: int, *, kernel: int) -> None:
        """``CHAIN`` convolutions of as many channels as before, over so many pixels, 32 in a row."""
        words = f"Conv {kernel}x{kernel}, {channels} channels, {pixels // 32}x32"
        image = self._net.spread((1, channels, pixels // 32, 32))
        padding = {"pads": [kernel // 2] * 4} if kernel > 1 else {}
        self._chain("Conv", words, image, (channels, channels, kernel, kernel), channels * kernel**2, **padding)

    def _chain(self, op_type: str, words: str, tensor: str, shape: tuple[int, ...], summed: int, **attributes: Any) -> None:
        weight = self._weight(shape, summed)
        tensor = self._entered(tensor)
        for _ in range(CHAIN):
            tensor = self._left(self._net.node(op_type, [tensor, weight], self._net.marked(self._precision, words), **attributes))
        self._net.result(self._net.node("Cast", [tensor], to=1) if self._precision == "float16" else tensor)

    def _weight(self, shape: tuple[int, ...], summed: int) -> str:
        name = f"w{len(self._net.weights)}"
        if self._precision != "int8":
            values = self._rng.standard_normal(shape) / np.sqrt(summed)
            return self._net.const(name, values.astype(self._precision))
        name = self._net.const(name, self._rng.integers(-63, 64, shape).astype(np.int8))
        return self._net.node("DequantizeLinear", [name, self._scale(_WEIGHT_SCALE), self._zero_point(np.int8(0))])

    def _entered(self, tensor: str) -> str:
        if self._precision == "float16":
            return self._net.node("Cast", [tensor], to=10)
        return self._left(tensor)

    def _left(self, tensor: str) -> str:
        """The tensor as the next layer reads it: of int8 what 8 bits keep of it."""
        if self._precision != "int8":
            return tensor
        scale, zero = self._scale(_SCALE), self._zero_point(self._zero)
        return self._net.node("DequantizeLinear", [self._net.node("QuantizeLinear", [tensor, scale, zero]), scale, zero])

    def _scale(self, value: float) -> str:
        return self._net.const(f"scale{len(self._net.weights)}", np.float32(value))

    def _zero_point(self, value: np.generic) -> str:
        return self._net.const(f"zero{len(self._net.weights)}", value)
