"""Numbers and tables from a Profile: pure functions, nothing is drawn or written here."""

from edgeprof.analysis.bottlenecks import findings, top_layers
from edgeprof.analysis.budget import Budget, Verdict, fits, parse_budget
from edgeprof.analysis.groups import by_op_type
from edgeprof.analysis.memory import ArenaPlan, arena_plan, live_curve, peak_owners
from edgeprof.analysis.objectives import Objective, objectives_of
from edgeprof.analysis.pareto import Pareto, pareto_front
from edgeprof.analysis.roofline import Roofline, roofline_points

__all__ = [
    "ArenaPlan", "Budget", "Objective", "Pareto", "Roofline", "Verdict", "arena_plan", "by_op_type", "findings", "fits", "live_curve",
    "objectives_of", "pareto_front", "parse_budget", "peak_owners", "roofline_points", "top_layers",
]  # fmt: skip
