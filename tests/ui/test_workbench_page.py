"""The frame of the Workbench on a plain page: its states, keys, focus, roles and contrasts, with a host that only keeps what it is told."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

import edgeprof as ep
from edgeprof.figures.modules import script, style
from edgeprof.testing import make_profile
from edgeprof.workbench.page import _module
from edgeprof.workbench.views import MODULES, VIEWS, Views

pytestmark = pytest.mark.ui

SAMPLES = Path(__file__).parents[2] / "sample_models"
CONV = "/stem/conv/Conv"
TOLD = ("head", "subjects", "shown", "against", "selected", "can_go", "versions", "empty", "offers", "decide", "tasks", "notes", "lane",
        "arrangement")  # fmt: skip

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Workbench</title><style>body {{ margin: 0; }} {css}</style>
<body><main id="view"></main>{modules}<script type="module">{js}
const heard = {{}};
const {{ state, views, answers, theme }} = {data};
window.acts = [];
window.sent = [];
window.tell = (values) => {{
  Object.assign(state, values);
  for (const name of Object.keys(values)) for (const fn of heard[name] ?? []) fn(values[name]);
}};
const host = {{
  live: true,
  get: (name) => state[name],
  set: (values) => (Object.assign(state, values), window.sent.push(values)),
  on: (name, fn) => ((heard[name] ??= []).push(fn), () => {{}}),
  act: async (name, values) => (window.acts.push([name, values]), answers[name] ?? {{}}),
  view: async (name) => {{ if (!views[name]) throw new Error("no data"); return views[name]; }},
  module: async (name) => globalThis.edgeprofViews[name],
}};
window.workbench = renderWorkbench(document.getElementById("view"), host, {{ theme }});
</script></body></html>"""
CSS, JS = style("workbench", *MODULES), script("workbench")
MODULE_SCRIPTS = "".join(f'<script type="module">{_module(name)}</script>' for name in MODULES)

STICKING_OUT = """() => { const root = document.querySelector('.ep-workbench'), wrong = [];
    for (const el of root.querySelectorAll('*')) {
        if (el.closest('svg, option, .ep-voice, [hidden], details:not([open]) > :not(summary)') || !el.getClientRects().length) continue;
        let box = el.parentElement; // the pane it is in, or what cuts or scrolls it before that
        while (box !== root && !box.matches('.wb-pane') && getComputedStyle(box).overflowX === 'visible') box = box.parentElement;
        if (box !== root && !box.matches('.wb-pane')) continue;
        const [a, b] = [el.getBoundingClientRect(), box.getBoundingClientRect()];
        if (a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1)
            wrong.push(`${el.tagName} ${el.className} ${[a.left, a.right, b.left, b.right].map(Math.round)}`);
    }
    return wrong; }"""
"""Elements that stick out of their pane."""

NAMELESS = """() => [...document.querySelectorAll('.ep-workbench :is(button, select, input, [role=tab], [role=radio], [role=progressbar])')]
    .filter((el) => el.getClientRects().length)
    .filter((el) => !(el.getAttribute('aria-label') || el.closest('label')?.textContent.trim()))
    .filter((el) => el.tagName !== 'BUTTON' || !el.textContent.trim())
    .map((el) => el.outerHTML.slice(0, 200))"""
"""Controls without a name."""

PALE = """() => { const wrong = [];
    const parse = (text) => { const c = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
        c.fillStyle = text; c.fillRect(0, 0, 1, 1); const d = c.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; };
    const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a));
    const light = (rgb) => { const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const ground = (el) => { const own = parse(getComputedStyle(el).backgroundColor);
        return own[3] === 1 ? own.slice(0, 3) : over(own, el.parentElement ? ground(el.parentElement) : [255, 255, 255]); };
    for (const el of document.querySelectorAll('.ep-workbench *')) {
        const text = [...el.childNodes].filter((node) => node.nodeType === 3).map((node) => node.textContent.trim()).join('');
        if (!text || !el.getClientRects().length || el.closest(':disabled, [hidden], option, .ep-voice')) continue;
        const under = ground(el), color = over(parse(getComputedStyle(el).color), under);
        const [a, b] = [light(color), light(under)].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) wrong.push(`${el.className} "${text.slice(0, 30)}" ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
    }
    return wrong; }"""
