"""Row 5: how true are energies by layer? On simulated boards, where the truth is known.

30 worlds of 20 layers of 0.1 to 8 ms that draw 0.5 to 6 W above 3 W idle; a sensor with 10 readings a second, each the mean of 100 ms, in
steps of 40 mW with 1 % noise; 0.25 W of warming with a time constant of 30 s; 60 s for all loops of layers. Then the same with one
layer of ten times its neighbours' power, with clocks 0.5 ms apart, with a sensor that averages over a second, and with layers that draw
up to 10 % more or less in isolation.
Against it: regression over the whole model's readings, which is what a fast look suggests, with slow and fast sensors.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import Chain, machine

import edgeprof as ep
from edgeprof.analysis.regression import regress_energy
from edgeprof.boards.simulated import SimulatedBoard
from edgeprof.boards.simulation.spec import BoardSpec
from edgeprof.records.trace import EnergyPlan

LAYERS = 20
SLOW = BoardSpec(rate_hz=10, average_ms=100, step_mw=40, noise=0.01, idle_mw=3000, leak_mw=250, warm_s=30, isolation_bias=0, sampling_mw=0)
PLAN = EnergyPlan(budget_s=60, passes=3)


def model(folder: str) -> Path:
    """A chain of small layers; what they cost is the simulation's to say."""
    chain, tensor = Chain((1, 8)), "x"
    for _ in range(LAYERS):
        tensor = chain.node("MatMul", [tensor, chain.weight(8, 8)])
    path = Path(folder, "chain.onnx")
    path.write_bytes(chain.model())
    return path


def world(seed: int, *, spike: bool = False) -> dict[str, tuple[float, float]]:
    """(ms, mW above idle) of each layer."""
    rng = np.random.default_rng(seed)
    times = np.exp(rng.uniform(math.log(0.1), math.log(8.0), LAYERS))
    powers = rng.uniform(500, 6000, LAYERS)
    if spike:
        powers = rng.uniform(400, 800, LAYERS)
        powers[rng.integers(LAYERS)] = 6000
    return {f"block{i}": (float(t), float(p)) for i, (t, p) in enumerate(zip(times, powers, strict=True))}


def errors(path: Path, spec: BoardSpec, seeds: range, *, spike: bool = False, budget_s: float = 60) -> tuple[np.ndarray, np.ndarray, float]:
    """(relative errors of all layers in all worlds, those of the sums, share of 95 % intervals that hold the truth)."""
    of_layers, of_sums, held = [], [], []
    for seed in seeds:
        known = world(seed, spike=spike)
        board = SimulatedBoard(replace(spec, seed=seed), known=known)
        plan = replace(PLAN, seed=seed, budget_s=budget_s)
        profile = ep.profile(path, board=board, runs=20, energy="layers", energy_plan=plan, progress=False)
        layers, truth = profile.measured_layers, board.truth(path)["energy_mj"].to_numpy()
        found = layers["energy_mj"].to_numpy()
        of_layers.append(found / truth - 1)
        of_sums.append(found.sum() / truth.sum() - 1)
        held.append((layers["energy_low_mj"].to_numpy() <= truth) & (truth <= layers["energy_high_mj"].to_numpy()))
    return np.concatenate(of_layers), np.array(of_sums), float(np.mean(held))


def regression_errors(path: Path, spec: BoardSpec, seeds: range, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """The same for regression over ``seconds`` of the model in a loop."""
    of_layers, of_sums = [], []
    for seed in seeds:
        known = world(seed)
        board = SimulatedBoard(replace(spec, seed=seed, jitter=0.0), known=known)
        plan = EnergyPlan(model_s=seconds, samples=10, seed=seed)
        profile = ep.profile(path, board=board, runs=20, energy="model", energy_plan=plan, progress=False)
        found = regress_energy(profile, average_ms=spec.average_ms, offset_error_ms=0.0, force=True)["energy_mj"].to_numpy()
        truth = board.truth(path)["energy_mj"].to_numpy()
        of_layers.append(found / truth - 1)
        of_sums.append(found.sum() / truth.sum() - 1)
    return np.concatenate(of_layers), np.array(of_sums)


def told(name: str, of_layers: np.ndarray, of_sums: np.ndarray, rest: str = "") -> None:
    size = np.abs(of_layers)
    print(
        f"row 5: {name:66s} error of a layer: median {np.median(size):6.2%}, p90 {np.quantile(size, 0.9):7.2%}; "
        f"of the sum: median {np.median(np.abs(of_sums)):.2%}{rest}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=30)
    args = parser.parse_args()
    seeds = range(args.worlds)
    print(machine())
    print(f"row 5: simulated boards, {args.worlds} worlds of {LAYERS} layers (reach median 2 %, p90 6 %)")
    fast = replace(SLOW, rate_hz=100, average_ms=10)
    with tempfile.TemporaryDirectory() as folder:
        path = model(folder)
        for name, spec, spike in (
            ("isolated loops, 10 Hz, 60 s", SLOW, False),
            ("isolated loops, one layer of ten times its neighbours' power", SLOW, True),
            ("isolated loops, sensor's clock 0.5 ms off", replace(SLOW, skew_ms=0.5), False),
            ("isolated loops, 100 Hz", fast, False),
            ("isolated loops, 20 Hz, each reading a mean over 1 s, 240 s", replace(SLOW, rate_hz=20, average_ms=1000), False),
            ("isolated loops, layers draw +-10 % (1 sigma) in isolation", replace(SLOW, isolation_bias=0.1), False),
        ):
            budget_s = 240 if spec.average_ms >= 1000 else 60  # each loop takes two seconds before and while it counts
            of_layers, of_sums, held = errors(path, spec, seeds, spike=spike, budget_s=budget_s)
            told(name, of_layers, of_sums, f"; {held:.0%} of the 95 % intervals hold the truth")
        for name, spec in (
            ("regression, 10 Hz, 100 ms", SLOW),
            ("regression, 100 Hz, 10 ms", fast),
            ("regression, 1 kHz, 1 ms, clocks agree exactly", replace(SLOW, rate_hz=1000, average_ms=1)),
            ("regression, 1 kHz, 1 ms, clocks 0.5 ms apart", replace(SLOW, rate_hz=1000, average_ms=1, skew_ms=0.5)),
        ):
            told(name, *regression_errors(path, spec, seeds, 60.0))


if __name__ == "__main__":
    main()
