"""From when to when each tensor of the executed graph lives, and which tensors share memory: the tensor table.

A tensor lives from the layer that makes it to the last layer that reads it; an output of the model to the last layer of all. Inputs are
held by the caller. What bodies of control flow read counts as read by the layer around them, which holds all that it reads until the
last layer of its bodies has run; tensors within bodies are not listed.

Whether an output took over the memory of an input is not in any file; it shows in what the runtime's allocator says: a layer
that makes an output of 100 kB and takes no 100 kB more has put it somewhere. Of the inputs those count that are as large and not
needed any more, or that such an operator hands on by definition (`ALIASING`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.records.rows import Row

Floats = npt.NDArray[np.float64]

ALIASING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
"""Operators whose first output is their first input under another shape."""

ELEMENTWISE = frozenset({
    "Abs", "Add", "BatchNormalization", "BiasGelu", "Cast", "Ceil", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "FastGelu",
    "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "Not", "PRelu", "Pow",
    "QuickGelu", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt", "Sub", "Sum",
    "Swish", "Tanh", "ThresholdedRelu", "Where",
})  # fmt: skip
"""Operators whose kernels may write their output over an input of the same size."""

ROUNDING_BYTES = 64.0
"""Allocators may round a request up; a difference below this says nothing."""


@dataclass
class Tensor:
    """A row of the tensor table in the making. ``storage`` is the name of the tensor whose memory it takes, its own by default."""

    info: TensorInfo
    kind: str
    producer: int
    last_use: int
    storage: str

    @property
    def size(self) -> float:
        """Bytes; NaN when its shape is not known."""
        return self.info.nbytes


def lifetimes(executed: Graph, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Tensors of the top level by name, in the order they are made; each in memory of its own. Layers that have no row are left out."""
    at = {row.runtime_name: index for index, row in enumerate(rows)}
    top_of = _top_of(executed)
    ends: dict[str, int] = {}  # of each layer at the top level, the last row of it and its bodies
    for name, top in top_of.items():
        ends[top] = max(ends.get(top, -1), at.get(name, -1))
    found = {t.name: Tensor(t, "input", -1, -1, t.name) for t in executed.inputs if t.name not in executed.initializers}
    made = [layer for layer in executed.layers if layer.parent is None and layer.name in at]
    for layer in sorted(made, key=lambda layer: at[layer.name]):
        for info in _outputs(layer, rows[at[layer.name]], executed):
            found[info.name] = Tensor(info, "activation", at[layer.name], ends[layer.name], info.name)
    for layer in executed.layers:
        for name in layer.inputs:
            if name in found:
                found[name].last_use = max(found[name].last_use, ends[top_of[layer.name]])
    for output in executed.outputs:
        if output.name in found and found[output.name].kind != "input":
            found[output.name].kind, found[output.name].last_use = "output", len(rows) - 1
    return found


def _top_of(graph: Graph) -> dict[str, str]:
    """For each layer the one at the top level that it runs in: itself, or the outermost around it."""
    found: dict[str, str] = {}
    for layer in graph.layers:  # a nested one stands behind its parent
        found[layer.name] = layer.name if layer.parent is None else found.get(layer.parent, layer.parent)
    return found


def share_storage(tensors: dict[str, Tensor], executed: Graph, rows: Sequence[Row], allocated: Floats, before: Floats) -> None:
    """Finds outputs that took over an input's memory.

    ``allocated``: (rows,) bytes that each layer took in all, ``before``: (rows,) bytes in use when it began; NaN where not known.
    What the runtime still holds of tensors that are over it may give to an output of the same size: that is no tensor's memory any more.
    """
    layers = {layer.name: layer for layer in executed.layers if layer.parent is None}
    memory = _InUse()
    for index, row in enumerate(rows):
        layer = layers.get(row.runtime_name)
        if layer is None:
            continue
        memory.begin(index, before[index])
        made = [tensors[name] for name in layer.outputs if name in tensors]
        missing = sum(t.size for t in made) - allocated[index]
        for output in made:
            if ROUNDING_BYTES < output.size <= missing + ROUNDING_BYTES:
                _place(output, layer, tensors, memory, index)
                missing -= output.size
            memory.add(output)


def _place(output: Tensor, layer: Layer, tensors: Mapping[str, Tensor], memory: _InUse, index: int) -> None:
    """Puts an output that took no memory of its own where it must be: over an input, or else into memory that was held."""
    taken = {tensors[name].storage for name in layer.outputs if name in tensors}  # an input's memory holds one output, not two
    inputs = [tensors[name] for name in dict.fromkeys(layer.inputs) if name in tensors and tensors[name].storage not in taken]
    giver = next((t for t in inputs if _can_take(output, t, layer, over=memory.is_over(t, index))), None)
    if giver is not None and (_works_in_place(layer, giver) or not memory.holds(output.size)):
        output.storage = giver.storage
    else:
        memory.reuse(output.size)


