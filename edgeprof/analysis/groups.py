"""The layer table summed by operator, with an interval that is not a sum of intervals."""

from __future__ import annotations

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


_known: WeakKeyDictionary[Profile, pd.DataFrame] = WeakKeyDictionary()  # the bootstrap takes half a second for 500 layers x 100 runs


def by_op_type(profile: Profile) -> pd.DataFrame:
    """One row an op_type, most time first; then a row ``(between layers)``, so that latencies add up to the plain median.

    1. A sum is over the layers that have a number, NaN when none has. ``timed_layers`` of ``layers`` have a latency.
    2. ``latency_low_ms`` and ``latency_high_ms`` are a 95 % interval of the sum: layers of one run rise and fall together,
       so their intervals must not be added. Blocks of runs are drawn again instead (bootstrap) and the medians summed anew.
       It holds what differs from run to run and block to block, not an error that the correction makes each time.
       NaN with fewer than 4 blocks, or where a layer of the group was not seen in every run. A group of one layer has
       that layer's own interval.
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
    low, high = _group_intervals(profile, layers, list(table.index))
    for end, offset in (("latency_low_ms", low), ("latency_high_ms", high)):
        table[end] = (table["latency_ms"] + offset).where(table["layers"] > 1, grouped[end].first())
    table = table.reset_index().sort_values("latency_ms", ascending=False, na_position="last", kind="stable")
    return pd.concat([table, _between_row(profile)], ignore_index=True)[list(GROUP_COLUMNS)]


def _between_row(profile: Profile) -> pd.DataFrame:
    row = profile.layers[profile.layers["kind"] == "between"].copy()
    row["op_type"] = BETWEEN_LAYERS
    return row.assign(layers=0, timed_layers=0)[list(GROUP_COLUMNS)]


def _group_intervals(profile: Profile, layers: pd.DataFrame, op_types: list[str]) -> tuple[Floats, Floats]:
    """Lower and upper end of each group's interval, less the group's latency; NaN where there is none."""
    nothing = np.full(len(op_types), np.nan)
    timed = layers[layers["latency_ms"].notna()]
    latency, block = _runs_by_layers(profile, timed["index"].to_numpy())
    blocks = np.unique(block)
    if timed.empty or len(blocks) < _FEWEST_BLOCKS:
        return nothing, nothing
    member = np.equal.outer(np.asarray(op_types, dtype=object), timed["op_type"].to_numpy(dtype=object)).astype(float)
    unknown = (member @ np.isnan(latency).any(axis=1) > 0) | (member.sum(axis=1) == 0)
    latency = np.nan_to_num(latency)
    where = [np.flatnonzero(block == b) for b in blocks]
    rng = np.random.default_rng(0)
    draws = (np.concatenate([where[i] for i in rng.integers(len(blocks), size=len(blocks))]) for _ in range(_RESAMPLES))
    sums = np.array([member @ np.median(latency[:, rows], axis=1) for rows in draws])
    low, high = np.quantile(sums, [0.025, 0.975], axis=0) - member @ np.median(latency, axis=1)
    return np.where(unknown, np.nan, np.minimum(low, 0)), np.where(unknown, np.nan, np.maximum(high, 0))


def _runs_by_layers(profile: Profile, layer_ids: npt.NDArray[np.int64]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Corrected times (layers, runs), NaN where a layer was not seen in a run, and the block of each run."""
    grid = profile.spans.pivot_table(index="layer", columns="run", values="latency_ms", aggfunc="sum").reindex(index=layer_ids)
    block = profile.runs.set_index("run")["block"].reindex(grid.columns)
    known = block.notna().to_numpy()
    return grid.to_numpy(dtype=float)[:, known], block[known].to_numpy(dtype=np.int64)
