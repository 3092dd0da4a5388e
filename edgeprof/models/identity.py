"""Which original node is carried out by which executed layer: `match(original, executed)`.

The runtime fuses, splits, reorders, folds and drops nodes before it runs them. Tensor names survive most of that, so the
matching is one of tensors first and of nodes second; `docs/identity.md` explains it with an example.

Hard cases, numbered as in the code:

1. A layer whose output bears an original name carries out the nodes on the paths from its inputs to that output.
2. A layout, copy or cast layer that the runtime inserted is an alias: walks see through it.
3. An output that lost its name takes its value from the layer's own name, then from what its consumers expect there.
4. A layer whose name and output are lost is found by its neighbours, if exactly one original node fits; never by a guess.
5. Several layers between two known tensors, none of which is known itself, carry out the nodes between them together.
6. Nodes that depend on constants (or shapes) only and did not run were folded; they are nobody's sources, except
   when the layer still reads the constant they start from (weights that are dequantised inside a quantised layer).
7. A node that computes the same from the same as another one and did not run was a duplicate.
8. A plain layer does what its op type says. Other nodes on its paths had no effect (Identity, a cancelled Transpose),
   or were merged into its weights or attributes where its type allows that; else they are unattributed, with the reason.
9. An If with a known condition and a function call are replaced by their bodies; then the body's nodes are matched too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from edgeprof.models.correspondence import MOVEMENT, RESHAPES, Correspondence, core_types, is_plain
from edgeprof.models.graph import Graph, Layer
from edgeprof.models.scope import COPY_OPS, Scope

Kind = Literal["layer", "inserted", "nested"]
Fate = Literal["executed", "folded", "removed", "unattributed"]

ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Sum"})
ABSORBS: Mapping[str, frozenset[str]] = {
    "Conv": frozenset({"Pad", "BatchNormalization"}) | ARITHMETIC,
    "ConvTranspose": frozenset({"Pad", "BatchNormalization"}) | ARITHMETIC,
    "Gemm": frozenset({"MatMul", "BatchNormalization", "Transpose"}) | ARITHMETIC,
    "MatMul": frozenset({"BatchNormalization"}) | ARITHMETIC,
    "BatchNormalization": ARITHMETIC,
    "LayerNormalization": ARITHMETIC,
    "MaxPool": frozenset({"Pad"}),
    "AveragePool": frozenset({"Pad"}),
    "Clip": frozenset({"Relu", "Clip"}),
    "QuantizeLinear": frozenset({"Relu", "Clip"}),
    "Where": frozenset({"Not"}),
    "Sum": frozenset({"Add"}),
    "Transpose": RESHAPES,
    "Reshape": RESHAPES | {"Expand"},
    "Cast": frozenset({"Cast"}),
    "Slice": frozenset({"Slice"}),
    "Concat": frozenset({"Concat"}),
    "Pad": frozenset({"Pad"}),
}
"""What a plain layer can hold in its weights or attributes beside a node of its own type (case 8)."""

NO_EFFECT = MOVEMENT | ARITHMETIC | {"Slice", "Pad", "Concat", "Relu", "Clip", "QuantizeLinear", "DequantizeLinear"}
"""Types that may have no effect at all: a Cast to the same type, a product with one, a second Relu."""

_MOVES_INSIDE = re.compile("MatMul|Gemm|Attention|Norm|Embed|Rotary|Quantize|Split|Concat|Slice|Gather|Space|" + "|".join(sorted(MOVEMENT)))
"""Types that may hold a Transpose, Reshape or Cast beside what they compute."""

_BUDGET = 256
_FEW = 12
_ROUNDS = 4


@dataclass(frozen=True)
class LayerIdentity:
    """What an executed layer carries out: names of original layers, in their order; ``reason`` says why there are none."""

    layer: str
    op_type: str
    kind: Kind
    sources: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class NodeIdentity:
    """What became of an original layer. ``layers`` are the executed layers that carry it out, ``reason`` is for people."""

    node: str
    op_type: str
    fate: Fate
    layers: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Identity:
    """Both directions of the matching, each in its graph's order; every layer of both graphs is in it exactly once."""

    layers: tuple[LayerIdentity, ...]
    nodes: tuple[NodeIdentity, ...]

    @cached_property
    def by_layer(self) -> Mapping[str, LayerIdentity]:
        """Executed layers by name."""
        return {layer.layer: layer for layer in self.layers}

    @cached_property
    def by_node(self) -> Mapping[str, NodeIdentity]:
        """Original layers by name."""
        return {node.node: node for node in self.nodes}

    def count(self, fate: Fate) -> int:
        """Number of original layers with this fate."""
        return sum(node.fate == fate for node in self.nodes)


