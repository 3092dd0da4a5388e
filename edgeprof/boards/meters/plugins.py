"""Meters from other packages: entry points of the group ``edgeprof.sensors``.

The name of the entry point is the name in a spec; its object is called with the address and returns something that has what a
`edgeprof.agent.sensors.base.Sensor` has. It need not be of that class. What is returned is checked here, since nobody else knows it:

1. ``channels``: at least one, each with name, unit, kind, scope and title. A name is ``<plug-in>/<what>_<unit>``, and no two are equal.
2. Units and their kinds are those of `UNITS`: power and the like are samples, energy is a counter that only grows.
3. ``totals`` names channels of power or energy; ``rate_hz`` is a number above 0.
4. ``read()`` returns a number for each channel, NaN for what was not measured. It is read once at opening.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from numbers import Real
from typing import Any

from edgeprof.agent.sensors.base import COUNTER, NAN, SAMPLE, Channel, Sensor
from edgeprof.boards.meters.base import shown
from edgeprof.errors import EdgeprofError, MeterError

GROUP = "edgeprof.sensors"

UNITS: dict[str, tuple[str, str]] = {
    "mW": (SAMPLE, "_mw"),
    "mJ": (COUNTER, "_mj"),
    "mA": (SAMPLE, "_ma"),
    "mV": (SAMPLE, "_mv"),
    "°C": (SAMPLE, "_c"),
}
"""Unit of a channel: the kind it goes with, and how its name ends."""

_ENERGY_UNITS = ("mW", "mJ")
_SCOPES = ("board", "module", "package", "cpu", "gpu", "dram", "soc", "rail", "device")
_FASTEST_HZ = 1e6


def registered(name: str | None = None) -> list[EntryPoint]:
    """The plug-ins that are installed, or those called ``name``; sorted by name, not imported."""
    found = entry_points(group=GROUP) if name is None else entry_points(group=GROUP, name=name)
    return sorted(found, key=lambda point: (point.name, package_of(point)))


def package_of(point: EntryPoint) -> str:
    """Name of the package that registered it."""
    return point.dist.name if point.dist else ""


def version_of(point: EntryPoint) -> str:
    """Version of that package."""
    return point.dist.version if point.dist else ""


def clash(point: EntryPoint, own: Collection[str]) -> str:
    """Why a plug-in cannot be used for its name, in a sentence; empty when it can. ``own``: the meters of edgeprof."""
    if point.name in own:
        return f"edgeprof has a meter '{point.name}' of its own. Register the plug-in under another name."
    others = [package_of(other) for other in registered(point.name) if other.value != point.value]
    return f"{', '.join(others)} registers a meter of this name too. Uninstall one of them." if others else ""


def open_plugin(points: Sequence[EntryPoint], address: str) -> Sensor:
    """The meter of a plug-in; ``points`` are those of its name. MeterError when there are two, when it fails, or when it does not fit."""
    point = points[0]
    problem = clash(point, ())
    if problem:
        raise MeterError(f"The plug-in {point.name} of {package_of(point)} cannot be used: {problem}")
    try:
        found = point.load()(address)
    except EdgeprofError:
        raise
    except Exception as error:  # what a plug-in raises is not ours to know
        raise MeterError(f"{_title(point)} failed to open '{address}': {type(error).__name__}: {shown(error)}.") from error
    try:
        return _checked(found, point)
    except BaseException:
        _close(found)
        raise


class _Plugin(Sensor):
    """A plug-in's sensor, each reading checked. Whatever goes wrong in it is an OSError, as with any other sensor."""

    def __init__(self, point: EntryPoint, found: Any) -> None:
        self.name = point.name
        self.rate_hz = _rate(found)
        super().__init__(_channels(found, point.name), _totals(found))
        self._title = _title(point)
        self._found = found

    def read(self) -> list[float]:
        """See `Sensor.read`."""
        try:
            return self.values()
        except _Unfit as error:
            raise OSError(f"{self._title} cannot be read: {error}.") from error

    def values(self) -> list[float]:
        """A reading; OSError when it failed, `_Unfit` when it is none."""
        try:
            given = self._found.read()
        except OSError:
            raise
        except Exception as error:  # what a plug-in raises is not ours to know
            raise OSError(f"{self._title} failed to read: {type(error).__name__}: {shown(error)}.") from error
        return _row(given, len(self.channels))

    def watch(self, pid: int) -> None:
        """See `Sensor.watch`; a meter beside the board has no use for it, so it need not be there."""
        watch = getattr(self._found, "watch", None)
        if callable(watch):
            watch(pid)

    def close(self) -> None:
        """See `Sensor.close`."""
        _close(self._found)


