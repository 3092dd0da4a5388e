"""Boards side by side: what one run of a model takes on each: time, energy, memory, and time to load."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprof import units
from edgeprof.analysis.align import same_model
from edgeprof.analysis.budget import process_peak
from edgeprof.analysis.labels import board_labels
from edgeprof.analysis.memory import model_peak
from edgeprof.errors import UsageError
from edgeprof.figures.boards import origin_word
from edgeprof.figures.frame import axis, frame, heading
from edgeprof.figures.labels import label
from edgeprof.figures.theme import THEMES, Theme, origin_label
from edgeprof.records.profile import Profile

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ROW_PX, _FEWEST_ROWS = 30, 3
_GAP = 0.035
_LOG_SPREAD = 30
_HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>"


@dataclass(frozen=True)
class Reading:
    """A number of one board with its 95 % interval; NaN is not measured. ``tail`` is the 95th percentile."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    tail: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class _Panel:
    title: str
    unit: str
    read: Callable[[Profile], Reading]
    show: Callable[[Reading], str]


def compare_boards(profiles: Sequence[Profile], *, theme: str = "light") -> go.Figure:
    """Dots with 95 % intervals: a row a profile of the same model, a panel a quantity: latency (p95 too), energy, peak memory, load time.

    1. A quantity that no profile has is left out and named under the title; one that a profile does not have says "not measured".
    2. Hollow dots were not measured on the board: simulated, estimated, imported. The board's name says which.
    3. An axis starts at zero, or is logarithmic where the largest is over 30 times the smallest.
    """
    if theme not in THEMES:
        raise UsageError(f"theme is {theme!r}; it can be {' or '.join(map(repr, THEMES))}.")
    same_model(profiles)
    import plotly.graph_objects as go

    colors = THEMES[theme]
    table = {panel: [panel.read(profile) for profile in profiles] for panel in _panels(profiles)}
    shown = [panel for panel, readings in table.items() if any(not math.isnan(reading.value) for reading in readings)]
    figure = go.Figure()
    for position, panel in enumerate(shown):
        _add_panel(figure, position, panel, table[panel], profiles, colors)
    note = " · ".join(f"{panel.title.lower()}: not measured" for panel in table if panel not in shown)
    name = label(profiles[0].context.model_name, 80)
    figure.update_layout(title=heading("Boards side by side", "<br>".join(filter(None, [name, note])), colors), meta={"note": note})
    return _lay_out(figure, shown, table, profiles, colors)


def _panels(profiles: Sequence[Profile]) -> tuple[_Panel, ...]:
    whole = any(not math.isnan(process_peak(profile)[0]) for profile in profiles)
    memory = _Panel("Peak memory", "B", _process if whole else _model, lambda r: units.size(r.value))
    return (
        _Panel("Latency", "ms", _latency, lambda r: units.latency_interval(r.value, r.low, r.high)),
        _Panel("Energy", "mJ", _energy, lambda r: units.energy_interval(r.value, r.low, r.high)),
        memory,
        _Panel("Load", "ms", _load, lambda r: units.latency(r.value)),
    )


def _latency(profile: Profile) -> Reading:
    end = profile.context.latency
    median, low, high, p95 = map(_number, (end.median_ms, end.low_ms, end.high_ms, end.p95_ms))
    return Reading(median, low, high, p95, f"median of {end.runs} plain runs")


def _energy(profile: Profile) -> Reading:
    told = profile.context.energy
    value, low, high = map(_number, (told.above_idle_mj, told.above_idle_low_mj, told.above_idle_high_mj))
    return Reading(
        value, low, high, note=f"one run, above idle; {units.energy(told.inference_mj)} in all, {told.scope or 'scope not known'}"
    )


def _process(profile: Profile) -> Reading:
    value, phase = process_peak(profile)
    return Reading(value, note=f"of the process: resident, in phase {phase}")


def _model(profile: Profile) -> Reading:
    peak = model_peak(profile)
    return Reading() if peak is None else Reading(float(peak.bytes), note=f"of the model: activations and workspace, {peak.basis}")


def _load(profile: Profile) -> Reading:
    return Reading(_number(profile.context.load_ms), note="reading and optimising the model")


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _short(panel: _Panel, reading: Reading) -> str:
    """The number alone, to stand beside its dot."""
    return panel.show(Reading(reading.value))


