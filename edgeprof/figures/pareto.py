"""The Pareto chart: models by what they cost and what they are worth, the front, constraints, the sweet spot."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeprof.analysis.names import shorten
from edgeprof.analysis.objectives import Objective
from edgeprof.analysis.pareto import KNEE, Pareto, Standing, pareto_front
from edgeprof.errors import UsageError
from edgeprof.figures import pareto_words as words
from edgeprof.figures.frame import axis, frame, heading
from edgeprof.figures.labels import label
from edgeprof.figures.placing import Box, Place, Span, place, span_of
from edgeprof.figures.theme import THEMES, Theme, colorscale
from edgeprof.recipes.recipe import Recipe
from edgeprof.records.profile import Origin, Profile

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHAPES: dict[Origin, str] = {
    "measured": "circle", "replayed": "square", "imported": "triangle-up", "estimated": "diamond-open", "simulated": "cross-open",
}  # fmt: skip
"""Filled is what some board did, open is what no board did."""

_DRAWN: tuple[Standing, ...] = ("aside", "dominated", "unsure", "front")
"""In the order in which they are drawn, the front on top."""
_SIZES: dict[Standing, float] = {"aside": 7, "dominated": 8, "unsure": 9, "front": 11}
_OPACITY: dict[Standing, float] = {"aside": 0.45, "dominated": 0.8, "unsure": 0.9, "front": 1}

_PLOT_PX, _NARROW_PX = 440, 600
"""Height of the plot, and the width at which labels must not cover each other; the page may be wider."""
_MANY, _FEW = 60, 16
"""With more points than many only those on the front have error bars, with no more than few all of them have names."""
_LABEL_LETTERS, _LINE_LETTERS = 30, 100
_TITLE_PAD = {"t": 22, "l": 12}
_HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>"


def pareto(
    profiles: Sequence[Profile],
    x: str = "latency_ms",
    y: str | None = None,
    z: str | None = None,
    *,
    constraints: Mapping[str, float | str] | None = None,
    labels: Sequence[str] | None = None,
    recipes: Sequence[Recipe | str | None] | None = None,
    best: str = KNEE,
    theme: str = "light",
) -> go.Figure:
    """Models by two or three objectives with 95 % intervals, the Pareto front, constraints and the sweet spot. See docs/pareto.md.

    1. The shape says how a point came about (measured, estimated, ...), open shapes ran on no board; a thin line joins an estimate to the
       measurement of the same model. The colour says whether it is on the front, certainly dominated, or cannot be told.
    2. A third objective ``z`` is the colour; then rings mark the front and what cannot be told.
    3. A constraint on an axis shades what misses it; on anything else its points are aside. The sweet spot meets all.
    4. What has no number is not drawn; the lines under the title say how many and why.

    Args:
        profiles: the points.
        x: latency_ms, energy_mj, peak_memory_bytes, memory_bytes, model_bytes, or a score such as top1.
        y: another; None is a score where there is one.
        z: a third, or None.
        constraints: by objective the most, or of what is better when it is more the least: ``{"latency_ms": 5, "top1": 0.95}``.
        labels: what each point is called.
        recipes: what was changed in each, for the text on hover: a Recipe or words; None reads it from the profiles.
        best: what the sweet spot is: ``"knee"``, nearest to the ideal corner, or the objective that it is best in.
        theme: light or dark.

    Raises:
        UsageError: an argument makes no sense; the sentence says which.
    """
    if theme not in THEMES:
        raise UsageError(f"theme is {theme!r}; it can be {' or '.join(map(repr, THEMES))}.")
    profiles = tuple(profiles)
    changes = tuple(recipes) if recipes is not None else tuple(words.recipe_of(profile) for profile in profiles)
    if len(changes) != len(profiles):
        raise UsageError(f"Expected a recipe, words or None for each of {len(profiles)} profiles, got {len(changes)}.")
    made = pareto_front(profiles, x, y, z, constraints=constraints, labels=labels, best=best)
    hovers = [words.hover(made, row, *told) for row, told in enumerate(zip(profiles, changes, strict=True))]
    return _Chart(made, THEMES[theme], words.lines(made, profiles), hovers).figure()


class _Chart:
    """One figure in the making: what is drawn of ``made``, in the units and on the axes that suit it."""

    def __init__(self, made: Pareto, theme: Theme, lines: Sequence[str], hovers: Sequence[Sequence[str]]) -> None:
        import plotly.graph_objects as go

        self.made, self.theme, self.lines, self.hovers = made, theme, lines, hovers
        self.plot = go.Figure()
        self.drawn = made.rows(*_DRAWN)
        self.by_color = len(made.axes) > 2
        self.units = [words.unit_of(made, one, self.drawn) for one in made.axes]
        bounds = {limit.objective: limit.bound for limit in made.constraints}
        self.bounds = [bounds.get(one, math.nan) * scale for one, (scale, _) in zip(made.axes[:2], self.units, strict=False)]
        self.spans = [self._span(position) for position in range(len(made.axes))] if self.drawn else []
        self.text_boxes: list[Box] = []

    def figure(self) -> go.Figure:
        """The figure, finished."""
        if self.drawn:
            self._add_bounds()
            self._add_twins()
            self._add_front_line()
            for standing in _DRAWN:
                self._add_points(standing)
            self._add_rings()
            self._add_labels()
            self._add_legend()
        self._lay_out()
        return self.plot

    # Numbers

    def _values(self, position: int, rows: Sequence[int], end: str = "value") -> NDArray[np.float64]:
        """Numbers of these points on an axis, in its unit."""
        numbers = self.made.numbers[self.made.axes[position].name][end].iloc[list(rows)]
        return np.asarray(numbers.to_numpy(float) * self.units[position][0])

    def _xy(self, rows: Sequence[int]) -> dict[str, Any]:
        return {"x": _short(self._values(0, rows)), "y": _short(self._values(1, rows))}

    def _span(self, position: int) -> Span:
        value, low, high = (self._values(position, self.drawn, end) for end in ("value", "low", "high"))
        bound = self.bounds[position] if position < 2 else math.nan
        return span_of(value, low, high, bound, may_be_log=self.made.axes[position].unit in ("ms", "mJ", "B"))

    def _pixels(self, row: int) -> tuple[float, float]:
        x, y = (self.spans[position].part(float(self._values(position, [row])[0])) for position in (0, 1))
        return x * _NARROW_PX, y * _PLOT_PX

    # What is drawn, from the background to the foreground

    def _add_bounds(self) -> None:
        """What misses a constraint on an axis, shaded up to its bound."""
        for position, (bound, span) in enumerate(zip(self.bounds, self.spans, strict=False)):
            if not span.holds(bound):
                continue
            along, across = ("x", "y") if position == 0 else ("y", "x")
            one = self.made.axes[position]
            at, beyond = span.on_axis(bound), 50 * (span.high - span.low) * (1 if one.better == "lower" else -1)
            far = 10 ** min(at + beyond, 300) if span.log else bound + beyond
            common = {f"{along}ref": along, f"{across}ref": f"{across} domain", f"{across}0": 0, f"{across}1": 1}
            area = {"fillcolor": self.theme.missing, "opacity": 0.16, "line": {"width": 0}, "layer": "below"}
            line = {"color": self.theme.warning, "width": 1.4, "dash": "6px,4px"}
            self.plot.add_shape(type="rect", **common, **{f"{along}0": bound, f"{along}1": far}, **area)
            self.plot.add_shape(type="line", **common, **{f"{along}0": bound, f"{along}1": bound}, line=line)
            limit = next(limit for limit in self.made.constraints if limit.objective == one)
            self._add_bound_text(position, f"{limit.words} {words.show(one, limit.bound)}", at)

    def _add_bound_text(self, position: int, text: str, at: float) -> None:
        """The bound in words, on the side that meets it."""
        font, width = {"size": 11, "color": self.theme.warning}, 6.4 * len(text)
        below = self.made.axes[position].better == "lower"
        part = (at - self.spans[position].low) / (self.spans[position].high - self.spans[position].low)
        if position == 0:
            side, shift = ("right", -4) if below else ("left", 4)
            self.plot.add_annotation(
                x=at, y=1, yref="y domain", text=text, showarrow=False, xanchor=side, yanchor="top", font=font, xshift=shift
            )
            left = part * _NARROW_PX - (width + 4 if below else -4)
            self.text_boxes.append(Box(left, _PLOT_PX - 18, left + width, _PLOT_PX))
        else:
            side = "top" if below else "bottom"
            self.plot.add_annotation(x=1, xref="x domain", y=at, text=text, showarrow=False, xanchor="right", yanchor=side, font=font)
            bottom = part * _PLOT_PX - (18 if below else 0)
            self.text_boxes.append(Box(_NARROW_PX - width, bottom, _NARROW_PX, bottom + 18))

    def _add_twins(self) -> None:
        """A thin line between an estimate and the measurement of the same model."""
        twins, drawn = self.made.points["twin"], set(self.drawn)
        pairs = [(row, int(twins.iloc[row])) for row in self.drawn if twins.iloc[row] in drawn]
        if pairs:
            x, y = ([end for pair in pairs for end in (*_short(self._values(position, pair)), None)] for position in (0, 1))
            line = {"color": self.theme.ink_muted, "width": 1, "dash": "dot"}
            self.plot.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", name="estimate to measurement", legendrank=1010)

    def _add_front_line(self) -> None:
        """What can be had at most, as a step line through the front of two objectives."""
        front = self.made.rows("front")
        if self.by_color or not front:
            return
        away = 1 if self.made.axes[0].better == "lower" else -1
        order = [front[i] for i in np.argsort(away * self._values(0, front), kind="stable")]
        line = {"color": self.theme.bar, "width": 1.6, "shape": "hv"}
        self.plot.add_scatter(**self._xy(order), mode="lines", line=line, hoverinfo="skip", legendgroup="front", showlegend=False)

    def _add_points(self, standing: Standing) -> None:
        """The points of one standing, a trace for each shape."""
        rows = self.made.rows(standing)
        for origin, shape in SHAPES.items():
            own = [row for row in rows if self.made.points["basis"].iloc[row] == origin]
            if own:
                self.plot.add_scatter(
                    **self._xy(own), mode="markers", hovertemplate=_HOVER, customdata=[self.hovers[row] for row in own],
                    marker=self._marker(standing, shape, own), name=f"{words.STANDING_WORDS[standing]}, {origin}", legendgroup=standing,
                    showlegend=False, error_x=self._error_bars(0, own, standing), error_y=self._error_bars(1, own, standing),
                )  # fmt: skip

    def _marker(self, standing: Standing, shape: str, rows: Sequence[int]) -> dict[str, Any]:
        is_open = shape.endswith("-open")
        smaller = 2 if len(self.drawn) > _MANY and standing != "front" else 0
        marker: dict[str, Any] = {"symbol": shape, "opacity": _OPACITY[standing], "line": {"width": 2 if is_open else 1}}
        if not is_open:
            marker["line"] |= {"color": self.theme.ink_muted if self.by_color else self.theme.surface}
        if self.by_color:
            return marker | {"size": 9, "coloraxis": "coloraxis", "color": self._colors(rows)}
        return marker | {"size": _SIZES[standing] - smaller, "color": self._color(standing)}

    def _color(self, standing: Standing) -> str:
        return {"front": self.theme.bar, "unsure": self.theme.warning}.get(standing, self.theme.missing)

    def _colors(self, rows: Sequence[int]) -> list[float]:
        """Where these points stand on the colour scale."""
        return _short([self.spans[2].on_axis(value) for value in self._values(2, rows)])

    def _error_bars(self, position: int, rows: Sequence[int], standing: Standing) -> dict[str, Any]:
        value, low, high = (self._values(position, rows, end) for end in ("value", "low", "high"))
        if np.isnan(low).all() or (len(self.drawn) > _MANY and standing != "front"):
            return {"visible": False}
        loud = standing == "front" and not self.by_color
        color = self.theme.bar if loud else self.theme.missing if standing == "unsure" else self.theme.line
        above, below = (_short(np.nan_to_num(part)) for part in (high - value, value - low))
        return {
            "type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": color, "thickness": 1, "width": 3 * loud,
        }  # fmt: skip

    def _add_rings(self) -> None:
        """Rings around the sweet spot, and where the colour says something else around the front and what cannot be told."""
        rings: list[tuple[str, list[int], str, float, float]] = []
        if self.by_color:
            rings.append((words.STANDING_WORDS["front"], self.made.rows("front"), self.theme.ink, 17, 1.8))
            rings.append((words.STANDING_WORDS["unsure"], self.made.rows("unsure"), self.theme.missing, 15, 1.2))
        if self.made.sweet >= 0:
            rings.append(("sweet spot", [self.made.sweet], self.theme.accent, 23, 2.4))
        for rank, (name, rows, color, size, width) in enumerate(rings):
            marker = {"symbol": "circle-open", "size": size, "color": color, "line": {"width": width}}
            if rows:
                self.plot.add_scatter(
                    **self._xy(rows), mode="markers", hoverinfo="skip", name=name, marker=marker, showlegend=True, legendrank=1005 + rank
                )

    def _add_labels(self) -> None:
        """Names beside the points where they cover nothing: the sweet spot's always, then the front's, then others if there are few."""
        sweet = [self.made.sweet] if self.made.sweet >= 0 else []
        others = self.drawn if len(self.drawn) <= _FEW else []
        rows = list(dict.fromkeys([*sweet, *self.made.rows("front"), *others]))
        points = self.made.points.iloc[rows]
        names = [  # how a point came about is said by its shape
            shorten(told.removesuffix(f", {basis}"), _LABEL_LETTERS) for told, basis in zip(points["label"], points["basis"], strict=True)
        ]
        texts = [f"sweet spot: {name}" if row in sweet else name for row, name in zip(rows, names, strict=True)]
        at = {row: self._pixels(row) for row in self.drawn}
        blocked = [*(Box(x - 6, y - 6, x + 6, y + 6) for x, y in at.values()), *self.text_boxes]
        size = (_NARROW_PX, _PLOT_PX)
        found = place([at[row] for row in rows], texts, blocked, size, better_not=self._bar_boxes(), always=len(sweet))
        for row, text, where in zip(rows, texts, found, strict=True):
            if where.side:
                self._add_label(row, text, where, is_sweet=row in sweet)

    def _add_label(self, row: int, text: str, where: Place, *, is_sweet: bool) -> None:
        """The name of a point, with a line to it where it stands farther off."""
        vertical, horizontal = where.side.split()
        across, up = 1 if horizontal == "right" else -1, 1 if vertical == "top" else -1
        x, y = (span.on_axis(float(self._values(position, [row])[0])) for position, span in enumerate(self.spans[:2]))
        escaped = html.escape(text, quote=False)
        color, shift = (self.theme.accent, 9) if is_sweet else (self.theme.ink_muted, 6)
        near = {"showarrow": False, "xshift": across * shift, "yshift": up * (shift - 2)}
        line = {"showarrow": True, "arrowhead": 0, "arrowwidth": 1, "arrowcolor": color, "standoff": 9}
        # Not at 45 degrees: there plotly takes the point for covered by the text's corner, and leaves the line out.
        far = {"ax": across * (where.gap_px + 4), "ay": -up * where.gap_px, **line}
        self.plot.add_annotation(
            x=x, y=y, text=f"<b>{escaped}</b>" if is_sweet else escaped, name="label", font={"size": 11, "color": color}, borderpad=0,
            xanchor="left" if across > 0 else "right", yanchor="bottom" if up > 0 else "top", **(near if where.is_near else far),
        )  # fmt: skip

    def _bar_boxes(self) -> list[Box]:
        """Where error bars and the front's line are, which names had better not cross."""
        boxes = []
        for row in self.drawn if len(self.drawn) <= _MANY else self.made.rows("front"):
            x, y = self._pixels(row)
            for position, (at, size) in enumerate(((x, _NARROW_PX), (y, _PLOT_PX))):
                ends = [self.spans[position].part(float(self._values(position, [row], end)[0])) * size for end in ("low", "high")]
                low, high = (end if math.isfinite(end) else at for end in ends)
                boxes.append(Box(low, y - 1, high, y + 1) if position == 0 else Box(x - 1, low, x + 1, high))
        front = sorted(self._pixels(row) for row in self.made.rows("front")) if not self.by_color else []
        boxes += [Box(left[0], left[1] - 1, right[0], left[1] + 1) for left, right in pairwise(front)]
        return boxes

    def _add_legend(self) -> None:
        """A swatch for each standing and a shape for each origin that is drawn."""
        none: dict[str, Any] = {"x": [None], "y": [None], "hoverinfo": "skip", "showlegend": True}
        for rank, standing in enumerate(reversed(_DRAWN)):
            if self.made.rows(standing) and not self.by_color:
                swatch = {"line": {"color": self._color(standing), "width": 6}, "opacity": _OPACITY[standing], "legendrank": 1001 + rank}
                self.plot.add_scatter(**none, **swatch, mode="lines", name=words.STANDING_WORDS[standing], legendgroup=standing)
        origins = set(self.made.points["basis"].iloc[self.drawn])
        for rank, (origin, shape) in enumerate(SHAPES.items()):
            if origin in origins:
                line = {"width": 2 if shape.endswith("-open") else 0}
                marker = {"symbol": shape, "size": 10, "color": self.theme.ink_muted, "line": line}
                self.plot.add_scatter(
                    **none, mode="markers", marker=marker, name=origin, legendgroup=f"shape {rank}", legendrank=1020 + rank
                )

    # Around

    def _lay_out(self) -> None:
        told = [*self.lines, *(["Many points: error bars are those of the front only"] if len(self.drawn) > _MANY else [])]
        wrapped = [html.escape(part, quote=False) for line in told for part in textwrap.wrap(line, _LINE_LETTERS)]
        above, below = 6 + 21 * max(0, len(wrapped) - 2), 20 * max(0, self._legend_rows() - 1)
        layout = frame(self.theme, _PLOT_PX, legend=bool(self.drawn))
        layout["margin"] = layout["margin"] | {"t": layout["margin"]["t"] + above, "b": layout["margin"]["b"] + below}
        layout["height"] += above + below
        self.plot.update_layout(
            **layout, hovermode="closest", title=heading(label(self._title(), 120), "<br>".join(wrapped), self.theme) | {"pad": _TITLE_PAD},
            meta={"note": "<br>".join(html.escape(line, quote=False) for line in told), "points": len(self.drawn)},
        )  # fmt: skip
        if not self.drawn:
            text = "<br>".join(html.escape(line, quote=False) for line in words.empty_lines(self.made))
            self.plot.add_annotation(text=text, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
            self.plot.update_layout(xaxis={"visible": False}, yaxis={"visible": False})
            return
        self.plot.update_layout(xaxis=self._axis(0), yaxis=self._axis(1) | {"automargin": True})
        if self.by_color:
            self.plot.update_layout(coloraxis=self._color_axis())

    def _title(self) -> str:
        first, second, *third = self.made.axes
        return f"{second.title} over {words.lower(first.title)}" + "".join(f", {words.lower(one.title)} as colour" for one in third)

    def _legend_rows(self) -> int:
        names = [trace.name for trace in self.plot.data if trace.showlegend is not False and trace.name]
        if not names:
            return 1
        return math.ceil(len(names) / max(1, int(_NARROW_PX // (max(map(len, names)) * 6.4 + 44))))

    def _axis(self, position: int) -> dict[str, Any]:
        one, span = self.made.axes[position], self.spans[position]
        made = axis(self.theme, f"{_heading(one, self.units[position][1])}, {'← better' if one.better == 'lower' else 'better →'}")
        made |= {"range": [round(span.low, 6), round(span.high, 6)], "zeroline": False, "showline": True, "tickformat": _tick_format(one)}
        return made | ({"type": "log", "dtick": "D2" if span.high - span.low < 2.3 else 1} if span.log else {})

    def _color_axis(self) -> dict[str, Any]:
        one, span = self.made.axes[2], self.spans[2]
        title = textwrap.wrap(f"{_heading(one, self.units[2][1])}, {one.better} is better", 16)
        bar: dict[str, Any] = {
            "title": {"text": "<br>".join(title), "font": {"color": self.theme.ink_muted}}, "tickfont": {"color": self.theme.ink_muted},
            "thickness": 12, "len": 0.9, "outlinewidth": 0, "tickformat": _tick_format(one),
        }  # fmt: skip
        at = self._colors(self.drawn)
        if span.log:
            ticks = [step * 10.0**power for power in range(math.floor(min(at)), math.ceil(max(at)) + 1) for step in (1, 2, 5)]
            bar |= {"tickvals": [math.log10(tick) for tick in ticks], "ticktext": [_tick(one, tick) for tick in ticks]}
        ends = (min(at), max(at)) if max(at) > min(at) else (span.low, span.high)
        return {"colorscale": colorscale(self.theme.sequential[2:]), "cmin": ends[0], "cmax": ends[1], "colorbar": bar}


def _heading(one: Objective, unit: str) -> str:
    return label(one.title, 48) + (f" ({unit})" if unit else "")


def _tick_format(one: Objective) -> str:
    return {"B": "~s", "%": "~%"}.get(one.unit, "~g")


def _tick(one: Objective, value: float) -> str:
    thousands = min(4, max(0, math.floor(math.log10(value) / 3 + 1e-9))) if one.unit == "B" else 0
    return f"{value / 1000**thousands:g}{('', 'k', 'M', 'G', 'T')[thousands]}"


def _short(values: Any) -> list[float]:
    """Values with six significant digits: enough for a picture, and half the bytes."""
    return [float(f"{value:.6g}") for value in values]
