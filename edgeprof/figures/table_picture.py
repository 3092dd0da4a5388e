"""The layer table as a PNG picture, for saved and exported notebooks: same rows, order, bars and sums as the live table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.figures.numbers import ellipsis, show
from edgeprof.figures.pen import WIDTH, Pen, draw_header
from edgeprof.figures.theme import LIGHT, Theme, rgb
from edgeprof.figures.view import ViewData

MAX_ROWS = 30

_ROW, _TOP, _HEAD = 20, 54, 26
_NAME, _OP = 262, 104
_BARS = ("latency_ms", "share", "energy_mj")


def draw(view: ViewData, *, sort: Sequence[str] = (), selection: Sequence[str] = (), theme: Theme = LIGHT) -> bytes:
    """PNG of ``view`` (of `edgeprof.figures.heatmap`), its rows as ``sort`` says. Of more than `MAX_ROWS` the first are shown.

    In the order of execution those are the `MAX_ROWS` that take longest.
    """
    rows = _shown(view, sort)
    columns = _fitting(view)
    chosen = np.array([view.meta["names"].index(name) for name in dict.fromkeys(selection)], np.int64)
    pen = Pen(theme, _TOP + _HEAD + _ROW * max(1, len(rows)) + 24 * (1 + bool(len(chosen))) + 40)
    draw_header(pen, view)
    if not len(rows):
        pen.text(12, _TOP + 14, "No layers in this profile.", theme.ink_muted)
        return pen.png()
    _draw_heads(pen, columns, sort)
    top = _TOP + _HEAD
    for i, row in enumerate(rows):
        _draw_row(pen, view, columns, int(row), top + i * _ROW, int(row) in chosen)
    bottom = top + len(rows) * _ROW + 4
    layers = np.arange(len(view.meta["names"]))
    _draw_sums(
        pen, view, columns, layers, f"Σ {np.count_nonzero(~_between(view))} layers{', and between' * bool(_between(view).any())}", bottom
    )
    if len(chosen):
        bottom += 24
        _draw_sums(pen, view, columns, chosen, f"Σ {len(chosen)} selected", bottom)
    pen.text(12, bottom + 40, _note(view, rows), theme.ink_muted, 11)
    pen.hatch(WIDTH - 130, bottom + 34, 20, 12)
    pen.text(WIDTH - 12, bottom + 40, "not measured", theme.ink_muted, 11, anchor="rm")
    return pen.png()


def order(view: ViewData, sort: Sequence[str]) -> NDArray[np.int64]:
    """Positions of the layers as ``sort`` says, not those between layers: numbers from the largest, texts from A, not measured last.

    Each of ``sort`` is a column, which `` ascending`` or `` descending`` may follow; the first is the most important. One that the
    view does not have orders nothing.
    """
    rows = np.flatnonzero(~_between(view))
    for wish in reversed(sort):
        name, _, way = wish.partition(" ")
        if name in view.meta["arrays"] and name not in view.meta["texts"]:
            values = view.array(name).astype(float)[rows]
            key = np.where(np.isnan(values), np.inf, values if way == "ascending" else -values)
        elif name in view.meta["texts"] or name in ("name", "nodes", "runtime_name"):
            _, ranks = np.unique([_text(view, name, int(row)) for row in rows], return_inverse=True)
            key = -ranks if way == "descending" else ranks
        else:
            continue
        rows = rows[np.argsort(key, kind="stable")]
    return rows


def _shown(view: ViewData, sort: Sequence[str]) -> NDArray[np.int64]:
    rows = order(view, sort)
    if len(rows) > MAX_ROWS:
        rows = rows[:MAX_ROWS] if sort else np.sort(order(view, ["latency_ms"] if "latency_ms" in view.meta["arrays"] else [])[:MAX_ROWS])
    return np.concatenate([rows, np.flatnonzero(_between(view))]) if len(rows) else rows


def _between(view: ViewData) -> NDArray[np.bool_]:
    return np.array([view.meta["texts"]["kind"][code] == "between" for code in view.array("kind")], bool)


def _text(view: ViewData, name: str, row: int) -> str:
    """A text of a layer; its original nodes and the runtime's name are sent only where they differ from its own."""
    if name == "nodes":
        return ", ".join(view.meta["sources"].get(str(row), [view.meta["names"][row]]))
    if name == "runtime_name":
        return str(view.meta["runtime_names"].get(str(row), view.meta["names"][row]))
    return str(view.meta["names"][row] if name == "name" else view.meta["texts"][name][view.array(name)[row]])


def _fitting(view: ViewData) -> list[dict[str, Any]]:
    """The columns of numbers that have room, each with its ``x`` (of the left edge) and ``width``."""
    placed, x = [], 12 + _NAME + _OP
    for column in view.meta["columns"]:
        width = 172 if column["interval"] else 86
        if x + width > WIDTH - 12:
            break
        placed.append({**column, "x": x, "width": width})
        x += width
    return placed


