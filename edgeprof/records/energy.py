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
from edgeprof.records.power import WindowPower, is_stuck, stuck_spans, window_power
from edgeprof.records.rows import Row
from edgeprof.records.trace import EnergyTrace, Trace, Window
from edgeprof.units import NS_PER_MS

Floats = npt.NDArray[np.float64]

DRAWS = 2000
THROTTLED = "throttled"
SIGMAS = 3.0
_QUANTILES = (2.5, 97.5)
_OF_WINDOW = 0.05
_T_OF_PARTS = 2.776 / 1.96
"""Student's t for the parts of one window in place of 1.96: all there is when no loop was run in a second pass."""


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
    """The whole model in a loop: mJ a run, mW, ms a run, draws of both energies. One block alone tells nothing of how blocks differ."""

    total_mj: float
    above_mj: float
    total_draws: Floats
    above_draws: Floats
    loop_mw: float
    loop_ms: float
    above_mw: float
    above_error_mw: float
    blocks: int


@dataclass(frozen=True)
class _LoopPower:
    """Power above idle of one loop and its standard error in mW; passes it was seen in, seconds it ran, why it has no power."""

    mean_mw: float
    error_mw: float
    passes: int
    seconds: float
    why_not: str = ""


def layer_energy(trace: Trace, rows: Sequence[Row], executed: Graph | None, times: LayerTimes) -> LayerEnergy:
    """Energy of each row of the layer table; all NaN, with the reason in the context, where it was not measured."""
    told, asked = trace.energy, trace.plan.energy
    if told is None or not told.channels:
        return _nothing(len(rows), Energy(asked=asked, reason=_sentence(_why_nothing(trace))))
    fit = _usable([w for w in trace.windows if w.phase in ("idle", "model", "layers")])
    wholly = is_stuck(trace.channels, trace.samples, told.channels)
    spans = () if wholly else stuck_spans(trace.channels, trace.samples, told.channels, fit)
    windows = [w for w in fit if not _is_within(w, spans)]
    power = window_power(windows, trace.channels, trace.samples, told.channels)
    idle = _Idle(windows, power)
    anchor = _anchor(windows, power, idle)
    context = replace(_context(trace, told, windows, power, idle, anchor), stuck_s=sum(end - start for start, end in spans) / 1e9)
    if anchor is None or context.method == "":
        return _nothing(len(rows), context)
    whys = (
        ("the board slowed itself down", trace.windows), ("the power sensor was stuck", fit),
        ("the power sensor gave too few readings", windows),
    )  # fmt: skip
    loops = _loops(whys, windows, power, idle, len(told.groups))
    if executed is None or not any(loop.passes for loop in loops):
        reason = context.reason or (_why_no_layers(loops, told, rows) if asked == "layers" else "")
        return _nothing(len(rows), replace(context, reason=_sentence(reason)))
    return _by_layer(rows, executed, times, told, loops, anchor, context)


_NOT_ASKED = "it was not asked for; a power sensor is there: use --energy model or --energy layers"
_STOPPED = "it was stopped before energy was measured"


def _why_nothing(trace: Trace) -> str:
    """Why there is no energy at all; empty for a trace that knows nothing of power, such as an imported one."""
    refused = trace.energy.refused if trace.energy is not None else ""
    if refused or trace.no_power:
        return refused or trace.no_power
    if trace.plan.energy != "off":
        return _STOPPED
    return _NOT_ASKED if any(channel.is_power for channel in trace.channels) else ""


def _why_no_anchor(windows: Sequence[Window], power: WindowPower) -> str:
    known = [w.phase for w, mw in zip(windows, power.mean_mw, strict=True) if not math.isnan(mw)]
    if not any(w.phase == "model" and w.runs for w in windows):
        return "it was stopped before the model's energy was known"
    if "model" in known and not any(w.phase == "idle" and not w.note for w in windows):
        return "the board was not seen at rest, so idle power is not known"
    return "the power sensor gave too few readings"


def _why_no_layers(loops: Sequence[_LoopPower], told: EnergyTrace, rows: Sequence[Row]) -> str:
    """Why no layer has an energy though they were asked for, nobody refused them, and the model has its own."""
    if any(loop.passes for loop in loops):
        return "the optimised model that the runtime saved is not there or cannot be read, so nobody knows which loop was which layer"
    if loops:
        return f"no loop of a layer can be used: {', or '.join(sorted({loop.why_not for loop in loops}))}"
    if not rows:
        return "the optimised model has no layers"
    return "it was stopped before any layer was measured" if told.planned_s is None else "no layer can be run by itself"


def _usable(windows: Sequence[Window]) -> list[Window]:
    """Without those in which the board slowed itself down; with those of the model, or of the layers, when there they are the rule.

    A finding says that it slowed down.
    """
    rule = set()
    for phase in ("model", "layers"):
        notes = [w.note for w in windows if w.phase == phase]
        if 2 * notes.count(THROTTLED) > len(notes):
            rule.add(phase)
    return [replace(w, note="") if w.note == THROTTLED else w for w in windows if w.note != THROTTLED or w.phase in rule]


