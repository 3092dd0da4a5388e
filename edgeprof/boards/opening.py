"""The first words of a host: the job, its inputs and its probes, as one run of bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof.agent.protocol import PROTOCOL, encode
from edgeprof.boards.collect import subject_name
from edgeprof.records.trace import RunPlan


def opening(
    model: PurePath,
    plan: RunPlan,
    runtime: str,
    *,
    workdir: str,
    compression: int,
    sysroot: str = "/",
    external: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """Frames for a job on ``model`` (a path on the board). ``compression``: zlib level of traces on their way back.

    ``external``: meters that are read from here, as in a ``sensors`` frame.
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
    job = {
        "protocol": PROTOCOL,
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
    return b"".join([encode("job", job), *frames])


def _array(name: str, array: npt.NDArray[np.generic]) -> bytes:
    if array.dtype.kind in "OUS":
        data = json.dumps([str(text) for text in array.ravel()]).encode()
        return encode("array", {"name": name, "dtype": "string", "shape": array.shape}, data)
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return encode("array", {"name": name, "dtype": array.dtype.str.replace(">", "<"), "shape": array.shape}, data)
