"""View data of the heatmap: layers x metrics, layers x runs. Drawn by ``static/heatmap.js`` and `heatmap_picture`.

1. Numbers travel as typed arrays in one block of bytes, texts as JSON; ``meta["arrays"]`` says where each array lies.
2. A metric without any number has no column; a single missing number stays NaN and is drawn as not measured.
3. The ``(between layers)`` row comes along as the last row and belongs to no scale: it may be negative.
4. Runs are the instrumented ones, in the order they ran. More than ``max_columns`` are put together in bins of equal
   size that restart at each block; the view says so.
5. Layers can be put together by op type or by block: ``meta["groups"]`` names the groups of each way, an array the group of each layer, and
   ``GROUP: COLUMN`` holds the groups' numbers. They have scales of their own: a sum is larger than all that is in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof.analysis.groups import ADDITIVE, AGGREGATED, Grouping, aggregate, group_by_block, group_by_op_type
from edgeprof.analysis.sources import meaning_of, title_of
from edgeprof.figures.numbers import format_of
from edgeprof.figures.view import ViewData, end_to_end, header, pack, themes
from edgeprof.records import schema
from edgeprof.records.profile import Profile

Statistic = Literal["max", "median"]

METRIC_COLUMNS = (
    "latency_ms", "share", "latency_p95_ms", "energy_mj", "power_mw", "macs", "arithmetic_intensity", "param_bytes",
    "activation_bytes", "peak_memory_bytes", "workspace_bytes", "calls",
)  # fmt: skip
"""Columns of the metrics view, in their order on the screen."""

HOVER_COLUMNS = ("latency_low_ms", "latency_high_ms", "latency_raw_ms", "energy_low_mj", "energy_high_mj")
"""Numbers that only the hover card and the linked table show."""

GROUPINGS = {"op_type": "Op type", "block": "Block"}
"""Ways to put layers together, as `groupings` gives them."""

_INTERVALS = {"latency_ms": ("latency_low_ms", "latency_high_ms"), "energy_mj": ("energy_low_mj", "energy_high_mj")}
_TEXT_COLUMNS = ("op_type", "kind", "provider", "precision", "output_shape", "energy_method")
_LOG_SPREAD = 50
_MIN_RATIO_LIMIT = 1.25  # a quiet run must look quiet: noise of a few percent stays near the middle of the scale


def heatmap(profile: Profile) -> ViewData:
    """Layers x metrics of ``profile``, with all that the header, the hover card and the linked table say."""
    layers = profile.layers
    columns = [schema.column(name) for name in METRIC_COLUMNS if _worth_a_column(name, layers)]
    hover = [name for name in HOVER_COLUMNS if layers[name].notna().any()]
    arrays: dict[str, NDArray[Any]] = {name: layers[name].to_numpy(precision(name)) for name in (*(c.name for c in columns), *hover)}
    texts: dict[str, list[str]] = {}
    for name in _TEXT_COLUMNS:
        codes, values = pd.factorize(layers[name])
        arrays[name], texts[name] = codes.astype(np.uint16), [str(value) for value in values]
    names = [str(name) for name in layers["name"]]
    measured = profile.measured_layers
    groups = {key: _Groups(key, grouping, aggregate(layers, grouping)) for key, grouping in groupings(layers).items()}
    for group in groups.values():
        arrays |= group.arrays([*(c.name for c in columns), *hover])
    meta = {
        "view": "heatmap",
        "title": profile.title,
        "header": header(profile, *end_to_end(profile)),
        "findings": [{"severity": f.severity, "text": f.text} for f in profile.findings],
        "columns": [
            {
                "name": c.name,
                "title": title_of(profile, c.name),
                "unit": c.unit,
                "meaning": meaning_of(profile, c.name),
                "format": format_of(c.name),
                "scales": scales(measured[c.name]),
                "interval": [end for end in _INTERVALS.get(c.name, ()) if end in hover],
                "additive": c.name in ADDITIVE,
                "total": _total(c.name, layers),
                "group_scales": {key: scales(group.table[c.name]) for key, group in groups.items() if c.name in AGGREGATED},
            }
            for c in columns
        ],
        "groups": {key: group.meta for key, group in groups.items()},
        "meanings": {name: schema.column(name).meaning for name in hover},
        "names": names,
        "texts": texts,
        "parents": {str(i): str(parent) for i, parent in enumerate(layers["parent"]) if parent},
        # most layers carry out the one node that has their own name: only the others are sent
        "sources": {str(i): list(s) for i, (n, s) in enumerate(zip(names, layers["source_nodes"], strict=True)) if list(s) != [n]},
        "runtime_names": {str(i): str(r) for i, (n, r) in enumerate(zip(names, layers["runtime_name"], strict=True)) if r not in ("", n)},
        "themes": themes(texts["op_type"]),
        "instrumented_runs": int(profile.runs["instrumented"].sum()) if len(profile.spans) else 0,
    }
    return pack(meta, arrays)


def groupings(layers: pd.DataFrame) -> dict[str, Grouping]:
    """The ways in which these layers can be put together so that it tells something."""
    ways = {"op_type": group_by_op_type(layers), "block": group_by_block(layers)}
    return {key: grouping for key, grouping in ways.items() if grouping.tells}


@dataclass(frozen=True)
class _Groups:
    """A way to put layers together, and the table of `aggregate`."""

    key: str
    grouping: Grouping
    table: pd.DataFrame

    @property
    def meta(self) -> dict[str, Any]:
        return {"title": GROUPINGS[self.key], "names": list(self.grouping.names)}

    def arrays(self, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The group of each layer (65535: none), how many layers each has and how many were timed, and its numbers."""
        made: dict[str, NDArray[Any]] = {
            f"{self.key}: of": self.grouping.codes.astype(np.uint16 if len(self.grouping.names) < 1 << 16 else np.uint32),
            f"{self.key}: layers": self.table["layers"].to_numpy(np.uint32),
            f"{self.key}: timed_layers": self.table["timed_layers"].to_numpy(np.uint32),
        }
        return made | {f"{self.key}: {c}": self.table[c].to_numpy(precision(c)) for c in columns if c in AGGREGATED}


