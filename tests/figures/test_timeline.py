"""View data of the timeline: exact series and arrays from sessions made by hand, and the laws of putting readings together."""

import json
import math
import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.figures import timeline as timeline_of
from edgeprof.figures.modules import script
from edgeprof.figures.theme import THEMES, rgb
from edgeprof.figures.timeline import (
    HAS_LAYERS,
    INSTRUMENTED,
    LAYERS_SENT,
    MOST_RUNS,
    OUTLIER,
    PHASE_COLORS,
    Session,
    show,
    timeline,
    timeline_detail,
)
from edgeprof.figures.timeline_series import all_series, budgets, columns
from edgeprof.records.context import Energy
from edgeprof.records.profile import Finding, Profile, empty_table
from edgeprof.records.sensing import Channel, SensorUse
from edgeprof.testing import make_profile, make_sensed_profile

NAN = math.nan


def sampled(readings: dict[str, list[tuple[float, float]]], *channels: Channel, total: tuple[str, ...] = (), **profile) -> Profile:
    """A profile with these readings, ``(time_ms, value)`` by channel, and ``channels`` of one sensor."""
    made = make_profile(**({"runs": 0} | profile))
    rows = [(time, name, value) for name, values in readings.items() for time, value in values]
    samples = pd.DataFrame(rows, columns=["time_ms", "channel", "value"])
    sensor = SensorUse("board", channels, 100.0, 99.5, len(rows), 2)
    return replace(made, samples=samples, context=replace(made.context, sensors=(sensor,), energy=Energy(channels=total)))


def values(series):
    return [(float(t), float(v)) for t, v in zip(series.time_ms, series.value, strict=True)]


# ---- series ----


def test_a_counter_becomes_power_over_the_time_between_two_readings():
    counter = Channel("rapl/package_mj", "mJ", "counter", "package", "package")
    (series,) = all_series(sampled({counter.name: [(0, 10.0), (10, 30.0), (20, 30.0), (40, 130.0)]}, counter))
    assert values(series) == [(0, 2000.0), (10, 0.0), (20, 5000.0)]
    assert series.end_ms == 40 and series.unit == "mW" and series.lane == "power" and series.counter
    assert series.mean() == pytest.approx(120 / 40 * 1000)


def test_next_to_a_failed_reading_or_a_fall_the_power_of_a_counter_is_not_known():
    counter = Channel("rapl/package_mj", "mJ", "counter")
    (series,) = all_series(sampled({counter.name: [(0, 10.0), (10, NAN), (20, 30.0), (30, 50.0), (40, 5.0)]}, counter))
    np.testing.assert_array_equal(series.value, [NAN, NAN, 2000.0, NAN])


def test_one_reading_of_a_counter_is_no_power_and_one_of_anything_else_is_a_point():
    counter, heat = Channel("rapl/package_mj", "mJ", "counter"), Channel("thermal/cpu_c", "°C", title="CPU")
    (series,) = all_series(sampled({counter.name: [(5, 10.0)], heat.name: [(5, 45.0)]}, counter, heat))
    assert (series.title, values(series), series.end_ms) == ("CPU", [(5, 45.0)], 5)


def test_readings_are_put_in_the_order_of_time_and_of_two_at_one_time_the_later_row_counts():
    channel = Channel("a/x_mw", "mW")
    (series,) = all_series(sampled({channel.name: [(20, 2.0), (10, 1.0), (20, 3.0), (NAN, 9.0), (30, math.inf)]}, channel))
    np.testing.assert_array_equal(series.time_ms, [10, 20, 30])
    np.testing.assert_array_equal(series.value, [1.0, 3.0, NAN])


def test_the_total_is_the_sum_of_the_channels_that_are_named_held_until_their_next_reading():
    a, b, c = (Channel(f"ina/{name}_mw", "mW", title=name) for name in "abc")
    readings = {a.name: [(0, 100.0), (10, 200.0), (20, NAN), (30, 100.0)], b.name: [(5, 1.0), (15, 2.0), (25, 3.0)], c.name: [(0, 7.0)]}
    total, *others = all_series(sampled(readings, a, b, c, total=(a.name, b.name)))
    np.testing.assert_array_equal(total.time_ms, [5, 10, 15, 20, 25])
    np.testing.assert_array_equal(total.value, [101.0, 201.0, 202.0, NAN, NAN])
    assert total.total and total.channels == (a.name, b.name) and [s.title for s in others] == ["a", "b", "c"]
    assert not any(s.total for s in others)


