"""What the runtime's profiler adds to the times it reports, and how it is taken off.

While an instrumented run is under way the profiler spends time at two places: inside a layer's own time (it writes down shapes
and memory between reading the clock at the start and at the end) and between two layers (it stores the event). The second is
seen in the trace itself: the *gap* from one event's end to the next one's start. The first is not, but is a nearly constant
multiple of the second: both are the same kind of work, and both slow down together when the clock, the caches or the
neighbours change. The multiple is measured on the board with nets of tiny nodes (`edgeprof.models.probes`) that run among
the model's own runs:

    offset = (base_ratio + tensor_ratio * tensors) * gap

where ``tensors`` counts the layer's inputs and outputs. ONNX Runtime rounds durations down to whole microseconds; half a
microsecond is added to each duration, and taken from each gap, before anything else. ``docs/method.md`` has the measurements behind this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprof.records.trace import Block, EventKind, ProbeRuns, Spans

Floats = npt.NDArray[np.float64]

RESOLUTION_NS = 1000
TRIM = 0.25


@dataclass(frozen=True)
class Calibration:
    """Ratios of time inside a layer to gap, one a block and probe.

    ``tensors``: (probes,) tensors a node. ``ratios``: (probes, blocks); NaN where a probe has no figures. ``unseen_ns`` is how far the
    offset of one call may be off because the probes' durations are rounded down, see `rounding_bound`.
    """

    tensors: Floats
    ratios: Floats
    unseen_ns: float = 0.0

    def coefficients(self, blocks: npt.NDArray[np.int64] | None = None) -> tuple[float, float]:
        """``(base_ratio, tensor_ratio)``: a line through each probe's median over ``blocks`` (all by default).

        A probe that has no figures in ``blocks`` is taken over all.
        """
        chosen = self.ratios if blocks is None else self.ratios[:, blocks]
        empty = [bool(np.isnan(some).all()) for some in chosen]
        levels = np.array([np.nanmedian(own if none else some) for own, some, none in zip(self.ratios, chosen, empty, strict=True)])
        slope = max(0.0, float(np.polyfit(self.tensors, levels, 1)[0]))
        return float(np.mean(levels - slope * self.tensors)), slope


def calibrate(probes: Sequence[ProbeRuns], blocks: Sequence[int]) -> Calibration | None:
    """The ratios that the probes show in these blocks of the model's runs; None when there are too few probes, or one shows nothing."""
    kinds: dict[str, dict[bool, ProbeRuns]] = {}
    for runs in probes:
        kinds.setdefault(runs.probe.name, {})[runs.probe.instrumented] = runs
    pairs = [(pair[False], pair[True]) for pair in kinds.values() if len(pair) == 2]
    if len(pairs) < 2 or not len(blocks):
        return None
    ratios = np.array([_ratios(short, long, blocks) for short, long in pairs])
    if np.isnan(ratios).all(axis=1).any():
        return None
    unseen = float(np.mean([_unseen(long, blocks) for _, long in pairs]))
    return Calibration(np.array([float(long.probe.tensors) for _, long in pairs]), ratios, unseen)


def _counts(kind: EventKind) -> bool:
    """True for the nodes that the longer probe has more of."""
    return kind.name.startswith("m")


def _ratios(short: ProbeRuns, long: ProbeRuns, blocks: Sequence[int]) -> list[float]:
    shorts, longs = ({block.index: block for block in runs.blocks} for runs in (short, long))
    nodes = long.probe.nodes - short.probe.nodes
    return [_ratio(shorts[b], longs[b], nodes) if b in shorts and b in longs else np.nan for b in blocks]


def _ratio(short: Block, long: Block, nodes: int) -> float:
    """(time the profiler spends inside a node) / (gap after it), of one block; ``nodes`` are those that the longer probe has more."""
    spans = long.spans
    counted = np.array([_counts(kind) for kind in spans.kinds] or [False])
    if not len(spans) or not counted.any():
        return np.nan
    plain_ns = (np.median(long.plain_ns) - np.median(short.plain_ns)) / nodes
    mine = counted[spans.kind]
    kernel_ns = _mean_over_kinds(spans.duration_ns[mine], spans.kind[mine]) + RESOLUTION_NS / 2
    gap_ns = gap_of(spans)
    return float((kernel_ns - plain_ns) / gap_ns) if gap_ns > 0 else np.nan


