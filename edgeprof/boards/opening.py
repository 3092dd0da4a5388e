"""The first words of a host: the job, its inputs and its probes, as one run of bytes."""

from __future__ import annotations

import getpass
import io
import json
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof.agent.protocol import PROTOCOL, Frame, ProtocolError, encode, read
from edgeprof.boards.collect import subject_name
from edgeprof.errors import BoardError
from edgeprof.models.probes import make_probes
from edgeprof.records.trace import EnergyPlan, RunPlan

SILENT_LIMIT_S = 900.0


def opening(
    model: PurePath,
    plan: RunPlan,
    runtime: str,
    *,
    workdir: str,
    compression: int,
    sysroot: str = "/",
    external: Sequence[Mapping[str, Any]] = (),
    job: str = "",
    lock: str = "",
) -> bytes:
    """Frames for a job on ``model`` (a path on the board). ``compression``: zlib level of traces on their way back.

    ``external``: meters that are read from here, as in a ``sensors`` frame. ``lock``: file that keeps two measurements on one board apart,
    empty for the board's own.
    """
    frames = [_array(name, array) for name, array in plan.inputs.items()]
    frames += [
        encode(
            "probe",
            {
                "name": subject_name(p),
                "shape": p.input_shape,
                "input_bytes": 4 * int(np.prod(p.input_shape)),
                "instrumented": p.instrumented,
            },
            p.model,
        )
        for p in plan.probes
    ]
    fields = {
        "protocol": PROTOCOL,
        "job": job,
        "who": who(),
        "input_source": plan.input_source,
        "external_files": list(plan.external_files),
        "lock": lock,
        "wait_s": plan.wait_s,
        "silent_limit_s": _silent_limit_s(plan),
        "runtime": runtime,
        "model_path": str(model),
        "runs": plan.runs,
        "warmup": plan.warmup,
        "cpus": plan.cpus,
        "time_limit_s": plan.time_limit_s,
        "save_executed": plan.save_executed,
        "memory": plan.memory,
        "energy": plan.energy,
        "energy_plan": asdict(plan.energy_plan),
        "sensors": plan.sensors,
        "external": list(external),
        "sysroot": sysroot,
        "workdir": workdir,
        "compression": compression,
        "frames": len(frames),
        "options": {
            "threads": plan.threads,
            "providers": list(plan.providers),
            "provider_options": {k: dict(v) for k, v in plan.provider_options.items()},
            "optimization": plan.optimization,
            "runtime_options": dict(plan.runtime_options),
        },
    }
    return b"".join([encode("job", fields), *frames])


def who() -> str:
    """Who measures, for those who wait: ``user@machine``."""
    try:
        return f"{getpass.getuser()}@{platform.node()}"
    except (OSError, KeyError):  # no such user in this container
        return platform.node()


def _silent_limit_s(plan: RunPlan) -> float:
    """A phase that says nothing for so long hangs: far more than the longest rest or loop that was asked for."""
    energy = plan.energy_plan
    return SILENT_LIMIT_S + energy.cool_down_s + energy.model_s + energy.loop_s + energy.idle_s + energy.warm_limit_s


def plan_of(data: bytes) -> tuple[RunPlan, str]:
    """The plan and the runtime of a job whose `opening` this is: what was asked of a board before, perhaps elsewhere.

    Raises:
        BoardError: it is none, or one of another edgeprof.
    """
    stream = io.BytesIO(data)
    inputs: dict[str, npt.NDArray[Any]] = {}
    names: list[str] = []
    try:
        job = read(stream)
        if job is None or job.type != "job" or job.fields["protocol"] != PROTOCOL:
            raise ProtocolError("it does not begin with a job")
        while (frame := read(stream)) is not None:
            if frame.type == "array":
                inputs[str(frame.fields["name"])] = _array_of(frame)
            else:
                names.append(str(frame.fields["name"]))
        fields, options = job.fields, job.fields["options"]
        energy_plan = EnergyPlan(**{**fields["energy_plan"], "channels": tuple(fields["energy_plan"]["channels"])})
        plan = RunPlan(
            **{
                name: fields[name]
                for name in ("runs", "warmup", "time_limit_s", "save_executed", "memory", "energy", "input_source", "wait_s")
            },
            **{name: options[name] for name in ("threads", "provider_options", "optimization", "runtime_options")},
            cpus=_tuple(fields["cpus"]),
            sensors=_tuple(fields["sensors"]),
            providers=tuple(options["providers"]),
            external_files=tuple(fields["external_files"]),
            inputs=inputs,
            probes=tuple(probe for probe in make_probes() if subject_name(probe) in names),
            energy_plan=energy_plan,
        )
    except (ProtocolError, KeyError, TypeError, ValueError) as error:
        text = f"The job's own description cannot be read ({type(error).__name__}: {error}). Fetch it with the edgeprof that started it."
        raise BoardError(text) from error
    return plan, str(fields["runtime"])


def _tuple(values: Any) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def _array_of(frame: Frame) -> npt.NDArray[Any]:
    shape = tuple(int(size) for size in frame.fields["shape"])
    if frame.fields["dtype"] == "string":
        return np.array(json.loads(frame.payload), object).reshape(shape)
    dtype = np.dtype(str(frame.fields["dtype"]))
    if dtype.hasobject:
        raise ValueError("an array of objects")
    return np.frombuffer(frame.payload, dtype).reshape(shape)


class Saying:
    """What a host says to an agent of its own: the job once it has said hello, and to stop, in either order."""

    def __init__(self, send: Callable[[bytes], None], opening: bytes) -> None:
        self._send, self._opening = send, opening
        self._begun = self._cancelled = False
        self._order = threading.Lock()

    def begin(self) -> None:
        """Says the job, or goodbye when it was cancelled."""
        with self._order:
            self._begun = True
            self._say(encode("bye", {}) if self._cancelled else self._opening)

    def cancel(self) -> None:
        """Says to stop, now or at the beginning."""
        with self._order:
            self._cancelled = True
            if self._begun:
                self._say(encode("cancel", {}))

    def _say(self, data: bytes) -> None:
        try:
            self._send(data)
        except (OSError, ValueError):  # ValueError: closed in this moment
            return  # the agent is gone; who reads its frames finds out and says so


def _array(name: str, array: npt.NDArray[np.generic]) -> bytes:
    if array.dtype.kind in "OUS":
        data = json.dumps([str(text) for text in array.ravel()]).encode()
        return encode("array", {"name": name, "dtype": "string", "shape": array.shape}, data)
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return encode("array", {"name": name, "dtype": array.dtype.str.replace(">", "<"), "shape": array.shape}, data)
