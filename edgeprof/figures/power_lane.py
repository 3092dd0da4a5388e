"""The last seconds of power as a piece of HTML that scrolls by being exchanged: no script, so every notebook shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.analysis.names import shorten
from edgeprof.figures.theme import DARK, LIGHT

Floats = NDArray[np.float64]

WIDTH, HEIGHT, COLUMNS = 1000, 72, 400
_LINES = ("convolution", "matrix", "activation", "attention")
_MOST = len(_LINES)

_STYLE = f"""
.ep-lane {{ --ink: {LIGHT.ink}; --muted: {LIGHT.ink_muted}; --line: {LIGHT.line}; {{light}}
  font: 12px/1.5 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--ink); max-width: 1240px; }}
[data-jp-theme-light="false"] .ep-lane, .vscode-dark .ep-lane {{
  --ink: {DARK.ink}; --muted: {DARK.ink_muted}; --line: {DARK.line}; {{dark}} }}
.ep-lane b {{ font-size: 15px; }} .ep-lane .m {{ color: var(--muted); }}
.ep-lane .p {{ display: grid; grid-template-columns: 64px 1fr; gap: 0 8px; }}
.ep-lane .y {{ display: flex; flex-direction: column; justify-content: space-between; text-align: right;
  height: {HEIGHT}px; line-height: 1; }}
.ep-lane svg {{ width: 100%; height: {HEIGHT}px; border-bottom: 1px solid var(--line); border-top: 1px solid var(--line); display: block; }}
.ep-lane .x {{ grid-column: 2; display: flex; justify-content: space-between; }}
.ep-lane i {{ display: inline-block; width: 12px; height: 3px; margin: 0 6px 3px 14px; }}
"""


def power_lane(lines: Sequence[tuple[str, Floats, Floats]], seconds: float, origin: str) -> str:
    """The lane of ``lines``, ``(title, time in s, power in mW)`` of each channel, the newest ``seconds`` of them.

    Several channels may cover the same thing (a board and a rail of it), so nothing is added up. Readings that are not known leave a gap.
    ``origin`` says how the numbers came about.
    """
    lines = [line for line in lines if np.isfinite(line[2]).any()]
    shown = lines[:_MOST]
    if not shown:
        return ""
    newest = max(float(time[-1]) for _, time, _ in shown)
    most = max(float(np.nanmax(power)) for _, _, power in shown) or 1.0
    paths = [
        f'<path d="{_path(time - newest, power / most, seconds)}" fill="none" stroke="var(--c{i})" stroke-width="1.5" '
        'vector-effect="non-scaling-stroke"/>'
        for i, (_, time, power) in enumerate(shown)
    ]
    now = [units.power(float(power[np.isfinite(power)][-1])) for _, _, power in shown]
    names = [escape(shorten(title, 40)) for title, _, _ in shown]
    told = list(zip(names, now, strict=True))
    legend = "".join(f'<i style="background:var(--c{i})"></i>{name} {value}' for i, (name, value) in enumerate(told))
    more = f" and {len(lines) - _MOST} more" if len(lines) > _MOST else ""
    label = f"Power in the last {seconds:.0f} s: " + ", ".join(map(" ".join, told))
    return (
        f"<style>{_style()}</style>"
        f'<div class="ep-lane"><div>Power <b>{now[0]}</b> <span class="m">{names[0]}, now, {escape(origin)}</span></div>'
        f'<div class="p"><div class="y m"><span>{units.power(most)}</span><span>0</span></div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}">{"".join(paths)}</svg>'
        f'<div class="x m"><span>{seconds:.0f} s ago</span><span>now</span></div></div>'
        + (f'<div class="m">{legend}{more}</div>' if len(lines) > 1 else "")
        + "</div>"
    )


def _style() -> str:
    colors: dict[str, Any] = {
        theme.name: " ".join(f"--c{i}: {theme.families[name]};" for i, name in enumerate(_LINES)) for theme in (LIGHT, DARK)
    }
    return _STYLE.replace("{light}", colors["light"]).replace("{dark}", colors["dark"])


def _path(age_s: Floats, height: Floats, seconds: float) -> str:
    """A line through the least and the most of each column; ``age_s`` is 0 now and below before."""
    x = (1 + age_s / seconds) * WIDTH
    column = np.floor(x / WIDTH * COLUMNS)
    points: list[str] = []
    pen_down = False
    for at in np.unique(column[x >= 0]):
        values = height[column == at]
        if not np.isfinite(values).any():
            pen_down = False
            continue
        first = int(np.flatnonzero(column == at)[0])
        for value in dict.fromkeys((float(np.nanmin(values)), float(np.nanmax(values)))):
            y = HEIGHT - 2 - max(0.0, value) * (HEIGHT - 4)
            points.append(f"{'L' if pen_down else 'M'}{x[first]:.1f} {y:.1f}" if math.isfinite(y) else "")
            pen_down = True
    return "".join(points)
