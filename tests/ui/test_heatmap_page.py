"""The same module in a plain page, as the HTML report uses it: no Jupyter."""

import json

import numpy as np
import pytest
from playwright.sync_api import expect

from edgeprof import units
from edgeprof.figures.heatmap import heatmap, heatmap_runs
from edgeprof.figures.modules import script, style
from edgeprof.testing import make_profile

pytestmark = pytest.mark.ui

PAGE = """<!doctype html><meta charset="utf-8"><style>{css}</style><body style="margin:0"><div id="view"></div><script type="module">{js}
const errors = window.errors = [];
addEventListener("error", (e) => errors.push(e.message));
window.view = renderHeatmap(document.getElementById("view"), {data}, {{ runs: {runs}, theme: "light", ...{options},
  onSelect: (names) => (window.names = names), onSelectRuns: (runs) => (window.chosen = runs),
  onChange: (values) => (window.told = values) }});
</script>"""


def show(page, profile, **options):
    """Shows ``profile`` in ``page``."""
    data, runs = (json.dumps(d.to_json()).replace("<", "\\u003c") for d in (heatmap(profile), heatmap_runs(profile)))
    page.set_content(PAGE.format(css=style("heatmap"), js=script("heatmap"), data=data, runs=runs, options=json.dumps(options)))
    page.wait_for_function("() => window.view")
    return page


def test_numbers_are_shown_as_python_shows_them(page):
    latencies = [1.234e-5, 9.993e-4, 0.001, 0.0123, 0.5, 1.0, 9.996, 123.4, 999.6, 4321.0]
    energies = np.array([3e-6, 0.04, 0.0998, 0.1, 0.9996, 7.26, 123.4, 999.4, 999.6, 54321.0])
    profile = make_profile(latencies, energy_mj=energies, energy_low_mj=energies * 0.9, energy_high_mj=energies * 1.2)
    show(page, profile)
    shown = [row.inner_text().split("\t") for row in page.locator(".ep-table tbody tr").all()]
    layers = profile.layers.sort_values("latency_ms", ascending=False).query("kind != 'between'").head(10)
    for cells, row in zip(shown, layers.itertuples(), strict=True):
        assert cells[0] == row.name
        assert cells[2] == units.latency_interval(row.latency_ms, row.latency_low_ms, row.latency_high_ms)
        assert cells[3:10] == [
            units.share(row.share), units.latency(row.latency_p95_ms),
            units.energy_interval(row.energy_mj, row.energy_low_mj, row.energy_high_mj), units.count(row.macs),
            f"{units.significant(row.arithmetic_intensity, 3)} FLOP/B", units.size(row.param_bytes), units.size(row.activation_bytes),
        ]  # fmt: skip


def test_names_are_text_and_never_markup(page):
    profile = make_profile([0.5, 0.1], name=["<img src=x onerror='window.pwned=1'>", "</script><script>window.pwned=1</script>"])
    show(page, profile)
    page.locator(".ep-scroll").hover(position={"x": 40, "y": 65})
    expect(page.locator(".ep-card")).to_contain_text("<img src=x")
    assert page.evaluate("() => window.pwned") is None and page.locator("#view img").count() == 0


def test_the_card_says_everything_with_units_and_what_was_not_measured(page):
    show(page, make_profile([0.5, 0.1], energy_mj=[1.5, np.nan], energy_low_mj=[1.4, np.nan], energy_high_mj=[1.6, np.nan]))
    page.locator(".ep-scroll").hover(position={"x": 40, "y": 65})
    card = page.locator(".ep-card")
    for text in ("/block0/conv_0", "500 µs [475, 525]", "1.50 mJ [1.40, 1.60]", "4.10 kB", "CPUExecutionProvider", "1×16×32×32"):
        expect(card).to_contain_text(text)
    page.locator(".ep-scroll").hover(position={"x": 40, "y": 87})
    expect(card).to_contain_text("Not measured")


def test_ten_thousand_layers_scroll_and_select(page):
    show(page, make_profile(np.full(10_000, 0.01), runs=1), sort="latency_ms")
    page.locator(".ep-scroll").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    assert page.evaluate("() => window.names") == ["/block2499/matmul_9999"]
    assert page.evaluate("() => document.querySelector('.ep-scroll').scrollTop") > 200_000
    box = page.locator(".ep-map").bounding_box()
    page.mouse.click(box["x"] + 10, box["y"] + box["height"] / 2)
    assert 90_000 < page.evaluate("() => document.querySelector('.ep-scroll').scrollTop") < 130_000


