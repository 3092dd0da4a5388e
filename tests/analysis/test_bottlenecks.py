"""Findings: each rule on a profile made so that its numbers can be checked by hand."""

import math
from dataclasses import replace

import pytest

from edgeprof.analysis import findings, top_layers
from edgeprof.records.context import Instrument
from edgeprof.records.profile import Finding, NodeFate
from edgeprof.testing import make_layers, make_profile


def found(profile):
    return {finding.id: finding for finding in findings(profile)}


def with_plain(latencies, plain_ms):
    profile = make_profile(latencies)
    return replace(profile, layers=make_layers(latencies, plain_ms=plain_ms))


def test_top_layers():
    names = top_layers(make_profile([0.2, 0.5, math.nan, 0.5, 0.1]), 3)["name"]
    assert list(names) == ["/block0/relu_1", "/block0/matmul_3", "/block0/conv_0"]


def test_gap_above_and_below():
    above = found(with_plain([0.5, 0.3], 1.0))["closure-gap"]
    assert above.severity == "warning" and above.text == "200 µs, 20.0 % of the whole, lies in no layer."
    below = found(with_plain([0.5, 0.6], 1.0))["closure-gap"]
    assert below.severity == "warning" and "100 µs (10.0 %) more than the whole" in below.text
    assert "closure-gap" not in found(with_plain([0.5, 0.47], 1.0))
    assert "closure-gap" not in found(with_plain([0.5, 0.51], 1.0))


def test_a_gap_that_may_be_nothing_is_no_warning():
    finding = found(with_plain([0.05, 0.042], 0.1))["closure-gap"]  # make_layers gives the gap ±10 µs
    assert finding.severity == "info" and finding.text.endswith("covers zero.")


def test_inserted_layers():
    profile = make_profile([0.1, 0.1, 0.1, 0.1, 0.1, 0.5])
    finding = found(profile)["inserted-layers"]
    assert finding.text == "1 layer inserted by the runtime (ReorderInput 1) takes 500 µs, 49.0 % of the time."
    assert finding.severity == "warning" and finding.layers == ("/block1/reorderinput_5",)


def test_wide_intervals_name_the_widest():
    profile = make_profile([0.5, 0.4, 0.1], latency_low_ms=[0.2, 0.39, 0.05], latency_high_ms=[0.8, 0.41, 0.15])
    finding = found(profile)["wide-intervals"]
    assert "2 layers" in finding.text and "/block0/conv_0 with ±60.0 %" in finding.text
    assert finding.layers == ("/block0/conv_0", "/block0/add_2")


def test_half_of_the_time():
    few = found(make_profile([1.0] + [0.1] * 9))["time-concentrated"]
    assert few.text.startswith("1 layer of 10 takes half of the layers' time (1.00 ms): /block0/conv_0 (51.6 %)")
    assert few.layers == ("/block0/conv_0",)
    assert "half of it lies in 5 of 10 layers" in found(make_profile([0.1] * 10))["time-spread"].text


def test_time_without_macs():
    profile = make_profile([0.5, 0.3, 0.2], op_type=["Conv", "Resize", "NonMaxSuppression"], macs=[1e6, 0.0, math.nan])
    finding = found(profile)["time-without-macs"]
    assert finding.text == "Time that is not arithmetic: Resize 30.0 % of the time for none of the MACs.", "what is not known is not none"
    assert finding.layers == ("/block0/relu_1",)


def test_tiny_layers_and_raw_gap():
    profile = make_profile([0.001] * 6)
    assert "6 of 6 layers take under 5 µs each, together 6.00 µs" in found(profile)["tiny-layers"].text
    assert "sum to 15.0 µs, 150.0 % more than the corrected 6.00 µs" in found(profile)["raw-gap"].text
    uncorrected = replace(profile, context=replace(profile.context, instrument=Instrument()))
    assert "raw-gap" not in found(uncorrected), "nothing was corrected"


def test_not_above_zero_and_unknown_macs():
    profile = make_profile([0.5, -0.001], macs=[1.0, math.nan])
    assert found(profile)["not-above-zero"].layers == ("/block0/relu_1",)
    assert "Relu 1" in found(profile)["uncounted"].text


def test_long_tail_is_said_once():
    profile = make_profile()
    slow = replace(profile, context=replace(profile.context, latency=replace(profile.context.latency, p99_ms=3.0)))
    assert "2.9 times the median of 1.02 ms" in found(slow)["long-tail"].text
    known = replace(slow, findings=(Finding("outliers", "warning", "x"),))
    assert "long-tail" not in found(known)


def test_nodes_and_correction():
    profile = make_profile()
    lost = replace(
        profile,
        nodes=(NodeFate("n", "Conv", "unattributed"),),
        context=replace(profile.context, instrument=Instrument()),
    )
    assert "1 of 1 original nodes" in found(lost)["unattributed-nodes"].text
    assert found(lost)["not-corrected"].severity == "warning"
    assert "not-corrected" not in found(replace(lost, origin="estimated"))


def test_own_findings_come_first_in_their_severity_and_are_never_doubled():
    mine = (Finding("drift", "warning", "d"), Finding("tiny-layers", "info", "t"), Finding("broken", "error", "e"))
    ids = [finding.id for finding in findings(make_profile([0.001] * 6, findings=mine))]
    assert ids[0] == "broken" and ids[1] == "drift"
    assert ids.count("tiny-layers") == 1
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("latencies", [[math.nan, math.nan], [0.1], [-0.1, -0.2], [0.0]])
def test_odd_profiles_break_no_rule(latencies):
    profile = make_profile([0.1] * len(latencies), latency_ms=latencies)
    for finding in findings(profile):
        assert "nan" not in finding.text


def test_nothing_measured():
    empty = make_profile([0.1])
    empty = replace(empty, layers=empty.layers.iloc[1:], nodes=())
    assert all(finding.id == "closure-gap" for finding in findings(empty))
    assert top_layers(empty).empty
