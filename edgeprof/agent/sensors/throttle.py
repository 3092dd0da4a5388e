"""Whether the board slows itself down, or its supply is too weak: from x86 counters, a Pi's firmware, alarms of monitors, cooling devices.

| where | what |
|---|---|
| ``cpu*/thermal_throttle`` | x86: how often a core or a package was slowed down for heat, since boot |
| ``vcgencmd get_throttled`` | Raspberry Pi, now and since boot: under-voltage, clock capped, throttled, soft temperature limit |
| ``hwmon*/*_{max,crit,lcrit}_alarm`` | a limit of current, power, temperature or voltage is passed; reading may clear it |
| ``cooling_device*/cur_state`` | above 0 for one that slows a processor down |

Sources: Linux, arch/x86/kernel/cpu/mce/therm_throt.c, Documentation/hwmon/sysfs-interface.rst, drivers/hwmon/raspberrypi-hwmon.c
(``rpi_volt``: under-voltage without asking the firmware); Raspberry Pi documentation, get_throttled (bits 0 to 3 now, 16 to 19 since boot).
"""

from __future__ import annotations

import os
import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ..files import names_in, number_of, text_of
from .base import COUNTER, NAN, SAMPLE, Channel, Found, Sensor, Sysfile, board_model, slug
from .thermal import coolers
from .vcgencmd import HELP, NotAllowed, Vcgencmd, find

_CPUS = "sys/devices/system/cpu"
_HWMON = "sys/class/hwmon"
_ALARM = re.compile("(curr|power|temp|in)([0-9]+)_(max|crit|lcrit)_alarm$")
_MOST_FILES = 256
_MOST_SENTENCES = 4
_BITS = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
_THROTTLED = re.compile("throttled=(0x[0-9a-fA-F]{1,8})$")


class Look(NamedTuple):
    """What one source says. ``counts`` only grow. ``up`` is so now, ``past`` was so before; both are sentences by a key they share."""

    counts: Dict[str, float]
    up: Dict[str, str]
    past: Dict[str, str]


class Watch:
    """One source of signs."""

    def look(self) -> Look:
        """What it says now; OSError when nothing of it can be read."""
        raise NotImplementedError

    def close(self) -> None:
        """Frees what it holds."""


class Throttle(Sensor):
    """``throttle/count``: events since the first reading, a flag that is up then included. ``throttle/active``: flags that are up."""

    name = "throttle"
    rate_hz = 1.0

    def __init__(self, watches: Sequence[Watch]) -> None:
        super().__init__([
            Channel("throttle/count", "", COUNTER, "system", "Throttling events"),
            Channel("throttle/active", "", SAMPLE, "system", "Throttling flags that are up"),
        ])  # fmt: skip
        self._tallies = [(watch, _Tally()) for watch in watches]

    def read(self) -> List[float]:
        """See `Sensor.read`. Flags of a source that fails are not known, so their number is not."""
        gone = []
        active = 0.0
        for watch, tally in self._tallies:
            try:
                look = watch.look()
            except OSError as error:
                gone.append(error)
                continue
            tally.take(look)
            active += len(look.up)
        if gone and len(gone) == len(self._tallies):
            raise gone[0]
        return [sum(tally.events for _, tally in self._tallies), NAN if gone else active]

    def close(self) -> None:
        """See `Sensor.close`."""
        for watch, _ in self._tallies:
            watch.close()


def discover(sysroot: str = "/") -> Found:
    """One sensor for all signs there are."""
    watches = _watches(sysroot)
    problems = []
    for watch in watches:
        if isinstance(watch, _Firmware):
            try:
                watch.look()
            except NotAllowed as error:
                text = "Whether this Raspberry Pi throttles cannot be read (%s): %s" % (error.strerror, HELP)
                problems.append(("throttle-permission", text))
            except OSError as error:
                problems.append(("throttle-failed", "Whether this Raspberry Pi throttles cannot be read: %s" % (error.strerror or error)))
    if problems:
        watches = [watch for watch in watches if not isinstance(watch, _Firmware)]
    return Found([Throttle(watches)] if watches else [], problems)


