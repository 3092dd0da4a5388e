"""View data of the model graph: laws of the layout on random models, blocks, sums and what became of nodes."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.errors import UsageError
from edgeprof.figures.graph import BLOCK, NODE, graph
from edgeprof.figures.graph_blocks import find_blocks
from edgeprof.figures.graph_compose import Stretch, compose
from edgeprof.figures.graph_layout import lay_out
from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.testing import make_profile
from tests.figures.graphs import blocks_model, make_model, models, profile_of
from tests.laws import examples


def folded_somehow(data, view):
    names = [block["name"] for block in view.meta["blocks"][1:]]
    return data.draw(st.sets(st.sampled_from(names))) if names else set()


def overlap(a, b):
    return all(a[k] < b[k] + b[k + 2] - 0.01 and b[k] < a[k] + a[k + 2] - 0.01 for k in (1, 2))


def shown_nodes(view, page):
    """Original nodes of each box: itself, or all inside a folded block."""
    levels, kinds, refs = (view.array(f"item_{name}").tolist() for name in ("level", "kind", "ref"))
    blocks = view.meta["blocks"]

    def within(number):
        own = [refs[i] for i in range(len(refs)) if levels[i] == number and kinds[i] != BLOCK]
        head = [blocks[number]["head"]] if blocks[number]["head"] >= 0 else []
        return own + head + [n for k, block in enumerate(blocks) if k and block["parent"] == number for n in within(k)]

    return [within(refs[box[0]]) if kinds[box[0]] == BLOCK else [refs[box[0]]] for box in page.boxes]


@examples(1.5, deadline=None)
@given(models(), st.data())
def test_boxes_hold_every_node_once_and_do_not_overlap(model, data):
    view = graph(profile_of(model))
    page = compose(view, folded_somehow(data, view))
    assert Counter(node for nodes in shown_nodes(view, page) for node in nodes) == Counter(range(len(view.meta["nodes"])))
    for i, a in enumerate(page.boxes):
        assert a[1] > -0.01 and a[2] > -0.01 and a[1] + a[3] < page.width + 0.01 and a[2] + a[4] < page.height + 0.01
        assert not any(overlap(a, b) for b in page.boxes[i + 1 :])


@examples(1, deadline=None)
@given(models())
def test_edges_of_the_layout_are_those_of_the_model(model):
    view = graph(profile_of(model))
    made = {t: i for i, layer in enumerate(model.layers) for t in layer.outputs}
    reads = {(made[t], i) for i, layer in enumerate(model.layers) for t in layer.inputs if t in made}
    assert reads == {(a, b) for a, b in links(view) if a < len(model.layers) and b < len(model.layers)}
    assert followed(view) == links(view)


def links(view):
    return set(zip(view.array("link_from").tolist(), view.array("link_to").tolist(), strict=True))


def followed(view):
    """Edges put together again from the pieces on each level: from a node or a way out, over ports, to the nodes that read it."""
    a = {name: view.array(name).tolist() for name in view.meta["arrays"] if name.startswith(("edge_", "item_"))}
    found, into = set(), {}
    for k, flags in enumerate(a["edge_flags"]):
        if flags & 1:
            into.setdefault(a["edge_from"][k], []).append(k)

    def follow(k, source):
        if a["edge_flags"][k] & 2:
            return  # leaves the block: the level around it goes on
        item = a["edge_to"][k]
        if a["edge_to_port"][k]:
            for inner in into[a["edge_to_port"][k] - 1]:
                follow(inner, source)
        elif a["item_kind"][item] == BLOCK:
            found.add((source, view.meta["blocks"][a["item_ref"][item]]["head"]))
        else:
            found.add((source, a["item_ref"][item]))

    for k, flags in enumerate(a["edge_flags"]):
        if not flags & 1:
            follow(k, a["edge_node"][k])
    return found


@examples(1, deadline=None)
@given(models(), st.integers(1, 4), st.data())
def test_folded_and_open_blocks_sum_to_the_same(model, fused, data):
    profile = profile_of(model, fused=fused)
    view = graph(profile)
    page = compose(view, folded_somehow(data, view))
    layer = view.array("layer").astype(int)
    homes = {row: int(np.flatnonzero(layer == row)[0]) for row in range(len(view.meta["names"]))}
    for name, kind in (("latency_ms", sum), ("latency_p95_ms", max)):
        values, blocks = view.array(name), view.array(f"block_{name}")
        parts = []
        for (item, *_), nodes in zip(page.boxes, shown_nodes(view, page), strict=True):
            if view.array("item_kind")[item] == BLOCK:
                parts.append(blocks[view.array("item_ref")[item]])
                counted = [values[row] for row, node in homes.items() if node in nodes]
                assert not counted or parts[-1] == pytest.approx(kind(counted))
            parts += [values[row] for row, node in homes.items() if view.array("item_kind")[item] == NODE and node in nodes]
        assert kind(v for v in parts if not np.isnan(v)) == pytest.approx(kind(profile.measured_layers[name]))
        assert blocks[0] == pytest.approx(kind(profile.measured_layers[name]))


@examples(0.5, deadline=None)
@given(models())
def test_edges_run_downwards_and_end_at_their_boxes(model):
    view = graph(profile_of(model))
    page = compose(view, ())
    places = {box[0]: box for box in (*page.boxes, *page.frames)}
    for e, points in page.lines:
        assert all(a[1] <= b[1] + 0.01 for a, b in zip(points, points[1:], strict=False))
        if not view.array("edge_flags")[e] & 1:
            _, x, y, w, h = places[int(view.array("edge_from")[e])]
            assert x - 0.01 <= points[0][0] <= x + w + 0.01 and points[0][1] == pytest.approx(y + h, abs=0.01)
        if not view.array("edge_flags")[e] & 2:
            _, x, y, w, _ = places[int(view.array("edge_to")[e])]
            assert x - 0.01 <= points[-1][0] <= x + w + 0.01 and points[-1][1] == pytest.approx(y, abs=0.01)


def test_a_chain_stands_upright_and_a_skip_runs_beside_it():
    layout = lay_out([100] * 4, [40] * 4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    assert layout.x.tolist() == [50] * 4 and layout.y.tolist() == [20, 88, 156, 224]
    assert layout.bend_start.tolist() == [0, 0, 0, 0, 4]
    assert set(layout.bend_x.tolist()) == {50 + 50 + 14 + 3} and layout.bend_y.tolist() == [68, 108, 136, 176]
    assert layout.leave.tolist() == [40, 108, 176, 40] and layout.arrive.tolist() == [68, 136, 204, 204]


def test_a_chain_stays_upright_through_open_blocks():
    view = graph(profile_of(blocks_model(3)))
    page = compose(view, ())
    middles = {box[0]: box[1] + box[3] / 2 for box in page.boxes}
    spine = [i for i in middles if view.array("item_kind")[i] == NODE]
    assert max(middles[i] for i in spine) - min(middles[i] for i in spine) < 0.01


def test_what_nothing_leads_to_stands_above_its_reader():
    layout = lay_out([10] * 4, [10] * 4, [(0, 1), (1, 2), (3, 2)])
    assert layout.y[3] == layout.y[1]


def test_so_many_long_edges_are_bounded():
    n = 400
    layout = lay_out([10] * n, [10] * n, [(a, n - 1) for a in range(n - 1)] + [(a, a + 1) for a in range(n - 2)])
    assert len(layout.bend_x) < 8 * n and len(layout.bend_start) == 2 * n - 2


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50), st.floats(0, 500)), max_size=6), st.floats(0, 100), st.floats(0, 100))
def test_a_stretch_never_shrinks_and_gives_what_is_wanted(spans, a, b):
    at = Stretch([(start, start + length, wanted) for start, length, wanted in spans])
    assert abs(at(b) - at(a)) >= abs(b - a) - 1e-9 and (at(b) - at(a)) * (b - a) >= 0
    for start, length, wanted in spans:
        assert at(start + length) - at(start) >= wanted - 1e-6


def names_of(model):
    edges = [(int(t[1:]), i) for i, layer in enumerate(model.layers) for t in layer.inputs if t[0] == "t"]
    edges += [(len(model.layers), i) for i, layer in enumerate(model.layers) if "x0" in layer.inputs]
    found = find_blocks(model.layers, 2, edges)
    return [(block.name, len(block.nodes)) for block in found.blocks[1:]]


def test_blocks_by_name():
    assert names_of(blocks_model(3)) == [("block0", 4), ("block1", 4), ("block2", 4)]
    names = [f"/layer{i}/layer{i}.{j}/conv{k}/Conv" for i in (1, 2) for j in (0, 1) for k in range(3)]
    nested = names_of(make_model(names, [(i, i + 1) for i in range(len(names) - 1)]))
    assert [name for name, _ in nested] == ["layer1", "layer2", *(f"layer{i}/layer{i}.{j}" for i in (1, 2) for j in (0, 1))]
    assert names_of(make_model(["/a/Conv", "/a/Relu", "/a/Add", "/stem/Conv"], [(0, 1), (1, 2), (2, 3)])) == []


def test_blocks_by_structure_are_cut_where_one_tensor_crosses():
    assert names_of(blocks_model(4, named=False)) == [(f"A{k} of 4", 4) for k in range(1, 5)]


def test_constants_stand_with_their_readers():
    model = blocks_model(3)
    layers = (*model.layers, Layer("lonely", "Constant", (), ("c",)))
    layers = (*(replace(one, inputs=(*one.inputs, "c")) if one.name == "/block1/b/Conv" else one for one in layers),)
    view = graph(profile_of(replace(model, layers=(layers[-1], *layers[:-1]))))
    assert [block["nodes"] for block in view.meta["blocks"][1:]] == [4, 5, 4]


def test_blocks_that_lead_into_each_other_are_given_up():
    names = ["/block1/a/A", "/block2/a/A", "/block1/b/A", "/block2/b/A", "/block1/c/A", "/block2/c/A"]
    assert len(names_of(make_model(names, [(i, i + 1) for i in range(5)]))) < 2


def test_nodes_inside_control_flow_are_a_block_of_their_head():
    inner = tuple(
        Layer(f"if/{branch}/Mul", "Mul", ("a", "k"), ("m",), parent="if", branch=branch) for branch in ("then_branch", "else_branch")
    )
    model = Graph(
        "m",
        (Layer("pre", "Relu", ("x",), ("a",)), Layer("if", "If", ("c",), ("y",)), *inner),
        (TensorInfo("x"), TensorInfo("c")), (TensorInfo("y"),), {}, initializers=frozenset({"k"}),
    )  # fmt: skip
    view = graph(profile_of(model))
    assert [(block["name"], block["head"], block["nodes"]) for block in view.meta["blocks"][1:]] == [("if", 1, 3)]
    assert links(view) == followed(view) == {(4, 0), (5, 1), (0, 2), (0, 3), (1, 6)}
    opened, folded = compose(view, ()), compose(view, ["if"])
    assert len(opened.boxes) == len(folded.boxes) + 1 and len(opened.frames) == 1
    assert view.array("block_latency_ms")[1] == pytest.approx(view.array("latency_ms")[1:].sum())


def test_layers_nodes_and_their_fates():
    profile = profile_of(blocks_model(1), fused=2, fates={"/block0/Relu": "removed", "/head/Gemm": "folded"})
    view = graph(profile)
    assert view.array("layer").tolist() == [0, 0, -1, 1, 1, -1, -1, -1]
    fates = [view.meta["texts"]["node_fate"][code] for code in view.array("node_fate")]
    assert fates[2].startswith("Removed") and fates[5].startswith("Folded") and fates[0] == ""
    assert view.meta["no_node"] == {"layers": 0, "latency_ms": None}
    shapes = [view.meta["texts"]["node_shape"][code] for code in view.array("node_shape")]
    assert shapes[0] == "1×8 float32" and view.meta["inputs"] == [{"name": "x0", "shape": "1×8 float32"}]


def test_a_node_that_several_layers_carry_out():
    model = make_model(["a", "b"], [(0, 1)])
    profile = profile_of(model)
    nodes = (replace(profile.nodes[0], layers=("a", "b")), profile.nodes[1])
    assert graph(replace(profile, nodes=nodes)).meta["more_layers"] == {"0": [0, 1]}


def test_layers_that_have_no_node_are_told_of():
    profile = profile_of(make_model(["a", "b"], [(0, 1)]), latencies=[0.5, 0.25])
    table = profile.layers.copy()
    table["source_nodes"] = [["a"], [], []]
    nodes = (profile.nodes[0], replace(profile.nodes[1], fate="unattributed", layers=()))
    view = graph(replace(profile, layers=table, nodes=nodes))
    assert view.meta["no_node"] == {"layers": 1, "latency_ms": 0.25}
    assert view.array("block_latency_ms")[0] == 0.5


def test_auto_folds_large_models_only():
    assert graph(profile_of(blocks_model(3))).meta["collapsed"] == []
    assert len(graph(profile_of(blocks_model(20))).meta["collapsed"]) == 20
    assert graph(profile_of(blocks_model(20)), collapse="none").meta["collapsed"] == []
    assert graph(profile_of(blocks_model(3)), collapse="all").meta["collapsed"] == ["block0", "block1", "block2"]


def test_profiles_without_a_graph_say_what_to_do():
    assert "Profile the model again" in graph(make_profile()).meta["empty"]
    bare = replace(make_profile(), graph=Graph("", (), (), (), {}))
    assert "no nodes" in graph(bare).meta["empty"]


def test_metrics_without_a_number_stay_away():
    profile = profile_of(blocks_model(1), energy_mj=[float("nan")] * 6)
    names = [column["name"] for column in graph(profile, metric="energy_mj").meta["columns"]]
    assert "energy_mj" not in names and "latency_low_ms" not in names and names[0] == "latency_ms"
    assert graph(profile, metric="energy_mj").meta["metric"] == "latency_ms"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"metric": "latency"}, r"no metric 'latency' \(did you mean"), ({"collapse": "some"}, "collapse to be one of")],
)
def test_arguments_that_make_no_sense(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        graph(profile_of(blocks_model(1)), **arguments)
