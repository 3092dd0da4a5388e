"""What decisions cost layer by layer, beside what they save; and one tensor in float and in 8 bits."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any, Literal

from edgeprof import units
from edgeprof.errors import UsageError
from edgeprof.figures.frame import axis, frame, heading
from edgeprof.figures.labels import label, wrapped
from edgeprof.figures.theme import THEMES, Theme, op_family

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from edgeprof.sensitivities import Sensitivity, TensorError

Order = Literal["loss", "saved_ms", "saved_bytes", "model"]

MOST_SHOWN_DB = 90.0
"""Markers stand no further right; the hover box has the number."""
_ROW_PX, _GAP = 24, 0.04
_HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>"
_ALL = "(all)"
_MODES = {
    "only": ("this layer alone", "circle", "bar"),
    "weights": ("its weights alone", "triangle-left", "accent"),
    "activations": ("its activations alone", "triangle-right", "attention"),
    "without": ("all layers but this one", "line-ns-open", "ink_muted"),
}  # fmt: skip


def sensitivity_bars(
    found: Sensitivity, decision: str | None = None, *, order: Order = "loss", top: int | None = 40, theme: str = "light"
) -> go.Figure:
    """A row a layer: the loss of a decision with its interval, the SQNR of each mode, and what it saves.

    1. ``order``: what costs or saves most on top, or ``model``: as the layers stand in the model. ``top`` keeps that many.
    2. Without labels there is no panel of the loss: SQNR says it all. The line across is the model in which all layers have the decision.
    3. Savings that are estimated are hatched. Where no time is known, bytes of the file stand in its place.

    Args:
        found: of `edgeprof.sensitivity`.
        decision: one that was tried; None is the first.
        order: see above.
        top: rows to keep at most.
        theme: ``light`` or ``dark``.
    """
    if theme not in THEMES:
        raise UsageError(f"theme is {theme!r}; it can be {' or '.join(map(repr, THEMES))}.")
    if order not in ("loss", "saved_ms", "saved_bytes", "model"):
        raise UsageError(f"order is {order!r}; it can be 'loss', 'saved_ms', 'saved_bytes' or 'model'.")
    import plotly.graph_objects as go

    colors = THEMES[theme]
    decision = decision or (found.decisions[0] if found.decisions else "")
    rows = _rows(found, decision, order)
    notes = [f"{len(rows) - top} more layers left out"] if top is not None and len(rows) > top else []
    rows = rows[:top]
    if found.metric != "sqnr_db" and rows and all(row["loss_low"] <= 0 <= row["loss_high"] for row in rows):
        notes.append("no loss can be told from 0, SQNR ranks them" if order == "loss" else "no loss can be told from 0")
    note = " · ".join(notes)
    figure = go.Figure()
    panels = _panels(found, rows)
    for position, panel in enumerate(panels):
        {"loss": _add_loss, "sqnr": _add_sqnr}.get(panel, _add_saved)(figure, position, panel, found, decision, rows, colors)
    told = [label(found.model_name, 60), f"{found.samples} samples", html.escape(found.board), note]
    told.append(f"{found.left} trials left" if found.left else "")
    figure.update_layout(title=heading(f"Sensitivity to {label(decision)}", " · ".join(filter(None, told)), colors), meta={"note": note})
    return _lay_out(figure, panels, found, rows, colors)


def _rows(found: Sensitivity, decision: str, order: Order) -> list[dict[Any, Any]]:
    ranked = found.ranking("loss" if order == "model" else order, decision) if decision else found.table
    return (ranked.sort_index() if order == "model" else ranked).to_dict("records")


def _panels(found: Sensitivity, rows: list[dict[Any, Any]]) -> list[str]:
    loss = ["loss"] * (found.metric != "sqnr_db")
    timed = any(not math.isnan(row["saved_ms"]) for row in rows)
    return [*loss, "sqnr", "saved_ms" if timed else "saved_bytes"]


def _add_loss(figure: Any, position: int, _: str, found: Sensitivity, __: str, rows: list[dict[Any, Any]], theme: Theme) -> None:
    scale = 100 if found.metric == "top1" else 1
    values = [tuple(row[f"loss{end}"] * scale for end in ("", "_low", "_high")) for row in rows]
    figure.add_scatter(
        **_axes(position), x=[_short(value) for value, *_ in values], y=list(range(len(rows))), mode="markers", showlegend=False,
        marker={"size": 9, "color": theme.bar}, error_x=_error_bars(values, theme), hovertemplate=_HOVER,
        customdata=[[wrapped(row["layer"]), f"Loss of {html.escape(found.metric)}: {found.show_loss(row)}"] for row in rows],
    )  # fmt: skip


def _add_saved(figure: Any, position: int, panel: str, found: Sensitivity, __: str, rows: list[dict[Any, Any]], theme: Theme) -> None:
    del found
    if panel == "saved_bytes":
        values = [(row["saved_bytes"], math.nan, math.nan) for row in rows]
        words = [f"Saves {units.size(row['saved_bytes'])} of the file" for row in rows]
    else:
        scale = 1e3 if _in_us(rows) else 1.0
        values = [tuple(row[name] * scale for name in ("saved_ms", "saved_low_ms", "saved_high_ms")) for row in rows]
        words = [f"Saves {units.latency(row['saved_ms'])} ({row['saved_basis'] or 'not known'})" for row in rows]
    _add_bars(figure, position, rows, values, theme, words)


def _add_bars(figure: Any, position: int, rows: list[dict[Any, Any]], values: list[Any], theme: Theme, words: list[str]) -> None:
    hatched = {"shape": "/", "solidity": 0.35, "fgcolor": theme.surface, "fillmode": "overlay", "size": 6}
    for estimated in (False, True):
        own = [n for n, row in enumerate(rows) if (row["saved_basis"] == "estimated") == estimated]
        if own:
            figure.add_bar(
                **_axes(position), y=own, x=[_short(values[n][0]) for n in own], orientation="h", width=0.7, showlegend=False,
                marker={
                    "color": [theme.families[op_family(rows[n]["op_type"])] for n in own], "line": {"width": 0},
                    **({"pattern": hatched} if estimated else {}),
                },
                error_x=_error_bars([values[n] for n in own], theme), hovertemplate=_HOVER,
                customdata=[[wrapped(rows[n]["layer"]), words[n]] for n in own],
            )  # fmt: skip


def _error_bars(values: list[Any], theme: Theme) -> dict[str, Any]:
    return {
        "type": "data", "symmetric": False, "array": [_short(high - value) for value, _, high in values],
        "arrayminus": [_short(value - low) for value, low, _ in values], "color": theme.ink, "thickness": 1.2, "width": 3,
    }  # fmt: skip


def _short(value: float) -> float | None:
    """Six significant digits are enough for a picture; None is not drawn."""
    return None if math.isnan(value) else float(f"{value:.6g}")


def _add_sqnr(figure: Any, position: int, _: str, found: Sensitivity, decision: str, rows: list[dict[Any, Any]], theme: Theme) -> None:
    place = {row["layer"]: number for number, row in enumerate(rows)}
    table = found.table[(found.table["decision"] == decision) & (found.table["status"] == "done")]
    for mode, (title, symbol, color) in _MODES.items():
        own = [row for row in table[table["mode"] == mode].to_dict("records") if row["layer"] in place and not math.isnan(row["sqnr_db"])]
        if own:
            figure.add_scatter(
                **_axes(position), x=[float(f"{min(row['sqnr_db'], MOST_SHOWN_DB):.6g}") for row in own],
                y=[place[row["layer"]] for row in own], mode="markers", name=title, hovertemplate=_HOVER,
                marker={
                    "symbol": symbol, "size": 11 if mode == "without" else 9, "color": _ink(theme, color),
                    "line": {"width": 2 if mode == "without" else 0, "color": _ink(theme, color)},
                },
                customdata=[[wrapped(row["layer"]), f"{title}: {_db(row)}"] for row in own],
            )  # fmt: skip
    whole = table[(table["mode"] == "all") & table["sqnr_db"].notna()]
    if len(whole):
        at = min(float(whole["sqnr_db"].iloc[0]), MOST_SHOWN_DB)
        figure.add_shape(
            type="line", xref=_axes(position)["xaxis"], yref="y", x0=at, x1=at, y0=-0.6, y1=len(rows) - 0.4, layer="below",
            line={"color": theme.warning, "width": 1.5, "dash": "dot"},
        )  # fmt: skip
        figure.add_scatter(
            **_axes(position), x=[at], y=[0], mode="lines", name="all layers", line={"color": theme.warning, "width": 1.5, "dash": "dot"},
            hoverinfo="skip",
        )  # fmt: skip


def _lay_out(figure: Any, panels: list[str], found: Sensitivity, rows: list[dict[Any, Any]], theme: Theme) -> Any:
    n = max(1, len(rows))
    width = (1 - _GAP * (len(panels) - 1)) / len(panels)
    figure.update_layout(**frame(theme, max(n, 3) * _ROW_PX, legend=True), barmode="overlay")
    for position, panel in enumerate(panels):
        start = position * (width + _GAP)
        made = axis(theme, _title(panel, found, rows))
        made["title"]["font"]["size"] = 12
        name = f"xaxis{position + 1 if position else ''}"
        figure.update_layout({name: {**made, "domain": [start, start + width], "nticks": 5, "tickangle": 0, "showline": False}})
        figure.update_layout({name: {"zeroline": panel != "sqnr", "tickformat": "~s" if panel == "saved_bytes" else "~g"}})
    names = [label(row["layer"]) for row in rows]
    return figure.update_layout(yaxis={
        "tickmode": "array", "tickvals": list(range(len(rows))), "ticktext": names, "range": [n - 0.4, -0.6], "automargin": True,
        "showgrid": True, "gridcolor": theme.line, "zeroline": False, "ticklabelstandoff": 6,
    })  # fmt: skip


def _title(panel: str, found: Sensitivity, rows: list[dict[Any, Any]]) -> str:
    if panel == "loss":
        return f"Loss of {label(found.metric, 24)}{'<br>(points)' if found.metric == 'top1' else ''}"
    if panel == "sqnr":
        return "SQNR of the outputs<br>(dB), less is worse"
    if panel == "saved_bytes":
        return "Saves<br>(B of the file)"
    estimated = any(row["saved_basis"] == "estimated" for row in rows)
    return f"Saves<br>({'µs' if _in_us(rows) else 'ms'}{', estimated' if estimated else ''})"


def _in_us(rows: list[dict[Any, Any]]) -> bool:
    return all(math.isnan(row["saved_ms"]) or abs(row["saved_ms"]) < 1 for row in rows)


def _db(row: dict[Any, Any]) -> str:
    if row["sqnr_db"] >= 200:
        return "no difference"
    ends = "" if math.isnan(row["sqnr_low_db"]) else f" [{row['sqnr_low_db']:.1f}, {row['sqnr_high_db']:.1f}]"
    return f"{row['sqnr_db']:.1f} dB{ends}"


def _axes(position: int) -> dict[str, str]:
    return {"xaxis": f"x{position + 1 if position else ''}", "yaxis": "y"}


def tensor_histogram(found: TensorError, *, log: bool = True, theme: str = "light") -> go.Figure:
    """Histograms of one tensor in float and in 8 bits over the same bins, with the ends of what 8 bits hold.

    Args:
        found: of `edgeprof.tensor_error`.
        log: whether counts are on a logarithmic axis, on which few outliers are seen.
        theme: ``light`` or ``dark``.
    """
    if theme not in THEMES:
        raise UsageError(f"theme is {theme!r}; it can be {' or '.join(map(repr, THEMES))}.")
    import plotly.graph_objects as go

    colors = THEMES[theme]
    edges = [float(f"{edge:.6g}") for edge in found.edges.tolist()]
    figure = go.Figure()
    for name, counts, color, fill in (
        ("float", found.float_counts, colors.bar, "tozeroy"), ("quantized", found.quantized_counts, colors.accent, None),
    ):  # fmt: skip
        values = [None if log and count == 0 else count for count in counts.tolist()]
        words = [[f"{low:.4g} to {high:.4g}", f"{count:,}"] for low, high, count in zip(edges, edges[1:], counts.tolist(), strict=False)]
        figure.add_scatter(
            x=edges, y=[*values, values[-1]], mode="lines", line={"shape": "hv", "color": color, "width": 2}, name=name,
            fill=None if log else fill, customdata=[*words, words[-1]],
            hovertemplate=f"<b>{name}</b><br>%{{customdata[0]}}<br>%{{customdata[1]}} values<extra></extra>",
        )  # fmt: skip
    for end in (found.low, found.high):
        if not math.isnan(end) and edges[0] <= end <= edges[-1]:
            figure.add_vline(x=end, line={"color": colors.warning, "width": 1.5, "dash": "dot"})
    facts = [html.escape(fact, quote=False) for fact in found.facts()]
    where = f"{found.part} of {label(found.layer, 60)}, {'whole model' if found.mode == 'all' else 'this layer alone'} in int8"
    figure.update_layout(title=heading(label(found.tensor, 60), f"{where}<br>{' · '.join(facts[:5])}", colors))
    figure.update_layout(**frame(colors, 320, legend=True))
    figure.update_layout(
        xaxis={**axis(colors, "Value"), "zeroline": False},
        yaxis={
            **axis(colors, "Values"),
            "automargin": True,
            "type": "log" if log else "linear",
            "tickformat": "~s",
            "dtick": 1 if log else None,
        },
    )
    return figure


def _ink(theme: Theme, name: str) -> str:
    return theme.families.get(name) or str(getattr(theme, name))
