"""The Profile of a job's Trace: reads the optimised model that came with it, then `edgeprof.records.build` does the rest."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from edgeprof.errors import EdgeprofError
from edgeprof.models.graph import Graph
from edgeprof.models.inputs import shapes_of
from edgeprof.records.build import build_profile
from edgeprof.records.layer_times import DRAWS, FEWEST_DRAWS
from edgeprof.records.profile import Origin, Profile
from edgeprof.records.trace import Trace


class Builder:
    """Makes Profiles of the Traces of one job. ``input_source``: ``random`` or ``given``; ``origin``: the board's.

    The optimised model is read once, however often a growing Trace is built.
    """

    def __init__(self, graph: Graph, input_source: str, origin: Origin) -> None:
        self._graph, self._source, self._origin = graph, input_source, origin
        self._read: tuple[bytes, Graph] | None = None

    def build(self, trace: Trace, *, passing: bool = False) -> Profile:
        """The Profile that ``trace`` gives; TraceError when it holds no run of the model.

        ``passing``: another one will soon be in its place, so its intervals are made with fewer draws.
        """
        try:
            executed = self._executed(trace)
        except (EdgeprofError, OSError) as error:  # no room for a file, perhaps: no reason to lose what was measured
            text = f"The optimised model that the runtime saved cannot be read ({error}); layers are matched with the model by their names."
            trace, executed = replace(trace, messages=(*trace.messages, ("executed-unreadable", text))), None
        return build_profile(
            trace, self._graph, executed, input_source=self._source, origin=self._origin, most_draws=FEWEST_DRAWS if passing else DRAWS
        )

    def build_partial(self, trace: Trace | None) -> Profile | None:
        """The same of what had arrived when a job failed; None when that was too little."""
        try:
            return self.build(trace) if trace is not None else None
        except EdgeprofError:
            return None  # the board's own error says what happened

    def _executed(self, trace: Trace) -> Graph | None:
        """The optimised graph that the runtime saved, read like any other model file: it comes from a board, not from us."""
        if trace.executed_model is None:
            return None
        if self._read is None or self._read[0] is not trace.executed_model:
            from edgeprof.models.onnx import load_onnx

            with tempfile.TemporaryDirectory(prefix="edgeprof-") as folder:
                path = Path(folder, "executed.onnx")
                path.write_bytes(trace.executed_model)
                self._read = trace.executed_model, load_onnx(path, shapes_of(trace.plan.inputs), weights_here=False)
        return self._read[1]
