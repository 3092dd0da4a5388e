"""The agent as one zipapp: the bytes that are sent to a board, the same bytes each time."""

from __future__ import annotations

import functools
import io
import zipfile
from importlib.resources import files
from importlib.resources.abc import Traversable

_MAIN = "import sys\nfrom edgeprof_agent.serve import main\nsys.exit(main())\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@functools.cache
def agent_zipapp() -> bytes:
    """A zip that ``python`` runs: the package ``edgeprof.agent`` under the name ``edgeprof_agent``."""
    sources = {"__main__.py": _MAIN.encode()}
    _collect(files("edgeprof.agent"), "edgeprof_agent", sources)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(sources):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), sources[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _collect(folder: Traversable, name: str, sources: dict[str, bytes]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            _collect(entry, f"{name}/{entry.name}", sources)
        elif entry.name.endswith(".py"):
            sources[f"{name}/{entry.name}"] = entry.read_bytes()
