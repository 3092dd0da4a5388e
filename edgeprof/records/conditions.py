"""Findings on the conditions of a measurement: was the board quiet, cool and steady, and did everything arrive?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from edgeprof import units
from edgeprof.records.profile import Finding
from edgeprof.records.trace import Block, Trace

DRIFT = 0.05
OUTLIERS = 0.05
BUSY = 0.5
_MADS = 5.0
_MAD_TO_SIGMA = 1.4826
_STEADY_GOVERNORS = ("performance", "userspace")


def condition_findings(trace: Trace, runs: pd.DataFrame) -> tuple[Finding, ...]:
    """What a reader of this trace's numbers must know of how they came about."""
    found = [Finding(key, "warning", _as_sentence(text)) for key, text in trace.messages]
    if not trace.complete:
        found.append(Finding("incomplete", "warning", _stopped(trace, int((~runs["instrumented"]).sum()))))
    found += _drift(trace.blocks)
    found += _outliers(runs)
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
    governor = before.get("governor")
    if governor and governor not in _STEADY_GOVERNORS:
        yield Finding(
            "governor", "warning", f"The clock was not fixed: the CPU governor is {governor}. Set it to performance for steadier numbers."
        )
    if before.get("virtual_machine"):
        yield Finding(
            "virtual-machine", "info", "The board is a virtual machine: its neighbours share the processor, and clocks cannot be seen."
        )
    load, cpus = before.get("load_1min"), before.get("cpus")
    if isinstance(load, int | float) and isinstance(cpus, int) and load > BUSY * cpus:
        yield Finding("busy", "warning", f"Others were running when it began: the load was {load:.1f} on {cpus} CPUs.")
    throttled = [cpu for cpu, n in dict(after.get("throttle_count", {})).items() if n > dict(before.get("throttle_count", {})).get(cpu, n)]
    if throttled:
        yield Finding("throttled", "warning", f"The processor was too hot and slowed down during the measurement ({', '.join(throttled)}).")


def _as_sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