def _unseen(probe: ProbeRuns, blocks: Sequence[int]) -> float:
    """ns: how far the mean over the nodes that count may be off; they differ in length, so their `rounding_bound`s are independent."""
    spans = [block.spans for block in probe.blocks if block.index in blocks and len(block.spans)]
    names = sorted({kind.name for one in spans for kind in one.kinds if _counts(kind)})
    at = {name: i for i, name in enumerate(names)}
    if not names:
        return 0.0
    group = np.concatenate([np.array([at.get(kind.name, -1) for kind in one.kinds])[one.kind] for one in spans])
    durations = np.concatenate([one.duration_ns for one in spans])
    return float(np.linalg.norm(rounding_bound(durations[group >= 0], group[group >= 0], len(names)))) / len(names)


def rounding_bound(durations_ns: npt.NDArray[np.int64], group: npt.NDArray[np.int64], groups: int) -> Floats:
    """(groups,) ns: how far the mean duration of each group may be off because each duration is rounded down to `RESOLUTION_NS`.

    Durations that vary by a good part of a step average the rounding out; those that hardly vary all fall on one side of it.
    Of two neighbouring steps in shares p and 1 - p the mean is off by |p - 1/2| of a step at most, which is the root of 1/4 less
    the variance p (1 - p); of one step alone by a half. What varies more is not off. Single odd durations are clipped.
    """
    if not len(durations_ns):
        return np.zeros(groups)
    order = np.lexsort((durations_ns, group))
    steps, group = durations_ns[order] / RESOLUTION_NS, group[order]
    count = np.bincount(group, minlength=groups)
    middle = steps[np.minimum(np.cumsum(count) - count + count // 2, len(steps) - 1)]
    apart = np.clip(steps - middle[group], -1.5, 1.5)
    shift, square = (np.bincount(group, weights, groups) / np.maximum(count, 1) for weights in (apart, apart**2))
    return np.where(count > 0, np.sqrt(np.maximum(0.0, 0.25 - (square - shift**2))) * RESOLUTION_NS, 0.0)


def _mean_over_kinds(values: npt.NDArray[np.int64], kinds: npt.NDArray[np.int32]) -> float:
    return float(np.mean([midmean(values[kinds == kind]) for kind in np.unique(kinds)]))


def gaps(spans: Spans) -> Floats:
    """(n,) ns from the end of each event to the start of the next in the same run and body; NaN where none follows.

    Half the resolution is taken off, since durations are rounded down.
    """
    found = np.full(len(spans), np.nan)
    if len(spans) < 2:
        return found
    order = np.lexsort((spans.start_ns, spans.parent, spans.run))
    first, second = order[:-1], order[1:]
    same = (spans.run[first] == spans.run[second]) & (spans.parent[first] == spans.parent[second]) & (spans.run[first] >= 0)
    gap = spans.start_ns[second] - spans.start_ns[first] - spans.duration_ns[first] - RESOLUTION_NS / 2
    found[first[same]] = gap[same]
    return found


def gap_of(spans: Spans) -> float:
    """The typical gap of these spans in ns: their midmean. NaN when no event follows another.

    Gaps inside bodies count only where there are no others: between the last layer of a Loop's body and the first of its next
    round lies the loop's own work.
    """
    found = gaps(spans)
    for chosen in (spans.parent < 0, spans.parent >= 0):
        known = found[chosen & ~np.isnan(found)]
        if len(known):
            return midmean(known)
    return float("nan")


def midmean(values: npt.NDArray[np.generic]) -> float:
    """Mean of the middle half: nearly as deaf to outliers as the median, and not tied to the clock's steps as it is."""
    return float(np.asarray(values, float)[middle_half(values)].mean())


def middle_half(values: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Indexes of the values without the lowest and the highest quarter (all of fewer than four)."""
    order = np.argsort(np.asarray(values, float), kind="stable").astype(np.int64)
    cut = int(len(order) * TRIM)
    return order[cut : len(order) - cut]