def test_linked_table_selects_and_sorts(page):
    show(page, make_profile([0.5, 0.1, 0.2, 0.3]))
    page.get_by_role("button", name="/block0/matmul_3").click()
    assert page.evaluate("() => window.names") == ["/block0/matmul_3"]
    expect(page.locator(".ep-caption")).to_have_text("Top 4 by latency, 1 selected")
    page.get_by_role("button", name="Op type").click()
    names = [row.inner_text().split("\t")[1] for row in page.locator(".ep-table tbody tr").all()]
    assert names == ["Add", "Conv", "MatMul", "Relu"]


@pytest.mark.parametrize(
    ("runs", "latencies", "mode", "text"), [(0, [0.5], "runs", "no instrumented runs"), (4, None, "metrics", "no layers")]
)
def test_empty_states_say_what_to_do(page, runs, latencies, mode, text):
    profile = make_profile(latencies or [0.5], runs=runs)
    if latencies is None:
        from dataclasses import replace

        profile = replace(profile, layers=profile.layers.iloc[:0], spans=profile.spans.iloc[:0])
    show(page, profile, mode=mode)
    expect(page.locator(".ep-empty")).to_contain_text(text)


def test_follows_the_system_theme_outside_jupyter(page):
    page.emulate_media(color_scheme="dark")
    show(page, make_profile(), theme="auto")
    expect(page.locator(".ep-heatmap.ep-dark")).to_be_visible()
    page.emulate_media(color_scheme="light")
    expect(page.locator(".ep-heatmap.ep-light")).to_be_visible()


def test_a_narrow_page_has_no_sideways_scrolling(page):
    page.set_viewport_size({"width": 700, "height": 900})
    show(page, make_profile(np.full(60, 0.01), energy_mj=np.full(60, 1.0)))
    assert page.evaluate("() => document.documentElement.scrollWidth <= 700")
    page.set_viewport_size({"width": 1500, "height": 900})
    page.wait_for_function("() => document.querySelector('.ep-canvas').clientWidth > 1300")


def test_names_turn_no_line_around(page):
    name = "evil\u202egnp.exe\x1b[31m\n"
    show(page, make_profile([0.5, 0.1], name=[name, "ok"]))
    page.locator(".ep-scroll").hover(position={"x": 40, "y": 65})
    for place in (page.locator(".ep-card"), page.locator(".ep-table")):
        expect(place).to_contain_text("evil\\u202egnp.exe\\u001b[31m\\u000a")
    assert "\u202e" not in page.locator("#view").inner_text()
    page.locator(".ep-scroll").click(position={"x": 40, "y": 65})
    assert page.evaluate("() => window.names") == [name], "Python hears the name as it is"


# ---- groups ----

BLOCKS = make_profile([0.5, 0.1, 0.2, 0.2, 0.3, 0.1, 0.4, 0.2, 0.1, 0.1])  # four layers, four, two


def rows(page):
    """Titles of the rows, from the top."""
    return page.evaluate("() => view.order.map((row) => view.title(row))")


def click_row(page, i, x=60, **options):
    head = page.evaluate("() => view.plan.head")
    page.locator(".ep-scroll").click(position={"x": x, "y": head + 22 * i + 11}, **options)


def test_groups_open_by_a_click_on_the_triangle_and_are_selected_whole(page):
    show(page, BLOCKS, group="block")
    assert rows(page) == ["block0", "block1", "block2", "(between layers)"]
    click_row(page, 2, x=14)
    assert rows(page)[2:5] == ["block2", "/block2/add_8", "/block2/matmul_9"] and page.evaluate("() => window.names") is None
    click_row(page, 2)
    assert page.evaluate("() => window.names") == ["/block2/add_8", "/block2/matmul_9"]
    click_row(page, 3, modifiers=["Control"])
    assert page.evaluate("() => [window.names, view.chosenIn(view.order[2])]") == [["/block2/matmul_9"], 1]
    page.locator(".ep-scroll").hover(position={"x": 60, "y": page.evaluate("() => view.plan.head") + 55})
    for text in ("2, 1 selected", "200 µs [190, 210]", "An interval adds the ends of theirs"):
        expect(page.locator(".ep-card")).to_contain_text(text)
    page.get_by_role("button", name="Expand all").click()
    assert len(rows(page)) == 14
    page.get_by_role("button", name="Collapse all").click()
    assert len(rows(page)) == 4


