"""Which layer each event of a runtime's trace belongs to: `attribute` with the executed graph, `attribute_directly` without.

Nothing is guessed: an event that fits no layer, or several equally well, has no layer and a reason.

1. The runtime writes the node's name, and several events of one name are one layer (its shapes changed between calls).
2. A node without a name is written as ``<op_type>_<number>``; the order of execution tells which it is, when trace and graph
   hold equally many of that type and their shapes agree.
3. What is left is matched by op type and shapes, where that is unique both ways.
4. Events inside the body of another event are matched among the layers of that layer's bodies only.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.models.identity import Identity
from edgeprof.models.optypes import INSERTABLE, is_kin
from edgeprof.records.profile import NodeFate
from edgeprof.records.trace import EventKind

_SUFFIXES = re.compile(r"(?:_kernel_time|_token_\d+|_nchwc(?:_\d+)?|_nhwc|_fused|/+\w*Fusion/?)$")
_WRAPPERS = re.compile(r"^(?:fused |PWN\()|\)$")
_JOINTS = re.compile(r" \+ |\+\+|;|, ")


@dataclass(frozen=True)
class Attribution:
    """For each event kind the name of its layer or None, and why there is none (else empty)."""

    layers: tuple[str | None, ...]
    reasons: tuple[str, ...]


def attribute(kinds: Sequence[EventKind], events: Sequence[int], parents: Sequence[int], executed: Graph) -> Attribution:
    """The layer of ``executed`` for each of ``kinds``; the numbered rules stand at the head of this file.

    ``events`` are indexes into ``kinds`` in the order the events started, of one run or more; ``parents`` the position in
    ``events`` of the event around each (-1: none).
    """
    outside = _outside(events, parents)
    matching = _Attributing(kinds, executed)
    levels: dict[frozenset[int], list[int]] = defaultdict(list)
    for kind, parent_kinds in outside.items():
        levels[frozenset(parent_kinds)].append(kind)
    for around in sorted(levels, key=lambda kinds: _depth(kinds, outside)):
        matching.match_level(levels[around], around)
    return matching.result()


def _outside(events: Sequence[int], parents: Sequence[int]) -> dict[int, set[int]]:
    """For each kind, in the order of its first event, the kinds its events ran inside of (empty at the top)."""
    outside: dict[int, set[int]] = {}
    for kind, parent in zip(events, parents, strict=True):
        around = outside.setdefault(kind, set())
        if parent >= 0:
            around.add(events[parent])
    return outside


def _depth(around: frozenset[int], outside: Mapping[int, set[int]]) -> int:
    depth, seen = 0, set(around)
    while around:
        depth += 1
        around = frozenset(k for kind in around for k in outside.get(kind, ())) - seen
        seen |= around
    return depth


class _Attributing:
    """Layers found so far. Kinds are matched level by level, so the layer around a kind is known before it."""

    def __init__(self, kinds: Sequence[EventKind], executed: Graph) -> None:
        self.kinds, self.graph = kinds, executed
        self.layers: dict[int, str] = {}
        self.reasons: dict[int, str] = {}
        self.inside: dict[str | None, list[Layer]] = defaultdict(list)
        for layer in executed.layers:
            self.inside[layer.parent].append(layer)

    def result(self) -> Attribution:
        """What was found, for every kind."""
        count = range(len(self.kinds))
        reasons = tuple("" if k in self.layers else self.reasons.get(k, "no event of it was recorded") for k in count)
        return Attribution(tuple(self.layers.get(k) for k in count), reasons)

    def match_level(self, level: Sequence[int], around: frozenset[int]) -> None:
        """Matches kinds that ran inside the same event (rule 4), in the order of their first events."""
        parents = {self.layers[kind] for kind in around if kind in self.layers}
        if around and not parents:
            self.reasons.update((kind, "ran inside an event that was not attributed") for kind in level)
            return
        layers = [layer for parent in (sorted(parents) if around else [None]) for layer in self.inside[parent]]
        layers = self._in_the_branch_that_ran(level, layers)
        self._match_names(level, layers)
        left = [kind for kind in level if kind not in self.layers]
        taken = {self.layers[kind] for kind in level if kind in self.layers}
        free = [layer for layer in layers if layer.name not in taken]
        self._match_order(left, free)
        self.match_shapes([kind for kind in left if kind not in self.layers], free)

    def _in_the_branch_that_ran(self, level: Sequence[int], layers: list[Layer]) -> list[Layer]:
        """The layers of the one branch of an If that holds as many of each type as ran; all of them when that singles none out."""
        nodes = {(kind.op_type, kind.name, kind.node_index) for kind in (self.kinds[k] for k in level)}
        ran = Counter(op_type for op_type, _, _ in nodes)
        branches: dict[tuple[str | None, str | None], list[Layer]] = defaultdict(list)
        for layer in layers:
            branches[layer.parent, layer.branch].append(layer)
        fitting = [branch for branch in branches.values() if Counter(layer.op_type for layer in branch) == ran]
        return fitting[0] if len(branches) > 1 and len(fitting) == 1 else layers

    def _match_names(self, level: Sequence[int], layers: Sequence[Layer]) -> None:
        """Rule 1."""
        named: dict[tuple[str, str], list[Layer]] = defaultdict(list)
        for layer in layers:
            named[layer.given_name, layer.op_type].append(layer)
        for kind in level:
            fits = named.get((self.kinds[kind].name, self.kinds[kind].op_type), []) if self.kinds[kind].name else []
            if len(fits) == 1:
                self.layers[kind] = fits[0].name
            else:
                self.reasons[kind] = "several layers have its name" if fits else "no layer has its name and type"

    def _match_order(self, left: Sequence[int], free: Sequence[Layer]) -> None:
        """Rule 2: the nodes of a type that have no name, as many in the trace as in the graph, in the order they ran."""
        for op_type in dict.fromkeys(self.kinds[kind].op_type for kind in left):
            numbers: dict[int, list[int]] = {}
            for kind in left:
                if self.kinds[kind].op_type == op_type and self._is_unnamed(kind):
                    numbers.setdefault(self.kinds[kind].node_index, []).append(kind)
            layers = [layer for layer in free if layer.op_type == op_type and not layer.given_name]
            groups = list(numbers.values())
            if len(layers) == len(groups) and all(self._fits(k, a) for g, a in zip(groups, layers, strict=True) for k in g):
                self.layers.update((kind, layer.name) for group, layer in zip(groups, layers, strict=True) for kind in group)

    def _is_unnamed(self, kind: int) -> bool:
        """True for names that the runtime made up of type and number."""
        return self.kinds[kind].name in ("", f"{self.kinds[kind].op_type}_{self.kinds[kind].node_index}")

    def match_shapes(self, left: Sequence[int], free: Sequence[Layer]) -> None:
        """Rule 3."""
        taken = set(self.layers.values())
        layers = [layer for layer in free if layer.name not in taken]
        by_type: dict[str, list[Layer]] = defaultdict(list)
        for layer in layers:
            by_type[layer.op_type].append(layer)
        fits = {kind: [a for a in by_type[self.kinds[kind].op_type] if self._fits(kind, a)] for kind in left}
        wanted = Counter(layer.name for layers in fits.values() for layer in layers)
        for kind, found in fits.items():
            if len(found) == 1 and wanted[found[0].name] == 1:
                self.layers[kind] = found[0].name
            elif found:
                self.reasons[kind] = f"{len(found)} layers of its type and shapes are left, and nothing tells them apart"

    def _fits(self, kind: int, layer: Layer) -> bool:
        """Types agree, and so do shapes as far as both sides tell them."""
        event = self.kinds[kind]
        if event.op_type != layer.op_type:
            return False
        made = [self.graph.tensor(t) for t in layer.outputs if t]
        read = [self.graph.tensor(t) for t in layer.inputs if t]
        return _agree(event.output_types, made) and _agree(event.input_types, read)


def _agree(types: Sequence[tuple[str, tuple[int, ...]]], tensors: Sequence[TensorInfo]) -> bool:
    if not types or len(types) != len(tensors):
        return True
    return all(_same_shape(shape, tensor) for (_, shape), tensor in zip(types, tensors, strict=True))


def _same_shape(shape: Sequence[int], tensor: TensorInfo) -> bool:
    if tensor.shape is None:
        return True
    return len(shape) == len(tensor.shape) and all(not isinstance(b, int) or a == b for a, b in zip(shape, tensor.shape, strict=True))


def attribute_directly(kinds: Sequence[EventKind], original: Graph) -> tuple[tuple[str, ...], ...]:
    """For each of ``kinds`` the original layers it names; for traces that come without the executed graph.

    A fused event may name several (``conv1 + relu1``). Names are taken as they are, then without the suffixes that runtimes
    add, then as names of tensors; an event that names nothing goes by op type and shapes, where that is unique both ways.
    """
    names = _names_of(original)
    found = {kind: _named_layers(event, names) for kind, event in enumerate(kinds)}
    rest = [kind for kind, layers in found.items() if not layers]
    taken = {layer for layers in found.values() for layer in layers}
    matching = _Attributing(kinds, original)
    matching.match_shapes(rest, [layer for layer in original.layers if layer.name not in taken])
    return tuple(found[kind] or tuple(filter(None, [matching.layers.get(kind)])) for kind in range(len(kinds)))


def _names_of(graph: Graph) -> dict[str, Layer | None]:
    """Layers by name, given name and output tensor; None where two layers have it."""
    names: dict[str, Layer | None] = {}
    for layer in graph.layers:
        for name in {layer.name, layer.given_name, *layer.outputs} - {""}:
            names[name] = layer if names.get(name, layer) is layer else None
    return names


def _named_layers(event: EventKind, names: Mapping[str, Layer | None]) -> tuple[str, ...]:
    parts = [event.name] if event.name in names else _JOINTS.split(event.name)
    layers = [_named_layer(part.strip(), names) for part in parts]
    if len(parts) == 1 and layers[0] is not None and event.op_type and not _may_be(event, layers[0]):
        return ()
    return tuple(dict.fromkeys(layer.name for layer in layers if layer is not None))


def _named_layer(name: str, names: Mapping[str, Layer | None]) -> Layer | None:
    while name and name not in names:
        shorter = _SUFFIXES.sub("", _WRAPPERS.sub("", name))
        if shorter == name:
            return None
        name = shorter
    return names.get(name)


def _may_be(event: EventKind, layer: Layer) -> bool:
    """False when the event's type says that it only moves data for the runtime, and the layer does not."""
    return event.op_type not in INSERTABLE or is_kin(Layer("", event.op_type, (), ()), layer)


def node_fates(identity: Identity) -> tuple[NodeFate, ...]:
    """What a Profile keeps of an `Identity`."""
    return tuple(NodeFate(node.node, node.op_type, node.fate, node.layers) for node in identity.nodes)
