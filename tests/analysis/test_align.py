"""Layers of several profiles of one model, brought together by original nodes: nothing lost, nothing guessed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprof.analysis.align import LARGEST, SUMMED, align
from edgeprof.analysis.labels import board_labels
from edgeprof.errors import UsageError
from edgeprof.profiler import profile as measure
from edgeprof.records.schema import BETWEEN_LAYERS
from edgeprof.testing import make_graph, make_profile

MODEL = Path(__file__).parents[2] / "sample_models" / "resnet8_mnist.onnx"


def on(board, profile, **context):
    """``profile`` as if it came from ``board``."""
    return replace(profile, context=replace(profile.context, board=board, **context))


def fused(*layers, board="a", **columns):
    """A profile with a layer of 1, 2, 3 ... ms for each set of original nodes, given as words; a name in brackets was inserted."""
    sources = [[] if layer.startswith("(") else layer.split() for layer in layers]
    profile = make_profile(
        np.arange(1.0, len(layers) + 1), name=[layer.strip("()") for layer in layers], source_nodes=sources, runs=1,
        op_type=["Reorder" if not s else "Conv" for s in sources], runtime_name=[f"rt {layer}" for layer in layers], **columns,
    )  # fmt: skip
    table = profile.layers
    table["kind"] = [*("layer" if s else "inserted" for s in sources), "between"]
    table.loc[len(table) - 1, "name"] = BETWEEN_LAYERS
    return on(board, replace(profile, layers=table))


def test_what_shares_a_node_is_one_row_and_the_rest_stays_apart():
    aligned = align([fused("a", "b", "c", "d"), fused("a b", "c", "d", board="b"), fused("a", "b c", "d", board="c")])
    assert aligned.layers["source_nodes"].tolist() == [["a", "b", "c"], ["d"], []]
    table = aligned.table()
    assert table["a"].tolist()[:2] == [6.0, 4.0] and table["b"].tolist()[:2] == [3.0, 3.0] and table["c"].tolist()[:2] == [3.0, 3.0]
    assert aligned.column(1, "ran").iloc[0] == ["rt a b", "rt c"]
    assert table["name"].iloc[-1] == BETWEEN_LAYERS


def test_ends_of_intervals_are_added_and_missing_ones_are_not_made_up():
    one, other = fused("a", "b", board="a"), fused("a b", board="b")
    row = align([one, other]).cells.iloc[0]
    assert (row["latency_low_ms"], row["latency_high_ms"]) == pytest.approx((3 * 0.95, 3 * 1.05))
    table = one.layers
    table.loc[1, ["latency_ms", "latency_low_ms", "latency_high_ms"]] = np.nan
    row = align([replace(one, layers=table), other]).cells.iloc[0]
    assert row["latency_ms"] == 1.0 and np.isnan(row["latency_low_ms"]) and np.isnan(row["latency_high_ms"])


def test_memory_is_the_largest_and_power_the_mean_over_time():
    one = fused("a", "b", peak_memory_bytes=[100.0, 70.0], power_mw=[900.0, 300.0])
    row = align([one, fused("a b", board="b")]).cells.iloc[0]
    assert row["peak_memory_bytes"] == 100 and row["power_mw"] == pytest.approx((900 * 1 + 300 * 2) / 3)


def test_a_board_without_a_layer_has_no_cell_and_reorders_are_one_row():
    aligned = align([fused("a", "(r1)", "b", "(r2)"), fused("b", board="b")])
    assert aligned.layers["name"].tolist() == ["a", "b", "(Reorder)", BETWEEN_LAYERS]
    assert aligned.column(0, "latency_ms").iloc[2] == 2 + 4 and aligned.column(0, "layers").iloc[2] == 2
    assert aligned.column(1, "layers").isna().tolist() == [True, False, True, False]


def test_rows_stand_in_the_models_order_whatever_ran_first():
    graph = make_graph(["A", "B", "C"])
    aligned = align([replace(fused("C_2", "A_0"), graph=graph), replace(fused("B_1", "A_0", board="b"), graph=graph)])
    assert aligned.layers["name"].tolist() == ["A_0", "B_1", "C_2", BETWEEN_LAYERS]


def test_layers_of_no_known_node_meet_by_name_where_they_ran():
    def odd(profile):
        table = profile.layers
        table.loc[1, "kind"] = "layer"
        return replace(profile, layers=table)

    aligned = align([odd(fused("a", "(odd)", "b")), odd(fused("a", "(odd)", "b", board="b"))])
    assert aligned.layers["name"].tolist() == ["a", "odd", "b", BETWEEN_LAYERS]
    assert aligned.cells["profile"].tolist().count(1) == 4


@st.composite
def fusings(draw):
    """Two or three ways to cut six nodes into layers, some nodes folded away, some layers without a number."""
    profiles = []
    for board in range(draw(st.integers(2, 3))):
        nodes = [node for node in "uvwxyz" if draw(st.integers(0, 5))] or ["u"]
        cuts = [draw(st.booleans()) for _ in nodes[1:]]
        layers, current = [], [nodes[0]]
        for node, cut in zip(nodes[1:], cuts, strict=True):
            if cut:
                layers.append(" ".join(current))
                current = []
            current.append(node)
        layers.append(" ".join(current))
        layers += draw(st.lists(st.sampled_from(["(r)", "(s)"]), max_size=2, unique=True))
        numbers = [draw(st.sampled_from([np.nan, 1.0, 2.5, 4.0])) for _ in layers]
        profiles.append(fused(*layers, board=str(board), energy_mj=numbers, peak_memory_bytes=numbers))
    return profiles


@given(fusings())
@settings(max_examples=30, deadline=None)
def test_nothing_is_lost_and_no_node_is_in_two_rows(profiles):
    aligned = align(profiles)
    for i, profile in enumerate(profiles):
        for name in SUMMED:
            assert aligned.column(i, name).sum() == pytest.approx(profile.layers[name].sum()), name
        for name in LARGEST:
            assert aligned.column(i, name).max() == profile.layers[name].max() or profile.layers[name].isna().all()
        assert aligned.column(i, "layers").sum() == len(profile.layers)
    nodes = [node for sources in aligned.layers["source_nodes"] for node in sources]
    assert len(nodes) == len(set(nodes)) and set(nodes) == {n for p in profiles for s in p.layers["source_nodes"] for n in s}
    assert aligned.layers["name"].is_unique


def test_a_model_as_the_runtime_fuses_it_and_as_it_does_not():
    plain, optimised = (measure(MODEL, runs=2, optimization=level, progress=False) for level in ("basic", "all"))
    aligned = align([plain, optimised])
    assert len(plain.measured_layers) > len(optimised.measured_layers) > 10
    by_node = aligned.layers[aligned.layers["source_nodes"].str.len() > 0]
    assert len(by_node) == (optimised.layers["source_nodes"].str.len() > 0).sum(), "fusion only ever put nodes together here"
    for i, profile in enumerate((plain, optimised)):
        assert aligned.column(i, "latency_ms").sum() == pytest.approx(profile.context.latency.median_ms)
    assert aligned.labels == ("local, optimization basic", "local, optimization all")


def test_different_models_are_refused_with_both_names():
    other = on("b", make_profile(), model_name="other.onnx", model_sha256="cd" * 32)
    with pytest.raises(UsageError, match=r"different models, toy\.onnx \(ababababab.*other\.onnx \(cdcdcd.*Profile the same file"):
        align([make_profile(), other])
    with pytest.raises(UsageError, match="does not say which model it is of"):
        align([on("b", make_profile(), model_sha256=""), make_profile()])
    with pytest.raises(UsageError, match="at least two profiles, not 1"):
        align([make_profile()])


def test_labels_say_what_differs_and_are_never_equal():
    base = make_profile()
    assert board_labels([on("pi4", base), on("pi5", base)]) == ("pi4", "pi5")
    assert board_labels([on("pi4", base), on("pi4", base, threads=4)]) == ("pi4, 1 thread", "pi4, 4 threads")
    assert board_labels([on("pi4", base), on("pi4", base)]) == ("pi4", "pi4 (2)")
    assert board_labels([on("pi4", base), on("sim", replace(base, origin="simulated"), runtime="simulated")]) == ("pi4", "sim")
