"""Unit suffixes of names, conversions between them, and how a number is shown to a person.

Names end in their unit: ``_ms``, ``_us``, ``_ns``, ``_bytes``, ``_mj``, ``_mw``, ``_hz``. Every formatter returns
``"–"`` for NaN or None: not measured is never shown as zero.
"""

from __future__ import annotations

import math

NS_PER_MS = 1_000_000
NS_PER_US = 1_000
MISSING = "–"

_NEXT = 0.9995
"""From here on a number is shown in the next larger unit: with three digits it would be rounded up to 1000."""


def latency(ms: float | None, digits: int = 3) -> str:
    """``1.24 ms``, ``12.3 µs`` or ``2.50 s``, with ``digits`` significant digits."""
    if ms is None or math.isnan(ms):
        return MISSING
    scale, unit = _latency_unit(ms)
    return f"{significant(ms * scale, digits)} {unit}"


def latency_interval(ms: float, low_ms: float, high_ms: float) -> str:
    """``1.240 ms [1.221, 1.262]``: a value and its interval in one unit, one digit beyond the interval's width."""
    if math.isnan(ms):
        return MISSING
    scale, unit = _latency_unit(ms)
    if math.isnan(low_ms) or math.isnan(high_ms):
        return f"{significant(ms * scale, 3)} {unit}"
    decimals = _decimals_for(abs(high_ms - low_ms) * scale, abs(ms) * scale)
    return f"{ms * scale:.{decimals}f} {unit} [{low_ms * scale:.{decimals}f}, {high_ms * scale:.{decimals}f}]"


def energy(mj: float | None) -> str:
    """``1.24 mJ``, ``12.3 µJ`` or ``2.50 J``."""
    if mj is None or math.isnan(mj):
        return MISSING
    scale, unit = _energy_unit(mj)
    return f"{significant(mj * scale, 3)} {unit}"


def energy_interval(mj: float, low_mj: float, high_mj: float) -> str:
    """``1.240 mJ [1.221, 1.262]``: a value and its interval in one unit, one digit beyond the interval's width."""
    if math.isnan(mj) or math.isnan(low_mj) or math.isnan(high_mj):
        return energy(mj)
    scale, unit = _energy_unit(mj)
    decimals = _decimals_for(abs(high_mj - low_mj) * scale, abs(mj) * scale)
    return f"{mj * scale:.{decimals}f} {unit} [{low_mj * scale:.{decimals}f}, {high_mj * scale:.{decimals}f}]"


def power(mw: float | None) -> str:
    """``940 mW`` or ``2.50 W``."""
    if mw is None or math.isnan(mw):
        return MISSING
    return f"{significant(mw / 1000, 3)} W" if abs(mw) >= _NEXT * 1000 else f"{significant(mw, 3)} mW"


def size(nbytes: float | None) -> str:
    """``512 B``, ``1.24 kB``, ``3.10 MB``: decimal units, as in ``kB = 1000 B``."""
    return _scaled(nbytes, ("B", "kB", "MB", "GB", "TB"), separator=" ")


def duration(seconds: float) -> str:
    """``3 s``, ``4 min``, ``2 h 5 min``: how long something takes or took, as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def count(value: float | None) -> str:
    """``950``, ``1.24 k``, ``3.10 M``, ``2.50 G``: MACs, parameters."""
    return _scaled(value, ("", "k", "M", "G", "T"), separator=" ").rstrip()


def share(fraction: float | None) -> str:
    """``12.3 %`` for 0.123."""
    return MISSING if fraction is None or math.isnan(fraction) else f"{fraction * 100:.1f} %"


def significant(value: float, digits: int) -> str:
    """``value`` in plain notation with ``digits`` significant digits, keeping all integer digits."""
    if value == 0:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # of the rounded value: 0.9998 is 1.00
    decimals = max(0, digits - 1 - exponent)
    return f"{value:.{min(decimals, 9)}f}"


def _energy_unit(mj: float) -> tuple[float, str]:
    if abs(mj) >= _NEXT * 1000:
        return 1e-3, "J"
    return (1.0, "mJ") if abs(mj) >= 0.1 or mj == 0 else (1e3, "µJ")


def _latency_unit(ms: float) -> tuple[float, str]:
    magnitude = abs(ms)
    if magnitude >= _NEXT * 1000:
        return 1e-3, "s"
    return (1.0, "ms") if magnitude >= _NEXT else (1e3, "µs")


def _decimals_for(width: float, magnitude: float) -> int:
    if width <= 0:
        return max(0, 2 - (math.floor(math.log10(magnitude)) if magnitude > 0 else 0))
    return min(4, max(0, 1 - math.floor(math.log10(width))))


def _scaled(value: float | None, units: tuple[str, ...], separator: str) -> str:
    if value is None or math.isnan(value):
        return MISSING
    scaled, unit = float(value), 0
    while abs(scaled) >= _NEXT * 1000 and unit < len(units) - 1:
        scaled, unit = scaled / 1000, unit + 1
    whole = unit == 0 and float(scaled).is_integer()
    return f"{f'{scaled:.0f}' if whole else significant(scaled, 3)}{separator}{units[unit]}"
