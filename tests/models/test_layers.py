import pytest
from onnx import AttributeProto, TensorProto, helper

from edgeprof.errors import ModelError, UnsafeModel
from edgeprof.models import layers as layers_module
from edgeprof.models import load_model
from edgeprof.models.cost import graph_costs, uncounted

OPSET = [helper.make_opsetid("", 17)]


def value(name, shape=None, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def names(graph):
    return [layer.name for layer in graph.layers]


def node(op, inputs, outputs, name="", **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name, **attributes)


# Names


def test_names_are_unique_and_given_names_are_kept(model_file):
    chain = [node("Relu", "x", "a"), node("Relu", "a", "b", "act"), node("Abs", "b", "c", "act"), node("Neg", "c", "y", "Relu_0")]
    graph = load_model(model_file(chain, {"x": [2]}, ["y"]))
    assert names(graph) == ["Relu_0_0", "act", "Abs_2", "Relu_0"]
    assert [layer.given_name for layer in graph.layers] == ["", "act", "act", "Relu_0"]


def test_a_name_taken_twice_over(model_file):
    chain = [node("Relu", "x", "a", "Abs_2"), node("Relu", "a", "b", "t"), node("Abs", "b", "y", "t")]
    assert names(load_model(model_file(chain, {"x": [2]}, ["y"]))) == ["Abs_2", "t", "Abs_2_2"]


def test_the_standard_domain_has_one_name(model_file):
    graph = load_model(model_file([node("Relu", "x", "y", domain="ai.onnx")], {"x": [2]}, ["y"]))
    assert graph.layers[0].domain == ""


def test_attributes_of_every_kind(model_file):
    one = node("Strange", "x", "y", domain="my", i=3, f=0.5, s="SAME", ints=[1, 2], floats=[0.5], strings=["a", "b"], t=_tensor())
    raw = helper.make_attribute("raw", b"\xff\xfe")
    one.attribute.append(raw)
    attributes = load_model(model_file([one], {"x": [2]}, ["y"], opsets=[("my", 1)])).layers[0].attributes
    assert attributes == {
        "i": 3, "f": 0.5, "s": "SAME", "ints": (1, 2), "floats": (0.5,), "strings": ("a", "b"), "raw": b"\xff\xfe",
    }  # fmt: skip


def _tensor():
    return helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])


# Subgraphs


def if_model(then_nodes, else_nodes, then_output="o", else_output="o"):
    then_branch = helper.make_graph(then_nodes, "t", [], [value(then_output)])
    else_branch = helper.make_graph(else_nodes, "e", [], [value(else_output)])
    choice = node("If", "c", "y", "choose")
    choice.attribute.extend(
        helper.make_attribute(name, body) for name, body in [("then_branch", then_branch), ("else_branch", else_branch)]
    )
    return [node("Abs", "x", "a", "before"), choice], [value("x", [2, 3]), value("c", [], TensorProto.BOOL)], ["y"]


def test_branches_are_nested_layers_with_tensors_of_their_own(model_file):
    model = if_model([node("Relu", "a", "o", "r")], [node("Neg", "a", "o1"), node("Exp", "o1", "o")])
    graph = load_model(model_file(*model))
    assert names(graph) == ["before", "choose", "choose/then_branch/r", "choose/else_branch/Neg_0", "choose/else_branch/Exp_1"]
    then, _, exp = graph.layers[2:]
    assert (then.parent, then.branch, exp.branch) == ("choose", "then_branch", "else_branch")
    assert then.inputs == ("a",)
    assert then.outputs == ("o",)
    assert exp.outputs == ("choose/else_branch/o",)
    assert graph.tensor("choose/else_branch/o").shape == (2, 3)
    assert graph.tensor("y").shape == (2, 3)


def test_control_flow_counts_on_nested_rows_only(model_file):
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 4], [0.0] * 12)
    then_branch = helper.make_graph([node("MatMul", "x w", "o", "m")], "t", [], [value("o")], [weights])
    else_branch = helper.make_graph([node("MatMul", "x w", "o", "m")], "e", [], [value("o")], [weights])
    choice = node("If", "c", "y", "choose")
    choice.attribute.extend(
        helper.make_attribute(name, body) for name, body in [("then_branch", then_branch), ("else_branch", else_branch)]
    )
    graph = load_model(model_file([choice], [value("x", [2, 3]), value("c", [], TensorProto.BOOL)], ["y"]))
    costs = graph_costs(graph)
    assert costs["choose/then_branch/m"].macs == costs["choose/else_branch/m"].macs == 24
    assert costs["choose/else_branch/m"].params == 12
    assert costs["choose"].macs != costs["choose"].macs
    assert uncounted(graph) == ("If",)
    assert graph.initializers == {"w", "choose/else_branch/w"}


