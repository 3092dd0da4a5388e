"""What a battery gives: ``/sys/class/power_supply``, those of type Battery that feed the system.

``power_now`` (µW), or ``voltage_now`` (µV) times ``current_now`` (µA). Drivers do not agree on the sign of the current, so it is dropped
and ``status`` says which way it flows. While the battery charges, or is full and the charger feeds the board, its power is not
the board's: NaN. The gauges renew their value every second at best, some every half minute. Chargers, and batteries of mice and
headsets (scope Device), are left out.

Source: Documentation/ABI/testing/sysfs-class-power of Linux.
"""

from __future__ import annotations

import math
import os
from typing import List, Sequence

from ..files import names_in, readable, text_of
from .base import MOST_CHANNELS, NAN, SAMPLE, Channel, FileSensor, Found, Product, Sysfile, slug, unique

_FOLDER = "sys/class/power_supply"
_UW_PER_MW = 1000.0
_UV_UA_PER_MW = 1e9
_GIVING = "Discharging"


class Batteries(FileSensor):
    """All batteries that feed the board; together they are what it draws."""

    name = "battery"
    rate_hz = 1.0

    def __init__(self, folders: Sequence[str]) -> None:
        labels = unique([slug(os.path.basename(folder), "battery") for folder in folders])
        channels = [Channel("battery/%s_mw" % label, "mW", SAMPLE, "board", "Battery %s" % label) for label in labels]
        sources = [Product(paths, _UW_PER_MW if len(paths) == 1 else _UV_UA_PER_MW, _any) for paths in map(_paths, folders)]
        super().__init__(channels, sources, {"board": [channel.name for channel in channels]})
        self._states = [Sysfile(os.path.join(folder, "status")) for folder in folders]

    def read(self) -> List[float]:
        """See `Sensor.read`. Beside one that feeds the board another may rest; that one gives 0 when it says 0."""
        powers = [abs(value) for value in super().read()]
        states = [_state(file) for file in self._states]
        if _GIVING not in states:
            return [NAN] * len(powers)
        return [power if state == _GIVING or power == 0 else NAN for power, state in zip(powers, states)]

    def close(self) -> None:
        """See `Sensor.close`."""
        super().close()
        for file in self._states:
            file.close()


def discover(sysroot: str = "/") -> Found:
    """The batteries of this machine."""
    folders = [os.path.join(sysroot, _FOLDER, name) for name in names_in(sysroot, _FOLDER)]
    folders = [folder for folder in folders if _feeds_the_board(folder) and _paths(folder)][:MOST_CHANNELS]
    if not folders:
        return Found([])
    if not all(readable(path) for folder in folders for path in _paths(folder)):
        text = "The battery's power is there, but this user may not read it. Allow it until the next boot with: sudo chmod a+r %s"
        return Found([], [("battery-permission", text % ("/" + os.path.join(_FOLDER, "*", "*_now")))])
    states = [slug(text_of(folder, "status"), "in an unknown state") for folder in folders]
    if _GIVING in states:
        return Found([Batteries(folders)])
    names = ", ".join("%s is %s" % (slug(os.path.basename(folder), "battery"), state) for folder, state in zip(folders, states))
    text = "The battery does not feed the board now (%s), so its power says nothing. Unplug the charger to measure with it" % names
    return Found([Batteries(folders)], [("battery-charging", text)])


def _feeds_the_board(folder: str) -> bool:
    return text_of(folder, "type") == "Battery" and text_of(folder, "scope") != "Device" and text_of(folder, "present") != "0"


def _paths(folder: str) -> List[str]:
    """The files whose product is its power; empty when it does not tell."""
    for names in (("power_now",), ("voltage_now", "current_now")):
        paths = [os.path.join(folder, name) for name in names]
        if all(os.path.exists(path) for path in paths):
            return paths
    return []


def _state(file: Sysfile) -> str:
    try:
        return file.text()
    except OSError:
        return ""


def _any(value: float) -> bool:
    return not math.isnan(value)
