"""Who holds memory when: buffers and their lives, live bytes by layer, the owners of the peak, a static plan of an arena.

1. A buffer is the tensors that share one piece of memory, each working in place of the one before.
2. Inputs are held by the caller, and so is what works in place of one: they count in nothing.
3. A tensor whose size is not known (NaN) counts in no sum; the sums say how many such there were.
4. The runtime may hold more than the tensors that are alive (buffers kept for reuse, rounding up): that rest has a row of its own.
   It may also hold less than was counted (a tensor freed or never made): then the row is negative, and the owners still sum to the peak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof.records.profile import Profile

Basis = Literal["measured", "counted", "estimated", "simulated"]
"""``measured`` by the runtime while it ran, ``counted`` from the shapes of the executed graph, ``estimated`` for a changed model, or
told by a ``simulated`` board."""

_COUNTED = ("shapes", "counted", "liveness")
"""Words in the source of a column whose numbers nobody measured."""

WORKSPACE = "(workspace)"
HELD = "(held by the runtime for reuse)"
HELD_UNKNOWN_WORKSPACE = "(workspace, and held by the runtime for reuse)"
NOT_TOLD_APART = "(not told apart: the profile has no tensors)"
COUNTED_BEYOND = "(counted above, but not held at that moment)"
TO_THE_END = "(end of the run)"
"""Last consumer of an output of the model: it is kept for the caller."""

ALIGNMENT_BYTES = 16
"""Offsets of a plan are multiples of it, as in TFLite Micro's arena."""

_EXACT = 2.0**53
_BUFFER_COLUMNS = ("tensor", "tensors", "makers", "kind", "dtype", "shape", "size_bytes", "first", "last", "at_peak")
_OWNER_COLUMNS = ("tensor", "tensors", "kind", "size_bytes", "share", "producer", "last_consumer")


@dataclass(frozen=True)
class Peak:
    """The most that activations and workspace took at once; ``layer`` is the position of the layer that ran, -1 when not known."""

    bytes: float
    layer: int
    basis: Basis


@dataclass(frozen=True, eq=False)
class ArenaPlan:
    """Where each buffer lies in one block of memory that is laid out before the run.

    ``buffers`` is `buffers` without those of the caller, with ``offset_bytes`` (NaN where the size is not known). The block takes
    ``size_bytes``; no plan takes less than ``least_bytes``, the most that is alive at once.
    """

    buffers: pd.DataFrame
    size_bytes: float
    least_bytes: float


def buffers(profile: Profile) -> pd.DataFrame:
    """One row a buffer, in the order in which they are made.

    ``tensor`` is the first that lies in it, ``tensors`` all of them and ``makers`` the positions of the layers that make them (-1: the
    caller). It lives from layer ``first`` to layer ``last``, both included. ``kind``: input, activation, or output when any of its tensors
    is one. ``size_bytes`` is that of its largest tensor.
    """
    table = profile.tensors
    made, needed = _lives(profile)
    groups = _sharers(table["storage"].to_numpy(), made)
    producer, last = made.tolist(), needed.tolist()
    # lists: a model may have ten thousand tensors, and single numbers out of arrays are slow
    names, kinds, dtypes, shapes, at_peak = (table[name].tolist() for name in ("tensor", "kind", "dtype", "shape", "at_peak"))
    size = known_bytes(table["size_bytes"].to_numpy()).tolist()
    rows = []
    for members in groups:
        first = members[0]
        largest = max(members, key=lambda row: -1.0 if math.isnan(size[row]) else size[row])
        kind = "input" if producer[first] < 0 else "output" if any(kinds[row] == "output" for row in members) else "activation"
        rows.append((
            names[first], [names[row] for row in members], [producer[row] for row in members], kind, dtypes[largest], shapes[largest],
            size[largest], max(0, producer[first]), max(last[row] for row in members), any(at_peak[row] for row in members),
        ))  # fmt: skip
    found = pd.DataFrame(rows, columns=list(_BUFFER_COLUMNS))
    return found.astype({"size_bytes": float, "first": int, "last": int, "at_peak": bool})


def live_curve(profile: Profile) -> pd.DataFrame:
    """Bytes by layer: what the tensors alive take by their shapes, and what the runtime said it held.

    ``tensors_bytes`` is NaN where the profile has no tensors; ``unsized`` counts those alive whose size is not known. ``held_bytes`` is
    what the runtime held beyond the tensors (negative: less than was counted). The other columns are those of the layer table.
    """
    layers = profile.measured_layers
    n = len(layers)
    held = buffers(profile)
    held = held[held["kind"] != "input"]
    known = held["size_bytes"].notna()
    counted = _alive(held[known], held.loc[known, "size_bytes"].to_numpy(), n)
    curve = pd.DataFrame({
        "layer": layers["name"].to_numpy(),
        "tensors_bytes": counted if len(profile.tensors) else np.full(n, math.nan),
        "unsized": _alive(held[~known], np.ones(int((~known).sum())), n).astype(np.int64),
    })  # fmt: skip
    for name in ("live_memory_bytes", "peak_memory_bytes", "workspace_bytes"):
        curve[name] = known_bytes(layers[name].to_numpy())
    curve["held_bytes"] = curve["live_memory_bytes"] - curve["tensors_bytes"]
    return curve