def match(original: Graph, executed: Graph) -> Identity:
    """Which layers of ``executed`` carry out which of ``original``; the numbered cases stand at the head of this file.

    ``executed`` is the optimised model as the runtime saved it, read by the same reader. No original layer is left out.
    """
    matching = _Matching(original, executed)
    matching.match_level(None, None, _nothing)
    return matching.identity()


def _nothing(_: str) -> None:
    return None


Place = tuple[str, str] | None
"""Where layers stand: ``(parent, branch)``, or None for the top."""


class _Matching:
    """Collects sources and fates over all levels; names of layers are unique in a Graph, so the levels share the tables."""

    def __init__(self, original: Graph, executed: Graph) -> None:
        self.original, self.executed = original, executed
        self.sources: dict[str, set[str]] = defaultdict(set)
        self.notes: dict[str, str] = {}
        self.inserted: set[str] = set()
        self.fates: dict[str, tuple[Fate, str]] = {}
        self.places = _by_place(original), _by_place(executed)
        self.branches = _branches(original)
        self.running = frozenset(t for layer in executed.layers for t in layer.outputs)

    def match_level(self, place: Place, executed_place: Place, outer: Callable[[str], str | None]) -> None:
        """Matches one level and, through the layers that hold bodies, those below it (case 9)."""
        level = _Level(
            Scope(self.original, self.places[0].get(place, ()), _nested_reads(self.original, place), self.running),
            Scope(self.executed, self.places[1].get(executed_place, ())),
            outer,
        )
        level.match()
        self.inserted |= level.inserted_names()
        self.notes |= level.notes
        self.fates |= level.fates()
        for layer, nodes in level.named_sources():
            self.sources[layer] |= nodes
        for parent in level.original.layers:
            if parent.name in self.branches:
                self._match_bodies(parent, level)

    def _match_bodies(self, parent: Layer, level: _Level) -> None:
        carriers = level.carriers(parent)
        same = next((c for c in carriers if c.op_type == parent.op_type), None)
        for branch in self.branches[parent.name]:
            if same is not None and (same.name, branch) in self.places[1]:
                self.match_level((parent.name, branch), (same.name, branch), level.tensors.value)
            else:
                self._match_inlined(parent, (parent.name, branch), carriers, whole=same is not None)

    def _match_inlined(self, parent: Layer, place: Place, carriers: Sequence[Layer], *, whole: bool) -> None:
        """A body that took its parent's place, or (``whole``) that its parent runs without showing it."""
        body = self.places[0][place]
        pairs = {} if whole else _pair_body(body, carriers)
        for layer in body:
            found = carriers if whole else pairs.get(layer.name, ())
            for carrier in found:
                self.sources[carrier.name].add(layer.name)
            if not found:
                self.fates[layer.name] = self._fate_of_lost(parent, layer, taken=bool(pairs))
            for branch in self.branches.get(layer.name, ()):
                self._match_inlined(layer, (layer.name, branch), found, whole=whole)

    def _fate_of_lost(self, parent: Layer, layer: Layer, *, taken: bool) -> tuple[Fate, str]:
        fate, reason = self.fates.get(parent.name, ("executed", ""))
        if fate != "executed":
            return fate, reason
        if parent.op_type == "If" and not taken:
            return "removed", f"in a branch of {parent.name} that is never taken"
        if layer.op_type == "Constant":
            return "folded", ""
        if layer.op_type in COPY_OPS:
            return "removed", "passes its input on"
        return "unattributed", f"inside {parent.name}, whose body was replaced"

    def identity(self) -> Identity:
        """The tables as an `Identity`, in the order of the graphs."""
        position = {layer.name: index for index, layer in enumerate(self.original.layers)}
        carriers: dict[str, list[str]] = defaultdict(list)
        layers = []
        for layer in self.executed.layers:
            sources = tuple(sorted(self.sources[layer.name], key=position.__getitem__))
            for source in sources:
                carriers[source].append(layer.name)
            kind: Kind = "nested" if layer.parent else "inserted" if layer.name in self.inserted and not sources else "layer"
            reason = "" if sources else self.notes.get(layer.name, "none of its tensors and names are the original's")
            layers.append(LayerIdentity(layer.name, layer.op_type, kind, sources, reason))
        return Identity(tuple(layers), tuple(self._node(layer, tuple(carriers[layer.name])) for layer in self.original.layers))

    def _node(self, layer: Layer, carriers: tuple[str, ...]) -> NodeIdentity:
        if carriers:
            return NodeIdentity(layer.name, layer.op_type, "executed", carriers)
        fate, reason = self.fates.get(layer.name, ("unattributed", "its parent was not found"))
        return NodeIdentity(layer.name, layer.op_type, fate, (), reason)


