"""Which operators ONNX Runtime computes in 8 bits on a processor, and what of a node must be 8-bit for that.

`tests/recipes/test_kernels.py` holds this against the runtime itself: it looks at what it makes of each.
"""

from __future__ import annotations

from typing import Any

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
    if op == "Gemm" and _bias_is_odd(node, wiring):
        return "its bias is not one value for each column"
    return ""


def _bias_is_odd(node: Any, wiring: Wiring) -> bool:
    if len(node.input) < 3 or not node.input[2]:
        return False
    bias, weight = wiring.constant(node.input[2]), wiring.constant(node.input[1])
    columns = _columns(weight, bool(attribute(node, "transB", 0)))
    return bias is None or bias.ndim != 1 or len(bias) != columns


def _columns(weight: Array | None, transposed: bool) -> int:
    return 0 if weight is None or weight.ndim != 2 else int(weight.shape[0 if transposed else 1])
