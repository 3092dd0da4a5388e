"""The icicle in a plain page, as the HTML report would use it: no Jupyter."""

import json
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from edgeprof.figures.icicle import icicle
from edgeprof.figures.modules import script, style
from edgeprof.testing import make_profile
from edgeprof.widgets.base import compact

pytestmark = pytest.mark.ui

PAGE = """<!doctype html><meta charset="utf-8"><style>{css}</style><body style="margin:0"><div id="view"></div><script type="module">{js}
const errors = window.errors = [];
addEventListener("error", (e) => errors.push(e.message));
window.view = renderIcicle(document.getElementById("view"), {data}, {{ theme: "light", ...{options},
  onSelect: (names) => (window.names = names), onChange: (values) => (window.changed = values) }});
</script>"""

NAMES = ["/m/a/x/p", "/m/a/x/q", "/m/a/r", "/m/b/s", "/m/b/t", "/m/u"]
WIDTHS = [1.0, 1.0, 2.0, 2.0, 2.0, 2.0]  # ms, of 10


def small(latencies=WIDTHS, **columns):
    return make_profile(latencies, runs=0, name=NAMES, source_nodes=[[n] for n in NAMES], plain_ms=np.nansum(latencies), **columns)


def as_json(profile):
    return json.dumps(icicle(profile).to_json()).replace("<", "\\u003c")


def show(page, profile, **options):
    """Shows ``profile`` in ``page``."""
    page.set_content(PAGE.format(css=style("icicle"), js=compact(script("icicle")), data=as_json(profile), options=json.dumps(options)))
    page.wait_for_function("() => window.view")
    return page


def point(page, ms, row):
    """Where a bar is: of the time on the axis, and of the row of blocks, or of the layers with row None."""
    return page.evaluate(
        """([ms, row]) => { const v = window.view;
            return { x: v.x(ms), y: row === null ? (v.plan.layers + v.plan.bottom) / 2 : v.levelTop(row) + 10 }; }""",
        [ms, row],
    )


def click(page, ms, row=None, **options):
    page.locator(".ep-icicle-chart").click(position=point(page, ms, row), **options)


def names(page):
    return page.evaluate("() => window.names")


def shown(page):
    """What is shown of the axis, in ms."""
    return page.evaluate("() => window.view.view")


def test_clicks_select_layers_and_blocks(page):
    show(page, small())
    click(page, 1.5)
    assert names(page) == ["/m/a/x/q"]
    click(page, 3.0, 1, modifiers=["Control"])  # block a
    assert names(page) == NAMES[:3]
    click(page, 5.0, 1)
    assert names(page) == NAMES[3:5]
    click(page, 3.0, 2)  # below block a hangs what is in no block within it
    assert names(page) == NAMES[:3]
    click(page, 9.0)
    click(page, 0.5, modifiers=["Shift"])
    assert names(page) == NAMES
    page.evaluate("() => { window.names = 'not called'; window.view.select(['/m/u']); }")
    assert names(page) == "not called"


def test_hover_says_everything(page):
    show(page, small([1.0, 1.0, np.nan, 2.0, 2.0, 2.0]))
    page.locator(".ep-icicle-chart").hover(position=point(page, 0.5, None))
    for text in ("/m/a/x/p", "1.00 ms [0.95, 1.05]", "4.10 kB", "Share of all layers", "12.5 %"):
        expect(page.locator(".ep-card")).to_contain_text(text)
    page.locator(".ep-icicle-chart").hover(position=point(page, 0.5, 1))
    for text in ("m/a", "2.00 ms", "25.0 %", "1 of them, so the sum is too small"):
        expect(page.locator(".ep-card")).to_contain_text(text)
    expect(page.locator(".ep-icicle-notes")).to_contain_text("1 of 6 layers have no width: latency not measured.")


