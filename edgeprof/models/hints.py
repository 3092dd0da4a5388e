"""What values an input of a model needs, read from the layers that it feeds and from its name.

Random integers are no use as embedding indices, trip counts or target shapes: the model would fail or run another path than in
life. An input is followed through layers that only hand its values on, to the first that says what they mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from edgeprof.models.graph import Graph, Layer, TensorInfo

Kind = Literal["any", "below", "constant", "positions", "target shape"]

TRIP_COUNT = 4
_TO_THE_END = 2**31 - 1
_HANDED_ON = frozenset({"Cast", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Flatten", "Transpose", "Expand", "Slice", "Clip"})
_FARTHEST = 8


@dataclass(frozen=True)
class Hint:
    """``any``; ``below``: whole numbers from 0 to ``value - 1``; ``constant``: all ``value``; ``positions``: 0, 1, 2 ... along
    the last axis, below ``value``; ``target shape``: a shape that keeps all elements.
    """

    kind: Kind = "any"
    value: float = 0.0


def hints(graph: Graph) -> dict[str, Hint]:
    """A hint for each input of the graph."""
    readers: dict[str, list[tuple[Layer, int]]] = {}
    for layer in graph.layers:
        for place, name in enumerate(layer.inputs):
            readers.setdefault(name, []).append((layer, place))
    return {tensor.name: _hint(tensor, graph, readers) for tensor in graph.inputs}


def _hint(tensor: TensorInfo, graph: Graph, readers: Mapping[str, list[tuple[Layer, int]]]) -> Hint:
    """1. The name, when it is one that exporters agree on. 2. The smallest axis that it indexes. 3. What else it decides."""
    uses = [use for layer, place in _reached(tensor.name, readers) if (use := _use(layer, place, graph)) is not None]
    limits = [use.value for use in uses if use.kind == "below"]
    limit = min(limits) if limits else math.inf
    for pattern, hint in _BY_NAME:
        if pattern.search(tensor.name):
            return Hint("positions", limit) if hint.kind == "positions" else hint
    if limits:
        return Hint("below", max(limit, 1))
    return uses[0] if uses else Hint()


_BY_NAME: tuple[tuple[re.Pattern[str], Hint], ...] = (
    (re.compile(r"position_?ids?|pos_?ids?$", re.IGNORECASE), Hint("positions")),
    (re.compile(r"token_?type|segment_?ids?", re.IGNORECASE), Hint("constant", 0)),
    (re.compile(r"mask", re.IGNORECASE), Hint("constant", 1)),
)
"""A mask of ones keeps every position, whether it is multiplied or added."""


def _reached(name: str, readers: Mapping[str, list[tuple[Layer, int]]]) -> Iterator[tuple[Layer, int]]:
    frontier = [name]
    for _ in range(_FARTHEST):
        following: list[str] = []
        for tensor in frontier:
            for layer, place in readers.get(tensor, ()):
                yield layer, place
                if place == 0 and layer.op_type in _HANDED_ON:
                    following += layer.outputs[:1]
        frontier = following


def _use(layer: Layer, place: int, graph: Graph) -> Hint | None:
    found = _USES.get((layer.op_type, place))
    try:
        return found(layer, graph) if callable(found) else found
    except IndexError:  # the layer lacks inputs that it needs; the runtime will refuse it
        return None


def _axis_of(place: int, default_axis: int = 0) -> Callable[[Layer, Graph], Hint | None]:
    """Indices into an axis of the input at ``place``: the attribute ``axis`` or the default."""

    def use(layer: Layer, graph: Graph) -> Hint | None:
        axis = layer.attributes.get("axis", default_axis)
        shape = graph.tensor(layer.inputs[place]).shape
        if not shape or not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
            return None
        size = shape[axis]
        return Hint("below", size) if isinstance(size, int) else None

    return use


def _smallest_axis_of(place: int) -> Callable[[Layer, Graph], Hint | None]:
    def use(layer: Layer, graph: Graph) -> Hint | None:
        known = [dim for dim in graph.tensor(layer.inputs[place]).shape or () if isinstance(dim, int)]
        return Hint("below", min(known)) if known else None

    return use


def _depth(layer: Layer, graph: Graph) -> Hint | None:
    depth = graph.constants.get(layer.inputs[1])
    return Hint("below", depth[0]) if depth else None


def _steps_of_first(layer: Layer, graph: Graph) -> Hint | None:
    """Sequence lengths: all sequences are full."""
    shape = graph.tensor(layer.inputs[0]).shape
    size = shape[1 if layer.attributes.get("layout") else 0] if shape else None
    return Hint("constant", size) if isinstance(size, int) else None


_CONSTANT_USES: dict[tuple[str, int], float] = {
    ("ConstantOfShape", 0): 2, ("Expand", 1): 1, ("Tile", 1): 1, ("Pad", 1): 0, ("TopK", 1): 1, ("Trilu", 1): 0,
    ("CumSum", 1): 0, ("CumProd", 1): 0, ("Squeeze", 1): 0, ("Unsqueeze", 1): 0,
    ("Slice", 1): 0, ("Slice", 2): _TO_THE_END, ("Slice", 3): 0, ("Slice", 4): 1,
    ("Range", 0): 0, ("Range", 1): TRIP_COUNT, ("Range", 2): 1,
    ("Loop", 0): TRIP_COUNT, ("Loop", 1): 1, ("If", 0): 1,
    ("Resize", 2): 1, ("Upsample", 1): 1, ("NonMaxSuppression", 2): TRIP_COUNT, ("NonMaxSuppression", 3): 0.5,
    ("NonMaxSuppression", 4): 0, ("Dropout", 1): 0.5, ("Dropout", 2): 0, ("Clip", 1): -1, ("Clip", 2): 1,
    ("QuantizeLinear", 1): 0.1, ("DequantizeLinear", 1): 0.1,
}  # fmt: skip

_USES: Mapping[tuple[str, int], Hint | Callable[[Layer, Graph], Hint | None]] = {
    **{key: Hint("constant", value) for key, value in _CONSTANT_USES.items()},
    **{
        (f"Reduce{name}", 1): Hint("constant", 0)
        for name in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
    },
    ("Reshape", 1): Hint("target shape"),
    ("Gather", 1): _axis_of(0),
    ("GatherElements", 1): _axis_of(0),
    ("GatherND", 1): _smallest_axis_of(0),
    ("GatherBlockQuantized", 1): _axis_of(0),
    ("TorchEmbedding", 1): _axis_of(0),
    ("Scatter", 1): _axis_of(0),
    ("ScatterElements", 1): _axis_of(0),
    ("ScatterND", 1): _smallest_axis_of(0),
    ("ArrayFeatureExtractor", 1): _axis_of(0, -1),
    ("EmbedLayerNormalization", 0): _axis_of(2),
    ("EmbedLayerNormalization", 1): _axis_of(4),
    ("OneHot", 0): _depth,
    ("RNN", 4): _steps_of_first,
    ("GRU", 4): _steps_of_first,
    ("LSTM", 4): _steps_of_first,
}
"""(operator, place of the input) -> what its values mean."""
