"""ONNX Runtime: sessions with input and output binding, its profiler as the instrument."""

from __future__ import annotations

import errno
import functools
import itertools
import json
import os
import re
import resource
import time
from typing import Any, Dict, List, Sequence

from . import Refused
from .base import Isolation, Runtime, Session

_LEVELS = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC", "disabled": "ORT_DISABLE_ALL"}
_WEIGHTS_OVER_BYTES = "1024"
_TRACES = itertools.count()  # the runtime names a trace by the millisecond: two sessions of one millisecond would share a file


def load() -> Runtime:
    """ONNX Runtime as installed here."""
    return OnnxRuntime()


class OnnxRuntime(Runtime):
    """See https://onnxruntime.ai/docs/api/python/api_summary.html for the options."""

    name = "onnxruntime"

    def __init__(self) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else 1.32 has a thread for it, and writes into the user's cache
        import numpy
        import onnxruntime

        self._numpy, self._ort = numpy, onnxruntime
        self.version = str(onnxruntime.__version__)

    def providers(self) -> List[str]:
        """See `Runtime.providers`."""
        return list(self._ort.get_available_providers())

    def open(
        self,
        model: Any,
        inputs: Dict[str, Any],
        options: Dict[str, Any],
        instrumented: bool = False,
        save_to: str = "",
    ) -> Session:
        """See `Runtime.open`."""
        return self._open(model, inputs, options, self._session_options(options, instrumented, save_to))

    def open_for_memory(self, model: Any, inputs: Dict[str, Any], options: Dict[str, Any], statistics: str) -> Session:
        """See `Runtime.open_for_memory`; versions before 1.21 write no statistics, those before 1.28 say nothing in their events."""
        chosen = self._session_options(options, instrumented=True, save_to="")
        chosen.enable_cpu_mem_arena = True
        chosen.enable_mem_pattern = False
        chosen.add_session_config_entry("session.collect_node_memory_stats_to_file", statistics)
        return self._open(model, inputs, options, chosen, bind=False)

    def open_for_results(self, model: Any, inputs: Dict[str, Any], options: Dict[str, Any]) -> "OrtSession":
        """A session whose `OrtSession.results` gives all outputs."""
        return self._open(model, inputs, options, self._session_options(options, instrumented=False, save_to=""), bind=False)

    def isolate(self, executed: str, inputs: Dict[str, Any], options: Dict[str, Any]) -> Isolation:
        """See `Runtime.isolate`."""
        from .onnx_layers import OnnxIsolation

        return OnnxIsolation(self, executed, inputs, options)

    def _open(self, model: Any, inputs: Dict[str, Any], options: Dict[str, Any], chosen: Any, *, bind: bool = True) -> "OrtSession":
        wanted = list(options.get("providers") or ["CPUExecutionProvider"])
        missing = [name for name in wanted if name not in self.providers()]
        if missing:
            have = ", ".join(self.providers())
            raise Refused("provider", "this onnxruntime has no %s; it has %s" % (" and no ".join(missing), have))
        given = options.get("provider_options") or {}
        try:
            session = self._ort.InferenceSession(
                model,
                chosen,
                providers=wanted,
                provider_options=[dict(given.get(name, {})) for name in wanted],
            )
        except Exception as error:  # the binding raises its own untyped exceptions
            raise _refusal(error) from error
        try:
            return OrtSession(self._ort, session, inputs, bind=bind)
        except Exception as error:
            raise Refused("input", _first_sentence(str(error))) from error

    def decode_array(self, dtype: str, shape: Sequence[int], data: bytes) -> Any:
        """See `Runtime.decode_array`."""
        if dtype == "string":
            return self._numpy.array(json.loads(data.decode()), dtype=object).reshape(shape)
        return self._numpy.frombuffer(data, dtype=dtype).reshape(shape)

    def _session_options(self, options: Dict[str, Any], instrumented: bool, save_to: str) -> Any:
        ort = self._ort
        chosen = ort.SessionOptions()
        chosen.intra_op_num_threads = int(options.get("threads", 1))
        chosen.inter_op_num_threads = 1
        chosen.log_severity_level = 4
        chosen.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[options.get("optimization", "all")])
        for key, value in (options.get("runtime_options") or {}).items():
            chosen.add_session_config_entry(str(key), str(value))
        if instrumented:
            chosen.enable_profiling = True
            chosen.profile_file_prefix = os.path.join(options["workdir"], "trace%d" % next(_TRACES))
        if save_to:
            chosen.optimized_model_filepath = save_to
            # Weights go to a file beside it, so that what travels to the host is the graph alone.
            chosen.add_session_config_entry(
                "session.optimized_model_external_initializers_file_name", os.path.basename(save_to) + ".weights"
            )
            chosen.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", _WEIGHTS_OVER_BYTES)
        return chosen


