"""Findings on the conditions of a measurement: was the board quiet, cool and steady, and did everything arrive?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from edgeprof import units
from edgeprof.records import board_state
from edgeprof.records.profile import Finding
from edgeprof.records.trace import Block, Trace

DRIFT = 0.05
OUTLIERS = 0.05
_MADS = 5.0
_MAD_TO_SIGMA = 1.4826
_FEW = 4


def condition_findings(trace: Trace, runs: pd.DataFrame) -> tuple[Finding, ...]:
    """What a reader of this trace's numbers must know of how they came about."""
    found = [Finding(key, "warning", _as_sentence(text)) for key, text in trace.messages]
    if not trace.complete:
        found.append(Finding("incomplete", "warning", _stopped(trace, int((~runs["instrumented"]).sum()))))
    found += _drift(trace.blocks)
    found += _outliers(runs)
    found += _throttled(trace)
    found += _board(trace.environment, trace.environment_after)
    return tuple(found)


def _stopped(trace: Trace, done: int) -> str:
    if done < trace.plan.runs:
        return f"The measurement was stopped after {done} of {trace.plan.runs} plain runs."
    phase = f"in the {trace.stopped_in} phase" if trace.stopped_in else "early"
    return f"The measurement was stopped {phase}, after all {done} plain runs."


