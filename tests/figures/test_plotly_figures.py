"""Bars and roofline: snapshots of small figures, and laws on larger ones.

`EDGEPROF_SNAPSHOTS=write pytest tests/figures` writes the snapshots anew; look at the difference before you keep it.
"""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeprof.errors import UsageError
from edgeprof.figures import bars, roofline
from edgeprof.figures.theme import DARK, LIGHT
from edgeprof.records.context import Energy
from edgeprof.records.schema import BETWEEN_LAYERS
from edgeprof.testing import make_peaks, make_profile

SNAPSHOTS = Path(__file__).parent / "snapshots"
HOSTILE = "</script><img src=x onerror=alert(1)>&\u202e<b>" + "x" * 2000


def check(name, figure):
    made = json.loads(json.dumps(figure.to_plotly_json(), default=lambda value: value.item()))
    path = SNAPSHOTS / f"{name}.json"
    if os.environ.get("EDGEPROF_SNAPSHOTS") == "write":
        path.write_text(json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    assert made == json.loads(path.read_text())


def rows(figure):
    """Label of each bar and its length."""
    labels = figure.layout.yaxis.ticktext
    return {labels[y]: x for trace in figure.data if trace.type == "bar" for y, x in zip(trace.y, trace.x, strict=True)}


def texts(figure):
    """All that plotly would read as HTML."""
    trace_texts = [str(text) for trace in figure.data for pair in (trace.customdata or trace.text or []) for text in np.atleast_1d(pair)]
    return [figure.layout.title.text, *(figure.layout.yaxis.ticktext or []), *trace_texts, *(trace.name or "" for trace in figure.data)]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("bars-layers", lambda p: bars(p)),
        ("bars-op-types-dark", lambda p: bars(p, "op_type", theme="dark")),
        ("roofline", lambda p: roofline(p)),
    ],
)
def test_snapshot(name, make):
    check(name, make(make_profile([0.5, 0.1, 0.2], macs=[5e6, 0.0, 2e6], runs=8)))


def test_longest_on_top_and_the_row_between_layers_at_the_end():
    figure = bars(make_profile([0.1, 0.5, 0.2]))
    assert list(figure.layout.yaxis.ticktext) == ["/block0/relu_1", "/block0/add_2", "/block0/conv_0", BETWEEN_LAYERS]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1], "the first row is on top"
    executed = bars(make_profile([0.1, 0.5, 0.2]), order="executed")
    assert list(executed.layout.yaxis.ticktext)[:3] == ["/block0/conv_0", "/block0/relu_1", "/block0/add_2"]


def test_units_of_the_axis_follow_the_numbers():
    assert bars(make_profile([0.1, 0.5])).layout.xaxis.title.text == "Latency (µs)"
    assert rows(bars(make_profile([0.1, 0.5])))["/block0/relu_1"] == 500
    assert bars(make_profile([0.1, 5])).layout.xaxis.title.text == "Latency (ms)"
    assert bars(make_profile(), metric="param_bytes").layout.xaxis.title.text == "Weights (B)"


def test_not_measured_is_left_out_and_said():
    profile = make_profile([0.1, 0.5, 0.2, 0.1], energy_mj=[1.0, math.nan, math.nan, 2.0])
    figure = bars(profile, metric="energy_mj")
    assert set(rows(figure)) == {"/block0/conv_0", "/block0/matmul_3"}
    assert "2 layers have no number" in figure.layout.title.text and figure.layout.meta["note"] == "2 layers have no number"


def test_the_title_says_what_was_measured_and_when():
    assert "toy.onnx on local, onnxruntime 1.32.0, 1 thread, measured, 2026-11-23" in bars(make_profile()).layout.title.text
    estimated = make_profile(origin="estimated")
    assert (
        "estimated, not measured" in bars(estimated).layout.title.text
        and "estimated, not measured" in roofline(estimated).layout.title.text
    )


def test_estimated_and_between_layers_are_hatched_measured_are_not():
    def hatched(figure):
        return {trace.name: trace.marker.pattern.shape for trace in figure.data if trace.type == "bar"}

    assert set(hatched(bars(make_profile(origin="estimated"))).values()) == {"/"}
    measured = hatched(bars(make_profile()))
    assert measured.pop(BETWEEN_LAYERS) == "/" and set(measured.values()) == {None}
    assert all(
        trace.marker.symbol.endswith("-open") for trace in roofline(make_profile(origin="estimated")).data if trace.mode == "markers"
    )


def test_the_rest_is_one_row_that_keeps_the_sum():
    profile = make_profile([0.5, 0.4, 0.3, 0.1, 0.1, 0.1])
    figure = bars(profile, top=3)
    assert rows(figure)["rest (3)"] == pytest.approx(300)
    assert sum(rows(figure).values()) == pytest.approx(profile.context.latency.median_ms * 1000)
    assert set(rows(bars(profile, top=3, metric="power_mw"))) == set(), "a mean cannot be summed"


