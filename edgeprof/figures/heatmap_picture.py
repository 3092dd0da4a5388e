"""The heatmap as a PNG picture, for saved and exported notebooks: same rows, scales and colours as the live view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.figures.heatmap import heatmap, heatmap_runs, place
from edgeprof.figures.numbers import ellipsis, show
from edgeprof.figures.pen import WIDTH, Pen, draw_header, ink_on
from edgeprof.figures.theme import LIGHT, Theme, scale_colors
from edgeprof.figures.view import ViewData
from edgeprof.records.profile import Profile

MAX_ROWS = 30
_ROW, _TOP, _HEAD = 20, 54, 46
_LABEL, _OP, _BAR = 300, 110, 96
_CELLS = 12 + _LABEL + _OP + _BAR + 8


def draw(
    profile: Profile,
    *,
    view: ViewData | None = None,
    mode: str = "metrics",
    sort: str = "execution",
    selection: Sequence[str] = (),
    theme: Theme = LIGHT,
) -> bytes:
    """PNG of the metrics or runs view. Of more than `MAX_ROWS` layers the longest are shown, and the picture says so.

    ``view`` is ``heatmap(profile)`` where that is there already.
    """
    view = view or heatmap(profile)
    rows = _rows(profile, sort)
    runs = heatmap_runs(profile, max_columns=110) if mode == "runs" else None
    pen = Pen(theme, _TOP + _HEAD + _ROW * max(1, len(rows)) + 60)
    draw_header(pen, view)
    top = _TOP + _HEAD
    if not len(rows) or (runs is not None and not runs.meta["columns"]):
        pen.text(
            12, top + 10, "No layers in this profile." if not len(rows) else "No instrumented runs in this profile.", pen.theme.ink_muted
        )
        return pen.png()
    pen.text(12, top - 12, "Layer", theme.ink_muted, 11)
    pen.text(12 + _LABEL, top - 12, "Op type", theme.ink_muted, 11)
    pen.text(12 + _LABEL + _OP, top - 12, "Latency", theme.ink_muted, 11)
    chosen = set(selection)
    for i, row in enumerate(rows):
        _draw_label(pen, view, int(row), top + i * _ROW, view.meta["names"][row] in chosen)
    if runs is None:
        _draw_metrics(pen, view, rows, top)
    else:
        _draw_runs(pen, runs, rows, top)
    _draw_footer(pen, view, runs, "  ".join(_notes(profile, view, rows)), top + _ROW * len(rows) + 14)
    return pen.png()


def _rows(profile: Profile, sort: str) -> NDArray[np.int64]:
    """Positions of the shown layers, in the wished order; the row between layers is last."""
    layers = profile.layers
    order = np.flatnonzero((layers["kind"] != "between").to_numpy())
    if len(order) > MAX_ROWS:
        longest = layers["latency_ms"].to_numpy()[order]
        order = np.sort(order[np.argsort(-np.nan_to_num(longest, nan=-np.inf), kind="stable")[:MAX_ROWS]])
    if sort != "execution":
        name = "latency_ms" if sort in ("latency", "op_type") else sort
        order = order[np.argsort(-np.nan_to_num(layers[name].to_numpy(float)[order], nan=-np.inf), kind="stable")]
    if sort == "op_type":
        order = order[np.argsort(layers["op_type"].to_numpy(str)[order], kind="stable")]
    return np.r_[order, np.flatnonzero((layers["kind"] == "between").to_numpy())] if len(order) else order


def _draw_label(pen: Pen, view: ViewData, row: int, y: float, selected: bool) -> None:
    theme, middle = pen.theme, y + _ROW / 2
    kind = view.meta["texts"]["kind"][view.array("kind")[row]]
    op_type = view.meta["texts"]["op_type"][view.array("op_type")[row]]
    if selected:
        pen.box(4, y, WIDTH - 8, _ROW, theme.raised)
        pen.box(4, y, 3, _ROW, theme.accent)
    if kind == "between":
        pen.box(12, y, WIDTH - 24, 1, theme.line)
    else:
        pen.box(12, y + 3, 4, _ROW - 6, theme.op_color(op_type))
    mark = {"inserted": "+ ", "nested": "  ↳ "}.get(kind, "")
    name = ellipsis(mark + view.meta["names"][row], 44)
    while pen.width(name, 11) > _LABEL - 22:
        name = ellipsis(mark + view.meta["names"][row], len(name) - 1)
    pen.text(22, middle, name, theme.ink if kind in ("layer", "nested") else theme.ink_muted, 11)
    pen.text(12 + _LABEL, middle, ellipsis(op_type, 17), theme.ink_muted, 11)
    _draw_bar(pen, view, row, y, kind)


def _draw_bar(pen: Pen, view: ViewData, row: int, y: float, kind: str) -> None:
    names = ("latency_ms", "latency_low_ms", "latency_high_ms")
    if "latency_ms" not in view.meta["arrays"]:
        return
    latency = view.array("latency_ms")
    longest = float(np.nanmax(latency, initial=0)) or 1.0
    x = 12 + _LABEL + _OP
    value, low, high = (
        min(1.0, max(0.0, float(view.array(n)[row]) / longest)) * (_BAR - 6) if n in view.meta["arrays"] else np.nan for n in names
    )
    if np.isnan(latency[row]):
        pen.hatch(x, y + 6, 24, _ROW - 12)
        return
    pen.box(x, y + 6, max(value, 1), _ROW - 12, pen.theme.ink_muted if kind == "between" else pen.theme.bar)
    if high - low >= 2:
        pen.box(x + low, y + _ROW / 2 - 0.4, high - low, 0.8, pen.theme.ink)


def _draw_metrics(pen: Pen, view: ViewData, rows: NDArray[np.int64], top: float) -> None:
    columns = view.meta["columns"]
    cell = min(104.0, (WIDTH - 12 - _CELLS) / max(1, len(columns)))
    between = len(view.meta["texts"]["kind"]) - 1 if view.meta["texts"]["kind"][-1] == "between" else -1
    for k, column in enumerate(columns):
        x = _CELLS + k * cell
        unit = [column["unit"]] if column["format"] == "number" else []
        lines = [*(column["title"].split(" ") if pen.width(column["title"], 10) > cell - 4 else [column["title"]]), *unit]
        for j, line in enumerate(reversed(lines)):
            pen.text(x + cell / 2, top - 11 - 12 * j, line, pen.theme.ink_muted if unit and not j else pen.theme.ink, 10, anchor="mm")
        values = view.array(column["name"])[rows]
        colors = scale_colors(place(values, column["scales"]["auto"]), pen.theme.sequential)
        for i, (row, value) in enumerate(zip(rows, values, strict=True)):
            y, ink = top + i * _ROW, pen.theme.ink_muted
            if np.isnan(value):
                pen.hatch(x, y, cell - 1, _ROW - 1)
            elif view.array("kind")[row] != between:
                pen.box(x, y, cell - 1, _ROW - 1, tuple(colors[i]))
                ink = ink_on(colors[i])
            text = show(float(value), column["name"]).removesuffix(f" {column['unit']}") if unit else show(float(value), column["name"])
            if pen.width(text, 10) < cell - 3:
                pen.text(x + cell / 2, y + _ROW / 2, text, ink, 10, anchor="mm")


def _draw_runs(pen: Pen, runs: ViewData, rows: NDArray[np.int64], top: float) -> None:
    columns = runs.meta["columns"]
    cell = min(30.0, (WIDTH - 12 - _CELLS) / len(columns))
    ratio = runs.array("ms").reshape(-1, len(columns))[rows] / runs.array("median_ms")[rows][:, None]
    at = 0.5 + 0.5 * np.log(ratio, where=ratio > 0, out=np.full(ratio.shape, np.nan)) / np.log(runs.meta["ratio_limit"])
    colors = scale_colors(at, pen.theme.diverging)
    for k, column in enumerate(columns):
        x, gap = _CELLS + k * cell, 1 if cell > 6 else 0
        whole = float(runs.array("run_ms")[k]) / float(np.nanmax(runs.array("run_ms")))
        pen.box(x, top - 3 - 24 * whole, cell - gap, 24 * whole, pen.theme.warning if column["outlier"] else pen.theme.missing)
        if column["outlier"]:
            pen.text(x + cell / 2, top - 36, "▼", pen.theme.warning, 9, anchor="mm")
        for i in range(len(rows)):
            if np.isnan(at[i, k]):
                pen.hatch(x, top + i * _ROW, cell - gap, _ROW - 1)
            else:
                pen.box(x, top + i * _ROW, cell - gap, _ROW - 1, tuple(colors[i, k]))
    for k in range(1, len(columns)):
        if columns[k]["block"] != columns[k - 1]["block"] and len(columns) / len({c["block"] for c in columns}) * cell > 14:
            pen.box(_CELLS + k * cell - 1, top - 40, 1, 40 + _ROW * len(rows), pen.theme.ink_muted)


def _draw_footer(pen: Pen, view: ViewData, runs: ViewData | None, notes: str, y: float) -> None:
    stops = pen.theme.diverging if runs is not None else pen.theme.sequential
    low, high, title = "low", "high", "each column has its own scale"
    if runs is not None:
        limit, per = runs.meta["ratio_limit"], runs.meta["runs_per_column"]
        low, high = f"{units.significant(1 / limit, 3)}×", f"{units.significant(limit, 3)}×"
        title = f"latency over the layer's median, {runs.meta['runs']} instrumented runs"
        title += f", each column the maximum of up to {per}" if per > 1 else ""
    pen.text(12, y + 6, low, pen.theme.ink, 11)
    x = 12 + pen.width(low, 11) + 8
    for i, color in enumerate(scale_colors(np.linspace(0, 1, 70), stops)):
        pen.box(x + 2 * i, y, 2, 12, tuple(color))
    pen.text(x + 148, y + 6, f"{high}    {title}", pen.theme.ink, 11)
    pen.hatch(WIDTH - 130, y, 20, 12)
    pen.text(WIDTH - 12, y + 6, "not measured", pen.theme.ink_muted, 11, anchor="rm")
    pen.text(12, y + 28, notes, pen.theme.ink_muted, 11)


def _notes(profile: Profile, view: ViewData, rows: NDArray[np.int64]) -> Iterator[str]:
    layers = profile.measured_layers
    shown = profile.layers.iloc[rows]
    shown = shown[shown["kind"] != "between"]
    if len(shown) < len(layers):
        part = float(shown["latency_ms"].sum() / layers["latency_ms"].sum())
        yield f"The {len(shown)} longest of {len(layers)} layers, {units.share(part)} of their time."
    if "inserted" in view.meta["texts"]["kind"]:
        yield "+ inserted by the runtime."
    yield "A static picture: run the cell for the live view."
