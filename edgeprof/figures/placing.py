"""Where things go on a chart of points: how far an axis reaches, and labels that cover nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LOG_SPREAD = 30
_PAD, _REACH = 0.07, 1.2
"""Room around the values, and how far intervals and a bound may push the axis beyond them, in parts of their span."""
_LETTER_PX, _LINE_PX = 6.4, 15.0


@dataclass(frozen=True)
class Span:
    """How far an axis reaches: from ``low`` to ``high``, in powers of ten when it is ``log``."""

    low: float
    high: float
    log: bool = False

    def on_axis(self, value: float) -> float:
        """``value`` as plotly counts along this axis; beyond both ends where it has no place on it."""
        if not self.log:
            return value
        return math.log10(value) if value > 0 else -math.inf

    def part(self, value: float) -> float:
        """Where ``value`` stands, 0 at ``low`` and 1 at ``high``."""
        return (self.on_axis(value) - self.low) / (self.high - self.low)

    def holds(self, value: float) -> bool:
        """Whether ``value`` can be seen."""
        return 0 <= self.part(value) <= 1


def span_of(values: Floats, low: Floats, high: Floats, bound: float = math.nan, *, may_be_log: bool = True) -> Span:
    """The axis of ``values``: it holds them all, and of their intervals and a ``bound`` what does not press them flat."""
    log = may_be_log and bool(values.min() > 0) and bool(values.max() > _LOG_SPREAD * values.min())
    ends = np.concatenate([low, high, [bound]])
    ends = ends[np.isfinite(ends) & ((ends > 0) | (not log))]
    if log:
        values, ends = np.log10(values), np.log10(ends)
    lowest, highest = float(values.min()), float(values.max())
    width = highest - lowest or float(np.ptp([*values, *ends])) or abs(highest) * 0.1 or 1.0
    ends = np.clip(ends, lowest - _REACH * width, highest + _REACH * width)
    lowest, highest = min([lowest, *ends]), max([highest, *ends])
    pad = _PAD * max(highest - lowest, width)
    return Span(lowest - pad, highest + pad, log)


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y going up."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        """Whether they share more than an edge."""
        return self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top


_SIDES = ("top right", "top left", "bottom right", "bottom left")
_NEAR_PX, _AWAY_PX = 7.0, (40.0, 80.0, 130.0, 190.0)


@dataclass(frozen=True)
class Place:
    """Where a text stands: on which ``side`` of its point and how far off, in pixels both ways. An empty side: nowhere."""

    side: str = ""
    gap_px: float = _NEAR_PX

    @property
    def is_near(self) -> bool:
        """Whether the text stands beside its point, so that nothing need lead there."""
        return self.gap_px <= _NEAR_PX


def place(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    obstacles: Sequence[Box],
    size_px: tuple[float, float],
    *,
    better_not: Sequence[Box] = (),
    always: int = 0,
) -> list[Place]:
    """Where each of ``texts`` covers no obstacle and no text before it; nowhere when that is on no side.

    ``points`` are in pixels from the lower left corner of a plot of ``size_px``. What is ``better_not`` is covered only where it must be.
    The first ``always`` texts stand somewhere in any case: farther off, and where nothing is free on what covers least.
    """
    taken, found = list(obstacles), []
    for position, (point, text) in enumerate(zip(points, texts, strict=True)):
        gaps = (_NEAR_PX, *_AWAY_PX) if position < always else (_NEAR_PX,)
        boxes = {Place(side, gap): _box(point, text, side, gap) for gap in gaps for side in _SIDES}
        inside = [one for one in boxes if _inside(boxes[one], size_px)]
        free = [one for one in inside if not any(boxes[one].meets(other) for other in taken)]
        free.sort(key=lambda one: (one.gap_px, sum(boxes[one].meets(other) for other in better_not)))
        if not free and position < always:
            crowd = {one: sum(box.meets(other) for other in taken) for one, box in boxes.items()}
            free = sorted(inside or boxes, key=crowd.__getitem__)
        found.append(free[0] if free else Place())
        taken += [boxes[one] for one in free[:1]]
    return found


def _box(point: tuple[float, float], text: str, side: str, gap: float) -> Box:
    x, y = point
    width = _LETTER_PX * len(text)
    left = x + gap if side.endswith("right") else x - gap - width
    bottom = y + gap if side.startswith("top") else y - gap - _LINE_PX
    return Box(left, bottom, left + width, bottom + _LINE_PX)


def _inside(box: Box, size_px: tuple[float, float]) -> bool:
    return box.left >= 0 and box.bottom >= 0 and box.right <= size_px[0] and box.top <= size_px[1]