"""Texts whose contrast is below 4.5, as WCAG AA wants it; those of controls that are disabled may be."""


def told_of(wb, **changes):
    """What a Workbench tells, with changes."""
    return {name: getattr(wb, name) for name in TOLD} | changes


def show(page, wb, *, theme="light", answers=None, **changes):
    """Shows what ``wb`` tells, with changes, and waits until its three views are drawn or say why not."""
    subjects = wb._subjects()
    views = {}
    for name in VIEWS:
        if wb.shown in subjects and name not in wb.empty and name != "table":
            views[name] = {part: view.to_json() for part, view in Views().make(name, subjects, wb.shown, wb.against, {}).items()}
    told = {"state": told_of(wb, **changes), "views": views, "answers": answers or {}, "theme": theme}
    data = json.dumps(told).replace("<", "\\u003c")
    page.set_content(PAGE.format(css=CSS, js=JS, modules=MODULE_SCRIPTS, data=data))
    page.wait_for_function("() => window.workbench && !document.querySelector('.wb-pane[aria-busy]')")
    expect(page.locator(".wb-body > .ep-view, .wb-body > .ep-empty")).to_have_count(3)
    expect(page.locator(".ep-error")).to_have_count(0)
    return page


def choose(page, name):
    page.get_by_role("tab", name=name, exact=True).click()
    page.wait_for_function("() => !document.querySelector('.wb-pane[aria-busy]')")
    expect(page.locator(".wb-body > .ep-view, .wb-body > .ep-empty")).to_have_count(3)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return tmp_path_factory.mktemp("workbench")


@pytest.fixture(scope="module")
def deciding(study):
    """A Workbench of a measured model with something selected and something decided; nothing runs."""
    wb = ep.Workbench(SAMPLES / "dscnn_mnist.edgeprof", model=SAMPLES / "dscnn_mnist.onnx", study=study / "a", widths=())
    wb.bench.shown = "p1"
    wb.selection = [CONV]
    wb.bench.decide(precision="int8-weights")
    yield wb
    wb.close()


@pytest.fixture(scope="module")
def unmeasured(study):
    """A Workbench of a model that nobody measured."""
    wb = ep.Workbench(SAMPLES / "dscnn_mnist.onnx", study=study / "b")
    yield wb
    wb.close()


RUNNING = [
    {"id": 4, "title": "Measure dscnn_mnist", "phase": "measure 340/1,000", "part": 0.34},
    {"id": 5, "title": "Learn a board with quite a long name of its own", "phase": "waiting", "part": None},
]
LOST = {
    "id": "task 3", "kind": "error", "title": "It could not be measured.", "action": "measure", "label": "Try again",
    "text": "The board pi5.local was lost after 340 of 1,000 runs. Check its cable and its power.",
}  # fmt: skip
WARNING = {"id": "w", "kind": "warning", "title": "", "text": "The estimate of c3 cannot be read. Estimate it again."}


def long_told(deciding):
    """What is told of a thousand layers with long names, many of them selected and decided."""
    names = [f"/model/backbone/{'stage' * 8}/{i}/{'inverted_residual' * 4}/depthwise/Conv" for i in range(1000)]
    wb = ep.Workbench(make_profile(np.geomspace(0.001, 1, 1000), runs=2, name=names))
    decide = json.loads(json.dumps(deciding.decide))
    decide["chosen"] |= {"title": "1,000 layers selected", "names": names[:40], "more": "and 960 more"}
    decide["recipe"]["decisions"] = [
        {"index": i, "text": f"{name[:60]}: int8-weights", "title": name, "layers": [name]} for i, name in enumerate(names[:200])
    ]
    subjects = [{"key": "p1", "label": names[0]}, {"key": "c1", "label": names[1]}]
    head = json.loads(json.dumps(wb.head))
    head["header"]["model"] = "x" * 300
    return wb, {"decide": decide, "subjects": subjects, "head": head, "notes": [{**LOST, "text": "x" * 600}], "tasks": RUNNING}


# ---- states ----


