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

    def decode_array(self, dtype: str, shape: Sequence[int], data: bytes) -> Any:
        """The array that ``data`` holds (JSON list of str for ``string``, raw little-endian otherwise)."""
        raise NotImplementedError
