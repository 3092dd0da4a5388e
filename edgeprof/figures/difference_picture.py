"""The difference of two profiles as a PNG picture: the waterfall above, and below it the rows that differ most side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeprof import units
from edgeprof.figures.difference import signed
from edgeprof.figures.labels import interval
from edgeprof.figures.numbers import ellipsis, show
from edgeprof.figures.pen import WIDTH, Pen, draw_header
from edgeprof.figures.theme import LIGHT, Theme
from edgeprof.figures.view import ViewData

MOST = 24
"""Rows of the waterfall that stand alone, at most."""

PAIRS = 12
"""Rows that stand side by side below it."""

_ROW, _PAIR, _TOP = 20, 30, 66
_LEFT, _RIGHT = 300, WIDTH - 190

_LAYER, _INSERTED, _BETWEEN, _ONE_SIDED = range(4)


@dataclass(frozen=True)
class _Step:
    """A bar of the waterfall; a whole has ``side``."""

    name: str
    start: float
    end: float
    low: float = math.nan
    high: float = math.nan
    side: int | None = None
    kind: int = _LAYER
    same: bool = False
    selected: bool = False
    quiet: bool = False


def draw(
    view: ViewData, *, by: str = "row", top: int = 12, sort: str = "size", selection: Sequence[str] = (), theme: Theme = LIGHT
) -> bytes:
    """PNG of the waterfall with ``top`` rows, and of the rows that differ most; what is selected is marked."""
    by = by if by in view.meta["groups"] else "row"
    steps = _steps(view, by, min(top, MOST), sort, set(selection)) if view.meta["summed"] else []
    pairs = _pairs(view, by)
    below = _TOP + _ROW * len(steps) + (50 if steps else 0)
    pen = Pen(theme, below + _PAIR * len(pairs) + (70 if pairs else 40))
    draw_header(pen, view)
    if not steps and not pairs:
        pen.text(12, _TOP + 10, "No numbers of both profiles.", theme.ink_muted)
    if steps:
        _draw_steps(pen, view, steps)
    if pairs:
        _draw_pairs(pen, view, by, pairs, below + 24)
    notes = [
        "Pale bars, ≈: the intervals overlap, not distinguishable.",
        "Hatched: not measured." * any(s["hatched"] for s in view.meta["sides"]),
    ]
    pen.text(
        12, pen.height - 12, " ".join(filter(None, [*notes, "A static picture: run the cell for the live view."])), theme.ink_muted, 11
    )
    return pen.png()


def _names(view: ViewData, by: str) -> list[str]:
    names: list[str] = view.meta["names"] if by == "row" else view.meta["groups"][by]["names"]
    return names


def _steps(view: ViewData, by: str, top: int, sort: str, selection: set[str]) -> list[_Step]:
    """The bars from the baseline's whole to the other's; their differences add up to what lies between the two."""
    before, after = view.meta["sides"]
    if before["total"] is None or after["total"] is None or not view.meta["names"]:
        return []
    names, order, kinds = _names(view, by), view.array(f"{by} order"), view.array(f"{by} kind")
    moved, same = view.array(f"{by} moved"), view.array(f"{by} same")
    low, high = (view.array(f"{by} difference_{end}") for end in ("low", "high"))
    groups = view.array(f"{by} group")
    chosen = {int(groups[i]) for i, name in enumerate(view.meta["names"]) if name in selection}
    at = float(before["total"])
    steps = [_Step(before["label"], 0.0, at, _number(before["low"]), _number(before["high"]), side=0)]

    def add(name: str, by_how_much: float, low: float, high: float, **more: Any) -> None:
        nonlocal at
        steps.append(_Step(name, at, at + by_how_much, at + low, at + high, **more))
        at += by_how_much

    def group(g: int) -> None:
        quiet = bool(kinds[g] != _LAYER)
        add(
            names[g],
            float(moved[g]),
            float(low[g]),
            float(high[g]),
            kind=int(kinds[g]),
            same=bool(same[g]),
            selected=g in chosen,
            quiet=quiet,
        )

    alone = [int(g) for g in order[:top]]
    for g in sorted(alone) if sort == "execution" else alone:
        group(g)
    if top < len(order):
        rest = [float(view.array(f"{by} rest{end}")[top]) for end in ("", "_low", "_high")]
        count, what = len(order) - top, view.meta["groups"][by]["title"].lower()
        add(f"The other {count:,} {what.removesuffix('s') if count == 1 else what}", *rest, same=rest[1] <= 0 <= rest[2], quiet=True)
    for at_end in np.flatnonzero((kinds == _INSERTED) & (moved != 0)):
        group(int(at_end))
    if (kinds == _ONE_SIDED).any():
        add("(measured of one only)", float(moved[kinds == _ONE_SIDED].sum()), math.nan, math.nan, kind=_ONE_SIDED, quiet=True)
    for at_end in np.flatnonzero((kinds == _BETWEEN) & (moved != 0)):
        group(int(at_end))
    return [*steps, _Step(after["label"], 0.0, float(after["total"]), _number(after["low"]), _number(after["high"]), side=1)]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _pairs(view: ViewData, by: str) -> list[int]:
    """Rows that differ most, of those that have a number on both sides."""
    difference = np.abs(view.array(f"{by} difference").astype(float))
    order = np.argsort(-np.nan_to_num(difference, nan=-1.0), kind="stable")
    return [int(g) for g in order[:PAIRS] if difference[g] > 0]


def _scale(low: float, high: float) -> Callable[[float], float]:
    span = high - low or 1.0
    return lambda value: _LEFT + (min(max(value, low), high) - low) / span * (_RIGHT - _LEFT - 12)


def _axis(steps: Sequence[_Step]) -> tuple[float, float]:
    """Ends of the axis: from 0, unless all that happens lies far from it."""
    ends = [end for step in steps for end in ((step.start, step.end) if step.side is None else (step.end,))]
    low, high = min(ends), max(ends)
    room = 0.6 * (high - low)
    whiskers = [end for step in steps for end in (step.low, step.high) if not math.isnan(end)]
    low, high = max(low - room, min([low, *whiskers])), min(high + room, max([high, *whiskers]))
    return (max(0.0, low - 0.18 * (high - low)), high) if low > 0 and high - low < 0.4 * high else (min(0.0, low), high)


def _ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers between the two."""
    rough = (high - low) / most or 1.0
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(k * unit for k in (1, 2, 5, 10) if k * unit >= rough)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _draw_steps(pen: Pen, view: ViewData, steps: Sequence[_Step]) -> None:
    theme, metric = pen.theme, view.meta["metric"]
    low, high = _axis(steps)
    x = _scale(low, high)
    bottom = _TOP + _ROW * len(steps)
    for tick in _ticks(low, high):
        pen.box(x(tick), _TOP, 1, bottom - _TOP + 4, theme.line)
        pen.text(x(tick), bottom + 12, show(tick, metric), theme.ink_muted, 10, anchor="mm")
    pen.text(
        (_LEFT + _RIGHT) / 2,
        bottom + 28,
        view.meta["metric_title"] + "; the axis does not begin at 0" * (low > 0),
        theme.ink,
        11,
        anchor="mm",
    )
    odd = any(side["hatched"] for side in view.meta["sides"])
    for i, step in enumerate(steps):
        y = _TOP + i * _ROW
        if step.selected:
            pen.box(4, y, WIDTH - 8, _ROW, theme.raised)
            pen.box(4, y, 3, _ROW, theme.accent)
        whole = step.side is not None
        pen.text(12 if whole else 20, y + _ROW / 2, ellipsis(step.name, 40), theme.ink_muted if step.quiet else theme.ink, 11, bold=whole)
        start, end = sorted((x(step.start), x(step.end)))
        hatched = view.meta["sides"][step.side]["hatched"] if step.side is not None else odd or step.kind == _ONE_SIDED
        _bar(pen, start, y + 4, max(end - start, 1.5), _ROW - 8, _color(theme, step), hatched, step.same)
        _whisker(pen, x, step.low, step.high, y + _ROW / 2)
        if step.side is not None:
            text = interval(metric, step.end, step.low, step.high)
        else:
            text = signed(metric, step.end - step.start, step.low - step.start, step.high - step.start)
        pen.text(_RIGHT + 8, y + _ROW / 2, text, theme.ink_muted if step.same else theme.ink, 10, bold=whole)


