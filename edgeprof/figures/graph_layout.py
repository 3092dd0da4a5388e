"""Where the boxes and edges of a directed graph lie: in layers from top to bottom, in time near linear in boxes and edges.

1. Rank: longest path from the sources; what has no inputs then moves down to its first reader.
2. An edge over several ranks runs in a lane, one for all readers of a box, with a bend in each rank that it passes.
3. Order within a rank: barycentres of the neighbours, swept down and up.
4. Columns: in each gap the segments that can run straight without crossing are chosen: boxes before lanes, and what lies on the
   longest path first, so a chain stands upright. Columns are packed to the left and to the right, the middle of both is taken, and
   each moves towards its neighbours.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

RANK_GAP, EDGE_GAP, BOX_GAP = 28.0, 14.0, 28.0
"""Pixels between ranks, next to a rank of ``first`` or ``last``, and between boxes of a rank."""

LANE = 6.0
_SWEEPS = 4
_MOVES = 4
_LANES_A_BOX = 2
"""So many bends for each box, and 2,000, are laid out; the longest edges beyond that run straight."""


@dataclass(frozen=True)
class Layout:
    """Centres of boxes; of each edge the lower end of its source's rank, the upper end of its target's, and the bends between.

    Bends of edge ``e`` are ``bend_x[bend_start[e]:bend_start[e + 1]]``, likewise ``bend_y``. All within 0 to ``width``, 0 to ``height``.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    width: float
    height: float
    leave: NDArray[np.float64]
    arrive: NDArray[np.float64]
    bend_start: NDArray[np.int64]
    bend_x: NDArray[np.float64]
    bend_y: NDArray[np.float64]


def lay_out(
    widths: Sequence[float],
    heights: Sequence[float],
    edges: Sequence[tuple[int, int]],
    *,
    first: Sequence[int] = (),
    last: Sequence[int] = (),
) -> Layout:
    """The layout of an acyclic graph. Boxes in ``first`` stand alone in the topmost rank, those in ``last`` in the lowest."""
    boxes = len(widths)
    layers = _Layers(boxes, edges, first, last)
    layers.sweep()
    wide = [*widths, *([LANE] * (len(layers.rank) - boxes))]
    x = _Columns(layers, wide).x()
    high = np.zeros(len(layers.rows))
    np.maximum.at(high, np.array(layers.rank[:boxes], int), np.array(heights, float))
    gaps = np.full(len(high), RANK_GAP)
    if len(first) and len(gaps):
        gaps[0] = EDGE_GAP
    if len(last) and len(gaps) > 1:
        gaps[-2] = EDGE_GAP
    top = np.concatenate([[0.0], np.cumsum(high + gaps)[:-1]]) if len(high) else np.zeros(0)
    bottom = top + high
    half = np.array(wide) / 2
    left = float((x - half).min()) if boxes else 0.0
    x = x - left
    rank = np.array(layers.rank[:boxes], int)
    sources, targets = (np.array([edge[k] for edge in edges], int) for k in (0, 1))
    starts, bend_x, bend_y = _bends(layers, edges, x.tolist(), top.tolist(), bottom.tolist())
    return Layout(
        x=x[:boxes],
        y=(top + bottom)[rank] / 2 if boxes else np.zeros(0),
        width=float((x + half).max()) if boxes else 0.0,
        height=float(bottom[-1]) if boxes else 0.0,
        leave=bottom[rank[sources]] if len(edges) else np.zeros(0),
        arrive=top[rank[targets]] if len(edges) else np.zeros(0),
        bend_start=np.array(starts, int),
        bend_x=np.array(bend_x, float),
        bend_y=np.array(bend_y, float),
    )


