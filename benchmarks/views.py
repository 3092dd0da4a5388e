"""Views in a live JupyterLab: time to the first drawing and bytes sent; of the heatmap also click to the linked views.

    python benchmarks/bench_views.py [LAYERS ...]          (1000 and 10000)

One line a figure, in a fresh notebook and kernel each. The memory view shows as many tensors as layers; the timeline 20 + 20 runs of them
and the readings of one power channel, 50 a second, while each layer was run in a loop in three passes. *First drawing*: from asking for the
cell's run until the canvas is drawn and two frames have passed (imports ran in an earlier cell). *Linked table*: from the press of the
mouse until the table in the view has changed. *Python and back*: until a widget that Python fills from ``view.selection`` has changed.
Medians of seven clicks.
"""

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.sync_api import sync_playwright

from tests.ui.conftest import CHROMIUM, FLAGS, Lab, running_lab

SETUP = """
import html, ipywidgets, numpy as np
from edgeprof.testing import make_profile
from edgeprof.widgets import heatmap
rng, n = np.random.default_rng(0), {layers}
metrics = {{m: rng.lognormal(3, 1, n) for m in ("energy_mj", "power_mw", "peak_memory_bytes", "workspace_bytes")}}
names = [f"/model/encoder/stages.{{i // 40}}/blocks.{{i // 8}}/mlp/Conv_{{i}}" for i in range(n)]
profile = make_profile(rng.lognormal(-3, 1, n), runs=20, name=names, source_nodes=[[x] for x in names], calls=[2.0] * n, **metrics)
label = ipywidgets.HTML("<b class='heard'>nothing</b>")
display(label)
"""
VIEW = """
view = heatmap(profile)
view.observe(lambda change: setattr(label, "value", f"<b class='heard'>{html.escape(change.new[0])}</b>"), "selection")
view
"""
SENSED = """
import numpy as np
import edgeprof as ep
from edgeprof.testing import make_sensed_profile
profile = make_sensed_profile(np.random.default_rng(0).lognormal(-3, 1, {layers}), runs=20)
import ipywidgets
display(ipywidgets.HTML("<b class='heard'>nothing</b>"))
"""
CANVAS = {"heatmap": ".ep-canvas", "memory": ".ep-lives", "timeline": ".ep-plot canvas"}
FIRST_DRAWING = """(selector) => new Promise((done) => {
  const start = performance.now();
  window.jupyterapp.commands.execute("notebook:run-cell");
  const look = () => {
    const canvas = document.querySelector(selector);
    const drawn = canvas?.width > 300 && canvas.getContext("2d").getImageData(0, 0, canvas.width, 300).data.some((v) => v);
    if (drawn) requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
    else setTimeout(look, 5);
  };
  look();
})"""
WATCH = """() => {
  const times = (window.times = {});
  const [table, heard] = [() => document.querySelector(".ep-table").innerText, () => document.querySelector("b.heard").innerText];
  const before = [table(), heard()];
  document.addEventListener("mousedown", () => (times.down = performance.now()), { capture: true, once: true });
  new MutationObserver((_, self) => {
    if (times.down && !times.table && table() !== before[0]) times.table = performance.now() - times.down;
    if (times.down && !times.heard && heard() !== before[1]) times.heard = performance.now() - times.down;
    if (times.table && times.heard) self.disconnect();
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or [1000, 10_000]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root, home = Path(folder) / "lab", Path(folder) / "home"
        root.mkdir()
        home.mkdir()
        with running_lab(root, home) as url:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for layers in sizes:
                heatmap(browser, Lab(root, url), layers)
                for view in ("memory", "timeline"):
                    page = opened(browser, Lab(root, url), view, layers, SENSED.format(layers=layers), f"ep.{view}(profile)")
                    page.close()


def opened(browser, lab: Lab, view: str, layers: int, setup: str, cell: str):
    """A page with the view in it; prints what it took."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    received = [0]
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.__setitem__(0, received[0] + len(frame))))
    lab.open(page, f"{view}{layers}.ipynb", setup, cell)
    lab.run_cell(page, 0)
    page.locator("b.heard").wait_for()
    page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1; }")
    before = received[0]
    first = page.evaluate(FIRST_DRAWING, CANVAS[view])
    page.locator(".jp-RenderedImage img").wait_for(state="attached")
    print(f"row 8: {view} of {layers} layers: first drawing {first:.0f} ms")
    print(f"row 8: {view} of {layers} layers: sent {(received[0] - before) / 1e6:.2f} MB, picture included", flush=True)
    return page


def heatmap(browser, lab: Lab, layers: int) -> None:
    page = opened(browser, lab, "heatmap", layers, SETUP.format(layers=layers), VIEW)
    clicks = [click(page, row) for row in range(1, 8)]
    print(f"row 8: heatmap of {layers} layers: click to linked table {statistics.median(c['table'] for c in clicks):.0f} ms")
    print(f"row 8: heatmap of {layers} layers: click to Python and back {statistics.median(c['heard'] for c in clicks):.0f} ms", flush=True)
    lab.close(page)
    page.close()


def click(page, row: int) -> dict[str, float]:
    page.locator(".ep-scroll").scroll_into_view_if_needed()
    box = page.locator(".ep-scroll").bounding_box()
    page.evaluate(WATCH)
    page.mouse.click(box["x"] + 300, box["y"] + 110 + 22 * row)
    page.wait_for_function("() => window.times.table && window.times.heard")
    return page.evaluate("() => window.times")


if __name__ == "__main__":
    main()
