"""What differs between two profiles of an `Alignment`, row by row, with intervals from both ends.

1. The difference is the other's number less the baseline's, in the metric's unit. Its interval is that of the worst case: low end less high
   end, high end less low end. That is too wide rather than too narrow.
2. Of what is summed (time, energy, MACs, bytes moved) a row that a profile has no layer for took nothing there: 0, which is known exactly.
   So differences add up to that of the whole. Of a peak it is NaN.
3. A row that has layers and was not measured is NaN: nothing is said of its difference.
4. ``distinguishable`` is False where the two intervals overlap, and NA where one is not known. Intervals that overlap do not say that
   nothing has changed, only that these runs cannot tell.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof.analysis.align import INTERVALS, SUMMED, Alignment

Floats = NDArray[Any]

COLUMNS = (
    "before", "before_low", "before_high", "after", "after_low", "after_high",
    "difference", "difference_low", "difference_high", "ratio", "ratio_low", "ratio_high", "distinguishable",
)  # fmt: skip


def difference(aligned: Alignment, *, baseline: int, other: int, metric: str = "latency_ms") -> pd.DataFrame:
    """`COLUMNS` for each row of ``aligned``: ``metric`` of the profiles at these positions, before and after, and what lies between."""
    before, before_low, before_high = ends(aligned, baseline, metric)
    after, after_low, after_high = ends(aligned, other, metric)
    if baseline == other:
        low = high = np.where(np.isnan(before), np.nan, 0.0)
    else:
        low, high = after_low - before_high, after_high - before_low
    return pd.DataFrame({
        "before": before, "before_low": before_low, "before_high": before_high,
        "after": after, "after_low": after_low, "after_high": after_high,
        "difference": after - before, "difference_low": low, "difference_high": high,
        "ratio": over(after, before), "ratio_low": over(after_low, before_high), "ratio_high": over(after_high, before_low),
        "distinguishable": distinguishable(low, high),
    }, index=aligned.layers.index)  # fmt: skip


def distinguishable(low: Floats, high: Floats) -> pd.arrays.BooleanArray:
    """True where a difference with these ends is surely not 0, NA where an end is not known."""
    return pd.arrays.BooleanArray((low > 0) | (high < 0), np.isnan(low) | np.isnan(high))


def ends(aligned: Alignment, profile: int, metric: str) -> tuple[Floats, Floats, Floats]:
    """Value, low and high end of each row; see the module for rows without layers. Without an interval the ends are NaN."""
    value = aligned.column(profile, metric).to_numpy(float)
    low, high = (aligned.column(profile, end).to_numpy(float) for end in INTERVALS.get(metric, (metric, metric)))
    if metric not in INTERVALS:
        low, high = np.full(len(value), np.nan), np.full(len(value), np.nan)
    if metric in SUMMED:
        absent = aligned.column(profile, "layers").isna().to_numpy()
        value, low, high = (np.where(absent, 0.0, numbers) for numbers in (value, low, high))
    return value, low, high


def whole(aligned: Alignment, profile: int, metric: str) -> tuple[float, float, float]:
    """What the column sums to, with its interval.

    Of the latency that is the interval of the plain runs, end to end, where the column sums to their median; of others the added ends.
    """
    value, low, high = ends(aligned, profile, metric)
    total = float(np.nansum(value))
    if metric != "latency_ms":
        return total, float(low.sum()), float(high.sum())
    told = aligned.profiles[profile].context.latency
    if told.median_ms is None or told.low_ms is None or told.high_ms is None or not math.isclose(told.median_ms, total, rel_tol=1e-3):
        return total, math.nan, math.nan
    return total, told.low_ms, told.high_ms


def over(value: Floats, base: Floats) -> Floats:
    """``value / base`` where both are above zero, else NaN: a correction can be as large as the time that was read."""
    both = (value > 0) & (base > 0)
    return np.where(both, value, np.nan) / np.where(both, base, np.nan)
