"""The Workbench in JupyterLab with a live kernel: look, select, decide, measure, cancel, and all of it again after a reload and a restart.

One notebook and one kernel for the whole file: each test goes on where the one before ended, as a person would.
"""

import hashlib
import re
import shutil
import warnings
from pathlib import Path

import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import expect

import edgeprof as ep

pytestmark = pytest.mark.ui

SAMPLES = Path(__file__).parents[2] / "sample_models"
CELLS = {
    "work": (
        "import edgeprof as ep\n"
        'wb = ep.Workbench("dscnn_mnist.onnx", data="held_out_digits.toml", runs=30, warmup=3, memory=False, calibration=20,\n'
        '                  precisions=("int8",), widths=(), mixed=2)\n'
        "wb"
    ),
    "selection": "print(*wb.selection.layers)",
    "select": 'wb.selection = ["/block1/depthwise/conv/Conv", "/block1/pointwise/conv/Conv"]',
    "candidates": "print([(one.key, one.status, one.estimated is not None) for one in wb.bench.candidates])",
    "recipe": "print(sorted({(d.layer, d.precision) for d in wb.bench.recipe.decisions}))",
    "slow": (
        "import edgeprof.workbench.tasks as tasks\n"
        "tasks._AT_ONCE_AFTER_S = 600  # however busy the machine is, what was measured can be sent\n"
        'slow = ep.Workbench("resnet8_mnist.onnx", study="slow.study", runs=50_000, warmup=3, memory=False)\n'
        "slow"
    ),
    "busy": "print(6 * 7, [task.status for task in slow.bench.tasks])",
    "cancelled": (
        "print(slow.bench.base, [t.status for t in slow.bench.tasks], [one.status for one in slow.bench.candidates],\n"
        "      len(ep.Study('slow.study').profiles()), [len(p.runs) > 0 for p in ep.Study('slow.study').profiles(partial=True)],\n"
        "      (slow.bench.study / 'measuring.edgeprof').exists())"
    ),
    "page": 'wb.save_page("page.html")',
}
"""The cells of the notebook by what they are for."""

DEPTHWISE, POINTWISE = "/block1/depthwise/conv/Conv", "/block1/pointwise/conv/Conv"

COLORS = """(canvases) => Math.max(0, ...canvases.filter((c) => c.width && c.height).map((c) =>
    new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size))"""
"""How many different colours the richest canvas shows."""

MARKED = """(canvases) => { let n = 0;
    for (const c of canvases) {
        if (!c.width || !c.height) continue;
        const accent = getComputedStyle(c).getPropertyValue('--ep-accent').trim(); // #rrggbb
        const [r, g, b] = [1, 3, 5].map((i) => parseInt(accent.slice(i, i + 2), 16));
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        for (let i = 0; i < d.length; i += 4) if (d[i] === r && d[i + 1] === g && d[i + 2] === b) n += 1;
    }
    return n; }"""
"""How many pixels have the colour that nothing but a selection has."""


class Notebook:
    """The notebook of `CELLS` in JupyterLab."""

    def __init__(self, lab, page):
        self.lab, self.page = lab, page

    def run(self, name):
        """Runs a cell and waits until it is done."""
        self.lab.run_cell(self.page, list(CELLS).index(name))

    def tell(self, name):
        """What a cell prints when it is run now."""
        self.run(name)
        return self.lab.output(self.page, list(CELLS).index(name)).strip()

    def cell(self, name="work"):
        """The Workbench that is shown below a cell."""
        return self.page.locator(".jp-CodeCell").nth(list(CELLS).index(name)).locator(".ep-workbench")

    def wait(self, script, pane, name="work"):
        """Waits until ``script``, given the canvases of a pane, is true."""
        where = f"document.querySelectorAll('.jp-CodeCell')[{list(CELLS).index(name)}].querySelectorAll('.wb-{pane} .wb-body canvas')"
        self.page.wait_for_function(f"() => ({script})([...{where}])")

    def wait_marked(self, pane):
        """Waits until the view in a pane shows something selected."""
        self.wait(f"(canvases) => ({MARKED})(canvases) > 3", pane)

    def wait_plain(self, pane):
        """Waits until the view in a pane shows nothing selected."""
        self.wait(f"(canvases) => canvases.length && ({MARKED})(canvases) === 0", pane)

    def save(self):
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")


def choose(where, name):
    """Shows a view by its tab and waits until it is there."""
    tab = where.get_by_role("tab", name=name, exact=True)
    tab.click()
    expect(tab).to_have_attribute("aria-selected", "true")
    expect(where.locator(".wb-pane[aria-busy]")).to_have_count(0)


