"""Multiply-accumulates by operator: one formula an operator, from the definition in its specification.

Standard operators: https://onnx.ai/onnx/operators; ONNX Runtime's own (``com.microsoft`` and the like):
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md. A formula gets a layer and its graph, reads sizes of
tensors only, and returns NaN when a size that it needs is not known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from edgeprof.models.einsum import einsum_macs
from edgeprof.models.graph import Graph, Layer
from edgeprof.models.operators import MICROSOFT, NCHWC, NHWC, ONNX, ONNX_ML, ONNX_PREVIEW

Sizes = tuple[float, ...]
Formula = Callable[[Layer, Graph], float]


class _Unknown(Exception):
    """A size that the formula needs is not known."""


def _formula(function: Callable[..., float], **places: int) -> Formula:
    """``function`` with the places of its operands bound; NaN where a size is not known."""

    def count(layer: Layer, graph: Graph) -> float:
        try:
            return float(function(layer, graph, **places))
        except (_Unknown, IndexError, ZeroDivisionError, OverflowError, ValueError):  # or shapes that no such operator can have
            return math.nan

    return count


def _shape(layer: Layer, graph: Graph, place: int) -> Sizes:
    """Sizes of an input by its place, an unknown axis as NaN."""
    shape = _optional(layer, graph, place)
    if shape is None:
        raise _Unknown
    return shape


def _optional(layer: Layer, graph: Graph, place: int) -> Sizes | None:
    name = layer.inputs[place] if place < len(layer.inputs) else ""
    return _sizes(graph, name) if name else None


def _output(layer: Layer, graph: Graph, place: int = 0) -> Sizes:
    name = layer.outputs[place] if place < len(layer.outputs) else ""
    shape = _sizes(graph, name) if name else None
    if shape is None:
        raise _Unknown
    return shape


def _sizes(graph: Graph, name: str) -> Sizes | None:
    shape = graph.tensor(name).shape
    return None if shape is None else tuple(float(dim) if isinstance(dim, int) else math.nan for dim in shape)


def _axis(shape: Sizes, axis: int) -> float:
    if not -len(shape) <= axis < len(shape):
        raise _Unknown
    return shape[axis]


def _integer(layer: Layer, name: str, default: int | None = None) -> int:
    value = layer.attributes.get(name, default)
    if not isinstance(value, int):
        raise _Unknown
    return value


# Convolutions


def convolution(layer: Layer, graph: Graph, *, w: int = 1) -> float:
    """Conv, ConvInteger, QLinearConv, DeformConv: every output element is a sum over ``C/group x kernel`` products.

    W is (M, C/group, k1, k2 ...), so a kernel for one output channel has ``prod(W.shape[1:])`` elements. The interpolation of
    DeformConv is not counted.
    """
    return math.prod(_output(layer, graph)) * math.prod(_shape(layer, graph, w)[1:])


def transposed_convolution(layer: Layer, graph: Graph, *, w: int = 1) -> float:
    """ConvTranspose: every input element is multiplied into ``M/group x kernel`` outputs; W is (C, M/group, k1, k2 ...).

    Products that ``pads`` crops away are counted: the definition makes them first.
    """
    return math.prod(_shape(layer, graph, 0)) * math.prod(_shape(layer, graph, w)[1:])


def causal_convolution(layer: Layer, graph: Graph) -> float:
    """CausalConvWithState: depthwise, W is (channels, 1, k): k products an element of the output."""
    return math.prod(_output(layer, graph)) * _axis(_shape(layer, graph, 1), -1)


# Matrix products


def matrix_product(layer: Layer, graph: Graph, *, a: int = 0, b: int = 1) -> float:
    """MatMul and its kin, as numpy.matmul: every output element is a sum of K products, K the last axis of A.

    Batch axes are broadcast, so the output's elements are counted from A and B alone.
    """
    left, right = _shape(layer, graph, a), _shape(layer, graph, b)
    if not left or not right:
        raise _Unknown
    rows, columns = (left[-2] if len(left) > 1 else 1.0), (right[-1] if len(right) > 1 else 1.0)
    return _broadcast(left[:-2], right[:-2]) * rows * columns * left[-1]


def _broadcast(left: Sizes, right: Sizes) -> float:
    """Elements of two batch shapes broadcast together."""
    rank = max(len(left), len(right))
    pairs = zip((1.0,) * (rank - len(left)) + left, (1.0,) * (rank - len(right)) + right, strict=True)
    return math.prod(y if x == 1 else x for x, y in pairs)


def gemm(layer: Layer, graph: Graph, *, a: int = 0, b: int = 1) -> float:
    """Gemm: M x N x K of ``A' * B'``; adding C and scaling by alpha and beta are elementwise."""
    left, right = _shape(layer, graph, a), _shape(layer, graph, b)
    n = _axis(right, 0 if _integer(layer, "transB", 0) else 1)
    return math.prod(left) * n


def fused_matrix_product(layer: Layer, graph: Graph) -> float:
    """FusedMatMul: MatMul whose operands may be transposed; K is A's last axis, or with transA its last but one."""
    if _integer(layer, "transBatchA", 0) and _integer(layer, "transA", 0):
        raise _Unknown  # which axis is K is not said plainly
    k = _axis(_shape(layer, graph, 0), -2 if _integer(layer, "transA", 0) else -1)
    return math.prod(_output(layer, graph)) * k


