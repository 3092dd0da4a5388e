"""What `recipes.kernels` says of operators is what the installed ONNX Runtime makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprof.recipes.kernels import ACTIVATIONS, COMPUTING, PASSING

CASES: dict[str, tuple[int, dict[str, Any], list[Any]]] = {  # how many tensors, attributes, further constants
    "Add": (2, {}, []),
    "Mul": (2, {}, []),
    "Concat": (2, {"axis": 1}, []),
    "Conv": (1, {}, ["weight"]),
    "LeakyRelu": (1, {}, []),
    "Sigmoid": (1, {}, []),
    "Softmax": (1, {}, []),
    "AveragePool": (1, {"kernel_shape": [2, 2]}, []),
    "GlobalAveragePool": (1, {}, []),
    "MaxPool": (1, {"kernel_shape": [2, 2]}, []),
    "Reshape": (1, {}, [[2, -1]]),
    "Transpose": (1, {"perm": [0, 2, 3, 1]}, []),
    "Squeeze": (1, {}, [[0]]),
    "Unsqueeze": (1, {}, [[0]]),
    "Flatten": (1, {}, []),
    "Resize": (1, {}, [None, np.array([1, 1, 2, 2], np.float32)]),
    "Slice": (1, {}, [[0], [1], [1]]),
    "Split": (1, {"axis": 1}, [[4]]),
    "Gather": (1, {}, [[0]]),
    "GatherElements": (1, {}, [np.zeros((1, 4, 6, 6), np.int64)]),
    "Relu": (1, {}, []),
    "Clip": (1, {}, [np.float32(0), np.float32(6)]),
    "Where": (2, {}, []),
    "Gemm": (1, {}, ["weight"]),
    "MatMul": (1, {}, ["weight"]),
}


def quantized(op: str, zero_point: np.ndarray) -> list[str]:
    """The op types that the runtime makes of a layer with 8-bit tensors all around."""
    tensors, attributes, further = CASES[op]
    shape = [3, 4] if op in ("Gemm", "MatMul") else [1, 4, 6, 6]
    stored = [numpy_helper.from_array(np.float32(0.02), "s"), numpy_helper.from_array(zero_point, "z")]
    nodes, inputs = [], []
    for number in range(tensors):
        nodes += [
            helper.make_node("QuantizeLinear", [f"x{number}", "s", "z"], [f"q{number}"]),
            helper.make_node("DequantizeLinear", [f"q{number}", "s", "z"], [f"d{number}"]),
        ]
        inputs.append(f"d{number}")
    for number, value in enumerate(further):
        if isinstance(value, str):
            weight = np.random.default_rng(0).integers(-127, 127, (4, 4, 3, 3) if op == "Conv" else (4, 4)).astype(np.int8)
            scales = [numpy_helper.from_array(np.full(4, 0.01, np.float32), "ws"), numpy_helper.from_array(np.zeros(4, np.int8), "wz")]
            stored += [numpy_helper.from_array(weight, "w"), *scales]
            nodes.append(helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0 if op == "Conv" else 1))
            inputs.append("wd")
        elif value is None:
            inputs.append("")
        else:
            stored.append(numpy_helper.from_array(np.asarray(value), f"c{number}"))
            inputs.append(f"c{number}")
    if op == "Where":
        stored.append(numpy_helper.from_array(np.random.default_rng(0).random(shape) > 0.5, "condition"))
        inputs.insert(0, "condition")
    nodes += [
        helper.make_node(op, inputs, ["y"], **attributes),
        helper.make_node("QuantizeLinear", ["y", "s", "z"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "s", "z"], ["yd"]),
    ]
    entries = [helper.make_tensor_value_info(f"x{number}", TensorProto.FLOAT, shape) for number in range(tensors)]
    graph = helper.make_graph(nodes, "g", entries, [helper.make_tensor_value_info("yd", TensorProto.FLOAT, None)], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return _optimized(model)


def _optimized(model: Any) -> list[str]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(Path(folder, "optimized.onnx"))
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]


@pytest.mark.parametrize("zero_point", [np.uint8(0), np.int8(-128)], ids=["uint8", "int8"])
@pytest.mark.parametrize("op", sorted(COMPUTING | PASSING | ACTIVATIONS))
def test_the_runtime_computes_it_in_8_bits(op: str, zero_point: np.ndarray) -> None:
    runs = quantized(op, zero_point)
    inner = [kind for kind in runs if kind not in ("QuantizeLinear", "DequantizeLinear", "Transpose")]
    if op in COMPUTING:
        assert inner == [f"Q{op}" if op == "Gemm" else f"QLinear{op}"]
    else:
        assert inner == [kind for kind in [op] if kind not in (*ACTIVATIONS, "Transpose")]
    around = CASES[op][0] + 1  # one QuantizeLinear for each tensor that comes, one DequantizeLinear for the one that goes
    assert len([kind for kind in runs if kind in ("QuantizeLinear", "DequantizeLinear")]) == around
