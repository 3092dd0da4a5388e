"""The step on real models, and what it refuses."""

from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest

from edgeprof.apart import Apart
from edgeprof.errors import RecipeError
from edgeprof.recipes.build import apply, prune
from edgeprof.recipes.recipe import Decision, Recipe
from edgeprof.recipes.target import Target
from tests.recipes.pruning.models import Net
from tests.recipes.pruning.running import outputs, pruned, pruned_by

LIGHT = sorted(Path(onnx.backend.test.__file__).parent.glob("data/light/*.onnx"))
SAMPLES = sorted(Path("sample_models").glob("*.onnx"))


@pytest.fixture(scope="module")
def worker():
    with Apart("pruning") as found:
        yield found


@pytest.mark.parametrize("path", [*SAMPLES, *LIGHT], ids=lambda path: path.stem)
def test_real_models(path, worker):
    built = prune(path, 0.25, target=Target(), worker=worker)
    model = onnx.ModelProto.FromString(built.model)
    onnx.checker.check_model(model, full_check=True)
    assert sum(bool(change.done) for change in built.changes) > len(built.changes) / 3
    assert all(change.reason for change in built.refused)
    (found,) = outputs(model)
    assert found.shape[:2] in ((1, 10), (1, 1000)) and np.isfinite(found).all()


def test_what_is_asked_of_all_is_reported_for_layers_with_weights():
    net = Net(image=(1, 3, 4, 4))
    done = pruned(net.model(net.conv(net.op("Relu", net.conv("image", 8, name="first")), 5, name="last")))
    assert [(change.layer, change.done, change.reason) for change in done.changes] == [
        ("first", "8 to 6 channels", ""),
        ("last", "", "its channels are the model's output 'last'"),
    ]


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("last", "'last' cannot be pruned by 25 % of 5 channels: its channels are the model's output 'last'. Leave it out."),
        ("relu1", "'relu1' cannot be pruned by 25 % of the channels: it makes no channels with weights of its own. Leave it out."),
    ],
)
def test_a_layer_that_is_called_by_its_name_must_be_pruned(layer, text):
    net = Net(image=(1, 3, 4, 4))
    model = net.model(net.conv(net.op("Relu", net.conv("image", 8, name="first")), 5, name="last"))
    with pytest.raises(RecipeError) as error:
        pruned_by(model, **{layer: 0.25})
    assert str(error.value) == text


def test_heads_that_cannot_be_cut_in_parts():
    net = Net(tokens=(1, 5, 12))
    model = net.model(net.dense(net.op("ReduceMean", net.attention("tokens", 2, 8), axes=[1], keepdims=0, shape=(1, 12)), 3))
    told = {change.layer: change.reason for change in pruned(model, 0.25).changes}
    assert told["attention/key"] == "no whole unit of it can go: channels go 8 at a time"


def test_a_quantized_model_is_refused():
    net = Net(image=(1, 3, 4, 4))
    scale, zero = net.const(np.float32(0.1)), net.const(np.uint8(0))
    x = net.op("DequantizeLinear", net.op("QuantizeLinear", "image", scale, zero), scale, zero)
    with pytest.raises(RecipeError, match=r"is quantized already .*Prune the float model"):
        pruned(net.model(net.conv(x, 8)))


def test_nothing_asked_nothing_changed(worker):
    path = SAMPLES[0]
    built = apply(path, Recipe((Decision(pattern="*", prune=0.0),)), target=Target(), worker=worker)
    assert built.changes == () and built.notes == ()
    assert onnx.ModelProto.FromString(built.model).graph.initializer == onnx.load(path).graph.initializer


def test_the_same_twice(worker):
    first, second = (prune(SAMPLES[0], 0.5, target=Target(), worker=worker) for _ in range(2))
    assert first.model == second.model
