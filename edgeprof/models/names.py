"""What names tell: of an executed tensor its original, of an executed layer the node it was made from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from edgeprof.models.graph import Layer
from edgeprof.models.optypes import is_kin, is_plain
from edgeprof.models.scope import Scope

_PREFIXES = ("InsertedPrecisionFreeCast_", "InsertedCast_", "FusedBack_", "FusedFront_")
_LAYER_SUFFIX = re.compile(r"(?:_token_\d+|/+\w*Fusion/?|_nhwc|_fused|/duplicated)$")
_BLOCKED_NAME = re.compile(r"^(?P<tensor>.+?)_nchwc(?:_token_\d+|_\d+)?$")
_BLOCKED_KINDS = ("", "_bn", "_mul", "_add")


class Names:
    """Reads names of one level of an executed graph; ``outer`` knows those of the levels around it."""

    def __init__(self, original: Scope, outer: Callable[[str], str | None]) -> None:
        self.original, self.outer = original, outer
        self._by_name = _unique_names(original)

    def tensor(self, tensor: str) -> str | None:
        """The original tensor that this executed tensor's name tells."""
        names = self.original.tensors
        while tensor not in names:
            if (value := self.outer(tensor)) is not None:
                return value
            prefix = next((p for p in _PREFIXES if tensor.startswith(p)), None)
            if prefix is None:
                return None
            tensor = tensor.removeprefix(prefix)
        return tensor

    def node(self, layer: Layer) -> int | None:
        """Case 3: the node that the layer's name tells, when the types agree or the layer is a runtime's own fusion."""
        tensor, _ = self.blocked_tensor(layer)
        if tensor is not None:
            return self.original.producer[tensor]
        for name in _stems(layer.given_name):
            node = self._by_name.get(name)
            if node is not None and (is_kin(layer, self.original.layers[node]) or not is_plain(layer)):
                return node
        return None

    def blocked_tensor(self, layer: Layer) -> tuple[str | None, str]:
        """The tensor that a layer in blocked layout (NCHWc) was named after, and what it was before it became a Conv."""
        match = None if is_plain(layer) else _BLOCKED_NAME.match(layer.given_name)
        for kind in _BLOCKED_KINDS if match is not None else ():
            name = match["tensor"].removesuffix(kind) if match is not None else ""
            tensor = self.tensor(name)
            if tensor in self.original.producer:
                return tensor, kind
            if name in self._by_name:  # a Transpose that moved on left a tensor that is called like the node
                return self.original.layers[self._by_name[name]].outputs[0], kind
        return None, ""


def _unique_names(scope: Scope) -> dict[str, int]:
    names: dict[str, int] = {}
    twice: set[str] = set()
    for index, layer in enumerate(scope.layers):
        name = layer.given_name
        if name in names:
            twice.add(name)
        if name:
            names[name] = index
    return {name: index for name, index in names.items() if name not in twice}


def _stems(name: str) -> Iterator[str]:
    """The name, then without ``fused`` and the suffixes that the runtime is known to add, one by one."""
    while name:
        yield name
        shorter = _LAYER_SUFFIX.sub("", name.removeprefix("fused "))
        if shorter == name:
            return
        name = shorter
