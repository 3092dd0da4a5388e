"""Roofline numbers: arithmetic that can be done by hand."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis import roofline_points
from edgeprof.testing import make_profile


def test_achieved_and_ceilings_of_the_profile():
    roof = roofline_points(make_profile([0.5, 0.1], macs=[5e6, 4e6], arithmetic_intensity=[100.0, 10.0]))
    assert roof.points["gflops"].tolist() == pytest.approx([20.0, 80.0])
    assert roof.points["gb_s"].tolist() == pytest.approx([0.2, 8.0])
    assert (roof.peak_gflops, roof.memory_gb_s, roof.source) == (pytest.approx(80), pytest.approx(8), "profile")
    assert roof.ridge == pytest.approx(10)
    assert "highest of this profile" in roof.ceiling_note and "not the board's peak" in roof.ceiling_note


def test_ceilings_of_the_board_need_both_numbers():
    profile = make_profile()
    both = replace(profile, context=replace(profile.context, fingerprint={"peak_gflops": 500, "memory_gb_s": 30.0}))
    roof = roofline_points(both)
    assert (roof.peak_gflops, roof.memory_gb_s, roof.source) == (500, 30, "board")
    for fingerprint in ({"peak_gflops": 500}, {"peak_gflops": "500", "memory_gb_s": 30}, {"peak_gflops": math.nan, "memory_gb_s": 30}):
        assert roofline_points(replace(profile, context=replace(profile.context, fingerprint=fingerprint))).source == "profile"


def test_layers_under_5_us_set_no_ceiling():
    profile = make_profile([0.5, 0.001, 0.1], macs=[5e6, 1e6, 1e6], arithmetic_intensity=[1.0] * 3)
    roof = roofline_points(profile)
    assert roof.peak_gflops == pytest.approx(20)
    assert roof.memory_gb_s == pytest.approx(20)


def test_what_is_left_out_is_counted():
    roof = roofline_points(make_profile([0.5, 0.1, math.nan, -0.1, 0.1], macs=[1e6, 0.0, 1e6, 1e6, math.nan]))
    assert roof.left_out == {"MACs not known": 1, "no MACs": 1, "no latency": 2}
    assert len(roof.points) + sum(roof.left_out.values()) == 5


def test_no_points():
    roof = roofline_points(make_profile([0.5], macs=[0.0]))
    assert roof.points.empty and math.isnan(roof.peak_gflops) and math.isnan(roof.ridge)


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(1e3, 1e9), st.floats(0.01, 1000)), min_size=1, max_size=8))
def test_no_trusted_layer_lies_above_the_roof_of_its_own_profile(rows):
    latency, macs, intensity = map(list, zip(*rows, strict=True))
    roof = roofline_points(make_profile(latency, runs=4, macs=macs, arithmetic_intensity=intensity))
    for gflops, x in zip(roof.points["gflops"], roof.points["arithmetic_intensity"], strict=True):
        assert gflops <= min(roof.peak_gflops, roof.memory_gb_s * x) * (1 + 1e-9)
