import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeprof.errors import InputError
from edgeprof.models import load_model
from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.models.inputs import check_inputs, make_inputs, read_inputs, shapes_of

INT64, BOOL = TensorProto.INT64, TensorProto.BOOL


def graph_of(*inputs, layers=(), tensors=(), constants=()):
    infos = {name: TensorInfo(name, dtype, shape) for name, dtype, shape in [*inputs, *tensors]}
    return Graph("g", tuple(layers), tuple(infos[name] for name, _, _ in inputs), (), infos, constants=dict(constants))


def node(op, inputs, outputs, name="", **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name, **attributes)


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def array(name, values, dtype=np.int64):
    return numpy_helper.from_array(np.array(values, dtype), name)


# Making


@pytest.mark.parametrize(
    "dtype",
    ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool", "complex64"],
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 2)])
def test_every_type_and_shape(dtype, shape):
    made = make_inputs(graph_of(("x", dtype, shape)))["x"]
    assert (made.dtype.name, made.shape) == (dtype, shape)


def test_texts():
    made = make_inputs(graph_of(("x", "string", (2,))))["x"]
    assert made.tolist() == ["text", "text"]
    assert made.dtype.kind == "U"


def test_floats_are_normal_bytes_fill_their_range_and_booleans_are_true():
    made = make_inputs(graph_of(("f", "float32", (10_000,)), ("u", "uint8", (10_000,)), ("i", "int8", (10_000,)), ("b", "bool", (5,))))
    assert abs(made["f"].mean()) < 0.05
    assert abs(made["f"].std() - 1) < 0.05
    assert (made["u"].min(), made["u"].max(), made["i"].min(), made["i"].max()) == (0, 255, -128, 127)
    assert made["b"].all()


@given(st.integers(0, 2**32 - 1))
def test_the_same_seed_gives_the_same_inputs(seed):
    graph = graph_of(("x", "float32", (4,)), ("n", "int32", (4,)))
    one, two = make_inputs(graph, seed=seed), make_inputs(graph, seed=seed)
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("dtype", "shape", "says"),
    [
        ("bfloat16", (2,), "Input 'x' is bfloat16, which NumPy does not have"),
        ("float8e4m3fn", (2,), "which NumPy does not have"),
        ("int4", (2,), "which NumPy does not have"),
        ("", None, "is a sequence, map, optional or sparse tensor, which edgeprof cannot feed"),
        ("float32", None, "has the shape of unknown rank"),
        ("float32", (2, "n"), r"has the shape \[2, n\]. Give its sizes with --shape x="),
        ("float32", (1 << 40, 8), r"The inputs need 35\.2 TB, more than 4\.29 GB"),
    ],
)
def test_inputs_that_cannot_be_made(dtype, shape, says):
    with pytest.raises(InputError, match=says):
        make_inputs(graph_of(("x", dtype, shape)))


INTEGERS = ("n", "int64", (2, 5))


def gather(name="n", source="n"):
    return Layer(name, "Gather", ("table", source), ("e",))


def test_indices_stay_below_the_axis_that_they_index():
    graph = graph_of(("ids", "int64", (1000,)), layers=[gather(source="ids")], tensors=[("table", "float32", (30, 8))])
    made = make_inputs(graph)["ids"]
    assert (made.min(), made.max()) == (0, 29)


def test_indices_are_followed_through_layers_that_hand_them_on():
    layers = [Layer("c", "Cast", ("ids",), ("a",)), Layer("u", "Unsqueeze", ("a", "axes"), ("b",)), gather(source="b")]
    graph = graph_of(("ids", "int32", (1000,)), layers=layers, tensors=[("table", "float32", (30, 8))])
    assert make_inputs(graph)["ids"].max() == 29


def test_the_smallest_of_two_tables_limits():
    layers = [gather("a", "ids"), Layer("b", "Gather", ("small", "ids"), ("f",))]
    graph = graph_of(("ids", "int64", (1000,)), layers=layers, tensors=[("table", "float32", (30, 8)), ("small", "float32", (7, 8))])
    assert make_inputs(graph)["ids"].max() == 6


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("attention_mask", [[1] * 5] * 2),
        ("token_type_ids", [[0] * 5] * 2),
        ("segment_ids", [[0] * 5] * 2),
        ("position_ids", [[0, 1, 2, 3, 4]] * 2),
    ],
)
def test_names_that_exporters_agree_on(name, expected):
    assert make_inputs(graph_of((name, "int64", (2, 5))))[name].tolist() == expected


