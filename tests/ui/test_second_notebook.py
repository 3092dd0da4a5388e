"""Notebook 02 as a class meets it: run from top to bottom in JupyterLab, a layer clicked in memory and timeline, read in Python."""

import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.ui

HERE = Path(__file__).parents[2]
HEAR = """
import ipywidgets
heard = ipywidgets.HTML()
timeline.observe(lambda change: setattr(heard, "value", f"<b class='heard'>{change.new[1] - change.new[0]:.3f}</b>"), "window")
heard
"""


@pytest.fixture
def notebook(page, lab):
    shutil.copy(HERE / "sample_models/mobilenetv2_clutter.onnx", lab.root)
    cells = [c.source for c in nbformat.read(HERE / "notebooks/02_memory_and_energy.ipynb", as_version=4).cells if c.cell_type == "code"]
    cells[0] = cells[0].replace("../sample_models/", "")
    (long,) = [i for i, cell in enumerate(cells) if "(30, 60, 120, 480)" in cell]  # four budgets in turn: tests/test_notebooks.py
    cells[long] = cells[long].replace("(30, 60, 120, 480)", "(30,)")
    lab.open(page, "second.ipynb", *cells, HEAR, "print('selected:', *view.selection)")
    yield page, len(cells)
    lab.close(page)


def test_views_of_memory_and_time_answer(notebook, lab):
    page, count = notebook
    for index in range(count + 1):
        lab.run_cell(page, index)
    expect(page.locator(".jp-OutputArea-output", has_text="Traceback")).to_have_count(0)
    lives, plot = page.locator(".ep-lives"), page.locator(".ep-plot")
    lives.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.ep-lives')?.width > 300")
    lives.click(position={"x": 400, "y": 120})
    plot.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.ep-plot canvas')?.width > 300")
    page.get_by_role("button", name="One run").click()
    expect(page.locator("b.heard")).to_have_text(re.compile(r"\d{1,2}\.\d+"))  # ms: one run, no longer the session of minutes
    lab.run_cell(page, count + 1)
    expect(page.locator(".jp-OutputArea-output", has_text="selected: /")).to_be_visible()
    if os.environ.get("EDGEPROF_PICTURES"):  # a folder: to look at
        page.set_viewport_size({"width": 1240, "height": 20_000})
        cells_shown = page.locator(".jp-Cell")
        for i in range(cells_shown.count()):
            cells_shown.nth(i).screenshot(path=f"{os.environ['EDGEPROF_PICTURES']}/cell{i:02d}.png")
