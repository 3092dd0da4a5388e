"""Operators that give the same values in the same order another shape, and what is computed from sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeprof.models.graph import Layer
from edgeprof.recipes.pruning.labels import Axes, Element, Flow, Ids
from edgeprof.recipes.pruning.rules.common import elements_of, number, same


def size_of(flow: Flow, layer: Layer) -> None:
    """Shape: the result counts labels, and what becomes of it is followed."""
    axes = flow.of(layer.inputs[0])
    if axes is not None and any(ids is not None for ids in axes):
        counted: list[Element] = [*axes]
        flow.elements[layer.outputs[0]] = counted[number(layer, "start", 0) : number(layer, "end", len(axes))]


def squeeze(flow: Flow, layer: Layer) -> None:
    """Squeeze, Unsqueeze: a Reshape that names no sizes. Also of sizes."""
    if layer.inputs[0] in flow.elements:
        flow.elements[layer.outputs[0]] = flow.elements[layer.inputs[0]]
        return
    _reshaped(flow, layer)


def flatten(flow: Flow, layer: Layer) -> None:
    """Flatten: a Reshape that names no sizes."""
    _reshaped(flow, layer)


def reshape(flow: Flow, layer: Layer) -> None:
    """Axes that are merged or split take their labels along; sizes in its target are corrected.

    1. Merged: a label stands at as many positions as the other axes have together. At most one of the axes may have labels.
    2. Split: the labels of one of the new axes become one for each of its positions, unless they are already. In images, where height and
       width follow, that is the last of the new axes (a shuffle of channels keeps its groups), else the first (heads of attention), or the
       second of three where the first has a size of 2 or 3 (queries, keys and values in one).
    3. A size in a constant target is corrected; one that is computed is right by itself where it is computed from the same labels, and the
       whole target is written anew where only what was copied, -1 and such sizes are in it.
    """
    axes = flow.of(layer.inputs[0])
    _reshaped(flow, layer)
    after = flow.of(layer.outputs[0])
    target = flow.known.get(layer.inputs[1])
    if axes is None or after is None:
        flow.pin(layer, f"its channels go into '{layer.name}', whose shape is not known")
        return
    if target is not None:
        for position, ids in enumerate(after):
            if ids is not None and target[position] > 0:
                flow.count(layer, 1, position, ids)
            elif ids is not None and target[position] == 0 and not (position < len(axes) and _alike(flow, axes[position], ids)):
                flow.labels.pin(ids, f"'{layer.name}' copies a size from another axis")
        return
    _computed_target(flow, layer, axes, after)


def _computed_target(flow: Flow, layer: Layer, axes: Axes, after: Axes) -> None:
    elements = elements_of(flow, layer.inputs[1]) or [None] * len(after)
    wrong = [
        position
        for position, (ids, element) in enumerate(zip(after, elements, strict=False))
        if (ids is not None or isinstance(element, np.ndarray))
        and not (isinstance(element, int) and element == -1)
        and not (isinstance(element, np.ndarray) and ids is not None and same(flow, element, ids))
    ]
    if not wrong and len(elements) == len(after):
        return
    sizes, before = flow.shape(layer.outputs[0]), flow.shape(layer.inputs[0])
    base: list[int] = []
    for position, (ids, element) in enumerate(zip(after, [*elements, *[None] * len(after)], strict=False)):
        copied = before is not None and sizes is not None and position < len(before) and before[: position + 1] == sizes[: position + 1]
        if ids is not None:
            base.append(len(ids))
        elif isinstance(element, int):
            base.append(element)
        else:
            base.append(0 if copied and axes[position] is None else -1)
    if base.count(-1) > 1:
        flow.pin(layer, f"its channels are reshaped in '{layer.name}' to a shape that is computed")
        return
    for position, ids in enumerate(after):
        if ids is not None:
            flow.count(layer, 1, position, ids, base)


def _alike(flow: Flow, a: Ids | None, b: Ids | None) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and same(flow, a, b))


def _reshaped(flow: Flow, layer: Layer) -> None:
    """Sets the axes of an output that holds the same values in the same order."""
    axes, before, after = flow.of(layer.inputs[0]), flow.sizes(layer.inputs[0]), flow.sizes(layer.outputs[0])
    if axes is None or all(ids is None for ids in axes):
        return
    if before is None or after is None or not math.prod(before) or math.prod(before) != math.prod(after):
        flow.pin(layer, f"its channels go into '{layer.name}', whose shape is not known")
        return
    out: Axes = [None] * len(after)
    for old, new in _runs(before, after):
        labelled = [axis for axis in old if axes[axis] is not None]
        if not labelled:
            continue
        if len(labelled) > 1 and sum(len(axes[axis]) > 1 for axis in labelled) > 1:  # type: ignore[arg-type]
            for axis in labelled:
                flow.labels.pin(axes[axis], f"'{layer.name}' mixes its channels with others")
            continue
        axis = max(labelled, key=lambda axis: len(axes[axis]))  # type: ignore[arg-type]
        places = [1] * len(old)
        places[old.index(axis)] = before[axis]
        spread = np.broadcast_to(np.reshape(axes[axis], places), [before[one] for one in old])  # type: ignore[arg-type]
        image = axis < len(before) - 1 and before[-1] > 1 and axis == 1
        chosen, ids = _one_axis(flow, np.reshape(spread, [after[one] for one in new]), image)
        if chosen is not None:
            out[new[chosen]] = ids
    flow.set(layer.outputs[0], out)


def _one_axis(flow: Flow, ids: Ids, image: bool) -> tuple[int | None, Ids]:
    """Which axis of the block has the labels, and which; labels that differ along others become one."""
    long = [axis for axis, size in enumerate(ids.shape) if size > 1]
    if not long:
        return ids.ndim - 1, ids.ravel()
    roots = flow.labels.roots(ids)
    chosen = next((axis for axis in long if np.all(roots == _first_along(roots, axis))), None)
    if chosen is None:
        several = len(long) > 2 and ids.shape[long[0]] <= 3  # queries, keys and values in one
        chosen = long[-1] if image else long[several]
    moved = np.moveaxis(ids, chosen, 0).reshape(ids.shape[chosen], -1)
    for other in range(1, moved.shape[1]):
        flow.labels.join(moved[:, 0], moved[:, other], "its channels are reshaped together with others that stay")
    return chosen, moved[:, 0].copy()


def _first_along(roots: Ids, axis: int) -> Ids:
    """The block if its values depended on ``axis`` alone."""
    at: tuple[Any, ...] = tuple(slice(None) if one == axis else slice(0, 1) for one in range(roots.ndim))
    first: Ids = roots[at]
    return first


def _runs(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Which old axes became which new ones: the shortest runs of both with the same product; axes of size 1 go along."""
    runs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) and j < len(after):
        old, new = [i], [j]
        left, right = before[i], after[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left, i = left * before[i], i + 1
                old.append(i - 1)
            else:
                right, j = right * after[j], j + 1
                new.append(j - 1)
        runs.append((old, new))
    if runs:
        runs[-1][0].extend(range(i, len(before)))
        runs[-1][1].extend(range(j, len(after)))
    return runs
