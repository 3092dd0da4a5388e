"""Sizes of inner tensors, in graphs as exporters and ONNX Runtime write them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprof.errors import UnsafeModel
from edgeprof.models import fold, load_model
from edgeprof.models.cost import total_cost, uncounted

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def node(op, inputs, outputs, name="", **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name, **attributes)


def array(name, values, dtype=np.int64):
    return numpy_helper.from_array(np.array(values, dtype), name)


def weights(name, *dims):
    return numpy_helper.from_array(np.zeros(dims, np.float32), name)


def value(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def test_reshape_by_the_arithmetic_that_pytorch_exports(model_file):
    """x.reshape(b, t, heads, c // heads): Shape, Gather, Div, Unsqueeze, Concat, Reshape. ONNX alone does not compute Div."""
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s i0", "b"), node("Gather", "s i1", "t"), node("Gather", "s i2", "c"),
        node("Div", "c heads", "d"), node("Unsqueeze", "b axis", "b1"), node("Unsqueeze", "t axis", "t1"),
        node("Unsqueeze", "d axis", "d1"), node("Concat", "b1 t1 h1 d1", "shape", axis=0), node("Reshape", "x shape", "y"),
    ]  # fmt: skip
    stored = [array("i0", 0), array("i1", 1), array("i2", 2), array("heads", 4), array("axis", [0]), array("h1", [4])]
    graph = load_model(model_file(nodes, {"x": ["batch", "time", 64]}, ["y"], stored), {"x": [2, 10, 64]})
    assert graph.tensor("y").shape == (2, 10, 4, 16)
    assert not any("not known" in note for note in graph.notes)


def test_expand_by_where_on_a_shape(model_file):
    """torch.expand: ConstantOfShape, Mul, Equal, Where, Expand."""
    nodes = [
        node("Shape", "x", "s"), node("Shape", "s", "rank"), node("ConstantOfShape", "rank", "ones", value=array("", [1])),
        node("Mul", "ones minus", "m"), node("Equal", "target m", "eq"), node("Where", "eq ones target", "shape"),
        node("Expand", "x shape", "e"), node("MatMul", "e w", "y"),
    ]  # fmt: skip
    graph = load_model(model_file(nodes, {"x": [1, 8]}, ["y"], [array("minus", -1), array("target", [5, -1]), weights("w", 8, 3)]))
    assert graph.tensor("y").shape == (5, 3)
    assert total_cost(graph).macs == 5 * 8 * 3


def test_many_blocks_of_shape_arithmetic_need_many_rounds(model_file):
    nodes, stored, last = [], [array("two", [2]), array("i0", [0])], "x"
    for i in range(40):
        nodes += [
            node("Shape", last, f"s{i}"), node("Gather", f"s{i} i0", f"n{i}"), node("Div", f"n{i} two", f"h{i}"),
            node("Mul", f"h{i} two", f"m{i}"), node("Concat", f"m{i} minus", f"t{i}", axis=0), node("Reshape", f"{last} t{i}", f"r{i}"),
        ]  # fmt: skip
        last = f"r{i}"
    graph = load_model(model_file(nodes, {"x": [4, 6]}, [last], [*stored, array("minus", [-1])]))
    assert graph.tensor(last).shape == (4, 6)


def test_upsampling_by_computed_sizes(model_file):
    nodes = [
        node("Shape", "x", "s"), node("Slice", "s two four", "hw"), node("Cast", "hw", "f", to=FLOAT), node("Mul", "f scale", "g"),
        node("Floor", "g", "h"), node("Cast", "h", "i", to=INT64), node("Slice", "s zero two", "nc"),
        node("Concat", "nc i", "sizes", axis=0),
        node("Resize", "x none none2 sizes", "y"),
    ]  # fmt: skip
    nodes[-1].input[1] = nodes[-1].input[2] = ""
    stored = [array("zero", [0]), array("two", [2]), array("four", [4]), array("scale", 1.5, np.float32)]
    graph = load_model(model_file(nodes, {"x": [1, 3, 7, 8]}, ["y"], stored))
    assert graph.tensor("y").shape == (1, 3, 10, 12)


