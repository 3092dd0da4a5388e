"""What sensors say: `Channel`s, the `Samples` read from them, and how well each sensor was read (`SensorUse`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

ChannelKind = Literal["sample", "counter"]


@dataclass(frozen=True)
class Channel:
    """One thing that is read over time.

    ``name`` is ``<sensor>/<what>_<unit>``, such as ``ina3221/VDD_IN_mw``. ``kind``: ``sample`` is the value at a time, ``counter``
    a sum that only grows (energy in mJ; wrap-around is taken out). ``scope`` is what it covers: board, module, package, cpu, gpu,
    dram, soc, rail, process, system.
    """

    name: str
    unit: str
    kind: ChannelKind = "sample"
    scope: str = "system"
    title: str = ""

    @property
    def is_power(self) -> bool:
        """True when power can be had from it: it is one in mW, or a counter of energy in mJ."""
        return self.unit == "mW" or (self.unit == "mJ" and self.kind == "counter")


@dataclass(frozen=True)
class Samples:
    """Readings in columns, each channel's in order of time. ``channel``: (n,) index into the channels of the Trace."""

    time_ns: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    channel: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    value: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.time_ns)

    def of(self, channel: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """``(time_ns, value)`` of one channel, readings that failed (NaN) or are no number that can be added left out."""
        chosen = (self.channel == channel) & np.isfinite(self.value)
        return self.time_ns[chosen], self.value[chosen]


@dataclass(frozen=True)
class SensorUse:
    """How one sensor was read. ``rate_hz`` was aimed at, ``achieved_hz`` reached; ``missed`` readings came too late or not at all.

    ``problem`` is what was wrong with it in a sentence, empty when nothing was.
    """

    name: str
    channels: tuple[Channel, ...] = ()
    rate_hz: float | None = None
    achieved_hz: float | None = None
    samples: int = 0
    missed: int = 0
    problem: str = ""
