"""One measurement: load, warm up until flat, then plain and instrumented runs interleaved in blocks.

Each block holds a few plain runs, the same number of instrumented runs, and a few runs of every probe (chains of tiny
nodes that show what the instrument costs), all within some tens of milliseconds, so that clocks and neighbours are the
same for all of them. Sessions are made anew several times when loading is cheap, since where a session's memory lies
changes its speed by per cents. Every other block starts with the instrumented runs.
"""

from __future__ import annotations

import os
import zlib
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from .health import available_memory
from .machine import Machine
from .runtimes import Refused
from .runtimes.base import Runtime, Session

FEWEST_BLOCKS = 20
BLOCK_NS = 2_000_000_000  # more blocks when they would take longer: a measurement can be stopped between two of them
MAX_SESSIONS = 5
SESSION_NS = 10_000_000_000  # more sessions when they would take longer: layers can be looked at when a session has ended
EVENT_CAP = 800_000  # ONNX Runtime's tracer keeps 1,000,000 events and drops the rest
FEWEST_EVENTS = 20_000  # a session holds as many however short memory is
EVENT_BYTES = 2_500  # what an event takes in the tracer, seen on 1.32
PROBE_RUNS = 6
PROBE_SETTLE = 2
EARLY_BLOCKS = 5
FLAT = 0.98  # warm-up ends after two windows in a row that are not faster than this times the best before
WARM_UP_LIMIT_S = 10.0
WINDOW_S = 0.05
LONG_RUN_NS = 20_000_000
MOST_TIMES = 50_000  # in one frame, whose header has a limit
PIECE = 1 << 20
EXECUTED = "(executed)"
"""Subject of the trace of the session whose optimised model was saved."""
EARLY = "(early) "
"""Stands before a probe's name while nothing is measured yet."""


