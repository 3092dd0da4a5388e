"""The memory view as a PNG picture, for saved and exported notebooks: same scales and colours as the live view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.figures.numbers import ellipsis
from edgeprof.figures.pen import WIDTH, Pen, draw_header, ink_on
from edgeprof.figures.theme import LIGHT, Theme, op_family, rgb
from edgeprof.figures.view import ViewData

MAX_ROWS = 12
_LEFT, _RIGHT = 78, 14
_TOP, _CURVE, _BARS, _TITLE, _LANE = 84, 110, 220, 24, 12
_ROW = 20
_LETTERS = 158
"""In a line of small text."""


def draw(view: ViewData, *, selection: Sequence[str] = (), theme: Theme = LIGHT) -> bytes:
    """PNG of `figures.memory.memory(profile)`. Of the owners of the peak the `MAX_ROWS` largest are shown, and the picture says so."""
    chart = _Chart.of(view)
    below = _lines_below(view)
    owners = view.meta["owners"]
    table = (min(len(owners), MAX_ROWS) + 2) * _ROW + 12 if owners else 0
    legend = [] if chart.empty else _legend(view, chart, theme)
    pen = Pen(theme, round(chart.bottom + 34 + 20 * len(legend) + 18 * len(below) + table + 24))
    draw_header(pen, view)
    if chart.empty:
        pen.text(12, chart.bottom, "This profile says nothing of memory by layer.", theme.ink_muted)
    else:
        _draw_chart(pen, view, chart, set(selection))
    y = chart.bottom + 34
    for items in legend:
        _draw_items(pen, items, y)
        y += 20
    for text, color in below:
        pen.text(12, y, text, color(theme), 11)
        y += 18
    if owners:
        _draw_owners(pen, view, y + 8)
    pen.text(12, pen.height - 12, "A static picture: run the cell for the live view.", theme.ink_muted, 11)
    return pen.png()


@dataclass(frozen=True)
class _Chart:
    """Where things lie: the curve's bottom, the bars' bottom (0 where there is no such panel), and the bytes at the top of both."""

    layers: int
    top_bytes: float
    curve: float
    bars: float
    bottom: float

    @classmethod
    def of(cls, view: ViewData) -> _Chart:
        arrays, meta = view.meta["arrays"], view.meta
        curves = [view.array(name) for name in ("counted", "live", "peak") if name in arrays]
        most = [float(np.nanmax(values, initial=0)) for values in curves]
        top = max(*most, (meta["plan"] or {}).get("bytes", 0), (meta["peak"] or {}).get("bytes", 0), 0, 0) or 1.0
        layers, y = len(meta["names"]), float(_TOP)
        curve = bars = 0.0
        if curves and layers:
            y = curve = y + _TITLE + _CURVE
        if meta["plan"] and layers:
            y = bars = y + _TITLE + _BARS
        if (view.array("kind") == meta["kinds"].index("input")).any() and layers:
            y += 6 + _LANE
        return cls(layers, top * 1.06, curve, bars, y + 10)

    @property
    def empty(self) -> bool:
        return not self.curve and not self.bars

    @property
    def step(self) -> float:
        """Width of a layer."""
        return (WIDTH - _LEFT - _RIGHT) / max(1, self.layers)

    def x(self, layer: float) -> float:
        return _LEFT + layer * self.step

    def height(self, bottom: float, nbytes: float) -> float:
        """Pixels of so many bytes in the panel that ends at ``bottom``."""
        return (_CURVE if bottom == self.curve else _BARS) * nbytes / self.top_bytes


def _draw_chart(pen: Pen, view: ViewData, chart: _Chart, selection: set[str]) -> None:
    theme = pen.theme
    chosen = [i for i, name in enumerate(view.meta["names"]) if name in selection]
    for layer in chosen:
        pen.box(chart.x(layer), _TOP, max(1.0, chart.step), chart.bottom - _TOP, theme.raised)
        pen.box(chart.x(layer), chart.bottom - 3, max(2.0, chart.step), 3, theme.accent)
    if chart.curve:
        title = "In use while each layer runs" if "live" in view.meta["arrays"] else "Tensors alive while each layer runs"
        _draw_scale(pen, chart, chart.curve, _CURVE, title)
        _draw_curve(pen, view, chart)
    if chart.bars:
        title = "Buffers from maker to last reader, at the offsets of a static plan"
        _draw_scale(pen, chart, chart.bars, _BARS, title)
        _draw_bars(pen, view, chart)
    _draw_lane(pen, view, chart)
    pen.box(_LEFT, chart.bottom, WIDTH - _LEFT - _RIGHT, 1, theme.ink_muted)
    pen.text(_LEFT, chart.bottom + 12, f"{chart.layers} layers in the order of execution", theme.ink_muted, 11)
    _draw_peak(pen, view, chart)


def _draw_scale(pen: Pen, chart: _Chart, bottom: float, height: float, title: str) -> None:
    pen.text(_LEFT, bottom - height - 11, title, pen.theme.ink_muted, 11)
    for nbytes in _ticks(chart.top_bytes, height):
        y = bottom - chart.height(bottom, nbytes)
        pen.box(_LEFT, y, WIDTH - _LEFT - _RIGHT, 1, pen.theme.line)
        pen.text(_LEFT - 8, y, units.size(nbytes), pen.theme.ink_muted, 10, anchor="rm")


def _draw_curve(pen: Pen, view: ViewData, chart: _Chart) -> None:
    """Tensors alive as an area, what is held beyond them hatched, workspace on top; a pixel shows the most of its layers."""
    counted, live, peak = (_by_pixel(view, name, chart) for name in ("counted", "live", "peak"))
    pale = _mixed(pen.theme.bar, pen.theme.surface)
    edge = pen.theme.ink if "live" in view.meta["arrays"] else pen.theme.bar
    known = "counted" in view.meta["arrays"]
    width, before = max(1.0, chart.step), np.nan
    for k in range(len(counted)):
        x = _LEFT + k * width
        base, top, most = (chart.height(chart.curve, value) for value in (counted[k], live[k], peak[k]))
        held = 0.0 if np.isnan(base) else base
        if held:
            pen.box(x, chart.curve - held, width, held, pale)
            if view.meta["header"]["origin"] == "estimated":
                pen.hatch(x, chart.curve - held, width, held)
        if top > held and known:
            pen.hatch(x, chart.curve - top, width, top - held)
        elif top > held:  # no tensor is known: nothing can be told apart
            pen.box(x, chart.curve - top, width, top, pen.theme.line)
        if most > np.nanmax([top, held]) + 0.5:
            pen.box(x, chart.curve - most, width, most - np.nanmax([top, held]), _mixed(pen.theme.warning, pen.theme.surface))
        line = held if np.isnan(top) else top
        if np.isnan(base) and np.isnan(top):
            before = np.nan
            continue
        pen.box(x, chart.curve - line - 0.7, width, 1.4, edge)
        if abs(line - before) > 1:
            pen.box(x - 0.5, chart.curve - max(line, before), 1, abs(line - before), edge)
        before = line


def _by_pixel(view: ViewData, name: str, chart: _Chart) -> NDArray[np.float64]:
    """The curve at each layer, or the most of the layers at each pixel where layers are narrower; NaN where nothing is known."""
    columns = chart.layers if chart.step >= 1 else WIDTH - _LEFT - _RIGHT
    if name not in view.meta["arrays"]:
        return np.full(columns, np.nan)
    values = view.array(name).astype(float)
    if chart.step >= 1:
        return values
    starts = np.linspace(0, len(values), columns, endpoint=False).astype(int)
    return np.asarray(np.fmax.reduceat(values, starts))


def _draw_bars(pen: Pen, view: ViewData, chart: _Chart) -> None:
    first, last, size, offset = (view.array(name) for name in ("first", "last", "size", "offset"))
    estimated = view.meta["header"]["origin"] == "estimated"
    drawn = np.flatnonzero(~np.isnan(offset))
    for b in drawn[np.argsort(size[drawn], kind="stable")]:
        end = chart.x(last[b] + 1) - (1 if chart.step > 3 else 0)
        low, height = chart.height(chart.bars, offset[b]), max(1.0, chart.height(chart.bars, size[b]) - 1)
        inside = [(view.meta["tensors"][b], int(first[b])), *view.meta["sharers"].get(str(b), [])]
        for k, (name, maker) in enumerate(inside):
            x = chart.x(maker)
            right = min(end, chart.x(inside[k + 1][1])) if k + 1 < len(inside) else end
            color = pen.theme.op_color(view.meta["op_types"][view.array("op_type")[maker]])
            width = max(1.0, right - x)
            pen.box(x, chart.bars - low - height, width, height, color)
            if estimated:
                pen.hatch(x, chart.bars - low - height, width, height)
            if k and chart.step >= 3:
                pen.box(x, chart.bars - low - height, 1.5, height, pen.theme.surface)
            if height >= 14 and width > 50:
                ink = ink_on(np.array(rgb(color), np.uint8))
                pen.text(x + 6, chart.bars - low - height / 2, _fitted(pen, name, width - 12), ink, 11)


def _draw_lane(pen: Pen, view: ViewData, chart: _Chart) -> None:
    """Inputs, muted: the caller holds them."""
    kinds = view.array("kind")
    inputs = np.flatnonzero(kinds == view.meta["kinds"].index("input"))
    if not len(inputs):
        return
    y = chart.bottom - 10 - _LANE
    pen.text(_LEFT - 8, y + 4, "caller's", pen.theme.ink_muted, 10, anchor="rm")
    for b in inputs:
        x, end = chart.x(view.array("first")[b]), chart.x(view.array("last")[b] + 1)
        pen.box(x, y, max(1.5, end - x - 1), 9, pen.theme.line)
    end = max(chart.x(view.array("last")[b] + 1) for b in inputs)
    if WIDTH - _RIGHT - end > 80:
        more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
        pen.text(end + 6, y + 4, _fitted(pen, view.meta["tensors"][inputs[0]] + more, WIDTH - _RIGHT - end - 12), pen.theme.ink_muted, 10)


def _draw_peak(pen: Pen, view: ViewData, chart: _Chart) -> None:
    peak = view.meta["peak"]
    if not peak or peak["layer"] < 0:
        return
    x = chart.x(peak["layer"] + 0.5)
    for y in range(_TOP - 6, round(chart.bottom), 6):
        pen.box(x, y, 1, 3, pen.theme.ink)
    text = _fitted(pen, f"Peak {units.size(peak['bytes'])} in {view.meta['names'][peak['layer']]}", 620, bold=True)
    half = pen.width(text, 11, bold=True) / 2
    pen.text(min(WIDTH - _RIGHT - half, max(_LEFT + half, x)), _TOP - 16, text, pen.theme.ink, 11, anchor="mm", bold=True)


def _draw_owners(pen: Pen, view: ViewData, y: float) -> None:
    theme, owners, peak = pen.theme, view.meta["owners"], view.meta["peak"]
    shown = owners[:MAX_ROWS]
    few = "" if len(shown) == len(owners) else f", the {len(shown)} largest of {len(owners)}"
    pen.text(12, y + 4, f"Who owns the peak of {units.size(peak['bytes'])}{few}", theme.ink, 11, bold=True)
    for title, x, anchor in (("Size", 470, "rm"), ("Share", 620, "rm"), ("Made by", 640, "lm"), ("Last read by", 836, "lm")):
        pen.text(x, y + 4, title, theme.ink_muted, 10, anchor=anchor)
    for k, owner in enumerate(shown):
        middle = y + _ROW * (k + 1) + 8
        pen.box(12, middle - _ROW / 2, WIDTH - 24, 1, theme.line)
        names = owner["name"] + (f" + {len(owner['sharers'])} in place" if owner["sharers"] else "")
        pen.text(12, middle, _fitted(pen, names, 370), theme.ink if owner["kind"] != "held" else theme.ink_muted, 11)
        pen.text(470, middle, units.size(owner["bytes"]), theme.ink, 11, anchor="rm")
        if owner["share"] is not None:
            pen.box(484, middle - 3, 80 * min(1.0, max(0.0, owner["share"])), 7, theme.bar)
        pen.text(620, middle, units.share(owner["share"]), theme.ink, 11, anchor="rm")
        pen.text(640, middle, _fitted(pen, owner["producer"], 186), theme.ink_muted, 11)
        pen.text(836, middle, _fitted(pen, owner["consumer"], 190), theme.ink_muted, 11)


def _legend(view: ViewData, chart: _Chart, theme: Theme) -> list[list[tuple[Any, str]]]:
    """Rows of colour and text; the colour None is hatched."""
    arrays = view.meta["arrays"]
    curve: list[tuple[Any, str]] = [(theme.ink, f"in use, {view.meta['live_basis']}")] if "live" in arrays else []
    if "counted" in arrays:
        how = "estimated" if view.meta["header"]["origin"] == "estimated" else "counted from shapes"
        curve.append((_mixed(theme.bar, theme.surface), f"tensors alive, {how}"))
    counted, live, peak = (np.nan_to_num(_by_pixel(view, name, chart)) for name in ("counted", "live", "peak"))
    if "counted" in arrays and (live > counted).any():
        curve.append((None, "held by the runtime for reuse"))
    if (peak > np.maximum(live, counted)).any():
        curve.append((_mixed(theme.warning, theme.surface), "workspace while the layer ran"))
    drawn = np.flatnonzero(~np.isnan(view.array("offset")))
    later = [maker for b in drawn for _, maker in view.meta["sharers"].get(str(b), ())]
    makers = sorted({*view.array("first")[drawn].astype(int).tolist(), *later})
    ops = [view.meta["op_types"][view.array("op_type")[layer]] for layer in makers]
    families = dict.fromkeys(op_family(op) for op in ops)
    bars = [(theme.families[family], family) for family in families] if chart.bars else []
    return [row for row in (curve, bars) if row]


def _draw_items(pen: Pen, items: list[tuple[Any, str]], y: float) -> None:
    x = 12.0
    for color, text in items:
        if color is None:
            pen.hatch(x, y - 6, 14, 11)
        else:
            pen.box(x, y - 6, 14, 11, color)
        pen.text(x + 20, y, text, pen.theme.ink_muted, 11)
        x += 20 + pen.width(text, 11) + 20


def _lines_below(view: ViewData) -> list[tuple[str, Callable[[Theme], str]]]:
    """What stands under the chart, line by line, with the colour."""
    meta = view.meta
    muted, lines = attrgetter("ink_muted"), []
    if meta["plan"]:
        plan = f"A static plan (greedy by size) needs {units.size(meta['plan']['bytes'])}"
        lines.append((f"{plan}; the tensors alive at once take {units.size(meta['plan']['least'])}.", muted))
    colors = {"yes": attrgetter("good"), "no": attrgetter("warning"), "not known": muted}
    lines += [(answer["sentence"], colors[answer["answer"]]) for answer in meta["verdict"]]
    lines += [(text, muted) for text in meta["missing"]]
    lines += [(text, attrgetter("ink")) for text in _process_lines(meta["process"])]
    return [(part, color) for text, color in lines for part in wrap(text, _LETTERS)]


def _process_lines(process: list[dict[str, Any]]) -> list[str]:
    parts = [f"{row['phase']} {units.size(row['peak'] if row['peak'] is not None else row['rss'])}" for row in process]
    return [f"The process, resident at most: {', '.join(parts)}."] if parts else []


def _fitted(pen: Pen, text: str, width: float, *, bold: bool = False) -> str:
    """``text`` with its middle left out so that it fits."""
    length = max(1, min(len(text), int(width)))
    cut = ellipsis(text, length)
    while len(cut) > 1 and pen.width(cut, 11, bold=bold) > width:
        length = max(1, min(length - 1, int(length * width / pen.width(cut, 11, bold=bold)) + 1))
        cut = ellipsis(text, length)
    return cut


def _mixed(color: str, ground: str) -> tuple[int, int, int]:
    """A third of ``color`` on the ground, as the live view has it."""
    red, green, blue = (round(0.36 * a + 0.64 * b) for a, b in zip(rgb(color), rgb(ground), strict=True))
    return red, green, blue


def _ticks(top: float, height: float) -> list[float]:
    least = max(1.0, top / max(1, int(height / 34)))
    size = 10 ** int(np.floor(np.log10(least)))
    step = next(k * size for k in (1, 2, 5, 10) if k * size >= least)
    return [step * k for k in range(int(top / step) + 1)]