class _Level:
    """Sources of the executed layers of one level, from the values of their tensors."""

    def __init__(self, original: Scope, executed: Scope, outer: Callable[[str], str | None]) -> None:
        self.original, self.executed = original, executed
        self.tensors = Correspondence(original, executed, outer)
        self.sources: dict[int, set[int]] = {}
        self.carried: dict[int, set[int]] = defaultdict(set)
        self.removed: dict[int, tuple[Fate, str]] = {}
        self.dropped_from: dict[int, int] = {}
        self.dead_ends: list[str] = []
        self.notes: dict[str, str] = {}

    def match(self) -> None:
        """Fills ``sources`` and ``removed``."""
        lost = []
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
        walk = _Walk(self.original, {self.original.same(v) for v in known if v is not None}, self._constants_read(layer))
        nodes = walk.collect(makers, self.tensors.live, open_ended=None in known)
        if walk.missed and None not in known:
            nodes |= walk.collect(makers, frozenset(), open_ended=False)
        return nodes

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
        for node in nodes - own:
            verdict = self._verdict(layer, self.original.layers[node], plain, computes)
            if verdict is not None:
                self._drop(node, index, verdict)
        if plain and len(own) > 1 and layer.op_type not in ABSORBS:
            for node in own - {max(own, key=self.original.rank.__getitem__)}:
                self._drop(node, index, ("removed", f"merged with its neighbour {layer.name}"))

    def _forget_idle(self) -> None:
        """What had no effect at one layer had none at the others that might have taken it in, too."""
        idle = {
            n for n in self.dropped_from if self.original.layers[n].op_type in MOVEMENT | ARITHMETIC and self.removed[n][0] == "removed"
        }
        for index, nodes in self.sources.items() if idle else ():
            types = core_types(self.executed.layers[index])
            nodes -= {n for n in nodes & idle if self.original.layers[n].op_type not in types and n != self.tensors.anchor.get(index)}

    def _drop(self, node: int, index: int, verdict: tuple[Fate, str]) -> None:
        self.sources[index].discard(node)
        self.removed.setdefault(node, verdict)
        self.dropped_from.setdefault(node, index)

    def _verdict(self, layer: Layer, node: Layer, plain: bool, computes: bool) -> tuple[Fate, str] | None:
        if node.op_type in COPY_OPS and layer.op_type != node.op_type:
            return "removed", "passes its input on"
        if computes and node.op_type in MOVEMENT and not _MOVES_INSIDE.search(layer.op_type):
            return "removed", f"no effect, or cancelled, before {layer.name}"
        if not plain or node.op_type in ABSORBS.get(layer.op_type, ()):
            return None
        if node.op_type in NO_EFFECT:
            return "removed", f"no effect, or cancelled, before {layer.name}"
        return "unattributed", f"vanished before {layer.name}, a {layer.op_type} that cannot carry out a {node.op_type}"

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
        index = self.original.layers.index(node)
        return [self.executed.layers[i] for i in sorted(self.carried[index])]

    def inserted_names(self) -> set[str]:
        """Names of the layers that the runtime inserted."""
        return {self.executed.layers[index].name for index in self.tensors.inserted}

    def named_sources(self) -> Iterator[tuple[str, set[str]]]:
        """Sources by name."""
        for index, nodes in self.sources.items():
            yield self.executed.layers[index].name, {self.original.layers[node].name for node in nodes}

    def fates(self) -> dict[str, tuple[Fate, str]]:
        """Fate of every original layer of this level, readers before what they read."""
        fates: dict[int, tuple[Fate, str]] = {}
        for index in reversed(self.original.order):
            fates[index] = self._fate(index, fates)
        return {self.original.layers[index].name: fate for index, fate in fates.items()}

    def _fate(self, index: int, later: Mapping[int, tuple[Fate, str]]) -> tuple[Fate, str]:
        layer = self.original.layers[index]
        if self.carried.get(index):
            return "executed", ""
        result = self._is_result(layer)
        readers = [place for t in layer.outputs for place in self.original.readers.get(t, ())]
        if not readers and not result:
            return self._unused("its result is not used")
        if index in self.removed and self.removed[index][0] == "removed":
            return self.removed[index]
        twin = self._twin(layer)
        if twin is not None and layer.op_type not in COPY_OPS:
            return "removed", f"computes the same as {twin}"
        if all(t in self.original.constant for t in layer.outputs if t):
            return "folded", ""
        if self.original.undone(layer) is not None:
            return "removed", "passes its input on" if layer.op_type in COPY_OPS else f"undoes {self._before(layer)}"
        if index in self.removed:
            return self.removed[index]
        endings = {self._ending(r, slot, later) for r, slot in readers}
        if not result and endings <= {"removed", "folded"}:
            return ("folded", "") if "folded" in endings else self._unused("its result is not used after its readers were removed")
        return "unattributed", "no executed layer bears its tensors or its name"

    def _before(self, layer: Layer) -> str:
        maker = self.original.maker(layer.inputs[0])
        return maker.name if maker is not None else layer.inputs[0]

    def _unused(self, reason: str) -> tuple[Fate, str]:
        """Dead code is removed; but a layer that nobody reads and nobody knows may still run it."""
        if self.dead_ends:
            return "unattributed", f"{reason}, but {self.dead_ends[0]} may still run it"
        return "removed", reason

    def _ending(self, reader: int, slot: int, later: Mapping[int, tuple[Fate, str]]) -> Fate:
        """What became of a tensor at a reader: as the reader itself, or folded where the reader now reads a constant."""
        replaced = (self.original.layers[reader].name, slot) in self.tensors.replaced
        return "folded" if replaced else later[reader][0]

    def _is_result(self, layer: Layer) -> bool:
        """Read by a body below, an output of the graph, or (inside a body) by nobody here."""
        outputs = {t for t in layer.outputs if t}
        if layer.parent is not None and not any(t in self.original.readers for t in outputs):
            return True
        return bool(outputs & self.original.results)

    def _twin(self, layer: Layer) -> str | None:
        """Case 7: another layer of this level that makes the same and whose fate is known."""
        alike: list[set[str]] = []
        for tensor in filter(None, layer.outputs):
            makers = (self.original.producer.get(t) for t in self._classes[self.original.same(tensor)] if t != tensor)
            alike.append({self.original.layers[m].name for m in makers if m is not None and (self.carried.get(m) or m in self.removed)})
        found = set.intersection(*alike) - {layer.name} if alike else set()
        return min(found, default=None)

    @cached_property
    def _classes(self) -> Mapping[str, list[str]]:
        """Tensors that layers make, by the representative of their value."""
        classes: dict[str, list[str]] = defaultdict(list)
        for tensor in self.original.producer:
            classes[self.original.same(tensor)].append(tensor)
        return classes


