"""Buffers, live bytes, owners of the peak and the plan of an arena: exact numbers by hand, laws over all kinds of profiles."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeprof.analysis import arena_plan, live_curve, peak_owners
from edgeprof.analysis.memory import (
    ALIGNMENT_BYTES,
    COUNTED_BEYOND,
    HELD,
    HELD_UNKNOWN_WORKSPACE,
    NOT_TOLD_APART,
    TO_THE_END,
    WORKSPACE,
    buffers,
    greedy_offsets,
    model_peak,
)  # fmt: skip
from edgeprof.records.context import Memory
from edgeprof.testing import make_profile, make_sensed_profile
from tests.analysis.memory_profiles import NAN, memory_profiles, residual, with_memory
from tests.laws import examples

# ---- buffers ----


def test_tensors_in_place_of_each_other_are_one_buffer():
    found = buffers(residual())
    assert found["tensors"].tolist() == [["x"], ["a", "b", "y"], ["c"]]
    assert found["makers"].tolist() == [[-1], [0, 1, 3], [2]]
    assert found["kind"].tolist() == ["input", "output", "activation"]
    assert found[["first", "last"]].to_numpy().tolist() == [[0, 0], [0, 3], [2, 3]]
    assert found["size_bytes"].tolist() == [100, 400, 160]


def test_a_chain_of_storage_is_followed_to_its_beginning():
    rows = [(f"t{i}", "activation", 64, i, i, max(0, i - 1)) for i in range(9)]
    assert buffers(with_memory(rows, layers=9))["tensors"].tolist() == [[f"t{i}" for i in range(9)]]


def test_what_works_in_place_of_an_input_is_the_callers():
    profile = with_memory([("x", "input", 64, -1, 1, 0), ("flat", "activation", 64, 0, 1, 0), ("y", "output", 16, 1, 1, 2)], layers=2)
    assert buffers(profile)["kind"].tolist() == ["input", "output"]
    assert live_curve(profile)["tensors_bytes"].tolist() == [0, 16]


def test_the_size_of_a_buffer_is_that_of_its_largest_tensor_that_is_known():
    rows = [("a", "activation", NAN, 0, 1, 0), ("b", "activation", 64, 1, 2, 0), ("c", "activation", 48, 2, 2, 0)]
    assert buffers(with_memory(rows, layers=3))["size_bytes"].tolist() == [64]


@pytest.mark.parametrize("nonsense", [-1.0, math.inf, -math.inf, 2.0**60])
def test_sizes_that_cannot_be_are_not_known(nonsense):
    profile = with_memory([("a", "activation", nonsense, 0, 0, 0)], layers=1)
    assert math.isnan(buffers(profile)["size_bytes"].iloc[0])
    assert live_curve(profile)["unsized"].tolist() == [1] and arena_plan(profile).size_bytes == 0


@examples(1 / 3)
@given(memory_profiles(any_storage=True))
def test_every_tensor_lies_in_exactly_one_buffer_whatever_storage_says(profile):
    found = buffers(profile)
    assert sorted(name for names in found["tensors"] for name in names) == sorted(profile.tensors["tensor"])
    assert (found["first"] <= found["last"]).all() and (found["last"] < len(profile.measured_layers)).all()


def test_positions_outside_of_the_model_are_moved_into_it():
    profile = with_memory([("a", "activation", 16, 7, 99, 0), ("b", "activation", 16, 0, -3, 1)], layers=2)
    assert buffers(profile)[["tensor", "first", "last"]].to_numpy().tolist() == [["b", 0, 0], ["a", 1, 1]]


# ---- live bytes ----


def test_live_bytes_are_told_apart():
    curve = live_curve(residual())
    assert curve["layer"].tolist() == ["conv1", "relu", "conv2", "add"]
    assert curve["tensors_bytes"].tolist() == [400, 400, 560, 560]
    assert curve["held_bytes"].tolist() == [0, 0, 40, 0]


def test_without_tensors_nothing_is_counted_and_nothing_called_held():
    profile = residual()
    curve = live_curve(replace(profile, tensors=profile.tensors.iloc[:0]))
    assert curve["tensors_bytes"].isna().all() and curve["held_bytes"].isna().all()
    assert curve["live_memory_bytes"].tolist() == [400, 400, 600, 560]


@examples(1 / 3)
@given(memory_profiles())
def test_counted_bytes_are_those_of_the_buffers_alive(profile):
    found = buffers(profile)
    for layer, counted in enumerate(live_curve(profile)["tensors_bytes"]):
        alive = found[(found["kind"] != "input") & (found["first"] <= layer) & (found["last"] >= layer)]
        assert math.isnan(counted) if profile.tensors.empty else counted == alive["size_bytes"].sum()


# ---- the peak and its owners ----


def test_owners_of_the_peak_by_hand():
    owners = peak_owners(residual())
    assert owners["tensor"].tolist() == ["a", "c", WORKSPACE, HELD]
    assert owners["tensors"].tolist()[0] == ["a", "b", "y"]
    assert owners["size_bytes"].tolist() == [400, 160, 32, 40]
    assert owners["share"].tolist() == pytest.approx([400 / 632, 160 / 632, 32 / 632, 40 / 632])
    assert owners["producer"].tolist() == ["conv1", "conv2", "conv2", ""]
    assert owners["last_consumer"].tolist() == [TO_THE_END, "add", "conv2", ""]


def test_a_runtime_that_holds_less_than_was_counted_makes_a_negative_row():
    owners = peak_owners(residual(live=[400, 400, 500, 500], peak=[464, 400, 532, 500], memory=Memory({}, 532.0, "conv2")))
    assert owners["tensor"].tolist()[-1] == COUNTED_BEYOND and owners["size_bytes"].tolist()[-1] == -60


def test_workspace_that_is_not_known_is_named_in_the_rest():
    owners = peak_owners(residual(workspace=[NAN] * 4))
    assert owners["tensor"].tolist() == ["a", "c", HELD_UNKNOWN_WORKSPACE] and owners["size_bytes"].tolist() == [400, 160, 72]


def test_without_tensors_the_peak_is_not_told_apart():
    profile = residual(workspace=None)
    owners = peak_owners(replace(profile, tensors=profile.tensors.iloc[:0]))
    assert owners["tensor"].tolist() == [NOT_TOLD_APART] and owners["size_bytes"].tolist() == [632]


def test_a_buffer_of_unknown_size_is_an_owner_without_bytes():
    profile = with_memory([("a", "activation", NAN, 0, 0, 0), ("b", "activation", 64, 0, 0, 1)], live=[100], peak=[100], workspace=[0])
    owners = peak_owners(profile)
    assert owners["tensor"].tolist() == ["b", "a", HELD]
    np.testing.assert_array_equal(owners["size_bytes"], [64, NAN, 36])


def test_what_was_recorded_to_be_alive_at_the_peak_wins():
    profile = residual()
    tensors = profile.tensors.assign(at_peak=[False, True, True, False, False])
    assert peak_owners(replace(profile, tensors=tensors))["tensor"].tolist() == ["a", WORKSPACE, HELD]


def test_a_peak_that_was_not_measured_is_counted():
    profile = residual(live=None, peak=None, workspace=[64, 0, 32, 0], memory=Memory())
    assert model_peak(profile).basis == "counted" and model_peak(profile).bytes == 592 and model_peak(profile).layer == 2
    assert peak_owners(profile)["tensor"].tolist() == ["a", "c", WORKSPACE]


@pytest.mark.parametrize(
    ("origin", "source", "basis"),
    [
        ("measured", "the runtime's events: bytes requested of its allocator", "measured"),
        ("measured", "the runtime's statistics by node", "measured"),
        ("measured", "shapes: tensors alive at the layer (an estimate)", "counted"),
        ("measured", "shapes", "counted"),
        ("measured", "", "measured"),
        ("estimated", "the runtime's events", "estimated"),
    ],
)
def test_basis_of_the_peak(origin, source, basis):
    memory = Memory({"peak_memory_bytes": source}, 632.0, "conv2")
    assert model_peak(residual(memory=memory, origin=origin)).basis == basis


def test_a_profile_that_says_nothing_has_no_peak():
    profile = make_profile()
    assert model_peak(profile) is None and peak_owners(profile).empty and arena_plan(profile).size_bytes == 0


@examples(1 / 3)
@given(memory_profiles())
def test_owners_sum_to_the_peak(profile):
    peak, owners = model_peak(profile), peak_owners(profile)
    if peak is None:
        assert owners.empty
        return
    assert owners["size_bytes"].sum() == peak.bytes
    if peak.bytes:
        assert owners["share"].sum() == pytest.approx(1)
    order = {"activation": 0, "output": 0, "workspace": 1, "held": 2}
    assert owners["kind"].map(order).is_monotonic_increasing


def test_a_board_with_everything():
    profile = make_sensed_profile()
    owners = peak_owners(profile)
    assert owners["size_bytes"].sum() == profile.context.memory.peak_bytes
    assert set(owners["kind"]) <= {"activation", "output", "workspace", "held"}


# ---- the plan of an arena ----


def test_a_chain_needs_two_buffers():
    rows = [(f"t{i}", "activation", 64, i, i + 1, i) for i in range(6)]
    plan = arena_plan(with_memory(rows, layers=7))
    assert plan.size_bytes == 128 and plan.least_bytes == 128
    assert sorted(set(plan.buffers["offset_bytes"])) == [0, 64]


def test_the_smallest_gap_that_fits_is_taken():
    # in layer 0 four lie one behind the other; in layer 2 the first and the third are gone: 704 bytes fit both gaps, the second is tighter
    size, first, last = np.array([1008, 896, 848, 800, 704]), np.array([0, 0, 0, 0, 2]), np.array([0, 2, 0, 2, 2])
    assert greedy_offsets(size, first, last).tolist() == [0, 1008, 1904, 2752, 1904]


def test_offsets_are_aligned():
    rows = [(f"t{i}", "activation", 17, 0, 0, i) for i in range(3)]
    assert sorted(arena_plan(with_memory(rows, layers=1)).buffers["offset_bytes"]) == [0, 32, 64]


def no_overlap(size, first, last, offsets):
    """True when buffers that are alive at once, and take anything, lie apart."""
    for i in range(len(size)):
        for j in range(i):
            at_once = first[i] <= last[j] and first[j] <= last[i]
            apart = offsets[i] + size[i] <= offsets[j] or offsets[j] + size[j] <= offsets[i]
            if at_once and not apart and size[i] and size[j]:
                return False
    return True


spans = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 30), st.integers(0, 30)), max_size=40)


@given(spans)
@example([(16, 0, 9), (16, 0, 0), (16, 0, 0), (48, 1, 1)])
def test_buffers_alive_at_once_never_overlap(buffers_):
    size = np.array([size for size, _, _ in buffers_], dtype=np.int64)
    first = np.array([min(a, b) for _, a, b in buffers_], dtype=np.int64)
    last = np.array([max(a, b) for _, a, b in buffers_], dtype=np.int64)
    offsets = greedy_offsets(size, first, last)
    assert no_overlap(size, first, last, offsets)
    assert (offsets >= 0).all() and (offsets % ALIGNMENT_BYTES == 0).all()


@examples(1 / 3)
@given(memory_profiles(most_tensors=20))
def test_a_plan_takes_no_less_than_is_alive_at_once_and_no_more_than_all_together(profile):
    plan, curve = arena_plan(profile), live_curve(profile)
    assert plan.least_bytes == np.nan_to_num(curve["tensors_bytes"]).max()
    sizes = plan.buffers["size_bytes"].dropna()
    assert plan.least_bytes <= plan.size_bytes <= sizes.sum() + ALIGNMENT_BYTES * len(sizes)
    assert plan.buffers["offset_bytes"].isna().tolist() == plan.buffers["size_bytes"].isna().tolist()
    assert "input" not in set(plan.buffers["kind"])


def test_ten_thousand_buffers_that_all_live_at_once_lie_one_behind_the_other():
    size = np.full(10_000, 16)
    offsets = greedy_offsets(size, np.zeros(10_000, int), np.full(10_000, 9))
    assert sorted(offsets.tolist()) == list(range(0, 160_000, 16))
