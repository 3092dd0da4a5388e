"""What a widget sends to the browser is whole: each draws on a plain page, from its own module and state."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

import edgeprof as ep
from edgeprof.testing import make_sensed_profile

pytestmark = pytest.mark.ui

SAMPLES = Path(__file__).parents[2] / "sample_models"

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A widget</title><style>{css}</style><body><div id="view"></div>
<script type="module">
const state = {state};
const nothing = () => {{}};
const get = (name) => state[name];
const model = {{ get, set: (name, value) => (state[name] = value), save_changes: nothing, on: nothing, off: nothing }};
const source = {source};
const {{ default: widget }} = await import(URL.createObjectURL(new Blob([source], {{ type: "text/javascript" }})));
await widget.render({{ model, el: document.getElementById("view") }});
window.done = true;
</script></body></html>"""
COLORS = """() => { for (const c of document.querySelectorAll('canvas')) { if (!c.width || !c.height) continue;
    const data = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer);
    if (new Set(data).size > 10) return true; } return document.querySelectorAll('[role=row]').length > 5; }"""
"""Whether something was drawn: on a canvas, or as rows."""


def plain(value):
    """A trait as JSON: bytes as base64, which views take too."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, tuple | list) else value


def views():
    first, second = (make_sensed_profile(np.random.default_rng(seed).lognormal(-2, 1, 20), seed=seed) for seed in (1, 2))
    yield from ((view.__name__, view(first)) for view in (ep.heatmap, ep.timeline, ep.memory, ep.table, ep.icicle))
    yield "graph", ep.graph(ep.load(SAMPLES / "dscnn_mnist.edgeprof"))
    yield "boards", ep.heatmap([first, second])
    yield "compare", ep.compare(first, second)


@pytest.mark.parametrize(("name", "view"), [pytest.param(name, view, id=name) for name, view in views()])
def test_a_widget_is_drawn_from_what_it_sends(page, name, view):
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    state = {
        trait: plain(getattr(view, trait)) for trait in view.trait_names(sync=True) if not trait.startswith("_") and trait not in OTHERS
    }
    source = json.dumps(view._esm).replace("<", "\\u003c")
    page.set_content(PAGE.format(css=view._css, state=json.dumps(state).replace("<", "\\u003c"), source=source))
    page.wait_for_function("() => window.done")
    expect(page.locator(".ep-error")).to_have_count(0)
    page.wait_for_function(COLORS)
    assert not wrong


OTHERS = ("layout", "comm", "keys", "log", "tabbable", "tooltip")
"""Traits that ipywidgets brings along."""