def quantized_weights_product(layer: Layer, graph: Graph, *, columns: tuple[str, ...] = ("N",)) -> float:
    """MatMulNBits and its kin: B is packed, N and K are attributes; rows are A's elements over K."""
    k = _integer(layer, "K")
    rows = math.prod(_shape(layer, graph, 0)[:-1])
    return rows * k * sum(_integer(layer, name) for name in columns)


def linear_model(layer: Layer, graph: Graph) -> float:
    """ai.onnx.ml LinearClassifier, LinearRegressor: each row of X times the coefficients, (targets or classes) x features."""
    coefficients = layer.attributes.get("coefficients")
    if not isinstance(coefficients, tuple):
        raise _Unknown
    x = _shape(layer, graph, 0)
    return (x[0] if len(x) > 1 else 1.0) * len(coefficients)


def einsum(layer: Layer, graph: Graph) -> float:
    """Einsum: operands contracted pairwise from left to right; see `einsum_macs`."""
    equation = layer.attributes.get("equation")
    if not isinstance(equation, str):
        raise _Unknown
    return einsum_macs(equation, [_shape(layer, graph, place) for place in range(len(layer.inputs))])


def affine_grid(layer: Layer, graph: Graph) -> float:
    """AffineGrid: theta (N, d, d+1) times every position of the base grid, (N, ..., d): d+1 products an element of the output."""
    return math.prod(_output(layer, graph)) * _axis(_shape(layer, graph, 0), -1)


# Recurrent cells


def recurrent(layer: Layer, graph: Graph) -> float:
    """RNN, GRU, LSTM: at each step of each sequence the input meets W and the state meets R, in each direction.

    W is (directions, gates*hidden, input), R is (directions, gates*hidden, hidden). Gates and peepholes are elementwise.
    """
    x = _shape(layer, graph, 0)
    return _axis(x, 0) * _axis(x, 1) * (math.prod(_shape(layer, graph, 1)) + math.prod(_shape(layer, graph, 2)))


# Attention. Masked positions count: the definition computes them, and so do dense kernels.


def attention(layer: Layer, graph: Graph) -> float:
    """Attention (opset 23), FlexAttention: Q K^T and its product with V; K and V grow by the past.

    Q is (batch, heads, queries, size), or (batch, queries, heads*size) with the heads as attributes.
    """
    q, k, v = (_shape(layer, graph, place) for place in range(3))
    if len(q) == 4:
        heads, queries, keys = q[1], q[2], k[2]
        size, value_size = q[3], v[3]
    else:
        heads, kv_heads = _integer(layer, "q_num_heads"), _integer(layer, "kv_num_heads")
        queries, keys = q[1], k[1]
        size, value_size = q[2] / heads, v[2] / kv_heads
    past = _optional(layer, graph, 4)
    if past is not None:
        keys += _axis(past, 2)
    return q[0] * heads * queries * keys * (size + value_size)


