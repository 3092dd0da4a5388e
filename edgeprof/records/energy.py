"""Energy of an inference and of each layer, from windows and samples (docs/energy.md has the method, its reasons and its limits).

1. **Power of a window** is the mean of the readings within it; **idle** is a line through the resting windows around it.
2. **Energy of an inference** is what the channels took while the whole model ran in a loop, over the runs; *above idle* the same
   less idle power times the time. Intervals: blocks of the loop drawn with replacement (bootstrap), with the error of the idle line.
3. **Energy of a layer** is the power above idle of its own loop (mean over passes) times its time *in the model*, as the latency
   measurement has it. Short layers of one op type share a loop, so they share its power.
4. The interval of a layer's power comes from how passes differ, pooled over all loops relative to the power that was read; it is joined
   with the interval of its time as independent.
5. Nothing is scaled: the sum of the layers is compared with the model's energy above idle, and the rest is the row between layers.
   The scaled figures stand in a column of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgeprof.models.graph import Graph
from edgeprof.records.context import Energy, EnergyGroupUse
from edgeprof.records.layer_times import LayerTimes
from edgeprof.records.power import WindowPower, is_stuck, window_power
from edgeprof.records.rows import Row
from edgeprof.records.trace import EnergyTrace, Trace, Window
from edgeprof.units import NS_PER_MS

Floats = npt.NDArray[np.float64]

DRAWS = 2000
THROTTLED = "throttled"
SIGMAS = 3.0
_QUANTILES = (2.5, 97.5)


@dataclass(frozen=True)
class LayerEnergy:
    """(rows + 1,) values of the energy columns, the row between layers last, and what the context keeps."""

    power_mw: Floats
    energy_mj: Floats
    low_mj: Floats
    high_mj: Floats
    closed_mj: Floats
    isolated_ms: Floats
    method: tuple[str, ...]
    context: Energy


@dataclass(frozen=True)
class _Anchor:
    """The whole model in a loop: mJ a run, mW, ms a run, draws of both energies."""

    total_mj: float
    above_mj: float
    total_draws: Floats
    above_draws: Floats
    loop_mw: float
    loop_ms: float
    above_mw: float
    above_error_mw: float


@dataclass(frozen=True)
class _LoopPower:
    """Power above idle of one loop and its standard error in mW; passes it was seen in, seconds it ran."""

    mean_mw: float
    error_mw: float
    passes: int
    seconds: float


def layer_energy(trace: Trace, rows: Sequence[Row], executed: Graph | None, times: LayerTimes) -> LayerEnergy:
    """Energy of each row of the layer table; all NaN, with the reason in the context, where it was not measured."""
    told, asked = trace.energy, trace.plan.energy
    if told is None or not told.channels:
        reason = (told.refused if told is not None else "") or trace.no_power
        return _nothing(len(rows), Energy(asked=asked, reason=_sentence(reason or _NOT_ASKED)))
    windows = _usable([w for w in trace.windows if w.phase in ("idle", "model", "layers")])
    power = window_power(windows, trace.channels, trace.samples, told.channels)
    idle = _Idle(windows, power)
    anchor = _anchor(windows, power, idle)
    context = _context(trace, told, windows, power, idle, anchor)
    if anchor is None or context.method == "":
        return _nothing(len(rows), context)
    loops = _loops(windows, power, idle, len(told.groups))
    if executed is None or not any(loop.passes for loop in loops):
        return _nothing(len(rows), context)
    return _by_layer(rows, executed, times, told, loops, anchor, context)


_NOT_ASKED = "it was not asked for; a power sensor is there: use --energy model or --energy layers"


def _usable(windows: Sequence[Window]) -> list[Window]:
    """Without those in which the board slowed itself down; with them when they are the rule (a finding says that)."""
    running = [w for w in windows if w.phase != "idle"]
    cool = [w for w in running if w.note != THROTTLED]
    if 2 * len(cool) >= len(running):
        return [w for w in windows if w.note != THROTTLED]
    return [replace(w, note="") if w.note == THROTTLED else w for w in windows]


class _Idle:
    """The idle line: power of resting windows, interpolated between them."""

    def __init__(self, windows: Sequence[Window], power: WindowPower) -> None:
        self.quiet = np.array([w.phase == "idle" and w.note == "slow" for w in windows], bool)
        resting = np.array([w.phase == "idle" and w.note == "" for w in windows], bool) & ~np.isnan(power.mean_mw)
        order = np.argsort(power.at_ns[resting], kind="stable")
        self.at, self.mw = power.at_ns[resting][order], power.mean_mw[resting][order]
        self.error = power.error_mw[resting][order]
        self.anchor = np.array([w.phase == "idle" and w.note == "" and w.round < 0 for w in windows], bool)

    def line(self, at_ns: Floats) -> Floats:
        """Idle power in mW at these times; NaN when no rest was read."""
        return np.interp(at_ns, self.at, self.mw) if len(self.at) else np.full(len(at_ns), math.nan)

    @property
    def error_mw(self) -> float:
        """Standard error of the line between two rests."""
        known = self.error[~np.isnan(self.error)]
        return float(np.sqrt(np.mean(known**2) / 2)) if len(known) else math.nan


def _anchor(windows: Sequence[Window], power: WindowPower, idle: _Idle) -> _Anchor | None:
    """The model's loop; None when no block of it was read, or no rest."""
    runs = np.array([w.runs for w in windows], float)
    chosen = np.array([w.phase == "model" and w.runs > 0 for w in windows], bool) & ~np.isnan(power.mean_mw)
    if not chosen.any() or not len(idle.at):
        return None
    mean, seconds, runs = power.mean_mw[chosen], power.seconds[chosen], runs[chosen]
    above = mean - idle.line(power.at_ns[chosen])
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(mean), (DRAWS, len(mean)))
    share = (seconds / runs)[drawn]
    idle_error = rng.standard_normal(DRAWS)[:, None] * np.nan_to_num(idle.error_mw)
    weight = runs[drawn]
    total_draws = (mean[drawn] * share * weight).sum(axis=1) / weight.sum(axis=1)
    above_draws = ((above[drawn] + idle_error) * share * weight).sum(axis=1) / weight.sum(axis=1)
    error = math.hypot(float(np.std(above, ddof=1)) / math.sqrt(len(above)) if len(above) > 1 else 0.0, float(np.nan_to_num(idle.error_mw)))
    return _Anchor(
        float((mean * seconds).sum() / runs.sum()),
        float((above * seconds).sum() / runs.sum()),
        total_draws,
        above_draws,
        float(np.average(mean, weights=seconds)),
        float(seconds.sum() / runs.sum() * 1e3),
        float(np.average(above, weights=seconds)),
        error,
    )


