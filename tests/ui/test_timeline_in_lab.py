"""The timeline in JupyterLab: window and selection reach Python and come back, detail is fetched, the notebook still scrolls."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.ui

SETUP = """
import html, ipywidgets, numpy as np, pandas as pd
from dataclasses import replace
import edgeprof as ep
from edgeprof.testing import make_sensed_profile
profile = make_sensed_profile(runs=12)
fast = pd.DataFrame({"time_ms": np.arange(0, 22_000, 0.5), "channel": "ina3221/VDD_IN_mw", "value": np.arange(44_000) % 7 * 1000.0})
profile = replace(profile, samples=fast)
heard = {name: ipywidgets.HTML() for name in ("window", "selection")}
"""
VIEW = """
view = ep.timeline(profile)
def hear(name):
    view.observe(lambda change: setattr(heard[name], "value", f"<b class='{name}'>{html.escape(str(change.new))}</b>"), name)
for name in heard:
    hear(name)
display(*heard.values())
view
"""
SET = "view.window = (9000, 9500); view.selection = ['/block0/add_2']"


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """One notebook with the view in it, drawn."""
    context = browser.new_context(viewport={"width": 1400, "height": 1100})
    page = context.new_page()
    lab.open(page, "timeline.ipynb", SETUP, VIEW, SET, "print(view.window, view.selection)")
    lab.run_cell(page, 0)
    lab.run_cell(page, 1)
    page.locator(".ep-plot").wait_for()
    page.wait_for_function("() => document.querySelector('.ep-canvas').width > 300")
    yield page
    lab.close(page)
    context.close()


def test_it_is_drawn_and_the_picture_hidden(notebook):
    expect(notebook.locator(".jp-RenderedImage img")).to_have_count(1)
    expect(notebook.locator(".jp-RenderedImage img")).to_be_hidden()
    expect(notebook.locator(".ep-notes")).to_contain_text(
        "Each column of VDD_IN = total is the least, the mean and the most of up to 4 readings; zoom in"
    )


def test_zooming_reaches_python_and_brings_detail(notebook):
    plot = notebook.locator(".ep-plot")
    plot.focus()
    for _ in range(5):
        notebook.keyboard.press("+")
    expect(notebook.locator("b.window")).to_contain_text("(10")
    expect(notebook.locator(".ep-notes")).not_to_contain_text("Each column")
    expect(notebook.locator(".jp-CodeCell")).to_have_count(4)  # Lab did not take the keys for its own


def test_a_click_reaches_python(notebook):
    notebook.get_by_role("button", name="One run").click()
    expect(notebook.locator("b.window")).to_have_text(re.compile(r"^\(\d\d\.\d+, \d\d\.\d+\)$"))  # told once it rests
    box = notebook.locator(".ep-canvas").bounding_box()
    # the first layer, a quarter of its run, begins after a margin of 3 percent of the run; lanes as in timeline.js
    notebook.mouse.click(box["x"] + 150 + (box["width"] - 158) * 0.1, box["y"] + 30 + 22 + 9 + 28 + 9 + 10)
    expect(notebook.locator("b.selection")).to_have_text("('/block0/conv_0',)")


def test_python_sets_both(notebook, lab):
    lab.run_cell(notebook, 2)
    expect(notebook.locator(".ep-readout")).to_contain_text("9.0000 s – 9.5000 s")
    expect(notebook.locator("b.selection")).to_have_text("('/block0/add_2',)")
    lab.run_cell(notebook, 3)
    assert lab.output(notebook, 3).strip() == "(9000.0, 9500.0) ('/block0/add_2',)"
