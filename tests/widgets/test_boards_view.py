"""Traits of layers x boards in a cell, without a browser."""

from dataclasses import replace

import pytest

import edgeprof as ep
from edgeprof.errors import UsageError
from edgeprof.testing import make_profile, make_sensed_profile
from edgeprof.widgets import BoardsView, HeatmapView


def two():
    profiles = (make_sensed_profile(seed=seed) for seed in (0, 1))
    return [replace(p, context=replace(p.context, board=board)) for p, board in zip(profiles, ("pi4", "pi5"), strict=True)]


def test_a_list_makes_a_view_of_boards_and_paths_are_loaded(tmp_path):
    one, other = two()
    one.save(str(tmp_path / "a.edgeprof"))
    view = ep.heatmap([tmp_path / "a.edgeprof", other], mode="ratio", baseline="pi5", sort="ratio: pi4")
    assert isinstance(view, BoardsView) and isinstance(ep.heatmap(one), HeatmapView)
    assert view.data["meta"]["lead"]["note"] == "pi5" and view.alignment.labels == ("pi4", "pi5")
    assert repr(view) == "<BoardsView of toy.onnx on 2 boards: pi4, pi5, 0 selected>"
    assert view.picture().startswith(b"\x89PNG")


def test_selected_rows_have_a_column_for_each_board():
    view = ep.heatmap(two(), selection=["/block0/add_2"])
    assert view.selected[["name", "pi4", "pi5"]].values.tolist() == [["/block0/add_2", 0.2, 0.2]]
    with pytest.raises(Exception, match=r"no layer '/block0/add2' in these profiles \(did you mean"):
        view.selection = ["/block0/add2"]


def test_metric_and_baseline_bring_new_numbers_and_keep_what_still_makes_sense():
    view = ep.heatmap(two(), mode="share", sort="share: pi4", selection=["/block0/add_2"])
    view.set_state({"metric": "energy_mj"})  # as the browser does it
    assert view.data["meta"]["metric"] == "energy_mj" and (view.mode, view.sort) == ("share", "share: pi4")
    view.metric = "peak_memory_bytes"
    assert (view.mode, view.sort) == ("absolute", "execution"), "peaks have no share"
    assert view.selection == ("/block0/add_2",) and view.selected["pi4"].iloc[0] > 1000
    view.baseline = "pi5"
    assert view.data["meta"]["lead"]["note"] == "pi5"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"metric": "latency_p95_ms"}, "no meaning for several layers together"),
        ({"baseline": "pi"}, r"No board is called 'pi' \(did you mean 'pi[45]'\?\)"),
        ({"mode": "runs"}, "mode"),
        ({"sort": "ratio: pi"}, "Cannot sort by 'ratio: pi'"),
        ({"colour": 1}, "heatmap takes no argument 'colour'"),
    ],
)
def test_arguments_that_make_no_sense(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        ep.heatmap(two(), **arguments)


def test_what_cannot_be_shown_changes_nothing():
    view = ep.heatmap(two())
    before = view.data
    for name in ("metric", "baseline"):
        with pytest.raises(Exception, match="nope"):
            setattr(view, name, "nope")
    assert view.data is before and (view.metric, view.baseline) == ("latency_ms", None)


def test_one_profile_takes_no_baseline_and_a_list_needs_two():
    with pytest.raises(UsageError, match="are for a list of profiles"):
        ep.heatmap(make_profile(), baseline="pi5")
    with pytest.raises(UsageError, match="at least two profiles, not 1"):
        ep.heatmap([make_profile()])
