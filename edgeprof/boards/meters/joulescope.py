"""Joulescope JS220, JS320 and JS110 over USB, by the statistics that the instrument computes from all its samples.

The JS220 and JS320 send a block of statistics 100 times a second: mean power, current and voltage over it, and the energy since
opening. The JS110 does so twice a second. No sample is lost on the way to this machine, since none travels: the energy is whole even
when this machine is busy. ``read`` gives the newest block; it is up to a block old.

The board keeps its power: the instrument is opened in the state it is in (``mode="restore"``, as its own application does), and only
then set to measure current in all ranges, which connects the board in case it was not.

Source: joulescope 1.5.0 and 1.7.3, ``v1/device.py`` and ``entry_points/statistics.py``; its documentation, "Statistics API".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from edgeprof.agent.sensors.base import COUNTER, SAMPLE, Counter, Sensor
from edgeprof.boards.meters.base import board_channel, needs, shown
from edgeprof.errors import MeterError

_RATE_HZ = 100
_RATE_JS110_HZ = 2  # fixed in the instrument
_SILENCE_S = 3.0
_MEAN = "\N{MICRO SIGN}"  # as the package calls it
_BUFFER_S = 1  # of samples, which are not used; the package reserves memory for 30 s otherwise


class _Block(NamedTuple):
    arrived_s: float
    energy_j: float
    power_w: float
    current_a: float
    voltage_v: float


class Joulescope(Sensor):
    """One instrument; ``device`` is a Device of the package joulescope. Blocks arrive in a thread of the package."""

    name = "joulescope"

    def __init__(self, device: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._title = shown(device)
        channels = [
            board_channel(self.name, "energy", "mJ", COUNTER, f"{self._title}: energy"),
            board_channel(self.name, "power", "mW", SAMPLE, f"{self._title}: power, mean of a block"),
            board_channel(self.name, "current", "mA", SAMPLE, f"{self._title}: current, mean of a block"),
            board_channel(self.name, "voltage", "mV", SAMPLE, f"{self._title}: voltage, mean of a block"),
        ]
        super().__init__(channels, {"board": [channels[0].name]})
        self.rate_hz = float(_RATE_JS110_HZ if device.model.lower() == "js110" else _RATE_HZ)
        self._device = device
        self._clock = clock
        self._energy = Counter()
        self._newest: _Block | None = None
        self._first = threading.Event()

    def start(self, patience_s: float = _SILENCE_S) -> None:
        """Has it measure; MeterError when no statistics come in this time."""
        self._device.statistics_callback_register(self._keep)
        self._device.parameter_set("reduction_frequency", _RATE_HZ)
        self._device.parameter_set("buffer_duration", _BUFFER_S)
        self._device.open(mode="restore")
        self._device.parameter_set("i_range", "auto")
        self._device.parameter_set("v_range", "15V")
        if not self._first.wait(patience_s):
            raise MeterError(f"{self._title} was opened but sends nothing. Unplug it and plug it in again.")

    def read(self) -> list[float]:
        """See `Sensor.read`; energy in millijoules since the first reading."""
        block = self._newest
        if block is None or not self._device.is_open:
            raise OSError(f"{self._title} was unplugged.")
        if self._clock() - block.arrived_s > _SILENCE_S:
            raise OSError(f"{self._title} has sent nothing for {_SILENCE_S:g} s. Check its USB cable.")
        return [self._energy.total(block.energy_j * 1e3), block.power_w * 1e3, block.current_a * 1e3, block.voltage_v * 1e3]

    def close(self) -> None:
        """See `Sensor.close`; the board keeps its power."""
        with suppress(Exception):  # of the package, when the instrument is gone
            self._device.statistics_callback_unregister(self._keep)
        with suppress(Exception):
            self._device.close()

    def _keep(self, statistics: Mapping[str, Any]) -> None:
        signals = statistics["signals"]
        means = [float(signals[name][_MEAN]["value"]) for name in ("power", "current", "voltage")]
        self._newest = _Block(self._clock(), float(statistics["accumulators"]["energy"]["value"]), *means)
        self._first.set()


def open(address: str) -> Joulescope:
    """The instrument of this serial number, or the only one there is."""
    with needs("joulescope"):
        import joulescope
    try:
        devices = joulescope.scan(config="off")  # no stream of samples, which a JS110 would send otherwise
    except Exception as error:  # of the driver, when USB cannot be used
        raise MeterError(f"Joulescopes cannot be looked for: {shown(error)}. Check that USB can be used here.") from error
    device = _the_one(devices, address.strip())
    meter = Joulescope(device)
    try:
        meter.start()
    except BaseException as error:
        meter.close()
        if isinstance(error, MeterError) or not isinstance(error, Exception):
            raise
        # of the driver: its errors have no class of their own
        text = f"{shown(device)} cannot be opened: {shown(error) or type(error).__name__}."
        raise MeterError(f"{text} Close the Joulescope application and other programs that use it.") from error
    return meter


def _the_one(devices: Sequence[Any], serial: str) -> Any:
    if not devices:
        raise MeterError("No Joulescope was found. Plug it in; on Linux its udev rules must be installed too, see docs/meters.md.")
    there = ", ".join(shown(device) for device in devices)
    if not serial:
        if len(devices) > 1:
            raise MeterError(f"There are several Joulescopes: {there}. Name one, as in joulescope:{devices[0].serial_number}.")
        return devices[0]
    found = [device for device in devices if serial.lower() in (str(device.serial_number).lower(), str(device).lower())]
    if not found:
        raise MeterError(f"There is no Joulescope '{serial}'. Connected are: {there}.")
    return found[0]