def _context(trace: Trace, told: EnergyTrace, windows: Sequence[Window], power: WindowPower, idle: _Idle, anchor: _Anchor | None) -> Energy:
    """What is known of the whole model, and why there is no more than that."""
    found = Energy(asked=trace.plan.energy, channels=told.channels, scope=told.scope, planned_s=told.planned_s)
    reason = told.refused
    if is_stuck(trace.channels, trace.samples, told.channels):
        return replace(found, reason=_sentence(reason or "the power sensor is stuck: all its readings are the same"))
    if anchor is None:
        return replace(found, reason=_sentence(reason or "the power sensor gave too few readings"))
    model = np.array([w.phase == "model" for w in windows], bool)
    resting, known = idle.anchor, ~np.isnan(power.mean_mw)
    rests = power.mean_mw[resting & known]
    quiet = power.mean_mw[idle.quiet & known]
    whole = replace(
        found,
        method="model",
        reason=_sentence(reason) if reason else "",
        inference_mj=anchor.total_mj,
        inference_low_mj=float(np.percentile(anchor.total_draws, _QUANTILES[0])),
        inference_high_mj=float(np.percentile(anchor.total_draws, _QUANTILES[1])),
        above_idle_mj=anchor.above_mj,
        above_idle_low_mj=float(np.percentile(anchor.above_draws, _QUANTILES[0])),
        above_idle_high_mj=float(np.percentile(anchor.above_draws, _QUANTILES[1])),
        loop_mw=anchor.loop_mw,
        loop_ms=anchor.loop_ms,
        idle_mw=float(rests.mean()) if len(rests) else float(idle.mw.mean()),
        idle_before_mw=float(rests[0]) if len(rests) else None,
        idle_after_mw=float(rests[-1]) if len(rests) > 1 else None,
        quiet_idle_mw=float(quiet.mean()) if len(quiet) else None,
        runs=int(sum(w.runs for w, is_model in zip(windows, model, strict=True) if is_model)),
        samples=int(power.readings[model].sum()),
        seconds=float(power.seconds[model].sum()),
    )
    if not reason and anchor.above_mw < SIGMAS * anchor.above_error_mw:
        sigma = f"{anchor.above_mw:.0f} mW above idle, give or take {anchor.above_error_mw:.0f} mW"
        whole = replace(whole, reason=_sentence(f"the power sensor cannot tell the model from rest: {sigma}"))
    return whole