def peak_bytes(profile: Profile) -> tuple[float, Basis] | None:
    """Bytes of `model_peak` and where they are from, read from the context alone; None where that does not say them."""
    said = _one_size(profile.context.memory.peak_bytes)
    return None if math.isnan(said) else (float(said), basis_of(profile, "peak_memory_bytes"))


def model_peak(profile: Profile) -> Peak | None:
    """The peak of activations and workspace over the whole run: as the runtime said it, else counted; None when neither is known."""
    curve = live_curve(profile)
    memory = profile.context.memory
    peaks = curve["peak_memory_bytes"].fillna(curve["live_memory_bytes"])
    said = _one_size(memory.peak_bytes)
    if math.isnan(said) and peaks.notna().any():
        said = float(peaks.max())
    if not math.isnan(said):
        named = np.flatnonzero((curve["layer"] == memory.peak_layer).to_numpy())
        layer = int(named[0]) if len(named) else int(np.nanargmax(peaks)) if peaks.notna().any() else -1
        return Peak(float(said), layer, basis_of(profile, "peak_memory_bytes"))
    counted = curve["tensors_bytes"] + curve["workspace_bytes"].fillna(0)
    if not counted.notna().any():
        return None
    layer = int(np.nanargmax(counted))
    return Peak(float(counted.iloc[layer]), layer, "estimated" if profile.basis == "estimated" else "counted")


def basis_of(profile: Profile, column: str) -> Basis:
    """Where the numbers of a memory column come from, by `context.memory.sources`: anything static was counted, not measured."""
    if profile.basis == "estimated":
        return "estimated"
    source = profile.context.memory.sources.get(column, "").lower()
    if any(word in source for word in _COUNTED):
        return "counted"
    return "simulated" if profile.basis == "simulated" else "measured"


def peak_owners(profile: Profile) -> pd.DataFrame:
    """Who owns the peak of `model_peak`: largest buffer first, then workspace, then what the runtime held beyond; sums to the peak.

    ``tensors`` names all that share the buffer. ``producer`` and ``last_consumer`` are names of layers; the last consumer of an output is
    `TO_THE_END`. A buffer of unknown size has NaN bytes and is part of what no tensor explains. Empty when no peak is known.
    """
    peak = model_peak(profile)
    if peak is None:
        return pd.DataFrame([], columns=list(_OWNER_COLUMNS)).astype({"size_bytes": float, "share": float})
    names = [str(name) for name in profile.measured_layers["name"]]
    alive = buffers_at(profile, peak).sort_values("size_bytes", ascending=False, kind="stable", na_position="last")
    columns = (alive[name] for name in ("tensor", "tensors", "kind", "size_bytes", "first", "last"))
    rows: list[tuple[str, list[str], str, float, str, str]] = [
        (tensor, tensors, kind, size, names[first] if names else "", _consumer(kind, last, names))
        for tensor, tensors, kind, size, first, last in zip(*columns, strict=True)
    ]
    workspace = known_bytes(profile.measured_layers["workspace_bytes"].to_numpy())[peak.layer] if peak.layer >= 0 else math.nan
    if workspace > 0:
        rows.append((WORKSPACE, [], "workspace", workspace, names[peak.layer], names[peak.layer]))
    rest = peak.bytes - float(alive["size_bytes"].sum()) - float(np.nan_to_num(workspace))
    if rest:
        rows.append((_rest_name(profile, rest, workspace), [], "held", rest, "", ""))
    owners = pd.DataFrame(rows, columns=[name for name in _OWNER_COLUMNS if name != "share"])
    owners.insert(4, "share", owners["size_bytes"] / peak.bytes if peak.bytes else math.nan)
    return owners


def buffers_at(profile: Profile, peak: Peak) -> pd.DataFrame:
    """The buffers that are alive at the peak, those of the caller left out.

    A measured peak goes by what was recorded to be alive then (``at_peak``), where anything was; else lives are counted by layer.
    """
    held = buffers(profile)
    held = held[held["kind"] != "input"]
    if peak.basis in ("measured", "simulated") and held["at_peak"].any():
        return held[held["at_peak"]]
    return held[(held["first"] <= peak.layer) & (held["last"] >= peak.layer)]


