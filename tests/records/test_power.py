"""Mean power over windows: readings with exact answers, and laws that hold for any."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.records.power import PARTS, is_stuck, stuck_spans, window_power
from edgeprof.records.sensing import Channel, Samples
from edgeprof.records.trace import Window

MS = 1_000_000
NAN = math.nan
RAIL = Channel("ina3221/VDD_IN_mw", "mW")
OTHER = Channel("ina3221/VDD_SOC_mw", "mW")
COUNTER = Channel("rapl/package_mj", "mJ", "counter")


def samples(*series: tuple[list[float], list[float]]) -> Samples:
    """Readings of channels 0, 1 ... from ``(times in ms, values)``, mixed in the order of time as they come from a board."""
    time = np.concatenate([np.asarray(times, float) for times, _ in series]) if series else np.empty(0)
    value = np.concatenate([np.asarray(values, float) for _, values in series]) if series else np.empty(0)
    channel = np.concatenate([np.full(len(times), i) for i, (times, _) in enumerate(series)]) if series else np.empty(0)
    order = np.argsort(time, kind="stable")
    return Samples((time[order] * MS).astype(np.int64), channel[order].astype(np.int32), value[order])


def window(start_ms: float, end_ms: float) -> Window:
    return Window("model", round(start_ms * MS), round(end_ms * MS))


def power(windows, channels, read, names=None):
    return window_power(windows, channels, read, [c.name for c in channels] if names is None else names)


def mean_of(times, values, start_ms=0.0, end_ms=1000.0, channel=RAIL):
    return power([window(start_ms, end_ms)], [channel], samples((times, values))).mean_mw[0]


# ---- readings of power ----


def test_the_mean_of_the_readings_within():
    """Ten readings 100 ms apart; one and a half of these are left out at the start, since a reading may be the mean since the last."""
    found = power([window(0, 1000)], [RAIL], samples((range(0, 1001, 100), [9, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9])))
    assert found.mean_mw[0] == 5
    assert found.readings[0] == 9 and found.seconds[0] == 1 and found.at_ns[0] == 500 * MS


def test_readings_before_and_behind_do_not_count():
    times = list(range(0, 3001, 100))
    values = [7.0 if 1000 <= t <= 2000 else 1000.0 for t in times]
    assert mean_of(times, values, 1000, 2000) == 7


def test_the_reading_at_the_end_counts_and_the_next_does_not():
    times = list(range(0, 1201, 100))
    assert mean_of(times, [0.0] * 10 + [90, 1000, 1000]) == 10
    assert mean_of(times, [0.0] * 10 + [90, 1000, 1000], end_ms=999) == 0


def test_what_is_left_out_at_the_start_is_at_most_a_part_of_the_window():
    """Readings come every 400 ms; 600 ms would be one and a half of that, 300 ms are three tenths of the window."""
    assert mean_of([0, 400, 800, 1200], [100, 1, 3, 100]) == 2


@pytest.mark.parametrize("times", [[], [500], [100, 500], [1100, 1200, 1300]])
def test_with_fewer_than_two_readings_power_is_not_known(times):
    assert math.isnan(mean_of(times, [5.0] * len(times)))


def test_the_error_is_that_of_the_mean_of_parts():
    """Ten readings in five parts of means 1, 2, 3, 4 and 5."""
    found = power([window(0, 1100)], [RAIL], samples((range(0, 1101, 100), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5][:12])))
    assert PARTS == 5 and found.readings[0] == 10
    assert found.error_mw[0] == pytest.approx(np.std([1, 2, 3, 4, 5], ddof=1) / math.sqrt(5))


def test_slow_steps_within_a_window_make_the_error_larger_than_noise_does():
    times = list(range(0, 5001, 100))
    noisy = power([window(0, 5000)], [RAIL], samples((times, [100 + (-1) ** i for i in range(51)]))).error_mw[0]
    drifting = power([window(0, 5000)], [RAIL], samples((times, [100 + 2 * i / 50 for i in range(51)]))).error_mw[0]
    assert drifting > 3 * noisy


def test_two_readings_have_an_error_too():
    found = power([window(0, 1000)], [RAIL], samples(([500, 900], [1, 3])))
    assert found.mean_mw[0] == 2 and found.error_mw[0] == 1


# ---- counters ----


def test_a_counter_gives_the_energy_between_its_first_and_last_reading_within():
    """3 mJ in 600 ms are 5 mW; what it counted outside is not known to be of this window."""
    assert mean_of([150, 300, 450, 750, 1050], [10, 11, 12, 13, 99], channel=COUNTER) == pytest.approx(5)


def test_nothing_is_left_out_at_the_start_for_a_counter():
    found = power([window(0, 1000)], [COUNTER], samples((range(0, 1001, 100), [3.0 * i for i in range(11)])))
    assert found.readings[0] == 11 and found.mean_mw[0] == pytest.approx(30)
    assert found.error_mw[0] == pytest.approx(0, abs=1e-9)


def test_two_readings_of_a_counter_give_power_but_not_how_sure_it_is():
    found = power([window(0, 1000)], [COUNTER], samples(([0, 1000], [0, 50])))
    assert found.mean_mw[0] == 50 and math.isnan(found.error_mw[0])


def test_readings_of_one_moment_do_not_divide_by_nothing():
    assert math.isnan(mean_of([500, 500], [1, 2], channel=COUNTER))
    assert mean_of([0, 0, 1000, 1000], [0, 0, 50, 50], channel=COUNTER) == 50
    assert mean_of([500, 500], [1, 2]) == 1.5


# ---- readings that failed, gaps ----


@pytest.mark.parametrize("channel", [RAIL, COUNTER])
@pytest.mark.parametrize("nothing", [NAN, math.inf, -math.inf])
def test_readings_that_failed_are_left_out(channel, nothing):
    times = list(range(0, 1001, 100))
    values = [float(t) for t in times]
    failed = [nothing if i in (3, 4) else value for i, value in enumerate(values)]
    left = [i for i in range(11) if i not in (3, 4)]
    assert mean_of(times, failed, channel=channel) == mean_of([times[i] for i in left], [values[i] for i in left], channel=channel)


def test_only_readings_that_failed():
    found = power([window(0, 1000)], [RAIL], samples((range(0, 1001, 100), [NAN] * 11)))
    assert math.isnan(found.mean_mw[0]) and math.isnan(found.error_mw[0]) and found.readings[0] == 0


def test_a_gap_makes_a_window_unknown_and_leaves_the_others():
    times = [t for t in range(0, 3001, 100) if not 900 < t < 2100]
    found = power([window(0, 900), window(1000, 2000), window(2200, 3000)], [RAIL], samples((times, [4.0] * len(times))))
    np.testing.assert_array_equal(found.mean_mw, [4, NAN, 4])
    assert found.readings[1] == 0


def test_readings_may_come_in_any_order():
    times, values = [900, 300, 600, 0], [9.0, 3.0, 6.0, 0.0]
    read = Samples(np.array(times) * MS, np.zeros(4, np.int32), np.array(values))
    assert power([window(0, 1000)], [RAIL], read).mean_mw[0] == mean_of(sorted(times), sorted(values))


# ---- several channels ----


def test_channels_are_summed_each_at_its_own_rate():
    fast, slow = list(range(0, 1001, 10)), list(range(0, 1001, 250))
    found = power([window(0, 1000)], [RAIL, OTHER], samples((fast, [3.0] * 101), (slow, [4.0] * 5)))
    assert found.mean_mw[0] == 7 and found.error_mw[0] == 0
    assert found.readings[0] == 3, "of the channel that says least"


def test_a_sample_and_a_counter_are_summed():
    times = list(range(0, 1001, 100))
    found = power([window(0, 1000)], [RAIL, COUNTER], samples((times, [3.0] * 11), (times, [t / 10 for t in times])))
    assert found.mean_mw[0] == pytest.approx(103)


def test_errors_of_channels_are_joined_as_independent():
    times = list(range(0, 1101, 100))
    a, b = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], [0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20]
    alone = [power([window(0, 1100)], [RAIL], samples((times, values))).error_mw[0] for values in (a, b)]
    both = power([window(0, 1100)], [RAIL, OTHER], samples((times, a), (times, b))).error_mw[0]
    assert both == pytest.approx(math.hypot(*alone))


def test_channels_that_do_not_count_are_left_out():
    times = list(range(0, 1001, 100))
    read = samples((times, [3.0] * 11), (times, [1000.0] * 11))
    assert power([window(0, 1000)], [RAIL, OTHER], read, [RAIL.name]).mean_mw[0] == 3


@pytest.mark.parametrize("names", [[RAIL.name, "there is none such"], ["there is none such"], []])
def test_a_channel_that_is_not_there_leaves_nothing_to_sum(names):
    times = list(range(0, 1001, 100))
    found = power([window(0, 1000)], [RAIL], samples((times, [3.0] * 11)), names)
    assert math.isnan(found.mean_mw[0]) and math.isnan(found.error_mw[0])


def test_a_channel_without_readings_makes_the_sum_unknown():
    times = list(range(0, 1001, 100))
    found = power([window(0, 1000)], [RAIL, OTHER], samples((times, [3.0] * 11)))
    assert math.isnan(found.mean_mw[0]) and found.readings[0] == 0


def test_no_windows():
    found = power([], [RAIL], samples(([0, 100], [1, 1])))
    assert not len(found.mean_mw) and not len(found.readings)


# ---- stuck ----


def test_a_sensor_whose_readings_never_change_is_stuck():
    assert is_stuck([RAIL], samples((range(30), [5.0] * 30)), [RAIL.name])
    assert is_stuck([COUNTER], samples((range(30), [5.0] * 30)), [COUNTER.name])
    assert not is_stuck([RAIL], samples((range(30), [5.0] * 29 + [6.0])), [RAIL.name])


def test_a_few_readings_alike_prove_nothing():
    assert not is_stuck([RAIL], samples((range(19), [5.0] * 19)), [RAIL.name])
    assert not is_stuck([RAIL], samples(), [RAIL.name])


def test_a_rail_that_rests_does_not_make_the_sum_stuck():
    """The GPU's rail may read 0 all the time while the CPU works."""
    read = samples((range(30), [0.0] * 30), (range(30), [float(i) for i in range(30)]))
    assert not is_stuck([RAIL, OTHER], read, [RAIL.name, OTHER.name])
    assert is_stuck([RAIL, OTHER], read, [RAIL.name])


