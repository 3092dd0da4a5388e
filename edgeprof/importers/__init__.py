"""Other tools' traces as a `Trace`: `import_trace` finds out which tool wrote a file and reads it.

An imported trace has one block with no plain runs: nothing outside the runtime timed them. So a Profile made from it has origin
"imported", raw latencies only, no correction for the instrument, and knows nothing of the board.
"""

from __future__ import annotations

from pathlib import Path

from edgeprof.errors import TraceError
from edgeprof.importers.base import Importer
from edgeprof.importers.onnxruntime import OnnxRuntimeTrace
from edgeprof.models.graph import Graph
from edgeprof.records.trace import Trace

__all__ = ["IMPORTERS", "Importer", "import_trace"]

IMPORTERS: tuple[Importer, ...] = (OnnxRuntimeTrace(),)
"""Asked in this order."""

_HEAD_BYTES = 4096


def import_trace(trace_path: str | Path, model: Graph) -> Trace:
    """The trace in ``trace_path``, a profile of ``model`` that another tool recorded; TraceError when no importer knows it.

    The block's plain arrays are empty, ``environment`` is empty, ``messages`` say what the file lacks.
    """
    path = Path(trace_path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise TraceError(f"Cannot read the trace {path}: {error.strerror or error}. Check the path.") from error
    for importer in IMPORTERS:
        if importer.sniff(head):
            return importer.read(path, model)
    came = "is empty" if not head else "is in no format known here"
    known = ", ".join(importer.runtime for importer in IMPORTERS)
    raise TraceError(f"{path.name} {came}. Expected a profile written by one of: {known} (plain or gzipped).")
