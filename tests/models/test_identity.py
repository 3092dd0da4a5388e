"""Rewritings made by hand: each numbered case of `edgeprof.models.identity`, without a runtime."""

import time

import pytest

from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.models.identity import match

NCHWC, MS = "com.microsoft.nchwc", "com.microsoft"


def graph(*layers, inputs="x", outputs="y", initializers="", constants=(), tensors=()):
    """``layers``: ``"name: Op a b -> c d"`` or ``domain:Op``, a name with ``?`` is not in the file; or Layers."""
    made = tuple(layer if isinstance(layer, Layer) else parse(layer) for layer in layers)
    infos = [[TensorInfo(name) for name in names.split()] for names in (inputs, outputs)]
    return Graph("g", made, *map(tuple, infos), dict(tensors), frozenset(initializers.split()), dict(constants))


def parse(text, **attributes):
    name, _, rest = text.partition(": ")
    head, _, outputs = rest.partition("->")
    op_type, *inputs = head.split()
    domain, _, op_type = op_type.rpartition(":")
    given = "" if name.startswith("?") else name
    return Layer(name, op_type, tuple(inputs), tuple(outputs.split()), domain, attributes, given)


def sources(identity):
    return {layer.layer: layer.sources for layer in identity.layers}


def fates(identity):
    return {node.node: node.fate for node in identity.nodes}


def test_an_unchanged_graph_is_itself():
    chain = graph("a: Conv x w -> t", "b: Relu t -> y", initializers="w")
    assert sources(match(chain, chain)) == {"a": ("a",), "b": ("b",)}


def test_an_empty_graph():
    assert match(graph(), graph()).nodes == ()


def test_case_1_a_fused_layer_carries_out_the_paths_between_its_tensors():
    original = graph("c: Conv x w -> t", "b: BatchNormalization t s -> u", "r: Relu u -> v", "e: Exp v -> y", initializers="w s")
    executed = graph(f"c: {MS}:FusedConv x w2 -> v", "e: Exp v -> y", initializers="w2")
    assert sources(match(original, executed)) == {"c": ("c", "b", "r"), "e": ("e",)}


def test_case_1_paths_stop_at_what_another_layer_makes():
    original = graph("a: Exp x -> t", "b: Neg t -> u", "c: Add t u -> y")
    executed = graph("a: Exp x -> t", f"bc: {MS}:NegAdd t -> y")
    assert sources(match(original, executed)) == {"a": ("a",), "bc": ("b", "c")}


def test_case_2_reorders_are_seen_through_on_both_sides():
    original = graph("c: Conv x w -> t", "e: Exp t -> y", initializers="w")
    executed = graph(
        f"ri: {NCHWC}:ReorderInput x -> r0",
        f"t_nchwc: {NCHWC}:Conv r0 w2 -> r1",
        f"ro: {NCHWC}:ReorderOutput r1 -> t",
        "e: Exp t -> y",
        initializers="w2",
    )
    identity = match(original, executed)
    assert sources(identity) == {"ri": (), "t_nchwc": ("c",), "ro": (), "e": ("e",)}
    assert [layer.kind for layer in identity.layers] == ["inserted", "layer", "inserted", "layer"]


def test_case_2_an_own_cast_is_no_inserted_one():
    original = graph("c: Cast x -> t", "e: Exp t -> y")
    executed = graph("in: Cast x -> InsertedPrecisionFreeCast_x", "c: Cast x -> t", "e: Exp t -> y")
    assert sources(match(original, executed)) == {"in": (), "c": ("c",), "e": ("e",)}


def test_case_3_a_block_of_nameless_tensors_with_a_residual_sum():
    original = graph(
        "c1: Conv x w1 -> a", "r1: Relu a -> b", "c2: Conv b w2 -> c", "s: Add c b -> d", "r2: Relu d -> e", "c3: Conv e w3 -> y",
        initializers="w1 w2 w3",
    )  # fmt: skip
    executed = graph(
        f"b_nchwc: {NCHWC}:Conv x v1 -> r1",
        f"c_nchwc: {NCHWC}:Conv r1 v2 bias r1 -> r2",
        f"y_nchwc: {NCHWC}:Conv r2 v3 -> r3",
        f"out: {NCHWC}:ReorderOutput r3 -> y",
        initializers="v1 v2 v3 bias",
    )
    found = sources(match(original, executed))
    assert found == {"b_nchwc": ("c1", "r1"), "c_nchwc": ("c2", "s", "r2"), "y_nchwc": ("c3",), "out": ()}