def _loops(windows: Sequence[Window], power: WindowPower, idle: _Idle, groups: int) -> list[_LoopPower]:
    """Power of each loop above idle."""
    above = power.mean_mw - idle.line(power.at_ns)
    own: list[list[int]] = [[] for _ in range(groups)]
    for i, window in enumerate(windows):
        if window.phase == "layers" and 0 <= window.group < groups and not math.isnan(above[i]):
            own[window.group].append(i)
    relative, freedom = 0.0, 0
    for members in own:
        if len(members) > 1:
            deviations = (above[members] - above[members].mean()) / power.mean_mw[members]
            relative += float((deviations**2).sum())
            freedom += len(members) - 1
    pooled = math.sqrt(relative / freedom) if freedom else math.nan
    return [_loop_power(members, above, power, pooled) for members in own]


def _loop_power(members: Sequence[int], above: Floats, power: WindowPower, pooled: float) -> _LoopPower:
    if not members:
        return _LoopPower(math.nan, math.nan, 0, 0.0)
    chosen = list(members)
    within = float(np.sqrt(np.nansum(power.error_mw[chosen] ** 2))) / len(chosen)
    between = pooled * float(power.mean_mw[chosen].mean()) / math.sqrt(len(chosen))
    error = float(np.nanmax([within, between])) if not (math.isnan(within) and math.isnan(between)) else math.nan
    return _LoopPower(float(above[chosen].mean()), error, len(chosen), float(power.seconds[chosen].sum()))


def _by_layer(
    rows: Sequence[Row],
    executed: Graph,
    times: LayerTimes,
    told: EnergyTrace,
    loops: Sequence[_LoopPower],
    anchor: _Anchor,
    context: Energy,
) -> LayerEnergy:
    n = len(rows)
    top = [layer.name for layer in executed.layers if layer.parent is None]
    at = {row.runtime_name: i for i, row in enumerate(rows)}
    group_of, isolated = np.full(n, -1), np.full(n, math.nan)
    method = ["" if row.kind != "nested" else f"part of {row.parent}" for row in rows]
    for node, why in told.skipped.items():
        if node < len(top) and top[node] in at:
            method[at[top[node]]] = f"no loop: {why}"
    for number, group in enumerate(told.groups):
        members = [at[top[node]] for node in group.nodes if node < len(top) and top[node] in at]
        for node, time_ns in zip(group.nodes, group.isolated_ns, strict=False):
            if node < len(top) and top[node] in at:
                isolated[at[top[node]]] = time_ns
        for row in members:
            group_of[row], method[row] = number, _method(rows[row], len(members), loops[number])
    time_ms, below, beyond = _times_with_bodies(rows, times)
    power = np.array([loops[g].mean_mw if g >= 0 else math.nan for g in group_of])
    error = np.array([loops[g].error_mw if g >= 0 else math.nan for g in group_of])
    told_apart = power > SIGMAS * np.nan_to_num(error)
    energy = np.where(told_apart, power * time_ms / 1e3, math.nan)
    relative = 1.96 * error / power
    low = energy - np.abs(energy) * np.hypot(relative, below / time_ms)
    high = energy + np.abs(energy) * np.hypot(relative, beyond / time_ms)
    total = float(np.nansum(energy))
    gap = 1 - total / anchor.above_mj if anchor.above_mj > 0 else math.nan
    draws = _gap_draws(group_of, time_ms, loops, told_apart, anchor)
    names = [tuple(rows[int(i)].name for i in np.flatnonzero(group_of == g)) for g in range(len(loops))]
    shown = replace(
        context,
        method="layers",
        passes=max(loop.passes for loop in loops),
        layers_mj=total,
        closure_gap=gap,
        closure_gap_low=float(np.percentile(draws, _QUANTILES[0])),
        closure_gap_high=float(np.percentile(draws, _QUANTILES[1])),
        groups=tuple(_use(own, loop, group.copies) for own, loop, group in zip(names, loops, told.groups, strict=True)),
    )
    between = anchor.above_mj - total
    closed = energy * (anchor.above_mj / total) if total > 0 else np.full(n, math.nan)
    return LayerEnergy(
        np.append(power, math.nan),
        np.append(energy, between),
        np.append(low, math.nan),
        np.append(high, math.nan),
        np.append(closed, math.nan),
        np.append(isolated / NS_PER_MS, math.nan),
        (*method, "energy above idle of the whole model less the sum of the layers"),
        shown,
    )


