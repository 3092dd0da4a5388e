"""The Pareto chart: what is drawn, how origins are told apart, what it says, and what it says when there is nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest

from edgeprof.errors import UsageError
from edgeprof.figures import pareto
from edgeprof.figures.pareto import SHAPES
from edgeprof.figures.pareto_words import recipe_words
from edgeprof.figures.theme import DARK
from edgeprof.recipes.recipe import Decision, Recipe
from edgeprof.records.context import Latency
from edgeprof.reports.html import _pareto_section as pareto_section
from edgeprof.reports.html import render
from edgeprof.testing import make_profile

HOSTILE = "</script><img src=x onerror=alert(1)>&\u202e<b>" + "x" * 2000
BASE = make_profile()


def point(name, ms=1.0, top1=0.9, size=1000, *, origin="measured", sha=None, parent=None, width=0.1, board="pi5", data="digits"):
    latency = Latency() if ms is None else Latency(ms, ms * (1 - width), ms * (1 + width), runs=9)
    record = {"value": top1, "low": (top1 or 0) - 0.01, "high": (top1 or 0) + 0.01, "n": 1000, "better": "higher", "data": data,
              "data_sha256": data}  # fmt: skip
    context = replace(
        BASE.context, model_name=name, model_sha256=sha or name, model_bytes=size, latency=latency, board=board,
        scores={} if top1 is None else {"top1": record},
    )  # fmt: skip
    return replace(BASE, context=context, origin=origin, parent=parent)


NETS = [point("big.onnx", 9, 0.99, 900_000), point("mid.onnx", 3, 0.97, 400_000), point("small.onnx", 1, 0.8, 100_000)]


def points(figure, ending=""):
    """Where the points of traces with such a name are."""
    traces = [trace for trace in figure.data if trace.mode == "markers" and trace.hovertemplate and trace.name.endswith(ending)]
    return [place for trace in traces for place in zip(trace.x, trace.y, strict=True)]


def shapes(figure):
    return {trace.name.split(", ")[1]: trace.marker.symbol for trace in figure.data if trace.mode == "markers" and trace.hovertemplate}


def texts(figure):
    """All that plotly would read as HTML."""
    hovers = [text for trace in figure.data for pair in (trace.customdata or []) for text in pair]
    return [figure.layout.title.text, *(one.text for one in figure.layout.annotations), *hovers, *(str(t.name) for t in figure.data)]


def test_points_stand_where_their_numbers_are():
    figure = pareto(NETS)
    assert sorted(points(figure)) == [(1, 0.8), (3, 0.97), (9, 0.99)]
    assert figure.layout.xaxis.title.text == "Latency (ms), ← better"
    assert figure.layout.yaxis.title.text == "Top-1 accuracy (%), better →"
    front = next(trace for trace in figure.data if trace.mode == "lines" and trace.line.shape == "hv")
    assert list(zip(front.x, front.y, strict=True)) == [(1, 0.8), (3, 0.97), (9, 0.99)]
    bars = next(trace for trace in figure.data if trace.error_x.array is not None)
    assert bars.error_x.array == pytest.approx((0.9, 0.3, 0.1)) and bars.error_y.arrayminus == pytest.approx((0.01,) * 3)


def test_the_front_runs_from_the_best_of_the_first_axis_whichever_way_is_better():
    front = next(trace for trace in pareto(NETS, "top1", "latency_ms").data if trace.line.shape == "hv")
    assert list(front.x) == [0.99, 0.97, 0.8]


def test_each_origin_has_a_shape_and_what_no_board_ran_is_open():
    figure = pareto([point(f"{origin}.onnx", 1 + i, 0.5 + i / 10, origin=origin) for i, origin in enumerate(SHAPES)])
    assert shapes(figure) == SHAPES
    assert len(set(SHAPES.values())) == 5
    assert {origin for origin, shape in SHAPES.items() if shape.endswith("-open")} == {"estimated", "simulated"}
    legend = [trace.name for trace in figure.data if trace.showlegend]
    assert set(SHAPES) < set(legend) and "on the front" in legend


def test_an_estimate_is_joined_to_its_measurement_and_stands_aside():
    nets = [*NETS, point("q.onnx", 2, 0.95, origin="estimated", sha="q", parent="big.onnx"), point("q.onnx", 2.2, 0.94, sha="q")]
    figure = pareto(nets)
    line = next(trace for trace in figure.data if trace.name == "estimate to measurement")
    assert (list(line.x), list(line.y)) == ([2, 2.2, None], [0.95, 0.94, None])
    assert points(figure, "aside, estimated") == [(2, 0.95)]
    assert not any(trace.name == "estimate to measurement" for trace in pareto(NETS).data)


def test_a_constraint_shades_what_misses_it():
    figure = pareto(NETS, constraints={"latency_ms": 5, "top1": 0.9})
    area, line, below, _ = figure.layout.shapes
    assert (area.type, area.x0, line.x0, line.x1) == ("rect", 5, 5, 5) and area.x1 > 1e2
    assert below.y0 == 0.9 and below.y1 < 0, "of what is better when it is more, below"
    assert {"at most 5.00 ms", "at least 90.0 %"} <= {one.text for one in figure.layout.annotations}
    assert (
        "Constraints: latency at most 5.00 ms (met by 2 of 3), top-1 accuracy at least 90.0 % (met by 2 of 3)" in figure.layout.meta["note"]
    )
    elsewhere = pareto(NETS, constraints={"model_bytes": "500 kB"})
    assert not elsewhere.layout.shapes and points(elsewhere, "aside, measured") == [(9, 0.99)]


def test_a_bound_far_from_all_points_is_said_and_not_drawn():
    figure = pareto(NETS, constraints={"latency_ms": 1000})
    assert not figure.layout.shapes and "latency at most 1.00 s (met by 3 of 3)" in figure.layout.meta["note"]
    assert figure.layout.xaxis.range[1] < 20


def test_the_sweet_spot_is_ringed_and_named():
    figure = pareto(NETS)
    ring = next(trace for trace in figure.data if trace.name == "sweet spot")
    assert (ring.x, ring.y, ring.marker.symbol) == ((3,), (0.97,), "circle-open")
    assert "<b>sweet spot: mid</b>" in [one.text for one in figure.layout.annotations]
    assert "Sweet spot: mid, nearest to the ideal corner of 3 on the front" in figure.layout.title.text
    none = pareto(NETS, constraints={"latency_ms": 0.5})
    assert "No sweet spot: no point meets all constraints" in none.layout.title.text
    assert not any(trace.name == "sweet spot" for trace in none.data)
    estimated = pareto([*NETS[:1], point("e.onnx", 1, 0.98, origin="estimated")])
    assert "Sweet spot: e (estimated)" in estimated.layout.title.text


def test_the_title_says_what_where_and_on_which_data():
    title = pareto([*NETS, point("far.onnx", 20, 0.999, origin="estimated", board="orin")]).layout.title.text
    assert "Top-1 accuracy over latency" in title and "4 models on pi5, orin" in title and "3 measured, 1 estimated" in title
    assert "top-1 accuracy on digits, n\u00a0=\u00a01,000" in title
    assert "big.onnx, mid.onnx, small.onnx on pi5; measured" in pareto(NETS).layout.title.text.replace("<br>", " ")


def test_hover_tells_model_recipe_board_and_standing():
    recipe = Recipe((Decision(op_type="Conv", precision="int8"), Decision(layer="/a", prune=0.25)))
    nets = [*NETS, point("bad.onnx", 12, 0.5, parent="0123456789abcdef")]
    figure = pareto(nets, recipes=[None, "by hand", Recipe(name="all int8"), recipe], constraints={"model_bytes": "1 MB"})
    hovers = {title: body for trace in figure.data for title, body in (trace.customdata or [])}
    assert "Latency: 12.0 ms [10.8, 13.2] (median of 9 plain runs)" in hovers["bad"]
    assert "Top-1 accuracy: 50.0 % [49.0, 51.0] (on digits, n = 1,000)" in hovers["bad"] and "Model size: 1.00 kB" in hovers["bad"]
    assert "bad.onnx, made from 0123456789ab" in hovers["bad"] and "on pi5, onnxruntime 1.32.0, 1 thread" in hovers["bad"]
    assert "recipe: op type 'Conv' int8, layer '/a' 25% pruned" in hovers["bad"] and "dominated by big" in hovers["bad"]
    assert "recipe: by hand" in hovers["mid"] and "on the front, the sweet spot" in hovers["mid"] and "recipe: all int8" in hovers["small"]
    assert "recipe" not in hovers["big"] and "meets all constraints" in hovers["big"]


def test_recipe_words_are_short():
    decisions = [Decision(layer=f"/block{i}", channels=8, sparsity=0.5) for i in range(9)]
    assert recipe_words(Recipe(tuple(decisions))).endswith("layer '/block3' 8 channels 50% sparse and 5 more")
    assert recipe_words(None) == recipe_words(Recipe()) == ""


def test_a_third_objective_is_the_colour_and_rings_mark_the_front():
    figure = pareto([*NETS, point("bad.onnx", 12, 0.5, 950_000)], z="model_bytes")
    colors = {trace.name: list(trace.marker.color) for trace in figure.data if trace.hovertemplate}
    assert colors["on the front, measured"] == [900_000, 400_000, 100_000] and colors["dominated, measured"] == [950_000]
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (100_000, 950_000)
    assert "Model size (B)" in figure.layout.coloraxis.colorbar.title.text.replace("<br>", " ")
    ring = next(trace for trace in figure.data if trace.name == "on the front")
    assert ring.marker.symbol == "circle-open" and sorted(ring.x) == [1, 3, 9]
    assert not any(trace.line.shape == "hv" for trace in figure.data), "a line through three objectives means nothing"


def test_wide_ranges_are_logarithmic_and_labels_stand_where_they_belong():
    figure = pareto([point("slow.onnx", 1000, 0.9, 10_000_000), point("fast.onnx", 1, 0.8, 1000)], z="model_bytes")
    assert figure.layout.xaxis.type == "log" and figure.layout.xaxis.range[0] < 0 < 3 < figure.layout.xaxis.range[1]
    labels = {one.text: one.x for one in figure.layout.annotations}
    assert 3 in labels.values() and set(labels.values()) <= {0, 3}, "annotations count in powers of ten"
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (3, 7)
    assert "1M" in figure.layout.coloraxis.colorbar.ticktext


def test_units_follow_the_numbers():
    assert pareto([point("a.onnx", 0.5), point("b.onnx", 0.25, 0.8)]).layout.xaxis.title.text == "Latency (µs), ← better"
    assert sorted(points(pareto([point("a.onnx", 0.5), point("b.onnx", 0.25, 0.8)]))) == [(250, 0.8), (500, 0.9)]
    assert pareto([point("a.onnx", 20_000), point("b.onnx", 300, 0.8)]).layout.xaxis.title.text == "Latency (s), ← better"


@pytest.mark.parametrize(
    ("profiles", "sentences"),
    [
        ([], ["No profiles: there is nothing to compare"]),
        ([point("a.onnx", None), point("b.onnx", 1, None)], ["No profile has latency and top-1 accuracy", "1: latency was not measured",
                                                             "1: no score top1"]),
    ],
)  # fmt: skip
def test_nothing_to_draw_says_why(profiles, sentences):
    figure = pareto(profiles, y="top1")
    assert figure.layout.annotations[0].text.split("<br>") == sentences
    assert not figure.data and figure.layout.meta["points"] == 0


def test_one_profile_is_drawn_and_said_to_be_alone():
    figure = pareto(NETS[:1])
    assert points(figure) == [(9, 0.99)] and "One profile: there is nothing to compare it with." in figure.layout.title.text


def test_what_is_not_drawn_is_counted_with_the_reason():
    note = pareto([*NETS, point("a.onnx", None), point("b.onnx", 1, 0.9, data="clutter")]).layout.meta["note"]
    assert "5 points: 3 on the front, 2 not drawn (latency was not measured: 1, top1 is of other data, clutter: 1)" in note


def test_many_points_stay_light():
    random = np.random.default_rng(0)
    nets = [point(f"net{i}.onnx", *values) for i, values in enumerate(random.uniform([1, 0.5], [9, 0.99], (80, 2)))]
    figure = pareto(nets)
    assert len(points(figure)) == 80 and "error bars are those of the front only" in figure.layout.meta["note"]
    with_bars = [trace.name for trace in figure.data if trace.error_y.array is not None]
    assert with_bars == ["on the front, measured"]
    assert len(json.dumps(figure.to_plotly_json(), default=list)) < 80_000


def test_names_are_not_html_and_not_endless():
    hostile = point(HOSTILE, 2, 0.9, board=HOSTILE, data=HOSTILE, parent=HOSTILE)
    hostile.context.scores[HOSTILE] = hostile.context.scores["top1"]
    for figure in (
        pareto([*NETS, hostile], labels=[HOSTILE, *"abc"], recipes=[HOSTILE, None, None, None]),
        pareto([hostile, *NETS], "latency_ms", HOSTILE, "top1", constraints={HOSTILE: 0.5}),
        pareto([point("a.onnx", 1, None)], y="top1", labels=[HOSTILE]),
        pareto([hostile], HOSTILE, "peak_memory_bytes"),
    ):
        found = " ".join([*texts(figure), figure.layout.meta["note"]])
        assert "<img" not in found and "</script" not in found and "\u202e" not in found and "<b><" not in found
        assert max(map(len, texts(figure))) < 2000


def test_a_dark_figure_is_dark():
    figure = pareto(NETS, theme="dark")
    assert figure.layout.paper_bgcolor == DARK.surface and figure.data[0].line.color == DARK.bar


@pytest.mark.parametrize(
    ("arguments", "sentence"), [({"theme": "blue"}, "theme is 'blue'"), ({"recipes": ["one"]}, "for each of 3 profiles, got 1")]
)
def test_bad_arguments(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        pareto(NETS, **arguments)


def test_the_report_has_the_chart_where_two_objectives_differ():
    page = render(NETS[:2]).decode()
    assert 'data-figure="front-pareto-data"' in page and 'id="front-pareto-data"' in page and "2 points: 2 on the front" in page
    same = [point("a.onnx", 1), point("a.onnx", 1)]
    apart = [point("a.onnx", 1, None, None), point("b.onnx", 2, None, None), point("c.onnx", None, 0.8, 5), point("d.onnx", None, 0.9, 6)]
    assert pareto_section(NETS[:2]) is not None
    for profiles in (NETS[:1], same, apart):
        assert pareto_section(profiles) is None
