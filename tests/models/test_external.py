import hashlib
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeprof.errors import ModelError, UnsafeModel
from edgeprof.models import load_model
from edgeprof.models.cost import total_cost


def external(name, dims, location, dtype=TensorProto.FLOAT, **entries):
    tensor = TensorProto(name=name, data_type=dtype, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, text in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(text))
    return tensor


@pytest.fixture
def with_weights(model_file):
    """A model whose MatMul weights (8, 4) are described by the given tensor."""

    def write(tensor):
        return model_file([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 8]}, ["y"], [tensor])

    return write


def test_external_weights_are_found_counted_and_part_of_the_digest(with_weights, tmp_path):
    path = with_weights(external("w", [8, 4], "weights/w.bin", offset=16, length=128))
    (tmp_path / "weights").mkdir()
    data = tmp_path / "weights" / "w.bin"
    data.write_bytes(bytes(144))
    graph = load_model(path)
    assert graph.external_files == ("weights/w.bin",)
    assert total_cost(graph).param_bytes == 128
    assert graph.digest != hashlib.sha256(path.read_bytes()).hexdigest()
    data.write_bytes(bytes(143) + b"\1")
    assert load_model(path).digest != graph.digest


def test_what_onnx_itself_saves_is_read(tmp_path):
    weights = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 64])],
        [helper.make_tensor_value_info("y", 1, None)],
        [weights],
    )
    path = tmp_path / "m.onnx"
    onnx.save_model(helper.make_model(graph), path, save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    assert total_cost(load_model(path)).macs == 64 * 64


def test_small_integers_are_taken_in_because_shapes_need_them(model_file, tmp_path):
    (tmp_path / "s.bin").write_bytes(np.array([2, 4], np.int64).tobytes())
    path = model_file(
        [helper.make_node("Reshape", ["x", "s"], ["y"])], {"x": [1, 8]}, ["y"], [external("s", [2], "s.bin", TensorProto.INT64)]
    )
    graph = load_model(path)
    assert graph.tensor("y").shape == (2, 4)
    assert graph.constants["s"] == (2, 4)


@pytest.mark.parametrize("location", ["/etc/passwd", "C:\\data.bin", "\\\\host\\share", "//host/x"])
def test_absolute_locations_are_refused(with_weights, location):
    with pytest.raises(UnsafeModel, match="an absolute path; expected a file in the model's folder"):
        load_model(with_weights(external("w", [8, 4], location)))


@pytest.mark.parametrize("location", ["../w.bin", "a/../../w.bin", "..\\w.bin", "a/.."])
def test_locations_that_climb_out_are_refused(with_weights, location):
    with pytest.raises(UnsafeModel, match="which leaves the model's folder"):
        load_model(with_weights(external("w", [8, 4], location)))


def test_a_link_out_of_the_folder_is_refused(with_weights, tmp_path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "w.bin"
    outside.write_bytes(bytes(128))
    path = with_weights(external("w", [8, 4], "w.bin"))
    (tmp_path / "w.bin").symlink_to(outside)
    with pytest.raises(UnsafeModel, match="a link that leads out of the model's folder"):
        load_model(path)


def test_a_linked_folder_that_leads_out_is_refused(with_weights, tmp_path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "w.bin").write_bytes(bytes(128))
    path = with_weights(external("w", [8, 4], "sub/w.bin"))
    (tmp_path / "sub").symlink_to(outside)
    with pytest.raises(UnsafeModel, match="a link that leads out"):
        load_model(path)


def test_a_link_inside_the_folder_is_fine(with_weights, tmp_path):
    (tmp_path / "real.bin").write_bytes(bytes(128))
    (tmp_path / "w.bin").symlink_to("real.bin")
    assert load_model(with_weights(external("w", [8, 4], "w.bin"))).external_files == ("w.bin",)


def test_a_model_cache_that_links_model_and_data_to_one_folder_is_fine(with_weights, tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    (blobs / "22").write_bytes(bytes(128))
    with_weights(external("w", [8, 4], "w.bin")).rename(blobs / "11")
    (snapshot / "model.onnx").symlink_to(blobs / "11")
    (snapshot / "w.bin").symlink_to(blobs / "22")
    assert load_model(snapshot / "model.onnx").external_files == ("w.bin",)


def test_missing_external_data(with_weights):
    with pytest.raises(ModelError, match=r"Tensor 'w' of model.onnx keeps its data in 'w.bin', which is not there. Copy that file"):
        load_model(with_weights(external("w", [8, 4], "w.bin")))


def test_external_data_that_is_too_short(with_weights, tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(100))
    with pytest.raises(ModelError, match=r"'w.bin' is too short: tensor 'w' needs bytes 0 to 128, the file has 100"):
        load_model(with_weights(external("w", [8, 4], "w.bin")))


def test_external_length_that_is_not_the_tensors(with_weights, tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(200))
    with pytest.raises(ModelError, match=r"needs 128 B by its shape but says it has 64 B"):
        load_model(with_weights(external("w", [8, 4], "w.bin", length=64)))


def test_external_claim_of_a_huge_tensor(with_weights, tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(200))
    with pytest.raises(UnsafeModel, match=r"needs 35\.2 TB by its shape"):
        load_model(with_weights(external("w", [1 << 40, 8], "w.bin", length=200)))


@pytest.mark.parametrize(("key", "text"), [("offset", "-5"), ("length", "many"), ("offset", "9" * 30)])
def test_numbers_that_are_none(with_weights, tmp_path, key, text):
    (tmp_path / "w.bin").write_bytes(bytes(128))
    with pytest.raises(ModelError, match=f"says its external data has the {key}"):
        load_model(with_weights(external("w", [8, 4], "w.bin", **{key: text})))


def test_no_location(with_weights):
    tensor = TensorProto(name="w", data_type=1, dims=[8, 4], data_location=TensorProto.EXTERNAL)
    with pytest.raises(ModelError, match="does not say which"):
        load_model(with_weights(tensor))
    with pytest.raises(ModelError, match="does not say which"):
        load_model(with_weights(external("w", [8, 4], "")))


def test_a_folder_a_pipe_and_a_circle_of_links_are_no_data(with_weights, tmp_path):
    path = with_weights(external("w", [8, 4], "w.bin"))
    (tmp_path / "w.bin").mkdir()
    with pytest.raises(ModelError, match="which is not a file"):
        load_model(path)
    (tmp_path / "w.bin").rmdir()
    os.mkfifo(tmp_path / "w.bin")
    with pytest.raises(ModelError, match="which is not a file"):
        load_model(path)
    (tmp_path / "w.bin").unlink()
    (tmp_path / "w.bin").symlink_to("w.bin")
    with pytest.raises(ModelError, match="which cannot be read"):
        load_model(path)
