"""Which operators ONNX Runtime computes in 8 bits on a processor, and what of a node must be 8-bit for that.

`tests/recipes/test_kernels.py` holds this against the runtime itself: it looks at what it makes of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeprof.recipes.wiring import Array, Wiring, attribute

COMPUTING = frozenset(
    ("Conv", "Gemm", "MatMul", "Add", "Mul", "LeakyRelu", "Sigmoid", "Softmax", "AveragePool", "GlobalAveragePool", "Concat", "Where")
)
"""With an 8-bit kernel of their own."""
PASSING = frozenset(
    ("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Resize", "Slice", "Split", "Gather", "GatherElements")
)
"""They pass 8-bit values on as they are; quantized only where what they read is."""
ACTIVATIONS = frozenset(("Relu", "Clip"))
"""They become part of the layer before: its output is rounded to what they let through."""

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QGemm", "QAttention")


def is_quantized(op_type: str) -> bool:
    """Whether a model with such a node is quantized already."""
    return op_type.startswith("QLinear") or op_type in _QUANTIZED


def data_inputs(node: Any) -> list[str]:
    """What a node reads as data: not the sizes, bounds or positions that some take besides."""
    if node.op_type == "Where":
        return [name for name in node.input[1:3] if name]
    return [name for name in (node.input[:1] if node.op_type in PASSING | ACTIVATIONS else node.input) if name]


def lacks_kernel(node: Any, wiring: Wiring, opset: int) -> str:
    """Why ONNX Runtime does not compute this node in 8 bits, as a clause; empty when it does."""
    op = node.op_type
    if node.domain not in ("", "ai.onnx") or op not in COMPUTING | PASSING | ACTIVATIONS:
        return f"ONNX Runtime has no 8-bit kernel for {op}"
    if op == "MaxPool" and (opset < 12 or len([name for name in node.output if name]) > 1):
        return "ONNX Runtime's 8-bit MaxPool needs operator set 12 and gives no positions"
    if op == "Resize" and attribute(node, "mode", "nearest") != "nearest":
        return f"ONNX Runtime has no 8-bit kernel for Resize in mode {attribute(node, 'mode')}"
    if op in ("Conv", "Gemm") and wiring.constant(node.input[1]) is None:
        return "its weight is not constant"
    if op in ("Conv", "Gemm") and len(node.input) > 2 and node.input[2] and wiring.constant(node.input[2]) is None:
        return "its bias is not constant"
    if op == "Gemm" and len(node.input) > 2 and node.input[2] and bias_row(node, wiring) is None:
        return "its bias is not one value for each column"
    return ""


def bias_row(node: Any, wiring: Wiring) -> Array | None:
    """(N,) constant bias of a Gemm with a constant weight; None when it has none, or one that differs from row to row."""
    weight = wiring.constant(node.input[1])
    bias = wiring.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if bias is None or weight is None or (bias.ndim == 2 and len(bias) != 1):
        return None
    columns = weight.shape[0 if attribute(node, "transB", 0) else 1]
    return np.broadcast_to(bias.reshape(-1), (columns,)) if bias.size in (1, columns) else None
