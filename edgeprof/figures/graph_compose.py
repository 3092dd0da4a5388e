"""Puts the levels of a graph view together for a set of folded blocks: every box, frame and line with its place on the page.

An open block is larger than its folded box. The level around it is stretched where that box lies, across and down, each point by the
largest ratio of the blocks that lie over it; across, each half of the box for itself, so that the block's ``level_anchor`` comes to stand
in the column of the folded box and a chain runs straight through open blocks. Boxes keep their size and stand in the middle of their
stretched place: what did not overlap does not, and what stood upright still does. ``static/graph.js`` does the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass, field

from edgeprof.figures.view import ViewData

Box = tuple[int, float, float, float, float]
"""Item, left, top, width, height."""


@dataclass
class Composed:
    """What is seen: ``boxes`` of nodes and folded blocks, ``frames`` of open blocks (outer before inner), ``lines`` of edges."""

    width: float = 0.0
    height: float = 0.0
    boxes: list[Box] = field(default_factory=list)
    frames: list[Box] = field(default_factory=list)
    lines: list[tuple[int, list[tuple[float, float]]]] = field(default_factory=list)
    """Each edge with the points it runs through."""


class Stretch:
    """One axis of a level: ``spans`` are (start, end, length that is wanted)."""

    def __init__(self, spans: Collection[tuple[float, float, float]]) -> None:
        self.at = sorted({0.0, *(v for start, end, _ in spans for v in (start, end))})
        self.slope = [1.0] * len(self.at)
        for start, end, wanted in spans:
            for k in range(self.at.index(start), self.at.index(end)):
                self.slope[k] = max(self.slope[k], wanted / (end - start))
        self.to = [self.at[0]]
        for k in range(1, len(self.at)):
            self.to.append(self.to[-1] + (self.at[k] - self.at[k - 1]) * self.slope[k - 1])

    def __call__(self, v: float) -> float:
        """Where a point of the level comes to lie."""
        k = max(0, bisect_right(self.at, v) - 1)
        return self.to[k] + (v - self.at[k]) * self.slope[k]


def compose(view: ViewData, collapsed: Collection[str]) -> Composed:
    """The graph of ``view`` with these blocks folded and all others open."""
    return _Composer(view, collapsed).result()


class _Composer:
    def __init__(self, view: ViewData, collapsed: Collection[str]) -> None:
        self.view = view
        self.a = {
            name: view.array(name).tolist()
            for name in view.meta["arrays"]
            if name.startswith(("item_", "edge_", "bend_", "port_", "level_"))
        }
        blocks = view.meta["blocks"]
        self.open = [k == 0 or block["name"] not in collapsed for k, block in enumerate(blocks)]
        self.items: list[list[int]] = [[] for _ in blocks]
        self.edges: list[list[int]] = [[] for _ in blocks]
        for i, level in enumerate(self.a["item_level"]):
            self.items[level].append(i)
        for e, level in enumerate(self.a["edge_level"]):
            self.edges[level].append(e)
        self.stretch: list[tuple[Stretch, Stretch]] = [(Stretch(()), Stretch(()))] * len(blocks)
        self.size = [(0.0, 0.0)] * len(blocks)
        self.inside = [(0.0, 0.0)] * len(blocks)
        """Where the content of an open block starts on the page."""

    def result(self) -> Composed:
        for level in reversed(range(len(self.open))):  # inner blocks come behind the outer ones
            self._measure(level)
        done = Composed(*self.size[0])
        self._place(0, done)
        return done

    def _is_open(self, item: int) -> int:
        """Number of the block that an item is, if it is open; else 0."""
        number = self.a["item_ref"][item] if self.a["item_kind"][item] == 1 else 0
        return number if number and self.open[number] else 0

    def _measure(self, level: int) -> None:
        a, across, down = self.a, [], []
        for i in self.items[level]:
            if number := self._is_open(i):
                w, h = self._outer(number)
                x, y, w0, h0 = (a[f"item_{name}"][i] for name in "xywh")
                left = self._left_part(number)
                across += [(x - w0 / 2, x, left), (x, x + w0 / 2, w - left)]
                down.append((y - h0 / 2, y + h0 / 2, h))
        self.stretch[level] = Stretch(across), Stretch(down)
        self.size[level] = self.stretch[level][0](a["level_w"][level]), self.stretch[level][1](a["level_h"][level])

    def _outer(self, number: int) -> tuple[float, float]:
        sizes = self.view.meta["sizes"]
        w, h = self.size[number]
        return max(w, sizes["least"]) + 2 * sizes["pad"], h + sizes["head"] + 2 * sizes["pad"]

    def _left_part(self, number: int) -> float:
        """How much of an open block lies to the left of its anchor."""
        return self.stretch[number][0](self.a["level_anchor"][number]) + (self._outer(number)[0] - self.size[number][0]) / 2

    def _place(self, level: int, done: Composed) -> None:
        a, (across, down), (left, top) = self.a, self.stretch[level], self.inside[level]
        for i in self.items[level]:
            x, y = left + across(a["item_x"][i]), top + down(a["item_y"][i])
            number = self._is_open(i)
            w, h = self._outer(number) if number else (a["item_w"][i], a["item_h"][i])
            before = self._left_part(number) if number else w / 2
            (done.frames if number else done.boxes).append((i, x - before, y - h / 2, w, h))
            if number:
                sizes = self.view.meta["sizes"]
                self.inside[number] = x - self.stretch[number][0](a["level_anchor"][number]), y - h / 2 + sizes["head"] + sizes["pad"]
                self._place(number, done)
        for e in self.edges[level]:
            done.lines.append((e, self._line(e, level)))

    def _line(self, e: int, level: int) -> list[tuple[float, float]]:
        a, (across, down), (left, top) = self.a, self.stretch[level], self.inside[level]
        flags = a["edge_flags"][e]
        start = self._end(a["edge_from"][e], a["edge_from_port"][e], level, port=bool(flags & 1), below=True)
        end = self._end(a["edge_to"][e], a["edge_to_port"][e], level, port=bool(flags & 2), below=False)
        points = [start, (start[0], top + down(a["edge_leave"][e]))]
        bends = range(a["bend_start"][e], a["bend_start"][e + 1])
        points += [(left + across(a["bend_x"][k]), top + down(a["bend_y"][k])) for k in bends]
        points += [(end[0], top + down(a["edge_arrive"][e])), end]
        return [p for k, p in enumerate(points) if not k or p != points[k - 1]]

    def _end(self, of: int, gate: int, level: int, *, port: bool, below: bool) -> tuple[float, float]:
        """Where an edge touches ``of``: an item's middle, or its port ``gate`` - 1 when it is an open block; or a port of this level."""
        a, (across, down), (left, top) = self.a, self.stretch[level], self.inside[level]
        pad, head = self.view.meta["sizes"]["pad"], self.view.meta["sizes"]["head"]
        if port:  # on the border of the frame around this level; an edge that comes in runs under its title
            return left + across(a["port_x"][of]), top - pad - head if below else top + self.size[level][1] + pad
        x, y, h = left + across(a["item_x"][of]), top + down(a["item_y"][of]), a["item_h"][of]
        if number := self._is_open(of):
            h = self._outer(number)[1]
            if gate:
                inner = self.stretch[number][0]
                x += inner(a["port_x"][gate - 1]) - inner(a["level_anchor"][number])
        return x, y + h / 2 if below else y - h / 2
