"""What a phase needs of the board it runs on: its clock, rest, health, the runtimes it has. A simulated board has its own.

Nothing here is about one runtime or one sensor; a phase that uses only this and `Runtime` runs anywhere.
"""

from __future__ import annotations

import os
import time
from typing import Any, Dict, List, Optional

from . import runtimes
from .health import fingerprint, hottest, process_memory
from .others import INTERVAL_S, busy_since, census
from .runtimes.base import Runtime


class Machine:
    """This board. ``host`` is asked, while resting, whether it wants the phase to end. ``sysroot`` stands in for ``/``."""

    def __init__(self, host: Any, sysroot: str = "/") -> None:
        self._host, self._sysroot = host, sysroot
        self._began = census(sysroot)

    def now_ns(self) -> int:
        """The monotonic clock that all times of a job are on; every process of the board has the same."""
        return time.perf_counter_ns()

    def rest(self, seconds: float) -> None:
        """Does nothing for so long, or until the host wants to stop."""
        self._host.rest(seconds)

    def load(self, name: str) -> Runtime:
        """The runtime of this name; Refused when it cannot be had."""
        return runtimes.load(name)

    def fingerprint(self) -> Dict[str, Any]:
        """See `health.fingerprint`; with those who used the processor since this phase began, once that says something."""
        found = fingerprint(self._sysroot)
        others = busy_since(self._began, self._sysroot) if time.perf_counter() - self._began.time_s >= INTERVAL_S else []
        return dict(found, busy_processes=others) if others else found

    def temperature_c(self) -> Optional[float]:
        """Of the hottest zone; None where no zone says."""
        return hottest(self._sysroot)

    def throttled(self) -> List[str]:
        """Signs that the board slows itself down, as sentences; counters in them rise."""
        from .sensors.throttle import flags

        return list(flags(self._sysroot))

    def slowed_down(self) -> bool:
        """True while the board says that it is slowing itself down."""
        from .sensors.throttle import active

        return bool(active(self._sysroot))

    def memory(self) -> Dict[str, int]:
        """Resident set, its peak, and page faults of this process so far, in bytes and counts; what is not known is left out."""
        found = {}
        sizes = process_memory()
        for name, key in (("rss_bytes", "VmRSS"), ("peak_bytes", "VmHWM")):
            if key in sizes:
                found[name] = sizes[key]
        try:
            import resource
        except ImportError:  # not on this system
            return found
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return dict(found, minor_faults=int(usage.ru_minflt), major_faults=int(usage.ru_majflt))

    def forget_peak(self) -> None:
        """The peak of the resident set counts from now on, where the system allows that."""
        try:
            with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
                file.write("5")  # proc(5): resets the peak and nothing else
        except OSError:
            return

    def cpus(self) -> List[int]:
        """Numbers of the CPUs that this process may use."""
        return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))

    def pin(self, cpus: List[int]) -> None:
        """Runs this process on these CPUs alone; OSError or ValueError when there are none such."""
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, set(cpus))