def flags(sysroot: str = "/") -> List[str]:
    """Signs of throttling as sentences, those since boot included; empty when there is none, or nothing can be read.

    A sentence that was not there before is a new sign: counts stand in them.
    """
    return [sentence for look in _looks(sysroot) for sentence in (*_counted(look.counts), *look.up.values(), *look.past.values())]


def active(sysroot: str = "/") -> List[str]:
    """Those signs that are so at this moment. Counters do not tell: on x86 this is about alarms and cooling devices only."""
    return [sentence for look in _looks(sysroot) for sentence in look.up.values()]


def alarms(sysroot: str = "/") -> Optional[List[str]]:
    """Alarms of monitors that are up, as sentences; None when there are none to read. Reading may clear them."""
    files = _alarm_files(sysroot)
    if not files:
        return None
    watch = _Levels(files)
    try:
        return list(watch.look().up.values())
    except OSError:
        return None
    finally:
        watch.close()


def throttled_bits(command: Vcgencmd) -> int:
    """What a Raspberry Pi's firmware answers to ``get_throttled``; OSError when it does not."""
    answer = command.ask("get_throttled")
    match = _THROTTLED.match(answer)
    if match is None:
        raise OSError("vcgencmd get_throttled said %r; expected throttled=0x..." % answer[:40])
    return int(match.group(1), 16)


def decode(bits: int) -> Tuple[List[str], List[str]]:
    """The flags of ``get_throttled`` that are up now, and those that were up since boot."""
    return [name for i, name in enumerate(_BITS) if bits >> i & 1], [name for i, name in enumerate(_BITS) if bits >> (16 + i) & 1]


def _looks(sysroot: str) -> Iterator[Look]:
    for watch in _watches(sysroot):
        try:
            yield watch.look()
        except OSError:
            continue
        finally:
            watch.close()


class _Tally:
    """Events that one source told of."""

    def __init__(self) -> None:
        self.events = 0.0
        self._counts: Dict[str, float] = {}
        self._up: Set[str] = set()
        self._past: Set[str] = set()
        self._first = True

    def take(self, look: Look) -> None:
        """Counts what is new: growth, flags that went up, and those that were up between two looks (only ``past`` shows them)."""
        for name, count in look.counts.items():
            self.events += max(0.0, count - self._counts.get(name, count))
            self._counts[name] = count
        up, past = set(look.up), set(look.past)
        self.events += len(up - self._up)
        if not self._first:
            self.events += len(past - self._past - up - self._up)
        self._up, self._past, self._first = up, past, False


class _Counters(Watch):
    """x86: throttle counts of cores, and of packages; each CPU of a package has the package's count, the highest is taken."""

    def __init__(self, files: Sequence[Tuple[str, Sysfile]]) -> None:
        self._files = files

    def look(self) -> Look:
        """See `Watch.look`."""
        counts: Dict[str, float] = {}
        gone = []
        for name, file in self._files:
            try:
                count = file.number()
            except OSError as error:
                gone.append(error)
                continue
            if count >= 0:
                counts[name] = max(count, counts.get(name, 0.0))
        if len(gone) == len(self._files):
            raise gone[0]
        return Look(counts, {}, {})

    def close(self) -> None:
        """See `Watch.close`."""
        for _, file in self._files:
            file.close()


class _Levels(Watch):
    """Files that are above 0 while something is slowed down; each with its sentence."""

    def __init__(self, files: Sequence[Tuple[str, Sysfile]]) -> None:
        self._files = files

    def look(self) -> Look:
        """See `Watch.look`."""
        up: Dict[str, str] = {}
        gone = []
        for sentence, file in self._files:
            try:
                if file.number() > 0:
                    up[file.path] = sentence
            except OSError as error:
                gone.append(error)
        if len(gone) == len(self._files):
            raise gone[0]
        return Look({}, up, {})

    def close(self) -> None:
        """See `Watch.close`."""
        for _, file in self._files:
            file.close()


