"""Notebook 03 as a class meets it: run from top to bottom in JupyterLab, its charts drawn, a point's text on hover."""

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.ui

HERE = Path(__file__).parents[2]


@pytest.fixture
def notebook(page, lab):
    for name in ("resnet8_mnist.onnx", "held_out_digits.toml", "held_out_digits.npz"):
        shutil.copy(HERE / "sample_models" / name, lab.root)
    cells = [c.source for c in nbformat.read(HERE / "notebooks/03_decisions.ipynb", as_version=4).cells if c.cell_type == "code"]
    cells[0] = cells[0].replace("../sample_models/", "")
    lab.open(page, "third.ipynb", *cells)
    yield page, len(cells)
    lab.close(page)


def test_decisions_are_drawn_and_told(notebook, lab):
    page, count = notebook
    for index in range(count):
        lab.run_cell(page, index)
    expect(page.locator(".jp-OutputArea-output", has_text="Traceback")).to_have_count(0)
    charts = page.locator(".jp-OutputArea-output.js-plotly-plot")
    expect(charts).to_have_count(3)
    front = charts.nth(1)
    front.scroll_into_view_if_needed()
    expect(front.locator(".scatterlayer .point")).not_to_have_count(0)
    expect(front.locator(".xtitle")).to_contain_text("Latency")
    expect(page.locator(".jp-OutputArea-output", has_text="Latency(median_ms=")).to_be_visible()
    if os.environ.get("EDGEPROF_PICTURES"):  # a folder: to look at
        page.set_viewport_size({"width": 1240, "height": 20_000})
        cells_shown = page.locator(".jp-Cell")
        for i in range(cells_shown.count()):
            cells_shown.nth(i).screenshot(path=f"{os.environ['EDGEPROF_PICTURES']}/cell{i:02d}.png")