def test_groups_by_the_keyboard_and_their_order(page):
    show(page, BLOCKS, group="block", sort="latency_ms")
    assert rows(page)[:3] == ["block0", "block1", "block2"]  # 1.0, 1.0, 0.2: equal ones in the order of execution
    page.locator(".ep-scroll").focus()
    page.keyboard.press("ArrowRight")
    assert rows(page)[:5] == ["block0", "/block0/conv_0", "/block0/add_2", "/block0/matmul_3", "/block0/relu_1"]
    expect(page.locator(".ep-voice[aria-live]")).to_contain_text("block0, group of 4 layers, expanded")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("() => view.active.row") == 0, "from a layer to its group"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    assert rows(page)[1] == "block1" and len(page.evaluate("() => window.names")) == 4
    page.get_by_role("combobox", name="Group").select_option("op_type")
    assert page.evaluate("() => window.told") == {"group": "op_type"} and rows(page)[0] == "Conv"
    page.get_by_label("Search layers").fill("block1")
    assert rows(page)[:2] == ["Conv", "/block1/conv_6"], "what is searched for is not hidden in a closed group"


def test_shares_of_the_total(page):
    show(page, make_profile([0.5, 0.1, 0.2, 0.2]), values="share")
    page.locator(".ep-scroll").hover(position={"x": 40, "y": 65})
    expect(page.locator(".ep-card")).to_contain_text("500 µs [475, 525], 49.0 % of the total")
    expect(page.locator(".ep-legend")).to_contain_text("Latency, share of total0.0 %49.0 %")


def test_who_sorts_sees_what_comes_first(page):
    profile = make_profile(np.arange(1, 61) / 100)
    show(page, profile, height=300)
    page.evaluate("(name) => view.select([name])", profile.layers["name"][40])
    before, room = page.evaluate("[view.grid.scrollTop, view.plan.height - view.plan.head]")
    assert 22 * 40 - room < before < 22 * 39, "what was selected elsewhere stands in the window, with what is around it"
    page.get_by_title("Sort").select_option(label="Latency")
    assert page.evaluate("view.grid.scrollTop") == 0


# ---- runs, live data, small panes ----


def test_runs_are_selected_at_the_head_of_their_column(page):
    show(page, BLOCKS, mode="runs")
    box = page.evaluate("() => [view.plan.x, view.plan.cell]")
    head = {"x": box[0] + 2.5 * box[1], "y": 30}
    page.locator(".ep-scroll").click(position=head)
    assert page.evaluate("() => window.chosen") == [6]
    page.locator(".ep-scroll").click(position={"x": box[0] + 0.5 * box[1], "y": 100}, modifiers=["Alt", "Control"])
    assert page.evaluate("() => [window.chosen, window.names]") == [[4, 6], None]
    page.keyboard.press("Escape")
    assert page.evaluate("() => window.chosen") == []
    page.evaluate("() => { window.chosen = null; view.selectRuns([5]); }")
    expect(page.locator(".ep-legend")).to_contain_text("1 run selected")
    assert page.evaluate("() => window.chosen") is None


def test_new_data_keep_what_a_person_looks_at(page):
    profile = make_profile(np.full(100, 0.01))
    show(page, profile, group="block")
    page.evaluate("() => { view.openAll(true); view.grid.scrollTop = 900; }")
    page.get_by_label("Search layers").fill("conv")
    page.evaluate("() => { view.grid.scrollTop = 100; window.box = document.activeElement; }")
    page.evaluate("() => view.select(['/block20/relu_85', '/block3/conv_12'])")
    later = heatmap(make_profile(np.r_[np.full(80, 0.02), np.full(5, np.nan)])).to_json()
    later["meta"]["header"]["running"] = "running: 4 of 8 runs"
    page.evaluate("() => (view.grid.scrollTop = 100)")
    page.evaluate("(data) => view.set({ data })", later)
    kept = page.evaluate(
        """() => [view.grid.scrollTop, view.search.value, view.selection(), document.activeElement === window.box,
            view.isOpen(view.order[0])]"""
    )
    assert kept == [100, "conv", ["/block3/conv_12"], True, True], "the layer that is gone is not selected"
    expect(page.locator(".ep-running")).to_have_text("running: 4 of 8 runs")


@pytest.mark.parametrize(("width", "rows"), [(420, 100), (700, 3)])
def test_embedded_it_fills_its_height_and_no_more(page, width, rows):
    page.set_viewport_size({"width": width, "height": 600})
    show(page, make_profile(np.full(rows, 0.01)), embedded=True, height=260, group="block")
    assert page.locator(".ep-heatmap").bounding_box()["height"] == pytest.approx(260, abs=1.5)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.locator(".ep-head").is_hidden() and page.locator(".ep-table").is_hidden() and page.locator(".ep-table *").count() == 0
    page.get_by_role("button", name="More controls").click()
    expect(page.get_by_label("Scale")).to_be_visible()
    assert page.locator(".ep-heatmap").bounding_box()["height"] == pytest.approx(260, abs=1.5)
