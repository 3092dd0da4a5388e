"""The model graph as a PNG picture, for saved and exported notebooks: same boxes, scale and colours as the live view.

A tall graph is cut into strips that stand side by side, to be read from left to right.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from edgeprof import units
from edgeprof.figures.graph import BLOCK, NODE
from edgeprof.figures.graph_compose import Box, Composed, compose
from edgeprof.figures.heatmap import place
from edgeprof.figures.numbers import ellipsis, show
from edgeprof.figures.pen import WIDTH, Pen, draw_header, ink_on
from edgeprof.figures.theme import LIGHT, Theme, scale_colors
from edgeprof.figures.view import ViewData

MOST_HEIGHT = 900
"""Pixels of the graph itself; it is drawn smaller and in more strips until it fits."""

_TOP, _GAP = 70, 26
_SMALLEST = 0.04
_TEXT_AT, _NAME_AT = 0.5, 0.8
"""Scales from which op types, and names too, are written."""


def draw(
    view: ViewData, *, metric: str = "", collapsed: Collection[str] | None = None, selection: Sequence[str] = (), theme: Theme = LIGHT
) -> bytes:
    """PNG of `figures.graph.graph(profile)`, with these blocks folded; None folds as the data says."""
    if view.meta["empty"]:
        pen = Pen(theme, _TOP + 60)
        draw_header(pen, view)
        for k, line in enumerate(_lines(view.meta["empty"], 140)):
            pen.text(12, _TOP + 16 * k, line, theme.ink_muted)
        return pen.png()
    column = next((c for c in view.meta["columns"] if c["name"] == (metric or view.meta["metric"])), None)
    folded = view.meta["collapsed"] if collapsed is None else collapsed
    page = _Page.of(compose(view, folded))
    pen = Pen(theme, round(_TOP + (page.strip + page.overhang) * page.scale + 78))
    draw_header(pen, view)
    artist = _Artist(pen, view, page, column, bool(folded), set(selection))
    artist.draw()
    _draw_legend(pen, view, column, bool(folded), pen.height - 52)
    pen.text(
        12,
        pen.height - 14,
        "A static picture: run the cell for the live view, where blocks open and names can be read.",
        theme.ink_muted,
        11,
    )
    return pen.png()


@dataclass(frozen=True)
class _Page:
    """The graph in ``strips`` pieces, each ``strip`` high before it is scaled."""

    graph: Composed
    scale: float
    strips: int
    strip: float

    @classmethod
    def of(cls, graph: Composed) -> _Page:
        scale = 1.0
        while True:
            strips = max(1, math.floor((WIDTH - 24 + _GAP) / (graph.width * scale + _GAP)))
            strips = min(strips, math.ceil(graph.height * scale / 300))
            strip = graph.height / strips
            fits = graph.width * scale <= WIDTH - 24 and strip * scale <= MOST_HEIGHT
            if fits or scale <= _SMALLEST:
                return cls(graph, scale if fits else min(scale, MOST_HEIGHT / strip, (WIDTH - 24) / graph.width), strips, strip)
            scale *= 0.9

    @property
    def overhang(self) -> float:
        """How far a box that begins in a strip reaches beyond its end: boxes are not cut."""
        ends = (y + h - self.strip * (1 + min(self.strips - 1, max(0, int(y / self.strip)))) for _, _, y, _, h in self.graph.boxes)
        return max(0.0, *ends, 0.0)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A point of the graph on the picture, in the strip that it falls in."""
        return self.inside(x, y, min(self.strips - 1, max(0, int(y / self.strip))))

    def inside(self, x: float, y: float, strip: int) -> tuple[float, float]:
        """A point of the graph as ``strip`` has it."""
        room = self.graph.width * self.scale + _GAP
        left = (WIDTH - room * self.strips + _GAP) / 2
        return left + strip * room + x * self.scale, _TOP + (y - strip * self.strip) * self.scale

    def pieces(self, top: float, bottom: float) -> Iterator[tuple[int, float, float]]:
        """The strips that a stretch from top to bottom lies in, with its part in each."""
        for strip in range(max(0, int(top / self.strip)), min(self.strips - 1, int(bottom / self.strip)) + 1):
            yield strip, max(top, strip * self.strip), min(bottom, (strip + 1) * self.strip)


