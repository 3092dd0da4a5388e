"""Costs of hand-made layers, each number written out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.models.cost import graph_costs, group_cost, layer_cost, total_cost, uncounted
from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.models.operators import MICROSOFT, NCHWC


def graph_of(*layers, tensors, stored=(), outputs=()):
    infos = {}
    for name, described in tensors.items():
        shape, dtype = (
            described if isinstance(described, tuple) and described and isinstance(described[-1], str) else (described, "float32")
        )
        infos[name] = TensorInfo(name, dtype, tuple(shape) if shape is not None else None)
    return Graph("g", tuple(layers), (), tuple(infos[name] for name in outputs), infos, frozenset(stored))


def macs(op_type, inputs, outputs=(), *, domain="", **attributes):
    """MACs of one layer from the shapes of its inputs and outputs, None for an absent one."""
    tensors = {f"i{n}": shape for n, shape in enumerate(inputs) if shape is not None}
    tensors |= {f"o{n}": shape for n, shape in enumerate(outputs) if shape is not None}
    names = tuple(f"i{n}" if shape is not None else "" for n, shape in enumerate(inputs))
    made = tuple(f"o{n}" if shape is not None else "" for n, shape in enumerate(outputs))
    layer = Layer("l", op_type, names, made, domain, attributes)
    return layer_cost(layer, graph_of(layer, tensors=tensors)).macs


@pytest.mark.parametrize(
    ("op_type", "inputs", "outputs", "attributes", "expected"),
    [
        # 2 pictures, 16 output channels of 10 x 12; each element sums 3 x 5 x 5 products
        ("Conv", [(2, 3, 14, 16), (16, 3, 5, 5), (16,)], [(2, 16, 10, 12)], {}, 2 * 16 * 10 * 12 * 3 * 5 * 5),
        # depthwise: one input channel a kernel
        ("Conv", [(1, 8, 6, 6), (8, 1, 3, 3)], [(1, 8, 4, 4)], {"group": 8}, 8 * 4 * 4 * 3 * 3),
        ("Conv", [(1, 4, 10), (6, 4, 3)], [(1, 6, 8)], {}, 6 * 8 * 4 * 3),
        ("Conv", [(1, 2, 4, 4, 4), (3, 2, 2, 2, 2)], [(1, 3, 3, 3, 3)], {}, 3 * 27 * 2 * 8),
        ("ConvInteger", [(1, 3, 5, 5), (2, 3, 3, 3)], [(1, 2, 3, 3)], {}, 2 * 9 * 27),
        ("QLinearConv", [(1, 3, 5, 5), (), (), (2, 3, 3, 3), (), (), (), ()], [(1, 2, 3, 3)], {}, 2 * 9 * 27),
        ("DeformConv", [(1, 3, 5, 5), (2, 3, 3, 3), (1, 18, 3, 3)], [(1, 2, 3, 3)], {}, 2 * 9 * 27),
        # each of 4 x 7 x 7 inputs goes into 6 x 2 x 2 outputs
        ("ConvTranspose", [(1, 4, 7, 7), (4, 6, 2, 2)], [(1, 6, 14, 14)], {"strides": (2, 2)}, 4 * 49 * 6 * 4),
        ("CausalConvWithState", [(2, 8, 20), (8, 1, 4)], [(2, 8, 20), (2, 8, 3)], {}, 2 * 8 * 20 * 4),
        ("MatMul", [(5, 7), (7, 3)], [(5, 3)], {}, 5 * 7 * 3),
        ("MatMul", [(2, 1, 5, 7), (4, 7, 3)], [(2, 4, 5, 3)], {}, 2 * 4 * 5 * 7 * 3),
        ("MatMul", [(7,), (7,)], [()], {}, 7),
        ("MatMul", [(5, 7), (7,)], [(5,)], {}, 35),
        ("MatMul", [(7,), (2, 7, 3)], [(2, 3)], {}, 42),
        ("MatMulInteger", [(5, 7), (7, 3)], [(5, 3)], {}, 105),
        ("QLinearMatMul", [(5, 7), (), (), (7, 3), (), (), (), ()], [(5, 3)], {}, 105),
        ("Gemm", [(5, 7), (7, 3), (3,)], [(5, 3)], {}, 105),
        ("Gemm", [(7, 5), (3, 7)], [(5, 3)], {"transA": 1, "transB": 1}, 105),
        ("Einsum", [(2, 5, 7), (2, 7, 3)], [(2, 5, 3)], {"equation": "bij,bjk->bik"}, 210),
        ("AffineGrid", [(2, 2, 3), (4,)], [(2, 10, 12, 2)], {}, 2 * 10 * 12 * 2 * 3),
        # 10 steps, 2 sequences, input 8, hidden 16: (8 + 16) x 16 a gate
        ("RNN", [(10, 2, 8), (1, 16, 8), (1, 16, 16)], [(10, 1, 2, 16)], {}, 20 * 24 * 16),
        ("GRU", [(10, 2, 8), (1, 48, 8), (1, 48, 16)], [(10, 1, 2, 16)], {}, 20 * 24 * 48),
        ("LSTM", [(10, 2, 8), (2, 64, 8), (2, 64, 16)], [(10, 2, 2, 16)], {"direction": "bidirectional"}, 2 * 20 * 24 * 64),
        # 4 heads, 10 queries, 12 keys, heads of 8 and values of 6
        ("Attention", [(2, 4, 10, 8), (2, 4, 12, 8), (2, 4, 12, 6)], [(2, 4, 10, 6)], {}, 2 * 4 * 10 * 12 * (8 + 6)),
        ("Attention", [(2, 10, 32), (2, 12, 16), (2, 12, 16)], [(2, 10, 32)], {"q_num_heads": 4, "kv_num_heads": 2}, 2 * 4 * 10 * 12 * 16),
        ("Attention", [(1, 4, 1, 8), (1, 4, 1, 8), (1, 4, 1, 8), None, (1, 4, 99, 8), (1, 4, 99, 8)], [(1, 4, 1, 8)], {}, 4 * 100 * 16),
        # state of 8 x 6 in each of 2 heads, 10 tokens, written twice (delta) and read by 4 query heads
        ("LinearAttention", [(1, 10, 32), (1, 10, 16), (1, 10, 12)], [(1, 10, 24)],
         {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": "delta"}, 10 * 48 * (2 * 2 + 4)),
        ("LinearAttention", [(1, 10, 32), (1, 10, 16), (1, 10, 12)], [(1, 10, 24)],
         {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": "linear"}, 10 * 48 * (2 + 4)),
        ("Relu", [(5, 5)], [(5, 5)], {}, 0),
        ("AveragePool", [(1, 2, 8, 8)], [(1, 2, 4, 4)], {}, 0),
        ("LayerNormalization", [(1, 8)], [(1, 8)], {}, 0),
        ("Resize", [(1, 2, 8, 8)], [(1, 2, 16, 16)], {}, 0),
    ],
)  # fmt: skip
def test_standard_operators(op_type, inputs, outputs, attributes, expected):
    assert macs(op_type, inputs, outputs, **attributes) == expected


@pytest.mark.parametrize(
    ("op_type", "inputs", "outputs", "attributes", "expected"),
    [
        ("FusedConv", [(1, 3, 5, 5), (2, 3, 3, 3), (2,)], [(1, 2, 3, 3)], {}, 2 * 9 * 27),
        ("NhwcConv", [(1, 5, 5, 3), (2, 3, 3, 3), (2,)], [(1, 3, 3, 2)], {}, 2 * 9 * 27),
        ("QLinearConv", [(1, 5, 5, 3), (), (), (2, 3, 3, 3)], [(1, 3, 3, 2)], {}, 2 * 9 * 27),
        ("FusedMatMul", [(2, 5, 7), (2, 3, 7)], [(2, 5, 3)], {"transB": 1}, 210),
        ("FusedMatMul", [(2, 7, 5), (2, 7, 3)], [(2, 5, 3)], {"transA": 1}, 210),
        ("FusedGemm", [(5, 7), (7, 3)], [(5, 3)], {}, 105),
        ("QGemm", [(5, 7), (), (), (3, 7)], [(5, 3)], {"transB": 1}, 105),
        ("DynamicQuantizeMatMul", [(5, 7), (7, 3)], [(5, 3)], {}, 105),
        ("MatMulIntegerToFloat", [(5, 7), (7, 3)], [(5, 3)], {}, 105),
        ("QOrderedMatMul", [(5, 7), (), (7, 3)], [(5, 3)], {}, 105),
        ("MatMulNBits", [(2, 5, 64), (10, 2, 16)], [(2, 5, 10)], {"K": 64, "N": 10}, 2 * 5 * 64 * 10),
        ("MatMulNBitsMlp", [(5, 64)], [(5, 10)], {"K": 64, "N": 10}, 2 * 5 * 64 * 10),
        ("MatMulNBitsQkv", [(5, 64)], [(5, 32)], {"K": 64, "Nq": 32, "Nkv": 8}, 5 * 64 * 48),
        ("DynamicQuantizeLSTM", [(10, 2, 8), (1, 8, 64), (1, 16, 64)], [(10, 1, 2, 16)], {}, 20 * 24 * 64),
        ("Attention", [(2, 10, 32), (32, 96)], [(2, 10, 32)], {"num_heads": 4}, 2 * 10 * 32 * 96 + 2 * 10 * 10 * 64),
        ("Attention", [(2, 10, 32), (32, 80), (80,), None, (2, 2, 4, 5, 8)], [(2, 10, 16)],
         {"num_heads": 4, "qkv_hidden_sizes": (32, 32, 16)}, 2 * 10 * 32 * 80 + 2 * 10 * 15 * 48),
        ("QAttention", [(2, 10, 32), (32, 96)], [(2, 10, 32)], {"num_heads": 4}, 2 * 10 * 32 * 96 + 2 * 10 * 10 * 64),
        ("MultiHeadAttention", [(2, 10, 32), (2, 12, 32), (2, 12, 16)], [(2, 10, 16)], {"num_heads": 4}, 2 * 10 * 12 * 48),
        ("MultiHeadAttention", [(2, 10, 4, 3, 8)], [(2, 10, 32)], {"num_heads": 4}, 2 * 10 * 10 * 64),
        ("MultiHeadAttention", [(2, 10, 32), (2, 4, 12, 8), (2, 4, 12, 4)], [(2, 10, 16)], {"num_heads": 4}, 2 * 10 * 12 * 48),
        ("GroupQueryAttention", [(1, 10, 32), (1, 10, 16), (1, 10, 16)], [(1, 10, 32)], {"num_heads": 4, "kv_num_heads": 2}, 10 * 10 * 64),
        ("GroupQueryAttention", [(1, 1, 64), None, None, (1, 2, 99, 8), (1, 2, 99, 8)], [(1, 1, 32), (1, 2, 100, 8)],
         {"num_heads": 4, "kv_num_heads": 2}, 100 * 64),
        ("MoE", [(2, 5, 8), (10, 4), (4, 16, 8), None, (4, 8, 16)], [(2, 5, 8)], {"k": 2}, 10 * 2 * (128 + 128)),
        ("SkipLayerNormalization", [(1, 8), (1, 8), (8,)], [(1, 8)], {}, 0),
        ("Gelu", [(1, 8)], [(1, 8)], {}, 0),
    ],
)  # fmt: skip
def test_operators_of_onnxruntime(op_type, inputs, outputs, attributes, expected):
    assert macs(op_type, inputs, outputs, domain=MICROSOFT, **attributes) == expected


def test_blocked_convolutions_and_linear_models():
    assert macs("Conv", [(1, 8, 5, 5), (16, 8, 3, 3)], [(1, 16, 3, 3)], domain=NCHWC) == 16 * 9 * 72
    assert macs("LinearRegressor", [(5, 4)], [(5, 3)], domain="ai.onnx.ml", coefficients=(0.5,) * 12) == 60


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], 24),
        ("ij,jk", [(2, 3), (3, 4)], 24),
        ("ij,kj->ik", [(2, 3), (4, 3)], 24),
        ("...ij,...jk->...ik", [(5, 2, 3), (5, 3, 4)], 120),
        ("...ij,...jk->...ik", [(5, 6, 2, 3), (6, 3, 4)], 720),
        ("bhqd,bhkd->bhqk", [(2, 4, 10, 8), (2, 4, 12, 8)], 2 * 4 * 10 * 12 * 8),
        ("i,i->", [(7,), (7,)], 7),
        ("i,j->ij", [(7,), (3,)], 0),
        ("ij,ij->ij", [(2, 3), (2, 3)], 0),
        ("ij->ji", [(2, 3)], 0),
        ("ii->i", [(3, 3)], 0),
        ("ij->", [(2, 3)], 0),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 24 + 40),
        ("ij , jk -> ik", [(2, 3), (3, 4)], 24),
    ],
)
def test_einsum(equation, shapes, expected):
    assert macs("Einsum", shapes, [()], equation=equation) == expected


@pytest.mark.parametrize("equation", ["ij,jk,kl->il", "ijk,jk->i", ""])
def test_einsum_that_does_not_fit_its_operands(equation):
    assert math.isnan(macs("Einsum", [(2, 3), (3, 4)], [()], equation=equation))


@pytest.mark.parametrize("op_type", ["Conv", "MatMul", "Gemm", "LSTM", "Attention", "ConvTranspose", "Einsum", "DFT", "If", "Nobody"])
def test_what_is_not_known_is_nan(op_type):
    assert math.isnan(macs(op_type, [None, None, None], [None], equation="ij,jk->ik"))


def test_an_unknown_axis_is_nan_and_an_empty_one_zero():
    assert math.isnan(macs("MatMul", [(None, 7), (7, 3)], [(None, 3)]))
    assert macs("MatMul", [(0, 7), (7, 3)], [(0, 3)]) == 0


# Parameters and bytes


CONV = Layer("c", "Conv", ("x", "w", "b"), ("y",))
CONV_TENSORS = {"x": (1, 3, 8, 8), "w": (4, 3, 3, 3), "b": (4,), "y": (1, 4, 6, 6), "z": (1, 4, 6, 6)}


def test_parameters_and_bytes_of_a_convolution():
    cost = layer_cost(CONV, graph_of(CONV, tensors=CONV_TENSORS, stored=["w", "b"]))
    assert (cost.params, cost.param_bytes) == (4 * 27 + 4, 4 * (4 * 27 + 4))
    assert cost.activation_bytes == 4 * (3 * 64 + 4 * 36)


def test_quantized_weights_take_their_own_size():
    layer = Layer("m", "MatMulNBits", ("x", "w", "s"), ("y",), MICROSOFT, {"K": 8, "N": 4})
    graph = graph_of(
        layer, tensors={"x": ((1, 8), "float16"), "w": ((5, 3), "int4"), "s": (4,), "y": ((1, 4), "float16")}, stored=["w", "s"]
    )
    cost = layer_cost(layer, graph)
    assert (cost.params, cost.param_bytes, cost.activation_bytes) == (19, 7.5 + 16, 16 + 8)


def test_shapes_and_switches_are_bytes_but_no_parameters():
    layer = Layer("r", "Reshape", ("x", "s"), ("y",))
    cost = layer_cost(layer, graph_of(layer, tensors={"x": (2, 3), "s": ((1,), "int64"), "y": (6,)}, stored=["s"]))
    assert (cost.params, cost.param_bytes, cost.activation_bytes) == (0, 8, 48)


def test_constant_nodes_count_where_they_are_read():
    constant = Layer("k", "Constant", (), ("c",))
    layer = Layer("m", "Mul", ("x", "c"), ("y",))
    costs = graph_costs(graph_of(constant, layer, tensors={"x": (2, 3), "c": (3,), "y": (2, 3)}))
    assert costs["k"] == layer_cost(constant, graph_of(constant, tensors={}))
    assert (costs["k"].params, costs["k"].activation_bytes) == (0, 0)
    assert (costs["m"].params, costs["m"].param_bytes, costs["m"].activation_bytes) == (3, 12, 48)


def test_a_tensor_read_twice_counts_once():
    layer = Layer("m", "Mul", ("x", "x"), ("y",))
    assert layer_cost(layer, graph_of(layer, tensors={"x": (2, 3), "y": (2, 3)})).activation_bytes == 48


def test_shape_does_not_read_its_input():
    layer = Layer("s", "Shape", ("x",), ("y",))
    assert layer_cost(layer, graph_of(layer, tensors={"x": (1000,), "y": ((1,), "int64")})).activation_bytes == 8


def test_texts_and_unknown_shapes_have_no_bytes():
    layer = Layer("i", "Identity", ("x",), ("y",))
    assert math.isnan(layer_cost(layer, graph_of(layer, tensors={"x": ((2,), "string"), "y": ((2,), "string")})).activation_bytes)
    assert math.isnan(layer_cost(layer, graph_of(layer, tensors={"x": (2,), "y": None}, outputs=["y"])).activation_bytes)


def test_an_output_that_nobody_reads_and_nobody_sizes_is_left_out():
    layer = Layer("d", "Dropout", ("x",), ("y", "mask"))
    graph = graph_of(layer, tensors={"x": (2, 3), "y": (2, 3)}, outputs=["y"])
    assert layer_cost(layer, graph).activation_bytes == 48


def test_layers_that_run_as_one_hand_nothing_over():
    relu = Layer("r", "Relu", ("y",), ("z",))
    graph = graph_of(CONV, relu, tensors=CONV_TENSORS, stored=["w", "b"], outputs=["z"])
    fused = group_cost([CONV, relu], graph)
    assert fused.macs == layer_cost(CONV, graph).macs
    assert fused.activation_bytes == 4 * (3 * 64 + 4 * 36)
    assert fused.activation_bytes == layer_cost(CONV, graph).activation_bytes
    watched = graph_of(CONV, relu, tensors=CONV_TENSORS, stored=["w", "b"], outputs=["y", "z"])
    assert group_cost([CONV, relu], watched).activation_bytes == 4 * (3 * 64 + 2 * 4 * 36)


def test_the_total_counts_a_shared_weight_once_and_leaves_out_what_is_not_counted():
    tensors = {"x": (2, 8), "w": (8, 8), "h": (2, 8), "y": (2, 8), "z": (2, 8)}
    layers = [Layer("a", "MatMul", ("x", "w"), ("h",)), Layer("b", "MatMul", ("h", "w"), ("y",)), Layer("c", "Magic", ("y",), ("z",), "my")]
    graph = graph_of(*layers, tensors=tensors, stored=["w"])
    total = total_cost(graph)
    assert (total.macs, total.params, total.param_bytes, total.activation_bytes) == (256, 64, 256, 6 * 64)
    assert uncounted(graph) == ("Magic",)


# Laws

size = st.integers(1, 12)


@given(size, size, size, size, size, st.integers(1, 5))
def test_a_convolution_costs_in_proportion_to_its_batch(batch, channels, filters, height, kernel, times):
    def cost(n):
        return macs("Conv", [(n, channels, height, height), (filters, channels, kernel, kernel)], [(n, filters, height, height)])

    assert cost(batch * times) == times * cost(batch)


@given(size, size, st.integers(1, 6), size)
def test_a_grouped_convolution_is_the_dense_one_divided(channels, filters, groups, height):
    c, m = channels * groups, filters * groups
    dense = macs("Conv", [(1, c, height, height), (m, c, 3, 3)], [(1, m, height, height)])
    grouped = macs("Conv", [(1, c, height, height), (m, channels, 3, 3)], [(1, m, height, height)], group=groups)
    assert grouped * groups == dense


@given(st.lists(size, max_size=3), st.integers(0, 3), st.lists(st.booleans(), min_size=3, max_size=3), size, size, size)
def test_a_matrix_product_costs_its_output_times_k(batch, dropped, ones, m, k, n):
    """Whichever side lacks or broadcasts batch axes, the cost is that of the whole product."""
    right = [1 if one else dim for one, dim in zip(ones, batch, strict=False)][dropped:]
    expected = math.prod(batch) * m * k * n
    assert macs("MatMul", [(*batch, m, k), (*right, k, n)]) == expected
    assert macs("MatMul", [(*right, m, k), (*batch, k, n)]) == expected


@given(size, size, size, size)
def test_one_product_four_spellings(b, m, k, n):
    costs = {
        macs("MatMul", [(b, m, k), (k, n)]),
        macs("Gemm", [(b * m, k), (k, n)]),
        macs("Einsum", [(b, m, k), (k, n)], equation="bmk,kn->bmn"),
        macs("Conv", [(b, k, m), (n, k, 1)], [(b, n, m)]),
    }
    assert costs == {b * m * k * n}


@given(size, size, size, size)
def test_transposed_convolution_mirrors_convolution(channels, filters, height, kernel):
    """A ConvTranspose with stride 1 costs what the Conv costs whose gradient it is."""
    grown = height + kernel - 1
    forward = macs("Conv", [(1, filters, grown, grown), (channels, filters, kernel, kernel)], [(1, channels, height, height)])
    backward = macs("ConvTranspose", [(1, channels, height, height), (channels, filters, kernel, kernel)], [(1, filters, grown, grown)])
    assert forward == backward


@given(st.integers(1, 6), size, size, size)
def test_bidirectional_is_twice_one_direction(steps, batch, width, hidden):
    def cost(directions):
        return macs("GRU", [(steps, batch, width), (directions, 3 * hidden, width), (directions, 3 * hidden, hidden)])

    assert cost(2) == 2 * cost(1)
