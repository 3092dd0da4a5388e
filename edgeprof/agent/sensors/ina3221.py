"""The INA3221 power monitors of NVIDIA Jetson modules: three rails a chip, one or two chips on a module, more on some carrier boards.

JetPack 4 (L4T 32) has them under ``/sys/bus/i2c/drivers/ina3221x/<bus>-00<address>/iio:device<n>``: ``rail_name_K``,
``in_powerK_input`` in mW. JetPack 5 and 6 under ``.../ina3221/<bus>-00<address>/hwmon/hwmon<n>``: ``inK_label``, ``inK_input`` in mV,
``currK_input`` in mA, no power; the number behind hwmon changes at each boot. Channels called ``NC``, channels without a label and
``in7`` (a sum of shunt voltages) measure nothing.

Which rails make up the module:

| module | total |
|---|---|
| Nano | POM_5V_IN |
| TX1, TX2, TX2 NX, Xavier NX, Orin NX, Orin Nano | VDD_IN |
| AGX Xavier | GPU + CPU + SOC + CV + VDDRQ + SYS5V: no input rail, all six hang on the input in parallel |
| AGX Orin | VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0; VDDQ_VDD2_1V8AO is fed by VIN_SYS_5V0, adding it would count the memory twice |

None of them sees the carrier board, its regulators and what is plugged into it. On any other set of rails the total is not guessed.

Sources: energymon, jetson/JetsonPowerRails.md (rails of TX1 to AGX Orin, from NVIDIA's L4T device trees and design guides; for AGX Orin
NVIDIA's forum, topic 223111); Linux, tegra194-p2888.dtsi, tegra194-p3668.dtsi, tegra234-p3701.dtsi, tegra234-p3767.dtsi (labels);
NVIDIA's forum, topics 73608 (POM_5V_IN and its parts are not added) and 200883 (VDD_IN is the whole module); Jetson AGX Xavier design
guide DG-09840, 5.6.2. Rate: Documentation/hwmon/ina3221.rst of Linux.
"""

from __future__ import annotations

import os
from collections import namedtuple
from typing import Dict, List, Optional, Sequence, Set

from ..files import names_in, number_of, readable, text_of
from .base import MOST_CHANNELS, SAMPLE, Channel, FileSensor, Found, Product, slug, unique

Rail = namedtuple("Rail", ["name", "paths", "divisor"])  # noqa: PYI024 - as in protocol.py
"""A rail and the files whose product, divided, is its power in mW."""

_IIO = "sys/bus/i2c/drivers/ina3221x"
_I2C = "sys/bus/i2c/drivers/ina3221"
_HWMON = "sys/class/hwmon"
_UW_PER_MW = 1000.0
_FASTEST_HZ = 150.0  # three shunt and three bus conversions of 1.1 ms
_TOTALS = (
    ("POM_5V_IN",),
    ("VDD_IN",),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
)
_SCOPES = {
    "POM_5V_IN": "module", "VDD_IN": "module",
    "GPU": "gpu", "POM_5V_GPU": "gpu", "VDD_SYS_GPU": "gpu", "VDD_GPU": "gpu",
    "CPU": "cpu", "POM_5V_CPU": "cpu", "VDD_SYS_CPU": "cpu", "VDD_CPU": "cpu",
    "VDDRQ": "dram", "VDD_SYS_DDR": "dram",
    "SOC": "soc", "VDD_SYS_SOC": "soc", "VDD_SOC": "soc",
}  # fmt: skip
"""What a rail feeds, where it is one thing; VDD_CPU_GPU_CV and its like are just rails."""


class Ina3221(FileSensor):
    """All rails of all chips. They are read one after the other, some 0.5 ms a value: the readings of a round are not simultaneous."""

    name = "ina3221"

    def __init__(self, rails: Sequence[Rail], rate_hz: float) -> None:
        labels = unique([rail.name for rail in rails])
        channels = [Channel(_channel(label), "mW", SAMPLE, _SCOPES.get(label, "rail"), "Rail %s" % label) for label in labels]
        total = total_of(labels)
        super().__init__(
            channels, [Product(rail.paths, rail.divisor) for rail in rails], {"module": [_channel(label) for label in total or ()]}
        )
        self.rate_hz = rate_hz