@pytest.fixture(scope="module")
def folder(lab):
    """The lab's folder with the models and their data in it."""
    for name in ("dscnn_mnist.onnx", "resnet8_mnist.onnx", "held_out_digits.toml", "held_out_digits.npz"):
        shutil.copy(SAMPLES / name, lab.root)
    return lab.root


@pytest.fixture(scope="module")
def notebook(browser, lab, folder):
    """One notebook for all tests here. At the end no script of a view has failed: they come from blobs, all else is JupyterLab's own."""
    context = browser.new_context(viewport={"width": 1500, "height": 2400})
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(f"{error} {error.stack}"))
    lab.open(page, "workbench.ipynb", *CELLS.values())
    yield Notebook(lab, page)
    lab.close(page)
    context.close()
    assert not [told for told in wrong if "blob:" in told]


def test_running_the_cell_measures_and_draws(notebook):
    notebook.run("work")
    cell = notebook.cell()
    expect(cell.locator(".ep-origin").first).to_have_text("measured")
    expect(cell.locator(".wb-task")).to_have_count(0)
    expect(cell.locator(".ep-number strong").first).to_contain_text("[")
    for pane in "abc":  # heatmap, pareto, graph
        notebook.wait(f"(canvases) => ({COLORS})(canvases) > 30", pane)
        notebook.wait_plain(pane)
    expect(cell.locator(".wb-b .ep-legend")).to_contain_text("measured")
    expect(cell.locator(".ep-error")).to_have_count(0)


def test_a_clicked_cell_of_the_heatmap_is_selected_everywhere(notebook):
    cell = notebook.cell()
    choose(cell, "Roofline")
    notebook.wait_plain("b")
    cell.locator(".ep-heatmap .ep-scroll").click(position={"x": 500, "y": 150})
    for pane in "abc":  # heatmap, roofline, graph
        notebook.wait_marked(pane)
    selected = notebook.tell("selection")
    assert selected.startswith("/") and " " not in selected
    expect(cell.locator(".wb-chip")).to_have_text([selected])
    choose(cell, "Icicle")
    notebook.wait_marked("a")
    choose(cell, "Memory")
    notebook.wait_marked("c")
    choose(cell, "Table")
    expect(cell.locator(".ep-lt-row.ep-lt-selected")).to_have_count(1)
    expect(cell.locator(".ep-lt-row.ep-lt-selected")).to_contain_text(selected.rsplit("/", 2)[1])


def test_python_selects_and_views_follow(notebook):
    cell = notebook.cell()
    notebook.run("select")
    expect(cell.locator(".wb-chip")).to_have_text([DEPTHWISE, POINTWISE])
    expect(cell.locator(".ep-lt-row.ep-lt-selected")).to_have_count(2)
    for pane in "bc":  # roofline, memory
        notebook.wait_marked(pane)


def test_back_and_forward_by_buttons_and_by_keys(notebook):
    cell = notebook.cell()
    chips = cell.locator(".wb-chip")
    forward = cell.get_by_role("button", name="Selection after")
    expect(forward).to_be_disabled()
    cell.get_by_role("button", name="Selection before").click()
    expect(chips).to_have_count(1)
    expect(forward).to_be_enabled()
    forward.click()
    expect(chips).to_have_count(2)
    cell.locator(".ep-lt").focus()
    notebook.page.keyboard.press("[")
    expect(chips).to_have_count(1)
    notebook.page.keyboard.press("[")
    expect(chips).to_have_count(0)
    notebook.wait_plain("b")
    notebook.page.keyboard.press("]")
    notebook.page.keyboard.press("]")
    expect(chips).to_have_text([DEPTHWISE, POINTWISE])
    assert notebook.tell("selection") == f"{DEPTHWISE} {POINTWISE}"
    expect(notebook.page.locator(".jp-CodeCell")).to_have_count(len(CELLS))  # Lab did not take the keys for its own


def test_choosing_int8_makes_a_decision_and_learning_an_estimate(notebook):
    cell = notebook.cell()
    cell.get_by_role("radio", name="int8", exact=True).click()
    expect(cell.locator(".wb-recipe li")).to_have_count(1)
    assert (DEPTHWISE, "int8") in eval(notebook.tell("recipe"))
    change = cell.locator(".wb-change")
    expect(change.locator(".wb-after").first).to_have_text("not known")
    cell.get_by_role("button", name="Learn this board").click()
    expect(change.locator(".wb-after").first).to_contain_text("[")
    expect(change).to_contain_text("Accuracy")
    expect(change.locator(".wb-bar-of").first).to_be_visible()
    expect(cell.locator(".wb-decide .ep-origin-estimated")).to_have_text("estimated")


