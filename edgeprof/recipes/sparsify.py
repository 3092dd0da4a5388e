"""Unstructured sparsity: the smallest weights of a layer become zero (magnitude pruning, Han et al. 2015).

ONNX Runtime has no kernels for that: the layer computes as much as before, and only a compressed file is smaller.
"""

from __future__ import annotations

import numpy as np

from edgeprof.recipes.base import Change, Work, refuse_or_report
from edgeprof.recipes.wiring import Array, Wiring, copied, weight_index

NOTE = "ONNX Runtime has no sparse kernels: zeros among weights make no layer faster unless measured."


def sparsify(work: Work) -> Work:
    """The work with zeros among the weights of the layers that are to have them."""
    asked = {layer: choice.sparsity for layer, choice in work.choices.items() if choice.sparsity is not None}
    if not asked:
        return work
    model = copied(work.model)
    wiring, changes = Wiring(model), []
    nodes = {node.name: node for node in model.graph.node}
    for layer, part in asked.items():
        node = nodes[layer]
        index = weight_index(node, wiring)
        wish = f"{part * 100:g} %"
        if index is None:
            layers = ("Conv", "ConvTranspose", "Gemm", "MatMul")
            reason = "it has no constant weight" if node.op_type in layers else f"{node.op_type} has no weight of its own"
            changes.append(refuse_or_report(work, layer, "sparsity", wish, reason))
            continue
        weight = wiring.constant(node.input[index])
        assert weight is not None  # noqa: S101 - weight_index says so
        wiring.give(node, index, with_zeros(weight, part), f"{node.input[index]}_sparse")
        changes.append(Change(layer, "sparsity", wish, f"{wish} of {weight.size:,} weights are zero"))
    wiring.sweep(keep=lambda node: node.name in work.choices and node.op_type != "Constant")
    return work.then(model, changes, [NOTE] if any(change.done for change in changes) else [])


def with_zeros(weight: Array, part: float) -> Array:
    """The weight with the ``round(part * size)`` values zero that are smallest in magnitude; of equal ones those that come first."""
    changed = weight.copy()
    order = np.argsort(np.abs(weight), axis=None, kind="stable")
    changed.reshape(-1)[order[: round(part * weight.size)]] = 0
    return changed
