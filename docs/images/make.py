"""The pictures of the README and of docs/: the Workbench in a live JupyterLab, and each view in a plain page.

    python docs/images/make.py                    all of them, some four minutes: a study is measured for them first
    python docs/images/make.py NAME ...           those whose names begin so, such as ``graph`` or ``workbench-dark``
    python docs/images/make.py --study FOLDER ... keeps that study in FOLDER, and takes it from there the next time

Sizes are always the same, numbers are those of this machine. Pictures have 256 colours, so that a clone stays small.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import edgeprof as ep
from edgeprof.analysis.align import align_variants
from edgeprof.figures.boards import boards
from edgeprof.figures.difference import difference
from edgeprof.figures.graph import graph
from edgeprof.figures.heatmap import heatmap, heatmap_runs
from edgeprof.figures.icicle import icicle
from edgeprof.figures.memory import memory
from edgeprof.figures.modules import script, style
from edgeprof.figures.pareto_view import pareto_view
from edgeprof.figures.roofline_view import roofline_view
from edgeprof.figures.timeline import Session, timeline
from edgeprof.figures.view import ViewData
from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.recipes.recipe import Recipe
from edgeprof.records.profile import Profile
from edgeprof.testing import make_sensed_profile
from edgeprof.workbench import Bench
from tests.ui.conftest import CHROMIUM, FLAGS, Lab, running_lab

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SAMPLES = ROOT / "sample_models"
MODEL, DATA, STUDY = "mobilenetv2_clutter.onnx", "held_out_clutter.toml", "clutter.study"
SETTINGS: dict[str, Any] = {"runs": 60, "precisions": ("int8",), "widths": (0.25,), "mixed": 3}
LARGE = "encoder.edgeprof"
WIDE, NARROW = 1240, 700
HEIGHT = 2600
"""Room for the longest Workbench: what is scrolled away is in no picture."""
GROUND = {"light": "#ffffff", "dark": "#111418"}


# What is shown


QUICK = ep.EnergyPlan(budget_s=40, model_s=3, idle_s=1, warm_limit_s=6)


@cache
def sample(name: str) -> Profile:
    return ep.load(SAMPLES / f"{name}.edgeprof")


@cache
def simulated() -> Profile:
    """A session with power, energy by layer and memory, on a board that is not there."""
    return ep.profile(SAMPLES / MODEL, board="simulated", runs=40, energy="layers", energy_plan=QUICK, progress=False)


@cache
def large() -> Profile:
    """1,000 layers with long names in 80 blocks, made up."""
    rng = np.random.default_rng(0)
    profile = make_sensed_profile(rng.lognormal(-3, 1, 1000), runs=20)
    layers = profile.layers.copy()
    ops = list(layers["op_type"][:-1])
    names = [f"/model/encoder/stages.{i // 240}/blocks.{i // 12:02}/{_part(i % 12)}/{op}_{i}" for i, op in enumerate(ops)]
    new = dict(zip(layers["name"], names, strict=False))
    layers["name"] = layers["runtime_name"] = [*names, layers["name"].iloc[-1]]
    layers["source_nodes"] = [[] if kind != "layer" else [name] for kind, name in zip(layers["kind"], layers["name"], strict=True)]
    layers["activation_bytes"] *= np.append(rng.lognormal(1, 1, 1000), 1)
    layers["macs"] *= np.append(rng.lognormal(-0.5, 0.7, 1000), 1)
    layers["arithmetic_intensity"] = 2 * layers["macs"] / (layers["param_bytes"] + layers["activation_bytes"])
    windows = profile.windows.assign(label=[new.get(label, label) for label in profile.windows["label"]])
    context = profile.context
    assert context.memory is not None
    context = replace(context, model_name="encoder.onnx", memory=replace(context.memory, peak_layer=new[context.memory.peak_layer]))
    nodes = tuple(replace(fate, node=new[fate.node], layers=(new[fate.node],)) for fate in profile.nodes)
    model = _chain([(name, op) for name, op, kind in zip(names, ops, layers["kind"], strict=False) if kind == "layer"])
    return replace(profile, layers=layers, windows=windows, context=context, nodes=nodes, graph=model)


def _part(place: int) -> str:
    return "attention/self/query_key_value" if place < 6 else "feed_forward/intermediate/dense"


def _chain(layers: list[tuple[str, str]]) -> Graph:
    """One layer after the other, with a way around each block."""
    made, last, entry = [], "x", "x"
    for i, (name, op) in enumerate(layers):
        inputs = (last, entry) if op == "Add" and entry != last else (last,)
        entry = last if i % 10 == 0 else entry
        last = f"t{i}"
        made.append(Layer(name, op, inputs, (last,)))
    tensors = {name: TensorInfo(name, "float32", (1, 8)) for name in ("x", *(f"t{i}" for i in range(len(layers))))}
    return Graph("encoder", tuple(made), (tensors["x"],), (tensors[last],), tensors, opsets={"": 17}, ir_version=8)


EXPANDS = [f"/block{block}/expand/conv/Conv" for block in range(1, 9)]
CONVS = [*EXPANDS, *(f"/block{block}/project/conv/Conv" for block in range(1, 9))]
LATE = ["/block7/expand/conv/Conv", "/block7/project/conv/Conv", "/block8/expand/conv/Conv"]
Decided = list[tuple[list[str], dict[str, Any]]]

CANDIDATES: list[tuple[str, bool, Decided]] = [
    ("1x1 int8", True, [(CONVS, {"precision": "int8"})]),
    ("1x1 int8, narrow", True, [(CONVS, {"precision": "int8"}), (EXPANDS, {"prune": 0.25})]),
    ("late int8", True, [(LATE, {"precision": "int8"})]),
    ("narrow", False, [(EXPANDS, {"prune": 0.25})]),
]
"""Name, whether it is measured too, and what is decided for which layers."""

NOW: Decided = [
    (LATE, {"precision": "int8"}),
    (["/block2/expand/conv/Conv"], {"prune": 0.25}),
    (["/block4/expand/conv/Conv", "/block6/project/conv/Conv"], {"precision": "int8"}),
]
"""The recipe in hand."""


def measured_study(folder: Path) -> None:
    """Measures the model, learns this machine and tries the candidates, all of it kept in ``folder``."""
    print("measuring the study, some three minutes", flush=True)
    with Bench(SAMPLES / MODEL, data=SAMPLES / DATA, study=folder, **SETTINGS) as bench:
        _done(bench.measure("base"), bench.learn())
        for name, measured, decisions in CANDIDATES:
            _decide(bench, decisions)
            _done(bench.estimate())
            bench.rename(bench.candidates[-1].key, name)
            if measured:
                _done(bench.measure())
        _decide(bench, NOW)
        bench.shown, bench.selection = "base", {"layers": LATE, "candidates": []}


def _decide(bench: Bench, decisions: Decided) -> None:
    bench.shown, bench.recipe = "base", Recipe()
    for layers, wish in decisions:
        bench.decide(layers, **wish)


def _done(*tasks: Any) -> None:
    for task in tasks:
        task.wait()
        assert task.status == "done", f"{task.label}: {task.error or task.status}"


# How it is drawn


@dataclass(frozen=True)
class Plain:
    """A view in a plain page: ``data`` makes what it is drawn from, ``act`` clicks in it."""

    module: str
    render: str
    data: Callable[[], dict[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)
    theme: str = "light"
    width: int = WIDE
    act: Callable[[Page], None] = lambda page: None


@dataclass(frozen=True)
class Whole:
    """The Workbench in a notebook."""

    cell: str
    theme: str = "light"
    width: int = WIDE
    act: Callable[[Page], None] = lambda page: None


def _parts(**views: ViewData) -> dict[str, Any]:
    return {part: view.to_json() for part, view in views.items()}


def _heatmap(of: Callable[[], Profile], *, by_run: bool = False) -> Callable[[], dict[str, Any]]:
    return lambda: _parts(data=heatmap(of()), **({"runs": heatmap_runs(of())} if by_run else {}))


def _one(figure: Callable[..., ViewData], of: Callable[[], Profile], **options: Any) -> Callable[[], dict[str, Any]]:
    return lambda: _parts(data=figure(of(), **options))


def _one_run(of: Callable[[], Profile]) -> Callable[[], dict[str, Any]]:
    def made() -> dict[str, Any]:
        session, start, end = Session(of()), *_window(of())
        return _parts(data=timeline(of()), detail=session.detail(start - 10, end + 10)) | {"window": [start, end]}

    return made


def _window(profile: Profile) -> tuple[float, float]:
    run = profile.runs[profile.runs["instrumented"]].iloc[4]
    return run["start_ms"] - 0.2 * run["latency_ms"], run["start_ms"] + 1.2 * run["latency_ms"]


class Tried:
    """The study, and what came of its candidates; it is measured when it is first asked for."""

    folder: Path

    @classmethod
    @cache
    def study(cls) -> Path:
        os.environ["XDG_CACHE_HOME"] = str(cls.folder.parent.absolute() / "cache")  # measured peaks stay beside the study
        if not (cls.folder / "study.toml").is_file():
            measured_study(cls.folder)
        return cls.folder

    @classmethod
    @cache
    def _all(cls) -> tuple[dict[str, Profile], dict[str, str]]:
        with Bench(SAMPLES / MODEL, data=SAMPLES / DATA, study=cls.study(), **SETTINGS) as bench:
            found = {one.key: one.measured for one in bench.candidates if one.measured is not None}
            guessed = {f"{one.key} estimate": one.estimated for one in bench.candidates if one.estimated is not None}
            return found | guessed, {one.key: one.name for one in bench.candidates} | {"base": "as it is"}

    @classmethod
    def pareto(cls) -> dict[str, Any]:
        found, names = cls._all()
        labels = [names[key] if key in names else f"{names[key.split()[0]]}, estimated" for key in found]
        return _parts(data=pareto_view(list(found.values()), keys=list(found), labels=labels))

    @classmethod
    def roofline(cls) -> dict[str, Any]:
        return _parts(data=roofline_view(cls._all()[0]["base"], peaks=ep.board_peaks(progress=False)))

    @classmethod
    def compared(cls) -> dict[str, Any]:
        found, _ = cls._all()
        return _parts(data=difference([found["base"], found["c1"]]))

    @classmethod
    def aligned(cls) -> dict[str, Any]:
        found, _ = cls._all()
        chosen = [profile for key, profile in found.items() if not key.endswith("estimate")]
        return _parts(data=boards(align_variants(chosen), own_findings=False))


def _open_block(page: Page) -> None:
    page.evaluate("() => window.view.set({ collapsed: window.view.options.collapsed.filter((name) => name !== 'block2') })")


def _many(page: Page) -> None:
    page.evaluate("() => window.view.select(window.view.data.names.slice(4, 7))")


def _ready(page: Page) -> None:
    """Waits until nothing runs, waits or is asked for."""
    page.locator(".ep-heatmap canvas.ep-canvas").wait_for()
    page.wait_for_function("() => !document.querySelector('.wb-task, .ep-workbench [aria-busy], .wb-away')")


def _longest_first(page: Page) -> None:
    page.locator(".wb-a").get_by_title("Sort").select_option(label="Latency")


def _candidate(page: Page) -> None:
    """Looks at what was measured first, held against the model as it is, in the whole width."""
    page.get_by_label("Looking at").select_option(index=1)
    page.get_by_label("against").select_option(index=1)
    page.get_by_role("tab", name="Difference").click()
    page.get_by_role("tab", name="Side by side").click()


WORKBENCH = f"""
import edgeprof as ep
wb = ep.Workbench("{MODEL}", data="{DATA}", study="{STUDY}", **{SETTINGS})
wb
"""
LOOKING = f"""
import edgeprof as ep
wb = ep.Workbench("{LARGE}")
wb.selection = list(wb.profile.measured_layers["name"][6:9])
wb
"""

SMALL, MIDDLE, VIT = (partial(sample, name) for name in ("dscnn_mnist", "mobilenetv2_clutter", "vit_clutter"))
CHOSEN = {"selection": LATE}

PICTURES: dict[str, Plain | Whole] = {
    "workbench-light": Whole(WORKBENCH, act=_longest_first),
    "workbench-dark": Whole(WORKBENCH, theme="dark", act=_longest_first),
    "workbench-compare": Whole(WORKBENCH, act=_candidate),
    "workbench-narrow": Whole(WORKBENCH, width=NARROW, act=_longest_first),
    "workbench-1000": Whole(LOOKING),
    "heatmap-metrics": Plain("heatmap", "renderHeatmap", _heatmap(simulated), CHOSEN),
    "heatmap-small": Plain("heatmap", "renderHeatmap", _heatmap(SMALL), width=NARROW, theme="dark"),
    "heatmap-runs": Plain("heatmap", "renderHeatmap", _heatmap(MIDDLE, by_run=True), {"mode": "runs"} | CHOSEN),
    "heatmap-blocks": Plain("heatmap", "renderHeatmap", _heatmap(VIT), {"group": "block", "values": "share"}),
    "heatmap-1000-dark": Plain("heatmap", "renderHeatmap", _heatmap(large), theme="dark", act=_many),
    "icicle-light": Plain("icicle", "renderIcicle", _one(icicle, VIT)),
    "icicle-longest": Plain("icicle", "renderIcicle", _one(icicle, MIDDLE), {"order": "longest"} | CHOSEN),
    "icicle-1000-dark": Plain("icicle", "renderIcicle", _one(icicle, large), theme="dark"),
    "table-light": Plain("layer_table", "renderLayerTable", _one(heatmap, MIDDLE), {"sort": "latency_ms"} | CHOSEN),
    "table-1000-dark": Plain(
        "layer_table", "renderLayerTable", _one(heatmap, large), {"query": "/blocks.1[0-9]/ latency > 100 us"}, "dark"
    ),
    "timeline-light": Plain("timeline", "renderTimeline", _one(timeline, simulated), CHOSEN),
    "timeline-one-run-dark": Plain("timeline", "renderTimeline", _one_run(simulated), theme="dark"),
    "graph-folded": Plain(
        "graph", "renderGraph", _one(graph, VIT, collapse="all"), {"selection": ["/block2/attention/key/MatMul"]}, act=_open_block
    ),
    "graph-open": Plain("graph", "renderGraph", _one(graph, MIDDLE, collapse="none"), CHOSEN, width=NARROW),
    "graph-1000-dark": Plain("graph", "renderGraph", _one(graph, large), theme="dark"),
    "pareto-light": Plain("pareto", "renderPareto", Tried.pareto),
    "roofline-light": Plain("roofline", "renderRoofline", Tried.roofline, CHOSEN),
    "roofline-1000-dark": Plain("roofline", "renderRoofline", _one(roofline_view, large), theme="dark"),
    "memory-light": Plain("memory", "renderMemory", _one(memory, MIDDLE, budget="2 MB")),
    "memory-1000-dark": Plain("memory", "renderMemory", _one(memory, large), theme="dark"),
    "compare-waterfall": Plain("difference", "renderDifference", Tried.compared, {"mode": "waterfall"}),
    "compare-side": Plain("difference", "renderDifference", Tried.compared, {"mode": "side"}, width=NARROW),
    "compare-heatmap-dark": Plain("heatmap", "renderHeatmap", Tried.aligned, {"mode": "difference"}, "dark"),
}

PAGE = """<!doctype html><meta charset="utf-8"><style>{css}</style><body style="margin:0; background:{ground}">
<div id="view"></div><script type="module">{js}
const {{ data, ...rest }} = {parts};
window.view = {render}(document.getElementById("view"), data, {{ theme: "{theme}", ...rest, ...{options} }});
</script>"""


def plain(browser: Browser, picture: Plain) -> bytes:
    page = browser.new_page(viewport={"width": picture.width, "height": 1200})
    page.on("pageerror", _fail)
    parts = json.dumps(picture.data()).replace("<", "\\u003c")
    given = {"css": style(picture.module), "js": script(picture.module), "ground": GROUND[picture.theme], "parts": parts}
    page.set_content(PAGE.format(**given, render=picture.render, theme=picture.theme, options=json.dumps(picture.options)))
    page.wait_for_function("() => window.view")
    picture.act(page)
    _drawn(page)
    shot = page.locator(".ep-view").first.screenshot()
    page.close()
    return shot


def whole(browser: Browser, lab: Lab, name: str, picture: Whole, study: Path) -> bytes:
    page = browser.new_page(viewport={"width": picture.width + 200, "height": HEIGHT})
    page.on("pageerror", _fail)
    lab.open(page, f"{_folder(lab.root, name, study)}/workbench.ipynb", picture.cell)
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    lab.theme(page, "JupyterLab Dark" if picture.theme == "dark" else "JupyterLab Light")
    lab.run_cell(page, 0)
    bench = page.locator(".ep-workbench")
    _ready(page)
    more = picture.width - round(bench.bounding_box()["width"])
    page.set_viewport_size({"width": picture.width + 200 + more, "height": HEIGHT})
    picture.act(page)
    _ready(page)
    _drawn(page)
    shot = bench.screenshot()
    lab.close(page)
    page.close()
    return shot


def _fail(error: Any) -> None:
    raise SystemExit(f"A page failed: {error}")


def _drawn(page: Page) -> None:
    """Until fonts are there and what was asked for was drawn; no pointer is on it."""
    page.mouse.move(0, 0)
    page.evaluate("async () => { await document.fonts.ready; for (let i = 0; i < 20; i += 1) await new Promise(requestAnimationFrame); }")


def kept(shot: bytes, path: Path) -> None:
    """Writes a picture with at most 256 colours."""
    image = Image.open(io.BytesIO(shot)).convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    print(f"{path.name}: {image.width} x {image.height}, {path.stat().st_size / 1000:.0f} kB", flush=True)


def _folder(root: Path, name: str, study: Path) -> str:
    """A folder for one notebook: the model, its data, the large profile and a copy of the study, under neutral names."""
    folder = root / name
    folder.mkdir()
    for file in (MODEL, DATA, DATA.replace(".toml", ".npz")):
        shutil.copy(SAMPLES / file, folder)
    shutil.copytree(study, folder / STUDY)
    large().save(str(folder / LARGE))
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="which; none is all")
    parser.add_argument("--study", type=Path, help="where the measured study is, or shall be kept")
    wanted = parser.parse_args()
    chosen = {name: one for name, one in PICTURES.items() if not wanted.names or name.startswith(tuple(wanted.names))}
    if not chosen:
        parser.error(f"there is no picture of that name; there are {', '.join(PICTURES)}")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        Tried.folder = wanted.study or folder / STUDY
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name, one in chosen.items():
            if isinstance(one, Plain):
                kept(plain(browser, one), HERE / f"{name}.png")
        benches = {name: one for name, one in chosen.items() if isinstance(one, Whole)}
        if benches:
            study = Tried.study()
            ep.board_peaks(progress=False)
            (root := folder / "lab").mkdir()
            (folder / "home").mkdir()
            with running_lab(root, folder / "home") as url:
                for name, one in benches.items():
                    kept(whole(browser, Lab(root, url), name, one, study), HERE / f"{name}.png")


if __name__ == "__main__":
    main()