class _Artist:
    def __init__(self, pen: Pen, view: ViewData, page: _Page, column: dict[str, Any] | None, folded: bool, selection: set[str]) -> None:
        self.pen, self.view, self.page, self.column = pen, view, page, column
        self.kind, self.ref = view.array("item_kind"), view.array("item_ref")
        self.layer = view.array("layer").astype(int)
        self.ops = [view.meta["texts"]["node_op_type"][code] for code in view.array("node_op_type")]
        self.chosen = {row for row, name in enumerate(view.meta["names"]) if name in selection}
        self.inside = self._chosen_blocks()
        if column is not None:
            scale = column["block_scales" if folded else "scales"]["auto"]
            self.values = view.array(column["name"]), view.array(f"block_{column['name']}")
            self.colors = [scale_colors(place(v, scale), pen.theme.sequential) for v in self.values]

    def _chosen_blocks(self) -> set[int]:
        """Blocks that hold a node of a selected layer."""
        levels, blocks = self.view.array("item_level"), self.view.meta["blocks"]
        found: set[int] = set()
        for kind, ref, level in zip(self.kind.tolist(), self.ref.tolist(), levels.tolist(), strict=True):
            number = level
            if kind != NODE or self.layer[ref] not in self.chosen:
                continue
            while number:
                found.add(number)
                number = blocks[number]["parent"]
        return found | {k for k, block in enumerate(blocks) if block["head"] >= 0 and self.layer[block["head"]] in self.chosen}

    def draw(self) -> None:
        for frame in self.page.graph.frames:
            self._frame(frame)
        for _, points in self.page.graph.lines:
            self._line(points)
        for box in self.page.graph.boxes:
            self._box(box)
        for frame in self.page.graph.frames:
            self._title(frame)

    def _frame(self, frame: Box) -> None:
        item, x, y, w, h = frame
        color = self.pen.theme.accent if int(self.ref[item]) in self.inside else self.pen.theme.line
        for strip, top, bottom in self.page.pieces(y, y + h):
            left, up = self.page.inside(x, top, strip)
            wide, high = w * self.page.scale, (bottom - top) * self.page.scale
            self.pen.box(left, up, wide, high, color)
            ends = (1 if top == y else 0), (1 if bottom == y + h else 0)
            self.pen.box(left + 1, up + ends[0], wide - 2, high - sum(ends), self.pen.theme.raised)

    def _title(self, frame: Box) -> None:
        item, x, y, _, _ = frame
        if self.page.scale >= _TEXT_AT:
            left, top = self.page.at(x + 8, y + 13)
            self.pen.text(
                left, top, ellipsis(self.view.meta["blocks"][int(self.ref[item])]["title"], 24), self.pen.theme.ink, 11, bold=True
            )

    def _line(self, points: Sequence[tuple[float, float]]) -> None:
        """Upright pieces as they are; a piece that goes aside does so in the middle of its height."""
        theme, thick = self.pen.theme, 1.0
        for (x0, y0), (x1, y1) in pairwise(points):
            middle = (y0 + y1) / 2
            for x, top, bottom in [(x0, y0, y1)] if x0 == x1 else [(x0, y0, middle), (x1, middle, y1)]:
                for strip, first, last in self.page.pieces(min(top, bottom), max(top, bottom)):
                    left, up = self.page.inside(x, first, strip)
                    self.pen.box(left - thick / 2, up, thick, max(thick, (last - first) * self.page.scale), theme.missing)
            if x0 != x1:
                left, up = self.page.at(min(x0, x1), middle)
                self.pen.box(left, up - thick / 2, abs(x1 - x0) * self.page.scale + thick / 2, thick, theme.missing)

    def _box(self, box: Box) -> None:
        item, x, y, w, h = box
        theme, scale = self.pen.theme, self.page.scale
        left, top = self.page.at(x, y)
        wide, high = max(1.5, w * scale), max(1.0, h * scale)
        kind, ref = int(self.kind[item]), int(self.ref[item])
        row = int(self.layer[ref]) if kind == NODE else -1
        chosen = row in self.chosen if kind == NODE else kind == BLOCK and ref in self.inside
        edge = 2.0 if chosen else 1.0
        if scale > 0.15 or chosen:
            color = theme.accent if chosen else theme.missing
            self.pen.box(left - edge, top - edge, wide + 2 * edge, high + 2 * edge, color)
        if kind == BLOCK and scale >= _TEXT_AT:
            self.pen.box(left + 3, top + high, wide, 3, theme.line)
        ink = self._fill(kind, ref, row, left, top, wide, high)
        if scale >= _TEXT_AT:
            self._words(kind, ref, left, top, wide, high, ink)

    def _fill(self, kind: int, ref: int, row: int, x: float, y: float, w: float, h: float) -> str:
        theme = self.pen.theme
        at = (0, row) if kind == NODE else (1, ref)
        known = self.column is not None and (kind == BLOCK or row >= 0) and np.isfinite(self.values[at[0]][at[1]])
        if not known:
            self.pen.box(x, y, w, h, theme.surface if kind in (NODE, BLOCK) else theme.raised)
            if kind in (NODE, BLOCK):
                self.pen.hatch(x, y, w, h)
            return theme.ink
        color = self.colors[at[0]][at[1]]
        self.pen.box(x, y, w, h, tuple(int(v) for v in color))
        if self.view.meta["estimated"]:
            self.pen.hatch(x, y, w, h)
        return ink_on(color)

    def _words(self, kind: int, ref: int, x: float, y: float, w: float, h: float, ink: str) -> None:
        nodes = self.view.meta["nodes"]
        title = self.ops[ref] if kind == NODE else self.view.meta["blocks"][ref]["title"] if kind == BLOCK else nodes[ref]
        below = ""
        if self.page.scale >= _NAME_AT and kind == NODE:
            below = nodes[ref].removesuffix(f"/{title}").lstrip("/")
        elif self.page.scale >= _NAME_AT and kind == BLOCK:
            value = "" if self.column is None else f", {show(float(self.values[1][ref]), self.column['name'])}"
            below = f"{self.view.meta['blocks'][ref]['nodes']} nodes{value}"
        size = 11 if self.page.scale >= _NAME_AT else 9
        middle = y + h / 2
        self._word(x + 5, middle - (7 if below else 0), title, w - 10, size, ink, bold=kind in (NODE, BLOCK))
        if below:
            self._word(x + 5, middle + 8, below, w - 10, 10, ink, bold=False)

    def _word(self, x: float, y: float, text: str, width: float, size: int, ink: str, *, bold: bool) -> None:
        text = cut = ellipsis(text, 60)
        while self.pen.width(cut, size, bold=bold) > width and len(cut) > 1:
            cut = ellipsis(text, len(cut) - 1)
        self.pen.text(x, y, cut, ink, size, bold=bold)


