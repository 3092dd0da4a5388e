"""The memory view in a plain page, as the HTML report uses it: no Jupyter."""

import json

import numpy as np
import pytest
from playwright.sync_api import expect

from edgeprof import units
from edgeprof.analysis import peak_owners
from edgeprof.figures.memory import memory
from edgeprof.figures.modules import script, style
from edgeprof.records.context import Memory
from edgeprof.testing import make_profile, make_sensed_profile
from tests.analysis.memory_profiles import NAN, residual, with_memory

pytestmark = pytest.mark.ui

PAGE = """<!doctype html><meta charset="utf-8"><style>{css}</style><body style="margin:0"><div id="view"></div><script type="module">{js}
const errors = window.errors = [];
addEventListener("error", (e) => errors.push(e.message));
window.view = renderMemory(document.getElementById("view"), {data}, {{ theme: "light", ...{options},
  onSelect: (names) => (window.names = names) }});
</script>"""

LEFT, RIGHT = 66, 14
"""Of the chart, as in memory.js."""


def show(page, profile, budget=None, **options):
    """Shows ``profile`` in ``page``."""
    data = json.dumps(memory(profile, budget).to_json()).replace("<", "\\u003c")
    page.set_content(PAGE.format(css=style("memory"), js=script("memory"), data=data, options=json.dumps(options)))
    page.wait_for_function("() => window.view")
    return page


def place(page, profile, layer, nbytes=None):
    """Where in the chart a layer is: in the curve, or at an offset among the bars."""
    box = page.locator(".ep-lives").bounding_box()
    first, last = page.evaluate("() => window.view.view")
    x = LEFT + (layer + 0.5 - first) * (box["width"] - LEFT - RIGHT) / (last - first)
    panel, top = page.evaluate(f"() => [window.view.plan.{'curve' if nbytes is None else 'bars'}, window.view.top]")
    part = 0.02 if nbytes is None else nbytes / top
    return {"x": x, "y": panel["top"] + panel["height"] * (1 - part)}


def click(page, profile, layer, nbytes=None, **options):
    page.locator(".ep-chart").click(position=place(page, profile, layer, nbytes), **options)


def names(page):
    return page.evaluate("() => window.names")


def color_at(page, position):
    return page.evaluate(
        """async ({ x, y }) => { await new Promise(requestAnimationFrame); const c = document.querySelector('.ep-lives');
            const r = c.width / c.clientWidth; return [...c.getContext('2d').getImageData(x * r, y * r, 1, 1).data].slice(0, 3); }""",
        position,
    )


def long_chain(n, **columns):
    rows = [(f"tensor_{i}", "activation", 64.0 * (1 + i % 9), i, min(n - 1, i + 2), i) for i in range(n)]
    return with_memory(rows, layers=n, live=[2000.0] * n, **columns)


def test_owners_are_shown_as_python_counts_them(page):
    profile = make_sensed_profile()
    show(page, profile)
    shown = [row.inner_text().split("\t") for row in page.locator(".ep-owners tbody tr").all()]
    for cells, row in zip(shown, peak_owners(profile).itertuples(), strict=True):
        assert cells[0].startswith(row.tensor)
        assert [cell.strip() for cell in cells[1:]] == [units.size(row.size_bytes), units.share(row.share), row.producer, row.last_consumer]
    expect(page.locator(".ep-owners tfoot")).to_contain_text(units.size(profile.context.memory.peak_bytes))


def test_a_click_on_a_bar_selects_the_layers_that_make_it(page):
    profile = residual()
    show(page, profile)
    click(page, profile, 2, nbytes=200)
    assert names(page) == ["conv1", "relu", "add"]
    click(page, profile, 2, nbytes=480)
    assert names(page) == ["conv2"]
    expect(page.locator(".ep-owners tr.ep-selected")).to_have_count(2)  # the tensor, and the workspace of the layer
    click(page, profile, 2, nbytes=480)
    assert names(page) == []


def test_a_click_on_a_layer_selects_it_and_shift_a_range(page):
    profile = residual()
    show(page, profile)
    click(page, profile, 1)
    assert names(page) == ["relu"]
    click(page, profile, 3, modifiers=["Shift"])
    assert names(page) == ["relu", "conv2", "add"]
    click(page, profile, 2, modifiers=["Control"])
    assert names(page) == ["relu", "add"]


