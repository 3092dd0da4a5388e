"""How the tensors and nodes of an onnx model hang together, for the steps that change one: `Wiring`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof.models.graph import Graph

Array = NDArray[Any]

FOLDABLE = ("Constant", "ConstantOfShape", "Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
"""Nodes that are worked out where what they read is constant: what exporters put between a stored weight and its layer."""
MOST_FOLDED_BYTES = 1 << 30


class Wiring:
    """The main graph of ``model``, which it changes in place: who makes a tensor, who reads it, and which values are constant.

    What subgraphs read counts as read by the node that holds them. After nodes were added or taken out, `renew` counts again.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.graph = model.graph
        self.renew()

    def renew(self) -> None:
        """Counts again who makes and who reads what."""
        self.stored: dict[str, Any] = {one.name: one for one in self.graph.initializer}
        self.maker: dict[str, Any] = {}
        self.readers: dict[str, list[Any]] = {}
        for node in self.graph.node:
            self.maker.update((name, node) for name in node.output if name)
            for name in dict.fromkeys(reads(node)):
                self.readers.setdefault(name, []).append(node)
        self.outputs = {output.name for output in self.graph.output}
        self._taken = {*self.stored, *self.maker, *self.readers, *(entry.name for entry in self.graph.input)}
        self._folded: dict[str, Array | None] = {}

    def node(self, name: str) -> Any:
        """The node of that name, or None."""
        return next((node for node in self.graph.node if node.name == name), None)

    def constant(self, name: str) -> Array | None:
        """The values of a tensor that is the same in every run: stored, or worked out from stored ones by `FOLDABLE` nodes."""
        if name not in self._folded:
            self._folded[name] = None  # a circle has no value
            self._folded[name] = self._fold(name)
        return self._folded[name]

    def fresh(self, wish: str) -> str:
        """``wish``, or ``wish_2`` and so on: a name of a tensor that none has yet; it is taken from then on."""
        name, number = wish, 2
        while name in self._taken:
            name, number = f"{wish}_{number}", number + 1
        self._taken.add(name)
        return name

    def store(self, values: Array, wish: str) -> str:
        """Stores ``values`` as an initializer and gives its name."""
        import onnx

        name = self.fresh(wish)
        self.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        self.stored[name] = self.graph.initializer[-1]
        return name

    def give(self, node: Any, index: int, values: Array, wish: str) -> str:
        """Has ``node`` read ``values``, stored for it alone, as its input ``index``; who else reads what it read is not touched."""
        before = node.input[index]
        node.input[index] = self.store(values, wish)
        if before not in reads(node):
            self.readers[before] = [one for one in self.readers.get(before, []) if one is not node]
        self.readers[node.input[index]] = [node]
        return str(node.input[index])

    def own(self, node: Any, index: int) -> Array | None:
        """The constant that ``node`` has as input ``index``, made an initializer that it alone reads; None when it is no constant."""
        name = node.input[index] if index < len(node.input) else ""
        values = self.constant(name) if name else None
        if values is not None and (name not in self.stored or len(self.readers.get(name, [])) > 1 or name in self.outputs):
            self.give(node, index, values, name)
        return values

    def insert(self, at: Any, *nodes: Any, after: bool = False) -> None:
        """Puts nodes before the node ``at`` (or behind it)."""
        place = next(place for place, node in enumerate(self.graph.node) if node is at or node == at) + after
        for step, node in enumerate(nodes):
            self.graph.node.insert(place + step, node)

    def sweep(self, keep: Callable[[Any], bool] = lambda node: False) -> None:
        """Takes out initializers that nothing reads any more, and `FOLDABLE` nodes that nothing reads, but those that ``keep`` keeps."""
        while True:
            self.renew()
            used = {*self.readers, *self.outputs}
            dead = [node for node in self.graph.node if node.op_type in FOLDABLE and not used & {*node.output} and not keep(node)]
            if not dead:
                break
            for node in dead:
                self.graph.node.remove(node)
        _keep(self.graph.initializer, lambda one: one.name in used)
        self.renew()

    def _fold(self, name: str) -> Array | None:
        import onnx

        if name in self.stored:
            return np.asarray(onnx.numpy_helper.to_array(self.stored[name]))
        node = self.maker.get(name)
        if node is None or node.op_type not in FOLDABLE or node.domain not in ("", "ai.onnx") or len(node.output) != 1:
            return None
        found = {read: self.constant(read) for read in node.input if read}
        if any(values is None for values in found.values()) or (node.op_type == "ConstantOfShape" and _too_big(found.values())):
            return None
        try:
            return np.asarray(evaluate(node, {**found}, self.model))
        except Exception:  # what the reference does not know is no constant to us
            return None


