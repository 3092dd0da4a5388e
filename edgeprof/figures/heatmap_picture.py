"""Heatmaps as PNG pictures, for saved and exported notebooks: same rows, scales and colours as the live view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.figures.heatmap import place
from edgeprof.figures.numbers import ellipsis, show
from edgeprof.figures.pen import WIDTH, Pen, draw_header, ink_on
from edgeprof.figures.theme import LIGHT, Theme, scale_colors
from edgeprof.figures.view import ViewData, pack

MAX_ROWS = 30
NARROW = 60
"""CSS pixels; a column of a board that is narrower has a number as its head, which stands before its line below the grid."""

MAX_LINES = 32
"""Boards that the picture describes below the grid."""

PICTURE_RUNS = 110
"""Columns of runs that fit into the picture."""

_ROW, _TOP, _HEAD = 20, 54, 46
_LABEL, _OP, _BAR = 300, 110, 96
_CELLS = 12 + _LABEL + _OP + _BAR + 8


def draw(
    view: ViewData,
    *,
    runs: ViewData | None = None,
    mode: str = "",
    sort: str = "execution",
    selection: Sequence[str] = (),
    group: str = "none",
    values: str = "absolute",
    selected_runs: Sequence[int] = (),
    theme: Theme = LIGHT,
) -> bytes:
    """PNG of a view of metrics or of boards, or with ``runs`` that of runs. Of more than `MAX_ROWS` rows the longest are shown.

    ``mode`` is one of the view's, if it has several; the first when empty. With ``group`` each row is a group of layers; with ``values``
    ``"share"`` numbers that can be summed are shares of their column's total.
    """
    if group in view.meta.get("groups", {}):
        view, runs, selection = in_groups(view, group), runs and _runs_in_groups(runs, group), _whole_groups(view, group, selection)
        sort = "execution" if sort == "op_type" else sort
    if values == "share":
        view = _as_shares(view)
    rows = _rows(view, sort)
    shown = _shown(view, mode)
    lines = [f"{i}  {line}" for i, line in enumerate(view.meta["header"].get("lines", {}).get("items", [])[:MAX_LINES], 1)]
    top = _TOP + _HEAD + 12 * ("modes" in view.meta)
    pen = Pen(theme, top + _ROW * max(1, len(rows)) + 60 + 16 * len(lines))
    draw_header(pen, view)
    if not len(rows) or (runs is not None and not runs.meta["columns"]):
        text = "No layers in this profile." if not len(rows) else "No instrumented runs in this profile."
        pen.text(12, top + 10, text, theme.ink_muted)
        return pen.png()
    lead = _lead(view)
    for x, head in zip((12, 12 + _LABEL), view.meta.get("grouped", ("Layer", "Op type")), strict=True):
        pen.text(x, top - 12, head, theme.ink_muted, 11)
    for j, line in enumerate(filter(None, (lead.get("note"), lead["title"]))):
        pen.text(12 + _LABEL + _OP, top - 12 - 14 * j, _fitting(pen, line, _BAR), theme.ink_muted, 11)
    chosen = set(selection)
    for i, row in enumerate(rows):
        _draw_label(pen, view, int(row), top + i * _ROW, view.meta["names"][row] in chosen)
    if runs is None:
        _draw_metrics(pen, view, shown, rows, top)
    else:
        _draw_runs(pen, runs, rows, top)
        _mark_runs(pen, runs, selected_runs, top, top + _ROW * len(rows))
    bottom = top + _ROW * len(rows) + 14
    _draw_footer(pen, view, shown, runs, "  ".join(_notes(view, rows)), bottom)
    for i, line in enumerate(lines):
        pen.text(12, bottom + 46 + 16 * i, ellipsis(line, 170), theme.ink_muted, 10)
    return pen.png()


def in_groups(view: ViewData, group: str) -> ViewData:
    """A view of metrics whose rows are its groups, and the row between layers; columns without a meaning for groups are gone."""
    meta, prefix = view.meta, f"{group}: "
    names = meta["groups"][group]["names"]
    between = np.flatnonzero(_kinds(view) == "between")
    columns = [{**c, "scales": c["group_scales"][group]} for c in meta["columns"] if group in c["group_scales"]]
    numbers = [name.removeprefix(prefix) for name in meta["arrays"] if name.startswith(prefix) and name != f"{prefix}of"]
    arrays = {
        name: np.append(view.array(prefix + name).astype(float), view.array(name)[between] if name in meta["arrays"] else between * np.nan)
        for name in numbers
    }
    layers = [f"{count} layer{'s' if count != 1 else ''}" for count in view.array(f"{prefix}layers")]
    counted, words = np.unique(layers, return_inverse=True)
    arrays["op_type"] = np.append(words, np.full(len(between), len(counted)))
    arrays["kind"] = np.append(np.zeros(len(names), int), np.ones(len(between), int))
    texts = {"op_type": [*counted, ""], "kind": ["group", "between"]}
    rows = [*names, *(meta["names"][i] for i in between)]
    return pack({**meta, "columns": columns, "names": rows, "texts": texts, "grouped": (meta["groups"][group]["title"], "Layers")}, arrays)


def _runs_in_groups(runs: ViewData, group: str) -> ViewData:
    """Runs whose rows are those of `in_groups`; the row between layers has no numbers."""
    arrays = {name: runs.array(name) for name in ("run_ms", "run", "first")}
    blank = np.full(len(runs.meta["columns"]), np.nan)
    return pack(runs.meta, {"ms": np.append(runs.array(f"{group}: ms"), blank), "median_ms": np.append(runs.array(f"{group}: median_ms"), np.nan), **arrays})


def _whole_groups(view: ViewData, group: str, selection: Sequence[str]) -> list[str]:
    """Groups of which all layers are selected."""
    chosen = np.isin(view.meta["names"], list(selection))
    of, sizes = view.array(f"{group}: of"), view.array(f"{group}: layers")
    return [name for g, name in enumerate(view.meta["groups"][group]["names"]) if chosen[of == g].sum() == sizes[g]]


def _as_shares(view: ViewData) -> ViewData:
    """The same view, numbers that can be summed divided by their column's total."""
    arrays = {name: view.array(name) for name in view.meta["arrays"]}
    columns = []
    for column in view.meta["columns"]:
        total = column.get("total")
        if total:
            arrays[f"share: {column['name']}"] = arrays[column["name"]] / total
            scale = {**column["scales"]["auto"], **{end: column["scales"]["auto"][end] / total for end in ("min", "max")}}
            column = {**column, "name": f"share: {column['name']}", "format": "share", "metric": "share", "scales": {"auto": scale}}
        columns.append(column)
    return pack({**view.meta, "columns": columns}, arrays)


