"""The memory phase: a few runs of one session whose settings make the runtime's memory figures mean something.

The arena is on, or the runtime says nothing; memory patterns are off, or all layers after the first run show one flat block; inputs and
outputs are not bound, so that outputs are taken from the arena in each run as activations are.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Sequence

from .machine import Machine
from .measure import pieces, send_trace

SUBJECT = "(memory)"
RUNS = 3


class MemoryPhase:
    """Runs the model `RUNS` times and sends the trace and the runtime's statistics by node."""

    def __init__(self, host: Any, job: Dict[str, Any], frames: Sequence[Any], machine: Machine) -> None:
        self._host, self._job, self._machine = host, job, machine
        self._frames = [f for f in frames if f.type == "array"]
        self._options = dict(job["options"], workdir=job["workdir"])

    def run(self) -> Dict[str, Any]:
        """The fields of the result; all that is measured goes out as frames."""
        self._host.say("progress", {"phase": "memory", "done": 0, "total": 0})
        started = self._machine.now_ns()
        if self._job.get("cpus"):
            self._machine.pin(list(self._job["cpus"]))
        runtime = self._machine.load(self._job["runtime"])
        inputs = runtime.decode_arrays(self._frames)
        statistics = os.path.join(self._options["workdir"], "node_memory.csv")
        session = runtime.open_for_memory(self._job["model_path"], inputs, self._options, statistics)
        starts = session.run(RUNS)[::2]
        send_trace(self._host, SUBJECT, session.end_trace(), [[0, RUNS]], starts, int(self._job["compression"]))
        session.close()
        if os.path.exists(statistics):
            for piece in pieces(statistics):
                self._host.say("node-memory", {}, piece)
        window = {"phase": "memory", "start_ns": started, "end_ns": self._machine.now_ns(), "runs": RUNS}
        self._host.say("window", window)
        return {"complete": not self._host.cancelled()}
