import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.records.instrument import calibrate, gap_of, gaps, midmean, rounding_bound
from tests.records.traces import kind, probe_runs, spans


def test_midmean_is_the_mean_of_the_middle_half():
    assert midmean(np.array([1, 2, 3, 4, 5, 6, 7, 1000])) == pytest.approx((3 + 4 + 5 + 6) / 4)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_midmean_lies_between_the_extremes_and_ignores_order(values):
    found = midmean(np.array(values))
    assert min(values) - 1e-6 <= found <= max(values) + 1e-6
    assert found == pytest.approx(midmean(np.array(values[::-1])))


def test_gap_is_from_end_to_next_start_within_a_run_less_half_the_resolution():
    made = spans([kind("a"), kind("b"), kind("c")], [10, 20, 30], gap_us=4, runs=2)
    assert gaps(made).tolist()[:2] == [3500.0, 3500.0]
    assert np.isnan(gaps(made)[2]), "the last layer of a run has no gap, whatever the next run's start"
    assert gap_of(made) == 3500.0


def test_gap_is_not_measured_across_bodies():
    made = spans([kind("if", "If"), kind("in1"), kind("in2"), kind("after")], [100, 10, 10, 5], gap_us=4, runs=1, parents=[-1, 0, 0, -1])
    assert gaps(made)[:3].tolist() == [3500.0, 3500.0, pytest.approx(np.nan, nan_ok=True)]


def test_rounds_of_a_loop_do_not_count_where_layers_outside_it_tell_the_gap():
    kinds = [kind("before"), kind("loop", "Loop"), kind("in1"), kind("in2"), kind("after")]
    made = spans(kinds, [5, 200, 10, 10, 5], gap_us=4, runs=3, parents=[-1, -1, 1, 1, -1])
    inside = np.flatnonzero(made.parent >= 0)[1::2]
    made.start_ns[inside] += 50_000
    assert gap_of(made) == 3500.0


def test_gap_of_one_event_a_run_is_not_measured():
    assert np.isnan(gap_of(spans([kind("a")], [10], runs=3)))


def test_calibration_finds_the_ratio_and_what_a_tensor_adds():
    # inside: 2 tensors 3 µs, 5 tensors 4.5 µs, at a gap of 3 µs: 1.0 and 1.5 of the gap
    found = calibrate((*probe_runs("erf", 2, 1.5, 3.0, 3.0), *probe_runs("sum", 5, 2.0, 4.5, 3.0)), range(6))
    base, slope = found.coefficients()
    assert slope == pytest.approx(0.5 / 3)
    assert base + 2 * slope == pytest.approx(1.0)


def test_a_tensor_never_makes_the_offset_smaller():
    found = calibrate((*probe_runs("erf", 2, 1.5, 4.0, 3.0), *probe_runs("sum", 5, 2.0, 3.5, 3.0)), range(6))
    base, slope = found.coefficients()
    assert slope == 0
    assert base == pytest.approx((4.0 + 3.5) / 2 / 3)


@pytest.mark.parametrize("probes", [(), probe_runs("erf", 2, 1.5, 3.0, 3.0)])
def test_no_calibration_without_two_kinds_of_probes(probes):
    assert calibrate(probes, range(6)) is None


def test_blocks_are_matched_by_their_number_and_a_missing_one_shows_nothing():
    probes = (*probe_runs("erf", 2, 1.5, 3.0, 3.0, blocks=2), *probe_runs("sum", 5, 2.0, 4.5, 3.0, blocks=2))
    found = calibrate(probes, [1, 5])
    assert np.isnan(found.ratios).tolist() == [[False, True], [False, True]]
    assert found.coefficients() == found.coefficients(np.array([1, 1])), "a draw of empty blocks goes by all of them"


@given(st.floats(0, 2), st.floats(0, 1), st.integers(0, 2**31))
def test_the_mean_of_rounded_durations_is_off_by_no_more_than_the_bound(spread, phase, seed):
    true = (20 + phase + spread * np.random.default_rng(seed).standard_normal(4000)) * 1000
    rounded = (true // 1000 * 1000).astype(np.int64)
    bound = rounding_bound(rounded, np.zeros(4000, np.int64), 1)[0]
    off = abs(rounded.mean() + 500 - true.mean())
    assert off <= bound + 5 * 1000 / np.sqrt(12 * 4000), "five standard errors of what rounding adds by chance"
    assert bound <= 500


def test_durations_that_never_vary_may_be_off_by_half_a_step_and_varied_ones_by_nothing():
    steady, varied = np.full(50, 7000), np.arange(50) % 5 * 1000
    assert rounding_bound(np.concatenate([steady, varied]), np.repeat([0, 1], 50), 3).tolist() == [500.0, 0.0, 0.0]


def test_one_odd_duration_makes_no_layer_look_varied():
    durations = np.full(200, 7000)
    durations[17] = 900_000
    assert rounding_bound(durations, np.zeros(200, np.int64), 1)[0] > 450


def test_calibration_of_steady_probes_may_be_off_by_half_a_step():
    probes = (*probe_runs("erf", 2, 1.5, 3.0, 3.0), *probe_runs("sum", 5, 2.0, 4.5, 3.0))
    assert 0 < calibrate(probes, range(6)).unseen_ns <= 500
