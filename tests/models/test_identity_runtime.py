"""ONNX Runtime's own rewriting: models whose fusions are known by construction, the onnx package's models, random graphs."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgeprof.models.identity import match
from tests.models.identity_laws import check, nothing_is_lost
from tests.models.identity_models import LEVELS, Net, body, rewrite, without_names

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))
HEAVY = ("light_bvlc_alexnet", "light_vgg19", "light_zfnet512")
"""Once their weights are folded, hundreds of megabytes are written; the others go through all levels with the same operators."""


def of_type(identity, op_type):
    return [layer.sources for layer in identity.layers if layer.op_type == op_type]


def matched(model, folder, level="all"):
    original, executed = rewrite(model, folder, level)
    identity = match(original, executed)
    check(original, executed, identity)
    nothing_is_lost(identity)
    return identity


# The onnx package's models


@pytest.mark.parametrize("path", LIGHT, ids=lambda p: p.stem)
def test_every_node_of_a_light_model_is_accounted_for(path, tmp_path):
    for level in LEVELS if path.stem not in HEAVY else ("disabled", "all"):
        identity = matched(path.read_bytes(), tmp_path, level)
        assert identity.count("executed") + identity.count("folded") + identity.count("removed") == len(identity.nodes)
        ran = {node.op_type for node in identity.nodes if node.fate == "executed"}
        assert "Conv" in ran
        if level != "disabled":
            assert "ConstantOfShape" not in ran


# Known by construction. These hold on every CPU: which layers fuse may differ, what a fused layer carries out may not.


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("named", [True, False])
def test_residual_blocks(level, named, tmp_path):
    net = Net()
    x = net.op("Relu", net.conv(net.input(1, 3, 16, 16), 3, 16))
    for _ in range(2):
        y = net.op("Relu", net.norm(net.conv(x, 16, 16), 16))
        x = net.op("Relu", net.op("Add", net.norm(net.conv(y, 16, 16), 16), x))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    model = net.model(net.op("Gemm", x, net.weight(10, 16), net.weight(10), transB=1))
    identity = matched(model if named else without_names(model), tmp_path, level)
    assert identity.count("executed") == len(identity.nodes)
    convs = [node for node in identity.nodes if node.op_type == "Conv"]
    assert len({node.layers for node in convs}) == 5
    if level == "all":
        norms = [node for node in identity.nodes if node.op_type == "BatchNormalization"]
        assert {node.layers for node in norms} == {node.layers for node in convs[1:]}


def test_layer_norm_gelu_and_skip(tmp_path):
    net = Net()
    x = net.input(1, 8, 32)
    h = net.linear(net.gelu(net.linear(x, 32, 64)), 64, 32)
    y = net.op("LayerNormalization", net.op("Add", h, x), net.weight(32), net.weight(32))
    identity = matched(net.model(y), tmp_path)
    gelu = next(sources for op in ("Gelu", "BiasGelu") for sources in of_type(identity, op))
    assert [source.split("_")[0] for source in gelu if not source.startswith("add_")] == ["div", "erf", "mul", "mul"]
    (skip,) = of_type(identity, "SkipLayerNormalization")
    assert [source.split("_")[0] for source in skip] == ["add", "layernormalization"]


def test_shapes_identities_and_casts(tmp_path):
    net = Net()
    x = net.input(2, 3, 4)
    rows = net.op("Unsqueeze", net.op("Gather", net.op("Shape", x), net.constant(0, np.int64)), net.constant([0], np.int64))
    shape = net.op("Concat", rows, net.constant([-1], np.int64), axis=0)
    y = net.op("Relu", net.op("Dropout", net.op("Identity", net.op("Reshape", x, shape))))
    one = net.op("Exp", net.op("Constant", value=numpy_helper.from_array(np.ones(12, np.float32))))
    z = net.op("Neg", net.op("Cast", net.op("Add", y, one), to=1))
    net.op("Abs", z)
    identity = matched(net.model(z), tmp_path)
    by_type = {node.op_type: node.fate for node in identity.nodes}
    assert {t for t, fate in by_type.items() if fate == "folded"} == {"Shape", "Gather", "Unsqueeze", "Concat", "Constant", "Exp"}
    assert {t for t, fate in by_type.items() if fate == "executed"} == {"Reshape", "Relu", "Add", "Neg", "Abs"}  # nobody reads Abs


def test_transposes_that_cancel(tmp_path):
    net = Net()
    t = net.op("Transpose", net.input(1, 4, 6, 8), perm=[0, 2, 3, 1])
    t = net.op("Transpose", net.op("Sigmoid", net.op("Add", net.op("Relu", t), net.weight(4))), perm=[0, 3, 1, 2])
    identity = matched(net.model(net.op("Exp", t)), tmp_path)
    assert identity.by_node["relu_2"].layers == ("relu_2",)
    assert Counter(node.fate for node in identity.nodes) == {"executed": 4, "removed": 2}


def test_equal_nodes_run_once(tmp_path):
    net = Net()
    x = net.input(2, 8)
    a, b = (net.op("Relu", net.op("Exp", x)) for _ in range(2))
    identity = matched(net.model(net.op("Mul", a, b)), tmp_path)
    assert Counter((node.op_type, node.fate) for node in identity.nodes)["Exp", "removed"] == 1


def test_attention(tmp_path):
    net = Net()
    x = net.input("N", 8, 32)
    rows = net.op("Unsqueeze", net.op("Gather", net.op("Shape", x), net.constant(0, np.int64), axis=0), net.constant([0], np.int64))
    shape = net.op("Concat", rows, net.constant([8, 4, 8], np.int64), axis=0)
    q, k, v = (net.op("Transpose", net.op("Reshape", net.linear(x, 32, 32), shape), perm=[0, 2, 1, 3]) for _ in range(3))
    scores = net.op("MatMul", net.op("Mul", q, net.constant(0.6)), net.op("Transpose", k, perm=[0, 1, 3, 2]))
    y = net.op("Transpose", net.op("MatMul", net.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    y = net.op("Reshape", y, net.op("Concat", rows, net.constant([8, 32], np.int64), axis=0))
    identity = matched(net.model(net.linear(y, 32, 32)), tmp_path)
    assert [node.fate for node in identity.nodes if node.op_type in ("MatMul", "Softmax")] == ["executed"] * 7


def test_half_precision_on_a_cpu_without_it(tmp_path):
    net = Net(dtype=np.float16)
    x = net.input(1, 3, 8, 8)
    weights = net.constant(net.random.standard_normal((8, 3, 3, 3)), np.float16)
    y = net.op("Conv", x, weights, kernel_shape=[3, 3], pads=[1] * 4)
    y = net.op("Softmax", net.op("Flatten", net.op("GlobalAveragePool", net.op("Relu", y))))
    identity = matched(net.model(y), tmp_path)
    assert identity.count("executed") == 5


def test_bodies_functions_and_known_conditions(tmp_path):
    net = Net()
    x = net.input(4, 8)
    a = body("a", [helper.make_node("Relu", [x], ["p"], "r"), helper.make_node("Exp", ["p"], ["q"], "e")], ["q"])
    b = body("b", [helper.make_node("Neg", [x], ["n"], "n"), helper.make_node("Identity", ["n"], ["o"], "i")], ["o"])
    y = net.op("If", net.constant(True, bool), then_branch=a, else_branch=b, name="known")
    asked = net.op("Greater", net.op("ReduceSum", x, keepdims=0), net.constant(0.0))
    z = net.op("If", asked, then_branch=a, else_branch=b, name="asked")
    inner = [helper.make_node("Relu", ["a"], ["m"], "fr"), helper.make_node("Exp", ["m"], ["o"], "fe")]
    net.functions.append(helper.make_function("my", "F", ["a"], ["o"], inner, [helper.make_opsetid("", 17)]))
    net.domains.append("my")
    w = net.op("F", net.op("Add", y, z), domain="my", name="call")
    identity = matched(net.model(net.op("Abs", w)), tmp_path)
    assert identity.by_node["known/then_branch/r"].fate == "executed"
    assert identity.by_node["known/else_branch/n"].reason == "in a branch of known that is never taken"
    assert identity.by_node["asked/else_branch/n"].layers == ("asked/else_branch/n",)
    assert identity.by_node["asked/else_branch/i"].fate == "removed"
    assert [len(identity.by_node[f"call/F/{n}"].layers) for n in ("fr", "fe")] == [1, 1]
    assert {layer.kind for layer in identity.layers if layer.layer.startswith("asked/")} == {"nested"}


def test_a_loop(tmp_path):
    net = Net()
    x = net.input(4, 8)
    inputs = [helper.make_tensor_value_info(n, t, s) for n, t, s in (("i", 7, []), ("c", 9, []), ("v", 1, [4, 8]))]
    steps = [("Relu", ["v"], ["v1"], "relu"), ("Add", ["v1", x], ["v2"], "add"), ("Identity", ["c"], ["c2"], "go")]
    graph = helper.make_graph(
        [helper.make_node(*step) for step in steps],
        "body",
        inputs,
        [helper.make_tensor_value_info("c2", 9, []), helper.make_tensor_value_info("v2", 1, [4, 8])],
    )
    y = net.op("Loop", net.constant(3, np.int64), net.constant(True, bool), x, body=graph, name="loop")
    identity = matched(net.model(net.op("Abs", y)), tmp_path)
    assert identity.by_node["loop/body/add"].layers == ("loop/body/add",)


# Quantised models


def quantized(net, x, scale=0.05):
    step = net.constant(scale), net.constant(128, np.uint8)
    return net.op("DequantizeLinear", net.op("QuantizeLinear", x, *step), *step)


def quantized_conv(net, x, inputs, outputs):
    weights = net.constant(net.random.integers(-100, 100, (outputs, inputs, 3, 3)), np.int8)
    w = net.op("DequantizeLinear", weights, net.constant(0.01), net.constant(0, np.int8))
    bias = net.constant(net.random.integers(-100, 100, outputs), np.int32)
    b = net.op("DequantizeLinear", bias, net.constant(0.0005), net.constant(0, np.int32))
    return net.op("Conv", x, w, b, kernel_shape=[3, 3], pads=[1] * 4)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("named", [True, False])
def test_static_quantisation(level, named, tmp_path):
    net = Net()
    x = quantized(net, net.input(1, 4, 8, 8))
    for _ in range(3):
        y = quantized(net, quantized_conv(net, x, 4, 4))
        x = quantized(net, net.op("Add", y, x))
    x = quantized(net, net.op("GlobalAveragePool", x))
    model = net.model(net.op("Flatten", x))
    identity = matched(model if named else without_names(model), tmp_path, level)
    assert [node.fate for node in identity.nodes if node.op_type == "Conv"] == ["executed"] * 3
    for sources in of_type(identity, "QLinearConv"):
        types = Counter(identity.by_node[source].op_type for source in sources)
        assert types == {"DequantizeLinear": 3, "Conv": 1, "QuantizeLinear": 1}


def test_dynamic_quantisation(tmp_path):
    net = Net()
    x = net.input(4, 16)
    q, scale, zero = net.op("DynamicQuantizeLinear", x, outputs=3)
    whole = net.op("MatMulInteger", q, net.constant(net.random.integers(-9, 9, (16, 8)), np.int8), zero, net.constant(0, np.int8))
    y = net.op("Mul", net.op("Cast", whole, to=1), net.op("Mul", scale, net.constant(0.1)))
    identity = matched(net.model(net.op("Add", y, net.weight(8))), tmp_path)
    (fused,) = of_type(identity, "DynamicQuantizeMatMul")
    assert len(fused) == 6


# Random graphs


@st.composite
def nets(draw):
    """Images of 8 x 8 through chains, residuals, diamonds, dead ends, constants and what has no effect."""
    net = Net(seed=draw(st.integers(0, 99)))
    values = [(net.input(1, 4, 8, 8), 4)]
    outputs = []
    for kind in draw(st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=12)):
        x, channels = values[-draw(st.integers(1, min(3, len(values))))]
        others = [value for value, c in values if c == channels]
        made = STEPS[kind](net, x, channels, draw(st.sampled_from(others)))
        values.append(made if isinstance(made, tuple) else (made, channels))
        if draw(st.integers(0, 9)) == 0:
            outputs.append(values[-1][0])
    model = net.model(*dict.fromkeys([*outputs, values[-1][0]]))
    return model if draw(st.booleans()) else without_names(model)


def reshape(net, x, channels, _):
    rows = net.op("Unsqueeze", net.op("Gather", net.op("Shape", x), net.constant(0, np.int64)), net.constant([0], np.int64))
    shape = net.op("Concat", rows, net.constant([channels, 8, 8], np.int64), axis=0)
    return net.op("Reshape", net.op("Reshape", x, net.constant([1, -1], np.int64)), shape)


def swap(net, x, *_):
    first, second = net.op("Split", x, outputs=2, axis=1)
    return net.op("Concat", second, first, axis=1)


def channels_last(net, x, *_):
    return net.op("Transpose", net.op("Sigmoid", net.op("Transpose", x, perm=[0, 2, 3, 1])), perm=[0, 3, 1, 2])


STEPS = {
    "conv": lambda net, x, c, _: (net.conv(x, c, 8), 8),
    "pointwise": lambda net, x, c, _: (net.conv(x, c, 16, k=1), 16),
    "depthwise": lambda net, x, c, _: net.conv(x, c, c, group=c),
    "norm": lambda net, x, c, _: net.norm(x, c),
    "relu": lambda net, x, *_: net.op("Relu", x),
    "clip": lambda net, x, *_: net.op("Clip", x, net.constant(0.0), net.constant(6.0)),
    "hardswish": lambda net, x, *_: net.op("HardSwish", x),
    "sigmoid": lambda net, x, *_: net.op("Mul", x, net.op("Sigmoid", x)),
    "gelu": lambda net, x, *_: net.gelu(x),
    "add": lambda net, x, _, other: net.op("Add", x, other),
    "mul": lambda net, x, _, other: net.op("Mul", other, x),
    "concat": lambda net, x, c, other: (net.op("Concat", x, other, axis=1), 2 * c),
    "squeeze": lambda net, x, *_: net.op("Mul", x, net.op("Sigmoid", net.op("GlobalAveragePool", x))),
    "pool": lambda net, x, *_: net.op("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4),
    "constant": lambda net, x, c, _: net.op("Add", x, net.op("Exp", net.weight(1, c, 1, 1))),
    "identity": lambda net, x, *_: net.op("Identity", x),
    "dropout": lambda net, x, *_: net.op("Dropout", x),
    "one": lambda net, x, *_: net.op("Mul", x, net.constant(1.0)),
    "cast": lambda net, x, *_: net.op("Cast", net.op("Cast", x, to=11), to=1),
    "transpose": channels_last,
    "reshape": reshape,
    "split": swap,
}


@settings(derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=nets(), level=st.sampled_from(sorted(LEVELS)))
def test_laws_hold_for_random_graphs(model, level, tmp_path):
    original, executed = rewrite(model, tmp_path, level)
    identity = match(original, executed)
    check(original, executed, identity)
    convolutions_are_one_to_one(original, executed, identity)
    # a fusion without a name may stay unknown where tensors lose theirs, too; everything else must be explained
    unread = {t for layer in executed.layers for t in layer.outputs} - {t for layer in executed.layers for t in layer.inputs}
    if all(layer.given_name for layer in original.layers) and unread <= {t.name for t in executed.outputs}:
        nothing_is_lost(identity)


def convolutions_are_one_to_one(original, executed, identity):
    """A convolution that runs carries out one Conv, whose kernel has the same size, or is not known to carry out any."""
    layers = {layer.name: layer for layer in original.layers}
    for layer in executed.layers:
        sources = [layers[source] for source in identity.by_layer[layer.name].sources]
        kernels = [original.tensor(source.inputs[1]).shape[2:] for source in sources if source.op_type == "Conv"]
        was_one = sources and not {"BatchNormalization", "Mul"} & {s.op_type for s in sources[:1]}
        if layer.op_type in ("Conv", "FusedConv") and was_one:
            assert kernels == [executed.tensor(layer.inputs[1]).shape[2:]]
