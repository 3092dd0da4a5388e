"""Findings on energy and sensors: each appears when it should, says the numbers, and stays away otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from edgeprof.analysis import findings
from edgeprof.analysis.energy import energy_findings
from edgeprof.records.context import Energy
from edgeprof.records.sensing import Channel, SensorUse
from edgeprof.testing import make_profile, make_sensed_profile
from tests.laws import examples
from tests.records import strategies

GOOD = make_sensed_profile(runs=2)


def found(profile):
    return {finding.id: finding for finding in energy_findings(profile)}


def with_energy(**fields):
    return replace(GOOD, context=replace(GOOD.context, energy=replace(GOOD.context.energy, **fields)))


def with_thermal(**fields):
    return replace(GOOD, context=replace(GOOD.context, thermal=replace(GOOD.context.thermal, **fields)))


def with_sensors(*sensors):
    return replace(GOOD, context=replace(GOOD.context, sensors=sensors))


def with_layers(**columns):
    layers = GOOD.layers.copy()
    for name, values in columns.items():
        layers.loc[list(values), name] = list(values.values())
    return replace(GOOD, layers=layers)


def test_a_good_measurement_needs_no_words():
    assert found(GOOD) == {}


def test_nothing_is_said_of_energy_that_nobody_asked_for():
    assert found(make_profile()) == {}
    assert found(with_energy(asked="off", method="", reason="There is no power sensor.", closure_gap=None)) == {}


def test_they_are_among_all_findings():
    ids = {finding.id for finding in findings(with_energy(closure_gap=0.4))}
    assert "energy-closure" in ids


# ---- not measured ----


def test_energy_that_was_not_measured_says_why():
    nothing = Energy(asked="layers", reason="There is no power sensor.")
    finding = found(replace(GOOD, context=replace(GOOD.context, energy=nothing)))["energy-not-measured"]
    assert finding.severity == "warning" and finding.text == "Energy was not measured. There is no power sensor."


def test_energy_of_the_model_only_says_why():
    finding = found(with_energy(method="model", reason="The sensor is too slow.", closure_gap=None))["energy-model-only"]
    assert finding.text == "Energy was measured for the whole model, not by layer. The sensor is too slow."


@pytest.mark.parametrize("asked", ["model", "layers"])
def test_energies_that_were_measured_against_doubts_are_doubtful(asked):
    finding = found(with_energy(asked=asked, method=asked, reason="The sensor cannot tell the model from rest."))["energy-doubtful"]
    assert finding.text == "Energies are doubtful. The sensor cannot tell the model from rest."


@pytest.mark.parametrize("asked", ["model", "layers"])
def test_without_a_reason_there_is_nothing_to_say(asked):
    assert found(with_energy(asked=asked, method="model", reason="", closure_gap=None)) == {}


# ---- closure ----


@pytest.mark.parametrize("gap", [0.05, -0.05, 0.0, None])
def test_a_small_gap_or_none_is_no_finding(gap):
    assert found(with_energy(closure_gap=gap)) == {}


def test_a_gap_is_told_with_its_interval():
    told = {"closure_gap": 0.1, "closure_gap_low": 0.08, "closure_gap_high": 0.12, "layers_mj": 9.0, "above_idle_mj": 10.0}
    finding = found(with_energy(**told))["energy-closure"]
    assert finding.severity == "info"
    assert finding.text == (
        "In loops of their own the layers sum to 9.00 mJ, 10.0 % [8.0 %, 12.0 %] less than the 10.0 mJ that the model takes above idle."
    )


def test_layers_that_sum_to_more_are_told_so():
    told = {"closure_gap": -0.1, "closure_gap_low": -0.12, "closure_gap_high": -0.08, "layers_mj": 11.0, "above_idle_mj": 10.0}
    finding = found(with_energy(**told))["energy-closure"]
    assert "11.0 mJ, 10.0 % [8.0 %, 12.0 %] more than the 10.0 mJ" in finding.text


@pytest.mark.parametrize("gap", [0.16, -0.16])
def test_a_large_gap_means_that_layers_are_not_separable(gap):
    finding = found(with_energy(closure_gap=gap, closure_gap_low=None, closure_gap_high=None))["energy-closure"]
    assert finding.severity == "warning" and finding.text.startswith("Layers are not separable here: ") and "[" not in finding.text


def test_a_gap_that_layers_without_energy_leave_is_not_blamed_on_the_others():
    profile = with_layers(energy_mj={1: float("nan")})
    profile = replace(profile, context=replace(profile.context, energy=replace(GOOD.context.energy, closure_gap=0.3)))
    name = GOOD.layers["name"].iloc[1]
    finding = found(profile)["energy-closure"]
    assert finding.severity == "warning" and finding.layers == (name,)
    assert finding.text.endswith(f"; 1 layer without an energy ({name}) took part of that.") and "separable" not in finding.text
    more = replace(profile, context=replace(profile.context, energy=replace(GOOD.context.energy, closure_gap=-0.3)))
    assert "not separable" in found(more)["energy-closure"].text, "what is missing does not make the sum larger"


@pytest.mark.parametrize(("slower", "speed"), [(1.6, True), (1.2, False), (None, False)])
def test_a_gap_that_comes_from_slower_runs_is_not_blamed_on_the_layers(slower, speed):
    """A gap of 38 %: runs of the loop that take 1.6 times as long leave next to nothing of it, 1.2 times as long still 26 %."""
    finding = found(with_energy(closure_gap=0.38, loop_ms=slower and GOOD.context.latency.median_ms * slower))["energy-closure"]
    assert finding.severity == "warning"
    assert ("Most of that is speed" in finding.text) == speed
    assert ("not separable" in finding.text) != speed


def test_layers_in_bodies_and_layers_that_never_ran_are_not_missing():
    nothing = float("nan")
    profile = with_layers(energy_mj={1: nothing, 2: nothing}, kind={1: "nested"}, latency_ms={2: nothing})
    profile = replace(profile, context=replace(profile.context, energy=replace(GOOD.context.energy, closure_gap=0.3)))
    assert "not separable" in found(profile)["energy-closure"].text


# ---- layers below the sensor ----


def test_layers_that_the_sensor_cannot_tell_from_idle_are_named():
    why = "not told from idle: 20 mW, give or take 30 mW"
    one = found(with_layers(energy_method={2: why}))["energy-below-sensor"]
    names = GOOD.layers["name"].tolist()
    assert one.text.startswith(f"The sensor cannot tell 1 layer from idle ({names[2]}): ") and one.layers == (names[2],)
    two = found(with_layers(energy_method={2: why, 4: why, 5: "no loop: its input s is no plain tensor"}))["energy-below-sensor"]
    assert two.text.startswith("The sensor cannot tell 2 layers from idle") and two.layers == (names[2], names[4])


# ---- conditions ----


def test_a_board_that_slowed_itself_down():
    assert found(with_thermal(throttled=("too hot",)))["energy-throttled"].text.endswith("energy was measured: too hot.")
    assert found(with_thermal(throttled=("too hot", "b", "c", "d")))["energy-throttled"].text.endswith("too hot, b, c and 1 more.")


@pytest.mark.parametrize(("factor", "said"), [(1.04, False), (0.96, False), (1.06, True), (0.94, True)])
def test_runs_that_took_otherwise_in_the_loop_for_energy(factor, said):
    profile = with_energy(loop_ms=GOOD.context.latency.median_ms * factor)
    assert ("energy-loop-speed" in found(profile)) == said


@pytest.mark.parametrize(("before", "after", "said"), [(2000, 2090, False), (2000, 2110, True), (2000, 1890, True), (2000, None, False)])
def test_idle_power_that_drifts(before, after, said):
    found_ = found(with_energy(idle_before_mw=before, idle_after_mw=after))
    assert ("energy-idle-drift" in found_) == said
    if said:
        assert found_["energy-idle-drift"].severity == "info" and "from 2.00 W to" in found_["energy-idle-drift"].text


def test_a_warm_up_that_did_not_end_flat():
    assert "energy-not-warm" in found(with_thermal(flat=False))
    assert "energy-not-warm" not in found(with_thermal(flat=None))
    nothing = replace(with_thermal(flat=False).context, energy=Energy())
    assert "energy-not-warm" not in found(replace(GOOD, context=nothing))


# ---- sensors ----


@pytest.mark.parametrize(("cost", "error", "said"), [(10, 1, False), (50, 1, True), (50, 40, False), (None, None, False), (-100, 1, False)])
def test_what_reading_the_sensors_costs(cost, error, said):
    found_ = found(with_energy(idle_mw=2000.0, sampling_mw=cost, sampling_error_mw=error))
    assert ("sampling-cost" in found_) == said
    if said:
        assert found_["sampling-cost"].text == "Reading the sensors at their full rate adds 50.0 mW to an idle power of 1.95 W."


@pytest.mark.parametrize(("lag", "said"), [(None, False), (0.0, False), (0.04, False), (0.3, True)])
def test_a_sensor_that_lags(lag, said):
    found_ = found(with_energy(lag=lag))
    assert ("energy-lag" in found_) == said
    if said:
        assert "30.0 % of the step was still to go" in found_["energy-lag"].text and "--sensor-average" in found_["energy-lag"].text


def test_a_sensor_that_was_stuck_for_a_while():
    assert "read the same for 12 s" in found(with_energy(stuck_s=12.2))["energy-sensor-stuck"].text
    assert "energy-sensor-stuck" not in found(with_energy())


RAIL = (Channel("ina3221/VDD_IN_mw", "mW"),)


def test_a_sensor_with_a_problem():
    (finding,) = found(with_sensors(SensorUse("ina3221", RAIL, 50, 50, problem="some readings of ina3221 failed (busy)"))).values()
    assert (finding.id, finding.severity) == ("sensor-ina3221", "warning")
    assert finding.text == "Some readings of ina3221 failed (busy)."


def test_a_sensor_that_cannot_be_used_here_is_no_finding_of_each_profile():
    assert found(with_sensors(SensorUse("rapl", problem="no permission"))) == {}


@pytest.mark.parametrize(("achieved", "said"), [(45.0, False), (44.9, True), (None, False), (50.0, False)])
def test_a_sensor_that_was_read_too_slowly(achieved, said):
    found_ = found(with_sensors(SensorUse("ina3221", RAIL, 50.0, achieved, missed=7)))
    assert ("sensor-ina3221-slow" in found_) == said
    if said:
        text = "The sensor ina3221 was read 44.9 times a second, not 50: 7 readings came too late or not at all."
        assert found_["sensor-ina3221-slow"].text == text and found_["sensor-ina3221-slow"].severity == "info"


@examples(1 / 3)
@given(strategies.profiles())
def test_whatever_a_profile_holds_findings_are_sentences(profile):
    for finding in energy_findings(profile):
        assert finding.text[-1] in ".!?" and finding.severity in ("info", "warning")
