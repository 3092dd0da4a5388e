"""int8-weights and int4-weights: weights alone are narrow, the layer computes in float.

1. MatMul, and a Gemm that is one with a bias, become MatMulNBits, ONNX Runtime's own operator: each `BLOCK` weights of a column share a
   scale.
2. Other Gemms, MatMuls with a constant that is no matrix, Conv and ConvTranspose read their weight through DequantizeLinear, with a scale
   for each output channel.

Scales are symmetric, and chosen for the smallest squared error of the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeprof.recipes.base import Change, Work, refuse_or_report
from edgeprof.recipes.wiring import Array, Wiring, attribute, copied, import_opset, opset_of, weight_index

BLOCK = 32
"""Weights that share a scale in MatMulNBits: a power of two from 16 on."""
_BITS = {"int8-weights": 8, "int4-weights": 4}
_RATIOS = {8: (1.0,), 4: (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)}
_MICROSOFT = "com.microsoft"
_OPSET_OF_BITS = {8: 13, 4: 21}  # from which on onnx's DequantizeLinear has scales for each channel, and 4 bits


def weights_only(work: Work) -> Work:
    """The work with the weights of the layers narrowed that are to be."""
    asked = {layer: choice.precision for layer, choice in work.choices.items() if choice.precision in _BITS}
    if not asked:
        return work
    model = copied(work.model)
    wiring, changes, dequantized, products = Wiring(model), [], 0, 0
    nodes = {node.name: node for node in model.graph.node}
    for layer, precision in asked.items():
        node = nodes.get(layer)
        reason = "it is not there any more" if node is None else _narrow(wiring, node, _BITS[precision])
        if reason:
            changes.append(refuse_or_report(work, layer, "precision", precision, reason))
            continue
        changes.append(Change(layer, "precision", precision, precision))
        products += nodes[layer].op_type == "MatMulNBits"
        dequantized += nodes[layer].op_type != "MatMulNBits"
    wiring.sweep(keep=lambda node: node.name in work.choices and node.op_type != "Constant")
    notes = []
    if products:
        notes.append(f"{_layers(products)} with narrow weights became MatMulNBits, an operator of ONNX Runtime, and computes in float.")
    if dequantized:
        notes.append(
            f"{_layers(dequantized)} with narrow weights computes in float and widens the weights at each run: "
            "a smaller file, not faster unless measured."
        )
    return work.then(model, changes, notes)


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"Each of {count} layers"


def _narrow(wiring: Wiring, node: Any, bits: int) -> str:
    """Narrows the weight of ``node``; why that cannot be, as a clause, when it cannot."""
    index = weight_index(node, wiring)
    if index is None:
        layers = ("Conv", "ConvTranspose", "Gemm", "MatMul")
        return "it has no constant weight" if node.op_type in layers else f"{node.op_type} has no weight that ONNX Runtime takes narrow"
    weight = wiring.constant(node.input[index])
    assert weight is not None  # noqa: S101 - weight_index says so
    if weight.dtype != np.float32:
        return f"its weight is {weight.dtype}, not float32"
    if not np.isfinite(weight).all():
        return "its weight has values that are not finite"
    if weight.ndim < 2 or not weight.size:
        return "its weight is no matrix"
    columns = _product_columns(wiring, node, index, weight)
    if columns is not None:
        _as_product(wiring, node, columns, bits)
    else:
        _as_dequantized(wiring, node, index, weight, bits)
    return ""


def _product_columns(wiring: Wiring, node: Any, index: int, weight: Array) -> Array | None:
    """(N, K) weights of a node that is A x B, B a constant matrix, and perhaps a bias of N; None when it is not."""
    if index != 1 or weight.ndim != 2:
        return None
    if node.op_type == "MatMul":
        return weight.T
    if node.op_type != "Gemm" or attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1 or attribute(node, "beta", 1.0) != 1:
        return None
    columns = weight if attribute(node, "transB", 0) else weight.T
    bias = wiring.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(len(columns), np.float32)
    return columns if bias is not None and bias.shape == (len(columns),) else None


def _as_product(wiring: Wiring, node: Any, columns: Array, bits: int) -> None:
    """Case 1. ``columns``: (N, K)."""
    import onnx

    n, k = columns.shape
    blocks = -(-k // BLOCK)
    padded = np.zeros((n, blocks * BLOCK), np.float32)
    padded[:, :k] = columns
    whole, scales = narrowed(padded.reshape(n, blocks, BLOCK), bits)
    packed: Array = (whole.astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)
    if bits == 4:
        packed = packed[..., 0::2] | (packed[..., 1::2] << 4)
    name, bias = node.input[1], node.input[2] if len(node.input) > 2 else ""
    inputs = [node.input[0], wiring.store(packed, f"{name}_int{bits}"), wiring.store(scales[..., 0], f"{name}_scales")]
    inputs += ["", "", bias] if bias else []
    made = onnx.helper.make_node(
        "MatMulNBits", inputs, [*node.output], name=node.name, domain=_MICROSOFT, K=k, N=n, bits=bits, block_size=BLOCK
    )
    node.CopyFrom(made)
    import_opset(wiring.model, _MICROSOFT)


def _as_dequantized(wiring: Wiring, node: Any, index: int, weight: Array, bits: int) -> None:
    """Case 2."""
    import onnx

    axis = _channel_axis(node, index, weight)
    moved = np.moveaxis(weight, axis, 0)
    whole, scales = narrowed(moved.reshape(len(moved), -1), bits)
    values = np.moveaxis(whole.reshape(moved.shape), 0, axis)
    name = node.input[index]
    stored = wiring.store(values if bits == 8 else values.astype(_int4()), f"{name}_int{bits}")
    output = wiring.fresh(f"{name}_widened")
    domain = "" if opset_of(wiring.model) >= _OPSET_OF_BITS[bits] else _MICROSOFT
    inputs = [stored, wiring.store(scales[:, 0], f"{name}_scales")]
    wiring.insert(node, onnx.helper.make_node("DequantizeLinear", inputs, [output], name=f"{node.name}/weight", domain=domain, axis=axis))
    wiring.graph.value_info.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, weight.shape))
    node.input[index] = output
    if domain:
        import_opset(wiring.model, domain)
    if bits == 4:
        wiring.model.ir_version = max(wiring.model.ir_version, 10)  # the first with 4 bits


def narrowed(values: Array, bits: int) -> tuple[Array, Array]:
    """int8 (..., n) and float32 scales (..., 1) of which the products are nearest to ``values`` (..., n), each last axis by itself.

    Nearest in squared error, of scales that take the largest value as it is and of those, for 4 bits, that cut it off a little.
    """
    least, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    high, low = values.max(axis=-1, keepdims=True), values.min(axis=-1, keepdims=True)
    largest = np.maximum(np.abs(high), np.abs(low))
    tightest = np.where(-low > high, low / least, largest / most)  # there is one more number below zero than above
    best = scales = None
    for start in (largest / most, tightest):
        for ratio in _RATIOS[bits]:
            tried = np.where(largest > 0, start * ratio, 1.0).astype(np.float32)
            tried = np.where(tried == 0, np.float32(1.0), tried)  # of numbers that are too small for a scale
            error = np.square(np.clip(np.rint(values / tried), least, most) * tried - values).sum(axis=-1, keepdims=True)
            better = np.ones_like(error, bool) if best is None else error < best
            best = error if best is None else np.where(better, error, best)
            scales = tried if scales is None else np.where(better, tried, scales)
    assert scales is not None  # noqa: S101 - there are ratios
    return np.clip(np.rint(values / scales), least, most).astype(np.int8), scales


def _channel_axis(node: Any, index: int, weight: Array) -> int:
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    if node.op_type == "MatMul":
        return weight.ndim - 1 if index == 1 else weight.ndim - 2
    return 1 if node.op_type == "ConvTranspose" else 0


def _int4() -> Any:
    import ml_dtypes

    return ml_dtypes.int4