class _Unfit(Exception):
    """What a plug-in returned is not a sensor; the rest of a sentence that says why."""


def _checked(found: Any, point: EntryPoint) -> Sensor:
    """Read once: a plug-in that cannot be read is found out before anything is measured."""
    try:
        for method in ("read", "close"):
            if not callable(getattr(found, method, None)):
                raise _Unfit(f"it has no {method}()")
        sensor = _Plugin(point, found)
        sensor.values()
    except _Unfit as error:
        came = f"{_title(point)} returned {shown(type(found).__name__)}, which is no sensor: {error}."
        raise MeterError(f"{came} See docs/meters.md for what a plug-in must return.") from error
    except OSError as error:
        raise MeterError(f"{_title(point)} was opened, but its first reading failed: {shown(error)}") from error
    return sensor


def _channels(found: Any, meter: str) -> list[Channel]:
    given = getattr(found, "channels", None)
    if not isinstance(given, Sequence) or isinstance(given, str | bytes) or not given:
        raise _Unfit("it has no channels")
    channels = [_channel(channel, meter) for channel in given]
    names = [channel.name for channel in channels]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _Unfit(f"two of its channels are called '{shown(twice)}'")
    return channels


def _channel(given: Any, meter: str) -> Channel:
    fields = {field: getattr(given, field, None) for field in Channel._fields}
    missing = [field for field, value in fields.items() if not isinstance(value, str)]
    if missing:
        raise _Unfit(f"one of its channels has no {missing[0]}")
    channel = Channel(**fields)
    name, unit = shown(channel.name), shown(channel.unit)
    if channel.unit not in UNITS:
        raise _Unfit(f"the unit of channel '{name}' is '{unit}', not one of {', '.join(UNITS)}")
    kind, ending = UNITS[channel.unit]
    if channel.kind != kind:
        raise _Unfit(f"channel '{name}' in {unit} is a '{shown(channel.kind)}', not a '{kind}'")
    if channel.scope not in _SCOPES:
        raise _Unfit(f"the scope of channel '{name}' is '{shown(channel.scope)}', not one of {', '.join(_SCOPES)}")
    what = channel.name.removeprefix(f"{meter}/")
    if what == channel.name or not what.endswith(ending) or what == ending or name != channel.name:
        raise _Unfit(f"channel '{name}' is not called {meter}/WHAT{ending}")
    return channel


def _totals(found: Any) -> dict[str, Sequence[str]]:
    given = getattr(found, "totals", None) or {}
    if not isinstance(given, Mapping):
        raise _Unfit("its totals are no mapping of scopes to names of channels")
    units = {channel.name: channel.unit for channel in found.channels}
    totals: dict[str, Sequence[str]] = {}
    for scope, names in given.items():
        if scope not in _SCOPES or not isinstance(names, Sequence) or isinstance(names, str):
            raise _Unfit(f"its totals hold '{shown(scope)}', which is not one of {', '.join(_SCOPES)} with a list of channels")
        for name in names:
            if not isinstance(name, str) or units.get(name) not in _ENERGY_UNITS or names.count(name) > 1:
                raise _Unfit(f"its total of the {scope} names '{shown(name)}', which is no channel of power or energy, or named twice")
        totals[scope] = list(names)
    return totals


def _rate(found: Any) -> float:
    rate = getattr(found, "rate_hz", None)
    if isinstance(rate, bool) or not isinstance(rate, Real) or not 0 < float(rate) <= _FASTEST_HZ:
        raise _Unfit(f"its rate_hz is {shown(rate)}, not a number above 0")
    return float(rate)


def _row(values: Any, count: int) -> list[float]:
    """A number for each channel; what is not finite was not measured."""
    try:
        row = list(values)
    except TypeError:
        raise _Unfit(f"read() returned {shown(values)}, not a list") from None
    if len(row) != count:
        raise _Unfit(f"read() returned {len(row)} values for {count} channels")
    for value in row:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise _Unfit(f"read() returned {shown(repr(value))} in place of a number")
    return [_finite(value) for value in row]


def _finite(value: Real) -> float:
    try:
        number = float(value)
    except OverflowError:
        return NAN
    return number if math.isfinite(number) else NAN


def _close(found: Any) -> None:
    close = getattr(found, "close", None)
    if callable(close):
        with suppress(Exception):  # it has been read or refused by now; what a plug-in raises at its end changes neither
            close()


def _title(point: EntryPoint) -> str:
    return f"The plug-in {point.name} of {package_of(point)} {version_of(point)}".rstrip()
