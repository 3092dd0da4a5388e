"""Row 11: what does a fleet cost this machine, and how soon is a dead link known?

First with boards that are played: how long does a board wait for this machine between its jobs, with 8 boards side by side and with 1?

The boards play a recorded Trace: each job takes a fixed time in which this machine has nothing to do, as with boards elsewhere. All else is
real: inputs, events, layer times and intervals, the bundle, the study. Printed are the wait between two jobs of a board, the CPU time of
this machine a job, and the whole sweep against its jobs alone (the profiles of the last jobs are made when no board works any more).

Then over real SSH servers on loopback: CPU time that this process spends on a job, 8 boards against 1 (wall time would show how 8 boards
share two cores), and how long after a link falls silent (its server is stopped, nothing is closed) the loss is known.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import SAMPLES, machine

import edgeprof as ep
from edgeprof.boards.base import Arrived, Cancelled, Done, Job, Progress
from edgeprof.boards.simulated import SimulatedBoard
from edgeprof.boards.ssh import SshBoard
from edgeprof.errors import BoardLost
from edgeprof.records.trace import RunPlan, Trace
from tests.boards.ssh.rig import Sshd

BOARDS, JOBS, RUNS = 8, 6, 100
JOB_S = 4.0


class Played(Job):
    """A job that takes `JOB_S` and brings a Trace; ``ended`` is told when."""

    def __init__(self, trace: Trace, ended: Callable[[float], object] = lambda at: None) -> None:
        super().__init__()
        self._trace, self._ended = trace, ended
        threading.Thread(target=self._play, daemon=True).start()

    def _play(self) -> None:
        for step in range(20):
            self._events.put(Progress("measure", step * RUNS // 20, RUNS))
            if self._cancelled.wait(JOB_S / 20):
                self._events.put(Cancelled(None))
                return
        self._ended(time.perf_counter())
        self._events.put(Done(self._trace))


class PlayedBoard:
    """A board elsewhere. ``starts`` and ``ends`` are when its jobs did."""

    origin = "simulated"

    def __init__(self, name: str, trace: Trace) -> None:
        self.name, self._trace = name, trace
        self.starts: list[float] = []
        self.ends: list[float] = []

    def start(self, model: Path, plan: RunPlan, runtime: str = "onnxruntime") -> Job:
        """See `edgeprof.boards.base.Board.start`."""
        self.starts.append(time.perf_counter())
        return Played(self._trace, self.ends.append)

    def waits_ms(self) -> np.ndarray:
        """(jobs - 1,) ms from the end of a job to the start of the next."""
        return 1e3 * (np.array(self.starts[1:]) - np.array(self.ends[:-1]))


class Recorder(SimulatedBoard):
    """Keeps the trace of the job that ran on it."""

    trace: Trace

    def start(self, model: Path, plan: RunPlan, runtime: str = "onnxruntime") -> Job:
        """See `edgeprof.boards.base.Board.start`."""
        job = super().start(model, plan, runtime)
        self.trace = job.result()
        return Played(self.trace)


def swept(path: Path, boards: int, trace: Trace) -> str:
    """What a sweep of ``boards`` boards cost, in words."""
    places = [PlayedBoard(f"board{i}", trace) for i in range(boards)]
    settings = [{"seed": i} for i in range(JOBS)]
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        found = ep.sweep(path, boards=places, settings=settings, out=Path(folder, "study"), runs=RUNS, progress=False)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert (found.table["status"] == "done").all() and len(found.table) == boards * JOBS
    waits = np.concatenate([place.waits_ms() for place in places])
    return (
        f"{np.median(waits):.0f} ms between two jobs of a board (p95 {np.percentile(waits, 95):.0f} ms; reach 50 ms), "
        f"{1e3 * cpu / JOBS / boards:.0f} ms of CPU a job, {wall:.1f} s for {JOBS * JOB_S:.1f} s of jobs"
    )


def over_ssh(path: Path, boards: int, folder: Path) -> float:
    """CPU time in ms that this process spent on each job of a sweep over ``boards`` SSH servers, the building of its profile included."""
    places = [Sshd(folder / f"b{i}", f"b{i}") for i in range(boards)]
    try:
        reached = [SshBoard(place.entry) for place in places]
        for board in reached:  # connected, the agent and the model sent: what a fleet pays once
            ep.profile(path, board=board, runs=2, memory=False, progress=False)
        settings = [{"seed": i} for i in range(JOBS)]
        cpu = time.process_time()
        found = ep.sweep(path, boards=reached, settings=settings, out=folder / "study", runs=20, memory=False, progress=False)
        cpu = time.process_time() - cpu
        for board in reached:
            board.close()
    finally:
        for place in places:
            place.close()
    assert (found.table["status"] == "done").all() and len(found.table) == boards * JOBS
    return 1e3 * cpu / boards / JOBS


def silent_link(path: Path, folder: Path) -> tuple[float, int]:
    """Seconds until the loss of a link is known whose server says nothing more, and the runs that were kept."""
    place = Sshd(folder / "silent", "silent")
    silenced: list[float] = []

    def silence(event: object) -> None:
        if isinstance(event, Arrived) and not silenced:
            silenced.append(time.perf_counter())
            for process in place.sessions():
                if process.name().startswith("sshd"):
                    process.suspend()

    try:
        ep.profile(path, board=SshBoard(place.entry), runs=100_000, progress=silence)
    except BoardLost as lost:
        known = time.perf_counter() - silenced[0]
        return known, 0 if lost.profile is None else len(lost.profile.runs)
    finally:
        place.close()
    raise AssertionError("the link was not lost")


def main() -> None:
    print(machine())
    for name in ("dscnn_mnist", "mobilenetv2_clutter"):
        path = SAMPLES / f"{name}.onnx"
        recorder = Recorder()
        layers = len(ep.profile(path, board=recorder, runs=RUNS, progress=False).measured_layers)
        for boards in (1, BOARDS):
            what = f"{boards} board{'s' * (boards > 1)}, {JOBS} jobs each of {JOB_S:g} s, {name} ({layers} layers)"
            print(f"row 11: {what}: {swept(path, boards, recorder.trace)}", flush=True)

    path = SAMPLES / "dscnn_mnist.onnx"
    with tempfile.TemporaryDirectory() as folder:
        one = over_ssh(path, 1, Path(folder, "one"))
        many = over_ssh(path, BOARDS, Path(folder, "many"))
        known_s, kept = silent_link(path, Path(folder, "lost"))
    text = f"{many:.0f} ms of CPU a job with {BOARDS} boards, {one:.0f} ms with 1: {many - one:+.0f} ms (reach +50 ms)"
    print(f"row 11: over SSH, dscnn_mnist: {text}")
    print(f"row 11: a link that falls silent is known as lost after {known_s:.1f} s, {kept} runs kept (reach 10 s)")


if __name__ == "__main__":
    main()
