"""The simulated runtime: sessions that move the world's clock, and traces as ONNX Runtime writes them, its profiler's own cost included."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof import _version
from edgeprof.agent.runtimes import Refused
from edgeprof.agent.runtimes.base import Isolation, Runtime, Session
from edgeprof.boards.simulation.spec import BoardSpec
from edgeprof.boards.simulation.world import Floats, Pattern, World
from edgeprof.errors import EdgeprofError
from edgeprof.models.cost import graph_costs
from edgeprof.models.graph import Graph, Layer
from edgeprof.models.onnx import load_onnx

PROVIDER = "SimulatedExecutionProvider"
PROFILER_GAP_US, PROFILER_BASE, PROFILER_PER_TENSOR, PROFILER_JITTER_US = 2.6, 0.3, 0.05, 0.4
"""What the simulated profiler costs: a gap between events, and in a layer's own time (base + per tensor) times that gap; and how much
the moments jitter at which it reads the clock."""

_TENSOR_DATA = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data", "external_data")
_SHORT_DTYPES = {"float32": "float", "float64": "double"}


@dataclass(frozen=True)
class Truth:
    """(layers,) what each layer at the top level takes in the model: seconds, and mW above idle. ``layers`` are in the file's order."""

    layers: tuple[Layer, ...]
    seconds: Floats
    milliwatts: Floats


def truth_of(graph: Graph, spec: BoardSpec, known: Mapping[str, tuple[float, float]] | None = None) -> Truth:
    """What the board really does with the layers of ``graph``; ``known`` gives (ms, mW above idle) of layers by name instead."""
    costs = graph_costs(graph)
    layers = tuple(layer for layer in graph.layers if layer.parent is None)
    seconds, milliwatts = np.empty(len(layers)), np.empty(len(layers))
    for i, layer in enumerate(layers):
        cost = costs[layer.name]
        macs = 0.0 if math.isnan(cost.macs) else cost.macs
        moved = np.nansum([cost.param_bytes, cost.activation_bytes])
        efficiency, thirst = _traits(layer.name, spec.seed)
        compute_s, memory_s = macs / (spec.gmacs_per_s * 1e9 * efficiency), moved / (spec.gb_per_s * 1e9)
        busy = max(compute_s, memory_s, 1e-9)
        seconds[i] = busy + spec.layer_us / 1e6
        milliwatts[i] = thirst * (spec.compute_mw * compute_s + spec.memory_mw * memory_s) / busy
        if known and layer.name in known:
            seconds[i], milliwatts[i] = known[layer.name][0] / 1e3, known[layer.name][1]
    return Truth(layers, seconds, milliwatts)


class SimulatedRuntime(Runtime):
    """See `Runtime`. ``graphs`` loads the model's Graph for given input shapes."""

    name = "simulated"
    version = _version.__version__

    def __init__(self, world: World, known: Mapping[str, tuple[float, float]] | None = None) -> None:
        self._world, self._known = world, known
        self._graphs: dict[str, Graph] = {}
        self._truths: dict[int, Truth] = {}

    def providers(self) -> list[str]:
        """See `Runtime.providers`."""
        return [PROVIDER, "CPUExecutionProvider"]

    def open(
        self, model: Any, inputs: dict[str, Any], options: dict[str, Any], instrumented: bool = False, save_to: str = ""
    ) -> SimulatedSession:
        """See `Runtime.open`."""
        missing = [name for name in options.get("providers") or [] if name not in self.providers()]
        if missing:
            raise Refused("provider", f"this board has no {' and no '.join(missing)}; it has {', '.join(self.providers())}")
        graph = self._graph(model, inputs, str(options["workdir"]))
        if save_to:
            _save_without_weights(model, Path(save_to))
        truth = self._truth(graph, self._known if isinstance(model, str) else None)
        return SimulatedSession(self._world, graph, truth, Path(options["workdir"]), instrumented=instrumented)

    def open_for_memory(self, model: Any, inputs: dict[str, Any], options: dict[str, Any], statistics: str) -> Session:
        """See `Runtime.open_for_memory`; kernels of this board take no workspace."""
        session = self.open(model, inputs, options, instrumented=True)
        names = "".join(f"{layer.given_name or layer.op_type}_{i},0,0,0,0\n" for i, layer in enumerate(session.truth.layers))
        Path(statistics).write_text(f"#name,input_sizes,initializers_sizes,total_dynamic_sizes,total_temp_allocations\n{names}", "utf-8")
        return session

    def isolate(self, executed: str, inputs: dict[str, Any], options: dict[str, Any]) -> Isolation:
        """See `Runtime.isolate`."""
        graph = self._graph(executed, inputs, str(options["workdir"]))
        return SimulatedIsolation(self._world, self._truth(graph, self._known))

    def decode_array(self, dtype: str, shape: Sequence[int], data: bytes) -> Any:
        """See `Runtime.decode_array`; only the shape counts here."""
        return np.empty(tuple(shape), np.uint8)

    def _truth(self, graph: Graph, known: Mapping[str, tuple[float, float]] | None) -> Truth:
        """`truth_of` one of the graphs that are kept here."""
        if id(graph) not in self._truths:
            self._truths[id(graph)] = truth_of(graph, self._world.spec, known)
        return self._truths[id(graph)]

    def _graph(self, model: Any, inputs: Mapping[str, Any], workdir: str) -> Graph:
        shapes = {name: list(array.shape) for name, array in inputs.items()}
        key = hashlib.sha256(model if isinstance(model, bytes) else str(model).encode()).hexdigest()
        if key not in self._graphs:
            try:
                with tempfile.TemporaryDirectory(dir=workdir) as folder:
                    path = Path(folder, "probe.onnx") if isinstance(model, bytes) else Path(model)
                    if isinstance(model, bytes):
                        path.write_bytes(model)
                    self._graphs[key] = load_onnx(path, shapes, weights_here=False)
            except EdgeprofError as error:
                raise Refused("load", str(error)) from error
        return self._graphs[key]


