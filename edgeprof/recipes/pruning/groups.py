"""Which channels of a model can leave it, and what leaves with them: `groups`, to be shown, and `Coupling`, to work with."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgeprof.models import load_model
from edgeprof.models.graph import Graph, Layer
from edgeprof.recipes.pruning.labels import FIXED, Counted, Flow, Ids, Sliced
from edgeprof.recipes.pruning.rules import FOLLOWS_SIZES, RULES, other

_NOT_CONSTANT = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")


@dataclass(frozen=True)
class Group:
    """Layers whose output channels can only leave together.

    ``layers`` lose output channels; ``followers`` lose what belongs to them: inputs, or a value for each channel. ``channels`` is how many
    the first layer has, ``step`` how many of them go at least at once (a head of attention has several), ``free`` how many of them could
    go. ``name`` is the first layer's. ``reason`` says why nothing can go; empty when something can.
    """

    name: str
    layers: tuple[str, ...]
    followers: tuple[str, ...]
    channels: int
    step: int = 1
    free: int = 0
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Block:
    """Channels of a group that stand together everywhere: ``units`` are their labels, each goes or stays. One at least must stay."""

    units: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Coupling:
    """What is known of a model's channels: ``flow`` with all labels, ``groups``, and of each group (by name) the ``blocks`` that can go."""

    flow: Flow
    groups: tuple[Group, ...]
    blocks: Mapping[str, tuple[Block, ...]] = field(repr=False)

    @cached_property
    def group_of(self) -> dict[str, Group]:
        """The group that a layer loses output channels with."""
        return {layer: group for group in self.groups for layer in group.layers}

    @cached_property
    def made(self) -> dict[str, Ids]:
        """For each layer of a group the label of each of its output channels, one label for all that are one."""
        return {name: self.flow.labels.roots(ids) for name, ids in self.flow.made.items()}

    @cached_property
    def users(self) -> dict[str, list[Layer]]:
        """The layers that read each tensor."""
        found: dict[str, list[Layer]] = defaultdict(list)
        for layer in self.flow.graph.layers:
            for name in dict.fromkeys(layer.inputs):
                found[name].append(layer)
        return dict(found)

    def only_user(self, tensor: str) -> Layer | None:
        """The layer that alone reads the tensor, if there is one and the model does not give it too."""
        users = self.users.get(tensor, [])
        given = any(output.name == tensor for output in self.flow.graph.outputs)
        return users[0] if len(users) == 1 and not given and users[0].parent is None else None

    def kept(self, ids: Ids, gone: Iterable[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which positions stay when the labels ``gone`` go."""
        return ~np.isin(self.flow.labels.roots(ids), list(gone))


def groups(model: str | os.PathLike[str] | Graph | Any) -> tuple[Group, ...]:
    """The dependency groups of a model, in its order: those of whose channels some can go, and those of which none can, with the reason.

    ``model``: path of an ONNX model, the Graph that `load_model` gave, or an onnx ModelProto. Weights are not needed.
    """
    return couple(graph_of(model)).groups


def graph_of(model: str | os.PathLike[str] | Graph | Any) -> Graph:
    """The Graph of what `groups` takes."""
    if not hasattr(model, "SerializeToString"):
        return load_model(model)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(model.SerializeToString())
        return load_model(path)


def couple(graph: Graph) -> Coupling:
    """Sends labels through the graph and collects what belongs together."""
    flow = Flow(graph, constants=_constants(graph))
    for layer in graph.layers:
        if layer.parent is not None:
            flow.pin(layer, f"its channels are used inside '{layer.parent}'")
        elif not all(name in flow.constants for name in layer.outputs):
            _pass(flow, layer)
    for tensor in graph.outputs:
        flow.pin_tensor(tensor.name, f"its channels are the model's output '{tensor.name}'")
    places, touched = _places(flow), _touched(flow)
    found = [_group(flow, names, places, touched) for names in _coupled(flow)]
    return Coupling(flow, tuple(group for group, _ in found), {group.name: blocks for group, blocks in found})


def _pass(flow: Flow, layer: Layer) -> None:
    followed = FOLLOWS_SIZES.get(layer.op_type)
    for at, name in enumerate(layer.inputs):
        if name in flow.elements and (followed is None or (followed and at not in followed)):
            flow.pin_tensor(name, f"their number is computed with in '{layer.name}'")
    rule = RULES.get(layer.op_type, other) if layer.domain in ("", "ai.onnx") else other
    rule(flow, layer)


def _constants(graph: Graph) -> set[str]:
    """Tensors that are stored, or computed from nothing but those."""
    known = set(graph.initializers)
    nested = {layer.parent for layer in graph.layers if layer.parent is not None}
    for layer in graph.layers:
        plain = layer.parent is None and layer.name not in nested and layer.op_type not in _NOT_CONSTANT and not layer.domain
        if plain and all(name in known for name in layer.inputs if name):
            known.update(name for name in layer.outputs if name)
    return known


def _coupled(flow: Flow) -> list[list[str]]:
    """Layers with weights that share a label, directly or through others, in the model's order."""
    first: dict[int, int] = {}
    parent = list(range(len(flow.made)))

    def root(one: int) -> int:
        while parent[one] != one:
            one = parent[one]
        return one

    for position, ids in enumerate(flow.made.values()):
        for label in np.unique(flow.labels.roots(ids)).tolist():
            if label != FIXED:
                a, b = root(first.setdefault(label, position)), root(position)
                parent[max(a, b)] = min(a, b)
    together: dict[int, list[str]] = defaultdict(list)
    for position, name in enumerate(flow.made):
        together[root(position)].append(name)
    return list(together.values())


def _places(flow: Flow) -> dict[int, list[tuple[int, int]]]:
    """For each label the axes of tensors that it is on, and at how many positions of each."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    axes = [ids for held in flow.axes.values() for ids in held if ids is not None]
    for place, ids in enumerate(axes):
        for label, count in zip(*(part.tolist() for part in np.unique(flow.labels.roots(ids), return_counts=True)), strict=True):
            found[label].append((place, count))
    return found


def _touched(flow: Flow) -> dict[int, set[str]]:
    """For each label the layers of which something leaves with it."""
    found: dict[int, set[str]] = defaultdict(set)
    edits: list[Sliced | Counted] = [*flow.sliced, *flow.counted]
    for edit in edits:
        for label in np.unique(flow.labels.roots(edit.ids)).tolist():
            found[label].add(edit.layer)
    return found


def _group(
    flow: Flow, names: list[str], places: Mapping[int, list[tuple[int, int]]], touched: Mapping[int, set[str]]
) -> tuple[Group, tuple[Block, ...]]:
    made = {name: flow.labels.roots(flow.made[name]) for name in names}
    own = sorted(set(np.unique(np.concatenate(list(made.values()))).tolist()) - {FIXED})
    alike: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for label in own:
        if not flow.labels.reason(label):
            alike[tuple(places.get(label, ()))].append(label)
    blocks = tuple(Block(tuple(units)) for units in alike.values() if len(units) > 1)
    free = {label for block in blocks for label in block.units}
    changed = {layer for label in own for layer in touched.get(label, ())}
    first = made[names[0]]
    group = Group(
        name=names[0],
        layers=tuple(names),
        followers=tuple(layer.name for layer in flow.graph.layers if layer.name in changed and layer.name not in made),
        channels=len(first),
        step=max((int(np.count_nonzero(first == label)) for label in free), default=1) or 1,
        free=int(np.isin(first, list(free)).sum()),
        reason="" if free else _reason(flow, own),
    )
    return group, blocks


def _reason(flow: Flow, own: list[int]) -> str:
    known = [flow.labels.reason(label) for label in own if flow.labels.reason(label)]
    if known:
        return known[0]
    return "it has a single channel, or all of its channels hang together" if own else "its channels are those of an input that stays"
