"""A stand-in for the package joulescope, which drives hardware: what is called there, and statistics as instruments send them.

``data/joulescope_api.json`` holds the signatures of the real package, a parameter each, ``=`` where it may be left out. Each call
is put to those of every version.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

API: dict[str, dict[str, list[str] | str]] = json.loads((Path(__file__).parent / "data" / "joulescope_api.json").read_text("utf-8"))


def signature(parameters: list[str]) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature(
        [inspect.Parameter(p.rstrip("="), kind, default=None if p.endswith("=") else inspect.Parameter.empty) for p in parameters]
    )


def check(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """TypeError when a version of the package does not take such a call."""
    for functions in API.values():
        signature(functions[name]).bind(*args, **kwargs)


def statistics(energy_j: float, power_w: float = 2.0, current_a: float = 0.4, voltage_v: float = 5.0) -> dict[str, Any]:
    """A block as `statistics_callback_register` hands it out: as in the documentation's example, with what is not read left out."""
    means = {"current": (current_a, "A"), "voltage": (voltage_v, "V"), "power": (power_w, "W")}
    return {
        "time": {"range": {"value": [0.0, 0.01], "units": "s"}},
        "signals": {name: {"µ": {"value": value, "units": unit}} for name, (value, unit) in means.items()},
        "accumulators": {"charge": {"value": 0.0, "units": "C"}, "energy": {"value": energy_j, "units": "J"}},
        "source": "sensor",
    }


class Device:
    """An instrument at USB; `send` has it send a block, `unplug` takes it away."""

    def __init__(self, model: str = "js220", serial_number: str = "001234", *, at_once: bool = True) -> None:
        self.model, self.serial_number = model, serial_number
        self.is_open = False
        self.calls: list[str] = []
        self.failure: Exception | None = None
        self._at_once = at_once
        self._told: list[Callable[[dict[str, Any]], None]] = []

    def __str__(self) -> str:
        return f"{self.model.upper()}-{self.serial_number}"

    def send(self, block: dict[str, Any]) -> None:
        for told in list(self._told):
            told(block)

    def unplug(self) -> None:
        self.is_open = False

    def open(self, *args, **kwargs) -> None:
        self._called("open", args, kwargs)
        if self.failure is not None:
            raise self.failure
        self.is_open = True
        if self._at_once:
            self.send(statistics(0.0))

    def close(self, *args, **kwargs) -> None:
        self._called("close", args, kwargs)
        self.is_open = False

    def parameter_set(self, *args, **kwargs) -> None:
        check("DeviceJs110.parameter_set", args, kwargs)
        check("DeviceJs220.parameter_set", args, kwargs)
        self.calls.append(f"parameter_set {' '.join(map(str, args))}")

    def statistics_callback_register(self, *args, **kwargs) -> None:
        self._called("statistics_callback_register", args, kwargs)
        self._told.append(args[0])

    def statistics_callback_unregister(self, *args, **kwargs) -> None:
        self._called("statistics_callback_unregister", args, kwargs)
        self._told.remove(args[0])

    def _called(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        check(f"Device.{name}", args, kwargs)
        self.calls.append(" ".join([name, *(f"{key}={value}" for key, value in kwargs.items())]))


def package(devices: list[Device], failure: Exception | None = None) -> ModuleType:
    """The package, with these instruments plugged in."""
    module = ModuleType("joulescope")

    def scan(*args, **kwargs):
        check("scan", args, kwargs)
        if failure is not None:
            raise failure
        return devices

    module.scan = scan
    return module