def test_ctrl_z_takes_back_and_makes_again(notebook):
    cell = notebook.cell()
    before = notebook.tell("recipe")
    cell.locator(".ep-lt").focus()
    notebook.page.keyboard.press("Control+z")
    expect(cell.locator(".wb-recipe li")).to_have_count(0)
    expect(cell.locator(".wb-decide")).to_contain_text("Empty: the model as it is.")
    assert notebook.tell("recipe") == "[]"
    cell.locator(".ep-lt").focus()
    notebook.page.keyboard.press("Control+Shift+Z")
    expect(cell.locator(".wb-recipe li")).to_have_count(1)
    assert notebook.tell("recipe") == before


def test_estimating_makes_a_hollow_point_and_measuring_a_full_one(notebook):
    cell = notebook.cell()
    choose(cell, "Pareto")
    cell.get_by_role("button", name="Estimate", exact=True).click()
    options = cell.get_by_label("Looking at").locator("option")
    expect(options).to_have_text(["The model as it is", re.compile(r"\(estimated\)$")])
    legend = cell.locator(".wb-b .ep-legend")
    expect(legend).to_contain_text("estimated, dashed bars")
    assert notebook.tell("candidates") == "[('base', 'measured', False), ('c1', 'estimated', True)]"
    hollow = cell.locator(".wb-b canvas.ep-plot, .wb-b .ep-plot canvas").first.evaluate("(c) => c.toDataURL()")
    cell.get_by_role("button", name="Measure", exact=True).click()
    expect(options).to_have_text(["The model as it is", re.compile(r"\(measured\)$")])
    notebook.wait(f"([canvas]) => canvas && canvas.toDataURL() !== {hollow!r}", "b")
    expect(cell.locator(".wb-task")).to_have_count(0)
    assert notebook.tell("candidates") == "[('base', 'measured', False), ('c1', 'measured', True)]"
    expect(legend).to_contain_text("estimated, dashed bars")  # what was foretold stays beside what came
    expect(cell.locator(".wb-note")).to_have_count(0)


def test_the_views_of_two_candidates(notebook):
    cell = notebook.cell()
    choose(cell, "Side by side")
    notebook.wait(f"(canvases) => ({COLORS})(canvases) > 30", "a")
    notebook.wait_marked("a")
    choose(cell, "Difference")
    expect(cell.locator(".wb-b .ep-empty")).to_contain_text("Choose what to compare with")
    cell.get_by_label("Looking at").select_option(index=1)
    cell.get_by_label("against").select_option("base")
    notebook.wait(f"(canvases) => ({COLORS})(canvases) > 10", "b")
    expect(cell.locator(".ep-model").first).to_contain_text("dscnn_mnist")
    expect(cell.locator(".ep-error")).to_have_count(0)
    cell.get_by_label("Looking at").select_option("base")
    expect(cell.get_by_label("against").locator("option")).to_have_count(2)
    for name in ("Heatmap", "Pareto", "Graph"):
        choose(cell, name)


def test_a_long_measurement_is_watched_and_cancelled_while_the_kernel_works_on(notebook, folder):
    notebook.run("slow")
    cell = notebook.cell("slow")
    expect(cell.locator(".ep-origin.ep-running").first).to_contain_text("running")
    expect(cell.get_by_role("progressbar")).to_have_attribute("aria-label", "Measure resnet8_mnist")
    notebook.wait(f"(canvases) => ({COLORS})(canvases) > 30", "a", "slow")  # the heatmap fills
    expect(cell.locator(".ep-origin.ep-running").first).to_contain_text("of 50,000 runs")
    assert notebook.tell("busy") == "42 ['running']"
    cell.get_by_role("button", name="Cancel").click()
    expect(cell.locator(".wb-task")).to_have_count(0)
    expect(cell.locator(".ep-origin.ep-running")).to_have_count(0)
    expect(cell.locator(".ep-origin").first).to_have_text("not measured yet")
    expect(cell.get_by_role("button", name="Measure now").first).to_be_visible()
    assert notebook.tell("cancelled") == "None ['cancelled'] ['new'] 0 [True] False"


def test_dark_theme(notebook):
    cell = notebook.cell()
    canvases = cell.locator(".wb-body canvas")
    light = canvases.first.evaluate("(c) => c.toDataURL()")
    notebook.lab.theme(notebook.page, "JupyterLab Dark")
    expect(cell).to_have_class(re.compile(r"\bep-dark\b"))
    expect(cell.locator(".wb-body .ep-view.ep-dark")).to_have_count(3)
    notebook.wait(f"([canvas]) => canvas.toDataURL() !== {light!r}", "a")
    notebook.lab.theme(notebook.page, "JupyterLab Light")
    expect(cell).to_have_class(re.compile(r"\bep-light\b"))
    notebook.wait(f"([canvas]) => canvas.toDataURL() === {light!r}", "a")


