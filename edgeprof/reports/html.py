"""HTML report: one offline page with tiles, findings, heatmap, timeline, bars, roofline, memory, all layers and how the numbers came about.

Several profiles come with their Pareto chart first, where two quantities differ between them; several of one model with their boards side
by side: `compare_boards` and layers x boards.

1. Nothing is loaded: scripts and styles stand in the page, and its content security policy forbids everything else. Only
   the scripts whose hash stands in the policy run, so even markup that slipped through a name could not.
2. Tiles, findings and tables are plain HTML and need no script.
3. Names come from strangers' model files: jinja2 escapes all of them, and data for scripts is JSON without any ``<``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof import units
from edgeprof._version import __version__
from edgeprof.analysis import findings
from edgeprof.analysis.doctor import diagnose
from edgeprof.analysis.names import shorten, visible
from edgeprof.analysis.objectives import axes_of
from edgeprof.figures.bars import bars
from edgeprof.figures.boards import boards
from edgeprof.figures.compare_boards import compare_boards
from edgeprof.figures.heatmap import heatmap, heatmap_runs
from edgeprof.figures.memory import memory
from edgeprof.figures.modules import STATIC, script, style
from edgeprof.figures.pareto import pareto
from edgeprof.figures.roofline import roofline
from edgeprof.figures.theme import DARK, LIGHT, op_family, origin_label
from edgeprof.figures.timeline import timeline
from edgeprof.records.profile import Profile
from edgeprof.reports import summary
from edgeprof.reports.html_tables import layer_table, op_type_table, owner_table
from edgeprof.reports.inline import json_text, policy, script_element
from edgeprof.reports.sensed import energy_facts, layer_energy_rows, sensor_rows

if TYPE_CHECKING:
    import jinja2
    import plotly.graph_objects as go

TEMPLATES = Path(__file__).parent / "templates"
PLOTLY = STATIC / "plotly-basic-4.1.1.min.js"
"""plotly.js with bars and scatter only, from the npm package plotly.js-basic-dist-min: a quarter of the whole."""

TOP_LAYERS = 30
"""Layers in the bar chart; the heatmap and the table have all."""

_RUN_CELLS, _FEWEST_RUN_COLUMNS = 120_000, 32
"""Cells of the layers x runs view, all profiles together: most of a large report. With too few columns a profile has no such view."""

_TIMELINE_POINTS, _TIMELINE_SPANS = 5_000, 5_000
"""Of the timeline, all profiles together: more than a screen shows of a whole session, and one run with its layers; the bundle has all."""

_CANVAS_VIEWS = ("heatmap", "timeline", "memory")
"""Views that are drawn on a canvas, each by a module of its own; a page holds those that some profile of it has."""

_COLORS = ("surface", "raised", "ink", "ink_muted", "line", "accent", "good", "warning", "bar", "missing")


def render(profiles: Sequence[Profile]) -> bytes:
    """The page of one or several profiles."""
    sections = [_section(i, profile, len(profiles)) for i, profile in enumerate(profiles)]
    compared, chosen = _compared(profiles), _pareto_section(profiles)
    views = [view for view in _CANVAS_VIEWS if any(f"{view}-data" in section["data"] for section in sections)]
    modules = [script_element(_view_module(view), "module") for view in views]
    scripts = [script_element(PLOTLY.read_text("utf-8")), *modules, script_element(_read("report.js"), "module")]
    page = _environment().get_template("report.html.j2").render(
        title=_title(profiles),
        profiles=sections,
        compared=compared,
        pareto=chosen,
        policy=policy(scripts),
        scripts=scripts,
        style=f"{style(*views)}\n{_read('report.css')}",
        themes={"light": _variables(LIGHT), "dark": _variables(DARK)},
        swap=json_text(color_swap()),
        version=__version__,
        top_layers=TOP_LAYERS,
    )  # fmt: skip
    return page.encode("utf-8", "backslashreplace")


def color_swap() -> dict[str, str]:
    """Light colour to dark colour of everything that figures use: the page draws one figure in either theme."""
    pairs = [(getattr(LIGHT, name), getattr(DARK, name)) for name in _COLORS]
    pairs += [(LIGHT.families[family], DARK.families[family]) for family in LIGHT.families]
    return dict(pairs)


def _title(profiles: Sequence[Profile]) -> str:
    names = dict.fromkeys(profile.context.model_name for profile in profiles)
    return f"{shorten(next(iter(names)), 80)}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"


def _pareto_section(profiles: Sequence[Profile]) -> dict[str, Any] | None:
    """The Pareto chart of the two objectives that say most; None when there are no two, or not two profiles have both."""
    axes = axes_of(profiles) if len(profiles) > 1 else None
    if axes is None:
        return None
    figure = pareto(profiles, axes[0].name, axes[1].name)
    if figure.layout.meta["points"] < 2:
        return None
    height, note = figure.layout.height - figure.layout.margin.t + 84, figure.layout.meta["note"]
    return {
        "id": "front", "data": {"pareto-data": json_text(_figure_json(figure))}, "heights": {"pareto": height}, "notes": {"pareto": note},
    }  # fmt: skip


def _compared(profiles: Sequence[Profile]) -> list[dict[str, Any]]:
    """A section for each model that has two or more profiles here: boards side by side, and layers x boards."""
    by_model: dict[str, list[Profile]] = {}
    for profile in profiles:
        by_model.setdefault(profile.context.model_sha256, []).append(profile)
    groups = [group for digest, group in by_model.items() if digest and len(group) > 1]
    return [_compared_section(f"b{position}", group) for position, group in enumerate(groups)]


def _compared_section(section: str, group: Sequence[Profile]) -> dict[str, Any]:
    figure = compare_boards(group)
    view = boards(group, own_findings=False)
    lines = view.meta["header"].pop("lines")
    return {
        "id": section,
        "name": shorten(group[0].context.model_name, 100),
        "boards": len(group),
        "lines": lines["items"],
        "data": {"compared-data": json_text(_figure_json(figure)), "heatmap-data": json_text(view.to_json())},
        "heights": {"compared": figure.layout.height},
        "notes": {"compared": (figure.layout.meta or {}).get("note", "")},
    }


def _section(position: int, profile: Profile, total: int) -> dict[str, Any]:
    context = profile.context
    diagnoses = diagnose(profile)
    found = [finding for finding in findings(profile) if finding.id not in {one.id for one in diagnoses}]
    held = _memory(profile)
    figures = {
        "ops": bars(profile, "op_type"),
        "layers": bars(profile, top=TOP_LAYERS),
        "roofline": roofline(profile),
    }
    if profile.layers["energy_mj"].notna().any():
        figures["energy"] = bars(profile, top=TOP_LAYERS, metric="energy_mj")
    return {
        "id": f"p{position}",
        "profile": profile,
        "name": shorten(context.model_name, 100),
        "facts": _facts(profile),
        "origin": origin_label(profile),
        "tiles": summary.tiles(profile),
        "findings": found,
        "diagnoses": diagnoses,
        "data": {f"{name}-data": json_text(_figure_json(figure)) for name, figure in figures.items()}
        | _heatmap_data(profile, total)
        | _timeline_data(profile, total)
        | ({"memory-data": held["data"]} if held and held["data"] else {}),
        "memory": held,
        "energy": energy_facts(profile),
        "layer_energy": layer_energy_rows(profile),
        "sensors": sensor_rows(profile),
        "notes": {name: (figure.layout.meta or {}).get("note", "") for name, figure in figures.items()},
        "heights": {name: figure.layout.height for name, figure in figures.items()},
        "ops": op_type_table(profile),
        "layers": layer_table(profile),
        "fates": summary.fates(profile),
        "nodes": [node for node in profile.nodes if node.layers != (node.node,)],
        "method": summary.method(profile),
        "context": summary.context_rows(profile),
        "fingerprint": summary.fingerprint_rows(profile),
    }


def _facts(profile: Profile) -> list[str]:
    context = profile.context
    threads = "" if context.threads is None else f"{context.threads} thread{'s' * (context.threads != 1)}"
    date = context.started_at[:16].replace("T", " ")
    facts = [context.board, f"{context.runtime} {context.runtime_version}".strip(), ", ".join(context.providers), threads, date]
    return [fact for fact in facts if fact]


def _figure_json(figure: go.Figure) -> dict[str, Any]:
    """Data and layout without the title: the page has a heading of its own."""
    bare = figure.update_layout(title=None, margin_t=12, height=figure.layout.height - (figure.layout.margin.t - 12))
    made: dict[str, Any] = bare.to_plotly_json()
    made["layout"].pop("template", None)
    return made


def _heatmap_data(profile: Profile, total: int) -> dict[str, str]:
    """The heatmap's data, without findings (the page lists them), and the single runs unless the report is too large for them."""
    metrics = heatmap(dataclasses.replace(profile, findings=())).to_json()
    cells = _RUN_CELLS // total
    if profile.spans.empty or cells < _FEWEST_RUN_COLUMNS * len(profile.layers):
        metrics["meta"]["instrumented_runs"] = 0
        return {"heatmap-data": json_text(metrics)}
    return {"heatmap-data": json_text(metrics), "runs-data": json_text(heatmap_runs(profile, max_cells=cells).to_json())}


