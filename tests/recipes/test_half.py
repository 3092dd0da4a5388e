"""fp16: the chosen layers and no others, casts at their borders alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgeprof import scoring
from edgeprof.apart import Apart
from edgeprof.datasets import load_data
from edgeprof.errors import RecipeError
from edgeprof.models import load_model
from edgeprof.recipes.build import quantize
from tests.recipes.nets import decided, made_of, samples, text_model
from tests.recipes.test_quantize import SAMPLE_MODELS, convs, done, outputs


@pytest.fixture(scope="module")
def worker() -> Iterator[Apart]:
    with Apart("testing recipes") as one:
        yield one


@pytest.mark.parametrize(("name", "images"), [("resnet8_mnist", "digits"), ("vit_clutter", "clutter")])
def test_all_in_fp16(worker: Apart, name: str, images: str) -> None:
    graph = load_model(SAMPLE_MODELS / f"{name}.onnx")
    data = load_data(SAMPLE_MODELS / f"held_out_{images}.toml", graph).take(40)
    built = quantize(graph, precision="fp16", worker=worker)
    assert set(done(built).values()) == {"fp16"}
    model = onnx.load_from_string(built.model)
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert len(casts) == 2  # where the image comes and where the answer goes
    assert {layer.name for layer in graph.layers} <= {node.name for node in model.graph.node}
    assert len(built.model) < 0.55 * graph.file_bytes
    before, after = (scoring.outputs_of(one, data, worker=worker) for one in (graph.path, built.model))
    assert scoring.score_outputs(after, data, "sqnr_db", before).value > 50


def test_only_the_chosen_layer_is_fp16(worker: Apart, tmp_path: Path) -> None:
    changed, built = made_of(convs(), decided("fp16", ["/b"]), tmp_path, worker)
    assert done(built) == {"/b": "fp16"}
    assert [node.op_type for node in changed.graph.node] == ["Conv", "Cast", "Relu", "Cast", "Conv"]
    kinds = {one.name: one.data_type for one in changed.graph.initializer}
    assert kinds == {"w1": TensorProto.FLOAT, "w2": TensorProto.FLOAT}
    before, after = outputs(convs(), samples()), outputs(changed, samples())
    assert scoring.sqnr_db(before["y"], after["y"]) > 50


def test_what_two_layers_share_is_kept_in_both_widths(worker: Apart, tmp_path: Path) -> None:
    body = "(float[n,3,6,6] x) => (float[n,4,6,6] y, float[n,4,6,6] z) { y = Conv<pads=[1,1,1,1]>(x, w1)  z = Conv<pads=[1,1,1,1]>(x, w1) }"
    changed, _ = made_of(convs(body), decided("fp16", ["/y"]), tmp_path, worker)
    before, after = outputs(convs(body), samples()), outputs(changed, samples())
    np.testing.assert_array_equal(before["z"], after["z"])
    assert 50 < scoring.sqnr_db(before["y"], after["y"]) < 100


def test_sizes_and_bounds_keep_their_types(worker: Apart, tmp_path: Path) -> None:
    body = "(float[n,3,6,6] x) => (float[n,3,k,m] y) { a = Clip(x, low, high)  b = Resize(a, , s)  y = Reshape(b, r) }"
    numbers = {"low": np.float32(-1), "high": np.float32(1), "s": np.array([1, 1, 2, 2], np.float32), "r": np.array([0, 3, 24, 6])}
    model = text_model(body, **numbers)
    changed, built = made_of(model, decided("fp16"), tmp_path, worker)
    assert set(done(built).values()) == {"fp16"}
    onnx.checker.check_model(changed, full_check=True)
    assert scoring.sqnr_db(outputs(model, samples())["y"], outputs(changed, samples())["y"]) > 50


def test_a_comparison_compares_halves(worker: Apart, tmp_path: Path) -> None:
    model = text_model("(float[n,3] x) => (bool[n,3] y) { y = Greater(x, low) }", low=np.float32(0.25))
    changed, built = made_of(model, decided("fp16"), tmp_path, worker)
    assert done(built) == {"/y": "fp16"}
    np.testing.assert_array_equal(outputs(model, samples(9, (3,)))["y"], outputs(changed, samples(9, (3,)))["y"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{ y = Mul(x, big) }", "'big' has values beyond what fp16 holds (65,504)"),
        ("{ a = Shape(x)  y = ConstantOfShape(a) }", "ConstantOfShape only makes values for others"),
        ("{ y, i = TopK(x, k) }", "ONNX Runtime's fp16 converter leaves TopK in float"),
        ("{ y = com.microsoft.Gelu(x) }", "Gelu is no operator of ONNX itself, and what types it takes is not known"),
        ("{ a = Cast<to=7>(x)  b = Abs(a)  y = Cast<to=1>(b) }", "it works on no float32 values"),
    ],
)
def test_a_named_layer_that_cannot_be_fp16_is_refused(worker: Apart, tmp_path: Path, body: str, said: str) -> None:
    model = text_model(f"(float[n,4] x) => (float[n,m] y) {body}", big=np.float32([1e5]), k=np.array([1]))
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    layer = "/b" if "Abs" in body else "/y"
    with pytest.raises(RecipeError) as caught:
        made_of(model, decided("fp16", [layer]), tmp_path, worker)
    assert str(caught.value) == f"'{layer}' cannot be made fp16: {said}. Leave it out."