def linear_attention(layer: Layer, graph: Graph) -> float:
    """LinearAttention in its recurrent form: for each token a d_k x d_v outer product is added to each state, and each query reads one.

    The delta rules also read the state at the key. Decay is elementwise.
    """
    q, k, v = (_shape(layer, graph, place) for place in range(3))
    heads, kv_heads = _integer(layer, "q_num_heads"), _integer(layer, "kv_num_heads")
    state = (k[2] / kv_heads) * (v[2] / kv_heads)
    rule = layer.attributes.get("update_rule", "gated_delta")
    writes = 2 if rule in ("delta", "gated_delta") else 1
    return q[0] * q[1] * state * (writes * kv_heads + heads)


def packed_attention(layer: Layer, graph: Graph, *, past: int) -> float:
    """com.microsoft Attention, QAttention: the projection to Q, K and V, then attention.

    input is (batch, tokens, in), weights (in, q + k + v); past is (2, batch, heads, past tokens, size).
    """
    x, weights = _shape(layer, graph, 0), _shape(layer, graph, 1)
    parts = layer.attributes.get("qkv_hidden_sizes")
    q_size, v_size = (float(parts[0]), float(parts[2])) if isinstance(parts, tuple) and len(parts) == 3 else (weights[1] / 3,) * 2
    before = _optional(layer, graph, past)
    keys = x[1] + (_axis(before, 3) if before is not None else 0.0)
    return x[0] * x[1] * x[2] * weights[1] + x[0] * x[1] * keys * (q_size + v_size)


def multi_head_attention(layer: Layer, graph: Graph, *, past: int) -> float:
    """com.microsoft MultiHeadAttention: Q K^T and its product with V.

    query is (batch, tokens, hidden), or (batch, tokens, heads, 3, size) with K and V in it; key is (batch, keys, hidden),
    (batch, keys, heads, 2, size) with V in it, or (batch, heads, keys, size).
    """
    query, key, value = _shape(layer, graph, 0), _optional(layer, graph, 1), _optional(layer, graph, 2)
    if len(query) == 5:
        batch, tokens, heads, _, size = query
        hidden = value_hidden = heads * size
        keys = tokens
    elif key is None or len(query) != 3:
        raise _Unknown
    else:
        batch, tokens, hidden = query
        keys = key[2] if len(key) == 4 else key[1]
        value_hidden = hidden if value is None else (value[1] * value[3] if len(value) == 4 else value[2])
    before = _optional(layer, graph, past)
    if before is not None:
        keys += _axis(before, 2)
    return batch * tokens * keys * (hidden + value_hidden)


def group_query_attention(layer: Layer, graph: Graph) -> float:
    """com.microsoft GroupQueryAttention: as attention over all keys that ``present_key`` (batch, kv heads, keys, size) has room for."""
    query, key = _shape(layer, graph, 0), _optional(layer, graph, 1)
    heads, kv_heads = _integer(layer, "num_heads"), _integer(layer, "kv_num_heads")
    hidden = query[2] if key is not None else query[2] * heads / (heads + 2 * kv_heads)
    past = _optional(layer, graph, 3)
    try:
        keys = _axis(_output(layer, graph, 1), 2)
    except _Unknown:
        keys = query[1] + (_axis(past, 2) if past is not None else 0.0)
    return query[0] * query[1] * keys * 2 * hidden


def mixture_of_experts(layer: Layer, graph: Graph) -> float:
    """com.microsoft MoE: every token passes k experts; weights are (experts, out, in)."""
    tokens = math.prod(_shape(layer, graph, 0)[:-1])
    stacks = [shape for place in (2, 4, 6) if (shape := _optional(layer, graph, place)) is not None]
    return tokens * _integer(layer, "k", 1) * sum(math.prod(shape[1:]) for shape in stacks)