def _add_panel(figure: go.Figure, position: int, panel: _Panel, readings: list[Reading], profiles: Sequence[Profile], theme: Theme) -> None:
    """Dots, 95th percentiles and what was not measured, on the axes of the panel."""
    axes = {"xaxis": f"x{position + 1 if position else ''}", "yaxis": "y"}
    first = position == 0
    rows = [(row, reading) for row, reading in enumerate(readings) if not math.isnan(reading.value)]
    names = board_labels(profiles)
    for hollow in (False, True):
        own = [(row, reading) for row, reading in rows if (profiles[row].basis != "measured") == hollow]
        if not own:
            continue
        marker = {"size": 9, "color": theme.bar, "symbol": "circle-open" if hollow else "circle", "line": {"width": 2, "color": theme.bar}}
        figure.add_scatter(
            **axes, x=_rounded(r.value for _, r in own), y=[row for row, _ in own], mode="markers", marker=marker,
            name="not measured on the board" if hollow else "measured, 95 % interval", legendgroup=str(hollow), showlegend=first,
            error_x=_interval([r for _, r in own], theme), hovertemplate=_HOVER,
            customdata=[_told(panel, names[row], profiles[row], r) for row, r in own],
        )  # fmt: skip
    tails = [(row, reading) for row, reading in rows if not math.isnan(reading.tail)]
    if tails:
        figure.add_scatter(
            **axes, x=_rounded(r.tail for _, r in tails), y=[row for row, _ in tails], mode="markers", name="p95",
            marker={"size": 14, "color": theme.warning, "symbol": "line-ns-open", "line": {"width": 2, "color": theme.warning}},
            hovertemplate=_HOVER, customdata=[[label(names[row], 80), f"p95 {units.latency(r.tail)}"] for row, r in tails],
        )  # fmt: skip
    ends = [max(x for x in (r.value, r.high, r.tail) if not math.isnan(x)) for _, r in rows]
    _add_words(figure, axes, [(row, end, _short(panel, r)) for (row, r), end in zip(rows, ends, strict=True)], theme)
    start = min(r.value for _, r in rows) if _is_log(readings) else 0.0
    missing = [(row, start, "not measured") for row, reading in enumerate(readings) if math.isnan(reading.value)]
    _add_words(figure, axes, missing, theme)


def _add_words(figure: go.Figure, axes: dict[str, str], words: list[tuple[int, float, str]], theme: Theme) -> None:
    if words:
        figure.add_scatter(
            **axes, x=_rounded(x for _, x, _ in words), y=[row for row, _, _ in words], mode="text",
            text=[f"   {text}" for *_, text in words], textposition="middle right", textfont={"size": 11, "color": theme.ink_muted},
            cliponaxis=False, hoverinfo="skip", showlegend=False,
        )  # fmt: skip


def _told(panel: _Panel, name: str, profile: Profile, reading: Reading) -> list[str]:
    lines = [f"{panel.title}: {panel.show(reading)}", html.escape(reading.note, quote=False), origin_label(profile)]
    return [label(name, 80), "<br>".join(line for line in lines if line)]


def _interval(readings: Sequence[Reading], theme: Theme) -> dict[str, Any]:
    """Error bars; none where there is no interval."""
    below, above = ([None if math.isnan(d) else float(f"{d:.6g}") for d in ends] for ends in (
        [r.value - r.low for r in readings], [r.high - r.value for r in readings]))  # fmt: skip
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": theme.ink, "thickness": 1.4, "width": 5}


def _is_log(readings: Sequence[Reading]) -> bool:
    values = [reading.value for reading in readings if not math.isnan(reading.value)]
    return min(values) > 0 and max(values) > _LOG_SPREAD * min(values)


def _lay_out(figure: go.Figure, shown: list[_Panel], table: dict[_Panel, list[Reading]], profiles: Sequence[Profile], theme: Theme) -> Any:
    rows = len(profiles)
    width = (1 - _GAP * (len(shown) - 1)) / max(1, len(shown))
    figure.update_layout(**frame(theme, max(rows, _FEWEST_ROWS) * _ROW_PX, legend=bool(shown)))
    for position, panel in enumerate(shown):
        start = position * (width + _GAP)
        figure.update_layout({f"xaxis{position + 1 if position else ''}": {
            **_axis(theme, f"{panel.title} ({panel.unit})"), "domain": [start, start + width], "nticks": 4, "tickangle": 0,
            **_range(table[panel]), "tickformat": "~s" if panel.unit == "B" else "~g", "showline": False,
        }})  # fmt: skip
    names = [label(name, 60) for name in board_labels(profiles)]
    words = [f"{name} ({word})" if word else name for name, word in zip(names, map(origin_word, profiles), strict=True)]
    figure.update_layout(yaxis={
        "tickmode": "array", "tickvals": list(range(rows)), "ticktext": words, "range": [rows - 0.4, -0.6], "automargin": True,
        "showgrid": True, "gridcolor": theme.line, "zeroline": False, "ticklabelstandoff": 6,
    })  # fmt: skip
    return figure


def _axis(theme: Theme, title: str) -> dict[str, Any]:
    made = axis(theme, title)
    made["title"]["font"]["size"] = 12  # four stand side by side on a narrow screen
    return made


def _range(readings: Sequence[Reading]) -> dict[str, Any]:
    """The axis with room for the words beside the dots."""
    ends = [x for r in readings for x in (r.value, r.high, r.tail) if not math.isnan(x)]
    if not _is_log(readings):
        return {"range": [0, max(*ends, 0) * 1.9 or 1], "zeroline": True}
    low, high = math.log10(min(r.value for r in readings if not math.isnan(r.value))), math.log10(max(ends))
    return {"type": "log", "range": [low - 0.1 * (high - low), high + 0.75 * (high - low)]}


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
