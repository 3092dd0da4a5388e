"""Sums by op_type, and intervals that are neither added nor too narrow."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis import by_op_type
from edgeprof.analysis.groups import aggregate, group_by_block, group_by_op_type
from edgeprof.records.schema import BETWEEN_LAYERS
from edgeprof.testing import make_layers, make_profile
from tests.laws import examples


def row(profile, op_type):
    table = by_op_type(profile)
    return table[table["op_type"] == op_type].iloc[0]


def test_sums_longest_first_and_the_row_between_layers_last():
    profile = make_profile([0.5, 0.1, 0.2, 0.3], op_type=["Conv", "Relu", "Conv", "Add"])
    table = by_op_type(profile)
    assert list(table["op_type"]) == ["Conv", "Add", "Relu", BETWEEN_LAYERS]
    assert list(table["layers"]) == [2, 1, 1, 0]
    assert table["latency_ms"].tolist() == pytest.approx([0.7, 0.3, 0.1, 0.022])
    assert table["macs"].tolist()[:3] == pytest.approx([7e6, 3e6, 1e6])
    assert table["param_bytes"].tolist()[:3] == [8192, 4096, 4096]


@given(st.lists(st.floats(0.001, 5), min_size=1, max_size=12))
@examples(1 / 3)
def test_latencies_add_up_to_the_plain_median(latencies):
    profile = make_profile(latencies, runs=4)
    table = by_op_type(profile)
    assert table["latency_ms"].sum() == pytest.approx(profile.context.latency.median_ms)
    assert table["share"].sum() == pytest.approx(1)


def test_not_measured_is_nan_and_counted():
    profile = make_profile([0.5, math.nan, math.nan, 0.1], op_type=["Conv", "Conv", "Relu", "Add"], macs=[1, math.nan, math.nan, 2])
    assert row(profile, "Conv")["latency_ms"] == 0.5 and row(profile, "Conv")["timed_layers"] == 1 and row(profile, "Conv")["layers"] == 2
    assert math.isnan(row(profile, "Relu")["latency_ms"]) and math.isnan(row(profile, "Relu")["macs"])
    assert list(by_op_type(profile)["op_type"])[2] == "Relu", "what has no number stands after what has"


def test_one_layer_has_its_own_interval():
    only = row(make_profile([0.5, 0.1], runs=40, op_type=["Conv", "Relu"]), "Conv")
    assert (only["latency_low_ms"], only["latency_high_ms"]) == pytest.approx((0.475, 0.525))


def test_few_blocks_have_no_interval():
    few = row(make_profile([0.5, 0.2], runs=8, op_type=["Conv", "Conv"]), "Conv")
    assert math.isnan(few["latency_low_ms"]) and math.isnan(few["latency_high_ms"])


def test_a_layer_that_did_not_always_run_leaves_only_its_group_without_an_interval():
    profile = make_profile([0.5, 0.2, 0.1, 0.1], runs=40, op_type=["Conv", "Conv", "Add", "Add"])
    spans = profile.spans
    seldom = type(profile)(**{**vars(profile), "spans": spans[(spans["layer"] != 2) | (spans["run"] > 20)]})
    assert math.isnan(row(seldom, "Add")["latency_low_ms"])
    assert row(seldom, "Conv")["latency_low_ms"] < 0.7


@given(st.integers(0, 1000), st.integers(2, 30))
@examples(1 / 4)
def test_an_interval_holds_the_sum_and_is_never_wider_than_added_ones(seed, layers):
    sum_row = row(make_profile(np.linspace(0.1, 0.4, layers), runs=24, seed=seed, op_type=["Conv"] * layers), "Conv")
    width = sum_row["latency_high_ms"] - sum_row["latency_low_ms"]
    assert sum_row["latency_low_ms"] <= sum_row["latency_ms"] <= sum_row["latency_high_ms"]
    assert 0 < width <= 0.1 * sum_row["latency_ms"] + 1e-9, "each layer of make_profile has ±5 %"


def test_an_error_that_all_layers_share_does_not_cancel():
    """Layers of ±5 % whose runs differ by 2 % only: most of the interval is common to them, and so most of the sum's."""
    sum_row = row(make_profile([0.1] * 25, runs=80, op_type=["Conv"] * 25), "Conv")
    half_width = (sum_row["latency_high_ms"] - sum_row["latency_low_ms"]) / 2 / sum_row["latency_ms"]
    assert 0.04 < half_width <= 0.05, "adding in squares would say 0.01"


