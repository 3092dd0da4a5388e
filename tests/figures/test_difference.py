"""The waterfall of two profiles: it loses nothing on its way, however it is cut."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis.align import align_variants
from edgeprof.errors import UsageError
from edgeprof.figures.boards import boards
from edgeprof.figures.difference import KINDS, difference
from edgeprof.figures.difference_picture import draw
from edgeprof.figures.heatmap import place
from edgeprof.testing import make_profile, make_sensed_profile
from tests.analysis.variants import base, estimated, int8, ran
from tests.laws import examples

HOSTILE = "<img src=x onerror=alert(1)>\u202e" + "y" * 300


def steps(view, by, top):
    """Differences that the waterfall draws when ``top`` rows stand alone."""
    order, kind, moved = view.array(f"{by} order"), view.array(f"{by} kind"), view.array(f"{by} moved")
    return [*moved[order[:top]], view.array(f"{by} rest")[min(top, len(order))], *moved[kind != KINDS.index("layer")]]


@st.composite
def two(draw):
    """A model and one that a recipe made of it, some layers not measured, some missing, in blocks."""
    profiles = []
    for number in range(2):
        names = [f"/b{i % 3}/n{i}" for i in range(8) if draw(st.integers(0, 5))] or ["/b0/n0"]
        names += draw(st.lists(st.sampled_from(["(Reorder)", "(Cast)"]), max_size=2, unique=True))
        times = [draw(st.sampled_from([np.nan, 0.25, 1.0, 2.5])) for _ in names]
        profiles.append(ran(*names, times=times, sha=f"{number:02x}" * 32, parent="00" * 32 if number else None))
    return profiles


@given(two(), st.integers(0, 9))
@examples(0.2, deadline=None)
def test_whatever_stands_alone_the_steps_lead_from_one_whole_to_the_other(profiles, top):
    view = difference(profiles)
    before, after = view.meta["sides"]
    for by in view.meta["groups"]:
        assert sum(steps(view, by, top)) == pytest.approx(after["total"] - before["total"], abs=1e-6), by
    for side, profile in zip(view.meta["sides"], profiles, strict=True):
        assert side["total"] == pytest.approx(profile.layers["latency_ms"].sum())


def test_what_differs_most_stands_first_and_the_rest_is_what_is_left():
    view = difference([base(), int8()])
    names = view.meta["names"]
    assert [names[row] for row in view.array("row order")] == ["k1 relu1", "k2", "k3 add"]
    assert view.array("row rest").tolist() == pytest.approx([-3.0 - 1.5 - 1.1, -1.5 - 1.1, -1.1, 0.0])
    assert [KINDS[kind] for kind in view.array("row kind")] == ["layer"] * 3 + ["inserted"] * 4 + ["between"]
    assert view.meta["header"]["number_note"].startswith("all int8 against toy.onnx: 9.69 ms to 4.08 ms")


def test_what_is_measured_of_one_only_stands_apart_and_loses_no_time():
    view = difference([make_profile([1.0, np.nan, 2.0]), make_profile([1.0, 4.0, 3.0])])
    assert [KINDS[kind] for kind in view.array("row kind")] == ["layer", "one-sided", "layer", "between"]
    assert np.isnan(view.array("row difference")[1]) and view.array("row moved")[1] == 4.0


def test_rows_are_put_together_by_block_and_op_type():
    view = difference([make_profile(np.full(12, 0.1)), make_profile(np.linspace(0.1, 0.2, 12))])
    blocks = view.meta["groups"]["block"]["names"]
    assert blocks[:2] == ["/block0", "/block1"] and blocks[-1] == "(between layers)"
    moved = view.array("block difference")
    assert moved[0] == pytest.approx((0 + 1 + 2 + 3) * 0.1 / 11) and view.array("block after_low")[0] < view.array("block after")[0]
    assert "Conv" in view.meta["groups"]["op_type"]["names"]
    shared = difference(
        [make_profile([1.0] * 4, name=[f"/m/b{i // 2}/n{i}" for i in range(4)], source_nodes=[[str(i)] for i in range(4)])] * 2
    )
    assert shared.meta["groups"]["block"]["names"][:2] == ["/m/b0", "/m/b1"]


def test_menus_and_labels_that_make_no_sense():
    three = [base(), int8(), estimated()]
    view = difference(three, baseline="all int8", other="toy.onnx")
    assert [(menu["name"], menu["value"]) for menu in view.meta["menus"][-2:]] == [("baseline", "all int8"), ("other", "toy.onnx")]
    assert difference(three[:2]).meta["menus"][-1]["name"] == "metric"
    with pytest.raises(UsageError, match="No profile is called 'nope'"):
        difference(three, other="nope")
    with pytest.raises(UsageError, match="Both sides are 'all int8'"):
        difference(three, baseline="all int8", other="all int8")


def test_an_estimate_says_so_and_what_is_no_sum_has_no_waterfall():
    view = difference([base(), estimated()])
    assert [side["hatched"] for side in view.meta["sides"]] == [False, True] and view.meta["sides"][1]["origin"] == "estimated"
    assert view.meta["header"]["origin_label"] == "1 measured, 1 estimated"
    peaks = difference([make_sensed_profile(), make_sensed_profile(seed=1)], metric="peak_memory_bytes")
    assert not peaks.meta["summed"] and peaks.meta["sides"][0]["total"] is None and peaks.meta["header"]["number"] == ""
    assert draw(peaks).startswith(b"\x89PNG")


def test_the_difference_mode_has_0_in_its_middle_and_marks_what_cannot_be_told_apart():
    view = boards(align_variants([base(), int8(), estimated()]))
    mode = view.meta["modes"]["difference"]
    scale = mode["columns"][1]["scales"]["auto"]
    assert scale["min"] == -scale["max"] and place(np.array([0.0]), scale) == pytest.approx([0.5])
    assert scale["max"] < 3.0, "the largest of all differences lies beyond the scale"
    own, first = mode["columns"][1], mode["columns"][0]
    assert view.array(own["name"])[:3].tolist() == pytest.approx([-3.0, -1.5, -1.1]) and "same" not in first
    close = boards([make_profile([1.0, 2.0]), make_profile([1.01, 3.0])])
    column = close.meta["modes"]["difference"]["columns"][1]
    assert close.array(column["same"]).tolist()[:2] == [1, 0] and "≈" in close.meta["modes"]["difference"]["note"]
    assert view.meta["absent"] == "blank: the profile has no such layer" and [c["title"] for c in mode["columns"]][1:] == [
        "all int8",
        "all int8",
    ]


def test_the_picture_shows_selection_grouping_and_any_name():
    view = difference([base(), int8()])
    pictures = {draw(view), draw(view, selection=["k2"]), draw(view, top=1), draw(view, sort="execution")}
    assert len(pictures) == 3 and all(picture.startswith(b"\x89PNG") for picture in pictures), "here model order is that of size"
    many = difference([make_profile(np.full(12, 0.1)), make_profile(np.linspace(0.1, 0.2, 12))])
    assert len({draw(many, by=by) for by in ("row", "op_type", "block")}) == 3
    odd = make_profile([1.0, 2.0], name=[HOSTILE, "b"], source_nodes=[[HOSTILE], ["b"]])
    assert draw(difference([odd, odd])).startswith(b"\x89PNG")
    empty = replace(odd, layers=odd.layers.iloc[:0], spans=odd.spans.iloc[:0], nodes=())
    assert draw(difference([empty, empty])).startswith(b"\x89PNG")