def _is_within(window: Window, spans: Sequence[tuple[float, float]]) -> bool:
    """True when a good part of the window lies in one of the spans."""
    least = _OF_WINDOW * (window.end_ns - window.start_ns)
    return any(min(window.end_ns, end) - max(window.start_ns, start) > least for start, end in spans)


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
        len(mean),
    )


def _context(trace: Trace, told: EnergyTrace, windows: Sequence[Window], power: WindowPower, idle: _Idle, anchor: _Anchor | None) -> Energy:
    """What is known of the whole model, and why there is no more than that."""
    found = Energy(asked=trace.plan.energy, channels=told.channels, scope=told.scope, planned_s=told.planned_s)
    reason = told.refused
    ran = any(w.phase == "model" and w.runs for w in windows)  # at rest alone a coarse sensor may well read the same all the time
    if ran and is_stuck(trace.channels, trace.samples, told.channels):
        return replace(found, reason=_sentence(reason or "the power sensor is stuck: all its readings are the same"))
    if anchor is None:
        return replace(found, reason=_sentence(reason or _why_no_anchor(windows, power)))
    model = np.array([w.phase == "model" for w in windows], bool)
    before, after = _around(windows, power, idle)
    around = [mw for mw in (before, after) if mw is not None]
    sampling_mw, sampling_error_mw = _sampling(power, idle)
    total_low, total_high = _interval(anchor.total_draws, anchor)
    above_low, above_high = _interval(anchor.above_draws, anchor)
    whole = replace(
        found,
        method="model",
        reason=_sentence(reason),
        inference_mj=anchor.total_mj,
        inference_low_mj=total_low,
        inference_high_mj=total_high,
        above_idle_mj=anchor.above_mj,
        above_idle_low_mj=above_low,
        above_idle_high_mj=above_high,
        loop_mw=anchor.loop_mw,
        loop_ms=anchor.loop_ms,
        idle_mw=sum(around) / len(around) if around else float(idle.mw.mean()),
        idle_before_mw=before,
        idle_after_mw=after,
        sampling_mw=sampling_mw,
        sampling_error_mw=sampling_error_mw,
        lag=_lag(trace, told, windows, anchor),
        runs=int(sum(w.runs for w, is_model in zip(windows, model, strict=True) if is_model)),
        samples=int(power.readings[model].sum()),
        seconds=float(power.seconds[model].sum()),
    )
    if not reason and anchor.above_mw < SIGMAS * anchor.above_error_mw:
        sigma = f"{anchor.above_mw:.0f} mW above idle, give or take {anchor.above_error_mw:.0f} mW"
        whole = replace(whole, reason=_sentence(f"the power sensor cannot tell the model from rest: {sigma}"))
    return whole


def _around(windows: Sequence[Window], power: WindowPower, idle: _Idle) -> tuple[float | None, float | None]:
    """Idle power in mW of the last rest before the model's loop, and of the first one after."""
    at: list[int] = np.flatnonzero(idle.anchor & ~np.isnan(power.mean_mw)).tolist()
    start = min((w.start_ns for w in windows if w.phase == "model"), default=0)
    before = [float(power.mean_mw[i]) for i in at if windows[i].end_ns <= start]
    after = [float(power.mean_mw[i]) for i in at if windows[i].start_ns > start]
    return before[-1] if before else None, after[0] if after else None


def _sampling(power: WindowPower, idle: _Idle) -> tuple[float | None, float | None]:
    """(mW, its standard error) of reading the sensors at their full rate: the idle line less rest while they were read slowly."""
    quiet = np.flatnonzero(idle.quiet & ~np.isnan(power.mean_mw))
    if not len(quiet) or not len(idle.at):
        return None, None
    cost = float((idle.line(power.at_ns[quiet]) - power.mean_mw[quiet]).mean())
    own = float(np.sqrt(np.sum(np.nan_to_num(power.error_mw[quiet]) ** 2))) / len(quiet)
    return cost, math.hypot(own, float(np.nan_to_num(idle.error_mw)))


def _lag(trace: Trace, told: EnergyTrace, windows: Sequence[Window], anchor: _Anchor) -> float | None:
    """See `Energy.lag`; None when there is no rest after the loop, 0 when the step was over as far as can be told."""
    ends = max((w.end_ns for w in windows if w.phase == "model" and w.round < 0), default=None)
    rest = next((w for w in windows if ends is not None and w.phase == "idle" and not w.note and w.start_ns >= ends), None)
    if rest is None:
        return None
    third = (rest.end_ns - rest.start_ns) // 3
    parts = [replace(rest, end_ns=rest.start_ns + third), replace(rest, start_ns=rest.end_ns - third)]
    power = window_power(parts, trace.channels, trace.samples, told.channels)
    excess, error = float(power.mean_mw[0] - power.mean_mw[1]), math.hypot(*np.nan_to_num(power.error_mw))
    step = anchor.loop_mw - float(power.mean_mw[1])
    if math.isnan(excess) or step <= 0:
        return None
    return excess / step if excess > SIGMAS * error else 0.0


