import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.records.instrument import calibrate
from edgeprof.records.layer_times import layer_times
from tests.laws import examples
from tests.records.traces import US, block, kind, probe_runs, spans

A, B, C = kind("a"), kind("b"), kind("c")
PROBES = (*probe_runs("erf", 2, 1.5, 3.0, 3.0), *probe_runs("sum", 5, 2.0, 4.5, 3.0))


def test_what_the_profiler_added_is_taken_off():
    # the offset of a node with two tensors is 1.0 of the gap; the gap reads 3.5 µs and is 3.0; 20 reads 0.5 too low
    blocks = [block(i, 60, spans([A, B], [20, 40], gap_us=3.5)) for i in range(6)]
    found = layer_times(blocks, {A: 0, B: 1}, 2, calibrate(PROBES, range(6)))
    assert found.latency == pytest.approx([17.5 * US, 37.5 * US])
    assert (found.gap, found.offset) == (pytest.approx(3.0 * US), pytest.approx(3.0 * US))
    assert found.raw.tolist() == [20 * US, 40 * US]
    assert found.between == pytest.approx(60 * US - found.latency.sum())


def test_without_calibration_times_are_the_profilers_own():
    found = layer_times([block(i, 60, spans([A, B], [20, 40])) for i in range(4)], {A: 0, B: 1}, 2, None)
    assert found.latency.tolist() == [20 * US, 40 * US]
    assert np.isnan(found.gap)


def test_a_block_that_ran_slowly_counts_by_its_shares():
    fast = [block(i, 100, spans([A, B], [20, 60])) for i in range(5)]
    slow = [block(5 + i, 200, spans([A, B], [40, 120])) for i in range(2)]
    found = layer_times([*fast, *slow], {A: 0, B: 1}, 2, None)
    assert found.latency == pytest.approx([20 * US, 60 * US])
    assert found.low == pytest.approx(found.latency, rel=1.01)


def test_a_body_is_not_counted_twice():
    made = spans([A, B, C], [100, 10, 20], parents=[-1, 0, 0])
    found = layer_times([block(i, 110, made) for i in range(4)], {A: 0, B: 1, C: 2}, 3, None)
    assert found.latency.tolist() == [70 * US, 10 * US, 20 * US]
    assert found.raw[0] == 100 * US


def test_a_layer_that_never_ran_is_nan_not_zero():
    found = layer_times([block(i, 60, spans([A], [20])) for i in range(4)], {A: 0, B: 1}, 2, None)
    assert np.isnan(found.latency[1]) and np.isnan(found.low[1]) and np.isnan(found.raw[1])
    assert found.calls.tolist() == [1, 0]
    assert found.between == pytest.approx(40 * US)


def test_the_interval_holds_the_spread_between_blocks():
    made = [block(i, 100, spans([A], [20 + (i % 5)])) for i in range(20)]
    found = layer_times(made, {A: 0}, 1, None)
    assert 20 * US <= found.low[0] < found.latency[0] < found.high[0] <= 24 * US


def test_without_plain_runs_there_is_no_whole_and_no_rest():
    made = spans([A, B], [20, 40])
    empty = np.empty(0, np.int64)
    only = block(0, 1, made)
    only = type(only)(0, 0, True, empty, empty, empty, empty, made)
    found = layer_times([only], {A: 0, B: 1}, 2, None)
    assert found.latency.tolist() == [20 * US, 40 * US]
    assert np.isnan(found.plain) and np.isnan(found.between)
    assert np.isnan(found.low).all() and np.isnan(found.high).all(), "one block tells nothing of how blocks differ"


@examples(1 / 2)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=8), st.integers(2, 6), st.floats(0.5, 4))
def test_layers_and_rest_add_up_to_the_plain_median(durations, blocks, factor):
    kinds = [kind(f"n{i}") for i in range(len(durations))]
    plain = sum(durations) * factor
    made = [block(i, plain, spans(kinds, durations)) for i in range(blocks)]
    found = layer_times(made, {k: i for i, k in enumerate(kinds)}, len(kinds), calibrate(PROBES, range(blocks)), PROBES)
    assert found.latency.sum() + found.between == pytest.approx(found.plain)
    assert (found.low <= found.latency + 1e-6).all() and (found.latency <= found.high + 1e-6).all()
