import re
import tracemalloc

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeprof.errors import EdgeprofError, ModelError, ModelNotFound, UnsafeModel
from edgeprof.models.wire import DTYPES, strip, strip_weights
from tests.laws import examples


def with_initializer(tensor):
    node = helper.make_node("MatMul", ["x", tensor.name], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 64])],
        [helper.make_tensor_value_info("y", 1, None)],
        [tensor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def stripped(model):
    return onnx.ModelProto.FromString(strip(model.SerializeToString()))


@pytest.fixture
def big():
    return with_initializer(numpy_helper.from_array(np.ones((64, 64), np.float32), "w"))


def test_large_weights_are_left_out_and_keep_name_dims_and_type(big):
    tensor = stripped(big).graph.initializer[0]
    assert (tensor.name, list(tensor.dims), tensor.data_type) == ("w", [64, 64], TensorProto.FLOAT)
    assert not tensor.raw_data
    assert len(strip(big.SerializeToString())) < 250


def test_small_tensors_stay():
    model = with_initializer(numpy_helper.from_array(np.arange(64, dtype=np.float32).reshape(64, 1), "w"))
    assert strip(model.SerializeToString()) == model.SerializeToString()


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (TensorProto.FLOAT, [1.5] * 1000),
        (TensorProto.DOUBLE, [1.5] * 1000),
        (TensorProto.INT32, [70000] * 1000),
        (TensorProto.INT8, [-1] * 1000),
        (TensorProto.INT64, [-1] * 1000),
        (TensorProto.UINT64, [2**40] * 1000),
        (TensorProto.FLOAT16, [0.5] * 1000),
        (TensorProto.BOOL, [True] * 1000 + [False] * 1000),
        (TensorProto.STRING, [b"word"] * 1000),
        (TensorProto.COMPLEX64, [1 + 2j] * 1000),
        (TensorProto.INT4, [3] * 3001),
        (TensorProto.BFLOAT16, [1.0] * 1000),
    ],
)
def test_every_payload_field_is_counted_and_left_out(dtype, values):
    tensor = helper.make_tensor("w", dtype, [len(values)], values)
    kept = stripped(with_initializer(tensor)).graph.initializer[0]
    assert list(kept.dims) == [len(values)]
    assert kept.data_location == TensorProto.EXTERNAL
    assert kept.ByteSize() < 40


def test_values_stored_one_field_each_as_old_writers_do():
    def field(number, wire, payload):
        return bytes([number << 3 | wire]) + payload

    floats = b"".join(field(4, 5, np.float32(1).tobytes()) for _ in range(1000))
    tensor = field(1, 0, b"\xe8\x07") + field(2, 0, b"\x01") + floats + field(8, 2, b"\x01w")
    graph = field(5, 2, _length(tensor) + tensor)
    model = field(1, 0, b"\x08") + field(7, 2, _length(graph) + graph)
    kept = onnx.ModelProto.FromString(strip(model)).graph.initializer[0]
    assert (kept.name, list(kept.dims), list(kept.float_data)) == ("w", [1000], [])


def _length(payload):
    out, value = b"", len(payload)
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def test_weights_in_subgraphs_functions_and_constants_are_left_out():
    weights = numpy_helper.from_array(np.ones(4096, np.float32), "w")
    constant = helper.make_node("Constant", [], ["c"], value=weights)
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("c", 1, None)], [weights])
    node = helper.make_node("If", ["cond"], ["y"], then_branch=branch, else_branch=branch)
    function = helper.make_function("local", "F", [], ["c"], [constant], [helper.make_opsetid("", 17)])
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("cond", 9, [])], [helper.make_tensor_value_info("y", 1, None)])
    model = helper.make_model(graph, functions=[function])
    assert len(model.SerializeToString()) > 5 * 16384
    assert len(strip(model.SerializeToString())) < 1000


def test_documentation_and_training_are_left_out(big):
    big.doc_string = "x" * 10_000
    big.graph.doc_string = "x" * 10_000
    big.graph.node[0].doc_string = "x" * 10_000
    big.training_info.add().initialization.CopyFrom(big.graph)
    assert len(strip(big.SerializeToString())) < 250


def test_sparse_initializers_are_left_out():
    values = numpy_helper.from_array(np.ones(5000, np.float32), "w")
    indices = numpy_helper.from_array(np.arange(5000), "")
    model = with_initializer(numpy_helper.from_array(np.ones(1, np.float32), "other"))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10_000]))
    assert len(strip(model.SerializeToString())) < 400