def test_positions_stay_in_their_table():
    graph = graph_of(("position_ids", "int64", (1, 9)), layers=[gather(source="position_ids")], tensors=[("table", "float32", (4, 8))])
    assert make_inputs(graph)["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 0]]


@pytest.mark.parametrize(
    ("op_type", "place", "shape", "expected"),
    [
        ("Loop", 0, (), 4), ("Reshape", 1, (3,), [-1, 1, 1]), ("Expand", 1, (2,), [1, 1]), ("Tile", 1, (2,), [1, 1]),
        ("Slice", 1, (1,), [0]), ("Slice", 4, (1,), [1]), ("Range", 1, (), 4), ("TopK", 1, (1,), [1]), ("Pad", 1, (4,), [0] * 4),
        ("ConstantOfShape", 0, (2,), [2, 2]), ("NonMaxSuppression", 2, (1,), [4]), ("ReduceSum", 1, (1,), [0]),
    ],
)  # fmt: skip
def test_counts_and_shapes_are_small_and_change_nothing(op_type, place, shape, expected):
    layer = Layer("l", op_type, ("",) * place + ("n",), ("y",))
    assert make_inputs(graph_of(("n", "int64", shape), layers=[layer]))["n"].tolist() == expected


def test_layers_that_lack_inputs_give_no_hint():
    layers = [Layer("o", "OneHot", ("n",), ()), Layer("c", "Cast", ("n",), ()), Layer("e", "EmbedLayerNormalization", ("n",), ("y",))]
    assert make_inputs(graph_of(("n", "int64", (3,)), layers=layers))["n"].shape == (3,)


def test_booleans_that_switch():
    drop = graph_of(("training", "bool", ()), layers=[Layer("d", "Dropout", ("x", "r", "training"), ("y",))])
    loop = graph_of(("go", "bool", ()), layers=[Layer("l", "Loop", ("n", "go"), ("y",))])
    assert not make_inputs(drop)["training"]
    assert make_inputs(loop)["go"]


def test_models_run_with_what_is_made(model_file):
    """An embedding, a loop, a reshape by an input and a scatter, in ONNX Runtime."""
    ort = pytest.importorskip("onnxruntime")
    body = helper.make_graph(
        [node("Identity", "cond", "cond_out"), node("Add", "v v", "v_out")], "b",
        [value("i", [], INT64), value("cond", [], BOOL), value("v", None)],
        [value("cond_out", None, BOOL), value("v_out", None)],
    )  # fmt: skip
    nodes = [
        node("Gather", "table input_ids", "e"), node("Cast", "attention_mask", "m", to=1), node("Unsqueeze", "m last", "m1"),
        node("Mul", "e m1", "masked"), node("Loop", "trips go masked", "l", body=body), node("Reshape", "l target", "r"),
        node("Range", "zero count one", "range"), node("OneHot", "classes depth onoff", "y"),
    ]  # fmt: skip
    inputs = [
        value("input_ids", ["batch", "seq"], INT64), value("attention_mask", ["batch", "seq"], INT64), value("trips", [], INT64),
        value("go", [], BOOL), value("target", [2], INT64), value("count", [], INT64), value("classes", [3], INT64),
    ]  # fmt: skip
    stored = [
        array("table", np.ones((50, 4)), np.float32), array("last", [-1]), array("zero", 0), array("one", 1), array("depth", 6),
        array("onoff", [0.0, 1.0], np.float32),
    ]  # fmt: skip
    outputs = [value("r", None), value("range", None, INT64), value("y", None)]
    path = model_file(nodes, inputs, outputs, stored)
    graph = load_model(path)
    made = check_inputs(graph, make_inputs(graph))
    assert made["input_ids"].shape == (1, 128)
    reshaped, counted, hot = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, made)
    assert reshaped.shape == (512, 1)
    assert reshaped.max() == 16
    assert counted.tolist() == [0, 1, 2, 3]
    assert hot.shape == (3, 6)


