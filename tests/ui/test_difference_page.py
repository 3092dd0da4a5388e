"""Waterfall, rows side by side and the comparison of all three views in a plain page: no Jupyter."""

import json
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from edgeprof.analysis.align import align_variants
from edgeprof.figures.boards import boards
from edgeprof.figures.difference import difference
from edgeprof.figures.modules import script, style
from edgeprof.testing import make_profile
from edgeprof.widgets.compare import CompareView
from tests.analysis.variants import base, estimated, int8

pytestmark = pytest.mark.ui

PAGE = """<!doctype html><meta charset="utf-8"><style>{css}</style><body style="margin:0"><div id="view"></div><script type="module">{js}
window.changes = [];
window.view = {render}(document.getElementById("view"), {data}, {{ theme: "light", canAsk: true, ...{options},
  onSelect: (names) => (window.names = names), onChange: (values) => window.changes.push(values) }});
</script>"""
HOSTILE = "<img src=x onerror='window.pwned=1'>"


def show(page, data, *, render="renderDifference", js=None, css=None, **options):
    page.set_content(
        PAGE.format(
            css=css or style("difference"), js=js or script("difference"), render=render,
            data=json.dumps(data).replace("<", "\\u003c"), options=json.dumps(options),
        )
    )  # fmt: skip
    page.wait_for_function("() => window.view && document.querySelector('.ep-rows canvas').width > 300")


def place(page, name):
    """Where the item called ``name`` is in the chart."""
    y = page.evaluate(
        "(name) => window.view.top(window.view.items.findIndex((item) => item.name === name)) + window.view.plan.line / 2", name
    )
    return {"x": 60, "y": y}


def rows(page):
    return page.locator(".ep-rows")


def test_the_waterfall_leads_from_one_whole_to_the_other_and_is_clicked_and_hovered(page):
    show(page, difference([base(), int8()]).to_json(), top=2)
    names = page.evaluate("() => window.view.items.map((item) => item.name)")
    assert names == [
        "toy.onnx", "k1 relu1", "k2", "The other 1 layer", "(Reorder)", "(QuantizeLinear)", "(DequantizeLinear)", "(Transpose)",
        "(between layers)", "all int8",
    ]  # fmt: skip
    last, total = page.evaluate("() => [window.view.items.at(-2).to, window.view.items.at(-1).total.total]")
    assert last == pytest.approx(total)
    rows(page).hover(position=place(page, "k1 relu1"))
    for text in ("4.00 ms [3.80, 4.20]", "1.000 ms [0.950, 1.050]", "−3.00 ms [−3.25, −2.75]", "0.250×", "rt dx k1 relu1 q1"):
        expect(page.locator(".ep-card")).to_contain_text(text)
    rows(page).click(position=place(page, "k1 relu1"))
    rows(page).click(position=place(page, "The other 1 layer"), modifiers=["Control"])
    assert page.evaluate("() => window.names") == ["k1 relu1", "k3 add"]
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    for key in ("ArrowDown", "ArrowDown", "Space"):
        page.keyboard.press(key)
    assert page.evaluate("() => window.names") == ["k2"]
    expect(page.locator("[role=option]")).to_contain_text("k2, Op type Conv, toy.onnx 3.00 ms [2.85, 3.15]")
    page.evaluate("() => { delete window.names; window.view.select(['(Reorder)']); }")
    assert page.evaluate("() => [window.view.selection(), window.names ?? null, window.view.marks[4]]") == [["(Reorder)"], None, 2]


def test_sides_are_asked_for_and_new_data_keeps_the_selection(page):
    three = align_variants([base(), int8(), estimated()])
    show(page, difference(three).to_json(), selection=["k2"])
    _, before, after = page.locator(".ep-menu select").all()[:3]
    after.select_option("all int8, estimated")
    assert before.locator("option").all_inner_texts() == ["toy.onnx", "all int8, estimated"]
    assert page.evaluate("() => window.changes") == [{"other": "all int8, estimated"}]
    page.evaluate("(data) => window.view.set({ data })", difference(three, other="all int8, estimated").to_json())
    expect(page.locator(".ep-legend")).to_contain_text("hatched: all int8, estimated")
    assert page.evaluate("() => window.view.selection()") == ["k2"]
    page.get_by_role("radio", name="Side by side").click()
    expect(page.locator(".ep-legend")).to_contain_text("toy.onnx")
    assert page.evaluate("() => window.changes.at(-1)") == {"mode": "side"}


