"""A notebook run by nbclient, where no browser is: each view leaves its picture and nothing that would need one."""

import nbformat
from nbclient import NotebookClient

from edgeprof.widgets.base import WIDGET_MIME

SETUP = """
import edgeprof as ep
from edgeprof.testing import make_profile, make_sensed_profile
"""
VIEWS = {
    "HeatmapView": "ep.heatmap(make_profile())",
    "TimelineView": "ep.timeline(make_sensed_profile())",
    "MemoryView": "ep.memory(make_sensed_profile(), budget='512 kB')",
}


def test_each_view_leaves_the_picture_alone():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (SETUP, *VIEWS.values())])
    NotebookClient(notebook, kernel_name="python3", timeout=300).execute()
    for view, cell in zip(VIEWS, notebook.cells[1:], strict=True):
        (output,) = cell.outputs
        assert sorted(output["data"]) == ["image/png", "text/plain"]
        assert output["data"]["text/plain"].startswith(f"<{view} of toy.onnx on local")
        assert WIDGET_MIME not in str(output)
    assert "widgets" not in notebook.metadata