def test_case_4_a_layer_without_any_name_is_found_by_its_weights():
    original = graph("a: DequantizeLinear q -> w", "b: Conv x w -> t", "c: DequantizeLinear p -> v", "d: Conv t v -> y", initializers="q p")
    executed = graph("?1: QLinearConv x s z q -> k", "?2: QLinearConv k s z p -> y", initializers="q p s z")
    assert sources(match(original, executed)) == {"?1": ("a", "b"), "?2": ("c", "d")}


def test_case_4_two_that_fit_are_not_guessed():
    original = graph("a: Exp x -> t", "b: Exp x -> u", "c: Sub t u -> y")
    executed = graph("?1: Exp x -> k", "?2: Neg k -> l", "?3: FusedThing l x -> y")
    assert match(original, executed).by_layer["?2"].sources == ()


def test_case_5_a_softmax_in_five_steps():
    original = graph("e: Exp x -> t", "s: Softmax t -> y")
    executed = graph(
        "e: Exp x -> t", "?1: ReduceMax t -> i1", "?2: Sub t i1 -> i2", "?3: Exp i2 -> i3", "?4: ReduceSum i3 -> i4", "?5: Div i3 i4 -> y"
    )
    identity = match(original, executed)
    assert identity.by_node["s"].layers == ("?1", "?2", "?3", "?4", "?5")
    assert identity.by_node["e"].layers == ("e",)


def test_case_5_two_nodes_behind_nameless_layers_are_not_told_apart():
    original = graph("a: Erf x -> t", "b: Softmax t -> u", "e: Exp u -> y")
    executed = graph("?1: Magic x -> k", "?2: Trick k -> u", "e: Exp u -> y")
    identity = match(original, executed)
    assert identity.by_layer["?1"].sources == ()
    assert (identity.by_node["a"].fate, identity.by_node["b"].layers) == ("unattributed", ("?2",))


def test_case_6_what_shapes_are_computed_from_is_folded():
    original = graph(
        "s: Shape x -> a", "g: Gather a i -> b", "u: Unsqueeze b i -> c", "r: Reshape x c -> t", "e: Exp t -> y", initializers="i"
    )
    executed = graph("r: Reshape x c -> t", "e: Exp t -> y", initializers="c")
    assert fates(match(original, executed)) == {"s": "folded", "g": "folded", "u": "folded", "r": "executed", "e": "executed"}


def test_case_6_weights_that_are_dequantised_inside():
    original = graph(
        "dx: DequantizeLinear x s -> a", "dw: DequantizeLinear q s -> w", "c: Conv a w -> t", "qt: QuantizeLinear t s -> y",
        initializers="q s",
    )  # fmt: skip
    executed = graph("c: QLinearConv x s z q s z -> y", initializers="q s z")
    assert sources(match(original, executed)) == {"c": ("dx", "dw", "c", "qt")}


def test_case_6_a_dequantised_weight_that_became_a_constant():
    original = graph("dw: DequantizeLinear q s -> w", "c: Conv x w -> y", initializers="q s")
    executed = graph("c: Conv x w -> y", initializers="w")
    assert fates(match(original, executed)) == {"dw": "folded", "c": "executed"}


def test_case_7_a_duplicate_is_removed_and_its_readers_read_the_twin():
    original = graph("a: Exp x -> t", "b: Exp x -> u", "c: Neg t -> v", "d: Neg u -> w", "e: Add v w -> y")
    executed = graph("a: Exp x -> t", "c: Neg t -> v", "e: Add v v -> y")
    identity = match(original, executed)
    assert sources(identity) == {"a": ("a",), "c": ("c",), "e": ("e",)}
    assert identity.by_node["b"].reason == "computes the same as a"
    assert identity.by_node["d"].reason == "computes the same as c"


def test_case_7_weights_that_are_equal_in_value_only():
    original = graph("a: Conv x w -> t", "b: Conv x v -> u", "e: Add t u -> y", initializers="w v")
    executed = graph("a: Conv x w -> t", "e: Add t t -> y", initializers="w")
    assert match(original, executed).by_node["b"].reason == "computes the same as a"


@pytest.mark.parametrize("node", ["Identity t", "Dropout t", "Cast t", "Transpose t", "Mul t one"])
def test_case_8_what_has_no_effect_is_removed_not_executed(node):
    original = graph("e: Exp x -> t", f"n: {node} -> u", "f: Neg u -> y", initializers="one")
    executed = graph("e: Exp x -> t", "f: Neg t -> y")
    assert fates(match(original, executed)) == {"e": "executed", "n": "removed", "f": "executed"}


def test_case_8_a_plain_layer_is_not_said_to_do_what_it_cannot():
    original = graph("a: Softmax x -> t", "b: Exp t -> y")
    executed = graph("b: Exp x -> y")
    node = match(original, executed).by_node["a"]
    assert node.fate == "unattributed"
    assert "an Exp" not in node.reason
    assert "cannot carry out a Softmax" in node.reason