def arena_plan(profile: Profile) -> ArenaPlan:
    """Offsets such that no two buffers that are alive at once overlap, by greedy assignment, largest buffer first.

    Each buffer goes into the smallest gap that fits between those it meets. This is "Greedy by Size for Offset Calculation" of
    Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference (arXiv:2001.03288), as TFLite's memory planner does it.
    What a runtime with an arena of its own, such as ONNX Runtime, really does may differ.
    """
    held = buffers(profile)
    held = held[held["kind"] != "input"].reset_index(drop=True)
    known = np.flatnonzero(held["size_bytes"].notna())
    size = held["size_bytes"].to_numpy()[known].astype(np.int64)
    first, last = held["first"].to_numpy()[known], held["last"].to_numpy()[known]
    offsets = np.full(len(held), math.nan)
    offsets[known] = greedy_offsets(size, first, last)
    alive = _alive(held.iloc[known], size.astype(float), len(profile.measured_layers))
    end = offsets[known] + size
    return ArenaPlan(held.assign(offset_bytes=offsets), float(end.max(initial=0)), float(alive.max(initial=0)))


def greedy_offsets(size: NDArray[np.int64], first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """Offset in bytes of each buffer, see `arena_plan`; all arrays are (buffers,)."""
    offsets = np.zeros(len(size), np.int64)
    placed = np.empty((4, len(size)), np.int64)  # offset, end, first and last of those placed, by offset
    for k, i in enumerate(np.lexsort((first, -size))):
        start, end, begins, ends = placed[:, :k]
        met = (begins <= last[i]) & (ends >= first[i])
        offsets[i] = offset = _smallest_gap(start[met], end[met], int(size[i]))
        at = int(np.searchsorted(start, offset))
        placed[:, at + 1 : k + 1] = placed[:, at:k].copy()
        placed[:, at] = offset, -(-(offset + int(size[i])) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES, first[i], last[i]
    return offsets


def known_bytes(values: NDArray[Any]) -> NDArray[np.float64]:
    """Sizes as they can be counted with: what is negative, infinite or beyond exact integers was not measured."""
    numbers = np.asarray(values, float)
    return np.where((numbers >= 0) & (numbers < _EXACT), np.round(numbers), math.nan)


def _one_size(value: float | None) -> float:
    return float(known_bytes(np.array([math.nan if value is None else value]))[0])


def _smallest_gap(start: NDArray[np.int64], end: NDArray[np.int64], size: int) -> int:
    """Where ``size`` bytes fit best among blocks that are ordered by ``start``: in the smallest gap, else behind all."""
    if not len(start):
        return 0
    free_from = np.concatenate([[0], np.maximum.accumulate(end)])
    gap = start - free_from[:-1]
    fits = gap >= size
    return int(free_from[np.argmin(np.where(fits, gap, np.iinfo(np.int64).max))] if fits.any() else free_from[-1])


def _lives(profile: Profile) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Position of the layer that makes each tensor (-1: the caller) and of the last that needs it, within the layers there are."""
    table, end = profile.tensors, max(0, len(profile.measured_layers) - 1)
    outside = (table["kind"] == "input").to_numpy()
    producer = np.where(outside, -1, np.clip(table["producer"].to_numpy(np.int64), 0, end))
    return producer, np.clip(table["last_use"].to_numpy(np.int64), np.maximum(producer, 0), end)


def _sharers(storage: NDArray[np.int32], producer: NDArray[np.int64]) -> list[list[int]]:
    """Rows by the memory they lie in, in the order they are made; a row that points nowhere lies in its own."""
    own = np.arange(len(storage))
    root = np.where((storage >= 0) & (storage < len(storage)), storage, own)
    for _ in range(len(storage).bit_length()):  # each step doubles how far a chain is followed
        root = root[root]
    groups: dict[int, list[int]] = {}
    order = np.argsort(producer, kind="stable")
    for row, start in zip(order.tolist(), root[order].tolist(), strict=True):
        groups.setdefault(start, []).append(row)
    return list(groups.values())


def _alive(held: pd.DataFrame, amounts: NDArray[np.float64], layers: int) -> NDArray[np.float64]:
    """Sum of ``amounts`` over the buffers alive in each layer."""
    change = np.zeros(layers + 1)
    if layers:
        np.add.at(change, held["first"].to_numpy(), amounts)
        np.subtract.at(change, held["last"].to_numpy() + 1, amounts)
    return np.cumsum(change)[:layers]


def _consumer(kind: str, last: int, names: list[str]) -> str:
    return TO_THE_END if kind == "output" else names[last] if names else ""


def _rest_name(profile: Profile, rest: float, workspace: float) -> str:
    if rest < 0:
        return COUNTED_BEYOND
    if not len(profile.tensors):
        return NOT_TOLD_APART
    return HELD_UNKNOWN_WORKSPACE if math.isnan(workspace) else HELD
