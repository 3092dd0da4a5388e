"""Nets of tiny nodes that show, on the board itself, what a runtime's profiler costs.

A probe splits its input into pieces of growing length, sends each through ``series`` nodes of one kind, and joins them again.
Lengths differ so that the nodes' times spread over more than a microsecond: the profiler rounds each duration down to
whole microseconds, and only over many different fractions is the mean error half of one. Two probes of a kind with different
``series`` tell the plain cost of the nodes alone: the difference of their plain run times.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

PIECES = 8
STEP = 160
SERIES = (1, 3)
KINDS: tuple[tuple[str, int], ...] = (("Erf", 2), ("Sum", 5))
"""(op_type, inputs and outputs a node). Sum takes the same tensor four times."""

_OPSET, _IR_VERSION = 13, 7  # read by every ONNX Runtime from 1.8 on


@dataclass(frozen=True)
class Probe:
    """A net of tiny nodes of one kind that shows what the runtime's profiler costs.

    It holds ``nodes`` nodes of interest, their names starting with ``m``, each with ``tensors`` inputs and outputs. Two probes of
    one ``name`` differ in ``nodes`` only, so that the difference of their plain times is what the nodes cost with no instrument.
    Only the longer one is ``instrumented``.
    """

    name: str
    model: bytes
    nodes: int
    tensors: int
    input_shape: tuple[int, ...]
    instrumented: bool


@functools.cache
def make_probes() -> tuple[Probe, ...]:
    """The short and the long probe of each kind."""
    return tuple(
        Probe(op_type.lower(), _fan(op_type, tensors - 1, series), PIECES * series, tensors, (1, 1, 1, _width()), series == max(SERIES))
        for op_type, tensors in KINDS
        for series in SERIES
    )


def _width() -> int:
    return sum(_lengths())


def _lengths() -> list[int]:
    return [STEP * (i + 1) for i in range(PIECES)]


def _fan(op_type: str, inputs: int, series: int) -> bytes:
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Split", ["x", "lengths"], [f"p0_{i}" for i in range(PIECES)], name="split", axis=3)]
    nodes += [
        helper.make_node(op_type, [f"p{j}_{i}"] * inputs, [f"p{j + 1}_{i}"], name=f"m{j}_{i}") for j in range(series) for i in range(PIECES)
    ]
    nodes.append(helper.make_node("Concat", [f"p{series}_{i}" for i in range(PIECES)], ["y"], name="join", axis=3))
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, _width()])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, _width()])],
        [helper.make_tensor("lengths", TensorProto.INT64, [PIECES], _lengths())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    return bytes(model.SerializeToString())
