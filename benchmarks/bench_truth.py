"""Row 1: is a layer's time true?

Chains of 4, 8, 16 and 24 identical blocks; the slope of the plain end-to-end time over the number of blocks is what a block
really costs. Against it: the time that edgeprof reports for a block of the chain of 16, and the raw time of ONNX Runtime's
profiler in the same profile. Both are taken relative to the plain latency of that chain, measured beside each, so that a clock
that changed between the two does not count. Sizes of blocks are not those of the calibration (`edgeprof.models.probes`: nodes
of 160 to 1,280 elements).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import Chain, Timed, machine

import edgeprof as ep

LENGTHS = (4, 8, 16, 24)
PROFILED = 16
Build = Callable[[Chain, str], str]


def conv(channels: int, kernel: int, groups: int = 1) -> Build:
    def add(chain: Chain, tensor: str) -> str:
        weight, bias = chain.weight(channels, channels // groups, kernel, kernel), chain.weight(channels)
        return chain.node("Conv", [tensor, weight, bias], kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4, group=groups)

    return add


def matmul(size: int) -> Build:
    return lambda chain, tensor: chain.node("MatMul", [tensor, chain.weight(size, size)])


def plain(op_type: str) -> Build:
    return lambda chain, tensor: chain.node(op_type, [tensor])


BLOCKS: tuple[tuple[str, tuple[int, ...], Build], ...] = (
    ("Conv 3x3, 32 channels, 28x28", (1, 32, 28, 28), conv(32, 3)),
    ("Conv 3x3, 16 channels, 20x20", (1, 16, 20, 20), conv(16, 3)),
    ("Conv 1x1, 32 channels, 12x12", (1, 32, 12, 12), conv(32, 1)),
    ("Conv 1x1, 16 channels, 4x4", (1, 16, 4, 4), conv(16, 1)),
    ("depthwise 3x3, 64 channels, 40x40", (1, 64, 40, 40), conv(64, 3, 64)),
    ("depthwise 3x3, 32 channels, 14x14", (1, 32, 14, 14), conv(32, 3, 32)),
    ("MatMul 64 x 192 x 192", (1, 64, 192), matmul(192)),
    ("MatMul 16 x 96 x 96", (1, 16, 96), matmul(96)),
    ("MatMul 4 x 48 x 48", (1, 4, 48), matmul(48)),
    ("Tanh, 40,000 elements", (1, 40, 1000), plain("Tanh")),
    ("Tanh, 3,000 elements", (1, 30, 100), plain("Tanh")),
    ("Sigmoid, 64 elements", (1, 64), plain("Sigmoid")),
    ("Softmax, 64 x 256", (64, 256), plain("Softmax")),
    ("Softmax, 4 x 32", (4, 32), plain("Softmax")),
)


def chain_of(shape: tuple[int, ...], build: Build, length: int) -> bytes:
    chain, tensor = Chain(shape), "x"
    for _ in range(length):
        tensor = build(chain, tensor)
    return chain.model()


def true_cost(shape: tuple[int, ...], build: Build, rounds: int) -> tuple[float, float]:
    """(cost of a block over the latency of the chain of `PROFILED`, latency of that chain in µs), medians over rounds."""
    sessions = {length: Timed(chain_of(shape, build, length)) for length in LENGTHS}
    for session in sessions.values():
        session.times_us(20)
    relative, whole = [], []
    for _ in range(rounds):
        medians = {length: float(np.median(session.times_us(9)[1:])) for length, session in sessions.items()}
        relative.append(np.polyfit(LENGTHS, [medians[length] for length in LENGTHS], 1)[0] / medians[PROFILED])
        whole.append(medians[PROFILED])
    return float(np.median(relative)), float(np.median(whole))


def reported_cost(shape: tuple[int, ...], build: Build, runs: int) -> tuple[float, float]:
    """(edgeprof's, the raw profiler's) time of a block over the plain latency; ends of the chain left out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "chain.onnx")
        path.write_bytes(chain_of(shape, build, PROFILED))
        profile = ep.profile(path, runs=runs, progress=False)
    layers = profile.layers[profile.layers["kind"] == "layer"].iloc[1:-1]
    plain_ms = profile.context.latency.median_ms
    return float(layers["latency_ms"].mean() / plain_ms), float(layers["latency_raw_ms"].mean() / plain_ms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3, help="truth and report are measured so often, in turn; medians count")
    args = parser.parse_args()
    print(machine())
    errors = []
    for name, shape, build in BLOCKS:
        truths, ours, raws = [], [], []
        for _ in range(args.repeats):
            relative, whole_us = true_cost(shape, build, args.rounds)
            reported, raw = reported_cost(shape, build, args.runs)
            truths.append(relative * whole_us)
            ours.append(reported / relative - 1)
            raws.append(raw / relative - 1)
        true_us, error, raw_error = float(np.median(truths)), float(np.median(ours)), float(np.median(raws))
        errors.append((true_us, error))
        print(
            f"row 1: {name:36s} true {true_us:7.2f} us, edgeprof {error:+6.1%} ({error * true_us:+.2f} us), "
            f"raw {raw_error:+7.1%} ({raw_error * true_us:+.2f} us)",
            flush=True,
        )
    large = [abs(e) for t, e in errors if t >= 20]
    small = [abs(e) * t for t, e in errors if t < 20]
    print(f"row 1: worst of {len(large)} blocks >= 20 us: {max(large):.1%} (reach 3 %)")
    print(f"row 1: worst of {len(small)} blocks below: {max(small):.2f} us (reach 0.5 us)")


if __name__ == "__main__":
    main()
