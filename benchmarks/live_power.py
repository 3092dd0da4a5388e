"""A `/sys` that lives: a process turns the CPU time of the agent's worker into power, and writes it where a Jetson's monitor would.

    python live_power.py ROOT PARENT_PID LOG time|state

Power is ``IDLE_MW`` and ``CORE_MW`` for each core that the worker keeps busy: by its CPU time, or by how many of its threads run or wait
for a core, which others on the machine do not change. The monitor says its mean over the last ``AVERAGE`` ticks; the energy until then is
logged with the time, so that the truth of any stretch of time can be had.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Literal

import numpy as np
import psutil

IDLE_MW, CORE_MW = 2000.0, 3000.0
TICK_S = 0.004
AVERAGE = 4
MILLIVOLTS = 5000
HWMON = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"


class LivePower:
    """The process and its folder; a context manager. ``root`` is the file system's root for `LocalBoard(sysroot=...)`."""

    def __init__(self, folder: Path, by: Literal["time", "state"] = "time") -> None:
        self.root, self._log, self._by = folder / "root", folder / "power.log", by
        make_tree(self.root)

    def __enter__(self) -> LivePower:
        command = [sys.executable, __file__, str(self.root), str(os.getpid()), str(self._log), self._by]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        while not self._log.exists():
            assert self._process.poll() is None
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()

    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) ns and (n,) mJ used until then."""
        log = np.loadtxt(self._log, ndmin=2)
        return log[:, 0], log[:, 1]


def make_tree(root: Path) -> None:
    """A Jetson Orin Nano's monitor: VDD_IN is the whole module."""
    folder = root / HWMON
    folder.mkdir(parents=True)
    (folder / "name").write_text("ina3221\n")
    for number, (label, milliamps) in enumerate((("VDD_IN", IDLE_MW / 5), ("VDD_CPU_GPU_CV", 100), ("VDD_SOC", 100)), 1):
        (folder / f"in{number}_label").write_text(f"{label}\n")
        (folder / f"in{number}_input").write_text(f"{MILLIVOLTS:<8d}\n")
        (folder / f"curr{number}_input").write_text(f"{round(milliamps):<8d}\n")
    model = root / "proc/device-tree"
    model.mkdir(parents=True)
    (model / "model").write_text("NVIDIA Jetson Orin Nano Developer Kit\0")


def cpu_ns(pid: int) -> int:
    """Time that all threads of a process have spent on a CPU until this moment, by Linux's CPU clock of that process.

    (`schedstat` lags by up to a scheduler's tick, which makes power between two looks jump.)
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def runnable(pid: int) -> int:
    """Threads of a process that run or wait for a core."""
    states = [path.read_text("ascii", "replace").rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return states.count("R")


def worker_of(parent: int) -> int | None:
    """The process that runs the model for an agent that ``parent`` started."""
    for child in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = child.cmdline()
            if words[-1:] == ["work"] and any(word.endswith("agent.pyz") for word in words):
                return child.pid
    return None


def main(root: str, parent: str, log: str, by: str) -> None:
    current = os.open(Path(root, HWMON, "curr1_input"), os.O_WRONLY)
    pid, before, looked = None, 0, 0.0
    last = time.perf_counter_ns()
    used = deque([(last, 0.0)], maxlen=AVERAGE + 1)
    os.set_blocking(0, False)
    with Path(log).open("w", encoding="ascii", buffering=1) as file:
        while os.read(0, 1) != b"" if _readable() else True:
            time.sleep(TICK_S)
            now = time.perf_counter_ns()
            busy = 0.0
            if pid is None and now / 1e9 - looked > 0.2:
                looked, pid = now / 1e9, worker_of(int(parent))
                before = cpu_ns(pid) if pid else 0
            elif pid is not None:
                try:
                    spent = cpu_ns(pid)
                    busy = runnable(pid) if by == "state" else (spent - before) / (now - last)
                except OSError:
                    pid = None
                else:
                    before = spent
            used.append((now, used[-1][1] + (IDLE_MW + CORE_MW * busy) * (now - last) / 1e9))
            milliwatts = (used[-1][1] - used[0][1]) / (now - used[0][0]) * 1e9
            os.pwrite(current, b"%-8d\n" % round(milliwatts / MILLIVOLTS * 1e3), 0)
            file.write(f"{now} {used[-1][1]}\n")
            last = now


def _readable() -> bool:
    import select

    return bool(select.select([0], [], [], 0)[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