class OrtSession(Session):
    """One InferenceSession; inputs and outputs are bound once, so a run is the runtime's work and nothing else.

    Texts cannot be bound: a model that reads them is given its inputs at each run, as is any without ``bind``.
    """

    def __init__(self, ort: Any, session: Any, inputs: Dict[str, Any], *, bind: bool = True) -> None:
        self._session = session
        # The Python wrapper checks its arguments at each call; the object under it is what runs.
        if not bind or any(array.dtype == object for array in inputs.values()):
            self.outputs = [output.name for output in session.get_outputs()]
            self._call = functools.partial(session._sess.run, self.outputs, inputs, None)
            return
        self._binding = session.io_binding()
        self._values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in inputs.items()}
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        for output in session.get_outputs():
            self._binding.bind_output(output.name)
        self._call = functools.partial(session._sess.run_with_iobinding, self._binding._iobinding, None)

    def run(self, count: int) -> List[int]:
        """See `Session.run`."""
        clock, call = time.perf_counter_ns, self._call
        times = [0] * (2 * count)
        try:
            for i in range(0, 2 * count, 2):
                times[i] = clock()
                call()
                times[i + 1] = clock()
        except Exception as error:
            raise Refused("run", _first_sentence(str(error))) from error
        return times

    def results(self) -> Dict[str, Any]:
        """The outputs of one run by name; of a session that is not bound."""
        try:
            return dict(zip(self.outputs, self._call()))
        except Exception as error:
            raise Refused("run", _first_sentence(str(error))) from error

    def end_trace(self) -> str:
        """See `Session.end_trace`."""
        path = str(self._session.end_profiling())
        _refuse_cut(path)
        return path

    def close(self) -> None:
        """See `Session.close`."""
        self._call = self._session = None  # type: ignore[assignment]


def _refuse_cut(path: str) -> None:
    """OSError when a trace is not whole: the runtime says nothing when it cannot write."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - 16))
        if file.read().rstrip().endswith(b"]"):
            return
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    number = errno.EFBIG if 0 <= limit <= size else errno.ENOSPC
    raise OSError(number, os.strerror(number), "the runtime's trace")


_CAUSES = (
    (r"max supported IR version: (\d+)", "ir", "the model's IR version is newer than this runtime reads (at most {0})"),
    (
        r"Current official support for domain (\S+) is till opset (\d+)",
        "opset",
        "the model's opset of domain {0} is newer than this runtime supports (at most {1})",
    ),
    (r"Fatal error: (\S+) is not a registered function/op", "op", "the runtime has no operator {0}"),
    (r"No Op registered for (\S+) with domain_version of (\d+)", "op", "the runtime has no operator {0} at opset {1}"),
    (
        r"Could not find an implementation for (\S+) node with name '([^']*)'",
        "op",
        "the runtime has no kernel for operator {0} (node '{1}')",
    ),
    (r"Load model .* failed:Protobuf parsing failed|ModelProto does not have a graph", "model", "the runtime cannot parse the model file"),
    (r"Got invalid dimensions for input: (\S+)", "input", "input {0} has a shape that the model does not take"),
)


def _refusal(error: Exception) -> Refused:
    text = str(error)
    for pattern, kind, sentence in _CAUSES:
        match = re.search(pattern, text)
        if match:
            return Refused(kind, sentence.format(*match.groups()))
    return Refused("load", _first_sentence(text))


def _first_sentence(text: str) -> str:
    """The runtime's own message, without its error code and source locations, in one line of at most 400 characters."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text.strip())
    text = re.sub(r"^.*Non-zero status code returned while running (\S+) node\. Name:'([^']*)' Status Message: ", r"\1 node '\2': ", text)
    text = re.sub(r"/\S+\.(?:cc|h):\d+ \S+( \S+)*? (?=[A-Z])", "", text)
    text = " ".join(text.split())
    return text if len(text) <= 400 else text[:397] + "..."
