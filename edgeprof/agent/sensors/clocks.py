"""Clocks in MHz: one channel for each group of CPUs that share a clock (``cpufreq/policy*``), and the GPU's (``devfreq``).

With more than eight groups there are three channels in place of them: the lowest, the mean and the highest.

Sources: Documentation/admin-guide/pm/cpufreq.rst (kHz) and Documentation/ABI/testing/sysfs-class-devfreq (Hz) of Linux.
"""

from __future__ import annotations

import errno
import os
import re
from typing import List, Optional, Sequence, Tuple

from ..files import names_in, text_of
from .base import MOST_CHANNELS, NAN, SAMPLE, Channel, FileSensor, Found, Product, Source, Sysfile, positive, slug, unique

_CPUS = "sys/devices/system/cpu"
_DEVFREQ = "sys/class/devfreq"
_KHZ_PER_MHZ, _HZ_PER_MHZ = 1000.0, 1e6
_MOST_GROUPS = 8
_MOST_FILES = 256
GPU = re.compile("gpu|mali|v3d|adreno|kgsl|gk20a|gm20b|gp10b|gv11b|ga10b|gb10b", re.IGNORECASE)


class Clocks(FileSensor):
    """CPU clocks, as groups or as a summary, then GPU clocks."""

    name = "clocks"
    rate_hz = 2.0

    def __init__(self, groups: Sequence[Tuple[str, str]], gpus: Sequence[Tuple[str, str]]) -> None:
        sources: List[Source] = []
        if len(groups) > _MOST_GROUPS:
            self._crowd: Optional[List[Sysfile]] = [Sysfile(path) for _, path in groups]
            labels, scopes = ["cpu_min", "cpu_mean", "cpu_max"], ["cpu"] * 3
        else:
            self._crowd = None
            labels, scopes = [label for label, _ in groups], ["cpu"] * len(groups)
            sources += [Product([path], _KHZ_PER_MHZ, positive) for _, path in groups]
        sources += [Product([path], _HZ_PER_MHZ, positive) for _, path in gpus]
        labels, scopes = unique([*labels, *(label for label, _ in gpus)]), [*scopes, *(["gpu"] * len(gpus))]
        channels = [Channel("clocks/%s_mhz" % label, "MHz", SAMPLE, scope, "Clock %s" % label) for label, scope in zip(labels, scopes)]
        super().__init__(channels, sources)

    def read(self) -> List[float]:
        """See `Sensor.read`."""
        if self._crowd is None:
            return super().read()
        summary = self._summary()
        if summary is None and not self._sources:
            raise OSError(errno.ENODEV, "no CPU tells its clock any more")
        try:
            rest = super().read()
        except OSError:
            if summary is None:
                raise
            rest = [NAN] * len(self._sources)
        return (summary or [NAN] * 3) + rest

    def close(self) -> None:
        """See `Sensor.close`."""
        super().close()
        for file in self._crowd or ():
            file.close()

    def _summary(self) -> Optional[List[float]]:
        """Lowest, mean and highest of the clocks that are known; None when none can be read any more."""
        known, there = [], False
        for file in self._crowd or ():
            try:
                clock = file.number() / _KHZ_PER_MHZ
            except OSError:
                continue
            there = True
            known += [clock] if clock > 0 else []
        if not known:
            return [NAN] * 3 if there else None
        return [min(known), sum(known) / len(known), max(known)]


def discover(sysroot: str = "/") -> Found:
    """The clocks of this machine that the kernel governs."""
    folder = os.path.join(sysroot, _DEVFREQ)
    gpus = [
        ("gpu", os.path.join(folder, name, "cur_freq"))
        for name in names_in(folder)
        if GPU.search(name) and os.path.exists(os.path.join(folder, name, "cur_freq"))
    ]
    groups = _groups(sysroot)
    return Found([Clocks(groups, gpus[:MOST_CHANNELS])] if groups or gpus else [])


def _groups(sysroot: str) -> List[Tuple[str, str]]:
    """Label and file of each group; older kernels have no policies but a folder for each CPU."""
    folder = os.path.join(sysroot, _CPUS, "cpufreq")
    found = []
    for name in names_in(folder):
        path = os.path.join(folder, name, "scaling_cur_freq")
        if name.startswith("policy") and os.path.exists(path):
            found.append((_label(text_of(folder, name, "related_cpus"), name), path))
    if not found:
        for name in names_in(sysroot, _CPUS):
            path = os.path.join(sysroot, _CPUS, name, "cpufreq", "scaling_cur_freq")
            if name[:3] == "cpu" and name[3:].isdigit() and os.path.exists(path):
                found.append((slug(name, "cpu"), path))
    return found[:_MOST_FILES]


def _label(cpus: Optional[str], policy: str) -> str:
    """``cpu0-3`` for ``0 1 2 3``."""
    numbers = [word for word in (cpus or "").split() if word.isdigit()]
    if not numbers:
        return slug(policy.replace("policy", "cpu"), "cpu")
    return slug("cpu" + numbers[0] + ("-" + numbers[-1] if len(numbers) > 1 else ""), "cpu")
