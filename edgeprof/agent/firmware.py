"""What firmware and kernel say of a board's state: a Pi's flags, alarms, cooling, power mode and source, GPU, release of JetPack.

Readers take the root of the file system; None or empty is what the board does not tell. A command is run only for ``/`` itself
(a recorded Raspberry Pi brings its own ``vcgencmd``), and for two seconds at most.

Sources: Raspberry Pi documentation, get_throttled; raspberrypi/linux, drivers/firmware/raspberrypi.c (``get_throttled`` in hexadecimal,
deprecated: newer kernels renew it only when the hwmon driver asks, so the command comes first); NVIDIA, Jetson Linux developer guide,
nvpmodel; Linux, Documentation/ABI/testing/sysfs-class-power and sysfs-platform_profile.
"""

from __future__ import annotations

import math
import os
import re
from typing import Any, Callable, Dict, List, Optional, Tuple

from .files import names_in, number_of, text_of
from .sensors.base import board_model, slug
from .sensors.clocks import GPU
from .sensors.thermal import coolers
from .sensors.throttle import alarms as alarms_up
from .sensors.throttle import decode, throttled_bits
from .sensors.vcgencmd import find

_THROTTLED_FILE = "sys/devices/platform/soc/soc:firmware/get_throttled"
_DEVFREQ = "sys/class/devfreq"
_DRM = "sys/class/drm"
_SUPPLIES = "sys/class/power_supply"
_LIMIT_S = 2.0
_MOST_ALARMS = 8
_MOST_ENTRIES = 64
_HZ_PER_KHZ = 1000
_JETPACKS = {32: 4, 34: 5, 35: 5, 36: 6, 38: 7}
"""JetPack by the major number of Jetson Linux (L4T)."""


def throttle_flags(sysroot: str = "/") -> Optional[Dict[str, List[str]]]:
    """A Raspberry Pi's flags that are up ``now`` and that were up ``since_boot``; None when they cannot be read."""
    if not board_model(sysroot).startswith("Raspberry Pi"):
        return None
    bits = _asked_bits(sysroot)
    if bits is None:
        text = text_of(sysroot, _THROTTLED_FILE) or ""
        bits = int(text, 16) if re.match("(0x)?[0-9a-fA-F]{1,8}$", text) else None
    if bits is None:
        return None
    now, since_boot = decode(bits)
    return {"now": now, "since_boot": since_boot}


def alarms(sysroot: str = "/") -> Optional[List[str]]:
    """Alarms of hwmon monitors that are up, as sentences; None when there is no alarm to read."""
    up = alarms_up(sysroot)
    return None if up is None else up[:_MOST_ALARMS]


def cooling(sysroot: str = "/") -> Dict[str, int]:
    """How many steps the kernel slows processors down, by kind of cooling device; 0 is not at all."""
    found = {}
    for kind, paths in coolers(sysroot).items():
        states = [state for state in (number_of(path) for path in paths) if not math.isnan(state)]
        if states:
            found[kind] = int(max(0.0, *states))
    return found


def power_mode(sysroot: str = "/") -> Optional[str]:
    """The name of a Jetson's power mode, such as ``15W``; on a PC the platform profile, such as ``balanced``."""
    match = re.search("pmode:([0-9]{1,4})", text_of(sysroot, "var/lib/nvpmodel/status") or "")
    if match:
        number = int(match.group(1))
        conf = text_of(sysroot, "etc/nvpmodel.conf", most=1 << 18) or ""
        name = re.search(r"^\s*<\s*POWER_MODEL\s+ID=0*%d\s+NAME=([^\s>]{1,40})\s*>" % number, conf, re.MULTILINE)
        return name.group(1) if name else "mode %d" % number
    if os.path.exists(os.path.join(sysroot, "etc/nvpmodel.conf")):
        asked = re.search(r"NV Power Mode:\s*(\S{1,40})", _said(sysroot, "nvpmodel", "-q"))
        if asked:
            return asked.group(1)
    return text_of(sysroot, "sys/firmware/acpi/platform_profile", most=40)