def _total(name: str, layers: pd.DataFrame) -> float | None:
    """What the column's numbers are shares of: their sum, the row between layers included; None where a sum means nothing."""
    total = float(layers[name].sum(min_count=1)) if name in ADDITIVE and name != "share" else math.nan
    return total if total > 0 else None


def heatmap_runs(profile: Profile, *, statistic: Statistic = "max", max_columns: int = 160, max_cells: int = 500_000) -> ViewData:
    """Layers x instrumented runs of ``profile``: latency in ms, each layer's median over all runs, and each run's whole latency.

    ``statistic`` puts the runs of a bin together; with ``max`` an outlier is never hidden. A group's latency in a run is the sum of its
    layers that ran. The runs of column ``k`` are ``run[first[k]:first[k + 1]]``.
    """
    ways = groupings(profile.layers)
    rows = len(profile.layers) + sum(len(grouping.names) for grouping in ways.values())
    runs = profile.runs[profile.runs["instrumented"]].sort_values("run")
    if profile.spans.empty:
        runs = runs.iloc[:0]
    columns = max(1, min(max_columns, max_cells // max(rows, 1)))
    bins, size = _bins(runs["block"].to_numpy(), columns)
    latency = _span_matrix(profile.spans, runs["run"].to_numpy(), len(profile.layers))
    binned = _reduce(latency, bins, statistic)
    whole = _reduce(runs["latency_ms"].to_numpy()[None, :], bins, statistic)[0]
    median = _nan_median(latency)
    both = (binned > 0) & (median[:, None] > 0)  # a correction can be as large as the time that was read
    ratio = np.abs(np.log2(binned / np.where(both, median[:, None], 1.0), where=both, out=np.full(binned.shape, np.nan)))
    finite = ratio[np.isfinite(ratio)]
    arrays = {"ms": binned.ravel(), "median_ms": median, "run_ms": whole}
    group_ranges = {}
    for key, grouping in ways.items():
        together = _sum_by_group(latency, grouping)
        grouped = _reduce(together, bins, statistic)
        arrays |= {f"{key}: ms": grouped.ravel(), f"{key}: median_ms": _nan_median(together)}
        group_ranges[key] = _range_ms(grouped)
    meta = {
        "view": "heatmap-runs",
        "columns": _run_columns(runs, bins),
        "runs": len(runs),
        "runs_per_column": size,
        "statistic": statistic,
        "ratio_limit": max(_MIN_RATIO_LIMIT, min(4.0, 2 ** float(np.quantile(finite, 0.995)))) if finite.size else _MIN_RATIO_LIMIT,
        "range_ms": _range_ms(binned),
        "group_ranges_ms": group_ranges,
    }
    first = np.flatnonzero(np.diff(bins, prepend=-1)) if len(bins) else bins
    numbers = {"run": runs["run"].to_numpy(np.uint32), "first": np.append(first, len(runs)).astype(np.uint32)}
    return pack(meta, {name: values.astype(np.float32) for name, values in arrays.items()} | numbers)


def scales(values: pd.Series) -> dict[str, dict[str, float | bool]]:
    """The column's colour scale by wish (``auto``, ``linear``, ``log``): ``{log, min, max, below}``.

    1. A linear scale starts at zero (or at the smallest number when that is negative).
    2. A logarithmic one starts at the 5th percentile of the positive numbers; ``below`` says that something lies below it.
    3. ``auto`` is logarithmic where the largest number is at least 50 times that start.
    """
    seen = values[np.isfinite(values)].to_numpy(float)
    linear: dict[str, float | bool] = {
        "log": False,
        "min": min(0.0, float(seen.min(initial=0))),
        "max": float(seen.max(initial=0)),
        "below": False,
    }
    positive = seen[seen > 0]
    if not positive.size or positive.min() == positive.max():
        return {"auto": linear, "linear": linear, "log": linear}
    start = float(np.quantile(positive, 0.05, method="lower"))
    log: dict[str, float | bool] = {"log": True, "min": start, "max": float(seen.max()), "below": bool((seen < start).any())}
    return {"auto": log if seen.max() >= _LOG_SPREAD * start else linear, "linear": linear, "log": log}


def place(values: NDArray[Any], scale: Mapping[str, float | bool]) -> NDArray[np.float64]:
    """Where ``values`` lie on a scale of `scales`, 0 to 1; NaN stays NaN."""
    low, high = float(scale["min"]), float(scale["max"])
    if high <= low:
        return np.where(np.isnan(values), np.nan, np.where(np.asarray(values) == 0, 0.0, 0.5))
    if scale["log"]:
        return np.asarray(np.clip((np.log(np.maximum(values, low)) - math.log(low)) / (math.log(high) - math.log(low)), 0, 1))
    return np.clip((np.asarray(values, float) - low) / (high - low), 0, 1)


def precision(name: str) -> type[np.floating[Any]]:
    """Seven digits are plenty to show, but how many are shown of a number with an interval depends on the interval's width."""
    return np.float64 if name in HOVER_COLUMNS or name in ("latency_ms", "energy_mj") else np.float32


def _worth_a_column(name: str, layers: pd.DataFrame) -> bool:
    values = layers.loc[layers["kind"] != "between", name]
    return bool((values > 1).any()) if name == "calls" else bool(values.notna().any())


def _bins(blocks: NDArray[np.int64], columns: int) -> tuple[NDArray[np.int64], int]:
    """Bin of each run, and the size of a bin: the smallest that gives at most ``columns`` bins."""
    n = len(blocks)
    if n <= columns:
        return np.arange(n), 1
    starts = np.flatnonzero(np.r_[True, blocks[1:] != blocks[:-1]])
    if len(starts) > columns:  # more blocks than columns: bins run across them
        size = math.ceil(n / columns)
        return np.arange(n) // size, size
    lengths = np.diff(np.r_[starts, n])
    size = next(k for k in range(2, n + 1) if np.ceil(lengths / k).sum() <= columns)
    place = np.arange(n) - np.repeat(starts, lengths)
    first = np.r_[True, place[1:] % size == 0]
    return np.cumsum(first) - 1, size


def _span_matrix(spans: pd.DataFrame, runs: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
    """Latency in ms, shape ``(rows, len(runs))``; NaN where a layer did not run."""
    matrix = np.full((rows, len(runs)), np.nan)
    if not len(runs):
        return matrix
    at = np.searchsorted(runs, spans["run"].to_numpy())
    layer = spans["layer"].to_numpy()
    known = (at < len(runs)) & (runs[np.minimum(at, len(runs) - 1)] == spans["run"].to_numpy()) & (layer >= 0) & (layer < rows)
    matrix[layer[known], at[known]] = spans["latency_ms"].to_numpy(np.float64)[known]
    return matrix


def _range_ms(latency: NDArray[np.float64]) -> list[float]:
    """From where to where colours of latencies reach."""
    seen = latency[np.isfinite(latency) & (latency > 0)]
    return [float(np.quantile(seen, 0.005)), float(seen.max())] if seen.size else [0.0, 1.0]


def _sum_by_group(latency: NDArray[np.float64], grouping: Grouping) -> NDArray[np.float64]:
    """Latency of each group in each run: of its layers that ran; NaN where none did."""
    together, ran = (np.zeros((len(grouping.names), latency.shape[1])) for _ in range(2))
    own = grouping.codes >= 0
    np.add.at(together, grouping.codes[own], np.nan_to_num(latency[own]))
    np.add.at(ran, grouping.codes[own], ~np.isnan(latency[own]))
    return np.where(ran > 0, together, np.nan)


def _reduce(matrix: NDArray[np.float64], bins: NDArray[np.int64], statistic: Statistic) -> NDArray[np.float64]:
    if not len(bins) or bins[-1] == len(bins) - 1:
        return matrix
    starts = np.flatnonzero(np.r_[True, bins[1:] != bins[:-1]])
    if statistic == "max":
        return np.asarray(np.fmax.reduceat(matrix, starts, axis=1))
    return np.stack([_nan_median(part) for part in np.split(matrix, starts[1:], axis=1)], axis=1)


def _nan_median(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of each row over its numbers; NaN for a row that has none (numpy would warn)."""
    some = ~np.isnan(matrix).all(axis=1) if matrix.shape[1] else np.zeros(len(matrix), bool)
    result = np.full(len(matrix), np.nan)
    if some.any():
        result[some] = np.nanmedian(matrix[some], axis=1)
    return result


def _run_columns(runs: pd.DataFrame, bins: NDArray[np.int64]) -> list[dict[str, Any]]:
    if runs.empty:
        return []
    grouped = runs.groupby(bins).agg(first=("run", "min"), last=("run", "max"), block=("block", "first"), outlier=("outlier", "any"))
    return [
        {"label": str(first) if first == last else f"{first}–{last}", "block": int(block), "outlier": bool(outlier)}
        for first, last, block, outlier in grouped.itertuples(index=False)
    ]
