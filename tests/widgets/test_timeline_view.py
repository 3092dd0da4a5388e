"""Traits of the timeline in a cell, without a browser; its picture."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import edgeprof as ep
from edgeprof.errors import UsageError
from edgeprof.figures.theme import DARK
from edgeprof.figures.timeline import timeline as timeline_data
from edgeprof.figures.timeline_picture import draw
from edgeprof.records.profile import empty_table
from edgeprof.records.sensing import Channel, SensorUse
from edgeprof.testing import make_profile, make_sensed_profile
from edgeprof.widgets import TimelineView, timeline

PROFILE = make_sensed_profile(runs=12, rate_hz=20.0)
END = timeline_data(PROFILE).meta["extent"][1]


def fast_profile():
    """A rail with more readings than one message holds."""
    samples = pd.DataFrame({"time_ms": np.arange(0, 40_000, 0.5), "channel": "ina/a_mw", "value": 1000.0})
    profile = make_sensed_profile(runs=4)
    return replace(profile, samples=samples)


def test_the_window_is_the_whole_session_until_it_is_set():
    view, seen = timeline(PROFILE), []
    assert view.window == (0, END)
    view.observe(lambda change: seen.append(change.new), "window")
    view.window = [100, 200.5]
    view.set_state({"window": [300, 400]})  # as the browser does it
    view.window = None
    assert seen == [(100, 200.5), (300, 400), (0, END)]
    assert ep.timeline(PROFILE, window=(5, 6)).window == (5, 6)


def test_a_window_that_reaches_beyond_the_session_ends_with_it():
    assert timeline(PROFILE, window=(-50, 10)).window == (0, 10)
    assert timeline(PROFILE, window=(10, 1e9)).window == (10, END)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"windw": (1, 2)}, r"timeline takes no argument 'windw' \(did you mean 'window'\?\)"),
        ({"window": (2, 1)}, r"A window is \(start_ms, end_ms\) with start_ms < end_ms, not \(2, 1\)\. None is the whole session\."),
        ({"window": (0, float("nan"))}, "A window is"),
        ({"window": ("a", "b")}, "A window is"),
        ({"window": (1, 2, 3)}, "A window is"),
        ({"window": (1e9, 2e9)}, r"lies outside of the session, which goes from 0\.0 to \d+\.\d+ ms"),
        ({"selection": ["/block0/conv0"]}, r"There is no layer '/block0/conv0' in this profile \(did you mean '/block0/conv_0'\?\)"),
        ({"height": -1}, "height"),
    ],
)
def test_arguments_that_make_no_sense(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        timeline(PROFILE, **arguments)


def test_something_that_is_no_profile():
    with pytest.raises(UsageError, match=r"timeline expected a Profile or the path of a \.edgeprof file, got list"):
        timeline([1, 2])


def test_a_path_is_read(tmp_path):
    PROFILE.save(str(tmp_path / "x.edgeprof"))
    assert timeline(tmp_path / "x.edgeprof", window=(5, 6)).window == (5, 6)


def test_selection_and_its_rows():
    view = timeline(PROFILE, selection=["/block0/add_2"])
    assert view.selection == ("/block0/add_2",) and view.selected["op_type"].tolist() == ["Add"]
    assert repr(view).startswith("<TimelineView of toy.onnx on local")


def test_numbers_go_out_as_bytes():
    state = timeline(PROFILE).get_state()
    assert state["data"]["numbers"] == timeline_data(PROFILE).numbers and state["detail"] == {}
    assert len(state["_esm"].encode()) < 66 * 1024


def test_detail_comes_for_what_is_zoomed_into_and_only_where_the_whole_is_coarse():
    view = timeline(fast_profile())
    assert view.data["meta"]["series"][0]["per"] > 1 and view.detail == {}
    view.window = (1000, 2000)
    assert view.detail["meta"]["window"] == [0, 3000] and view.detail["meta"]["series"][0]["per"] == 1
    first = view.detail
    view.window = (1500, 2600)
    assert view.detail is first, "panning within it asks for nothing"
    view.window = (2500, 3500)
    assert view.detail["meta"]["window"] == [1500, 4500]
    second = view.detail
    view.window = None
    assert view.detail is second
    whole = timeline(PROFILE)
    whole.window = (1000, 2000)
    assert whole.detail == {}


def test_a_detail_that_is_coarse_itself_is_made_anew_where_it_is_zoomed_into():
    view = timeline(fast_profile(), window=(0, 20_000))
    assert view.detail["meta"]["series"][0]["per"] > 1
    view.window = (5000, 6000)
    assert view.detail["meta"]["window"] == [4000, 7000] and view.detail["meta"]["series"][0]["per"] == 1


def test_a_profile_with_nothing_in_it():
    view = timeline(make_profile(runs=0))
    assert view.window == ()
    view.window = (1, 2)
    assert view.window == ()


# ---- static picture ----

RAILS = SensorUse("ina", tuple(Channel(f"ina/{i}_mw", "mW", title=f"rail {i}") for i in range(30)))
ODD = pd.DataFrame({"time_ms": [0.0] * 30, "channel": [c.name for c in RAILS.channels], "value": [*range(29), np.nan]})
PICTURED = {
    "session": PROFILE,
    "estimated": replace(PROFILE, origin="estimated"),
    "no samples": make_profile(),
    "no spans": replace(PROFILE, spans=empty_table("spans")),
    "readings alone": replace(PROFILE, spans=empty_table("spans"), runs=empty_table("runs"), windows=empty_table("windows")),
    "nothing": make_profile(runs=0),
    "300 layers": make_profile(np.full(300, 0.1)),
    "not measured": make_profile([np.nan, 0.1]),
    "one moment": replace(make_profile(runs=0), samples=ODD, context=replace(make_profile().context, sensors=(RAILS,))),
}


@pytest.mark.parametrize("profile", PICTURED.values(), ids=PICTURED)
def test_picture_of(profile):
    image = Image.open(io.BytesIO(timeline(profile).picture()))
    assert image.width == 1560 and len(image.convert("RGB").getcolors(1 << 20)) > 10


def test_the_picture_shows_the_window_and_the_selection():
    view = timeline(PROFILE, window=(0, 20))
    plain = view.picture()
    view.selection = ["/block0/conv_0"]
    chosen = view.picture()
    view.window = (0, 10)
    assert len({plain, chosen, view.picture(), timeline(PROFILE).picture(), draw(PROFILE, theme=DARK)}) == 5


def test_the_picture_of_ten_thousand_layers_is_small():
    assert len(timeline(make_profile(np.full(10_000, 0.01), runs=4)).picture()) < 150_000


def test_unknown_trait_of_the_view():
    with pytest.raises(UsageError, match="TimelineView takes no argument 'colour'"):
        TimelineView(PROFILE, colour="red")
