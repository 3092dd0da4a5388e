"""The ES modules and style sheets of the views that draw on a canvas, whole: ``base`` stands in front of each in one scope.

A view's module knows nothing of Jupyter; the notebook, the HTML report and the Lab extension take the same text.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"

D3 = "d3-scale-4.0.3.min"
"""Scales and ticks, for views with axes of numbers: ``d3.scaleLinear``, ``d3.scaleLog``."""

_FILES = {
    "heatmap": ("heatmap_groups", "heatmap"),
    "timeline": ("timeline_drawing", "timeline"),
    "pareto": (D3, "axes", "points", "pareto"),
    "roofline": (D3, "axes", "points", "roofline"),
    "icicle": (D3, "axes", "icicle"),
    "difference": (D3, "axes", "difference"),
}
"""Modules of more than one file, in their order."""


@cache
def script(*views: str) -> str:
    """The module of one view (``heatmap``, ``memory``, ``timeline`` ...) or of several, with all they need; it exports render functions."""
    files = dict.fromkeys(name for view in views for name in _FILES.get(view, (view,)))  # what two of them need comes once
    return "\n".join((STATIC / f"{name}.js").read_text("utf-8") for name in ("base", *files))


@cache
def style(*views: str) -> str:
    """One style sheet for these views."""
    return "\n".join((STATIC / f"{name}.css").read_text("utf-8") for name in ("base", *views))


@cache
def own_style(view: str) -> str:
    """The style sheet of ``view`` alone, for where ``base`` is there already."""
    return (STATIC / f"{view}.css").read_text("utf-8")
