"""View data of the heatmap: layers x metrics, layers x runs. Drawn by ``static/heatmap.js`` and `heatmap_picture`.

1. Numbers travel as typed arrays in one block of bytes, texts as JSON; ``meta["arrays"]`` says where each array lies.
2. A metric without any number has no column; a single missing number stays NaN and is drawn as not measured.
3. The ``(between layers)`` row comes along as the last row and belongs to no scale: it may be negative.
4. Runs are the instrumented ones, in the order they ran. More than ``max_columns`` are put together in bins of equal
   size that restart at each block; the view says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof.analysis.groups import ADDITIVE
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

_INTERVALS = {"latency_ms": ("latency_low_ms", "latency_high_ms"), "energy_mj": ("energy_low_mj", "energy_high_mj")}
_TEXT_COLUMNS = ("op_type", "kind", "provider", "precision", "output_shape", "energy_method")
_LOG_SPREAD = 50
_MIN_RATIO_LIMIT = 1.25  # a quiet run must look quiet: noise of a few percent stays near the middle of the scale


def heatmap(profile: Profile) -> ViewData:
    """Layers x metrics of ``profile``, with all that the header, the hover card and the linked table say."""
    layers = profile.layers
    columns = [schema.column(name) for name in METRIC_COLUMNS if _worth_a_column(name, layers)]
    hover = [name for name in HOVER_COLUMNS if layers[name].notna().any()]
    arrays: dict[str, NDArray[Any]] = {name: layers[name].to_numpy(_precision(name)) for name in (*(c.name for c in columns), *hover)}
    texts: dict[str, list[str]] = {}
    for name in _TEXT_COLUMNS:
        codes, values = pd.factorize(layers[name])
        arrays[name], texts[name] = codes.astype(np.uint16), [str(value) for value in values]
    names = [str(name) for name in layers["name"]]
    measured = profile.measured_layers
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
            }
            for c in columns
        ],
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


def heatmap_runs(profile: Profile, *, statistic: Statistic = "max", max_columns: int = 160, max_cells: int = 500_000) -> ViewData:
    """Layers x instrumented runs of ``profile``: latency in ms, each layer's median over all runs, and each run's whole latency.

    ``statistic`` puts the runs of a bin together; with ``max`` an outlier is never hidden.
    """
    rows = len(profile.layers)
    runs = profile.runs[profile.runs["instrumented"]].sort_values("run")
    if profile.spans.empty:
        runs = runs.iloc[:0]
    columns = max(1, min(max_columns, max_cells // max(rows, 1)))
    bins, size = _bins(runs["block"].to_numpy(), columns)
    latency = _span_matrix(profile.spans, runs["run"].to_numpy(), rows)
    binned = _reduce(latency, bins, statistic)
    whole = _reduce(runs["latency_ms"].to_numpy()[None, :], bins, statistic)[0]
    median = _nan_median(latency)
    both = (binned > 0) & (median[:, None] > 0)  # a correction can be as large as the time that was read
    ratio = np.abs(np.log2(binned / np.where(both, median[:, None], 1.0), where=both, out=np.full(binned.shape, np.nan)))
    seen = binned[np.isfinite(binned) & (binned > 0)]
    finite = ratio[np.isfinite(ratio)]
    meta = {
        "view": "heatmap-runs",
        "columns": _run_columns(runs, bins),
        "runs": len(runs),
        "runs_per_column": size,
        "statistic": statistic,
        "ratio_limit": max(_MIN_RATIO_LIMIT, min(4.0, 2 ** float(np.quantile(finite, 0.995)))) if finite.size else _MIN_RATIO_LIMIT,
        "range_ms": [float(np.quantile(seen, 0.005)), float(seen.max())] if seen.size else [0.0, 1.0],
    }
    arrays = {"ms": binned.ravel(), "median_ms": median, "run_ms": whole}
    return pack(meta, {name: values.astype(np.float32) for name, values in arrays.items()})


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


def _precision(name: str) -> type[np.floating[Any]]:
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
