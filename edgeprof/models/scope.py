"""One level of a graph, indexed: who makes and who reads each tensor, what is constant, what is computed twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Sequence

from edgeprof.models.graph import Graph, Layer

SHAPE_OPS = frozenset({"Shape", "Size"})
RANDOM_OPS = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"})
COPY_OPS = frozenset({"Identity", "Dropout"})
MOST_ALIKE = 64
OPAQUE_OPS = frozenset({"Constant", "ConstantOfShape", "If", "Loop", "Scan"})
"""Types whose meaning lies in tensor or graph attributes, which a `Graph` does not hold: two of them are never called equal."""


class Scope:
    """Layers of one level (the top, or one branch of one parent) with indexes; layers are numbered by position.

    ``producer``: tensor to the layer that makes it. ``readers``: tensor to ``(layer, slot)``. ``rank``: topological
    position of a layer. ``constant``: tensors that depend on constants only, and on shapes that nobody computes (``running``
    holds the tensors that are computed). ``value``: tensor to the first
    tensor that is computed in the same way from the same (itself, mostly); see `same`.
    """

    def __init__(
        self, graph: Graph, layers: Sequence[Layer], is_read_outside: Callable[[str], bool] = lambda _: False, running: Container[str] = ()
    ) -> None:
        self.graph = graph
        self.layers = tuple(layers)
        self.parents = frozenset(layer.parent for layer in graph.layers if layer.parent)
        self.producer: dict[str, int] = {}
        self.readers: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for index, layer in enumerate(self.layers):
            self.producer.update((name, index) for name in layer.outputs if name)
            for slot, name in enumerate(layer.inputs):
                if name:
                    self.readers[name].append((index, slot))
        self._is_read_outside = is_read_outside
        self._outputs = frozenset(t.name for t in graph.outputs)
        self.running = running
        self.tensors = {t for layer in self.layers for t in (*layer.inputs, *layer.outputs) if t} | {t.name for t in graph.inputs}
        self.order = self._order()
        self.rank = {index: position for position, index in enumerate(self.order)}
        self.constant = set(graph.initializers)
        self.value: dict[str, str] = {}
        self._literals: dict[object, str] = {}
        self._number()

    def same(self, tensor: str) -> str:
        """The representative of all tensors with this tensor's value."""
        value = self.value
        if tensor not in value:
            value[tensor] = self._literal(tensor)
        while value[tensor] != tensor:
            value[tensor] = value.get(value[tensor], value[tensor])
            tensor = value[tensor]
        return tensor

    def unite(self, tensor: str, other: str) -> None:
        """From now on ``tensor`` has the value of ``other``."""
        self.value[self.same(tensor)] = self.same(other)

    def unite_if_alike(self, tensor: str, other: str) -> bool:
        """Unites two tensors that the same nodes make from the same, but for constants whose values are not known."""
        pairs: list[tuple[str, str]] = []
        queue = [(tensor, other)]
        while queue:
            one, two = queue.pop()
            if self.same(one) == self.same(two) or (one, two) in pairs:
                continue
            first, second = self.maker(one), self.maker(two)
            if first is None or second is None or not self._alike(first, second) or len(pairs) > MOST_ALIKE:
                return False
            pairs.append((one, two))
            queue += [(a, b) for a, b in zip(first.inputs, second.inputs, strict=True) if not self._are_constants(a, b)]
        for one, two in pairs:
            self.unite(one, two)
        return True

    def _are_constants(self, one: str, two: str) -> bool:
        return all(not t or t in self.constant for t in (one, two)) and self.graph.tensor(one).shape == self.graph.tensor(two).shape

    def _alike(self, one: Layer, two: Layer) -> bool:
        kinds = [(a.op_type, a.domain, dict(a.attributes), len(a.inputs), len(a.outputs)) for a in (one, two)]
        return kinds[0] == kinds[1] and one.name not in self.parents and one.op_type not in RANDOM_OPS

    def is_result(self, tensor: str) -> bool:
        """True for the graph's outputs and for what layers of other levels read."""
        return tensor in self._outputs or self._is_read_outside(tensor)

    def maker(self, tensor: str) -> Layer | None:
        """The layer that makes this tensor here, if one does."""
        index = self.producer.get(tensor)
        return None if index is None else self.layers[index]

    def _literal(self, tensor: str) -> str:
        """Equal small integer constants are one value; ``tensor`` itself otherwise."""
        values = self.graph.constants.get(tensor)
        if values is None:
            return tensor
        info = self.graph.tensor(tensor)
        return self._literals.setdefault((info.dtype, info.shape, values), tensor)

    def _order(self) -> list[int]:
        waiting = [len({self.producer[t] for t in layer.inputs if t in self.producer}) for layer in self.layers]
        ready = [index for index, count in enumerate(waiting) if not count]
        for index in ready:
            for reader in {r for t in self.layers[index].outputs for r, _ in self.readers.get(t, ())}:
                waiting[reader] -= 1
                if not waiting[reader]:
                    ready.append(reader)
        return ready if len(ready) == len(self.layers) else list(range(len(self.layers)))

    def _number(self) -> None:
        """Value numbering in topological order, and which tensors are constant."""
        seen: dict[object, tuple[str, ...]] = {}
        for index in self.order:
            layer = self.layers[index]
            if self._is_constant(layer):
                self.constant.update(layer.outputs)
            before = self.undone(layer)
            if before is not None:
                self.value[layer.outputs[0]] = before
            elif layer.op_type not in OPAQUE_OPS | RANDOM_OPS and layer.name not in self.parents and layer.inputs:
                for output, twin in zip(layer.outputs, seen.setdefault(self._key(layer), layer.outputs), strict=False):
                    if output and twin:
                        self.value[output] = self.value.get(twin, twin)

    def undone(self, layer: Layer) -> str | None:
        """The value that a copy passes on, or that a second Transpose restores."""
        if layer.op_type in COPY_OPS and layer.inputs:
            return self.same(layer.inputs[0])
        first = self.maker(layer.inputs[0]) if layer.op_type == "Transpose" else None
        perms = layer.attributes.get("perm"), first.attributes.get("perm") if first is not None else None
        if first is None or first.op_type != "Transpose" or not isinstance(perms[0], tuple) or not isinstance(perms[1], tuple):
            return None
        restores = sorted(perms[0]) == sorted(perms[1]) and all(perms[1].index(place) == axis for place, axis in enumerate(perms[0]))
        return self.same(first.inputs[0]) if restores else None

    def _key(self, layer: Layer) -> object:
        attributes = tuple(sorted((key, repr(value)) for key, value in layer.attributes.items()))
        inputs = tuple(self.same(t) if t else "" for t in layer.inputs)
        return layer.domain, layer.op_type, attributes, inputs, len(layer.outputs)

    def _is_constant(self, layer: Layer) -> bool:
        if layer.op_type in SHAPE_OPS:
            return layer.outputs[0] not in self.running
        if layer.op_type == "Constant":
            return True
        if layer.op_type in RANDOM_OPS or layer.name in self.parents:
            return False
        inputs = [t for t in layer.inputs if t]
        return bool(inputs) and all(t in self.constant for t in inputs)
