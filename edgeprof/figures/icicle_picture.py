"""The icicle as a PNG picture, for saved and exported notebooks: same widths, blocks and colours as the live view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.figures.heatmap import place
from edgeprof.figures.icicle import edges
from edgeprof.figures.numbers import ellipsis, show
from edgeprof.figures.pen import SCALE, WIDTH, Pen, draw_header, ink_on
from edgeprof.figures.theme import LIGHT, Theme, rgb, scale_colors
from edgeprof.figures.view import ViewData

_TOP, _BLOCK, _LAYERS, _STRIP = 62, 22, 84, 6
_PARETO = 220
_LONGEST = 8
"""Layers that the picture lists below."""


def draw(
    view: ViewData,
    *,
    measure: str = "latency_ms",
    color: str = "op_family",
    order: str = "time",
    selection: Sequence[str] = (),
    theme: Theme = LIGHT,
) -> bytes:
    """PNG of ``view``: widths by ``measure``, colours by ``color``, in the order of execution or, with ``"longest"``, longest first."""
    measures = view.meta["measures"]
    measure = measure if measure in measures else next(iter(measures), "")
    values = _layers(view, measure) if measure else np.empty(0)
    whole = float(edges(values)[-1])
    levels = 0 if order == "longest" else view.meta["depth"]
    middle = _PARETO if order == "longest" else levels * _BLOCK + _LAYERS
    pen = Pen(theme, _TOP + (middle + 104 + 15 * min(_LONGEST, np.count_nonzero(values > 0)) if whole else 40))
    draw_header(pen, view)
    if not whole:
        pen.text(12, _TOP + 14, "No layer has a number above zero, so nothing has a width.", theme.ink_muted)
        return pen.png()
    fills = _fills(view, color, theme)
    chosen = np.isin(np.array(view.meta["names"][: len(values)], dtype=object), list(selection))
    paint = _draw_pareto if order == "longest" else _draw_icicle
    bottom = paint(pen, view, measure, values, fills, chosen)
    _draw_legend(pen, view, measure, values, color, bottom + 54)
    pen.text(12, bottom + 78, _note(view, measure, values), theme.ink_muted, 10)
    for k, i in enumerate(_ranked(values)[:_LONGEST].tolist()):
        y = bottom + 98 + 15 * k
        pen.text(74, y, show(float(values[i]), measure), theme.ink, 10, anchor="rm")
        pen.text(124, y, units.share(float(values[i]) / whole), theme.ink_muted, 10, anchor="rm")
        pen.text(138, y, ellipsis(view.meta["names"][i], 110), theme.ink, 10)
    return pen.png()


def _layers(view: ViewData, name: str) -> NDArray[np.float64]:
    """Numbers of the layers, without the row between layers."""
    values = view.array(name).astype(float)
    return values[: len(values) - _has_between(view)]


def _has_between(view: ViewData) -> bool:
    kinds = view.array("kind")
    return bool(len(kinds)) and view.meta["texts"]["kind"][kinds[-1]] == "between"


def _fills(view: ViewData, color: str, theme: Theme) -> NDArray[np.float64]:
    """RGB of each layer, shape ``(layers, 3)``; NaN where its number was not measured."""
    if color in view.meta["texts"]:
        palette = np.array([rgb(c) for c in view.meta["themes"][theme.name][color]], float)
        codes = view.array(color)
        return palette[codes[: len(codes) - _has_between(view)]]
    column = _column(view, color)
    values = _layers(view, color)
    fills = scale_colors(place(values, column["scale"]), theme.sequential).astype(float)
    fills[np.isnan(values)] = np.nan
    return fills


def _column(view: ViewData, name: str) -> dict[str, Any]:
    return next(column for column in view.meta["columns"] if column["name"] == name)


def _paint(pen: Pen, fill: NDArray[np.float64], x: float, y: float, width: float, height: float, estimated: bool) -> str:
    """A bar. Returns the ink that can be read on it."""
    if np.isnan(fill).any():
        pen.hatch(x, y, width, height)
        return pen.theme.ink
    pen.box(x, y, width, height, tuple(int(v) for v in fill))
    if estimated and width > 4:
        pen.hatch(x, y, width, height, tuple(round(0.8 * v + 0.2 * s) for v, s in zip(fill, rgb(pen.theme.surface), strict=True)))
    return ink_on(fill.astype(np.uint8))


def _draw_icicle(
    pen: Pen, view: ViewData, measure: str, values: NDArray[np.float64], fills: NDArray[np.float64], chosen: NDArray[np.bool_]
) -> float:
    theme, at = pen.theme, edges(values)
    between = max(0.0, float(np.nan_to_num(view.array(measure)[-1]))) if _has_between(view) else 0.0
    room = WIDTH - 24 - (8 if between else 0)
    x = 12 + at / (at[-1] + between) * room
    top = _TOP + view.meta["depth"] * _BLOCK
    arrays = (view.array(name).tolist() for name in ("block_level", "block_first", "block_end", "block"))
    for level, first, end, code in zip(*arrays, strict=True):
        wide = x[end] - x[first] - 1
        if wide * SCALE < 1:
            continue
        y = _TOP + level * _BLOCK
        pen.box(x[first], y, wide, _BLOCK - 2, theme.raised)
        if chosen[first:end].all():
            pen.box(x[first], y + _BLOCK - 4, wide, 2, theme.accent)
        text = view.meta["texts"]["block"][code]
        _write(pen, text, x[first] + 4, y + _BLOCK / 2 - 1, wide - 8, theme.ink)
    _draw_layers(pen, view, measure, values, fills, chosen, x, top)
    bottom = top + _LAYERS
    if between:
        pen.box(x[-1] + 8, top, max(1, between / (at[-1] + between) * room), _LAYERS, theme.missing)
    factor, unit = _axis_unit(_column(view, measure), at[-1])
    for tick in _ticks(at[-1] * factor, 10):
        px = 12 + tick / factor / (at[-1] + between) * room
        pen.box(px, bottom + _STRIP, 1, 4, theme.line)
        pen.text(px, bottom + _STRIP + 12, f"{tick:g}", theme.ink_muted, 10, anchor="mm")
    title = "Time in one inference" if measure == "latency_ms" else _column(view, measure)["title"]
    pen.text(
        WIDTH / 2, bottom + _STRIP + 27, f"{title}, layers in the order they ran{f' ({unit})' * bool(unit)}", theme.ink, 11, anchor="mm"
    )
    return bottom


def _draw_layers(
    pen: Pen, view: ViewData, measure: str, values: NDArray[np.float64], fills: NDArray[np.float64], chosen: NDArray[np.bool_],
    x: NDArray[np.float64], top: float,
) -> None:  # fmt: skip
    estimated = _column(view, measure)["estimated"]
    longest: dict[int, float] = {}  # of each pixel that holds several layers the longest is seen
    for i in np.flatnonzero(x[1:] > x[:-1]).tolist():
        pixel, wide = int(x[i] * SCALE), x[i + 1] - x[i]
        if wide * SCALE < 1 and longest.get(pixel, -1.0) >= values[i]:
            continue
        longest[pixel] = values[i]
        gap = 1 if wide > 3 else 0
        ink = _paint(pen, fills[i], x[i], top, wide - gap, _LAYERS, estimated)
        if chosen[i]:
            pen.box(x[i], top + _LAYERS + 1, max(1.5, wide - gap), _STRIP - 2, pen.theme.accent)
        if _write(pen, view.meta["leaves"][i], x[i] + 4, top + _LAYERS / 2 - 7, wide - 9, ink):
            _write(pen, show(float(values[i]), measure), x[i] + 4, top + _LAYERS / 2 + 8, wide - 9, ink, whole=True)


def _write(pen: Pen, text: str, x: float, y: float, room: float, ink: str, *, whole: bool = False) -> bool:
    """``text`` if it fits, cut in the middle unless ``whole``; True when something was written."""
    if room < 24:
        return False
    cut = ellipsis(text, max(6, int(room / 4)))
    while pen.width(cut, 10) > room and len(cut) > 5 and not whole:
        cut = ellipsis(text, len(cut) - 1)
    if pen.width(cut, 10) > room:
        return False
    pen.text(x, y, cut, ink, 10)
    return True


def _draw_pareto(
    pen: Pen, view: ViewData, measure: str, values: NDArray[np.float64], fills: NDArray[np.float64], chosen: NDArray[np.bool_]
) -> float:
    theme, column = pen.theme, _column(view, measure)
    rank = _ranked(values)
    left, right, bottom = 64.0, WIDTH - 56.0, _TOP + _PARETO
    step = (right - left) / len(rank)
    high = bottom - _TOP - 14
    factor, unit = _axis_unit(column, values[rank[0]])
    for tick in _ticks(values[rank[0]] * factor, 5):
        y = bottom - tick / factor / values[rank[0]] * high
        pen.box(left, y, right - left, 1, theme.line)
        pen.text(left - 6, y, f"{tick:g}", theme.ink_muted, 10, anchor="rm")
    pen.text(12, _TOP, f"{column['title']}{f' ({unit})' * bool(unit)}, longest first", theme.ink, 11)
    last = -1
    for k, i in enumerate(rank.tolist()):
        x = left + k * step
        if int(x * SCALE) == last:
            continue
        last = int(x * SCALE)
        tall = values[i] / values[rank[0]] * high
        _paint(pen, fills[i], x, bottom - tall, max(0.7, step - (step > 3)), tall, column["estimated"])
        if chosen[i]:
            pen.box(x, bottom + 1, max(1.5, step - (step > 3)), _STRIP - 2, theme.accent)
    share = edges(values[rank]) / values[rank].sum()
    for k in range(0, len(rank), max(1, int(0.7 / step))):
        for part in np.linspace(0, 1, max(2, int(step))):
            pen.box(left + (k + part) * step, bottom - (share[k] + part * (share[k + 1] - share[k])) * high, 1.4, 1.4, theme.ink)
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        pen.text(right + 6, bottom - tick * high, f"{tick * 100:.0f} %", theme.ink_muted, 10)
    most = int(np.searchsorted(share, 0.8 - 1e-12))
    pen.text(
        (left + right) / 2,
        bottom + 18,
        f"{most} of {len(values)} layers make 80 %; the line is the cumulative share",
        theme.ink,
        11,
        anchor="mm",
    )
    return bottom


def _ranked(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions of the layers with a width, the longest first."""
    some = np.flatnonzero(values > 0)
    return some[np.argsort(-values[some], kind="stable")]