# Checking


GRAPH = graph_of(("x", "float32", (1, 3)), ("n", "int64", (2,)))


def test_good_data_comes_back_in_the_models_order():
    checked = check_inputs(GRAPH, {"n": np.array([1, 2]), "x": np.zeros((1, 3), np.float32, order="F")})
    assert list(checked) == ["x", "n"]
    assert checked["x"].flags.c_contiguous


@pytest.mark.parametrize(
    ("given_data", "says"),
    [
        ({"x": np.zeros((1, 3), np.float32)}, r"No data was given for the input 'n'. The model's inputs are 'x' float32 \[1, 3\]"),
        ({"y": np.zeros(1)}, "Data was given for 'y', which is no input"),
        ({"x": np.zeros((1, 3)), "n": np.zeros(2, np.int64)},
         r"Input 'x': expected float32 \[1, 3\], the data is float64. Convert it with .astype\('float32'\)"),
        ({"x": np.zeros((1, 4), np.float32), "n": np.zeros(2, np.int64)}, r"expected float32 \[1, 3\], the data has the shape \[1, 4\]"),
        ({"x": np.zeros(3, np.float32), "n": np.zeros(2, np.int64)}, r"the data has the shape \[3\]"),
        ({"x": ["a"], "n": np.zeros(2, np.int64)}, r"expected float32 \[1, 3\], the data is string\. Give data of that type\.$"),
        ({"x": np.array([object()]), "n": np.zeros(2, np.int64)}, "the data is object"),
    ],
)  # fmt: skip
def test_data_that_does_not_fit(given_data, says):
    with pytest.raises(InputError, match=says):
        check_inputs(GRAPH, given_data)


def test_texts_of_either_kind_fit_text():
    graph = graph_of(("t", "string", (2,)))
    for texts in (np.array(["a", "b"]), np.array(["a", "b"], object), ["a", "b"]):
        assert check_inputs(graph, {"t": texts})["t"].shape == (2,)


def test_data_decides_the_sizes_that_the_model_leaves_open(model_file):
    path = model_file([node("Relu", "x", "y")], {"x": ["n", 3]}, ["y"])
    data = {"x": np.zeros((7, 3), np.float32)}
    with pytest.raises(InputError, match=r"\[7, 3\]"):
        check_inputs(load_model(path), data)
    graph = load_model(path, shapes_of(data))
    assert graph.outputs[0].shape == (7, 3)
    assert graph.notes == ()
    assert check_inputs(graph, data)["x"].shape == (7, 3)


@given(st.lists(st.integers(0, 4), max_size=4), st.sampled_from(["float32", "int64", "uint8", "bool", "float16"]))
def test_what_is_made_always_fits(shape, dtype):
    graph = graph_of(("x", dtype, tuple(shape)))
    assert check_inputs(graph, make_inputs(graph))["x"].shape == tuple(shape)


# Reading


ONE = graph_of(("x", "float32", (2, 3)))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_by_name(tmp_path, save, order):
    data = {"x": np.asarray(np.arange(6, dtype=np.float32).reshape(2, 3), order=order), "ids/0": np.array(5), "t": np.array(["a", "bc"])}
    save(tmp_path / "in.npz", **data)
    read = read_inputs(tmp_path / "in.npz", ONE)
    assert {name: value.tolist() for name, value in read.items()} == {name: value.tolist() for name, value in data.items()}
    assert all(read[name].dtype == value.dtype for name, value in data.items())


def test_npy_for_the_only_input(tmp_path):
    np.save(tmp_path / "in.npy", np.ones((2, 3), np.float32))
    assert read_inputs(str(tmp_path / "in.npy"), ONE)["x"].tolist() == [[1] * 3] * 2
    with pytest.raises(InputError, match=r"holds one array without a name; the model needs a \.npz"):
        read_inputs(tmp_path / "in.npy", GRAPH)