def _mark_runs(pen: Pen, runs: ViewData, selected: Sequence[int], top: float, bottom: float) -> None:
    """A frame around each column with a selected run."""
    first = runs.array("first")
    cell = min(30.0, (WIDTH - 12 - _CELLS) / len(first[1:]))
    chosen = np.isin(runs.array("run"), list(selected))
    for k in range(len(first) - 1):
        if chosen[first[k] : first[k + 1]].any():
            x = _CELLS + k * cell
            for left, width, y, height in ((x - 1, 2, top - 40, bottom - top + 40), (x + cell - 1, 2, top - 40, bottom - top + 40), (x - 1, cell + 2, top - 41, 3)):
                pen.box(left, y, width, height, pen.theme.accent)


def _shown(view: ViewData, mode: str) -> dict[str, Any]:
    """The mode's columns, and what stands beside its scale."""
    modes: dict[str, dict[str, Any]] = view.meta.get("modes") or {
        "": {"columns": view.meta["columns"], "note": "each column has its own scale"}
    }
    return modes.get(mode) or next(iter(modes.values()))


def _lead(view: ViewData) -> dict[str, Any]:
    """The column that is drawn as bars too, and by which rows are longest."""
    lead: dict[str, Any] = view.meta.get("lead", {"name": "latency_ms", "title": "Latency"})
    return lead


def _values(view: ViewData, name: str) -> NDArray[np.float64]:
    """An array of the view; all NaN when there is none of that name."""
    return view.array(name).astype(float) if name in view.meta["arrays"] else np.full(len(view.meta["names"]), np.nan)


