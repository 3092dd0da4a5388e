"""Which run an event belongs to, and which event encloses it: times in whole microseconds, on several threads.

ONNX Runtime writes an event when it ends: the nodes of an If body, then the executor of that body, then the If. Start
and duration are rounded down each, so an event may seem to end up to 1 µs after the one around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprof.importers.events import EXECUTE, MODEL_RUN, Events
from edgeprof.records.trace import Int64

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap", "BeamSearch", "WhisperBeamSearch", "GreedySearch", "Sampling"})
"""Operators that run a graph of their own; no other event can be a parent."""

_ROUNDING_US = 1
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Runs:
    """The events around whole runs, by start.

    ``rows``: (runs,) int64, their places in the file. ``overlap`` is True when one starts before another has ended.
    """

    rows: Int64
    start_us: Int64
    end_us: Int64
    thread: Int64
    overlap: bool


def find_runs(events: Events) -> Runs:
    """The runs of a trace in the order they started."""
    rows = np.flatnonzero(events.code == MODEL_RUN)
    rows = rows[np.argsort(events.start_us[rows], kind="stable")]
    start = events.start_us[rows]
    end = start + events.duration_us[rows]
    return Runs(rows, start, end, events.thread[rows], bool(np.any(start[1:] < end[:-1])))


def assign_runs(events: Events, rows: Int64, runs: Runs) -> Int64:
    """For each of ``rows`` the number of its run, -1 for none.

    1. An event belongs to the last run that starts no later than it does, if that run has not ended before.
    2. When it starts in the very microsecond in which one run ends and the next begins, its place in the file decides.
    3. When runs overlap (several threads use one session), only the run on the event's own thread counts.
    """
    if not runs.overlap:
        return _last_run(events, rows, runs, np.arange(len(runs.rows)))
    assigned = np.full(len(rows), -1, np.int64)
    for thread in np.unique(runs.thread):
        on_thread = events.thread[rows] == thread
        assigned[on_thread] = _last_run(events, rows[on_thread], runs, np.flatnonzero(runs.thread == thread))
    return assigned


def _last_run(events: Events, rows: Int64, runs: Runs, among: Int64) -> Int64:
    start = events.start_us[rows]
    run_start, run_end, run_row = runs.start_us[among], runs.end_us[among], runs.rows[among]
    place = np.searchsorted(run_start, start, side="right") - 1
    if not len(among):
        return place
    tied = (place > 0) & (start == run_start[place]) & (start <= run_end[place - 1] + _ROUNDING_US) & (rows < run_row[place - 1])
    place = np.where(tied, place - 1, place)  # case 2
    inside = (place >= 0) & (start <= run_end[place] + _ROUNDING_US)
    return np.where(inside, among[place], -1)


def find_parents(events: Events, rows: Int64) -> Int64:
    """For each of ``rows`` (node events) the place in ``rows`` of the control-flow event around it, -1 for none.

    1. A parent is a control-flow event on the same thread that holds the child's time, to within the rounding.
    2. The child starts no earlier than the first executor that runs inside the parent: a short layer just before an If
       that shares its first microsecond is not its child.
    3. The child's line stands on the same side of the parent's line as that executor's: a short layer just after an If
       that shares its last microsecond is not its child.
    4. In a trace with no executor events, times decide alone, and an event of no duration at an edge is outside.
    """
    parent = np.full(len(rows), -1, np.int64)
    is_parent = np.array([kind.op_type in CONTROL_FLOW for kind in events.kinds], bool)[events.code[rows]]
    if not is_parent.any():
        return parent
    executors = np.flatnonzero(events.code == EXECUTE)
    for thread in np.unique(events.thread[rows[is_parent]]):
        places = np.flatnonzero(events.thread[rows] == thread)
        on_thread = executors[events.thread[executors] == thread]
        nest = _Nest(events, rows[places], is_parent[places], on_thread, strict=len(executors) > 0)
        found = nest.parents()
        parent[places] = np.where(found >= 0, places[found], -1)
    return parent


class _Nest:
    """The events of one thread: ``rows`` in file order, candidates for a parent sorted by start, outer ones first."""

    def __init__(self, events: Events, rows: Int64, is_parent: Bool, executors: Int64, *, strict: bool) -> None:
        self.rows = rows
        self.start = events.start_us[rows]
        self.end = self.start + events.duration_us[rows]
        candidates = np.flatnonzero(is_parent)
        self.candidates = candidates[np.lexsort((-self.end[candidates], self.start[candidates]))]
        self.strict = strict
        by_start = executors[np.argsort(events.start_us[executors], kind="stable")]
        self._find_bodies(events.start_us[by_start], by_start)

    def _find_bodies(self, starts: Int64, executor_rows: Int64) -> None:
        """Where each candidate's first executor starts (beyond its end: it ran none), and on which side of it that stands."""
        own_start, own_end = self.start[self.candidates], self.end[self.candidates]
        first = np.searchsorted(starts, own_start, side="left")
        if not len(starts):
            self.body_start, self.body_before = own_start + (own_end - own_start + 2) * self.strict, np.ones(len(own_start), bool)
            return
        known = np.minimum(first, len(starts) - 1)
        self.body_start = np.where(first < len(starts), starts[known], own_end + 2)
        self.body_before = executor_rows[known] < self.rows[self.candidates]

    def parents(self) -> Int64:
        """For each event the place in ``rows`` of the innermost candidate around it, -1 for none."""
        outer = self._outer()
        start = self.start[self.candidates]
        child = np.arange(len(self.rows))
        guess = np.searchsorted(start, self.start, side="right") - 1
        while True:
            wrong = (guess >= 0) & ~self._holds(guess, child)
            if not wrong.any():
                return np.where(guess >= 0, self.candidates[guess], -1)
            guess[wrong] = outer[guess[wrong]]

    def _outer(self) -> Int64:
        """For each candidate the one around it, -1 for none: what to try next when it does not hold an event."""
        outer = np.full(len(self.candidates), -1, np.int64)
        starts, ends = self.start[self.candidates].tolist(), self.end[self.candidates].tolist()
        stack: list[int] = []
        for i, start in enumerate(starts):
            child = self.candidates[i : i + 1]
            while stack and (ends[stack[-1]] + _ROUNDING_US < start or not self._holds(np.array(stack[-1:]), child)[0]):
                stack.pop()
            outer[i] = stack[-1] if stack else -1
            stack.append(i)
        return outer

    def _holds(self, guess: Int64, child: Int64) -> Bool:
        """Whether candidate ``guess[i]`` is around event ``child[i]``."""
        place = self.candidates[guess]
        start, end = self.start[child], self.end[child]
        inside = (place != child) & (start >= self.start[place]) & (end <= self.end[place] + _ROUNDING_US)
        if self.strict:
            same_side = (self.rows[child] < self.rows[place]) == self.body_before[guess]
            return np.asarray(inside & (start >= self.body_start[guess]) & same_side)
        at_edge = (start == end) & ((start == self.start[place]) | (start >= self.end[place]))
        return np.asarray(inside & ~at_edge)
