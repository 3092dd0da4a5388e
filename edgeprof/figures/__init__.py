"""Profile in, picture out: plotly figures, and the data of the views that are drawn on a canvas."""

from edgeprof.figures.bars import bars
from edgeprof.figures.boards import boards
from edgeprof.figures.compare_boards import compare_boards
from edgeprof.figures.heatmap import heatmap, heatmap_runs
from edgeprof.figures.memory import memory
from edgeprof.figures.pareto import pareto
from edgeprof.figures.roofline import roofline
from edgeprof.figures.sensitivity import sensitivity_bars, tensor_histogram
from edgeprof.figures.timeline import timeline, timeline_detail

__all__ = [
    "bars", "boards", "compare_boards", "heatmap", "heatmap_runs", "memory", "pareto", "roofline", "sensitivity_bars", "tensor_histogram",
    "timeline", "timeline_detail",
]  # fmt: skip
