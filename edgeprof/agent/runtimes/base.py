"""What a runtime must offer: open a model, bind inputs, run it, and say when each layer ran."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence


class Session:
    """A loaded model with its inputs bound, ready to be run again and again."""

    def run(self, count: int) -> List[int]:
        """Runs ``count`` times; start and end of each run in ns on the monotonic clock: [s0, e0, s1, e1, ...]."""
        raise NotImplementedError

    def end_trace(self) -> str:
        """Stops the instrument of an instrumented session; the path of the trace file it wrote."""
        raise NotImplementedError

    def close(self) -> None:
        """Frees it; a session that collects statistics writes them now."""


class Isolation:
    """Layers of an optimised model, each of which can be run by itself with real inputs.

    ``op_types``: of the nodes at its top level, in the file's order. ``reasons``: by position, why a node cannot be run by itself.
    """

    op_types: List[str]
    reasons: Dict[int, str]

    def open(self, nodes: Sequence[int], copies: int) -> Session:
        """A session whose run does each of ``nodes`` ``copies`` times; the copies read the same inputs and keep no results.

        Raises:
            Refused: they cannot be run.
        """
        raise NotImplementedError

    def most_copies(self, nodes: Sequence[int], wanted: int) -> int:
        """As many copies as `open` can be asked for with these nodes: ``wanted``, or fewer where they would not fit into memory."""
        return wanted

    def close(self) -> None:
        """Frees what it holds."""


class Runtime:
    """A runtime as found on this board."""

    name = ""
    version = ""

    def providers(self) -> List[str]:
        """Execution providers that this build has."""
        raise NotImplementedError

    def open(
        self,
        model: Any,
        inputs: Dict[str, Any],
        options: Dict[str, Any],
        instrumented: bool = False,
        save_to: str = "",
    ) -> Session:
        """Loads a model (a path or bytes) and binds its inputs.

        ``options``: threads, providers, provider_options, optimization, runtime_options. With ``save_to`` the
        optimised model is written there.

        Raises:
            Refused: with one sentence on why.
        """
        raise NotImplementedError

    def open_for_memory(self, model: Any, inputs: Dict[str, Any], options: Dict[str, Any], statistics: str) -> Session:
        """An instrumented session whose events say what memory is in use; it writes statistics by node to the path ``statistics``
        when it is closed, where this version can. Inputs are given at each run, outputs taken anew.
        """
        raise NotImplementedError

    def isolate(self, executed: str, inputs: Dict[str, Any], options: Dict[str, Any]) -> "Isolation":
        """Takes the optimised model at the path ``executed`` apart into its layers, each with the inputs that it has in a real run.

        Raises:
            Refused: this model cannot be taken apart.
        """
        raise NotImplementedError

    def decode_arrays(self, frames: Sequence[Any]) -> Dict[str, Any]:
        """The arrays of ``array`` frames by name."""
        return {f.fields["name"]: self.decode_array(f.fields["dtype"], f.fields["shape"], f.payload) for f in frames}

    def decode_array(self, dtype: str, shape: Sequence[int], data: bytes) -> Any:
        """The array that ``data`` holds (JSON list of str for ``string``, raw little-endian otherwise)."""
        raise NotImplementedError