class _Walk:
    """Walks the original graph upwards from some nodes to given values and keeps the nodes on the paths between."""

    def __init__(self, scope: Scope, inputs: set[str], constants: set[str]) -> None:
        self.scope, self.inputs, self.constants = scope, inputs, constants
        self.missed = set(inputs)

    def collect(self, starts: Iterable[int], blocked: Container[str], *, open_ended: bool) -> set[int]:
        """Nodes above ``starts`` that reach an input; ``blocked`` tensors end a path, as reached only if ``open_ended``.

        The starts are always among them. At most `_BUDGET` nodes are visited.
        """
        starts = set(starts)
        reaches: dict[int, bool] = {}
        floor = min((self._rank(t) for t in self.inputs), default=-1)
        stack = [(node, False) for node in starts]
        while stack:
            node, done = stack.pop()
            if not done and node not in reaches and len(reaches) < _BUDGET:
                reaches[node] = False
                stack.append((node, True))
                stack.extend((n, False) for n in self._above(node, blocked, floor))
            elif done:
                inputs = enumerate(self.scope.layers[node].inputs)
                reaches[node] = any(self._arrives(t, slot, blocked, reaches, open_ended) for slot, t in inputs if t)
        return starts | {node for node, reached in reaches.items() if reached}

    def _rank(self, tensor: str) -> int:
        maker = self.scope.producer.get(tensor)
        return -1 if maker is None else self.scope.rank[maker]

    def _ends(self, tensor: str, blocked: Container[str]) -> bool:
        value = self.scope.same(tensor)
        return value in self.inputs or value in self.constants or value in blocked or tensor not in self.scope.producer

    def _above(self, node: int, blocked: Container[str], floor: int) -> Iterator[int]:
        for tensor in self.scope.layers[node].inputs:
            if tensor and not self._ends(tensor, blocked):
                maker = self.scope.producer[tensor]
                if self.scope.rank[maker] > floor or tensor in self.scope.constant:
                    yield maker

    def _arrives(self, tensor: str, slot: int, blocked: Container[str], reaches: Mapping[int, bool], open_ended: bool) -> bool:
        value = self.scope.same(tensor)
        if value in self.inputs:
            self.missed.discard(value)
            return True
        if value in self.constants:
            return slot == 0
        if value in blocked:
            return open_ended and tensor not in self.scope.constant
        maker = self.scope.producer.get(tensor)
        return maker is not None and reaches.get(maker, False)