def order_of(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The boxes, each after all that lead to it, else by number; boxes on a circle are left out."""
    if all(a < b for a, b in edges):
        return list(range(count))
    waiting, following = [0] * count, [[] for _ in range(count)]  # type: tuple[list[int], list[list[int]]]
    for a, b in edges:
        waiting[b] += 1
        following[a].append(b)
    order = [v for v in range(count) if not waiting[v]]
    for v in order:
        for w in following[v]:
            waiting[w] -= 1
            if not waiting[w]:
                order.append(w)
    return order


class _Layers:
    """Ranks with what stands in each, in order; lanes are items behind the boxes.

    ``up`` and ``down`` hold the items that segments lead to, one rank above and below.
    """

    def __init__(self, boxes: int, edges: Sequence[tuple[int, int]], first: Sequence[int], last: Sequence[int]) -> None:
        self.boxes = boxes
        self.rank = _ranks(boxes, edges, first, last)
        self.up: list[list[int]] = [[] for _ in range(boxes)]
        self.down: list[list[int]] = [[] for _ in range(boxes)]
        self.lanes: dict[int, range] = {}
        """Source of long edges -> the items of its lane, from top to bottom."""
        readers: dict[int, dict[int, None]] = {}
        for a, b in edges:
            readers.setdefault(a, {})[b] = None
        self._add_lanes(readers)
        for a, targets in readers.items():
            for b in targets:
                gap = self.rank[b] - self.rank[a]
                if gap == 1:
                    self._join(a, b)
                elif a in self.lanes:
                    self._join(self.lanes[a][gap - 2], b)
        self.rows: list[list[int]] = [[] for _ in range(max(self.rank, default=-1) + 1)]
        for item, rank in enumerate(self.rank):
            self.rows[rank].append(item)
        self.place = [0] * len(self.rank)
        """Position within the rank."""
        for row in self.rows:
            self._number(row)

    def _add_lanes(self, readers: dict[int, dict[int, None]]) -> None:
        rank = self.rank
        spans = sorted((max(rank[b] for b in targets) - rank[a] - 1, a) for a, targets in readers.items())
        room = _LANES_A_BOX * self.boxes + 2000
        for length, a in spans:
            room -= length
            if length < 1 or room < 0:
                continue
            self.lanes[a] = range(len(rank), len(rank) + length)
            before = a
            for k in range(length):
                rank.append(rank[a] + 1 + k)
                self.up.append([])
                self.down.append([])
                self._join(before, len(rank) - 1)
                before = len(rank) - 1

    def _join(self, a: int, b: int) -> None:
        self.down[a].append(b)
        self.up[b].append(a)

    def _number(self, row: list[int]) -> None:
        for position, item in enumerate(row):
            self.place[item] = position

    def sweep(self) -> None:
        """Orders each rank by the mean place of its neighbours above, then below, and again."""
        for turn in range(_SWEEPS):
            down = turn % 2 == 0
            near = self.up if down else self.down
            for row in self.rows if down else reversed(self.rows):
                if len(row) > 1:
                    self._sort(row, near)
        for row in self.rows:
            for item in row:
                for near in (self.up, self.down):
                    if len(near[item]) > 1:
                        near[item].sort(key=self.place.__getitem__)

    def _sort(self, row: list[int], near: list[list[int]]) -> None:
        place, rows, rank = self.place, self.rows, self.rank
        middle = (len(row) - 1) / 2
        keys = {}
        for item in row:
            others = near[item]
            if others:
                shift = (len(rows[rank[others[0]]]) - 1) / 2
                keys[item] = sum(place[o] for o in others) / len(others) - shift
            else:
                keys[item] = place[item] - middle
        row.sort(key=keys.__getitem__)
        self._number(row)


def _ranks(boxes: int, edges: Sequence[tuple[int, int]], first: Sequence[int], last: Sequence[int]) -> list[int]:
    following: list[list[int]] = [[] for _ in range(boxes)]
    before = [0] * boxes
    for a, b in edges:
        following[a].append(b)
        before[b] += 1
    rank = [1 if first else 0] * boxes
    for item in first:
        rank[item] = 0
    order = order_of(boxes, edges)
    for a in order:
        below = rank[a] + 1
        for b in following[a]:
            rank[b] = max(rank[b], below)
    ends = set(last)
    if ends:
        lowest = 1 + max((rank[v] for v in range(boxes) if v not in ends), default=0)
        for item in ends:
            rank[item] = lowest
    fixed = ends.union(first)
    for a in reversed(order):
        if following[a] and a not in fixed and before[a] < len(following[a]):
            rank[a] = min(rank[b] for b in following[a] if b != a) - 1
    return rank


class _Columns:
    """Horizontal places: items that stand in one column have one ``root``."""

    def __init__(self, layers: _Layers, widths: Sequence[float]) -> None:
        self.layers, self.widths = layers, widths
        self.root = list(range(len(widths)))
        self.depth, self.reach = self._lengths()
        for row, below in pairwise(layers.rows):
            self._align(row, below)
        self.members: dict[int, list[int]] = {}
        for item, root in enumerate(self.root):
            self.members.setdefault(root, []).append(item)

    def _lengths(self) -> tuple[list[int], list[int]]:
        """Boxes on the longest way from a source to each item, and from it to an end."""
        layers = self.layers
        depth, reach = [0] * len(self.root), [0] * len(self.root)
        for row in layers.rows:
            for item in row:
                if layers.up[item]:
                    depth[item] = max(depth[a] + (a < layers.boxes) for a in layers.up[item])
        for row in reversed(layers.rows):
            for item in row:
                if layers.down[item]:
                    reach[item] = max(reach[b] + (b < layers.boxes) for b in layers.down[item])
        return depth, reach

    def _align(self, row: list[int], below: list[int]) -> None:
        """Chooses the straight segments of the gap between two ranks: no two may cross, no item has two on one side."""
        layers = self.layers
        if len(row) == 1 and len(below) == 1:
            if layers.down[row[0]]:
                self.root[below[0]] = self.root[row[0]]
            return
        up, down, place, boxes = layers.up, layers.down, layers.place, layers.boxes
        wishes = []
        for b in below:
            above = up[b]
            for i, a in enumerate(above):
                lanes = (a >= boxes) + (b >= boxes)
                off = abs(2 * i + 1 - len(above)) + abs(2 * down[a].index(b) + 1 - len(down[a])) if len(down[a]) < 20 else 20
                wishes.append(((0, 2, 1)[lanes], -self.depth[a] - self.reach[b], off, place[a], place[b], a, b))
        wishes.sort()
        tops: list[int] = []
        bottoms: list[int] = []
        for _, _, _, top, bottom, a, b in wishes:
            k = bisect_left(tops, top)
            if (k < len(tops) and (tops[k] == top or bottoms[k] <= bottom)) or (k and bottoms[k - 1] >= bottom):
                continue
            tops.insert(k, top)
            bottoms.insert(k, bottom)
            self.root[b] = self.root[a]

    def _room(self, a: int, b: int) -> float:
        """Least distance of the centres of two neighbours."""
        boxes = self.layers.boxes
        gap = BOX_GAP if a < boxes and b < boxes else BOX_GAP * 0.5
        return (self.widths[a] + self.widths[b]) / 2 + gap

    def x(self) -> NDArray[np.float64]:
        """The centre of each item."""
        pairs = [(a, b, self._room(a, b)) for row in self.layers.rows for a, b in pairwise(row)]
        root = self.root
        right_of: dict[int, list[tuple[int, float]]] = {r: [] for r in self.members}
        waiting = dict.fromkeys(self.members, 0)
        for a, b, room in pairs:
            right_of[root[a]].append((root[b], room))
            waiting[root[b]] += 1
        order = [r for r, count in waiting.items() if not count]
        for r in order:
            for other, _ in right_of[r]:
                waiting[other] -= 1
                if not waiting[other]:
                    order.append(other)
        left = dict.fromkeys(self.members, 0.0)
        for r in order:
            at = left[r]
            for other, room in right_of[r]:
                left[other] = max(left[other], at + room)
        most = max(left.values(), default=0.0)
        right = dict.fromkeys(self.members, most)
        for r in reversed(order):
            for other, room in right_of[r]:
                right[r] = min(right[r], right[other] - room)
        x = {r: (left[r] + right[r]) / 2 for r in self.members}
        if len(self.members) > 1:
            self._move(x, order)
        return np.array([x[r] for r in root], float)

    def _move(self, x: dict[int, float], order: list[int]) -> None:
        """Each column moves towards the mean of its neighbours as far as there is room."""
        layers, root, boxes = self.layers, self.root, self.layers.boxes
        plans = []
        for r in order:
            pulls: list[tuple[int, int]] = []
            lows, highs = [], []
            for item in self.members[r]:
                others = [other for other in (*layers.up[item], *layers.down[item]) if root[other] != r]
                pulls += [(root[other], 4 if item < boxes and other < boxes else 1) for other in others]
                row, k = layers.rows[layers.rank[item]], layers.place[item]
                if k:
                    lows.append((root[row[k - 1]], self._room(row[k - 1], item)))
                if k + 1 < len(row):
                    highs.append((root[row[k + 1]], self._room(item, row[k + 1])))
            if pulls:
                plans.append((r, pulls, sum(weight for _, weight in pulls), lows, highs))
        for turn in range(_MOVES):
            for r, pulls, weights, lows, highs in plans if turn % 2 == 0 else reversed(plans):
                wish = sum(x[other] * weight for other, weight in pulls) / weights
                for other, room in highs:
                    wish = min(wish, x[other] - room)
                for other, room in lows:
                    wish = max(wish, x[other] + room)
                x[r] = wish


def _bends(
    layers: _Layers, edges: Sequence[tuple[int, int]], x: list[float], top: list[float], bottom: list[float]
) -> tuple[list[int], list[float], list[float]]:
    """Of each edge the points where its lane turns: down through a whole rank where it stands, aside only between ranks."""
    starts, xs, ys = [0], [], []  # type: tuple[list[int], list[float], list[float]]
    rank = layers.rank
    turns = {a: [i for i in lane if i in (lane[0], lane[-1]) or not x[i - 1] == x[i] == x[i + 1]] for a, lane in layers.lanes.items()}
    for a, b in edges:
        length = rank[b] - rank[a] - 1
        if length > 0 and a in layers.lanes:
            stop = layers.lanes[a][length - 1]
            for item in (*(i for i in turns[a] if i < stop), stop):
                xs += (x[item], x[item])
                ys += (top[rank[item]], bottom[rank[item]])
        starts.append(len(xs))
    return starts, xs, ys
