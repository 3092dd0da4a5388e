"""Operators that move values along axes, cut them or put them together."""

from __future__ import annotations

import numpy as np

from edgeprof.models.graph import Layer
from edgeprof.recipes.pruning.labels import FIXED, Axes, Flow, Ids
from edgeprof.recipes.pruning.rules.common import correct_size, elements_of, listed, meet, number, whole_numbers


def resize(flow: Flow, layer: Layer) -> None:
    """Resize, Upsample: channels pass when their number is left alone; a list of sizes is corrected."""
    axes, before, after = flow.of(layer.inputs[0]), flow.shape(layer.inputs[0]), flow.shape(layer.outputs[0])
    if axes is None or before is None or after is None or len(before) != len(after):
        flow.pin(layer, f"its channels go into '{layer.name}', whose shape is not known")
        return
    listed = layer.inputs[3] if layer.op_type == "Resize" and len(layer.inputs) > 3 else ""
    order = whole_numbers(layer.attributes.get("axes")) or tuple(range(len(axes)))
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
            correct_size(flow, layer, 3, order.index(axis), ids, f"'{layer.name}' is given their number by what is computed")
    flow.set(layer.outputs[0], axes)


def pad(flow: Flow, layer: Layer) -> None:
    """Pad: positions that are put before and behind the channels stay."""
    axes, before, after = flow.of(layer.inputs[0]), flow.shape(layer.inputs[0]), flow.shape(layer.outputs[0])
    if axes is None or before is None or after is None:
        flow.pin(layer, f"its channels go into '{layer.name}', whose shape is not known")
        return
    given = flow.known.get(layer.inputs[1]) if len(layer.inputs) > 1 else whole_numbers(layer.attributes.get("pads"))
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
        order = whole_numbers(layer.attributes.get("perm")) or tuple(reversed(range(len(axes))))
        flow.set(layer.outputs[0], [axes[at] for at in order])


def concat(flow: Flow, layer: Layer) -> None:
    """Concat: along its axis labels stand behind each other, along all others they become one. Also of sizes."""
    if any(name in flow.elements for name in layer.inputs):
        flow.elements[layer.outputs[0]] = [element for name in layer.inputs for element in elements_of(flow, name)]
    parts = [flow.of(name) for name in layer.inputs]
    ranks = {len(axes) for axes in parts if axes is not None}
    if None in parts or len(ranks) != 1:
        flow.pin(layer, f"its channels are joined in '{layer.name}' with a tensor whose shape is not known")
        return
    rank = ranks.pop()
    at = number(layer, "axis", 1) % rank
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
            meet(flow, first, ids, why)
    return first


def split(flow: Flow, layer: Layer) -> None:
    """Split: each part has the labels of its positions; the list of sizes is corrected, or written where there was none."""
    axes = flow.of(layer.inputs[0])
    if axes is None:
        flow.pin(layer, f"its channels go into '{layer.name}', whose shape is not known")
        return
    at = number(layer, "axis", 0) % len(axes)
    ids = axes[at]
    if ids is None:
        for name in layer.outputs:
            flow.set(name, axes)
        return
    sizes = [flow.of_size(name, at) for name in layer.outputs]
    listed = len(layer.inputs) > 1 and bool(layer.inputs[1])
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or sum(known) != len(ids) or (listed and layer.inputs[1] not in flow.known):
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
    starts, ends, order, steps = (listed(flow, layer, at, name) for at, name in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps")))
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
    at = number(layer, "axis", 0)
    if layer.inputs[0] in flow.elements:
        picked = flow.known.get(layer.inputs[1])
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
