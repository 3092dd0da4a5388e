"""Bars by layer or by op_type, with intervals."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from edgeprof.analysis.groups import ADDITIVE, by_op_type
from edgeprof.analysis.names import shorten
from edgeprof.errors import UsageError
from edgeprof.figures.frame import axis, frame, heading
from edgeprof.figures.labels import interval, label, subtitle, wrapped
from edgeprof.figures.numbers import show
from edgeprof.figures.theme import THEMES, Theme, op_family
from edgeprof.records.profile import Profile
from edgeprof.records.schema import BETWEEN_LAYERS, METRICS, column

if TYPE_CHECKING:
    import plotly.graph_objects as go

By = Literal["layer", "op_type"]
Order = Literal["value", "executed"]

_INTERVALS = {"latency_ms": ("latency_low_ms", "latency_high_ms"), "energy_mj": ("energy_low_mj", "energy_high_mj")}
_BETWEEN_METRICS = ("latency_ms", "share", "energy_mj")
_INTERVAL_BELOW, _INTERVAL_ABOVE = 0.15, 0.4
"""How far intervals may reach beyond zero and beyond the largest bar, in parts of that bar."""

REST = "rest"
BETWEEN_MEANING = "What no layer explains: median of the plain runs less the sum of the layers"
BETWEEN_ENERGY = "What no layer explains: energy above idle of the whole model less the sum of the layers"
_TICK_FORMATS = {"share": ".0%"} | {name: "~s" for name in METRICS if column(name).unit == "B" or name == "macs"}
_HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>"


def bars(
    profile: Profile, by: By = "layer", top: int | None = None, metric: str = "latency_ms", *, order: Order = "value", theme: str = "light"
) -> go.Figure:
    """Horizontal bars of ``metric``, one a layer or one an op_type, with 95 % intervals where there are any.

    1. ``order="value"`` puts the largest on top, ``"executed"`` (layers only) the first that ran.
    2. ``top`` keeps that many; the others are one bar ``rest`` where their sum means something.
    3. ``(between layers)`` is a hatched grey bar of its own; bars of an estimated profile are hatched too.
    4. What has no number is left out, and a line under the title says how many; of energies also why, when there are none at all.
    """
    _check(by, metric, order, theme)
    table = _layer_rows(profile, metric) if by == "layer" else _op_rows(profile, metric)
    missing = int((table["value"].isna() & ~table["between"]).sum())
    table = table[table["value"].notna()]
    if order == "value":
        table = table.sort_values(["between", "value"], ascending=[True, False], kind="stable")
    reason = _why_none(profile, metric) if table["between"].all() else ""
    table, shown_note = _top(table, top, metric)
    notes = [shown_note, _missing_note(missing, by), reason]
    title = f"{column(metric).title} by {'layer' if by == 'layer' else 'op type'}"
    about = " · ".join(note for note in notes if note)
    figure = _figure(_scaled(table, metric), metric, hatched=profile.basis == "estimated", theme=THEMES[theme])
    text = "<br>".join(filter(None, [subtitle(profile), about]))
    return figure.update_layout(title=heading(title, text, THEMES[theme]), meta={"note": about})


def _check(by: str, metric: str, order: str, theme: str) -> None:
    if by not in ("layer", "op_type"):
        raise UsageError(f"by is {by!r}; it can be 'layer' or 'op_type'.")
    if order not in ("value", "executed") or (order == "executed" and by != "layer"):
        raise UsageError(f"order is {order!r}; it can be 'value', or 'executed' for layers.")
    if theme not in THEMES:
        raise UsageError(f"theme is {theme!r}; it can be {' or '.join(map(repr, THEMES))}.")
    known = METRICS if by == "layer" else ADDITIVE
    if metric not in known:
        why = "" if by == "layer" else " (others cannot be summed over layers)"
        raise UsageError(f"metric is {metric!r}; by {by} it can be one of {', '.join(known)}{why}.")


def _layer_rows(profile: Profile, metric: str) -> pd.DataFrame:
    layers = profile.layers if metric in _BETWEEN_METRICS else profile.measured_layers
    low, high = _ends(layers, metric)
    detail = [_detail(row, metric) for row in layers.to_dict("records")]
    return _rows(layers["name"], layers["op_type"], layers["kind"] == "between", layers[metric], low, high, detail)


def _op_rows(profile: Profile, metric: str) -> pd.DataFrame:
    table = by_op_type(profile)
    if metric not in _BETWEEN_METRICS:
        table = table[table["op_type"] != BETWEEN_LAYERS]
    low, high = _ends(table, metric)
    detail = [
        f"{n} layer{'s' * (n != 1)}, {show(part, 'share')} of the time" if n else _between(metric)
        for n, part in zip(table["layers"], table["share"], strict=True)
    ]
    names = table["op_type"]
    return _rows(names, names, names == BETWEEN_LAYERS, table[metric], low, high, detail)


def _rows(*columns: Any) -> pd.DataFrame:
    names = ("name", "op_type", "between", "value", "low", "high", "detail")
    return pd.DataFrame({name: list(values) for name, values in zip(names, columns, strict=True)})


def _ends(table: pd.DataFrame, metric: str) -> tuple[list[float], list[float]]:
    ends = _INTERVALS.get(metric, ("", ""))
    if ends[0] not in table.columns:
        return [np.nan] * len(table), [np.nan] * len(table)
    return table[ends[0]].tolist(), table[ends[1]].tolist()


def _detail(row: dict[Any, Any], metric: str) -> str:
    if row["kind"] == "between":
        return _between(metric)
    words = [label(row["op_type"]), label(row["precision"]), label(row["output_shape"], 60)]
    words.append("inserted by the runtime" * (row["kind"] == "inserted"))
    if metric != "share":
        words.append(f"{show(row['share'], 'share')} of the time")
    return ", ".join(filter(None, words))


def _between(metric: str) -> str:
    return BETWEEN_ENERGY if metric == "energy_mj" else BETWEEN_MEANING


def _top(table: pd.DataFrame, top: int | None, metric: str) -> tuple[pd.DataFrame, str]:
    """The ``top`` largest rows in the order they came, and one row for the rest of them."""
    own = table[~table["between"]]
    if top is None or len(own) <= top:
        return table, ""
    keep = own["value"].nlargest(top).index
    rest = own.drop(keep)
    kept = own.loc[own.index.isin(keep)]
    if metric not in ADDITIVE:
        return kept, f"the {top} largest of {len(own)}"
    name = f"{REST} ({len(rest)})"
    row = _rows([name], [""], [False], [rest["value"].sum()], [np.nan], [np.nan], [f"the sum of the {len(rest)} others"])
    return pd.concat([kept, row, table[table["between"]]], ignore_index=True), ""


def _missing_note(missing: int, by: By) -> str:
    what = "layer" if by == "layer" else "op type"
    return f"{missing} {what}{'s' * (missing != 1)} ha{'s' if missing == 1 else 've'} no number" if missing else ""


def _why_none(profile: Profile, metric: str) -> str:
    """Why not one layer has a number, where that is known."""
    return html.escape(shorten(profile.context.energy.reason, 150), quote=False) if column(metric).unit in ("mJ", "mW") else ""


def _figure(table: pd.DataFrame, metric: str, *, hatched: bool, theme: Theme) -> go.Figure:
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, color, rows in _families(table, theme):
        pattern = {"shape": "/", "solidity": 0.35, "fgcolor": theme.surface, "fillmode": "overlay", "size": 6}
        is_between = name == BETWEEN_LAYERS
        figure.add_bar(
            y=rows.index.tolist(), x=_rounded(rows["x"]), orientation="h", width=0.72, name=name,
            marker={"color": color, "line": {"width": 0}, **({"pattern": pattern} if hatched or is_between else {})},
            error_x=_error_bars(rows, theme), hovertemplate=_HOVER, showlegend=name in theme.families,
            customdata=[[wrapped(n), f"{interval(metric, v, lo, hi)}<br>{detail}"] for n, v, lo, hi, detail in zip(
                rows["name"], rows["value"], rows["low"], rows["high"], rows["detail"], strict=True)],
        )  # fmt: skip
    _add_values(figure, table, theme)
    _lay_out(figure, table, metric, theme)
    return figure


def _scaled(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The table with what is drawn: ``x``, ``x_low`` and ``x_high`` (µs where no time reaches a millisecond) and ``text``.

    Nothing may press the bars flat: a rest more than twice the largest bar has no bar, and an interval that reaches far beyond
    the bars is cut at the edge; in both cases the text beside it says so.
    """
    scale = 1e3 if _in_us(table, metric) else 1.0
    rest = (table["op_type"] == "") & ~table["between"]
    too_long = rest & (table["value"] > 2 * table.loc[~rest, "value"].max())
    value = table["value"].mask(too_long, 0)
    largest = float(value.abs().max() or 1.0) if len(value) else 1.0
    lowest, highest = min(float(value.min()), 0.0) - _INTERVAL_BELOW * largest, max(float(value.max()), 0.0) + _INTERVAL_ABOVE * largest
    cut = (table["low"] < lowest) | (table["high"] > highest)
    drawn = table.assign(
        x=value * scale,
        x_low=table["low"].clip(lower=lowest) * scale,
        x_high=table["high"].clip(upper=highest) * scale,
        text=[_text(row, metric) for row in table.assign(cut=cut, too_long=too_long).to_dict("records")],
    )
    return drawn.reset_index(drop=True)


