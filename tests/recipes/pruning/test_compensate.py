"""What is left is fitted to what there was."""

import numpy as np
import pytest
from onnx import numpy_helper

from edgeprof.apart import Apart
from edgeprof.datasets import Dataset, load_data
from edgeprof.models import load_model
from edgeprof.recipes.build import prune
from edgeprof.recipes.prune import prune as step
from edgeprof.recipes.pruning import patches
from edgeprof.recipes.recipe import Decision
from edgeprof.recipes.target import Target
from edgeprof.running import with_outputs
from edgeprof.scoring import score
from tests.recipes.pruning.models import Net
from tests.recipes.pruning.running import outputs, pruned_by, work_for

IMAGES = Dataset({"image": np.random.default_rng(0).normal(size=(40, 3, 8, 8)).astype(np.float32)})


def values_of(model, *names):
    return outputs(with_outputs(model, names))[1:]


@pytest.mark.parametrize(
    ("pads", "kernel", "strides", "dilations"),
    [([0, 0, 0, 0], [1, 1], [1, 1], [1, 1]), ([1, 1, 1, 1], [3, 3], [1, 1], [1, 1]), ([0, 1, 2, 1], [3, 2], [2, 1], [1, 2]),
     ("SAME_UPPER", [3, 3], [2, 2], [1, 1]), ("SAME_LOWER", [2, 3], [1, 2], [1, 1]), ("VALID", [3, 3], [1, 1], [1, 1])],
)  # fmt: skip
def test_patches_times_weights_is_the_convolution(pads, kernel, strides, dilations):
    net = Net(image=(2, 3, 7, 8))
    weights = net.normal(5, 3, *kernel)
    given = {"auto_pad": pads} if isinstance(pads, str) else {"pads": pads}
    net.op("Conv", "image", weights, name="first", kernel_shape=kernel, strides=strides, dilations=dilations, **given)
    model = net.model("first")
    random = np.random.default_rng(0)
    image, wanted = random.random((2, 3, 7, 8), np.float32), outputs(model)[0]
    settings = {"strides": strides, "dilations": dilations, **({"auto_pad": pads.encode()} if isinstance(pads, str) else given)}
    padded, spatial, *rest = patches.padded_for(image, kernel, settings)
    assert spatial == list(wanted.shape[2:])
    places = np.arange(2 * np.prod(spatial))
    found = patches.patches(padded, places, spatial, kernel, *rest) @ net.weights[weights].reshape(5, -1).T
    assert np.allclose(found, np.moveaxis(wanted, 1, -1).reshape(-1, 5), atol=1e-5)


def redundant(last, channels=8, **options):
    """A net whose first layer has ``channels`` channels, of which the last is half of the first, so that it is not needed."""
    net = Net(image=(1, 3, 8, 8), **options)
    x = net.conv("image", channels, 3, name="first")
    for name in ("c0", "c1"):
        net.weights[name][-1] = net.weights[name][0] / 2
    return net, last(net, net.op("Relu", x))


def _lasts():
    yield lambda net, x: net.conv(x, 4, 3, name="last")
    yield lambda net, x: net.conv(x, 4, 3, bias=False, stride=2, name="last")
    yield lambda net, x: net.gemm(net.op("ReduceMean", x, axes=[2, 3], keepdims=0, shape=(1, 8)), 4, name="last")
    yield lambda net, x: net.dense(net.transpose(x, 0, 2, 3, 1), 4, name="last")
    yield lambda net, x: net.op("MatMul", net.transpose(x, 0, 2, 3, 1), net.normal(8, 4), name="last", shape=(1, 8, 8, 4))


