"""Short ways through the original graph: what lies above a tensor, and whether it may have no effect."""

from __future__ import annotations

from edgeprof.models.graph import Layer
from edgeprof.models.optypes import ARITHMETIC, MOVEMENT, PASSING
from edgeprof.models.scope import COPY_OPS, Scope

NEAR = 16
FAR = 4
"""Nodes looked at, and steps gone, at most."""


def is_downstream(scope: Scope, tensor: str, target: str) -> bool:
    """True when ``tensor`` is computed from the value ``target`` (a representative of `Scope.same`), a few nodes below it."""
    queue = [tensor]
    seen: set[str] = set()
    while queue and len(seen) < NEAR:
        name = scope.same(queue.pop(0))
        if name == target:
            return True
        maker = scope.maker(name)
        if name not in seen and maker is not None:
            queue.extend(t for t in maker.inputs if t and t not in scope.constant)
        seen.add(name)
    return False


def is_moved(scope: Scope, tensor: str, source: str) -> bool:
    """True when nothing but data movement lies between ``source`` and ``tensor`` below it."""
    maker = scope.maker(tensor)
    for _ in range(FAR):
        if scope.same(tensor) == scope.same(source):
            return True
        if maker is None or maker.op_type not in MOVEMENT:
            return False
        tensor = maker.inputs[0]
        maker = scope.maker(tensor)
    return False


def without_movement(scope: Scope, wanted: str, made: str) -> str | None:
    """``wanted`` without the data movement at its end, if it lies downstream of ``made``; else None."""
    target = scope.same(made)
    maker = scope.maker(wanted)
    while maker is not None and maker.op_type in MOVEMENT | {"DequantizeLinear"} and scope.same(wanted) != target:
        wanted = maker.inputs[0]
        maker = scope.maker(wanted)
    return wanted if is_downstream(scope, wanted, target) else None


def may_vanish(scope: Scope, node: Layer) -> bool:
    """True for data movement, and for arithmetic with a constant, which may be one or zero."""
    constants = [t in scope.constant for t in node.inputs if t]
    return not all(constants) and (node.op_type in PASSING or (node.op_type in ARITHMETIC and any(constants)))


def gate_input(scope: Scope, node: Layer) -> str:
    """What a Gelu pattern around ``node`` starts from: the first tensor above it that has another reader, too."""
    tensor = node.inputs[0]
    for _ in range(FAR):
        maker = scope.maker(tensor)
        if len(scope.readers.get(tensor, ())) > 1 or maker is None:
            break
        tensor = next((t for t in maker.inputs if t and t not in scope.constant), tensor)
    return tensor


def is_copy(scope: Scope, tensor: str) -> bool:
    """True when an Identity or Dropout makes this tensor."""
    maker = scope.maker(tensor)
    return maker is not None and maker.op_type in COPY_OPS