def _timeline_data(profile: Profile, total: int) -> dict[str, str]:
    """The timeline's data where anything but runs has a time."""
    if profile.windows.empty and profile.samples.empty:
        return {}
    bare = dataclasses.replace(profile, findings=())
    view = timeline(bare, most_points=_TIMELINE_POINTS // total, most_spans=_TIMELINE_SPANS // total)
    return {"timeline-data": json_text(view.to_json())}


def _memory(profile: Profile) -> dict[str, Any] | None:
    """What the page says of memory: tables and sentences that need no script, and the chart's data where there is something to draw."""
    view = memory(dataclasses.replace(profile, findings=()))
    meta = view.meta
    if not (meta["tensors"] or meta["peak"] or meta["process"]):
        return None
    told = {name: meta[name] for name in ("peak", "names", "verdict", "missing", "process", "sources")}
    drawn = {"first", "counted", "live", "peak"} & {name for name, entry in meta["arrays"].items() if entry["length"]}
    chart = view.to_json()
    chart["meta"] = meta | dict.fromkeys(("verdict", "missing", "owners", "process", "sources"), ())  # the page has them
    return told | {"owners": owner_table(view), "data": json_text(chart) if drawn else ""}


def _view_module(view: str) -> str:
    """The module of a view on a canvas, which as an inline one nobody can import: it hands its function to the page."""
    return f"{script(view)}\nglobalThis.edgeprof{view.title()} = render{view.title()};\n"


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")


def _variables(theme: Any) -> dict[str, str]:
    colors = {name.replace("_", "-"): getattr(theme, name) for name in _COLORS}
    return colors | {f"op-{family}": color for family, color in theme.families.items()}


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"visible": visible, "shorten": shorten, "latency": units.latency, "size": units.size, "family": op_family}
    return environment