@pytest.mark.parametrize("last", list(_lasts()))
def test_a_channel_that_others_hold_too_is_not_missed(last):
    net, x = redundant(last)
    model = net.model(x)
    plain, mended = (pruned_by(model, first=7, data=data).model for data in (None, IMAGES))
    (wanted,), (without,), (found,) = (outputs(one) for one in (model, plain, mended))
    assert np.abs(found - wanted).max() < 0.2 * np.abs(without - wanted).max()
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_groups_are_fitted_apart():
    net = Net(image=(1, 3, 8, 8))
    x = net.conv("image", 8, 3, name="first")
    for name in ("c0", "c1"):
        net.weights[name][[3, 7]] = net.weights[name][[0, 4]] / 2
    model = net.model(net.conv(net.op("Relu", x), 6, 3, group=2, name="last"))
    (wanted,), (found,) = outputs(model), outputs(pruned_by(model, first=6, data=IMAGES).model)
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_the_mean_that_a_lost_channel_gave_goes_into_the_bias():
    net = Net(image=(1, 3, 8, 8))
    x = net.conv("image", 4, 1, name="first")
    net.weights["c0"][-1], net.weights["c1"][-1] = 0, 0.01  # a constant: least of all, but not nothing
    model = net.model(net.conv(net.op("Add", x, net.const(np.full((1,), 3, np.float32))), 2, 1, bias=False, name="last"))
    done = pruned_by(model, first=3, data=IMAGES)
    assert len(next(node for node in done.model.graph.node if node.name == "last").input) == 3
    for wanted, found in zip(outputs(model), outputs(done.model), strict=True):
        assert np.allclose(found, wanted, atol=1e-3)


def test_each_layer_is_fitted_to_what_the_pruned_ones_before_give():
    """Three layers in a row: fitted one after the other the end is nearer than with the last alone as it was."""
    net = Net(image=(1, 3, 8, 8))
    x = net.op("Relu", net.conv("image", 12, 3, name="a"))
    x = net.op("Relu", net.conv(x, 12, 3, name="b"))
    model = net.model(net.conv(x, 4, 1, name="c"))
    wishes = {"a": 9, "b": 9}
    (wanted,), (without,), (found,) = (outputs(one) for one in (
        model, pruned_by(model, **wishes).model, pruned_by(model, **wishes, data=IMAGES).model))  # fmt: skip
    assert np.square(found - wanted).sum() < 0.6 * np.square(without - wanted).sum()


def test_sparse_weights_stay_sparse():
    net, x = redundant(lambda net, x: net.conv(x, 4, 3, name="last"))
    model = net.model(x)
    decisions = Decision(layer="first", channels=7), Decision(layer="last", sparsity=0.5)
    done = step(work_for(model, *decisions, data=IMAGES))
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in done.model.graph.initializer}
    assert np.array_equal(weights["c2"], np.delete(net.weights["c2"], 7, axis=1))
    assert not np.array_equal(weights["c3"], net.weights["c3"])
    assert done.notes == ("Of 1 layers that lost inputs the weights stayed and the bias alone was corrected.",)


def test_without_data_it_is_said_that_nothing_was_fitted():
    net, x = redundant(lambda net, x: net.conv(x, 4, 3, name="last"))
    model = net.model(x)
    assert "without data" in pruned_by(model, first=7).notes[0]
    note = pruned_by(model, first=7, data=IMAGES).notes[0]
    assert note.startswith("1 layer that lost inputs were fitted by least squares on 40 samples") and "without." in note


def test_half_precision_stays_half():
    net = Net(image=(1, 3, 8, 8))
    half = net.op("Cast", "image", to=10)
    for name, shape in (("a", (8, 3, 1, 1)), ("b", (4, 8, 1, 1))):
        half = net.op(
            "Conv",
            half,
            net.const(net.random.normal(size=shape).astype(np.float16)),
            name=name,
            kernel_shape=[1, 1],
            shape=(1, shape[0], 8, 8),
        )
    model = net.model(net.op("Cast", half, to=1))
    done = pruned_by(model, a=6, data=IMAGES)
    assert {tensor.data_type for tensor in done.model.graph.initializer} == {10}
    assert np.isfinite(outputs(done.model)[0]).all()


def test_a_real_net_keeps_its_accuracy_with_few_images():
    """Without compensation a fifth of the channels takes most of it."""
    path = "sample_models/resnet8_mnist.onnx"
    data = load_data("sample_models/held_out_digits.toml", load_model(path))
    calibration, rest = data.split(60)
    test = rest.take(300, seed=0)
    with Apart("pruning") as worker:
        plain, mended = (prune(path, 0.2, target=Target(), data=given, worker=worker) for given in (None, calibration))
        before, after = (score(built.model, test, worker=worker).value for built in (plain, mended))
    assert before < 0.6 < 0.93 < after
    assert len(plain.model) == pytest.approx(len(mended.model), rel=0.01)


def test_layers_that_take_the_same_are_all_fitted():
    net, x = redundant(lambda net, x: net.op("Add", net.conv(x, 4, name="one"), net.conv(x, 4, name="two")))
    done = pruned_by(net.model(x), first=7, data=IMAGES)
    assert done.notes[0].startswith("2 layers")
