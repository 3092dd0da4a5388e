"""How labels pass an operator: one rule a family, `RULES` by op type. What has no rule pins all that reaches it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgeprof.models.graph import Layer
from edgeprof.recipes.pruning.labels import FIXED, Axes, Element, Flow, Ids

Rule = Callable[[Flow, Layer], None]


# Layers with weights


def conv(flow: Flow, layer: Layer) -> None:
    """Conv and ConvTranspose. Channels of the groups of a grouped one go together: the first of each, the second of each ..."""
    transposed = layer.op_type == "ConvTranspose"
    sizes = flow.sizes(layer.inputs[1]) if flow.is_constant(layer.inputs[1]) else None
    if sizes is None or not _bias_is_constant(flow, layer, 2):
        refuse(flow, layer, "its weights are computed while the model runs")
        return
    groups = _number(layer, "group", 1)
    rank, makes, takes = len(sizes), (1, 0) if transposed else (0, 1), None
    axes = flow.of(layer.inputs[0]) or [None] * rank
    arriving = axes[1] if len(axes) > 1 else None
    n_in = sizes[0] if transposed else sizes[1] * groups
    n_out = sizes[1] * groups if transposed else sizes[0]
    if groups > 1 and groups == n_in:
        leaving = _depthwise(flow, layer, arriving, n_in, n_out, transposed)
    else:
        each = flow.labels.fresh(n_out // groups)
        leaving = np.tile(each, groups)
        takes = _tied(flow, arriving, groups)
        if transposed:
            flow.slice(layer, 1, 0, takes if takes is None else np.tile(takes, groups), "takes")
            flow.slice(layer, 1, 1, each, "makes")
        else:
            flow.slice(layer, 1, makes[0], leaving, "makes")
            flow.slice(layer, 1, makes[1], takes, "takes")
    if len(layer.inputs) > 2 and layer.inputs[2]:
        flow.slice(layer, 2, 0, leaving, "along")
    flow.made[layer.name] = leaving
    flow.set(layer.outputs[0], [None, leaving, *[None] * (rank - 2)])


def _depthwise(flow: Flow, layer: Layer, arriving: Ids | None, n_in: int, n_out: int, transposed: bool) -> Ids:
    """Each channel is its input's: what comes in and goes out has one label."""
    own = np.zeros(n_in, dtype=np.int64) if arriving is None else arriving
    leaving = np.repeat(own, n_out // n_in)
    flow.slice(layer, 1, 0, own if transposed else leaving, "makes")
    flow.count(layer, "group", 0, own)
    return leaving


def _tied(flow: Flow, arriving: Ids | None, groups: int) -> Ids | None:
    """Labels of the inputs of one group, the same for each."""
    if arriving is None or groups == 1:
        return arriving
    parts: Ids = arriving.reshape(groups, -1)
    for part in parts[1:]:
        flow.labels.join(parts[0], part, "its channels meet others in a grouped layer that stay")
    first: Ids = parts[0]
    return first


def gemm(flow: Flow, layer: Layer) -> None:
    """Gemm: neurons are the columns of its weights."""
    sizes = flow.sizes(layer.inputs[1]) if flow.is_constant(layer.inputs[1]) else None
    if sizes is None or layer.attributes.get("transA", 0) or not _bias_is_constant(flow, layer, 2):
        refuse(flow, layer, "its weights are computed while the model runs")
        return
    makes, takes = (0, 1) if layer.attributes.get("transB", 0) else (1, 0)
    leaving = flow.labels.fresh(sizes[makes])
    axes = flow.of(layer.inputs[0]) or [None, None]
    flow.slice(layer, 1, makes, leaving, "makes")
    flow.slice(layer, 1, takes, axes[1], "takes")
    shape = flow.sizes(layer.inputs[2]) if len(layer.inputs) > 2 and layer.inputs[2] else None
    if shape and shape[-1] == sizes[makes]:
        flow.slice(layer, 2, len(shape) - 1, leaving, "along")
    flow.made[layer.name] = leaving
    flow.set(layer.outputs[0], [axes[0], leaving])


def matmul(flow: Flow, layer: Layer) -> None:
    """MatMul with stored weights makes neurons; two activations lose what they are contracted over together."""
    left, right = layer.inputs[:2]
    a, b = flow.of(left), flow.of(right)
    if flow.is_constant(right) and not flow.is_constant(left) and a is not None and len(a) >= 2:
        sizes = flow.sizes(right)
        if sizes is not None and len(sizes) == 2:
            leaving = flow.labels.fresh(sizes[1])
            flow.slice(layer, 1, 1, leaving, "makes")
            flow.slice(layer, 1, 0, a[-1], "takes")
            flow.made[layer.name] = leaving
            flow.set(layer.outputs[0], [*a[:-1], leaving])
            return
    if a is None or b is None or min(len(a), len(b)) < 2 or flow.is_constant(left) or flow.is_constant(right):
        refuse(flow, layer, "its weights are no plain table of rows and columns")
        return
    why = "its channels are multiplied with others that stay"
    _meet(flow, a[-1], b[-2], why)
    out = _broadcast(flow, layer, [(left, a[:-2]), (right, b[:-2])], why, tail=2)
    flow.set(layer.outputs[0], [*out, a[-2], b[-1]])


def refuse(flow: Flow, layer: Layer, reason: str) -> None:
    """A layer with weights that makes no channels that could go, and takes all that it is given."""
    flow.refused[layer.name] = reason
    flow.pin(layer, f"its channels go into '{layer.name}', which needs all of them")


def _bias_is_constant(flow: Flow, layer: Layer, at: int) -> bool:
    return len(layer.inputs) <= at or not layer.inputs[at] or flow.is_constant(layer.inputs[at])


# A value for each channel


def per_channel(flow: Flow, layer: Layer) -> None:
    """BatchNormalization, InstanceNormalization: constants with a value for each channel."""
    axes = flow.of(layer.inputs[0])
    ids = axes[1] if axes is not None and len(axes) > 1 else None
    if ids is not None:
        if not all(flow.is_constant(name) for name in layer.inputs[1:]):
            flow.pin(layer, f"its channels are normalised in '{layer.name}' by what is computed while the model runs")
        else:
            for at in range(1, len(layer.inputs)):
                flow.slice(layer, at, 0, ids, "along")
    flow.set(layer.outputs[0], axes or [])


def unary(flow: Flow, layer: Layer) -> None:
    """What is done to each value by itself."""
    for output in layer.outputs:
        flow.set(output, flow.of(layer.inputs[0]) or [])
    if layer.inputs[0] in flow.elements and layer.outputs:
        flow.elements[layer.outputs[0]] = flow.elements[layer.inputs[0]]


def broadcast(flow: Flow, layer: Layer) -> None:
    """What is done to values at the same place of several tensors: their channels go together; constants follow."""
    tensors = [(name, flow.of(name)) for name in layer.inputs if name]
    if any(name in flow.elements for name, _ in tensors):
        flow.pin(layer, f"their number is computed with in '{layer.name}'")
    if any(axes is None for _, axes in tensors):
        flow.pin(layer, f"its channels meet a tensor in '{layer.name}' whose shape is not known")
        return
    known = [(name, axes) for name, axes in tensors if axes is not None]
    flow.set(layer.outputs[0], _broadcast(flow, layer, known, f"its channels meet others in '{layer.name}' that stay"))


def _broadcast(flow: Flow, layer: Layer, tensors: Sequence[tuple[str, Axes]], why: str, tail: int = 0) -> Axes:
    """The axes of the result, aligned at the end; ``tail`` axes behind those that are given are left alone."""
    rank = max(len(axes) for _, axes in tensors)
    out: Axes = []
    for axis in range(rank):
        held: list[tuple[str, int, Ids | None, int | None]] = []
        for name, axes in tensors:
            at = axis - (rank - len(axes))
            if at >= 0:
                shape = flow.shape(name)
                size = shape[at] if shape is not None and len(shape) == len(axes) + tail else None
                held.append((name, at, axes[at], size if isinstance(size, int) else None))
        labelled = [(ids, size) for _, _, ids, size in held if ids is not None]
        first = next((ids for ids, _ in labelled if len(ids) > 1), labelled[0][0] if labelled else None)
        if first is not None and len(first) == 1 and any(size != 1 for _, _, _, size in held):
            flow.labels.pin(first, f"its channel is spread over others in '{layer.name}'")
            first = None
        for name, at, ids, size in held:
            if first is None or size == 1 or (ids is not None and len(ids) == 1):
                continue
            if flow.is_constant(name):
                for position in [position for position, given in enumerate(layer.inputs) if given == name]:
                    flow.slice(layer, position, at, first, "along")
            elif ids is None:
                flow.labels.pin(first, why)
            elif ids is not first:
                _meet(flow, first, ids, why)
        out.append(first)
    return out


def _meet(flow: Flow, a: Ids | None, b: Ids | None, why: str) -> None:
    if a is None or b is None or len(a) != len(b):
        flow.pin_both(a, b, why)
    else:
        flow.labels.join(a, b, why)


# Places that move


def spatial(flow: Flow, layer: Layer) -> None:
    """Pooling: channels pass, and what is pooled over has none."""
    axes = flow.of(layer.inputs[0])
    if axes is None:
        flow.pin(layer, f"its channels go into '{layer.name}', whose shape is not known")
        return
    for ids in axes[2:]:
        flow.labels.pin(ids, f"'{layer.name}' pools over its channels")
    if len([name for name in layer.outputs if name]) > 1:
        flow.labels.pin(axes[1], f"'{layer.name}' gives places that count its channels")
    flow.set(layer.outputs[0], [*axes[:2], *[None] * (len(axes) - 2)])


def resize(flow: Flow, layer: Layer) -> None:
    """Resize, Upsample: channels pass when their number is left alone; a list of sizes is corrected."""
    axes, before, after = flow.of(layer.inputs[0]), flow.shape(layer.inputs[0]), flow.shape(layer.outputs[0])
    if axes is None or before is None or after is None or len(before) != len(after):
        flow.pin(layer, f"its channels go into '{layer.name}', whose shape is not known")
        return
    listed = layer.inputs[3] if layer.op_type == "Resize" and len(layer.inputs) > 3 else ""
    order = _ints(layer.attributes.get("axes")) or tuple(range(len(axes)))
    for position, element in enumerate(flow.elements.get(listed, [])):
        if isinstance(element, np.ndarray) and axes[order[position]] is None:
            flow.labels.pin(element, f"their number is a size for '{layer.name}'")
    for axis, ids in enumerate(axes):
        if ids is None:
            continue
        if before[axis] != after[axis]:
            flow.labels.pin(ids, f"'{layer.name}' resizes over its channels")
            axes[axis] = None
        elif listed and axis in order:
            _size(flow, layer, 3, order.index(axis), ids, f"'{layer.name}' is given their number by what is computed")
    flow.set(layer.outputs[0], axes)


def _size(flow: Flow, layer: Layer, at: int, position: int, ids: Ids, why: str) -> None:
    """An element of an input that holds a size: corrected, or right by itself since it is computed from the same labels."""
    name = layer.inputs[at]
    if name in flow.graph.constants:
        if flow.graph.constants[name][position] > 0:
            flow.count(layer, at, position, ids)
        return
    elements = flow.elements.get(name)
    element = elements[position] if elements is not None and position < len(elements) else None
    if not (isinstance(element, np.ndarray) and _same(flow, element, ids)):
        flow.labels.pin(ids, why)


def _same(flow: Flow, a: Ids, b: Ids) -> bool:
    return len(a) == len(b) and bool(np.array_equal(flow.labels.roots(a), flow.labels.roots(b)))


def pad(flow: Flow, layer: Layer) -> None:
    """Pad: positions that are put before and behind the channels stay."""
    axes, before, after = flow.of(layer.inputs[0]), flow.shape(layer.inputs[0]), flow.shape(layer.outputs[0])
    if axes is None or before is None or after is None:
        flow.pin(layer, f"its channels go into '{layer.name}', whose shape is not known")
        return
    given = flow.graph.constants.get(layer.inputs[1]) if len(layer.inputs) > 1 else _ints(layer.attributes.get("pads"))
    whole = given is not None and len(given) == 2 * len(axes)
    for axis, ids in enumerate(axes):
        if ids is None or before[axis] == after[axis]:
            continue
        start, stop = (given[axis], given[axis + len(axes)]) if whole and given is not None else (-1, -1)
        if min(start, stop) < 0 or layer.attributes.get("mode", "constant") != "constant":
            flow.labels.pin(ids, f"'{layer.name}' pads its channels")
            axes[axis] = None
        else:
            axes[axis] = np.concatenate([np.full(start, FIXED), ids, np.full(stop, FIXED)])
    flow.set(layer.outputs[0], axes)


def transpose(flow: Flow, layer: Layer) -> None:
    """Transpose: labels move with their axis."""
    axes = flow.of(layer.inputs[0])
    if axes is not None:
        order = _ints(layer.attributes.get("perm")) or tuple(reversed(range(len(axes))))
        flow.set(layer.outputs[0], [axes[at] for at in order])


def concat(flow: Flow, layer: Layer) -> None:
    """Concat: along its axis labels stand behind each other, along all others they become one. Also of sizes."""
    if any(name in flow.elements for name in layer.inputs):
        flow.elements[layer.outputs[0]] = [element for name in layer.inputs for element in _elements(flow, name)]
    parts = [flow.of(name) for name in layer.inputs]
    ranks = {len(axes) for axes in parts if axes is not None}
    if None in parts or len(ranks) != 1:
        flow.pin(layer, f"its channels are joined in '{layer.name}' with a tensor whose shape is not known")
        return
    rank = ranks.pop()
    at = _number(layer, "axis", 1) % rank
    why = f"its channels meet others in '{layer.name}' that stay"
    out: Axes = []
    for axis in range(rank):
        held = [axes[axis] for axes in parts if axes is not None]
        if axis != at:
            out.append(_alongside(flow, layer, axis, held, why))
            continue
        sizes = [flow.of_size(name, axis) for name in layer.inputs]
        if all(ids is None for ids in held):
            out.append(None)
        elif any(size is None for size in sizes):
            for ids in held:
                flow.labels.pin(ids, why)
            out.append(None)
        else:
            out.append(np.concatenate([np.full(size or 0, FIXED) if ids is None else ids for ids, size in zip(held, sizes, strict=True)]))
    flow.set(layer.outputs[0], out)


def _alongside(flow: Flow, layer: Layer, axis: int, held: Axes, why: str) -> Ids | None:
    """Labels of an axis that parts of a Concat have in common."""
    first = next((ids for ids in held if ids is not None), None)
    if first is None:
        return None
    for at, ids in enumerate(held):
        if ids is None and flow.is_constant(layer.inputs[at]):
            flow.slice(layer, at, axis, first, "along")
        elif ids is not first:
            _meet(flow, first, ids, why)
    return first


def split(flow: Flow, layer: Layer) -> None:
    """Split: each part has the labels of its positions; the list of sizes is corrected, or written where there was none."""
    axes = flow.of(layer.inputs[0])
    if axes is None:
        flow.pin(layer, f"its channels go into '{layer.name}', whose shape is not known")
        return
    at = _number(layer, "axis", 0) % len(axes)
    ids = axes[at]
    if ids is None:
        for name in layer.outputs:
            flow.set(name, axes)
        return
    sizes = [flow.of_size(name, at) for name in layer.outputs]
    listed = len(layer.inputs) > 1 and bool(layer.inputs[1])
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or sum(known) != len(ids) or (listed and layer.inputs[1] not in flow.graph.constants):
        flow.labels.pin(ids, f"'{layer.name}' splits its channels at places that are computed")
        return
    where: int | str = "split" if not listed and flow.graph.opsets.get("", 13) < 13 else 1
    start = 0
    for position, (name, size) in enumerate(zip(layer.outputs, known, strict=True)):
        piece = ids[start : start + size]
        flow.count(layer, where, position, piece, known if not listed else ())
        flow.set(name, [*axes[:at], piece, *axes[at + 1 :]])
        start += size


def slice_(flow: Flow, layer: Layer) -> None:
    """Slice: the labels between its ends; the ends are corrected. Also of sizes."""
    axes = flow.of(layer.inputs[0])
    starts, ends, order, steps = (_listed(flow, layer, at, name) for at, name in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps")))
    if layer.inputs[0] in flow.elements:
        if starts is None or ends is None:
            flow.pin(layer, f"their number is computed with in '{layer.name}'")
        else:
            flow.elements[layer.outputs[0]] = flow.elements[layer.inputs[0]][starts[0] : ends[0] : steps[0] if steps else 1]
        return
    if axes is None or all(ids is None for ids in axes):
        return
    computed = any(values is None for values in (starts, ends)) or (len(layer.inputs) > 3 and layer.inputs[3] and order is None)
    if computed or starts is None or ends is None:
        touched = [axis % len(axes) for axis in order] if order else range(len(axes))
        for axis in touched:
            flow.labels.pin(axes[axis], f"'{layer.name}' cuts its channels at places that are computed")
            axes[axis] = None
        flow.set(layer.outputs[0], axes)
        return
    by_input = len(layer.inputs) > 1
    for position, axis in enumerate(order or range(len(starts))):
        ids = axes[axis % len(axes)]
        if ids is None:
            continue
        start, stop, step = slice(starts[position], ends[position], steps[position] if steps else 1).indices(len(ids))
        if step != 1 or stop <= start:
            flow.labels.pin(ids, f"'{layer.name}' takes some of its channels in steps")
            axes[axis % len(axes)] = None
            continue
        flow.count(layer, 1 if by_input else "starts", position, ids[:start])
        flow.count(layer, 2 if by_input else "ends", position, ids[:stop])
        axes[axis % len(axes)] = ids[start:stop]
    flow.set(layer.outputs[0], axes)


def gather(flow: Flow, layer: Layer) -> None:
    """Gather: along its axis nothing can go, others pass. Also of sizes."""
    at = _number(layer, "axis", 0)
    if layer.inputs[0] in flow.elements:
        picked = flow.graph.constants.get(layer.inputs[1])
        if picked is None:
            flow.pin(layer, f"their number is computed with in '{layer.name}'")
        else:
            flow.elements[layer.outputs[0]] = [flow.elements[layer.inputs[0]][one] for one in picked]
        return
    axes, picks = flow.of(layer.inputs[0]), flow.of(layer.inputs[1])
    if axes is None or picks is None:
        flow.pin(layer, f"its channels go into '{layer.name}', whose shape is not known")
        return
    at %= len(axes)
    flow.labels.pin(axes[at], f"'{layer.name}' picks some of its channels by number")
    flow.set(layer.outputs[0], [*axes[:at], *picks, *axes[at + 1 :]])


def size_of(flow: Flow, layer: Layer) -> None:
    """Shape: the result counts labels, and what becomes of it is followed."""
    axes = flow.of(layer.inputs[0])
    if axes is not None and any(ids is not None for ids in axes):
        counted: list[Element] = [*axes]
        flow.elements[layer.outputs[0]] = counted[_number(layer, "start", 0) : _number(layer, "end", len(axes))]


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
       width follow, that is the last of the new axes (a shuffle of channels keeps its groups), else the first (heads of attention), but not
       one of size 2 or 3 (queries, keys and values in one).
    3. A size in a constant target is corrected; one that is computed is right by itself where it is computed from the same labels, and the
       whole target is written anew where only what was copied, -1 and such sizes are in it.
    """
    axes = flow.of(layer.inputs[0])
    _reshaped(flow, layer)
    after = flow.of(layer.outputs[0])
    target = flow.graph.constants.get(layer.inputs[1])
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
    elements = _elements(flow, layer.inputs[1]) or [None] * len(after)
    wrong = [
        position
        for position, (ids, element) in enumerate(zip(after, elements, strict=False))
        if (ids is not None or isinstance(element, np.ndarray))
        and not (isinstance(element, int) and element == -1)
        and not (isinstance(element, np.ndarray) and ids is not None and _same(flow, element, ids))
    ]
    if not wrong and len(elements) == len(after):
        return
    sizes, before = flow.shape(layer.outputs[0]), flow.shape(layer.inputs[0])
    base: list[int] = []
    for position in range(len(after)):
        copied = before is not None and sizes is not None and position < len(before) and before[: position + 1] == sizes[: position + 1]
        if copied and _alike(flow, axes[position], after[position]):
            base.append(0)
        elif after[position] is not None and sizes is not None and isinstance(sizes[position], int):
            base.append(sizes[position])
        else:
            base.append(-1)
    if base.count(-1) > 1:
        flow.pin(layer, f"its channels are reshaped in '{layer.name}' to a shape that is computed")
        return
    for position, ids in enumerate(after):
        if ids is not None and base[position] > 0:
            flow.count(layer, 1, position, ids, base)


def _alike(flow: Flow, a: Ids | None, b: Ids | None) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and _same(flow, a, b))


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
        heads = [axis for axis in long if ids.shape[axis] > 3] or long
        chosen = long[-1] if image else heads[0]
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


# What looks at several channels at once


def reduce(flow: Flow, layer: Layer) -> None:
    """ReduceMean and its like, ArgMax: channels that are not reduced over pass."""
    axes = flow.of(layer.inputs[0])
    if axes is None or all(ids is None for ids in axes):
        return
    over = _ints(layer.attributes.get("axes", layer.attributes.get("axis") if layer.op_type.startswith("Arg") else None))
    if len(layer.inputs) > 1 and layer.inputs[1]:
        over = flow.graph.constants.get(layer.inputs[1], tuple(range(len(axes))))
    if layer.op_type.startswith("Arg") and over is None:
        over = (0,)
    if not over:
        over = () if layer.attributes.get("noop_with_empty_axes", 0) else tuple(range(len(axes)))
    gone = {axis % len(axes) for axis in over}
    for axis in gone:
        flow.labels.pin(axes[axis], f"'{layer.name}' takes all channels together")
        axes[axis] = None
    kept = bool(layer.attributes.get("keepdims", 1))
    flow.set(layer.outputs[0], [ids for axis, ids in enumerate(axes) if kept or axis not in gone])


def along_axis(flow: Flow, layer: Layer) -> None:
    """Softmax and what else normalises along an axis (or from it on): channels there stay, others pass."""
    axes = flow.of(layer.inputs[0])
    if axes is None:
        return
    old = layer.op_type in ("Softmax", "LogSoftmax", "Hardmax") and flow.graph.opsets.get("", 13) < 13
    at = _number(layer, "axis", 1 if old else -1) % max(1, len(axes))
    together = range(at, len(axes)) if old or layer.op_type in _FROM_AXIS_ON else [at]
    for axis in together:
        flow.labels.pin(axes[axis], f"'{layer.name}' normalises over all channels together")
        axes[axis] = None
    for output in layer.outputs[:1]:
        flow.set(output, axes)


def across_channels(flow: Flow, layer: Layer) -> None:
    """LRN, GroupNormalization: neighbours or groups of channels are normalised together."""
    flow.pin(layer, f"'{layer.name}' normalises over several channels together")


def other(flow: Flow, layer: Layer) -> None:
    """What has no rule."""
    flow.pin(layer, f"its channels go into '{layer.name}' ({layer.op_type}), of which edgeprof does not know what it does with them")


# Small helpers

FOLLOWS_SIZES: Mapping[str, tuple[int, ...]] = {
    "Concat": (), "Slice": (0,), "Gather": (0,), "Squeeze": (0,), "Unsqueeze": (0,), "Cast": (0,), "Identity": (0,), "Reshape": (1,),
    "Resize": (3,),
}  # fmt: skip
"""Inputs (none: all) whose rules know what to do with sizes that count labels; elsewhere such sizes pin what they count."""


def _elements(flow: Flow, name: str) -> list[Element]:
    if name in flow.elements:
        return flow.elements[name]
    if name in flow.graph.constants:
        return list(flow.graph.constants[name])
    shape = flow.shape(name)
    return [None] * (shape[0] if shape and isinstance(shape[0], int) else 1)


def _number(layer: Layer, name: str, default: int) -> int:
    """A whole number among the attributes."""
    value = layer.attributes.get(name, default)
    return value if isinstance(value, int) else default


def _ints(value: object) -> tuple[int, ...] | None:
    if isinstance(value, int):
        return (value,)
    return tuple(int(one) for one in value) if isinstance(value, tuple) else None


def _listed(flow: Flow, layer: Layer, at: int, attribute: str) -> tuple[int, ...] | None:
    """Whole numbers that older opsets have as an attribute and newer ones as an input."""
    if len(layer.inputs) > at and layer.inputs[at]:
        return flow.graph.constants.get(layer.inputs[at])
    return _ints(layer.attributes.get(attribute))


def _each(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


_FROM_AXIS_ON = ("LayerNormalization", "RMSNormalization")
RULES: Mapping[str, Rule] = {
    **_each(conv, "Conv ConvTranspose"),
    **_each(gemm, "Gemm"),
    **_each(matmul, "MatMul"),
    **_each(per_channel, "BatchNormalization InstanceNormalization"),
    **_each(
        unary,
        "Relu LeakyRelu Clip Sigmoid Tanh Erf Gelu HardSwish HardSigmoid Elu Selu Celu Softplus Softsign Mish Swish ThresholdedRelu Abs Neg"
        " Exp Log Sqrt Reciprocal Floor Ceil Round Sign Sin Cos Not Cast Identity Dropout Shrink",
    ),
    **_each(broadcast, "Add Sub Mul Div Pow Max Min Sum Mean PRelu Where Equal Less LessOrEqual Greater GreaterOrEqual And Or Xor Mod"),
    **_each(spatial, "MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool"),
    **_each(resize, "Resize Upsample"),
    **_each(pad, "Pad"),
    **_each(transpose, "Transpose"),
    **_each(concat, "Concat"),
    **_each(split, "Split"),
    **_each(slice_, "Slice"),
    **_each(gather, "Gather"),
    **_each(size_of, "Shape"),
    **_each(squeeze, "Squeeze Unsqueeze"),
    **_each(flatten, "Flatten"),
    **_each(reshape, "Reshape"),
    **_each(
        reduce,
        "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare ArgMax ArgMin",
    ),
    **_each(along_axis, "Softmax LogSoftmax Hardmax LpNormalization LayerNormalization RMSNormalization"),
    **_each(across_channels, "LRN GroupNormalization MeanVarianceNormalization"),
}
