"""The layer table as a picture: which rows, in which order, with which sums."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgeprof.figures.heatmap import heatmap
from edgeprof.figures.table_picture import MAX_ROWS, draw, order
from edgeprof.figures.theme import DARK
from edgeprof.testing import make_profile, make_sensed_profile
from tests.laws import examples

NAN = np.nan


def test_numbers_run_from_the_largest_texts_from_a_and_not_measured_is_last():
    view = heatmap(make_profile([0.1, 0.3, NAN, 0.2], op_type=["Conv", "Add", "Add", "Conv"], runs=0))
    assert order(view, []).tolist() == [0, 1, 2, 3]
    assert order(view, ["latency_ms"]).tolist() == [1, 3, 0, 2]
    assert order(view, ["latency_ms ascending"]).tolist() == [0, 3, 1, 2]
    assert order(view, ["op_type", "latency_ms"]).tolist() == [1, 2, 3, 0]
    assert order(view, ["op_type descending"]).tolist() == [0, 3, 1, 2]
    assert order(view, ["name descending"]).tolist() == [1, 3, 0, 2]
    assert sorted(order(view, ["nodes"])) == [0, 1, 2, 3] == sorted(order(view, ["runtime_name"]))


@examples(0.2)
@given(st.lists(st.one_of(st.just(NAN), st.floats(0.001, 10)), min_size=1, max_size=12), st.sampled_from(["ascending", "descending"]))
def test_sorting_loses_no_layer_and_keeps_equals_in_the_order_they_ran(latencies, way):
    view = heatmap(make_profile(latencies, runs=0))
    rows = order(view, [f"latency_ms {way}"])
    assert sorted(rows) == list(range(len(latencies)))
    keys = [((np.isnan(v := latencies[i])), 0 if np.isnan(v) else v if way == "ascending" else -v, i) for i in rows]
    assert keys == sorted(keys)


PICTURED = {
    "small": make_profile(),
    "estimated": make_sensed_profile(origin="estimated"),
    "not measured": make_profile([NAN, 0.1], energy_mj=[1.0, NAN]),
    "no layers": replace(make_profile(runs=0), layers=make_profile(runs=0).layers.iloc[:0]),
}


@pytest.mark.parametrize("profile", PICTURED.values(), ids=PICTURED)
def test_pictures(profile):
    view = heatmap(profile)
    for options in ({}, {"sort": ["op_type"], "selection": view.meta["names"][:1], "theme": DARK}):
        image = Image.open(io.BytesIO(draw(view, **options)))
        assert image.width == 1560 and len(image.convert("RGB").getcolors(1 << 20)) > 8


def test_of_many_layers_the_longest_are_drawn():
    latencies = np.full(40, 0.1)
    latencies[35] = 5.0
    longest, alike = (draw(heatmap(make_profile(values, runs=0))) for values in (latencies, np.full(40, 0.1)))
    few = draw(heatmap(make_profile(np.full(MAX_ROWS, 0.1), runs=0)))
    assert Image.open(io.BytesIO(few)).height == Image.open(io.BytesIO(longest)).height
    assert longest != alike


def test_the_heatmap_says_what_may_be_summed_and_what_the_runtime_calls_a_layer():
    meta = heatmap(make_profile([0.5, 0.1], runtime_name=["fused_0", "/block0/relu_1"])).meta
    assert [c["name"] for c in meta["columns"] if c["additive"]] == ["latency_ms", "share", "macs", "param_bytes", "activation_bytes"]
    assert meta["runtime_names"] == {"0": "fused_0"}
