"""What a board's fingerprint says, read with care: it comes from a board, so anything may stand in it.

Each function takes the mapping that the agent made (see docs/health.md) and returns what is known; None or empty is not known. Findings
of a profile and the health of a board are judged by these, so that both say the same.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

BUSY_LOAD = 0.5
"""Load for each CPU from which on others are running."""

BUSY_CPUS = 0.25
"""CPUs that other processes may keep busy before that is worth a word."""

BUSY_PERCENT = 10.0
"""Of the last 10 s in which some task waited for a CPU."""

SHORT_PERCENT = 5.0
"""Of the last 10 s in which some task waited for memory."""

BUSY_GPU = 0.2
LEAST_DISK_BYTES = 500_000_000
UNDER_VOLTAGE = "under-voltage"
MOST_NAMES = 5
MOST_CHARACTERS = 200

_STEADY_GOVERNORS = frozenset({"performance", "userspace"})
_MOST_ENTRIES = 1024
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MOST = 1e18
"""More is no memory, no clock and no time, but a mistake."""


def clean(text: object, most: int = MOST_CHARACTERS) -> str:
    """``text`` on one line without control, direction and other invisible characters, at most ``most`` long; empty when it is no text."""
    if not isinstance(text, str):
        return ""
    seen = "".join(" " if unicodedata.category(c) in _UNSEEN else c for c in text[: 4 * most])
    words = " ".join(seen.split())
    return words if len(words) <= most else words[: most - 1] + "…"


def number(value: object, least: float = 0.0, most: float = _MOST) -> float | None:
    """``value`` when it is a finite number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if least <= value <= most and math.isfinite(value) else None


def numbers(values: object, most: float = _MOST) -> tuple[float, ...]:
    """Those of a list that are numbers."""
    listed = values[:_MOST_ENTRIES] if isinstance(values, list | tuple) else ()
    return tuple(n for n in (number(value, most=most) for value in listed) if n is not None)


def texts(values: object, most: int = MOST_CHARACTERS) -> tuple[str, ...]:
    """Those of a list that say something; a text alone is a list of one."""
    listed = [values] if isinstance(values, str) else values[:_MOST_ENTRIES] if isinstance(values, list | tuple) else ()
    return tuple(text for text in (clean(value, most) for value in listed) if text)


def by_name(values: object, least: float = 0.0, most: float = _MOST) -> dict[str, float]:
    """The numbers of a mapping by their names."""
    if not isinstance(values, Mapping):
        return {}
    known: dict[str, float] = {}
    for name, value in list(values.items())[:_MOST_ENTRIES]:
        n = number(value, least, most)
        if n is not None and clean(name, 80):
            known[clean(name, 80)] = n
    return known


def governors(state: Mapping[str, Any]) -> tuple[str, ...]:
    """The CPU governors, each once."""
    return tuple(dict.fromkeys(texts(state.get("governor"), 40)))


def clock_is_fixed(state: Mapping[str, Any]) -> bool | None:
    """Whether the CPU clock is held: by the governor, or since its lowest and highest value are one. None when nobody says."""
    found = governors(state)
    if not found:
        return None
    low, high = (numbers(state.get(key)) for key in ("clock_min_khz", "clock_max_khz"))
    return _STEADY_GOVERNORS.issuperset(found) or (bool(low) and low == high)


def throttle_flags(state: Mapping[str, Any], when: str) -> frozenset[str] | None:
    """The firmware's flags of a Raspberry Pi, ``now`` or ``since_boot``."""
    flags = state.get("throttle_flags")
    if not isinstance(flags, Mapping) or not isinstance(flags.get(when), list | tuple):
        return None
    return frozenset(texts(flags[when], 40)[:_MOST_ENTRIES])


def alarms(state: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Alarms that are up, as sentences."""
    listed = state.get("alarms")
    return texts(listed, 120)[:8] if isinstance(listed, list | tuple) else None


def cooling(state: Mapping[str, Any]) -> dict[str, float] | None:
    """Steps by which the kernel slows processors down, by kind of cooling device."""
    return by_name(state["cooling"], most=1e6) if isinstance(state.get("cooling"), Mapping) else None


def slowed_down(state: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Signs that the board slows itself down now, as parts of a sentence; None when it has no such signs to read."""
    flags, up, steps = throttle_flags(state, "now"), alarms(state), cooling(state)
    if flags is None and up is None and steps is None:
        return None
    signs = sorted((flags or frozenset()) - {UNDER_VOLTAGE})
    signs += [text for text in up or () if not text.startswith(UNDER_VOLTAGE)]
    signs += [f"slowed down by {kind}" for kind, step in (steps or {}).items() if step > 0]
    return tuple(signs)


def under_voltage(state: Mapping[str, Any]) -> bool | None:
    """Whether the supply is too weak now; None when the board cannot tell."""
    flags = throttle_flags(state, "now")
    alarmed = any(text.startswith(UNDER_VOLTAGE) for text in alarms(state) or ())
    return alarmed or UNDER_VOLTAGE in flags if flags is not None else alarmed or None


def throttle_counts(state: Mapping[str, Any]) -> dict[str, float]:
    """How often each core was slowed down since boot."""
    return by_name(state.get("throttle_count"))


def busy_processes(state: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """Name and share of a CPU of other processes, the busiest first."""
    listed = state.get("busy_processes")
    found = []
    for entry in listed[:MOST_NAMES] if isinstance(listed, list | tuple) else ():
        if isinstance(entry, Mapping):
            name, share = clean(entry.get("name"), 40), number(entry.get("cpu_share"), most=1e5)
            found += [(name, share)] if name and share is not None else []
    return tuple(sorted(found, key=lambda item: -item[1]))


def busy_words(state: Mapping[str, Any]) -> str:
    """``chrome used 0.90 CPUs, backup 0.30`` when others use more than `BUSY_CPUS`, else nothing."""
    found = busy_processes(state)
    if sum(share for _, share in found) < BUSY_CPUS:
        return ""
    first, *rest = [f"{name} {share:.2f}" for name, share in found]
    name, share = first.rsplit(" ", 1)
    return ", ".join([f"{name} used {share} CPUs", *rest])


def load(state: Mapping[str, Any]) -> tuple[float, int] | None:
    """Load over one minute, and the number of CPUs."""
    value, cpus = number(state.get("load_1min"), most=1e6), number(state.get("cpus"), least=1, most=1e5)
    return None if value is None or cpus is None else (value, int(cpus))


def is_loaded(state: Mapping[str, Any]) -> bool:
    """Whether the load says that others are running."""
    known = load(state)
    return known is not None and known[0] > BUSY_LOAD * known[1]


def pressure(state: Mapping[str, Any], what: str) -> float | None:
    """Per cent of the last 10 s in which some task waited for ``cpu`` or ``memory``."""
    return by_name(state.get("pressure_percent"), most=100.0).get(what)


def gpu_load(state: Mapping[str, Any]) -> float | None:
    """How busy the GPU is, 0 to 1."""
    told = state.get("gpu")
    return number(told.get("load_share"), most=1.0) if isinstance(told, Mapping) else None


def disk_free(state: Mapping[str, Any]) -> float | None:
    """Bytes that are free where the agent keeps things."""
    return number(state.get("disk_free_bytes"))
