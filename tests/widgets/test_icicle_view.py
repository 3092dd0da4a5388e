"""Traits of the icicle in a cell, without a browser."""

import io

import numpy as np
import pytest
from PIL import Image

from edgeprof.errors import UsageError
from edgeprof.records.bundle import save
from edgeprof.testing import make_profile, make_sensed_profile
from edgeprof.widgets.icicle import IcicleView, icicle


def test_what_the_browser_changes_is_heard():
    view, seen = icicle(make_sensed_profile(), measure="energy_mj", color="macs"), []
    view.observe(lambda change: seen.append(change.new), ["selection", "measure", "order"])
    view.set_state({"selection": ["/block0/relu_1"], "measure": "macs", "order": "longest"})
    assert seen == [("/block0/relu_1",), "macs", "longest"]
    assert view.selected["name"].tolist() == ["/block0/relu_1"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"colour": "macs"}, r"icicle takes no argument 'colour' \(did you mean 'color'\?\)"),
        ({"measure": "latency"}, r"Widths cannot say 'latency' \(did you mean 'latency_ms'\?\) here. Expected one of: latency_ms, macs"),
        ({"measure": "energy_mj"}, "Widths cannot say 'energy_mj'"),
        ({"color": "op_famly"}, r"Colours cannot say 'op_famly' \(did you mean 'op_family'\?\)"),
        ({"selection": ["nothing like it"]}, "There is no layer"),
    ],
)
def test_arguments_that_make_no_sense(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        icicle(make_profile(), **arguments)


def test_something_that_is_no_profile():
    with pytest.raises(UsageError, match=r"icicle expected a Profile or the path of a \.edgeprof file, got list"):
        icicle([])
    with pytest.raises(UsageError, match="IcicleView takes no argument 'zoom'"):
        IcicleView(make_profile(), zoom=2)


def test_a_profile_without_latency_is_shown_by_what_there_is(tmp_path):
    profile = make_profile([np.nan, np.nan], macs=[100.0, 300.0])
    save(profile, tmp_path / "toy.edgeprof")
    view = icicle(tmp_path / "toy.edgeprof")
    assert view.measure == "latency_ms" and Image.open(io.BytesIO(view.picture())).width == 1560


def test_picture_follows_measure_order_and_selection():
    view = icicle(make_sensed_profile())
    pictures = {view.picture()}
    for name, value in {"measure": "energy_mj", "color": "power_mw", "order": "longest", "selection": ["/block0/conv_0"]}.items():
        setattr(view, name, value)
        pictures.add(view.picture())
    assert len(pictures) == 5
