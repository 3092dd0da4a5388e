"""Power that the kernel's hardware monitors report: ``/sys/class/hwmon/hwmon*``, whatever the chip.

Read are ``powerK_input`` or else ``powerK_average`` (µW), ``energyK_input`` (µJ, a counter), and where a chip has neither for a number,
``inK_input`` (mV) times ``currK_input`` (mA). Chips that another family reads are left to it: the INA3221 of Jetson modules, and the
monitors that mirror a battery.

What a channel sees is known for few chips: ``amdgpu``, ``i915`` and ``xe`` see a GPU (an ``amdgpu`` inside a processor, which has neither
a fan nor a second temperature, sees all of the processor), the ``ina238`` called VIN of Jetson AGX Thor sees module and carrier board. Of
all others one channel may hold another: they are a total only where there is just one.

Sources: Documentation/hwmon/sysfs-interface.rst of Linux (units, ``powerK_average_interval``); Documentation/gpu/amdgpu/thermal.rst and
``hwmon_attributes_visible`` in amdgpu_pm.c (what those inside a processor have not); for Thor NVIDIA's forum, topic
366461, and jetson_stats, pull request 900.
"""

from __future__ import annotations

import os
import re
from collections import namedtuple
from typing import Dict, List, Sequence, Tuple

from ..files import names_in, number_of, readable, text_of
from . import ina3221
from .base import COUNTER, MOST_CHANNELS, SAMPLE, Channel, Counter, FileSensor, Found, Product, board_model, slug, unique

Meter = namedtuple("Meter", ["label", "unit", "paths", "scope"])  # noqa: PYI024 - as in protocol.py
"""One thing that a chip measures: power (``mW``) as the product of the numbers in some files, or a counter of energy (``mJ``)."""

_FOLDER = "sys/class/hwmon"
_TO_MILLI = 1000.0
_DEFAULT_HZ, _FASTEST_HZ = 10.0, 100.0
_LONGEST_AVERAGE_MS = 60_000.0
_GPUS = ("amdgpu", "i915", "xe", "nouveau", "radeon")
_NO_PAIRS = ("iio_hwmon",)  # its numbers count each kind apart: in1 and curr1 have nothing to do with each other
_NO_METERS = ("ucsi_source_psy", "tcpm_source_psy")  # what a USB charger promised, not what flows
_SUPPLIES = ("Battery", "Mains", "UPS", "USB", "Wireless")
_FILE = re.compile("(power|energy|curr)([0-9]+)_(input|average)$")


class Hwmon(FileSensor):
    """One chip."""

    def __init__(self, chip: str, meters: Sequence[Meter], folder: str, totals: Dict[str, Sequence[str]]) -> None:
        self.name = "hwmon-" + chip
        channels = [
            Channel(_channel(chip, m), m.unit, COUNTER if m.unit == "mJ" else SAMPLE, m.scope, "%s %s" % (chip, m.label)) for m in meters
        ]
        sources = [Product(m.paths, _TO_MILLI, counter=Counter() if m.unit == "mJ" else None) for m in meters]
        super().__init__(channels, sources, totals)
        self.rate_hz = _rate_hz(folder)
        self.average_s = _average_s(folder, [path for meter in meters for path in meter.paths])


def discover(sysroot: str = "/") -> Found:
    """The chips of this machine that measure power or energy."""
    folders, chips = _chips(sysroot)
    meters = [_meters(folder, chip, sysroot) for folder, chip in zip(folders, chips)]
    names = unique(chips)
    count, found, sealed = 0, [], []
    for folder, name, all_of_chip in zip(folders, names, meters):
        of_chip = all_of_chip[: max(0, MOST_CHANNELS - count)]
        if not of_chip:
            continue
        if not all(readable(path) for meter in of_chip for path in meter.paths):
            endings = sorted({path.rpartition("_")[2] for meter in of_chip for path in meter.paths}, reverse=True)
            sealed += ["/%s/*_%s" % (os.path.relpath(folder, sysroot), ending) for ending in endings]
            continue
        count += len(of_chip)
        found.append((folder, name, of_chip))
    loose = [_channel(name, meter) for _, name, of_chip in found for meter in of_chip if meter.scope == "rail"]
    sensors = [Hwmon(name, of_chip, folder, _totals(name, of_chip, loose)) for folder, name, of_chip in found]
    return Found(sensors, _problems(loose, sealed))


