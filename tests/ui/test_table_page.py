"""The layer table in a plain page, as the HTML report would use it: no Jupyter."""

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from edgeprof import units
from edgeprof.figures.heatmap import heatmap
from edgeprof.figures.modules import script, style
from edgeprof.testing import make_profile

pytestmark = pytest.mark.ui

PAGE = """<!doctype html><meta charset="utf-8"><style>{css}</style><body style="margin:0"><div id="view"></div><script type="module">{js}
const errors = window.errors = [];
addEventListener("error", (e) => errors.push(e.message));
window.view = renderLayerTable(document.getElementById("view"), {data}, {{ theme: "light", ...{options},
  onSelect: (names) => (window.names = names), onChange: (values) => (window.changed = values) }});
</script>"""

OPS = ["Conv", "Relu", "Conv", "MatMul"]


def as_json(profile):
    return json.dumps(heatmap(profile).to_json()).replace("<", "\\u003c")


def show(page, profile, **options):
    """Shows ``profile`` in ``page``."""
    page.set_content(PAGE.format(css=style("layer_table"), js=script("layer_table"), data=as_json(profile), options=json.dumps(options)))
    page.wait_for_function("() => window.view")
    return page


def rows(page):
    """Names of the rows that are there, from top to bottom."""
    page.evaluate("() => new Promise(requestAnimationFrame)")
    return page.locator(".ep-lt-rows .ep-lt-name").evaluate_all("(cells) => cells.map((cell) => cell.title)")


def row(page, name):
    return page.locator(".ep-lt-rows .ep-lt-row", has=page.get_by_title(name, exact=True))


def heads(page, name):
    return page.locator(".ep-lt-head").get_by_role("columnheader", name=name)


def test_numbers_are_shown_as_python_shows_them_with_bars_and_sums(page):
    energies = [1.5, np.nan, 0.05, 3.0]
    low, high = ([v * k for v in energies] for k in (0.9, 1.1))
    profile = make_profile([1.234, 0.0123, 0.5, 0.2], energy_mj=energies, energy_low_mj=low, energy_high_mj=high)
    show(page, profile)
    layer = profile.layers.iloc[0]
    shown = row(page, layer["name"]).locator("[role=gridcell]").all_inner_texts()
    texts = [" ".join(text.split()) for text in shown]
    assert texts[1] == units.latency_interval(layer["latency_ms"], layer["latency_low_ms"], layer["latency_high_ms"])
    assert texts[4] == units.energy_interval(layer["energy_mj"], layer["energy_low_mj"], layer["energy_high_mj"])
    assert texts[2] == units.share(layer["share"]) and texts[5] == units.count(layer["macs"])
    bar = row(page, profile.layers["name"][2]).locator(".ep-lt-bar").first
    assert float(bar.evaluate("(cell) => cell.style.getPropertyValue('--lt-w')")) == pytest.approx(0.5 / 1.234)
    assert row(page, profile.layers["name"][1]).locator(".ep-lt-none").get_attribute("aria-label") == "not measured"
    foot = page.locator(".ep-lt-foot")
    expect(foot).to_contain_text("Σ 4 shown, and between")
    assert units.latency(float(profile.layers["latency_ms"].sum())) in foot.inner_text(), "with what lies between they make the whole"
    assert "100.0 %" in foot.inner_text() and "4.55 mJ" in foot.inner_text() and "1 without" in foot.inner_text()


def test_sorting_by_head_and_by_key(page):
    names = show(page, make_profile([0.1, 0.3, np.nan, 0.2], op_type=OPS)) and [
        f"/block0/{n}" for n in ("conv_0", "relu_1", "add_2", "matmul_3")
    ]
    heads(page, "Latency").first.click()
    assert rows(page) == [names[1], names[3], names[0], names[2], "(between layers)"]
    expect(heads(page, "Latency").first).to_have_attribute("aria-sort", "descending")
    heads(page, "Latency").first.click()
    assert rows(page)[:4] == [names[0], names[3], names[1], names[2]], "not measured stays last"
    heads(page, "Op type").click()
    heads(page, "Latency").first.click(modifiers=["Shift"])
    assert rows(page)[:4] == [names[0], names[2], names[3], names[1]]
    assert page.evaluate("() => window.changed.sort") == ["op_type ascending", "latency_ms descending"]
    page.keyboard.press("Escape")
    for key in ("Home", "ArrowUp", "ArrowLeft", "ArrowLeft", "Enter", "Enter", "Enter"):  # the head of the names: down, up, as they ran
        page.keyboard.press(key)
    assert rows(page)[:4] == names and page.evaluate("() => window.changed.sort") == []


