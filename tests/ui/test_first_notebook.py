"""Notebook 01 as a newcomer meets it: run from top to bottom in JupyterLab, the heatmap clicked, the layer read in Python."""

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.ui

HERE = Path(__file__).parents[2]
COLORS = """() => { const c = document.querySelector('.ep-canvas'); if (!c?.width) return 0;
    const data = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer); return new Set(data).size; }"""


@pytest.fixture
def notebook(page, lab):
    shutil.copy(HERE / "sample_models/mobilenetv2_clutter.onnx", lab.root)
    cells = [c.source for c in nbformat.read(HERE / "notebooks/01_first_profile.ipynb", as_version=4).cells if c.cell_type == "code"]
    cells[0] = cells[0].replace("../sample_models/", "")
    lab.open(page, "first.ipynb", *cells, "print('selected:', *view.selected['name'])")
    yield page, len(cells)
    lab.close(page)


def test_a_click_on_a_measured_layer_reaches_python(notebook, lab):
    page, count = notebook
    for index in range(count):
        lab.run_cell(page, index)
    page.locator(".ep-canvas").wait_for()
    page.wait_for_function(f"() => ({COLORS})() > 50")
    expect(page.locator(".jp-OutputArea-output", has_text="Traceback")).to_have_count(0)
    page.locator(".ep-scroll").scroll_into_view_if_needed()
    if os.environ.get("EDGEPROF_PICTURE"):  # the picture in the README: docs/look/heatmap-light.png
        page.set_viewport_size({"width": 1240, "height": 880})
        page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        page.wait_for_function("() => document.querySelector('.ep-canvas').getBoundingClientRect().width > 900")
        page.locator(".ep-scroll").scroll_into_view_if_needed()
        page.screenshot(path=os.environ["EDGEPROF_PICTURE"])
    page.locator(".ep-scroll").click(position={"x": 500, "y": 110})
    expect(page.locator(".ep-caption")).to_have_text("1 selected layer")
    layer = page.locator(".ep-table tbody tr td, .ep-table tbody tr th").first.inner_text()
    lab.run_cell(page, count)
    expect(page.locator(".jp-OutputArea-output", has_text="selected: ")).to_have_text(f"selected: {layer}\n")
