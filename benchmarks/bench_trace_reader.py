"""Row 4: how fast is a trace read, and in how much memory?

A real ONNX Runtime profile of DenseNet-121 is read by edgeprof and by json.loads with pandas.json_normalize, in turn. Then a
large file is made of it, repeated with its times moved on, and opened in a process of its own: its rate and its peak memory.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
from common import LIGHT, interleaved, machine

from edgeprof.importers.onnxruntime import read_trace

RUNS = 25
OPEN = """
import sys, time
from pathlib import Path
from edgeprof.importers.onnxruntime import read_trace

def peak_kib():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

before = peak_kib()
start = time.perf_counter()
spans = read_trace(sys.argv[1])
seconds = time.perf_counter() - start
print(len(spans), seconds, before, peak_kib())
"""


def record(folder: Path, threads: int) -> bytes:
    """A profile as ONNX Runtime writes it; with more than one thread each event tells what each did."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "trace")
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(LIGHT / "light_densenet121.onnx"), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    for _ in range(RUNS):
        session.run(None, {given.name: np.zeros(given.shape, np.float32)})
    return Path(session.end_profiling()).read_bytes()


def repeat(trace: bytes, path: Path, size: int) -> int:
    """Writes the trace's events again and again, later each time, until the file has ``size`` bytes; the number of events."""
    lines = trace[trace.index(b"\n") + 1 : trace.rindex(b"\n]")]
    parts = re.split(rb'(?<="ts" :)(\d+)', lines)
    times = np.array(parts[1::2], dtype=np.int64)
    step, times = int(times.max()) + 1_000_000, times.copy()
    repeats = max(1, size // len(lines))
    with path.open("wb") as file:
        file.write(b"[\n")
        for i in range(repeats):
            parts[1::2] = [b"%d" % t for t in (times + i * step).tolist()]
            file.write(b"".join(parts) + (b",\n" if i < repeats - 1 else b"\n]\n"))
    return repeats * len(times)


def seconds_of(read: Callable[[], object]) -> float:
    start = time.perf_counter()
    read()
    return time.perf_counter() - start


def compare(path: Path, events: int, rounds: int, threads: int) -> None:
    readers = {
        "edgeprof": lambda: seconds_of(lambda: read_trace(path)),
        "pandas": lambda: seconds_of(lambda: pd.json_normalize(json.loads(path.read_bytes()))),
    }
    found = {name: float(np.median(seconds)) for name, seconds in interleaved(readers, rounds).items()}
    what = f"{events:,} events of {path.stat().st_size / events:.0f} bytes ({threads} thread{'s' * (threads > 1)})"
    print(f"row 4: {what}: edgeprof {events / found['edgeprof']:,.0f} events/s (reach 400,000)")
    print(f"row 4: {what}: json + pandas.json_normalize {events / found['pandas']:,.0f} events/s")
    print(f"row 4: {what}: ratio {found['pandas'] / found['edgeprof']:.1f} x (reach 20 x)")


def open_large(path: Path, events: int) -> None:
    size = path.stat().st_size
    done = subprocess.run([sys.executable, "-c", OPEN, str(path)], check=True, capture_output=True, text=True)
    spans, seconds, before, peak = (float(word) for word in done.stdout.split())
    print(
        f"row 4: {size / 1e6:,.0f} MB, {events:,} events ({spans:,.0f} of layers) opened in {seconds:.1f} s: "
        f"{events / seconds:,.0f} events/s, peak memory {peak / 1024:,.0f} MiB, {before / 1024:,.0f} of them before (reach 1 GiB for 2 GB)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--big", action="store_true", help="open a file of 2 GB instead of 200 MB")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small.json"), Path(folder, "large.json")
        for threads in (2, 1):
            trace = record(Path(folder), threads)
            compare(small, repeat(trace, small, 1), args.rounds, threads)
        open_large(large, repeat(trace, large, 2_000_000_000 if args.big else 200_000_000))


if __name__ == "__main__":
    main()
