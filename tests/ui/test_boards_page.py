"""Layers x boards and the table of boards in a plain page: drawn, hovered, clicked, and text is never markup."""

import json
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from edgeprof.figures.boards import boards
from edgeprof.figures.modules import script, style
from edgeprof.testing import make_profile
from edgeprof.widgets.health import checked_rows

pytestmark = pytest.mark.ui

PAGE = """<!doctype html><meta charset="utf-8"><style>{css}</style><body style="margin:0"><div id="view"></div><script type="module">{js}
window.changes = [];
window.view = {render}(document.getElementById("view"), {data}, {options});
</script>"""
HOSTILE = "<img src=x onerror='window.pwned=1'>"


def show(page, view, render, data, options):
    data = json.dumps(data).replace("<", "\\u003c")
    page.set_content(PAGE.format(css=style(view), js=script(view), render=render, data=data, options=options))
    page.wait_for_function("() => window.view")


def board(name, latencies, sources, **options):
    profile = make_profile(latencies, name=[s[0] for s in sources], source_nodes=sources, runtime_name=[f"{s[0]}_nchwc" for s in sources],
                           op_type=["Conv"] * len(sources), runs=1, **options)  # fmt: skip
    table = profile.layers
    table.loc[len(sources), "name"] = "(between layers)"
    return replace(profile, layers=table, context=replace(profile.context, board=name))


def test_boards_are_hovered_selected_sorted_and_asked_for_other_numbers(page):
    one = board(HOSTILE, [0.5, 0.1, np.nan], [["/conv"], ["/relu"], ["/add"]])
    two = board("pi5", [0.2, 0.4], [["/conv", "/relu"], ["/add"]], origin="simulated")
    three = board("pi4", [1.2], [["/add"]])
    options = """{theme: "light", canAsk: true, mode: "ratio", onSelect: (names) => (window.names = names),
        onChange: (values) => window.changes.push(values)}"""
    show(page, "heatmap", "renderHeatmap", boards([one, two, three]).to_json(), options)
    head = page.evaluate("() => window.view.plan.head")
    page.locator(".ep-scroll").hover(position={"x": 40, "y": head + 11})
    card = page.locator(".ep-card")
    for text in (
        HOSTILE,
        "600 µs [570, 630]",
        "200 µs [190, 210], 32.7 %, 0.333×",
        "no such layer",
        "/conv_nchwc + /relu_nchwc",
        "/conv, /relu",
    ):
        expect(card).to_contain_text(text)
    page.locator(".ep-scroll").hover(position={"x": 40, "y": head + 33})
    expect(card).to_contain_text("not measured")
    page.locator(".ep-scroll").click(position={"x": 40, "y": head + 33})
    assert page.evaluate("() => window.names") == ["/add"]
    expect(page.locator(".ep-legend")).to_contain_text("1× in the middle")
    expect(page.locator(".ep-lines li").nth(1)).to_contain_text("pi5: simulated, no real board")
    page.get_by_role("radio", name="Absolute").click()
    page.get_by_label("Baseline").select_option("pi5")
    page.locator(".ep-scroll").click(position={"x": page.evaluate("() => window.view.plan.x + window.view.plan.cell * 1.5"), "y": 12})
    assert page.evaluate("() => window.changes") == [{"mode": "absolute"}, {"baseline": "pi5"}, {"sort": "absolute: pi5"}]
    assert page.evaluate("() => window.view.order") == [1, 0, 2]
    assert page.evaluate("() => window.pwned") is None and page.locator("#view img").count() == 0


def test_sixteen_boards_fit_a_narrow_page(page):
    page.set_viewport_size({"width": 700, "height": 900})
    profiles = [
        board(f"a-board-with-a-long-name-{i}", [0.1] * 40, [[f"/a/long/name/of/a/layer_{n}"] for n in range(40)]) for i in range(16)
    ]
    show(page, "heatmap", "renderHeatmap", boards(profiles).to_json(), "{}")
    page.wait_for_function("() => document.querySelector('.ep-canvas').width > 0")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 700
    assert page.evaluate("() => window.view.plan.x + 16 * window.view.plan.cell <= window.view.plan.width")


def test_the_table_of_boards_says_status_in_words_and_asks_to_stop(page):
    rows, columns = checked_rows(
        [{"board": HOSTILE, "status": "warning", "temperature_c": HOSTILE, "at": 40.0}, {"board": "pi5", "status": "lost"}], 100.0
    )
    state = {
        "rows": rows,
        "columns": columns,
        "readings": 1,
        "error": HOSTILE,
        "asking": False,
        "running": True,
        "refresh_s": 7,
        "theme": "dark",
    }
    show(page, "health", "renderHealth", state, "{onChange: (values) => window.changes.push(values)}")
    cells = page.locator("tbody tr").first.locator("th, td")
    assert cells.all_inner_texts() == [HOSTILE, "▲warning", "60 s", HOSTILE]
    assert page.locator("tbody tr").nth(1).locator("td").all_inner_texts() == ["○not reachable", "0 s", "–"]
    expect(page.get_by_role("alert")).to_contain_text(HOSTILE)
    page.get_by_role("button", name="Stop").click()
    page.get_by_label("Every").select_option("60")
    assert page.evaluate("() => window.changes") == [{"running": False}, {"refresh_s": 60}]
    page.evaluate("(state) => window.view.set(state)", {**state, "running": False, "rows": [], "error": ""})
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    expect(page.locator(".ep-empty")).to_contain_text("Waiting for the first answer")
    assert page.evaluate("() => window.pwned") is None and page.locator("#view img").count() == 0
