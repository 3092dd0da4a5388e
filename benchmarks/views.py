"""Views in a live JupyterLab: time to the first drawing, bytes sent, click to the linked view; plotly beside them in the same run.

    python benchmarks/views.py [LAYERS ...]          (100, 1000 and 10000)

One line a figure, in a fresh notebook and kernel each; imports and profiles were made in an earlier cell. The model is made
(``made.py``): two profiles of it, each with times, energy, memory, a graph, and a session of one power rail.

*First drawing*: from asking for the cell's run until the canvases are drawn and two frames have passed. Of the Workbench: heatmap and
Pareto; then those and the graph. *Sent*: bytes that came over websockets until then, and in all, the static picture included.
*Linked*: from the press of the mouse on a row of the heatmap until the view beside it is drawn anew (Workbench: the graph; heatmap: its
table; plotly: the other FigureWidget). *Python and back*: until a widget that Python fills from the selection has changed. Medians of
seven clicks. A FigureWidget is measured as the first of its kernel, which costs seconds, and as the second.
"""

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.sync_api import TimeoutError, sync_playwright

from benchmarks.common import machine
from tests.ui.conftest import CHROMIUM, FLAGS, Lab, running_lab

SETUP = """
import sys
sys.path.insert(0, {project!r})
import html, ipywidgets, numpy as np
import plotly.graph_objects as go, plotly.io as pio
import edgeprof as ep
import edgeprof.workbench.widget, edgeprof.widgets.compare, edgeprof.figures.roofline, edgeprof.widgets.table, edgeprof.widgets.graph
from benchmarks.made import model, pair, profile
pio.renderers.default = "plotly_mimetype"
first, second = pair({layers})
label = ipywidgets.HTML("<b class='heard'>nothing</b>")
heard = lambda text: setattr(label, "value", f"<b class='heard'>{{html.escape(str(text))}}</b>")
names = ["latency_ms", "latency_p95_ms", "share", "energy_mj", "power_mw", "macs", "arithmetic_intensity", "param_bytes",
         "activation_bytes", "peak_memory_bytes", "workspace_bytes", "calls"]
table = first.measured_layers
cells = np.log10(table[names].to_numpy(float) + 1e-9)
rows = list(table["name"])
display(label)
"""

WORKBENCH = """
view = ep.Workbench([first, second])
view.bench.on_change(lambda kinds: heard(view.selection.layers) if "selection" in kinds else None)
view
"""
HEATMAP = """
view = ep.heatmap(first)
view.observe(lambda change: heard(change.new), "selection")
view
"""
PLOTLY = "go.Figure(go.Heatmap(z=cells, x=names, y=rows), layout=dict(height=400))"
WIDGETS = """
heat = go.FigureWidget(go.Heatmap(z=cells, x=names, y=list(range(len(rows)))), layout=dict(height=400))
points = go.FigureWidget(go.Scatter(x=table["latency_ms"], y=table["energy_mj"], mode="markers", text=rows), layout=dict(height=330))
def clicked(trace, at, state):
    points.data[0].selectedpoints = [at.point_inds[0][0]]
    heard(rows[at.point_inds[0][0]])
heat.data[0].on_click(clicked)
ipywidgets.VBox([heat, points])
"""

CANVAS = {
    "heatmap": ".ep-canvas", "memory": ".ep-lives", "timeline": ".ep-canvas", "icicle": ".ep-view canvas", "graph": ".ep-canvas",
    "table": ".ep-view tbody tr, .ep-view [role=row]", "compare": ".ep-view canvas",
}  # fmt: skip
"""What is drawn, of each view: a canvas, or the rows of a table."""

MOST_MS = 20_000

CELLS = {"compare": "ep.compare(first, second)"}
ROOFLINE = "ep.roofline(first)"

COUNT = """
window.received = 0;
window.WebSocket = class extends WebSocket {
  constructor(...args) {
    super(...args);
    this.addEventListener("message", ({ data }) => (window.received += data.size ?? data.byteLength ?? data.length));
  }
};
"""
"""Counts what comes over websockets, from the page's start."""

