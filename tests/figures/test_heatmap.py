"""View data of the heatmap: exact arrays from profiles made by hand."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof import units
from edgeprof.figures.heatmap import METRIC_COLUMNS, heatmap, heatmap_runs, place, scales
from edgeprof.figures.heatmap_picture import in_groups
from edgeprof.figures.modules import script
from edgeprof.figures.numbers import ellipsis, show
from edgeprof.figures.view import ViewData
from edgeprof.records import schema
from edgeprof.records.profile import Finding
from edgeprof.testing import make_profile
from tests.laws import examples

NAN = math.nan


def test_metrics_in_execution_order_with_the_row_between_layers_last():
    data = heatmap(make_profile([0.5, 0.1, 0.2, 0.2]))
    assert data.array("latency_ms").tolist() == pytest.approx([0.5, 0.1, 0.2, 0.2, 0.02])
    assert data.array("latency_low_ms").tolist() == pytest.approx([0.475, 0.095, 0.19, 0.19, 0.01])
    assert data.meta["names"] == ["/block0/conv_0", "/block0/relu_1", "/block0/add_2", "/block0/matmul_3", schema.BETWEEN_LAYERS]
    assert [data.meta["texts"]["op_type"][i] for i in data.array("op_type")] == ["Conv", "Relu", "Add", "MatMul", ""]


def test_not_measured_stays_nan_and_a_metric_without_numbers_has_no_column():
    data = heatmap(make_profile([0.5, 0.1], energy_mj=[1.5, NAN]))
    np.testing.assert_array_equal(data.array("energy_mj"), [1.5, NAN, NAN])
    names = [column["name"] for column in data.meta["columns"]]
    assert "energy_mj" in names and "power_mw" not in names and "calls" not in names
    with pytest.raises(KeyError):
        data.array("power_mw")


def test_calls_are_shown_when_something_is_called_more_than_once():
    assert "calls" in [c["name"] for c in heatmap(make_profile([0.5, 0.1], calls=[1.0, 3.0])).meta["columns"]]


def test_columns_say_what_the_schema_says():
    column = heatmap(make_profile()).meta["columns"][0]
    assert column["title"] == "Latency" and column["unit"] == "ms" and column["meaning"] == schema.column("latency_ms").meaning
    assert set(METRIC_COLUMNS) <= set(schema.METRICS)


def test_only_sources_that_differ_from_the_name_are_sent():
    profile = make_profile([0.5, 0.1, 0.2], name=["a", "b", "c"], source_nodes=[["a"], ["b", "b/bias"], []])
    assert heatmap(profile).meta["sources"] == {"1": ["b", "b/bias"], "2": [], "3": []}


def test_header_says_what_where_when_and_how_sure():
    header = heatmap(make_profile([0.5, 0.1, 0.2, 0.2])).meta["header"]
    assert header["model"] == "toy.onnx" and header["number"] == "1.020 ms [1.010, 1.030]"
    assert header["facts"] == ["on local", "onnxruntime 1.32.0", "1 thread", "2026-11-23 12:00 UTC"]
    assert header["number_note"] == "end to end: median of 8 plain runs, 95 % interval"


def test_origin_reaches_the_header():
    header = heatmap(make_profile(origin="estimated")).meta["header"]
    assert header["origin_label"] == "estimated, not measured" and "estimated" in header["number_note"]


def test_findings_come_along():
    data = heatmap(make_profile(findings=(Finding("drift", "warning", "It got slower."),)))
    assert data.meta["findings"] == [{"severity": "warning", "text": "It got slower."}]


def test_numbers_are_aligned_and_the_page_form_is_json():
    data = heatmap(make_profile([0.5, 0.1]))
    assert all(entry["offset"] % 8 == 0 for entry in data.meta["arrays"].values())
    page = json.loads(json.dumps(data.to_json()))
    assert page["meta"]["names"] == data.meta["names"]


def test_an_empty_profile_has_no_columns():
    data = heatmap(empty_profile())
    assert data.meta["columns"] == [] and heatmap_runs(empty_profile()).meta["columns"] == []


def empty_profile():
    profile = make_profile()
    return replace(profile, layers=profile.layers.iloc[:0], spans=profile.spans.iloc[:0], runs=profile.runs.iloc[:0])


def test_bytes_of_a_thousand_layers():
    data = heatmap(make_profile(np.full(1000, 0.01)))
    assert len(data.numbers) + len(json.dumps(data.meta)) < 150_000


# ---- scales ----


def test_linear_scale_starts_at_zero():
    assert scales(pd.Series([2.0, 4.0, NAN]))["auto"] == {"log": False, "min": 0.0, "max": 4.0, "below": False}


def test_negative_numbers_move_the_start():
    assert scales(pd.Series([-1.0, 4.0]))["linear"]["min"] == -1.0


def test_wide_spread_makes_a_log_scale():
    scale = scales(pd.Series([1.0, 10.0, 100.0]))["auto"]
    assert scale == {"log": True, "min": 1.0, "max": 100.0, "below": False}
    np.testing.assert_allclose(place(np.array([1.0, 10.0, 100.0, 0.0, NAN]), scale), [0, 0.5, 1, 0, NAN])


def test_all_the_same_and_nothing_at_all():
    for values in ([3.0, 3.0], [0.0, 0.0], [NAN], []):
        assert scales(pd.Series(values, dtype=float))["log"]["log"] is False


numbers = st.lists(st.floats(0, 1e12) | st.just(NAN), min_size=1, max_size=30)


@given(numbers, st.sampled_from(["auto", "linear", "log"]))
def test_larger_numbers_never_lie_lower(values, wish):
    at = place(np.array(values), scales(pd.Series(values, dtype=float))[wish])
    assert (np.isnan(at) == np.isnan(values)).all()
    seen = ~np.isnan(at)
    assert ((at[seen] >= 0) & (at[seen] <= 1)).all()
    assert (np.diff(at[seen][np.argsort(np.array(values)[seen], kind="stable")]) >= 0).all()


# ---- runs ----


def test_runs_are_the_instrumented_ones_in_order():
    profile = make_profile([0.5, 0.1], runs=8)
    data = heatmap_runs(profile)
    assert [c["label"] for c in data.meta["columns"]] == ["4", "5", "6", "7", "12", "13", "14", "15"]
    assert [c["block"] for c in data.meta["columns"]] == [0, 0, 0, 0, 1, 1, 1, 1]
    grid = data.array("ms").reshape(3, 8)
    spans = profile.spans.set_index(["layer", "run"])["latency_ms"]
    assert grid[1, 4] == spans[1, 12] and np.isnan(grid[2]).all()
    assert data.array("median_ms")[0] == np.float32(np.median(profile.spans.loc[profile.spans["layer"] == 0, "latency_ms"]))


def test_a_layer_that_did_not_run_is_nan():
    profile = make_profile([0.5, 0.1], runs=4)
    profile = replace(profile, spans=profile.spans[~((profile.spans["layer"] == 1) & (profile.spans["run"] == 5))])
    grid = heatmap_runs(profile).array("ms").reshape(3, 4)
    assert np.isnan(grid[1]).tolist() == [False, True, False, False]


def test_bins_restart_at_blocks_and_keep_outliers():
    profile = with_outlier(make_profile([0.5, 0.1], runs=8), run=6)
    data = heatmap_runs(profile, max_columns=4)
    assert data.meta["runs_per_column"] == 2
    assert [c["label"] for c in data.meta["columns"]] == ["4–5", "6–7", "12–13", "14–15"]
    assert [c["outlier"] for c in data.meta["columns"]] == [False, True, False, False]
    assert data.array("ms").reshape(3, 4)[0, 1] == pytest.approx(5.0)
    assert heatmap_runs(profile, max_columns=4, statistic="median").array("ms").reshape(3, 4)[0, 1] < 5.0


def with_outlier(profile, run):
    spans, runs = profile.spans.copy(), profile.runs.copy()
    spans.loc[(spans["run"] == run) & (spans["layer"] == 0), "latency_ms"] = 5.0
    runs.loc[runs["run"] == run, "outlier"] = True
    return replace(profile, spans=spans, runs=runs)


@examples(1 / 2)
@given(st.integers(1, 40), st.integers(1, 12))
def test_never_more_columns_than_asked_for_and_the_maximum_survives(runs, columns):
    profile = make_profile([0.5, 0.1], runs=runs)
    data = heatmap_runs(profile, max_columns=columns)
    assert len(data.meta["columns"]) <= columns
    if len(profile.spans):
        assert np.nanmax(data.array("ms")) == profile.spans["latency_ms"].max()


def test_no_runs():
    data = heatmap_runs(make_profile(runs=0))
    assert data.meta["columns"] == [] and data.meta["runs"] == 0 and data.array("ms").size == 0
    assert heatmap(make_profile(runs=0)).meta["instrumented_runs"] == 0


def test_the_runs_of_a_column_have_their_numbers():
    data = heatmap_runs(make_profile([0.5, 0.1], runs=8), max_columns=4)
    first, run = data.array("first"), data.array("run")
    assert [run[a:b].tolist() for a, b in pairwise(first)] == [[4, 5], [6, 7], [12, 13], [14, 15]]


# ---- groups, shares ----

TWO_BLOCKS = [0.5, 0.1, 0.2, 0.2, 0.3, 0.1]


def test_groups_come_along_with_their_sums_and_scales():
    data = heatmap(make_profile(TWO_BLOCKS))
    assert data.meta["groups"]["block"] == {"title": "Block", "names": ["block0", "block1"]}
    assert data.array("block: of").tolist() == [0, 0, 0, 0, 1, 1, 65535]
    assert data.array("block: latency_ms").tolist() == pytest.approx([1.0, 0.4]) and data.array("block: layers").tolist() == [4, 2]
    columns = {column["name"]: column for column in data.meta["columns"]}
    assert columns["latency_ms"]["group_scales"]["block"]["linear"]["max"] == 1.0
    assert columns["latency_p95_ms"]["group_scales"] == {} and "block: latency_p95_ms" not in data.meta["arrays"]


def test_a_grouping_that_tells_nothing_is_not_offered():
    assert heatmap(make_profile([0.5, 0.1, 0.2], name=["a", "b", "c"], op_type=["Conv"] * 3, source_nodes=[[]] * 3)).meta["groups"] == {}


def test_totals_are_of_what_can_be_summed():
    totals = {column["name"]: column["total"] for column in heatmap(make_profile([0.5, 0.1, 0.2, 0.2])).meta["columns"]}
    assert totals["latency_ms"] == pytest.approx(1.02), "the row between layers included: the plain median"
    assert totals["param_bytes"] == 4 * 4096 and totals["latency_p95_ms"] is None and totals["arithmetic_intensity"] is None


def test_a_group_in_a_run_is_the_sum_of_its_layers_that_ran():
    profile = make_profile(TWO_BLOCKS, runs=4)
    spans = profile.spans[
        ~((profile.spans["layer"] >= 4) & (profile.spans["run"] == 5)) & ~((profile.spans["layer"] == 0) & (profile.spans["run"] == 6))
    ]
    data = heatmap_runs(replace(profile, spans=spans))
    grid = data.array("block: ms").reshape(2, 4)
    sums = spans.assign(block=spans["layer"] // 4).groupby(["block", "run"])["latency_ms"].sum()
    assert grid[0] == pytest.approx([sums[0, run] for run in (4, 5, 6, 7)])
    assert np.isnan(grid[1, 1]) and grid[1, 0] == pytest.approx(sums[1, 4])
    assert data.array("block: median_ms")[1] == pytest.approx(np.nanmedian(grid[1]))


def test_the_picture_of_groups_has_their_rows():
    view = in_groups(heatmap(make_profile(TWO_BLOCKS)), "block")
    assert view.meta["names"] == ["block0", "block1", schema.BETWEEN_LAYERS]
    assert view.array("latency_ms").tolist() == pytest.approx([1.0, 0.4, 0.028])
    assert "latency_p95_ms" not in [column["name"] for column in view.meta["columns"]]


# ---- texts ----


@given(st.text(), st.integers(1, 30))
def test_ellipsis_keeps_both_ends(text, length):
    short = ellipsis(text, length)
    assert len(short) <= max(length, 0)
    assert short == text if len(text) <= length else "…" in short
    if len(text) > length > 2:
        assert text.endswith(short.split("…")[-1])


def test_ellipsis():
    assert ellipsis("/model/stages.0/blocks.1/conv", 15) == "/mode…cks.1/conv"[:5] + "…" + "ks.1/conv"


def test_show_uses_the_units():
    assert show(1.24, "latency_ms") == units.latency(1.24) and show(NAN, "energy_mj") == units.MISSING
    assert show(4096, "param_bytes") == "4.10 kB" and show(1.5e6, "macs") == "1.50 M" and show(0.25, "share") == "25.0 %"
    assert show(12.34, "energy_mj") == "12.3 mJ"


def test_the_module_is_one_file_without_imports():
    source = script("heatmap")
    assert "export function renderHeatmap" in source and "innerHTML" not in source
    assert not [line for line in source.splitlines() if line.startswith("import ")]


def test_view_data_is_read_as_written():
    data = ViewData({"arrays": {"a": {"type": "u2", "offset": 0, "length": 2}}}, b"\x01\x00\x02\x00")
    assert data.array("a").tolist() == [1, 2]