def _text(row: dict[Any, Any], metric: str) -> str:
    if row["too_long"]:
        return f"{show(row['value'], metric)} (bar left out)"
    return f"{interval(metric, row['value'], row['low'], row['high'])} (cut)" if row["cut"] else show(row["value"], metric)


def _in_us(table: pd.DataFrame, metric: str) -> bool:
    return column(metric).unit == "ms" and bool((table["value"].abs() < 1).all())


def _axis_title(table: pd.DataFrame, metric: str) -> str:
    return f"{column(metric).title} (µs)" if _in_us(table, metric) else column(metric).heading


def _families(table: pd.DataFrame, theme: Theme) -> list[tuple[str, str, pd.DataFrame]]:
    """The rows by op family, with the family's name and colour; ``rest`` and ``(between layers)`` are grey."""
    family = [
        BETWEEN_LAYERS if between else op_family(op) if op else REST for op, between in zip(table["op_type"], table["between"], strict=True)
    ]
    present = [name for name in (*theme.families, REST, BETWEEN_LAYERS) if name in family]
    where = np.array(family, dtype=object)
    return [(name, theme.families.get(name, theme.missing), table[where == name]) for name in present]


def _error_bars(rows: pd.DataFrame, theme: Theme) -> dict[str, Any]:
    if rows["low"].isna().all():
        return {"visible": False}
    above, below = rows["x_high"] - rows["x"], rows["x"] - rows["x_low"]
    return {
        "type": "data", "symmetric": False, "array": _rounded(above.fillna(0)), "arrayminus": _rounded(below.fillna(0)),
        "color": theme.ink, "thickness": 1.2, "width": 3,
    }  # fmt: skip


