"""Weight-only precisions: the weights are as near as so few bits can be, the layer computes in float, its name stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from edgeprof import scoring
from edgeprof.apart import Apart
from edgeprof.errors import RecipeError
from edgeprof.recipes.weights import BLOCK, narrowed
from tests.recipes.nets import decided, made_of, text_model
from tests.recipes.test_quantize import done, outputs


@pytest.fixture(scope="module")
def worker() -> Iterator[Apart]:
    with Apart("testing recipes") as one:
        yield one


@given(st.integers(0, 10_000), st.sampled_from([4, 8]), st.integers(1, 40), st.sampled_from([1e-30, 1e-3, 1.0, 1e30]))
def test_narrow_weights_are_no_farther_than_plain_rounding(seed: int, bits: int, width: int, scale: float) -> None:
    values = (np.random.default_rng(seed).standard_t(3, (3, width)) * scale).astype(np.float32)
    values[1] = 0
    whole, scales = narrowed(values, bits)
    most = 2 ** (bits - 1) - 1
    assert whole.min() >= -most - 1
    assert whole.max() <= most
    assert (scales > 0).all()
    plain = np.abs(values).max(axis=1, keepdims=True).astype(np.float64) / most
    plain[1] = 1
    error = np.square(whole * scales.astype(np.float64) - values).sum(axis=1)
    of_plain = np.square(np.clip(np.rint(values / plain), -most, most) * plain - values).sum(axis=1)
    rounding = 1e-12 * np.square(values.astype(np.float64)).sum(axis=1)  # scales are float32
    assert (error <= of_plain * 1.0001 + rounding).all()
    assert not whole[1].any()


CASES = {
    "MatMul": ("(float[n,37] x) => (float[n,6] y) { y = MatMul(x, w) }", {"w": (37, 6)}, "MatMulNBits"),
    "Gemm with a bias": ("(float[n,37] x) => (float[n,6] y) { y = Gemm<transB=1>(x, w, b) }", {"w": (6, 37), "b": (6,)}, "MatMulNBits"),
    "Gemm without": ("(float[n,37] x) => (float[n,6] y) { y = Gemm(x, w) }", {"w": (37, 6)}, "MatMulNBits"),
    "Gemm with alpha": ("(float[n,37] x) => (float[n,6] y) { y = Gemm<alpha=0.5>(x, w) }", {"w": (37, 6)}, "Gemm"),
    "many matrices": ("(float[n,3,37] x) => (float[n,3,6] y) { y = MatMul(x, w) }", {"w": (1, 37, 6)}, "MatMul"),
    "a constant first": ("(float[37,n] x) => (float[6,n] y) { y = MatMul(w, x) }", {"w": (6, 37)}, "MatMul"),
    "Conv": ("(float[n,3,6,6] x) => (float[n,4,4,4] y) { y = Conv(x, w, b) }", {"w": (4, 3, 3, 3), "b": (4,)}, "Conv"),
    "depthwise": ("(float[n,3,6,6] x) => (float[n,3,4,4] y) { y = Conv<group=3>(x, w) }", {"w": (3, 1, 3, 3)}, "Conv"),
    "ConvTranspose": ("(float[n,3,6,6] x) => (float[n,5,8,8] y) { y = ConvTranspose(x, w) }", {"w": (3, 5, 3, 3)}, "ConvTranspose"),
}


@pytest.mark.parametrize("opset", [11, 17, 21])
@pytest.mark.parametrize("precision", ["int8-weights", "int4-weights"])
@pytest.mark.parametrize("case", CASES)
def test_layers_with_narrow_weights_run(worker: Apart, tmp_path: Path, case: str, precision: str, opset: int) -> None:
    body, shapes, op_type = CASES[case]
    random = np.random.default_rng(3)
    model = text_model(body, opset, **{name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()})
    changed, built = made_of(model, decided(precision, ["/y"]), tmp_path, worker)
    onnx.checker.check_model(changed, full_check=True)
    assert done(built) == {"/y": precision}
    assert next(node.op_type for node in changed.graph.node if node.name == "/y") == op_type
    x = random.standard_normal([dim.dim_value or 5 for dim in model.graph.input[0].type.tensor_type.shape.dim]).astype(np.float32)
    after = outputs(changed, x, tmp_path / "optimized.onnx")
    runs = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert not {"Cast", "Mul", "DequantizeLinear"} & {*runs}, "the weights are widened at each run"
    assert scoring.sqnr_db(outputs(model, x)["y"], after["y"]) > (35 if precision == "int8-weights" else 13)
    assert "w" not in {one.name for one in changed.graph.initializer}


def test_a_narrow_file_is_as_small_as_it_says(worker: Apart, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((1024, 64)).astype(np.float32)
    model = text_model("(float[n,1024] x) => (float[n,64] y) { y = MatMul(x, w) }", w=weight)
    for precision, bits in (("int8-weights", 8), ("int4-weights", 4)):
        _, built = made_of(model, decided(precision), tmp_path, worker)
        assert len(built.model) == pytest.approx(weight.size * (bits / 8 + 4 / BLOCK), rel=0.01)


def test_the_notes_promise_no_speed(worker: Apart, tmp_path: Path) -> None:
    body = "(float[n,3,1,1] x) => (float[n,4] y) { a = Conv(x, w)  b = Flatten(a)  y = MatMul(b, v) }"
    model = text_model(body, w=np.ones((4, 3, 1, 1), np.float32), v=np.ones((4, 4), np.float32))
    _, built = made_of(model, decided("int8-weights"), tmp_path, worker)
    assert built.notes == (
        "1 layer with narrow weights became MatMulNBits, an operator of ONNX Runtime, and computes in float.",
        "1 layer with narrow weights has them widened when the model is loaded: a smaller file, the same speed and memory.",
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{ y = Relu(x) }", "Relu has no weight that ONNX Runtime takes narrow"),
        ("{ y = MatMul(x, x) }", "it has no constant weight"),
        ("{ y = MatMul(x, v) }", "its weight is no matrix"),
        ("{ y = MatMul(x, w) }", "its weight has values that are not finite"),
        ("{ a = Cast<to=11>(x)  y = MatMul(a, d) }", "its weight is float64, not float32"),
    ],
)
def test_a_named_layer_without_such_a_weight_is_refused(worker: Apart, tmp_path: Path, body: str, said: str) -> None:
    kind = "double" if "Cast" in body else "float"
    weights: dict[str, Any] = {"v": np.ones(4, np.float32), "w": np.full((4, 4), np.nan, np.float32), "d": np.ones((4, 4))}
    model = text_model(f"(float[4,4] x) => ({kind}[] y) {body}", **weights)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(RecipeError) as caught:
        made_of(model, decided("int8-weights", ["/y"]), tmp_path, worker)
    assert str(caught.value) == f"'/y' cannot be made int8-weights: {said}. Leave it out."


def test_a_shared_weight_stays_wide_for_the_other(worker: Apart, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    model = text_model("(float[n,4] x) => (float[n,4] y, float[n,4] z) { y = MatMul(x, w)  z = MatMul(x, w) }", w=weight)
    changed, _ = made_of(model, decided("int4-weights", ["/y"]), tmp_path, worker)
    np.testing.assert_array_equal(numpy_helper.to_array(next(one for one in changed.graph.initializer if one.name == "w")), weight)
