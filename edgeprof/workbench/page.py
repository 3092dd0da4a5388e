"""`page`: the Workbench as one HTML file that needs neither Python nor a network: every view, linked, of every profile.

The modules, the style sheets and the data stand in the page; its content security policy lets nothing be loaded, and only these scripts
run. What is computed when it is asked for in a notebook (another metric, a finer window) is not there; what is there is said by the views.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from edgeprof.analysis.names import visible
from edgeprof.errors import EdgeprofError
from edgeprof.figures.modules import script, style
from edgeprof.records.profile import Profile
from edgeprof.reports.inline import json_text, policy, script_element
from edgeprof.widgets.base import compact
from edgeprof.workbench.views import MODULES, VIEWS, Views

RENDERERS = {"layer_table": "renderLayerTable"}
MOST_PROFILES = 8
"""Each brings all its views along; of more the first ones and the one that is looked at are taken."""

OF_ALL = ("pareto", "candidates", "compare")
"""Views of all profiles together; of `compare` one for each profile, against the first."""

_DRAW = """
const told = JSON.parse(document.getElementById("told").textContent);
const heard = {};
const state = { ...told.state };
const data = (name, key) => {
  const element = document.getElementById(`data ${name} ${key}`) ?? document.getElementById(`data ${name}`);
  if (!element) return Promise.reject(new Error("This page does not hold the data of this view."));
  return Promise.resolve(JSON.parse(element.textContent));
};
const set = (values) => {
  Object.assign(state, values);
  for (const name of Object.keys(values)) for (const fn of heard[name] ?? []) fn(values[name]);
};
renderWorkbench(document.getElementById("workbench"), {
  live: false,
  can: { shown: true },
  has: (name) => told.views.includes(name),
  get: (name) => state[name],
  set: (values) => Object.assign(state, values),
  on(name, fn) {
    (heard[name] ??= []).push(fn);
    return () => (heard[name] = heard[name].filter((one) => one !== fn));
  },
  async act(name, { key }) {
    if (name !== "show") return;
    const nodes = new Set(state.selected.layers.flatMap((layer) => told.nodes[state.shown]?.[layer] ?? [layer]));
    const layers = Object.entries(told.nodes[key] ?? {}).filter(([, own]) => own.some((node) => nodes.has(node))).map(([layer]) => layer);
    set({ head: told.heads[key], empty: told.empty[key] ?? {}, selected: { ...state.selected, layers }, shown: key });
  },
  view: (name) => data(name, state.shown),
  module: async (name) => globalThis.edgeprofViews[name],
});
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; padding: 16px; background: #ffffff; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111418; }} }}
#workbench {{ max-width: 1500px; margin: 0 auto; }}
{style}
</style>
</head>
<body>
<main id="workbench"></main>
<noscript>This page draws with JavaScript, which is switched off.</noscript>
{data}
{scripts}
</body>
</html>
"""


def page(
    subjects: Mapping[str, Profile],
    *,
    labels: Mapping[str, str],
    heads: Mapping[str, Any],
    shown: str,
    selected: Mapping[str, Any],
    arrangement: Mapping[str, Any],
) -> bytes:
    """The page of these profiles, each with its label and what `told.head` says of it; ``shown`` is looked at first."""
    kept = _kept(subjects, shown)
    first = next(iter(kept))
    views = Views()
    elements: list[str] = []
    empty: dict[str, dict[str, Any]] = {}
    for name, key, view in _all(views, kept, first, arrangement):
        if isinstance(view, str):
            empty.setdefault(key, {})[name] = {"text": view}
        else:
            where = f"data {name} {key}" if key else f"data {name}"
            elements.append(f'<script type="application/json" id="{html.escape(where)}">{json_text(view)}</script>')
    state = {
        "head": heads[shown], "subjects": [{"key": key, "label": labels[key]} for key in kept], "shown": shown, "against": first,
        "selected": dict(selected), "can_go": [False, False], "versions": {}, "empty": empty.get(shown, {}), "decide": None, "tasks": [],
        "notes": [], "arrangement": dict(arrangement),
    }  # fmt: skip
    told = {
        "state": state, "heads": {key: heads[key] for key in kept}, "empty": empty,
        "nodes": {key: _nodes(profile) for key, profile in kept.items()},
        "views": [name for name in VIEWS if len(kept) > 1 or name not in OF_ALL],
    }  # fmt: skip
    elements.append(f'<script type="application/json" id="told">{json_text(told)}</script>')
    sources = [*(_module(name) for name in MODULES), compact(script("workbench")) + _DRAW]
    scripts = [script_element(source, "module") for source in sources]
    title = html.escape(visible(f"Workbench: {kept[shown].title}"))
    text = _PAGE.format(
        policy=html.escape(policy(scripts)),
        title=title,
        style=style("workbench", *MODULES),
        data="\n".join(elements),
        scripts="\n".join(f'<script type="{one["kind"]}">{one["source"]}</script>' for one in scripts),
    )
    return text.encode("utf-8")


def _kept(subjects: Mapping[str, Profile], shown: str) -> dict[str, Profile]:
    keys = [key for key in list(subjects)[:MOST_PROFILES] if key != shown][: MOST_PROFILES - 1]
    return {key: profile for key, profile in subjects.items() if key in (*keys, shown)}


def _all(views: Views, kept: Mapping[str, Profile], first: str, arrangement: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Name, key of the profile and data of each view; a sentence where one has nothing to show."""
    options = arrangement.get("options", {})
    for key in kept:
        for name in VIEWS:
            if name == "table" or (name in OF_ALL and len(kept) < 2) or (name == "pareto" and key != first):
                continue
            values = {"runs": "max"} if name == "heatmap" else dict(options.get(name, {})) if name in ("graph", "icicle") else {}
            if name == "compare" and key == first:
                yield name, key, "This is what the others are compared with. Look at another one."
                continue
            try:
                parts = views.make(name, kept, key, first, values)
            except EdgeprofError as error:
                yield name, key, str(error)
                continue
            yield name, "" if name == "pareto" else key, {part: view.to_json() for part, view in parts.items()}


def _nodes(profile: Profile) -> dict[str, list[str]]:
    """Original nodes of each layer, by which a selection is carried from one profile to another."""
    return {name: list(nodes) or [name] for name, nodes in zip(profile.layers["name"], profile.layers["source_nodes"], strict=True)}


def _module(name: str) -> str:
    """A view's module, which as an inline one nobody can import: it hands its function to the page."""
    render = RENDERERS.get(name, f"render{name.title()}")
    return f"{compact(script(name))}\n(globalThis.edgeprofViews ??= {{}}).{name} = {{ {render} }};\n"