def _rows(view: ViewData, sort: str) -> NDArray[np.int64]:
    """Positions of the shown layers, in the wished order; the row between layers is last."""
    between = _kinds(view) == "between"
    order = np.flatnonzero(~between)
    lead = _lead(view)["name"]
    if len(order) > MAX_ROWS:
        longest = _values(view, lead)[order]
        order = np.sort(order[np.argsort(-np.nan_to_num(longest, nan=-np.inf), kind="stable")[:MAX_ROWS]])
    if sort != "execution":
        values = _values(view, lead if sort in ("latency", "op_type") else sort)
        order = order[np.argsort(-np.nan_to_num(values[order], nan=-np.inf), kind="stable")]
    if sort == "op_type":
        order = order[np.argsort(_texts(view, "op_type")[order], kind="stable")]
    return np.r_[order, np.flatnonzero(between)] if len(order) else order


def _kinds(view: ViewData) -> NDArray[np.str_]:
    return _texts(view, "kind")


def _texts(view: ViewData, name: str) -> NDArray[np.str_]:
    return np.array([view.meta["texts"][name][code] for code in view.array(name)], dtype=str)


def _fitting(pen: Pen, text: str, width: float, size: int = 11) -> str:
    """``text`` cut in its middle until it is no wider than that."""
    cut = text
    while pen.width(cut, size) > width and len(cut) > 1:
        cut = ellipsis(text, len(cut) - 1)
    return cut


def _draw_label(pen: Pen, view: ViewData, row: int, y: float, selected: bool) -> None:
    theme, middle = pen.theme, y + _ROW / 2
    kind = view.meta["texts"]["kind"][view.array("kind")[row]]
    op_type = view.meta["texts"]["op_type"][view.array("op_type")[row]]
    if selected:
        pen.box(4, y, WIDTH - 8, _ROW, theme.raised)
        pen.box(4, y, 3, _ROW, theme.accent)
    if kind == "between":
        pen.box(12, y, WIDTH - 24, 1, theme.line)
    elif kind != "group":
        pen.box(12, y + 3, 4, _ROW - 6, theme.op_color(op_type))
    mark = {"inserted": "+ ", "nested": "  ↳ "}.get(kind, "")
    name = _fitting(pen, ellipsis(mark + view.meta["names"][row], 44), _LABEL - 22)
    pen.text(22, middle, name, theme.ink if kind in ("layer", "nested", "group") else theme.ink_muted, 11)
    pen.text(12 + _LABEL, middle, ellipsis(op_type, 17), theme.ink_muted, 11)
    _draw_bar(pen, view, row, y, kind)


def _draw_bar(pen: Pen, view: ViewData, row: int, y: float, kind: str) -> None:
    lead = _lead(view)["name"]
    if lead not in view.meta["arrays"]:
        return
    latency = view.array(lead)
    column: dict[str, Any] = next((column for column in view.meta["columns"] if column["name"] == lead), {})
    names = (lead, *(column.get("interval") or ("", "")))
    longest = float(np.nanmax(latency, initial=0)) or 1.0
    x = 12 + _LABEL + _OP
    value, low, high = (
        min(1.0, max(0.0, float(view.array(n)[row]) / longest)) * (_BAR - 6) if n in view.meta["arrays"] else np.nan for n in names
    )
    if np.isnan(latency[row]):
        if not _absent(view, column, row):
            pen.hatch(x, y + 6, 24, _ROW - 12)
        return
    pen.box(x, y + 6, max(value, 1), _ROW - 12, pen.theme.ink_muted if kind == "between" else pen.theme.bar)
    if high - low >= 2:
        pen.box(x + low, y + _ROW / 2 - 0.4, high - low, 0.8, pen.theme.ink)


def _absent(view: ViewData, column: dict[str, Any], row: int) -> bool:
    """True where a board has no layer for this row."""
    return "ran" in column and not view.array(column["ran"])[row]