def _method(row: Row, members: int, loop: _LoopPower) -> str:
    """How this layer's energy was had, or why there is none."""
    if not loop.passes:
        return "no loop: it was stopped before"
    if not loop.mean_mw > SIGMAS * float(np.nan_to_num(loop.error_mw)):
        return f"not told from idle: {loop.mean_mw:.0f} mW, give or take {loop.error_mw:.0f} mW"
    return "own loop" if members == 1 else f"loop of {members} short {row.op_type} layers, whose power they share"


def _times_with_bodies(rows: Sequence[Row], times: LayerTimes) -> tuple[Floats, Floats, Floats]:
    """(rows,) time in ms with that of the bodies inside, and how far its interval reaches below and above."""
    time = times.latency / NS_PER_MS
    below, above = (times.latency - times.low) / NS_PER_MS, (times.high - times.latency) / NS_PER_MS
    at = {row.name: i for i, row in enumerate(rows)}
    whole = time.copy()
    for i, row in enumerate(rows):
        outer = row
        while outer.parent and outer.parent in at:
            whole[at[outer.parent]] += np.nan_to_num(time[i])
            outer = rows[at[outer.parent]]
    return whole, np.nan_to_num(below), np.nan_to_num(above)


def _gap_draws(
    group_of: npt.NDArray[np.int64], time_ms: Floats, loops: Sequence[_LoopPower], told_apart: npt.NDArray[np.bool_], anchor: _Anchor
) -> Floats:
    """Draws of the closure gap: the model's draws against layers whose powers err independently."""
    rng = np.random.default_rng(1)
    summed = np.zeros(DRAWS)
    for number, loop in enumerate(loops):
        members = (group_of == number) & told_apart
        if members.any():
            error = float(np.nan_to_num(loop.error_mw))
            summed += (loop.mean_mw + error * rng.standard_normal(DRAWS)) * float(np.nansum(time_ms[members])) / 1e3
    return np.asarray(1 - summed / np.where(anchor.above_draws > 0, anchor.above_draws, math.nan))


def _use(layers: tuple[str, ...], loop: _LoopPower, copies: int) -> EnergyGroupUse:
    if not loop.passes:
        return EnergyGroupUse(layers, copies=copies)
    half = 1.96 * float(np.nan_to_num(loop.error_mw))
    return EnergyGroupUse(layers, loop.mean_mw, loop.mean_mw - half, loop.mean_mw + half, copies, loop.seconds)


def _nothing(rows: int, context: Energy) -> LayerEnergy:
    blank = np.full(rows + 1, math.nan)
    return LayerEnergy(blank, blank, blank, blank, blank, blank, ("",) * (rows + 1), context)


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
