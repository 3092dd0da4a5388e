"""Views in a notebook cell: traits in, selection out. They need the extra ``edgeprof[notebook]``."""

from importlib.util import find_spec

from edgeprof.errors import MissingExtra

for _package in ("anywidget", "matplotlib", "PIL"):
    if find_spec(_package) is None:
        raise MissingExtra(f'Views in a notebook need the package {_package}, which is not installed. Do: pip install "edgeprof[notebook]"')

from edgeprof.widgets.boards import BoardsView  # noqa: E402
from edgeprof.widgets.compare import CompareView, compare  # noqa: E402
from edgeprof.widgets.graph import GraphView, graph  # noqa: E402
from edgeprof.widgets.health import HealthTable  # noqa: E402
from edgeprof.widgets.heatmap import HeatmapView, heatmap  # noqa: E402
from edgeprof.widgets.icicle import IcicleView, icicle  # noqa: E402
from edgeprof.widgets.memory import MemoryView, memory  # noqa: E402
from edgeprof.widgets.table import TableView, table  # noqa: E402
from edgeprof.widgets.timeline import TimelineView, timeline  # noqa: E402

__all__ = [
    "BoardsView", "CompareView", "GraphView", "HealthTable", "HeatmapView", "IcicleView", "MemoryView", "TableView", "TimelineView",
    "compare", "graph", "heatmap", "icicle", "memory", "table", "timeline",
]  # fmt: skip
