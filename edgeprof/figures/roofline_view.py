"""View data of the roofline: layers under the ceilings of the board. Drawn by ``static/roofline.js`` and `roofline_picture`.

1. ``names`` are all layers that ran, in their order; a layer that is no point has NaN for its place, and ``why`` says why.
2. There may be several ceilings, one a precision, and several bandwidths, as of a cache and of the memory behind it. A layer is held
   against the ceiling of its own precision, else that of float32, else the highest, and against the lowest bandwidth.
3. A ceiling that was measured on the board is solid. One that is only the highest of this profile is dashed: the board may do better.
4. ``roof_share`` is what a layer achieves of what its ceilings allow at its arithmetic intensity; above 1 it had its data from a cache.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof.analysis.names import shorten
from edgeprof.analysis.roofline import Roofline, roofline_points
from edgeprof.errors import UsageError
from edgeprof.figures.roofline import SYMBOLS, left_out_line
from edgeprof.figures.theme import LIGHT, op_family
from edgeprof.figures.view import ViewData, header, pack, themes
from edgeprof.records.peaks import Peaks
from edgeprof.records.profile import Profile
from edgeprof.units import significant

Floats = NDArray[np.float64]
Source = Literal["board", "profile"]


class Ceiling(TypedDict):
    """What no layer does more of. ``label`` is the precision it holds for, such as ``float32``, or empty for all."""

    label: str
    gflops: float
    source: Source


class Bandwidth(TypedDict):
    """How fast data come. ``label`` says from where, such as ``memory``; it may be empty."""

    label: str
    gb_s: float
    source: Source


_BOUNDS = ("memory", "compute")
_EMPTY = "No layer has both MACs and a latency: profile a model with instrumented runs, or open another .edgeprof file."


def roofline_view(
    profile: Profile,
    *,
    peaks: Peaks | None = None,
    ceilings: Sequence[Ceiling] | None = None,
    bandwidths: Sequence[Bandwidth] | None = None,
) -> ViewData:
    """The roofline of ``profile``. Without ``ceilings`` or ``bandwidths`` those of `analysis.roofline.roofline_points` with ``peaks`` are
    taken.

    Raises:
        UsageError: a ceiling or bandwidth is no number above 0, its source is neither board nor profile, or the peaks are those of another
            board, runtime, provider or number of threads.
    """
    roof = roofline_points(profile, peaks)
    tops, slopes = _ceilings(roof, ceilings), _bandwidths(roof, bandwidths)
    layers = profile.measured_layers
    points = roof.points.set_index("index").reindex(layers["index"])
    intensity, gflops = points["arithmetic_intensity"].to_numpy(float), points["gflops"].to_numpy(float)
    own = _own_ceilings(layers["precision"], tops)
    slope = min((one["gb_s"] for one in slopes), default=math.nan)
    allowed = np.fmin(own, slope * intensity)
    roof_share = gflops / allowed
    families = list(LIGHT.families)
    arrays: dict[str, NDArray[Any]] = {
        "intensity": intensity, "gflops": gflops, "gb_s": points["gb_s"].to_numpy(np.float32), "roof_share": roof_share.astype(np.float32),
        "latency_ms": layers["latency_ms"].to_numpy(float), "latency_low_ms": layers["latency_low_ms"].to_numpy(float),
        "latency_high_ms": layers["latency_high_ms"].to_numpy(float), "share": layers["share"].to_numpy(np.float32),
        "macs": layers["macs"].to_numpy(np.float32), "bound": (slope * intensity >= own).astype(np.uint8),
        "family": np.array([families.index(op_family(op)) for op in layers["op_type"]], np.uint8),
    }  # fmt: skip
    texts: dict[str, list[str]] = {}
    why = pd.Series(np.where(np.isnan(intensity), _why(layers), ""), dtype=object)
    for name, values in (("op_type", layers["op_type"]), ("precision", layers["precision"]), ("why", why)):
        codes, different = pd.factorize(values)
        arrays[name], texts[name] = codes.astype(np.uint16), [str(value) for value in different]
    drawn = ~np.isnan(intensity)
    number, note = _number(layers["latency_ms"].to_numpy(float), roof_share, tops, slopes)
    meta = {
        "view": "roofline",
        "title": f"Roofline of {profile.title}",
        "header": header(profile, number, note),
        "findings": [],
        "names": [str(name) for name in layers["name"]],
        "ceilings": [_told(one, one["gflops"], "GFLOP/s") for one in tops],
        "bandwidths": [_told(one, one["gb_s"], "GB/s") for one in slopes],
        "ridges": [{"x": one["gflops"] / slope, "y": one["gflops"], "label": one["label"]} for one in tops] if slopes else [],
        "axes": [
            {"title": "Arithmetic intensity (FLOP/B)", **_span(intensity[drawn], [one["gflops"] / slope for one in tops], 2.0, 2.5)},
            {"title": "Achieved (GFLOP/s)", **_span(gflops[drawn], [one["gflops"] for one in tops], 2.5, 2.0)},
        ],
        "lines": _lines(roof, tops, slopes) if drawn.any() else [line for line in [left_out_line(roof)] if line],
        "families": [{"name": name, "shape": shape} for name, shape in zip(families, SYMBOLS, strict=True)],
        "bounds": list(_BOUNDS),
        "estimated": profile.basis == "estimated",
        "basis": profile.basis,
        "texts": texts,
        "themes": themes(texts["op_type"]),
        "empty": "" if drawn.any() else " ".join(filter(None, [_EMPTY, left_out_line(roof)])),
    }  # fmt: skip
    return pack(meta, arrays)


def _ceilings(roof: Roofline, wished: Sequence[Ceiling] | None) -> list[Ceiling]:
    """The compute ceilings, highest first."""
    if wished is None:
        wished = [{"label": one.precision, "gflops": one.value, "source": one.source} for one in roof.shown]
    for one in wished:
        _check(one, one["gflops"], "gflops")
    return sorted(wished, key=lambda one: -one["gflops"])


def _bandwidths(roof: Roofline, wished: Sequence[Bandwidth] | None) -> list[Bandwidth]:
    """The bandwidths, highest first."""
    if wished is None:
        wished = [{"label": "", "gb_s": one.value, "source": one.source} for one in roof.ceilings if one.kind == "memory"]
    for one in wished:
        _check(one, one["gb_s"], "gb_s")
    return sorted(wished, key=lambda one: -one["gb_s"])


def _check(one: Ceiling | Bandwidth, value: float, name: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name} of the ceiling {shorten(repr(one['label']))} is {value!r}; expected a number above 0.")
    if one["source"] not in ("board", "profile"):
        raise UsageError(f"source of the ceiling {shorten(repr(one['label']))} is {one['source']!r}; it can be 'board' or 'profile'.")


def _own_ceilings(precision: pd.Series[str], tops: Sequence[Ceiling]) -> Floats:
    """Of each layer the ceiling of its precision, else that of float32, else the highest; NaN where there is none."""
    highest = tops[0]["gflops"] if tops else math.nan
    by_label = {one["label"]: one["gflops"] for one in reversed(tops)}
    return np.array([by_label.get(str(one), by_label.get("float32", highest)) for one in precision], float)


def _why(layers: pd.DataFrame) -> list[str]:
    """Why a layer is no point; as `analysis.roofline.roofline_points` counts it."""
    macs, latency = layers["macs"].to_numpy(float), layers["latency_ms"].to_numpy(float)
    told = np.select([np.isnan(macs), macs <= 0, ~(latency > 0)], ["MACs not known", "no MACs", "no latency"], "bytes not known")
    return [str(one) for one in told]


def _number(latency: Floats, roof_share: Floats, tops: Sequence[Ceiling], slopes: Sequence[Bandwidth]) -> tuple[str, str]:
    """The one number of the view: how much of the roof the layers reach, by their time."""
    known = np.isfinite(roof_share)
    if not known.any():
        return "–", "no layer has a place under a roof"
    part = float((latency[known] * roof_share[known]).sum() / latency[known].sum())
    measured = all(one["source"] == "board" for one in (*tops, *slopes[-1:]))
    of = "of the board's roof" if measured else "of the highest of this profile"
    count = int(known.sum())
    return f"{part * 100:.0f} %", f"{of}: mean over the time of {count:,} layer{'s' * (count != 1)}"


def _told(one: Ceiling | Bandwidth, value: float, unit: str) -> dict[str, Any]:
    """A ceiling as it is drawn and called."""
    of = one["label"] or ("board" if one["source"] == "board" else "")
    how = "" if one["source"] == "board" else "highest here"
    lead = ", ".join(filter(None, [shorten(of, 24), how]))
    return {"value": value, "text": f"{lead}: {significant(value, 3)} {unit}", "label": one["label"], "solid": one["source"] == "board"}


def _span(values: Floats, others: Sequence[float], below: float, above: float) -> dict[str, Any]:
    """How far a logarithmic axis reaches, in powers of ten."""
    every = [float(value) for value in (*values, *others) if math.isfinite(value) and value > 0] or [1.0, 10.0]
    return {"low": math.log10(min(every) / below), "high": math.log10(max(every) * above), "log": True}


def _lines(roof: Roofline, tops: Sequence[Ceiling], slopes: Sequence[Bandwidth]) -> list[str]:
    """What stands below the chart: where the ceilings come from, and how many layers are left out."""
    sources = {one["source"] for one in (*tops, *slopes)}
    told = [*(_told(one, one["gflops"], "GFLOP/s") for one in tops), *(_told(one, one["gb_s"], "GB/s") for one in slopes)]
    numbers = ", ".join(one["text"].removeprefix("highest here: ").removeprefix("board: ") for one in told)
    dashed = "the highest of this profile (layers of at least 5 µs), not the board's peak"
    notes: Mapping[frozenset[str], str] = {
        frozenset({"board"}): f"Ceilings, measured on the board: {numbers}.",
        frozenset({"profile"}): f"Ceilings: {numbers}; {dashed}.",
        frozenset({"board", "profile"}): f"Ceilings: {numbers}. Solid ones were measured on the board; dashed ones are {dashed}.",
    }
    return [line for line in (notes.get(frozenset(sources), ""), left_out_line(roof), *roof.notes) if line]
