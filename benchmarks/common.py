"""What the benchmark scripts share: the machine's name, chains of blocks, sessions with bound inputs, interleaved timing."""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgeprof.agent.health import fingerprint

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
SAMPLES = Path(__file__).parent.parent / "sample_models"


def machine() -> str:
    """One line: what the figures were measured on, and how busy it was."""
    found = fingerprint()
    virtual = " (virtual machine)" if found.get("virtual_machine") else ""
    features = " ".join(found.get("cpu_features", []))
    return (
        f"machine: {found.get('cpu_model')}{virtual}, {found.get('cpus')} CPUs, {features}, {found.get('os')}, "
        f"Python {platform.python_version()}, onnxruntime {onnxruntime.__version__}, load {found.get('load_1min')}"
    )


class Chain:
    """A model of ``length`` identical blocks in a row; ``add`` puts one block behind a tensor and returns its output."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape, self.nodes, self.weights = list(shape), [], []
        self.rng = np.random.default_rng(0)

    def weight(self, *shape: int) -> str:
        """A new random weight; its name."""
        name = f"w{len(self.weights)}"
        self.weights.append(
            numpy_helper.from_array((self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)
        )
        return name

    def node(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        """A new node; its output."""
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=f"block{len(self.nodes)}", **attributes))
        return output

    def model(self) -> bytes:
        """The model, serialised."""
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes,
            "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


class Timed:
    """A session with bound inputs and outputs."""

    def __init__(self, model: bytes | str, feeds: dict[str, np.ndarray] | None = None, *, profile: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.folder = tempfile.TemporaryDirectory()
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = f"{self.folder.name}/trace"
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        rng = np.random.default_rng(0)
        for tensor in self.session.get_inputs():
            shape = [d if isinstance(d, int) else 1 for d in tensor.shape]
            array = (feeds or {}).get(tensor.name, rng.standard_normal(shape).astype(np.float32) if not feeds else None)
            self.binding.bind_ortvalue_input(tensor.name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for tensor in self.session.get_outputs():
            self.binding.bind_output(tensor.name)

    def times_us(self, runs: int) -> np.ndarray:
        """(runs,) µs of each run."""
        call, binding, clock = self.session._sess.run_with_iobinding, self.binding._iobinding, time.perf_counter_ns
        times = np.empty(runs)
        for i in range(runs):
            start = clock()
            call(binding, None)
            times[i] = (clock() - start) / 1e3
        return times

    def events(self) -> list[dict[str, Any]]:
        """Kernel events of an instrumented session."""
        return [e for e in json.loads(Path(self.session.end_profiling()).read_bytes()) if e["name"].endswith("_kernel_time")]


def interleaved(subjects: dict[str, Callable[[], float]], rounds: int) -> dict[str, np.ndarray]:
    """(rounds,) results of each subject, called in turn."""
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            found[name].append(subject())
    return {name: np.array(values) for name, values in found.items()}
