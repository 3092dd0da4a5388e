"""What op types say of layers: which are of one kind, which only move data, what a layer can hold beside its own node."""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgeprof.models.graph import Layer

LAYOUT = frozenset({"ReorderInput", "ReorderOutput", "MemcpyToHost", "MemcpyFromHost"})
RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})
MOVEMENT = RESHAPES | LAYOUT | {"Cast", "Identity", "Expand", "Dropout"}
ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Sum"})
PASSING = MOVEMENT | {"QuantizeLinear", "DequantizeLinear"}
INSERTABLE = RESHAPES | LAYOUT | {"Cast", "Identity", "QuantizeLinear", "DequantizeLinear"}

GATED: Mapping[str, str] = {"Gelu": "Erf", "BiasGelu": "Erf", "FastGelu": "Tanh", "QuickGelu": "Sigmoid"}
"""Fusions of ``x * gate(x)`` and the type that they are built around."""

_WRAPPED_OP = re.compile(r"^(?:Nhwc)?(?:Fused|QLinear|DynamicQuantize|Q(?=[A-Z]))?(?P<op>.+?)(?:ToFloat)?$")
_OTHER_CORES: Mapping[str, frozenset[str]] = {
    "Gemm": frozenset({"MatMul"}),
    "MatMul": frozenset({"MatMulInteger"}),
    "Conv": frozenset({"ConvInteger"}),
    "Upsample": frozenset({"Resize"}),
    "Resize": frozenset({"Upsample"}),
}

ABSORBS: Mapping[str, frozenset[str]] = {
    "Conv": frozenset({"Pad", "BatchNormalization"}) | ARITHMETIC,
    "ConvTranspose": frozenset({"Pad", "BatchNormalization"}) | ARITHMETIC,
    "Gemm": frozenset({"MatMul", "BatchNormalization", "Transpose"}) | ARITHMETIC,
    "MatMul": frozenset({"BatchNormalization"}) | ARITHMETIC,
    "BatchNormalization": ARITHMETIC,
    "LayerNormalization": ARITHMETIC,
    "MaxPool": frozenset({"Pad"}),
    "AveragePool": frozenset({"Pad"}),
    "Clip": frozenset({"Relu", "Clip"}),
    "QuantizeLinear": frozenset({"Relu", "Clip"}),
    "Where": frozenset({"Not"}),
    "Sum": frozenset({"Add"}),
    "Transpose": RESHAPES,
    "Reshape": RESHAPES | {"Expand"},
    "Cast": frozenset({"Cast"}),
    "Slice": frozenset({"Slice"}),
    "Concat": frozenset({"Concat"}),
    "Pad": frozenset({"Pad"}),
}
"""What a plain layer can hold in its weights or attributes beside a node of its own type (case 8)."""

NO_EFFECT = MOVEMENT | ARITHMETIC | {"Slice", "Pad", "Concat", "Relu", "Clip", "QuantizeLinear", "DequantizeLinear"}
"""Types that may have no effect at all: a Cast to the same type, a product with one, a second Relu."""

_HOLDS_MOVEMENT = re.compile(
    "MatMul|Gemm|Attention|Norm|Embed|Rotary|Quantize|Split|Concat|Slice|Gather|Space|" + "|".join(sorted(MOVEMENT))
)
"""Types that may hold a Transpose, Reshape or Cast beside what they compute."""

_BY_WEIGHTS = frozenset({"Conv", "ConvTranspose", "BatchNormalization"})
"""Types whose weights can take in arithmetic that follows, but none that comes before."""


def core_types(layer: Layer) -> frozenset[str]:
    """Original op types that a layer of this type is built around: ``QLinearConv`` and ``FusedConv`` are Convs."""
    match = _WRAPPED_OP.match(layer.op_type)
    base = match["op"] if match else layer.op_type
    return frozenset({layer.op_type, base}) | _OTHER_CORES.get(base, frozenset())


def is_plain(layer: Layer) -> bool:
    """True for ONNX's own operators, which do what their type says and no more."""
    return layer.domain in ("", "ai.onnx")


def is_kin(executed: Layer, original: Layer) -> bool:
    """True when the executed layer's type can be built around the original's."""
    if executed.op_type in RESHAPES and original.op_type in RESHAPES:
        return True
    return original.op_type in core_types(executed)


def holds_movement(layer: Layer) -> bool:
    """True when a layer of this type may hold a Transpose, Reshape or Cast beside what it computes."""
    return _HOLDS_MOVEMENT.search(layer.op_type) is not None


def takes_before(layer: Layer, node: Layer) -> bool:
    """False for arithmetic that a layer like a Conv cannot have taken in, because the node comes before its own."""
    return node.op_type not in ARITHMETIC or not core_types(layer) & _BY_WEIGHTS