def _draw_metrics(pen: Pen, view: ViewData, shown: dict[str, Any], rows: NDArray[np.int64], top: float) -> None:
    columns = shown["columns"]
    cell = min(104.0, (WIDTH - 12 - _CELLS) / max(1, len(columns)))
    between = _kinds(view) == "between"
    stops = pen.theme.diverging if shown.get("diverging") else pen.theme.sequential
    for k, column in enumerate(columns):
        x = _CELLS + k * cell
        unit = column["unit"] if column["format"] == "number" else ""
        _draw_head(pen, _head_lines(pen, column, unit, k, cell), bool(column.get("hatched")), x, cell, top)
        values = view.array(column["name"])[rows]
        measured = ~np.isnan(view.array(view.meta["columns"][k]["name"])[rows])  # a ratio may not exist though its parts do
        colors = scale_colors(place(values, column["scales"]["auto"]), stops)
        for i, (row, value) in enumerate(zip(rows, values, strict=True)):
            y, ink = top + i * _ROW, pen.theme.ink_muted
            if _absent(view, column, row):
                continue
            if not measured[i]:
                pen.hatch(x, y, cell - 1, _ROW - 1)
            elif not between[row] and not np.isnan(value):
                pen.box(x, y, cell - 1, _ROW - 1, tuple(colors[i]))
                ink = ink_on(colors[i])
            number = _text(float(value), column)
            text = _mark(view, column, row) + (number.removesuffix(f" {unit}") if unit else number)
            if pen.width(text, 10) < cell - 3:
                pen.text(x + cell / 2, y + _ROW / 2, text, ink, 10, anchor="mm")


def _mark(view: ViewData, column: dict[str, Any], row: int) -> str:
    """Sign of a difference, and what says that the intervals overlap."""
    same = "≈ " * bool("same" in column and view.array(column["same"])[row])
    return same + "+" * bool(column.get("signed") and view.array(column["name"])[row] > 0)


def _head_lines(pen: Pen, column: dict[str, Any], unit: str, position: int, cell: float) -> list[tuple[str, str]]:
    """Lines of a column's head with their inks: title, then what tells a board from others, unit, origin; narrow boards have a number."""
    ink, muted, warning = pen.theme.ink, pen.theme.ink_muted, pen.theme.warning
    if "label" not in column:
        title = column["title"]
        titles = title.split(" ") if pen.width(title, 10) > cell - 4 else [title]
        return [*((text, ink) for text in titles), *([(unit, muted)] if unit else [])]
    if cell < NARROW:
        return [(str(position + 1), ink)]
    lines = [(column["title"], ink), (column["note"], muted), (unit, muted), (column["origin"], warning)]
    return [(_fitting(pen, text, cell - 4, 10), color) for text, color in lines if text]


def _draw_head(pen: Pen, lines: list[tuple[str, str]], hatched: bool, x: float, cell: float, top: float) -> None:
    if hatched:
        pen.hatch(x, top - 6, cell - 1, 5, pen.theme.warning)
    for j, (line, ink) in enumerate(reversed(lines)):
        pen.text(x + cell / 2, top - (15 if hatched else 11) - 12 * j, line, ink, 10, anchor="mm")


def _text(value: float, column: dict[str, Any]) -> str:
    """A number of a column as the live view shows it."""
    if column["format"] == "ratio":
        return units.MISSING if np.isnan(value) else f"{units.significant(value, 3)}×"
    return show(value, column.get("metric", column["name"]))


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


def _draw_footer(pen: Pen, view: ViewData, shown: dict[str, Any], runs: ViewData | None, notes: str, y: float) -> None:
    stops = pen.theme.diverging if runs is not None or shown.get("diverging") else pen.theme.sequential
    low, high, title = "low", "high", shown["note"]
    if "legend" in shown and shown["columns"]:
        column = shown["columns"][0]
        scale = column["scales"]["auto"]
        low, high = f"{'≤ ' * bool(scale['below'])}{_text(scale['min'], column)}", _text(scale["max"], column)
        title = f"{shown['legend']}; {title}"
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


def _notes(view: ViewData, rows: NDArray[np.int64]) -> Iterator[str]:
    own = np.flatnonzero(_kinds(view) != "between")
    shown = np.intersect1d(rows, own)
    if len(shown) < len(own):
        values = _values(view, _lead(view)["name"])
        total = np.nansum(values[own])
        part = f", {units.share(float(np.nansum(values[shown]) / total))} of their {_lead(view)['title'].lower()}" if total > 0 else ""
        yield f"The {len(shown)} longest of {len(own)} {'groups' if 'grouped' in view.meta else 'layers'}{part}."
    if "grouped" in view.meta:
        yield f"Layers together by {view.meta['grouped'][0].lower()}; intervals are added ends."
    if "inserted" in view.meta["texts"]["kind"]:
        yield "+ inserted by the runtime."
    if "modes" in view.meta:
        yield f"{view.meta['absent'].capitalize()}."
    yield "A static picture: run the cell for the live view."
