"""The graph module in a plain page, as the HTML report uses it: no Jupyter."""

import json

import pytest
from playwright.sync_api import expect

from edgeprof.figures.graph import graph
from edgeprof.figures.graph_compose import compose
from edgeprof.figures.modules import script, style
from edgeprof.testing import make_profile
from tests.figures.graphs import blocks_model, make_model, profile_of

pytestmark = pytest.mark.ui

PAGE = """<!doctype html><meta charset="utf-8"><style>{css}</style><body style="margin:0"><div id="view"></div><script type="module">{js}
const errors = window.errors = [];
window.changes = [];
addEventListener("error", (e) => errors.push(e.message));
window.compose = compose;
window.view = renderGraph(document.getElementById("view"), {data}, {{ theme: "light", ...{options},
  onSelect: (names) => (window.names = names), onChange: (values) => window.changes.push(values) }});
</script>"""


def as_text(view):
    return json.dumps(view.to_json()).replace("<", "\\u003c")


def show(page, profile, collapse="auto", **options):
    """Shows ``profile`` in ``page``; returns what Python computed."""
    view = graph(profile, collapse=collapse)
    page.set_content(PAGE.format(css=style("graph"), js=script("graph"), data=as_text(view), options=json.dumps(options)))
    page.wait_for_function("() => window.view")
    return view


def place_of(page, key):
    """Where a box stands in the window, its upper left corner and size."""
    code = """(key) => { const b = view.places.get(key); const p = view.plot.getBoundingClientRect();
        const at = { x: p.left + (b.x - view.at.x) * view.zoom, y: p.top + (b.y - view.at.y) * view.zoom };
        return { ...at, w: b.w * view.zoom, h: b.h * view.zoom }; }"""
    return page.evaluate(code, key)


def click(page, key, *held):
    box = place_of(page, key)
    for other in held:
        page.keyboard.down(other)
    page.mouse.click(box["x"] + box["w"] / 2, box["y"] + box["h"] / 2)
    for other in held:
        page.keyboard.up(other)


def names(page):
    return page.evaluate("() => window.names")


@pytest.mark.parametrize("folded", [[], ["block1"], ["block0", "block1", "block2"]])
def test_places_are_those_that_python_computes(page, folded):
    view = show(page, profile_of(blocks_model(3)), collapsed=folded)
    seen = page.evaluate("() => [...view.drawn.boxes, ...view.drawn.frames].map((b) => [b.item, b.x, b.y, b.w, b.h])")
    ours = compose(view, folded)
    for came, expected in zip(sorted(seen), sorted([*ours.boxes, *ours.frames]), strict=True):
        assert came == pytest.approx(list(expected), abs=0.01)
    lines = page.evaluate("() => view.drawn.lines.map((line) => [line.e, line.points])")
    ends = {e: (points[:2], points[-2:]) for e, points in lines}
    assert len(ends) == len(ours.lines)
    for e, points in ours.lines:
        assert ends[e][0] == pytest.approx(points[0], abs=0.01) and ends[e][1] == pytest.approx(points[-1], abs=0.01)


def test_clicks_select_layers_and_nodes_of_one_layer_go_together(page):
    show(page, profile_of(blocks_model(2), fused=2))
    click(page, "node 1")
    assert names(page) == ["/stem/Conv"], "stem and the first node of block0 are one layer"
    assert page.evaluate("() => [...view.places.values()].filter((b) => b.kind === 0 && view.isChosen(b)).map((b) => b.ref)") == [0, 1]
    click(page, "node 2", "Control")
    assert names(page) == ["/stem/Conv", "/block0/Relu"]
    click(page, "node 2", "Control")
    assert names(page) == ["/stem/Conv"]
    page.keyboard.press("Escape")
    assert names(page) == []


def test_a_block_opens_folds_and_selects_what_it_holds(page):
    show(page, profile_of(blocks_model(3)), collapse="all")
    click(page, "block 2")
    assert names(page) == ["/block1/a/Conv", "/block1/Relu", "/block1/b/Conv", "/block1/Add"]
    page.keyboard.press("Enter")
    assert page.evaluate("() => window.changes") == [{"collapsed": ["block0", "block2"]}]
    assert page.evaluate("() => view.drawn.frames.length") == 1
    box = place_of(page, "block 2")
    page.mouse.click(box["x"] + 14, box["y"] + 12)
    assert page.evaluate("() => window.changes.at(-1)") == {"collapsed": ["block0", "block1", "block2"]}
    page.get_by_role("button", name="Open all").click()
    assert page.evaluate("() => [view.drawn.frames.length, window.changes.at(-1).collapsed]") == [3, []]
    page.get_by_role("button", name="Fold all").click()
    assert page.evaluate("() => view.drawn.frames.length") == 0


def test_selection_from_outside_comes_into_the_window(page):
    show(page, profile_of(blocks_model(40)), collapse="none")
    page.evaluate("() => view.select(['/block30/Relu'])")
    box, plot = place_of(page, "node 122"), page.locator(".ep-plot").bounding_box()
    assert plot["y"] < box["y"] < plot["y"] + plot["height"] and names(page) is None
    page.evaluate("() => view.set({ collapsed: view.data.blocks.slice(1).map((b) => b.name) })")
    assert page.evaluate("() => [...view.places.values()].filter((b) => view.isChosen(b)).map((b) => view.keyOf(b))") == ["block 31"]


