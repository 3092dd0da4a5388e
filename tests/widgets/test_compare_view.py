"""Traits of the comparison in a cell, without a browser."""

from dataclasses import replace

import pytest

from edgeprof.errors import UsageError
from edgeprof.testing import make_profile
from edgeprof.widgets.compare import CompareView, compare
from tests.analysis.variants import base, estimated, int8


def test_paths_and_lists_are_taken_and_the_table_says_what_differs(tmp_path):
    base().save(str(tmp_path / "a.edgeprof"))
    view = compare(tmp_path / "a.edgeprof", int8(), selection=["k2"])
    assert isinstance(view, CompareView) and compare([base(), int8()]).baseline == "toy.onnx"
    assert repr(view) == "<CompareView of toy.onnx, 2 profiles: toy.onnx, all int8, 1 selected>"
    row = view.selected.iloc[0]
    assert row["difference_ms"] == pytest.approx(-1.5) and row["ratio"] == pytest.approx(0.5) and row["distinguishable"]
    assert {"before_low_ms", "difference_high_ms", "ratio_low"} <= set(view.table.columns)
    assert view.table["difference_ms"].sum() == pytest.approx(view.table["after_ms"].sum() - view.table["before_ms"].sum())
    assert view.picture().startswith(b"\x89PNG")
    view.metric = "param_bytes"
    assert [name for name in view.table.columns if name.endswith("_bytes")] == ["before_bytes", "after_bytes", "difference_bytes"]


def test_who_makes_the_other_side_the_baseline_exchanges_them():
    view = compare(base(), int8(), estimated())
    view.set_state({"baseline": "all int8"})  # as the browser does it
    assert (view.baseline, view.other) == ("all int8", "toy.onnx")
    assert view.difference["meta"]["header"]["number_note"].startswith("toy.onnx against all int8")
    view.other = "all int8, estimated"
    assert view.difference["meta"]["sides"][1]["label"] == "all int8, estimated"
    view.other = "all int8"
    assert (view.baseline, view.other) == ("all int8, estimated", "all int8")


def test_the_heatmap_is_sent_when_it_is_looked_at_and_follows():
    view = compare(base(), int8(), estimated())
    assert view.boards == {}
    view.tab = "heatmap"
    assert view.boards["meta"]["lead"]["note"] == "toy.onnx" and len(view.boards["meta"]["columns"]) == 3
    view.baseline = "all int8, estimated"
    assert view.boards["meta"]["lead"]["note"] == "all int8, estimated"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"metric": "latency_p95_ms"}, "no meaning for several layers together"),
        ({"baseline": "all int"}, r"No profile is called 'all int' \(did you mean 'all int8'\?\)"),
        ({"tab": "table"}, "tab"),
        ({"selection": ["k9"]}, "no layer 'k9' in these profiles"),
        ({"colour": 1}, "compare takes no argument 'colour'"),
    ],
)
def test_arguments_that_make_no_sense(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        compare(base(), int8(), **arguments)


def test_what_cannot_be_shown_changes_nothing_and_what_is_no_profile_is_refused():
    view = compare(base(), int8())
    before = view.difference
    for name in ("metric", "baseline", "other"):
        with pytest.raises(Exception, match="nope"):
            setattr(view, name, "nope")
    assert view.difference is before
    with pytest.raises(UsageError, match=r"compare expected Profiles or paths of \.edgeprof files, got dict"):
        compare({}, base())
    with pytest.raises(UsageError, match="not known to be made from each other"):
        compare(make_profile(), replace(int8(), parent=None))
