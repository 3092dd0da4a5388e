"""The timeline as a PNG picture, for saved and exported notebooks: the whole session, beneath it one run or the window of the view."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.figures.numbers import ellipsis
from edgeprof.figures.pen import WIDTH, Pen, draw_header, ink_on
from edgeprof.figures.theme import LIGHT, Theme, rgb
from edgeprof.figures.timeline import HAS_LAYERS, INSTRUMENTED, LAYERS_SENT, OUTLIER, PHASE_COLORS, Session, show
from edgeprof.figures.view import ViewData
from edgeprof.records.profile import Profile

_TOP, _AXIS, _GAP = 62, 30, 8
_PHASE, _RUN, _LAYER, _LANE = 20, 11, 24, 52
_LEFT, _RIGHT = 150, WIDTH - 12
_MOST_LANES = 6
_POINTS = 60_000


@dataclass(frozen=True)
class _Panel:
    """A stretch of time on the picture; ticks count from ``origin_ms``."""

    pen: Pen
    whole: ViewData
    part: ViewData
    start_ms: float
    end_ms: float
    origin_ms: float

    def x(self, ms: Any) -> Any:
        """Place of a time, kept close to the panel."""
        at = _LEFT + (np.asarray(ms, float) - self.start_ms) / (self.end_ms - self.start_ms) * (_RIGHT - _LEFT)
        return np.clip(at, _LEFT, _RIGHT)

    def seen(self, start: NDArray[Any], end: NDArray[Any]) -> NDArray[np.int64]:
        """Positions of what lies in the panel."""
        return np.flatnonzero((end >= self.start_ms) & (start <= self.end_ms))


def draw(
    profile: Profile,
    *,
    session: Session | None = None,
    window: Sequence[float] = (),
    selection: Sequence[str] = (),
    theme: Theme = LIGHT,
) -> bytes:
    """PNG of the session; ``window`` (start and end in ms) is shown beneath it, or a typical run where that is empty or everything.

    ``session`` is ``Session(profile)`` where that is there already.
    """
    session = session or Session(profile)
    view = session.whole(most_points=_POINTS)
    if session.extent is None:
        pen = Pen(theme, _TOP + 40)
        draw_header(pen, view)
        pen.text(12, _TOP + 8, "No phases, no runs and no readings in this profile.", theme.ink_muted)
        return pen.png()
    start, end = _not_empty(*session.extent)
    lanes = view.meta["lanes"][:_MOST_LANES]
    below = _below(session, view, window)
    keys = _keys(view, lanes, theme)
    notes = list(_notes(view, lanes))
    height = _TOP + _height(lanes) + (0 if below is None else 34 + _height(_power(lanes), phases=False)) + 18 * len([*keys, *notes]) + 16
    pen = Pen(theme, height)
    draw_header(pen, view)
    chosen = {view.meta["names"].index(name) for name in selection if name in view.meta["names"]}
    bottom = _draw_panel(_Panel(pen, view, view, start, end, 0.0), _TOP, lanes, chosen)
    if below is not None:
        title, panel_start, panel_end, origin = below
        pen.text(12, bottom + 18, title, theme.ink, 13, bold=True)
        part = session.detail(panel_start, panel_end, most_points=_POINTS)
        bottom = _draw_panel(_Panel(pen, view, part, panel_start, panel_end, origin), bottom + 34, _power(lanes), chosen, phases=False)
    for row, (heading, entries) in enumerate(keys):
        _draw_key(pen, bottom + 16 + 18 * row, heading, entries)
    for row, note in enumerate(notes):
        pen.text(12, bottom + 16 + 18 * (len(keys) + row), note, theme.ink_muted, 11)
    return pen.png()


def _not_empty(start: float, end: float) -> tuple[float, float]:
    return (start, end) if end > start else (start - 0.5, end + 0.5)


def _power(lanes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [lane for lane in lanes if lane["id"] == "power"]


def _height(lanes: Sequence[dict[str, Any]], *, phases: bool = True) -> int:
    rows = _PHASE + _GAP if phases else 0
    return _AXIS + rows + 2 * _RUN + _GAP + _LAYER + _GAP + len(lanes) * (_LANE + _GAP)


def _below(session: Session, view: ViewData, window: Sequence[float]) -> tuple[str, float, float, float] | None:
    """Title, start, end and origin of the lower panel; None when there is nothing to show."""
    extent = session.extent or [0.0, 0.0]
    if len(window) == 2 and (window[0] > extent[0] or window[1] < extent[1]):
        start, end = _not_empty(float(window[0]), float(window[1]))
        return f"{start / 1000:.6g} s to {end / 1000:.6g} s", start, end, start
    i = view.meta["typical_run"]
    if i is None:
        return None
    start, length = float(view.array("run_start")[i]), max(float(view.array("run_ms")[i]), 1e-4)
    kind = "instrumented" if view.array("run_flags")[i] & INSTRUMENTED else "plain"
    title = f"Run {int(view.array('run_number')[i])}, {kind}, {units.latency(length)}"
    return title, start - length * 0.02, start + length * 1.02, start


def _draw_panel(panel: _Panel, top: float, lanes: Sequence[dict[str, Any]], chosen: set[int], *, phases: bool = True) -> float:
    """Axis and lanes from ``top`` on; returns where they end."""
    bottom = top + _height(lanes, phases=phases)
    _draw_axis(panel, top, bottom)
    y = top + _AXIS
    if phases:
        _label(panel, y, "Phases")
        _draw_phases(panel, y)
        y += _PHASE + _GAP
    _label(panel, y, "Runs")
    for row, kind in enumerate(("plain", "instrumented")):
        panel.pen.text(_LEFT - 8, y + (row + 0.5) * _RUN, kind, panel.pen.theme.ink_muted, 9, anchor="rm")
    _draw_runs(panel, y)
    y += 2 * _RUN + _GAP
    _label(panel, y, "Layers")
    _draw_layers(panel, y, chosen)
    y += _LAYER + _GAP
    for lane in lanes:
        _label(panel, y, lane["title"])
        _draw_lane(panel, y, lane)
        y += _LANE + _GAP
    return bottom


def _label(panel: _Panel, y: float, text: str) -> None:
    panel.pen.box(12, y - _GAP / 2, _RIGHT - 12, 0.7, panel.pen.theme.line)
    panel.pen.text(12, y + 8, text, panel.pen.theme.ink, 11, bold=True)


def _draw_axis(panel: _Panel, top: float, bottom: float) -> None:
    pen = panel.pen
    step = _round_step((panel.end_ms - panel.start_ms) / 9)
    first = math.ceil((panel.start_ms - panel.origin_ms) / step)
    reach = max(abs(panel.start_ms - panel.origin_ms), abs(panel.end_ms - panel.origin_ms))
    scale, unit = (1e-3, "s") if reach >= 1000 else (1.0, "ms") if reach >= 1 else (1e3, "µs")
    decimals = max(0, math.ceil(-math.log10(step * scale) - 1e-9))
    k = first
    while panel.origin_ms + k * step <= panel.end_ms:
        x = float(panel.x(panel.origin_ms + k * step))
        pen.box(x, top + _AXIS - 8, 0.7, bottom - top - _AXIS, pen.theme.line)
        text = f"{k * step * scale:.{decimals}f} {unit}"
        half = pen.width(text, 10) / 2
        pen.text(min(max(x, _LEFT + half), _RIGHT - half), top + 12, text, pen.theme.ink_muted, 10, anchor="mm")
        k += 1


def _round_step(least: float) -> float:
    if least > 20e3:
        return next(
            (step for step in (30e3, 60e3, 120e3, 300e3, 600e3, 1200e3, 1800e3) if step >= least), math.ceil(least / 3600e3) * 3600e3
        )
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= least * (1 - 1e-9))


def _draw_phases(panel: _Panel, y: float) -> None:
    pen, view = panel.pen, panel.whole
    colors = PHASE_COLORS[pen.theme.name]
    start, end, phase = (view.array(f"win_{name}") for name in ("start", "end", "phase"))
    seen = panel.seen(start, end)
    room = [pen.width(name, 10) + 6 for name in view.meta["phases"]]
    for i, x0, x1 in zip(seen, panel.x(start[seen]).tolist(), panel.x(end[seen]).tolist(), strict=True):
        name = view.meta["phases"][phase[i]]
        pen.box(x0, y, max(0.7, x1 - x0 - (1 if x1 - x0 > 3 else 0)), _PHASE - 2, colors.get(name, pen.theme.line))
        if view.meta["notes"][view.array("win_note")[i]] == "throttled":
            pen.box(x0, y, max(0.7, x1 - x0), 3, pen.theme.warning)
        if room[phase[i]] < x1 - x0:
            pen.text(x0 + 4, y + _PHASE / 2 - 1, name, pen.theme.ink, 10)


def _draw_runs(panel: _Panel, y: float) -> None:
    pen, theme = panel.pen, panel.pen.theme
    start, length, flags = (panel.part.array(f"run_{name}") for name in ("start", "ms", "flags"))
    seen = panel.seen(start, start + length)
    for i in sorted(seen, key=lambda i: int(flags[i] & OUTLIER)):  # outliers last: nothing may hide them
        x0, x1 = (float(v) for v in panel.x([start[i], start[i] + length[i]]))
        color = theme.warning if flags[i] & OUTLIER else theme.missing if flags[i] & INSTRUMENTED else theme.bar
        row = _RUN if flags[i] & INSTRUMENTED else 0
        pen.box(x0, y + row + 1, max(0.7, x1 - x0 - (1 if x1 - x0 > 3 else 0)), _RUN - 2, color)


def _draw_layers(panel: _Panel, y: float, chosen: set[int]) -> None:
    pen, view, part = panel.pen, panel.whole, panel.part
    if view.meta["missing"]["spans"]:
        pen.text(_LEFT + 4, y + _LAYER / 2 - 2, ellipsis(view.meta["missing"]["spans"], 110), pen.theme.ink_muted, 10)
        return
    flags, runs, first = part.array("run_flags"), part.array("span_run").astype(int), part.array("span_first").astype(int)
    run_start, run_ms = part.array("run_start"), part.array("run_ms")
    for i in np.flatnonzero(((flags & HAS_LAYERS) > 0) & ((flags & LAYERS_SENT) == 0)):
        x0, x1 = (float(v) for v in panel.x([run_start[i], run_start[i] + run_ms[i]]))
        if x1 > x0:
            pen.hatch(x0, y, max(1.0, x1 - x0), _LAYER - 4)
    layer = part.array("span_layer").astype(int)
    start = np.repeat(run_start[runs], np.diff(first)) + part.array("span_offset")
    end = start + part.array("span_raw")
    seen = panel.seen(start, end)
    seen = seen[view.array("depth")[layer[seen]] == 0]
    x0, x1 = panel.x(start[seen]), panel.x(end[seen])
    wide = x1 - x0 >= 1.5
    colors = np.array([rgb(pen.theme.op_color(op)) for op in view.meta["op_types"]], np.uint8).reshape(-1, 3)
    _draw_dense(panel, y, x0[~wide], (x1 - x0)[~wide], colors[view.array("op")[layer[seen[~wide]]]])
    for j, left, right in zip(seen[wide], x0[wide], x1[wide], strict=True):
        color = colors[view.array("op")[layer[j]]]
        pen.box(left, y, right - left - (1 if right - left > 4 else 0), _LAYER - 4, tuple(int(c) for c in color))
        name = view.meta["names"][layer[j]][view.meta["common_path"] :]
        short = ellipsis(name, max(0, int((right - left - 8) / 6)))
        if len(short) > 3 and pen.width(short, 10) < right - left - 6:
            pen.text(left + 4, y + _LAYER / 2 - 2, short, ink_on(color), 10)
        if layer[j] in chosen:
            pen.box(left, y + _LAYER - 5, right - left, 3, pen.theme.accent)


def _draw_dense(panel: _Panel, y: float, x: NDArray[Any], width: NDArray[Any], colors: NDArray[np.uint8]) -> None:
    """Layers narrower than a pixel: each column shows the shares of colours in it."""
    kinds, kind = np.unique(colors, axis=0, return_inverse=True) if len(colors) else (colors, np.empty(0, np.int64))
    columns = np.zeros((_RIGHT - _LEFT + 1, len(kinds)))
    np.add.at(columns, ((x - _LEFT).astype(int), kind.ravel()), np.maximum(width, 1e-12))
    for at in np.flatnonzero(columns.sum(axis=1) > 0):
        shares = columns[at] / columns[at].sum() * (_LAYER - 4)
        for color, low, high in zip(kinds, np.cumsum(shares) - shares, np.cumsum(shares), strict=True):
            if high - low > 0.3:
                panel.pen.box(_LEFT + int(at), y + low, 1, high - low, tuple(int(c) for c in color))


def _draw_lane(panel: _Panel, y: float, lane: dict[str, Any]) -> None:
    pen, theme = panel.pen, panel.pen.theme
    ranges = [channel["range"] for channel in lane["channels"] if channel["range"]]
    low, high = min((r[0] for r in ranges), default=0.0), max((r[1] for r in ranges), default=1.0)
    pen.text(_LEFT - 8, y + 6, show(high, lane["id"], lane["unit"]), theme.ink_muted, 9, anchor="rm")
    pen.text(
        _LEFT - 8,
        y + _LANE - 6,
        show(min(low, 0.0) if lane["id"] == "power" else low, lane["id"], lane["unit"]),
        theme.ink_muted,
        9,
        anchor="rm",
    )
    if lane["id"] == "power":
        low = min(0.0, low)
    spread = (high - low) or abs(high) or 1.0
    if high == low:
        low, spread = low - spread / 2, 2 * spread
    idle = panel.whole.meta["idle_mw"] if lane["id"] == "power" else None
    if idle is not None and low <= idle <= low + spread:
        level = y + _LANE - 2 - (idle - low) / spread * (_LANE - 4)
        for x in range(_LEFT, _RIGHT, 8):
            pen.box(x, level, 4, 0.7, theme.ink_muted)
    for place, channel in sorted(enumerate(lane["channels"]), key=lambda pair: bool(pair[1]["total"])):
        _draw_line(panel, y, channel["series"], _line_color(panel.whole, theme, place, channel), low, spread, strong=channel["total"])


def _draw_line(panel: _Panel, y: float, k: int, color: str, low: float, spread: float, *, strong: bool) -> None:
    """Of each pixel column the range of what held in it; where a reading failed there is a gap."""
    pen, part = panel.pen, panel.part
    time, mean = part.array(f"t{k}"), part.array(f"v{k}")
    least, most = (part.array(f"{key}{k}") if f"{key}{k}" in part.meta["arrays"] else mean for key in ("l", "h"))
    until = np.append(time[1:], part.meta["series"][k]["end"])
    seen = panel.seen(time, until)
    x0, x1 = np.floor(panel.x(time[seen])).astype(int) - _LEFT, np.floor(panel.x(until[seen])).astype(int) - _LEFT
    lows, highs = np.full(_RIGHT - _LEFT + 1, np.inf), np.full(_RIGHT - _LEFT + 1, -np.inf)
    known = ~np.isnan(mean[seen])
    first, count, held = x0[known], (x1 - x0 + 1)[known], seen[known]
    columns = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())  # all that each reading held in
    np.minimum.at(lows, columns, np.repeat(least[held], count))
    np.maximum.at(highs, columns, np.repeat(most[held], count))
    for i in np.flatnonzero(np.isnan(mean[seen])):
        pen.box(_LEFT + int(x0[i]), y + _LANE - 4, max(2, int(x1[i] - x0[i])), 4, pen.theme.warning)
    for at in np.flatnonzero(highs >= lows):
        top, bottom = (y + _LANE - 2 - (float(v) - low) / spread * (_LANE - 4) for v in (highs[at], lows[at]))
        pen.box(_LEFT + int(at), top - (0.6 if strong else 0.3), 1, bottom - top + (1.8 if strong else 1.1), color)


def _keys(view: ViewData, lanes: Sequence[dict[str, Any]], theme: Theme) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the colours are: heading and ``(text, colour)`` of each."""
    phases = [(phase, PHASE_COLORS[theme.name].get(phase, theme.line)) for phase in view.meta["phases"]]
    families = [(family, theme.families[family]) for family in dict.fromkeys(view.meta["op_families"])]
    lines = [
        (channel["title"], _line_color(view, theme, place, channel))
        for lane in _power(lanes)
        for place, channel in enumerate(lane["channels"])
    ]
    return [(heading, entries) for heading, entries in (("Phases", phases), ("Layers", families), ("Power", lines)) if entries]


def _line_color(view: ViewData, theme: Theme, place: int, channel: dict[str, Any]) -> str:
    lines = view.meta["themes"][theme.name]["lines"]
    return theme.bar if channel["total"] else str(lines[place % len(lines)])


def _draw_key(pen: Pen, y: float, heading: str, entries: Sequence[tuple[str, str]]) -> None:
    pen.text(12, y, heading, pen.theme.ink_muted, 10, bold=True)
    x = 80.0
    for text, color in entries:
        short = ellipsis(text, 30)
        if x + 16 + pen.width(short, 10) > _RIGHT:
            pen.text(x, y, "…", pen.theme.ink_muted, 10)
            return
        pen.box(x, y - 4, 9, 9, color)
        pen.text(x + 14, y, short, pen.theme.ink_muted, 10)
        x += 14 + pen.width(short, 10) + 14


def _notes(view: ViewData, lanes: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not lanes:
        yield ellipsis(view.meta["missing"]["samples"], 160)
    more = len(view.meta["lanes"]) - len(lanes)
    yield f"{f'{more} more lanes in the live view. ' if more else ''}A static picture: run the cell for the live view."