def _draw_heads(pen: Pen, columns: list[dict[str, Any]], sort: Sequence[str]) -> None:
    theme, y = pen.theme, _TOP + 12
    ways = {wish.partition(" ")[0]: wish.partition(" ")[2] for wish in sort}
    arrow = {"ascending": " ▴", "descending": " ▾"}
    for name, title, x in (("name", "Layer", 22), ("op_type", "Op type", 12 + _NAME)):
        pen.text(x, y, title + (arrow[ways[name] or "ascending"] if name in ways else ""), theme.ink_muted, 11)
    for column in columns:
        unit = f" ({column['unit']})" if column["format"] == "number" and column["unit"] else ""
        mark = arrow[ways[column["name"]] or "descending"] if column["name"] in ways else ""
        title = column["title"]
        while pen.width(title + unit + mark, 11) > column["width"] - 10 and len(title) > 4:
            title = f"{title.rstrip('…')[:-1].rstrip()}…"
        pen.text(column["x"] + column["width"] - 6, y, title + unit + mark, theme.ink_muted, 11, anchor="rm")
    pen.box(12, _TOP + _HEAD - 2, WIDTH - 24, 1, theme.line)


def _draw_row(pen: Pen, view: ViewData, columns: list[dict[str, Any]], row: int, y: float, selected: bool) -> None:
    theme, middle = pen.theme, y + _ROW / 2
    kind, op_type = _text(view, "kind", row), _text(view, "op_type", row)
    between = kind == "between"
    if selected:
        pen.box(4, y, WIDTH - 8, _ROW, theme.raised)
        pen.box(4, y, 3, _ROW, theme.accent)
    if between:
        pen.box(12, y, WIDTH - 24, 1, theme.line)
    else:
        pen.box(12, y + 3, 4, _ROW - 6, theme.op_color(op_type))
    name = {"inserted": "+ ", "nested": "↳ "}.get(kind, "") + view.meta["names"][row]
    cut = name
    while pen.width(cut, 11) > _NAME - 20 and len(cut) > 1:
        cut = ellipsis(name, len(cut) - 1)
    pen.text(22, middle, cut, theme.ink_muted if between else theme.ink, 11)
    pen.text(12 + _NAME, middle, ellipsis(op_type, 16), theme.ink_muted, 11)
    for column in columns:
        _draw_number(pen, view, column, row, y, between)


def _draw_number(pen: Pen, view: ViewData, column: dict[str, Any], row: int, y: float, between: bool) -> None:
    theme, name, x, width = pen.theme, column["name"], column["x"], column["width"]
    value = float(view.array(name)[row])
    if np.isnan(value):
        if not between:
            pen.hatch(x + 4, y + 2, width - 8, _ROW - 4)
        return
    estimated = view.meta["header"]["origin"] == "estimated" or column["title"].endswith("(estimate)")
    if name in _BARS and not between and value > 0:
        long = (width - 8) * min(1.0, value / float(np.nanmax(view.array(name)[~_between(view)])))
        pale = tuple(round(0.28 * b + 0.72 * s) for b, s in zip(rgb(theme.bar), rgb(theme.surface), strict=True))
        pen.box(x + 4, y + 3, max(1, long), _ROW - 6, pale)
        if estimated:
            pen.hatch(x + 4, y + 3, max(1, long), _ROW - 6, theme.surface)
    low, high = (float(view.array(end)[row]) for end in column["interval"]) if column["interval"] else (np.nan, np.nan)
    shown = units.latency_interval if name == "latency_ms" else units.energy_interval
    text = shown(value, low, high) if column["interval"] else show(value, name)
    if column["format"] == "number" and column["unit"]:
        text = text.removesuffix(f" {column['unit']}")
    pen.text(x + width - 6, y + _ROW / 2, text, theme.ink_muted if between else theme.ink, 10, anchor="rm")


def _draw_sums(pen: Pen, view: ViewData, columns: list[dict[str, Any]], rows: NDArray[np.int64], title: str, y: float) -> None:
    pen.box(12, y, WIDTH - 24, 22, pen.theme.raised)
    pen.text(22, y + 11, title, pen.theme.ink, 11, bold=True)
    own = ~_between(view)[rows]
    for column in columns:
        if not column["additive"]:
            continue
        values = view.array(column["name"]).astype(float)[rows]
        none = int(np.count_nonzero(np.isnan(values) & own))
        text = units.MISSING if np.isnan(values).all() else show(float(np.nansum(values)), column["name"])
        note = f"  {none} without" if none and text != units.MISSING else ""
        right = column["x"] + column["width"] - 6
        pen.text(right - pen.width(note, 9), y + 11, text, pen.theme.ink, 10, anchor="rm", bold=True)
        pen.text(right, y + 11, note, pen.theme.warning, 9, anchor="rm")


def _note(view: ViewData, rows: NDArray[np.int64]) -> str:
    shown, layers = int(np.count_nonzero(~_between(view)[rows])), int(np.count_nonzero(~_between(view)))
    parts = [f"{shown} of {layers} layers; the sum is over all of them."] if shown < layers else []
    if view.meta["header"]["origin"] == "estimated":
        parts.append("Hatched bars: estimated, not measured.")
    if "inserted" in view.meta["texts"]["kind"]:
        parts.append("+ inserted by the runtime.")
    return "  ".join([*parts, "A static picture: run the cell for the live table."])
