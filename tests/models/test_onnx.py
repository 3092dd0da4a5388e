"""load_model from end to end."""

import hashlib
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprof.errors import EdgeprofError, InputError, ModelError, ModelNotFound
from edgeprof.models import Graph, load_model
from edgeprof.models.cost import graph_costs
from edgeprof.testing import make_graph


def node(op, inputs, outputs, name="", **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name, **attributes)


def array(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.array(values, dtype), name)


@pytest.fixture
def small(model_file):
    return model_file([node("Gemm", "x w", "y", "fc")], {"x": ["batch", 3]}, ["y"], [array("w", np.ones((3, 4)))])


def test_what_a_graph_holds(small):
    graph = load_model(small)
    assert isinstance(graph, Graph)
    assert (graph.name, graph.format, graph.ir_version, graph.opsets) == ("model", "onnx", 8, {"": 17})
    assert [(t.name, t.dtype, t.shape) for t in (*graph.inputs, *graph.outputs)] == [("x", "float32", (1, 3)), ("y", "float32", (1, 4))]
    assert graph.initializers == {"w"}
    assert graph.digest == hashlib.sha256(small.read_bytes()).hexdigest()
    assert graph.file_bytes == small.stat().st_size
    assert graph.path == str(small)


def test_a_graph_is_returned_as_it_is():
    graph = make_graph(["Relu"])
    assert load_model(graph) is graph


def test_text_and_path_are_taken_and_the_suffix_does_not_matter(small):
    assert load_model(str(small)).digest == load_model(small.rename(small.with_suffix(".bin"))).digest


def test_shapes_reach_every_tensor(small):
    assert load_model(small, {"x": [5, 3]}).tensor("y").shape == (5, 4)
    with pytest.raises(InputError, match=r"The model's input is 'x' float32 \[batch, 3\]"):
        load_model(small, {"image": [1, 3]})
    with pytest.raises(InputError, match="'w', which is a weight of the model, not an input"):
        load_model(small, {"w": [1, 3]})


def test_initializers_are_no_inputs_even_where_old_files_list_them(model_file):
    inputs = {"x": [2, 3], "w": [3, 4]}
    graph = load_model(model_file([node("MatMul", "x w", "y")], inputs, ["y"], [array("w", np.ones((3, 4)))], ir=3))
    assert [tensor.name for tensor in graph.inputs] == ["x"]
    assert graph.tensor("y").shape == (2, 4)


def test_constants_hold_small_integers_only(model_file):
    stored = [array("shape", [1, -1], np.int64), array("scale", 2.0), array("many", list(range(65)), np.int64), array("flag", [True], bool)]
    nodes = [node("Reshape", "x shape", "a"), node("Mul", "a scale", "b"), node("Constant", "", "k", value_ints=[3, 4]),
             node("Constant", "", "one", value_int=7), node("Reshape", "b k", "y")]  # fmt: skip
    graph = load_model(model_file(nodes, {"x": [3, 4]}, ["y"], stored))
    assert graph.constants == {"shape": (1, -1), "k": (3, 4), "one": (7,)}
    assert graph.initializers == {"shape", "scale", "many", "flag"}
    assert graph.tensor("k").shape == (2,)
    assert graph.tensor("one").shape == ()


def test_constant_nodes_of_every_kind_have_type_and_shape(model_file):
    nodes = [
        node("Constant", "", "f", value_float=1.0), node("Constant", "", "fs", value_floats=[1.0, 2.0]),
        node("Constant", "", "s", value_string="a"), node("Constant", "", "ss", value_strings=["a", "b", "c"]),
        node("Constant", "", "t", value=array("", [[1, 2]], np.int8)),
    ]  # fmt: skip
    graph = load_model(model_file(nodes, {}, ["f", "fs", "s", "ss", "t"]))
    found = {layer.outputs[0]: graph.tensor(layer.outputs[0]) for layer in graph.layers}
    assert {name: (info.dtype, info.shape) for name, info in found.items()} == {
        "f": ("float32", ()), "fs": ("float32", (2,)), "s": ("string", ()), "ss": ("string", (3,)), "t": ("int8", (1, 2)),
    }  # fmt: skip


def test_sparse_initializers(model_file):
    sparse = helper.make_sparse_tensor(array("w", [1.0, 2.0]), array("", [0, 5], np.int64), [3, 4])
    path = model_file([node("MatMul", "x w", "y")], {"x": [2, 3]}, ["y"], sparse_initializer=[sparse])
    graph = load_model(path)
    assert graph.tensor("w").shape == (3, 4)
    assert "w" in graph.initializers