def test_loop_and_scan_bodies(model_file):
    body = helper.make_graph(
        [node("Identity", "cond_in", "cond_out"), node("MatMul", "v x", "v_out", "step")],
        "b",
        [value("i", [], TensorProto.INT64), value("cond_in", [], TensorProto.BOOL), value("v", [3, 3])],
        [value("cond_out", None, TensorProto.BOOL), value("v_out")],
    )
    loop = node("Loop", "n c x", "y", "loop", body=body)
    trip = helper.make_tensor("n", TensorProto.INT64, [], [5])
    keep = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    graph = load_model(model_file([loop], {"x": [3, 3]}, ["y"], [trip, keep]))
    assert names(graph) == ["loop", "loop/body/Identity_0", "loop/body/step"]
    assert graph_costs(graph)["loop/body/step"].macs == 27


def test_two_loops_with_the_same_inner_names(model_file):
    def loop(name, source, target):
        body = helper.make_graph(
            [node("Identity", "cond_in", "cond_out"), node("Relu", "v", "v_out", "relu")],
            "b",
            [value("i", [], TensorProto.INT64), value("cond_in", [], TensorProto.BOOL), value("v", [3])],
            [value("cond_out", None, TensorProto.BOOL), value("v_out")],
        )
        return node("Loop", f"n c {source}", target, name, body=body)

    trip = helper.make_tensor("n", TensorProto.INT64, [], [5])
    keep = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    graph = load_model(model_file([loop("l1", "x", "m"), loop("l2", "m", "y")], {"x": [3]}, ["y"], [trip, keep]))
    assert graph.layers[2].inputs == ("v",)
    assert graph.layers[5].inputs == ("l2/body/v",)
    made = [name for layer in graph.layers for name in layer.outputs]
    assert len(made) == len(set(made))


# Functions


def dense(name="Dense", domain="local"):
    return helper.make_function(
        domain, name, ["a", "w"], ["b"], [node("MatMul", "a w", "m", "mm"), node("LeakyRelu", "m", "b", "act", alpha=0.5)], OPSET
    )


def weights(name, *dims):
    size = 1
    for dim in dims:
        size *= dim
    return helper.make_tensor(name, TensorProto.FLOAT, dims, [0.0] * size)


def test_a_function_call_is_a_layer_with_its_body_nested(model_file):
    nodes = [node("Dense", "x w1", "h", "fc1", domain="local"), node("Dense", "h w2", "y", "fc2", domain="local")]
    path = model_file(nodes, {"x": [2, 3]}, ["y"], [weights("w1", 3, 4), weights("w2", 4, 5)], functions=[dense()], opsets=[("local", 1)])
    graph = load_model(path)
    assert names(graph) == ["fc1", "fc1/Dense/mm", "fc1/Dense/act", "fc2", "fc2/Dense/mm", "fc2/Dense/act"]
    assert graph.layers[1].inputs == ("x", "w1")
    assert graph.layers[1].outputs == ("fc1/m",)
    assert graph.layers[2].outputs == ("h",)
    assert graph.tensor("fc2/m").shape == (2, 5)
    costs = graph_costs(graph)
    assert [costs[name].macs for name in names(graph)] == [0, 24, 0, 0, 40, 0]
    assert uncounted(graph) == ()


def test_attributes_of_the_call_reach_the_body_and_defaults_hold(model_file):
    leaky = node("LeakyRelu", "a", "b", "act")
    leaky.attribute.append(AttributeProto(name="alpha", ref_attr_name="slope", type=AttributeProto.FLOAT))
    clip = node("Elu", "b", "c", "elu")
    clip.attribute.append(AttributeProto(name="alpha", ref_attr_name="missing", type=AttributeProto.FLOAT))
    function = helper.make_function("local", "Act", ["a"], ["c"], [leaky, clip], OPSET, attributes=["missing"],
                                    attribute_protos=[helper.make_attribute("slope", 0.25)])  # fmt: skip
    nodes = [node("Act", "x", "h", "one", domain="local", slope=0.75), node("Act", "h", "y", "two", domain="local")]
    graph = load_model(model_file(nodes, {"x": [2]}, ["y"], functions=[function], opsets=[("local", 1)]))
    assert [layer.attributes for layer in graph.layers if layer.op_type == "LeakyRelu"] == [{"alpha": 0.75}, {"alpha": 0.25}]
    assert [layer.attributes for layer in graph.layers if layer.op_type == "Elu"] == [{}, {}]


