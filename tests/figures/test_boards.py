"""View data of layers x boards, and boards side by side."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from edgeprof.errors import UsageError
from edgeprof.figures.boards import boards
from edgeprof.figures.compare_boards import compare_boards
from edgeprof.figures.heatmap import place
from edgeprof.figures.heatmap_picture import draw
from edgeprof.testing import make_profile, make_sensed_profile

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e<b>"
NAMES = ["/conv", "/relu", "/add"]


def on(board, latencies, **options):
    context = options.pop("context", {})
    profile = make_profile(
        latencies,
        name=NAMES,
        source_nodes=[[name] for name in NAMES],
        op_type=["Conv", "Relu", "Add"],
        runtime_name=NAMES,
        runs=4,
        **options,
    )
    table = profile.layers
    table.loc[3, "name"] = "(between layers)"
    return replace(profile, layers=table, context=replace(profile.context, board=board, **context))


def test_values_shares_and_ratios_to_the_baseline():
    view = boards([on("pi4", [4.0, 2.0, 1.0]), on("pi5", [1.0, 4.0, 0.5])], baseline="pi5")
    assert [column["title"] for column in view.meta["columns"]] == ["pi4", "pi5"]
    assert view.array("absolute: pi4")[:3].tolist() == [4.0, 2.0, 1.0]
    assert view.array("ratio: pi4")[:3].tolist() == [4.0, 0.5, 2.0] and view.array("ratio: pi5")[:3].tolist() == [1.0, 1.0, 1.0]
    assert view.array("share: pi4").sum() == pytest.approx(1)
    low, high = (view.array(name)[0] for name in view.meta["modes"]["ratio"]["columns"][0]["interval"])
    assert (low, high) == pytest.approx((4 * 0.95 / 1.05, 4 * 1.05 / 0.95)), "the worst case of both intervals"


def test_all_boards_share_one_scale_and_the_ratio_has_1_in_its_middle():
    view = boards([on("pi4", [4.0, 2.0, 1.0]), on("pi5", [0.1, 0.2, 40.0])])
    absolute, ratio = (view.meta["modes"][mode]["columns"] for mode in ("absolute", "ratio"))
    assert absolute[0]["scales"] == absolute[1]["scales"] and absolute[0]["scales"]["linear"]["max"] == 40.0
    scale = ratio[1]["scales"]["auto"]
    assert place(np.array([1.0]), scale) == pytest.approx([0.5]) and scale["min"] == pytest.approx(1 / scale["max"])
    assert {wish: s["log"] for wish, s in ratio[0]["scales"].items()} == {"auto": True, "linear": True, "log": True}


def test_no_such_layer_and_not_measured_are_two_things():
    one, two = on("pi4", [4.0, 2.0, 1.0]), on("pi5", [1.0, math.nan, 0.5])
    view = boards([replace(one, layers=one.layers.drop(index=2)), two])
    ran = [[view.meta["texts"]["ran"][code] for code in view.array(column["ran"])] for column in view.meta["columns"]]
    assert ran == [["/conv", "/relu", "", "(between layers)"], ["/conv", "/relu", "/add", "(between layers)"]]
    assert np.isnan(view.array("absolute: pi4")[2]) and np.isnan(view.array("absolute: pi5")[1])


def test_what_was_not_measured_on_the_board_says_so_in_its_head_and_above():
    one, two = on("pi4", [4.0, 2.0, 1.0]), on("sim", [1.0, 1.0, 1.0], origin="simulated")
    replayed = on("old", [1.0, 1.0, 1.0], origin="replayed", context={"recorded_origin": "measured"})
    view = boards([one, two, replayed])
    assert [(c["origin"], c["hatched"]) for c in view.meta["columns"]] == [("", False), ("simulated", True), ("replayed", False)]
    assert view.meta["header"]["origin_label"] == "1 measured, 1 simulated, 1 replayed"
    lines = view.meta["header"]["lines"]["items"]
    assert lines[1].startswith("sim: simulated, no real board, onnxruntime 1.32.0, 1 thread, 2026-11-23 12:00 UTC; 3.060 ms")
    assert view.meta["header"]["number_note"] == "fastest end to end: sim; slowest pi4, 2.33×"


def test_any_name_of_a_board_works():
    view = boards([on("kind", [4.0, 2.0, 1.0]), on("low absolute: kind", [1.0, 2.0, 3.0]), on(HOSTILE, [1.0, 1.0, 1.0])])
    assert view.array("absolute: kind")[0] == 4.0 and view.array("absolute: low absolute: kind")[2] == 3.0
    assert "\u202e" not in json.dumps([view.meta["columns"], view.meta["header"]["lines"]], ensure_ascii=False)


def test_metrics_that_can_be_shown():
    profiles = [make_sensed_profile(), make_sensed_profile(seed=1)]
    memory = boards(profiles, metric="peak_memory_bytes")
    assert list(memory.meta["modes"]) == ["absolute", "ratio", "difference"], "largest numbers have no share"
    assert "share" not in memory.meta["menus"][0]["choices"] and "energy_mj" in memory.meta["menus"][0]["choices"]
    energy = boards(profiles, metric="energy_mj")
    assert np.nansum(energy.array("share: local")) == pytest.approx(1) and energy.meta["columns"][0]["interval"]
    with pytest.raises(UsageError, match=r"metric is 'latency_p95_ms' .*no meaning for several layers together"):
        boards(profiles, metric="latency_p95_ms")
    with pytest.raises(UsageError, match=r"metric is 'energy_mj'.*on none of the boards"):
        boards([make_profile(), make_profile()], metric="energy_mj")
    with pytest.raises(UsageError, match=r"No profile is called 'locl' \(did you mean 'local'\?\)"):
        boards(profiles, baseline="locl")


def test_the_picture_is_drawn_in_every_mode_and_shows_the_selection():
    view = boards([on("pi4", [4.0, 2.0, 1.0]), on("pi5", [1.0, math.nan, 0.5], origin="estimated")])
    pictures = {mode: draw(view, mode=mode) for mode in view.meta["modes"]}
    assert len(set(pictures.values())) == 4 and all(picture.startswith(b"\x89PNG") for picture in pictures.values())
    assert draw(view, selection=["/relu"]) != pictures["absolute"] != draw(view, sort="absolute: pi5")


# ---- boards side by side ----


def panels(figure):
    return [axis.title.text for axis in figure.select_xaxes()]


def words(figure):
    return [text.strip() for trace in figure.data if trace.mode == "text" for text in trace.text]


def test_a_row_a_board_and_a_panel_a_quantity():
    figure = compare_boards([make_sensed_profile(), replace(make_sensed_profile(seed=1), origin="simulated")])
    assert panels(figure) == ["Latency (ms)", "Energy (mJ)", "Peak memory (B)", "Load (ms)"]
    assert list(figure.layout.yaxis.ticktext) == ["local", "local (2) (simulated)"]
    dots = [trace for trace in figure.data if trace.mode == "markers" and trace.name != "p95" and trace.xaxis == "x"]
    assert [trace.marker.symbol for trace in dots] == ["circle", "circle-open"]
    median = dots[0].x[0]
    assert dots[0].error_x.array[0] == pytest.approx(median * 0.01, rel=1e-3)
    assert "2.040 ms" in dots[0].customdata[0][1] and "simulated, no real board" in dots[1].customdata[0][1]


def test_what_no_board_has_is_named_and_what_one_lacks_says_so():
    one = make_sensed_profile()
    bare = replace(one, context=replace(one.context, board="pi4", load_ms=None))
    assert words(compare_boards([one, bare])).count("not measured") == 1
    figure = compare_boards([make_profile(), make_profile()])
    assert panels(figure) == ["Latency (ms)", "Load (ms)"]
    assert figure.layout.meta["note"] == "energy: not measured · peak memory: not measured"
    assert "energy: not measured" in figure.layout.title.text


def test_a_far_slower_board_makes_the_axis_logarithmic():
    figure = compare_boards([on("pi5", [1.0, 1.0, 1.0]), on("mcu", [90.0, 90.0, 90.0])])
    assert figure.layout.xaxis.type == "log" and figure.layout.xaxis2.type != "log"
    assert all(math.isfinite(end) for end in figure.layout.xaxis.range)


def test_names_are_escaped_and_models_are_one():
    figure = compare_boards([on(HOSTILE, [1.0, 1.0, 1.0]), on("b", [1.0, 1.0, 1.0], context={"model_name": HOSTILE})])
    text = json.dumps(figure.to_plotly_json(), default=lambda value: value.item(), ensure_ascii=False)
    assert "<img" not in text and "\u202e" not in text
    with pytest.raises(UsageError, match="different models"):
        compare_boards([make_profile(), on("b", [1.0, 1.0, 1.0], context={"model_sha256": "cd" * 32})])
    with pytest.raises(UsageError, match="theme is 'blue'"):
        compare_boards([make_profile(), make_profile()], theme="blue")