def test_an_unmeasured_model_says_what_to_do(page, unmeasured):
    show(page, unmeasured)
    expect(page.get_by_role("tabpanel", name="Heatmap")).to_contain_text("Nothing was measured of this model on local yet.")
    page.get_by_role("tabpanel", name="Heatmap").get_by_role("button", name="Measure now").click()
    assert page.evaluate("() => window.acts") == [["measure_base", {}]]
    expect(page.locator(".ep-origin")).to_have_text("not measured yet")
    assert page.evaluate(STICKING_OUT) == [] and page.evaluate(NAMELESS) == []


def test_what_runs_has_a_bar_and_can_be_cancelled(page, unmeasured):
    show(page, unmeasured, tasks=RUNNING)
    bars = page.get_by_role("progressbar")
    expect(bars.first).to_have_attribute("aria-valuenow", "34")
    assert bars.nth(1).get_attribute("aria-valuenow") is None, "not known is no number"
    cancel = page.get_by_role("button", name="Cancel").first
    cancel.focus()
    page.evaluate("(tasks) => window.tell({ tasks })", [{**RUNNING[0], "phase": "measure 350/1,000", "part": 0.35}, RUNNING[1]])
    expect(bars.first).to_have_attribute("aria-valuenow", "35")
    expect(cancel).to_be_focused()
    page.keyboard.press("Enter")
    expect(cancel).to_be_disabled()
    assert page.evaluate("() => window.acts") == [["cancel", {"id": 4}]]
    page.evaluate("() => window.tell({ tasks: [] })")
    expect(bars).to_have_count(0)


def test_a_lost_board_is_an_alert_with_what_to_do(page, deciding):
    show(page, deciding, notes=[LOST])
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("It could not be measured. The board pi5.local was lost")
    alert.get_by_role("button", name="Try again").click()
    alert.get_by_role("button", name="Close this note").click()
    assert page.evaluate("() => window.acts") == [["measure", {}], ["dismiss", {"id": "task 3"}]]


def test_what_no_sensor_measured_is_a_dash(page, deciding):
    show(page, deciding)
    change = page.locator(".wb-change")
    expect(change).to_contain_text(re.compile(r"Energy\s*not known\s*–"))
    assert page.locator(".wb-change .wb-bar-of").count() < page.locator(".wb-change dt").count(), "no bar for what is not known"


def test_an_estimate_says_so_at_the_top_and_beside_what_it_changes(page, deciding):
    estimate = replace(make_profile(), origin="estimated", parent="ab" * 32)
    show(page, ep.Workbench(estimate), decide=deciding.decide)
    expect(page.locator(".ep-head .ep-origin-estimated").first).to_contain_text("estimated")
    expect(page.locator(".wb-decide .ep-origin-estimated")).to_have_text("estimated")


@pytest.mark.parametrize("width", [700, 1240])
def test_a_thousand_long_names_stay_in_their_panes(page, deciding, width):
    page.set_viewport_size({"width": width, "height": 1400})
    wb, changes = long_told(deciding)
    show(page, wb, **changes)
    for name in ("Heatmap", "Icicle", "Table", "Roofline", "Pareto", "Memory", "Graph"):
        choose(page, name)
        assert page.evaluate(STICKING_OUT) == [], name
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate(NAMELESS) == []
    expect(page.locator(".wb-chip").first).to_contain_text("…")
    assert page.locator(".wb-chip").first.get_attribute("title") == changes["decide"]["chosen"]["names"][0]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_can_be_read_in_both_themes(page, deciding, theme):
    show(page, deciding, theme=theme, notes=[LOST, WARNING, {**WARNING, "id": "i", "kind": "info"}], tasks=RUNNING,
         answers={"code": {"text": "import edgeprof as ep"}})  # fmt: skip
    page.get_by_role("button", name="Copy as code").click()
    expect(page.locator(".wb-sheet pre")).to_be_visible()
    assert page.evaluate(PALE) == []
    for name in ("Icicle", "Table", "Side by side", "Roofline", "Difference", "Memory"):
        choose(page, name)
        assert page.evaluate(PALE) == [], name


# ---- keys and focus ----


def test_tabs_are_walked_with_the_arrow_keys(page, deciding):
    show(page, deciding)
    tabs = page.locator(".wb-a [role=tab]")
    tabs.first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Icicle")).to_be_focused()
    expect(page.get_by_role("tab", name="Icicle")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tabpanel", name="Icicle").locator(".ep-icicle")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Side by side")).to_be_focused()
    assert tabs.evaluate_all("(tabs) => tabs.map((tab) => tab.tabIndex)") == [-1, -1, -1, -1, 0], "one stop for Tab"
    assert page.evaluate("() => window.sent.at(-1)") == {"arrangement": {"a": "candidates"}}