def _draw_legend(pen: Pen, view: ViewData, measure: str, values: NDArray[np.float64], color: str, y: float) -> None:
    theme = pen.theme
    if color not in view.meta["texts"]:
        column = _column(view, color)
        low, high = (show(float(column["scale"][end]), color) for end in ("min", "max"))
        x = 12.0
        pen.text(x, y, f"{column['title']}  {low}", theme.ink, 11)
        x += pen.width(f"{column['title']}  {low}", 11) + 8
        for i, fill in enumerate(scale_colors(np.linspace(0, 1, 70), theme.sequential)):
            pen.box(x + 2 * i, y - 6, 2, 12, tuple(fill))
        pen.text(x + 148, y, f"{high}    {'log' if column['scale']['log'] else 'linear'}", theme.ink, 11)
        pen.hatch(WIDTH - 130, y - 6, 20, 12)
        pen.text(WIDTH - 12, y, "not measured", theme.ink_muted, 11, anchor="rm")
        return
    codes = view.array(color)[: len(values)]
    wide = np.diff(edges(values))
    sums = {code: float(wide[codes == code].sum()) for code in np.unique(codes).tolist()}
    x = 12.0
    for code, total in sorted(sums.items(), key=lambda item: -item[1]):
        text = f"{view.meta['texts'][color][code] or 'not told'} {units.share(total / wide.sum())}"
        if x + pen.width(text, 11) + 40 > WIDTH:
            break
        pen.box(x, y - 6, 12, 12, view.meta["themes"][theme.name][color][code])
        pen.text(x + 17, y, text, theme.ink, 11)
        x += pen.width(text, 11) + 34


