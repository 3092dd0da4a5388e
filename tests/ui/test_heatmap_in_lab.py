"""The heatmap in JupyterLab: drawn, clicked, typed at; Python sees it. And the picture in what is saved and exported."""

import re
import warnings

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from playwright.sync_api import expect

pytestmark = pytest.mark.ui

SETUP = """
import html, ipywidgets, numpy as np
from edgeprof.testing import make_profile
from edgeprof.widgets import heatmap
profile = make_profile(np.random.default_rng(0).lognormal(-2, 1, 40), runs=12)
"""
VIEW = """
view, heard = heatmap(profile), ipywidgets.HTML("<b class='heard'>nothing</b>")
view.observe(lambda change: setattr(heard, "value", f"<b class='heard'>{html.escape(' '.join(change.new))}</b>"), "selection")
display(heard)
view
"""
COLORS = """() => { const c = document.querySelector('.ep-canvas'); if (!c.width) return 0;
    const data = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer); return new Set(data).size; }"""
"""How many different colours the canvas shows."""

READ = "print(view.selection, view.selected['op_type'].tolist(), view.mode)"


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """One notebook for all tests here: each runs the view's cell anew."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    lab.open(page, "heatmap.ipynb", SETUP, VIEW, READ, "view.selection = ['/block1/softmax_4']", "view.data = {'meta': {}, 'numbers': b''}")
    lab.run_cell(page, 0)
    yield page
    lab.close(page)
    context.close()


@pytest.fixture
def view(notebook, lab):
    """The page with a fresh view in it, drawn."""
    lab.run_cell(notebook, 1)
    notebook.locator(".ep-canvas").wait_for()
    notebook.wait_for_function(f"() => ({COLORS})() > 50")
    return notebook


def click_row(page, row, **options):
    """Clicks into the middle of the cells of the row at this place; heights as in heatmap.js."""
    page.locator(".ep-scroll").scroll_into_view_if_needed()
    head = page.evaluate("() => parseFloat(document.querySelector('.ep-space').style.height) - 40 * 22 - 22 - 8")
    page.locator(".ep-scroll").click(position={"x": 500, "y": head + row * 22 + 11}, **options)


def test_it_is_drawn_and_the_picture_hidden(view):
    assert view.evaluate(COLORS) > 50
    expect(view.locator(".jp-RenderedImage img")).to_have_count(1)
    expect(view.locator(".jp-RenderedImage img")).to_be_hidden()
    expect(view.locator(".ep-count")).to_have_text("40 layers")


def test_click_reaches_python(view, lab):
    click_row(view, 3)
    expect(view.locator("b.heard")).to_have_text("/block0/matmul_3")
    click_row(view, 5, modifiers=["Control"])
    expect(view.locator("b.heard")).to_have_text("/block0/matmul_3 /block1/reorderinput_5")
    expect(view.locator(".ep-caption")).to_have_text("2 selected layers")
    lab.run_cell(view, 2)
    assert lab.output(view, 2).strip() == "('/block0/matmul_3', '/block1/reorderinput_5') ['MatMul', 'ReorderInput'] metrics"


def test_keyboard(view):
    view.locator(".ep-scroll").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Space"):
        view.keyboard.press(key)
    expect(view.locator("b.heard")).to_have_text("/block0/add_2")
    expect(view.locator("[role=gridcell]")).to_contain_text("/block0/add_2, Add, Share")
    expect(view.locator("[role=gridcell]")).to_have_attribute("aria-selected", "true")
    view.keyboard.press("Shift+ArrowDown")
    expect(view.locator("b.heard")).to_have_text("/block0/add_2 /block0/matmul_3")
    view.keyboard.press("Escape")
    expect(view.locator("b.heard")).to_have_text("")
    expect(view.locator(".jp-CodeCell")).to_have_count(5)  # Lab did not take the keys for its own


def test_search(view):
    view.locator(".ep-scroll").focus()
    view.keyboard.press("/")
    view.keyboard.type("matmul")
    expect(view.locator(".ep-count")).to_have_text("7 of 40")
    view.locator(".ep-search input").fill(r"/_(1|2)$/")
    expect(view.locator(".ep-count")).to_have_text("2 of 40")
    view.keyboard.press("Escape")
    expect(view.locator(".ep-count")).to_have_text("40 layers")


def test_python_selects(view, lab):
    lab.run_cell(view, 3)
    expect(view.locator(".ep-caption")).to_have_text("1 selected layer")
    expect(view.locator(".ep-table tbody tr")).to_contain_text(["/block1/softmax_4"])


def test_runs(view, lab):
    view.get_by_role("radio", name="Runs").click()
    expect(view.locator(".ep-legend")).to_contain_text("12 instrumented runs in the order they ran")
    lab.run_cell(view, 2)
    assert lab.output(view, 2).strip() == "() [] runs"


def test_dark_theme(view, lab):
    light = view.evaluate("() => document.querySelector('.ep-canvas').toDataURL()")
    lab.theme(view, "JupyterLab Dark")
    expect(view.locator(".ep-heatmap")).to_have_class(re.compile("ep-dark"))
    view.wait_for_function("(light) => document.querySelector('.ep-canvas').toDataURL() !== light", arg=light)
    assert view.evaluate(COLORS) > 50
    lab.theme(view, "JupyterLab Light")


def test_an_error_is_shown_in_the_cell(view, lab):
    lab.run_cell(view, 4)
    expect(view.locator(".ep-error[role=alert]")).to_contain_text("This view could not be drawn")


def test_saved_notebook_exported_and_seen_without_a_network(view, lab, browser, tmp_path):
    view.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    assert sees_picture(browser, export(lab.root / "heatmap.ipynb", tmp_path))


def test_executed_notebook_exported_and_seen_without_a_network(browser, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SETUP), nbformat.v4.new_code_cell(VIEW)])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    nbformat.write(notebook, tmp_path / "executed.ipynb")
    assert "widgets" in notebook.metadata  # the label's state is stored, as always: its page has no code without a network
    assert sees_picture(browser, export(tmp_path / "executed.ipynb", tmp_path))


def export(path, folder):
    with warnings.catch_warnings(action="ignore"):  # nbconvert's own
        html, _ = HTMLExporter().from_filename(str(path))
    (folder / "page.html").write_text(html, "utf-8")
    return folder / "page.html"


def sees_picture(browser, path):
    """True when the page shows exactly one picture, of a heatmap's width, with no network."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    expect(page.locator("img")).to_have_count(1)
    expect(page.locator("img")).to_be_visible()
    size = page.evaluate("() => { const i = document.querySelector('img'); return [i.naturalWidth, i.clientHeight]; }")
    context.close()
    return size[0] == 1560 and size[1] > 200
