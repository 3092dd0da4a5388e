"""Which nodes of a model make a block that a view can fold into one box: repeated parts, and what runs inside control flow.

1. By name: siblings that differ in a number, such as ``/block1/...``, ``/block2/...`` or ``/layer1/layer1.0/...``; two levels at most.
2. Where no name tells anything, by structure: the same op types in the same order, over and over, in the order of execution. Of all
   places to cut, the one is taken where the fewest tensors cross.
3. Nodes inside an If, Loop, Scan or function are a block of the outermost one, whose head it is.
4. What does not depend on the model's inputs (constants and what is made of them) stands with its readers, if they share a block.
5. Folded, no block may lead back to itself by way of others: those that would are given up, smallest first.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeprof.figures.graph_layout import order_of
from edgeprof.models.graph import Layer

LEAST_NODES = 3
_MOST_LEVELS = 2
_LONGEST_PERIOD = 256
_NUMBERED = re.compile(r"(.*?)[._-]?\d+")

Item = tuple[str, int]
"""What stands on a level: ``("node", position)`` or ``("block", number)``."""


@dataclass
class Block:
    """``name`` is unique; ``head`` is the control-flow node it belongs to, or -1. ``parent`` 0 is the model itself, block 0."""

    name: str
    title: str
    parent: int
    head: int = -1
    nodes: list[int] = field(default_factory=list)
    """Direct members, without the head."""


@dataclass(frozen=True)
class Blocks:
    """``blocks[0]`` is the model. ``home`` is the block each node stands in directly."""

    blocks: list[Block]
    home: list[int]
    heads: dict[int, int]

    def path(self, node: int) -> list[int]:
        """Blocks around a node, outermost (0) first."""
        path, block = [], self.home[node]
        while block:
            path.append(block)
            block = self.blocks[block].parent
        return [0, *reversed(path)]

    def item(self, node: int, path: Sequence[int], level: int) -> Item:
        """What stands for a node on a level of its path."""
        if level + 1 < len(path):
            return "block", path[level + 1]
        return ("block", self.heads[node]) if node in self.heads else ("node", node)


def find_blocks(layers: Sequence[Layer], extra: int, edges: Sequence[tuple[int, int]]) -> Blocks:
    """The blocks of a model with ``extra`` nodes behind its layers (inputs, then outputs), which stand in no block."""
    names = {layer.name: i for i, layer in enumerate(layers)}
    outer = [i for i, layer in enumerate(layers) if layer.parent is None or layer.parent not in names]
    steady = _constant(len(layers), edges)
    parts = _by_name(layers, outer) or _by_structure(layers, [i for i in outer if i not in steady], edges)
    blocks, home = [Block("", "", 0)], [0] * (len(layers) + extra)
    numbers: dict[Hashable, int] = {(): 0}
    taken = Counter({"": 1})
    for key, (title, parent, members) in parts.items():
        name = title if isinstance(key, str) else "/".join(map(str, key)) if isinstance(key, tuple) else str(key)
        taken[name] += 1
        blocks.append(Block(name if taken[name] == 1 else f"{name} ({taken[name]})", title, numbers[parent]))
        numbers[key] = len(blocks) - 1
        for i in members:
            home[i] = len(blocks) - 1  # an inner block comes behind the outer one
    found = Blocks(blocks, home, {})
    _join_readers(found, [i for i in outer if i in steady], edges)
    found.heads.update(_control_blocks(layers, names, blocks, home))
    _give_up_circles(found, edges)
    return _numbered_anew(found)


# ---- by name ----


def _by_name(layers: Sequence[Layer], outer: Iterable[int]) -> dict[Hashable, tuple[str, Hashable, list[int]]]:
    """Key -> title, key of the parent, members (those of inner blocks too); outer blocks first."""
    paths = {i: tuple(layers[i].name.strip("/").split("/")[:-1]) for i in outer}
    siblings: dict[Hashable, set[str]] = defaultdict(set)
    count: Counter[tuple[str, ...]] = Counter()
    for path in paths.values():
        for depth in range(len(path)):
            count[path[: depth + 1]] += 1
    for path in count:
        numbered = _NUMBERED.fullmatch(path[-1])
        if numbered:
            siblings[path[:-1], numbered[1]].add(path[-1])
    parts: dict[Hashable, tuple[str, Hashable, list[int]]] = {}
    for i, path in paths.items():
        parent: tuple[str, ...] = ()
        level = 0
        for depth in range(len(path)):
            key = path[: depth + 1]
            numbered = _NUMBERED.fullmatch(path[depth])
            if numbered and count[key] >= LEAST_NODES and len(siblings[path[:depth], numbered[1]]) > 1 and level < _MOST_LEVELS:
                parts.setdefault(key, (path[depth], parent, []))[2].append(i)
                parent, level = key, level + 1
    order = sorted(parts.items(), key=lambda part: len(part[0]) if isinstance(part[0], tuple) else 0)
    return dict(order)


# ---- by structure ----


def _by_structure(
    layers: Sequence[Layer], outer: Sequence[int], edges: Sequence[tuple[int, int]]
) -> dict[Hashable, tuple[str, Hashable, list[int]]]:
    codes = {op: k for k, op in enumerate(dict.fromkeys(layers[i].op_type for i in outer))}
    ops = np.array([codes[layers[i].op_type] for i in outer], int)
    crossing = _crossing(outer, edges)
    parts: dict[Hashable, tuple[str, Hashable, list[int]]] = {}
    waiting = [(0, len(ops))]
    repeats = 0
    while waiting:
        start, end = waiting.pop()
        found = _best_repeat(ops[start:end])
        if found is None:
            continue
        first, period, length = found
        cut = _best_cut(crossing, start + first, period, length)
        times = (start + first + length - cut) // period
        letter = _letters(repeats)
        repeats += 1
        for k in range(times):
            title = f"{letter}{k + 1} of {times}"
            parts[title] = (title, (), list(outer[cut + k * period : cut + (k + 1) * period]))
        waiting += [(cut + times * period, end), (start, cut)]
    return parts


def _letters(number: int) -> str:
    return (_letters(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def _best_repeat(ops: NDArray[np.int64]) -> tuple[int, int, int] | None:
    """Start, period and length of the stretch that repeats itself most: many nodes that repeat earlier ones, in short blocks."""
    best: tuple[float, int, int, int] | None = None
    for period in range(LEAST_NODES, min(_LONGEST_PERIOD, len(ops) // 2) + 1):
        if best and (len(ops) - period) / period**0.5 <= best[0]:
            break  # a longer period cannot repeat more
        edges = np.flatnonzero(np.diff(np.r_[False, ops[period:] == ops[:-period], False].astype(np.int8)))
        starts, repeated = edges[::2], edges[1::2] - edges[::2]
        if not len(starts) or repeated.max() < period:
            continue
        k = int(np.argmax(repeated))
        first, score = int(starts[k]), float(repeated[k]) / period**0.5
        if (best is None or score > best[0]) and len(set(ops[first : first + period].tolist())) > 1:
            best = score, first, period, int(repeated[k]) + period
    return best and best[1:]


def _crossing(outer: Sequence[int], edges: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """How many tensors cross from before each position of ``outer`` to behind it."""
    position = {node: k for k, node in enumerate(outer)}
    last: dict[int, int] = {}
    for a, b in edges:
        if a in position and b in position:
            last[position[a]] = max(last.get(position[a], 0), position[b])
    change = np.zeros(len(outer) + 1, int)
    for a, b in last.items():
        if b > a:
            change[a + 1] += 1
            change[b + 1] -= 1
    return np.cumsum(change)


def _best_cut(crossing: NDArray[np.int64], start: int, period: int, length: int) -> int:
    """Where the first block starts: as many whole blocks as can be, then the fewest tensors between them."""

    def cost(cut: int) -> tuple[int, float, int]:
        times = (start + length - cut) // period
        return -times, float(np.mean(crossing[cut : cut + times * period + 1 : period])), cut

    whole = length // period
    fewer = [cut for cut in range(start, start + period) if (start + length - cut) // period >= max(1, whole - 1)]
    by_tensors = min(fewer, key=lambda cut: (cost(cut)[1], cost(cut)[0], cut))
    most = min(fewer, key=cost)
    return most if cost(most)[1] <= cost(by_tensors)[1] else by_tensors


# ---- control flow ----


def _control_blocks(layers: Sequence[Layer], names: dict[str, int], blocks: list[Block], home: list[int]) -> dict[int, int]:
    """Adds a block for each outermost control-flow node that has nodes inside; head -> number of its block."""
    heads: dict[int, int] = {}
    for i, layer in enumerate(layers):
        head = i
        while (parent := layers[head].parent) is not None and parent in names and names[parent] < head:
            head = names[parent]
        if head == i:
            continue
        if head not in heads:
            blocks.append(Block(layers[head].name, layers[head].name, home[head], head))
            heads[head] = len(blocks) - 1
        home[i] = heads[head]
        del layer
    return heads


# ---- constants ----


def _constant(layers: int, edges: Sequence[tuple[int, int]]) -> set[int]:
    """Nodes that no input of the model leads to; none when nothing is led to."""
    following: dict[int, list[int]] = defaultdict(list)
    for a, b in edges:
        following[a].append(b)
    waiting = [a for a in following if a >= layers]
    moving = set(waiting)
    while waiting:
        for b in following[waiting.pop()]:
            if b not in moving:
                moving.add(b)
                waiting.append(b)
    return set(range(layers)) - moving if moving else set()


def _join_readers(found: Blocks, steady: Sequence[int], edges: Sequence[tuple[int, int]]) -> None:
    readers: dict[int, list[int]] = defaultdict(list)
    for a, b in edges:
        readers[a].append(b)
    for node in reversed(steady):
        paths = [found.path(b) for b in readers[node]]
        if paths and not found.home[node]:
            found.home[node] = paths[0][min(common(paths[0], path) for path in paths)]


# ---- no circles ----


def _give_up_circles(found: Blocks, edges: Sequence[tuple[int, int]]) -> None:
    """Rule 5, from the outermost level inwards. A block that is given up leaves its members to the one around it."""
    blocks, home = found.blocks, found.home
    while give_up := _on_circles(found, edges):

        def kept(number: int, give_up: set[int] = give_up) -> int:
            while number in give_up:
                number = blocks[number].parent
            return number

        home[:] = [kept(number) for number in home]
        for block in blocks:
            block.parent = kept(block.parent)


def _on_circles(found: Blocks, edges: Sequence[tuple[int, int]]) -> set[int]:
    """The smaller half of the blocks on each level's circles; control flow stays."""
    counts = Counter(number for node in range(len(found.home)) for number in found.path(node))
    some: set[int] = set()
    for pairs in _edges_by_level(found, edges).values():
        blocks = [number for kind, number in _on_a_circle(pairs) if kind == "block" and found.blocks[number].head < 0]
        some.update(sorted(blocks, key=lambda number: (counts[number], number))[: (len(blocks) + 1) // 2])
    return some


def _edges_by_level(found: Blocks, edges: Sequence[tuple[int, int]]) -> dict[int, set[tuple[Item, Item]]]:
    paths = [found.path(node) for node in range(len(found.home))]
    levels: dict[int, set[tuple[Item, Item]]] = defaultdict(set)
    for a, b in edges:
        level = common(paths[a], paths[b])
        ends = found.item(a, paths[a], level), found.item(b, paths[b], level)
        if ends[0] != ends[1]:
            levels[paths[a][level]].add(ends)
    return levels


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """The innermost level that two paths share."""
    level = 0
    while level + 1 < len(a) and level + 1 < len(b) and a[level + 1] == b[level + 1]:
        level += 1
    return level


def _on_a_circle(pairs: Iterable[tuple[Item, Item]]) -> set[Item]:
    """Items that lie on a circle, or between two."""
    numbers: dict[Item, int] = {}
    for pair in pairs:
        for item in pair:
            numbers.setdefault(item, len(numbers))
    edges = [(numbers[a], numbers[b]) for a, b in pairs]
    if len(order_of(len(numbers), edges)) == len(numbers):
        return set()
    ahead = set(order_of(len(numbers), edges))
    behind = set(order_of(len(numbers), [(b, a) for a, b in edges]))
    return {item for item, k in numbers.items() if k not in ahead and k not in behind}


def _numbered_anew(found: Blocks) -> Blocks:
    """Without blocks that hold nothing, each behind the one around it, members listed."""
    depth = {0: 0}
    for home in set(found.home):
        chain, at = [], home
        while at not in depth:
            chain.append(at)
            at = found.blocks[at].parent
        for one in reversed(chain):
            depth[one] = depth[found.blocks[one].parent] + 1
    order = sorted(depth, key=lambda number: (depth[number], number))
    new = {old: k for k, old in enumerate(order)}
    blocks = []
    for old in order:
        block = found.blocks[old]
        blocks.append(Block(block.name, block.title, new[block.parent], block.head))
    home = [new[number] for number in found.home]
    for node, number in enumerate(home):
        blocks[number].nodes.append(node)
    return Blocks(blocks, home, {node: new[number] for node, number in found.heads.items() if number in new})
