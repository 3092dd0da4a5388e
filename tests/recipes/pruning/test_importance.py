"""Which channels go first."""

import numpy as np
import pytest

from edgeprof.datasets import Dataset
from edgeprof.errors import RecipeError
from edgeprof.recipes.prune import prune
from edgeprof.recipes.pruning.constants import Constants
from edgeprof.recipes.pruning.groups import couple, graph_of
from edgeprof.recipes.pruning.importance import by_activations, by_weights
from edgeprof.recipes.recipe import Decision
from tests.recipes.pruning.models import Net
from tests.recipes.pruning.running import work_for


def image_net():
    return Net(image=(1, 2, 4, 4))


def numbers(model, layer, kind):
    coupling = couple(graph_of(model))
    found = by_weights(coupling, coupling.group_of[layer], Constants(model), kind)
    return [found[label] for label in coupling.made[layer].tolist()]


def one_layer(weights, bias=None, after=lambda net, x: x):
    net = image_net()
    held = [net.const(np.array(weights, np.float32).reshape(-1, 2, 1, 1))] + ([net.const(np.array(bias, np.float32))] if bias else [])
    x = net.op("Conv", "image", *held, name="first", kernel_shape=[1, 1], shape=(1, len(weights), 4, 4))
    return net, after(net, x)


@pytest.mark.parametrize(("kind", "wanted"), [("l1", [7, 6, 2]), ("l2", [5, np.sqrt(18), 2])])
def test_norms(kind, wanted):
    net, x = one_layer([[3, -4], [3, 3], [0, 2]])
    found = numbers(net.model(net.conv(x, 3)), "first", kind)
    assert found == pytest.approx(np.array(wanted) / np.mean(wanted))


def test_a_bias_counts():
    net, x = one_layer([[0, 0], [0, 1]], bias=[2, 0])
    assert numbers(net.model(net.conv(x, 3)), "first", "l1") == pytest.approx([4 / 3, 2 / 3])


def test_a_normalisation_that_follows_is_folded_in():
    def after(net, x):
        held = [net.const(np.array(one, np.float32)) for one in ([1, 4], [0, 0], [0, 0], [1, 1])]
        return net.op("BatchNormalization", x, *held, epsilon=0.0)

    net, x = one_layer([[2, 0], [1, 0]], after=after)
    assert numbers(net.model(net.conv(x, 3)), "first", "l1") == pytest.approx([2 / 3, 4 / 3])


def test_layers_of_a_group_count_alike():
    """A layer whose weights are a thousand times larger does not decide alone."""
    net = image_net()
    parts = [
        net.op(
            "Conv", "image", net.const(np.array(values, np.float32).reshape(2, 2, 1, 1)), name=name, kernel_shape=[1, 1], shape=(1, 2, 4, 4)
        )
        for name, values in (("a", [[1000, 0], [1100, 0]]), ("b", [[3, 0], [1, 0]]))
    ]
    found = numbers(net.model(net.conv(net.op("Add", *parts), 3)), "a", "l2")
    assert found[0] > found[1]


def test_activations_are_those_that_the_next_layer_sees():
    net, x = one_layer([[1, 0], [-5, 0], [0, 3]], after=lambda net, x: net.op("Relu", x))
    model = net.model(net.conv(x, 3))
    coupling = couple(graph_of(model))
    data = Dataset({"image": np.ones((4, 2, 4, 4), np.float32)})
    found = by_activations(coupling, [coupling.group_of["first"]], model, data)["first"]
    assert [found[label] for label in coupling.made["first"].tolist()] == pytest.approx([3 / 4, 0, 9 / 4])


def test_the_recipe_chooses_the_kind():
    net, x = one_layer([[1, 0], [-5, 0], [0, 3]], after=lambda net, x: net.op("Relu", x))
    model = net.model(net.conv(x, 3))
    kept = {}
    for kind in ("l2", "activation"):
        data = Dataset({"image": np.ones((4, 2, 4, 4), np.float32)})
        done = prune(work_for(model, Decision(layer="first", channels=2, importance=kind), data=data))
        weights = next(tensor for tensor in done.model.graph.initializer if tensor.name == "c0")
        kept[kind] = np.frombuffer(weights.raw_data, np.float32).reshape(-1, 2).tolist()
    assert kept == {"l2": [[-5, 0], [0, 3]], "activation": [[1, 0], [0, 3]]}


def test_activations_need_data():
    net, x = one_layer([[1, 0], [-5, 0], [0, 3]])
    with pytest.raises(RecipeError, match="Importance by activations needs calibration data"):
        prune(work_for(net.model(net.conv(x, 3)), Decision(layer="first", channels=2, importance="activation")))