def test_a_click_in_the_table_selects(page):
    show(page, residual())
    page.get_by_role("button", name="c", exact=True).click()
    assert names(page) == ["conv2"]


def test_selected_from_outside_without_telling_back(page):
    show(page, residual(), selection=["conv2"])
    page.evaluate("() => window.view.select(['conv1', 'no such layer'])")
    assert page.evaluate("() => window.view.selection()") == ["conv1"] and names(page) is None


def test_keyboard_and_voice(page):
    show(page, residual())
    page.locator(".ep-chart").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert names(page) == ["relu"]
    option = page.locator("[role=option]")
    expect(option).to_contain_text("relu, Layer 1, Relu, In use 400 B (measured)")
    expect(option).to_have_attribute("aria-selected", "true")
    expect(page.locator(".ep-chart")).to_have_attribute("aria-activedescendant", option.get_attribute("id"))
    page.keyboard.press("Shift+ArrowRight")
    assert names(page) == ["relu", "conv2"]
    page.keyboard.press("ArrowUp")
    expect(option).to_contain_text("tensor b, Size 400 B, Type and shape float32")
    page.keyboard.press("ArrowUp")
    expect(option).to_contain_text("tensor c")
    page.keyboard.press("Enter")
    assert names(page) == ["conv2"]
    page.keyboard.press("Escape")
    assert names(page) == []


def test_the_card_of_a_buffer_and_of_a_layer(page):
    profile = residual()
    show(page, profile)
    page.locator(".ep-chart").hover(position=place(page, profile, 2, nbytes=200))
    card = page.locator(".ep-card")
    for text in ("b", "400 B", "relu", "the caller, after the run", "In place of", "a, y", "layers 0 to 3, 4 in all", "63.3 %", "0 B"):
        expect(card).to_contain_text(text)
    page.locator(".ep-chart").hover(position=place(page, profile, 2))
    for text in ("conv2", "600 B (measured)", "560 B (counted)", "40 B", "632 B", "the peak of the whole run"):
        expect(card).to_contain_text(text)


def test_inputs_stand_apart_as_the_callers(page):
    profile = residual()
    show(page, profile)
    lane = page.evaluate("() => window.view.plan.lanes[0]")
    assert lane["title"] == "held by the caller"
    position = {"x": place(page, profile, 0)["x"], "y": lane["top"] + 5}
    page.locator(".ep-chart").hover(position=position)
    expect(page.locator(".ep-card")).to_contain_text("input, held by the caller: in no sum")
    page.locator(".ep-chart").click(position=position)
    assert names(page) == []


def test_bars_have_the_colour_of_their_op_type_and_of_the_peak(page):
    profile = residual()
    show(page, profile)
    assert color_at(page, place(page, profile, 0, nbytes=40)) == [0x1F, 0x6F, 0xB5]  # convolution
    assert color_at(page, place(page, profile, 1, nbytes=40)) == [0x1D, 0x8A, 0x5F]  # what works in place of it
    page.get_by_role("radio", name="At the peak").click()
    peak = color_at(page, place(page, profile, 0, nbytes=40))
    assert peak == [0x8F, 0x40, 0x23]
    expect(page.locator(".ep-legends")).to_contain_text("alive at the peak")


def test_an_estimate_is_hatched(page):
    profile = residual(origin="estimated")

    def colors():
        position = place(page, profile, 0, nbytes=60)
        return len({tuple(color_at(page, {"x": position["x"] - dx, "y": position["y"]})) for dx in range(12)})

    show(page, profile)
    assert colors() >= 2
    expect(page.locator(".ep-origin-estimated")).to_have_text("estimated, not measured")
    expect(page.locator(".ep-legends")).to_contain_text("in use, estimated")
    profile = residual()
    show(page, profile)
    assert colors() == 1


def test_the_verdict_and_the_line_of_the_budget(page):
    show(page, residual(param_bytes=[100, 0, 68, 0]), "790 B")
    expect(page.locator(".ep-verdict .ep-no")).to_have_count(2)
    assert page.evaluate("() => window.view.showBudget")
    show(page, residual(param_bytes=[100, 0, 68, 0]), "1 MB")
    expect(page.locator(".ep-verdict .ep-yes")).to_have_count(2)
    assert not page.evaluate("() => window.view.showBudget")


