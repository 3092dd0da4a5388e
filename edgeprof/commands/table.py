"""Layers or op types as a table with bars that fits the width there is, its rows adding up to the end-to-end latency."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgeprof import units
from edgeprof.analysis import by_op_type
from edgeprof.analysis.names import shorten, visible
from edgeprof.records.profile import Profile
from edgeprof.records.schema import BETWEEN_LAYERS

BAR_CELLS = 8
NARROW_OP_CELLS = 10
OP_CELLS = 14
WIDE_OP_CELLS = 22
LEAST_NAME_CELLS = 12
BARS_FROM_WIDTH = 72
COSTS_FROM_WIDTH = 100
PEAK_FROM_WIDTH = 125
SHAPES_FROM_WIDTH = 150

NUMBERS = ("latency_ms", "latency_low_ms", "latency_high_ms", "share", "macs", "param_bytes", "energy_mj", "peak_memory_bytes")
"""Columns of both tables that make a Row's numbers, in the order of its fields; the op type table has no peaks."""

_NAN = math.nan
_EIGHTHS = " ▏▎▍▌▋▊▉"
_MARKS = {"inserted": "+ ", "nested": "> "}
_LEGEND = {"inserted": "+ inserted by the runtime", "nested": "> runs inside an If, Loop, Scan or function; not part of its row's time"}
_STYLES = {"between": "dim", "rest": "dim", "total": "bold"}


@dataclass(frozen=True)
class Row:
    """One line; numbers are NaN where there is nothing to show. ``key`` is the index of a layer, the number of layers of an op type."""

    kind: str
    key: str
    name: str
    op_type: str = ""
    latency_ms: float = _NAN
    low_ms: float = _NAN
    high_ms: float = _NAN
    share: float = _NAN
    macs: float = _NAN
    param_bytes: float = _NAN
    energy_mj: float = _NAN
    peak_memory_bytes: float = _NAN
    precision: str = ""
    output_shape: str = ""


def layer_rows(profile: Profile) -> list[Row]:
    """A row a layer, in the order of execution, and the row between layers."""
    columns = [profile.layers[name].tolist() for name in ("kind", "index", "name", "op_type", *NUMBERS, "precision", "output_shape")]
    rows = [Row(kind, str(index), *rest) for kind, index, *rest in zip(*columns, strict=True)]
    return [replace(row, key="") if row.kind == "between" else row for row in rows]


def op_type_rows(profile: Profile) -> list[Row]:
    """A row an op type, most time first, and the row between layers."""
    table = by_op_type(profile)
    rows = []
    for op_type, layers, *numbers in zip(*(table[name].tolist() for name in ("op_type", "layers", *NUMBERS[:-1])), strict=True):
        between = op_type == BETWEEN_LAYERS
        rows.append(Row("between" if between else "layer", "" if between else str(layers), op_type, "", *numbers))
    return rows


def print_rows(console: Console, profile: Profile, rows: Sequence[Row], *, by: str, top: int | None, sort: str) -> None:
    """Prints the ``top`` rows with the most time, what the others sum to, the row between layers, and the whole."""
    layers = [row for row in rows if row.kind != "between"]
    by_time = sorted(layers, key=lambda row: math.inf if math.isnan(row.latency_ms) else -row.latency_ms)
    chosen = by_time[:top]
    hidden = by_time[len(chosen) :]
    if sort == "execution":
        wanted = {id(row) for row in chosen}
        chosen = [row for row in layers if id(row) in wanted]
    shown = [*chosen, *_rest(hidden, by), *(row for row in rows if row.kind == "between"), _total(profile, layers)]
    console.print(_table(console, shown, by))
    for kind, text in _LEGEND.items():
        if any(row.kind == kind for row in chosen):
            console.print(Text(text, "dim"))


def _rest(hidden: Sequence[Row], by: str) -> list[Row]:
    if not hidden:
        return []
    word = "layer" if by == "layer" else "op type"
    text = f"({len(hidden)} more {word}{'s' * (len(hidden) != 1)})"
    return [_summed(Row("rest", "", text), hidden)]


def _total(profile: Profile, layers: Sequence[Row]) -> Row:
    end = profile.context.latency
    if end.median_ms is None:
        return _summed(Row("total", "", "sum of the layers"), layers)
    low, high = (_NAN if value is None else value for value in (end.low_ms, end.high_ms))
    energy = profile.context.energy.above_idle_mj
    return replace(
        _summed(Row("total", "", "end to end"), layers),
        latency_ms=end.median_ms,
        low_ms=low,
        high_ms=high,
        share=1.0,
        energy_mj=_NAN if energy is None else energy,
    )


def _summed(row: Row, parts: Sequence[Row]) -> Row:
    """``row`` with what its parts sum to; a sum has no interval."""
    return replace(
        row,
        latency_ms=_sum(part.latency_ms for part in parts),
        share=_sum(part.share for part in parts),
        macs=_sum(part.macs for part in parts),
        param_bytes=_sum(part.param_bytes for part in parts),
        energy_mj=_sum(part.energy_mj for part in parts),
        peak_memory_bytes=max((part.peak_memory_bytes for part in parts if not math.isnan(part.peak_memory_bytes)), default=_NAN),
    )


def _sum(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) if known else _NAN


# How it is drawn


@dataclass(frozen=True)
class _Column:
    """One column; ``cell`` gives a row's text."""

    title: str
    justify: Literal["left", "right"]
    cell: Callable[[Row], str]


