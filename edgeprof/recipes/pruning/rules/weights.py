"""Layers with weights: they make channels and take others."""

from __future__ import annotations

import numpy as np

from edgeprof.models.graph import Layer
from edgeprof.recipes.pruning.labels import Flow, Ids
from edgeprof.recipes.pruning.rules.common import meet, number
from edgeprof.recipes.pruning.rules.values import broadcast_axes


def conv(flow: Flow, layer: Layer) -> None:
    """Conv and ConvTranspose. Channels of the groups of a grouped one go together: the first of each, the second of each ..."""
    transposed = layer.op_type == "ConvTranspose"
    sizes = flow.sizes(layer.inputs[1]) if flow.is_constant(layer.inputs[1]) else None
    if sizes is None or not _bias_is_constant(flow, layer, 2):
        _refuse(flow, layer, "its weights are computed while the model runs")
        return
    groups = number(layer, "group", 1)
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
        _refuse(flow, layer, "its weights are computed while the model runs")
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
        _refuse(flow, layer, "its weights are no plain table of rows and columns")
        return
    why = "its channels are multiplied with others that stay"
    meet(flow, a[-1], b[-2], why)
    out = broadcast_axes(flow, layer, [(left, a[:-2]), (right, b[:-2])], why, tail=2)
    flow.set(layer.outputs[0], [*out, a[-2], b[-1]])


def _refuse(flow: Flow, layer: Layer, reason: str) -> None:
    """A layer with weights that makes no channels that could go, and takes all that it is given."""
    flow.refused[layer.name] = reason
    flow.pin(layer, f"its channels go into '{layer.name}', which needs all of them")


def _bias_is_constant(flow: Flow, layer: Layer, at: int) -> bool:
    return len(layer.inputs) <= at or not layer.inputs[at] or flow.is_constant(layer.inputs[at])
