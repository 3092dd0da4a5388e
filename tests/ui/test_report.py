"""The HTML report in a browser with the network off: it draws, sorts, follows the theme, prints, and runs nothing that names smuggle in."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from edgeprof.figures.theme import DARK, LIGHT
from edgeprof.records.profile import Finding, NodeFate
from edgeprof.reports import write
from edgeprof.testing import make_profile, make_sensed_profile

pytestmark = pytest.mark.ui

HOSTILE = "</script><img src=x onerror=\"window.hacked=1\"><svg onload='window.hacked=1'>&quot;'\u202e" + "y" * 2000


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "x.html"
    latencies = [0.5, 0.1, 0.2, 0.02, 0.004, 0.3]
    return write([make_profile(latencies, runs=20), make_profile([0.1, 0.2], origin="estimated")], path)


@contextmanager
def opened(browser, path, **options):
    """The page without a network, and all that it complained about."""
    context = browser.new_context(offline=True, **options)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    page.on("dialog", lambda dialog: (complaints.append("dialog"), dialog.dismiss()))
    try:
        page.goto(path.as_uri())
        yield page, complaints
    finally:
        context.close()


def draw_all(page):
    for figure in page.locator("[data-figure], [data-heatmap], [data-timeline], [data-memory]").all():
        figure.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.querySelectorAll('[data-figure]')].every((f) => f.querySelector('.main-svg'))")
    views = "[data-heatmap], [data-timeline], [data-memory]"
    page.wait_for_function(f"() => [...document.querySelectorAll('{views}')].every((f) => f.querySelector('canvas')?.width > 0)")


def test_everything_is_drawn_without_a_network(browser, report):
    with opened(browser, report) as (page, complaints):
        draw_all(page)
        assert page.locator("#p0 [data-figure$=layers-data] .barlayer .point").count() == 7
        assert page.locator("#p0 [data-figure$=layers-data] .errorbar, #p0 [data-figure$=layers-data] .errorbars path").count() >= 6
        assert page.locator("#p0 [data-figure$=roofline-data] .scatterlayer .point").count() == 6
        assert page.locator("#p1 [data-figure$=ops-data] pattern").count() >= 2, "an estimate is hatched"
        assert page.locator(".ep-error").count() == 0
        assert complaints == []


@pytest.mark.parametrize("width", [1280, 700, 400])
def test_nothing_is_wider_than_the_screen(browser, report, width):
    with opened(browser, report, viewport={"width": width, "height": 900}) as (page, complaints):
        draw_all(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert complaints == []


def test_the_theme_is_followed_while_it_changes(browser, report):
    def colors(page):
        ink = page.evaluate("getComputedStyle(document.body.parentElement).color")
        paper = page.evaluate("document.querySelector('[data-figure]').layout.paper_bgcolor")
        return ink, paper

    with opened(browser, report, color_scheme="light") as (page, complaints):
        draw_all(page)
        light = colors(page)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"() => document.querySelector('[data-figure]').layout.paper_bgcolor === '{DARK.surface}'")
        dark = colors(page)
        assert light[1] == LIGHT.surface and dark[1] == DARK.surface and light[0] != dark[0]
        assert complaints == []


def test_the_timeline_is_drawn_zoomed_and_printed(browser, tmp_path):
    profile = make_sensed_profile()
    windows = profile.windows.assign(label=HOSTILE, note=HOSTILE)
    path = write([profile, replace(profile, windows=windows)], tmp_path / "sensed.html")
    with opened(browser, path, viewport={"width": 700, "height": 900}) as (page, complaints):
        draw_all(page)
        views = page.locator("[data-timeline] .ep-plot")
        assert views.count() == 2 and page.locator("[data-timeline] .ep-head").first.is_hidden()
        page.locator("#p1").get_by_role("button", name="One run").click()
        expect(page.locator("#p1 .ep-readout")).to_contain_text(" ms")
        assert page.pdf(format="A4").startswith(b"%PDF")
        assert page.evaluate("document.documentElement.scrollWidth") <= 700
        assert page.evaluate("window.hacked") is None and complaints == []


def test_the_memory_view_is_drawn_and_its_table_sorts(browser, tmp_path):
    profile = make_sensed_profile()
    tensors = profile.tensors.assign(tensor=[HOSTILE, *profile.tensors["tensor"][1:]])
    path = write([profile, replace(profile, tensors=tensors)], tmp_path / "memory.html")
    with opened(browser, path, viewport={"width": 700, "height": 900}) as (page, complaints):
        draw_all(page)
        views = page.locator("[data-memory] .ep-lives")
        assert views.count() == 2 and page.locator("[data-memory] .ep-head").first.is_hidden()
        assert page.locator("[data-memory] .ep-owners").first.is_hidden(), "the page has the table"
        table = page.locator("#p0 table", has=page.get_by_text("Owners of the peak"))
        assert table.locator("tbody th").all_inner_texts()[0].startswith("t5")
        table.get_by_role("button", name="Size").click()
        table.get_by_role("button", name="Size").click()
        assert table.locator("tbody th").all_inner_texts()[0].startswith("(workspace)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 700
        assert page.evaluate("window.hacked") is None and complaints == []


def test_tables_sort_and_search(browser, report):
    with opened(browser, report) as (page, _):
        table = page.locator("#p0 table.searchable")

        def names():
            return table.locator("tbody tr:visible th").all_inner_texts()

        assert "/block0/conv_0" in names()[0]
        table.get_by_role("button", name="Latency (µs)", exact=False).first.click()
        expect(table.locator("th[aria-sort=descending]")).to_have_count(1)
        assert [name.split("_")[1].split()[0] for name in names()] == ["0", "5", "2", "1", "3", "4"]
        table.get_by_role("button", name="Latency (µs)", exact=False).first.click()
        expect(table.locator("th[aria-sort=ascending]")).to_have_count(1)
        assert "softmax_4" in names()[0]
        table.get_by_role("button", name="#").click()
        page.locator("#p0 .search input").fill("relu block0")
        assert len(names()) == 1 and "relu_1" in names()[0]
        assert page.locator("#p0 .search output").inner_text() == "1 of 6"


def test_hostile_names_run_nothing(browser, tmp_path):
    profile = make_profile(
        [0.5, 0.1], runs=4, name=[HOSTILE, "ok"], op_type=[HOSTILE, "Conv"], precision=[HOSTILE, "float32"], provider=[HOSTILE, "CPU"],
        findings=(Finding(HOSTILE, "error", HOSTILE),),
    )  # fmt: skip
    profile = replace(
        profile,
        nodes=(NodeFate(HOSTILE, HOSTILE, "unattributed", (HOSTILE,)),),
        context=replace(profile.context, model_name=HOSTILE, board=HOSTILE, fingerprint={HOSTILE: HOSTILE}, versions={HOSTILE: HOSTILE}),
    )
    path = write([profile, profile], tmp_path / "hostile.html")
    with opened(browser, path, viewport={"width": 1280, "height": 900}) as (page, complaints):
        draw_all(page)
        for details in page.locator("summary").all():
            details.click()
        for point in page.locator("#p0 .barlayer .point").all()[:2]:
            point.hover(force=True)
            page.wait_for_timeout(80)
        page.wait_for_timeout(100)
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main svg[onload]").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        assert complaints == []


def test_the_policy_holds_even_for_markup_that_slipped_through(browser, report):
    with opened(browser, report) as (page, _):
        for attempt in (
            "document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.hacked=1\">')",
            "fetch('http://127.0.0.1:9/').catch(() => {})",
        ):
            with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
                page.evaluate(attempt)
        assert page.evaluate("window.hacked") is None


def test_readable_without_scripts(browser, report):
    with opened(browser, report, java_script_enabled=False) as (page, _):
        text = page.locator("main").inner_text()
        assert "/block0/conv_0" in text and "Median latency" in text and "switched off" in text
        assert page.locator(".search").first.is_hidden()


def test_prints_on_paper(browser, report):
    with opened(browser, report, color_scheme="dark") as (page, complaints):
        assert page.pdf(format="A4").startswith(b"%PDF")
        assert page.locator("[data-figure] .main-svg").count() >= 6, "figures far below are drawn for the printer"
        page.wait_for_function(f"() => document.querySelector('[data-figure]').layout.paper_bgcolor === '{DARK.surface}'")
        assert complaints == []