def test_a_single_channel_is_itself_the_total():
    a, b = (Channel(f"ina/{name}_mw", "mW", title=name) for name in "ab")
    readings = {a.name: [(0, 1.0)], b.name: [(0, 2.0)]}
    first, second = all_series(sampled(readings, a, b, total=(b.name,)))
    assert (first.title, first.total, second.title, second.total) == ("b = total", True, "a", False)


def test_a_channel_of_the_total_that_was_not_read_leaves_no_total():
    a, b = (Channel(f"ina/{name}_mw", "mW", title=name) for name in "ab")
    assert [s.total for s in all_series(sampled({a.name: [(0, 1.0)]}, a, b, total=(a.name, b.name)))] == [False]


def test_a_channel_that_no_sensor_describes_has_its_unit_from_its_name():
    readings = {f"x/{name}": [(0.0, 1.0)] for name in ("rail_mw", "rss_bytes", "cpu_c", "core_mhz", "odd")}
    assert [s.unit for s in all_series(sampled(readings))] == ["mW", "B", "°C", "MHz", ""]


def test_lanes_are_units_in_a_fixed_order():
    names = {"MHz": "c/f", "V": "c/v", "°C": "c/t", "B": "c/m", "mW": "c/p", "%": "c/l"}
    channels = [*(Channel(name, unit) for unit, name in names.items()), Channel("p/faults", "", title="Faults"), Channel("p/cores", "")]
    channels.append(Channel("q/faults", "", title="Faults of q"))
    data = timeline(sampled({channel.name: [(0.0, 1.0)] for channel in channels}, *channels))
    assert [(lane["title"], lane["unit"]) for lane in data.meta["lanes"]] == [
        ("Power", "mW"), ("Memory", "B"), ("Temperature", "°C"), ("Clocks", "MHz"), ("Load", "%"), ("Others", "V"),
        ("cores", ""), ("Faults", ""),
    ]  # fmt: skip


readings = st.lists(st.floats(-1e9, 1e9) | st.just(NAN), min_size=0, max_size=200)


