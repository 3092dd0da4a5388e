"""The roofline in a plain page: what is clicked, boxed, zoomed, and what new data keep."""

import json

import pytest
from playwright.sync_api import expect

from edgeprof.figures.modules import script, style
from edgeprof.figures.roofline_view import roofline_view
from edgeprof.testing import make_profile
from tests.figures.test_roofline_view import CEILINGS, MEMORY, profile

pytestmark = pytest.mark.ui

PAGE = """<!doctype html><meta charset="utf-8"><style>{css}</style><body style="margin:0"><div id="view"></div><script type="module">{js}
window.view = renderRoofline(document.getElementById("view"), {data}, {{ theme: "light", ...{options},
  onSelect: (names) => (window.names = names) }});
</script>"""


def sent(of, **options):
    return json.dumps(roofline_view(of, **options).to_json()).replace("<", "\\u003c")


def show(page, of=None, *, measured=True, **options):
    """Shows a profile in ``page``."""
    data = sent(of or profile(), **({"ceilings": CEILINGS, "bandwidths": MEMORY} if measured else {}))
    page.set_content(PAGE.format(css=style("roofline"), js=script("roofline"), data=data, options=json.dumps(options)))
    page.wait_for_function("() => window.view")
    return list((of or profile()).measured_layers["name"])


def place(page, name):
    """Where in the canvas a layer is drawn."""
    item = page.evaluate("(key) => { const one = view.items.find((item) => item.key === key); return [one.px, one.py]; }", name)
    return {"x": item[0], "y": item[1]}


def test_the_card_says_what_a_layer_reaches_of_what(page):
    names = show(page)
    page.locator(".ep-plot").hover(position=place(page, names[0]))
    for text in (names[0], "Conv, float32", "500 µs", "20.0 GFLOP/s", "2.00 GB/s", "50.0 %", "compute"):
        expect(page.locator(".ep-card")).to_contain_text(text)
    expect(page.locator(".ep-lines")).to_contain_text("1 layer not shown (no MACs: 1).")


def test_click_box_and_keyboard_select_layers(page):
    names = show(page)
    page.locator(".ep-plot").click(position=place(page, names[1]))
    assert page.evaluate("names") == [names[1]]
    page.locator(".ep-plot").click(position=place(page, names[0]), modifiers=["Control"])
    assert page.evaluate("names") == names[:2]
    box = page.locator(".ep-plot").bounding_box()
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + 80, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] - 60, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert page.evaluate("names") == names[:3]
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert page.evaluate("names") == [names[1]]


def test_the_wheel_zooms_once_the_chart_has_the_focus_and_0_shows_all(page):
    names = show(page)
    before = place(page, names[0])
    wheel = """({ x, y }) => { const canvas = document.querySelector(".ep-plot"), box = canvas.getBoundingClientRect();
        const at = { clientX: box.left + x, clientY: box.top + y, deltaY: -400, cancelable: true };
        return !canvas.dispatchEvent(new WheelEvent("wheel", at)); }"""
    assert page.evaluate(wheel, before) is False and page.evaluate("view.zoomed") is False, "else the page scrolls"
    page.locator(".ep-points").focus()
    assert page.evaluate(wheel, before) is True and page.evaluate("view.zoomed") is True
    assert place(page, names[0]) == pytest.approx(before, abs=8), "what the pointer is on stays where it is, but for wider ticks"
    page.evaluate(f"() => view.set({{ data: {sent(profile())} }})")
    assert page.evaluate("view.zoomed"), "new data keep the zoom"
    page.keyboard.press("0")
    assert page.evaluate("view.zoomed") is False


def test_selected_layers_that_are_no_points_are_kept_and_told(page):
    names = show(page, selection=["gone"])
    page.evaluate("(names) => view.select(names)", names[2:])
    assert page.evaluate("view.selection()") == names[2:]
    expect(page.locator(".ep-lines")).to_contain_text("1 selected layer is not shown (no MACs).")
    page.locator(".ep-plot").click(position=place(page, names[0]), modifiers=["Control"])
    assert page.evaluate("names") == [names[0], *names[2:]]


def test_an_estimate_is_hollow_and_says_so(page):
    show(page, make_profile(origin="estimated"), measured=False, embedded=True)
    assert page.evaluate("view.items.every((item) => item.hollow)")
    expect(page.locator(".ep-legend")).to_contain_text("hollow: estimated")
    page.locator(".ep-points").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".ep-card")).to_contain_text("of the time, estimated)")
    expect(page.locator(".ep-head")).to_be_hidden()


def test_nothing_to_draw_says_what_to_do(page):
    show(page, profile(macs=[0.0, 0.0, 0.0, 0.0]), measured=False)
    expect(page.locator(".ep-empty")).to_contain_text("No layer has both MACs and a latency")