def mark_outliers(latency: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """True where a run took over 5 scaled MADs longer than the median run (and over 2 % longer, if all were alike)."""
    if not len(latency):
        return np.zeros(0, bool)
    middle = np.median(latency)
    spread = _MAD_TO_SIGMA * np.median(np.abs(latency - middle))
    return np.asarray(latency > middle + max(_MADS * spread, 0.02 * middle))


def _drift(blocks: Sequence[Block]) -> Iterator[Finding]:
    """Rank correlation of a block's plain median with its number, and the change from the first to the last third."""
    levels = np.array([np.median(b.plain_ns) for b in blocks if len(b.plain_ns)])
    if len(levels) < 6:
        return
    order = np.argsort(np.argsort(levels))
    correlation = float(np.corrcoef(np.arange(len(levels)), order)[0, 1])
    third = len(levels) // 3
    change = float(np.median(levels[-third:]) / np.median(levels[:third]) - 1)
    # 1.96 / sqrt(n - 1): 95 % bound of Spearman's rank correlation when there is no trend
    if abs(change) > DRIFT and abs(correlation) > 1.96 / np.sqrt(len(levels) - 1):
        word = "slower" if change > 0 else "faster"
        yield Finding("drift", "warning", f"Runs became {abs(change):.0%} {word} from the first to the last third of the measurement.")


def _outliers(runs: pd.DataFrame) -> Iterator[Finding]:
    plain = runs[~runs["instrumented"]]
    share = float(plain["outlier"].mean()) if len(plain) else 0.0
    if share > OUTLIERS:
        worst = units.latency(float(plain["latency_ms"].max()))
        yield Finding(
            "outliers", "warning", f"{share:.0%} of the plain runs took much longer than the median run; the slowest took {worst}."
        )


def _board(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Finding]:
    """What the fingerprints say; each with what to do."""
    if board_state.clock_is_fixed(before) is False:
        governors = " and ".join(board_state.governors(before)[:3])
        yield Finding(
            "governor", "warning", f"The clock was not fixed: the CPU governor is {governors}. Set it to performance for steadier numbers."
        )
    if before.get("virtual_machine"):
        yield Finding(
            "virtual-machine", "info", "The board is a virtual machine: its neighbours share the processor, and clocks cannot be seen."
        )
    yield from _others(before, after)
    short = max((p for p in (board_state.pressure(state, "memory") for state in (before, after)) if p is not None), default=0.0)
    if short >= board_state.SHORT_PERCENT:
        text = f"The board was short of memory: programs waited for it {short:.0f} % of the time. End some, or use a smaller model."
        yield Finding("memory-pressure", "warning", text)
    yield from _supply(before, after)
    free = min((f for f in map(board_state.disk_free, (before, after)) if f is not None), default=None)
    if free is not None and free < board_state.LEAST_DISK_BYTES:
        text = f"The board's disk is almost full: {units.size(free)} are free. Make room before the next measurement."
        yield Finding("disk-full", "warning", text)


def _others(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Finding]:
    """Load and waiting from before the job, which itself is load; names from before and meanwhile, without the job's own."""
    signs = []
    known = board_state.load(before)
    if known is not None and board_state.is_loaded(before):
        signs.append(f"the load was {known[0]:.1f} on {known[1]} CPUs before it began")
    waited = board_state.pressure(before, "cpu")
    if waited is not None and waited >= board_state.BUSY_PERCENT:
        signs.append(f"tasks had waited for a CPU {waited:.0f} % of the time")
    gpu = board_state.gpu_load(before)
    if gpu is not None and gpu >= board_state.BUSY_GPU:
        signs.append(f"the GPU was {gpu:.0%} busy before it began")
    signs += [words for words in (board_state.busy_words(after) or board_state.busy_words(before),) if words]
    if signs:
        yield Finding("busy", "warning", f"Others were running: {'; '.join(signs)}. End them and measure again.")


def _supply(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Finding]:
    """A supply that is too weak, a battery, a power mode that sets clocks."""
    if _is_weak(before, after):
        text = "The board's supply was too weak (under-voltage), which holds clocks down. Use a stronger supply or a shorter cable."
        yield Finding("under-voltage", "warning", text)
    if "battery" in (before.get("power_source"), after.get("power_source")):
        yield Finding(
            "on-battery", "info", "The board ran on its battery, which may hold clocks down. Plug it in for numbers at full speed."
        )
    mode = board_state.clean(before.get("power_mode"), 40)
    if mode:
        yield Finding("power-mode", "info", f"The board's power mode was {mode}; other modes give other numbers.")


def _throttled(trace: Trace) -> Iterator[Finding]:
    """Whether the board slowed itself down meanwhile: counters that rose, flags and alarms; else what sensors counted."""
    before, after = trace.environment, trace.environment_after
    counts = board_state.throttle_counts(before)
    signs = [cpu for cpu, n in board_state.throttle_counts(after).items() if n > counts.get(cpu, n)]
    if len(signs) > _FEW:
        signs = [f"{len(signs)} cores"]
    signs += [sign for state in (before, after) for sign in board_state.slowed_down(state) or ()]
    signs += sorted(_new_flags(before, after) - {board_state.UNDER_VOLTAGE})
    told = list(dict.fromkeys(signs))[:_FEW]
    if told:
        text = (
            f"The board slowed itself down during the measurement ({', '.join(told)}). Let it cool, or cool it better, and measure again."
        )
        yield Finding("throttled", "warning", text)
        return
    events = 0 if _is_weak(before, after) else _counted(trace)  # a weak supply is counted too
    if events:
        times = "once" if events == 1 else f"{events} times"
        text = f"The board slowed itself down {times} during the measurement. Let it cool, or cool it better, and measure again."
        yield Finding("throttled", "warning", text)


def _is_weak(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    now = any(map(board_state.under_voltage, (before, after)))
    return now or board_state.UNDER_VOLTAGE in _new_flags(before, after)


def _new_flags(before: Mapping[str, Any], after: Mapping[str, Any]) -> frozenset[str]:
    """Flags of the firmware that have been up since boot, and had not been when it began."""
    was, are = (board_state.throttle_flags(state, "since_boot") for state in (before, after))
    return frozenset() if was is None or are is None else are - was


def _counted(trace: Trace) -> int:
    """Events that the ``throttle`` sensor counted while it was read."""
    for index, channel in enumerate(trace.channels):
        if channel.name == "throttle/count":
            values = trace.samples.of(index)[1]
            return round(float(values.max() - values[0])) if len(values) else 0
    return 0


def _as_sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
