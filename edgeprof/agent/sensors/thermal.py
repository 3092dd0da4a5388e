"""Temperatures of ``/sys/class/thermal/thermal_zone*`` in °C, and how hard the kernel slows the processors (``cooling_device*``).

A zone that is asleep (EAGAIN, as a GPU's at rest) is kept, its readings are NaN meanwhile; one that reports 0 or less does not
work (AGX Orin: CV0@-256C) and is left out. Jetson's ``tj`` is the highest of the others. The state of a cooling device counts steps
from 0 (off); fans and chargers are left out, since what they do costs no speed.

Source: Documentation/driver-api/thermal/sysfs-api.rst of Linux.
"""

from __future__ import annotations

import math
import os
import re
from typing import Dict, List, Sequence

from ..files import names_in, readable, text_of
from .base import MOST_CHANNELS, NAN, SAMPLE, Channel, FileSensor, Found, Product, Source, Sysfile, positive, slug, unique

_FOLDER = "sys/class/thermal"
_MC_PER_C = 1000.0
_SCOPES = (
    ("gpu", "gpu"),
    ("cpu", "cpu"),
    ("x86_pkg", "cpu"),
    ("core", "cpu"),
    ("ddr", "dram"),
    ("soc", "soc"),
    ("tj", "soc"),
    ("cv", "soc"),
)
_SLOWS_DOWN = re.compile("processor|cpu|gpu|devfreq|powerclamp|throttle", re.IGNORECASE)
_IS_FAN = re.compile("fan", re.IGNORECASE)


class Thermal(FileSensor):
    """All zones that work, then one channel for each kind of cooling device."""

    name = "thermal"
    rate_hz = 2.0

    def __init__(self, zones: Dict[str, str], coolers: Dict[str, List[str]]) -> None:
        channels = [Channel("thermal/%s_c" % name, "°C", SAMPLE, _scope(name), "Temperature %s" % name) for name in zones]
        channels += [Channel("thermal/%s_state" % kind, "", SAMPLE, "system", "Slowed down by %s" % kind) for kind in coolers]
        sources: List[Source] = [Product([path], _MC_PER_C, positive) for path in zones.values()]
        super().__init__(channels, [*sources, *(Highest(paths) for paths in coolers.values())])


class Highest(Source):
    """The highest of some states. Below 0 (intel_powerclamp at rest) means off, too."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._files = [Sysfile(path) for path in paths]

    def value(self) -> float:
        """See `Source.value`."""
        known = [value for value in (file.number() for file in self._files) if not math.isnan(value)]
        return max(0.0, *known) if known else NAN

    def close(self) -> None:
        """See `Source.close`."""
        for file in self._files:
            file.close()


def discover(sysroot: str = "/") -> Found:
    """The zones of this machine, and what slows it down."""
    folder = os.path.join(sysroot, _FOLDER)
    names, paths = [], []
    for zone in names_in(folder):
        path = os.path.join(folder, zone, "temp")
        if zone.startswith("thermal_zone") and _works(path):
            names.append(slug(text_of(folder, zone, "type"), slug(zone, "zone")))
            paths.append(path)
    zones = dict(zip(unique(names[:MOST_CHANNELS]), paths))
    kinds = coolers(sysroot)
    return Found([Thermal(zones, kinds)] if zones or kinds else [])


def coolers(sysroot: str = "/") -> Dict[str, List[str]]:
    """``cur_state`` files of the cooling devices that slow a processor down, by kind: ``Processor``, ``thermal-cpufreq`` ..."""
    folder = os.path.join(sysroot, _FOLDER)
    found: Dict[str, List[str]] = {}
    for device in names_in(folder):
        kind = text_of(folder, device, "type") or ""
        if device.startswith("cooling_device") and _SLOWS_DOWN.search(kind) and not _IS_FAN.search(kind):
            name = slug(re.sub("[-_.]?[0-9]+$", "", kind), "cooling")
            if name in found or len(found) < MOST_CHANNELS:
                paths = found.setdefault(name, [])
                paths += [os.path.join(folder, device, "cur_state")] if len(paths) < MOST_CHANNELS else []
    return found


def _works(path: str) -> bool:
    text = text_of(path)
    if text is None:
        return os.path.isfile(path) and readable(path)  # asleep
    try:
        return float(text) > 0
    except ValueError:
        return False


def _scope(name: str) -> str:
    return next((scope for sign, scope in _SCOPES if sign in name.lower()), "system")