def test_types_that_are_no_tensors(model_file):
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [2])
    graph = load_model(model_file([node("SequenceLength", "s", "n")], [sequence], ["n"]))
    assert (graph.inputs[0].dtype, graph.inputs[0].shape) == ("", None)
    assert graph.outputs[0].shape == ()


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 18, 21])
def test_opsets_that_onnxruntime_takes(model_file, opset):
    graph = load_model(model_file([node("Relu", "x", "y")], {"x": [2]}, ["y"], opset=opset))
    assert graph.opsets == {"": opset}
    assert graph.notes == ()


def test_models_newer_than_the_installed_onnx_are_read_with_a_note(model_file):
    graph = load_model(model_file([node("Relu", "x", "y")], {"x": [2]}, ["y"], opset=999, ir=99))
    assert [note.split(";")[0] for note in graph.notes[:2]] == [
        f"IR version 99 is newer than the installed onnx knows ({onnx.IR_VERSION})",
        f"Opset 999 is newer than the installed onnx knows ({onnx.defs.onnx_opset_version()})",
    ]
    assert graph.tensor("y").shape == (2,)


def test_functions_with_another_opset_are_said(model_file):
    function = helper.make_function("local", "F", ["a"], ["b"], [node("Relu", "a", "b")], [helper.make_opsetid("", 13)])
    graph = load_model(model_file([node("F", "x", "y", domain="local")], {"x": [2]}, ["y"], functions=[function], opsets=[("local", 1)]))
    assert graph.notes == ("The functions F use another opset than the model; sizes follow the model's.",)


def test_names_in_any_script(model_file):
    graph = load_model(model_file([node("Relu", "x", "y", "слой<script>/层")], {"x": [2]}, ["y"], file="модель 1.onnx"))
    assert graph.layers[0].name == "слой<script>/层"
    assert graph.name == "модель 1"


# Bad input: one sentence each, what was expected, what came, what to do


def test_bad_files(tmp_path, small):
    with pytest.raises(ModelNotFound, match=r"There is no model at .*none\.onnx\. Check the path\."):
        load_model(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match=r"is a TFLite model, which edgeprof does not read yet\. Give an ONNX model"):
        load_model(tmp_path / "x.tflite")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ModelError, match=r"text\.onnx is not an ONNX model: it looks like a text file\. Give the \.onnx file itself\."):
        load_model(tmp_path / "text.onnx")
    (tmp_path / "cut.onnx").write_bytes(small.read_bytes()[:-20])
    with pytest.raises(ModelError, match=r"is truncated|is damaged|opset"):
        load_model(tmp_path / "cut.onnx")
    with pytest.raises(ModelError, match="is a folder"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_model("a\0b.onnx")


def test_a_file_that_may_not_be_read(small, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(ModelError, match=r"model\.onnx cannot be read: Permission denied"):
        load_model(small)


def test_a_model_cut_off_after_its_graph(tmp_path, model_file):
    model = onnx.load(model_file([node("Relu", "x", "y")], {"x": [2]}, ["y"]))
    del model.opset_import[:]
    path = tmp_path / "cut.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="does not say which opset it uses: it may be truncated after its graph"):
        load_model(path)


def test_an_empty_graph(tmp_path):
    path = tmp_path / "empty.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString())
    with pytest.raises(ModelError, match="holds an empty graph: no layers and no outputs"):
        load_model(path)


def test_every_cut_of_a_model_is_a_sentence_or_a_smaller_model(tmp_path, small):
    data = small.read_bytes()
    path = tmp_path / "cut.onnx"
    for end in range(1, len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(EdgeprofError):
            load_model(path)


def test_damage_anywhere_is_a_sentence_or_harmless(tmp_path, small):
    """No byte that is changed brings out anything but an EdgeprofError."""
    data, rng, path = small.read_bytes(), np.random.default_rng(0), tmp_path / "damaged.onnx"
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            graph_costs(load_model(path))
        except EdgeprofError as error:
            assert str(error).endswith(".")


# Cost of reading


def test_a_chain_of_5000_layers_is_read_quickly(model_file):
    nodes = [node("Relu", f"t{i}", f"t{i + 1}", f"r{i}") for i in range(5000)]
    path = model_file(nodes, {"t0": [1, 8]}, ["t5000"])
    started = time.process_time()
    graph = load_model(path)
    graph_costs(graph)
    assert time.process_time() - started < 2
    assert graph.tensor("t5000").shape == (1, 8)


def test_importing_the_package_does_not_import_onnx():
    code = "import sys, edgeprof.models; print('onnx' in sys.modules, 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["False", "False"]