def _chips(sysroot: str) -> Tuple[List[str], List[str]]:
    """Folders and names of the chips that no other family reads."""
    others = ina3221.covered(sysroot)
    supplies = {slug(name, "").replace("-", "_") for name in names_in(sysroot, "sys/class/power_supply")}
    folders, chips = [], []
    for name in names_in(sysroot, _FOLDER):
        folder = os.path.join(sysroot, _FOLDER, name)
        chip = slug(text_of(folder, "name"), slug(name, "chip"))
        mirrors_supply = chip.replace("-", "_") in supplies or text_of(folder, "device", "type") in _SUPPLIES
        if name not in others and not mirrors_supply and not chip.startswith(_NO_METERS):
            folders.append(folder)
            chips.append(chip)
    return folders, chips


def _meters(folder: str, chip: str, sysroot: str) -> List[Meter]:
    files = [match for match in (_FILE.match(name) for name in names_in(folder)) if match]
    kinds = {(match.group(1), match.group(2)): match.group(0) for match in files if match.group(3) == "average"}
    kinds.update({(match.group(1), match.group(2)): match.group(0) for match in files if match.group(3) == "input"})
    found: List[Tuple[str, str, List[str]]] = []
    for (kind, number), name in kinds.items():
        if len(found) == MOST_CHANNELS:
            break
        voltage = "in%s_input" % number
        if kind == "power":
            found.append((_label(folder, number, ("power", "curr", "in"), kind), "mW", [name]))
        elif kind == "energy":
            found.append((_label(folder, number, ("energy",), kind), "mJ", [name]))
        elif _is_pair(folder, chip, number, kinds) and os.path.exists(os.path.join(folder, voltage)):
            found.append((_label(folder, number, ("curr", "in"), "rail"), "mW", [voltage, name]))
    labels = unique([label for label, _, _ in found])
    return [
        Meter(label, unit, [os.path.join(folder, path) for path in paths], _scope(chip, label, folder, sysroot))
        for label, (_, unit, paths) in zip(labels, found)
    ]


def _is_pair(folder: str, chip: str, number: str, kinds: Dict[Tuple[str, str], str]) -> bool:
    if chip in _NO_PAIRS or ("power", number) in kinds:
        return False
    return chip != "ina3221" or number in ("1", "2", "3")  # the fourth is the sum of the others


def _label(folder: str, number: str, kinds: Sequence[str], otherwise: str) -> str:
    texts = (text_of(folder, "%s%s_label" % (kind, number)) for kind in kinds)
    return slug(next((text for text in texts if text), None), otherwise + number)


def _scope(chip: str, label: str, folder: str, sysroot: str) -> str:
    if chip in _GPUS:
        alone = chip != "amdgpu" or any(os.path.exists(os.path.join(folder, name)) for name in ("fan1_input", "temp2_input"))
        return "gpu" if alone else "soc"
    return "board" if chip == "ina238" and label == "VIN" and "Thor" in board_model(sysroot) else "rail"


def _totals(chip: str, meters: Sequence[Meter], loose: Sequence[str]) -> Dict[str, Sequence[str]]:
    """What is known to be a total. Of a GPU that reports more than one thing it is the card, if there is one of that name."""
    totals: Dict[str, Sequence[str]] = {}
    for scope in ("gpu", "soc", "board"):
        seen = [meter for meter in meters if meter.scope == scope]
        chosen = seen if len(seen) == 1 else [meter for meter in seen if meter.label == "card"][:1]
        totals[scope] = [_channel(chip, meter) for meter in chosen]
    totals["device"] = [name for name in (_channel(chip, meter) for meter in meters) if [name] == list(loose)]
    return totals


def _problems(loose: Sequence[str], sealed: Sequence[str]) -> List[Tuple[str, str]]:
    problems = []
    if sealed:
        files = " ".join(sealed)
        text = "Hardware monitors measure power, but only root may read them. Allow it until the next boot with: sudo chmod a+r %s" % files
        problems.append(("hwmon-permission", text))
    if len(loose) > 1:
        text = (
            "Hardware monitors measure %s; one may hold another, so none of them is taken for the total. "
            "Name those to add up with --rail" % ", ".join(loose)
        )
        problems.append(("hwmon-info", text))
    return problems


def _channel(chip: str, meter: Meter) -> str:
    return "hwmon/%s-%s_%s" % (chip, meter.label, meter.unit.lower())


def _rate_hz(folder: str) -> float:
    interval_ms = number_of(folder, "update_interval")
    return max(0.1, min(_FASTEST_HZ, 1000 / interval_ms)) if interval_ms > 0 else _DEFAULT_HZ


def _average_s(folder: str, paths: Sequence[str]) -> float:
    """The longest time that the chip says to average over, of the channels that are averages."""
    numbers = [os.path.basename(path)[len("power") : -len("_average")] for path in paths if path.endswith("_average")]
    intervals_ms = [number_of(folder, "power%s_average_interval" % number) for number in numbers]
    return max([min(interval, _LONGEST_AVERAGE_MS) / 1000 for interval in intervals_ms if interval > 0], default=0.0)
