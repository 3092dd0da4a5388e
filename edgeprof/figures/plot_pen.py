"""Draws charts of points as pictures: two axes of numbers, marks, lines. The counterpart of ``static/axes.js`` and ``static/points.js``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from edgeprof.figures.numbers import ellipsis
from edgeprof.figures.pen import SCALE, WIDTH, Pen
from edgeprof.figures.placing import Box

Point = tuple[float, float]

TOP, HEIGHT = 82, 380
"""Where the plot begins and how high it is, in CSS pixels."""

BOTTOM = TOP + HEIGHT + 50
"""Where the plot's axis and its title end."""

_LEFT, _RIGHT = 78, 18
_LETTERS = 30
_CORNERS = {"triangle-up": (3, -90), "triangle-down": (3, 90), "diamond": (4, -90), "pentagon": (5, -90), "hexagon": (6, -90)}


@dataclass(frozen=True)
class Plot:
    """Two axes as `pareto_view` and `roofline_view` describe them: ``{low, high, log, title}``, powers of ten when log."""

    axes: Sequence[dict[str, Any]]

    def x(self, value: float) -> float:
        """Pixel from the left; far away where the number has no place."""
        return _LEFT + self._part(0, value) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Pixel from the top."""
        return TOP + HEIGHT - self._part(1, value) * HEIGHT

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies inside the plot."""
        return 0 <= self._part(0, x) <= 1 and 0 <= self._part(1, y) <= 1

    def clip_x(self, value: float) -> float:
        """`x`, at most at the plot's edges."""
        return min(WIDTH - _RIGHT, max(_LEFT, self.x(value)))

    def clip_y(self, value: float) -> float:
        """`y`, at most at the plot's edges."""
        return min(TOP + HEIGHT, max(TOP, self.y(value)))

    def _part(self, axis: int, value: float) -> float:
        one = self.axes[axis]
        if one["log"]:
            value = math.log10(value) if value > 0 else -1e3
        return min(1e3, max(-1e3, (value - float(one["low"])) / (float(one["high"]) - float(one["low"]))))


@dataclass(frozen=True)
class Named:
    """A name that a point should have: ``gap`` is how far both ways from its middle it begins."""

    text: str
    at: Point
    color: Any
    gap: float


class PlotPen(Pen):
    """A Pen that draws lines and marks too."""

    def line(self, points: Sequence[Point], color: Any, width: float = 1, *, dash: Point | None = None) -> None:
        """A line through ``points``; ``dash`` is the length of a dash and of the gap after it."""
        for start, end in pairwise(points):
            for a, b in _dashes(start, end, dash) if dash else [(start, end)]:
                self._draw.line([v * SCALE for v in (*a, *b)], fill=color, width=max(1, round(width * SCALE)))

    def mark(self, shape: str, x: float, y: float, r: float, color: Any, *, hollow: bool = False) -> None:
        """A point; hollow is what no board ran."""
        fill, edge = (self.theme.surface, color) if hollow else (color, self.theme.surface)
        corners = _corners(shape, r)
        if corners is None:
            box = [(v + d) * SCALE for d in (-r, r) for v in (x, y)]
            self._draw.ellipse(box, fill=fill, outline=edge, width=2 if hollow else 1)
            return
        outline = [((x + a) * SCALE, (y + b) * SCALE) for a, b in corners]
        self._draw.polygon(outline, fill=fill, outline=edge, width=2 if hollow else 1)

    def ring(self, x: float, y: float, r: float, color: Any, width: float = 2) -> None:
        """A circle around a point."""
        self._draw.ellipse([(v + d) * SCALE for d in (-r, r) for v in (x, y)], outline=color, width=max(1, round(width * SCALE)))

    def axes(self, plot: Plot) -> None:
        """Both axes with ticks, grid lines and titles."""
        theme = self.theme
        for at in ticks(plot.axes[0], WIDTH - _LEFT - _RIGHT, 90):
            self.line([(plot.x(at), TOP), (plot.x(at), TOP + HEIGHT + 4)], theme.line)
            self.text(plot.x(at), TOP + HEIGHT + 14, plain(at), theme.ink_muted, 11, anchor="mm")
        for at in ticks(plot.axes[1], HEIGHT, 44):
            self.line([(_LEFT - 4, plot.y(at)), (WIDTH - _RIGHT, plot.y(at))], theme.line)
            self.text(_LEFT - 8, plot.y(at), plain(at), theme.ink_muted, 11, anchor="rm")
        self.text((_LEFT + WIDTH - _RIGHT) / 2, TOP + HEIGHT + 36, plot.axes[0]["title"], theme.ink, 12, anchor="mm")
        self.text(12, TOP - 14, plot.axes[1]["title"], theme.ink, 12)

    def names(
        self, named: Sequence[Named], marks: Sequence[tuple[Point, float]], *, always: int = 0, obstacles: Sequence[Box] = ()
    ) -> None:
        """Names beside their points where they cover no mark (its point, radius) and no other name; the first ``always`` in any case."""
        taken = [Box(x - r, y - r, x + r, y + r) for (x, y), r in marks]
        taken += obstacles
        for position, one in enumerate(named):
            text = ellipsis(one.text, _LETTERS + 14 * (": " in one.text[:13]))
            gaps = [one.gap, *(one.gap + more for more in (26, 52, 90, 140) if position < always)]
            places = [(gap, across, down) for gap in gaps for across in (1, -1) for down in (-1, 1)]
            boxes = {at: self._name_box(text, one.at, *at) for at in places}
            inside = [at for at in places if boxes[at].left >= _LEFT and boxes[at].right <= WIDTH - _RIGHT and boxes[at].bottom >= TOP - 8
                      and boxes[at].top <= TOP + HEIGHT]  # fmt: skip
            free = [at for at in inside if not any(boxes[at].meets(other) for other in taken)]
            if not free and position < always:
                free = sorted(inside, key=lambda at: sum(boxes[at].meets(other) for other in taken))
            if free:
                self._name(text, one, *free[0])
                taken.append(boxes[free[0]])

    def _name_box(self, text: str, at: Point, gap: float, across: int, down: int) -> Box:
        """Where a name stands, y going down."""
        width, (x, y) = self.width(text, 11), at
        left, top = (x + gap if across > 0 else x - gap - width), (y + gap if down > 0 else y - gap - 14)
        return Box(left, top, left + width, top + 14)

    def _name(self, text: str, one: Named, gap: float, across: int, down: int) -> None:
        box = self._name_box(text, one.at, gap, across, down)
        if gap > one.gap:
            end = (box.left if across > 0 else box.right, box.bottom if down > 0 else box.top)
            self.line([(one.at[0] + across * one.gap, one.at[1] + down * one.gap), end], one.color)
        self.text(box.left, (box.bottom + box.top) / 2, text, one.color, 11)

    def key(self, x: float, y: float, text: str, paint: Any) -> float:
        """An entry of the legend, whose mark ``paint(x, y)`` draws; where the next one begins."""
        paint(x + 8, y)
        self.text(x + 20, y, text, self.theme.ink_muted, 11)
        return x + 38 + self.width(text, 11)