class SimulatedSession(Session):
    """The whole model; instrumented, it writes a trace and takes longer."""

    def __init__(self, world: World, graph: Graph, truth: Truth, folder: Path, *, instrumented: bool) -> None:
        self.truth, self._world, self._graph, self._folder = truth, world, graph, folder
        self._instrumented = instrumented
        call_s = world.spec.call_us / 1e6
        spec = world.spec
        seconds, milliwatts = truth.seconds, truth.milliwatts
        if instrumented:
            gap = PROFILER_GAP_US / 1e6
            tensors = np.array([_tensors(layer) for layer in truth.layers], float)
            self._own = seconds + (PROFILER_BASE + PROFILER_PER_TENSOR * tensors) * gap
            seconds, milliwatts = np.repeat(self._own, 2), np.repeat(milliwatts, 2)
            seconds[1::2], milliwatts[1::2] = gap, spec.compute_mw / 2
        self._pattern = Pattern(np.concatenate([[call_s], seconds]), np.concatenate([[spec.compute_mw / 2], milliwatts]))
        self._runs: list[tuple[int, int]] = []
        self._opened_ns = world.now_ns()
        self._rng = np.random.default_rng([spec.seed, 14, self._opened_ns])
        world.rest(0.002)  # loading

    def run(self, count: int) -> list[int]:
        """See `Session.run`."""
        times = self._world.run(self._pattern, count).tolist()
        if self._instrumented:
            self._runs += zip(times[::2], times[1::2], strict=True)
        return [int(time) for time in times]

    def end_trace(self) -> str:
        """See `Session.end_trace`."""
        path = self._folder / f"trace-{self._opened_ns}.json"
        memory = self._memory()
        nodes = [(_event_name(layer, i), self._args(i, layer, memory[i])) for i, layer in enumerate(self.truth.layers)]
        with path.open("w", encoding="utf-8") as file:
            file.write("[\n")
            file.write(_line("Session", 0, 2000, "session_initialization", "{}"))
            for start_ns, end_ns in self._runs:
                self._write_run(file, start_ns, end_ns, nodes)
            file.write("]\n")
        self._runs = []
        return str(path)

    def close(self) -> None:
        """See `Session.close`."""

    def _write_run(self, file: Any, start_ns: int, end_ns: int, nodes: Sequence[tuple[str, str]]) -> None:
        """One run; rounding down as the real one does, its layers stretched as this run was."""
        stretch = (end_ns - start_ns) / (self._pattern.length * 1e9)
        at = self._pattern.ends[1:-1:2] * 1e6 * stretch + (start_ns - self._opened_ns) / 1e3
        jitter_us = np.minimum(PROFILER_JITTER_US, self._own * 1e6 / 8) * self._rng.standard_normal(len(self._own))
        for (name, args), start, own in zip(nodes, at.tolist(), (self._own * 1e6 * stretch + jitter_us).tolist(), strict=True):
            file.write(_line("Node", start, own, name, args))
        start, length = (start_ns - self._opened_ns) / 1e3, (end_ns - start_ns) / 1e3
        file.write(_line("Session", start + 1, length - 1, "SequentialExecutor::Execute", "{}"))
        file.write(_line("Session", start, length, "model_run", "{}"))

    def _args(self, index: int, layer: Layer, memory: tuple[int, int, int]) -> str:
        live, delta, high = memory
        args: dict[str, Any] = {
            "op_name": layer.op_type, "node_index": str(index), "provider": PROVIDER,
            "input_type_shape": _types(self._graph, layer.inputs), "output_type_shape": _types(self._graph, layer.outputs),
            "mem_bytes_requested_in_use": str(live), "mem_requested_in_use_delta": str(delta), "mem_in_use_peak": str(high),
            "mem_arena_held": str(1 << 20),
        }  # fmt: skip
        return json.dumps(args, ensure_ascii=False)

    def _memory(self) -> list[tuple[int, int, int]]:
        """(in use, change, highest) after each layer: every tensor in memory of its own from its producer to its last reader.

        A layer reads what its bodies read. What is only known when the model runs takes nothing.
        """
        last: dict[str, int] = {}
        top = -1
        for layer in self._graph.layers:  # bodies stand behind the layer that they belong to
            top += layer.parent is None
            last.update(dict.fromkeys((*layer.inputs, *layer.outputs), top))
        last.update({output.name: len(self.truth.layers) for output in self._graph.outputs})
        live, high, found = 0, 0, []
        dying: dict[int, int] = {}
        for i, layer in enumerate(self.truth.layers):
            sizes = {name: int(np.nan_to_num(self._graph.tensor(name).nbytes)) for name in layer.outputs if name}
            for name, size in sizes.items():
                dying[last[name]] = dying.get(last[name], 0) + size
            live += sum(sizes.values())
            high = max(high, live)
            found.append((live, sum(sizes.values()), high))
            live -= dying.pop(i, 0)
        return found