def test_weights_that_were_left_out_do_not_disturb(model_file):
    nodes = [
        node("Gather", "table ids", "e"),
        node("Conv", "x w", "c"),
        node("Reshape", "c shape", "r"),
        node("Concat", "r r", "y", axis=0),
    ]
    stored = [weights("table", 1000, 64), weights("w", 8, 3, 5, 5), array("shape", [0, -1]), array("ids", list(range(500)))]
    graph = load_model(model_file(nodes, {"x": [1, 3, 9, 9]}, ["y", "e"], stored))
    assert graph.tensor("y").shape == (2, 200)
    assert graph.tensor("e").shape == (500, 64)


def test_stale_shapes_in_the_file_give_way_to_the_sizes_asked_for(model_file):
    inner = [value("a", ["batch", 4]), value("b", [1, 4])]
    nodes = [node("Relu", "x", "a"), node("Abs", "a", "b"), node("Neg", "b", "y")]
    path = model_file(nodes, {"x": ["batch", 4]}, [value("y", [1, 4])], value_info=inner)
    graph = load_model(path, {"x": [7, 4]})
    assert [graph.tensor(name).shape for name in "aby"] == [(7, 4)] * 3


def test_operators_nobody_knows_take_what_the_file_says(model_file):
    nodes = [helper.make_node("Magic", ["x"], ["a"], domain="my"), node("MatMul", "a w", "y")]
    path = model_file(nodes, {"x": ["n", 4]}, ["y"], [weights("w", 6, 5)], opsets=[("my", 3)], value_info=[value("a", ["n", 6])])
    graph = load_model(path, {"x": [3, 4]})
    assert graph.tensor("y").shape == (3, 5)
    assert uncounted(graph) == ("Magic",)
    assert graph.opsets == {"": 17, "my": 3}


def test_operators_nobody_knows_leave_a_hole_that_is_said(model_file):
    nodes = [helper.make_node("Magic", ["x"], ["a"], "m", domain="my"), node("MatMul", "a w", "y")]
    graph = load_model(model_file(nodes, {"x": [2, 4]}, ["y"], [weights("w", 6, 5)], opsets=[("my", 1)]))
    assert uncounted(graph) == ("Magic", "MatMul")
    assert graph.notes == (
        "2 of 2 layers have an output whose size is not known before it runs, the first is 'm' (Magic); counts that need it are NaN.",
    )


def test_a_size_that_the_model_cannot_take_is_said(model_file):
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w", "y", "fc")]
    graph = load_model(model_file(nodes, {"x": ["n", 3, "h", "w"]}, ["y"], [weights("w", 48, 10)]))
    assert any("Shape inference stopped" in note and "Gemm" in note for note in graph.notes)
    fine = load_model(graph.path, {"x": [2, 3, 4, 4]})
    assert fine.outputs[0].shape == (2, 10)
    assert fine.notes == ()


def test_data_dependent_sizes_stay_open(model_file):
    graph = load_model(model_file([node("NonZero", "x", "n"), node("Transpose", "n", "y")], {"x": [4, 4]}, ["y"]))
    assert graph.outputs[0].dtype == "int64"
    assert graph.outputs[0].shape == (None, 2)


def test_the_mask_of_an_old_dropout_is_no_hole(model_file):
    graph = load_model(model_file([node("Dropout", "x", "y mask", ratio=0.5)], {"x": [4, 4]}, ["y"], opset=9))
    assert graph.notes == ()


def test_a_huge_shape_is_not_computed(model_file):
    nodes = [
        node("ConstantOfShape", "shape", "c"),
        node("Expand", "one shape", "e"),
        node("Range", "zero far one0", "r"),
        node("Tile", "one far1", "t"),
    ]
    stored = [
        array("shape", [1 << 20, 1 << 20]),
        array("one", [1]),
        array("zero", 0),
        array("far", 1 << 40),
        array("one0", 1),
        array("far1", [1 << 40]),
    ]
    graph = load_model(model_file(nodes, {"x": [1]}, ["c", "e", "r", "t"], stored))
    assert graph.tensor("c").shape == (1 << 20, 1 << 20)


def test_fold_never_makes_large_arrays():
    made = [
        node("ConstantOfShape", "a", "y"), node("Expand", "a a", "y"), node("Tile", "a a", "y"), node("Range", "s t u", "y"),
    ]  # fmt: skip
    feeds = {"a": np.array([1 << 40]), "s": np.array(0), "t": np.array(1 << 40), "u": np.array(1)}
    assert all(fold._elements_made(n, {name: feeds[name] for name in n.input}) >= 1 << 40 for n in made)


