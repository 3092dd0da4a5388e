"""From when to when each tensor of the executed graph lives, and which tensors share memory: the tensor table.

A tensor lives from the layer that makes it to the last layer that reads it; an output of the model to the last layer of all. Inputs are
held by the caller. What bodies of control flow read counts as read by the layer around them; tensors within bodies are not listed.

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
    last = max((index for index, row in enumerate(rows) if row.kind != "nested"), default=-1)
    top = [layer for layer in executed.layers if layer.parent is None and layer.name in at]
    found = {t.name: Tensor(t, "input", -1, -1, t.name) for t in executed.inputs if t.name not in executed.initializers}
    for layer in sorted(top, key=lambda layer: at[layer.name]):
        for info in _outputs(layer, rows[at[layer.name]], executed):
            found[info.name] = Tensor(info, "activation", at[layer.name], at[layer.name], info.name)
    for tensor, index in _reads(executed, at):
        if tensor in found:
            found[tensor].last_use = max(found[tensor].last_use, index)
    for output in executed.outputs:
        if output.name in found and found[output.name].kind != "input":
            found[output.name].kind, found[output.name].last_use = "output", last
    return found


def share_storage(tensors: dict[str, Tensor], executed: Graph, rows: Sequence[Row], allocated: Floats) -> None:
    """Finds outputs that took over an input's memory; ``allocated``: (rows,) bytes that each layer took in all, NaN where not known."""
    layers = {layer.name: layer for layer in executed.layers}
    for index, row in enumerate(rows):
        layer = layers.get(row.runtime_name)
        if layer is None or layer.parent is not None or math.isnan(allocated[index]):
            continue
        made = [tensors[name] for name in layer.outputs if name in tensors]
        missing = sum(t.size for t in made) - allocated[index]
        for output in made:
            if not output.size <= missing + ROUNDING_BYTES or output.size <= ROUNDING_BYTES:
                continue
            giver = next((t for t in _givers(layer, tensors) if _can_take(output, t, layer, index, tensors)), None)
            if giver is not None:
                output.storage = giver.storage
                missing -= output.size


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
    spans = _storages(tensors)
    at_peak = [
        peak_row is not None and t.kind != "input" and spans[t.storage][1] <= peak_row <= spans[t.storage][2] and t.producer <= peak_row
        for t in tensors.values()
    ]
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


def _reads(executed: Graph, at: Mapping[str, int]) -> list[tuple[str, int]]:
    """(tensor, row that reads it); of a layer in a body also the rows around it, for they hold what they handed in."""
    parents = {layer.name: layer.parent for layer in executed.layers}
    found = []
    for layer in executed.layers:
        around: list[str] = [layer.name]
        while (outer := parents.get(around[-1])) is not None:
            around.append(outer)
        index = max((at[name] for name in around if name in at), default=-1)
        found += [(name, index) for name in layer.inputs if name]
    return found


def _givers(layer: Layer, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    return [tensors[name] for name in dict.fromkeys(layer.inputs) if name in tensors]


def _can_take(output: Tensor, giver: Tensor, layer: Layer, index: int, tensors: Mapping[str, Tensor]) -> bool:
    if giver.kind == "input":  # the caller's memory is never written to; only handed on
        return layer.op_type in ALIASING and giver.size == output.size
    if math.isnan(giver.size) or giver.size != output.size:
        return False
    over = all(t.last_use <= index for t in tensors.values() if t.storage == giver.storage and t is not output)
    return over or layer.op_type in ALIASING


def _storages(tensors: Mapping[str, Tensor]) -> dict[str, tuple[float, int, int]]:
    """(bytes, first layer, last layer) of each storage by the name of its first tensor; first is -1 for the caller's."""
    members: dict[str, list[Tensor]] = defaultdict(list)
    for tensor in tensors.values():
        members[tensor.storage].append(tensor)
    return {
        name: (max((t.size for t in own), default=math.nan), min(t.producer for t in own), max(max(t.last_use, t.producer) for t in own))
        for name, own in members.items()
    }


def _shape(info: TensorInfo) -> str:
    if info.shape is None:
        return ""
    return "×".join("?" if dim is None else str(dim) for dim in info.shape) or "scalar"
