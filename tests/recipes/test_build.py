"""`apply` as far as no step decides it: what goes in, what comes out, what is refused, and in which order steps are taken."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprof import apart
from edgeprof.apart import Apart
from edgeprof.datasets import load_data
from edgeprof.errors import DataError, ModelError, ModelNotFound, OutputError, RecipeError, WorkerError
from edgeprof.models import load_model
from edgeprof.recipes import build, half, prune, quantize, sparsify, weights
from edgeprof.recipes.base import Built, Change, Work, refuse_or_report
from edgeprof.recipes.build import apply, prune_recipe, quantize_recipe, write_model
from edgeprof.recipes.recipe import Decision, Quantization, Recipe, choices, parse_recipe, write_recipe
from edgeprof.recipes.target import Target
from edgeprof.testing import make_graph

SAMPLES = Path(__file__).parents[2] / "sample_models"
DIGITS = SAMPLES / "held_out_digits.toml"
LEAVE = Recipe((Decision(pattern="*", precision="fp32"),), name="as it is")


@pytest.fixture(scope="module")
def worker():
    """One process for the whole file."""
    with Apart("changing models") as one:
        yield one


def small(path, **save):
    """y = x @ w, then an If; the first node has no name, two share one."""
    w = numpy_helper.from_array(np.arange(300, dtype=np.float32).reshape(3, 100), "w")
    branch = helper.make_graph(
        [helper.make_node("Relu", ["s"], ["b"], "same")], "branch", [], [helper.make_tensor_value_info("b", 1, None)]
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Relu", ["m"], ["r"], "same"),
        helper.make_node("Neg", ["r"], ["s"], "same"),
        helper.make_node("If", ["c"], ["y"], "if", then_branch=branch, else_branch=branch),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 100])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, [w]), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    onnx.save(model, path, **save)
    return path


# In and out


def test_a_recipe_that_leaves_everything_gives_the_same_model(tmp_path, worker):
    source, output = SAMPLES / "resnet8_mnist.onnx", tmp_path / "out.onnx"
    heard = []
    recipe = write_recipe(LEAVE, tmp_path / "r.recipe.toml")
    built = apply(str(source), recipe, data=DIGITS, output=output, worker=worker, told=lambda *told: heard.append(told))
    graph, before, after = load_model(source), onnx.load(source), onnx.load(output)
    assert output.read_bytes() == built.model
    assert [node.name for node in after.graph.node] == [layer.name for layer in graph.layers]
    assert (after.graph.initializer, len(after.graph.node)) == (before.graph.initializer, len(before.graph.node))
    assert (built.parent, built.name) == (graph.digest, "resnet8_mnist")
    assert parse_recipe(built.recipe_text) == replace(LEAVE, model_sha256=graph.digest)
    assert (built.activation_type, built.notes, built.refused) == ("", (), ())
    assert [told for told in heard if told[0] == "change"] == [("change", n, 5) for n in range(5)]


def test_nodes_are_named_as_the_graph_names_its_layers(tmp_path, worker):
    path = small(tmp_path / "m.onnx")
    graph = load_model(path)
    built = apply(graph, Recipe(), worker=worker)
    top = [layer.name for layer in graph.layers if layer.parent is None]
    assert [node.name for node in onnx.load_from_string(built.model).graph.node] == top
    assert len(set(top)) == 4
    inside = next(layer for layer in graph.layers if layer.parent is not None)
    with pytest.raises(RecipeError, match="runs inside another layer"):
        apply(graph, Recipe((Decision(layer=inside.name, precision="fp32"),)), worker=worker)


def test_weights_in_another_file_come_along_and_are_not_overwritten(tmp_path, worker):
    path = small(tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    graph = load_model(path)
    assert graph.external_files == ("m.bin",)
    built = apply(path, Recipe(), worker=worker)
    (stored,) = onnx.load_from_string(built.model).graph.initializer
    assert numpy_helper.to_array(stored).sum() == np.arange(300).sum()
    with pytest.raises(OutputError, match=r"m\.bin is a file of the model's weights\. Name another file"):
        apply(path, Recipe(), output=tmp_path / "m.bin", worker=worker)


def test_the_model_is_never_overwritten(tmp_path, monkeypatch, worker):
    path = small(tmp_path / "m.onnx")
    content = path.read_bytes()
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "hard").hardlink_to(path)
    monkeypatch.chdir(tmp_path)
    for output in (path, "m.onnx", tmp_path / "x" / ".." / "m.onnx", "link", "hard"):
        with pytest.raises(OutputError, match="is the model itself"):
            apply("m.onnx", Recipe(), output=output, worker=worker)
    assert path.read_bytes() == content


def test_a_relative_path_means_this_folder_wherever_the_worker_was_started(tmp_path, monkeypatch, worker):
    small(tmp_path / "m.onnx")
    worker.call(str)  # is started where this was
    monkeypatch.chdir(tmp_path)
    assert apply("m.onnx", Recipe(), output="out.onnx", worker=worker).model == (tmp_path / "out.onnx").read_bytes()


def test_a_model_that_is_gone_or_was_changed_is_refused(tmp_path, worker):
    path = small(tmp_path / "m.onnx")
    graph = load_model(path)
    path.write_bytes((SAMPLES / "resnet8_mnist.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"m\.onnx is not as it was when it was read"):
        apply(graph, Recipe(), worker=worker)
    path.unlink()
    with pytest.raises(ModelNotFound, match=r"The file of m is not at .*m\.onnx"):
        apply(graph, Recipe(), worker=worker)
    with pytest.raises(ModelNotFound, match="The file of toy is not at any path"):
        apply(make_graph(["Relu"]), Recipe())
    with pytest.raises(ModelNotFound):
        apply(path, Recipe())


def test_mistakes_are_said_before_any_process_is_started(monkeypatch):
    def never(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(apart, "call", never)
    model = SAMPLES / "resnet8_mnist.onnx"
    with pytest.raises(RecipeError, match="has no layer '/fc/Gem'"):
        apply(model, Recipe((Decision(layer="/fc/Gem", precision="int8"),)))
    with pytest.raises(RecipeError, match="no recipe to read"):
        apply(model, "missing.recipe.toml")
    with pytest.raises(DataError, match="expected"):
        apply(model, Recipe(), data=np.zeros((3, 1, 5, 5), np.float32))


def test_a_recipe_for_another_model_is_noted(worker):
    recipe = replace(LEAVE, model_sha256="0" * 64)
    built = apply(SAMPLES / "dscnn_mnist.onnx", recipe, worker=worker)
    assert len(built.notes) == 1
    assert built.notes[0].startswith("The recipe was written for another model (000000000000) than dscnn_mnist (")
    assert parse_recipe(built.recipe_text).model_sha256 == "0" * 64


def test_a_model_is_written_whole_or_not_at_all(tmp_path):
    built = Built(b"model", "", "", "m")
    assert write_model(built, str(tmp_path / "m.onnx")).read_bytes() == b"model"
    for path in (tmp_path, tmp_path / "m.onnx" / "x", tmp_path / "none" / "x", tmp_path / ("n" * 300)):
        with pytest.raises(OutputError, match="cannot be written"):
            write_model(built, path)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


# Steps


def graph_and_work(path):
    graph = load_model(path)
    return graph, choices(LEAVE, graph)


def test_steps_are_taken_in_order_on_what_the_one_before_made(monkeypatch, tmp_path):
    graph, found = graph_and_work(small(tmp_path / "m.onnx"))
    taken = []

    def step(name):
        def take(work):
            taken.append((name, len(work.changes)))
            assert work.data is not None
            return work.then(work.model, [Change("if", "precision", name, "done")], [f"{name} was here."])

        return take

    order = ["sparsify", "prune", "weights_only", "half", "quantize"]
    for module, name in zip((sparsify, prune, weights, half, quantize), order, strict=True):
        monkeypatch.setattr(module, name, step(name))
    data = load_data({"x": np.zeros((2, 1, 3), np.float32), "c": np.array([True, False])}, graph)
    work = build._apply(Path(graph.path), graph, found, Quantization(), Target(), data)
    assert taken == [(name, n) for n, name in enumerate(order)]
    assert [change.wish for change in work.changes] == order
    assert (work.data, len(work.notes)) == (None, 5)
    assert isinstance(work.model, bytes)


def test_a_step_that_breaks_the_model_is_found(monkeypatch, tmp_path):
    graph, found = graph_and_work(small(tmp_path / "m.onnx"))

    def broken(work):
        work.model.graph.node[0].input[0] = "nothing"
        return work

    monkeypatch.setattr(prune, "prune", broken)
    with pytest.raises(RecipeError, match=r"The changed m is no valid model: .*Please report this"):
        build._apply(Path(graph.path), graph, found, Quantization(), Target(), None)


def test_a_model_beyond_one_message_is_refused(monkeypatch, tmp_path):
    graph, found = graph_and_work(small(tmp_path / "m.onnx"))
    monkeypatch.setattr(build, "MOST_MODEL_BYTES", 100)
    with pytest.raises(RecipeError, match="models up to 100 bytes can be changed"):
        build._apply(Path(graph.path), graph, found, Quantization(), Target(), None)


def test_activation_type_is_told_when_something_became_int8(monkeypatch):
    made = Work(b"model", make_graph(["Conv"]), {}, Quantization(), Target(), changes=(Change("a", "precision", "int8", "int8"),))
    monkeypatch.setattr(apart, "call", lambda *_, **__: made)
    model = SAMPLES / "resnet8_mnist.onnx"
    assert apply(model, Recipe(), target=Target("aarch64")).activation_type == "int8"
    assert apply(model, Recipe(), target=Target("x86_64")).activation_type == "uint8"
    assert apply(model, Recipe(quantization=Quantization("int8")), target=Target("x86_64")).activation_type == "int8"


def test_what_a_layer_called_by_name_cannot_have_is_refused_and_else_reported():
    graph = make_graph(["Conv", "Relu"])
    names = [layer.name for layer in graph.layers]
    recipe = Recipe((Decision(pattern="*", precision="int8", channels=3), Decision(layer=names[0], prune=0.5, line=7)))
    work = Work(None, graph, choices(recipe, graph), Quantization(), Target())
    with pytest.raises(RecipeError, match=f"^line 7: '{names[0]}' cannot be pruned by half: it must not. Leave it out"):
        refuse_or_report(work, names[0], "prune", "half", "it must not")
    assert refuse_or_report(work, names[0], "precision", "int8", "no") == Change(names[0], "precision", "int8", "", "no")
    assert refuse_or_report(work, names[1], "prune", "3", "no") == Change(names[1], "prune", "3", "", "no")
    with pytest.raises(RecipeError, match=r"^int8 needs calibration data: .*--data"):
        work.needs_data("int8")


# Short forms


def test_short_forms_are_recipes():
    assert quantize_recipe(exclude=["/a", "/b/*"]).decisions == (
        Decision(pattern="*", precision="int8"), Decision(layer="/a", precision="fp32"), Decision(pattern="/b/*", precision="fp32"),
    )  # fmt: skip
    assert quantize_recipe("fp16", quantization=Quantization(per_channel=False)).quantization == Quantization(per_channel=False)
    assert prune_recipe(0.5).decisions == (Decision(pattern="*", prune=0.5),)
    assert prune_recipe(0.5, ["/a"], "l1").decisions == (Decision(layer="/a", prune=0.5, importance="l1"),)


def test_a_name_with_brackets_is_a_name_where_the_model_has_it(tmp_path):
    model = onnx.load(small(tmp_path / "m.onnx"))
    model.graph.node[0].name = "dense[0]/*"
    onnx.save(model, tmp_path / "m.onnx")
    graph = load_model(tmp_path / "m.onnx")
    assert quantize_recipe(exclude=["dense[0]/*"], graph=graph).decisions[1] == Decision(layer="dense[0]/*", precision="fp32")
    assert prune_recipe(0.5, ["dense[1]/*"], graph=graph).decisions == (Decision(pattern="dense[1]/*", prune=0.5),)
    assert set(choices(quantize_recipe(exclude=["dense[0]/*"], graph=graph), graph)["dense[0]/*"].named) == {"precision"}


def test_a_crash_of_a_library_is_one_sentence(monkeypatch, tmp_path, worker):
    monkeypatch.setattr(build, "_apply", crash)
    with pytest.raises(WorkerError, match="changing models crashed"):
        apply(small(tmp_path / "m.onnx"), Recipe(), worker=worker)


def crash(*_):
    import os

    os.abort()
