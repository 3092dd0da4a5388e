"""A worker: does one phase of a job in a process that holds the runtime and nothing else."""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import Any, Dict, Sequence

from .machine import Machine

PHASES = ("latency", "memory", "energy")
"""In the order that they are done."""


def work(host: Any, job: Dict[str, Any], frames: Sequence[Any]) -> Dict[str, Any]:
    """Does the phase that ``job`` names; the fields of its result."""
    return phase_of(job["phase"])(host, job, frames, Machine(host, str(job.get("sysroot") or "/"))).run()  # type: ignore[no-any-return]


def phase_of(name: str) -> Any:
    """The class that does the phase; each is imported when it is wanted."""
    if name == "latency":
        from .measure import Measurement

        return Measurement
    if name == "memory":
        from .memory import MemoryPhase

        return MemoryPhase
    from .energy import EnergyPhase

    return EnergyPhase


def die_with_parent() -> None:
    """Asks Linux to kill this process when the supervisor dies, so that a runtime or a sensor that hangs frees the board."""
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        except (OSError, AttributeError):
            return