@given(
    shape=st.lists(st.integers(0, 4), max_size=4),
    dtype=st.sampled_from(["float32", "int64", "uint8", "bool", "float16", "complex64", ">f4", "U3"]),
)
def test_save_then_read_is_the_same(shape, dtype):
    stream, original = io.BytesIO(), np.ones(shape, dtype)
    np.save(stream, original)
    size = stream.tell()
    stream.seek(0)
    from edgeprof.models.inputs import _read_array

    read = _read_array(stream, size, "x", 1 << 20)
    assert np.array_equal(read, original)
    assert read.shape == original.shape


def test_no_file_folder_and_other_files(tmp_path):
    with pytest.raises(InputError, match="There is no input data at"):
        read_inputs(tmp_path / "none.npy", ONE)
    with pytest.raises(InputError, match=r"is not a file; expected a \.npy or \.npz"):
        read_inputs(tmp_path, ONE)
    for content in (b"", b"hello", b"\x93NUMPY", b"\x93NUMPY\x01\x00v\x00{'descr"):
        (tmp_path / "bad.npy").write_bytes(content)
        with pytest.raises(InputError, match="is not an array in NumPy's format"):
            read_inputs(tmp_path / "bad.npy", ONE)


def test_python_objects_are_never_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.save(tmp_path / "in.npy", np.array([Evil()], object), allow_pickle=True)
    np.savez(tmp_path / "in.npz", x=np.array([Evil()], object))
    for name in ("in.npy", "in.npz"):
        with pytest.raises(InputError, match="holds Python objects, which are not loaded because they could run code"):
            read_inputs(tmp_path / name, ONE)


def header(shape, dtype="<f4"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize("shape", [(1 << 50,), (1 << 40, 1 << 40), (3,), (-4,)])
def test_a_header_that_claims_what_is_not_there(tmp_path, shape):
    (tmp_path / "in.npy").write_bytes(header(shape) + bytes(8))
    with pytest.raises(InputError, match=r"in.npy claims .*, 8 B are there"):
        read_inputs(tmp_path / "in.npy", ONE)
    with zipfile.ZipFile(tmp_path / "in.npz", "w") as archive:
        archive.writestr("x.npy", header(shape) + bytes(8))
    with pytest.raises(InputError, match=r"'x' in in.npz claims .*, 8 B are there"):
        read_inputs(tmp_path / "in.npz", ONE)


def test_archives_that_unpack_to_too_much(tmp_path):
    np.savez_compressed(tmp_path / "in.npz", x=np.zeros(1_000_000, np.float32))
    with pytest.raises(InputError, match=r"in.npz unpacks to 4\.00 MB, more than 1\.00 MB"):
        read_inputs(tmp_path / "in.npz", ONE, most_bytes=1_000_000)
    np.save(tmp_path / "in.npy", np.zeros(1_000_000, np.float32))
    with pytest.raises(InputError, match=r"at most 1\.00 MB are read"):
        read_inputs(tmp_path / "in.npy", ONE, most_bytes=1_000_000)


def test_damaged_and_empty_archives(tmp_path):
    np.savez(tmp_path / "in.npz", x=np.arange(1000, dtype=np.float32))
    data = bytearray((tmp_path / "in.npz").read_bytes())
    data[600] ^= 255
    (tmp_path / "in.npz").write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        read_inputs(tmp_path / "in.npz", ONE)
    with zipfile.ZipFile(tmp_path / "empty.npz", "w"):
        pass
    with pytest.raises(InputError, match="holds no arrays"):
        read_inputs(tmp_path / "empty.npz", ONE)


@pytest.mark.parametrize("step", range(0, 800, 31))
def test_damage_anywhere_is_a_sentence_or_harmless(tmp_path, step):
    np.savez_compressed(tmp_path / "in.npz", x=np.arange(100, dtype=np.float32), y=np.array(["a"]))
    data = bytearray((tmp_path / "in.npz").read_bytes())
    data[step % len(data)] ^= 0x55
    (tmp_path / "in.npz").write_bytes(data)
    try:
        read_inputs(tmp_path / "in.npz", ONE)
    except InputError as error:
        assert str(error).endswith(".")
