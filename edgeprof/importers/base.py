"""What an importer is: it knows one tool's trace by its first bytes and makes a `Trace` of it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edgeprof.models.graph import Graph
from edgeprof.records.trace import Trace


class Importer(Protocol):
    """One tool's format. ``runtime`` is the runtime that the trace is of."""

    @property
    def runtime(self) -> str:
        """Name of the runtime, as in `Trace.runtime`."""

    def sniff(self, head: bytes) -> bool:
        """Whether a file that begins with ``head`` (its first few kB) is in this format."""

    def read(self, path: Path, graph: Graph) -> Trace:
        """The trace in the file; TraceError when it cannot be read."""