def test_readings_that_failed_do_not_hide_that_it_is_stuck():
    assert is_stuck([RAIL], samples((range(40), [5.0, NAN] * 20)), [RAIL.name])


# ---- laws ----

rates = st.sampled_from([5, 10, 20, 50, 100])
levels = st.floats(0, 1e5)


@given(levels, rates, st.integers(0, 2000), st.integers(500, 5000))
def test_the_power_of_a_constant_is_that_constant(level, period, start, length):
    times = np.arange(0, 8000, period)
    counted = power([window(start, start + length)], [COUNTER], samples((times, times * level / 1000)))
    sampled = power([window(start, start + length)], [RAIL], samples((times, np.full(len(times), level))))
    for found in (counted, sampled):
        assert found.mean_mw[0] == pytest.approx(level, rel=1e-6, abs=1e-6)
        assert found.error_mw[0] == pytest.approx(0, abs=1e-6 * max(level, 1))


@given(st.lists(levels, min_size=8, max_size=8), rates)
def test_a_counter_and_readings_of_the_same_power_agree(steps, period):
    """Power in steps of 1 s; windows lie within a step, as a loop lies between two others."""
    times = np.arange(0, 8000 + period, period)
    at = np.minimum(times // 1000, 7).astype(int)
    energy = np.concatenate([[0], np.cumsum(np.diff(times) * np.array(steps)[at[:-1]] / 1000)])
    windows = [window(1000 * i, 1000 * i + 999) for i in range(8)]
    sampled = power(windows, [RAIL], samples((times, np.array(steps)[at])))
    counted = power(windows, [COUNTER], samples((times, energy)))
    assert sampled.mean_mw == pytest.approx(steps, rel=1e-6, abs=1e-6)
    assert counted.mean_mw == pytest.approx(steps, rel=1e-6, abs=1e-3)


@given(st.lists(st.integers(0, 10_000), min_size=40, max_size=40), st.integers(0, 10**6), st.sampled_from([RAIL, COUNTER]))
def test_when_it_was_changes_nothing(values, shift_ms, channel):
    times = np.arange(40) * 100
    read = np.cumsum(values) if channel.kind == "counter" else values
    windows = [(0, 1500), (700, 2900), (3000, 3900)]
    here = power([window(*w) for w in windows], [channel], samples((times, read)))
    there = power([window(a + shift_ms, b + shift_ms) for a, b in windows], [channel], samples((times + shift_ms, read)))
    np.testing.assert_allclose(here.mean_mw, there.mean_mw)
    np.testing.assert_allclose(here.error_mw, there.error_mw)
    np.testing.assert_array_equal(here.readings, there.readings)


@given(st.lists(st.floats(0, 1e4), min_size=20, max_size=60), st.floats(0.1, 10))
def test_power_scales_and_lies_between_the_readings(values, factor):
    times = np.arange(len(values)) * 50
    whole = [window(0, float(times[-1]))]
    one = power(whole, [RAIL], samples((times, values)))
    other = power(whole, [RAIL], samples((times, np.array(values) * factor)))
    assert min(values) - 1e-6 <= one.mean_mw[0] <= max(values) + 1e-6
    assert other.mean_mw[0] == pytest.approx(factor * one.mean_mw[0], abs=1e-6)
    assert other.error_mw[0] == pytest.approx(factor * one.error_mw[0], abs=1e-6)


def test_the_error_is_right_on_average():
    """Of noise that is independent from reading to reading the means scatter as the errors say."""
    rng = np.random.default_rng(0)
    times = np.arange(0, 400_000, 20)
    windows = [window(1000.0 * i, 1000.0 * i + 999) for i in range(1, 399)]
    found = power(windows, [RAIL], samples((times, 1000 + 50 * rng.standard_normal(len(times)))))
    assert np.sqrt(np.mean(found.error_mw**2)) == pytest.approx(float(np.std(found.mean_mw)), rel=0.15)


# ---- sensors that stop changing ----


def test_a_sensor_that_stops_is_stuck_from_there_and_one_rail_that_rests_is_not():
    phases = [Window(phase, start * 1000 * MS, (start + 1) * 1000 * MS) for start, phase in enumerate(["idle", "model"] * 3)]
    times = list(range(0, 6001, 20))
    moving = [float(i % 7) for i in range(len(times))]
    stuck = [value if time < 2500 else 3.0 for time, value in zip(times, moving, strict=True)]
    found = stuck_spans([RAIL], samples((times, stuck)), [RAIL.name], phases)
    assert found == ((2500 * MS, 6000 * MS),)
    assert stuck_spans([RAIL], samples((times, moving)), [RAIL.name], phases) == ()
    both = samples((times, stuck), (times, [5.0] * len(times)))
    assert stuck_spans([RAIL, OTHER], both, [RAIL.name, OTHER.name], phases) == found, "a rail that always rests makes none move"
    assert stuck_spans([RAIL, OTHER], samples((times, stuck), (times, moving)), [RAIL.name, OTHER.name], phases) == ()


def test_a_coarse_sensor_that_reads_the_same_within_a_rest_is_not_stuck():
    phases = [Window(phase, start * 1000 * MS, (start + 1) * 1000 * MS) for start, phase in enumerate(["idle", "model"] * 3)]
    times = list(range(0, 6000, 20))
    assert stuck_spans([RAIL], samples((times, [2.0 + time // 1000 % 2 for time in times])), [RAIL.name], phases) == ()


# ---- counters that start anew ----


@given(st.integers(2, 40), st.floats(1, 1e5))
def test_a_reset_takes_nothing_from_a_counters_power(reset, power_mw):
    times = list(range(0, 4001, 100))
    values = [power_mw * (i if i < reset else i - reset) / 10 for i in range(41)]
    assert mean_of(times, values, 0, 4000, COUNTER) == pytest.approx(power_mw)
