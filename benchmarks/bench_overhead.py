"""Row 3: how much longer does a whole `profile` call take than the runs it was asked for?

200 plain and 200 instrumented runs of a net with three images (some 4 ms) and with one, where fixed costs weigh more; the bare time is 400
times the plain median. Memory by layer is measured too, as it is unless one asks otherwise.
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
    for images in (3, 1):
        found = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            profile = ep.profile(path, shapes={"image": (images, 1, 96, 96)}, runs=RUNS, progress=False)
            whole = time.perf_counter() - start
            run_s = profile.context.latency.median_ms / 1e3
            bare = 2 * RUNS * run_s
            found.append((whole, bare, (whole - 1.5) / bare, run_s))
        whole, bare, ratio, run_s = np.median(np.array(found), axis=0)
        what = f"profile call {whole:.2f} s for {bare:.2f} s of bare runs of {run_s * 1e3:.1f} ms"
        print(f"row 3: {what}: {ratio:.2f} x + 1.5 s (reach 1.3 x + 1.5 s)", flush=True)


if __name__ == "__main__":
    main()