def _by_place(graph: Graph) -> dict[Place, list[Layer]]:
    places: dict[Place, list[Layer]] = defaultdict(list)
    for layer in graph.layers:
        places[(layer.parent, layer.branch or "") if layer.parent else None].append(layer)
    return dict(places)


def _branches(graph: Graph) -> dict[str, list[str]]:
    branches: dict[str, dict[str, None]] = defaultdict(dict)
    for layer in graph.layers:
        if layer.parent:
            branches[layer.parent][layer.branch or ""] = None
    return {parent: list(names) for parent, names in branches.items()}


def _nested_reads(graph: Graph, place: Place) -> set[str]:
    """Tensors that layers of other levels read."""
    return {t for layer in graph.layers if layer.parent and (layer.parent, layer.branch or "") != place for t in layer.inputs}


def _movement_key(layer: Layer) -> object:
    return layer.op_type, layer.attributes.get("perm"), layer.attributes.get("to")


def _pair_body(body: Sequence[Layer], carriers: Sequence[Layer]) -> dict[str, tuple[Layer, ...]]:
    """Inner layers to the executed layers that took their place: by name, then by order within an op type."""
    free = {layer.name: layer for layer in carriers}
    pairs: dict[str, tuple[Layer, ...]] = {}
    for layer in body:
        names = tuple(f"_{n.rpartition('/')[2]}" for n in (*layer.outputs, layer.given_name) if n)
        fits = [c for c in free.values() if c.op_type == layer.op_type and (c.outputs[0].endswith(names) or c.name.endswith(names))]
        if fits:
            pairs[layer.name] = (free.pop(fits[0].name),)
    for op_type in {layer.op_type for layer in body}:
        left = [layer for layer in body if layer.op_type == op_type and layer.name not in pairs]
        right = [layer for layer in free.values() if layer.op_type == op_type]
        if len(left) == len(right):
            pairs.update((a.name, (b,)) for a, b in zip(left, right, strict=True))
    return pairs
