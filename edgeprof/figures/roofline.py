"""The roofline: achieved GFLOP/s of each layer over its arithmetic intensity, under the ceilings."""

from __future__ import annotations

import html
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from edgeprof.analysis.names import visible
from edgeprof.analysis.roofline import Roofline, roofline_points
from edgeprof.errors import UsageError
from edgeprof.figures.frame import axis, frame, heading
from edgeprof.figures.labels import label, subtitle, wrapped
from edgeprof.figures.numbers import show
from edgeprof.figures.theme import THEMES, Theme, op_family
from edgeprof.records.peaks import Peaks
from edgeprof.records.profile import Profile
from edgeprof.units import significant

if TYPE_CHECKING:
    import plotly.graph_objects as go

_PLOT_PX = 420
_LINE, _LINE_PX = 96, 20
"""Characters of a line of notes under the title, and how high it is."""
_SMALLEST_PX, _LARGEST_PX = 7.0, 36.0
_HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{y:.3~g} GFLOP/s at %{x:.3~g} FLOP/B<br>%{customdata[2]}<extra></extra>"
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "star",
    "cross",
    "x",
    "pentagon",
    "hexagon",
    "triangle-down",
    "hourglass",
    "bowtie",
)
"""Shapes of the families of op types, in the order of `Theme.families`."""


def roofline(profile: Profile, *, peaks: Peaks | None = None, theme: str = "light") -> go.Figure:
    """Log-log roofline: a point a layer, its area the share of the time, its colour and shape the family of its op_type.

    1. With ``peaks`` (`edgeprof.board_peaks`) there is a ceiling for each precision that layers have. Without, the ceilings are the highest
       of this profile, and the line is dashed and says so: that layers lie below it proves nothing about the board.
    2. A layer with no MACs or no latency is no point; a line under the title counts them.
    3. Points of an estimated profile are hollow.
    """
    if theme not in THEMES:
        raise UsageError(f"theme is {theme!r}; it can be {' or '.join(map(repr, THEMES))}.")
    import plotly.graph_objects as go

    colors, roof = THEMES[theme], roofline_points(profile, peaks)
    figure = go.Figure()
    _add_ceilings(figure, roof, colors)
    _add_points(figure, roof.points, colors, hollow=profile.basis == "estimated")
    note = " ".join(filter(None, [roof.ceiling_note if len(roof.points) else "", left_out_line(roof)]))
    lines = [line for text in roof.notes for line in textwrap.wrap(visible(text), _LINE)]
    figure.update_layout(
        **frame(colors, _PLOT_PX, legend=bool(len(roof.points))),
        title=heading("Roofline", "<br>".join([subtitle(profile), note, *(html.escape(line, quote=False) for line in lines)]), colors),
        meta={"note": " ".join([note, *(html.escape(visible(text), quote=False) for text in roof.notes)])},
        xaxis=_log_axis(colors, "Arithmetic intensity (FLOP/B)", _x_range(roof)),
        yaxis=_log_axis(colors, "Achieved (GFLOP/s)", _y_range(roof)),
    )
    figure.update_layout(height=figure.layout.height + _LINE_PX * len(lines), margin_t=figure.layout.margin.t + _LINE_PX * len(lines))
    if roof.points.empty:
        figure.add_annotation(text="No layer has both MACs and a latency", showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    return figure


def _add_ceilings(figure: go.Figure, roof: Roofline, theme: Theme) -> None:
    if not np.isfinite([roof.peak_gflops, roof.memory_gb_s]).all():
        return
    left, right = _x_range(roof)
    of = "board" if roof.source == "board" else "highest here"
    text = {"showarrow": False, "font": {"size": 11, "color": theme.ink_muted}}
    for ceiling in roof.shown:
        x = [left, ceiling.value / roof.memory_gb_s, right]
        line = {"color": theme.ink_muted, "width": 1.6, "dash": "solid" if roof.source == "board" else "dash"}
        y = [min(ceiling.value, roof.memory_gb_s * value) for value in x]
        figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)
        which = f"{of}, {ceiling.precision}" if ceiling.precision else of
        peak = f"{which}: {significant(ceiling.value, 3)} GFLOP/s"
        figure.add_annotation(x=1, xref="paper", y=np.log10(ceiling.value), text=peak, xanchor="right", yanchor="bottom", yshift=12, **text)
    x_low = max(left, _y_range(roof)[0] / roof.memory_gb_s)
    x_low *= (roof.ridge / x_low) ** 0.12
    slope = f"{of}: {significant(roof.memory_gb_s, 3)} GB/s"
    figure.add_annotation(
        x=np.log10(x_low), y=np.log10(x_low * roof.memory_gb_s), text=slope, xanchor="left", yanchor="top", xshift=10, **text
    )


def _add_points(figure: go.Figure, points: pd.DataFrame, theme: Theme, *, hollow: bool) -> None:
    family = points["op_type"].map(op_family)
    largest = points["share"].max()
    for symbol, (name, color) in zip(SYMBOLS, theme.families.items(), strict=True):
        rows = points[family == name]
        if rows.empty:
            continue
        area = (rows["share"] / largest).clip(0, 1).fillna(0)
        size = np.maximum(_SMALLEST_PX, _LARGEST_PX * np.sqrt(area))
        figure.add_scatter(
            x=_short(rows["arithmetic_intensity"]), y=_short(rows["gflops"]), mode="markers", name=name, hovertemplate=_HOVER,
            customdata=[_hover(row) for row in rows.to_dict("records")],
            marker={
                "color": color, "size": [round(float(px), 1) for px in size], "symbol": f"{symbol}-open" if hollow else symbol,
                "opacity": 0.78, "line": {"width": 1.5 if hollow else 1, "color": color if hollow else theme.surface},
            },
        )  # fmt: skip


def _hover(row: dict[Any, Any]) -> list[str]:
    kind = ", ".join(filter(None, [label(row["op_type"]), label(row["precision"])]))
    time = f"{show(row['latency_ms'], 'latency_ms')} ({show(row['share'], 'share')} of the time), {show(row['macs'], 'macs')} MACs"
    return [wrapped(row["name"]), kind, time]


def left_out_line(roof: Roofline) -> str:
    """Which layers are no points, by reason; empty when all are."""
    if not roof.left_out:
        return ""
    reasons = ", ".join(f"{reason}: {n}" for reason, n in roof.left_out.items())
    total = sum(roof.left_out.values())
    return f"{total} layer{'s' * (total != 1)} not shown ({reasons})."


def _x_range(roof: Roofline) -> tuple[float, float]:
    x = roof.points["arithmetic_intensity"]
    low, high = (0.1, 100.0) if x.empty else (float(x.min()), float(x.max()))
    if np.isfinite(roof.ridge):
        low, high = min(low, roof.ridge), max(high, roof.ridge)
    return low / 2, high * 2.5


def _y_range(roof: Roofline) -> tuple[float, float]:
    y = roof.points["gflops"]
    low, high = (0.1, 100.0) if y.empty else (float(y.min()), float(y.max()))
    return low / 2.5, (max(high, roof.peak_gflops) if np.isfinite(roof.peak_gflops) else high) * 2


def _log_axis(theme: Theme, title: str, ends: tuple[float, float]) -> dict[str, Any]:
    return {
        **axis(theme, title), "type": "log", "range": [round(float(np.log10(end)), 4) for end in ends],
        "dtick": "D2" if ends[1] / ends[0] < 200 else 1, "exponentformat": "none", "automargin": True, "zeroline": False,
    }  # fmt: skip


def _short(values: pd.Series[float]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