def discover(sysroot: str = "/") -> Found:
    """The rails of this board."""
    rails: List[Rail] = []
    rates: List[float] = []
    for folder in _iio_folders(sysroot):
        rails += _iio_rails(folder)
    for folder in _hwmon_folders(sysroot).values():
        found = _hwmon_rails(folder)
        rails += found
        rates += [_rate_hz(folder)] if found else []
    rails = rails[:MOST_CHANNELS]
    if not rails:
        return Found([])
    if not all(readable(path) for rail in rails for path in rail.paths):
        return Found([], [("ina3221-permission", _permission(sysroot, rails))])
    sensor = Ina3221(rails, min(rates, default=_FASTEST_HZ))
    if sensor.totals:
        return Found([sensor])
    names = ", ".join(channel.name for channel in sensor.channels)
    text = (
        "ina3221 measures %s, and it is not known which of these rails make up this board's power. "
        "Name them with --rail, once for each that is to be added up, such as --rail %s" % (names, rails[0].name)
    )
    return Found([sensor], [("ina3221-rails-info", text)])


def total_of(names: Sequence[str]) -> Optional[Sequence[str]]:
    """Those rails whose sum is the power of the module; None when the set is not one of a known module."""
    return next((total for total in _TOTALS if set(total) <= set(names)), None)


def covered(sysroot: str = "/") -> Set[str]:
    """Names of the folders in ``/sys/class/hwmon`` that are read here."""
    return {name for name, folder in _hwmon_folders(sysroot).items() if _hwmon_rails(folder)}


def _channel(label: str) -> str:
    return "ina3221/%s_mw" % label


def _iio_folders(sysroot: str) -> List[str]:
    drivers = os.path.join(sysroot, _IIO)
    found = []
    for device in names_in(drivers):
        inside = [name for name in names_in(drivers, device) if name.startswith("iio:device") or name == "iio_device"]
        found += [os.path.join(drivers, device, name) for name in inside[:1]]  # iio_device is the same one again
    return found


def _iio_rails(folder: str) -> List[Rail]:
    rails = []
    for name in names_in(folder):
        number = name[len("rail_name_") :] if name.startswith("rail_name_") else ""
        label = _label(folder, name)
        if not number.isdigit() or not label:
            continue
        power = os.path.join(folder, "in_power%s_input" % number)
        parts = [os.path.join(folder, "in_%s%s_input" % (what, number)) for what in ("voltage", "current")]
        if os.path.exists(power):
            rails.append(Rail(label, [power], 1.0))
        elif all(os.path.exists(part) for part in parts):
            rails.append(Rail(label, parts, _UW_PER_MW))
    return rails


def _hwmon_folders(sysroot: str) -> Dict[str, str]:
    """Folders by their name, such as ``hwmon3``: below the driver, or in the class when a recorded tree has only that."""
    found: Dict[str, str] = {}
    for device in names_in(sysroot, _I2C):
        inner = os.path.join(sysroot, _I2C, device, "hwmon")
        for name in names_in(inner):
            found.setdefault(name, os.path.join(inner, name))
    for name in names_in(sysroot, _HWMON):
        folder = os.path.join(sysroot, _HWMON, name)
        if name not in found and text_of(folder, "name") == "ina3221":
            found[name] = folder
    return found


def _hwmon_rails(folder: str) -> List[Rail]:
    rails = []
    for number in (1, 2, 3):
        label = _label(folder, "in%d_label" % number)
        paths = [os.path.join(folder, name % number) for name in ("in%d_input", "curr%d_input")]
        if label and number_of(folder, "in%d_enable" % number) != 0 and all(os.path.exists(path) for path in paths):
            rails.append(Rail(label, paths, _UW_PER_MW))
    return rails


def _label(folder: str, name: str) -> str:
    label = slug(text_of(folder, name), "")
    return "" if label.upper() == "NC" else label


def _rate_hz(folder: str) -> float:
    """One reading for each full round of the chip. ``update_interval`` (ms) holds the averaging, ``samples`` is the averaging."""
    interval_ms, samples = number_of(folder, "update_interval"), number_of(folder, "samples")
    if interval_ms > 0:
        return max(0.1, min(_FASTEST_HZ, 1000 / interval_ms))
    return _FASTEST_HZ / samples if samples >= 1 else _FASTEST_HZ


def _permission(sysroot: str, rails: Sequence[Rail]) -> str:
    folders = sorted({os.path.dirname(path) for rail in rails for path in rail.paths})
    shown = ["/" + os.path.relpath(folder, sysroot) for folder in folders]
    files = " ".join("%s/*_input" % folder for folder in shown)
    return "The rails of the INA3221 are there, but only root may read them. Allow it until the next boot with: sudo chmod a+r %s" % files
