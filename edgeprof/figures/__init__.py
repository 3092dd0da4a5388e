"""Profile in, picture out: plotly figures, and the data of the views that are drawn on a canvas."""

from edgeprof.figures.bars import bars
from edgeprof.figures.heatmap import heatmap, heatmap_runs
from edgeprof.figures.memory import memory
from edgeprof.figures.roofline import roofline
from edgeprof.figures.timeline import timeline, timeline_detail

__all__ = ["bars", "heatmap", "heatmap_runs", "memory", "roofline", "timeline", "timeline_detail"]
