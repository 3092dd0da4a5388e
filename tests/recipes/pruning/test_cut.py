"""What is left in the file."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprof.recipes.pruning.cut import cut
from edgeprof.recipes.pruning.groups import couple, graph_of
from tests.recipes.pruning.models import Net
from tests.recipes.pruning.running import outputs, pruned, pruned_by, width_of


def stored(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_each_channel_is_cut_out_of_all_that_it_is_in():
    net = Net(image=(1, 3, 6, 6))
    x = net.op("Relu", net.norm(net.conv("image", 4, 3, name="first")))
    model = net.model(net.gemm(net.op("Flatten", x, shape=(1, 4 * 36)), 3, name="head"))
    coupling = couple(graph_of(model))
    gone = coupling.made["first"][[1]]
    before, after = net.weights, stored(cut(model, coupling, gone.tolist()))
    for name in ("c0", "c1", "c2", "c3", "c4", "c5"):  # weights, bias, and what normalises
        assert np.array_equal(after[name], before[name][[0, 2, 3]])
    assert np.array_equal(after["c6"], np.delete(before["c6"], range(36, 72), axis=1))
    assert np.array_equal(after["c7"], before["c7"])


def test_shapes_in_the_file_are_those_of_what_is_left():
    net = Net(image=(1, 3, 6, 6))
    x = net.op("Relu", net.conv("image", 8, 3, name="first"))
    done = pruned_by(net.model(net.conv(x, 3, name="last")), first=5).model
    shapes = {info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim] for info in done.graph.value_info}
    assert shapes["first"] == shapes[x] == [1, 5, 6, 6]


def test_a_constant_that_two_layers_read_is_cut_for_each():
    net = Net(image=(1, 3, 6, 6))
    shift = net.normal(8, 1, 1)
    a, b = (net.op("Add", net.conv("image", 8, name=name), shift) for name in ("a", "b"))
    whole = net.op("Add", net.op("Concat", "image", "image", "image", axis=1, shape=(1, 9, 6, 6)), net.normal(9, 1, 1))
    joined = net.op("Concat", a, b, whole, axis=1, shape=(1, 25, 6, 6))
    done = pruned_by(net.model(net.conv(joined, 3)), a=4, b=6).model
    assert sorted(value.shape for value in stored(done).values() if value.ndim == 3) == [(4, 1, 1), (6, 1, 1), (9, 1, 1)]
    assert outputs(done)[0].shape == (1, 3, 6, 6)


def test_a_constant_that_the_rest_still_reads_stays():
    net = Net(image=(1, 8, 6, 6))
    shift = net.normal(8, 1, 1)
    x = net.op("Add", net.conv("image", 8, name="a"), shift)
    done = pruned_by(net.model(net.conv(x, 3), net.op("Add", "image", shift)), a=4).model
    assert sorted(value.shape for value in stored(done).values() if value.ndim == 3) == [(4, 1, 1), (8, 1, 1)]
    assert [one.shape for one in outputs(done)] == [(1, 3, 6, 6), (1, 8, 6, 6)]


def test_weights_that_nodes_make_stay_made_by_nodes():
    net = Net(image=(1, 3, 6, 6), opset=9)
    filled = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.5])
    weights = net.op("ConstantOfShape", net.const(np.array([8, 3, 1, 1])), value=filled, shape=(8, 3, 1, 1))
    shift = net.op("Unsqueeze", net.normal(8), axes=[1, 2], shape=(8, 1, 1))
    made = net.op("Conv", "image", weights, name="first", kernel_shape=[1, 1], shape=(1, 8, 6, 6))
    done = pruned_by(net.model(net.conv(net.op("Add", made, shift), 5)), first=4).model
    assert [node.op_type for node in done.graph.node].count("ConstantOfShape") == 1
    assert [4, 3, 1, 1] in [value.tolist() for value in stored(done).values() if value.dtype == np.int64]
    assert not any(value.size == 12 for value in stored(done).values())
    assert outputs(done)[0].shape == (1, 5, 6, 6)


def test_a_file_that_lists_its_weights_as_inputs_still_does():
    net = Net(image=(1, 3, 6, 6), opset=8)
    model = net.model(net.conv(net.op("Relu", net.conv("image", 8, name="first")), 3))
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model.ir_version = 3
    done = pruned_by(model, first=4).model
    onnx.checker.check_model(done, full_check=True)
    declared = {one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in done.graph.input}
    assert {tensor.name: list(tensor.dims) for tensor in done.graph.initializer}.items() <= declared.items()
    assert [one for one in declared if one not in stored(done)] == ["image"]


def _split(opset):
    net = Net(image=(1, 3, 6, 6), opset=opset)
    x = net.conv("image", 8, name="first")
    parts = net.op("Split", x, axis=1, outputs=2, **({"num_outputs": 2} if opset >= 18 else {}))
    for part in parts:
        net.shapes[part] = (1, 4, 6, 6)
    return net, parts


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_equal_halves_become_halves_of_their_own_sizes(opset):
    net, (a, b) = _split(opset)
    joined = net.op("Concat", b, net.conv(a, 2, name="inner"), axis=1, shape=(1, 6, 6, 6))
    model = net.model(net.conv(joined, 3))
    coupling = couple(graph_of(model))
    done = cut(model, coupling, coupling.made["first"][[0, 1, 2, 4]].tolist())
    onnx.checker.check_model(done, full_check=True)
    assert width_of(done, "first") == 4
    assert outputs(done)[0].shape == (1, 3, 6, 6)


def test_a_slice_that_an_attribute_describes():
    net = Net(image=(1, 3, 6, 6), opset=9)
    x = net.conv("image", 8, name="first")
    part = net.op("Slice", x, axes=[1], starts=[2], ends=[1000], shape=(1, 6, 6, 6))
    model = net.model(net.conv(part, 3))
    coupling = couple(graph_of(model))
    done = cut(model, coupling, coupling.made["first"][[0, 3, 7]].tolist())
    ends = next(tuple(one.ints) for node in done.graph.node if node.op_type == "Slice" for one in node.attribute if one.name == "starts")
    assert ends == (1,)
    assert outputs(done)[0].shape == (1, 3, 6, 6)


def test_sizes_that_a_resize_is_given_are_corrected():
    net = Net(image=(1, 3, 6, 6))
    x = net.conv("image", 8, name="first")
    made = net.op("Resize", x, "", "", net.const(np.array([1, 8, 12, 12])), shape=(1, 8, 12, 12))
    done = pruned_by(net.model(net.conv(made, 3)), first=4)
    assert outputs(done.model)[0].shape == (1, 3, 12, 12)


def test_a_transposed_convolution():
    net = Net(image=(1, 3, 6, 6))
    x = net.op("Relu", net.conv("image", 8, name="first"))
    for group, name in ((1, "up"), (2, "up2")):
        x = net.op("ConvTranspose", x, net.normal(8, 8 // group, 2, 2), net.normal(8), name=name, strides=[2, 2], group=group,
                   shape=(1, 8, net.shapes[x][2] * 2, net.shapes[x][3] * 2))  # fmt: skip
    done = pruned_by(net.model(net.conv(x, 3)), first=4, up=4, up2=4)
    assert [change.done[:15] for change in done.changes] == ["8 to 4 channels"] * 3
    assert outputs(done.model)[0].shape == (1, 3, 24, 24)


@pytest.mark.parametrize("batch", [1, 2])
def test_the_batch_may_be_open(batch):
    net = Net(image=("n", 3, 6, 6))
    net.shapes["image"] = (1, 3, 6, 6)
    x = net.op("Relu", net.conv("image", 8, name="first"))
    model = net.model(net.dense(net.reshape(x, 0, -1), 3, name="head"))
    done = pruned(model, 0.5).model
    import onnxruntime

    session = onnxruntime.InferenceSession(done.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": np.zeros((batch, 3, 6, 6), np.float32)})[0].shape == (batch, 3)