def test_brackets_and_ctrl_z_are_the_workbenchs_but_not_in_a_field(page, deciding):
    show(page, deciding)
    page.get_by_role("button", name="Copy as code").focus()
    for key in ("[", "]", "Control+z", "Control+Shift+Z"):
        page.keyboard.press(key)
    assert [name for name, _ in page.evaluate("() => window.acts")] == ["back", "forward", "undo", "redo"]
    page.get_by_label("Search layers").first.focus()
    page.keyboard.type("[x]")
    page.keyboard.press("Control+z")
    assert len(page.evaluate("() => window.acts")) == 4


def test_focus_stays_where_it_is_when_parts_are_drawn_anew(page, deciding):
    one, two, three = ({"key": key, "label": key} for key in ("p1", "c1", "c2"))
    show(page, deciding, notes=[LOST], can_go=[True, True], subjects=[one, two])
    for part, new, controls in (
        ("decide", deciding.decide, ["[data-focus='precision fp32']", "[data-focus=undo]", "[data-focus=measure]", ".wb-recipe .wb-icon"]),
        ("can_go", [True, True], [".wb-bar .wb-icon"]),
        ("subjects", [one, two, three], [".wb-bar select"]),
        ("notes", [WARNING, LOST], ["[role=alert] .wb-button"]),
        ("head", deciding.head, [".ep-findings summary"]),
    ):
        for control in controls:
            page.locator(control).first.focus()
            page.evaluate("() => (window.before = document.activeElement)")
            page.evaluate("([name, value]) => window.tell({ [name]: value })", [part, new])
            assert not page.evaluate("() => window.before.isConnected"), f"{control} was not drawn anew"
            expect(page.locator(control).first).to_be_focused()


def test_the_slider_is_not_taken_out_of_the_hand(page, deciding):
    show(page, deciding)
    slider = page.get_by_label("Part of the output channels to prune")
    slider.focus()
    slider.evaluate("(input) => { input.value = 0.5; input.dispatchEvent(new Event('input')); window.held = input; }")
    page.evaluate("(decide) => window.tell({ decide })", deciding.decide)
    assert page.evaluate("() => window.held.isConnected && window.held.value === '0.5'")
    expect(page.locator(".wb-slider output")).to_have_text("50 %")
    slider.evaluate("(input) => input.dispatchEvent(new Event('change'))")
    assert page.evaluate("() => window.acts") == [["decide", {"prune": 0.5}]]
    page.evaluate("(decide) => window.tell({ decide })", deciding.decide)
    expect(page.locator(".wb-slider output")).to_have_text("0 %")
    expect(slider).to_be_focused()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => window.acts.at(-1)") == ["decide", {"prune": 0.125}]


# ---- sheets ----


def test_the_code_is_shown_as_it_is_and_closed_again(page, deciding):
    code = "import edgeprof as ep\n\nname = '<b>\u202e</b>'\n"
    show(page, deciding, answers={"code": {"text": code}})
    opener = page.get_by_role("button", name="Copy as code")
    opener.click()
    assert page.locator(".wb-sheet pre").text_content() == code and page.locator(".wb-sheet b").count() == 0
    page.locator(".wb-sheet").get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator(".wb-sheet")).to_contain_text(re.compile("Copied|Selected: copy it with Ctrl"))
    assert page.evaluate(NAMELESS) == []
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator(".wb-sheet")).to_be_hidden()
    expect(opener).to_be_focused()


def test_saving_says_what_came_of_it(page, deciding):
    choices = [{"what": "recipe", "title": "Recipe", "load": True, "hint": "What is decided.", "path": "a.recipe.toml"},
               {"what": "page", "title": "Page", "load": False, "hint": "One HTML file.", "path": "a.html"}]  # fmt: skip
    show(page, deciding, answers={"save_choices": {"choices": choices}, "save": {"text": "Saved as b.html."}})
    page.get_by_role("button", name="Save…").click()
    sheet = page.locator(".wb-sheet")
    sheet.get_by_label("Page").fill("b.html")
    sheet.get_by_role("button", name="Save").nth(1).click()
    expect(sheet).to_contain_text("Saved as b.html.")
    sheet.get_by_role("button", name="Load").click()
    expect(sheet).to_contain_text("That did not work: the note above says why.")
    said = [["save", {"what": "page", "path": "b.html"}], ["load", {"what": "recipe", "path": "a.recipe.toml"}]]
    assert page.evaluate("() => window.acts.slice(1)") == said
    assert page.evaluate(STICKING_OUT) == [] and page.evaluate(NAMELESS) == []