def ticks(axis: dict[str, Any], length: float, room: float) -> list[float]:
    """Round numbers along an axis, as many as have ``room`` pixels each."""
    low, high, wanted = float(axis["low"]), float(axis["high"]), max(2, int(length / room))
    if axis["log"] and high - low > 1.3:
        for steps in ((1, 2, 5), (1, 3), (1,)):
            every = [s * 10.0**p for p in range(math.floor(low), math.ceil(high) + 1) for s in steps]
            found = [value for value in every if low <= math.log10(value) <= high]
            if len(found) <= wanted:
                return found
        return found[:: math.ceil(len(found) / wanted)]
    if axis["log"]:
        low, high = 10**low, 10**high
    raw = (high - low) / wanted
    step = 10.0 ** math.floor(math.log10(raw))
    step = next(step * k for k in (1, 2, 5, 10) if step * k >= raw)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def plain(value: float) -> str:
    """A tick as a person reads it."""
    return f"{value:,.6g}".replace(",", "\u202f").replace("-", "−")


def _dashes(start: Point, end: Point, dash: Point) -> list[tuple[Point, Point]]:
    (ax, ay), (bx, by) = start, end
    length = math.hypot(bx - ax, by - ay)
    on, off = dash
    found, at = [], 0.0
    while at < length:
        a, b = at / length, min(1.0, (at + on) / length)
        found.append(((ax + a * (bx - ax), ay + a * (by - ay)), (ax + b * (bx - ax), ay + b * (by - ay))))
        at += on + off
    return found


def _corners(shape: str, r: float) -> list[Point] | None:
    """Corners of a mark around its middle, as in ``static/points.js``; None for a circle."""
    if shape == "square":
        return [(-0.86 * r, -0.86 * r), (0.86 * r, -0.86 * r), (0.86 * r, 0.86 * r), (-0.86 * r, 0.86 * r)]
    if shape in _CORNERS:
        count, start = _CORNERS[shape]
        return _turn(count, start, [1.3 * r if count == 3 else 1.14 * r])
    if shape == "star":
        return _turn(10, -90, [1.3 * r, 0.55 * r])
    if shape == "hourglass":
        return [(-r, -r), (r, -r), (-r, r), (r, r)]
    if shape == "bowtie":
        return [(-r, -r), (r, r), (r, -r), (-r, r)]
    t, e = 0.42 * r, 1.15 * r
    cross = [(-t, -e), (t, -e), (t, -t), (e, -t), (e, t), (t, t), (t, e), (-t, e), (-t, t), (-e, t), (-e, -t), (-t, -t)]
    return cross if shape == "cross" else [(0.71 * (a - b), 0.71 * (a + b)) for a, b in cross] if shape == "x" else None


def _turn(count: int, start: float, far: Sequence[float]) -> list[Point]:
    angles = [math.radians(start + 360 * i / count) for i in range(count)]
    return [(far[i % len(far)] * math.cos(angle), far[i % len(far)] * math.sin(angle)) for i, angle in enumerate(angles)]
