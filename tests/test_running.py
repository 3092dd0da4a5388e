"""Outputs of a model for samples: whose is whose, in batches or one by one, and what is said when the runtime refuses."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeprof import running
from edgeprof.apart import Apart
from edgeprof.datasets import Dataset, load_data
from edgeprof.errors import ModelError, ModelNotFound
from edgeprof.models import load_model

SAMPLES = Path(__file__).parent.parent / "sample_models"
FLOAT, INT64, BOOL, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING


@pytest.fixture(scope="module")
def worker():
    """One process for the whole file."""
    with Apart("running models") as one:
        yield one


def model_of(nodes, inputs, outputs):
    """Bytes of a model; ``inputs`` and ``outputs`` are (name, type, shape)."""
    infos = [[helper.make_tensor_value_info(*one) for one in some] for some in (inputs, outputs)]
    nodes = [helper.make_node(op, ins.split(), outs.split(), **options) for op, ins, outs, options in nodes]
    return helper.make_model(
        helper.make_graph(nodes, "g", *infos), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    ).SerializeToString()


NEG = [("Neg", "x", "y", {})]


def neg(shape):
    return model_of(NEG, [("x", FLOAT, shape)], [("y", FLOAT, shape)])


X = np.arange(30, dtype=np.float32).reshape(10, 3)


@pytest.mark.parametrize("batch", [1, 3, 4, 10, 16])
def test_a_fixed_batch_is_filled_up_and_what_it_was_filled_with_taken_off(worker, batch):
    heard = []
    found = worker.call(running.outputs, neg([batch, 3]), Dataset({"x": X}, batch=batch), told=lambda *told: heard.append(told))
    np.testing.assert_array_equal(found["y"], -X)
    assert heard[-1] == ("run", 10, 10)
    assert [done for _, done, _ in heard] == sorted({done for _, done, _ in heard})


def test_an_open_batch_and_other_open_axes(worker):
    data = Dataset({"x": X[:, None]}, batch=1)
    np.testing.assert_array_equal(worker.call(running.outputs, neg(["n", "c", None]), data)["y"], -X[:, None])


def test_a_model_without_a_batch_axis(worker):
    nodes = [("Mul", "x s", "y", {}), ("ReduceSum", "x", "sum", {"keepdims": 0})]
    model = model_of(nodes, [("x", FLOAT, [3]), ("s", FLOAT, [])], [("y", FLOAT, [3]), ("sum", FLOAT, [])])
    scales = np.arange(10, dtype=np.float32)
    found = worker.call(running.outputs, model, Dataset({"x": X, "s": scales}, batch=0))
    np.testing.assert_array_equal(found["y"], X * scales[:, None])
    np.testing.assert_array_equal(found["sum"], X.sum(1))


def test_outputs_without_an_axis_for_samples_are_the_samples(worker):
    """Squeezed rows and scalars of a model that takes one sample at a time."""
    nodes = [("Squeeze", "x", "row", {}), ("ReduceMax", "x", "largest", {"keepdims": 0})]
    model = model_of(nodes, [("x", FLOAT, [1, 3])], [("row", FLOAT, [3]), ("largest", FLOAT, [])])
    found = worker.call(running.outputs, model, Dataset({"x": X}))
    np.testing.assert_array_equal(found["row"], X)
    np.testing.assert_array_equal(found["largest"], X.max(1))


def test_outputs_that_count_positions_of_all_samples_are_parted(worker):
    model = model_of([("Reshape", "x shape", "y", {})], [("x", FLOAT, [4, 3]), ("shape", INT64, [1])], [("y", FLOAT, [12])])
    shapes = np.full((10, 1), 12)

    class Fed(Dataset):
        def batches(self):
            return (({**feed, "shape": feed["shape"][0]}, count) for feed, count in super().batches())

    found = running.outputs(model, Fed({"x": X, "shape": shapes}, batch=4))
    np.testing.assert_array_equal(found["y"], X)


@pytest.mark.parametrize(
    ("nodes", "outputs", "sentence"),
    [
        ([("ReduceSum", "x", "y", {"keepdims": 0})], [("y", FLOAT, [])], r"The output 'y' has the shape \[\] for 4 samples; which part"),
        ([("NonZero", "x", "y", {})], [("y", INT64, None)], "The output 'y' has the shape .* for 4 samples; which part"),
        ([("SequenceConstruct", "x", "y", {})], None, "The model gives no tensors"),
    ],
)
def test_outputs_that_cannot_be_told_apart(worker, nodes, outputs, sentence):
    if outputs is None:
        sequence = helper.make_tensor_sequence_value_info("y", FLOAT, None)
        made = helper.make_graph([helper.make_node("SequenceConstruct", ["x"], ["y"])], "g",
                                 [helper.make_tensor_value_info("x", FLOAT, [4, 3])], [sequence])  # fmt: skip
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    else:
        model = model_of(nodes, [("x", FLOAT, [4, 3])], outputs)
    with pytest.raises(ModelError, match=sentence):
        worker.call(running.outputs, model, Dataset({"x": X % 7}, batch=4))


def test_an_output_whose_shape_differs_from_sample_to_sample(worker):
    model = model_of([("NonZero", "x", "y", {})], [("x", FLOAT, [1, 3])], [("y", INT64, None)])
    with pytest.raises(ModelError, match=r"The output 'y' has another shape for each sample \(\[2, 2\], then \[2, 3\]\)"):
        worker.call(running.outputs, model, Dataset({"x": X}))


def test_tokens_masks_and_texts(worker):
    nodes = [("Gather", "table ids", "rows", {}), ("Where", "mask rows zero", "y", {}), ("Identity", "text", "said", {})]
    inputs = [("table", FLOAT, [1, 5]), ("ids", INT64, [1, 2]), ("mask", BOOL, [1, 2]), ("zero", FLOAT, [1, 1]), ("text", STRING, [1])]
    nodes[0] = ("GatherElements", "table ids", "rows", {"axis": 1})
    model = model_of(nodes, inputs, [("y", FLOAT, [1, 2]), ("said", STRING, [1])])
    data = Dataset({
        "table": np.arange(10, dtype=np.float32).reshape(2, 5), "ids": np.array([[0, 4], [1, 1]]),
        "mask": np.array([[True, True], [False, True]]), "zero": np.zeros((2, 1), np.float32), "text": np.array(["a", "bc"]),
    })  # fmt: skip
    found = worker.call(running.outputs, model, data)
    assert found["y"].tolist() == [[0, 4], [0, 6]]
    assert found["said"].tolist() == ["a", "bc"]


def test_some_outputs_only_and_tensors_inside(worker):
    model = model_of([("Neg", "x", "a", {}), ("Abs", "a", "b", {})], [("x", FLOAT, [1, 3])], [("b", FLOAT, [1, 3])])
    proto = onnx.load_from_string(model)
    more = running.with_outputs(proto, ["a", "b", "a"])
    assert [output.name for output in more.graph.output] == ["b", "a"]
    assert [output.name for output in proto.graph.output] == ["b"]
    found = worker.call(running.outputs, more.SerializeToString(), Dataset({"x": X}), ["a"])
    np.testing.assert_array_equal(found.pop("a"), -X)
    assert found == {}
    batches = list(running.batches_of(more.SerializeToString(), Dataset({"x": X[:3]}, batch=1), ["b", "a"]))
    assert [(sorted(values), count) for values, count in batches] == [(["a", "b"], 1)] * 3


def test_what_the_runtime_refuses_is_one_sentence(worker):
    data = Dataset({"x": X})
    with pytest.raises(ModelNotFound, match=r"There is no model at /none\.onnx\. Check the path"):
        worker.call(running.outputs, Path("/none.onnx"), data)
    with pytest.raises(ModelError, match=r"^The runtime does not take the model: .*\.$"):
        worker.call(running.outputs, b"no model", data)
    with pytest.raises(ModelError, match=r"^The runtime failed on a sample: .*\.$") as failed:
        worker.call(running.outputs, neg([1, 7]), data)
    assert len(str(failed.value)) < 500
    with pytest.raises(ModelError, match="The runtime failed on a sample"):
        worker.call(running.outputs, neg([1, 3]), Dataset({"z": X}))
    worker.call(running.outputs, neg([1, 3]), data)


def test_outputs_that_need_too_much_memory(monkeypatch):
    monkeypatch.setattr(running, "MOST_OUTPUT_BYTES", 50)
    with pytest.raises(ModelError, match="The outputs for 10 samples need more than 50 B"):
        running.outputs(neg([1, 3]), Dataset({"x": X}))


def test_a_sample_model_answers_as_in_batches_of_its_own(worker):
    path = SAMPLES / "dscnn_mnist.onnx"
    data = load_data(SAMPLES / "held_out_digits.toml", load_model(path)).take(20)
    one = worker.call(running.outputs, path, data)["logits"]
    ten = worker.call(running.outputs, path, Dataset(data.inputs, batch=10))["logits"]
    np.testing.assert_allclose(one, ten, rtol=1e-4, atol=1e-4)
    assert one.shape == (20, 10)
