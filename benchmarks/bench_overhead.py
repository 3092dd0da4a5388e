"""Row 3: how much longer does a whole `profile` call take than the runs it was asked for?

200 plain and 200 instrumented runs of a model of some 4 ms; the bare time is 400 times its plain median.
"""

from __future__ import annotations

import time

import numpy as np
from common import SAMPLES, machine

import edgeprof as ep

RUNS = 200
REPEATS = 5


def main() -> None:
    print(machine())
    path = SAMPLES / "mobilenetv2_clutter.onnx"
    ep.profile(path, runs=2, progress=False)  # imports
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        profile = ep.profile(path, runs=RUNS, progress=False)
        whole = time.perf_counter() - start
        bare = 2 * RUNS * profile.context.latency.median_ms / 1e3
        found.append((whole, bare, (whole - 1.5) / bare))
    whole, bare, ratio = np.median(np.array(found), axis=0)
    print(f"row 3: profile call {whole:.2f} s for {bare:.2f} s of bare runs: {ratio:.2f} x + 1.5 s (reach 1.3 x + 1.5 s)")


if __name__ == "__main__":
    main()
