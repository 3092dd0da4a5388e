from . import boards, recipes
from ._version import __version__ as __version__
from .analysis.doctor import diagnose
from .datasets import load_data
from .figures import bars, compare_boards, pareto, roofline, sensitivity_bars, tensor_histogram
from .models import load_model
from .panels import board_health
from .peaks import board_peaks
from .profiler import attach, profile, start
from .recipes.build import apply, prune, quantize
from .records.bundle import load
from .records.profile import Profile
from .records.trace import EnergyPlan
from .scoring import score
from .searching import search
from .sensitivities import sensitivity, tensor_error
from .studies import Study
from .sweeping import sweep
from .variants import measure_variants
from .whatif import estimate
from .widgets import compare, graph, heatmap, icicle, memory, table, timeline
from .workbench.widget import Workbench
from .workshop import Workshop

__all__ = [
    "EnergyPlan", "Profile", "Study", "Workbench", "Workshop", "apply", "attach", "bars", "board_health", "board_peaks", "boards",
    "compare", "compare_boards", "diagnose", "estimate", "graph", "heatmap", "icicle", "load", "load_data", "load_model",
    "measure_variants", "memory", "pareto", "profile", "prune", "quantize", "recipes", "roofline", "score", "search", "sensitivity",
    "sensitivity_bars", "start", "sweep", "table", "tensor_error", "tensor_histogram", "timeline",
]  # fmt: skip
