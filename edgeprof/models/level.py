"""Which nodes each executed layer of one level carries out, given what its tensors hold.

The numbered cases stand at the head of `edgeprof.models.identity`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from edgeprof.models.correspondence import Correspondence
from edgeprof.models.fates import Fate
from edgeprof.models.graph import Layer
from edgeprof.models.optypes import ABSORBS, ARITHMETIC, MOVEMENT, NO_EFFECT, core_types, holds_movement, is_plain, takes_before
from edgeprof.models.scope import COPY_OPS, Scope
from edgeprof.models.walk import Walk

_FEW = 12
_ROUNDS = 4


class Level:
    """Sources of the executed layers of one level, from the values of their tensors."""

    def __init__(self, original: Scope, executed: Scope, outer: Callable[[str], str | None]) -> None:
        self.original, self.executed = original, executed
        self.tensors = Correspondence(original, executed, outer)
        self.numbers = {layer.name: index for index, layer in enumerate(original.layers)}
        self.sources: dict[int, set[int]] = {}
        self.carried: dict[int, set[int]] = defaultdict(set)
        self.removed: dict[int, tuple[Fate, str]] = {}
        self.dropped_from: dict[int, int] = {}
        self.dead_ends: list[str] = []
        self.notes: dict[str, str] = {}

    def match(self) -> None:
        """Fills ``sources`` and ``removed``."""
        lost = []
        for node, reader in self.tensors.vanished.items():
            self.removed[node] = "removed", f"no effect, or cancelled, before {reader}"
        for index in self.executed.order:
            if index in self.tensors.inserted:
                self.notes[self.executed.layers[index].name] = "inserted by the runtime"
                continue
            self.sources[index] = self._region(index)
            if not self.sources[index]:
                lost.append(index)
        left = self._see_movement(lost)
        tied = {reader for index in left for reader in self._behind(self.executed.layers[index])}
        for index in self.sources.keys() - tied:
            self._keep_possible(index)
        self._forget_idle()
        self._share_clusters(left)
        for index in tied:
            self._keep_possible(index)
        self._forget_idle()
        self._pair_moved()
        for index, nodes in self.sources.items():
            for node in nodes:
                self.carried[node].add(index)

    def _region(self, index: int) -> set[int]:
        """Case 1: nodes on the paths from the layer's inputs to its outputs."""
        layer = self.executed.layers[index]
        values = [v for v in (self.tensors.value(t) for t in layer.outputs if t) if v is not None]
        makers = [self.original.producer[v] for v in values if v in self.original.producer]
        anchor = self.tensors.anchor.get(index)
        if not makers:
            return set() if anchor is None else {anchor}
        inputs = [t for t in layer.inputs if t and t not in self.executed.constant]
        known = [self.tensors.value(t) for t in inputs]
        nodes, missed = self._between(layer, values, makers, known)
        if missed and self._unite_twins(nodes, missed):
            nodes, _ = self._between(layer, values, makers, known)
        return nodes

    def _between(
        self, layer: Layer, values: Sequence[str], makers: Sequence[int], known: Sequence[str | None]
    ) -> tuple[set[int], set[str]]:
        """Nodes between what the layer reads and makes, and what it reads that was not met on the way."""
        inputs = {self.original.same(v) for v in known if v is not None}
        walk = Walk(self.original, inputs, {self.original.same(v) for v in values}, self._constants_read(layer))
        nodes = walk.collect(makers, self.tensors.live, open_ended=None in known)
        if walk.missed and None not in known:
            nodes |= walk.collect(makers, frozenset(), open_ended=False)
        return nodes, walk.missed

    def _unite_twins(self, nodes: set[int], missed: set[str]) -> bool:
        """Case 7: a tensor that was not met is the twin of one that the nodes read instead."""
        made = {t for node in nodes for t in self.original.layers[node].outputs}
        ends = {t for n in nodes for t in self.original.layers[n].inputs if t and t not in made and t not in self.original.constant}
        strangers = {t for t in ends if self.original.same(t) not in self.tensors.live}
        return sum(self.original.unite_if_alike(one, other) for one in strangers for other in missed) > 0

    def _constants_read(self, layer: Layer) -> set[str]:
        values = (self.tensors.value(t) for t in layer.inputs if t in self.executed.constant)
        return {self.original.same(v) for v in values if v is not None}

    def _see_movement(self, lost: Sequence[int]) -> list[int]:
        """Lost layers that only move data were inserted; returns the others."""
        moving = [index for index in lost if self.executed.layers[index].op_type in MOVEMENT]
        self.tensors.inserted.update(moving)
        self.notes.update((self.executed.layers[index].name, "inserted by the runtime") for index in moving)
        return [index for index in lost if index not in self.tensors.inserted]

    def _share_clusters(self, left: Sequence[int]) -> None:
        """Case 5: layers that are known by nothing take part in what the known layers they are tied to carry out."""
        for _ in range(_ROUNDS):
            left = [index for index in reversed(left) if not self._share(index)]
        for index in left:
            self._give_up(index)

    def _share(self, index: int) -> bool:
        """True when all that is tied to a layer by tensors without a value carries out one and the same node.

        A Softmax that runs in five steps is such a node; the five layers carry it out together.
        """
        layer = self.executed.layers[index]
        tied = set(self._behind(layer))
        tied |= {self.executed.producer[t] for t in layer.inputs if t in self.executed.producer and self.tensors.value(t) is None}
        shared = {n for other in tied for n in self.sources.get(other, ()) if self.original.layers[n].op_type not in MOVEMENT}
        if len(shared) == 1:
            self.sources[index] = shared
        return len(shared) == 1

    def _behind(self, layer: Layer) -> Iterator[int]:
        """Layers that read this one and carry out something; for an inserted reader (its shape is read), what it moves."""
        for reader, _ in (place for tensor in layer.outputs for place in self.tensors.readers(tensor)):
            moved = self._what_moves(reader)
            if self.sources.get(moved):
                yield moved

    def _what_moves(self, index: int) -> int:
        """The layer whose output an inserted layer (or a chain of them) moves; any other layer is itself."""
        while index in self.tensors.inserted and self.executed.layers[index].inputs[0] in self.executed.producer:
            index = self.executed.producer[self.executed.layers[index].inputs[0]]
        return index

    def _give_up(self, index: int) -> None:
        """Several nodes may be what a lost layer carries out; the layers behind it keep only what is surely theirs."""
        layer = self.executed.layers[index]
        if not any(True for tensor in layer.outputs for _ in self.tensors.readers(tensor)):
            self.dead_ends.append(layer.name)
        self.notes[layer.name] = "its tensors have lost their names, and several nodes may be what it carries out"
        for reader in set(self._behind(layer)):
            reason = f"carried out by {self.executed.layers[reader].name} or a layer before it; their tensors have lost their names"
            for node in self.sources[reader] - {self.tensors.anchor.get(reader)}:
                self._drop(node, reader, ("unattributed", reason))

    def _keep_possible(self, index: int) -> None:
        """Case 8: drops from a layer what a layer of its type cannot carry out, and says why."""
        layer, nodes = self.executed.layers[index], self.sources[index]
        own = {n for n in nodes if self.original.layers[n].op_type in core_types(layer)}
        plain = is_plain(layer) and any(self.original.layers[n].op_type == layer.op_type or layer.op_type == "Gemm" for n in own)
        computes = any(self.original.layers[n].op_type not in MOVEMENT for n in nodes)
        first = min((self.original.rank[n] for n in own), default=-1)
        keeps_all = not plain or layer.op_type in ABSORBS
        extra = set() if keeps_all or len(own) < 2 else own - {max(own, key=self.original.rank.__getitem__)}
        for node in (nodes - own) | extra:
            before = self.original.rank[node] < first
            verdict = self._verdict(layer, self.original.layers[node], plain, computes, before)
            if verdict is not None:
                self._drop(node, index, verdict)

    def _forget_idle(self) -> None:
        """What had no effect at one layer had none at the others that might have taken it in, too."""
        idle = {
            n for n in self.dropped_from if self.original.layers[n].op_type in MOVEMENT | ARITHMETIC and self.removed[n][0] == "removed"
        }
        for index, nodes in self.sources.items() if idle else ():
            nodes.difference_update(idle - {self.tensors.anchor.get(index)})

    def _drop(self, node: int, index: int, verdict: tuple[Fate, str]) -> None:
        self.sources[index].discard(node)
        self.removed.setdefault(node, verdict)
        self.dropped_from.setdefault(node, index)

    def _verdict(self, layer: Layer, node: Layer, plain: bool, computes: bool, before: bool) -> tuple[Fate, str] | None:
        no_effect: tuple[Fate, str] = "removed", f"no effect, or cancelled, before {layer.name}"
        if node.op_type in COPY_OPS and layer.op_type != node.op_type:
            return "removed", "passes its input on"
        if computes and node.op_type in MOVEMENT and not holds_movement(layer):
            return no_effect
        if before and self._has_constant(node) and not takes_before(layer, node):
            return no_effect
        if not plain or node.op_type in ABSORBS.get(layer.op_type, ()):
            return None
        if node.op_type in NO_EFFECT and (node.op_type not in ARITHMETIC or self._has_constant(node)):
            return no_effect
        return "unattributed", f"vanished before {layer.name}, a {layer.op_type} that cannot carry out a {node.op_type}"

    def _has_constant(self, node: Layer) -> bool:
        return any(tensor in self.original.constant for tensor in node.inputs)

    def _pair_moved(self) -> None:
        """A Transpose that vanished at one layer and stands inserted at that or the next ones has been moved past them."""
        waiting: dict[tuple[int, object], list[int]] = defaultdict(list)
        for node, index in self.dropped_from.items():
            if self.original.layers[node].op_type == "Transpose":
                waiting[index, self.original.layers[node].attributes.get("perm")].append(node)
        for index in self.tensors.inserted if waiting else ():
            layer = self.executed.layers[index]
            near = self._around(index) if layer.op_type == "Transpose" else ()
            found = [key for key in ((other, layer.attributes.get("perm")) for other in near) if len(waiting.get(key, ())) == 1]
            if len(found) == 1:
                self.sources[index] = set(waiting.pop(found[0]))

    def _around(self, index: int) -> set[int]:
        """Layers that tensors without an original name connect to this one, and the first ones beyond, a few steps away."""
        queue, near = [index], {index}
        while queue and len(near) < _FEW:
            layer = self.executed.layers[queue.pop(0)]
            linked = {self.executed.producer[t] for t in layer.inputs if t in self.executed.producer}
            linked |= {reader for t in layer.outputs for reader, _ in self.executed.readers.get(t, ())}
            lost = [t for t in (*layer.inputs, *layer.outputs) if t not in self.original.tensors]
            queue += [i for i in linked - near if {*self.executed.layers[i].inputs, *self.executed.layers[i].outputs} & set(lost)]
            near |= linked
        return near - {index}

    def carriers(self, node: Layer) -> list[Layer]:
        """Executed layers that carry out this original layer."""
        index = self.numbers[node.name]
        return [self.executed.layers[i] for i in sorted(self.carried[index])]

    def inserted_names(self) -> set[str]:
        """Names of the layers that the runtime inserted."""
        return {self.executed.layers[index].name for index in self.tensors.inserted}

    def named_sources(self) -> Iterator[tuple[str, set[str]]]:
        """Sources by name."""
        for index, nodes in self.sources.items():
            yield self.executed.layers[index].name, {self.original.layers[node].name for node in nodes}
