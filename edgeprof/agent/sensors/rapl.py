"""Intel and AMD RAPL through ``/sys/class/powercap``: energy counters of the processor packages and their parts.

Counters are in microjoules and wrap at ``max_energy_range_uj``. Zones overlap: ``core`` and ``uncore`` are parts of their
package, ``psys`` and the ``-mmio`` twins hold packages again. The total is the sum of the packages, with ``dram`` beside it;
never all zones. Since Linux 5.10 only root may read them (CVE-2020-8694).

Source: Documentation/power/powercap/powercap.rst of Linux.
"""

from __future__ import annotations

import os
from typing import List

from ..files import names_in, number_of, readable, text_of
from .base import COUNTER, MOST_CHANNELS, Channel, Counter, FileSensor, Found, Product, slug, unique

_FOLDER = "sys/class/powercap"
_UJ_PER_MJ = 1000.0
_SCOPES = {"core": "rail", "uncore": "rail", "dram": "dram", "psys": "board"}


class Rapl(FileSensor):
    """All zones. The register changes about every millisecond; 100 readings a second are plenty for a counter."""

    name = "rapl"
    rate_hz = 100.0

    def __init__(self, zones: List[str]) -> None:
        labels = _labels(zones)
        channels = [Channel("rapl/%s_mj" % label, "mJ", COUNTER, _scope(zone), "RAPL %s" % label) for zone, label in zip(zones, labels)]
        packages = [c.name for c in channels if c.scope == "package"]
        drams = [c.name for c in channels if c.scope == "dram"]
        sources = [
            Product([os.path.join(zone, "energy_uj")], _UJ_PER_MJ, counter=Counter(number_of(zone, "max_energy_range_uj") + 1))
            for zone in zones
        ]
        super().__init__(channels, sources, {"package": packages, "dram": drams})


def discover(sysroot: str = "/") -> Found:
    """The RAPL zones of this machine."""
    folder = os.path.join(sysroot, _FOLDER)
    zones = [
        os.path.join(folder, name)
        for name in names_in(folder)
        if name.startswith("intel-rapl:") and os.path.exists(os.path.join(folder, name, "energy_uj"))
    ]  # intel-rapl-mmio:... count the same packages a second time
    if not zones:
        return Found([])
    if not all(readable(os.path.join(zone, "energy_uj")) for zone in zones):
        text = (
            "RAPL energy counters are there, but only root may read them. "
            "Allow it until the next boot with: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
        )
        return Found([], [("rapl-permission", text)])
    return Found([Rapl(zones[:MOST_CHANNELS])])


def _scope(zone: str) -> str:
    name = text_of(zone, "name") or ""
    return "package" if name.startswith("package") else _SCOPES.get(name, "rail")


def _labels(zones: List[str]) -> List[str]:
    """``package-0``, ``package-0-core``: the zone's own name behind that of the zone around it."""
    names = {os.path.basename(zone): slug(text_of(zone, "name"), slug(os.path.basename(zone), "zone")) for zone in zones}
    labels = []
    for zone in zones:
        base = os.path.basename(zone)
        outer = base.rpartition(":")[0]
        labels.append("%s-%s" % (names[outer], names[base]) if outer in names else names[base])
    return unique(labels)
