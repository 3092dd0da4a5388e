"""Power meters beside the board, read by this machine; `open_meter` finds one by its spec, ``NAME`` or ``NAME:ADDRESS``.

=====================================  ==============================================================================
``joulescope``, ``joulescope:SERIAL``  Joulescope JS220, JS320, JS110
``otii``, ``otii:HOST:PORT``           Otii Arc and Ace, through the TCP server of the Otii application
``visa:RESOURCE?OPTIONS``              any supply or meter that speaks SCPI: LAN, USB, serial, GPIB
any other name                         a plug-in: an entry point of this name in the group ``edgeprof.sensors``
=====================================  ==============================================================================

Nothing of a meter's package is imported before such a meter is opened.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata

from edgeprof.agent.sensors import FAMILIES
from edgeprof.agent.sensors.base import Sensor
from edgeprof.boards.meters import plugins
from edgeprof.errors import UsageError

__all__ = ["METERS", "Available", "available", "open_meter", "open_meters"]

METERS: dict[str, tuple[str, str]] = {
    "joulescope": ("edgeprof.boards.meters.joulescope", "joulescope"),
    "otii": ("edgeprof.boards.meters.otii", "otii-tcp-client"),
    "visa": ("edgeprof.boards.meters.visa", "pyvisa"),
}
"""Name in a spec: the module that holds ``open(address)``, and the package that must be installed; the extra has the meter's name."""


@dataclass(frozen=True)
class Available:
    """A meter that can be named. ``version`` is that of its ``package``, empty when it is not installed; ``problem`` hinders its use."""

    name: str
    package: str
    version: str
    is_plugin: bool = False
    problem: str = ""


def open_meter(spec: str) -> Sensor:
    """The meter of this spec, measuring; close it when done.

    Raises:
        UsageError: there is no such meter, or its address makes no sense.
        MissingExtra: the package it needs is not installed.
        MeterError: it is not there, does not answer, or is a plug-in that does not keep its promises.
    """
    name, _, address = spec.strip().partition(":")
    if name in METERS:
        sensor: Sensor = import_module(METERS[name][0]).open(address)
        return sensor
    points = plugins.registered(name)
    if points:
        return plugins.open_plugin(points, address)
    known = sorted({*METERS, *(point.name for point in plugins.registered())})
    raise UsageError(f"There is no meter '{name}'. Known are: {', '.join(known)}; a plug-in can add others, see docs/meters.md.")


def open_meters(specs: Sequence[str]) -> list[Sensor]:
    """All of them, or none: those that were open are closed when one fails. The second of a name is called ``visa-2``, and so on;
    so is one that is called like a family of the board's own sensors.
    """
    opened: list[Sensor] = []
    try:
        for spec in specs:
            sensor = open_meter(spec)
            opened.append(sensor)
            _rename(sensor, _free_name(sensor.name, {*FAMILIES, *(other.name for other in opened[:-1])}))
    except BaseException:
        for sensor in opened:
            sensor.close()
        raise
    return opened


def available() -> list[Available]:
    """The meters that `open_meter` knows, plug-ins after those of edgeprof. Nothing is opened or imported."""
    found = [Available(name, package, _version(package)) for name, (_, package) in METERS.items()]
    return found + [
        Available(point.name, plugins.package_of(point), plugins.version_of(point), is_plugin=True, problem=plugins.clash(point, METERS))
        for point in plugins.registered()
    ]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _free_name(name: str, taken: Collection[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _rename(sensor: Sensor, name: str) -> None:
    """Gives a sensor another name, its channels too."""
    new = {channel.name: name + channel.name.removeprefix(sensor.name) for channel in sensor.channels}
    sensor.channels = [channel._replace(name=new[channel.name]) for channel in sensor.channels]
    sensor.totals = {scope: [new[old] for old in names] for scope, names in sensor.totals.items()}
    sensor.name = name
