"""Roofline numbers: arithmetic that can be done by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis import roofline_points
from edgeprof.errors import UsageError
from edgeprof.testing import make_peaks, make_profile
from tests.laws import examples


def test_achieved_and_ceilings_of_the_profile():
    roof = roofline_points(make_profile([0.5, 0.1], macs=[5e6, 4e6], arithmetic_intensity=[100.0, 10.0]))
    assert roof.points["gflops"].tolist() == pytest.approx([20.0, 80.0])
    assert roof.points["gb_s"].tolist() == pytest.approx([0.2, 8.0])
    assert (roof.peak_gflops, roof.memory_gb_s, roof.source) == (pytest.approx(80), pytest.approx(8), "profile")
    assert roof.ridge == pytest.approx(10)
    assert "highest of this profile" in roof.ceiling_note and "not the board's peak" in roof.ceiling_note


def test_each_precision_is_judged_by_its_own_ceiling():
    profile = make_profile(
        [1.0, 1.0, 1.0], macs=[2e7, 2e7, 1e5], precision=["float32", "int8", "int8"], arithmetic_intensity=[50.0, 50.0, 0.1]
    )
    roof = roofline_points(profile, make_peaks({"float32": 80.0, "int8": 320.0, "float16": 160.0}, memory_gb_s=10.0))
    assert roof.points["roof_gflops"].tolist() == pytest.approx([80.0, 320.0, 1.0])
    assert roof.points["of_roof"].tolist() == pytest.approx([0.5, 0.125, 0.2])
    assert roof.points["bound"].tolist() == ["compute", "compute", "memory"]
    assert (roof.peak_gflops, roof.memory_gb_s, roof.source, roof.ridge) == (320.0, 10.0, "board", 32.0)
    assert [one.label for one in roof.ceilings] == ["int8", "float16", "float32", "memory"]
    assert [one.label for one in roof.shown] == ["int8", "float32"]  # no layer is in float16
    assert roof.notes == () and roof.above == ()
    assert roof.ceiling_note == "Ceilings: measured on the board."


def test_a_precision_without_a_ceiling_is_judged_by_that_of_float32_and_that_is_said():
    roof = roofline_points(
        make_profile([1.0], precision=["float64"], arithmetic_intensity=[50.0]), make_peaks({"float32": 80.0, "int8": 320.0})
    )
    assert roof.points["roof_gflops"].tolist() == [80.0]
    assert roof.notes == ("Layers in float64 are judged by the float32 ceiling.",)


@examples(0.4)
@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(1e3, 1e9), st.floats(0.01, 1000)), min_size=1, max_size=8))
def test_a_layer_above_a_measured_ceiling_is_said_so(rows):
    latency, macs, intensity = map(list, zip(*rows, strict=True))
    peaks = make_peaks({"float32": 100.0}, memory_gb_s=10.0)
    roof = roofline_points(make_profile(latency, runs=4, macs=macs, arithmetic_intensity=intensity), peaks)
    uncertain = 1.02  # the interval of a ceiling that `make_peaks` makes
    beyond = set(roof.points.loc[roof.points["of_roof"] > uncertain * (1 + 1e-9), "name"])
    assert beyond <= set(roof.above) <= set(roof.points.loc[roof.points["of_roof"] > uncertain * (1 - 1e-9), "name"])
    assert bool(roof.above) == any("above the measured roof" in note for note in roof.notes)


def test_peaks_of_others_are_refused():
    with pytest.raises(UsageError, match=r"measured with threads 4, the profile with 1\. Measure them"):
        roofline_points(make_profile(), make_peaks(threads=4))


def test_notes_of_the_peaks_stand_under_the_roof():
    roof = roofline_points(make_profile(), make_peaks({"float32": 1e4}, 1e4, notes=("It was busy.",), machine="another"))
    assert roof.notes[0] == "Peaks: It was busy." and "at the time of the profile" in roof.notes[1]


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
    assert roof.points.empty and math.isnan(roof.peak_gflops) and math.isnan(roof.ridge) and roof.ceilings == roof.shown == ()
    roof = roofline_points(make_profile([0.5], macs=[0.0]), make_peaks({"float32": 80.0}))
    assert roof.points.empty and (roof.peak_gflops, roof.above) == (80.0, ())


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(1e3, 1e9), st.floats(0.01, 1000)), min_size=1, max_size=8))
def test_no_trusted_layer_lies_above_the_roof_of_its_own_profile(rows):
    latency, macs, intensity = map(list, zip(*rows, strict=True))
    roof = roofline_points(make_profile(latency, runs=4, macs=macs, arithmetic_intensity=intensity))
    for gflops, x in zip(roof.points["gflops"], roof.points["arithmetic_intensity"], strict=True):
        assert gflops <= min(roof.peak_gflops, roof.memory_gb_s * x) * (1 + 1e-9)
