"""View data of the icicle: layers from left to right in the order they ran, as wide as their time, under the blocks that hold them.

1. A measure is what widths say: latency, or another one that may be summed (energy, MACs, bytes). A layer without a number,
   or with one below zero, has no width; the view says how many there are.
2. A block is drawn once for each stretch of layers that ran one after the other in it. One whose layers are all in one
   block within it shares its bar with that, and one that holds a single layer gets no bar.
3. ``(between layers)`` stands apart at the end: as wide as its time, or as text where it is negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof.analysis.blocks import block_paths, leaf, shared_path
from edgeprof.analysis.groups import ADDITIVE
from edgeprof.analysis.names import visible
from edgeprof.analysis.sources import is_estimate, meaning_of, title_of
from edgeprof.figures.heatmap import scales
from edgeprof.figures.numbers import format_of
from edgeprof.figures.theme import THEMES, op_family
from edgeprof.figures.view import ViewData, end_to_end, header, pack, themes
from edgeprof.records import schema
from edgeprof.records.profile import Profile

MEASURES = tuple(name for name in ADDITIVE if name not in ("latency_raw_ms", "share"))
"""What widths can say: the metrics whose sum over layers means something."""

CATEGORIES = {"op_family": "Op family", "precision": "Precision", "provider": "Provider", "kind": "Kind"}
"""What tells layers apart by colour, beside metrics."""

METRICS = ("latency_ms", "energy_mj", "power_mw", "macs", "arithmetic_intensity", "param_bytes", "activation_bytes", "peak_memory_bytes")
"""Metrics that can be a colour."""

_INTERVALS = {"latency_ms": ("latency_low_ms", "latency_high_ms"), "energy_mj": ("energy_low_mj", "energy_high_mj")}
_EXACT = {*MEASURES, *(name for pair in _INTERVALS.values() for name in pair)}
_PALETTE = (
    "convolution",
    "matrix",
    "activation",
    "attention",
    "pooling",
    "normalization",
    "elementwise",
    "recurrent",
    "quantization",
    "movement",
)


def icicle(profile: Profile) -> ViewData:
    """Layers of ``profile`` in the order they ran, the blocks that hold them, and the numbers that make widths and colours."""
    layers = profile.layers.reset_index(drop=True)
    measured = layers["kind"] != "between"
    names = [str(name) for name in layers["name"]]
    blocks, leaves = _blocks(layers[measured])
    arrays: dict[str, NDArray[Any]] = dict(blocks.pop("arrays"))
    texts: dict[str, list[str]] = {"block": blocks.pop("texts")}
    columns = [name for name in dict.fromkeys((*METRICS, *MEASURES)) if layers.loc[measured, name].notna().any()]
    ends = [end for name in columns for end in _INTERVALS.get(name, ()) if layers[end].notna().any()]
    for name in (*columns, *ends):
        arrays[name] = layers[name].to_numpy(np.float64 if name in _EXACT else np.float32)
    for name in ("op_type", "op_family", "kind", "precision", "provider"):
        values = layers["op_type"].map(op_family) if name == "op_family" else layers[name]
        codes, uniques = pd.factorize(values)
        arrays[name], texts[name] = codes.astype(np.uint16), [str(value) for value in uniques]
    several = {name for name in CATEGORIES if len(set(arrays[name][measured])) > 1}
    categories = {name: title for name, title in CATEGORIES.items() if name == "op_family" or name in several}
    meta = {
        "view": "icicle",
        "title": profile.title,
        "header": header(profile, *end_to_end(profile)),
        "findings": [{"severity": f.severity, "text": f.text} for f in profile.findings],
        "names": names,
        "leaves": leaves,
        "texts": texts,
        "depth": blocks["depth"],
        "columns": [_column(profile, name, layers.loc[measured, name]) for name in columns],
        "measures": [name for name in MEASURES if name in columns],
        "categories": categories,
        "estimated": profile.basis == "estimated",
        "sources": {str(i): list(s) for i, (n, s) in enumerate(zip(names, layers["source_nodes"], strict=True)) if list(s) != [n]},
        "themes": _themes(texts),
    }
    return pack(meta, arrays)


def edges(values: NDArray[Any]) -> NDArray[np.float64]:
    """Where each layer begins and ends, shape ``(len(values) + 1,)``; what is not measured or below zero has no width."""
    wide = np.where(np.isfinite(values) & (np.asarray(values) > 0), values, 0.0)
    return np.concatenate([[0.0], np.cumsum(wide)])


def _column(profile: Profile, name: str, values: pd.Series) -> dict[str, Any]:
    column = schema.column(name)
    return {
        "name": name, "title": title_of(profile, name), "unit": column.unit, "meaning": meaning_of(profile, name),
        "format": format_of(name), "scale": scales(values)["auto"],
        "interval": [end for end in _INTERVALS.get(name, ()) if profile.layers[end].notna().any()],
        "estimated": profile.basis == "estimated" or is_estimate(profile, name),
    }  # fmt: skip


def _blocks(layers: pd.DataFrame) -> tuple[dict[str, Any], list[str]]:
    """Bars of the blocks, ordered by level and by time, and what each layer is called within the innermost bar that holds it.

    Arrays: ``block`` (code of its text), ``block_level`` (row, from 0), ``block_first`` and ``block_end`` (layers, end not included).
    """
    names = [str(name) for name in layers["name"]]
    paths = block_paths(names, [str(op) for op in layers["op_type"]], [list(nodes) for nodes in layers["source_nodes"]])
    bars: list[tuple[int, int, int, str]] = []
    leaves = list(names)
    todo = [(0, len(paths), 0, 0)] if paths else []  # first layer, end, how much of the paths is spent, row of bars
    while todo:
        first, end, spent, level = todo.pop()
        for start, stop in _stretches(paths, first, end, spent):
            if stop - start == 1:
                leaves[start] = leaf(names[start], paths[start][:spent])
                continue
            deep = len(shared_path(paths[start:stop]))
            bars.append((level, start, stop, "/".join(paths[start][spent:deep])))
            todo.append((start, stop, deep, level + 1))
    bars.sort(key=lambda bar: bar[:2])
    codes, uniques = pd.factorize(pd.Series([bar[3] for bar in bars], dtype=object))
    arrays = {
        "block": codes.astype(np.uint32),
        "block_level": np.array([bar[0] for bar in bars], np.uint8),
        "block_first": np.array([bar[1] for bar in bars], np.uint32),
        "block_end": np.array([bar[2] for bar in bars], np.uint32),
    }
    depth = 1 + max((bar[0] for bar in bars), default=-1)
    return {"arrays": arrays, "texts": [str(text) for text in uniques], "depth": depth}, [visible(text) for text in leaves]


def _stretches(paths: list[tuple[str, ...]], first: int, end: int, spent: int) -> list[tuple[int, int]]:
    """``[first, end)`` cut where the block at depth ``spent`` changes; layers that lie in none there stand alone."""
    cuts = [first]
    for i in range(first + 1, end):
        here, before = paths[i][spent : spent + 1], paths[i - 1][spent : spent + 1]
        if here != before or not here:
            cuts.append(i)
    return list(zip(cuts, [*cuts[1:], end], strict=True))


def _themes(texts: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Colours of both themes, with one for each value of each category."""
    result = themes(texts["op_type"])
    for name, theme in THEMES.items():
        result[name]["op_family"] = [theme.families[family] for family in texts["op_family"]]
        for category in ("precision", "provider", "kind"):
            result[name][category] = [theme.families[_PALETTE[i % len(_PALETTE)]] for i in range(len(texts[category]))]
    return result
