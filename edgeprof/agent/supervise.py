"""The supervisor: conducts a job. Phases run one after another, each in a worker process of its own; sensors are read in another.

Why processes: memory figures hold the model alone, a runtime that crashes or hangs in one phase loses nothing of another, and
reading sensors does not stand in the way of what is measured. The supervisor passes on what workers and sampler say; what
goes wrong in the first phase ends the job, in a later one it is said and the job goes on.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
import zlib
from typing import Any, Dict, List, Optional, Sequence

from . import protocol
from .lock import Busy, Lock
from .power import Readings, Source, answer, choose
from .runtimes import Refused
from .work import PHASES

SAMPLER_STARTS_WITHIN_S = 10.0
ENDS_WITHIN_S = 10.0
TELL_EVERY_S = 5.0
SILENT_LIMIT_S = 900.0
"""A worker that says nothing for so long hangs."""
OVER_LIMIT_S = 60.0
"""A job's time limit ends it well; so long after it, it is ended all the same."""


def supervise(host: Any, job: Dict[str, Any], frames: Sequence[Any]) -> Dict[str, Any]:
    """Does the whole job, alone on the board; the fields of the last ``result``."""
    lock = Lock(str(job.get("lock") or ""))
    if not _alone(host, job, lock):
        return {"complete": False, "stopped_in": "wait"}
    try:
        supervisor = Supervisor(host, job, frames)
        try:
            return supervisor.run()
        finally:
            supervisor.close()
    finally:
        lock.release()


def _alone(host: Any, job: Dict[str, Any], lock: Lock) -> bool:
    """Waits until nobody else measures on this board; False when the host does not want to wait any longer."""
    wait_s = float(job.get("wait_s") or 0)
    told: List[float] = []

    def waiting(holder: Dict[str, Any]) -> bool:
        if time.monotonic() > (told[-1] if told else -TELL_EVERY_S) + TELL_EVERY_S:
            told.append(time.monotonic())
            host.say("waiting", dict(holder, wait_s=wait_s))
        return not host.cancelled()

    try:
        return lock.acquire({"who": job.get("who") or "", "job": job.get("job") or ""}, wait_s, waiting)
    except Busy as busy:
        raise Refused("busy", "", busy.holder) from busy


class WorkerDied(Exception):
    """A worker ended without a result; the text says how."""