def test_zoom_pan_and_back(page):
    profile = long_chain(300)
    show(page, profile)

    def view():
        return page.evaluate("() => window.view.view")

    def width():
        return view()[1] - view()[0]

    chart = page.locator(".ep-chart")
    chart.hover(position=place(page, profile, 150))
    page.mouse.wheel(0, -400)
    assert width() == 300, "the page scrolls until the chart has the focus"
    page.get_by_role("button", name="Zoom in").click()
    assert width() == 150
    chart.focus()
    chart.hover(position=place(page, profile, 60))
    page.mouse.wheel(0, -400)
    page.wait_for_function("() => window.view.view[1] - window.view.view[0] < 140")
    assert view()[0] < 60 < view()[1]
    before = view()[0]
    page.mouse.down()
    page.mouse.move(page.locator(".ep-lives").bounding_box()["x"] + 120, 200, steps=4)
    page.mouse.up()
    assert view()[0] != before and names(page) is None, "a drag moves and selects nothing"
    box = page.locator(".ep-strip").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 30, box["y"] + 8)
    assert view()[1] == 300
    click(page, profile, 290)
    assert names(page) == [profile.layers["name"].iloc[290]]
    chart.dblclick(position=place(page, profile, 280))
    assert width() == 300 and names(page) == [profile.layers["name"].iloc[290]], "a double click shows all and selects nothing"
    expect(page.locator(".ep-strip")).to_be_hidden()


def test_search(page):
    profile = long_chain(300)
    show(page, profile)
    page.locator(".ep-chart").focus()
    page.keyboard.press("/")
    page.keyboard.type("tensor_29")
    expect(page.locator(".ep-count")).to_have_text("11 of 300")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("[role=option]")).to_contain_text("tensor tensor_290")
    page.keyboard.press("Escape")
    expect(page.locator(".ep-count")).to_have_text("300 buffers")


def test_ten_thousand_layers(page):
    profile = long_chain(10_000)
    show(page, profile)
    page.locator(".ep-chart").focus()
    page.keyboard.press("End")
    page.keyboard.press("Space")
    assert names(page) == [profile.layers["name"].iloc[9_999]]
    page.locator(".ep-chart").hover(position=place(page, profile, 5_000, nbytes=100))
    expect(page.locator(".ep-card")).to_contain_text("too small to tell apart: zoom in")
    for _ in range(8):
        page.keyboard.press("+")
    assert page.evaluate("() => window.view.view[1]") == 10_000, "zooming keeps what is active in sight"
    assert page.evaluate("() => window.errors") == []


def test_where_a_pixel_holds_many_layers_the_highest_is_hovered(page):
    peak = [1000.0] * 5000
    peak[2501] = 9000.0
    profile = long_chain(5000, peak=peak)
    show(page, profile)
    page.locator(".ep-chart").hover(position=place(page, profile, 2501))
    expect(page.locator(".ep-card")).to_contain_text(profile.layers["name"].iloc[2501])


def test_names_are_text_and_never_markup(page):
    evil = "<img src=x onerror='window.pwned=1'>"
    rows = [(evil, "activation", 400, 0, 1, 0), ("</script><script>window.pwned=1</script>", "output", 400, 1, 1, 0)]
    profile = with_memory(rows, live=[400, 400], name=[evil + "1", "</script><b>"], memory=Memory({"live_memory_bytes": evil}))
    show(page, profile)
    page.locator(".ep-chart").hover(position=place(page, profile, 0, nbytes=100))
    expect(page.locator(".ep-card")).to_contain_text("<img src=x")
    expect(page.locator(".ep-sources")).to_contain_text("<img src=x")
    expect(page.locator(".ep-owners tbody")).to_contain_text("<img src=x")
    assert page.evaluate("() => window.pwned") is None and page.locator("#view img, #view b:text-is('</b>')").count() == 0


NAN_ROWS = [("a", "activation", NAN, 0, 1, 0)]


@pytest.mark.parametrize(
    ("profile", "texts"),
    [
        (make_profile(), ["says nothing of memory by layer", "This profile has no tensors", "ONNX Runtime 1.28"]),
        (with_memory([], live=[64, NAN], peak=[80, NAN], workspace=[16, 0]), ["This profile has no tensors", "not told apart"]),
        (with_memory(NAN_ROWS, live=[NAN, NAN], peak=[NAN, NAN]), ["1 of 1 buffers have no known size"]),
        (residual(live=None, peak=None, memory=Memory()), ["counted from shapes instead", "memory of the process was not recorded"]),
    ],
    ids=["nothing", "no tensors", "NaN everywhere", "counted"],
)
def test_what_is_missing_is_said(page, profile, texts):
    show(page, profile)
    for text in texts:
        expect(page.locator("#view")).to_contain_text(text)
    assert page.evaluate("() => window.errors") == [] and page.locator(".ep-error").count() == 0
    assert "NaN" not in page.locator("#view").inner_text()


