"""What a sensor must offer: channels and a way to read them all at once. One file a family; a family finds its sensors with ``discover``.

Readers take the root of the file system (``sysroot``), so that a recorded folder can stand in for a board.
"""

from __future__ import annotations

import errno
import math
import os
from collections import namedtuple
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

Channel = namedtuple("Channel", ["name", "unit", "kind", "scope", "title"])  # noqa: PYI024 - as in protocol.py
"""One thing that is read: see `edgeprof.records.sensing.Channel`, which has the same fields."""

SAMPLE, COUNTER = "sample", "counter"
NAN = float("nan")
_MOST_BYTES = 4096


class Found(NamedTuple):
    """What a family found: its sensors, and as ``(id, sentence)`` what is there but cannot be used and how to change that."""

    sensors: Sequence["Sensor"]
    problems: Sequence[Tuple[str, str]] = ()


class Sensor:
    """Something that can be read again and again.

    ``name`` is unique on the board. ``rate_hz`` is its useful rate: reading faster only repeats values. ``totals`` maps a scope
    (board, module, package, dram, gpu) to the names of the channels whose sum is the power of it; they never overlap within a scope.
    """

    name = ""
    rate_hz = 10.0

    def __init__(self, channels: Sequence[Channel], totals: Optional[Dict[str, Sequence[str]]] = None) -> None:
        self.channels = list(channels)
        self.totals = {scope: list(names) for scope, names in (totals or {}).items() if names}

    def read(self) -> List[float]:
        """A value for each channel, NaN for one that gave nothing this time. OSError when nothing at all can be read."""
        raise NotImplementedError

    def watch(self, pid: int) -> None:
        """Told which process runs the model; for sensors that read a process."""

    def close(self) -> None:
        """Frees what it holds."""


class Sysfile:
    """A small file that is read again and again, such as those in /sys; it stays open, which makes reading it cheap."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._handle = -1

    def text(self) -> str:
        """What stands in it now; OSError when it cannot be read."""
        try:
            if self._handle < 0:
                self._handle = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            return os.pread(self._handle, _MOST_BYTES, 0).decode("utf-8", "replace").strip("\0 \n\t")
        except OSError:
            self.close()  # the device may come back under the same name
            raise

    def number(self) -> float:
        """Its number; NaN when it holds none, or when the device has none just now (EAGAIN, EIO). OSError when it is gone."""
        try:
            return float(self.text())
        except ValueError:
            return NAN
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EIO, errno.EBUSY, errno.ETIMEDOUT):
                return NAN
            raise

    def close(self) -> None:
        """Closes it; it is opened again when it is read."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            try:
                os.close(handle)
            except OSError:
                pass


class Counter:
    """A counter that wraps around: raw readings in, a sum that only grows out.

    ``span`` is the number after which it starts again at 0 (``max_energy_range_uj`` + 1 for RAPL); None when it never does. Without
    a span, or when it fell by less than half of it (a reset), the step is not known: NaN, and counting goes on from there.
    """

    def __init__(self, span: Optional[float] = None) -> None:
        self._span = span
        self._last: Optional[float] = None
        self._total = 0.0

    def total(self, raw: float) -> float:
        """Growth since the first reading."""
        if math.isnan(raw):
            return NAN
        last, self._last = self._last, raw
        if last is None:
            return self._total
        step = raw - last
        if step < 0:
            if self._span is None or -step < self._span / 2:
                return NAN
            step += self._span
        self._total += step
        return self._total


def text_of(*parts: str) -> Optional[str]:
    """What stands in a file; None when it is not there or cannot be read."""
    try:
        with open(os.path.join(*parts), encoding="utf-8", errors="replace") as file:
            return file.read(_MOST_BYTES).strip("\0 \n\t")
    except OSError:
        return None


def number_of(*parts: str) -> float:
    """The number in a file, or NaN."""
    try:
        return float(text_of(*parts) or "")
    except ValueError:
        return NAN


def names_in(*parts: str) -> List[str]:
    """Names in a folder, sorted by the numbers in them (``in2`` before ``in10``); empty when there is none."""
    try:
        return sorted(os.listdir(os.path.join(*parts)), key=_by_numbers)
    except OSError:
        return []


def readable(path: str) -> bool:
    """Whether this process may read a file. Asked by opening it: ``access`` knows nothing of capabilities and file systems."""
    try:
        with open(path, "rb") as file:
            file.read(1)
        return True
    except PermissionError:
        return False
    except OSError:  # there, but has nothing to say just now
        return os.path.exists(path)


def _by_numbers(name: str) -> Tuple[str, int, str]:
    letters = name.rstrip("0123456789")
    digits = name[len(letters) :]
    return letters, int(digits) if digits else -1, name
