"""int8: what is asked comes true layer by layer, the rest stays as it is, and what cannot be is told in a sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeprof import scoring
from edgeprof.apart import Apart
from edgeprof.datasets import load_data
from edgeprof.errors import RecipeError
from edgeprof.models import load_model
from edgeprof.recipes.build import apply, quantize
from edgeprof.recipes.kernels import ACTIVATIONS, COMPUTING
from edgeprof.recipes.recipe import Decision, Quantization, Recipe
from edgeprof.recipes.target import Target, this_machine
from edgeprof.recipes.wiring import Wiring
from tests.laws import examples
from tests.recipes.nets import Net, decided, made_of, nets, samples, text_model

SAMPLE_MODELS = Path(__file__).parents[2] / "sample_models"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
X86 = Target("x86_64", frozenset({"avx512_vnni"}), "a test")
PRECISIONS = [None, "fp32", "int8", "fp16", "int8-weights", "int4-weights"]


@pytest.fixture(scope="module")
def worker() -> Iterator[Apart]:
    with Apart("testing recipes") as one:
        yield one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nets")


def outputs(model: Any, x: np.ndarray, optimized: Path | None = None) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: x}), strict=True))


def done(built: Any) -> dict[str, str]:
    return {change.layer: change.done for change in built.changes if change.asked == "precision"}


def reason(built: Any, layer: str) -> str:
    return next(change.reason for change in built.changes if change.layer == layer)


# Laws


@examples(0.8)
@given(nets(), st.sampled_from(["uint8", "int8"]), st.booleans())
def test_everything_in_int8(worker: Apart, folder: Path, model: Any, kind: str, per_channel: bool) -> None:
    x = samples()
    recipe = Recipe(decided().decisions, Quantization(kind, per_channel))
    changed, built = made_of(model, recipe, folder, worker, {"x": x})
    onnx.checker.check_model(changed, full_check=True)
    before, after = outputs(model, x), outputs(changed, x, folder / "optimized.onnx")
    for name, values in before.items():
        assert scoring.sqnr_db(values, after[name]) > 10
    runs = {node.name: node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node}
    float_ones = {layer for layer, what in done(built).items() if what == "int8" and runs.get(layer) in COMPUTING}
    if kind == this_machine().activation_type:
        assert not float_ones, onnx.printer.to_text(model)
    assert any(what == "int8" for what in done(built).values())


@examples(0.8)
@given(nets(), st.data())
def test_any_recipe_makes_a_model_that_runs_and_changes_no_other_layer(
    worker: Apart, folder: Path, model: Any, data: st.DataObject
) -> None:
    x = samples(4)
    chosen = {node.name: data.draw(st.sampled_from(PRECISIONS)) for node in model.graph.node}
    sparse = {node.name: data.draw(st.sampled_from([None, None, 0.3])) for node in model.graph.node}
    decisions = [Decision(pattern=name, precision=chosen[name], sparsity=sparse[name]) for name in chosen if chosen[name] or sparse[name]]
    changed, built = made_of(model, Recipe(tuple(decisions)), folder, worker, {"x": x})
    onnx.checker.check_model(changed, full_check=True)
    before, after = outputs(model, x), outputs(changed, x)
    assert {name: values.shape for name, values in before.items()} == {name: values.shape for name, values in after.items()}
    assert all(np.isfinite(values).all() and values.dtype == np.float32 for values in after.values())
    _other_layers_are_as_they_were(model, changed, built)


def _other_layers_are_as_they_were(model: Any, changed: Any, built: Any) -> None:
    folded = {layer for layer, what in done(built).items() if what.startswith("folded")}
    touched = {change.layer for change in built.changes if change.done not in ("", "fp32")}
    now = {node.name: node for node in changed.graph.node}
    before, after = Wiring(model), Wiring(changed)
    for node in model.graph.node:
        if node.name not in now:
            assert node.name in folded or node.op_type == "BatchNormalization"
        elif node.name not in touched:
            assert now[node.name].op_type == node.op_type
            for old, new in zip(node.input, now[node.name].input, strict=True):
                values = before.constant(old)
                if values is not None:
                    np.testing.assert_array_equal(values, after.constant(new))
                maker = after.maker.get(new)
                if maker is not None and maker.op_type == "DequantizeLinear":  # an 8-bit layer made it, else it would be float
                    assert _is_part_of_8bit(before, before.maker[old], built)


def _is_part_of_8bit(wiring: Wiring, node: Any, built: Any) -> bool:
    """Whether a layer is int8 or goes with one that is: folded into it, or an activation of which nothing is said."""
    if node.name in done(built):
        return done(built)[node.name] == "int8" or done(built)[node.name].startswith("folded")
    return node.op_type in (*ACTIVATIONS, "BatchNormalization") and _is_part_of_8bit(wiring, wiring.maker[node.input[0]], built)


# Trained models


@pytest.mark.parametrize(("name", "images"), [("resnet8_mnist", "digits"), ("vit_clutter", "clutter")])
def test_int8_keeps_accuracy(worker: Apart, name: str, images: str) -> None:
    graph = load_model(SAMPLE_MODELS / f"{name}.onnx")
    data = load_data(SAMPLE_MODELS / f"held_out_{images}.toml", graph)
    calibration, test = data.take(200).split(50)
    built = quantize(graph, data=calibration, target=X86, worker=worker)
    before, after = (scoring.outputs_of(model, test, worker=worker) for model in (graph.path, built.model))
    assert scoring.drop(scoring.score_outputs(before, test), scoring.score_outputs(after, test)).value <= 0.015
    assert scoring.score_outputs(after, test, "sqnr_db", before).value > 25
    assert len(built.model) < 0.45 * graph.file_bytes
    names = {node.name for node in onnx.load_from_string(built.model).graph.node}
    assert {layer.name for layer in graph.layers} <= names
    assert built.activation_type == "uint8"


@pytest.mark.parametrize("calibration", ["minmax", "percentile", "entropy"])
def test_each_calibration_is_close(worker: Apart, calibration: str) -> None:
    graph = load_model(SAMPLE_MODELS / "dscnn_mnist.onnx")
    data = load_data(SAMPLE_MODELS / "held_out_digits.toml", graph).take(64)
    built = quantize(graph, data=data, quantization=Quantization(calibration=calibration), worker=worker)
    before, after = (scoring.outputs_of(model, data, worker=worker) for model in (graph.path, built.model))
    assert scoring.score_outputs(after, data, "sqnr_db", before).value > (15 if calibration == "entropy" else 25)


QUICK = ("light_squeezenet", "light_shufflenet")


@pytest.mark.parametrize("name", sorted(path.stem for path in LIGHT.glob("light_*.onnx")))
def test_real_architectures(worker: Apart, name: str) -> None:
    if name not in QUICK and os.environ.get("EDGEPROF_TESTS") != "thorough":
        pytest.skip("takes long; EDGEPROF_TESTS=thorough runs it")
    graph = load_model(LIGHT / f"{name}.onnx")
    data = load_data({entry.name: samples(1, entry.shape[1:]) for entry in graph.inputs}, graph)
    built = quantize(graph, data=data, worker=worker)
    convolutions = [layer.name for layer in graph.layers if layer.op_type == "Conv"]
    assert all(done(built)[layer] == "int8" for layer in convolutions)
    norms = [layer.name for layer in graph.layers if layer.op_type == "BatchNormalization"]
    assert not norms or sum(done(built)[layer].startswith("folded") for layer in norms) >= len(norms) / 3
    after = scoring.outputs_of(built.model, data, worker=worker)
    assert all(np.isfinite(values).all() for values in after.values())
    assert any("converted from operator set 9" in note for note in built.notes)


# Layer by layer

CONVS = "(float[n,3,6,6] x) => (float[n,4,6,6] y) { a = Conv<pads=[1,1,1,1]>(x, w1)  b = Relu(a)  y = Conv<pads=[1,1,1,1]>(b, w2) }"


def convs(body: str = CONVS, **more: np.ndarray) -> Any:
    random = np.random.default_rng(0)
    w1, w2 = (random.standard_normal(shape).astype(np.float32) * 0.3 for shape in ((4, 3, 3, 3), (4, 4, 3, 3)))
    return text_model(body, w1=w1, w2=w2, **more)


def test_fp32_by_name_stays_float(worker: Apart, folder: Path) -> None:
    recipe = Recipe((*decided().decisions, Decision(layer="/y", precision="fp32")))
    changed, built = made_of(convs(), recipe, folder, worker, {"x": samples()})
    wiring = Wiring(changed)
    assert done(built) == {"/a": "int8", "/b": "int8", "/y": "fp32"}
    np.testing.assert_array_equal(wiring.constant(wiring.node("/y").input[1]), Wiring(convs()).constant("w2"))
    assert [entry.name for entry in changed.graph.output] == ["y"]
    assert wiring.maker["y"].name == "/y"


def test_a_float_layer_between_8_bit_ones_is_computed_in_float(worker: Apart, folder: Path, tmp_path: Path) -> None:
    """The runtime would take its weight for one that was forgotten; what it computes in is read from what it made of the model."""
    body = """(float[n,3,6,6] x) => (float[n,4,6,6] y)
        { a = Conv<pads=[1,1,1,1]>(x, w1)  b = Relu(a)  c = Conv<pads=[1,1,1,1]>(b, w2)  d = Relu(c)  y = Conv<pads=[1,1,1,1]>(d, w2) }"""
    recipe = Recipe((*decided().decisions, Decision(layer="/c", precision="fp32")))
    changed, _ = made_of(convs(body), recipe, folder, worker, {"x": samples()})
    outputs(changed, samples(), tmp_path / "optimized.onnx")
    ops = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node if "Conv" in node.op_type]
    assert sorted(ops) == ["Conv", "QLinearConv", "QLinearConv"]


def test_an_activation_goes_with_its_layer_unless_it_is_to_stay_float(worker: Apart, folder: Path) -> None:
    changed, built = made_of(convs(), decided(layers=["/a"]), folder, worker, {"x": samples()})
    wiring = Wiring(changed)
    assert done(built) == {"/a": "int8"}
    assert [node.op_type for node in wiring.readers[wiring.node("/b").output[0]]] == ["QuantizeLinear"]
    recipe = Recipe((Decision(layer="/a", precision="int8"), Decision(layer="/b", precision="fp32")))
    wiring = Wiring(made_of(convs(), recipe, folder, worker, {"x": samples()})[0])
    assert [node.op_type for node in wiring.readers[wiring.node("/a").output[0]]] == ["QuantizeLinear"]


def test_float_layers_read_what_float_layers_make(worker: Apart, folder: Path) -> None:
    body = """(float[n,3,6,6] x) => (float[n,4,6,6] y, float[n,3,6,6] a, float[n,3,6,6] z)
        { a = Softplus(x)  z = Tanh(a)  y = Conv<pads=[1,1,1,1]>(a, w1) }"""
    changed, _ = made_of(convs(body), decided(layers=["/y"]), folder, worker, {"x": samples()})
    before, after = outputs(convs(body), samples()), outputs(changed, samples())
    np.testing.assert_array_equal(before["a"], after["a"])
    np.testing.assert_array_equal(before["z"], after["z"])
    assert 25 < scoring.sqnr_db(before["y"], after["y"]) < 100
    assert Wiring(changed).maker["a"].name == "/a"


def test_a_weight_that_two_layers_share_is_narrowed_for_one(worker: Apart, folder: Path) -> None:
    body = "(float[n,3,6,6] x) => (float[n,4,6,6] y, float[n,4,6,6] z) { y = Conv<pads=[1,1,1,1]>(x, w1)  z = Conv<pads=[1,1,1,1]>(x, w1) }"
    changed, _ = made_of(convs(body), decided(layers=["/y"]), folder, worker, {"x": samples()})
    before, after = outputs(convs(body), samples()), outputs(changed, samples())
    np.testing.assert_array_equal(before["z"], after["z"])
    assert not np.array_equal(before["y"], after["y"])


def test_a_norm_is_folded_into_its_conv(worker: Apart, folder: Path) -> None:
    net = Net()
    at = net.put("Conv", "x", net.weight(4, 3, 1, 1))
    scale, shift, mean = net.weight(4, shift=1.0), net.weight(4), net.weight(4)
    at = net.put("BatchNormalization", at, scale, shift, mean, net.store(np.full(4, 2.0, np.float32)), epsilon=0.1)
    model = net.model({"x": ["n", 3, 6, 6]}, [at])
    conv, norm = (node.name for node in model.graph.node)
    changed, built = made_of(model, decided(), folder, worker, {"x": samples()})
    assert done(built) == {conv: "int8", norm: f"folded into '{conv}'"}
    assert "1 BatchNormalization layer is folded into the Conv before." in built.notes
    assert scoring.sqnr_db(outputs(model, samples())[at], outputs(changed, samples())[at]) > 25
    recipe = Recipe((Decision(layer=conv, precision="int8"), Decision(layer=norm, precision="fp32")))
    kept, built = made_of(model, recipe, folder, worker, {"x": samples()})
    assert done(built) == {conv: "int8", norm: "fp32"}
    assert scoring.sqnr_db(outputs(model, samples())[at], outputs(kept, samples())[at]) > 25


@pytest.mark.parametrize(
    ("op", "body", "weights"),
    [
        ("MatMul of two", "(float[4,4] x) => (float[4,4] y) { y = MatMul(x, x) }", {}),
        ("a constant first", "(float[4,4] x) => (float[4,4] y) { y = MatMul(w, x) }", {"w": (4, 4)}),
        ("many matrices", "(float[2,3,4] x) => (float[2,3,4] y) { y = MatMul(x, w) }", {"w": (2, 4, 4)}),
        ("Gemm with alpha", "(float[n,4] x) => (float[n,5] y) { y = Gemm<alpha=0.5, beta=2.0>(x, w, b) }", {"w": (4, 5), "b": (5,)}),
        ("a constant in a node", "(float[n,4] x) => (float[n,4] y) { c = Constant<value_floats=[1.0,2.0,3.0,4.0]>()  y = Mul(x, c) }", {}),
        ("Softmax over many", "(float[n,600] x) => (float[n,600] y) { y = Softmax(x) }", {}),
        ("Split", "(float[n,4] x) => (float[n,2] y, float[n,2] z) { a = Sigmoid(x)  y, z = Split<axis=1>(a, s) }", {"s": [2, 2]}),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)  # fmt: skip
def test_what_int8_must_bear(worker: Apart, folder: Path, op: str, body: str, weights: dict[str, Any]) -> None:
    random = np.random.default_rng(1)
    stored = {
        name: np.array(shape, np.int64) if isinstance(shape, list) else random.standard_normal(shape).astype(np.float32)
        for name, shape in weights.items()
    }
    model = text_model(body, **stored)
    shape = [entry.dim_value or 8 for entry in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    changed, built = made_of(model, decided(), folder, worker, {"x": x})
    onnx.checker.check_model(changed, full_check=True)
    assert done(built)["/y"] == "int8" if op != "Split" else done(built)["/a"] == "int8"
    before, after = outputs(model, x), outputs(changed, x, folder / "optimized.onnx")
    assert all(scoring.sqnr_db(before[name], after[name]) > 20 for name in before)
    runs = {node.name: node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node}
    assert runs.get("/y") not in COMPUTING


def test_subgraphs_and_what_they_read_are_left_alone(worker: Apart, folder: Path) -> None:
    inner = [helper.make_graph([helper.make_node(op, ["a"], [out])], op, [], [helper.make_tensor_value_info(out, 1, None)])
             for op, out in (("Tanh", "t"), ("Abs", "e"))]  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="/conv", pads=[1, 1, 1, 1]),
        helper.make_node("If", ["c"], ["b"], name="/if", then_branch=inner[0], else_branch=inner[1]),
        helper.make_node("Conv", ["b", "v"], ["y"], name="/last"),
    ]
    random = np.random.default_rng(0)
    stored = {"w": random.standard_normal((4, 3, 3, 3)), "v": random.standard_normal((2, 4, 1, 1))}
    weights = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in stored.items()]
    weights.append(numpy_helper.from_array(np.array(True), "c"))
    entries = [helper.make_tensor_value_info(name, 1, ["n", width, 6, 6]) for name, width in (("x", 3), ("y", 2))]
    model = helper.make_model(helper.make_graph(nodes, "g", entries[:1], entries[1:], weights), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    changed, built = made_of(model, decided(), folder, worker, {"x": samples()})
    assert reason(built, "/if") == "If runs other layers inside it"
    assert done(built)["/last"] == "int8"
    assert scoring.sqnr_db(outputs(model, samples())["y"], outputs(changed, samples())["y"]) > 20


def test_external_weights_and_steps_of_progress(worker: Apart, folder: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    onnx.save(convs(), tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    built = apply(tmp_path / "net.onnx", decided(), data={"x": samples()}, worker=worker, told=lambda *step: told.append(step))
    assert set(done(built).values()) == {"int8"}
    assert ("calibrate", 16, 16) in told


# What is said


def test_notes_say_what_auto_means(worker: Apart, folder: Path) -> None:
    arm = Target("aarch64", frozenset({"asimddp"}), "a board")
    old = Target("x86_64", frozenset({"sse4_2"}), "an old PC")
    _, built = made_of(convs(), decided(), folder, worker, {"x": samples(3)}, target=arm)
    assert built.activation_type == "int8"
    assert built.notes == (
        "Activations are int8, which ONNX Runtime is fastest with on aarch64 (a board).",
        "Calibrated with 3 samples only; ranges of activations are surer with some hundreds.",
    )
    changed, built = made_of(convs(), decided(), folder, worker, {"x": samples(40)}, target=old)
    assert built.notes[1] == "Weights keep to 7 bits: an old PC has no 8-bit dot product, and sums of wider ones would saturate."
    wide = [numpy_helper.to_array(one) for one in changed.graph.initializer if one.data_type == TensorProto.INT8]
    assert max(np.abs(values.astype(int)).max() for values in wide) <= 64


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{ y = Softplus(x) }", "ONNX Runtime has no 8-bit kernel for Softplus"),
        ("{ y = Relu(x) }", "Relu is 8-bit only where what it reads is, and that is float"),
        ("{ y = Transpose(x) }", "Transpose is 8-bit only where what it reads is, and that is float"),
        ("{ y = Conv(x, x) }", "its weight is not constant"),
        ("{ y = Conv(x, v) }", "its constant 'v' has values that are not finite"),
        ("{ a = Log(x)  y = Sigmoid(a) }", "'a' has values that are not finite on the calibration data"),
        ("{ y = Resize<mode=\"linear\">(x, , s) }", "ONNX Runtime has no 8-bit kernel for Resize in mode linear"),
        ("{ a = Cast<to=11>(x)  b = Sigmoid(a)  y = Cast<to=1>(b) }", "'a' is not float32"),
    ],
)  # fmt: skip
def test_a_named_layer_that_cannot_be_int8_is_refused(worker: Apart, folder: Path, body: str, said: str) -> None:
    v = np.full((3, 3, 1, 1), np.inf, np.float32)
    model = text_model(f"(float[3,3,6,6] x) => (float[3,n,m,k] y) {body}", v=v, s=np.array([1, 1, 2, 2], np.float32))
    layer = "/b" if "b =" in body else "/y"
    data = {"x": samples(3)}
    with pytest.raises(RecipeError, match="Leave it out") as caught:
        made_of(model, decided(layers=[layer]), folder, worker, data)
    assert str(caught.value) == f"'{layer}' cannot be made int8: {said}. Leave it out."
    changed, built = made_of(model, decided(pattern=layer), folder, worker, data)
    assert (done(built), reason(built, layer)) == ({layer: ""}, said)
    assert built.activation_type == ""
    assert not any(node.op_type == "QuantizeLinear" for node in changed.graph.node)


def test_a_quantized_model_is_refused(worker: Apart, folder: Path) -> None:
    once, _ = made_of(convs(), decided(), folder, worker, {"x": samples()})
    with pytest.raises(RecipeError, match=r"quantized already \(it has DequantizeLinear, QuantizeLinear\)\. Give the float model"):
        made_of(once, decided(), folder, worker, {"x": samples()})


def test_without_data_int8_is_refused(worker: Apart, folder: Path) -> None:
    with pytest.raises(RecipeError, match="int8 needs calibration data"):
        made_of(convs(), decided(), folder, worker)


def test_an_old_model_is_converted_and_keeps_its_names(worker: Apart, folder: Path) -> None:
    body = '(float[1,3,2,2] x) => (float[1,3,2,2] y, float[1,3,4,4] z) { y = Sigmoid(x)  z = Upsample<mode="nearest">(y, s) }'
    model = text_model(body, opset=9, s=np.array([1, 1, 2, 2], np.float32))
    changed, built = made_of(model, decided(), folder, worker, {"x": samples(1, (3, 2, 2))})
    assert done(built) == {"/y": "int8", "/z": "int8"}
    assert Wiring(changed).node("/z").op_type == "Resize"
    assert built.notes[0] == "net was converted from operator set 9 to 13, which int8 needs."


def test_an_old_model_that_cannot_be_converted_is_refused(worker: Apart, folder: Path) -> None:
    body = "(float[n,3] x) => (float[n,3] y, float[n,3] z) { y = Sigmoid(x)  z = Upsample<width_scale=1.0, height_scale=1.0>(x) }"
    model = text_model(body, opset=1)
    with pytest.raises(RecipeError, match=r"of operator set 1; int8 needs 13, and onnx cannot convert it .* Export it again"):
        made_of(model, decided(layers=["/y"]), folder, worker, {"x": samples(2, (3,))})