def test_ten_thousand_rows_stand_side_by_side_and_are_searched(page):
    names = [f"/model/layers.{i}/attention/a_long_name/MatMul" for i in range(10_000)]
    options = {"name": names, "source_nodes": [[name] for name in names], "op_type": ["MatMul"] * 10_000, "runs": 1}
    one, two = (make_profile(np.linspace(0.01, 0.02, 10_000) * k, **options) for k in (1, 2))
    page.set_viewport_size({"width": 700, "height": 900})
    show(page, difference([one, two]).to_json(), mode="side")
    rows(page).focus()
    for key in ("End", "ArrowUp", "Space"):
        page.keyboard.press(key)
    assert page.evaluate("() => window.names") == [names[0]], "all are twice as long: the shortest differs least"
    page.keyboard.press("/")
    page.keyboard.type("layers.77/")
    expect(page.locator(".ep-count")).to_have_text("1 layer")
    page.keyboard.press("Escape")
    expect(page.locator(".ep-count")).to_have_text("10\u202f001 layers")
    assert page.evaluate("() => document.documentElement.scrollWidth <= 700")


def test_what_cannot_be_drawn_says_what_to_do_and_names_are_text(page):
    odd = make_profile([0.5, 0.1], name=[HOSTILE, "ok"], source_nodes=[[HOSTILE], ["ok"]])
    show(page, difference([odd, replace(odd, context=replace(odd.context, board=HOSTILE))]).to_json())
    rows(page).hover(position=place(page, HOSTILE))
    expect(page.locator(".ep-card")).to_contain_text(HOSTILE)
    assert page.evaluate("() => window.pwned") is None and page.locator("#view img").count() == 0
    peaks = difference([odd, odd]).to_json()
    page.evaluate(
        "(data) => window.view.set({ data })", {**peaks, "meta": {**peaks["meta"], "summed": False, "metric_title": "Peak memory"}}
    )
    expect(page.locator(".ep-empty")).to_contain_text("Peak memory is not a sum over layers")
    empty = replace(odd, layers=odd.layers.iloc[:0], spans=odd.spans.iloc[:0], nodes=())
    page.evaluate("(data) => window.view.set({ data })", difference([empty, empty]).to_json())
    expect(page.locator(".ep-empty")).to_contain_text("have no layers")


def test_three_views_have_one_selection(page):
    aligned = align_variants([base(), int8()])
    data = {"difference": difference(aligned).to_json(), "boards": boards(aligned).to_json()}
    show(page, data, render="renderCompare", js=CompareView._esm, css=CompareView._css)
    y = page.evaluate("() => { const v = window.view.views.difference; return v.top(2) + 5; }")
    rows(page).click(position={"x": 60, "y": y})
    page.get_by_role("radio", name="Heatmap").click()
    grid = page.locator(".ep-scroll")
    expect(grid).to_be_visible()
    assert page.evaluate("() => [...window.view.views.boards.selected]") == [1]
    expect(page.locator(".ep-heatmap .ep-legend")).to_contain_text("≈ the intervals overlap")
    page.wait_for_function("() => window.view.views.boards.plan")
    head = page.evaluate("() => window.view.views.boards.plan.head")
    grid.click(position={"x": 40, "y": head + 11})
    assert page.evaluate("() => window.names") == ["k1 relu1"]
    page.get_by_role("radio", name="Side by side").click()
    assert page.evaluate("() => window.view.views.difference.selection()") == ["k1 relu1"]
    assert page.evaluate("() => window.changes") == [{"tab": "heatmap"}, {"tab": "side"}]
