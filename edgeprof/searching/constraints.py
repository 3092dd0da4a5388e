"""What a candidate must keep to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from edgeprof.errors import UsageError

OBJECTIVES: Mapping[str, tuple[str, str]] = {
    "latency_ms": ("Latency", "ms"),
    "loss": ("Loss", ""),
    "energy_mj": ("Energy", "mJ"),
    "peak_memory_bytes": ("Peak memory", "B"),
    "model_bytes": ("Size", "B"),
}
"""What can be made small; ``loss`` is how much worse the score becomes."""


@dataclass(frozen=True)
class Constraints:
    """Most of each; None is no limit. ``loss`` is in the metric's own unit: 0.01 of top1 is one point."""

    latency_ms: float | None = None
    loss: float | None = None
    energy_mj: float | None = None
    peak_memory_bytes: float | None = None
    model_bytes: float | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"The constraint {one.name} is {value}; give a number, 0 or more.")

    def excess(self, values: Mapping[str, float]) -> dict[str, float]:
        """For each limit by what part of it a candidate is over; 0 or less is within. What is not known is over."""
        found = {}
        for one in fields(self):
            limit = getattr(self, one.name)
            if limit is not None:
                value = values.get(one.name, math.nan)
                found[one.name] = 1.0 if math.isnan(value) else (value - limit) / (limit or 1.0)
        return found

    def holds(self, values: Mapping[str, float]) -> bool:
        """Whether a candidate keeps to all of them."""
        return all(over <= 0 for over in self.excess(values).values())
