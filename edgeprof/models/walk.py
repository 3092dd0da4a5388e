"""Walks a graph upwards between tensors."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping

from edgeprof.models.scope import Scope

_BUDGET = 256


class Walk:
    """Walks upwards from the nodes that make ``made`` to ``inputs`` or ``constants`` and keeps the nodes on the paths between."""

    def __init__(self, scope: Scope, inputs: set[str], made: set[str], constants: set[str]) -> None:
        self.scope, self.inputs, self.made, self.constants = scope, inputs, made, constants
        self.missed = set(inputs)

    def collect(self, starts: Iterable[int], blocked: Container[str], *, open_ended: bool) -> set[int]:
        """Nodes above ``starts`` that reach an input; ``blocked`` tensors end a path, as reached only if ``open_ended``.

        The starts are always among them. A constant node is on a path only if it starts from a constant that is read (case 6).
        At most `_BUDGET` nodes are visited.
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
                arrives = self._constant_arrives if self._is_constant(node) else self._arrives
                reaches[node] = any(arrives(t, slot, blocked, reaches, open_ended) for t, slot in self._inputs(node))
        return starts | {node for node, reached in reaches.items() if reached}

    def _rank(self, tensor: str) -> int:
        maker = self.scope.producer.get(tensor)
        return -1 if maker is None else self.scope.rank[maker]

    def _ends(self, tensor: str, blocked: Container[str]) -> bool:
        value = self.scope.same(tensor)
        return value in self.inputs or value in self.constants or self._is_blocked(value, blocked) or tensor not in self.scope.producer

    def _is_blocked(self, value: str, blocked: Container[str]) -> bool:
        return value in blocked and value not in self.made

    def _inputs(self, node: int) -> list[tuple[str, int]]:
        return [(tensor, slot) for slot, tensor in enumerate(self.scope.layers[node].inputs) if tensor]

    def _is_constant(self, node: int) -> bool:
        return all(t in self.scope.constant for t in self.scope.layers[node].outputs if t)

    def _above(self, node: int, blocked: Container[str], floor: int) -> Iterator[int]:
        constant = self._is_constant(node)
        for tensor, _ in self._inputs(node):
            if not self._ends(tensor, blocked) and (tensor in self.scope.constant or not constant):
                maker = self.scope.producer[tensor]
                if self.scope.rank[maker] > floor or tensor in self.scope.constant:
                    yield maker

    def _arrives(self, tensor: str, slot: int, blocked: Container[str], reaches: Mapping[int, bool], open_ended: bool) -> bool:
        value = self.scope.same(tensor)
        if value in self.inputs:
            self.missed.discard(value)
            return True
        if self._is_blocked(value, blocked) and value not in self.constants:
            return open_ended and tensor not in self.scope.constant
        return self._constant_arrives(tensor, slot, blocked, reaches, open_ended)

    def _constant_arrives(self, tensor: str, slot: int, _: Container[str], reaches: Mapping[int, bool], __: bool) -> bool:
        if self.scope.same(tensor) in self.constants:
            return slot == 0
        maker = self.scope.producer.get(tensor)
        return maker is not None and reaches.get(maker, False)
