"""Where each layer stands under the board's roof: achieved GFLOP/s over arithmetic intensity, and the ceilings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from edgeprof.analysis.names import listed
from edgeprof.errors import UsageError
from edgeprof.records.peaks import Ceiling, Peaks, Source
from edgeprof.records.profile import Profile

FLOPS_PER_MAC = 2
POINT_COLUMNS = (
    "index", "name", "op_type", "precision", "latency_ms", "share", "macs", "arithmetic_intensity", "gflops", "gb_s", "roof_gflops",
    "of_roof", "bound",
)  # fmt: skip

_TRUSTED_MS = 0.005
"""A shorter layer sets no ceiling: what is left of the profiler's own time would."""

_STANDS_FOR_ALL = "float32"
"""A layer of a precision that has no ceiling of its own is judged by this one."""


@dataclass(frozen=True)
class Roofline:
    """Points and ceilings of one profile.

    ``points`` has `POINT_COLUMNS`, one row a layer that has MACs, bytes and a latency above 0. ``roof_gflops`` is the most that the
    ceilings leave a layer of its precision and intensity, ``of_roof`` the part of it that was reached, ``bound`` which ceiling is the lower
    there: ``compute`` or ``memory``. ``ceilings`` are the compute ceilings, the highest first, and the memory ceiling last; empty when
    there is no point and no peaks. ``source`` is ``"board"`` when they were measured to find the board's peaks, ``"profile"`` when they are
    only the highest that layers of this profile reached: the board may well do better, and a layer under 5 µs may lie above. ``left_out``
    counts the layers that are not points, by reason. ``notes`` are sentences that belong under the figure.
    """

    points: pd.DataFrame
    ceilings: tuple[Ceiling, ...]
    source: Source
    left_out: Mapping[str, int]
    notes: tuple[str, ...] = ()

    @property
    def compute(self) -> tuple[Ceiling, ...]:
        """The compute ceilings, the highest first."""
        return tuple(one for one in self.ceilings if one.kind == "compute")

    @property
    def shown(self) -> tuple[Ceiling, ...]:
        """The compute ceilings that some point is judged by; all of them when there is none."""
        used = [_compute_of(self.ceilings, precision) for precision in self.points["precision"].unique()]
        return tuple(one for one in self.compute if one in used) or self.compute

    @property
    def peak_gflops(self) -> float:
        """The highest compute ceiling that some point is judged by; NaN when there is none."""
        return max((one.value for one in self.shown), default=math.nan)

    @property
    def memory_gb_s(self) -> float:
        """The memory ceiling; NaN when there is none."""
        return next((one.value for one in self.ceilings if one.kind == "memory"), math.nan)

    @property
    def ridge(self) -> float:
        """Arithmetic intensity in FLOP/B where the memory ceiling meets the highest compute ceiling."""
        return self.peak_gflops / self.memory_gb_s

    @property
    def above(self) -> tuple[str, ...]:
        """Names of the points that lie above a roof that was measured on the board, its uncertainty taken into account."""
        if self.source != "board":
            return ()
        memory = next(one for one in self.ceilings if one.kind == "memory")
        names = []
        for row in self.points.to_dict("records"):
            compute = _compute_of(self.ceilings, row["precision"])
            if row["gflops"] > min(compute.upper, memory.upper * row["arithmetic_intensity"]):
                names.append(str(row["name"]))
        return tuple(names)

    @property
    def ceiling_note(self) -> str:
        """Where the ceilings come from, as a sentence."""
        if self.source == "board":
            return "Ceilings: measured on the board."
        return "Ceilings: the highest of this profile (layers of at least 5 µs), not the board's peak."


def roofline_points(profile: Profile, peaks: Peaks | None = None) -> Roofline:
    """The roofline of ``profile``.

    1. Achieved GFLOP/s is ``2 * macs / latency_ms``; bytes are weights plus activations from shapes, so a layer whose
       data stays in a cache can lie above the memory ceiling of the board. A note names the layers that do.
    2. A layer with no MACs (Relu, Reshape), with unknown ones, or with no latency above 0 is no point; it is counted.
    3. Ceilings are those of ``peaks`` (`edgeprof.peaks.board_peaks`), where it is given: a layer is judged by the ceiling of its own
       precision. One whose precision has none (float64, a mix) is judged by that of float32, and a note says so.
    4. Without peaks they are the highest reached in this profile by a layer of at least 5 µs, one for all precisions.

    Raises:
        UsageError: the peaks are those of another board, runtime, provider or number of threads.
    """
    if peaks is not None and (why := peaks.why_not(profile.context)):
        raise UsageError(f"These peaks cannot judge the profile of {profile.context.model_name}: {why}. Measure them with its settings.")
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
    ceilings = _highest(points) if peaks is None else peaks.ceilings
    points = _judged(points, ceilings)[list(POINT_COLUMNS)].reset_index(drop=True)
    left_out = {reason: int(where.sum()) for reason, where in reasons.items() if where.any()}
    roof = Roofline(points, ceilings, "profile" if peaks is None else "board", left_out)
    if peaks is None:
        return roof
    notes = (*_notes(roof), *(f"Peaks: {note}" for note in peaks.notes), *peaks.doubts(profile.context))
    return Roofline(points, ceilings, "board", left_out, notes)


def _highest(points: pd.DataFrame) -> tuple[Ceiling, ...]:
    if points.empty:
        return ()
    trusted = points[points["latency_ms"] >= _TRUSTED_MS]
    trusted = points if trusted.empty else trusted
    names, gflops, gb_s = (trusted[name].to_numpy() for name in ("name", "gflops", "gb_s"))
    return (
        Ceiling("compute", float(gflops.max()), reached_by=str(names[gflops.argmax()]), source="profile"),
        Ceiling("memory", float(gb_s.max()), reached_by=str(names[gb_s.argmax()]), source="profile"),
    )


def _judged(points: pd.DataFrame, ceilings: Sequence[Ceiling]) -> pd.DataFrame:
    if points.empty:
        return points.assign(roof_gflops=np.empty(0), of_roof=np.empty(0), bound=np.empty(0, object))
    memory = next(one.value for one in ceilings if one.kind == "memory")
    compute = points["precision"].map(lambda precision: _compute_of(ceilings, precision).value).astype(float)
    slope = memory * points["arithmetic_intensity"]
    roof = np.minimum(compute, slope)
    return points.assign(roof_gflops=roof, of_roof=points["gflops"] / roof, bound=np.where(slope < compute, "memory", "compute"))


def _compute_of(ceilings: Sequence[Ceiling], precision: str) -> Ceiling:
    """The compute ceiling that layers of this precision are judged by."""
    compute = {one.precision: one for one in ceilings if one.kind == "compute"}
    for wanted in (precision, "", _STANDS_FOR_ALL):
        if wanted in compute:
            return compute[wanted]
    return max(compute.values(), key=lambda one: one.value)


def _notes(roof: Roofline) -> list[str]:
    notes = []
    above = roof.above
    if above:
        one = len(above) == 1
        notes.append(
            f"{len(above)} layer{'s' * (not one)} ({listed(above, most=3)}) lie{'s' * one} above the measured roof: data that stays in a"
            " cache, a kernel that is faster than those the peaks were measured with, or times that something else disturbed."
        )
    own = {one.precision for one in roof.compute}
    others = sorted({str(precision) for precision in roof.points["precision"]} - own)
    if others:
        named, stand_in = ", ".join(one or "a precision that is not known" for one in others), _compute_of(roof.ceilings, others[0]).label
        notes.append(f"Layers in {named} are judged by the {stand_in} ceiling.")
    return notes
