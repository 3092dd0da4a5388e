"""Row 5: energy per inference end to end: real ONNX Runtime, and a `/sys` that a process writes live from the CPU time the model takes.

The process plays a Jetson Orin Nano's INA3221 (live_power.py): 2 W at rest, 3 W for each core that the worker keeps busy. What it wrote,
integrated over the same stretches of time, is the truth.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from common import LIGHT, SAMPLES, machine
from live_power import LivePower

import edgeprof as ep
from edgeprof.boards.base import Done, Event, Job, Started
from edgeprof.boards.local import LocalBoard
from edgeprof.records.trace import Trace

PLAN = ep.EnergyPlan(model_s=5, loop_s=0.5, samples=100, idle_s=1, passes=3, warm_limit_s=5)


def true_energies(trace: Trace, time_ns: np.ndarray, energy_mj: np.ndarray) -> tuple[float, float]:
    """(mJ, mJ above idle) of an inference in the model's loop, from what was written."""

    def between(start: float, end: float) -> float:
        return float(np.diff(np.interp([start, end], time_ns, energy_mj))[0])

    rests = [w for w in trace.windows if w.phase == "idle" and not w.note]
    middles = [(w.start_ns + w.end_ns) / 2 for w in rests]
    resting_mw = [between(w.start_ns, w.end_ns) / (w.end_ns - w.start_ns) * 1e9 for w in rests]
    blocks = [w for w in trace.windows if w.phase == "model" and w.runs]
    spent = np.array([between(w.start_ns, w.end_ns) for w in blocks])
    idle = np.array([np.interp((w.start_ns + w.end_ns) / 2, middles, resting_mw) * (w.end_ns - w.start_ns) / 1e9 for w in blocks])
    runs = sum(w.runs for w in blocks)
    return float(spent.sum() / runs), float((spent - idle).sum() / runs)


def measured_and_true(
    model: Path, plan: ep.EnergyPlan = PLAN, energy: str = "layers", by: Literal["time", "state"] = "time"
) -> tuple[ep.Profile, float, float]:
    """(profile on the live board, true mJ an inference, true mJ above idle). ``by``: see live_power.py."""
    ended: list[Trace] = []

    jobs: list[Job] = []

    def keep(event: Event) -> None:
        if isinstance(event, Started):
            jobs.append(event.job)
        elif isinstance(event, Done):
            ended.append(jobs[-1].snapshot())  # all that was recorded; the event itself has the Profile

    with tempfile.TemporaryDirectory() as folder, LivePower(Path(folder), by) as live:
        board = LocalBoard(sysroot=live.root)
        profile = ep.profile(model, board=board, runs=50, energy=energy, energy_plan=plan, progress=keep)
        truth = live.truth()
    return profile, *true_energies(ended[0], *truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=Path)
    args = parser.parse_args()
    models = args.models or [*sorted(SAMPLES.glob("*.onnx")), LIGHT / "light_squeezenet.onnx"]
    print(machine())
    for model in models:
        profile, total_mj, above_mj = measured_and_true(model)
        told = profile.context.energy
        if told.above_idle_mj is None:
            print(f"row 5: {model.name}: {told.reason}")
            continue
        print(
            f"row 5: live /sys, {model.name:28s} {told.inference_mj:8.3f} mJ an inference ({told.inference_mj / total_mj - 1:+.2%} of "
            f"what was used; reach 3 %), above idle {told.above_idle_mj:8.3f} mJ ({told.above_idle_mj / above_mj - 1:+.2%}); "
            f"closure gap {told.closure_gap if told.closure_gap is not None else float('nan'):+.1%}; "
            f"sampling took {profile.context.sampling_cpu_share or float('nan'):.1%} of a CPU",
            flush=True,
        )


if __name__ == "__main__":
    main()
