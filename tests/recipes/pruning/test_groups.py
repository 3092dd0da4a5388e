"""Which channels belong together, and why some must stay."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprof.models import load_model
from edgeprof.recipes.pruning.groups import groups
from tests.recipes.pruning.models import Net
from tests.recipes.pruning.running import outputs, pruned, pruned_by, width_of

SAMPLES = "sample_models"


def found(model):
    return {group.name: group for group in groups(model)}


def chain(**options):
    net = Net(image=(1, 3, 6, 6), **options)
    return net, net.conv("image", 8, 3, name="first")


def end(net, x):
    n, c, _, _ = net.shapes[x]
    pooled = net.op("GlobalAveragePool", x, shape=(n, c, 1, 1))
    return net.model(net.gemm(net.op("Flatten", pooled, shape=(n, c)), 3, name="head"))


def test_a_path_a_graph_and_a_model_have_the_same_groups(tmp_path):
    net, x = chain()
    model = end(net, net.op("Relu", x))
    onnx.save(model, tmp_path / "m.onnx")
    assert groups(tmp_path / "m.onnx") == groups(load_model(tmp_path / "m.onnx")) == groups(model)


def test_a_chain_has_a_group_a_layer_and_the_last_is_the_output():
    net, x = chain()
    groups_found = found(end(net, net.op("Relu", net.conv(net.op("Relu", x), 6, name="second"))))
    first, second, head = groups_found.values()
    assert (first.layers, first.followers, first.channels, first.free, first.reason) == (("first",), ("second",), 8, 8, "")
    assert (second.layers, second.followers) == (("second",), ("head",))
    assert head.reason == "its channels are the model's output 'head'" and head.free == 0


def test_layers_that_are_added_go_together():
    net, x = chain()
    made = net.conv(net.op("Relu", net.conv(x, 5, name="inner")), 8, name="last")
    group = found(end(net, net.op("Add", made, x)))["first"]
    assert group.layers == ("first", "last") and group.followers == ("inner", "head")


def test_a_depthwise_layer_goes_with_its_input():
    net, x = chain()
    group = found(end(net, net.conv(net.norm(x), 8, 3, group=8, name="depthwise")))["first"]
    assert group.layers == ("first", "depthwise") and group.followers == ("batchnormalization1", "head")


def test_parts_of_a_concat_go_by_themselves():
    net, x = chain()
    other = net.conv("image", 4, name="other")
    joined = net.op("Concat", x, other, axis=1, shape=(1, 12, 6, 6))
    model = end(net, net.conv(joined, 6, name="last"))
    assert [group.layers for group in groups(model)] == [("first",), ("other",), ("last",), ("head",)]
    done = pruned_by(model, first=4)
    assert [width_of(done.model, name) for name in ("first", "other", "last")] == [4, 4, 6]
    taken = next(numpy_helper.to_array(tensor) for tensor in done.model.graph.initializer if tensor.name == "c4")
    assert taken.shape == (6, 8, 1, 1) and np.array_equal(taken[:, 4:], net.weights["c4"][:, 8:])


def test_groups_of_a_grouped_layer_lose_the_same():
    net, x = chain()
    model = end(net, net.conv(x, 6, group=2, name="grouped"))
    own, before = found(model)["grouped"], found(model)["first"]
    assert (own.step, own.free, before.step, before.free) == (2, 6, 2, 8)
    done = pruned_by(model, first=4, grouped=4)
    assert [list(t.dims) for t in done.model.graph.initializer if t.name == "c2"] == [[4, 2, 1, 1]]


def test_heads_of_attention_go_whole():
    net = Net(tokens=(1, 5, 12))
    model = net.model(net.dense(net.op("ReduceMean", net.attention("tokens", 4, 6), axes=[1], keepdims=0, shape=(1, 12)), 3))
    group = found(model)["attention/query"]
    assert group.layers == ("attention/query", "attention/key", "attention/value")
    assert (group.channels, group.step, group.free) == (24, 6, 24)
    assert "attention/out" in group.followers
    done = pruned_by(model, **{"attention/value": 0.5})
    assert [width_of(done.model, f"attention/{name}") for name in ("query", "key", "value", "out")] == [12, 12, 12, 12]
    assert outputs(done.model)[0].shape == (1, 3)


def test_queries_keys_and_values_of_one_layer_lose_the_same_heads():
    net = Net(tokens=(2, 5, 12))
    made = net.transpose(net.reshape(net.dense("tokens", 3 * 4 * 6, name="qkv"), -1, 5, 3, 4, 6), 2, 0, 3, 1, 4)
    parts = [net.op("Gather", made, net.const(np.array(at)), axis=0, shape=(2, 4, 5, 6)) for at in range(3)]
    scores = net.op("MatMul", parts[0], net.transpose(parts[1], 0, 1, 3, 2), shape=(2, 4, 5, 5))
    mixed = net.op("MatMul", net.op("Softmax", scores, axis=-1), parts[2], shape=(2, 4, 5, 6))
    model = net.model(net.dense(net.reshape(net.transpose(mixed, 0, 2, 1, 3), -1, 5, 24), 12, name="out"))
    group = found(model)["qkv"]
    assert (group.channels, group.step, group.free) == (72, 18, 72)
    assert width_of(pruned_by(model, qkv=0.5).model, "qkv") == 36


def _reasons():
    net, x = chain()
    yield net, net.op("LRN", x, size=3), "'lrn1' normalises over several channels together"
    net, x = chain()
    yield net, net.op("Softmax", x, axis=1), "'softmax1' normalises over all channels together"
    net, x = chain()
    yield net, net.op("DepthToSpace", x, blocksize=2, shape=(1, 2, 12, 12)), "its channels go into 'depthtospace1' (DepthToSpace)"
    net, x = chain()
    yield (
        net,
        net.op("Gather", x, net.const(np.array([1, 0, 2])), axis=1, shape=(1, 3, 6, 6)),
        "'gather1' picks some of its channels by number",
    )
    net, x = chain()
    yield net, net.op("ReduceMax", x, axes=[1], shape=(1, 1, 6, 6)), "'reducemax1' takes all channels together"
    net, x = chain()
    ends = [net.const(np.array(value, np.int64)) for value in ([0], [8], [1], [2])]
    yield net, net.op("Slice", x, *ends, shape=(1, 4, 6, 6)), "'slice1' takes some of its channels in steps"


@pytest.mark.parametrize(("net", "x", "reason"), list(_reasons()))
def test_the_reason_is_said(net, x, reason):
    assert reason in found(end(net, x))["first"].reason


def test_channels_that_partly_meet_the_input_go_partly():
    net, x = chain()
    half = net.op("Slice", x, *[net.const(np.array(v, np.int64)) for v in ([0], [3], [1])], shape=(1, 3, 6, 6))
    rest = net.op("Slice", x, *[net.const(np.array(v, np.int64)) for v in ([3], [8], [1])], shape=(1, 5, 6, 6))
    joined = net.op("Concat", net.op("Add", half, "image"), rest, axis=1, shape=(1, 8, 6, 6))
    model = end(net, joined)
    group = found(model)["first"]
    assert (group.channels, group.free) == (8, 5)
    done = pruned_by(model, first=0.4)
    assert width_of(done.model, "first") == 7  # of the five that can go 3 were to stay, rounded up to 4
    assert outputs(done.model)[0].shape == (1, 3)


def test_the_residual_stream_of_a_transformer_stays():
    stream = found(f"{SAMPLES}/vit_clutter.onnx")["/stem/patches/Conv"]
    assert len(stream.layers) == 13 and "LayerNormalization' normalises over all channels together" in stream.reason


def test_what_an_inner_graph_uses_stays():
    net, x = chain()
    inner = [helper.make_graph([helper.make_node("Identity", [x], [f"{name}_out"])], name, [],
             [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, (1, 8, 6, 6))]) for name in ("yes", "no")]  # fmt: skip
    condition = net.const(np.array(True))
    made = net.op("If", condition, then_branch=inner[0], else_branch=inner[1], name="choice", shape=(1, 8, 6, 6))
    assert found(end(net, made))["first"].reason == "its channels are used inside 'choice'"


def computed_view(net, x, *sizes):
    """Reshape as PyTorch exports x.view(x.size(0), ...): the target is put together while the model runs."""
    batch = net.op("Gather", net.op("Shape", x), net.const(np.array(0)), axis=0)
    parts = [net.op("Unsqueeze", batch, net.const(np.array([0])))]
    parts += [net.op("Unsqueeze", net.op("Constant", value_int=size), net.const(np.array([0]))) for size in sizes]
    known = [net.shapes[x][0], *sizes]
    if -1 in known:
        known[known.index(-1)] = int(np.prod(net.shapes[x]) // -np.prod(known))
    return net.op("Reshape", x, net.op("Concat", *parts, axis=0), shape=known)


@pytest.mark.parametrize("sizes", [(-1,), (8 * 36,), (8, 36), (2, 4, 36)])
def test_a_shape_that_is_computed_is_followed(sizes):
    net, x = chain()
    made = computed_view(net, x, *sizes)
    flat = net.op("Flatten", made, shape=(1, 288))
    model = net.model(net.gemm(flat, 3))
    assert found(model)["first"].reason == ""
    done = pruned_by(model, first=4)
    assert width_of(done.model, "first") == 4
    assert outputs(done.model)[0].shape == (1, 3)


def test_the_number_of_channels_may_come_from_their_shape():
    net, x = chain()
    count = net.op("Gather", net.op("Shape", x), net.const(np.array([0, 1])), axis=0)
    target = net.op("Concat", count, net.const(np.array([36])), axis=0)
    model = net.model(net.gemm(net.op("Flatten", net.op("Reshape", x, target, shape=(1, 8, 36)), shape=(1, 288)), 3))
    done = pruned_by(model, first=4)
    assert outputs(done.model)[0].shape == (1, 3)


def test_what_computes_with_the_number_of_channels_keeps_them():
    net, x = chain()
    count = net.op("Cast", net.op("Gather", net.op("Shape", x), net.const(np.array(1)), axis=0), to=TensorProto.FLOAT)
    scaled = net.op("Div", x, net.op("Sqrt", count))
    assert found(end(net, scaled))["first"].reason == "their number is computed with in 'sqrt4'"


def test_weights_that_layers_share_stay_shared():
    net = Net(image=(1, 3, 6, 6))
    weights = net.normal(8, 3, 1, 1)
    a, b = (net.op("Conv", source, weights, name=name, shape=(1, 8, 6, 6), kernel_shape=[1, 1])
            for name, source in (("a", "image"), ("b", net.op("Relu", "image"))))  # fmt: skip
    joined = net.op("Concat", a, b, axis=1, shape=(1, 16, 6, 6))
    model = end(net, joined)
    assert found(model)["a"].layers == ("a", "b")
    done = pruned_by(model, a=4)
    assert [list(t.dims) for t in done.model.graph.initializer if len(t.dims) == 4] == [[4, 3, 1, 1]]


def test_weights_that_are_computed_are_not_cut():
    net = Net(image=(1, 3, 6, 6), kernel=(8, 3, 1, 1))
    x = net.op("Conv", "image", "kernel", name="first", shape=(1, 8, 6, 6))
    model = end(net, x)
    assert [group.name for group in groups(model)] == ["head"]
    assert pruned(model).changes[0].reason == "its weights are computed while the model runs"
