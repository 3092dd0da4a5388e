"""Which run an event belongs to, and which event encloses it: times in whole microseconds, on several threads.

ONNX Runtime writes an event when it ends: the nodes of an If body, then the executor of that body, then the If. Start
and duration are rounded down each, so an event may seem to end up to 1 µs after the one around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgeprof.importers.events import EXECUTE, MODEL_RUN, Events
from edgeprof.records.trace import EventKind, Int64

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
    before = np.maximum(place - 1, 0)
    tied = (place > 0) & (start == run_start[place]) & (start <= run_end[before] + _ROUNDING_US) & (rows < run_row[before])
    place = np.where(tied, place - 1, place)  # case 2
    inside = (place >= 0) & (start <= run_end[place] + _ROUNDING_US)
    return np.where(inside, among[place], -1)


def find_parents(events: Events, rows: Int64) -> Int64:
    """For each of ``rows`` (node events) the place in ``rows`` of the control-flow event around it, -1 for none.

    1. Each run of a body has an executor event inside its control-flow event. A node belongs to the innermost executor that
       holds its time on its thread, and so to the control-flow event around that: a short layer just before or after an If, in
       its first or last microsecond, is in no executor.
    2. Where a thread's events stand in the order they ended, as ONNX Runtime writes them, what stands behind an event's line is
       not inside it, whatever the rounded times say.
    3. Where they do not (a file sorted by start), or without executor events, a control-flow event holds what starts after
       its first microsecond and ends by its last: it takes that long to begin and end a body.
    """
    parent = np.full(len(rows), -1, np.int64)
    is_control = np.array([kind.op_type in CONTROL_FLOW for kind in events.kinds], bool)[events.code[rows]]
    executors = np.flatnonzero(events.code == EXECUTE)
    for thread in np.unique(events.thread[rows[is_control]]):
        places = np.flatnonzero(events.thread[rows] == thread)
        controls = _Intervals(events, rows[places[is_control[places]]])
        if len(executors):
            bodies = _Intervals(events, executors[events.thread[executors] == thread])
            owner = _rows_at(controls, controls.around(bodies.rows, tight=not controls.by_end))
            found = _rows_at(owner, bodies.around(rows[places]))
        else:
            found = _rows_at(controls, controls.around(rows[places], tight=True))
        parent[places] = np.where(found >= 0, np.searchsorted(rows, found), -1)
    return parent


def kinds_by_place(kinds: Sequence[EventKind], kind: Int64, parent: Int64) -> tuple[tuple[EventKind, ...], Int64]:
    """Kinds that know what they ran inside of, and each event's among them; those that no event has are left out.

    ``kind``: (n,) index into ``kinds``; ``parent``: (n,) the event around each, -1 for none. A node without a name in a body may agree
    with one outside in name, number and shapes; only the place tells them apart.
    """
    if not (parent >= 0).any():
        return tuple(kinds), kind
    made, place = list(kinds), dict[tuple[int, int], int]()
    own = kind.copy()
    depth = depths(parent)
    for level in range(1, int(depth.max()) + 1):
        events = np.flatnonzero(depth == level)
        pairs, which = np.unique(np.stack([kind[events], own[parent[events]]]), axis=1, return_inverse=True)
        for one, around in pairs.T.tolist():
            if (one, around) not in place:
                place[one, around] = len(made)
                made.append(replace(kinds[one], inside=f"{made[around].inside}{made[around].name}\n"))
        own[events] = np.array([place[one, around] for one, around in pairs.T.tolist()], np.int64)[which.ravel()]
    same = {one: i for i, one in reversed(list(enumerate(made)))}  # parents of one name in two shapes make one kind
    own = np.array([same[one] for one in made], np.int64)[own]
    used, kind = np.unique(own, return_inverse=True)
    return tuple(made[i] for i in used.tolist()), kind.ravel()


def depths(parent: Int64) -> Int64:
    """How many events are around each; ``parent`` as above."""
    depth, above = np.zeros(len(parent), np.int64), parent
    while (nested := above >= 0).any():
        depth += nested
        above = np.where(nested, parent[above], -1)
    return depth


def _rows_at(of: _Intervals | Int64, index: Int64) -> Int64:
    """The rows of the intervals ``index``, -1 where that is -1."""
    rows = of.rows if isinstance(of, _Intervals) else of
    return np.where(index >= 0, rows[index], -1) if len(rows) else index


class _Intervals:
    """Events of one thread that hold others, by start, outer ones first."""

    def __init__(self, events: Events, rows: Int64) -> None:
        self._events = events
        end = events.start_us[rows] + events.duration_us[rows]
        order = np.lexsort((-end, events.start_us[rows]))
        self.rows, self.end = rows[order], end[order]
        self.start = events.start_us[self.rows]
        on_thread = events.thread == events.thread[rows[0]] if len(rows) else np.zeros(len(events.thread), bool)
        ends = (events.start_us + events.duration_us)[on_thread]
        self.by_end = bool((np.diff(ends) >= -_ROUNDING_US).all())
        self._outer = self._find_outer()

    def around(self, rows: Int64, *, tight: bool = False) -> Int64:
        """For each event the innermost interval that holds it, -1 for none; ``tight``: without its first microsecond."""
        guess = np.searchsorted(self.start, self._events.start_us[rows], side="right") - 1
        while True:
            wrong = (guess >= 0) & ~self._holds(guess, rows, tight)
            if not wrong.any():
                return guess
            guess[wrong] = self._outer[guess[wrong]]

    def _find_outer(self) -> Int64:
        """For each interval the one around it, -1 for none: what to try next when it does not hold an event."""
        outer = np.full(len(self.rows), -1, np.int64)
        starts, ends = self.start.tolist(), self.end.tolist()
        stack: list[int] = []
        for i, start in enumerate(starts):
            child = self.rows[i : i + 1]
            while stack and (ends[stack[-1]] + _ROUNDING_US < start or not self._holds(np.array(stack[-1:]), child, False)[0]):
                stack.pop()
            outer[i] = stack[-1] if stack else -1
            stack.append(i)
        return outer

    def _holds(self, index: Int64, rows: Int64, tight: bool) -> Bool:
        """Whether interval ``index[i]`` holds event ``rows[i]``; never true both ways round."""
        if not len(self.rows):
            return np.zeros(len(rows), bool)
        start = self._events.start_us[rows]
        end = start + self._events.duration_us[rows]
        if tight:
            inside = (start > self.start[index]) & (start < self.end[index]) & (end <= self.end[index])
        else:
            inside = (start >= self.start[index]) & (end <= self.end[index] + _ROUNDING_US) & (self.rows[index] != rows)
        if self.by_end:
            inside &= rows < self.rows[index]
        return np.asarray(inside)
