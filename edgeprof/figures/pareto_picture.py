"""The Pareto chart as a PNG picture, for saved and exported notebooks: same marks, front and words as the live view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from edgeprof.figures.numbers import ellipsis
from edgeprof.figures.pareto import SHAPES
from edgeprof.figures.pareto_view import STANDINGS
from edgeprof.figures.pen import WIDTH, draw_header
from edgeprof.figures.plot_pen import BOTTOM, Named, Plot, PlotPen
from edgeprof.figures.theme import LIGHT, Theme, rgb
from edgeprof.figures.view import ViewData

_MANY, _FEW = 60, 16
_RADIUS = {"front": 6.5, "unsure": 5.5, "dominated": 5.0, "aside": 4.5}
_ORDER = ("aside", "dominated", "unsure", "front")


def draw(view: ViewData, *, selection: Sequence[str] = (), x: str = "", y: str = "", theme: Theme = LIGHT) -> bytes:
    """PNG of `figures.pareto_view.pareto_view` with these keys selected, on the axes ``x`` and ``y`` if it has such a pair."""
    axes = view.meta["axes"]
    name = f"{x or axes['x']} {y or axes['y']}"
    name = name if name in view.meta["pairs"] else f"{axes['x']} {axes['y']}"
    pair = view.meta["pairs"][name]
    lines = pair["lines"] if pair["axes"] else []
    pen = PlotPen(theme, (BOTTOM + 34 + 18 * len(lines) if pair["axes"] else 130) + 24)
    header = view.meta["header"] | {"number": pair["number"], "number_note": pair["number_note"]}
    draw_header(pen, ViewData(view.meta | {"header": header}, b""))
    if not pair["axes"]:
        pen.text(12, 86, ellipsis(pair["empty"], 150), theme.ink_muted)
        return pen.png()
    chart = _Chart(pen, view, name, set(selection))
    chart.draw()
    for i, line in enumerate(lines):
        pen.text(12, BOTTOM + 34 + 18 * i, ellipsis(line, 158), theme.ink_muted, 11)
    pen.text(12, pen.height - 12, "A static picture: run the cell for the live view.", theme.ink_muted, 11)
    return pen.png()


def _paler(theme: Theme) -> str:
    """What stands aside: between what is dominated and the ground."""
    mixed = (round(0.6 * a + 0.4 * b) for a, b in zip(rgb(theme.missing), rgb(theme.surface), strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


class _Chart:
    """The chart of one pair of axes."""

    def __init__(self, pen: PlotPen, view: ViewData, name: str, selection: set[str]) -> None:
        self.pen, self.view, self.theme = pen, view, pen.theme
        self.pair = view.meta["pairs"][name]
        self.plot = Plot(self.pair["axes"])
        objectives = {one["name"]: i for i, one in enumerate(view.meta["objectives"])}
        self.names = name.split(" ")
        self.positions = [objectives[one] for one in self.names]
        self.standing = [STANDINGS[code] for code in view.array(f"standing {name}")]
        drawn = [row for row, standing in enumerate(self.standing) if standing != "missing"]
        self.rows = sorted(drawn, key=lambda row: _ORDER.index(self.standing[row]))
        self.chosen = [row for row in self.rows if view.meta["keys"][row] in selection]
        self.basis = [view.meta["texts"]["basis"][code] for code in view.array("basis")]
        self.front = sorted((row for row in drawn if self.standing[row] == "front"), key=self._better)

    def draw(self) -> None:
        """Everything, from the background to the legend."""
        self._draw_bounds()
        self.pen.axes(self.plot)
        self._draw_lines()
        for row in self.rows:
            if len(self.rows) <= _MANY or self.standing[row] == "front":
                self._draw_bars(row)
        for row in self.rows:
            self._draw_mark(row)
        self._draw_rings()
        self._draw_names()
        self._draw_legend()

    def _number(self, position: int, row: int, end: str = "value") -> float:
        return float(self.view.array(f"{end} {self.positions[position]}")[row]) * float(self.pair["axes"][position]["scale"])

    def _at(self, row: int) -> tuple[float, float]:
        return self.plot.x(self._number(0, row)), self.plot.y(self._number(1, row))

    def _better(self, row: int) -> float:
        lower = self.view.meta["objectives"][self.positions[0]]["better"] == "lower"
        return self._number(0, row) * (1 if lower else -1)

    def _color(self, row: int) -> str:
        known = {"front": self.theme.bar, "unsure": self.theme.warning, "dominated": self.theme.missing}
        return known.get(self.standing[row]) or _paler(self.theme)

    def _draw_bounds(self) -> None:
        plot, theme = self.plot, self.theme
        for limit in self.view.meta["constraints"]:
            if limit["objective"] not in self.names:
                continue
            position = self.names.index(limit["objective"])
            bound = limit["bound"] * self.pair["axes"][position]["scale"]
            lower = self.view.meta["objectives"][self.positions[position]]["better"] == "lower"
            left, right, top, bottom = plot.clip_x(-math.inf), plot.clip_x(math.inf), plot.clip_y(math.inf), plot.clip_y(-math.inf)
            if position == 0:
                at = plot.clip_x(bound)
                box = (at, top, right - at, bottom - top) if lower else (left, top, at - left, bottom - top)
                line, text = [(at, top), (at, bottom)], (at - 6 if lower else at + 6, top + 9, "rm" if lower else "lm")
            else:
                at = plot.clip_y(bound)
                box = (left, top, right - left, at - top) if lower else (left, at, right - left, bottom - at)
                line, text = [(left, at), (right, at)], (right - 4, at + 10 if lower else at - 10, "rm")
            if box[2] >= 1 and box[3] >= 1:
                self.pen.hatch(*box)
            self.pen.line(line, theme.warning, 1.4, dash=(6, 4))
            self.pen.text(text[0], text[1], limit["text"], theme.warning, 11, anchor=text[2])

    def _draw_lines(self) -> None:
        drawn = set(self.rows)
        for pair in zip(self.view.array("estimates"), self.view.array("measurements"), strict=True):
            if drawn.issuperset(map(int, pair)):
                self.pen.line([self._at(int(row)) for row in pair], self.theme.ink_muted, 1, dash=(2, 3))
        places = [self._at(row) for row in self.front]
        for a, b in pairwise(places):
            self.pen.line([a, (b[0], a[1]), b], self.theme.bar, 1.8)

    def _draw_bars(self, row: int) -> None:
        x, y = self._at(row)
        color = self._color(row) if self.standing[row] == "front" else self.theme.line
        dash = (4, 3) if SHAPES[self.basis[row]].endswith("-open") else None
        for position in (0, 1):
            low, high = (self._number(position, row, end) for end in ("low", "high"))
            if math.isnan(low) or math.isnan(high):
                continue
            clip = self.plot.clip_y if position else self.plot.clip_x
            ends = [(x, clip(end)) if position else (clip(end), y) for end in (low, high)]
            self.pen.line(ends, color, 1, dash=dash)

    def _draw_mark(self, row: int) -> None:
        x, y = self._at(row)
        shape = SHAPES[self.basis[row]]
        small = 1.5 if len(self.rows) > _MANY and self.standing[row] != "front" else 0
        r = _RADIUS[self.standing[row]] - small
        self.pen.mark(shape.removesuffix("-open"), x, y, r, self._color(row), hollow=shape.endswith("-open"))

    def _draw_rings(self) -> None:
        for row in self.rows:
            if self.view.array("baseline")[row]:
                self._corners(*self._at(row), 12)
        if self.pair["sweet"] >= 0:
            for r in (10, 13.5):
                self.pen.ring(*self._at(self.pair["sweet"]), r, self.theme.bar)
        for row in self.chosen:
            self.pen.ring(*self._at(row), 9.5, self.theme.accent, 2.5)

    def _corners(self, x: float, y: float, far: float) -> None:
        near = far - 4
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            self.pen.line([(x + a * near, y + b * far), (x + a * far, y + b * far), (x + a * far, y + b * near)], self.theme.ink, 1.4)

    def _draw_names(self) -> None:
        labels, theme = self.view.meta["labels"], self.theme
        sweet = [self.pair["sweet"]] if self.pair["sweet"] >= 0 else []
        baselines = [row for row in self.rows if self.view.array("baseline")[row]]
        others = self.rows if len(self.rows) <= _FEW else []
        named: list[Named] = []
        for row in dict.fromkeys([*sweet, *self.chosen, *baselines, *self.front, *others]):
            lead = "sweet spot: " if row in sweet else "baseline: " if row in baselines else ""
            color = theme.accent if row in self.chosen else theme.bar if row in sweet else theme.ink_muted
            gap = 12 if row in sweet or row in baselines else 7
            named.append(Named(lead + labels[row].removesuffix(f", {self.basis[row]}"), self._at(row), color, gap))
        marks = [(self._at(row), 11.0 if row in sweet else 6.0) for row in self.rows]
        self.pen.names(named, marks, always=len(sweet))

    def _draw_legend(self) -> None:
        pen, theme, x, y = self.pen, self.theme, 12.0, BOTTOM + 12.0
        for standing in reversed(_ORDER):
            rows = [row for row in self.rows if self.standing[row] == standing]
            if rows:
                color = self._color(rows[0])
                x = pen.key(x, y, self.view.meta["standing_words"][standing], lambda a, b, color=color: pen.mark("circle", a, b, 5, color))
        for basis, shape in SHAPES.items():
            if basis in {self.basis[row] for row in self.rows}:
                hollow, own = shape.endswith("-open"), shape.removesuffix("-open")
                told = f"{basis}, dashed bars" if hollow else basis
                x = pen.key(x, y, told, lambda a, b, own=own, hollow=hollow: pen.mark(own, a, b, 4.5, theme.ink, hollow=hollow))
        if self.view.array("baseline")[self.rows].any() and x < WIDTH - 120:
            pen.key(x, y, "baseline", lambda a, b: self._corners(a, b, 6))
