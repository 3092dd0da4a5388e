"""Who else uses the processor: two readings of ``/proc/*/stat`` and the time between them.

Left out are this agent (all processes of its session), those that started it, and threads of the kernel, which work for others.
"""

from __future__ import annotations

import os
import time
from typing import Any, Dict, List, NamedTuple, Set, Tuple

from .files import text_of

INTERVAL_S = 0.2
MOST_NAMES = 5
LEAST_SHARE = 0.1
"""Of one CPU. Over `INTERVAL_S` that is two ticks of the kernel's clock."""

_MOST_PROCESSES = 8192
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD of Linux, include/linux/sched.h


class Process(NamedTuple):
    """One process: its name, the process that started it, its session, and the ticks of CPU time that it has used."""

    name: str
    parent: int
    session: int
    ticks: int


class Census(NamedTuple):
    """All processes at a time, by number and start: a number that was given anew is another process."""

    time_s: float
    processes: Dict[Tuple[int, int], Process]


def census(sysroot: str = "/") -> Census:
    """The processes there are now."""
    found: Dict[Tuple[int, int], Process] = {}
    proc = os.path.join(sysroot, "proc")
    try:
        numbers = [name for name in os.listdir(proc) if name.isdigit()][:_MOST_PROCESSES]
    except OSError:
        numbers = []
    now = time.perf_counter()
    for number in numbers:
        text = text_of(proc, number, "stat") or ""
        name, _, rest = text.partition("(")[2].rpartition(")")  # a name may hold spaces and brackets
        fields = rest.split()
        try:
            if int(fields[6]) & _KERNEL_THREAD:
                continue
            process = Process(_printable(name), int(fields[1]), int(fields[3]), int(fields[11]) + int(fields[12]))
            found[int(number), int(fields[19])] = process
        except (IndexError, ValueError):
            continue
    return Census(now, found)


def busiest(before: Census, after: Census, own: Set[int], ticks_per_s: float) -> List[Dict[str, Any]]:
    """``{"name", "cpu_share"}`` of those that used most, 1 being one CPU; processes of one name are added up. ``own`` are left out."""
    seconds = after.time_s - before.time_s
    shares: Dict[str, float] = {}
    for key, process in after.processes.items():
        if key[0] in own or seconds <= 0:
            continue
        earlier = before.processes.get(key)
        used = process.ticks - (earlier.ticks if earlier else 0)
        shares[process.name] = shares.get(process.name, 0.0) + max(0, used) / ticks_per_s / seconds
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return [{"name": name, "cpu_share": round(share, 2)} for name, share in ranked[:MOST_NAMES] if share >= LEAST_SHARE]


def busy_since(before: Census, sysroot: str = "/") -> List[Dict[str, Any]]:
    """The processes that used most since ``before``; see `busiest`."""
    after = census(sysroot)
    own = _own(after) if os.path.abspath(sysroot) == "/" else set()
    return busiest(before, after, own, float(os.sysconf("SC_CLK_TCK")))


def busy_now(sysroot: str = "/") -> List[Dict[str, Any]]:
    """The processes that use most at the moment, which takes `INTERVAL_S`; see `busiest`."""
    before = census(sysroot)
    time.sleep(INTERVAL_S)
    return busy_since(before, sysroot)


def _own(now: Census) -> Set[int]:
    """The processes of this session, and those that started this one."""
    session = os.getsid(0)
    parents = {key[0]: process.parent for key, process in now.processes.items()}
    own = {key[0] for key, process in now.processes.items() if process.session == session}
    number = os.getpid()
    while number in parents and number not in (0, 1):
        own.add(number)
        number = parents[number]
    return own


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:40] or "?"
