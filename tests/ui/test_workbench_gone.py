"""The Workbench's side of the browser on a plain page: what Jupyter's widgets give it is played by a few lines, Python answers itself."""

import base64
import json

import pytest
from playwright.sync_api import expect

from edgeprof.testing import make_profile
from edgeprof.workbench.widget import Workbench

pytestmark = pytest.mark.ui

PAGE = """<!doctype html><meta charset="utf-8"><style>{css}</style><body><div id="cell"></div><script type="module">{js}
const state = {state}, heard = new Map();
const fire = (name, ...values) => [...(heard.get(name) ?? [])].forEach((fn) => fn(...values));
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const model = {{
  get: (name) => state[name], set: (name, value) => (state[name] = value), save_changes() {{}},
  on: (name, fn) => heard.set(name, [...(heard.get(name) ?? []), fn]),
  off: (name, fn) => heard.set(name, (heard.get(name) ?? []).filter((one) => one !== fn)),
  send: (message) => window.ask(message).then(({{ content, buffers }}) => fire("msg:custom", content, buffers.map(bytes))),
}};
window.fire = fire;
window.change = (name, value) => ((state[name] = value), fire(`change:${{name}}`));
window.widget.render({{ model, el: document.getElementById("cell") }});
</script>"""


def test_answers_are_unpacked_and_a_kernel_that_ended_is_told(page):
    with Workbench(make_profile()).bench as bench:
        view, sent = Workbench(bench), []

        def ask(message):
            got = []
            view.send = lambda content, buffers=None: got.append((content, buffers or []))
            view._heard(view, message, [])
            sent.append((message["name"], got[0][0]))
            return {"content": got[0][0], "buffers": [base64.b64encode(one).decode() for one in got[0][1]]}

        page.expose_function("ask", ask)
        state = {
            name: getattr(view, name)
            for name in view.trait_names(sync=True)
            if name not in ("layout", "tabbable", "tooltip") and name[0] != "_"
        }
        told = json.dumps(state).replace("<", "\\u003c")
        page.set_content(PAGE.format(css=view._css, js=view._esm.replace("export default", "window.widget ="), state=told))
        expect(page.locator(".ep-heatmap .ep-canvas").first).to_be_visible()
        expect(page.get_by_role("tab", name="Heatmap")).to_have_attribute("aria-selected", "true")
        assert {"heatmap", "graph"} <= {name for name, _ in sent}

        page.evaluate("change('tasks', [{ id: 1, title: 'Measure toy', phase: 'measure 3/9', part: 0.3 }])")
        expect(page.get_by_role("progressbar")).to_be_visible()
        page.evaluate("fire('comm_live_update')")
        expect(page.locator(".wb-note")).to_contain_text("Run the cell again")
        expect(page.get_by_role("progressbar")).to_have_count(0)
        expect(page.get_by_role("button", name="Save…")).to_be_disabled()
        asked = len(sent)
        page.get_by_role("tab", name="Icicle").click()
        expect(page.locator(".wb-a .wb-body")).to_contain_text("The kernel of this Workbench has ended")
        assert len(sent) == asked

        page.evaluate("fire('msg:custom', {}, [])")
        expect(page.locator(".wb-note")).to_have_count(0)
        expect(page.get_by_role("button", name="Save…")).to_be_enabled()
        expect(page.locator(".ep-icicle canvas").first).to_be_visible()
        view.close()
