"""What profiles can be chosen by, and which numbers count."""

import math
from dataclasses import replace

import pytest

from edgeprof.analysis.memory import model_peak
from edgeprof.analysis.objectives import axes_of, objective, objectives_of, readings, second_axis
from edgeprof.errors import UsageError
from edgeprof.records.context import Energy, Latency
from edgeprof.scoring import Score, with_scores
from edgeprof.testing import make_profile, make_sensed_profile


def read(profile, name):
    return readings([profile], objective([profile], name))[0]


def test_a_profile_with_everything_has_everything():
    profile = with_scores(make_sensed_profile(), Score("top1", 0.9, 0.85, 0.95, 200, data="digits", data_sha256="d"))
    profile = replace(profile, context=replace(profile.context, model_bytes=1234))
    names = ["latency_ms", "energy_mj", "peak_memory_bytes", "memory_bytes", "model_bytes", "top1"]
    assert [one.name for one in objectives_of([profile])] == names
    energy, latency = profile.context.energy, profile.context.latency
    assert read(profile, "energy_mj").value == energy.inference_mj and read(profile, "energy_mj").high == energy.inference_high_mj
    assert (read(profile, "latency_ms").value, read(profile, "latency_ms").low) == (latency.median_ms, latency.low_ms)
    assert read(profile, "peak_memory_bytes").value == model_peak(profile).bytes == profile.context.memory.peak_bytes
    weights = profile.measured_layers["param_bytes"].sum()
    assert read(profile, "memory_bytes").value == weights + profile.context.memory.peak_bytes
    assert read(profile, "top1").note == "on digits, n = 200" and read(profile, "top1").low == 0.85


def test_the_peak_is_that_of_the_memory_view_whether_the_context_says_it_or_not():
    profile = make_sensed_profile()
    silent = replace(profile, context=replace(profile.context, memory=replace(profile.context.memory, peak_bytes=None)))
    assert read(silent, "peak_memory_bytes") == read(profile, "peak_memory_bytes")


def test_not_measured_is_nan_with_a_reason():
    profile = make_profile()
    bare = replace(profile, context=replace(profile.context, latency=Latency(), energy=Energy(reason="no sensor")))
    for name, why in [("latency_ms", "latency was not measured"), ("energy_mj", "energy was not measured"), ("top1", "no score top1")]:
        reading = read(bare, name)
        assert math.isnan(reading.value) and reading.why == why
    assert math.isnan(read(bare, "model_bytes").value) and math.isnan(read(bare, "peak_memory_bytes").value)


@pytest.mark.parametrize("value", [None, "0.9", True, math.nan, math.inf, 10**400, [1], {}])
def test_a_score_that_is_no_number_is_none(value):
    profile = make_profile()
    profile = replace(profile, context=replace(profile.context, scores={"top1": {"value": value}, "mine": value}))
    assert math.isnan(read(profile, "top1").value)
    assert "mine" not in [one.name for one in objectives_of([profile])]


def test_an_interval_holds_its_value():
    profile = make_profile()
    turned = {"top1": {"value": 0.9, "low": 0.95, "high": 0.97}, "mae": {"value": 1, "low": None, "high": 2}}
    profile = replace(profile, context=replace(profile.context, scores=turned))
    assert read(profile, "top1").low == 0.9 and math.isnan(read(profile, "mae").high)


def test_scores_on_other_data_do_not_count():
    def scored(value, data):
        return with_scores(make_profile(), Score("mae", value, better="lower", data=data, data_sha256=data))

    profiles = [scored(1, "old"), scored(2, "new"), scored(3, "new")]
    found = readings(profiles, objective(profiles, "mae"))
    assert [reading.value for reading in found[1:]] == [2, 3]
    assert math.isnan(found[0].value) and found[0].why == "mae is of other data, old"
    assert objective(profiles, "mae").better == "lower"


def test_a_metric_of_ones_own_keeps_its_way():
    profile = with_scores(make_profile(), Score("word_errors", 3, better="lower"), Score("bleu", 30))
    assert (objective([profile], "word_errors").better, objective([profile], "bleu").better) == ("lower", "higher")
    assert objective([profile], "bleu").title == "bleu"


def test_a_score_cannot_take_the_name_of_a_quantity():
    profile = with_scores(make_profile(), Score("latency_ms", 7))
    assert read(profile, "latency_ms").value == profile.context.latency.median_ms
    assert [one.name for one in objectives_of([profile])].count("latency_ms") == 1


def test_unknown_names_are_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"no objective 'top'.*There are: latency_ms, .*top1"):
        objective([make_profile()], "top")


def test_axes_where_nobody_has_chosen():
    fast, slow = make_profile([1.0]), make_profile([2.0])
    assert axes_of([fast, fast]) is None, "nothing differs"
    assert axes_of([]) is None
    sized = [replace(p, context=replace(p.context, model_bytes=n)) for p, n in ((fast, 5), (slow, 6))]
    assert [one.name for one in axes_of(sized)] == ["latency_ms", "model_bytes"]
    scored = [with_scores(p, Score("sqnr_db", n)) for p, n in zip(sized, (30, 40), strict=True)]
    assert [one.name for one in axes_of(scored)] == ["latency_ms", "sqnr_db"]
    assert second_axis(scored, ("sqnr_db",)).name == "latency_ms"
    assert second_axis([], ("latency_ms",)).name == "top1"
