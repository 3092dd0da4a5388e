"""Text that plotly can show as it is: plotly reads a subset of HTML in every title, tick and hover, and names are not HTML."""

from __future__ import annotations

import html
import math

from edgeprof import units
from edgeprof.analysis.names import shorten, visible
from edgeprof.figures.numbers import show
from edgeprof.figures.theme import origin_label
from edgeprof.records.profile import Profile
from edgeprof.records.schema import column


def label(text: str, limit: int = 40) -> str:
    """``text`` shortened in the middle and escaped: ``<b>`` stays four letters."""
    return html.escape(shorten(text, limit), quote=False)


def wrapped(text: str, width: int = 72, limit: int = 360) -> str:
    """``text`` escaped, in lines of ``width`` characters, for a hover box."""
    text = shorten(text, limit)
    return "<br>".join(html.escape(text[i : i + width], quote=False) for i in range(0, max(1, len(text)), width))


def subtitle(profile: Profile) -> str:
    """What the numbers are of: model, board, runtime, threads, origin and date."""
    words = visible(profile.title).removesuffix(f", {profile.origin}")
    date = profile.context.started_at[:10]
    return html.escape(", ".join(filter(None, [shorten(words, 110), origin_label(profile), visible(date)])), quote=False)


def interval(metric: str, value: float, low: float, high: float) -> str:
    """``1.240 ms [1.221, 1.262]``, or the value alone where there is no interval."""
    if math.isnan(low) or math.isnan(high):
        return show(value, metric)
    if column(metric).unit == "ms":
        return units.latency_interval(value, low, high)
    if column(metric).unit == "mJ":
        return units.energy_interval(value, low, high)
    return f"{show(value, metric)} [{show(low, metric)}, {show(high, metric)}]"
