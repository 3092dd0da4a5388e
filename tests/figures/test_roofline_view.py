"""What the roofline on a canvas is sent: places under several ceilings, what is left out, words."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis.roofline import roofline_points
from edgeprof.errors import UsageError
from edgeprof.figures.roofline_picture import draw
from edgeprof.figures.roofline_view import roofline_view
from edgeprof.figures.theme import DARK
from edgeprof.testing import make_peaks, make_profile
from tests.laws import examples

CEILINGS = [{"label": "float32", "gflops": 40.0, "source": "board"}, {"label": "int8", "gflops": 160.0, "source": "board"}]
MEMORY = [{"label": "memory", "gb_s": 10.0, "source": "board"}]


def profile(**columns):
    """Three layers that are points, and one without MACs."""
    told = {"macs": [5e6, 1e6, 2e6, 0.0], "arithmetic_intensity": [10.0, 1.0, 2.0, np.nan], "precision": ["float32", "int8", "float16", ""]}
    return make_profile([0.5, 0.5, 0.2, 0.1], runs=0, **told | columns)


def test_each_layer_is_held_against_the_ceiling_of_its_precision_and_the_memory():
    data = roofline_view(profile(), ceilings=CEILINGS, bandwidths=MEMORY)
    assert data.array("gflops")[:3] == pytest.approx([20, 4, 20])
    assert data.array("roof_share")[:3] == pytest.approx([20 / 40, 4 / 10, 20 / 20]), "float16 has no ceiling: that of float32 counts"
    assert [data.meta["bounds"][code] for code in data.array("bound")[:3]] == ["compute", "memory", "memory"]
    assert [one["label"] for one in data.meta["ceilings"]] == ["int8", "float32"]
    assert [(one["x"], one["y"]) for one in data.meta["ridges"]] == [(16, 160), (4, 40)]
    share = (0.5 * 0.5 + 0.5 * 0.4 + 0.2 * 1.0) / 1.2
    assert data.meta["header"]["number"] == f"{share * 100:.0f} %" and "of the board's roof" in data.meta["header"]["number_note"]


def test_of_several_bandwidths_the_lowest_judges():
    cache = {"label": "cache", "gb_s": 50.0, "source": "profile"}
    data = roofline_view(profile(), ceilings=CEILINGS, bandwidths=[*MEMORY, cache])
    assert [one["label"] for one in data.meta["bandwidths"]] == ["cache", "memory"]
    assert np.array_equal(
        data.array("roof_share")[:3], roofline_view(profile(), ceilings=CEILINGS, bandwidths=MEMORY).array("roof_share")[:3]
    )
    assert [one["solid"] for one in data.meta["bandwidths"]] == [False, True]
    assert "Solid ones were measured on the board; dashed ones" in data.meta["lines"][0]


def test_without_ceilings_those_of_the_profile_are_dashed_and_say_so():
    data = roofline_view(profile())
    roof = roofline_points(profile())
    assert [(one["value"], one["solid"], one["text"]) for one in data.meta["ceilings"]] == [
        (roof.peak_gflops, False, "highest here: 20.0 GFLOP/s")
    ]
    assert data.meta["lines"][0] == (
        "Ceilings: 20.0 GFLOP/s, 10.0 GB/s; the highest of this profile (layers of at least 5 µs), not the board's peak."
    )
    assert data.array("roof_share")[:3] == pytest.approx([1, 0.4, 1])
    told = roofline_view(profile(), peaks=make_peaks({"float32": 80.0}, 12.0)).meta
    assert told["lines"][0] == "Ceilings, measured on the board: float32: 80.0 GFLOP/s, 12.0 GB/s." and told["ceilings"][0]["solid"]


def test_what_is_no_point_is_counted_and_says_why():
    data = roofline_view(profile(macs=[5e6, np.nan, 2e6, 0.0]))
    assert data.meta["names"] == list(profile().measured_layers["name"])
    assert [data.meta["texts"]["why"][code] for code in data.array("why")] == ["", "MACs not known", "", "no MACs"]
    assert np.isnan(data.array("intensity")).tolist() == [False, True, False, True]
    assert data.meta["lines"][-1] == "2 layers not shown (MACs not known: 1, no MACs: 1)."
    json.dumps(data.to_json(), allow_nan=False)


def test_nothing_to_draw_says_what_to_do():
    data = roofline_view(profile(macs=[0.0, 0.0, 0.0, 0.0]))
    assert data.meta["empty"].startswith("No layer has both MACs and a latency: profile a model")
    assert draw(data)[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("ceiling", "sentence"),
    [({"label": "x", "gflops": 0.0, "source": "board"}, "expected a number above 0"),
     ({"label": "x", "gflops": 1.0, "source": "guess"}, "it can be 'board' or 'profile'")],
)  # fmt: skip
def test_a_ceiling_that_makes_no_sense_is_refused(ceiling, sentence):
    with pytest.raises(UsageError, match=sentence):
        roofline_view(profile(), ceilings=[ceiling])


@given(st.lists(st.tuples(st.floats(0.001, 9), st.integers(0, 10**9), st.floats(0.01, 999)), min_size=1, max_size=6))
@examples(0.3)
def test_by_the_profiles_own_ceilings_no_long_layer_lies_above_the_roof(rows):
    ms, macs, intensity = zip(*rows, strict=True)
    data = roofline_view(make_profile(ms, runs=0, macs=macs, arithmetic_intensity=intensity))
    share, drawn = data.array("roof_share"), ~np.isnan(data.array("intensity"))
    trusted = drawn & (np.array(ms) >= 0.005)
    assert (share[trusted] <= 1 + 1e-5).all()
    assert drawn.tolist() == [n > 0 for n in macs]
    for axis, name in zip(data.meta["axes"], ("intensity", "gflops"), strict=True):
        at = np.log10(data.array(name)[drawn])
        assert ((axis["low"] < at) & (at < axis["high"])).all()


def test_the_picture_shows_selection_and_both_themes():
    data = roofline_view(profile(), ceilings=CEILINGS, bandwidths=MEMORY)
    hollow = roofline_view(make_profile(origin="estimated"))
    pictures = {draw(data), draw(data, selection=[data.meta["names"][0]]), draw(data, theme=DARK), draw(hollow)}
    assert len(pictures) == 4


def test_measured_peaks_make_a_roof_for_each_precision_that_layers_have():
    layers = make_profile([1.0, 1.0, 1.0], macs=[2e7, 2e7, 2e9], precision=["float32", "int8", "float64"], arithmetic_intensity=[50.0] * 3)
    view = roofline_view(layers, peaks=make_peaks({"float32": 80.0, "int8": 320.0, "float16": 160.0}, memory_gb_s=100.0))
    assert [(one["label"], one["value"], one["solid"]) for one in view.meta["ceilings"]] == [("int8", 320.0, True), ("float32", 80.0, True)]
    assert [(one["value"], one["solid"]) for one in view.meta["bandwidths"]] == [(100.0, True)]
    assert view.array("roof_share") == pytest.approx([0.5, 0.125, 50.0])
    lines = " ".join(view.meta["lines"])
    assert "lies above the measured roof" in lines and "float64 are judged by the float32 ceiling" in lines
