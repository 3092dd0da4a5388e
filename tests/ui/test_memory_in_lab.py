"""The memory view in JupyterLab: drawn, clicked, typed at; Python sees it and answers."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.ui

SETUP = """
import html, ipywidgets, edgeprof as ep
from edgeprof.testing import make_sensed_profile
profile = make_sensed_profile()
"""
VIEW = """
view, heard = ep.memory(profile, budget="170 kB"), ipywidgets.HTML("<b class='heard'>nothing</b>")
view.observe(lambda change: setattr(heard, "value", f"<b class='heard'>{html.escape(' '.join(change.new))}</b>"), "selection")
display(heard)
view
"""
COLORS = """() => { const c = document.querySelector('.ep-lives'); if (!c?.width) return 0;
    const data = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer); return new Set(data).size; }"""
"""How many different colours the canvas shows."""


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """One notebook for all tests here: each runs the view's cell anew."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    read = "print(view.selection, view.selected['op_type'].tolist())"
    lab.open(page, "memory.ipynb", SETUP, VIEW, read, "view.selection = ['/block1/softmax_4']", "view.budget = '1 GB'")
    lab.run_cell(page, 0)
    yield page
    lab.close(page)
    context.close()


@pytest.fixture
def view(notebook, lab):
    """The page with a fresh view in it, drawn."""
    lab.run_cell(notebook, 1)
    notebook.locator(".ep-lives").wait_for()
    notebook.wait_for_function(f"() => ({COLORS})() > 30")
    return notebook


def test_it_is_drawn_and_the_picture_hidden(view):
    expect(view.locator(".jp-RenderedImage img")).to_have_count(1)
    expect(view.locator(".jp-RenderedImage img")).to_be_hidden()
    expect(view.locator(".ep-count")).to_have_text("7 buffers")
    expect(view.locator(".ep-verdict .ep-no")).to_have_count(2)


def test_a_click_reaches_python(view, lab):
    view.locator(".ep-owners").get_by_role("button", name="t5").click()
    expect(view.locator("b.heard")).to_have_text("/block1/reorderinput_5")
    view.locator(".ep-owners").get_by_role("button", name="t0").click(modifiers=["Control"])
    expect(view.locator("b.heard")).to_have_text("/block0/conv_0 /block1/reorderinput_5")
    lab.run_cell(view, 2)
    assert lab.output(view, 2).strip() == "('/block0/conv_0', '/block1/reorderinput_5') ['Conv', 'ReorderInput']"


def test_keyboard(view):
    view.locator(".ep-chart").focus()
    for key in ("ArrowRight", "ArrowRight", "Space"):
        view.keyboard.press(key)
    expect(view.locator("b.heard")).to_have_text("/block0/add_2")
    view.keyboard.press("Escape")
    expect(view.locator("b.heard")).to_have_text("")
    expect(view.locator(".jp-CodeCell")).to_have_count(5)  # Lab did not take the keys for its own


def test_python_selects_and_gives_a_new_budget(view, lab):
    lab.run_cell(view, 3)
    expect(view.locator("b.heard")).to_have_text("/block1/softmax_4")
    lab.run_cell(view, 4)
    expect(view.locator(".ep-verdict .ep-yes")).to_have_count(2)


def test_dark_theme(view, lab):
    light = view.evaluate("() => document.querySelector('.ep-lives').toDataURL()")
    lab.theme(view, "JupyterLab Dark")
    expect(view.locator(".ep-memory")).to_have_class(re.compile("ep-dark"))
    view.wait_for_function("(light) => document.querySelector('.ep-lives').toDataURL() !== light", arg=light)
    lab.theme(view, "JupyterLab Light")