def _add_values(figure: go.Figure, table: pd.DataFrame, theme: Theme) -> None:
    """The number at the end of each bar, beyond its interval."""
    end = np.maximum(table["x"].clip(lower=0), table["x_high"].fillna(0))
    figure.add_scatter(
        y=table.index.tolist(), x=_rounded(end), mode="text", text=[f" {text}" for text in table["text"]],
        textposition="middle right", textfont={"size": 11, "color": theme.ink_muted}, cliponaxis=False, hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def _lay_out(figure: go.Figure, table: pd.DataFrame, metric: str, theme: Theme) -> None:
    rows = len(table)
    plot_px = max(rows, 2) * (24 if rows <= 40 else 18)
    low = float(np.nanmin([*table["x"], *table["x_low"], 0.0]))
    high = float(np.nanmax([*table["x"], *table["x_high"], 0.0])) or 1.0
    room = 1.45 if any(text.endswith("(cut)") for text in table["text"]) else 1.16
    legend = (table["op_type"] != table["name"]).any() and sum(bool(trace.showlegend) for trace in figure.data) > 1
    figure.update_layout(
        **frame(theme, plot_px, legend=bool(legend)),
        barmode="overlay",
        xaxis={**axis(theme, _axis_title(table, metric)), "range": [low * 1.12, high * room], "tickformat": _TICK_FORMATS.get(metric)},
        yaxis={
            "tickmode": "array", "tickvals": table.index.tolist(), "ticktext": [label(name) for name in table["name"]],
            "range": [rows - 0.4, -0.6], "automargin": True, "showgrid": False, "zeroline": False, "ticklabelstandoff": 6,
        },
    )  # fmt: skip


def _rounded(values: Any) -> list[float]:
    """Values with six significant digits: enough for a picture, and half the bytes."""
    return [float(f"{value:.6g}") for value in values]