def test_the_same_answer_every_time_and_a_copy_of_it():
    profile = make_profile([0.5, 0.2], runs=40, op_type=["Conv", "Conv"])
    first = by_op_type(profile)
    again = by_op_type(make_profile([0.5, 0.2], runs=40, op_type=["Conv", "Conv"]))
    np.testing.assert_array_equal(first["latency_low_ms"], again["latency_low_ms"])
    first["latency_ms"] = 0
    assert by_op_type(profile)["latency_ms"].iloc[0] == pytest.approx(0.7)


# ---- any grouping ----


def test_groups_have_sums_largest_and_means_by_time():
    layers = make_layers(
        [1.0, 3.0, 2.0], op_type=["Conv", "Conv", "Relu"], power_mw=[100.0, 300.0, 50.0], peak_memory_bytes=[10.0, 30.0, 20.0],
        macs=[10.0, 20.0, 0.0], param_bytes=[4.0, 6.0, 0.0], activation_bytes=[10.0, 20.0, 5.0],
    )  # fmt: skip
    table = aggregate(layers, group_by_op_type(layers))
    assert group_by_op_type(layers).names == ("Conv", "Relu") and list(table["layers"]) == [2, 1]
    assert table["latency_ms"].tolist() == [4.0, 2.0]
    assert table["power_mw"].tolist() == [pytest.approx((100 + 3 * 300) / 4), 50.0]
    assert table["peak_memory_bytes"].tolist() == [30.0, 20.0]
    assert table["arithmetic_intensity"].tolist() == [pytest.approx(2 * 30 / 40), 0.0]
    assert table[["latency_low_ms", "latency_high_ms"]].iloc[0].tolist() == pytest.approx([3.8, 4.2])
    assert "latency_p95_ms" not in table


def test_groups_leave_out_what_was_not_measured_and_count_it():
    layers = make_layers([1.0, math.nan, math.nan], op_type=["Conv", "Conv", "Relu"], energy_mj=[1.0, 2.0, math.nan])
    layers["energy_low_mj"] = [0.9, math.nan, math.nan, math.nan]
    table = aggregate(layers, group_by_op_type(layers))
    assert list(table["timed_layers"]) == [1, 0]
    np.testing.assert_array_equal(table["latency_ms"], [1.0, math.nan])
    assert table["energy_mj"][0] == 3.0 and math.isnan(table["energy_low_mj"][0]), "half of an interval would be too narrow"


@given(st.lists(st.tuples(st.floats(0, 1e3) | st.just(math.nan), st.integers(0, 4)), min_size=1, max_size=20))
@examples(1 / 2)
def test_every_layer_is_in_one_group_and_no_sum_is_lost(rows):
    layers = make_layers([v for v, _ in rows], plain_ms=1.0, op_type=[f"Op{k}" for _, k in rows])
    grouping = group_by_op_type(layers)
    table = aggregate(layers, grouping)
    assert table["layers"].sum() == len(rows) and grouping.codes[-1] == -1, "the row between layers is in none"
    assert table["latency_ms"].sum() == pytest.approx(np.nansum([v for v, _ in rows]))
    assert [grouping.names[code] for code in grouping.codes[:-1]] == [f"Op{k}" for _, k in rows]


def test_blocks_are_those_of_the_names():
    layers = make_layers([0.1] * 4, name=["/stem/conv/Conv", "/block1/a/Conv", "/block1/b/Relu", "/head/fc/Gemm"])
    assert group_by_block(layers).names == ("stem", "block1", "head") and group_by_block(layers).tells
    flat = make_layers([0.1] * 3, name=["a", "b", "c"], source_nodes=[[], [], []])
    assert not group_by_block(flat).tells


def test_a_block_that_holds_nearly_all_is_told_apart():
    names = ["/bert/embeddings/Gather", *(f"/bert/encoder/layer.{i}/attention/op_{k}" for i in range(4) for k in range(6))]
    grouping = group_by_block(make_layers([0.1] * len(names), name=names))
    assert grouping.names == ("embeddings", *(f"encoder/layer.{i}" for i in range(4)))
