"""From the spans of interleaved runs to a time for each layer, with an interval.

1. In each block the middle half of the instrumented runs is taken, by the time of the whole run; so is the middle half
   of the plain ones. A layer's time in the block is its mean over those runs, less what the profiler added
   (`edgeprof.records.instrument`), over the mean of the plain runs.
2. Of the blocks the middle half is taken, by instrumented over plain time: where the two did not run under the same
   conditions they cannot be compared. A layer's latency is its mean share over these, times the median of all plain runs.

Whole runs and whole blocks are left out, never single layers: what an interrupt or the system takes now here, now there,
belongs to the plain latency too, and medians of layers would lose it (they summed up to 14 % short). Shares are never
adjusted to add up to one; what is missing or too much is the row between layers.

The interval is the 2.5 and 97.5 percentile of the same computation over blocks drawn with replacement (B. Efron, Bootstrap
methods: another look at the jackknife, Annals of Statistics 7, 1979), calibration and plain runs included, joined with what
rounding may hide (`edgeprof.records.instrument.rounding_bound`) in the layer's and in the probes' durations. One block alone, as
of an imported trace, has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprof.records.instrument import RESOLUTION_NS, Calibration, Floats, gap_of, middle_half, midmean, rounding_bound
from edgeprof.records.trace import Block, EventKind, ProbeRuns

Indexes = npt.NDArray[np.int64]

DRAWS = 300
FEWEST_DRAWS = 60
_MOST_CELLS = 40_000_000


@dataclass(frozen=True)
class LayerTimes:
    """Times in ns; L layers, R instrumented runs in the order of blocks, B blocks.

    ``latency``, ``low``, ``high``, ``p95``, ``raw``, ``calls``: (L,). ``between``, ``between_low``, ``between_high``: what plain runs took
    beyond the layers; NaN without plain runs. ``plain``, ``plain_low``, ``plain_high``: median of the plain runs with its interval.
    ``run_raw``, ``run_latency``, ``run_start``: (R, L) for each run. ``gap``, ``offset``: typical gap and offset of a layer.
    """

    latency: Floats
    low: Floats
    high: Floats
    p95: Floats
    raw: Floats
    calls: Floats
    between: float
    between_low: float
    between_high: float
    plain: float
    plain_low: float
    plain_high: float
    run_raw: Floats
    run_latency: Floats
    run_start: Floats
    gap: float
    offset: float


@dataclass(frozen=True)
class _Runs:
    """(R, L) sums over the calls of a layer in a run; ``inner``: own time without the bodies that ran inside it.

    ``durations`` and ``layer``: (events,) what the runtime said of each event, and whose it is.
    """

    raw: Floats
    inner: Floats
    calls: Floats
    tensors: Floats
    start: Floats
    durations: npt.NDArray[np.int64]
    layer: Indexes


def layer_times(
    blocks: Sequence[Block],
    of_kind: Mapping[EventKind, int],
    layers: int,
    calibration: Calibration | None,
    probes: Sequence[ProbeRuns] = (),
    most_draws: int = DRAWS,
) -> LayerTimes:
    """Times of each of ``layers`` layers; ``of_kind`` says which layer an event belongs to. ``most_draws``: for the intervals."""
    blocks = [block for block in blocks if len(block.spans.run_start_ns)]
    gaps = np.array([_gap(block, probes) for block in blocks])
    runs = [_sums(block, of_kind, layers, gap, corrected=calibration is not None) for block, gap in zip(blocks, gaps, strict=True)]
    chosen = [middle_half(_whole_runs(block)) for block in blocks]
    means = _BlockMeans(
        np.array([r.inner[c].mean(axis=0) for r, c in zip(runs, chosen, strict=True)]).reshape(len(blocks), layers),
        np.array([r.calls[c].mean(axis=0) for r, c in zip(runs, chosen, strict=True)]).reshape(len(blocks), layers),
        np.array([r.tensors[c].mean(axis=0) for r, c in zip(runs, chosen, strict=True)]).reshape(len(blocks), layers),
        gaps,
        np.array([midmean(b.plain_ns) if len(b.plain_ns) else np.nan for b in blocks]),
        np.array([midmean(_whole_runs(block)) for block in blocks]),
    )
    plain_runs = [b.plain_ns.astype(float) for b in blocks]
    base, slope = calibration.coefficients() if calibration else (0.0, 0.0)
    run_offset = [(base * r.calls + slope * r.tensors) * np.nan_to_num(gap) for r, gap in zip(runs, gaps, strict=True)]
    run_latency = np.concatenate([r.inner - offset for r, offset in zip(runs, run_offset, strict=True)])
    run_raw = np.concatenate([r.raw for r in runs])
    calls = np.concatenate([r.calls for r in runs]).mean(axis=0)
    never = calls == 0

    everything = np.arange(len(blocks))
    plain = _median(plain_runs, everything)
    latency = means.latency(everything, base, slope, plain)
    latencies, plains = _bootstrap(means, plain_runs, calibration, most_draws)
    own, common = (calls * _unseen(runs, layers), calls * calibration.unseen_ns) if calibration else (np.zeros(layers), np.zeros(layers))
    unseen = np.hypot(own, common)
    between = plains - latencies.sum(axis=1)
    rest, unseen_rest = plain - float(latency.sum()), math.hypot(*own, float(common.sum()))
    offsets = np.median(np.concatenate(run_offset), axis=0)[calls >= 1]
    return LayerTimes(
        latency=_blank(latency, never),
        low=_blank(_wider(latency, np.percentile(latencies, 2.5, axis=0), -unseen), never | (len(blocks) < 2)),
        high=_blank(_wider(latency, np.percentile(latencies, 97.5, axis=0), unseen), never | (len(blocks) < 2)),
        p95=_blank(np.percentile(run_latency, 95, axis=0), never),
        raw=_blank(np.median(run_raw, axis=0), never),
        calls=calls,
        between=rest,
        between_low=float(_wider(rest, np.percentile(between, 2.5), -unseen_rest)),
        between_high=float(_wider(rest, np.percentile(between, 97.5), unseen_rest)),
        plain=plain,
        plain_low=float(np.percentile(plains, 2.5)),
        plain_high=float(np.percentile(plains, 97.5)),
        run_raw=run_raw,
        run_latency=run_latency,
        run_start=np.concatenate([r.start for r in runs]),
        gap=float(np.nanmedian(gaps)) if calibration else np.nan,
        offset=float(np.median(offsets)) if calibration and len(offsets) else np.nan,
    )


def _unseen(runs: Sequence[_Runs], layers: int) -> Floats:
    """(L,) ns: how far one call of a layer may be off because durations are rounded down, see `rounding_bound`."""
    durations = np.concatenate([r.durations for r in runs]) if runs else np.empty(0, np.int64)
    layer = np.concatenate([r.layer for r in runs]) if runs else np.empty(0, np.int64)
    return rounding_bound(durations, layer, layers)


def _wider(value: Floats | float, bound: Floats | float, by: Floats | float) -> Floats:
    """A bound that is moved away from ``value`` by an independent error; ``by`` is below 0 for a lower bound."""
    return np.asarray(value + np.copysign(np.hypot(np.subtract(bound, value), by), by))


def _whole_runs(block: Block) -> npt.NDArray[np.int64]:
    """(runs,) ns of the instrumented runs, from outside where that was measured, else as the runtime says."""
    return block.instrumented_ns if len(block.instrumented_ns) == len(block.spans.run_start_ns) else block.spans.run_duration_ns


@dataclass(frozen=True)
class _BlockMeans:
    """(B, L) means over the chosen runs of each block; ``gap``, ``plain``, ``instrumented``: (B,)."""

    inner: Floats
    calls: Floats
    tensors: Floats
    gap: Floats
    plain: Floats
    instrumented: Floats

    def latency(self, drawn: Indexes, base: float, slope: float, plain: float) -> Floats:
        """(L,) the mean over the middle half of the ``drawn`` blocks, relative to each block's own plain latency; times ``plain``."""
        has_plain = not np.isnan(self.plain[drawn]).any()
        chosen = drawn[middle_half(self.instrumented[drawn] / self.plain[drawn] if has_plain else self.instrumented[drawn])]
        own = self.inner[chosen]
        if base or slope:
            own = own - (base * self.calls[chosen] + slope * self.tensors[chosen]) * self.gap[chosen, None]
        if not has_plain:
            return np.asarray(own.mean(axis=0))
        return np.asarray((own / self.plain[chosen, None]).mean(axis=0) * plain)


