"""Blocks told from the names of layers: whatever the exporter calls them, and whatever stands in the way."""

from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis.blocks import MAX_DEPTH, block_paths, leaf, shared_path
from tests.laws import examples

parts = st.sampled_from(["", "a", "b", "layer.1", "x y", "Conv"])
names = st.lists(parts, min_size=1, max_size=5).map("/".join)


def paths(*layers):
    """Paths of layers given as ``name``, or ``(name, op_type, sources)``."""
    rows = [(one, "Conv", [one]) if isinstance(one, str) else one for one in layers]
    return block_paths(*zip(*rows, strict=True))


def test_the_path_is_the_name_up_to_its_last_part():
    assert paths("/model/encoder/layer.3/attention/MatMul", "top/Conv", "Conv_12") == [
        ("model", "encoder", "layer.3", "attention"), ("top",), (),
    ]  # fmt: skip
    assert paths("model::layer::Conv") == [("model", "layer")]


def test_names_without_a_path_have_no_blocks():
    assert paths("Conv_0", "node_conv2d_1", "Relu_2") == [(), (), ()]
    assert block_paths([], [], []) == []


def test_names_with_dots_are_paths_when_most_have_them():
    assert paths("layers.0.attn.q", "layers.0.attn.k", "head") == [("layers", "0", "attn"), ("layers", "0", "attn"), ()]
    assert paths("conv.1", "relu", "add") == [(), (), ()]
    assert paths("/a/conv.1", "layers.0.q", "layers.0.k") == [("a",), (), ()], "one slash: dots are part of the names"


def test_fused_names_lie_where_all_their_parts_lie():
    assert paths("net/block/conv/Relu;net/block/conv/BiasAdd;net/block/bn/Add") == [("net", "block")]
    assert paths("net/Relu;") == [("net",)]


def test_a_layer_without_a_path_lies_where_its_nodes_lie():
    assert paths(("fused_3", "FusedConv", ["/b1/conv/Conv", "/b1/act/Relu"])) == [("b1",)]
    assert paths(("fused_3", "FusedConv", ["/b1/Conv", "/b2/Relu"])) == [()]


def test_what_the_runtime_put_in_does_not_cut_a_block():
    reorder = ("ReorderOutput", "ReorderOutput", [])
    assert paths("/b1/x/Conv", reorder, reorder, "/b1/y/Conv") == [("b1", "x"), ("b1",), ("b1",), ("b1", "y")]
    assert paths(reorder, "/b1/Conv", reorder) == [(), ("b1",), ()]
    assert paths("/b1/Conv", ("a/b", "a/b", []), "/b1/Conv") == [("b1",)] * 3, "an op type is no path"


def test_leaf():
    assert leaf("/model/layer.3/attention/MatMul", ("model", "layer.3")) == "attention/MatMul"
    assert leaf("layers.0.q", ("layers", "0")) == "q"
    assert leaf("ReorderOutput", ("b1",)) == "ReorderOutput"
    assert leaf("/Conv", ()) == "Conv" and leaf("/", ()) == "/"


@examples(1)
@given(st.lists(names, max_size=12))
def test_a_path_is_in_the_name_or_shared_by_the_neighbours(given_names):
    found = block_paths(given_names, ["Conv"] * len(given_names), [[]] * len(given_names))
    assert len(found) == len(given_names)
    for name, path in zip(given_names, found, strict=True):
        own = tuple(part for part in name.split("/")[:-1] if part)
        assert path == own or not own or name == "Conv"
        assert len(path) <= MAX_DEPTH


@examples(1)
@given(st.lists(st.lists(parts, max_size=4).map(tuple), max_size=6))
def test_shared_path_is_the_longest_beginning_of_all(every):
    shared = shared_path(every)
    assert all(path[: len(shared)] == shared for path in every)
    longer = {path[: len(shared) + 1] for path in every}
    assert not every or len(longer) > 1 or longer == {shared}


def test_a_path_of_any_length_is_cut():
    assert len(paths("a/" * 5000 + "Conv")[0]) == MAX_DEPTH
