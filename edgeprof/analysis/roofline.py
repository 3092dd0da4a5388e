"""Where each layer stands under the board's roof: achieved GFLOP/s over arithmetic intensity, and the ceilings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from edgeprof.records.profile import Profile

FLOPS_PER_MAC = 2
POINT_COLUMNS = ("index", "name", "op_type", "precision", "latency_ms", "share", "macs", "arithmetic_intensity", "gflops", "gb_s")

_TRUSTED_MS = 0.005
"""A shorter layer sets no ceiling: what is left of the profiler's own time would."""


@dataclass(frozen=True)
class Roofline:
    """Points and ceilings of one profile.

    ``points`` has `POINT_COLUMNS`, one row a layer that has MACs, bytes and a latency above 0. ``peak_gflops`` and
    ``memory_gb_s`` are the ceilings, NaN when there is no point. ``source`` is ``"board"`` when both were measured on the
    board, ``"profile"`` when they are only the highest that layers of this profile reached: the board may well do better,
    and a layer under 5 µs may lie above. ``left_out`` counts the layers that are not points, by reason.
    """

    points: pd.DataFrame
    peak_gflops: float
    memory_gb_s: float
    source: Literal["board", "profile"]
    left_out: Mapping[str, int]

    @property
    def ridge(self) -> float:
        """Arithmetic intensity in FLOP/B where the two ceilings meet."""
        return self.peak_gflops / self.memory_gb_s

    @property
    def ceiling_note(self) -> str:
        """Where the ceilings come from, as a sentence."""
        if self.source == "board":
            return "Ceilings: measured on the board."
        return "Ceilings: the highest of this profile (layers of at least 5 µs), not the board's peak."


def roofline_points(profile: Profile) -> Roofline:
    """The roofline of ``profile``.

    1. Achieved GFLOP/s is ``2 * macs / latency_ms``; bytes are weights plus activations from shapes, so a layer whose
       data stays in a cache can lie above the memory ceiling of the board.
    2. A layer with no MACs (Relu, Reshape), with unknown ones, or with no latency above 0 is no point; it is counted.
    3. Ceilings are the board's own where the fingerprint holds ``peak_gflops`` and ``memory_gb_s``; else the highest
       reached in this profile by a layer of at least 5 µs.
    """
    layers = profile.measured_layers
    latency, macs, intensity = layers["latency_ms"], layers["macs"], layers["arithmetic_intensity"]
    reasons = {
        "MACs not known": macs.isna(),
        "no MACs": macs.notna() & (macs <= 0),
        "no latency": (macs > 0) & ~(latency > 0),
        "bytes not known": (macs > 0) & (latency > 0) & ~(np.isfinite(intensity) & (intensity > 0)),
    }
    keep = ~np.logical_or.reduce([reason.to_numpy() for reason in reasons.values()])
    points = layers[keep]
    points = points.assign(gflops=FLOPS_PER_MAC * points["macs"] / (points["latency_ms"] * 1e6))
    points = points.assign(gb_s=points["gflops"] / points["arithmetic_intensity"])
    peak, bandwidth, source = _ceilings(profile, points)
    left_out = {reason: int(where.sum()) for reason, where in reasons.items() if where.any()}
    return Roofline(points[list(POINT_COLUMNS)].reset_index(drop=True), peak, bandwidth, source, left_out)


def _ceilings(profile: Profile, points: pd.DataFrame) -> tuple[float, float, Literal["board", "profile"]]:
    peak, bandwidth = (_positive(profile.context.fingerprint.get(key)) for key in ("peak_gflops", "memory_gb_s"))
    if peak is not None and bandwidth is not None:
        return peak, bandwidth, "board"
    if points.empty:
        return math.nan, math.nan, "profile"
    trusted = points[points["latency_ms"] >= _TRUSTED_MS]
    trusted = points if trusted.empty else trusted
    return float(trusted["gflops"].max()), float(trusted["gb_s"].max()), "profile"


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value > 0 else None