class Measurement:
    """Does one job and tells ``host`` as it goes."""

    def __init__(self, host: Any, job: Dict[str, Any], frames: Sequence[Any], machine: Machine) -> None:
        self._host, self._job, self.machine = host, job, machine
        self._options = dict(job["options"], workdir=job["workdir"])
        self._started = machine.now_ns()
        self._began_ns = int(job.get("began_ns") or self._started)
        self._environment: Dict[str, Any] = {}
        self._process: Dict[str, Dict[str, int]] = {}
        self._faults = {"minor_faults": 0, "major_faults": 0}
        self._frames = frames
        self._load_ns = 1
        self.compression = int(job["compression"])

    def run(self) -> Dict[str, Any]:
        """Measures; the fields of the ``result`` message. ``complete`` is False when it was stopped early."""
        job = self._job
        if job.get("cpus"):
            _pin(self.machine, job["cpus"])
        self._environment = self.machine.fingerprint()
        runtime = self.machine.load(job["runtime"])
        self._note_memory("import")
        inputs = runtime.decode_arrays([f for f in self._frames if f.type == "array"])
        model = _Subject(self, runtime, job["model_path"], inputs)
        model.pair = (self._load(runtime, model), None)
        run_ns = self._warm_up(model)
        events = self._scout(model)
        probes = [self._probe(runtime, f) for f in self._frames if f.type == "probe"]
        self._probe_early(probes)
        complete = self._blocks(model, run_ns, events, probes)
        for probe in probes:
            probe.send_trace()
        return {"complete": complete, "environment_after": self.machine.fingerprint(), "process": self._process}

    def say(self, kind: str, fields: Dict[str, Any], payload: bytes = b"") -> None:
        """Passes a message to the host."""
        self._host.say(kind, fields, payload)

    @property
    def options(self) -> Dict[str, Any]:
        """Options of every session."""
        return self._options

    def _load(self, runtime: Runtime, model: "_Subject") -> Session:
        self.say("progress", {"phase": "load", "done": 0, "total": 0})
        start = self.machine.now_ns()
        session = model.open(instrumented=False)
        loaded = self.machine.now_ns()
        self._note_memory("load")
        self._say_window("load", start, loaded)
        first = session.run(1)
        self._note_memory("first run")
        times = {"start_ns": self._started, "load_ns": loaded - start, "first_run_ns": first[1] - first[0]}
        providers = self._options.get("providers") or ["CPUExecutionProvider"]
        what = {"runtime": runtime.name, "runtime_version": runtime.version, "providers": providers, "environment": self._environment}
        self.say("loaded", dict(times, **what))
        return session

    def _warm_up(self, model: "_Subject") -> float:
        """Runs until flat; the run time in ns at the end. Says every warm-up run's time to the host."""
        wanted = self._job["warmup"]
        session = model.plain
        began = self.machine.now_ns()
        self.say("progress", {"phase": "warmup", "done": 0, "total": 0 if wanted == "auto" else wanted})
        times: List[int] = []
        if wanted != "auto":
            while len(times) < int(wanted) and not self._host.cancelled():
                times += _durations(session.run(1))
        else:
            flat = self._until_flat(session, times)
            if not flat:
                self.say("message", {"id": "not-flat", "text": "run times were still falling after %.0f s of warm-up" % WARM_UP_LIMIT_S})
        for first in range(0, max(1, len(times)), MOST_TIMES):
            self.say("warmup", {"times_ns": times[first : first + MOST_TIMES]})
        self._note_memory("steady")
        self._say_window("warmup", began, self.machine.now_ns(), len(times))
        return _median(times[-9:]) if times else float(_durations(session.run(1))[0])

    def _until_flat(self, session: Session, times: List[int]) -> bool:
        now, best, level = self.machine.now_ns, float("inf"), 0
        began = now()
        while now() - began < WARM_UP_LIMIT_S * 1e9 and not self._host.cancelled():
            window: List[int] = []
            opened = now()
            while len(window) < 3 or now() - opened < WINDOW_S * 1e9:
                window += _durations(session.run(1))
            times += window
            middle = _median(window)
            level = level + 1 if middle >= FLAT * best else 0
            best = min(best, middle)
            if level >= 2:
                return True
        return False

    def _scout(self, model: "_Subject") -> int:
        """Events of one instrumented run, counted; sends the optimised model on the way."""
        save_to = os.path.join(self._options["workdir"], "executed.onnx") if self._job["save_executed"] else ""
        try:
            session = model.open(instrumented=True, save_to=save_to)
        except Refused:
            if not save_to:
                raise
            # Some providers compile nodes into what cannot be saved; measure all the same.
            self.say("message", {"id": "executed-not-saved", "text": "the runtime cannot save the optimised model with these providers"})
            session = model.open(instrumented=True)
        else:
            for piece in pieces(save_to) if save_to else ():
                self.say("executed", {}, piece)
        start = session.run(1)[0]
        path = session.end_trace()
        with open(path, "rb") as file:
            events = sum(1 for _ in file)
        # The names that the runtime makes up differ from session to session: the saved model's are those of this run.
        send_trace(self._host, EXECUTED, path, [[0, 1]], [start], self.compression)
        return max(1, events)

    def _probe(self, runtime: Runtime, frame: Any) -> "_Subject":
        data = frame.payload
        options = dict(self._options, optimization="disabled", providers=["CPUExecutionProvider"], provider_options={})
        inputs = {"x": runtime.decode_array("float32", frame.fields["shape"], b"\0" * frame.fields["input_bytes"])}
        subject = _Subject(self, runtime, data, inputs, options, frame.fields["name"])
        subject.pair = (subject.open(False), subject.open(True) if frame.fields["instrumented"] else None)
        return subject

    def _probe_early(self, probes: List["_Subject"]) -> None:
        """A few blocks of the probes with instruments of their own, whose traces are sent at once.

        What is shown while it runs is corrected with these. The result is not: its probes run among the model's runs, until the end.
        """
        early = [probe.double(EARLY + probe.name) for probe in probes]
        for block in range(EARLY_BLOCKS):
            self._run_probes(early, block)
        for subject in early:
            subject.send_trace()

    def _blocks(self, model: "_Subject", run_ns: float, events: int, probes: List["_Subject"]) -> bool:
        runs = int(self._job["runs"])
        limit = self._job.get("time_limit_s")
        in_turn = self._memory_is_short()
        blocks = _split(runs, min(runs, max(FEWEST_BLOCKS, int(2 * runs * run_ns / BLOCK_NS), runs // MOST_TIMES)))
        groups = _group(blocks, self._sessions(run_ns, events, blocks, in_turn))
        settle = 0 if run_ns > LONG_RUN_NS else 1
        if in_turn:
            self.say(
                "message",
                {"id": "memory-short", "text": "memory is short: plain and instrumented runs take turns in one session at a time"},
            )
            model.close()
        done, began = 0, self.machine.now_ns()
        for number, group in enumerate(groups):
            measure = self._in_turn if in_turn else self._interleaved
            for count in measure(model, number, group, settle, probes):
                done += count
                self.say("progress", {"phase": "measure", "done": done, "total": runs})
                late = limit is not None and self.machine.now_ns() - self._began_ns > limit * 1e9
                if done < runs and (late or self._host.cancelled()):
                    self._say_window("measure", began, self.machine.now_ns(), 2 * done)
                    if late:
                        text = "it stopped at the time limit of %s s with %d of %d runs" % (limit, done, runs)
                        self.say("message", {"id": "time-limit", "text": text})
                    model.send_trace()
                    return False
            model.send_trace()
        self._say_window("measure", began, self.machine.now_ns(), 2 * done)
        return True

    def _interleaved(
        self, model: "_Subject", number: int, group: List[Tuple[int, int]], settle: int, probes: List["_Subject"]
    ) -> Iterator[int]:
        """A pair of sessions, plain and instrumented runs in turn within each block. The first plain session is the warm one."""
        model.session = number
        model.pair = (model.pair[0] or model.open(False), model.open(True))
        for index in (0, 1):
            model.settle(index, 1 if settle == 0 else 3)
        for block, count in group:
            plain_first = block % 2 == 0
            times: Dict[int, List[int]] = {}
            for index in (0, 1) if plain_first else (1, 0):
                model.settle(index, settle)
                times[index] = model.measure(index, block, count)
            self._say_block(model, block, plain_first, times[0], times[1])
            self._run_probes(probes, block)
            yield count

    def _in_turn(
        self, model: "_Subject", number: int, group: List[Tuple[int, int]], settle: int, probes: List["_Subject"]
    ) -> Iterator[int]:
        """One session: instrumented runs first, then plain runs in the same session once its instrument is off."""
        model.session = number
        session = model.open(True)
        model.pair = (session, session)
        model.settle(1, 2)
        instrumented = {}
        for block, count in group:
            instrumented[block] = model.measure(1, block, count)
            self._run_probes(probes, block)
        model.send_trace(keep=True)
        model.settle(0, 1)
        for block, count in group:
            self._say_block(model, block, False, model.measure(0, block, count), instrumented[block])
            yield count
        model.close()

    def _run_probes(self, probes: List["_Subject"], block: int) -> None:
        for probe in probes:
            times: Dict[int, List[int]] = {0: [], 1: []}
            for index in (0, 1) if probe.pair[1] else (0,):
                probe.settle(index, PROBE_SETTLE)
                times[index] = probe.measure(index, block, PROBE_RUNS)
            self._say_block(probe, block, True, times[0], times[1])

    def _say_block(self, subject: "_Subject", block: int, plain_first: bool, plain: List[int], instrumented: List[int]) -> None:
        fields = {"of": subject.name, "index": block, "session": subject.session, "plain_first": plain_first}
        self.say("block", dict(fields, plain=plain, instrumented=instrumented))

    def _sessions(self, run_ns: float, events: int, blocks: List[int], in_turn: bool) -> int:
        """How many times to make the sessions anew: as often as 15 % of the run time and 0.4 s pay for, within the tracer's cap."""
        runs = sum(blocks)
        cap = EVENT_CAP
        memory = available_memory()
        if memory is not None:
            cap = max(FEWEST_EVENTS, min(cap, memory // 10 // EVENT_BYTES))
        needed = -(-(runs + 2 * len(blocks)) * events // cap)
        if events > EVENT_CAP:
            self.say(
                "message",
                {"id": "event-cap", "text": "one run makes %d events, more than the tracer keeps; late layers are missing" % events},
            )
        affordable = int((0.15 * 2 * runs * run_ns + 0.4e9) // (2 * self._load_ns))
        wanted = max(1, min(max(MAX_SESSIONS, int(2 * runs * run_ns / SESSION_NS)), affordable))
        return min(len(blocks), max(wanted, needed, 2 if in_turn else 1))

    def _memory_is_short(self) -> bool:
        """True when a second session of the size of the first would not fit twice into what is free."""
        free = available_memory()
        took = [self._process.get(phase, {}).get("peak_bytes", 0) for phase in ("import", "load")]
        return free is not None and 2 * (took[1] - took[0]) > free

    def _note_memory(self, phase: str) -> None:
        """Keeps what the process takes at the end of a phase; peak and faults are those of the phase."""
        found = self.machine.memory()
        for name in self._faults:
            if name in found:
                found[name], self._faults[name] = found[name] - self._faults[name], found[name]
        self._process[phase] = found
        self.machine.forget_peak()

    def _say_window(self, phase: str, start_ns: int, end_ns: int, runs: int = 0) -> None:
        self.say("window", {"phase": phase, "start_ns": start_ns, "end_ns": end_ns, "runs": runs})

    def note_open(self, duration_ns: int) -> None:
        """Remembers what making a session costs."""
        self._load_ns = max(1, duration_ns)


class _Subject:
    """What is measured: the model, or a probe. Keeps the order of its instrumented runs for whoever reads the trace."""

    def __init__(
        self,
        owner: Measurement,
        runtime: Runtime,
        model: Any,
        inputs: Dict[str, Any],
        options: Optional[Dict[str, Any]] = None,
        name: str = "",
    ) -> None:
        self._owner, self._runtime, self._model, self._inputs = owner, runtime, model, inputs
        self._options = options or owner.options
        self.name = name
        self.session = 0
        self.pair: Tuple[Optional[Session], Optional[Session]] = (None, None)
        self._order: List[Tuple[int, int]] = []
        self._starts: List[int] = []

    def open(self, instrumented: bool, save_to: str = "") -> Session:
        """A new session of it."""
        now = self._owner.machine.now_ns
        start = now()
        session = self._runtime.open(self._model, self._inputs, self._options, instrumented, save_to)
        if not self.name and not save_to:
            self._owner.note_open(now() - start)
        return session

    def double(self, name: str) -> "_Subject":
        """The same under another name, with an instrumented session of its own where this has one; the plain one is shared."""
        other = _Subject(self._owner, self._runtime, self._model, self._inputs, self._options, name)
        other.pair = (self.pair[0], other.open(True) if self.pair[1] is not None else None)
        return other

    def settle(self, index: int, count: int) -> None:
        """Runs that nobody counts, so that caches are the session's own."""
        if count:
            self._run(index, -1, count)

    def measure(self, index: int, block: int, count: int) -> List[int]:
        """Runs that count, plain (0) or instrumented (1): [start, end, start, end ...] in ns."""
        return self._run(index, block, count)

    def send_trace(self, keep: bool = False) -> None:
        """Ends the instrument of the instrumented session and sends what it wrote."""
        session = self.pair[1]
        if session is None or not self._order:
            return
        send_trace(self._owner, self.name, session.end_trace(), self._order, self._starts, self._owner.compression)
        self._order, self._starts = [], []
        if not keep:
            self.close()

    @property
    def plain(self) -> Session:
        """The session that is not instrumented."""
        if self.pair[0] is None:
            raise RuntimeError("no plain session is open")
        return self.pair[0]

    def close(self) -> None:
        """Frees the sessions."""
        self.pair = (None, None)

    def _run(self, index: int, block: int, count: int) -> List[int]:
        session = self.pair[index]
        if session is None:
            raise RuntimeError("no session is open")
        times = session.run(count)
        if index == 1:
            self._order.append((block, count))
            self._starts += times[::2]
        return times


def _pin(machine: Machine, cpus: Sequence[int]) -> None:
    try:
        machine.pin(list(cpus))
    except (OSError, ValueError) as error:
        have = ", ".join(map(str, machine.cpus()))
        raise Refused("cpus", "cannot pin to CPUs %s; this board has CPUs %s" % (", ".join(map(str, cpus)), have)) from error


def _split(total: int, parts: int) -> List[int]:
    """``total`` in ``parts`` sizes that differ by one at most."""
    if parts < 1:
        return []
    return [total * (i + 1) // parts - total * i // parts for i in range(parts)]


def _group(blocks: List[int], sessions: int) -> List[List[Tuple[int, int]]]:
    """(block, runs) in order, dealt to the sessions one after another."""
    numbered = list(enumerate(blocks))
    sizes = _split(len(blocks), sessions)
    groups, at = [], 0
    for size in sizes:
        groups.append(numbered[at : at + size])
        at += size
    return groups


def _durations(times: List[int]) -> List[int]:
    return [times[i + 1] - times[i] for i in range(0, len(times), 2)]


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def send_trace(host: Any, of: str, path: str, order: Sequence[Sequence[int]], starts_ns: Sequence[int], compression: int) -> None:
    """Sends a runtime's trace file in pieces and removes it. ``order``: (block, runs) as they were made, ``starts_ns`` of each run."""
    squeeze = zlib.compressobj(compression)
    for piece in pieces(path):
        data = squeeze.compress(piece)
        if data:
            host.say("trace", {"of": of}, data)
    host.say("trace", {"of": of, "order": order, "starts_ns": starts_ns, "last": True}, squeeze.flush())
    os.remove(path)


def pieces(path: str) -> Iterator[bytes]:
    """What a file holds, in pieces that fit into a frame."""
    with open(path, "rb") as file:
        while True:
            piece = file.read(PIECE)
            if not piece:
                return
            yield piece