def _note(view: ViewData, measure: str, values: NDArray[np.float64]) -> str:
    """What is missing or apart, in sentences."""
    title = _column(view, measure)["title"]
    title = title if title[:2].isupper() else title[0].lower() + title[1:]
    notes = []
    if _column(view, measure)["estimated"]:
        notes.append("Hatched: estimated, not measured.")
    if none := int(np.isnan(values).sum()):
        notes.append(f"{none} of {len(values)} layers have no width: {title} not measured.")
    if _has_between(view):
        between = float(view.array(measure)[-1])
        if between < 0:
            notes.append(f"(between layers): {show(between, measure)}. The layers sum to more than the whole run.")
        elif between > 0:
            notes.append(f"Grey at the end: {show(between, measure)} that no layer explains.")
    return "  ".join([*notes, "A static picture: run the cell for the live view."])


def _axis_unit(column: dict[str, Any], most: float) -> tuple[float, str]:
    """Factor and name of the one unit that all ticks have."""
    if column["format"] in ("latency", "energy"):
        unit = show(most, column["name"]).rpartition(" ")[2]
        return {"s": 1e-3, "J": 1e-3, "µs": 1e3, "µJ": 1e3}.get(unit, 1.0), unit
    if column["format"] in ("size", "count"):
        step = min(4, max(0, math.floor(math.log10(most) / 3 + 1e-9)))
        return 1000.0**-step, (("B", "kB", "MB", "GB", "TB") if column["format"] == "size" else ("", "k", "M", "G", "T"))[step]
    return 1.0, column["unit"]


def _ticks(most: float, wanted: int) -> list[float]:
    """Round numbers from 0 to ``most``, about so many."""
    step = 10 ** math.floor(math.log10(most / wanted))
    step = next(step * k for k in (1, 2, 5, 10) if most / (step * k) <= wanted)
    return [round(k * step, 12) for k in range(int(most / step + 1e-9) + 1)]
