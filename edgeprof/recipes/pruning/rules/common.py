"""What several rules share."""

from __future__ import annotations

import numpy as np

from edgeprof.models.graph import Layer
from edgeprof.recipes.pruning.labels import Element, Flow, Ids


def meet(flow: Flow, a: Ids | None, b: Ids | None, why: str) -> None:
    """Labels at the same positions become one; where one side has none, or another number, both are pinned."""
    if a is None or b is None or len(a) != len(b):
        flow.pin_both(a, b, why)
    else:
        flow.labels.join(a, b, why)


def same(flow: Flow, a: Ids, b: Ids) -> bool:
    """Whether the labels are one at each position."""
    return len(a) == len(b) and bool(np.array_equal(flow.labels.roots(a), flow.labels.roots(b)))


def elements_of(flow: Flow, name: str) -> list[Element]:
    """What is known of each element of a small tensor of whole numbers."""
    if name in flow.elements:
        return flow.elements[name]
    if name in flow.known:
        return list(flow.known[name])
    shape = flow.shape(name)
    return [None] * (shape[0] if shape and isinstance(shape[0], int) else 1)


def number(layer: Layer, name: str, default: int) -> int:
    """A whole number among the attributes."""
    value = layer.attributes.get(name, default)
    return value if isinstance(value, int) else default


def whole_numbers(value: object) -> tuple[int, ...] | None:
    """An attribute of whole numbers, one or several."""
    if isinstance(value, int):
        return (value,)
    return tuple(int(one) for one in value) if isinstance(value, tuple) else None


def listed(flow: Flow, layer: Layer, at: int, attribute: str) -> tuple[int, ...] | None:
    """Whole numbers that older opsets have as an attribute and newer ones as an input."""
    if len(layer.inputs) > at and layer.inputs[at]:
        return flow.known.get(layer.inputs[at])
    return whole_numbers(layer.attributes.get(attribute))


def correct_size(flow: Flow, layer: Layer, at: int, position: int, ids: Ids, why: str) -> None:
    """An element of an input that holds a size: corrected, or right by itself since it is computed from the same labels."""
    name = layer.inputs[at]
    if name in flow.known:
        if flow.known[name][position] > 0:
            flow.count(layer, at, position, ids)
        return
    elements = flow.elements.get(name)
    element = elements[position] if elements is not None and position < len(elements) else None
    if not (isinstance(element, np.ndarray) and same(flow, element, ids)):
        flow.labels.pin(ids, why)
