"""View data of the difference between two profiles: a waterfall of where the time went, and rows side by side.

Drawn by ``static/difference.js`` and `difference_picture`.

1. A waterfall begins at the baseline's whole, ends at the other's, and loses nothing on the way: the rows that differ most, the rest of
   them together, what was inserted, what is measured of one profile only, and what no layer explains.
2. Rows can be put together by op type or by block (the first part of their names that differs). Ends of intervals are added.
3. How many rows stand alone is chosen in the view: ``rest`` holds what the others sum to, for each number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.analysis.align import INTERVALS, SUMMED, Alignment, align_variants
from edgeprof.analysis.difference import difference as differences
from edgeprof.analysis.difference import distinguishable, over, whole
from edgeprof.errors import UsageError
from edgeprof.figures.boards import baseline_position, check_metric, heading, known_metrics, origin_word, ran
from edgeprof.figures.labels import interval
from edgeprof.figures.numbers import format_of, show
from edgeprof.figures.view import ViewData, pack, themes
from edgeprof.records.profile import Profile
from edgeprof.records.schema import column

GROUPINGS = {"row": "Layers", "op_type": "Op types", "block": "Blocks"}
KINDS = ("layer", "inserted", "between", "one-sided")
"""Of a row or group: how it stands in the waterfall. ``one-sided``: of one of the profiles it was not measured."""

_LAYER, _INSERTED, _BETWEEN, _ONE_SIDED = range(4)


def difference(
    profiles: Sequence[Profile] | Alignment, *, metric: str = "latency_ms", baseline: str | None = None, other: str | None = None
) -> ViewData:
    """Where ``metric`` of the profile called ``other`` differs from that called ``baseline``.

    Without names they are the first profile and the first that is not the baseline.
    """
    aligned = profiles if isinstance(profiles, Alignment) else align_variants(profiles)
    check_metric(aligned, metric)
    first, second = pair(aligned, baseline, other)
    rows = differences(aligned, baseline=first, other=second, metric=metric)
    rows["kind"] = _kinds(aligned, rows)
    arrays: dict[str, NDArray[Any]] = {}
    groups = {}
    for name, codes, names in _groupings(aligned):
        told = rows if name == "row" else _grouped(rows, codes, aligned, (first, second), metric)
        groups[name] = {"title": GROUPINGS[name], "names": [] if name == "row" else names}
        arrays |= {f"{name} {key}": values for key, values in _arrays(told).items()}
        arrays[f"{name} group"] = codes.astype(np.uint32)
    texts: dict[str, list[str]] = {}
    for name in ("op_type", "kind"):
        codes, values = pd.factorize(aligned.layers[name])
        arrays[name], texts[name] = codes.astype(np.uint16), [str(value) for value in values]
    texts["ran"] = ran(aligned, arrays)
    names = list(aligned.layers["name"])
    described = column(metric)
    return pack(
        {
            "view": "difference",
            "title": f"{aligned.labels[second]} against {aligned.labels[first]}: {described.title.lower()} of {aligned.title}",
            "header": _header(aligned, first, second, metric),
            "findings": [],
            "metric": metric,
            "metric_title": described.title,
            "unit": described.unit,
            "format": format_of(metric),
            "summed": metric in SUMMED,
            "sides": [_side(aligned, at, metric) for at in (first, second)],
            "groups": groups,
            "kinds": KINDS,
            "menus": _menus(aligned, metric, first, second),
            "names": names,
            "texts": texts,
            "sources": {str(i): s for i, (n, s) in enumerate(zip(names, aligned.layers["source_nodes"], strict=True)) if s and s != [n]},
            "themes": themes(texts["op_type"]),
        },
        arrays,
    )


def pair(aligned: Alignment, baseline: str | None, other: str | None) -> tuple[int, int]:
    """Positions of baseline and other; UsageError for a label that there is not, and for twice the same."""
    first = baseline_position(aligned, baseline)
    if other is None:
        return first, int(first == 0)
    second = baseline_position(aligned, other)
    if first == second:
        raise UsageError(f"Both sides are {other!r}. Compare two of: {'; '.join(aligned.labels)}.")
    return first, second


def _inserted(aligned: Alignment) -> NDArray[np.bool_]:
    """Rows that belong to no node of the model."""
    layers = aligned.layers
    return ((layers["kind"] == "inserted") & (layers["source_nodes"].str.len() == 0)).to_numpy(bool)


def _kinds(aligned: Alignment, rows: pd.DataFrame) -> NDArray[np.uint8]:
    """Positions in `KINDS`. A row that neither profile has a number for says nothing, and stays where it is."""
    between = aligned.layers["kind"] == "between"
    one = rows["difference"].isna() & (rows["before"].notna() | rows["after"].notna())
    found = np.select([between, one, _inserted(aligned)], [_BETWEEN, _ONE_SIDED, _INSERTED], _LAYER)
    return np.asarray(found, np.uint8)


def _groupings(aligned: Alignment) -> list[tuple[str, NDArray[np.int64], list[str]]]:
    """Each way to put rows together that has at least two groups: its name, each row's group, the groups' names.

    What was inserted and what lies between layers stay rows of their own.
    """
    layers = aligned.layers
    own = [str(name) for name in layers["name"]]
    found = [("row", np.arange(len(own)), own)]
    apart = _inserted(aligned) | (layers["kind"] == "between").to_numpy(bool)
    for way, labels in (("op_type", [str(op) or "(no op type)" for op in layers["op_type"]]), ("block", _blocks(own, apart))):
        codes, names = pd.factorize(
            np.array([name if alone else label for label, name, alone in zip(labels, own, apart, strict=True)], object)
        )
        if 2 <= len(names) - apart.sum() < len(own) - apart.sum():
            found.append((way, codes, [str(name) for name in names]))
    return found


def _blocks(names: Sequence[str], apart: NDArray[np.bool_]) -> list[str]:
    """The first part of each name that is not the same in all, with what stands before it: ``/block1`` of ``/block1/conv/Conv``."""
    parts = [name.strip("/").split("/") if "/" in name else name.split(".") for name in names]
    own = [part[:-1] for part, alone in zip(parts, apart, strict=True) if not alone]
    shared = 0
    while own and all(len(part) > shared + 1 for part in own) and len({part[shared] for part in own}) == 1:
        shared += 1
    return [
        ("/" + "/".join(part[: shared + 1]) if "/" in name else ".".join(part[: shared + 1])) if len(part) > shared + 1 else name
        for part, name in zip(parts, names, strict=True)
    ]


def _grouped(rows: pd.DataFrame, codes: NDArray[np.int64], aligned: Alignment, positions: tuple[int, int], metric: str) -> pd.DataFrame:
    """``rows`` put together: sums, or the largest where a sum means nothing; ends of intervals added, NaN where a part has none."""
    sums = rows.drop(columns=["kind", "distinguishable"]).groupby(codes)
    one_sided = pd.Series(rows["kind"] == _ONE_SIDED).groupby(codes).any()
    if metric in SUMMED:
        made = sums.sum(min_count=1)
        for name in (n for n in made.columns if n.endswith(("_low", "_high"))):
            made[name] = made[name].where(sums[name].count() == sums[name].size())
    else:
        made = sums.max()
        made["difference"] = made["after"] - made["before"]
    made["ratio"] = over(made["after"].to_numpy(), made["before"].to_numpy())
    made["ratio_low"] = over(made["after_low"].to_numpy(), made["before_high"].to_numpy())
    made["ratio_high"] = over(made["after_high"].to_numpy(), made["before_low"].to_numpy())
    made["distinguishable"] = distinguishable(made["difference_low"].to_numpy(float), made["difference_high"].to_numpy(float))
    kind = pd.Series(rows["kind"].to_numpy()).groupby(codes).min()
    made["kind"] = np.where(one_sided & (kind != _BETWEEN), _ONE_SIDED, kind).astype(np.uint8)
    made.loc[one_sided, "difference"] = np.nan
    return made


def _arrays(told: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Numbers of rows or groups; ``order`` puts those that stand alone first, by how much they differ; ``rest`` is what is left of them."""
    numbers = {name: told[name].to_numpy(np.float32) for name in told.columns if name not in ("kind", "distinguishable")}
    moved = told["difference"].to_numpy(float)
    shown = np.flatnonzero((told["kind"] == _LAYER).to_numpy() & ~np.isnan(moved))
    order = shown[np.argsort(-np.abs(moved[shown]), kind="stable")]
    rest = {
        f"rest{end}": np.append(np.cumsum(told[f"difference{end}"].to_numpy(float)[order][::-1])[::-1], 0.0)
        for end in ("", "_low", "_high")
    }
    return {
        **numbers, **rest, "order": order.astype(np.uint32), "kind": told["kind"].to_numpy(np.uint8),
        "moved": np.nan_to_num(told["after"].to_numpy(float)) - np.nan_to_num(told["before"].to_numpy(float)),
        "same": (~told["distinguishable"].fillna(True)).to_numpy(np.uint8),
    }  # fmt: skip