class Process:
    """A process of this agent's own archive in another role; speaks the protocol."""

    def __init__(self, role: str, *arguments: str) -> None:
        flags: List[str] = getattr(subprocess, "_args_from_interpreter_flags", lambda: [])()  # -I, -S, -X utf8 ... as multiprocessing does
        self._process = subprocess.Popen(
            [sys.executable, *flags, sys.argv[0], role, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self.pid = self._process.pid

    def fileno(self) -> int:
        """For ``select``."""
        return self._process.stdout.fileno()  # type: ignore[union-attr]

    def hear(self) -> Any:
        """The next frame, or None at the end."""
        return protocol.read(self._process.stdout)  # type: ignore[arg-type]

    def say(self, kind: str, fields: Dict[str, Any], payload: bytes = b"") -> None:
        """Sends a frame; nothing when the process is gone."""
        self.send(protocol.encode(kind, fields, payload))

    def send(self, data: bytes) -> None:
        """Sends bytes; nothing when the process is gone."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._process.stdin.write(view) :]  # type: ignore[union-attr]
        except (OSError, ValueError):
            return

    def hang_up(self) -> None:
        """Closes its input, which asks it to end."""
        try:
            self._process.stdin.close()  # type: ignore[union-attr]
        except OSError:
            return

    def kill(self) -> None:
        """Ends it at once, with all that it started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except OSError:
            self._process.kill()

    def end(self) -> str:
        """Waits for its end and ends it if need be; how it ended in words, empty when well."""
        self.hang_up()
        try:
            status = self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]
        return in_words(status)


class Supervisor:
    """Conducts one job."""

    def __init__(self, host: Any, job: Dict[str, Any], frames: Sequence[Any]) -> None:
        self._host, self._job, self._frames = host, job, frames
        self._began_ns = time.perf_counter_ns()
        self._sampler: Optional[Process] = None
        if job.get("sensors") is None or job["sensors"]:
            cpus = ",".join(str(cpu) for cpu in job.get("cpus") or [])
            self._sampler = Process("sample", str(job.get("sysroot") or "/"), cpus, *(job.get("sensors") or []))
        self._sensors: List[Dict[str, Any]] = list(job.get("external") or [])
        self._problems: List[List[str]] = []
        self._sampled: Dict[str, Any] = {}
        self._source: Optional[Source] = None
        self._readings: Optional[Readings] = None
        self._why_not = "the process that reads sensors did not start"
        self._ends_by = 0.0
        self._heard_at = time.perf_counter()
        self._silent_limit_s = float(job.get("silent_limit_s") or SILENT_LIMIT_S)
        self._heard = self._cancelled = self._alone = False

    def run(self) -> Dict[str, Any]:
        """All phases that were asked for; the fields of the result."""
        result: Dict[str, Any] = {"complete": True}
        if self._sampler is None:
            self._choose()
        for phase in self._phases():
            if phase != "latency" and self._is_late():
                text = "the time limit of %s s left no time for the %s phase" % (self._job["time_limit_s"], phase)
                self._host.say("message", {"id": "time-limit", "text": text})
                result["complete"], result["stopped_in"] = False, phase
                break
            try:
                found = self._phase(phase)
            except WorkerDied as death:
                if phase == "latency":
                    raise Refused("died", str(death)) from death
                self._host.say("message", {"id": "%s-failed" % phase, "text": "the %s phase ended early: %s" % (phase, death)})
                found = {}
            after = dict(result.get("environment_after") or {}, **found.get("environment_after") or {})  # what one phase saw stays
            result.update({k: v for k, v in found.items() if k != "complete"}, environment_after=after)
            if not found.get("complete", True) or self._cancelled:
                result["complete"], result["stopped_in"] = False, phase
                break
        self._end_sampler()
        return dict(result, sampling=self._sampled)

    def close(self) -> None:
        """Ends the sampler if it is still there."""
        if self._sampler is not None:
            self._sampler.end()
            self._sampler = None

    def _is_late(self) -> bool:
        limit = self._job.get("time_limit_s")
        return bool(limit is not None and time.perf_counter_ns() - self._began_ns > limit * 1e9)

    def _phases(self) -> List[str]:
        wanted = {"latency": True, "memory": bool(self._job.get("memory")), "energy": self._job.get("energy", "off") != "off"}
        return [phase for phase in PHASES if wanted[phase]]

    def _phase(self, phase: str) -> Dict[str, Any]:
        """Runs a phase in a worker, passing on what it says."""
        if phase == "energy" and not self._has_power():
            self._host.say("energy", {"refused": self._why_not})
            return {}
        worker = Process("work")
        self._heard_at = time.perf_counter()
        try:
            power = self._source._asdict() if self._source else None
            worker.say("job", dict(self._job, phase=phase, power=power, began_ns=self._began_ns))
            for frame in self._frames:
                worker.say(frame.type, frame.fields, frame.payload)
            if self._sampler is not None:
                self._sampler.say("watch", {"pid": worker.pid})
            return self._follow(worker, phase)
        except OSError:  # the host is gone, or the disk full: nobody can have what the worker still says
            worker.kill()
            raise
        finally:
            worker.end()

    def _follow(self, worker: Process, phase: str) -> Dict[str, Any]:
        while True:
            # One at a time, since taking from one may end another; the worker last, since it says the most.
            sources = [*([] if self._alone else [self._host]), *([self._sampler] if self._sampler is not None else []), worker]
            source = next(iter(select.select(sources, [], [], self._patience_s())[0]), None)
            if source is None:
                worker.kill()
                raise WorkerDied(self._why_late())
            if source is self._host:
                self._take_of_host(worker)
            elif source is self._sampler:
                self._take_of_sampler()
            else:
                result = self._take_of_worker(worker, phase)
                if result is not None:
                    return result

    def _take_of_host(self, worker: Process) -> None:
        try:
            frame = self._host.hear()
        except protocol.ProtocolError:
            frame = None
        if frame is None:
            self._alone, self._ends_by = True, time.perf_counter() + ENDS_WITHIN_S
        if frame is None or frame.type in ("cancel", "bye"):
            self._cancelled = True
            worker.say("cancel", {})

    def _patience_s(self) -> Optional[float]:
        """How long to wait for a word: less when nobody is there to hear it, or when the job's time is over."""
        now = time.perf_counter()
        limits = [self._heard_at + self._silent_limit_s, *([self._ends_by] if self._alone else [])]
        if self._job.get("time_limit_s") is not None:
            limits.append(self._began_ns / 1e9 + float(self._job["time_limit_s"]) + OVER_LIMIT_S)
        return max(0.0, min(limits) - now)

    def _why_late(self) -> str:
        if self._alone and time.perf_counter() >= self._ends_by:
            return "it did not stop when the host was gone"
        if time.perf_counter() >= self._heard_at + self._silent_limit_s:
            return "it said nothing for %.0f s and was ended; the runtime hangs" % self._silent_limit_s
        return "it was still busy %.0f s after the time limit and was ended" % OVER_LIMIT_S

    def _take_of_worker(self, worker: Process, phase: str) -> Optional[Dict[str, Any]]:
        self._heard_at = time.perf_counter()
        try:
            frame = worker.hear()
        except protocol.ProtocolError as error:
            worker.kill()
            raise WorkerDied("it said something that is no message (%s)" % error) from error
        if frame is None:
            raise WorkerDied(worker.end() or "it closed the connection")
        if frame.type == "result":
            return dict(frame.fields)
        if frame.type == "error" and phase != "latency":
            raise WorkerDied(frame.fields["message"])
        if frame.type == "power":
            worker.say("power", self._power(frame.fields))
        elif frame.type in ("slow", "full"):
            if self._sampler is not None:
                self._sampler.say(frame.type, {})
        elif frame.type == "error":
            raise Refused(str(frame.fields["kind"]), str(frame.fields["message"]))
        elif frame.type != "hello":
            self._host.say(frame.type, frame.fields, frame.payload)
        return None

    # Sensors

    def _has_power(self) -> bool:
        """Whether there is power to measure; waits for the sampler's list of sensors if need be."""
        if not self._heard and self._sampler is not None and select.select([self._sampler], [], [], SAMPLER_STARTS_WITHIN_S)[0]:
            self._take_of_sampler()
        return self._source is not None

    def _choose(self) -> None:
        """Picks the channels whose sum counts, and says which sensors there are."""
        self._heard = True
        plan = self._job.get("energy_plan") or {}
        providers = (self._job.get("options") or {}).get("providers") or []
        self._source, self._why_not = choose(self._sensors, plan.get("channels") or [], providers)
        if self._source is None and self._problems:
            texts = [text for key, text in self._problems if not key.endswith("-info")]  # what is only told stands in the reason itself
            self._why_not = ": ".join([self._why_not, *(["; ".join(texts)] if texts else [])])
        fields = {"sensors": self._sensors, "problems": self._problems, "source": self._source and self._source._asdict()}
        self._host.say("sensors", dict(fields, why_not=self._why_not))
        external = {c["name"] for s in self._sensors if s.get("external") for c in s["channels"]}
        if self._source is not None and not external.intersection(self._source.channels):
            self._readings = Readings(self._sensors, self._source)

    def _take_of_sampler(self) -> None:
        try:
            frame = self._sampler.hear() if self._sampler is not None else None
        except protocol.ProtocolError:
            frame = None
        if frame is None:
            self.close()
            text = "the process that reads sensors ended early; what it had read is kept"
            self._host.say("message", {"id": "sampler-failed", "text": text})
            if not self._heard:  # an external meter may be there
                self._problems = [["sampler-failed", text]]
                self._choose()
        elif frame.type == "sensors":
            self._sensors = frame.fields["sensors"] + self._sensors
            self._problems = frame.fields["problems"]
            self._choose()
        elif frame.type == "samples":
            if self._readings is not None:
                self._readings.add(frame.payload)
            self._host.say("samples", {}, zlib.compress(frame.payload, int(self._job.get("compression", 0))))
        elif frame.type == "sampled":
            self._sampled = dict(frame.fields)

    def _power(self, fields: Dict[str, Any]) -> Dict[str, Any]:
        """Answers a worker that asks what the power was; waits until the readings have arrived."""
        if self._readings is None:
            return {}
        end = time.perf_counter() + 1.0
        while self._sampler is not None and time.perf_counter() < end:
            if not select.select([self._sampler], [], [], max(0.0, end - time.perf_counter()))[0]:
                break
            self._take_of_sampler()
            if time.perf_counter_ns() - int(fields["end_ns"]) > 500_000_000:
                break
        return answer(self._readings, int(fields["start_ns"]), int(fields["end_ns"]), self._source, self._problems)

    def _end_sampler(self) -> None:
        """Lets the sampler say the rest."""
        if self._sampler is None:
            return
        self._sampler.hang_up()
        while self._sampler is not None and not self._sampled:
            if not select.select([self._sampler], [], [], ENDS_WITHIN_S)[0]:
                break
            self._take_of_sampler()
        self.close()


def in_words(status: int) -> str:
    """How a process ended, empty when well."""
    if status >= 0:
        return "exit status %d" % status if status else ""
    try:
        return "killed by %s" % signal.Signals(-status).name
    except ValueError:
        return "killed by signal %d" % -status