class SimulatedIsolation(Isolation):
    """Layers by themselves: the same times, and powers that differ from those in the model by ``isolation_bias``."""

    def __init__(self, world: World, truth: Truth) -> None:
        self._world, self._truth = world, truth
        self.op_types = [layer.op_type for layer in truth.layers]
        self.reasons = {}
        rng = np.random.default_rng([world.spec.seed, 13])
        factor = 1 + world.spec.isolation_bias * rng.standard_normal(len(truth.layers))
        self._milliwatts = truth.milliwatts * np.maximum(factor, 0.0)

    def open(self, nodes: Sequence[int], copies: int) -> Session:
        """See `Isolation.open`."""
        chosen, spec = np.repeat(np.asarray(nodes, np.int64), copies), self._world.spec
        seconds = np.concatenate([[spec.call_us / 1e6], self._truth.seconds[chosen]])
        return _LoopSession(self._world, Pattern(seconds, np.concatenate([[spec.compute_mw / 2], self._milliwatts[chosen]])))


class _LoopSession(Session):
    def __init__(self, world: World, pattern: Pattern) -> None:
        self._world, self._pattern = world, pattern

    def run(self, count: int) -> list[int]:
        return [int(time) for time in self._world.run(self._pattern, count)]

    def close(self) -> None:
        """Holds nothing."""


def _traits(name: str, seed: int) -> tuple[float, float]:
    """(part of the compute limit that a layer reaches, how thirsty it is), by its name and the seed."""
    digest = hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).digest()
    rng: npt.NDArray[np.uint32] = np.frombuffer(digest[:8], "<u4")
    return 0.35 + 0.6 * float(rng[0]) / 2**32, 0.75 + 0.5 * float(rng[1]) / 2**32


def _tensors(layer: Layer) -> int:
    return sum(bool(name) for name in (*layer.inputs, *layer.outputs))


def _types(graph: Graph, names: Sequence[str]) -> list[dict[str, list[int]]]:
    """Types and shapes as a trace tells them; none when one of them is only known when the model runs, which it does not here."""
    found = []
    for tensor in (graph.tensor(name) for name in names if name):
        if not tensor.dtype or tensor.shape is None or not all(isinstance(dim, int) for dim in tensor.shape):
            return []
        found.append({_SHORT_DTYPES.get(tensor.dtype, tensor.dtype): [dim for dim in tensor.shape if isinstance(dim, int)]})
    return found


def _event_name(layer: Layer, index: int) -> str:
    return f"{layer.given_name or f'{layer.op_type}_{index}'}_kernel_time"


def _line(category: str, start_us: float, length_us: float, name: str, args: str) -> str:
    """An event; times are rounded down to whole microseconds."""
    start, length = max(0, math.floor(start_us)), max(0, math.floor(length_us))
    times = f'"pid" :1,"tid" :1,"dur" :{length},"ts" :{start},"ph" : "X"'
    return f'{{"cat" : "{category}",{times},"name" :{json.dumps(name, ensure_ascii=False)},"args" : {args}}},\n'


def _save_without_weights(model: Any, path: Path) -> None:
    """The model as it is, its larger weights left in a file that is not there: what a real board sends of its optimised model."""
    import onnx

    proto = onnx.load(str(model), load_external_data=False)
    for tensor in proto.graph.initializer:
        if tensor.ByteSize() > 1024:
            for name in _TENSOR_DATA:
                tensor.ClearField(name)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=f"{path.name}.weights")
    path.write_bytes(proto.SerializeToString())