def test_arrows_walk_along_edges_and_space_selects(page):
    show(page, profile_of(make_model(["a", "b", "c", "d"], [(0, 1), (0, 2), (1, 3), (2, 3)])))
    page.locator(".ep-plot").focus()
    walked = []
    for key in ("Home", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "End"):
        page.keyboard.press(key)
        walked.append(page.evaluate("() => view.active"))
    sides = walked[2:4]
    assert walked[:2] == ["node 4", "node 0"] and sorted(sides) == ["node 1", "node 2"] and walked[4] == sides[0]
    assert walked[5] == "node 3" and walked[6] in sides and walked[7] == "node 5"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    assert names(page) == ["d"]
    expect(page.locator(".ep-voice")).to_contain_text("MatMul, d, Latency 180 µs, selected")


def test_the_card_says_layer_number_and_fate(page):
    show(page, profile_of(blocks_model(1), fused=2, fates={"/block0/Relu": "removed"}))
    card = page.locator(".ep-card")
    box = place_of(page, "node 1")
    page.mouse.move(box["x"] + 30, box["y"] + 20)
    for text in ("/block0/a/Conv", "1×8 float32", "/stem/Conv (one layer with 1 other node)", "100 µs [95, 105]"):
        expect(card).to_contain_text(text)
    box = place_of(page, "node 2")
    page.mouse.move(box["x"] + 30, box["y"] + 20)
    expect(card).to_contain_text("Removed: has no effect on the result.")
    expect(page.locator(".ep-legend")).to_contain_text("no layer runs it")


def test_another_metric_recolours_and_search_counts(page):
    show(page, profile_of(blocks_model(2)))
    page.get_by_label("Colour").select_option("macs")
    assert page.evaluate("() => window.changes") == [{"metric": "macs"}]
    expect(page.locator(".ep-legend-title")).to_have_text("MACs")
    page.locator(".ep-plot").focus()
    page.keyboard.press("/")
    page.keyboard.type("relu")
    expect(page.locator(".ep-count")).to_have_text("2 of 10")
    page.keyboard.press("Enter")
    assert page.evaluate("() => view.active") == "node 2"
    page.keyboard.press("/")
    page.keyboard.type("/[/")
    page.keyboard.press("Escape")
    expect(page.locator(".ep-count")).to_have_text("10 nodes")


def test_the_wheel_zooms_where_it_points_once_the_graph_has_the_focus(page):
    show(page, profile_of(blocks_model(30)), collapse="none")
    plot = page.locator(".ep-plot").bounding_box()
    page.mouse.move(plot["x"] + 100, plot["y"] + 100)
    before = page.evaluate("() => view.zoom")
    page.mouse.wheel(0, 240)
    page.locator(".ep-plot").focus()
    assert page.evaluate("() => view.zoom") == before
    page.mouse.wheel(0, 240)
    page.wait_for_function("(before) => view.zoom < before", arg=before)
    page.keyboard.press("0")
    assert page.evaluate("() => view.drawn.height * view.zoom < view.plan.height")
    page.keyboard.press("+")
    assert page.evaluate("() => view.zoom > view.wholeZoom()")


def test_new_data_keeps_selection_zoom_and_folding(page):
    profile = profile_of(blocks_model(3))
    show(page, profile, collapse="all", selection=["/block1/Relu"])
    page.evaluate("() => { view.toggle(1); view.zoomBy(1.3); }")
    before = page.evaluate("() => [view.zoom, view.at, view.options.collapsed, view.selection()]")
    slower = profile_of(blocks_model(3), latencies=[0.5] * 14)
    page.evaluate(f"() => view.set({{ data: {as_text(graph(slower))} }})")
    assert page.evaluate("() => [view.zoom, view.at, view.options.collapsed, view.selection()]") == before
    assert page.evaluate("() => view.data.arrays.latency_ms[0]") == 0.5
    page.evaluate(f"() => view.set({{ data: {as_text(graph(profile_of(make_model(['a'], []))))} }})")
    assert page.evaluate("() => [view.drawn.boxes.length, view.selection(), window.errors]") == [3, [], []]


def test_no_graph_says_what_to_do_and_embedded_has_no_header(page):
    show(page, make_profile(), embedded=True)
    expect(page.locator(".ep-empty")).to_contain_text("Profile the model again")
    assert not page.locator(".ep-head").is_visible() and not page.locator(".ep-plot").is_visible()


def test_names_are_text_and_never_markup(page):
    show(page, profile_of(make_model(["<img src=x onerror='window.pwned=1'>", "evil\u202egnp.exe"], [(0, 1)])))
    for node, text in ((0, "<img src=x"), (1, "evil\\u202egnp.exe")):
        box = place_of(page, f"node {node}")
        page.mouse.move(box["x"] + 30, box["y"] + 20)
        expect(page.locator(".ep-card")).to_contain_text(text)
    assert page.evaluate("() => window.pwned") is None and page.locator("#view img").count() == 0


def test_a_narrow_page_has_no_sideways_scrolling(page):
    page.set_viewport_size({"width": 420, "height": 900})
    show(page, profile_of(blocks_model(3)))
    assert page.evaluate("() => document.documentElement.scrollWidth <= 420")
