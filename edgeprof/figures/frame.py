"""What every plotly figure has around it: fonts, title, margins, legend and axes in a theme's colours."""

from __future__ import annotations

from typing import Any

from edgeprof.figures.theme import Theme

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_TOP_PX, _AXIS_PX, _LEGEND_PX = 84, 52, 34


def frame(theme: Theme, plot_px: int, *, legend: bool) -> dict[str, Any]:
    """Layout of a figure whose plot is ``plot_px`` high; the legend stands below the axis title and never over the plot."""
    bottom = _AXIS_PX + (_LEGEND_PX if legend else 0)
    return {
        "template": "none", "height": _TOP_PX + plot_px + bottom, "margin": {"l": 8, "r": 24, "t": _TOP_PX, "b": bottom},
        "paper_bgcolor": theme.surface, "plot_bgcolor": theme.surface, "showlegend": legend,
        "font": {"color": theme.ink, "size": 12, "family": FONT},
        "hoverlabel": {"bgcolor": theme.raised, "bordercolor": theme.line, "font": {"family": FONT, "color": theme.ink}, "align": "left"},
        "legend": {
            "orientation": "h", "x": 0, "xanchor": "left", "y": -_AXIS_PX / plot_px, "yanchor": "top",
            "font": {"color": theme.ink_muted}, "itemsizing": "constant",
        },
    }  # fmt: skip


def heading(title: str, subtitle: str, theme: Theme) -> dict[str, Any]:
    """A title on the left with what the numbers are of below it; both are shown as plotly's HTML."""
    return {
        "text": f"<b>{title}</b><br><span style='font-size:12px;color:{theme.ink_muted}'>{subtitle}</span>",
        "x": 0, "xref": "container", "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top",
        "pad": {"t": 14, "l": 12}, "font": {"size": 16},
    }  # fmt: skip


def axis(theme: Theme, title: str) -> dict[str, Any]:
    """An axis with a quiet grid."""
    return {
        "title": {"text": title, "font": {"color": theme.ink_muted}, "standoff": 10}, "tickfont": {"color": theme.ink_muted},
        "gridcolor": theme.line, "zerolinecolor": theme.line, "linecolor": theme.line,
    }  # fmt: skip
