"""Takes channels out of a model: weights, biases, constants for each channel, and the numbers that count them.

A constant that several layers read is cut for each as it needs it: one copy for all that lose the same, under the old name where nobody
reads the old one any more. What nobody reads any more goes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from edgeprof.recipes.pruning.constants import Array, Constants
from edgeprof.recipes.pruning.groups import Coupling
from edgeprof.recipes.pruning.labels import Counted

Keep = dict[int, Array]
"""By axis: which positions stay."""


def cut(model: Any, coupling: Coupling, gone: Iterable[int]) -> Any:
    """A copy of the onnx ModelProto without what has one of the labels ``gone``. Nodes keep their names; shapes are inferred anew."""
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    before = set(_read(changed.graph))
    knife = _Knife(changed, coupling, frozenset(gone))
    knife.slice_constants()
    knife.correct_counts()
    knife.finish()
    _remove_unread(changed, before)
    del changed.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(changed)


class _Knife:
    def __init__(self, model: Any, coupling: Coupling, gone: frozenset[int]) -> None:
        self.model, self.coupling, self.gone = model, coupling, gone
        self.nodes = {node.name: node for node in model.graph.node}
        self.constants = Constants(model)
        self.cut: dict[tuple[str, tuple[tuple[int, bytes], ...]], str] = {}
        self.inserted: list[Any] = []
        self.taken = {*self.constants.stored, *self.constants.makers, *(one.name for one in model.graph.input)}

    def slice_constants(self) -> None:
        """Every layer reads its constants without what goes."""
        keeps: dict[tuple[str, int], Keep] = defaultdict(dict)
        for edit in self.coupling.flow.sliced:
            keep = self.coupling.kept(edit.ids, self.gone)
            if not keep.all():
                keeps[edit.layer, edit.input][edit.axis] = keep
        for (layer, at), masks in keeps.items():
            node = self.nodes[layer]
            key = node.input[at], tuple((axis, mask.tobytes()) for axis, mask in sorted(masks.items()))
            if key not in self.cut:
                self.cut[key] = self._sliced(node.input[at], masks)
            node.input[at] = self.cut[key]

    def correct_counts(self) -> None:
        """Sizes, places and numbers of groups that count channels."""
        counts: dict[tuple[str, int | str], list[Counted]] = defaultdict(list)
        for edit in self.coupling.flow.counted:
            counts[edit.layer, edit.where].append(edit)
        for (layer, where), edits in counts.items():
            if not all(self.coupling.kept(edit.ids, self.gone).all() for edit in edits):
                self._correct(self.nodes[layer], where, edits)

    def finish(self) -> None:
        """Puts inserted nodes in front, and gives constants that nobody reads any more their names back to what is left of them."""
        nodes = [*self.inserted, *self.model.graph.node]
        if self.inserted:
            copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
            del self.model.graph.node[:]
            self.model.graph.node.extend(copies)
        read = set(_read(self.model.graph))
        heirs: dict[str, list[str]] = defaultdict(list)
        for (old, _), new in self.cut.items():
            heirs[old].append(new)
        names = {new[0]: old for old, new in heirs.items() if len(new) == 1 and old in self.constants.stored and old not in read}
        _rename(self.model.graph, names)

    def _sliced(self, name: str, keep: Keep) -> str:
        """The name of a constant that holds what stays of the constant ``name``."""
        maker = self.constants.makers.get(name)
        if maker is not None and maker.op_type == "ConstantOfShape":  # it stays one: its values need no room in the file
            sizes = list(self.constants.value(maker.input[0]).tolist())
            for axis, mask in keep.items():
                sizes[axis] = int(mask.sum())
            copy = type(maker).FromString(maker.SerializeToString())
            copy.input[0] = self._store(f"{maker.input[0]}/pruned", np.array(sizes, np.int64))
            copy.name = copy.output[0] = self._fresh(f"{name}/pruned")
            self.inserted.append(copy)
            return str(copy.name)
        value = self.constants.value(name)
        for axis, mask in keep.items():
            value = np.compress(mask, value, axis=axis)
        return self._store(f"{name}/pruned", value)

    def _correct(self, node: Any, where: int | str, edits: list[Counted]) -> None:
        import onnx

        if isinstance(where, str):
            held = next((attribute for attribute in node.attribute if attribute.name == where), None)
            value = onnx.helper.get_attribute_value(held) if held is not None else 1 if not edits[0].base else list(edits[0].base)
        else:
            there = len(node.input) > where and node.input[where] and not edits[0].base
            value = self.constants.value(node.input[where]).tolist() if there else list(edits[0].base)
        listed = list(value) if isinstance(value, list | tuple) else [value]
        for edit in edits:
            listed[edit.position] = int(self.coupling.kept(edit.ids, self.gone).sum())
        if isinstance(where, str):
            _set_attribute(node, where, listed if isinstance(value, list | tuple) else listed[0])
            return
        kind = self.constants.value(node.input[where]).dtype if len(node.input) > where and not edits[0].base else np.dtype(np.int64)
        while len(node.input) <= where:
            node.input.append("")
        node.input[where] = self._store(f"{node.name}/sizes", np.array(listed, kind))
        if node.op_type == "Split":
            _set_attribute(node, "num_outputs", None)

    def _store(self, name: str, value: Array) -> str:
        name = self._fresh(name)
        _append(self.model, name, value)
        return name

    def _fresh(self, name: str) -> str:
        found, number = name, 1
        while found in self.taken:
            found, number = f"{name}_{number}", number + 1
        self.taken.add(found)
        return found


def store(model: Any, name: str, value: Array) -> str:
    """Stores a constant in ``model`` under ``name``, or one like it that is free; returns the name."""
    graph = model.graph
    taken = {one.name for listed in (graph.initializer, graph.input) for one in listed} | {
        name for node in graph.node for name in node.output
    }
    found, number = name, 1
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    _append(model, found, value)
    return found


def _append(model: Any, name: str, value: Array) -> None:
    import onnx

    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
    if model.ir_version < 4:  # there all initializers are listed as inputs
        kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, value.shape))


def _read(graph: Any) -> Iterator[str]:
    """Names of all tensors that something reads, in inner graphs too."""
    yield from (output.name for output in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _read(inner)


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Gives stored constants other names; those that had them go."""
    old = set(names.values())
    for listed in (graph.initializer, graph.input):
        kept = [one for one in listed if one.name not in old]
        for one in kept:
            one.name = names.get(one.name, one.name)
        copies = [type(one).FromString(one.SerializeToString()) for one in kept]
        del listed[:]
        listed.extend(copies)
    for node in graph.node:
        for at, name in enumerate(node.input):
            if name in names:
                node.input[at] = names[name]


def _remove_unread(model: Any, before: set[str]) -> None:
    """Removes constants, and the nodes that make them, that were read ``before`` and are not any more."""
    graph = model.graph
    while True:
        unread = before - set(_read(graph))
        nodes = [node for node in graph.node if node.output and all(name in unread or not name for name in node.output)]
        if not nodes:
            break
        for node in nodes:
            graph.node.remove(node)
    for listed in (graph.initializer, graph.input):
        for one in [one for one in listed if one.name in unread]:
            listed.remove(one)


def _set_attribute(node: Any, name: str, value: Any) -> None:
    import onnx

    for attribute in [attribute for attribute in node.attribute if attribute.name == name]:
        node.attribute.remove(attribute)
    if value is not None:
        node.attribute.append(onnx.helper.make_attribute(name, value))