@pytest.fixture
def searched(page):
    """A page with five layers; the function searches and returns the last letters of the names found."""
    profile = make_profile(
        [0.5, 0.05, 0.1, np.nan, 0.2], op_type=[*OPS, "Add"], precision=["int8", "float32", "int8", "float32", "float16"],
        name=["/a/x0", "/a/x1", "/b/x2", "/b/x3", "/c/x4"], source_nodes=[["/a/x0", "/a/Bias"], ["/a/x1"], ["/b/x2"], ["/b/x3"], ["/c/x4"]],
        runtime_name=["fused_first", "r1", "r2", "r3", "r4"], plain_ms=1.0, runs=0,
    )  # fmt: skip
    show(page, profile)

    def search(text):
        page.locator(".ep-search input").fill(text)
        return "".join(name[-1] for name in rows(page) if name[:1] == "/")  # not what lies between

    return search


def test_search(searched, page):
    found = {
        "conv": "02", "/x[01]$/": "01", "bias": "0", "FUSED": "0", "/a conv": "0", "latency_ms > 0.1": "04", "latency_ms>=100us": "024",
        "latency < 60 µs": "1", "share > 15 % conv": "0", "precision = int8": "02", "/x/ precision != int8 latency_ms < 0.1 ms": "1",
        "latency_ms = none": "3", "latency_ms != none": "0124", "macs >= 2 M": "04", "nothing": "",
    }  # fmt: skip
    assert {query: searched(query) for query in found} == found
    expect(page.locator(".ep-empty")).to_contain_text("No layer matches")
    assert searched("") == "01234" and page.locator(".ep-lt-problem").is_hidden()


def test_a_search_that_cannot_be_read_says_why_and_hides_nothing(searched, page):
    assert searched("conv") == "02"
    said = {
        "latencyms > x": "Expected a number after “latency_ms”, got “x”. Write for instance latency_ms > 0.25",
        "latenzy > 1": "There is no column “latenzy” to compare. Expected one of: latency_ms, share",
        "latency_ms > 3kB": "“kB” is no unit of latency_ms. Expected ns, µs",
        "latency_ms >": "Expected a value after “latency_ms >”", "> 3": "Expected a comparison such as latency_ms > 0.1",
        "precision > int8": "Precision is a text: compare it with = or !=", "/[/": "The pattern /[/ cannot be read",
        "/x latency_ms > 1": "not closed",
    }  # fmt: skip
    for query, sentence in said.items():
        assert searched(query) == "02", "the last search that could be read still holds"
        expect(page.locator(".ep-lt-problem")).to_contain_text(sentence)
    expect(page.locator(".ep-search input")).to_have_attribute("aria-invalid", "true")


def test_selection_by_mouse_and_keys_and_what_is_selected_alone(page):
    show(page, make_profile([0.5, 0.1, 0.2, 0.2, 0.4], name=list("abcde")))
    row(page, "b").click()
    row(page, "d").click(modifiers=["Shift"])
    assert page.evaluate("() => window.names") == ["b", "c", "d"]
    row(page, "c").click(modifiers=["Control"])
    expect(page.locator(".ep-lt-chosen")).to_contain_text("Σ 2 selected")
    expect(page.locator(".ep-lt-chosen")).to_contain_text("300 µs")
    page.get_by_role("button", name="Selected only").click()
    assert rows(page) == ["b", "d"]
    page.get_by_role("button", name="Selected only").click()
    page.locator(".ep-lt").focus()
    for key in ("Home", "Space", "Shift+ArrowDown"):
        page.keyboard.press(key)
    assert page.evaluate("() => window.names") == ["a", "b"]
    expect(row(page, "b")).to_have_attribute("aria-selected", "true")
    active = page.locator(".ep-lt").get_attribute("aria-activedescendant")
    expect(row(page, "b").locator(f"[id='{active}']")).to_have_class(re.compile("ep-lt-active"))
    page.keyboard.press("Control+a")
    assert page.evaluate("() => window.names") == list("abcde")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("/^e$/")
    assert rows(page) == ["e"] and page.evaluate("() => window.names") == []
    page.evaluate("() => { window.names = 'not called'; window.view.select(['e']); }")
    expect(row(page, "e")).to_have_attribute("aria-selected", "true")
    assert page.evaluate("() => window.names") == "not called"