def _bootstrap(means: _BlockMeans, plain_runs: Sequence[Floats], calibration: Calibration | None, most: int) -> tuple[Floats, Floats]:
    """(draws, L) latencies and (draws,) plain medians over blocks drawn with replacement."""
    blocks, layers = means.inner.shape
    draws = max(FEWEST_DRAWS, min(most, _MOST_CELLS // max(1, blocks * layers)))
    rng = np.random.default_rng(0)
    latencies, totals = np.empty((draws, layers)), np.empty(draws)
    for draw in range(draws):
        chosen = np.asarray(rng.integers(0, blocks, size=blocks), np.int64)
        base, slope = calibration.coefficients(chosen) if calibration else (0.0, 0.0)
        totals[draw] = _median(plain_runs, chosen)
        latencies[draw] = means.latency(chosen, base, slope, totals[draw])
    return latencies, totals


def _median(runs: Sequence[Floats], chosen: Indexes) -> float:
    values = np.concatenate([runs[int(b)] for b in chosen]) if len(chosen) else np.empty(0)
    return float(np.median(values)) if len(values) else float("nan")


def _gap(block: Block, probes: Sequence[ProbeRuns]) -> float:
    """The block's gap; a net of one layer has none, then the probes' of the same block."""
    own = gap_of(block.spans)
    if not np.isnan(own):
        return own
    others = [gap_of(b.spans) for runs in probes for b in runs.blocks if b.index == block.index]
    return float(np.nanmean(others)) if others and not np.isnan(others).all() else float("nan")


def _sums(block: Block, of_kind: Mapping[EventKind, int], layers: int, gap: float, *, corrected: bool) -> _Runs:
    spans = block.spans
    runs = len(spans.run_start_ns)
    layer_of = np.array([of_kind.get(kind, -1) for kind in spans.kinds], np.int64)
    tensors_of = np.array([len(kind.input_types) + len(kind.output_types) for kind in spans.kinds], float)
    half = RESOLUTION_NS / 2 if corrected else 0.0
    inner = spans.duration_ns.astype(float) + half
    child = np.flatnonzero(spans.parent >= 0)
    np.subtract.at(inner, spans.parent[child], spans.duration_ns[child] + half + (np.nan_to_num(gap) if corrected else 0.0))
    layer = layer_of[spans.kind] if len(spans) else np.empty(0, np.int64)
    mine = np.flatnonzero((layer >= 0) & (spans.run >= 0))
    cell = spans.run[mine] * layers + layer[mine]

    def total(weights: Floats) -> Floats:
        return np.bincount(cell, weights, runs * layers).astype(float).reshape(runs, layers)

    start = np.full(runs * layers, np.nan)
    start[cell[::-1]] = spans.start_ns[mine[::-1]]
    return _Runs(
        total(spans.duration_ns[mine].astype(float)),
        total(inner[mine]),
        total(np.ones(len(mine))),
        total(tensors_of[spans.kind[mine]] if len(mine) else np.empty(0)),
        start.reshape(runs, layers),
        spans.duration_ns[mine],
        layer[mine],
    )


def _blank(values: Floats, where: npt.NDArray[np.bool_]) -> Floats:
    return np.where(where, np.nan, values)