def test_one_layer(page):
    profile = with_memory([("y", "output", 64, 0, 0, 0)], live=[64], peak=[80], workspace=[16])
    show(page, profile)
    click(page, profile, 0, nbytes=10)
    assert names(page) == [profile.layers["name"].iloc[0]]
    expect(page.get_by_role("button", name="Zoom in")).to_be_disabled()


def test_new_data_replaces_the_old(page):
    show(page, residual())
    data = memory(long_chain(20), "1 kB").to_json()
    page.evaluate("(data) => window.view.set({ data })", data)
    expect(page.locator(".ep-count")).to_have_text("20 buffers")
    expect(page.locator(".ep-verdict li")).to_have_count(2)
    page.evaluate("() => window.view.set({ height: 300, theme: 'dark' })")
    expect(page.locator(".ep-memory.ep-dark")).to_be_visible()
    assert page.locator(".ep-lives").bounding_box()["height"] == pytest.approx(300, abs=2)


def test_an_error_is_shown_where_the_view_should_be(page):
    page.set_content(PAGE.format(css=style("memory"), js=script("memory"), data='{"meta": {}, "numbers": ""}', options="{}"))
    expect(page.locator(".ep-error[role=alert]")).to_contain_text("This view could not be drawn")


def test_a_narrow_page_has_no_sideways_scrolling(page):
    page.set_viewport_size({"width": 700, "height": 900})
    show(page, residual(name=["/model/a/very/long/name/" * 6 + str(i) for i in range(4)], memory=Memory({}, 632.0)), "1 kB")
    assert page.evaluate("() => document.documentElement.scrollWidth <= 700")
    page.set_viewport_size({"width": 1500, "height": 900})
    page.wait_for_function("() => document.querySelector('.ep-lives').clientWidth > 1300")


def test_follows_the_system_theme_outside_jupyter(page):
    page.emulate_media(color_scheme="dark")
    show(page, residual(), theme="auto")
    expect(page.locator(".ep-memory.ep-dark")).to_be_visible()
    light = page.evaluate("() => document.querySelector('.ep-lives').toDataURL()")
    page.emulate_media(color_scheme="light")
    expect(page.locator(".ep-memory.ep-light")).to_be_visible()
    page.wait_for_function("(before) => document.querySelector('.ep-lives').toDataURL() !== before", arg=light)


def test_three_hundred_inputs_share_the_last_row_of_their_lane(page):
    rows = [(f"in{i}", "input", 64, -1, 1, i) for i in range(300)] + [("y", "output", 64, 0, 1, 300)]
    show(page, with_memory(rows, live=np.full(2, 64.0)))
    assert page.evaluate("() => [window.view.plan.lanes[0].rows, window.view.plan.lanes[0].crowd]") == [4, 296]


def test_new_data_keep_zoom_search_and_selection(page):
    show(page, long_chain(40))
    page.get_by_label("Search tensors and layers").fill("tensor_1")
    chosen = page.evaluate("() => { view.show(10, 20); view.select([view.data.names[12]]); return view.selection(); }")
    page.evaluate("(data) => view.set({ data })", memory(long_chain(40), "1 kB").to_json())
    kept = page.evaluate("() => [view.view, view.search.value, view.selection(), document.activeElement === view.search]")
    assert kept == [[10, 20], "tensor_1", chosen, True]


@pytest.mark.parametrize("width", [420, 700])
def test_embedded_it_fills_its_height_one_panel_at_a_time(page, width):
    page.set_viewport_size({"width": width, "height": 600})
    show(page, long_chain(40), "1 kB", embedded=True, height=260)
    assert page.locator(".ep-memory").bounding_box()["height"] == pytest.approx(260, abs=1.5)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.locator(".ep-verdict, .ep-table").count() == 0
    page.get_by_role("radio", name="In use").click()
    assert page.evaluate("() => [Boolean(view.plan.curve), Boolean(view.plan.bars)]") == [True, False]
    page.locator(".ep-legend-button").click()
    expect(page.locator(".ep-legends")).to_contain_text("tensors alive")
