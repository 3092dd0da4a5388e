"""Sensors that the agent can read: a name and the module that holds ``discover(sysroot)``."""

from __future__ import annotations

from importlib import import_module
from typing import List, Optional, Sequence, Tuple

from .base import Found, Sensor

FAMILIES: Tuple[str, ...] = (
    "ina3221", "pi_pmic", "rapl", "nvml", "hwmon", "battery", "process", "thermal", "clocks", "throttle",
)  # fmt: skip
"""One file each in this folder: power first, then what explains it."""


def discover(sysroot: str = "/", wanted: Optional[Sequence[str]] = None) -> Found:
    """All sensors of the ``wanted`` families (None: of all), and what hinders others. A family that fails hinders no other one."""
    sensors: List[Sensor] = []
    problems: List[Tuple[str, str]] = []
    for family in FAMILIES if wanted is None else wanted:
        if family not in FAMILIES:
            problems.append(("sensor-unknown", "there is no sensor family %r; known are %s" % (family, ", ".join(FAMILIES))))
            continue
        try:
            found = import_module("." + family, __package__).discover(sysroot)
        except Exception as error:  # what a board's files hold is not ours to trust
            problems.append(("sensor-failed", "the sensors of %s cannot be used: %s: %s" % (family, type(error).__name__, error)))
            continue
        sensors += found.sensors
        problems += found.problems
    return Found(sensors, problems)
