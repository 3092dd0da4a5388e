"""Which original tensor has the value of each executed tensor, and which original node each executed layer surely holds.

The evidence, strongest first: the tensor's own name; inserted layers that only move data (aliases); the layer's name, as
far as op types agree; what a reader that is already known reads at that place; the only node that fits the neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from edgeprof.models.graph import Layer
from edgeprof.models.names import Names
from edgeprof.models.nearby import FAR, NEAR, gate_input, is_copy, is_downstream, is_moved, may_vanish, without_movement
from edgeprof.models.optypes import (
    ARITHMETIC,
    GATED,
    INSERTABLE,
    LAYOUT,
    RESHAPES,
    core_types,
    holds_movement,
    is_kin,
    is_plain,
)
from edgeprof.models.scope import Scope

_QUANTIZED_SLOTS: Mapping[int, int] = {0: 0, 3: 1}
_MOVES = ("perm", "to")
_SIZES = ("kernel_shape", "strides", "dilations", "perm")
_EIGHT_BITS = frozenset({"int8", "uint8"})
_IDLE = ARITHMETIC | {"Cast"}


class Correspondence:
    """Values of executed tensors and anchors of executed layers, for one pair of scopes.

    ``value(tensor)`` is an original tensor or None. ``anchor``: executed layer to an original node it surely carries out.
    ``inserted``: executed layers that only move data for the runtime's sake. ``replaced``: ``(node, slot)`` where a constant
    took the place of a computed tensor. ``vanished``: nodes that a layer skips, with that layer's name.
    """

    def __init__(self, original: Scope, executed: Scope, outer: Callable[[str], str | None]) -> None:
        self.original, self.executed, self.names = original, executed, Names(original, outer)
        self.anchor: dict[int, int] = {}
        self.inserted: set[int] = set()
        self._taken: set[int] = set()
        self._alias: dict[str, str] = {}
        self._value: dict[str, str] = {}
        self._read_names()
        self._open = self._look_back()
        self._anchor_layers()
        self.live = {original.same(v) for v in self._value.values()}
        self._go_forward()
        self.vanished: dict[int, str] = {}
        self.replaced: set[tuple[str, int]] = set()
        self._align()
        self.live = {original.same(v) for v in self._value.values()}

    def value(self, tensor: str) -> str | None:
        """The original tensor that this executed tensor holds, in whatever layout or precision."""
        return self._value.get(self._root(tensor))

    def _root(self, tensor: str) -> str:
        alias = self._alias
        while tensor in alias:
            tensor = alias[tensor]
        return tensor

    def _read_names(self) -> None:
        for tensor in self.executed.tensors:
            name = self.names.tensor(tensor)
            if name is not None:
                self._value[tensor] = name

    def _look_back(self) -> set[int]:
        """Case 2, where names tell: what an inserted layer reads has the value of its output. Returns the ones without names."""
        unknown = set()
        for index in self.executed.order:
            layer = self.executed.layers[index]
            if layer.op_type not in INSERTABLE or not layer.inputs:
                continue
            name = self.names.tensor(layer.outputs[0])
            if layer.op_type in LAYOUT or (name is not None and not self._makes(layer, name)):
                self._see_through(index)
            elif name is None and self.names.node(layer) is None:
                unknown.add(index)
        return unknown

    def _makes(self, layer: Layer, name: str) -> bool:
        """True when the original makes this tensor with the same kind of movement."""
        node = self.original.maker(name) if layer.outputs[0] in self.original.tensors else None
        return node is not None and is_kin(layer, node)

    def _see_through(self, index: int) -> None:
        layer = self.executed.layers[index]
        if self._join(self._root(layer.inputs[0]), self._root(layer.outputs[0])):
            self.inserted.add(index)

    def _go_forward(self) -> None:
        """Cases 2 to 4 for outputs without a name, in the order of execution, until nothing more is found."""
        waiting = [i for i in self.executed.order if i not in self.inserted and self._is_lost(i)]
        while waiting:
            left = [index for index in waiting if not self._find(index)]
            if len(left) == len(waiting):
                break
            waiting = left
        for index in sorted(self._open):
            self._see_through(index)
        self._open.clear()

    def _is_lost(self, index: int) -> bool:
        outputs = self.executed.layers[index].outputs
        return bool(outputs) and self.value(outputs[0]) is None

    def _find(self, index: int) -> bool:
        """Looks for the node of a layer whose output has no name; True when the layer needs no further looking."""
        layer = self.executed.layers[index]
        if index in self._open:
            return self._find_movement(index, layer)
        node = self.anchor.get(index)
        if node is None:
            node = self._by_weights(layer)
        if node is None:
            node = self._by_neighbours(layer)
        if node is not None:
            self._claim(index, node)
            self._set_outputs(layer, self.original.layers[node])
            return True
        return self._by_readers(index, layer) or self._by_end(index, layer)

    def _find_movement(self, index: int, layer: Layer) -> bool:
        if self.value(layer.inputs[0]) is None:
            return False
        self._open.discard(index)
        node = self._repeats(layer)
        if node is None and layer.op_type in RESHAPES:
            node = self._by_neighbours(layer)
        if node is None:
            self._see_through(index)
        else:
            self._claim(index, node)
            self._set_outputs(layer, self.original.layers[node])
        return True

    def _repeats(self, layer: Layer) -> int | None:
        """The original node that does the same to the same: then the output is the same, too."""
        value = self.value(layer.inputs[0])
        if value is None or layer.op_type in RESHAPES - {"Transpose"}:
            return None
        for tensor in dict.fromkeys((value, self.original.same(value))):
            for node, slot in self.original.readers.get(tensor, ()):
                if slot == 0 and self.original.layers[node].op_type == layer.op_type and _agree(layer, self.original.layers[node], _MOVES):
                    return node
        return None

    def _join(self, source: str, target: str) -> bool:
        """Makes two executed tensors one; False when they are known to differ."""
        if source == target:
            return True
        known = self._value.get(source), self._value.get(target)
        if known[0] is not None and known[1] is not None and self.original.same(known[0]) != self.original.same(known[1]):
            return False
        value = known[0] if known[0] is not None else known[1]
        self._alias[target] = source
        if value is not None:
            self._value[source] = value
        return True

    def _anchor_layers(self) -> None:
        for index, layer in enumerate(self.executed.layers):
            if index in self.inserted:
                continue
            made = (self.value(t) for t in layer.outputs if t)
            node = next((self.original.producer[v] for v in made if v is not None and v in self.original.producer), None)
            if node is None:
                node = self.names.node(layer)
            if node is not None:
                self._claim(index, node)

    def _claim(self, index: int, node: int) -> None:
        self.anchor[index] = node
        self._taken.add(node)

    def _set_outputs(self, layer: Layer, node: Layer) -> None:
        for position, (tensor, made) in enumerate(zip(layer.outputs, node.outputs, strict=False)):
            if tensor and made and self.value(tensor) is None:
                self._value[self._root(tensor)] = self._expected(tensor, made) if position == 0 else made

    def _expected(self, tensor: str, made: str) -> str:
        """``made``, or what the known readers of ``tensor`` read, if that lies a few fused nodes further down."""
        made = self._quantized(tensor, self._fused(tensor, made))
        wanted = {self.original.same(w): w for w in self._wanted(tensor)}
        found = {self.original.same(w): w for w in (without_movement(self.original, w, made) for w in wanted.values()) if w is not None}
        return next(iter(found.values())) if len(found) == 1 else made

    def _fused(self, tensor: str, made: str) -> str:
        """What the sum that a Conv takes in at its fourth place, and its activation, make of ``made``."""
        layer = self.executed.maker(tensor)
        if layer is None or is_plain(layer) or "Conv" not in layer.op_type or layer.op_type.startswith("QLinear"):
            return made
        added = self.value(layer.inputs[3]) if len(layer.inputs) > 3 and layer.inputs[3] else None
        if added is not None:
            sums = (n for n, _ in self.original.readers.get(made, ()) if self.original.layers[n].op_type in ("Add", "Sum"))
            made = next((self.original.layers[n].outputs[0] for n in sums if self._reads(n, added)), made)
        maker, activation = self.original.maker(made), layer.attributes.get("activation")
        if maker is not None and maker.op_type != activation:
            readers = (self.original.layers[n] for n, _ in self.original.readers.get(made, ()))
            made = next((reader.outputs[0] for reader in readers if reader.op_type == activation), made)
        return made

    def _reads(self, node: int, tensor: str) -> bool:
        return self.original.same(tensor) in {self.original.same(t) for t in self.original.layers[node].inputs}

    def _quantized(self, tensor: str, made: str) -> str:
        """What QuantizeLinear makes of ``made``, if the executed tensor holds 8-bit integers and ``made`` does not."""
        if not self._is_quantized(tensor) or self.original.graph.tensor(made).dtype in _EIGHT_BITS:
            return made
        readers = [self.original.layers[node] for node, _ in self.original.readers.get(made, ())]
        made_of = [reader.outputs[0] for reader in readers if reader.op_type == "QuantizeLinear"]
        return made_of[0] if len(made_of) == 1 else made

    def _is_quantized(self, tensor: str) -> bool:
        maker = self.executed.maker(tensor)
        return self.executed.graph.tensor(tensor).dtype in _EIGHT_BITS or (maker is not None and maker.op_type.startswith("QLinear"))

    def readers(self, tensor: str) -> Iterator[tuple[int, int]]:
        """Executed layers (and slots) that read a tensor or a copy of it (an inserted layer copies what it reads first)."""
        queue = [tensor]
        while queue:
            for reader, slot in self.executed.readers.get(queue.pop(), ()):
                if slot == 0 and (reader in self.inserted or reader in self._open):
                    queue.append(self.executed.layers[reader].outputs[0])
                else:
                    yield reader, slot

    def _wanted(self, tensor: str) -> Iterator[str]:
        """What readers expect: a reader built around node N reads at slot i what N reads there."""
        for reader, slot in self.readers(tensor):
            core = self.core(reader)
            place = _slot_of_core(self.executed.layers[reader], slot)
            if core is not None and self.executed.layers[reader].op_type in GATED and slot == 0:
                yield gate_input(self.original, core)
            elif core is not None and place is not None and place < len(core.inputs) and core.inputs[place]:
                yield core.inputs[place]

    def _align(self) -> None:
        """Case 7: where a layer reads another tensor than its node, that one is a twin, or a constant, or moved without effect."""
        for index in self.executed.order:
            core = None if index in self.inserted else self.core(index)
            if core is not None:
                self._align_slots(self.executed.layers[index], core)

    def _align_slots(self, layer: Layer, core: Layer) -> None:
        for slot, tensor in enumerate(layer.inputs):
            place = _slot_of_core(layer, slot)
            if not tensor or place is None or place >= len(core.inputs) or not core.inputs[place]:
                continue
            wanted, value = core.inputs[place], self.value(tensor)
            if tensor in self.executed.constant:
                self.replaced.add((core.name, place))
            elif value is not None and wanted not in self.original.constant:
                self._equate(layer, wanted, value)

    def _equate(self, layer: Layer, wanted: str, value: str) -> None:
        """``layer`` reads ``value`` where its node reads ``wanted``."""
        if is_downstream(self.original, wanted, self.original.same(value)):
            if is_plain(layer) and not holds_movement(layer):
                self._skip(layer.name, wanted, value)
        elif is_moved(self.original, value, wanted):
            self.original.unite(value, wanted)
        else:
            self.original.unite_if_alike(wanted, value)

    def _skip(self, reader: str, wanted: str, value: str) -> None:
        """A plain layer skips arithmetic and casts that may have no effect: then they have none."""
        chain, tensor = [], wanted
        for _ in range(FAR):
            maker = self.original.maker(tensor)
            if (
                self.original.same(tensor) == self.original.same(value)
                or maker is None
                or maker.op_type not in _IDLE
                or not may_vanish(self.original, maker)
            ):
                break
            chain.append(self.original.producer[tensor])
            tensor = next(t for t in maker.inputs if t and t not in self.original.constant)
        if chain and self.original.same(tensor) == self.original.same(value):
            self.vanished.update(dict.fromkeys(chain, reader))
            self.original.unite(wanted, value)

    def core(self, index: int) -> Layer | None:
        """The original node that an executed layer is built around, looked for from its anchor a few nodes upwards.

        A BatchNormalization, Mul or Add may run as a Conv: that is named so.
        """
        if index not in self.anchor:
            return None
        executed = self.executed.layers[index]
        tensor, was = self.names.blocked_tensor(executed)
        if was and tensor is not None:
            return self.original.maker(tensor)
        types = core_types(executed) | {GATED.get(executed.op_type, executed.op_type)}
        queue = [self.anchor[index]]
        found: set[int] = set()
        seen: set[int] = set()
        while queue and len(seen) < NEAR:
            node = queue.pop(0)
            if node in seen:
                continue
            seen.add(node)
            layer = self.original.layers[node]
            if layer.op_type in types:
                found.add(node)
                if executed.op_type in GATED:  # the nearest gate is its own, the next one another Gelu's
                    break
                continue
            queue.extend(self.original.producer[t] for t in layer.inputs if self._is_fused(t))
        return self.original.layers[found.pop()] if len(found) == 1 else None

    def _is_fused(self, tensor: str) -> bool:
        """True for tensors that no executed layer is known to make or to be given."""
        original = self.original
        return tensor in original.producer and tensor not in original.constant and original.same(tensor) not in self.live

    def _by_weights(self, layer: Layer) -> int | None:
        """Case 4: the one node that reads a constant which this layer still reads."""
        fits: set[int] = set()
        for tensor in layer.inputs[1:]:
            value = self.value(tensor) if tensor in self.executed.constant else None
            queue = [value] if value is not None else []
            while queue:
                readers = self.original.readers.get(queue.pop(), [])
                for node in {n for n, _ in readers} if len(readers) == 1 else ():
                    made = self.original.layers[node].outputs
                    if all(t in self.original.constant for t in made):
                        queue.extend(made)
                    elif is_kin(layer, self.original.layers[node]):
                        fits.add(node)
        return fits.pop() if len(fits) == 1 and not fits & self._taken else None

    def _by_neighbours(self, layer: Layer) -> int | None:
        """Case 4: the one node of the kind that reads what the layer reads, at most some vanished data movement further on."""
        values = [self.value(t) for t in layer.inputs if t and t not in self.executed.constant]
        if not values or values[0] is None:
            return None
        rest = {self.original.same(v) for v in values[1:] if v is not None}
        fits = {node for node in self._ahead(layer, values[0]) if self._reads_all(node, rest)}
        return fits.pop() if len(fits) == 1 else None

    def _ahead(self, layer: Layer, value: str) -> Iterator[int]:
        queue = [(tensor, 0) for tensor in dict.fromkeys((value, self.original.same(value)))]
        while queue:
            tensor, depth = queue.pop(0)
            for node, _ in self.original.readers.get(tensor, ()):
                reader = self.original.layers[node]
                if any(t in self.executed.tensors for t in reader.outputs):
                    continue
                if is_kin(layer, reader):
                    if node not in self._taken and _agree(layer, reader, _SIZES) and self._same_arity(layer, reader):
                        yield node
                elif depth < FAR and may_vanish(self.original, reader):
                    queue.append((reader.outputs[0], depth + 1))

    def _same_arity(self, layer: Layer, node: Layer) -> bool:
        """A plain layer reads as many computed tensors as its node."""
        counts = [sum(t not in self.executed.constant for t in layer.inputs if t)]
        counts.append(sum(t not in self.original.constant for t in node.inputs if t))
        return not is_plain(layer) or layer.op_type != node.op_type or counts[0] == counts[1]

    def _reads_all(self, node: int, values: set[str]) -> bool:
        inputs = [t for t in self.original.layers[node].inputs if t]
        return all(any(is_downstream(self.original, t, value) for t in inputs) for value in values)

    def _by_readers(self, index: int, layer: Layer) -> bool:
        """Case 3: a fusion without a name makes what all its readers expect, if that lies downstream of what it reads."""
        values = [self.value(t) for t in layer.inputs if t and t not in self.executed.constant]
        wanted = {self.original.same(w): w for w in self._wanted(layer.outputs[0])}
        if len(wanted) != 1 or not values or values[0] is None:
            return False
        result = without_movement(self.original, next(iter(wanted.values())), values[0])
        maker = self.original.maker(result) if result is not None else None
        if maker is not None and maker.op_type == "QuantizeLinear" and not self._is_quantized(layer.outputs[0]):
            result = maker.inputs[0]
        if result is None or self.original.same(result) == self.original.same(values[0]) or result not in self.original.producer:
            return False
        return self._makes_value(index, layer, result)

    def _by_end(self, index: int, layer: Layer) -> bool:
        """Case 4: a layer whose result nobody reads ends where the original has its only unread result below the same tensor."""
        value = self.value(layer.inputs[0]) if layer.inputs else None
        if value is None or any(True for tensor in layer.outputs for _ in self.readers(tensor)):
            return False
        queue, seen, ends = [value], {value}, []
        while queue and len(seen) < NEAR:
            tensor = queue.pop(0)
            readers = self.original.readers.get(tensor, ())
            made = [t for node, _ in readers if node not in self._taken for t in self.original.layers[node].outputs if self._is_fused(t)]
            if not readers and not self.original.is_result(tensor) and not is_copy(self.original, tensor):
                ends.append(tensor)
            queue += [t for t in dict.fromkeys(made) if t not in seen]
            seen.update(made)
        return len(ends) == 1 and not queue and self._makes_value(index, layer, ends[0])

    def _makes_value(self, index: int, layer: Layer, result: str) -> bool:
        self._claim(index, self.original.producer[result])
        self._value[self._root(layer.outputs[0])] = result
        return True


def _agree(layer: Layer, node: Layer, keys: Iterable[str]) -> bool:
    """False when both have one of these attributes and it differs."""
    pairs = ((layer.attributes.get(key), node.attributes.get(key)) for key in keys)
    return all(a == b for a, b in pairs if a is not None and b is not None)


def _slot_of_core(layer: Layer, slot: int) -> int | None:
    """Where the core node reads what an executed layer reads at ``slot``; None where that is not known."""
    if layer.op_type.startswith(("QLinear", "QGemm")):
        return _QUANTIZED_SLOTS.get(slot)
    return None if layer.domain.endswith("nchwc") and slot > 2 else slot
