"""What became of each original node of one level."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from edgeprof.models.graph import Layer
from edgeprof.models.scope import COPY_OPS

if TYPE_CHECKING:
    from edgeprof.models.level import Level

Fate = Literal["executed", "folded", "removed", "unattributed"]
"""What became of an original node: carried out by at least one layer; computed once at load time into a constant;
removed as having no effect (Identity, Dropout, dead code, a duplicate); or not attributed to anything."""


def fates_of(level: Level) -> dict[str, tuple[Fate, str]]:
    """Fate and reason of every original layer of a matched level."""
    return _Fates(level).all()


class _Fates:
    """Goes from readers to what they read, because what nobody reads any more need not have run."""

    def __init__(self, level: Level) -> None:
        self.level, self.original = level, level.original
        self.carried, self.removed = level.carried, level.removed

    def all(self) -> dict[str, tuple[Fate, str]]:
        """By the layers' names."""
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
        if self.level.dead_ends:
            return "unattributed", f"{reason}, but {self.level.dead_ends[0]} may still run it"
        return "removed", reason

    def _ending(self, reader: int, slot: int, later: Mapping[int, tuple[Fate, str]]) -> Fate:
        """What became of a tensor at a reader: as the reader itself, or folded where the reader now reads a constant."""
        replaced = (self.original.layers[reader].name, slot) in self.level.tensors.replaced
        return "folded" if replaced else later[reader][0]

    def _is_result(self, layer: Layer) -> bool:
        """Read by a body below, an output of the graph, or (inside a body) by nobody here."""
        outputs = {t for t in layer.outputs if t}
        if layer.parent is not None and not any(t in self.original.readers for t in outputs):
            return True
        return any(self.original.is_result(t) for t in outputs)

    def _twin(self, layer: Layer) -> str | None:
        """Case 7: another layer of this level that makes the same and whose fate is known."""
        found: set[int] | None = None
        for tensor in filter(None, layer.outputs):
            makers = {self.original.producer[t] for t in self._classes[self.original.same(tensor)] if t != tensor}
            found = makers if found is None else found & makers
        known = [self.original.layers[m] for m in sorted(found or ()) if self.carried.get(m) or m in self.removed]
        twins = [other.name for other in known if other.op_type == layer.op_type and other.name != layer.name]
        return twins[0] if twins else None

    @cached_property
    def _classes(self) -> Mapping[str, list[str]]:
        """Tensors that layers make, by the representative of their value."""
        classes: dict[str, list[str]] = defaultdict(list)
        for tensor in self.original.producer:
            classes[self.original.same(tensor)].append(tensor)
        return classes
