"""Events to layers: toy traces by hand, then the runtime's own."""

import numpy as np
import pytest

from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.models.identity import match
from edgeprof.records.attribution import attribute, attribute_directly, node_fates
from edgeprof.records.trace import EventKind
from tests.models.identity_models import Net, body, helper, record, without_names


def kind(name, op_type, index=-1, shape=None):
    return EventKind(name, op_type, "CPUExecutionProvider", index, (), () if shape is None else (("float32", shape),))


def graph(*layers, shapes=()):
    tensors = {name: TensorInfo(name, "float32", shape) for name, shape in dict(shapes).items()}
    return Graph("g", tuple(layers), (), (), tensors)


def layer(name, op_type, given=None, parent=None):
    return Layer(name, op_type, ("x",), (f"{name}_out",), given_name=name if given is None else given, parent=parent)


def found(kinds, executed, events=None, parents=None):
    events = range(len(kinds)) if events is None else events
    return attribute(kinds, list(events), list(parents or [-1] * len(events)), executed).layers


def test_names_and_types_decide():
    executed = graph(layer("a", "Conv"), layer("b", "Relu"))
    assert found([kind("b", "Relu"), kind("a", "Conv")], executed) == ("b", "a")


def test_a_layer_that_ran_with_two_shapes_is_one_layer():
    executed = graph(layer("a", "Exp"))
    assert found([kind("a", "Exp", 0, (1,)), kind("a", "Exp", 0, (2,))], executed) == ("a", "a")


def test_nameless_layers_go_by_the_order_they_ran_in():
    executed = graph(layer("Mul_0", "Mul", ""), layer("c", "Exp"), layer("Mul_2", "Mul", ""))
    assert found([kind("Mul_7", "Mul", 7), kind("c", "Exp", 1), kind("Mul_9", "Mul", 9)], executed) == ("Mul_0", "c", "Mul_2")


def test_nameless_layers_in_other_numbers_go_by_shape_or_not_at_all():
    executed = graph(layer("Mul_0", "Mul", ""), layer("Mul_1", "Mul", ""), shapes={"Mul_0_out": (4,), "Mul_1_out": (8,)})
    assert found([kind("Mul_7", "Mul", 7, (8,))], executed) == ("Mul_1",)
    result = attribute([kind("Mul_7", "Mul", 7)], [0], [-1], executed)
    assert result.layers == (None,)
    assert result.reasons == ("2 layers of its type and shapes are left, and nothing tells them apart",)


def test_a_type_that_the_graph_does_not_have_is_not_attributed():
    result = attribute([kind("a", "Relu")], [0], [-1], graph(layer("a", "Conv")))
    assert result.layers == (None,)
    assert result.reasons == ("no layer has its name and type",)


def test_kinds_without_events_are_not_attributed():
    assert attribute([kind("a", "Conv")], [], [], graph(layer("a", "Conv"))).reasons == ("no event of it was recorded",)


def test_events_inside_a_body_belong_to_its_layers():
    inner = Layer("loop/body/a", "Exp", ("x",), ("y",), given_name="a", parent="loop", branch="body")
    executed = graph(layer("a", "Exp"), layer("loop", "Loop"), inner)
    kinds = [kind("a", "Exp", 0), kind("loop", "Loop", 1), kind("a", "Exp", 5)]
    assert found(kinds, executed, events=[0, 1, 2, 2], parents=[-1, -1, 1, 1]) == ("a", "loop", "loop/body/a")


def test_inside_of_something_unknown_nothing_is_known():
    kinds = [kind("what", "Loop"), kind("a", "Exp")]
    result = attribute(kinds, [0, 1], [-1, 0], graph(layer("a", "Exp")))
    assert result.layers == (None, None)
    assert result.reasons[1] == "ran inside an event that was not attributed"


@pytest.mark.parametrize(
    ("name", "op_type", "layers"),
    [
        ("conv1", "Conv", ("conv1",)),
        ("conv1_kernel_time", "Conv", ("conv1",)),
        ("conv1_nchwc", "Conv", ("conv1",)),
        ("relu1_out_nchwc", "Conv", ("relu1",)),
        ("fused conv1", "FusedConv", ("conv1",)),
        ("conv1 + relu1", "", ("conv1", "relu1")),
        ("conv1_token_3", "QLinearConv", ("conv1",)),
        ("reorder", "ReorderInput", ()),
        ("unknown", "Softmax", ()),
        ("relu1", "ReorderOutput", ()),
    ],
)
def test_without_the_executed_graph_names_lead_to_the_original(name, op_type, layers):
    assert attribute_directly([kind(name, op_type)], graph(layer("conv1", "Conv"), layer("relu1", "Relu"))) == (layers,)


def test_without_the_executed_graph_a_unique_type_and_shape_will_do():
    original = graph(layer("a", "Exp"), layer("b", "Exp"), shapes={"a_out": (4,), "b_out": (8,)})
    assert attribute_directly([kind("n1", "Exp", 0, (8,))], original) == (("b",),)


def test_fates_for_a_profile():
    one = graph(layer("a", "Exp"))
    assert [(n.node, n.fate, n.layers) for n in node_fates(match(one, one))] == [("a", "executed", ("a",))]


# Real traces


def kinds_of(events):
    """(kinds, events, parents): what an importer makes of the runtime's node events, sorted by start."""
    kinds, order, parents, open_events = {}, [], [], []
    for position, event in enumerate(events):
        args = event["args"]
        key = EventKind(event["name"].removesuffix("_kernel_time"), args["op_name"], args["provider"], int(args["node_index"]))
        while open_events and open_events[-1][0] <= event["ts"]:
            open_events.pop()
        parents.append(open_events[-1][1] if open_events else -1)
        if args["op_name"] in ("If", "Loop"):
            open_events.append((event["ts"] + event["dur"], position))
        order.append(kinds.setdefault(key, len(kinds)))
    return list(kinds), order, parents


def residual():
    net = Net()
    x = net.op("Relu", net.conv(net.input(1, 3, 16, 16), 3, 16))
    x = net.op("Relu", net.op("Add", net.norm(net.conv(x, 16, 16), 16), x))
    return net.model(net.op("HardSwish", net.op("Softplus", net.gelu(x))))


def branches():
    net = Net()
    x = net.input(4, 8)
    a = body("a", [helper.make_node("Relu", [x], ["p"], "same"), helper.make_node("Exp", ["p"], ["q"], "e")], ["q"])
    b = body("b", [helper.make_node("Neg", [x], ["n"], "same"), helper.make_node("Abs", ["n"], ["o"], "e2")], ["o"])
    asked = net.op("Greater", net.op("ReduceSum", x, keepdims=0), net.constant(np.float32(0)))
    return net.model(net.op("If", asked, then_branch=a, else_branch=b, name="if"))


def nameless():
    return without_names(residual())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", [residual, nameless, branches])
def test_every_event_of_a_real_trace_finds_its_layer(model, tmp_path):
    original, executed, events = record(model(), tmp_path)
    kinds, order, parents = kinds_of(events)
    result = attribute(kinds, order, parents, executed)
    assert [k for k, name in zip(kinds, result.layers, strict=True) if name is None] == []
    top = [result.layers[k] for k, parent in zip(order, parents, strict=True) if parent < 0]
    assert top == [layer.name for layer in executed.layers if layer.parent is None] * 2  # the file stands in the order of execution
    identity = match(original, executed)
    assert all(identity.by_layer[name].sources or identity.by_layer[name].kind == "inserted" for name in result.layers)
