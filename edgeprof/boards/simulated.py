"""A board that is not there. It runs the agent's own phases in this process, on a runtime, a clock and sensors that are simulated.

So everything but hardware is real: the schedule of the measurement, the protocol, the reading of traces, the attribution. It is how
energy attribution is proved (``benchmarks/bench_energy.py``), and how people without boards learn. Its profiles say *simulated*.
"""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from edgeprof.agent import protocol
from edgeprof.agent.power import Readings, Source, answer, choose
from edgeprof.agent.runtimes import Refused
from edgeprof.agent.runtimes.base import Runtime
from edgeprof.agent.serve import Host, Whole, serve
from edgeprof.agent.work import PHASES, phase_of
from edgeprof.boards.base import AgentJob, Job, refuse_unknown_sensors
from edgeprof.boards.collect import Collector
from edgeprof.boards.local import work_folder
from edgeprof.boards.opening import Saying, opening
from edgeprof.boards.simulation.meter import SENSORS, Meter
from edgeprof.boards.simulation.runtime import SimulatedRuntime, truth_of
from edgeprof.boards.simulation.spec import BoardSpec, checked, parse
from edgeprof.boards.simulation.world import World
from edgeprof.errors import UsageError
from edgeprof.models.onnx import load_onnx
from edgeprof.records.profile import Origin
from edgeprof.records.trace import RunPlan

Known = Mapping[str, tuple[float, float]]


class SimulatedBoard:
    """A simulated board by its ``spec``. ``known`` gives (ms, mW above idle) of layers by name, where they are to be others than
    the spec makes of their cost.
    """

    origin: Origin = "simulated"

    def __init__(self, spec: BoardSpec | None = None, *, known: Known | None = None, name: str = "simulated") -> None:
        self.spec, self._known, self._name = checked(spec or BoardSpec()), known, name

    @classmethod
    def named(cls, name: str) -> SimulatedBoard:
        """The board that ``simulated:PRESET?key=value`` stands for; UsageError when there is none."""
        return cls(parse(name), name=name)

    @property
    def name(self) -> str:
        """As it was asked for."""
        return self._name

    def start(self, model: Path, plan: RunPlan, runtime: str = "onnxruntime") -> Job:
        """See `edgeprof.boards.base.Board.start`."""
        if plan.meters:
            raise UsageError("A simulated board has a meter of its own; leave meters out.")
        refuse_unknown_sensors(plan.sensors, SENSORS)
        folder = work_folder()
        name = "simulated" if runtime in ("onnxruntime", "auto") else runtime
        first = opening(model.resolve(), plan, name, workdir=folder.name, compression=0)
        return AgentJob(_Link(World(self.spec), self._known, folder, first), Collector(self._name, name, plan))

    def truth(self, model: str | os.PathLike[str], shapes: Mapping[str, Sequence[int]] | None = None) -> pd.DataFrame:
        """What a measurement should find: ``name, op_type, latency_ms, power_mw, energy_mj`` (above idle) of each layer."""
        found = truth_of(load_onnx(Path(model), shapes), self.spec, self._known)
        return pd.DataFrame({
            "name": [layer.name for layer in found.layers],
            "op_type": [layer.op_type for layer in found.layers],
            "latency_ms": found.seconds * 1e3,
            "power_mw": found.milliwatts,
            "energy_mj": found.seconds * found.milliwatts,
        })  # fmt: skip


