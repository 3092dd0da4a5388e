"""``diagnose(profile)``: what keeps a model from being faster on its board, with evidence, cost and an experiment each.

Findings (`edgeprof.analysis.bottlenecks`) say what a reader of the numbers must know; diagnoses say what to do about the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from edgeprof.analysis.doctor.against import against_baseline
from edgeprof.analysis.doctor.alignment import widths
from edgeprof.analysis.doctor.bandwidth import bound_by_memory
from edgeprof.analysis.doctor.base import SCHEMA_VERSION, Case, Diagnoses, Diagnosis
from edgeprof.analysis.doctor.conversions import unfused, weights
from edgeprof.analysis.doctor.instructions import no_dot_product, wrong_sign
from edgeprof.analysis.doctor.islands import islands
from edgeprof.analysis.doctor.movement import moved
from edgeprof.analysis.doctor.providers import fallback
from edgeprof.analysis.doctor.redundant import dead, duplicates
from edgeprof.analysis.doctor.tiny import tiny
from edgeprof.records.peaks import Peaks
from edgeprof.records.profile import Profile

__all__ = ["IDS", "RULES", "SCHEMA_VERSION", "Diagnoses", "Diagnosis", "diagnose"]

RULES: tuple[Callable[[Case], Iterator[Diagnosis]], ...] = (
    against_baseline, unfused, weights, wrong_sign, no_dot_product, islands, moved, fallback, widths, bound_by_memory, tiny, dead,
    duplicates,
)  # fmt: skip

IDS = (
    "against-baseline", "qdq-unfused", "weights-dequantized", "activation-type", "no-dot-product", "precision-islands", "layout-reorders",
    "casts", "transposes", "device-copies", "cpu-fallback", "channels-off-alignment", "memory-bound-weights", "tiny-layers", "dead-layers",
    "duplicate-layers",
)  # fmt: skip
"""All that a diagnosis can be; an id keeps its meaning from version to version."""


def diagnose(profile: Profile, *, baseline: Profile | None = None, peaks: Peaks | None = None) -> Diagnoses:
    """What was found, the dearest first, those of unknown cost last. Pure: nothing is run.

    Args:
        profile: of the model in question.
        baseline: of the model that it was made from (the float one), on the same board; then the first question is why it is not faster.
        peaks: what the board can do (`edgeprof.peaks.board_peaks`); then layers count as bound by memory only near its speed.
    """
    case = Case(profile, baseline, peaks)
    found = [diagnosis for rule in RULES for diagnosis in rule(case)]
    return Diagnoses(sorted(found, key=lambda one: math.inf if math.isnan(one.cost_ms) else -one.cost_ms))
