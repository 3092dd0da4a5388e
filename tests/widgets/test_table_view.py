"""Traits of the layer table in a cell, without a browser."""

import io

import pytest
from PIL import Image

from edgeprof.errors import UsageError
from edgeprof.figures.heatmap import heatmap as heatmap_data
from edgeprof.records.bundle import save
from edgeprof.testing import make_profile
from edgeprof.widgets.table import TableView, table


def test_selection_and_sort_are_heard_from_both_sides():
    view, seen = table(make_profile(), sort="latency", selection=["/block0/add_2"]), []
    assert view.sort == ("latency_ms",) and view.selected["latency_ms"].tolist() == [0.2]
    view.observe(lambda change: seen.append(change.new), ["selection", "sort"])
    view.set_state({"selection": ["/block0/relu_1"], "sort": ["op_type ascending", "share descending"]})  # as the browser does it
    view.sort = "execution"
    assert seen == [("/block0/relu_1",), ("op_type ascending", "share descending"), ()]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"heigth": 300}, r"table takes no argument 'heigth' \(did you mean 'height'\?\)"),
        ({"sort": "latencyms"}, r"Cannot sort by 'latencyms' \(did you mean 'latency_ms'\?\)"),
        ({"sort": ["op_type", "macs down"]}, "Cannot sort 'macs' 'down'. Expected ascending or descending, such as 'macs ascending'"),
        ({"sort": "energy_mj"}, "Cannot sort by 'energy_mj'"),
        ({"selection": ["nothing like it"]}, "There is no layer"),
    ],
)
def test_arguments_that_make_no_sense(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        table(make_profile(), **arguments)


def test_something_that_is_no_profile():
    with pytest.raises(UsageError, match=r"table expected a Profile or the path of a \.edgeprof file, got int"):
        table(3)
    with pytest.raises(UsageError, match="TableView takes no argument 'columns'"):
        TableView(make_profile(), columns=["macs"])


def test_from_a_bundle_and_the_heatmap_data_goes_out_once(tmp_path):
    profile = make_profile()
    save(profile, tmp_path / "toy.edgeprof")
    view = table(tmp_path / "toy.edgeprof")
    state = view.get_state()
    assert state["data"]["numbers"] == heatmap_data(profile).numbers and state["sort"] == ()
    assert len(state["_esm"].encode()) < 46 * 1024


def test_picture_follows_sort_and_selection():
    view = table(make_profile())
    plain = view.picture()
    view.sort = "latency_ms ascending"
    assert Image.open(io.BytesIO(plain)).width == 1560 and view.picture() != plain
    assert repr(view).startswith("<TableView of toy.onnx")
