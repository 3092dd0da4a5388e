"""The Pareto chart in a plain page: what is clicked, what the keyboard does, what new data keep."""

import json

import pytest
from playwright.sync_api import expect

from edgeprof.figures.modules import script, style
from edgeprof.figures.pareto_view import pareto_view
from tests.figures.test_pareto_view import candidates, point

pytestmark = pytest.mark.ui

PAGE = """<!doctype html><meta charset="utf-8"><style>{css}</style><body style="margin:0"><div id="view"></div><script type="module">{js}
window.told = [];
window.view = renderPareto(document.getElementById("view"), {data}, {{ theme: "light", ...{options},
  onSelect: (keys) => (window.keys = keys), onChange: (values) => window.told.push(values) }});
</script>"""


def sent(profiles, **options):
    """What is sent of ``profiles``, with keys a, b, c ..."""
    return json.dumps(pareto_view(profiles, keys=list("abcdefgh"[: len(profiles)]), **options).to_json()).replace("<", "\\u003c")


def show(page, profiles, data=None, **options):
    """Shows ``profiles`` in ``page``."""
    page.set_content(
        PAGE.format(
            css=style("pareto"),
            js=script("pareto"),
            data=sent(profiles, **{"x": "latency_ms", "y": "top1"} | (data or {})),
            options=json.dumps(options),
        )
    )
    page.wait_for_function("() => window.view")
    return page


def place(page, key):
    """Where in the canvas a candidate is drawn."""
    item = page.evaluate("(key) => { const one = view.items.find((item) => item.key === key); return [one.px, one.py]; }", key)
    return {"x": item[0], "y": item[1]}


def click(page, key, **options):
    page.locator(".ep-plot").click(position=place(page, key), **options)


def test_click_selects_and_control_adds_and_a_double_click_opens(page):
    show(page, candidates())
    click(page, "c")
    assert page.evaluate("keys") == ["c"]
    click(page, "a", modifiers=["Control"])
    assert page.evaluate("keys") == ["a", "c"]
    click(page, "a", modifiers=["Control"])
    assert page.evaluate("keys") == ["c"]
    page.locator(".ep-plot").dblclick(position=place(page, "a"))
    assert page.evaluate("told") == [{"open": "a"}] and page.evaluate("keys") == ["a"]
    page.keyboard.press("Escape")
    assert page.evaluate("keys") == []


def test_the_keyboard_goes_from_point_to_point(page):
    show(page, candidates())
    page.locator(".ep-points").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".ep-card")).to_contain_text("2.00 ms [1.80, 2.20]")
    expect(page.locator(".ep-card")).to_contain_text("estimate −20.0 %")
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    assert page.evaluate("keys") == ["c"]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Shift+ ")
    page.keyboard.press("Enter")
    assert page.evaluate("keys") == ["a", "c"] and page.evaluate("told") == [{"open": "a"}]
    assert "big, Latency 8.0 ms" in page.locator("[role=option]").inner_text()
    assert ", selected" in page.locator("[role=option]").inner_text()


def test_other_axes_have_their_own_front(page):
    show(page, candidates())
    assert page.evaluate("view.items.map((item) => item.key).sort()") == ["a", "b", "c"]
    page.get_by_label("Up").select_option("model_bytes")
    assert page.evaluate("told") == [{"x": "latency_ms", "y": "model_bytes"}]
    assert page.evaluate("view.items.map((item) => item.key).sort()") == ["a", "b", "c", "d"]
    assert page.evaluate("view.frontItems().map((item) => item.key)") == ["c"]
    page.get_by_label("Across").select_option("model_bytes")
    assert page.evaluate("told.at(-1)") == {"x": "model_bytes", "y": "latency_ms"}, "an objective that is on the other axis changes places"
    expect(page.get_by_label("Up")).to_have_value("latency_ms")


def test_new_data_keep_axes_and_selection_and_ring_what_is_new(page):
    page.emulate_media(reduced_motion="no-preference")
    show(page, candidates(), selection=["c", "gone"])
    page.get_by_label("Up").select_option("model_bytes")
    more = [*candidates(), point("new", 1, 0.8, 100_000)]
    page.evaluate(f"() => view.set({{ data: {sent(more)} }})")
    assert page.evaluate("[view.options.x, view.options.y]") == ["latency_ms", "model_bytes"]
    assert page.evaluate("view.selection()") == ["c"] and page.evaluate("window.keys") is None
    expect(page.locator(".ep-arrived")).to_have_count(1)
    page.emulate_media(reduced_motion="reduce")
    page.evaluate(f"() => view.set({{ data: {sent(candidates())} }})")
    page.evaluate("document.querySelectorAll('.ep-arrived').forEach((ring) => ring.remove())")
    page.evaluate(f"() => view.set({{ data: {sent(more)} }})")
    assert page.locator(".ep-arrived").count() == 0
    page.evaluate("() => view.select(['a'])")
    assert page.evaluate("view.selection()") == ["a"]


def test_names_cover_neither_points_nor_each_other(page):
    page.set_viewport_size({"width": 420, "height": 700})
    nets = [point(f"a_long_name_of_a_model_{i}", 1 + i, 0.5 + 0.06 * i, 1000 * i + 1) for i in range(8)]
    show(page, nets)
    named = page.evaluate("view.named.filter(Boolean)")
    points = page.evaluate("view.items.map(({ px, py, r }) => ({ left: px - r, right: px + r, top: py - r, bottom: py + r }))")
    assert len(named) > 3
    for i, one in enumerate(named):
        for other in [*named[:i], *points]:
            apart = one["right"] <= other["left"] or other["right"] <= one["left"]
            assert apart or one["bottom"] <= other["top"] or other["bottom"] <= one["top"]
    assert page.evaluate("document.documentElement.scrollWidth <= 420")


def test_nothing_to_show_says_what_to_do_until_there_is_something(page):
    show(page, [])
    expect(page.locator(".ep-empty")).to_have_text("No candidate has both latency and top-1 accuracy yet: estimate or measure a recipe.")
    page.evaluate(f"() => view.set({{ data: {sent([point('one')])} }})")
    expect(page.locator(".ep-empty")).to_be_hidden()
    assert page.evaluate("view.items.length") == 1


def test_names_are_text_and_never_markup(page):
    show(page, [point("<img src=x onerror='window.pwned=1'>", 1, 0.5), point("</script><b>", 2, 0.9)], embedded=True)
    page.locator(".ep-plot").hover(position=place(page, "a"))
    expect(page.locator(".ep-card")).to_contain_text("<img src=x")
    assert page.evaluate("window.pwned") is None and page.locator("#view img").count() == 0
    expect(page.locator(".ep-head")).to_be_hidden()