class _Link:
    """The agent in a thread of this process, spoken to through pipes."""

    def __init__(self, world: World, known: Known | None, folder: Any, opening: bytes) -> None:
        self._folder = folder
        self._say = Saying(self._send, opening)
        to_agent, self._sink = os.pipe()
        self._writing = threading.Lock()  # nobody closes the pipe while another thread writes to it: its number may be another's by then
        from_agent_here, from_agent = os.pipe()
        self._source = os.fdopen(from_agent_here, "rb")
        source, sink = os.fdopen(to_agent, "rb", buffering=0), os.fdopen(from_agent, "wb", buffering=0)
        agent = _Agent(world, known)

        def run() -> None:
            with source, sink, contextlib.suppress(OSError):
                serve(Host(source, Whole(sink)), agent.conduct)

        self._thread = threading.Thread(target=run, name="edgeprof-simulated", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        self._say.begin()

    def cancel(self) -> None:
        self._say.cancel()

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        with self._writing:
            while view:
                view = view[os.write(self._sink, view) :]

    def frames(self) -> Iterator[protocol.Frame]:
        while (frame := protocol.read(self._source)) is not None:
            yield frame

    def kill(self) -> None:
        self._close_sink()

    def close(self) -> str:
        self._close_sink()
        self._source.close()  # an agent that is still talking hears that nobody listens
        self._thread.join()
        self._folder.cleanup()
        return ""

    def last_words(self) -> str:
        return ""

    def _close_sink(self) -> None:
        with self._writing:
            sink, self._sink = self._sink, -1
            if sink >= 0:
                os.close(sink)


class _Agent:
    """Conducts a job as `edgeprof.agent.supervise` does, without processes: the world is its own, and nothing can crash."""

    def __init__(self, world: World, known: Known | None) -> None:
        self._world, self._known = world, known
        self._began_ns = world.now_ns()
        self._meter = Meter(world)
        self._readings: Readings | None = None

    def conduct(self, host: Any, job: dict[str, Any], frames: Sequence[Any]) -> dict[str, Any]:
        self._meter.wanted = job["sensors"]
        sensors = self._meter.describe()
        source, why_not = choose(sensors, job["energy_plan"]["channels"], [])
        host.say("sensors", {"sensors": sensors, "problems": [], "source": source and source._asdict(), "why_not": why_not})
        self._readings = Readings(sensors, source) if source is not None else None
        wanted = {"latency": True, "memory": bool(job["memory"]), "energy": job["energy"] != "off"}
        result: dict[str, Any] = {"complete": True}
        for phase in [phase for phase in PHASES if wanted[phase]]:
            if phase != "latency" and self._is_late(job):
                text = f"the time limit of {job['time_limit_s']} s left no time for the {phase} phase"
                host.say("message", {"id": "time-limit", "text": text})
                result.update(complete=False, stopped_in=phase)
                break
            found = self._phase(phase, host, job, frames, source, why_not)
            result.update({key: value for key, value in found.items() if key != "complete"})
            if not found.get("complete", True) or host.cancelled():
                result.update(complete=False, stopped_in=phase)
                break
        self._say_samples(host)
        return result | {"sampling": {"sensors": self._meter.told()}}

    def _phase(
        self, phase: str, host: Any, job: dict[str, Any], frames: Sequence[Any], source: Source | None, why_not: str
    ) -> dict[str, Any]:
        if phase == "energy" and source is None:
            host.say("energy", {"refused": why_not})
            return {}
        fields = job | {"phase": phase, "power": source._asdict() if source else None, "began_ns": self._began_ns}
        listener = _Listener(self, host)
        found: dict[str, Any] = phase_of(phase)(listener, fields, frames, _Machine(self._world, self._known)).run()
        return found

    def _is_late(self, job: Mapping[str, Any]) -> bool:
        limit = job["time_limit_s"]
        return limit is not None and self._world.now_ns() - self._began_ns > limit * 1e9

    def answer(self, host: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What the power was, to a phase that asks."""
        self._say_samples(host)
        return answer(self._readings, fields["start_ns"], fields["end_ns"], None, ()) if self._readings is not None else {"readings": 0}

    def set_rate(self, host: Any, *, slow: bool) -> None:
        """Reads its sensors slowly, or as fast as they can; the sensor takes less power then."""
        self._say_samples(host)
        self._meter.turn(slow=slow)
        self._world.sampling_mw = 0.0 if slow else self._world.spec.sampling_mw

    def _say_samples(self, host: Any) -> None:
        records = self._meter.flush()
        if self._readings is not None:
            self._readings.add(records)
        if records:
            host.say("samples", {}, zlib.compress(records, 1))


class _Listener:
    """What a phase talks with: passes on to the host, and answers what the supervisor would."""

    def __init__(self, agent: _Agent, host: Any) -> None:
        self._agent, self._host = agent, host

    def say(self, kind: str, fields: Mapping[str, Any], payload: bytes = b"") -> None:
        if kind in ("slow", "full"):
            self._agent.set_rate(self._host, slow=kind == "slow")
            return
        if kind == "window":
            self._agent._say_samples(self._host)
        self._host.say(kind, fields, payload)

    def ask(self, kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        return self._agent.answer(self._host, fields)

    def cancelled(self) -> bool:
        return bool(self._host.cancelled())


class _Machine:
    """See `edgeprof.agent.machine.Machine`: of the simulated board."""

    def __init__(self, world: World, known: Known | None) -> None:
        self._world, self._known = world, known

    def now_ns(self) -> int:
        return self._world.now_ns()

    def rest(self, seconds: float) -> None:
        self._world.rest(seconds)

    def load(self, name: str) -> Runtime:
        if name != "simulated":
            raise Refused("runtime", f"unknown runtime {name!r}; a simulated board has its own")
        return SimulatedRuntime(self._world, self._known)

    def fingerprint(self) -> dict[str, Any]:
        spec = {key: value for key, value in vars(self._world.spec).items() if value != float("inf")}
        return {"board_model": "simulated", "cpu_model": "simulated", "cpus": 4, "governor": "performance", "simulation": spec,
                "temperature_c": {"soc": round(self._world.temperature_c, 1)}}  # fmt: skip

    def temperature_c(self) -> float | None:
        return self._world.temperature_c

    def throttled(self) -> list[str]:
        return [f"the simulated processor became too hot at {at:.0f} s" for at in self._world.throttled_at]

    def slowed_down(self) -> bool:
        return self._world.slower > 1

    def memory(self) -> dict[str, int]:
        return {}  # there is no process whose memory would mean anything

    def forget_peak(self) -> None:
        """Nothing to forget."""

    def cpus(self) -> list[int]:
        """Four of them."""
        return list(range(4))

    def pin(self, cpus: Sequence[int]) -> None:
        if any(cpu >= 4 for cpu in cpus):
            raise ValueError("there are CPUs 0 to 3")