def reads(node: Any) -> list[str]:
    """All that a node reads, what its subgraphs take from outside included; a name may come more than once."""
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            own = {*(entry.name for entry in graph.input), *(entry.name for entry in graph.initializer)}
            own |= {name for inner in graph.node for name in inner.output}
            wanted = [name for inner in graph.node for name in reads(inner)] + [entry.name for entry in graph.output]
            found += [name for name in wanted if name and name not in own]
    return found


def evaluate(node: Any, values: dict[str, Any], model: Any) -> Array:
    """The one output of a node for constant inputs, by onnx's reference implementation."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    inputs = [onnx.ValueInfoProto(name=name) for name in values]
    graph = onnx.helper.make_graph([node], "constant", inputs, [onnx.ValueInfoProto(name=node.output[0])])
    alone = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    outputs: Any = ReferenceEvaluator(alone).run(None, values)
    return np.asarray(outputs[0])


def element_types(model: Any, graph: Graph) -> dict[str, int]:
    """The onnx element type of each tensor of the main graph, as far as onnx or edgeprof's own inference knows it."""
    import onnx

    known: dict[str, int] = {}
    for name, info in graph.tensors.items():
        if info.dtype:
            known[name] = int(onnx.TensorProto.DataType.Value(_ONNX_NAMES.get(info.dtype, info.dtype.upper())))
    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # a model that onnx's inference chokes on still has what is known already
        inferred = model.graph
    for entry in (*inferred.value_info, *inferred.input, *inferred.output):
        if entry.type.HasField("tensor_type") and entry.type.tensor_type.elem_type:
            known[entry.name] = entry.type.tensor_type.elem_type
    return known | {one.name: one.data_type for one in model.graph.initializer}


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """The value of a node's attribute; a text is str."""
    import onnx

    for one in node.attribute:
        if one.name == name:
            value = onnx.helper.get_attribute_value(one)
            return value.decode() if isinstance(value, bytes) else value
    return default


def opset_of(model: Any, domain: str = "") -> int:
    """The version of an operator set that the model imports; 0 for none."""
    wanted = ("", "ai.onnx") if domain == "" else (domain,)
    return max((entry.version for entry in model.opset_import if entry.domain in wanted), default=0)


def import_opset(model: Any, domain: str, version: int = 1) -> None:
    """Has the model import an operator set, unless it does."""
    import onnx

    if not opset_of(model, domain):
        model.opset_import.append(onnx.helper.make_opsetid(domain, version))


def copied(model: Any) -> Any:
    """A copy, IR 8 or newer, in which no initializer is also an input: what may come from outside is no constant."""
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    stored = {one.name for one in changed.graph.initializer}
    _keep(changed.graph.input, lambda entry: entry.name not in stored)
    changed.ir_version = max(changed.ir_version, 8)
    return changed


def weight_index(node: Any, wiring: Wiring) -> int | None:
    """Which input of a Conv, ConvTranspose, Gemm or MatMul is its weight: the second where constant, of a MatMul perhaps the first."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return None
    candidates: Iterable[int] = (1, 0) if node.op_type == "MatMul" else (1,)
    return next((index for index in candidates if wiring.constant(node.input[index]) is not None), None)


def _too_big(shapes: Iterable[Array | None]) -> bool:
    return any(shape is not None and float(np.prod(shape.astype(np.float64))) * 4 > MOST_FOLDED_BYTES for shape in shapes)


def _keep(entries: Any, wanted: Callable[[Any], bool]) -> None:
    kept = [entry for entry in entries if wanted(entry)]
    if len(kept) < len(entries):
        del entries[:]
        entries.extend(kept)


_ONNX_NAMES = {"float32": "FLOAT", "float64": "DOUBLE"}
