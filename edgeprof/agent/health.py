"""What the board is and how it feels: plain file reads under ``sysroot``, so that a recorded folder can stand in.

What cannot be read is left out; a reading is never replaced by zero.
"""

from __future__ import annotations

import math
import os
import platform
import re
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from .files import number, text_of

FOLDER = "~/.cache/edgeprof"
"""Where the agent keeps things on a board unless told otherwise."""

_MEANS_NONE = ("alarms",)
"""An empty list of these says that there are none; other empty values say that nothing is known."""


def fingerprint(sysroot: str = "/", folder: Optional[str] = None, busy: bool = False) -> Dict[str, Any]:
    """What the board is and how it feels, by names that end in their unit; docs/health.md lists them.

    ``folder`` is the one whose disk is told of (None: the agent's own, and nothing for a recorded board). ``busy`` names the processes
    that use the processor, which takes 0.2 s.
    """
    from . import firmware  # when it is wanted: not every process that uses this file tells how the board is

    found: Dict[str, Any] = {}
    for name, reader in (*_READERS, *firmware.READERS):
        value = reader(sysroot)
        if value not in (None, "", {}, []) or (value == [] and name in _MEANS_NONE):
            found[name] = value
    if folder is not None or os.path.abspath(sysroot) == "/":
        found.update(disk(folder or FOLDER))
    if busy:
        from .others import busy_now

        found["busy_processes"] = busy_now(sysroot)
    return found


def disk(folder: str) -> Dict[str, int]:
    """``disk_free_bytes`` (for this user) and ``disk_total_bytes`` where ``folder`` is, or would be; empty when that cannot be asked."""
    path = os.path.abspath(os.path.expanduser(folder))
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    try:
        told = os.statvfs(path)
    except (OSError, AttributeError):
        return {}
    return {"disk_free_bytes": told.f_bavail * told.f_frsize, "disk_total_bytes": told.f_blocks * told.f_frsize}


def process_memory(pid: str = "self", sysroot: str = "/") -> Dict[str, int]:
    """VmRSS (now) and VmHWM (highest so far) of a process, in bytes; empty where there is no /proc."""
    return _sizes(_text(sysroot, "proc/%s/status" % pid), ("VmRSS", "VmHWM"))


def available_memory(sysroot: str = "/") -> Optional[int]:
    """Bytes that can be taken without swapping, or None."""
    return _meminfo(sysroot).get("MemAvailable")


def hottest(sysroot: str = "/") -> Optional[float]:
    """Temperature of the hottest zone in °C, or None."""
    return max(_temperatures(sysroot).values(), default=None)


def _text(sysroot: str, path: str) -> Optional[str]:
    return text_of(sysroot, path, most=1 << 20)


def _number(sysroot: str, path: str) -> Optional[float]:
    value = number(_text(sysroot, path) or "")
    return None if math.isnan(value) else value


def _model(sysroot: str) -> Optional[str]:
    for path in ("proc/device-tree/model", "sys/devices/virtual/dmi/id/product_name"):
        text = _text(sysroot, path)
        if text:
            return text
    return None