# ---- roles, names, views ----


def test_roles_and_names(page, deciding):
    show(page, deciding)
    expect(page.get_by_role("region", name="Workbench")).to_be_visible()
    expect(page.get_by_role("toolbar", name="Workbench")).to_be_visible()
    expect(page.get_by_role("complementary", name="Decide")).to_be_visible()
    expect(page.get_by_role("tablist")).to_have_count(3)
    for name in ("Heatmap", "Pareto", "Graph"):
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
    group = page.get_by_role("radiogroup", name="Precision of the selected layers")
    expect(group.get_by_role("radio", checked=True)).to_have_text("int8 weights")
    expect(page.get_by_role("slider", name="Part of the output channels to prune")).to_be_visible()
    assert page.evaluate(NAMELESS) == []
    for name in ("Icicle", "Table", "Timeline", "Roofline", "Memory"):
        choose(page, name)
        assert page.evaluate(NAMELESS) == [], name


def test_a_view_is_shown_over_the_whole_width_and_back(page, deciding):
    page.set_viewport_size({"width": 1400, "height": 1200})
    show(page, deciding)
    wide = page.locator(".wb-c").get_by_role("button", name="Whole width")
    before = page.locator(".wb-c").bounding_box()["width"]
    wide.click()
    expect(wide).to_have_attribute("aria-pressed", "true")
    assert page.locator(".wb-c").bounding_box()["width"] > 1.8 * before and page.evaluate(STICKING_OUT) == []
    wide.click()
    assert page.locator(".wb-c").bounding_box()["width"] == pytest.approx(before)


def test_a_view_that_fails_says_so_in_its_pane_and_the_others_live(page, deciding):
    show(page, deciding)
    page.evaluate("() => { globalThis.edgeprofViews.memory = { renderMemory() { throw new Error('no such thing'); } }; }")
    page.get_by_role("tab", name="Memory").click()
    expect(page.locator(".wb-c .ep-error[role=alert]")).to_contain_text("This view could not be drawn: no such thing")
    page.get_by_role("tab", name="Graph").click()
    expect(page.locator(".wb-c .ep-graph")).to_be_visible()
    expect(page.locator(".ep-error")).to_have_count(0)


def test_names_are_text_everywhere_in_the_frame(page, deciding):
    show(page, deciding)
    for name in ("<img src=x onerror='window.pwned = 1'>", "evil\u202egnp.exe", "x" * 10_000, "two\nlines"):
        decide = json.loads(json.dumps(deciding.decide))
        decide["chosen"] |= {"names": [name], "hints": [name[:200]]}
        decide["recipe"]["decisions"] = [{"index": 0, "text": name[:120], "title": name, "layers": [name]}]
        head = json.loads(json.dumps(deciding.head))
        head["header"]["model"] = name
        told = {
            "decide": decide, "head": head, "subjects": [{"key": "p1", "label": name}, {"key": "b", "label": name}],
            "tasks": [{**RUNNING[0], "title": name[:90], "phase": name[:60]}], "notes": [{**LOST, "title": name, "text": name}],
        }  # fmt: skip
        page.evaluate("(told) => window.tell(told)", told)
        expect(page.locator(".ep-model").first).to_have_text(name.replace("\u202e", "\\u202e").replace("\n", "\\u000a"))
        assert page.evaluate("() => window.pwned") is None and page.locator("#view img").count() == 0
        assert "\u202e" not in page.locator("#view").inner_text()
        raw = (
            "() => [...document.querySelectorAll('#view [title]')].filter((el) => /[\\u202e\\n]/.test(el.title)).map((el) => el.outerHTML)"
        )
        assert page.evaluate(raw) == []
        assert page.evaluate(STICKING_OUT) == [], name[:20]
