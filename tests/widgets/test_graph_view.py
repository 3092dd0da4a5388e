"""Traits of the graph view in a cell, without a browser; its static picture."""

import io

import pytest
from PIL import Image

from edgeprof.errors import UsageError
from edgeprof.figures.graph import graph as graph_data
from edgeprof.figures.graph_picture import draw
from edgeprof.figures.theme import DARK
from edgeprof.testing import make_profile
from edgeprof.widgets.graph import GraphView, graph
from tests.figures.graphs import blocks_model, profile_of


def opened(png):
    return Image.open(io.BytesIO(png)).convert("RGB")


def test_metric_blocks_and_selection_can_be_set():
    view = graph(profile_of(blocks_model(3)), collapse="all", selection=["/block1/Relu"])
    assert view.collapsed == view.blocks == ("block0", "block1", "block2") and view.metric == "latency_ms"
    view.collapsed, view.metric = ["block1"], "macs"
    assert view.collapsed == ("block1",) and view.selected["name"].tolist() == ["/block1/Relu"]
    assert view.get_state()["data"]["numbers"] == graph_data(view.profile).numbers


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"colour": "red"}, "graph takes no argument 'colour'"),
        ({"metric": "latency"}, r"There is no metric 'latency' \(did you mean 'latency_ms'\?\)"),
        ({"collapse": "some"}, "Expected collapse to be one of auto, all, none, got 'some'"),
        ({"selection": ["block"]}, "There is no layer 'block'"),
        ({"height": -1}, "height"),
    ],
)
def test_arguments_that_make_no_sense(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        graph(profile_of(blocks_model(1)), **arguments)


def test_traits_refuse_what_is_not_there():
    view = graph(profile_of(blocks_model(2)))
    with pytest.raises(Exception, match=r"There is no block 'block3' in this graph \(did you mean"):
        view.collapsed = ["block3"]
    with pytest.raises(Exception, match="There is no metric 'energy_mj'"):
        view.metric = "energy_mj"
    with pytest.raises(UsageError, match=r"graph expected a Profile or the path of a \.edgeprof file, got dict"):
        graph({})
    with pytest.raises(UsageError, match="GraphView takes no argument 'colour'"):
        GraphView(profile_of(blocks_model(1)), colour="red")


def test_a_bundle_is_read_from_its_path(tmp_path):
    profile_of(blocks_model(2)).save(str(tmp_path / "x.edgeprof"))
    assert graph(tmp_path / "x.edgeprof").blocks == ("block0", "block1")


def test_picture_follows_blocks_selection_and_metric():
    view = graph(profile_of(blocks_model(2)))
    pictures = [view.picture()]
    for name, value in (("selection", ["/block1/Relu"]), ("collapsed", ["block1"]), ("metric", "param_bytes")):
        setattr(view, name, value)
        pictures.append(view.picture())
    assert len(set(pictures)) == 4
    assert all(opened(png).width == 1560 for png in pictures)


def test_picture_of_a_tall_graph_is_bounded_and_dark_is_dark():
    data = graph_data(profile_of(blocks_model(120)), collapse="none")
    picture = opened(draw(data, theme=DARK))
    assert picture.height < 1.5 * 1150 and picture.getpixel((3, 3)) == (17, 20, 24)


def test_estimated_numbers_are_hatched_and_an_empty_graph_says_so():
    from dataclasses import replace

    profile = profile_of(blocks_model(1))
    assert draw(graph_data(profile)) != draw(graph_data(replace(profile, origin="estimated")))
    assert opened(graph(make_profile()).picture()).height < 300


def test_view_of_a_thousand_nodes_is_half_a_megabyte_at_most():
    view = graph(profile_of(blocks_model(250)))
    state = view.get_state()
    size = len(state["data"]["numbers"]) + len(str(state["data"]["meta"])) + len(state["_esm"]) + len(state["_css"])
    assert size + len(view.picture()) * 4 / 3 < 600_000