def _color(theme: Theme, step: _Step) -> str:
    if step.side is not None:
        return theme.bar if step.side else theme.missing
    if step.kind == _BETWEEN:
        return theme.ink_muted
    return theme.diverging[7 if step.end > step.start else 1]


def _bar(pen: Pen, x: float, y: float, width: float, height: float, color: str, hatched: bool, pale: bool = False) -> None:
    pen.box(x, y, width, height, color)
    if pale and width > 2.5:
        pen.box(x + 1, y + 1, width - 2, height - 2, pen.theme.raised)
    if hatched and width > 2.5:
        pen.hatch(x, y, width, height, color if pale else pen.theme.surface)


def _whisker(pen: Pen, x: Callable[[float], float], low: float, high: float, y: float) -> None:
    if math.isnan(low) or math.isnan(high) or x(high) - x(low) < 2:
        return
    pen.box(x(low), y - 0.4, x(high) - x(low), 0.8, pen.theme.ink)
    for end in (low, high):
        if _LEFT < x(end) < _RIGHT - 12:  # one that goes on has no cap
            pen.box(x(end), y - 3, 0.8, 6, pen.theme.ink)


def _draw_pairs(pen: Pen, view: ViewData, by: str, pairs: Sequence[int], top: float) -> None:
    theme, metric = pen.theme, view.meta["metric"]
    numbers = {name: view.array(f"{by} {name}").astype(float) for name in _PAIR_NUMBERS}
    x = _scale(0.0, 1.01 * float(np.nanmax(np.concatenate([numbers[name][list(pairs)] for name in numbers if name != "ratio"]))))
    at = 12.0
    for k, side in enumerate(view.meta["sides"]):
        text = side["label"] if side["label"].endswith(side["origin"]) else f"{side['label']}: {side['origin']}"
        _bar(pen, at, top - 17, 14, 10, theme.bar if k else theme.missing, side["hatched"])
        pen.text(at + 20, top - 12, ellipsis(text, 60), theme.ink, 11)
        at += 40 + pen.width(ellipsis(text, 60), 11)
    for i, g in enumerate(pairs):
        y = top + i * _PAIR
        name = _names(view, by)[g]
        pen.text(20, y + _PAIR / 2, ellipsis(name, 40), theme.ink, 11)
        for k, side in enumerate(("before", "after")):
            value, low, high = (numbers[f"{side}{end}"][g] for end in ("", "_low", "_high"))
            line = y + 4 + 12 * k
            absent = not _has(view, by, g, view.meta["sides"][k])
            if not math.isnan(value) and not absent:
                _bar(pen, _LEFT, line, max(1.0, x(value) - _LEFT), 10, theme.bar if k else theme.missing, view.meta["sides"][k]["hatched"])
                _whisker(pen, x, low, high, line + 5)
            text = "no such layer" if absent else interval(metric, value, low, high)
            pen.text(_RIGHT + 8, line + 5, text, theme.ink_muted if absent else theme.ink, 9)
        ratio, same = numbers["ratio"][g], bool(view.array(f"{by} same")[g])
        text = units.MISSING if math.isnan(ratio) else f"{'≈ ' * same}{units.significant(ratio, 3)}×"
        pen.text(WIDTH - 12, y + _PAIR / 2, text, theme.ink_muted if same else theme.ink, 11, anchor="rm", bold=not same)


def _has(view: ViewData, by: str, group: int, side: dict[str, Any]) -> bool:
    """True where the profile has a layer."""
    return bool(view.array(side["ran"])[view.array(f"{by} group") == group].any())


_PAIR_NUMBERS = ("before", "before_low", "before_high", "after", "after_low", "after_high", "ratio")
