"""Small networks for tests of recipes: drawn at random, or written down as onnx text, with weights that a seed decides."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser

from edgeprof.models import load_model
from edgeprof.recipes.base import Built
from edgeprof.recipes.build import apply
from edgeprof.recipes.recipe import Decision, Quantization, Recipe

SIDE = 6


@dataclass
class Net:
    """A network as it grows: each method puts a layer behind the tensor ``at`` and gives the name of what it makes."""

    seed: int = 0
    opset: int = 17
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._numbers = itertools.count()

    def weight(self, *shape: int, scale: float | None = None, shift: float = 0.0) -> str:
        fan_in = float(np.prod(shape[1:])) if len(shape) > 1 else 4.0
        values = self._random.standard_normal(shape) * (1 / np.sqrt(fan_in) if scale is None else scale) + shift
        return self.store(values.astype(np.float32))

    def store(self, values: np.ndarray) -> str:
        name = f"w{next(self._numbers)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def put(self, op: str, *inputs: str, **attributes: Any) -> str:
        number = next(self._numbers)
        self.nodes.append(helper.make_node(op, inputs, [f"t{number}"], name=f"/{op.lower()}_{number}", **attributes))
        return f"t{number}"

    def model(self, inputs: Mapping[str, Sequence[Any]], outputs: Sequence[str], kinds: Mapping[str, int] | None = None) -> Any:
        entries = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
        given = [helper.make_tensor_value_info(name, (kinds or {}).get(name, TensorProto.FLOAT), None) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", entries, given, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


@st.composite
def nets(draw: st.DrawFn) -> Any:
    """A convolutional network with branches, and a classifier behind; its input is ``x`` (n, 3, 6, 6), its batch open."""
    net = Net(draw(st.integers(0, 1000)))
    at, channels, made = "x", 3, [("x", 3)]
    for step in draw(st.lists(st.sampled_from(_STEPS), min_size=1, max_size=7)):
        if step == "conv":
            width = draw(st.sampled_from([2, 4, 8]))
            at, channels = _conv(net, at, channels, width), width
        elif step == "depthwise":
            weight = net.weight(channels, 1, 3, 3)
            at = net.put("Conv", at, weight, net.weight(channels), kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=channels)
        elif step == "norm":
            scale, variance = net.weight(channels, scale=0.2, shift=1.0), net.store(np.full(channels, 0.8, np.float32))
            at = net.put("BatchNormalization", at, scale, net.weight(channels), net.weight(channels, scale=0.1), variance)
        elif step == "clip":
            at = net.put("Clip", at, net.store(np.float32(-0.5)), net.store(np.float32(1.5)))
        elif step == "scale":
            at = net.put("Mul", at, net.weight(1, channels, 1, 1, scale=0.3, shift=1.0))
        elif step == "turn":
            at = net.put("Transpose", net.put("Transpose", at, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
        elif step == "pool":
            at = net.put("MaxPool", at, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        elif step in ("Add", "Concat"):
            others = [name for name, width in made if step == "Concat" or width == channels]
            other = draw(st.sampled_from(others)) if others else at
            at = net.put("Add", at, other) if step == "Add" else net.put("Concat", at, other, axis=1)
            channels += dict(made)[other] if step == "Concat" else 0
        else:
            at = net.put(step, at)
        made.append((at, channels))
    outputs = [at] if draw(st.integers(0, 4)) == 0 and at != "x" else []
    at = net.put("Flatten", net.put("GlobalAveragePool", at))
    product = draw(st.sampled_from(["Gemm", "MatMul"]))
    if product == "Gemm":
        at = net.put("Gemm", at, net.weight(5, channels), net.weight(5), transB=1)
    else:
        at = net.put("Add", net.put("MatMul", at, net.weight(channels, 5)), net.weight(5))
    return net.model({"x": ["n", 3, SIDE, SIDE]}, [at, *outputs])


def _conv(net: Net, at: str, channels: int, width: int) -> str:
    return net.put("Conv", at, net.weight(width, channels, 3, 3), net.weight(width), kernel_shape=[3, 3], pads=[1, 1, 1, 1])


_STEPS = (
    "conv", "conv", "depthwise", "norm", "clip", "scale", "turn", "pool", "Add", "Concat",
    "Relu", "Relu", "LeakyRelu", "Sigmoid", "Softplus", "Tanh", "Identity",
)  # fmt: skip


def samples(count: int = 16, shape: Sequence[int] = (3, SIDE, SIDE), seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def decided(precision: str | None = "int8", layers: Sequence[str] = (), pattern: str = "*", **said: Any) -> Recipe:
    """The recipe that says one thing of the named ``layers``, or of all that the pattern matches."""
    decisions = [Decision(layer=layer, precision=precision, **said) for layer in layers] or [
        Decision(pattern=pattern, precision=precision, **said)
    ]
    return Recipe(tuple(decisions))


def made_of(model: Any, recipe: Recipe, folder: Path, worker: Any, data: Any = None, **options: Any) -> tuple[Any, Built]:
    """The model as `apply` changes it, and all that it says of that."""
    path = folder / "net.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    built = apply(load_model(path), recipe, data=data, worker=worker, **options)
    return onnx.load_from_string(built.model), built


def text_model(body: str, opset: int = 17, **weights: np.ndarray) -> Any:
    """The model that onnx's text format says, ``weights`` stored in it; its nodes are called after what they make: ``y`` makes ``/y``."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> g {body}')
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in weights.items())
    for node in model.graph.node:
        node.name = f"/{node.output[0]}"
    return model


__all__ = ["SIDE", "Net", "Quantization", "decided", "made_of", "nets", "samples", "text_model"]