_conv = partial(_formula, convolution)
_product = partial(_formula, matrix_product)

FORMULAS: Mapping[tuple[str, str], Formula] = {
    (ONNX, "Conv"): _conv(),
    (ONNX, "ConvInteger"): _conv(),
    (ONNX, "QLinearConv"): _conv(w=3),
    (ONNX, "DeformConv"): _conv(),
    (ONNX, "ConvTranspose"): _formula(transposed_convolution),
    (ONNX, "CausalConvWithState"): _formula(causal_convolution),
    (ONNX, "MatMul"): _product(),
    (ONNX, "MatMulInteger"): _product(),
    (ONNX, "QLinearMatMul"): _product(b=3),
    (ONNX, "Gemm"): _formula(gemm),
    (ONNX, "Einsum"): _formula(einsum),
    (ONNX, "AffineGrid"): _formula(affine_grid),
    (ONNX, "RNN"): _formula(recurrent),
    (ONNX, "GRU"): _formula(recurrent),
    (ONNX, "LSTM"): _formula(recurrent),
    (ONNX, "Attention"): _formula(attention),
    (ONNX, "LinearAttention"): _formula(linear_attention),
    (ONNX_PREVIEW, "FlexAttention"): _formula(attention),
    (ONNX_ML, "LinearClassifier"): _formula(linear_model),
    (ONNX_ML, "LinearRegressor"): _formula(linear_model),
    (MICROSOFT, "FusedConv"): _conv(),
    (MICROSOFT, "NhwcConv"): _conv(),
    (MICROSOFT, "NhwcFusedConv"): _conv(),
    (MICROSOFT, "QLinearConv"): _conv(w=3),
    (MICROSOFT, "ConvTransposeWithDynamicPads"): _formula(transposed_convolution),
    (MICROSOFT, "FusedMatMul"): _formula(fused_matrix_product),
    (MICROSOFT, "FusedMatMulActivation"): _formula(fused_matrix_product),
    (MICROSOFT, "TransposeMatMul"): _formula(fused_matrix_product),
    (MICROSOFT, "MatMulInteger16"): _product(),
    (MICROSOFT, "MatMulIntegerToFloat"): _product(),
    (MICROSOFT, "DynamicQuantizeMatMul"): _product(),
    (MICROSOFT, "QOrderedMatMul"): _product(b=2),
    (MICROSOFT, "GemmFastGelu"): _product(),
    (MICROSOFT, "FusedGemm"): _formula(gemm),
    (MICROSOFT, "GemmFloat8"): _formula(gemm),
    (MICROSOFT, "QGemm"): _formula(gemm, b=3),
    (MICROSOFT, "MatMulNBits"): _formula(quantized_weights_product),
    (MICROSOFT, "MatMulBnb4"): _formula(quantized_weights_product),
    (MICROSOFT, "MatMulNBitsMlp"): _formula(partial(quantized_weights_product, columns=("N", "N"))),
    (MICROSOFT, "MatMulNBitsQkv"): _formula(partial(quantized_weights_product, columns=("Nq", "Nkv", "Nkv"))),
    (MICROSOFT, "DynamicQuantizeLSTM"): _formula(recurrent),
    (MICROSOFT, "Attention"): _formula(packed_attention, past=4),
    (MICROSOFT, "QAttention"): _formula(packed_attention, past=8),
    (MICROSOFT, "MultiHeadAttention"): _formula(multi_head_attention, past=6),
    (MICROSOFT, "DecoderMaskedMultiHeadAttention"): _formula(multi_head_attention, past=5),
    (MICROSOFT, "GroupQueryAttention"): _formula(group_query_attention),
    (MICROSOFT, "MoE"): _formula(mixture_of_experts),
    (NCHWC, "Conv"): _conv(),
    (NHWC, "Conv"): _conv(),
    (NHWC, "QLinearConv"): _conv(w=3),
    (NHWC, "ConvTranspose"): _formula(transposed_convolution),
    (NHWC, "QLinearConvTranspose"): _formula(transposed_convolution, w=3),
}
"""(domain, operator) -> formula."""
