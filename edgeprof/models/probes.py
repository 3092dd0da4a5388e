"""Nets of tiny nodes that show, on the board itself, what a runtime's profiler costs.

A probe splits its input into pieces of growing length, sends each through ``series`` nodes, and joins them again. Two
probes of one name with different ``series`` tell the plain cost of the nodes that the longer one has more: the difference
of their plain run times.

Lengths differ so that the nodes' times spread over more than a microsecond: the profiler rounds each duration down to
whole microseconds, and only over many different fractions is the mean error half of one. Neighbours are of different types, as in a
real net, so that each finds the processor's caches as the profiler and another type left them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

PIECES = 8
STEP = 160
SERIES = (1, 4)
LIGHT = ("Erf", "Relu", "Softmax", "Transpose", "Sigmoid", "AveragePool")
WIDE = ("Sum", "Conv")
KINDS: tuple[tuple[str, tuple[str, ...], float], ...] = (("light", LIGHT, 2.0), ("wide", WIDE, 4.5))
"""(name, op types in turn, mean inputs and outputs a node). Sum takes one tensor four times, Conv has weight and bias."""

_OPSET, _IR_VERSION = 13, 7  # read by every ONNX Runtime from 1.8 on
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "Transpose": {"perm": [0, 1, 2, 3]},
    "AveragePool": {"kernel_shape": [1, 3], "pads": [0, 1, 0, 1]},
    "Conv": {"kernel_shape": [1, 1]},
}
_INPUTS = {"Sum": ("{}", "{}", "{}", "{}"), "Conv": ("{}", "weight", "bias")}


@dataclass(frozen=True)
class Probe:
    """A net of tiny nodes that shows what the runtime's profiler costs.

    ``nodes`` is how many it holds between its first and its last, ``tensors`` how many inputs and outputs each has on
    average. Two probes of one ``name`` differ in ``nodes`` only; those that the longer has more have names starting with
    ``m``. Only the longer is ``instrumented``.
    """

    name: str
    model: bytes
    nodes: int
    tensors: float
    input_shape: tuple[int, ...]
    instrumented: bool


@functools.cache
def make_probes() -> tuple[Probe, ...]:
    """The short and the long probe of each kind."""
    return tuple(
        Probe(name, _fan(op_types, series), PIECES * series, tensors, (1, 1, 1, sum(_lengths())), series == max(SERIES))
        for name, op_types, tensors in KINDS
        for series in SERIES
    )


def _lengths() -> list[int]:
    return [STEP * (i + 1) for i in range(PIECES)]


def _fan(op_types: tuple[str, ...], series: int) -> bytes:
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Split", ["x", "lengths"], [f"p0_{i}" for i in range(PIECES)], name="split", axis=3)]
    for j in range(series):
        letter = "m" if j >= min(SERIES) else "s"
        for i in range(PIECES):
            op_type = op_types[(i + j) % len(op_types)]
            inputs = [name.format(f"p{j}_{i}") for name in _INPUTS.get(op_type, ("{}",))]
            nodes.append(helper.make_node(op_type, inputs, [f"p{j + 1}_{i}"], name=f"{letter}{j}_{i}", **_ATTRIBUTES.get(op_type, {})))
    nodes.append(helper.make_node("Concat", [f"p{series}_{i}" for i in range(PIECES)], ["y"], name="join", axis=3))
    shape = [1, 1, 1, sum(_lengths())]
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor("lengths", TensorProto.INT64, [PIECES], _lengths()),
            helper.make_tensor("weight", TensorProto.FLOAT, [1, 1, 1, 1], [0.5]),
            helper.make_tensor("bias", TensorProto.FLOAT, [1], [0.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    return bytes(model.SerializeToString())
