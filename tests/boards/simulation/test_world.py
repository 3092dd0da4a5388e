"""The simulated world keeps its books: time, energy and warmth of whatever is done in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.boards.simulation.spec import BoardSpec
from edgeprof.boards.simulation.world import START_NS, Pattern, World

PLAIN = {"jitter": 0.0, "leak_mw": 0.0, "sampling_mw": 0.0, "idle_mw": 1000.0}


def pattern(*parts: tuple[float, float]) -> Pattern:
    """Of ``(seconds, mW)``."""
    return Pattern(np.array([s for s, _ in parts], float), np.array([mw for _, mw in parts], float))


def world(**numbers) -> World:
    return World(BoardSpec(**(PLAIN | numbers)))


def energy(made: World, *times: float) -> list[float]:
    return made.energy(np.array(times, float)).tolist()


# ---- by hand ----


def test_a_pattern_draws_what_its_parts_draw_round_after_round():
    two = pattern((1, 100), (3, 50))
    assert two.length == 4
    assert two.drawn(np.array([0, 0.5, 1, 2.5, 4, 5, 9])).tolist() == [0, 50, 100, 175, 250, 350, 250 * 2 + 100]


def test_a_pattern_of_no_length_draws_nothing():
    assert pattern((0, 100)).drawn(np.array([0.0, 1.0])).tolist() == [0, 0]


def test_energy_by_hand():
    made = world()
    made.rest(2)
    times = made.run(pattern((1, 100), (3, 50)), 2)
    made.rest(1)
    assert (times - START_NS).tolist() == [2_000_000_000, 6_000_000_000, 6_000_000_000, 10_000_000_000]
    assert made.now == pytest.approx(11) and made.now_ns() == START_NS + 11_000_000_000
    assert energy(made, 0, 1, 2, 2.5, 3, 6, 10, 11) == pytest.approx([0, 1000, 2000, 2550, 3100, 6250, 10_500, 11_500])


def test_reading_sensors_draws_power_while_it_is_done():
    made = world(sampling_mw=10)
    made.rest(1)
    made.sampling_mw = 0.0
    made.rest(1)
    assert energy(made, 1, 2) == pytest.approx([1010, 2010])


def test_warmth_goes_to_one_under_load_and_draws_power():
    made = world(leak_mw=200, warm_s=10)
    made.run(pattern((1, 0)), 1000)
    assert made.warmth == pytest.approx(1) and made.temperature_c == pytest.approx(60)
    lag = 10 * (1 - math.exp(-1))
    assert energy(made, 10)[0] == pytest.approx(10_000 + 200 * (10 - lag))
    assert made.warmth_at(np.array([0.0, 10.0])).tolist() == pytest.approx([0, 1 - math.exp(-1)])
    made.rest(10)
    assert made.warmth == pytest.approx(math.exp(-1))


def test_what_comes_later_draws_idle_power_only_as_far_as_it_is_known():
    made = world()
    made.run(pattern((1, 100)), 1)
    assert energy(made, 1, 2) == pytest.approx([1100, 2100])


def test_nothing_done_takes_no_time():
    made = world()
    assert not len(made.run(pattern((1, 100)), 0))
    made.rest(0)
    assert made.now == 0 and energy(made, 0) == [0]
    assert not len(made.energy(np.empty(0))) and not len(made.warmth_at(np.empty(0)))


def test_too_hot_everything_takes_longer_until_it_has_cooled_down():
    made = world(throttle_c=50, throttle_factor=2, warm_s=10)
    assert made.slower == 1 and len(made.throttled_at) == 0
    made.run(pattern((1, 100)), 30)
    assert made.slower == 2 and len(made.throttled_at) == 1
    before = made.now
    made.run(pattern((1, 100)), 1)
    assert made.now - before == pytest.approx(2)
    assert energy(made, made.now)[0] - energy(made, before)[0] == pytest.approx(2 * 1100), "the same power for twice the time"
    made.rest(60)
    assert made.slower == 1 and len(made.throttled_at) == 1
    made.run(pattern((1, 100)), 30)
    assert made.slower == 2 and len(made.throttled_at) == 2


def test_runs_scatter_by_the_jitter_and_are_the_same_for_the_same_seed():
    def durations(seed):
        times = world(jitter=0.05, seed=seed).run(pattern((0.01, 100)), 2000)
        return np.diff(times.reshape(-1, 2), axis=1).ravel() / 1e9

    assert np.std(durations(0)) / 0.01 == pytest.approx(0.05, rel=0.1)
    assert np.mean(durations(0)) == pytest.approx(0.01, rel=0.01)
    assert durations(0).tolist() == durations(0).tolist() != durations(1).tolist()


# ---- laws ----

patterns = st.lists(st.tuples(st.floats(1e-6, 2), st.floats(0, 5000)), min_size=1, max_size=4).map(lambda parts: pattern(*parts))
rests, rates = st.tuples(st.just("rest"), st.floats(0, 5)), st.tuples(st.just("sampling"), st.floats(0, 50))
acts = st.lists(rests | rates | st.tuples(patterns, st.integers(1, 20)), min_size=1, max_size=8)
specs = st.builds(
    BoardSpec,
    jitter=st.sampled_from([0.0, 0.004, 0.2]),
    leak_mw=st.sampled_from([0.0, 250.0]),
    warm_s=st.sampled_from([0.5, 30.0]),
    throttle_c=st.sampled_from([math.inf, 45.0]),
    seed=st.integers(0, 5),
)


def live(spec: BoardSpec, done) -> World:
    made = World(spec)
    for what, amount in done:
        if what == "rest":
            made.rest(amount)
        elif what == "sampling":
            made.sampling_mw = amount
        else:
            made.run(what, amount)
    return made


@given(specs, acts, st.lists(st.floats(0, 1), min_size=3, max_size=10))
def test_energy_only_grows_and_at_least_as_idle_power_does(spec, done, shares):
    made = live(spec, done)
    times = np.sort(np.array([0.0, *shares, 1.0]) * made.now)
    found = made.energy(times)
    assert found[0] == 0
    assert (np.diff(found) >= spec.idle_mw * np.diff(times) - 1e-6 * (1 + found[-1])).all()


@given(specs, acts, st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_energy_does_not_depend_on_how_it_is_asked_for(spec, done, shares):
    made = live(spec, done)
    times = np.array(shares) * made.now
    one_by_one = [energy(made, time)[0] for time in times]
    assert made.energy(times).tolist() == pytest.approx(one_by_one)
    assert made.energy(np.sort(times)).tolist() == pytest.approx(sorted(one_by_one))
    assert made.warmth_at(times).tolist() == pytest.approx([made.warmth_at(np.array([time]))[0] for time in times])


@given(acts, st.sampled_from([0.0, 0.1]))
def test_energy_is_the_sum_of_what_was_done(done, jitter):
    """Counted here from the times that the runs said of themselves."""
    made, expected, sampling = World(BoardSpec(jitter=jitter, leak_mw=0)), 0.0, 15.0
    for what, amount in done:
        before = made.now
        if what == "rest":
            made.rest(amount)
        elif what == "sampling":
            made.sampling_mw = sampling = amount
        else:
            times = made.run(what, amount).reshape(-1, 2)
            expected += float(np.diff(times, axis=1).sum()) / 1e9 * what.joules[-1] / what.length
        expected += (2400 + sampling) * (made.now - before)
    assert energy(made, made.now)[0] == pytest.approx(expected, rel=1e-6, abs=1e-3)


@given(specs, acts)
def test_warmth_stays_between_cold_and_hot_and_never_jumps(spec, done):
    made = live(spec, done)
    times = np.linspace(0, made.now, 200)
    warm = made.warmth_at(times)
    assert ((warm >= 0) & (warm <= 1)).all()
    assert (np.abs(np.diff(warm)) <= np.diff(times) / spec.warm_s + 1e-9).all()
    assert made.warmth_at(np.array([made.now]))[0] == pytest.approx(made.warmth)


@given(specs, acts)
def test_the_same_seed_makes_the_same_world(spec, done):
    a, b = live(spec, done), live(spec, done)
    assert a.now == b.now and energy(a, a.now / 3, a.now) == energy(b, b.now / 3, b.now)


@given(acts)
def test_times_follow_each_other(done):
    made, last = World(BoardSpec()), START_NS
    for what, amount in done:
        if isinstance(what, Pattern):
            times = made.run(what, amount)
            assert times[0] >= last - 1 and (np.diff(times) >= 0).all()
        elif what == "rest":
            made.rest(amount)
        assert made.now_ns() >= last
        last = made.now_ns()