@pytest.mark.parametrize("level", ["ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
def test_graphs_that_onnxruntime_optimised_count_the_same(model_file, tmp_path, level):
    """FusedConv, FusedMatMul, FusedGemm, BiasGelu, nchwc.Conv: their sizes are found, their MACs are those of the original."""
    ort = pytest.importorskip("onnxruntime")
    nodes = [
        node("Conv", "x w1", "c1", strides=[2, 2]), node("Relu", "c1", "r1"), node("MaxPool", "r1", "p1", kernel_shape=[2, 2]),
        node("Conv", "p1 w2 b2", "c2", group=4), node("GlobalAveragePool", "c2", "g"), node("Flatten", "g", "f"),
        node("Gemm", "f w3 b3", "h"), node("Relu", "h", "hr"), node("Gemm", "hr w4", "k", transB=1),
        node("Transpose", "k", "kt", perm=[1, 0]), node("MatMul", "k kt", "mm"), node("Mul", "mm scale", "ms"),
        node("Add", "ms b5", "a"), node("Div", "a root", "d"), node("Erf", "d", "e"), node("Add", "e one", "e1"), node("Mul", "a e1", "m"),
        node("Mul", "m half", "y"),
    ]  # fmt: skip
    rng = np.random.default_rng(0)

    def random(name, *dims):
        return numpy_helper.from_array(rng.standard_normal(dims).astype(np.float32), name)

    # widths that no processor's blocked layout fills up: it would count the filling
    sizes = {"w1": (16, 3, 3, 3), "w2": (64, 4, 3, 3), "b2": (64,), "w3": (64, 12), "b3": (12,), "w4": (6, 12), "b5": (2,)}
    scalars = {"scale": 0.25, "root": 2**0.5, "one": 1, "half": 0.5}
    stored = [random(name, *dims) for name, dims in sizes.items()]
    stored += [array(name, number, np.float32) for name, number in scalars.items()]
    path = model_file(nodes, {"x": [2, 3, 33, 33]}, ["y"], stored)
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    original, optimised = load_model(path), load_model(tmp_path / "optimised.onnx")
    assert any(layer.domain for layer in optimised.layers)
    assert uncounted(optimised) == ()
    assert optimised.outputs[0].shape == (2, 2)
    assert total_cost(optimised).macs == total_cost(original).macs > 0


MICROSOFT = [("com.microsoft", 1)]


@pytest.mark.parametrize(
    ("fused", "inputs", "stored", "shape", "dtype"),
    [
        (helper.make_node("MatMulNBits", ["x", "b", "s"], ["y"], K=64, N=10, bits=4, block_size=32), {"x": [2, 5, 64]},
         [array("b", [[[1] * 16] * 2] * 10, np.uint8), weights("s", 20)], (2, 5, 10), "float32"),
        (helper.make_node("FusedMatMul", ["x", "w"], ["y"], transB=1), {"x": [3, 2, 8]}, [weights("w", 5, 8)], (3, 2, 5), "float32"),
        (helper.make_node("Attention", ["x", "w"], ["y"], num_heads=4), {"x": [2, 7, 16]}, [weights("w", 16, 48)], (2, 7, 16), "float32"),
        (helper.make_node("SkipLayerNormalization", ["x", "x", "w"], ["y", "", "", "sum"]), {"x": [2, 7, 16]}, [weights("w", 16)],
         (2, 7, 16), "float32"),
        (helper.make_node("QGemm", ["x", "s", "z", "b", "s", "z"], ["y"]), [value("x", [2, 8], TensorProto.UINT8)],
         [array("b", [[1] * 3] * 8, np.uint8), array("s", 1, np.float32), array("z", 0, np.uint8)], (2, 3), "float32"),
        (helper.make_node("QLinearConcat", ["s", "z", "x", "s", "z", "x", "s", "z"], ["y"], axis=1),
         [value("x", [2, 8], TensorProto.UINT8)], [array("s", 1, np.float32), array("z", 0, np.uint8)], (2, 16), "uint8"),
        (helper.make_node("MatMulIntegerToFloat", ["x", "b", "s", "s"], ["y"]), [value("x", [4, 8], TensorProto.UINT8)],
         [array("b", [[1] * 3] * 8, np.uint8), array("s", 1, np.float32)], (4, 3), "float32"),
        (helper.make_node("QLinearAdd", ["x", "s", "z", "b", "s", "z", "s", "z"], ["y"]), [value("x", [4, 3], TensorProto.UINT8)],
         [array("b", [1] * 3, np.uint8), array("s", 1, np.float32), array("z", 0, np.uint8)], (4, 3), "uint8"),
        (helper.make_node("GroupQueryAttention", ["x", "x", "x", "", "", "n", "n"], ["y"], num_heads=2, kv_num_heads=2), {"x": [1, 4, 16]},
         [array("n", [1], np.int32)], (1, 4, 16), "float32"),
    ],
)  # fmt: skip
def test_sizes_after_operators_of_onnxruntime(model_file, fused, inputs, stored, shape, dtype):
    fused.domain = "com.microsoft"
    graph = load_model(model_file([fused], inputs, ["y"], stored, opsets=MICROSOFT))
    assert (graph.tensor("y").shape, graph.tensor("y").dtype) == (shape, dtype)
    assert graph.layers[0].op_type == fused.op_type
    assert uncounted(graph) == ()


def test_shape_inference_that_fails_is_a_note(model_file, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", fail)
    graph = load_model(model_file([node("Relu", "x", "y")], {"x": ["n", 4]}, [value("y", ["n", 4])]))
    assert any("Shape inference failed" in note and "no such thing" in note for note in graph.notes)
    assert graph.tensor("y").shape == (1, 4)


def test_attributes_that_would_crash_the_inference_are_kept_from_it(model_file):
    nodes = [
        node("LayerNormalization", "x w", "a", axis=2**63 - 1), node("Split", "x", "b c", num_outputs=1), node("Relu", "x", "y"),
        helper.make_node("LabelEncoder", [""], ["l"], domain="ai.onnx.ml", keys_strings=["a"], values_int64s=[1]),
    ]  # fmt: skip
    graph = load_model(model_file(nodes, {"x": [2, 4]}, ["a", "b", "y"], [weights("w", 4)], opset=18, opsets=[("ai.onnx.ml", 4)]))
    assert graph.tensor("y").shape == (2, 4)
    assert graph.tensor("a").shape is None


def test_an_absurd_input_is_refused(model_file):
    with pytest.raises(UnsafeModel, match=r"Input 'x' claims the shape \[9223372036854775807\], which no machine holds"):
        load_model(model_file([node("Relu", "x", "y")], {"x": [2**63 - 1]}, ["y"]))


def test_a_long_vector_does_not_take_for_ever(model_file):
    """ONNX's following of values keeps a message for each element of a vector."""
    nodes = [node("Sub", "x mean", "a"), node("Shape", "a", "s"), node("Div", "s two", "d"), node("Concat", "two d", "t", axis=0),
             node("Reshape", "a t", "y")]  # fmt: skip
    graph = load_model(model_file(nodes, {"x": ["samples"]}, ["y"], [array("mean", 0.5, np.float32), array("two", [2])]), {"x": [1 << 39]})
    assert graph.tensor("y").shape == (2, 1 << 38)


def test_nodes_with_too_few_inputs_are_left_alone(model_file):
    nodes = [helper.make_node("Shape", [], ["a"]), helper.make_node("ConstantOfShape", [], ["b"]), helper.make_node("Concat", ["a"], ["c"])]
    assert load_model(model_file(nodes, {"x": [1]}, ["b", "c"])).outputs[0].shape is None


def test_old_opsets_have_attributes_where_new_ones_have_inputs(model_file):
    nodes = [
        node("Slice", "x", "a", starts=[1], ends=[2**63 - 1], axes=[0]), node("Unsqueeze", "a", "b", axes=[0]),
        node("Pad", "b", "c", pads=[0, 0, 1, 0, 0, 1], mode="constant"), node("Squeeze", "c", "y", axes=[0]),
    ]  # fmt: skip
    graph = load_model(model_file(nodes, {"x": [4, 3]}, ["y"], opset=9))
    assert graph.tensor("y").shape == (3, 5)