class _Firmware(Watch):
    """A Raspberry Pi's ``get_throttled``."""

    def __init__(self, command: Vcgencmd) -> None:
        self._command = command

    def look(self) -> Look:
        """See `Watch.look`."""
        now, since_boot = decode(throttled_bits(self._command))
        up = {name: "%s now (get_throttled)" % name for name in now}
        return Look({}, up, {name: "%s since boot (get_throttled)" % name for name in since_boot})


def _watches(sysroot: str) -> List[Watch]:
    watches: List[Watch] = []
    counters = _counter_files(sysroot)
    if counters:
        watches.append(_Counters(counters))
    if board_model(sysroot).startswith("Raspberry Pi"):
        command = find(sysroot)
        watches += [_Firmware(command)] if command else []
    for files in (_alarm_files(sysroot), _cooling_files(sysroot)):
        if files:
            watches.append(_Levels(files[:_MOST_FILES]))
    return watches


def _counter_files(sysroot: str) -> List[Tuple[str, Sysfile]]:
    found: List[Tuple[str, Sysfile]] = []
    folder = os.path.join(sysroot, _CPUS)
    for cpu in names_in(folder):
        core = os.path.join(folder, cpu, "thermal_throttle", "core_throttle_count")
        if not cpu.startswith("cpu") or not cpu[3:].isdigit() or not os.path.exists(core):
            continue
        found.append(("%s core" % slug(cpu, "cpu"), Sysfile(core)))
        package = number_of(folder, cpu, "topology", "physical_package_id")
        path = os.path.join(folder, cpu, "thermal_throttle", "package_throttle_count")
        if package >= 0 and os.path.exists(path):
            found.append(("package %d" % package, Sysfile(path)))
    return found[:_MOST_FILES]


def _alarm_files(sysroot: str) -> List[Tuple[str, Sysfile]]:
    found: List[Tuple[str, Sysfile]] = []
    for name in names_in(sysroot, _HWMON):
        folder = os.path.join(sysroot, _HWMON, name)
        chip = slug(text_of(folder, "name"), slug(name, "chip"))
        for file in names_in(folder):
            match = _ALARM.match(file)
            if match and len(found) < _MOST_FILES:
                found.append((_alarm(folder, chip, match.group(1), match.group(2), match.group(3)), Sysfile(os.path.join(folder, file))))
    return found


def _alarm(folder: str, chip: str, kind: str, number: str, limit: str) -> str:
    if chip == "rpi_volt" and limit == "lcrit":
        return "under-voltage now (rpi_volt)"
    what = {"curr": "current", "power": "power", "temp": "temperature", "in": "voltage"}[kind]
    texts = (text_of(folder, "%s%s_label" % (other, number)) for other in ([kind] if kind != "curr" else ["curr", "in"]))
    label = slug(next((text for text in texts if text), None), kind + number)
    bound = {"max": "over its limit", "crit": "over its critical limit", "lcrit": "under its critical limit"}[limit]
    return "%s of %s %s (%s)" % (what, label, bound, chip)


def _cooling_files(sysroot: str) -> List[Tuple[str, Sysfile]]:
    return [("slowed down by %s" % kind, Sysfile(path)) for kind, paths in coolers(sysroot).items() for path in paths]


def _counted(counts: Dict[str, float]) -> List[str]:
    risen = [(name, count) for name, count in counts.items() if count > 0]
    if len(risen) > _MOST_SENTENCES:
        most = max(risen, key=lambda item: item[1])
        return ["%d cores and packages throttled %d times, %s most (%d)" % (len(risen), sum(c for _, c in risen), *most)]
    return ["%s throttled %d times" % item for item in risen]
