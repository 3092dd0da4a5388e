"""Numbers of the layer table as a person reads them, with the unit, and names that fit."""

from __future__ import annotations

import math

from edgeprof import units
from edgeprof.records import schema


def show(value: float, name: str) -> str:
    """``value`` of the column ``name`` as a person reads it, unit included; ``–`` when it was not measured."""
    form = format_of(name)
    if form == "latency":
        return units.latency(value)
    if form == "share":
        return units.share(value)
    if form == "size":
        return units.size(value)
    if form == "count":
        return units.count(value)
    if form == "energy":
        return units.energy(value)
    return units.MISSING if math.isnan(value) else f"{units.significant(value, 3)} {schema.column(name).unit}".rstrip()


def format_of(name: str) -> str:
    """How a column's numbers are shown, one of the formatters of `edgeprof.units`."""
    if name.endswith("_ms"):
        return "latency"
    if name.endswith("_mj"):
        return "energy"
    if name.endswith("_bytes"):
        return "size"
    return {"share": "share", "macs": "count", "calls": "count"}.get(name, "number")


def ellipsis(text: str, length: int) -> str:
    """``text`` in at most ``length`` characters: what differs between layers (the end) is kept longer than the beginning."""
    if len(text) <= length:
        return text
    if length <= 1:
        return "…"[:length]
    end = math.ceil((length - 1) * 0.6)
    return f"{text[: length - 1 - end]}…{text[len(text) - end :]}"
