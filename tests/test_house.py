"""The public face, the cost of importing it, and the rules on who imports whom."""

import subprocess
import sys

import edgeprof

HEAVY = ("numpy", "pandas", "plotly", "onnx", "onnxruntime", "pyarrow", "matplotlib", "anywidget", "rich")


def test_public_names():
    names = [
        "EnergyPlan", "Profile", "Study", "Workbench", "Workshop", "__version__", "apply", "attach", "bars", "board_health", "board_peaks",
        "boards", "compare", "compare_boards", "diagnose", "estimate", "graph", "heatmap", "icicle", "load", "load_data", "load_model",
        "measure_variants", "memory", "pareto", "profile", "prune", "quantize", "recipes", "roofline", "score", "search", "sensitivity",
        "sensitivity_bars", "start", "sweep", "table", "tensor_error", "tensor_histogram", "timeline",
    ]  # fmt: skip
    assert sorted(edgeprof.__all__) == names
    for name in edgeprof.__all__:
        assert getattr(edgeprof, name) is not None


def test_importing_loads_nothing_heavy():
    code = f"import sys, edgeprof; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_rooms_import_only_what_stands_below_them():
    found = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout


def test_the_runtime_is_imported_by_the_agent_alone():
    """The kernel of a notebook never holds the runtime: its crash would take the notebook along."""
    code = """
import sys
import edgeprof as ep
import edgeprof.commands, edgeprof.profiler
from edgeprof.models.probes import make_probes
from edgeprof.testing import make_profile

make_probes()
ep.bars(make_profile())
print("onnxruntime" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