def test_menus_and_columns(page):
    show(page, make_profile([0.5, 0.1, 0.2, 0.2], op_type=OPS))
    page.get_by_label("Op type").first.select_option("Conv")
    assert rows(page) == ["/block0/conv_0", "/block0/add_2"]
    expect(page.locator(".ep-count")).to_have_text("2 of 4")
    page.get_by_text("Columns", exact=True).click()
    page.locator(".ep-lt-choice").get_by_label("Original nodes").check()
    page.locator(".ep-lt-choice").get_by_label("MACs").uncheck()
    changed = page.evaluate("() => window.changed.columns")
    assert "nodes" in changed and "macs" not in changed
    expect(heads(page, "Original nodes")).to_have_count(1)
    expect(heads(page, "MACs")).to_have_count(0)


def test_copied_rows_are_csv_that_no_spreadsheet_runs(page):
    names = ['=cmd|"x",1', "plain", "third"]
    show(page, make_profile([0.5, np.nan, 0.2], name=names), columns=["latency_ms", "macs"], selection=names[:2])
    page.evaluate(
        "() => Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (text) => { window.copied = text; } } })"
    )
    page.get_by_role("button", name="Copy CSV").click()
    expect(page.locator(".ep-lt-status")).to_have_text("Copied 2 selected rows as CSV.")
    table = list(csv.reader(io.StringIO(page.evaluate("() => window.copied"))))
    assert table[0] == ["name", "latency_ms", "latency_low_ms", "latency_high_ms", "macs"]
    assert table[1] == ["'" + names[0], "0.5", "0.475", "0.525", "5000000"] and table[2] == ["plain", "", "", "", ""]


def test_thousands_of_layers_have_few_elements_and_live_data_keeps_everything(page):
    profile = make_profile(np.full(3_000, 0.01), runs=0)
    show(page, profile, sort=["latency_ms"], selection=["/block1/conv_6"], height=400)
    page.locator(".ep-lt").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    assert page.evaluate("() => window.names") == ["/block749/reorderinput_2999"]
    assert "/block749/reorderinput_2999" in rows(page) and page.locator(".ep-lt-rows .ep-lt-row").count() < 60
    top = page.evaluate("() => document.querySelector('.ep-lt').scrollTop")
    page.evaluate(f"() => window.view.set({{ data: {as_json(make_profile(np.full(3_000, 0.02), runs=0))} }})")
    expect(page.locator(".ep-lt-foot")).to_contain_text("1 selected")
    assert top > 60_000 and page.evaluate("() => document.querySelector('.ep-lt').scrollTop") == top
    expect(row(page, "/block749/reorderinput_2999")).to_contain_text("20.0 µs")


def test_estimated_says_so_when_embedded_and_a_narrow_page_does_not_scroll(page):
    page.set_viewport_size({"width": 420, "height": 700})
    show(page, make_profile(origin="estimated", name=["<img src=x onerror='window.pwned=1'>", "b\u202ec", "c", "d"]), embedded=True)
    expect(page.locator(".ep-legend")).to_contain_text("estimated, not measured")
    expect(page.locator(".ep-head")).to_be_hidden()
    assert page.evaluate("() => document.documentElement.scrollWidth <= 420 && window.pwned === undefined")
    assert "\u202e" not in page.locator("#view").inner_text() and page.locator("#view img").count() == 0


def test_no_layers(page):
    profile = make_profile(runs=0)
    show(page, replace(profile, layers=profile.layers.iloc[:0]))
    expect(page.locator(".ep-empty")).to_contain_text("This profile has no layers. Profile a model")
    page.evaluate(f"() => window.view.set({{ data: {as_json(profile)} }})")
    assert len(rows(page)) == 5 and page.evaluate("() => window.errors") == []
