"""The simulated sensors say what the world drew, as well as a sensor of their kind can."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.boards.sensed import RECORD
from edgeprof.boards.simulation.meter import CLOCK, POWER, TEMPERATURE, Meter
from edgeprof.boards.simulation.spec import BoardSpec
from edgeprof.boards.simulation.world import START_NS, Pattern, World

LOAD = Pattern(np.array([0.001, 0.003]), np.array([4000.0, 1000.0]))
"""1750 mW on average."""

EXACT = {"noise": 0.0, "step_mw": 0.0, "leak_mw": 0.0, "sampling_mw": 0.0, "jitter": 0.0, "idle_mw": 2000.0}


def read(meter: Meter, channel: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``(seconds, values)`` of what is due."""
    records = np.frombuffer(meter.flush(), RECORD)
    chosen = records[records["channel"] == channel]
    return (chosen["time_ns"] - START_NS) / 1e9, chosen["value"]


def run(seconds: float, **numbers) -> tuple[World, Meter]:
    world = World(BoardSpec(**(EXACT | numbers)))
    meter = Meter(world)
    world.run(LOAD, round(seconds / 0.004) - 1)  # what is due at the very end is not due yet
    return world, meter


def test_readings_without_noise_have_the_true_power_as_their_mean():
    _, meter = run(40, rate_hz=50, average_ms=20)
    times, values = read(meter)
    assert len(times) == 2000 and np.diff(times) == pytest.approx(0.02)
    assert values[0] == 2000, "before anything ran"
    assert values[1:].mean() == pytest.approx(3750, rel=1e-6)


def test_readings_that_look_at_a_moment_only_have_the_true_power_as_their_mean():
    """Each looks at 0.1 ms; their times wander through the pattern."""
    _, meter = run(100, rate_hz=97, average_ms=0.1)
    assert read(meter)[1][1:].mean() == pytest.approx(3750, rel=0.01)


def test_a_reading_is_the_mean_of_the_time_before_it():
    world = World(BoardSpec(**EXACT, rate_hz=10, average_ms=100))
    meter = Meter(world)
    world.rest(1)
    world.run(Pattern(np.array([1.0]), np.array([1000.0])), 1)
    times, values = read(meter)
    assert times.tolist() == pytest.approx(np.arange(20) / 10)
    assert values.tolist() == pytest.approx([2000] * 11 + [3000] * 9)


def test_readings_come_in_steps():
    _, meter = run(10, rate_hz=50, average_ms=1, step_mw=40)
    values = read(meter)[1]
    assert (values % 40 == 0).all() and len(set(values.tolist())) > 1


def test_noise_is_relative():
    _, meter = run(400, rate_hz=50, average_ms=20, noise=0.02)
    values = read(meter)[1][1:]
    assert values.std() / values.mean() == pytest.approx(0.02, rel=0.05)
    assert values.mean() == pytest.approx(3750, rel=0.001)


@pytest.mark.parametrize("skew_ms", [3.0, -3.0, 0.0])
def test_a_clock_that_is_off_stamps_the_same_readings_at_other_times(skew_ms):
    _, straight = run(2, rate_hz=50)
    _, skewed = run(2, rate_hz=50, skew_ms=skew_ms)
    (times, values), (off, same) = read(straight), read(skewed)
    assert off - times == pytest.approx(skew_ms / 1e3, abs=1e-9) and same.tolist() == values.tolist()


def test_temperature_and_clock():
    world, meter = run(30, throttle_c=50, throttle_factor=1.5, warm_s=10)
    times, temperature = read(meter, 1)
    assert times.tolist() == pytest.approx(np.arange(60) / 2)
    assert temperature[0] == 42 and temperature[-1] == pytest.approx(42 + 18 * (1 - np.exp(-2.95)), abs=0.1)
    assert (np.diff(temperature) >= 0).all()
    world.run(LOAD, 1)
    world.rest(1)
    assert set(read(meter, 2)[1]) == {1200.0}, "slowed down by half"


def test_without_a_power_sensor_the_others_are_there():
    _, meter = run(5, rate_hz=0)
    assert [channel["name"] for sensor in meter.describe() for channel in sensor["channels"]] == [TEMPERATURE, CLOCK]
    assert len(read(meter, 0)[0]) == 10 and [use["name"] for use in meter.told()] == ["environment"]


@pytest.mark.parametrize(
    ("wanted", "channels"), [(None, 3), (["power"], 1), (["environment"], 2), ([], 0), (["thermal"], 0), (["power", "environment"], 3)]
)
def test_only_the_sensors_that_are_wanted_are_read(wanted, channels):
    _, meter = run(5)
    meter.wanted = wanted
    names = [channel["name"] for sensor in meter.describe() for channel in sensor["channels"]]
    records = np.frombuffer(meter.flush(), RECORD)
    assert len(names) == channels and set(records["channel"].tolist()) == set(range(channels))
    assert (POWER in names) == (wanted is None or "power" in wanted)


def test_slow_it_reads_twice_a_second_and_goes_on_at_the_full_rate():
    world, meter = run(2, rate_hz=50)
    read(meter)
    meter.turn(slow=True)
    world.rest(4)
    slow = read(meter)[0]
    meter.turn(slow=False)
    world.rest(2)
    full = read(meter)[0]
    assert np.diff(slow) == pytest.approx(0.5) and len(slow) == 8
    assert np.diff(full) == pytest.approx(0.02) and full[0] - slow[-1] <= 0.5


def test_how_well_it_was_read_is_told():
    _, meter = run(4, rate_hz=50)
    read(meter)
    assert [(use["name"], use["samples"], use["missed"], use["problem"]) for use in meter.told()] == [
        ("power", 200, 0, ""),
        ("environment", 8, 0, ""),
    ]


@given(st.lists(st.floats(0.001, 3), min_size=1, max_size=8), st.sampled_from([1.0, 10.0, 50.0, 333.0]), st.booleans())
def test_readings_are_the_same_however_often_they_are_fetched(rests, rate_hz, noisy):
    spec = BoardSpec(rate_hz=rate_hz, noise=0.01 if noisy else 0.0)

    def samples(often: bool) -> list[tuple[float, float]]:
        world = World(spec)
        meter, found = Meter(world), []
        for i, seconds in enumerate(rests):
            world.rest(seconds)
            if often or i == len(rests) - 1:
                found += zip(*read(meter), strict=True)
        return found

    once, often = samples(False), samples(True)
    assert [t for t, _ in once] == pytest.approx([t for t, _ in often]) and len({t for t, _ in often}) == len(often)
    assert [v for _, v in once] == pytest.approx([v for _, v in often], abs=2 * spec.step_mw if noisy else 1e-6)


def test_the_same_seed_reads_the_same_bytes_and_another_reads_others():
    def data(seed):
        world = World(BoardSpec(seed=seed))
        world.run(LOAD, 1000)
        return Meter(world).flush()

    assert data(1) == data(1) != data(2)
