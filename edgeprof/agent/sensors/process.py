"""The process that runs the model, and its children: memory, share of a core, page faults. From ``/proc/<pid>/stat``.

Memory is the resident set; pages that children share with it are counted once in each. The share is 1 when one core is kept busy; the
kernel tells CPU time in ticks of (mostly) 10 ms, so at 10 readings a second single values step by 0.1 and only means are finer.

Source: proc(5), /proc/pid/stat and /proc/pid/task/tid/children.
"""

from __future__ import annotations

import errno
import os
import time
from collections import namedtuple
from typing import Callable, Dict, List, Optional, Tuple

from ..files import names_in, text_of
from .base import NAN, SAMPLE, Channel, Found, Sensor

Stat = namedtuple("Stat", ["parent", "state", "started", "rss_pages", "ticks", "minor", "major"])  # noqa: PYI024 - as in protocol.py
"""One line of ``/proc/<pid>/stat``: CPU time in ticks and faults are sums since the process started."""

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_LOOK_AGAIN_AFTER = 10
"""Readings between two searches through all processes, where the kernel keeps no list of children."""
_MOST = 1024
_CHANNELS = (
    Channel("process/rss_bytes", "B", SAMPLE, "process", "Resident memory"),
    Channel("process/cpu_share", "", SAMPLE, "process", "Busy cores"),
    Channel("process/minor_faults_per_s", "", SAMPLE, "process", "Minor faults a second"),
    Channel("process/major_faults_per_s", "", SAMPLE, "process", "Major faults a second"),
)


class Process(Sensor):
    """The watched process. Until `watch` is called there is none: NaN; never the process that reads."""

    name = "process"
    rate_hz = 10.0

    def __init__(self, sysroot: str = "/", clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(_CHANNELS)
        self._proc, self._clock = os.path.join(sysroot, "proc"), clock
        self._pid: Optional[int] = None
        self._last: Dict[Tuple[int, int], Stat] = {}
        self._last_s = 0.0
        self._found: List[int] = []
        self._countdown = 0

    def watch(self, pid: int) -> None:
        """See `Sensor.watch`; what was read of another process is forgotten."""
        self._pid = pid
        self._last, self._found, self._countdown = {}, [], 0

    def read(self) -> List[float]:
        """See `Sensor.read`. Rates are means since the last reading, so the first gives NaN."""
        if self._pid is None:
            return [NAN] * len(_CHANNELS)
        own = _stat(self._proc, self._pid)
        if own is None or _ended(own):
            raise OSError(errno.ESRCH, "process %d is gone" % self._pid)
        now = self._clock()
        stats = {(pid, stat.started): stat for pid, stat in self._family(self._pid, own).items()}
        rates = self._rates(stats, now)
        self._last, self._last_s = stats, now
        return [sum(stat.rss_pages for stat in stats.values()) * float(_PAGE), *rates]

    def _rates(self, stats: Dict[Tuple[int, int], Stat], now: float) -> List[float]:
        passed_s = now - self._last_s
        if not self._last or passed_s <= 0:
            return [NAN] * 3
        ticks = minor = major = 0
        for key, stat in stats.items():
            ticks_before, minor_before, major_before = self._last[key][4:] if key in self._last else (0, 0, 0)  # a new child: all of it
            ticks += max(0, stat.ticks - ticks_before)
            minor += max(0, stat.minor - minor_before)
            major += max(0, stat.major - major_before)
        return [ticks / _TICKS_PER_S / passed_s, minor / passed_s, major / passed_s]

    def _family(self, pid: int, own: Stat) -> Dict[int, Stat]:
        """The process and all below it."""
        stats = {pid: own}
        listed = _listed_children(self._proc, pid)
        if listed is None:
            for child in self._search(pid):
                self._add(stats, child)
            return stats
        queue = list(listed)
        while queue and len(stats) < _MOST:
            child = queue.pop()
            if child not in stats and self._add(stats, child):
                queue += _listed_children(self._proc, child) or []
        return stats

    def _add(self, stats: Dict[int, Stat], pid: int) -> bool:
        stat = _stat(self._proc, pid)
        if stat is None or _ended(stat):
            return False
        stats[pid] = stat
        return True

    def _search(self, pid: int) -> List[int]:
        """Descendants by looking at each process's parent; as found at most some readings ago."""
        if self._countdown == 0:
            self._countdown = _LOOK_AGAIN_AFTER
            found = {int(name): _stat(self._proc, int(name)) for name in names_in(self._proc) if name.isdigit()}
            parents = {child: stat.parent for child, stat in found.items() if stat is not None}
            self._found = [child for child in parents if child != pid and _descends(child, pid, parents)][:_MOST]
        self._countdown -= 1
        return self._found


def discover(sysroot: str = "/") -> Found:
    """A sensor for a process yet to be named, where there is a ``/proc``."""
    return Found([Process(sysroot)] if os.path.exists(os.path.join(sysroot, "proc/self/stat")) else [])


def _stat(proc: str, pid: int) -> Optional[Stat]:
    """None when there is no such process, or its line is not what it should be."""
    text = text_of(proc, str(pid), "stat") or ""
    fields = text.rpartition(")")[2].split()  # the name before may hold blanks and brackets
    try:
        numbers = [int(fields[i]) for i in (1, 19, 21, 11, 12, 7, 9)]
    except (IndexError, ValueError):
        return None
    parent, started, rss, user, system, minor, major = numbers
    return Stat(parent, fields[0], started, rss, user + system, minor, major)


def _ended(stat: Stat) -> bool:
    """Whether it is over: the kernel takes a process's memory away whole, a while before its state says so."""
    return stat.state in "ZX" or stat.rss_pages == 0


def _listed_children(proc: str, pid: int) -> Optional[List[int]]:
    """Children of all threads of a process; None where the kernel does not list them."""
    found: List[int] = []
    known = False
    for thread in names_in(proc, str(pid), "task"):
        text = text_of(proc, str(pid), "task", thread, "children")
        known = known or text is not None
        found += [int(word) for word in (text or "").split() if word.isdigit()]
    return found if known else None


def _descends(child: int, pid: int, parents: Dict[int, int]) -> bool:
    for _ in range(_MOST):
        parent = parents.get(child)
        if parent is None or parent == child:
            return False
        if parent == pid:
            return True
        child = parent
    return False