def test_the_saved_notebook_exported_shows_the_picture(notebook, folder, browser, tmp_path):
    stills = notebook.page.locator(".jp-RenderedImage img")
    expect(stills).to_have_count(2)
    for i in range(2):
        expect(stills.nth(i)).to_be_hidden()
    notebook.save()
    with warnings.catch_warnings(action="ignore"):  # nbconvert's own
        html, _ = HTMLExporter().from_filename(str(folder / "workbench.ipynb"))
    (tmp_path / "page.html").write_text(html, "utf-8")
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    expect(page.locator("img")).to_have_count(2)
    expect(page.locator("img").first).to_be_visible()
    wide, high = page.evaluate("() => { const i = document.querySelector('img'); return [i.naturalWidth, i.clientHeight]; }")
    context.close()
    assert wide == 1560 and high > 1500, "all views, one below the other"


def test_the_saved_page_is_whole_without_a_network(notebook, folder, browser):
    notebook.run("page")
    context = browser.new_context(viewport={"width": 1400, "height": 1400}, offline=True)
    page = context.new_page()
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto((folder / "page.html").as_uri())
    view = page.locator(".ep-workbench")
    for name in ("Icicle", "Table", "Timeline", "Side by side", "Roofline", "Difference", "Pareto", "Memory", "Graph", "Heatmap"):
        choose(view, name)
        expect(view.locator(".wb-body > .ep-view, .wb-body > .ep-empty")).to_have_count(3)
        if name != "Difference":
            expect(view.get_by_role("tabpanel", name=name).locator(".ep-view")).to_be_visible()
    view.get_by_label("Looking at").select_option(index=1)
    choose(view, "Difference")
    expect(view.get_by_role("tabpanel", name="Difference").locator("canvas").first).to_be_visible()
    page.keyboard.press("Escape")
    marked = f"(pane) => ({MARKED})([...pane.querySelectorAll('canvas')])"
    view.locator(".ep-heatmap .ep-scroll").click(position={"x": 500, "y": 150})
    choose(view, "Roofline")
    for pane in "abc":
        page.wait_for_function(f"(area) => ({marked})(document.querySelector('.wb-' + area + ' .wb-body')) > 3", arg=pane)
    context.close()
    assert wrong == [] and {url.split(":", 1)[0] for url in asked} <= {"file", "data", "blob"}


def state_of(notebook):
    """What a person sees of where they are."""
    cell = notebook.cell()
    expect(cell.locator(".wb-recipe li")).to_have_count(1)
    expect(cell.locator(".wb-chip")).to_have_count(2)
    expect(cell.get_by_label("Looking at").locator("option")).to_have_count(2)
    return [
        cell.locator(".wb-chip").all_inner_texts(), cell.locator(".wb-recipe li").all_inner_texts(),
        cell.get_by_label("Looking at").locator("option").all_inner_texts(),
        cell.locator(".ep-number strong").first.inner_text(),
    ]  # fmt: skip


def test_after_a_reload_of_the_page_everything_is_back(notebook):
    cell = notebook.cell()
    choose(cell, "Icicle")
    choose(cell, "Memory")
    before = state_of(notebook), notebook.tell("selection"), notebook.tell("recipe")
    notebook.save()
    notebook.page.reload()
    notebook.page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.context")
    expect(cell.get_by_role("tab", name="Icicle")).to_have_attribute("aria-selected", "true")
    expect(cell.get_by_role("tab", name="Memory")).to_have_attribute("aria-selected", "true")
    for pane in "ac":
        notebook.wait_marked(pane)
    assert state_of(notebook) == before[0]
    assert (notebook.tell("selection"), notebook.tell("recipe")) == before[1:]
    cell.get_by_role("button", name="Selection before").click()
    expect(cell.locator(".wb-chip")).to_have_count(1)  # Python answers
    cell.get_by_role("button", name="Selection after").click()
    expect(cell.locator(".wb-chip")).to_have_count(2)


def test_after_a_restart_of_the_kernel_bundles_are_whole_and_the_work_goes_on(notebook, folder):
    before = state_of(notebook), notebook.tell("candidates"), notebook.tell("recipe"), notebook.tell("selection")
    bundles = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "dscnn_mnist.study").rglob("*.edgeprof"))}
    assert len(bundles) > 3
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    notebook.page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.info; }")
    for path, digest in bundles.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest and len(ep.load(path).layers) > 5
    notebook.run("work")
    assert state_of(notebook) == before[0]
    assert (notebook.tell("candidates"), notebook.tell("recipe"), notebook.tell("selection")) == before[1:]
    expect(notebook.cell().locator(".wb-change .wb-after").first).to_contain_text("[")  # what was learned is read again, not measured
    notebook.wait_marked("a")