def _side(aligned: Alignment, position: int, metric: str) -> dict[str, Any]:
    """One of the two profiles: what it is called, and its whole with its interval."""
    profile = aligned.profiles[position]
    numbers = whole(aligned, position, metric) if metric in SUMMED else (math.nan,) * 3
    total, low, high = (None if math.isnan(number) else number for number in numbers)
    return {
        "label": aligned.labels[position], "total": total, "low": low, "high": high, "origin": origin_word(profile),
        "estimated": profile.basis == "estimated", "hatched": profile.basis != "measured", "ran": f"ran {position}",
    }  # fmt: skip


def _header(aligned: Alignment, first: int, second: int, metric: str) -> dict[str, Any]:
    """The heading of several profiles; its number is the difference of the whole."""
    made = heading(aligned, metric)
    against = f"{aligned.labels[second]} against {aligned.labels[first]}"
    if metric not in SUMMED:
        return {**made, "number": "", "number_note": against}
    (before, before_low, before_high), (after, after_low, after_high) = (whole(aligned, at, metric) for at in (first, second))
    number = signed(metric, after - before, after_low - before_high, after_high - before_low)
    ratio = f", {units.significant(after / before, 3)}×" if before > 0 and after > 0 else ""
    same = "; the intervals overlap" if after_low <= before_high and before_low <= after_high else ""
    return {**made, "number": number + ratio, "number_note": f"{against}: {show(before, metric)} to {show(after, metric)}{same}"}


