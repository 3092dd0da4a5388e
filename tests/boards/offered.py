"""Stand-ins for the wheels that a set-up finds, so that no package index is asked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edgeprof.agent import about
from edgeprof.boards.about import About
from edgeprof.boards.wheel_store import Store
from tests.agent.wheels import NUMPY, RUNTIME, make_wheel, pip_wheel

VERSION = "9.9.9"


def offered(folder: Path, ballast_bytes: int = 0) -> Path:
    """``folder``, as if this machine's pip had found stand-ins for a runtime in it just now; ``ballast_bytes`` make it larger."""
    told = About.parse(about.about(str(folder.parent)))
    store = Store(folder)
    with store.room() as room:
        (room / pip_wheel().name).write_bytes(pip_wheel().read_bytes())
        files = {"onnxruntime/__init__.py": RUNTIME, "onnxruntime/ballast": os.urandom(ballast_bytes)}
        make_wheel(room, "onnxruntime", VERSION, files)
        make_wheel(room, "numpy", "8.8.8", {"numpy/__init__.py": NUMPY})
        key = "-".join(["onnxruntime", "newest", told.tag, told.machine, "glibc{}.{}".format(*told.glibc)])
        store.save(key, told.tag, "onnxruntime", sorted(room.glob("*.whl")), ("sympy",))
    (saved,) = (store.folder / "sets").iterdir()
    shutil.copy(saved, saved.with_name(saved.name.replace("newest", VERSION)))
    return store.folder
