"""The layer table put together: by operator with an interval that is not a sum of intervals, or by any grouping of its rows.

`Grouping` says which rows belong together, `aggregate` what their numbers are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pandas as pd

from edgeprof.analysis.blocks import block_paths
from edgeprof.records.profile import Profile
from edgeprof.records.schema import BETWEEN_LAYERS

ADDITIVE = ("latency_ms", "latency_raw_ms", "share", "macs", "param_bytes", "activation_bytes", "energy_mj")
"""Metrics whose sum over layers means something."""

LARGEST = ("peak_memory_bytes", "workspace_bytes")
"""Metrics of which a group has the largest of its layers."""

ADDED_ENDS = ("latency_low_ms", "latency_high_ms", "energy_low_mj", "energy_high_mj")
"""Ends of intervals, which `aggregate` adds: wider than the interval of the sum, never narrower."""

AGGREGATED = (*ADDITIVE, *ADDED_ENDS, *LARGEST, "power_mw", "arithmetic_intensity")
"""Metrics that a group of layers has; others, such as percentiles, have no meaning for several layers together."""

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


# ---- any grouping ----

BLOCK_SHARE = 1 / 3
"""A block with a larger share of the layers is told apart into the blocks inside it."""

_FEWEST_TO_SPLIT = 12
_OUTSIDE = "(outside of blocks)"


@dataclass(frozen=True)
class Grouping:
    """Rows that belong together: the ``names`` of the groups, and for each row the position of its group; -1 belongs to none."""

    names: tuple[str, ...]
    codes: npt.NDArray[np.int64]

    @property
    def tells(self) -> bool:
        """Whether it puts anything together, and tells anything apart."""
        return 2 <= len(self.names) < int((self.codes >= 0).sum())


def group_by_op_type(layers: pd.DataFrame) -> Grouping:
    """Layers of an operator together, in the order in which the operators first ran; the row between layers belongs to none."""
    return _grouping(layers, [str(op) for op in layers["op_type"]])


def group_by_block(layers: pd.DataFrame) -> Grouping:
    """Layers of a block together, by their paths: ``/block1/conv/Conv`` lies in ``block1``.

    A block that holds more than `BLOCK_SHARE` of the layers (an ``encoder`` of twelve equal ones) is told apart into those inside it.
    """
    own = (layers["kind"] != "between").to_numpy()
    names = [str(name) for name in layers["name"][own]]
    paths = block_paths(names, [str(op) for op in layers["op_type"][own]], [list(nodes) for nodes in layers["source_nodes"][own]])
    if not any(paths):  # a flat model has no blocks
        return Grouping((), np.full(len(layers), -1))
    keys = iter(_block_names(paths))
    return _grouping(layers, [next(keys) if mine else "" for mine in own])


def _block_names(paths: Sequence[tuple[str, ...]]) -> list[str]:
    depth = [1] * len(paths)
    too_many = max(_FEWEST_TO_SPLIT, BLOCK_SHARE * len(paths))
    while True:
        sizes = Counter(path[:d] for path, d in zip(paths, depth, strict=True))
        inside = defaultdict(set)
        for path, d in zip(paths, depth, strict=True):
            inside[path[:d]].add(path[: d + 1])
        deeper = [
            d + (sizes[path[:d]] > too_many and len(path) > d and len(inside[path[:d]]) * 2 <= max(2, sizes[path[:d]]))
            for path, d in zip(paths, depth, strict=True)
        ]
        if deeper == depth:
            return ["/".join(path[:d]) or _OUTSIDE for path, d in zip(paths, depth, strict=True)]
        depth = deeper


def _grouping(layers: pd.DataFrame, keys: Sequence[str]) -> Grouping:
    own = (layers["kind"] != "between").to_numpy()
    codes = np.full(len(layers), -1)
    codes[own], names = pd.factorize(np.asarray(keys, dtype=object)[own])
    return Grouping(tuple(str(name) for name in names), codes)


def aggregate(layers: pd.DataFrame, grouping: Grouping) -> pd.DataFrame:
    """One row a group: ``layers``, ``timed_layers`` (those with a latency) and the metrics of `AGGREGATED`.

    1. Sums are over the layers that have a number, NaN when none has.
    2. Ends of intervals are added; NaN where a layer with a number has none.
    3. Memory is that of the largest layer. Power is the mean, weighted by latency, of the layers that have both.
    4. Arithmetic intensity is that of all layers with MACs and bytes together.
    """
    count = len(grouping.names)
    rows = layers[grouping.codes >= 0].reset_index(drop=True)
    grouped = rows.groupby(grouping.codes[grouping.codes >= 0])
    made = pd.DataFrame(index=pd.RangeIndex(count))
    for name, counts in (("layers", grouped.size()), ("timed_layers", grouped["latency_ms"].count())):
        made[name] = counts.reindex(made.index, fill_value=0).astype(np.int64)
    made[list(ADDITIVE)] = grouped[list(ADDITIVE)].sum(min_count=1)
    made[list(LARGEST)] = grouped[list(LARGEST)].max()
    for end in ADDED_ENDS:
        of = "latency_ms" if end.startswith("latency") else "energy_mj"
        ends = grouped[end].sum(min_count=1)
        made[end] = ends.where(grouped[end].count() >= grouped[of].count())
    made["power_mw"] = _ratio_of_sums(rows, rows["power_mw"] * rows["latency_ms"], rows["latency_ms"], grouped)
    made["arithmetic_intensity"] = _ratio_of_sums(rows, 2 * rows["macs"], rows["param_bytes"] + rows["activation_bytes"], grouped)
    return made


def _ratio_of_sums(rows: pd.DataFrame, above: pd.Series, below: pd.Series, grouped: Any) -> pd.Series:
    both = above.notna() & below.notna() & (below > 0)
    group = grouped.ngroup()
    return above.where(both).groupby(group).sum(min_count=1) / below.where(both).groupby(group).sum(min_count=1)