def _interval(draws: Floats, anchor: _Anchor) -> tuple[float | None, float | None]:
    """The 95 % interval; (None, None) where it is not known."""
    if anchor.blocks < 2 or np.isnan(draws).any():
        return None, None
    low, high = (float(bound) for bound in np.percentile(draws, _QUANTILES))
    return low, high


def _loops(
    whys: Sequence[tuple[str, Sequence[Window]]], windows: Sequence[Window], power: WindowPower, idle: _Idle, groups: int
) -> list[_LoopPower]:
    """Power of each loop above idle. ``whys``: what is wrong with a loop that was among these windows and not among those that follow."""
    above = power.mean_mw - idle.line(power.at_ns)
    own: list[list[int]] = [[] for _ in range(groups)]
    why_not = ["it was stopped before"] * groups
    for reason, some in whys:
        for window in some:
            if window.phase == "layers" and 0 <= window.group < groups:
                why_not[window.group] = reason
    for i, window in enumerate(windows):
        if window.phase == "layers" and 0 <= window.group < groups and not math.isnan(above[i]):
            own[window.group].append(i)
    squares, freedom = 0.0, 0
    for members in own:
        if len(members) > 1 and power.mean_mw[members].all():
            squares += float(np.sum(((above[members] - above[members].mean()) / power.mean_mw[members]) ** 2))
            freedom += len(members) - 1
    pooled = math.sqrt(squares / freedom) if freedom else math.nan
    return [
        _loop_power(members, above, power, pooled) if members else _LoopPower(math.nan, math.nan, 0, 0.0, reason)
        for members, reason in zip(own, why_not, strict=True)
    ]


def _loop_power(members: Sequence[int], above: Floats, power: WindowPower, pooled: float) -> _LoopPower:
    chosen = list(members)
    within = float(np.sqrt(np.sum(power.error_mw[chosen] ** 2))) / len(chosen)
    if math.isnan(pooled):
        within *= _T_OF_PARTS
    between = pooled * float(power.mean_mw[chosen].mean()) / math.sqrt(len(chosen))
    return _LoopPower(float(above[chosen].mean()), float(np.fmax(within, between)), len(chosen), float(power.seconds[chosen].sum()))


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
    row_of = {node: at[name] for node, name in enumerate(top) if name in at}
    for node, why in told.skipped.items():
        if node in row_of:
            method[row_of[node]] = f"no loop: {why}"
    for number, group in enumerate(told.groups):
        for node, time_ns in zip(group.nodes, group.isolated_ns, strict=False):
            if node in row_of and time_ns > 0:
                isolated[row_of[node]] = time_ns
        members = [row_of[node] for node in group.nodes if node in row_of]
        for row in members:
            group_of[row], method[row] = number, _method(rows[row], len(members), loops[number])
    time_ms, below, beyond = _times_with_bodies(rows, times)
    power = np.array([loops[g].mean_mw if g >= 0 else math.nan for g in group_of])
    error = np.array([loops[g].error_mw if g >= 0 else math.nan for g in group_of])
    told_apart = power > SIGMAS * np.nan_to_num(error)
    energy = np.where(told_apart, power * time_ms / 1e3, math.nan)
    low = energy - np.hypot(1.96 * error * time_ms, power * below) / 1e3
    high = energy + np.hypot(1.96 * error * time_ms, power * beyond) / 1e3
    total = float(np.nansum(energy)) if not np.isnan(energy).all() else math.nan
    is_above = anchor.above_mj > 0 and not math.isnan(total)
    draws = _gap_draws(group_of, time_ms, loops, told_apart, anchor)
    gap_low, gap_high = _interval(draws, anchor) if is_above else (None, None)
    names = [tuple(rows[int(i)].name for i in np.flatnonzero(group_of == g)) for g in range(len(loops))]
    shown = replace(
        context,
        method="layers",
        passes=max(loop.passes for loop in loops),
        layers_mj=None if math.isnan(total) else total,
        closure_gap=1 - total / anchor.above_mj if is_above else None,
        closure_gap_low=gap_low,
        closure_gap_high=gap_high,
        groups=tuple(_use(own, loop, group.copies) for own, loop, group in zip(names, loops, told.groups, strict=True)),
    )
    closed = energy * (anchor.above_mj / total) if is_above and total > 0 else np.full(n, math.nan)
    return LayerEnergy(
        np.append(power, math.nan),
        np.append(energy, anchor.above_mj - total),
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
        return f"no loop that can be used: {loop.why_not}"
    if not loop.mean_mw > SIGMAS * float(np.nan_to_num(loop.error_mw)):
        return f"not told from idle: {loop.mean_mw:.0f} mW, give or take {np.nan_to_num(loop.error_mw):.0f} mW"
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
    half = 1.96 * loop.error_mw
    low, high = (None, None) if math.isnan(half) else (loop.mean_mw - half, loop.mean_mw + half)
    return EnergyGroupUse(layers, loop.mean_mw, low, high, copies, loop.seconds)


def _nothing(rows: int, context: Energy) -> LayerEnergy:
    blank = np.full(rows + 1, math.nan)
    return LayerEnergy(blank, blank, blank, blank, blank, blank, ("",) * (rows + 1), context)


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "!", "?")) else text + "."
