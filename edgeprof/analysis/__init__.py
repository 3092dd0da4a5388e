"""Numbers and tables from a Profile: pure functions, nothing is drawn or written here."""

from edgeprof.analysis.bottlenecks import findings, top_layers
from edgeprof.analysis.groups import by_op_type
from edgeprof.analysis.roofline import Roofline, roofline_points

__all__ = ["Roofline", "by_op_type", "findings", "roofline_points", "top_layers"]