def signed(metric: str, value: float, low: float = math.nan, high: float = math.nan) -> str:
    """A difference as a person reads it, with its sign and, where there is one, its interval: ``−0.43 ms [−0.45, −0.41]``."""
    text = interval(metric, value, low, high) if metric in INTERVALS else show(value, metric)
    return ("+" * (value > 0) + text).replace("-", "−")


def _menus(aligned: Alignment, metric: str, first: int, second: int) -> list[dict[str, Any]]:
    """Choices that only Python can answer: what is compared, and of more than two profiles, which."""
    metrics = {name: column(name).title for name in known_metrics(aligned) if _has_both(aligned, name, first, second)}
    menus = [{"name": "metric", "title": "Metric", "choices": metrics, "value": metric}] if len(metrics) > 1 else []
    if len(aligned.labels) < 3:
        return menus
    labels = {label: label for label in aligned.labels}
    sides = [("baseline", "From", first, second), ("other", "To", second, first)]
    return [
        *menus,
        *(
            {"name": name, "title": title, "value": aligned.labels[at], "choices": labels, "not": aligned.labels[no]}
            for name, title, at, no in sides
        ),
    ]  # fmt: skip


def _has_both(aligned: Alignment, metric: str, first: int, second: int) -> bool:
    return metric == "latency_ms" or all(aligned.column(at, metric).notna().any() for at in (first, second))