class _InUse:
    """The runtime's memory layer by layer: storages of tensors that are alive, and what is held of those that are over."""

    def __init__(self) -> None:
        self._alive: dict[str, tuple[float, int]] = {}  # (bytes, last layer that reads it)
        self._held: list[float] = []

    def begin(self, index: int, before: float) -> None:
        """Goes to layer ``index``. What ended meanwhile is held, as far as ``before`` bytes are still in use."""
        over = [name for name, (_, last) in self._alive.items() if last < index]
        self._held += [self._alive.pop(name)[0] for name in over]
        if math.isnan(before):
            return
        excess = sum(self._held) - max(0.0, before - sum(size for size, _ in self._alive.values()))
        while excess > ROUNDING_BYTES and (fitting := [size for size in self._held if size <= excess + ROUNDING_BYTES]):
            self._held.remove(max(fitting))
            excess -= max(fitting)

    def add(self, tensor: Tensor) -> None:
        """A tensor was made; in its own memory, or in that of a storage whose life it makes longer."""
        size, last = self._alive.get(tensor.storage, (0.0, -1))
        if tensor.storage == tensor.info.name:
            size = 0.0 if math.isnan(tensor.size) else tensor.size
        elif tensor.storage not in self._alive:
            return  # the caller's memory
        self._alive[tensor.storage] = size, max(last, tensor.last_use)

    def is_over(self, tensor: Tensor, index: int) -> bool:
        """Whether nothing that lies in the tensor's memory is read after layer ``index``."""
        return tensor.storage in self._alive and self._alive[tensor.storage][1] <= index

    def holds(self, size: float) -> bool:
        """Whether memory of this size is held."""
        return size in self._held

    def reuse(self, size: float) -> None:
        """A tensor of this size is put into held memory, if there is such."""
        if size in self._held:
            self._held.remove(size)


def alive(tensors: Mapping[str, Tensor], rows: int) -> Floats:
    """(rows,) bytes of the storages that are alive while each layer runs, inputs of the model left out. Unknown sizes count as nothing."""
    steps = np.zeros(rows + 1)
    for size, first, last in _storages(tensors).values():
        if first >= 0 and not math.isnan(size):
            steps[first] += size
            steps[last + 1] -= size
    return np.asarray(np.cumsum(steps)[:-1])


def tensor_table(tensors: Mapping[str, Tensor], peak_row: int | None) -> pd.DataFrame:
    """The table of `schema.TENSOR_COLUMNS`; ``peak_row`` is the layer that was running at the peak."""
    names = list(tensors)
    number = {name: i for i, name in enumerate(names)}
    at_peak = [peak_row is not None and t.kind != "input" and t.producer <= peak_row <= t.last_use for t in tensors.values()]
    return pd.DataFrame({
        "tensor": pd.Series(names, dtype="str"),
        "kind": pd.Series([t.kind for t in tensors.values()], dtype="str"),
        "dtype": pd.Series([t.info.dtype for t in tensors.values()], dtype="str"),
        "shape": pd.Series([_shape(t.info) for t in tensors.values()], dtype="str"),
        "size_bytes": np.array([t.size for t in tensors.values()], float),
        "producer": np.array([t.producer for t in tensors.values()], np.int32),
        "last_use": np.array([t.last_use for t in tensors.values()], np.int32),
        "storage": np.array([number[t.storage] for t in tensors.values()], np.int32),
        "at_peak": np.array(at_peak, bool),
    })  # fmt: skip


def _outputs(layer: Layer, row: Row, executed: Graph) -> list[TensorInfo]:
    """The layer's outputs with their types as run, where the trace tells them."""
    names = [name for name in layer.outputs if name]
    run = row.types.output_types if row.types is not None else ()
    if len(run) != len(names):
        return [executed.tensor(name) for name in names]
    return [TensorInfo(name, dtype, shape) for name, (dtype, shape) in zip(names, run, strict=True)]


def _works_in_place(layer: Layer, giver: Tensor) -> bool:
    """Whether the operator may write into this input: elementwise ones, those that only hand on, a sum fused into a convolution."""
    if layer.op_type in ALIASING or layer.op_type in ELEMENTWISE:
        return True
    return len(layer.inputs) > 3 and layer.inputs[3] == giver.info.name


def _can_take(output: Tensor, giver: Tensor, layer: Layer, *, over: bool) -> bool:
    """``over``: nothing that lies in the giver's memory is read after this layer."""
    if giver.size != output.size:
        return False
    # the caller's memory is never written to; only handed on
    return layer.op_type in ALIASING or (over and giver.kind != "input")


def _storages(tensors: Mapping[str, Tensor]) -> dict[str, tuple[float, int, int]]:
    """(bytes, first layer, last layer) of each storage by the name of its first tensor; first is -1 for the caller's."""
    members: dict[str, list[Tensor]] = defaultdict(list)
    for tensor in tensors.values():
        members[tensor.storage].append(tensor)
    return {name: (max(t.size for t in own), min(t.producer for t in own), max(t.last_use for t in own)) for name, own in members.items()}


def _shape(info: TensorInfo) -> str:
    if info.shape is None:
        return ""
    return "×".join("?" if dim is None else str(dim) for dim in info.shape) or "scalar"