def test_long_attribute_lists_are_left_out_but_not_a_constants_values():
    model = with_initializer(numpy_helper.from_array(np.ones(1, np.float32), "w"))
    model.graph.node.append(helper.make_node("TreeEnsembleRegressor", ["x"], ["t"], domain="ai.onnx.ml", nodes_values=[0.5] * 100_000))
    model.graph.node.append(helper.make_node("Constant", [], ["k"], value_floats=[0.5] * 20_000))
    nodes = stripped(model).graph.node
    assert [a.name for a in nodes[1].attribute if len(a.floats)] == []
    assert len(nodes[2].attribute[0].floats) == 20_000


def test_the_weights_never_come_into_memory(tmp_path):
    weights = numpy_helper.from_array(np.zeros(16 << 20, np.float32), "w")
    path = tmp_path / "big.onnx"
    path.write_bytes(with_initializer(weights).SerializeToString())
    del weights
    tracemalloc.start()
    strip_weights(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 < path.stat().st_size


# Bad files


def test_truncated_at_any_byte_is_a_sentence(big):
    data = big.SerializeToString()
    for end in [*range(1, 60), *range(60, len(data), 997), len(data) - 1]:
        with pytest.raises(ModelError):
            strip(data[:end])


def test_truncation_names_the_numbers(tmp_path, big):
    data = big.SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[:5000])
    with pytest.raises(ModelError, match=r"cut.onnx is truncated: 5,000 bytes are there, its graph .* needs 16,\d\d\d .*download it again"):
        strip_weights(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "PNG picture"),
        (b"PK\x03\x04" + b"\0" * 99, "PyTorch checkpoint"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        (b"\x1c\0\0\0TFL3" + b"\0" * 99, "TFLite"),
        (b"\x1c\0\0\0ORTM" + b"\0" * 99, r"\.ort format"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (b'{"model": 1}', "text file"),
        (b"hello world\n", "text file"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"\0" * 1000, "is not an ONNX model"),
        (b"\xff" * 1000, "is not an ONNX model"),
        (np.random.default_rng(1).bytes(5000), "is not an ONNX model|damaged"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, says):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=says):
        strip_weights(path)


def test_no_file_empty_folder(tmp_path):
    with pytest.raises(ModelNotFound, match=r"There is no model at .*none.onnx"):
        strip_weights(tmp_path / "none.onnx")
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ModelError, match=r"empty.onnx is empty \(0 bytes\)"):
        strip_weights(tmp_path / "empty.onnx")
    with pytest.raises(ModelError, match=r"is a folder, expected a model file"):
        strip_weights(tmp_path)
    with pytest.raises(ModelError, match="regular file"):
        strip_weights(type(tmp_path)("/dev/zero"))


def test_a_claim_of_a_huge_tensor_is_refused():
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 40, 1024], raw_data=b"1234")
    with pytest.raises(UnsafeModel, match=r"'w' in model claims 1099511627776×1024 of float32 .* but holds 4 bytes where"):
        stripped(with_initializer(tensor))
    tensor.ClearField("raw_data")
    with pytest.raises(UnsafeModel, match="but holds nothing"):
        stripped(with_initializer(tensor))


def test_a_payload_that_does_not_fit_the_dims_is_refused():
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], raw_data=b"123456789")
    with pytest.raises(ModelError, match="holds 9 bytes where 8 are needed") as caught:
        stripped(with_initializer(tensor))
    assert not isinstance(caught.value, UnsafeModel)


def test_negative_dims_are_refused():
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-4, -1], raw_data=b"\0" * 16)
    with pytest.raises(ModelError, match="cannot be negative"):
        stripped(with_initializer(tensor))


def test_endless_nesting_is_refused():
    graph = b""
    for _ in range(60):
        attribute = b"\x0a\x01b" + b"\x32" + _length(graph) + graph
        node = b"\x2a" + _length(attribute) + attribute
        graph = b"\x0a" + _length(node) + node
    with pytest.raises(UnsafeModel, match="nests its graphs deeper"):
        strip(b"\x08\x08\x3a" + _length(graph) + graph)


def test_no_graph_at_all():
    with pytest.raises(ModelError, match="holds no graph"):
        strip(onnx.ModelProto(ir_version=8).SerializeToString())


def test_every_dtype_of_the_installed_onnx_is_known():
    known = {name.lower(): number for name, number in TensorProto.DataType.items() if number}
    renamed = {"float": "float32", "double": "float64"}
    assert {number: renamed.get(name, name) for name, number in known.items()} == {n: DTYPES[n] for n in known.values()}


@examples(4)
@given(data=st.data())
def test_any_damage_is_a_sentence_or_harmless(data):
    """Bytes changed anywhere: a sentence or a result, never another exception."""
    original = bytearray(with_initializer(numpy_helper.from_array(np.ones((8, 8), np.float32), "w")).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    try:
        strip(bytes(original))
    except EdgeprofError as error:
        assert re.match(r"[A-Z\w'].*\.$", str(error), re.DOTALL)