FIRST_DRAWING = """(milestones) => new Promise((done) => {
  const [start, before, found] = [performance.now(), window.received, []];
  const filled = (node) => {
    if (!(node instanceof HTMLCanvasElement)) return node.getBoundingClientRect().height > 0;
    return node.width > 300 && node.getContext("2d").getImageData(0, 0, node.width, Math.min(300, node.height)).data.some((v) => v);
  };
  const drawn = (selector) => [...document.querySelectorAll(selector)].some(filled);
  const left = milestones.map((selectors) => [...selectors]);
  const look = () => {
    left[0] = left[0].filter((selector) => !drawn(selector));
    if (left[0].length) return setTimeout(look, 5);
    left.shift();
    requestAnimationFrame(() => requestAnimationFrame(() => {
      found.push({ ms: performance.now() - start, bytes: window.received - before });
      if (left.length) look();
      else done(found);
    }));
  };
  window.jupyterapp.commands.execute("notebook:run-cell");
  look();
})"""
"""When all of each milestone's selectors are drawn, in their order, and how much had come until then."""

WATCH = """([linked, back]) => {
  const [times, all] = [(window.times = {}), { subtree: true, childList: true, characterData: true }];
  const [target, label] = [document.querySelector(linked), document.querySelector(back)];
  const seen = (name) => times.down && (times[name] ??= performance.now() - times.down);
  document.addEventListener("mousedown", () => (times.down = performance.now()), { capture: true, once: true });
  if (target instanceof HTMLCanvasElement) {
    const pen = target.getContext("2d");
    for (const name of ["clearRect", "fillRect", "drawImage"]) {
      pen[name] = (...args) => {
        if (seen("linked")) for (const one of ["clearRect", "fillRect", "drawImage"]) delete pen[one];
        return Object.getPrototypeOf(pen)[name].apply(pen, args);
      };
    }
  } else new MutationObserver(() => seen("linked")).observe(target, { ...all, attributes: true });
  new MutationObserver(() => seen("back")).observe(label.closest(".jp-OutputArea-output"), all);
}"""
"""Notes when the linked view is drawn anew after the next press of the mouse, and when the label that Python fills has changed."""


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or [100, 1000, 10_000]
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root, home = Path(folder) / "lab", Path(folder) / "home"
        root.mkdir()
        home.mkdir()
        with running_lab(root, home) as url:
            bench = Bench(playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS), Lab(root, url))
            for layers in sizes:
                measure(bench, layers)


def measure(bench: "Bench", layers: int) -> None:
    """All lines of one size."""
    plain = bench.plotly(layers)
    widgets = bench.widgets(layers)
    bench.heatmap(layers)
    heatmap_and_pareto = bench.workbench(layers)
    for name, other in (("plotly's plain heatmap", plain), ("FigureWidgets, second of the kernel", widgets)):
        say(layers, f"Workbench (heatmap + Pareto) took {heatmap_and_pareto / other:.2f} of the time of {name}")
    for view, canvas in CANVAS.items():
        if view != "heatmap":
            bench.single(layers, view, CELLS.get(view, f"ep.{view}(first)"), canvas)
    bench.single(layers, "roofline", ROOFLINE, ".js-plotly-plot .scatterlayer .point", still=False)


def say(layers: int, text: str) -> None:
    print(f"row 8: {layers} layers: {text}", flush=True)


