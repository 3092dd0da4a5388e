"""The tables of the HTML report as text and sort keys: one unit a column, so that numbers can be compared by eye."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd

from edgeprof.analysis import by_op_type
from edgeprof.analysis.names import shorten
from edgeprof.figures.numbers import show
from edgeprof.figures.theme import op_family
from edgeprof.figures.view import ViewData
from edgeprof.records.profile import Profile
from edgeprof.records.schema import BETWEEN_LAYERS, column
from edgeprof.units import MISSING, share, size


@dataclass(frozen=True)
class Heading:
    """A column: key, title with unit, meaning for the hover, and whether it holds numbers."""

    key: str
    title: str
    meaning: str
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """``text`` is shown, ``bar`` is the part of a bar to draw (0 to 1; below 0: no bar).

    Sorting looks at the text, or at ``key`` where the text is rounded too much for that.
    """

    text: str
    key: str = ""
    bar: float = -1.0


@dataclass(frozen=True)
class Row:
    """A layer or op type: what it is called, the family that colours it, a word about it, and its cells."""

    name: str
    family: str
    note: str
    cells: tuple[Cell, ...]
    between: bool = False


@dataclass(frozen=True)
class Table:
    """Headings of the cells (the name stands before them) and rows."""

    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]


_LAYER_NUMBERS = (
    "latency_ms", "share", "latency_p95_ms", "latency_raw_ms", "calls", "macs", "param_bytes", "activation_bytes", "arithmetic_intensity",
    "peak_memory_bytes", "workspace_bytes", "power_mw", "energy_mj",
)  # fmt: skip
_KEYED = ("latency_ms", "energy_mj")
"""Sorted by their numbers: the texts are rounded much, or change their unit from cell to cell."""

_LAYER_TEXTS = ("precision", "output_shape", "provider", "runtime_name")
_ONE_FOR_ALL = ("precision", "provider")
"""Said once in the settings where all layers have the same."""


def layer_table(profile: Profile) -> Table:
    """All layers in the order they ran, the row between layers last; columns without any number are left out."""
    layers = profile.layers
    numbers = [name for name in _LAYER_NUMBERS if _tells(profile.measured_layers, name)]
    texts = {name: values for name in _LAYER_TEXTS if (values := _texts(profile, name))}
    columns, headings = _number_columns(layers, numbers)
    headings = [Heading("index", "#", column("index").meaning), Heading("op_type", "Op type", column("op_type").meaning, False), *headings]
    headings += [Heading(name, column(name).title, column(name).meaning, False) for name in texts]
    rows = []
    for i, row in enumerate(layers.to_dict("records")):
        between = row["kind"] == "between"
        first = (Cell("" if between else str(row["index"])), Cell(row["op_type"]))
        cells = (*first, *(cell[i] for cell in columns), *(Cell("" if between else values[i]) for values in texts.values()))
        note = "" if row["kind"] in ("layer", "between") else row["kind"]
        rows.append(Row(row["name"], op_family(row["op_type"]), note, cells, between))
    return Table(tuple(headings), tuple(rows))


def op_type_table(profile: Profile) -> Table:
    """`by_op_type` as rows."""
    table = by_op_type(profile)
    numbers = [name for name in ("latency_ms", "share", "macs", "param_bytes", "energy_mj") if table[name].notna().any()]
    columns, headings = _number_columns(table, numbers)
    rows = tuple(
        Row(op, op_family(op), "", (Cell(str(n) if n else ""), *(cell[i] for cell in columns)), op == BETWEEN_LAYERS)
        for i, (op, n) in enumerate(zip(table["op_type"], table["layers"], strict=True))
    )
    return Table((Heading("layers", "Layers", "Number of layers of this op type."), *headings), rows)


def owner_table(view: ViewData) -> Table:
    """Owners of the peak of a memory view as rows, largest first, and the peak that they sum to as the last row."""
    meta = view.meta
    if not meta["owners"]:
        return Table((), ())
    op_type = view.array("op_type")
    rows = []
    for owner in meta["owners"]:
        made_by = [meta["op_types"][op_type[layer]] for layer in owner["layers"][:1]]
        notes = ["output"] * (owner["kind"] == "output") + [f"+ {len(owner['sharers'])} in place"] * bool(owner["sharers"])
        part = owner["share"]
        cells = (Cell(size(owner["bytes"])), Cell(share(part), "", -1.0 if part is None else min(1.0, max(0.0, part))))
        texts = (Cell(shorten(owner["producer"], 32)), Cell(shorten(owner["consumer"], 32)))
        rows.append(Row(owner["name"], op_family(made_by[0]) if made_by else "", ", ".join(notes), (*cells, *texts)))
    total = (Cell(size(meta["peak"]["bytes"])), Cell(share(1.0)), Cell(""), Cell(""))
    rows.append(Row("Peak", "", "", total, between=True))
    return Table(_OWNER_HEADINGS, tuple(rows))


_OWNER_HEADINGS = (
    Heading("size", "Size", "Bytes of the buffer; of tensors that share one in place those of the largest."),
    Heading("share", "Share", "Bytes over the peak."),
    Heading("producer", "Made by", "Layer that makes the first tensor in the buffer.", False),
    Heading("consumer", "Last read by", "Layer that reads the buffer last; outputs are kept to the end of the run.", False),
)


def _texts(profile: Profile, name: str) -> list[str]:
    """The column of all rows, empty when it says nothing: one value for all, or a runtime's name that is the layer's own."""
    if name == "runtime_name":
        other = ["" if theirs == ours else theirs for theirs, ours in zip(profile.layers[name], profile.layers["name"], strict=True)]
        return other if any(other) else []
    different = profile.measured_layers[name].nunique()
    return [text or MISSING for text in profile.layers[name]] if different > (name in _ONE_FOR_ALL) else []


def _tells(layers: pd.DataFrame, name: str) -> bool:
    """True when the column says something: any number, and more than ones for the calls."""
    values = layers[name].dropna()
    return bool((values != 1).any()) if name == "calls" else not values.empty


def _number_columns(table: pd.DataFrame, names: list[str]) -> tuple[list[list[Cell]], list[Heading]]:
    """Cells by column, and headings; a latency has a column with its interval behind it."""
    scale, unit, decimals = _time_unit(table)
    columns, headings = [], []
    for name in names:
        about = column(name)
        shown = (lambda value: _fixed(value * scale, decimals)) if about.unit == "ms" else partial(show, name=name)
        title = f"{about.title} ({unit})" if about.unit == "ms" else about.title
        largest = table[name].max()
        bar = 1 / largest if name == "share" and largest > 0 else math.nan
        keys = [f"{value:.5g}" if name in _KEYED else "" for value in table[name]]
        columns.append([_cell(value, shown, key, max(-1.0, value * bar)) for value, key in zip(table[name], keys, strict=True)])
        headings.append(Heading(name, title, about.meaning))
        if name == "latency_ms" and table["latency_low_ms"].notna().any():
            ends = zip(table["latency_low_ms"], table["latency_high_ms"], strict=True)
            columns.append([_interval(low * scale, high * scale, decimals) for low, high in ends])
            headings.append(Heading("interval", f"95 % interval ({unit})", "Where the median lies."))
    return columns, headings


def _cell(value: float, shown: Callable[[float], str], key: str, bar: float) -> Cell:
    return Cell(MISSING) if math.isnan(value) else Cell(shown(value), key, bar)


def _interval(low: float, high: float, decimals: int) -> Cell:
    if math.isnan(low) or math.isnan(high):
        return Cell(MISSING)
    return Cell(f"{_fixed(low, decimals)} – {_fixed(high, decimals)}")


def _time_unit(table: pd.DataFrame) -> tuple[float, str, int]:
    """Factor from ms, unit and decimals for a whole column, by its largest time."""
    largest = table["latency_ms"].abs().max()
    return (1e3, "µs", 1) if largest < 1 else (1.0, "ms", 3 if largest < 1000 else 1)


def _fixed(value: float, decimals: int) -> str:
    return MISSING if math.isnan(value) else f"{value:.{decimals}f}".replace("-", "−")
