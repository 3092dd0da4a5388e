"""What a sensor must offer: channels and a way to read them all at once. One file a family; a family finds its sensors with ``discover``.

Readers take the root of the file system (``sysroot``), so that a recorded folder can stand in for a board.
"""

from __future__ import annotations

import errno
import math
import os
import re
from collections import namedtuple
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..files import MOST_BYTES, NO_WAIT, number, text_of

Channel = namedtuple("Channel", ["name", "unit", "kind", "scope", "title"])  # noqa: PYI024 - as in protocol.py
"""One thing that is read: see `edgeprof.records.sensing.Channel`, which has the same fields."""

SAMPLE, COUNTER = "sample", "counter"
NAN = float("nan")
MOST_CHANNELS = 64
"""More than that no family reads; a folder with thousands of entries is a broken or hostile one."""

TOO_MUCH = 1e8
"""No board draws as many mW, nor is as hot or as fast in other units: chips that fail answer so."""

_ASLEEP = (errno.EAGAIN, errno.EIO, errno.EBUSY, errno.ETIMEDOUT, errno.ENODATA, errno.EINVAL)


class Found(NamedTuple):
    """What a family found: its sensors, and as ``(id, sentence)`` what is there but cannot be used and how to change that.

    An id that ends in ``-info`` only tells something: all works, but a choice is left to the user.
    """

    sensors: Sequence["Sensor"]
    problems: Sequence[Tuple[str, str]] = ()


class Sensor:
    """Something that can be read again and again.

    ``name`` is unique on the board. ``rate_hz`` is its useful rate: reading faster only repeats values. ``average_s``: a reading
    is a mean over so many seconds before it; 0 when that is no longer than from one reading to the next. ``totals`` maps a scope
    (board, module, package, dram, gpu, soc, or device: one chip of which nobody knows what it sees) to the names of the channels whose
    sum is the power of it; they never overlap within a scope.
    """

    name = ""
    rate_hz = 10.0
    average_s = 0.0

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
                self._handle = os.open(self.path, NO_WAIT)
            return os.pread(self._handle, MOST_BYTES, 0).decode("utf-8", "replace").strip("\0 \n\t")
        except OSError:
            self.close()  # the device may come back under the same name
            raise

    def number(self) -> float:
        """Its number; NaN when it holds none, or when the device has none just now (EAGAIN, EIO). OSError when it is gone."""
        try:
            return number(self.text())
        except OSError as error:
            if error.errno in _ASLEEP:
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
    a span, or when it fell by less than half of it (a reset), the step is not known, and the sum starts again at 0: whoever reads it
    sees that it fell. A span that is NaN or not positive is none.
    """

    def __init__(self, span: Optional[float] = None) -> None:
        self._span = span if span is not None and span > 0 else None
        self._last: Optional[float] = None
        self._total = 0.0

    def total(self, raw: float) -> float:
        """Growth since the first reading, or since the last reset."""
        if math.isnan(raw):
            return NAN
        last, self._last = self._last, raw
        if last is None:
            return self._total
        step = raw - last
        if step < 0:
            if self._span is None or not self._span / 2 <= -step <= self._span:
                self._total = 0.0
                return 0.0
            step += self._span
        self._total += step
        return self._total


def not_negative(value: float) -> bool:
    """What power, current and energy must be to be a measurement."""
    return value >= 0


def positive(value: float) -> bool:
    """What a clock or the temperature of a board must be to be a measurement."""
    return value > 0


class Source:
    """What one channel is worth now."""

    def value(self) -> float:
        """The value, or NaN. OSError when what it is read from is gone."""
        raise NotImplementedError

    def close(self) -> None:
        """Frees what it holds."""


class Product(Source):
    """The product of the numbers in some files, such as voltage and current, divided by ``divisor``.

    ``valid`` says which values are measurements; others are NaN. With a ``counter`` wrap-around is taken out.
    """

    def __init__(
        self, paths: Sequence[str], divisor: float, valid: Callable[[float], bool] = not_negative, counter: Optional[Counter] = None
    ) -> None:
        self._files = [Sysfile(path) for path in paths]
        self._divisor, self._valid, self._counter = divisor, valid, counter

    def value(self) -> float:
        """See `Source.value`."""
        product = 1.0
        for file in self._files:
            product *= file.number()
        if not self._valid(product) or (self._counter is None and product / self._divisor > TOO_MUCH):
            return NAN
        return (product if self._counter is None else self._counter.total(product)) / self._divisor

    def close(self) -> None:
        """See `Source.close`."""
        for file in self._files:
            file.close()


class FileSensor(Sensor):
    """A sensor with one source for each channel. A source that is gone gives NaN; only when all are gone is that an OSError."""

    def __init__(self, channels: Sequence[Channel], sources: Sequence[Source], totals: Optional[Dict[str, Sequence[str]]] = None) -> None:
        super().__init__(channels, totals)
        self._sources = list(sources)

    def read(self) -> List[float]:
        """See `Sensor.read`."""
        values: List[float] = []
        gone: List[OSError] = []
        for source in self._sources:
            try:
                values.append(source.value())
            except OSError as error:
                values.append(NAN)
                gone.append(error)
        if gone and len(gone) == len(values):
            raise gone[0]
        return values

    def close(self) -> None:
        """See `Sensor.close`."""
        for source in self._sources:
            source.close()


def slug(text: Optional[str], otherwise: str) -> str:
    """``text`` as part of a channel's name: letters, digits and ``_.+-``, at most 40 of them. ``otherwise`` when it says nothing."""
    words = re.sub("[^A-Za-z0-9_.+-]+", "_", text or "").strip("_")[:40]
    return words or otherwise


def unique(labels: Sequence[str]) -> List[str]:
    """The labels; one that was there before gets a number: ``a``, ``a-2``."""
    found: Dict[str, int] = {}  # name by name, the last number that was given to a label of that name
    for label in labels:
        name = label
        while name in found:
            found[label] += 1
            name = "%s-%d" % (label, found[label])
        found[name] = 1
    return list(found)


def board_model(sysroot: str) -> str:
    """What the device tree calls the board; empty on one without."""
    return text_of(sysroot, "proc/device-tree/model") or text_of(sysroot, "sys/firmware/devicetree/base/model") or ""
