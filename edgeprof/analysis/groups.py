"""The layer table summed by operator, with an interval that is not a sum of intervals."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pandas as pd

from edgeprof.records.profile import Profile
from edgeprof.records.schema import BETWEEN_LAYERS

ADDITIVE = ("latency_ms", "latency_raw_ms", "share", "macs", "param_bytes", "activation_bytes", "energy_mj")
"""Metrics whose sum over layers means something."""

GROUP_COLUMNS = ("op_type", "layers", "timed_layers", "latency_low_ms", "latency_high_ms", *ADDITIVE)

_RESAMPLES = 200
_FEWEST_BLOCKS = 4
"""With fewer blocks of runs a bootstrap over blocks says next to nothing: then the interval is NaN."""

Floats = npt.NDArray[np.float64]


_known: WeakKeyDictionary[Profile, pd.DataFrame] = WeakKeyDictionary()  # figures and tables of a report ask for the same


def by_op_type(profile: Profile) -> pd.DataFrame:
    """One row an op_type, most time first; then a row ``(between layers)``, so that latencies add up to the plain median.

    1. A sum is over the layers that have a number, NaN when none has. ``timed_layers`` of ``layers`` have a latency.
    2. ``latency_low_ms`` and ``latency_high_ms`` are a 95 % interval of the sum. Intervals of layers must not be added: what
       differs from block to block partly cancels. So whole blocks of runs are drawn again (bootstrap) and the sum made anew.
       What a layer's own interval holds beyond its bootstrap is the calibration of the instrument; it errs the same way
       for all layers, so that part is added, and the two are joined as independent: never wider than the added intervals.
    3. The interval is NaN with fewer than 4 blocks, or where a layer of the group has none or was not seen in every run. A group
       of one layer has that layer's own.
    """
    if profile not in _known:
        _known[profile] = _summed(profile)
    return _known[profile].copy()


def _summed(profile: Profile) -> pd.DataFrame:
    layers = profile.measured_layers
    grouped = layers.groupby("op_type", sort=True)
    table = grouped[list(ADDITIVE)].sum(min_count=1)
    table.insert(0, "layers", grouped.size())
    table.insert(1, "timed_layers", grouped["latency_ms"].count())
    below, above = _half_widths(profile, layers, list(table.index))
    for end, offset in (("latency_low_ms", -below), ("latency_high_ms", above)):
        table[end] = (table["latency_ms"] + offset).where(table["layers"] > 1, grouped[end].first())
    table = table.reset_index().sort_values("latency_ms", ascending=False, na_position="last", kind="stable")
    return pd.concat([table, _between_row(profile)], ignore_index=True)[list(GROUP_COLUMNS)]


def _between_row(profile: Profile) -> pd.DataFrame:
    row = profile.layers[profile.layers["kind"] == "between"].copy()
    row["op_type"] = BETWEEN_LAYERS
    return row.assign(layers=0, timed_layers=0)[list(GROUP_COLUMNS)]


def _half_widths(profile: Profile, layers: pd.DataFrame, op_types: list[str]) -> tuple[Floats, Floats]:
    """How far each group's interval reaches below and above its latency, in ms; NaN where there is none."""
    timed = layers[layers["latency_ms"].notna()]
    times = _layers_by_blocks(profile, timed["index"].to_numpy())
    if timed.empty or times.shape[1] < _FEWEST_BLOCKS:
        return np.full(len(op_types), np.nan), np.full(len(op_types), np.nan)
    member = np.equal.outer(np.asarray(op_types, dtype=object), timed["op_type"].to_numpy(dtype=object)).astype(float)
    own_below = (timed["latency_ms"] - timed["latency_low_ms"]).to_numpy()
    own_above = (timed["latency_high_ms"] - timed["latency_ms"]).to_numpy()
    unknown = np.isnan(times).any(axis=1) | np.isnan(own_below) | np.isnan(own_above)
    times = np.nan_to_num(times)
    rng, blocks = np.random.default_rng(0), times.shape[1]
    draws = np.array([np.median(times[:, rng.integers(blocks, size=blocks)], axis=1) for _ in range(_RESAMPLES)])
    middle = np.median(times, axis=1)
    no_interval = (member @ unknown > 0) | (member.sum(axis=1) == 0)
    ends = []
    for quantile, own in ((0.025, own_below), (0.975, own_above)):
        alone = np.abs(np.quantile(draws, quantile, axis=0) - middle)
        together = np.abs(np.quantile(draws @ member.T, quantile, axis=0) - member @ middle)
        common = member @ np.sqrt(np.maximum(np.nan_to_num(own) ** 2 - alone**2, 0))
        ends.append(np.where(no_interval, np.nan, np.minimum(np.hypot(together, common), member @ np.nan_to_num(own))))
    return ends[0], ends[1]


def _layers_by_blocks(profile: Profile, layer_ids: npt.NDArray[np.int64]) -> Floats:
    """Corrected times in ms, (layers, blocks): the layer's part of the block's plain time, times the plain median of all.

    Means are of the middle half. NaN where a layer was not seen in every run of a block; no block without plain runs.
    """
    grid = profile.spans.pivot_table(index="layer", columns="run", values="latency_ms", aggfunc="sum").reindex(index=layer_ids)
    runs = profile.runs.set_index("run")
    plain = {block: _midmean(rows["latency_ms"].to_numpy()) for block, rows in runs[~runs["instrumented"]].groupby("block")}
    seen = runs.loc[runs.index.isin(grid.columns), "block"]
    blocks = [block for block in seen.unique() if plain.get(block, 0) > 0]
    whole = float(np.median(list(plain.values()))) if plain else 1.0
    parts = [_midmean(grid[seen.index[seen == block]].to_numpy(dtype=float)) * (whole / plain[block]) for block in blocks]
    return np.stack(parts, axis=1) if parts else np.empty((len(layer_ids), 0))


def _midmean(values: Floats) -> Any:
    """Mean of the middle half along the last axis; NaN where one is NaN."""
    ordered = np.sort(values, axis=-1)
    cut = values.shape[-1] // 4
    middle = ordered[..., cut : values.shape[-1] - cut].mean(axis=-1)
    return np.where(np.isnan(values).any(axis=-1), np.nan, middle)