def _draw_legend(pen: Pen, view: ViewData, column: dict[str, Any] | None, folded: bool, y: float) -> None:
    theme, x = pen.theme, 12.0
    if column is None:
        pen.text(x, y, "No metric was measured.", theme.ink_muted, 11)
        return
    scale = column["block_scales" if folded else "scales"]["auto"]
    name = column["name"]
    for text in (column["title"], ("≤ " if scale["below"] else "") + show(float(scale["min"]), name)):
        pen.text(x, y, text, theme.ink, 11)
        x += pen.width(text, 11) + 10
    for k, color in enumerate(scale_colors(np.linspace(0, 1, 60), theme.sequential)):
        pen.box(x + 2 * k, y - 5, 2, 10, tuple(int(v) for v in color))
    x += 130
    text = show(float(scale["max"]), name)
    pen.text(x, y, text, theme.ink, 11)
    x += pen.width(text, 11) + 16
    notes = ["log" if scale["log"] else "linear", *(["estimated, not measured"] if view.meta["estimated"] else [])]
    if len(view.meta["blocks"]) > 1:
        notes.append(f"block: {'sum' if column['how'] == 'sum' else 'largest'} of its layers")
    notes.append("hatched: not measured, or no layer runs it")
    pen.text(x, y, ";  ".join(notes), theme.ink_muted, 11)
    without = view.meta["no_node"]
    if without["layers"]:
        latency = without["latency_ms"]
        time = "" if latency is None else f", {units.latency(latency)}"
        pen.text(12, y + 19, f"Layers without a node here: {without['layers']}{time}.", theme.ink_muted, 11)


def _lines(text: str, length: int) -> list[str]:
    from textwrap import wrap

    return wrap(text, length)