class Bench:
    """One browser on one JupyterLab."""

    def __init__(self, browser, lab: Lab) -> None:
        self.browser, self.lab, self.count = browser, lab, 0

    def opened(self, layers: int, *cells: str):
        """A page of a new notebook whose first cell has run."""
        page = self.browser.new_page(viewport={"width": 1400, "height": 1400})
        page.add_init_script(COUNT)
        self.count += 1
        setup = SETUP.format(layers=layers, project=str(Path(__file__).parents[1]))
        self.lab.open(page, f"views{self.count}.ipynb", setup, *cells)
        self.lab.run_cell(page, 0)
        page.locator("b.heard").wait_for()
        return page

    def shown(self, page, cell: int, *milestones: list[str], still: bool = True) -> tuple[list[dict[str, float]], float]:
        """Runs a cell: time and bytes of each milestone, and bytes in all once its picture is there."""
        page.evaluate("(cell) => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = cell; }", cell)
        before = page.evaluate("() => window.received")
        found = page.evaluate(FIRST_DRAWING, list(milestones))
        if still:
            page.locator(".jp-RenderedImage img").first.wait_for(state="attached")
        return found, page.evaluate("() => window.received") - before

    def close(self, page) -> None:
        """Ends the page and its kernel."""
        self.lab.close(page)
        page.close()

    def workbench(self, layers: int) -> float:
        """Time to heatmap and Pareto, in ms."""
        page = self.opened(layers, WORKBENCH)
        (two, every), whole = self.shown(page, 1, [".wb-a .ep-canvas", ".wb-b canvas"], [".wb-c .ep-canvas"])
        say(layers, f"Workbench: first drawing of heatmap + Pareto {two['ms']:.0f} ms, with the graph {every['ms']:.0f} ms")
        sent = f"{two['bytes'] / 1e6:.2f} MB until heatmap + Pareto are drawn, {every['bytes'] / 1e6:.2f} MB with the graph"
        say(layers, f"Workbench: sent {sent}, {whole / 1e6:.2f} MB with the picture")
        self.clicks(page, layers, "Workbench", ".wb-a .ep-scroll", ".wb-c .ep-canvas", "graph")
        self.close(page)
        return two["ms"]

    def heatmap(self, layers: int) -> None:
        """The heatmap alone, with its table."""
        page = self.opened(layers, HEATMAP)
        (first,), whole = self.shown(page, 1, [CANVAS["heatmap"]])
        say(
            layers,
            f"heatmap: first drawing {first['ms']:.0f} ms, sent {first['bytes'] / 1e6:.2f} MB, {whole / 1e6:.2f} MB with the picture",
        )
        self.clicks(page, layers, "heatmap", ".ep-scroll", ".ep-table", "table")
        self.close(page)

    def single(self, layers: int, view: str, cell: str, canvas: str, *, still: bool = True) -> None:
        """A view that nothing is clicked in."""
        page = self.opened(layers, cell)
        (first,), whole = self.shown(page, 1, [canvas], still=still)
        picture = f", {whole / 1e6:.2f} MB with the picture" if still else ""
        say(layers, f"{view}: first drawing {first['ms']:.0f} ms, sent {first['bytes'] / 1e6:.2f} MB{picture}")
        self.close(page)

    def plotly(self, layers: int) -> float:
        """Time of plotly's heatmap without a widget, in ms."""
        page = self.opened(layers, PLOTLY)
        (first,), _ = self.shown(page, 1, [".js-plotly-plot .heatmaplayer image"], still=False)
        say(layers, f"plotly, heatmap only, not linked: first drawing {first['ms']:.0f} ms, sent {first['bytes'] / 1e6:.2f} MB")
        self.close(page)
        return first["ms"]

    def widgets(self, layers: int) -> float:
        """Time of two linked FigureWidgets when the kernel has made some before, in ms."""
        page = self.opened(layers, WIDGETS, WIDGETS)
        for cell, which in ((1, "first"), (2, "second")):
            area = f'[data-windowed-list-index="{cell}"]'
            drawn = [f"{area} .heatmaplayer image", f"{area} .scatterlayer .point"]
            (first,), _ = self.shown(page, cell, drawn, still=False)
            text = f"first drawing {first['ms']:.0f} ms, sent {first['bytes'] / 1e6:.2f} MB"
            say(layers, f"plotly, linked FigureWidgets heatmap + scatter, {which} of the kernel: {text}")
        self.clicks(page, layers, "plotly, FigureWidgets", f"{area} .nsewdrag", f"{area} .js-plotly-plot:has(.points)", "scatter")
        self.close(page)
        return first["ms"]

    def clicks(self, page, layers: int, what: str, where: str, linked: str, name: str) -> None:
        """Seven rows are clicked: how long until the linked view and Python's answer."""
        found = []
        for row in range(1, 8):
            page.locator(where).first.scroll_into_view_if_needed()
            box = page.locator(where).first.bounding_box()
            page.mouse.move(box["x"] + 300, box["y"] + (20 if "plotly" in what else 96) + 22 * row)
            try:
                if "plotly" in what:  # it takes a click only where it has seen the mouse before
                    page.locator(".hoverlayer .hovertext").first.wait_for(timeout=MOST_MS)
                page.evaluate(WATCH, [linked, "b.heard"])
                page.mouse.down()
                page.mouse.up()
                page.wait_for_function("() => window.times.linked && window.times.back", timeout=MOST_MS)
            except TimeoutError:
                say(layers, f"{what}: a click on row {row} was not answered within {MOST_MS / 1000:.0f} s")
                return
            found.append(page.evaluate("() => window.times"))
        for key, text in (("linked", f"click to linked {name}"), ("back", "click to Python and back")):
            say(layers, f"{what}: {text} {statistics.median(one[key] for one in found):.0f} ms")


if __name__ == "__main__":
    main()
