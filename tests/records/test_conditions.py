"""Findings on the board: what its fingerprints before and after a measurement say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprof.records import board_state
from edgeprof.records.conditions import condition_findings
from edgeprof.records.sensing import Channel, Samples
from tests.records.board_states import shaped
from tests.records.traces import trace

RUNS = pd.DataFrame({"instrumented": [False] * 9, "latency_ms": [0.1] * 9, "outlier": [False] * 9})


def found(before, after=None, **more):
    made = trace([], environment=before, environment_after=after or {}, **more)
    return {finding.id: finding for finding in condition_findings(made, RUNS)}


def pi(now=(), since_boot=()):
    return {"throttle_flags": {"now": list(now), "since_boot": list(since_boot)}}


@pytest.mark.parametrize(
    ("before", "after", "ids"),
    [
        (pi(), pi(), set()),
        (pi(since_boot=["throttled", "under-voltage"]), pi(since_boot=["throttled", "under-voltage"]), set()),  # before this measurement
        (pi(), pi(since_boot=["throttled"]), {"throttled"}),
        (pi(), pi(now=["soft temperature limit"]), {"throttled"}),
        (pi(now=["clock capped"]), pi(), {"throttled"}),
        (pi(), pi(since_boot=["under-voltage"]), {"under-voltage"}),
        (pi(now=["under-voltage"]), pi(now=["under-voltage"]), {"under-voltage"}),
        (pi(), pi(now=["under-voltage", "throttled"]), {"under-voltage", "throttled"}),
        ({}, pi(since_boot=["throttled"]), set()),  # nobody knows whether that was before
        ({"alarms": []}, {"alarms": ["current of VDD_IN over its limit (ina3221)"]}, {"throttled"}),
        ({"alarms": []}, {"alarms": ["under-voltage now (rpi_volt)"]}, {"under-voltage"}),
        ({"cooling": {"thermal-cpufreq": 0}}, {"cooling": {"thermal-cpufreq": 2}}, {"throttled"}),
        ({"cooling": {"thermal-cpufreq": 0}}, {"cooling": {"thermal-cpufreq": 0}}, set()),
        ({"governor": "schedutil"}, {}, {"governor"}),
        ({"governor": ["performance", "schedutil"]}, {}, {"governor"}),
        ({"governor": ["performance", "userspace"]}, {}, set()),
        ({"governor": "schedutil", "clock_min_khz": [1_500_000] * 4, "clock_max_khz": [1_500_000] * 4}, {}, set()),  # jetson_clocks
        ({"governor": "schedutil", "clock_min_khz": [100_000] * 4, "clock_max_khz": [1_500_000] * 4}, {}, {"governor"}),
        ({"pressure_percent": {"cpu": 9.9}}, {"pressure_percent": {"cpu": 80.0}}, set()),  # afterwards it was the job itself
        ({"pressure_percent": {"cpu": 10.0}}, {}, {"busy"}),
        ({"gpu": {"load_share": 0.5}}, {"gpu": {"load_share": 0.9}}, {"busy"}),
        ({"gpu": {"load_share": 0.1}}, {"gpu": {"load_share": 0.9}}, set()),
        ({}, {"busy_processes": [{"name": "backup", "cpu_share": 0.3}]}, {"busy"}),
        ({}, {"busy_processes": [{"name": "sshd", "cpu_share": 0.1}, {"name": "cron", "cpu_share": 0.1}]}, set()),
        ({}, {"pressure_percent": {"memory": 7.0}}, {"memory-pressure"}),
        ({"power_source": "mains"}, {"power_source": "battery"}, {"on-battery"}),
        ({"power_mode": "15W"}, {"power_mode": "15W"}, {"power-mode"}),
        ({"disk_free_bytes": 10**9}, {"disk_free_bytes": 10**8}, {"disk-full"}),
        ({"disk_free_bytes": 10**9}, {"disk_free_bytes": 10**9}, set()),
    ],
)
def test_what_is_found(before, after, ids):
    assert set(found(before, after)) == ids


def test_a_finding_names_the_culprits_and_says_what_to_do():
    before = {"load_1min": 3.0, "cpus": 4, "pressure_percent": {"cpu": 25.0}}
    after = {"busy_processes": [{"name": "chrome", "cpu_share": 0.9}, {"name": "backup", "cpu_share": 0.3}]}
    finding = found(before, after)["busy"]
    assert finding.severity == "warning"
    assert finding.text == (
        "Others were running: the load was 3.0 on 4 CPUs before it began; tasks had waited for a CPU 25 % of the time; "
        "chrome used 0.90 CPUs, backup 0.30. End them and measure again."
    )
    assert "(cpu1, throttled)" in found(
        {"throttle_count": {"cpu0": 4, "cpu1": 4}, **pi()}, {"throttle_count": {"cpu0": 4, "cpu1": 5}, **pi(now=["throttled"])}
    )["throttled"].text  # fmt: skip
    assert found({"power_mode": "15W"})["power-mode"].severity == found({"power_source": "battery"})["on-battery"].severity == "info"


def counted(*values):
    n = len(values)
    samples = Samples(np.arange(n, dtype=np.int64), np.zeros(n, np.int32), np.array(values, float))
    return {"channels": (Channel("throttle/count", "", "counter"),), "samples": samples}


def test_an_alarm_that_was_read_away_meanwhile_is_found_in_the_samples():
    quiet = {"alarms": []}
    assert "throttled" not in found(quiet, quiet, **counted(2, 2, np.nan, 2))
    assert "3 times" in found(quiet, quiet, **counted(2, np.nan, 4, 5))["throttled"].text
    assert "throttled" not in found(quiet, quiet, **counted())
    assert set(found(pi(), pi(since_boot=["under-voltage"]), **counted(0, 1))) == {"under-voltage"}  # that is what was counted


@settings(max_examples=150, deadline=None)
@given(shaped, shaped)
def test_no_board_can_break_it_or_write_long_or_hidden_text(before, after):
    for finding in found(before, after).values():
        assert len(finding.text) < 1200
        assert finding.text.isprintable()


@given(st.text(), st.integers(1, 50))
def test_clean_text_is_short_visible_and_stays_the_same(text, most):
    once = board_state.clean(text, most)
    assert len(once) <= most and once.isprintable()
    assert board_state.clean(once, most) == once


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf"), -1, 10**400, [1], 1e19])
def test_no_number(value):
    assert board_state.number(value) is None
