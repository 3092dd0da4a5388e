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

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from edgeprof.models.correspondence import Correspondence
from edgeprof.models.fates import Fate, fates_of
from edgeprof.models.graph import Graph, Layer
from edgeprof.models.level import Level
from edgeprof.models.scope import COPY_OPS, Scope

CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})

Kind = Literal["layer", "inserted", "nested"]


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
    """No level lies above the top."""


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
        self.read_at: dict[str, set[Place]] = defaultdict(set)
        for place, layers in self.places[0].items():
            for layer in layers:
                for tensor in layer.inputs:
                    self.read_at[tensor].add(place)
        self.running = frozenset(t for layer in executed.layers for t in layer.outputs)

    def match_level(self, place: Place, executed_place: Place, outer: Callable[[str], str | None]) -> None:
        """Matches one level and, through the layers that hold bodies, those below it (case 9)."""
        level = Level(
            Scope(self.original, self.places[0].get(place, ()), lambda tensor: self._is_read_outside(tensor, place), self.running),
            Scope(self.executed, self.places[1].get(executed_place, ())),
            outer,
        )
        level.match()
        self.inserted |= level.inserted_names()
        self.notes |= level.notes
        self.fates |= fates_of(level)
        for layer, nodes in level.named_sources():
            self.sources[layer] |= nodes
        for parent in level.original.layers:
            if parent.name in self.branches:
                self._match_bodies(parent, level)

    def _is_read_outside(self, tensor: str, place: Place) -> bool:
        return bool(self.read_at.get(tensor, set()) - {place})

    def _match_bodies(self, parent: Layer, level: Level) -> None:
        carriers = level.carriers(parent)
        same = next((c for c in carriers if c.op_type == parent.op_type), None)
        for branch in self.branches[parent.name]:
            place = (parent.name, branch)
            if same is not None and (same.op_type in CONTROL_FLOW or (same.name, branch) in self.places[1]):
                self.match_level(place, (same.name, branch), self._naming(place, (same.name, branch), level.tensors))
            else:
                self._match_inlined(parent, place, carriers, whole=same is not None)

    def _naming(self, place: tuple[str, str], executed_place: tuple[str, str], outer: Correspondence) -> Callable[[str], str | None]:
        """What a tensor's name tells inside a body, beyond being the same name there.

        The reader puts ``<layer>/<branch>/`` before names that two bodies share, and the two files may hold the bodies in another order.
        """
        here = {t for layer in self.places[0][place] for t in (*layer.inputs, *layer.outputs)}
        prefixes = "/".join((*place, "")), "/".join((*executed_place, ""))

        def tell(tensor: str) -> str | None:
            short = tensor.removeprefix(prefixes[1])
            found = next((name for name in (prefixes[0] + short, short) if name in here), None)
            return found or outer.value(tensor) or outer.names.tensor(tensor)

        return tell

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
