"""A model and what recipes made of it, side by side: what was inserted ties nothing together and loses nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis.align import SUMMED, align, align_variants
from edgeprof.analysis.difference import difference, whole
from edgeprof.analysis.labels import profile_labels
from edgeprof.errors import UsageError
from edgeprof.records.context import Latency
from edgeprof.testing import make_profile
from tests.analysis.variants import BASE, base, estimated, int8, ran
from tests.laws import examples


def test_a_dequantize_that_two_layers_carry_out_ties_them_not_together():
    aligned = align_variants([base(), int8()])
    assert aligned.layers["source_nodes"].tolist()[:3] == [["k1", "relu1"], ["k2"], ["k3", "add"]]
    assert aligned.layers["name"].tolist()[3:] == ["(Reorder)", "(QuantizeLinear)", "(DequantizeLinear)", "(Transpose)", "(between layers)"]
    assert aligned.column(1, "latency_ms").tolist()[:3] == pytest.approx([1.0, 1.5, 0.9])
    assert aligned.column(1, "ran").iloc[2] == ["rt d2 k3 q3", "rt d1 d3 add qy"]


def test_profiles_of_one_changed_model_are_not_tied_by_copies_either():
    aligned = align([int8(), replace(int8(), context=replace(int8().context, board="pi5"))])
    assert aligned.layers["source_nodes"].tolist()[:5] == [
        ["qx"],
        ["dx", "k1", "relu1", "q1"],
        ["k2", "q2"],
        ["d2", "k3", "q3"],
        ["d3", "add", "qy"],
    ]


def test_with_an_estimate_all_that_was_inserted_is_one_row():
    aligned = align_variants([base(), int8(), estimated()])
    inserted = aligned.table().set_index("name").loc["(format changes)"]
    assert inserted.tolist()[3:] == pytest.approx([0.5, 0.2 + 0.1 + 0.3, 0.6])
    assert aligned.layers["kind"].tolist() == ["layer", "layer", "layer", "inserted", "between"]


def test_two_variants_meet_without_the_model_they_were_made_from():
    aligned = align_variants([int8(), estimated()])
    assert aligned.layers["source_nodes"].tolist()[:3] == [["k1", "relu1"], ["k2"], ["k3", "add"]]


def test_unrelated_models_are_refused_unless_names_are_enough_and_then_it_says_so():
    other = replace(int8(), parent=None)
    with pytest.raises(UsageError, match=r"not known to be made from each other: toy\.onnx, toy\.onnx.*by_name=True"):
        align_variants([base(), other])
    aligned = align_variants([base(), other], by_name=True)
    assert aligned.by_name and "2 profiles, aligned by name" in aligned.title
    assert aligned.layers["source_nodes"].tolist()[:3] == [["k1", "relu1"], ["k2"], ["k3", "add"]]
    assert not align_variants([base(), int8()], by_name=True).by_name, "these are known to be related"
    with pytest.raises(UsageError, match="at least two of them, not 1"):
        align_variants([base()])
    with pytest.raises(UsageError, match="labels has 1 names for 2 profiles"):
        align_variants([base(), int8()], labels=["a"])


def on(profile, **context):
    return replace(profile, context=replace(profile.context, **context))


def test_labels_say_what_differs():
    assert profile_labels([base(), int8(), estimated()]) == ("toy.onnx", "all int8", "all int8, estimated")
    assert profile_labels([int8(), estimated()]) == ("measured", "estimated")
    assert profile_labels([on(base(), board="pi4"), on(base(), board="pi5", threads=4)]) == ("pi4, 1 thread", "pi5, 4 threads")
    before, after = base(), on(base(), started_at="2026-11-24T08:30:00+00:00")
    assert profile_labels([before, after]) == ("2026-11-23 12:00", "2026-11-24 08:30")
    assert profile_labels([base(), base()]) == ("local", "local (2)")
    assert profile_labels([base(), on(int8(), recipe="no recipe at all")]) == ("toy.onnx", "a recipe")
    assert align_variants([base(), int8()], labels=["before", "before"]).labels == ("before", "before (2)")


def test_differences_with_intervals_from_both_ends():
    aligned = align_variants([base(), int8()])
    table = difference(aligned, baseline=0, other=1)
    assert table["difference"].iloc[0] == pytest.approx(1.0 - 4.0)
    assert table[["difference_low", "difference_high"]].iloc[0].tolist() == pytest.approx([0.95 - 4.2, 1.05 - 3.8])
    assert table["distinguishable"].iloc[0] and table["ratio"].iloc[0] == pytest.approx(0.25)
    reorder = aligned.layers["name"].tolist().index("(Reorder)")
    assert table["difference"].iloc[reorder] == -0.5, "what is gone took nothing any more, and that is known exactly"
    assert table["difference_low"].iloc[reorder] == pytest.approx(-0.525)


def test_what_cannot_be_told_apart_and_what_is_not_known_are_two_things():
    one, two = (make_profile(times, runs=1) for times in ([1.0, 2.0, np.nan], [1.05, 4.0, 1.0]))
    table = difference(align_variants([one, two]), baseline=0, other=1)
    assert table["distinguishable"].astype(object).tolist()[:2] == [False, True]
    assert table["distinguishable"].isna().tolist()[2] and np.isnan(table["difference"].iloc[2])
    same = difference(align_variants([one, two]), baseline=0, other=0)
    assert same["difference_low"].iloc[0] == 0 and not same["distinguishable"].iloc[0]
    peaks = difference(align_variants([base(), int8()]), baseline=0, other=1, metric="peak_memory_bytes")
    assert peaks["distinguishable"].isna().all()


def test_the_whole_has_the_interval_of_the_plain_runs_where_rows_sum_to_their_median():
    aligned = align_variants([base(), int8()])
    told = base().context.latency
    assert whole(aligned, 0, "latency_ms") == pytest.approx((told.median_ms, told.low_ms, told.high_ms))
    other = replace(base(), context=replace(base().context, latency=Latency(100.0, 99.0, 101.0)))
    total, low, _ = whole(align_variants([other, int8()]), 0, "latency_ms")
    assert total == pytest.approx(told.median_ms) and np.isnan(low)


@st.composite
def families(draw):
    """A model of six nodes and one to three that recipes made of it, fused differently, with format changes around and between, some estimated."""
    profiles = []
    for number in range(draw(st.integers(2, 4))):
        layers, current = [], []
        for node in "uvwxyz":
            changed = number and draw(st.booleans())
            current += [f"d{draw(st.sampled_from('uvwxyz'))}"] * changed + [node] + [f"q{node}"] * changed
            if draw(st.booleans()):
                layers.append(" ".join(dict.fromkeys(current)))
                current = []
            if number and draw(st.integers(0, 3)) == 0:
                layers.append(f"q{node} c{node}")
        layers += [" ".join(dict.fromkeys(current))] if current else []
        guess = bool(number) and draw(st.integers(0, 2)) == 0
        layers += ["(format changes)"] if guess else draw(st.lists(st.sampled_from(["(Reorder)", "(Cast)"]), max_size=2, unique=True))
        times = [draw(st.sampled_from([np.nan, 0.5, 1.0, 2.5])) for _ in layers]
        origin, parent = ("estimated" if guess else "measured"), (BASE if number else None)
        profiles.append(
            ran(*layers, times=times, sha=f"{number:02x}" * 32 if number else BASE, parent=parent, origin=origin, energy_mj=times)
        )
    return profiles


@given(families())
@examples(0.2, deadline=None)
def test_no_time_is_lost_whatever_recipes_insert(profiles):
    aligned = align_variants(profiles)
    for i, profile in enumerate(profiles):
        for name in SUMMED:
            assert aligned.column(i, name).sum() == pytest.approx(profile.layers[name].sum()), name
        assert aligned.column(i, "layers").sum() == len(profile.layers)
    nodes = [node for sources in aligned.layers["source_nodes"] for node in sources]
    assert len(nodes) == len(set(nodes)) and set(nodes) <= set("uvwxyz") and aligned.layers["name"].is_unique
    assert len(set(aligned.labels)) == len(profiles)
