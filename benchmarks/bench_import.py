"""Row 9: how long does `import edgeprof` take? Python's own start is taken off; started in turn, medians."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
from common import interleaved, machine

ROUNDS = 15


def start(code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begin


def main() -> None:
    print(machine())
    code = {"python": "pass", "edgeprof": "import edgeprof", "raw": "import onnxruntime, pandas"}
    found = {name: float(np.median(v)) for name, v in interleaved({n: (lambda c=c: start(c)) for n, c in code.items()}, ROUNDS).items()}
    for name in ("edgeprof", "raw"):
        print(
            f"row 9: {code[name]}: {found[name] - found['python']:.3f} s"
            + (" (reach 0.3 s)" if name == "edgeprof" else " (what it would cost at once)")
        )


if __name__ == "__main__":
    main()