def test_case_8_a_transpose_that_was_moved():
    original = graph(parse("t: Transpose x -> a", perm=(0, 2, 1)), "r: Relu a -> b", "e: Exp b -> c", "s: Softmax c -> y")
    executed = graph("r: Relu x -> r1", "e: Exp r1 -> e1", parse("n: Transpose e1 -> c", perm=(0, 2, 1)), "s: Softmax c -> y")
    assert sources(match(original, executed)) == {"r": ("r",), "e": ("e",), "n": ("t",), "s": ("s",)}


def test_dead_nodes_are_removed():
    original = graph("a: Exp x -> y", "b: Neg x -> t", "c: Abs t -> u")
    assert fates(match(original, graph("a: Exp x -> y"))) == {"a": "executed", "b": "removed", "c": "removed"}


def test_several_outputs_and_unused_ones():
    original = graph("s: Split x -> a b c", "t: TopK b k -> v i", "y: Add v a -> y", initializers="k")
    identity = match(original, original)
    assert sources(identity) == {"s": ("s",), "t": ("t",), "y": ("y",)}


def nested(name, op_type, inputs, outputs, parent, branch):
    return Layer(f"{parent}/{branch}/{name}", op_type, tuple(inputs.split()), tuple(outputs.split()), "", {}, name, parent, branch)


def test_case_9_bodies_are_matched_branch_by_branch():
    original = graph(
        "if: If c -> y", nested("r", "Relu", "x", "a", "if", "then_branch"), nested("e", "Exp", "a", "b", "if", "then_branch"),
        nested("n", "Neg", "x", "if/else_branch/a", "if", "else_branch"),
        nested("i", "Identity", "if/else_branch/a", "if/else_branch/b", "if", "else_branch"), inputs="x c",
    )  # fmt: skip
    executed = graph(  # the branches stand in another order, so the other one has the plain names
        "if: If c -> y", nested("n", "Neg", "x", "a", "if", "else_branch"),
        nested("r", "Relu", "x", "if/then_branch/a", "if", "then_branch"),
        nested("e", "Exp", "if/then_branch/a", "if/then_branch/b", "if", "then_branch"), inputs="x c",
    )  # fmt: skip
    identity = match(original, executed)
    assert sources(identity) == {
        "if": ("if",),
        "if/else_branch/n": ("if/else_branch/n",),
        "if/then_branch/r": ("if/then_branch/r",),
        "if/then_branch/e": ("if/then_branch/e",),
    }
    assert identity.by_node["if/else_branch/i"].fate == "removed"
    assert [layer.kind for layer in identity.layers] == ["layer", "nested", "nested", "nested"]


def test_case_9_a_function_that_was_inlined():
    original = graph("call: my:F x -> y", nested("a", "Relu", "x", "call/m", "call", "F"), nested("b", "Exp", "call/m", "y", "call", "F"))
    executed = graph("_inlfunc_F_a: Relu x -> _inlfunc_F_m", "_inlfunc_F_b: Exp _inlfunc_F_m -> y")
    identity = match(original, executed)
    assert sources(identity) == {"_inlfunc_F_a": ("call", "call/F/a"), "_inlfunc_F_b": ("call", "call/F/b")}


def test_unrelated_graphs_share_nothing():
    identity = match(graph("a: Exp x -> y"), graph("b: Neg p -> q", inputs="p", outputs="q"))
    assert fates(identity) == {"a": "unattributed"}
    assert identity.by_layer["b"].sources == ()


def test_five_thousand_nodes_take_seconds_at_most():
    layers, executed, last = [], [], "x"
    for i in range(1250):
        layers += [f"c{i}: Conv {last} w{i} -> a{i}", f"b{i}: BatchNormalization a{i} s -> b{i}", f"r{i}: Relu b{i} -> r{i}"]
        layers += [f"s{i}: Add r{i} {last} -> o{i}"]
        source = f"k{i - 1}" if i else "x"
        executed += [f"r{i}_nchwc: {NCHWC}:Conv {source} v{i} bias {source} -> k{i}"]
        last = f"o{i}"
    weights = " ".join(f"w{i} v{i}" for i in range(1250))
    start = time.process_time()
    identity = match(graph(*layers, outputs=last, initializers=weights + " s bias"), graph(*executed, initializers=weights + " bias"))
    assert time.process_time() - start < 5  # 0.4 s; five times slower machines pass, a square does not
    assert identity.by_layer["r7_nchwc"].sources == ("c7", "b7", "r7", "s7")