def _cpu_model(sysroot: str) -> Optional[str]:
    fields: Dict[str, str] = {}
    for line in (_text(sysroot, "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    for key in ("model name", "Hardware", "Model"):
        if fields.get(key):
            return str(fields[key])
    if "CPU part" in fields:
        return "CPU implementer %s part %s" % (fields.get("CPU implementer", "?"), fields["CPU part"])
    return platform.processor() or None


def _cpu_features(sysroot: str) -> List[str]:
    """Those instruction sets that decide which kernels a runtime picks."""
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve", "fphp", "asimdhp")
    for line in (_text(sysroot, "proc/cpuinfo") or "").splitlines():
        if line.startswith(("flags", "Features")):
            have = set(line.partition(":")[2].split())
            return [name for name in wanted if name in have]
    return []


def _cpus(sysroot: str) -> List[int]:
    names = _names(sysroot, "sys/devices/system/cpu", "cpu")
    return sorted(int(name[3:]) for name in names if name[3:].isdigit())


def _names(sysroot: str, folder: str, prefix: str) -> List[str]:
    try:
        return sorted(name for name in os.listdir(os.path.join(sysroot, folder)) if name.startswith(prefix))
    except OSError:
        return []


def _per_cpu(name: str) -> Callable[[str], Any]:
    def read(sysroot: str) -> Any:
        paths = ["sys/devices/system/cpu/cpu%d/cpufreq/%s" % (cpu, name) for cpu in _cpus(sysroot)]
        texts = [text for text in (_text(sysroot, path) for path in paths) if text]
        if name.endswith("_freq"):
            return [int(text) for text in texts if text.isdigit()]
        return texts[0] if len(set(texts)) == 1 else sorted(set(texts))

    return read


def _temperatures(sysroot: str) -> Dict[str, float]:
    found = {}
    for zone in _names(sysroot, "sys/class/thermal", "thermal_zone"):
        folder = "sys/class/thermal/" + zone
        milli = _number(sysroot, folder + "/temp")
        if milli is not None and milli > 0:
            found["%s %s" % (zone, _text(sysroot, folder + "/type") or "")] = milli / 1000
    return found


def _throttle_counts(sysroot: str) -> Dict[str, int]:
    found = {}
    for cpu in _cpus(sysroot):
        count = _number(sysroot, "sys/devices/system/cpu/cpu%d/thermal_throttle/core_throttle_count" % cpu)
        if count is not None:
            found["cpu%d" % cpu] = int(count)
    return found


def _meminfo(sysroot: str) -> Dict[str, int]:
    return _sizes(_text(sysroot, "proc/meminfo"), ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree"))


def _pressure(sysroot: str) -> Dict[str, float]:
    """For how much of the last 10 s some task waited for a CPU, or for memory, in per cent (pressure stall information)."""
    found = {}
    for name in ("cpu", "memory"):
        match = re.match(r"some avg10=([0-9]{1,3}\.[0-9]{1,4})\b", _text(sysroot, "proc/pressure/" + name) or "")
        if match:
            found[name] = float(match.group(1))
    return found


def _machine_id(sysroot: str) -> Optional[str]:
    """The same for the same board and installation, and nothing that anybody else knows it by. A copied card is another board."""
    parts = [_text(sysroot, path) or "" for path in ("etc/machine-id", "proc/device-tree/serial-number")]
    return _digest("edgeprof {} {}".format(*parts)) if any(parts) else None


def _digest(text: str) -> str:
    try:
        from _blake2 import blake2s  # hashlib loads OpenSSL, 4 MB in the process whose memory is measured
    except ImportError:
        from hashlib import blake2s
    return str(blake2s(text.encode(), digest_size=8).hexdigest())


def _sizes(text: Optional[str], wanted: Tuple[str, ...]) -> Dict[str, int]:
    """Bytes by name from lines such as ``MemTotal:  8245696 kB``."""
    sizes = {}
    for line in (text or "").splitlines():
        name, _, rest = line.partition(":")
        kilobytes = rest.split()[:1]
        if name in wanted and kilobytes and kilobytes[0].isdigit():
            sizes[name] = int(kilobytes[0]) * 1024
    return sizes


def _first_number(path: str) -> Callable[[str], Optional[float]]:
    def read(sysroot: str) -> Optional[float]:
        value = number(((_text(sysroot, path) or "").split() or [""])[0])
        return None if math.isnan(value) else value

    return read


def _os_name(sysroot: str) -> Optional[str]:
    for line in (_text(sysroot, "etc/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def _virtual(sysroot: str) -> Optional[bool]:
    """True when the CPU says that a hypervisor runs it (x86 only)."""
    text = _text(sysroot, "proc/cpuinfo") or ""
    return True if " hypervisor" in text else None


def _affinity(sysroot: str) -> Optional[List[int]]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


_READERS: Tuple[Tuple[str, Callable[[str], Any]], ...] = (
    ("board_model", _model),
    ("cpu_model", _cpu_model),
    ("cpu_features", _cpu_features),
    ("cpus", lambda root: len(_cpus(root)) or os.cpu_count()),
    ("affinity", _affinity),
    ("virtual_machine", _virtual),
    ("governor", _per_cpu("scaling_governor")),
    ("clock_khz", _per_cpu("scaling_cur_freq")),
    ("clock_min_khz", _per_cpu("scaling_min_freq")),
    ("clock_max_khz", _per_cpu("scaling_max_freq")),
    ("temperature_c", _temperatures),
    ("throttle_count", _throttle_counts),
    ("memory_bytes", _meminfo),
    ("load_1min", _first_number("proc/loadavg")),
    ("pressure_percent", _pressure),
    ("uptime_s", _first_number("proc/uptime")),
    ("machine_id", _machine_id),
    ("os", _os_name),
    ("kernel", lambda root: platform.release()),
    ("machine", lambda root: platform.machine()),
    ("libc", lambda root: " ".join(platform.libc_ver()).strip()),
    ("python", lambda root: platform.python_version()),
    ("python_path", lambda root: os.path.basename(sys.executable)),
    ("time_unix_s", lambda root: round(time.time(), 3)),
)
