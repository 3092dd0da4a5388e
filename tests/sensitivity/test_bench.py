"""Trials themselves: the models that they make, held against what `apply` makes and against arithmetic."""

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeprof import running, scoring
from edgeprof.datasets import load_data
from edgeprof.errors import UsageError
from edgeprof.models import load_model
from edgeprof.recipes.build import apply
from edgeprof.recipes.recipe import Quantization
from edgeprof.recipes.target import Target
from edgeprof.sensitivities import bench as benches
from edgeprof.sensitivities.bench import Bench, Setup
from edgeprof.sensitivities.trials import ALL, Trial, recipe_of
from tests.sensitivity.nets import CONVS, images, net

TARGET = Target("x86_64", frozenset({"avx512_vnni"}), "test CPU")
ONE_SCALE = Quantization(per_channel=False)


def opened(path, quantization=ONE_SCALE, data=None):
    graph = load_model(path)
    calibration, held_out = load_data(images() if data is None else data, graph).split(16)
    return Bench(Setup(graph.path, graph, held_out, calibration, quantization, TARGET, "sqnr_db"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return opened(net(tmp_path_factory.mktemp("net") / "net.onnx"))


@pytest.fixture(scope="module")
def every(bench):
    return bench.survey("int8").every


def sqnr(bench, model):
    return scoring.sqnr_db(bench.reference["y"], running.outputs(model.SerializeToString(), bench.setup.data)["y"])


def test_layers_that_can_those_that_follow_and_those_that_cannot(tmp_path):
    found = opened(net(tmp_path / "net.onnx", tail=("Tanh",))).survey("int8")
    assert found.layers == (*CONVS, "pool", "fc")
    assert set(found.followers) == {"flatten", *(f"{name}_relu" for name in CONVS)}
    assert found.reasons["first_relu"] == "Relu becomes int8 with the layer that it follows"
    assert found.reasons["tail_Tanh"] == "ONNX Runtime has no 8-bit kernel for Tanh"


@pytest.mark.parametrize("trial", [Trial("int8", "all", ALL), Trial("int8", "only", "second"), Trial("int8", "without", "second")], ids=str)
def test_a_trial_is_what_apply_makes(bench, every, trial):
    made, reason = bench.make(trial, every)
    recipe = recipe_of(trial, every, ONE_SCALE)
    built = apply(bench.setup.graph, recipe, data=bench.setup.calibration, target=TARGET)
    data = bench.setup.data
    assert not reason and np.array_equal(running.outputs(made.SerializeToString(), data)["y"], running.outputs(built.model, data)["y"])


def test_weights_and_activations_make_up_the_whole(bench, every):
    noise = {
        mode: 10 ** (-sqnr(bench, bench.make(Trial("int8", mode, "second"), every)[0]) / 10) for mode in ("only", "weights", "activations")
    }
    assert 0 < noise["weights"] < noise["only"] * 1.5 and 0 < noise["activations"] < noise["only"] * 1.5
    assert noise["weights"] + noise["activations"] == pytest.approx(noise["only"], rel=0.5)


def test_weights_alone_are_their_8_bit_values(bench, every):
    """Three models: all float, 8-bit weights in the second layer, and the float model with those very weights."""
    made, _ = bench.make(Trial("int8", "weights", "second"), every)
    weights = onnx.numpy_helper.to_array(next(one for one in bench.model.graph.initializer if one.name == "second.w"))
    scale = np.float32(np.abs(weights).max()) / 127
    rounded = onnx.ModelProto()
    rounded.CopyFrom(bench.model)
    stored = next(one for one in rounded.graph.initializer if one.name == "second.w")
    stored.CopyFrom(onnx.numpy_helper.from_array((np.rint(weights / scale) * scale).astype(np.float32), "second.w"))
    data = bench.setup.data
    outputs = [running.outputs(model.SerializeToString(), data)["y"] for model in (made, rounded)]
    assert scoring.sqnr_db(outputs[1], outputs[0]) > 70


def test_activations_alone_leave_the_weights_and_no_runtime_quantizes_them(bench, every):
    made, _ = bench.make(Trial("int8", "activations", "second"), every)
    node = next(node for node in made.graph.node if node.name == "second")
    kept = next(one for one in made.graph.initializer if one.name == node.input[1])
    assert np.array_equal(onnx.numpy_helper.to_array(kept), onnx.numpy_helper.to_array(bench.model.graph.initializer[2]))
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(made.SerializeToString(), plain, providers=["CPUExecutionProvider"])
    as_it_stands = session.run(None, {"x": bench.setup.data.inputs["x"]})[0]
    assert scoring.sqnr_db(as_it_stands, running.outputs(made.SerializeToString(), bench.setup.data)["y"]) > 60


def test_a_layer_that_cannot_have_it_alone_says_why(bench, every):
    assert "float" in bench.make(Trial("int8", "only", "flatten"), every)[1]


def test_ranges_are_found_once(tmp_path, monkeypatch):
    from edgeprof.recipes import quantize

    asked = []
    own = quantize.ranges
    monkeypatch.setattr(quantize, "ranges", lambda model, data, names, method: asked.extend(names) or own(model, data, names, method))
    bench = opened(net(tmp_path / "net.onnx"))
    every = bench.survey("int8").every
    for layer in CONVS:
        bench.make(Trial("int8", "only", layer), every)
        bench.make(Trial("int8", "without", layer), every)
    assert len(asked) == len(set(asked)) > 0


def test_outputs_that_are_not_finite_are_a_reason(bench, every, monkeypatch):
    def broken(model, data):
        return {"y": np.full((len(data), 5), np.inf, np.float32)}

    monkeypatch.setattr(benches.running, "outputs", broken)
    assert bench.attempt(Trial("int8", "only", "first"), every).reason == "its outputs are not finite on some sample"


def test_pruning_is_tried_by_groups(bench):
    found = bench.survey("prune 0.5")
    assert set(found.layers) == set(CONVS) and found.reasons["fc"]
    tried = bench.attempt(Trial("prune 0.5", "only", "second"), found.every)
    assert not tried.reason and tried.model_bytes < bench.model_bytes and tried.sqnr.value < 60


def test_no_bench_in_this_process():
    benches.close_bench()
    with pytest.raises(UsageError, match="No bench was opened"):
        benches.survey("int8")