@given(readings, st.integers(1, 60))
def test_columns_lose_no_extreme_and_no_failure(numbers, most):
    value = np.array(numbers, float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = columns(np.arange(len(value), dtype=float), value, most)
    assert len(made.time_ms) <= most
    starts = [*(int(t) for t in made.time_ms), len(value)]
    for i, (first, last) in enumerate(pairwise(starts)):
        part = value[first:last]
        known = part[~np.isnan(part)]
        assert 1 <= last - first <= made.per
        assert bool(made.failed[i]) == bool(np.isnan(part).any())
        if len(known):
            assert made.low[i] == known.min() and made.high[i] == known.max()
            assert made.low[i] - 1e-3 <= made.mean[i] <= made.high[i] + 1e-3
        else:
            assert np.isnan([made.low[i], made.mean[i], made.high[i]]).all()


@given(readings)
def test_few_readings_stay_as_they_are(numbers):
    value = np.array(numbers, float)
    made = columns(np.arange(len(value), dtype=float), value, max(1, len(value)))
    assert made.per == 1
    np.testing.assert_array_equal(made.mean, value)


@given(st.lists(st.integers(0, 10_000), max_size=20), st.integers(1, 5_000))
def test_budgets_keep_the_limit_and_starve_nobody(lengths, most):
    given_ = budgets(lengths, most)
    assert all(0 <= place <= length and (place or not length) for place, length in zip(given_, lengths, strict=True))
    assert sum(given_) <= max(most, len(lengths))
    if sum(lengths) <= most:
        assert given_ == lengths


def test_a_slow_channel_is_whole_where_a_fast_one_is_put_together():
    fast, slow = Channel("ina/rail_mw", "mW"), Channel("t/cpu_c", "°C")
    data = timeline(
        sampled({fast.name: [(float(i), float(i % 7)) for i in range(10_000)], slow.name: [(0, 40.0), (9000, 41.0)]}, fast, slow),
        most_points=100,
    )
    assert [series["per"] for series in data.meta["series"]] == [103, 1]
    assert data.array("h0").max() == 6 and data.array("l0").min() == 0 and data.array("v1").tolist() == [40.0, 41.0]
    assert len(data.array("t0")) + len(data.array("t1")) <= 100


# ---- whole and detail ----


def sliced(data, start, end):
    """Readings, runs and spans of ``data`` that lie between two times, as comparable lists."""
    found = {}
    for k, series in enumerate(data.meta["series"]):
        time = data.array(f"t{k}")
        until = np.append(time[1:], series["end"])
        inside = (until > start) & (time <= end)
        found[k] = list(zip(time[inside], data.array(f"v{k}")[inside], until[inside], strict=True))
    run_start, run_ms = data.array("run_start"), data.array("run_ms")
    inside = (run_start.astype(float) + run_ms >= start) & (run_start <= end)
    found["runs"] = [tuple(data.array(f"run_{n}")[i] for n in ("start", "ms", "flags", "number", "block")) for i in np.flatnonzero(inside)]
    first = data.array("span_first").astype(int)
    for k, run in enumerate(data.array("span_run")):
        if inside[int(run)]:
            rows = slice(first[k], first[k + 1])
            found["spans", data.array("run_number")[int(run)]] = [
                data.array(f"span_{n}")[rows].tolist() for n in ("layer", "offset", "ms", "raw")
            ]
    return found


@given(st.floats(-100, 23_000), st.floats(0.001, 10_000))
def test_a_detail_equals_the_whole_where_nothing_was_put_together(start, length):
    end = start + length
    assert sliced(timeline_detail(PROFILE, start, end), start, end) == sliced(timeline(PROFILE), start, end)


PROFILE = make_sensed_profile(runs=12, rate_hz=20.0)


def test_a_detail_has_all_readings_that_the_whole_put_together():
    whole = timeline(PROFILE, most_points=60)
    detail = timeline_detail(PROFILE, 2500, 4500, most_points=60)
    assert whole.meta["series"][0]["per"] > 5 and detail.meta["series"][0]["per"] == 1
    assert detail.meta["window"] == [2500, 4500]
    time = detail.array("t0")
    assert time[0] <= 2500 and time[-1] >= 4500 and len(time) == 42


def test_spans_are_those_of_their_runs():
    data = timeline(make_profile([0.5, 0.1, 0.2], runs=4))
    assert data.array("run_flags").tolist() == [0] * 4 + [INSTRUMENTED | HAS_LAYERS | LAYERS_SENT] * 4
    assert data.array("span_run").tolist() == [4, 5, 6, 7] and data.array("span_first").tolist() == [0, 3, 6, 9, 12]
    assert data.array("span_layer").tolist() == [0, 1, 2] * 4
    offset, raw = data.array("span_offset").reshape(4, 3), data.array("span_raw").reshape(4, 3)
    np.testing.assert_allclose(offset[:, 0], 0, atol=1e-9)
    assert (offset[:, 1:] >= offset[:, :-1] + raw[:, :-1] * 0.9).all()
    np.testing.assert_allclose(data.array("span_ms").reshape(4, 3), raw - 0.0015, rtol=1e-5)


def test_of_too_many_spans_those_of_evenly_chosen_runs_come_along():
    data = timeline(make_profile([0.1] * 10, runs=40), most_spans=100)
    assert data.meta["spans_of"] == [10, 40]
    flags = data.array("run_flags")
    sent = np.flatnonzero(flags & LAYERS_SENT)
    assert len(sent) == 10 and (flags[sent] & INSTRUMENTED).all()
    instrumented = np.flatnonzero(flags & HAS_LAYERS)
    assert np.diff(np.searchsorted(instrumented, sent)).tolist() == [4] * 9
    assert len(data.array("span_layer")) == 100


def test_one_run_is_always_there_however_long_it_is():
    data = timeline(make_profile(np.full(10_000, 0.01), runs=4), most_spans=100)
    assert data.meta["spans_of"] == [1, 4] and len(data.array("span_layer")) == 10_000
    assert data.array("span_layer").dtype == np.uint16


def test_of_too_many_runs_no_outlier_is_lost():
    profile = make_profile([0.5], runs=MOST_RUNS)
    runs = profile.runs.assign(outlier=profile.runs["run"] == 1234 + MOST_RUNS)
    data = timeline(replace(profile, runs=runs))
    assert data.meta["runs_of"][1] == 2 * MOST_RUNS and MOST_RUNS <= data.meta["runs_of"][0] <= MOST_RUNS + 1
    assert data.array("run_number")[(data.array("run_flags") & OUTLIER) > 0].tolist() == [1234 + MOST_RUNS]


def test_spans_of_runs_and_layers_that_are_not_there_are_left_out():
    profile = make_profile([0.5, 0.1], runs=4)
    spans = profile.spans.copy()
    spans.loc[0, "run"], spans.loc[1, "layer"], spans.loc[2, "layer"], spans.loc[3, "start_ms"] = 99, 77, -1, NAN
    data = timeline(replace(profile, spans=spans))
    assert len(data.array("span_layer")) == 4


def test_the_typical_run_is_the_median_of_those_whose_layers_are_there_and_no_outlier():
    profile = make_profile([0.5, 0.1], runs=5)
    runs = profile.runs.assign(latency_ms=np.arange(10.0) + 1)
    ids = runs.index[runs["instrumented"]].tolist()
    runs.loc[ids[2], "outlier"] = True
    data = timeline(replace(profile, runs=runs))
    kept = [i for i in ids if i != ids[2]]
    assert data.array("run_number")[data.meta["typical_run"]] == kept[len(kept) // 2]
    assert timeline(make_profile(runs=0)).meta["typical_run"] is None


# ---- windows ----


def with_windows(*rows: tuple) -> Profile:
    names = ["phase", "label", "group", "pass", "start_ms", "end_ms", "runs", "note"]
    return replace(make_profile([0.5, 0.1], runs=0, name=["a", "b"]), windows=pd.DataFrame(rows, columns=names))


def test_unsorted_windows_are_put_in_order_and_what_holds_others_stands_above_them():
    rows = [
        ("idle", "", -1, -1, 50.0, 60.0, 0, ""), ("measure", "1", -1, -1, 10.0, 20.0, 4, ""),
        ("measure", "", -1, -1, 0.0, 30.0, 8, ""), ("measure", "0", -1, -1, 0.0, 10.0, 4, "throttled"),
        ("idle", "", -1, -1, 40.0, 39.0, 0, ""), ("load", "", -1, -1, NAN, 3.0, 0, ""),
    ]  # fmt: skip
    data = timeline(with_windows(*rows))
    assert data.array("win_start").tolist() == [0, 0, 10, 40, 50] and data.array("win_end").tolist() == [30, 10, 20, 40, 60]
    assert data.array("win_row").tolist() == [0, 1, 1, 0, 0]
    assert [data.meta["notes"][i] for i in data.array("win_note")] == ["", "throttled", "", "", ""]
    assert data.meta["measure"] == [0, 30] and data.meta["extent"] == [0, 60]


def test_labels_that_are_layers_are_sent_as_their_position():
    rows = [("layers", "b", 0, 2, 0.0, 1.0, 9, ""), ("measure", "3", -1, -1, 1.0, 2.0, 4, "")]
    data = timeline(with_windows(*rows))
    assert data.array("win_label").tolist() == [1, 2] and data.meta["labels"] == ["3"]
    assert data.array("win_group").tolist() == [1, 0] and data.array("win_pass").tolist() == [3, 0]


def test_groups_say_which_layers_a_loop_runs():
    assert timeline(PROFILE).meta["groups"] == [[i] for i in range(8)]


def test_layers_inside_layers_have_their_depth():
    profile = make_profile([0.5, 0.1, 0.2], runs=4, name=["loop", "loop/if", "x"], parent=["", "loop", "loop/if"])
    data = timeline(profile)
    assert data.array("depth").tolist() == [0, 1, 2] and data.meta["holders"] == [0, 1]
    around = make_profile([0.5, 0.1], runs=4, name=["a", "b"], parent=["b", "a"])
    assert timeline(around).array("depth").max() == 3, "parents in a circle, from a file made by hand"


# ---- words ----


def test_the_one_number_is_energy_then_power_then_length():
    header = timeline(PROFILE).meta["header"]
    assert header["number"].startswith("8.268 mJ [8.226") and header["number_note"] == "energy of one inference, module, 95 % interval"
    a = Channel("ina/a_mw", "mW", "sample", "board")
    power = sampled({a.name: [(0, 1000.0), (10, 4000.0), (40, 9.0)]}, a, total=(a.name,))
    assert timeline(power).meta["header"]["number"] == "3.25 W"
    assert timeline(power).meta["header"]["number_note"] == "mean power over the session, board"
    assert timeline(sampled({a.name: [(0, 1000.0), (40, 9.0)]}, a)).meta["header"]["number"] == "40.0 ms"
    assert timeline(make_profile(runs=0)).meta["header"]["number"] == "–"


def test_an_estimate_says_so_beside_its_number():
    assert "estimated" in timeline(replace(PROFILE, origin="estimated")).meta["header"]["number_note"]


def test_sensors_say_how_fast_they_were_read_and_what_they_missed():
    assert timeline(PROFILE).meta["sensors"] == [
        "ina3221: 20.0 of 20 Hz, 441 readings, 3 missed", "process: 10.0 of 10 Hz", "thermal: 2.00 of 2 Hz", "clocks: 2.00 of 2 Hz",
        "sampling took 0.8 % of one CPU",
    ]  # fmt: skip


def test_without_readings_it_says_which_sensors_were_looked_for():
    profile = make_profile()
    looked = replace(profile.context, sensors=(SensorUse("rapl", problem="the folder is not readable"),))
    text = timeline(replace(profile, context=looked)).meta["missing"]["samples"]
    assert "rapl: the folder is not readable" in text and "edgeprof doctor" in text
    assert "names no sensor" in timeline(profile).meta["missing"]["samples"]
    assert timeline(PROFILE).meta["missing"] == {"samples": "", "spans": ""}


def test_without_layers_it_says_why():
    profile = make_profile()
    assert "hold no times of single layers" in timeline(replace(profile, spans=empty_table("spans"))).meta["missing"]["spans"]
    plain = replace(profile, spans=empty_table("spans"), runs=profile.runs[~profile.runs["instrumented"]])
    assert "No instrumented runs" in timeline(plain).meta["missing"]["spans"]


def test_nothing_at_all():
    data = timeline(make_profile(runs=0))
    assert data.meta["extent"] is None and data.meta["measure"] is None and data.meta["lanes"] == []
    assert Session(make_profile(runs=0)).extent is None


def test_failed_readings_alone_are_a_lane_without_a_range():
    a = Channel("ina/a_mw", "mW")
    data = timeline(sampled({a.name: [(0, NAN), (10, NAN)]}, a, total=(a.name,)))
    assert data.meta["lanes"][0]["channels"][0]["range"] is None and data.meta["lanes"][0]["channels"][0]["failed"] == 2
    assert data.meta["header"]["number_note"] == "whole session; power was not measured"


def test_show():
    assert show(2512.0, "power", "mW") == "2.51 W" and show(40.0, "power", "mW") == "40.0 mW" and show(NAN, "power", "mW") == "–"
    assert show(2512.0, "of faults", "") == "2.51 k" and show(2512.0, "in V", "V") == "2512 V"
    assert show(57e6, "memory", "B") == "57.0 MB" and show(12.0, "memory", "B") == "12 B" and show(45.25, "temperature", "°C") == "45.2 °C"


def test_the_path_that_all_names_share_is_left_out_of_boxes():
    def shared(*names):
        return timeline(make_profile([0.1] * len(names), runs=0, name=names)).meta["common_path"]

    assert shared("/m/stages.0/conv", "/m/stages.1/conv") == len("/m/stages.")
    assert shared("conv", "relu") == 0 and shared("/m/a") == 0 and shared("a/", "a/b") == 0
    assert timeline(replace(make_profile(), layers=make_profile().layers.iloc[:0], spans=empty_table("spans"))).meta["common_path"] == 0


def test_findings_and_hostile_names_are_data():
    hostile = "</script><img src=x onerror=alert(1)>\u202e"
    profile = make_profile([0.5, 0.1], runs=4, name=[hostile, "b"], findings=(Finding("drift", "warning", hostile),))
    data = timeline(profile)
    assert data.meta["names"][0] == hostile and data.meta["findings"][0]["text"] == hostile
    json.loads(json.dumps(data.to_json(), allow_nan=False))


def test_an_hour_of_six_rails_is_less_than_three_megabytes():
    rate, n = 150, 150 * 3600
    names = [f"ina/R{k}_mw" for k in range(6)]
    noise = np.random.default_rng(0).random(6 * n)
    noise[3_000_001] = 99.0
    samples = pd.DataFrame({"time_ms": np.repeat(np.arange(n) * 1000 / rate, 6), "channel": names * n, "value": noise})
    profile = make_profile()
    sensor = SensorUse("ina", tuple(Channel(name, "mW") for name in names), rate, rate)
    session = Session(replace(profile, samples=samples, context=replace(profile.context, sensors=(sensor,))))
    data = session.whole()
    assert len(data.numbers) < 3_000_000 and data.meta["series"][0]["per"] == 27
    assert data.array("h1").max() == 99.0, "reading 3,000,001 is of the second rail"
    detail = session.detail(*(3_000_001 // 6 * 1000 / rate + np.array([-1000, 1000])))
    assert detail.meta["series"][1]["per"] == 1 and detail.array("v1").max() == 99.0


# ---- colours, module ----


def luminance(color):
    channels = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb(color)]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


@pytest.mark.parametrize("theme", THEMES)
def test_text_can_be_read_on_every_phase(theme):
    assert set(PHASE_COLORS[theme]) == {"load", "warmup", "measure", "memory", "idle", "model", "layers", "cooldown"}
    for color in PHASE_COLORS[theme].values():
        bright, dim = sorted((luminance(color), luminance(THEMES[theme].ink)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5


def test_the_module_is_one_file_without_imports():
    source = script("timeline")
    assert "export function renderTimeline" in source and "innerHTML" not in source
    assert not [line for line in source.splitlines() if line.startswith("import ")]
    assert timeline_of is timeline