@dataclass(frozen=True)
class _Unit:
    """One unit for the whole column, so that numbers compare at a glance."""

    name: str
    scale: float
    decimals: int

    def number(self, ms: float) -> str:
        value = round(ms * self.scale, self.decimals) + 0.0  # no -0.0
        return units.MISSING if math.isnan(ms) else f"{value:.{self.decimals}f}"

    def interval(self, row: Row) -> str:
        if math.isnan(row.low_ms) or math.isnan(row.high_ms):
            return ""
        return f"[{self.number(row.low_ms)}, {self.number(row.high_ms)}]"


def _unit(rows: Sequence[Row]) -> _Unit:
    most = max((abs(row.latency_ms) for row in rows if not math.isnan(row.latency_ms)), default=1.0)
    if most >= 10_000:
        return _Unit("s", 1e-3, 3)
    if most >= 1:
        return _Unit("ms", 1.0, 3 if most < 100 else 2)
    return _Unit("µs", 1e3, 1)


def _table(console: Console, rows: Sequence[Row], by: str) -> Table:
    columns = _columns(console, rows, by)
    cells = [[column.cell(row) for column in columns] for row in rows]
    widths = [max(map(cell_len, (column.title, *texts))) for column, texts in zip(columns, zip(*cells, strict=True), strict=True)]
    room = max(LEAST_NAME_CELLS, console.width - sum(widths) - len(columns))
    at = 0 if by == "op_type" else 1
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for column in (*columns[:at], _Column("Op type" if by == "op_type" else "Layer", "left", lambda row: row.name), *columns[at:]):
        table.add_column(Text(column.title), justify=column.justify, no_wrap=True, overflow="ellipsis")
    for row, texts in zip(rows, cells, strict=True):
        name = _fit(f"{_MARKS.get(row.kind, '')}{visible(row.name)}", room)
        table.add_row(*map(Text, (*texts[:at], name, *texts[at:])), style=_STYLES.get(row.kind, ""))
    return table


def _columns(console: Console, rows: Sequence[Row], by: str) -> list[_Column]:
    """All columns but the name, which takes what room is left."""
    unit = _unit(rows)
    longest = max((row.share for row in rows if row.kind not in _STYLES and row.share > 0), default=_NAN)
    plain = not console.encoding.lower().startswith("utf")
    return [
        *(_layer_columns(console.width) if by == "layer" else [_Column("Layers", "right", lambda row: row.key)]),
        _Column(f"Time {unit.name}", "right", lambda row: unit.number(row.latency_ms)),
        _Column("95 % interval", "left", unit.interval),
        *([_Column("", "left", lambda row: _bar(row, longest, plain=plain))] if console.width >= BARS_FROM_WIDTH else []),
        _Column("Share", "right", lambda row: units.share(row.share)),
        *_sensed_columns(console.width, rows, by),
        *(_cost_columns() if console.width >= COSTS_FROM_WIDTH else []),
    ]


def _layer_columns(width: int) -> list[_Column]:
    op_cells = WIDE_OP_CELLS if width > COSTS_FROM_WIDTH else OP_CELLS if width >= BARS_FROM_WIDTH else NARROW_OP_CELLS
    found = [_Column("#", "right", lambda row: row.key), _Column("Op type", "left", lambda row: _fit(visible(row.op_type), op_cells))]
    if width >= SHAPES_FROM_WIDTH:
        found.append(_Column("Precision", "left", lambda row: _fit(visible(row.precision), OP_CELLS)))
        found.append(_Column("Output", "left", lambda row: _fit(visible(row.output_shape), WIDE_OP_CELLS)))
    return found


def _sensed_columns(width: int, rows: Sequence[Row], by: str) -> list[_Column]:
    """Energy above idle where there is any, and peak memory by layer."""
    layers = [row for row in rows if row.kind not in _STYLES]
    found = []
    if any(not math.isnan(row.energy_mj) for row in layers) and width >= BARS_FROM_WIDTH:
        found.append(_Column("Energy", "right", lambda row: units.energy(row.energy_mj)))
    if by == "layer" and any(not math.isnan(row.peak_memory_bytes) for row in layers) and width >= PEAK_FROM_WIDTH:
        found.append(_Column("Peak mem.", "right", lambda row: "" if row.kind == "between" else units.size(row.peak_memory_bytes)))
    return found


def _cost_columns() -> list[_Column]:
    return [
        _Column("MACs", "right", lambda row: "" if row.kind == "between" else units.count(row.macs)),
        _Column("Weights", "right", lambda row: "" if row.kind == "between" else units.size(row.param_bytes)),
    ]


def _bar(row: Row, longest: float, *, plain: bool) -> str:
    """A bar of up to `BAR_CELLS`, the longest row's is full; none for sums and for what is not above zero."""
    if row.kind in ("total", "rest") or math.isnan(longest) or not row.share > 0:
        return ""
    cells = BAR_CELLS * min(1.0, row.share / longest)
    if plain:
        return "#" * max(1, round(cells))
    whole, eighths = divmod(max(1, round(cells * 8)), 8)
    return "█" * whole + _EIGHTHS[eighths].strip()


def _fit(text: str, cells: int) -> str:
    """``text`` cut in the middle until it is at most ``cells`` wide."""
    limit = cells
    while cell_len(text) > cells and limit > 1:
        text, limit = shorten(text, limit), limit - 1
    return text
