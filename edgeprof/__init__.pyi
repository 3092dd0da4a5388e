from . import boards
from ._version import __version__ as __version__
from .figures import bars, compare_boards, roofline, sensitivity_bars, tensor_histogram
from .models import load_model
from .panels import board_health
from .profiler import attach, profile, start
from .records.bundle import load
from .records.profile import Profile
from .records.trace import EnergyPlan
from .sensitivities import sensitivity, tensor_error
from .studies import Study
from .sweeping import sweep
from .widgets import heatmap, memory, timeline

__all__ = [
    "EnergyPlan", "Profile", "Study", "attach", "bars", "board_health", "boards", "compare_boards", "heatmap", "load", "load_model",
    "memory", "profile", "roofline", "sensitivity", "sensitivity_bars", "start", "sweep", "tensor_error", "tensor_histogram", "timeline",
]  # fmt: skip