def test_zoom_by_double_click_keys_and_wheel_and_out_again(page):
    show(page, small())
    click(page, 9.0)
    page.locator(".ep-icicle-chart").dblclick(position=point(page, 1.0, 1))
    assert shown(page) == [0, 4] and names(page) == ["/m/u"], "what the first of the two clicks selected is undone"
    expect(page.locator(".ep-crumbs")).to_have_text("Whole modelma")
    page.keyboard.press("Backspace")
    assert shown(page) == [0, 10]
    expect(page.locator(".ep-crumbs")).to_be_hidden()
    for key in ("Home", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    assert shown(page) == [0, 2]
    page.keyboard.press("Backspace")
    assert shown(page) == [0, 4], "out to the next block around it"
    page.keyboard.press("Escape")
    assert shown(page) == [0, 10] and names(page) == ["/m/u"]
    page.keyboard.press("Escape")
    assert names(page) == []
    page.mouse.wheel(0, -300)
    page.wait_for_function("() => window.view.zoomed")
    page.get_by_role("button", name="Whole model").click()
    assert shown(page) == [0, 10]


def test_keys_move_and_select_and_say_so(page):
    show(page, small())
    page.locator(".ep-icicle-chart").focus()
    for key in ("ArrowRight", "Space", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert names(page) == NAMES[1:3]
    for key in ("ArrowUp", "ArrowRight", "Space"):  # block a, block b
        page.keyboard.press(key)
    assert names(page) == NAMES[3:5]
    voice = page.locator(".ep-icicle-chart [role=option]")
    expect(voice).to_have_text("block m/b, 2 layers, 4.00 ms, 40.0 %, selected")
    page.keyboard.press("ArrowDown")
    expect(voice).to_have_text("/m/b/s, MatMul, Latency 2.00 ms, selected")


def test_longest_first_other_measures_and_what_lies_between(page):
    show(page, make_profile([0.5, 0.1, 0.2, 1.2], plain_ms=1.9, energy_mj=[1, 5, 1, 1]), selection=["/block0/conv_0"])
    expect(page.locator(".ep-icicle-notes")).to_contain_text("(between layers): −100 µs. The layers sum to more than the whole run.")
    page.get_by_role("radio", name="Longest first").click()
    assert page.evaluate("() => [window.changed, window.view.rank]") == [{"order": "longest"}, [3, 0, 2, 1]]
    page.locator(".ep-icicle-chart").click(position={"x": page.evaluate("() => window.view.x(1.5)"), "y": 150})
    assert names(page) == [], "the second longest was selected already"
    page.get_by_role("combobox", name="Measure").select_option("energy_mj")
    assert page.evaluate("() => window.view.rank") == [1, 0, 2, 3]
    page.get_by_role("combobox", name="Colour").select_option("macs")
    expect(page.locator(".ep-legend")).to_contain_text("MACs")
    page.evaluate("() => window.view.set({ order: 'time', measure: 'latency_ms' })")
    assert shown(page) == [0, pytest.approx(2.0)] and page.evaluate("() => window.changed") == {"color": "macs"}


def test_thousands_of_layers_are_drawn_together_and_zoomed(page):
    show(page, make_profile(np.full(5_000, 0.01), runs=0))
    expect(page.locator(".ep-icicle-notes")).to_contain_text("5\u202f000 layers narrower than half a pixel are drawn together")
    page.locator(".ep-icicle-chart").focus()
    for key in ("End", "ArrowUp", "Enter", "Space"):
        page.keyboard.press(key)
    assert len(names(page)) == 4 and names(page)[-1] == "/block1249/relu_4999"
    expect(page.locator(".ep-icicle-notes")).not_to_contain_text("narrower")


def test_live_data_keeps_selection_zoom_and_focus(page):
    show(page, small(), selection=NAMES[:1])
    page.locator(".ep-icicle-chart").focus()
    for key in ("Home", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    page.evaluate(f"() => window.view.set({{ data: {as_json(small([3.0, 1.0, 2.0, 2.0, 2.0, 2.0]))} }})")
    assert shown(page) == [0, 4] and page.evaluate("() => [...window.view.selected]") == [0]
    page.keyboard.press("Backspace")
    assert shown(page) == [0, 6]
    assert page.evaluate("() => window.errors") == []


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        (replace(make_profile(runs=0), layers=make_profile(runs=0).layers.iloc[:0]), "This profile has no layers. Profile a model"),
        (make_profile([np.nan], macs=[0], param_bytes=[0], activation_bytes=[0]), "no layer has a number above zero for MACs"),
    ],
)
def test_empty_states_say_what_to_do(page, profile, text):
    show(page, profile)
    expect(page.locator(".ep-empty")).to_contain_text(text)


def test_estimated_says_so_when_embedded_and_a_narrow_page_does_not_scroll(page):
    page.set_viewport_size({"width": 420, "height": 700})
    show(page, make_profile(origin="estimated", name=["<img src=x onerror='window.pwned=1'>/a", "b\u202ec/x", "c", "d"]), embedded=True)
    expect(page.locator(".ep-legend")).to_contain_text("estimated, not measured")
    assert page.evaluate("() => document.documentElement.scrollWidth <= 420 && window.pwned === undefined")
    page.set_viewport_size({"width": 1300, "height": 700})
    page.wait_for_function("() => window.view.plan.width > 1200")
    assert page.evaluate("() => window.errors") == []
