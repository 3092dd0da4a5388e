"""Why INT8 is not faster: where the time of a changed model went, beside the model it was made from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from edgeprof import units
from edgeprof.analysis.doctor.base import CONVERSIONS, FLOAT, INT8, Case, Cost, Diagnosis, diagnosis, finite, many
from edgeprof.analysis.names import listed, shorten
from edgeprof.records.profile import Profile

FASTER = 0.95
"""A layer that takes more than this part of what it took before has not become faster."""


DISTURBED = frozenset({"busy", "drift", "throttled", "under-voltage", "memory-pressure", "incomplete"})
"""Findings that say a measurement was not made in peace: two such profiles cannot be told apart by a model's change alone."""


@dataclass(frozen=True)
class _Balance:
    """Rows of both models: ``name``, ``before``, ``after`` (ms, NaN where there is none) and ``what`` they are now."""

    rows: pd.DataFrame

    def sum(self, chosen: pd.Series[bool], column: str = "after") -> float:
        return finite(float(self.rows.loc[chosen, column].sum()))


def against_baseline(case: Case) -> Iterator[Diagnosis]:
    """One diagnosis that says where the time went.

    1. Layers are those of the baseline that carry out nodes of the same names, as `edgeprof.analysis.align` brings them together.
    2. What is only in one of the two models (conversions, reorders) stands for itself.
    3. A layer is slower when the intervals say so too; else it is as slow as before.
    4. The cost is what conversions and inserted layers take beyond those of the baseline, and what layers take more than before.
    """
    aligned = case.aligned
    if aligned is None or case.baseline is None:
        return
    table = aligned.layers
    before, after = (aligned.column(profile, "latency_ms").map(finite) for profile in (0, 1))
    layers = table["kind"] == "layer"
    names = [_called(case, name, nodes) for name, nodes in zip(table["name"], table["source_nodes"], strict=True)]
    balance = _Balance(pd.DataFrame({"name": names, "before": before, "after": after, "what": _now(case, aligned.cells, len(table))}))
    moves = table["kind"].eq("inserted") | balance.rows["what"].eq("conversion")
    common = layers & ~moves & before.notna() & after.notna()
    if not common.any():
        yield _nothing_in_common(case, case.baseline)
        return
    apart = ~(aligned.column(1, "latency_low_ms") <= aligned.column(0, "latency_high_ms"))  # true where an interval is not known
    slower = common & (after >= before) & apart
    same = common & ~slower & (after > FASTER * before)
    left = common & balance.rows["what"].eq("float")
    conversions = balance.sum(balance.rows["what"].eq("conversion"))
    inserted = balance.sum(table["kind"].eq("inserted") & ~balance.rows["what"].eq("conversion"))
    inserted -= balance.sum(table["kind"].eq("inserted"), "before")
    worse = balance.sum(slower) - balance.sum(slower, "before")
    cost = Cost(finite(max(0.0, conversions) + max(0.0, inserted) + worse))
    old, new = Case(case.baseline).total_ms, case.total_ms
    ratio = finite(old / new)
    yield diagnosis(
        "against-baseline",
        "warning" if ratio <= 1 else "info",
        "Why it is not faster than the baseline" if ratio <= 1 else "What keeps it from being faster still",
        _text(case, balance, slower, same, left, conversions, inserted, worse, old, new),
        balance.rows.loc[slower | same, "name"],
        {
            "baseline_ms": old, "model_ms": new, "times_as_fast": ratio, "matched_layers": int(common.sum()),
            "faster_layers": int((common & ~slower & ~same).sum()), "slower_layers": int(slower.sum()), "slower_by_ms": worse,
            "unchanged_layers": int(same.sum()), "conversions_ms": conversions, "inserted_ms": inserted, "float_layers": int(left.sum()),
            "float_ms": balance.sum(left), "won_ms": finite(balance.sum(common & ~slower, "before") - balance.sum(common & ~slower)),
            "same_conditions": "no" if _differs(case) else "yes",
        },
        cost,
        _experiment(balance, slower, left, conversions, inserted, worse),
    )  # fmt: skip


def _called(case: Case, name: str, nodes: list[str]) -> str:
    """What a recipe can call a row: its name where that is a node's, else the first of its nodes that computes."""
    if name in case.layer:
        return name
    own = [node for node in nodes if node in case.layer and case.layer[node].op_type not in CONVERSIONS]
    return next(iter([*own, *nodes]), name)