def power_source(sysroot: str = "/") -> Optional[str]:
    """``battery`` while one feeds the board, ``mains`` while a charger does; None where the system does not say."""
    plugged = False
    for name in names_in(sysroot, _SUPPLIES)[:_MOST_ENTRIES]:
        folder = os.path.join(sysroot, _SUPPLIES, name)
        kind = text_of(folder, "type")
        if kind == "Battery" and text_of(folder, "scope") != "Device":
            if text_of(folder, "status") == "Discharging":
                return "battery"
            plugged = plugged or text_of(folder, "status") in ("Charging", "Full", "Not charging")
        elif kind in ("Mains", "USB", "USB_C"):
            plugged = plugged or number_of(folder, "online") == 1
    return "mains" if plugged else None


def jetpack(sysroot: str = "/") -> Optional[str]:
    """``6 (L4T 36.4.3)``: JetPack's major version and the exact release of Jetson Linux; None on other boards."""
    match = re.match(r"#?\s*R([0-9]{1,3}) \(release\), REVISION: ([0-9.]{1,12})", text_of(sysroot, "etc/nv_tegra_release") or "")
    if not match:
        return None
    release = "L4T %s.%s" % (match.group(1), match.group(2))
    major = _JETPACKS.get(int(match.group(1)))
    return "%d (%s)" % (major, release) if major else release


def gpu(sysroot: str = "/") -> Dict[str, Any]:
    """``name``, ``load_share`` (0 to 1), ``clock_khz``, ``clock_max_khz`` and ``governor`` of the first GPU, as far as files tell."""
    found: Dict[str, Any] = {}
    name = next((name for name in names_in(sysroot, _DEVFREQ) if GPU.search(name)), None)
    if name is not None:
        folder = os.path.join(sysroot, _DEVFREQ, name)
        found["name"] = slug(name, "gpu")
        for key, file in (("clock_khz", "cur_freq"), ("clock_max_khz", "max_freq")):
            hertz = number_of(folder, file)
            if hertz > 0:
                found[key] = int(hertz) // _HZ_PER_KHZ
        governor = text_of(folder, "governor", most=40)
        if governor:
            found["governor"] = governor
    load = _gpu_load(sysroot, name)
    if load is not None:
        found["load_share"] = round(load, 3)
    return found


def _gpu_load(sysroot: str, name: Optional[str]) -> Optional[float]:
    """From per mille (Jetson) or per cent (amdgpu)."""
    for path, whole in _load_files(sysroot, name):
        value = number_of(path)
        if 0 <= value <= whole:
            return value / whole
    return None


def _load_files(sysroot: str, name: Optional[str]) -> List[Tuple[str, float]]:
    places = [os.path.join(_DEVFREQ, name, "device", "load")] if name else []
    places += ["sys/devices/gpu.0/load", "sys/devices/platform/gpu.0/load"]  # JetPack 4
    files = [(os.path.join(sysroot, place), 1000.0) for place in places]
    cards = [card for card in names_in(sysroot, _DRM) if re.match("card[0-9]+$", card)]
    return files + [(os.path.join(sysroot, _DRM, card, "device", "gpu_busy_percent"), 100.0) for card in cards[:_MOST_ENTRIES]]


def _asked_bits(sysroot: str) -> Optional[int]:
    command = find(sysroot)
    try:
        return throttled_bits(command) if command else None
    except OSError:
        return None


def _said(sysroot: str, *command: str) -> str:
    """What a command of this machine printed; empty when it is not there, fails or takes too long."""
    if os.path.abspath(sysroot) != "/":
        return ""
    import subprocess

    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[:4096].decode("utf-8", "replace")


READERS: Tuple[Tuple[str, Callable[[str], Any]], ...] = (
    ("gpu", gpu),
    ("throttle_flags", throttle_flags),
    ("alarms", alarms),
    ("cooling", cooling),
    ("power_mode", power_mode),
    ("power_source", power_source),
    ("jetpack", jetpack),
)
"""What `health.fingerprint` takes from here."""
