"""Labels: each channel that could leave a model has one, and wherever the channel goes its label goes along.

After Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, whose dependency of two layers is here: they hold the same label.

1. An axis of a tensor has a label for each position, or none (None) when it is of no concern: batch, height, width, tokens.
2. Two labels that are added, multiplied or otherwise met position by position become one: such channels go together or stay together.
3. A label may stand at many positions of an axis (a channel that was flattened: height x width times) and on many tensors.
4. `FIXED` is the label of positions that stay in any case. A label that meets it is pinned, and so is one that reaches something whose
   result depends on all channels at once, or on their number. What pins it is remembered in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from edgeprof.models.graph import Graph, Layer

Ids = NDArray[np.int64]
Axes = list[Ids | None]
FIXED = 0


class Labels:
    """Which labels are one, and which are pinned by what."""

    def __init__(self) -> None:
        self._parents = [FIXED]
        self._reasons: dict[int, str] = {}
        self._table: Ids | None = None  # the root of each label, until two become one

    def fresh(self, n: int) -> Ids:
        """``n`` labels that nothing else has."""
        start = len(self._parents)
        self._parents.extend(range(start, start + n))
        self._table = None
        return np.arange(start, start + n)

    def roots(self, ids: Ids) -> Ids:
        """One label for all that are one."""
        if self._table is None:
            table = np.array(self._parents, dtype=np.int64)
            while not np.array_equal(table, table[table]):
                table = table[table]
            self._table = table
        found: Ids = self._table[ids]
        return found

    def join(self, a: Ids, b: Ids, reason: str) -> None:
        """Makes labels at the same positions one; those that meet a fixed position are pinned by ``reason``."""
        for one, other in np.unique(np.stack([a.ravel(), b.ravel()], axis=1), axis=0).tolist():
            left, right = self._root(one), self._root(other)
            if left == right:
                continue
            if FIXED in (left, right):
                self._reasons.setdefault(left or right, reason)
                continue
            low, high = min(left, right), max(left, right)
            self._parents[high] = low
            self._table = None
            if high in self._reasons:
                self._reasons.setdefault(low, self._reasons.pop(high))

    def pin(self, ids: Ids | None, reason: str) -> None:
        """Keeps what has these labels in the model, because of ``reason``."""
        for one in [] if ids is None else np.unique(ids).tolist():
            root = self._root(one)
            if root != FIXED:
                self._reasons.setdefault(root, reason)

    def reason(self, label: int) -> str:
        """Why what has the label must stay; empty when it can go."""
        return self._reasons.get(self._root(label), "")

    def _root(self, one: int) -> int:
        while self._parents[one] != one:
            self._parents[one] = self._parents[self._parents[one]]
            one = self._parents[one]
        return one


@dataclass(frozen=True, eq=False)
class Sliced:
    """Input ``input`` of ``layer``, a constant, loses positions of ``axis`` as their labels in ``ids`` go.

    ``role``: ``makes`` (weights that make these channels), ``takes`` (weights that they are multiplied with), ``along`` (a value for each).
    """

    layer: str
    input: int
    axis: int
    ids: Ids
    role: Literal["makes", "takes", "along"]


@dataclass(frozen=True, eq=False)
class Counted:
    """A whole number of ``layer`` that counts labels: element ``position`` of an input or attribute becomes how many of ``ids`` stay.

    ``base`` is what the input holds to begin with, where that is no constant of the model.
    """

    layer: str
    where: int | str
    position: int
    ids: Ids
    base: tuple[int, ...] = ()


Element = int | Ids | None
"""Of a small tensor of whole numbers: its value, the labels that it counts, or a size that never changes."""


@dataclass
class Flow:
    """Labels on their way through ``graph``. Rules (`pruning.rules`) read the axes of a layer's inputs and set those of its outputs.

    ``made``: output channels by layer that makes them with its weights. ``refused``: why a layer with weights has none.
    ``elements``: tensors of sizes that were computed from sizes of labelled axes.
    """

    graph: Graph
    labels: Labels = field(default_factory=Labels)
    axes: dict[str, Axes] = field(default_factory=dict)
    elements: dict[str, list[Element]] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)
    sliced: list[Sliced] = field(default_factory=list)
    counted: list[Counted] = field(default_factory=list)
    made: dict[str, Ids] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    _weights: dict[tuple[str, int], Ids] = field(default_factory=dict)

    def of(self, name: str) -> Axes | None:
        """The axes of a tensor; None when not even their number is known."""
        if name in self.axes:
            return list(self.axes[name])
        shape = self.graph.tensor(name).shape
        return None if shape is None else [None] * len(shape)

    def shape(self, name: str) -> tuple[Any, ...] | None:
        """Sizes as the graph knows them."""
        return self.graph.tensor(name).shape

    def sizes(self, name: str) -> tuple[int, ...] | None:
        """Sizes when all of them are known."""
        shape = self.shape(name)
        return None if shape is None or not all(isinstance(dim, int) for dim in shape) else cast("tuple[int, ...]", shape)

    def set(self, name: str, axes: Sequence[Ids | None]) -> None:
        """Says what the axes of a tensor hold. Axes of which nothing can go need not be told."""
        if name and any(axis is not None for axis in axes):
            self.axes[name] = list(axes)

    def is_constant(self, name: str) -> bool:
        """Whether the model stores the tensor, or computes it from nothing else."""
        return name in self.constants

    def slice(self, layer: Layer, at: int, axis: int, ids: Ids | None, role: Literal["makes", "takes", "along"]) -> None:
        """The constant input ``at`` follows ``ids``. Weights that several layers share stay shared: their labels become one."""
        name = layer.inputs[at]
        if role != "along":
            if ids is None:
                ids = np.zeros(self.of_size(name, axis) or 0, dtype=np.int64)
            before = self._weights.setdefault((name, axis), ids)
            if len(before) != len(ids):  # shared between layers that read it differently
                self.pin_both(before, ids, "its weights are shared with a layer that uses them differently")
            else:
                self.labels.join(before, ids, "its weights are shared with a layer whose channels stay")
        if ids is not None:
            self.sliced.append(Sliced(layer.name, at, axis, ids, role))

    def count(self, layer: Layer, where: int | str, position: int, ids: Ids, base: Sequence[int] = ()) -> None:
        """A number of the layer follows how many of ``ids`` stay."""
        self.counted.append(Counted(layer.name, where, position, ids, tuple(base)))

    def pin_both(self, a: Ids | None, b: Ids | None, reason: str) -> None:
        """Pins all of two."""
        self.labels.pin(a, reason)
        self.labels.pin(b, reason)

    def pin(self, layer: Layer, reason: str, inputs: Sequence[int] | None = None) -> None:
        """Pins whatever reaches the layer, through all its inputs or some."""
        for at, name in enumerate(layer.inputs):
            if inputs is None or at in inputs:
                self.pin_tensor(name, reason)

    def pin_tensor(self, name: str, reason: str) -> None:
        """Pins all labels of a tensor, and those that its values count."""
        for ids in self.axes.get(name, []):
            self.labels.pin(ids, reason)
        for element in self.elements.get(name, []):
            if isinstance(element, np.ndarray):
                self.labels.pin(element, reason)

    def of_size(self, name: str, axis: int) -> int | None:
        """The size of one axis, where it is known."""
        shape = self.shape(name)
        return shape[axis] if shape is not None and axis < len(shape) and isinstance(shape[axis], int) else None
