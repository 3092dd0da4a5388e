"""The simulated board's sensors: what they say of the world, as `edgeprof.agent.sampler` packs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeprof.agent.sampler import SLOW_HZ
from edgeprof.boards.sensed import RECORD
from edgeprof.boards.simulation.world import NS, START_NS, World

POWER, TEMPERATURE, CLOCK = "simulated/input_mw", "simulated/soc_c", "simulated/cpu_mhz"
SENSORS = ("power", "environment")
FULL_MHZ = 1800.0
ENVIRONMENT_HZ = 2.0


class Meter:
    """Reads the world at its sensors' rates; `flush` gives the records of the time since the last call.

    ``wanted`` names the sensors to read, None all.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._spec = world.spec
        self._rng = np.random.default_rng([world.spec.seed, 12])
        self._power_at = self._environment_at = 0.0
        self._slow = False
        self.wanted: Sequence[str] | None = None
        self.reads = {"power": 0, "environment": 0}

    def describe(self) -> list[dict[str, Any]]:
        """The sensors, as in a ``sensors`` frame."""
        sensors = []
        if self._reads_power:
            channel = {"name": POWER, "unit": "mW", "kind": "sample", "scope": "board", "title": "Board input"}
            power = {"name": "power", "rate_hz": self._spec.rate_hz, "average_s": self._spec.average_ms / 1e3}
            sensors.append(power | {"channels": [channel], "totals": {"board": [POWER]}})
        zone = {"name": TEMPERATURE, "unit": "°C", "kind": "sample", "scope": "soc", "title": "SoC"}
        clock = {"name": CLOCK, "unit": "MHz", "kind": "sample", "scope": "cpu", "title": "CPU"}
        if self._is_wanted("environment"):
            sensors.append({"name": "environment", "rate_hz": ENVIRONMENT_HZ, "channels": [zone, clock], "totals": {}})
        return sensors

    def flush(self) -> bytes:
        """Records of all readings that are due until now."""
        parts = [self._power()] if self._reads_power else []
        if self._is_wanted("environment"):
            parts.append(self._environment(len(parts)))
        return b"".join(part.tobytes() for part in parts)

    def turn(self, *, slow: bool) -> None:
        """From now on power is read no more often than `SLOW_HZ`, or as often as it can; the first time at once."""
        self._slow, self._power_at = slow, self._world.now

    def told(self) -> list[dict[str, Any]]:
        """How well each sensor was read: perfectly."""
        rates = {"power": self._spec.rate_hz, "environment": ENVIRONMENT_HZ}
        names = [sensor["name"] for sensor in self.describe()]
        return [{"name": n, "achieved_hz": rates[n], "samples": self.reads[n], "missed": 0, "problem": ""} for n in names]

    @property
    def _reads_power(self) -> bool:
        return self._spec.rate_hz > 0 and self._is_wanted("power")

    def _is_wanted(self, name: str) -> bool:
        return self.wanted is None or name in self.wanted

    def _power(self) -> Any:
        """Each reading is the mean over the time that the sensor averages, noisy, in steps, stamped with a clock that is off."""
        spec = self._spec
        period = 1 / (min(spec.rate_hz, SLOW_HZ) if self._slow else spec.rate_hz)
        times = np.arange(self._power_at, self._world.now, period)
        if len(times):
            self._power_at = float(times[-1]) + period
        average = max(spec.average_ms / 1e3, 1e-6)
        began = np.maximum(times - average, 0.0)
        mean = (self._world.energy(times) - self._world.energy(began)) / np.maximum(times - began, 1e-9)
        mean = np.where(times > 0, mean, spec.idle_mw)
        read = mean * (1 + spec.noise * self._rng.standard_normal(len(times)))
        if spec.step_mw > 0:
            read = np.round(read / spec.step_mw) * spec.step_mw
        self.reads["power"] += len(times)
        return _records(times + spec.skew_ms / 1e3, 0, read)

    def _environment(self, first: int) -> Any:
        times = np.arange(self._environment_at, self._world.now, 1 / ENVIRONMENT_HZ)
        if len(times):
            self._environment_at = float(times[-1]) + 1 / ENVIRONMENT_HZ
        self.reads["environment"] += len(times)
        warm = np.round(self._spec.ambient_c + self._spec.heat_c * self._world.warmth_at(times), 1)
        clock = np.full(len(times), FULL_MHZ / self._world.slower)
        return np.concatenate([_records(times, first, warm), _records(times, first + 1, clock)])


def _records(times: Any, channel: int, values: Any) -> Any:
    records = np.empty(len(times), RECORD)
    records["time_ns"] = START_NS + np.round(times * NS).astype(np.int64)
    records["channel"], records["value"] = channel, values
    return records