def _now(case: Case, cells: pd.DataFrame, rows: int) -> list[str]:
    """What each row is in the changed model: conversion, int8, float or nothing."""
    of: dict[str, tuple[str, str]] = {}
    table = case.profile.layers
    for runtime, name, op_type, precision in zip(table["runtime_name"], table["name"], table["op_type"], table["precision"], strict=True):
        of.setdefault(runtime or name, (op_type, precision))
    found = [""] * rows
    own = cells[cells["profile"] == 1]
    for position, ran in zip(own["row"], own["ran"], strict=True):
        told = [of[name] for name in ran if name in of]
        types = {precision for op_type, precision in told if op_type not in CONVERSIONS}
        found[position] = "conversion" if told and not types else "int8" if types & INT8 else "float" if types & FLOAT else ""
    return found


def _text(
    case: Case, balance: _Balance, slower: pd.Series[bool], same: pd.Series[bool], left: pd.Series[bool],
    conversions: float, inserted: float, worse: float, old: float, new: float,
) -> str:  # fmt: skip
    """Two sentences; a third where the two profiles cannot be compared as they are."""
    parts = []
    if conversions > 0:
        parts.append(f"Q/DQ take {units.latency(conversions)}")
    if inserted > 0:
        parts.append(f"reorders, casts and transposes {units.latency(inserted)} more")
    if slower.any():
        lost = (balance.rows["after"] - balance.rows["before"])[slower].sort_values(ascending=False)
        name = shorten(str(balance.rows.loc[lost.index, "name"].iloc[0]))
        parts.append(f"{many(int(slower.sum()), 'layer')} became slower by {units.latency(worse)} in all (most {name})")
    if same.any():
        parts.append(f"{many(int(same.sum()), 'layer')} stayed as slow")
    if left.any() and any(row.precision in INT8 for row in case.rows):
        parts.append(
            f"{many(int(left.sum()), 'layer')} in float {'takes' if left.sum() == 1 else 'take'} {units.latency(balance.sum(left))}"
        )
    whole = f"The model takes {units.latency(new)}, the baseline {units.latency(old)}"
    ratio = finite(old / new)
    told = f"{whole}, {units.significant(ratio, 3)} times as fast." if ratio > 0 else f"{whole}."
    where = f" Of that time: {'; '.join(parts)}." if parts else " No layer became slower, and nothing was added."
    differs = _differs(case)
    return f"{told}{where}" + (
        f" The two may have been measured under different conditions ({listed(differs)}): measure both alike." if differs else ""
    )


def _experiment(
    balance: _Balance, slower: pd.Series[bool], left: pd.Series[bool], conversions: float, inserted: float, worse: float
) -> str:
    if worse >= max(conversions, inserted, 0.0) and slower.any():
        lost = (balance.rows["after"] - balance.rows["before"])[slower].sort_values(ascending=False)
        return f'Leave {listed(balance.rows.loc[lost.index, "name"], most=2)} in float (precision = "fp32" in a recipe) and measure again.'
    if conversions >= max(inserted, 0.0) and conversions > 0:
        return "See qdq-unfused: quantize what stands between conversions, or leave both sides in float."
    if inserted > 0:
        return "See layout-reorders, casts and transposes: bring what stands between them to one precision."
    if left.any():
        longest = balance.rows.loc[left].sort_values("after", ascending=False)["name"]
        return f'Quantize {listed(longest, most=2)} as well (precision = "int8" in a recipe), and look at the accuracy.'
    return "Profile both once more with more runs, to see whether the difference holds."


def _differs(case: Case) -> list[str]:
    """Conditions that make times of the two incomparable."""
    if case.baseline is None:
        return []
    ours, theirs = case.profile.context, case.baseline.context
    pairs: Mapping[str, tuple[object, object]] = {
        "board": (ours.board, theirs.board), "threads": (ours.threads, theirs.threads), "runtime": (ours.runtime, theirs.runtime),
        "runtime version": (ours.runtime_version, theirs.runtime_version), "providers": (ours.providers, theirs.providers),
        "optimization": (ours.optimization, theirs.optimization),
    }  # fmt: skip
    disturbed = {finding.id for one in (case.profile, case.baseline) for finding in one.findings} & DISTURBED
    return [*(name for name, (a, b) in pairs.items() if a != b), *sorted(disturbed)]


def _nothing_in_common(case: Case, baseline: Profile) -> Diagnosis:
    text = "No layer of the baseline has nodes of the same names as this model, so nothing can be said layer by layer."
    experiment = (
        "Give the profile of the very model that this one was made from; edgeprof keeps the names of nodes when it quantizes or prunes."
    )
    evidence = {"baseline_ms": Case(baseline).total_ms, "model_ms": case.total_ms, "matched_layers": 0}
    return diagnosis("against-baseline", "info", "The baseline is another model", text, (), evidence, Cost(math.nan), experiment)