def test_functions_in_functions_absent_inputs_and_unused_outputs(model_file):
    inner = helper.make_function("local", "Inner", ["a", "b"], ["c", "d"], [node("Clip", "a b", "c", "clip"), node("Abs", "a", "d")], OPSET)
    outer = helper.make_function("local", "Outer", ["a"], ["c"], [node("Inner", "a", "c", "in", domain="local")],
                                 [*OPSET, helper.make_opsetid("local", 1)])  # fmt: skip
    graph = load_model(
        model_file([node("Outer", "x", "y", "o", domain="local")], {"x": [2]}, ["y"], functions=[inner, outer], opsets=[("local", 1)])
    )
    assert names(graph) == ["o", "o/Outer/in", "o/Outer/in/Inner/clip", "o/Outer/in/Inner/Abs_1"]
    clip, absolute = graph.layers[2:]
    assert (clip.inputs, clip.outputs) == (("x", ""), ("y",))
    assert absolute.outputs == ("o/Outer/in/d",)
    assert graph.tensor("y").shape == (2,)


def test_a_function_that_hands_its_input_on(model_file):
    function = helper.make_function("local", "Same", ["a"], ["a"], [], OPSET)
    nodes = [node("Same", "x", "h", "same", domain="local"), node("Relu", "h", "y", "r")]
    graph = load_model(model_file(nodes, {"x": [2]}, ["y"], functions=[function], opsets=[("local", 1)]))
    assert graph.tensor("y").shape == (2,)


def test_a_subgraph_in_a_function(model_file):
    branch = helper.make_graph([node("Relu", "m", "o", "r")], "b", [], [value("o")])
    body = [node("Abs", "a", "m"), node("If", "c", "b", "pick", then_branch=branch, else_branch=branch)]
    function = helper.make_function("local", "F", ["a", "c"], ["b"], body, OPSET)
    inputs = [value("x", [2]), value("c", [], TensorProto.BOOL)]
    graph = load_model(model_file([node("F", "x c", "y", "f", domain="local")], inputs, ["y"], functions=[function], opsets=[("local", 1)]))
    assert names(graph)[1:] == ["f/F/Abs_0", "f/F/pick", "f/F/pick/else_branch/r", "f/F/pick/then_branch/r"]
    assert graph.layers[3].inputs == ("f/m",)
    assert graph.tensor("y").shape == (2,)


def test_functions_are_told_apart_by_overload(model_file):
    one = helper.make_function("local", "F", ["a"], ["b"], [node("Relu", "a", "b", "r")], OPSET, overload="one")
    two = helper.make_function("local", "F", ["a"], ["b"], [node("Abs", "a", "b", "a")], OPSET, overload="two")
    call = node("F", "x", "y", "f", domain="local")
    call.overload = "two"
    graph = load_model(model_file([call], {"x": [2]}, ["y"], functions=[one, two], opsets=[("local", 1)], ir=10))
    assert names(graph) == ["f", "f/F/a"]


def test_a_function_that_calls_itself_is_refused(model_file):
    function = helper.make_function("local", "F", ["a"], ["b"], [node("F", "a", "b", domain="local")], OPSET)
    with pytest.raises(ModelError, match="'F' of the model calls itself"):
        load_model(model_file([node("F", "x", "y", domain="local")], {"x": [2]}, ["y"], functions=[function], opsets=[("local", 1)]))


def test_functions_that_grow_without_end_are_refused(model_file, monkeypatch):
    monkeypatch.setattr(layers_module, "MOST_LAYERS", 5000)
    functions = [helper.make_function("local", "F0", ["a"], ["b"], [node("Relu", "a", "b")], OPSET)]
    for i in range(1, 30):
        body = [node(f"F{i - 1}", "a", "m", domain="local"), node(f"F{i - 1}", "m", "b", domain="local")]
        functions.append(helper.make_function("local", f"F{i}", ["a"], ["b"], body, OPSET))
    with pytest.raises(UnsafeModel, match="expand to more than 5,000 layers"):
        load_model(model_file([node("F29", "x", "y", domain="local")], {"x": [2]}, ["y"], functions=functions, opsets=[("local", 1)]))


# Graphs that cannot be


def test_a_tensor_that_nobody_makes(model_file):
    with pytest.raises(ModelError, match="Relu 'r' reads the tensor 'nowhere', which is no input"):
        load_model(model_file([node("Relu", "nowhere", "y", "r")], {"x": [2]}, ["y"]))


def test_a_tensor_made_twice(model_file):
    with pytest.raises(ModelError, match="the tensor 'y' is made twice, the second time by Abs 'b'"):
        load_model(model_file([node("Relu", "x", "y", "a"), node("Abs", "x", "y", "b")], {"x": [2]}, ["y"]))


def test_an_output_that_nobody_makes(model_file):
    with pytest.raises(ModelError, match="The output 'z' of the graph is made by no layer"):
        load_model(model_file([node("Relu", "x", "y")], {"x": [2]}, ["z"]))


def test_a_call_with_too_many_inputs(model_file):
    with pytest.raises(ModelError, match="passes 3 inputs and 1 outputs to the function 'Dense', which takes 2 and 1"):
        load_model(model_file([node("Dense", "x x x", "y", "d", domain="local")], {"x": [2]}, ["y"], functions=[dense()]))
