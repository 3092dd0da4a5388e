"""Which channels matter least: a number for each label, the smaller the sooner it goes.

1. ``l1``, ``l2``: sum of absolute values, or root of the sum of squares, of all weights that make the channel, its bias included (Li et
   al., "Pruning Filters for Efficient ConvNets", ICLR 2017). Where a BatchNormalization follows directly, of the weights with it folded in.
2. ``activation``: mean absolute value that the layers after it see on the data.

Each layer's numbers are divided by their mean over the group's channels and added up over its layers, so that a layer with large weights
does not decide alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof.datasets import Dataset
from edgeprof.models.graph import Layer
from edgeprof.recipes.pruning.constants import Constants
from edgeprof.recipes.pruning.groups import Coupling, Group
from edgeprof.recipes.pruning.labels import Ids

Values = NDArray[np.float64]
_MOST_AT_ONCE = 1 << 22


def by_weights(coupling: Coupling, group: Group, constants: Constants, kind: str) -> dict[int, float]:
    """Importance of each label of the group, ``kind`` l1 or l2."""
    power = 1 if kind == "l1" else 2
    parts = [(coupling.made[name], _of_layer(coupling, name, constants, power)) for name in group.layers]
    return _together(parts, power)


def by_activations(coupling: Coupling, groups: Iterable[Group], model: Any, data: Dataset) -> dict[str, dict[int, float]]:
    """The same by group, from what ``model`` computes for the data."""
    from edgeprof import running

    takers = {edit.layer for edit in coupling.flow.sliced if edit.role == "takes"}
    wanted = {group.name: set(np.concatenate([coupling.made[name] for name in group.layers]).tolist()) for group in groups}
    seen: dict[str, tuple[str, Ids, int]] = {}
    for layer in coupling.flow.graph.layers:
        axis = -1 if layer.op_type in ("MatMul", "Gemm") else 1
        axes = coupling.flow.axes.get(layer.inputs[0]) if layer.name in takers else None
        ids = None if axes is None else axes[axis]
        if ids is not None:
            seen[layer.inputs[0]] = (layer.inputs[0], coupling.flow.labels.roots(ids), axis)
    sums = {name: np.zeros(len(ids)) for name, ids, _ in seen.values()}
    changed = running.with_outputs(model, list(seen)).SerializeToString()
    total = 0
    for found, count in running.batches_of(changed, data, list(seen)):
        for name, _, axis in seen.values():
            value = np.abs(found[name].astype(np.float64))
            sums[name] += value.mean(axis=tuple(one for one in range(value.ndim) if one != axis % value.ndim)) * count
        total += count
    parts = [(ids, sums[name] / total) for name, ids, _ in seen.values()]
    return {
        name: _together([(ids, values) for ids, values in parts if labels & set(ids.tolist())], 1, labels)
        for name, labels in wanted.items()
    }


def _together(parts: Iterable[tuple[Ids, Values]], power: int, only: set[int] | None = None) -> dict[int, float]:
    """Sum over layers of each label's number, divided by their mean in that layer."""
    found: dict[int, float] = {}
    for ids, values in parts:
        labels, where = np.unique(ids, return_inverse=True)
        sums = np.bincount(where, weights=values**power) ** (1 / power)
        mine = np.array([only is None or label in only for label in labels.tolist()])
        mean = float(sums[mine].mean()) if mine.any() else 0.0
        for label, value in zip(labels[mine].tolist(), sums[mine].tolist(), strict=True):
            found[label] = found.get(label, 0.0) + (value / mean if mean > 0 else 0.0)
    return found


def _of_layer(coupling: Coupling, name: str, constants: Constants, power: int) -> Values:
    """(channels,) norm of the weights that make each output channel."""
    layer = next(layer for layer in coupling.flow.graph.layers if layer.name == name)
    edit = next(edit for edit in coupling.flow.sliced if edit.layer == name and edit.role == "makes")
    sums = _power_sums(constants.value(layer.inputs[edit.input]), edit.axis, power)
    n = len(coupling.made[name])
    if len(sums) != n:  # ConvTranspose: the same for each group
        sums = np.resize(sums, n)
    bias = _bias(coupling, layer, n, constants)
    scale, shift = _normalisation(coupling, layer, constants, n)
    return (sums * np.abs(scale) ** power + np.abs(bias * scale + shift) ** power) ** (1 / power)


def _bias(coupling: Coupling, layer: Layer, n: int, constants: Constants) -> Values:
    if len(layer.inputs) > 2 and layer.inputs[2] and layer.op_type != "MatMul":
        value = np.asarray(constants.value(layer.inputs[2]), np.float64)
        return value.reshape(-1) if value.size == n else np.zeros(n)
    if layer.op_type == "MatMul":
        after = coupling.only_user(layer.outputs[0])
        if after is not None and after.op_type == "Add":
            other = next((one for one in after.inputs if one != layer.outputs[0]), "")
            if coupling.flow.is_constant(other):
                value = np.asarray(constants.value(other), np.float64)
                return value.reshape(-1) if value.size == n else np.zeros(n)
    return np.zeros(n)


def _normalisation(coupling: Coupling, layer: Layer, constants: Constants, n: int) -> tuple[Values, Values]:
    """Factor and term of the BatchNormalization that follows."""
    after = coupling.only_user(layer.outputs[0])
    if after is None or after.op_type != "BatchNormalization" or not all(coupling.flow.is_constant(one) for one in after.inputs[1:5]):
        return np.ones(n), np.zeros(n)
    scale, shift, mean, variance = (np.asarray(constants.value(one), np.float64) for one in after.inputs[1:5])
    factor = scale / np.sqrt(np.maximum(variance, 0) + float(after.attributes.get("epsilon", 1e-5)))  # type: ignore[arg-type]
    return factor, shift - mean * factor


def _power_sums(weights: Any, axis: int, power: int) -> Values:
    """(size of the axis,) sums of abs(w)^power over all else, a part at a time."""
    moved = np.moveaxis(weights, axis, 0)
    step = max(1, _MOST_AT_ONCE // max(1, moved[0].size if len(moved) else 1))
    parts = [
        (np.abs(moved[start : start + step].reshape(len(moved[start : start + step]), -1).astype(np.float64)) ** power).sum(axis=1)
        for start in range(0, len(moved), step)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)
