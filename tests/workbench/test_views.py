"""What the Workbench's views are drawn from: data of the single views, and aligned rows that one selection of layers serves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeprof.errors import EdgeprofError
from edgeprof.figures.heatmap import heatmap
from edgeprof.testing import make_profile, make_sensed_profile
from edgeprof.workbench.views import ESTIMATE, VIEWS, Views

BASE = make_sensed_profile()
QUICKER = make_profile((0.4, 0.1, 0.2, 0.1))
FUSED = make_profile(
    (0.55, 0.2), name=["fused_conv_relu", "/block0/add_2"], source_nodes=[("/block0/conv_0", "/block0/relu_1"), ("/block0/add_2",)]
)
PAIR = {"a": make_profile(), "b": FUSED}


@pytest.mark.parametrize("name", [name for name in VIEWS if name != "table"])
def test_each_view_has_data_of_what_is_shown(name):
    parts = Views().make(name, {"a": make_profile(), "b": QUICKER}, "b", "a", {})
    assert set(parts) == {"data"} and parts["data"].meta["view"] and {"title", "header", "themes"} <= parts["data"].meta.keys()


def test_the_heatmap_is_that_of_the_single_view_and_runs_come_when_they_are_looked_at():
    views = Views()
    alone = views.make("heatmap", {"a": BASE}, "a", "", {})
    assert alone["data"].meta == heatmap(BASE).meta and alone["data"].numbers == heatmap(BASE).numbers
    assert set(views.make("heatmap", {"a": BASE}, "a", "", {"runs": "median"})) == {"data", "runs"}


def test_a_finer_window_of_the_timeline_comes_beside_the_whole():
    views = Views()
    whole = views.make("timeline", {"a": BASE}, "a", "", {})
    first, last = whole["data"].meta["extent"]
    middle = [first + 0.4 * (last - first), first + 0.5 * (last - first)]
    finer = views.make("timeline", {"a": BASE}, "a", "", {"window": middle})
    assert set(whole) == {"data"} and set(finer) == {"data", "detail"} and finer["data"].meta == whole["data"].meta
    assert set(views.make("timeline", {"a": BASE}, "a", "", {"window": [first, last]})) == {"data"}


@pytest.mark.parametrize("name", ["candidates", "compare"])
def test_every_layer_of_what_is_shown_finds_its_row(name):
    for shown, other in (("a", "b"), ("b", "a")):
        data = Views().make(name, PAIR, shown, other, {})["data"]
        rows, layers = data.meta["rows_of"], PAIR[shown].layers
        assert set(layers["name"][layers["kind"] != "between"]) <= set(rows) and set(rows.values()) <= set(data.meta["names"])
    fused = Views().make(name, PAIR, "a", "b", {})["data"].meta["rows_of"]
    assert fused["/block0/conv_0"] == fused["/block0/relu_1"] != fused["/block0/add_2"], "what one layer does there is one row"


def test_alignments_are_made_once_and_forgotten_with_their_profiles():
    views = Views()
    first = views._align(list(PAIR.values()))
    assert views._align(list(PAIR.values())) is first
    for number in range(5):
        views._align([make_profile(seed=number), FUSED])
    assert len(views._aligned) <= 4 and views._align(list(PAIR.values())) is not first


def test_what_is_shown_is_among_the_candidates_however_many_there_are():
    many = {f"c{i}": make_profile((0.5, 0.1, 0.2, 0.2 + i / 100)) for i in range(20)}
    data = Views().make("candidates", many, "c19", "", {})["data"]
    assert set(many["c19"].layers["name"]) <= set(data.meta["rows_of"])


def test_points_have_their_keys_and_names():
    estimate = replace(QUICKER, origin="estimated", parent="ab" * 32)
    points = {"base": make_profile(), "c1": QUICKER, f"c1{ESTIMATE}": estimate}
    data = Views().make("pareto", {"base": points["base"]}, "base", "", {}, points, {"base": "as it is", "c1": "half"})["data"]
    text = str(data.meta)
    assert f"c1{ESTIMATE}" in text and "as it is" in text and "half" in text and "estimated" in text


def test_models_that_are_not_related_are_a_sentence():
    other = make_profile((1.0, 2.0), name=["x", "y"])
    other = replace(other, context=replace(other.context, model_sha256="cd" * 32, model_name="other.onnx"))
    for name in ("candidates", "compare"):
        with pytest.raises(EdgeprofError, match="not known to be made from each other"):
            Views().make(name, {"a": make_profile(), "b": other}, "a", "b", {})