def test_nothing_presses_the_bars_flat():
    many = bars(make_profile([0.5] + [0.1] * 60), top=1)
    assert rows(many)["rest (60)"] == 0 and " 6.00 ms (bar left out)" in many.data[-1].text
    wide = bars(make_profile([0.5, 0.4], latency_high_ms=[50.0, 0.41]))
    assert wide.layout.xaxis.range[1] < 1500 and any("(cut)" in text for text in wide.data[-1].text)


def test_error_bars_reach_from_low_to_high():
    trace = next(t for t in bars(make_profile([0.5, 0.1], latency_low_ms=[0.4, 0.1], latency_high_ms=[0.55, 0.1])).data if t.x == (500.0,))
    assert trace.error_x.arrayminus == pytest.approx((100,)) and trace.error_x.array == pytest.approx((50,))


def test_300_layers_have_room():
    figure = bars(make_profile(np.linspace(0.01, 1, 300)))
    assert figure.layout.height > 300 * 16 and len(rows(figure)) == 301


def test_names_are_not_html_and_not_endless():
    profile = make_profile([0.5, 0.1], name=[HOSTILE, HOSTILE + "2"], op_type=[HOSTILE, "Conv"])
    for figure in (bars(profile), bars(profile, "op_type"), roofline(profile)):
        found = " ".join(texts(figure))
        assert "&lt;" in found and "<img" not in found and "</script" not in found and "\u202e" not in found
        assert max(map(len, texts(figure))) < 900
    assert len(rows(bars(profile))) == 3, "names that look the same when shortened stay two bars"


def test_roofline_says_what_it_leaves_out_and_where_the_roof_comes_from():
    figure = roofline(make_profile([0.5, 0.1, 0.2], macs=[5e6, 0.0, math.nan]))
    note = figure.layout.meta["note"]
    assert "highest of this profile" in note and "2 layers not shown (MACs not known: 1, no MACs: 1)" in note
    assert figure.data[0].line.dash == "dash"
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"


def test_roofline_under_measured_ceilings():
    profile = make_profile([1.0, 1.0], macs=[2e7, 2e9], precision=["float32", "int8"], arithmetic_intensity=[50.0, 50.0])
    figure = roofline(profile, peaks=make_peaks({"float32": 80.0, "int8": 320.0, "float16": 160.0}, notes=("Hot <b>board</b>.",)))
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert [max(line.y) for line in lines] == [320.0, 80.0] and {line.line.dash for line in lines} == {"solid"}
    assert {"board, int8: 320 GFLOP/s", "board, float32: 80.0 GFLOP/s"} <= {note.text for note in figure.layout.annotations}
    for text in (figure.layout.title.text, figure.layout.meta["note"]):
        assert "1 layer (" in text and "above the measured roof" in text.replace("<br>", " ") and "Hot &lt;b&gt;board&lt;/b&gt;." in text
    assert figure.layout.margin.t > roofline(profile).layout.margin.t


def test_roofline_without_points():
    figure = roofline(make_profile([0.5], macs=[0.0]))
    assert figure.layout.annotations[0].text.startswith("No layer has both") and not figure.data


def test_area_is_share():
    figure = roofline(make_profile([0.8, 0.2], op_type=["Conv", "Conv"]))
    big, small = figure.data[1].marker.size
    assert (big / small) ** 2 == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_are_the_themes(theme):
    colors = {"light": LIGHT, "dark": DARK}[theme]
    for figure in (bars(make_profile(), theme=theme), roofline(make_profile(), theme=theme)):
        assert figure.layout.paper_bgcolor == colors.surface and figure.layout.font.color == colors.ink
        assert figure.layout.legend.y < 0, "the legend stands below the plot"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"by": "operator"}, "'layer' or 'op_type'"),
        ({"metric": "latency"}, "latency_ms"),
        ({"by": "op_type", "metric": "power_mw"}, "cannot be summed"),
        ({"by": "op_type", "order": "executed"}, "for layers"),
        ({"theme": "blue"}, "'light' or 'dark'"),
    ],
)
def test_mistakes_are_answered_with_what_is_possible(options, word):
    with pytest.raises(UsageError, match=word.replace("(", "\\(")):
        bars(make_profile(), **options)


@pytest.mark.parametrize("latencies", [[math.nan, math.nan], [0.0, 0.0], [-0.1, 0.2]])
def test_odd_numbers_draw(latencies):
    profile = make_profile([0.1, 0.2], latency_ms=latencies)
    json.dumps(
        [bars(profile).to_plotly_json(), bars(profile, "op_type").to_plotly_json(), roofline(profile).to_plotly_json()], allow_nan=False
    )


def test_why_there_are_no_energies_is_said():
    profile = make_profile()
    context = replace(profile.context, energy=Energy(asked="layers", reason="There is no <power> sensor."))
    figure = bars(replace(profile, context=context), metric="energy_mj")
    assert figure.layout.meta["note"].endswith("have no number · There is no &lt;power&gt; sensor.")
    assert "sensor" not in bars(replace(profile, context=context)).layout.meta["note"]
