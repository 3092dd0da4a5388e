"""Operators that leave values where they are, or look at several channels at once."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprof.models.graph import Layer
from edgeprof.recipes.pruning.labels import Axes, Flow, Ids
from edgeprof.recipes.pruning.rules.common import meet, number, whole_numbers


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
    flow.set(layer.outputs[0], broadcast_axes(flow, layer, known, f"its channels meet others in '{layer.name}' that stay"))


def broadcast_axes(flow: Flow, layer: Layer, tensors: Sequence[tuple[str, Axes]], why: str, tail: int = 0) -> Axes:
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
                meet(flow, first, ids, why)
        out.append(first)
    return out


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


def reduce(flow: Flow, layer: Layer) -> None:
    """ReduceMean and its like, ArgMax: channels that are not reduced over pass."""
    axes = flow.of(layer.inputs[0])
    if axes is None or all(ids is None for ids in axes):
        return
    over = whole_numbers(layer.attributes.get("axes", layer.attributes.get("axis") if layer.op_type.startswith("Arg") else None))
    if len(layer.inputs) > 1 and layer.inputs[1]:
        over = flow.known.get(layer.inputs[1], tuple(range(len(axes))))
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
    at = number(layer, "axis", 1 if old else -1) % max(1, len(axes))
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


_FROM_AXIS_ON = ("LayerNormalization", "RMSNormalization")
