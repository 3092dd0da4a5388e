"""The roofline as a PNG picture, for saved and exported notebooks: same ceilings, marks and words as the live view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeprof.figures.numbers import ellipsis
from edgeprof.figures.pen import WIDTH, draw_header
from edgeprof.figures.placing import Box
from edgeprof.figures.plot_pen import BOTTOM, Named, Plot, PlotPen
from edgeprof.figures.theme import LIGHT, Theme
from edgeprof.figures.view import ViewData

_LARGEST_PX, _LEAST_PX = 17.0, 3.2
_NAMED = 6


def draw(view: ViewData, *, selection: Sequence[str] = (), theme: Theme = LIGHT) -> bytes:
    """PNG of `figures.roofline_view.roofline_view` with these layers selected."""
    meta = view.meta
    lines = [] if meta["empty"] else meta["lines"]
    pen = PlotPen(theme, (BOTTOM + 34 + 18 * len(lines) if not meta["empty"] else 130) + 24)
    draw_header(pen, view)
    if meta["empty"]:
        pen.text(12, 86, ellipsis(meta["empty"], 150), theme.ink_muted)
        return pen.png()
    plot = Plot(meta["axes"])
    pen.axes(plot)
    texts = _draw_ceilings(pen, plot, view)
    _draw_points(pen, plot, view, set(selection), texts)
    _draw_legend(pen, view)
    for i, line in enumerate(lines):
        pen.text(12, BOTTOM + 34 + 18 * i, ellipsis(line, 158), theme.ink_muted, 11)
    pen.text(12, pen.height - 12, "A static picture: run the cell for the live view.", theme.ink_muted, 11)
    return pen.png()


def _draw_ceilings(pen: PlotPen, plot: Plot, view: ViewData) -> list[Box]:
    """Draws the ceilings; where their texts stand."""
    meta, theme = view.meta, pen.theme
    texts: list[Box] = []
    left, right = (10 ** float(meta["axes"][0][end]) for end in ("low", "high"))
    bottom = 10 ** float(meta["axes"][1]["low"])
    highest = max((one["value"] for one in meta["ceilings"]), default=math.inf)
    fastest = max((one["value"] for one in meta["bandwidths"]), default=math.inf)
    for one in meta["bandwidths"]:
        start, end = max(left, bottom / one["value"]), min(right, highest / one["value"])
        if start < end:
            ends = [(plot.x(at), plot.y(at * one["value"])) for at in (start, end)]
            pen.line(ends, theme.ink_muted, 2, dash=None if one["solid"] else (7, 5))
            x, y = (a + 0.12 * (b - a) for a, b in zip(*ends, strict=True))
            pen.text(x + 10, y + 12, one["text"], theme.ink_muted, 11)
            texts.append(Box(x + 10, y + 4, x + 10 + pen.width(one["text"], 11), y + 20))
    for one in meta["ceilings"]:
        start = max(left, one["value"] / fastest)
        pen.line([(plot.x(at), plot.y(one["value"])) for at in (start, right)], theme.ink_muted, 2, dash=None if one["solid"] else (7, 5))
        pen.text(plot.x(right) - 4, plot.y(one["value"]) - 9, one["text"], theme.ink_muted, 11, anchor="rm")
        end, y = plot.x(right), plot.y(one["value"])
        texts.append(Box(end - 8 - pen.width(one["text"], 11), y - 17, end, y + 2))
    for ridge in meta["ridges"]:
        if plot.holds(ridge["x"], ridge["y"]):
            pen.mark("diamond", plot.x(ridge["x"]), plot.y(ridge["y"]), 4.5, theme.ink)
    return texts


def _draw_points(pen: PlotPen, plot: Plot, view: ViewData, selection: set[str], texts: Sequence[Box]) -> None:
    meta, theme, names = view.meta, pen.theme, view.meta["names"]
    intensity, gflops, share = view.array("intensity"), view.array("gflops"), np.nan_to_num(view.array("share"))
    largest = float(share.max(initial=0)) or 1.0
    rows = [int(row) for row in np.argsort(-share, kind="stable") if not math.isnan(intensity[row])]
    marks: list[tuple[tuple[float, float], float]] = []
    named: list[Named] = []
    for row in rows:
        at = plot.x(float(intensity[row])), plot.y(float(gflops[row]))
        r = max(_LEAST_PX, _LARGEST_PX * math.sqrt(max(0.0, float(share[row])) / largest))
        family = meta["families"][view.array("family")[row]]
        pen.mark(family["shape"], *at, r, theme.families[family["name"]], hollow=meta["estimated"])
        marks.append((at, r))
        if names[row] in selection:
            named.insert(0, Named(names[row], at, theme.accent, 0.75 * r + 5))
        elif len(marks) <= _NAMED:
            named.append(Named(names[row], at, theme.ink, 0.75 * r + 2))
    for row, (at, r) in zip(rows, marks, strict=True):
        if names[row] in selection:
            pen.ring(*at, r + 3, theme.accent, 2.5)
    pen.names(named[:18], [(at, 0.8 * r) for at, r in marks], obstacles=texts)


def _draw_legend(pen: PlotPen, view: ViewData) -> None:
    meta, x, y = view.meta, 12.0, BOTTOM + 12.0
    drawn = ~np.isnan(view.array("intensity"))
    for family in sorted(set(view.array("family")[drawn].tolist())):
        one: dict[str, Any] = meta["families"][family]
        color = pen.theme.families[one["name"]]
        if x < WIDTH - 330:
            x = pen.key(
                x, y, one["name"], lambda a, b, one=one, color=color: pen.mark(one["shape"], a, b, 4.5, color, hollow=meta["estimated"])
            )
    pen.text(x + 4, y, f"area: share of the time{'; hollow: estimated' if meta['estimated'] else ''}", pen.theme.ink_muted, 11)
