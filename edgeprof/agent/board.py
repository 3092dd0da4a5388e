"""What a host asks of a board as a whole: how it is, what it can run, what is installed on it; and to leave nothing behind."""

from __future__ import annotations

import json
import os
import sys

from .door import Wrong, hold_on
from .jobs import python_of, running
from .store import blob, size_of

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from .door import Door
    from .protocol import Frame


def health(door: Door, frame: Frame) -> Dict[str, Any]:
    """What the board is and how it feels, who holds it, and how many jobs run."""
    from .lock import holder_of
    from .serve import health as of_this_python

    held = holder_of(str(frame.fields.get("lock") or ""))
    fields = dict(frame.fields, folder=door.folder)
    told = _in_runtime(door, "health", fields) or of_this_python(fields)
    return dict(told, in_use=held, jobs=len(running(door)))


def about(door: Door, frame: Frame) -> Dict[str, Any]:
    """What decides which wheels fit."""
    from .about import about as told

    return told(door.folder)


def install(door: Door, frame: Frame) -> Dict[str, Any]:
    """Installs a runtime from wheels that are here, and tries it."""
    from .install import install as installed

    def progress(phase: str, done: int, total: int) -> None:
        door.host.say("progress", {"phase": phase, "done": done, "total": total})

    hold_on(0)
    wheels = [{"filename": str(w["filename"]), "sha256": w["sha256"], "path": blob(door, w["sha256"])} for w in frame.fields["wheels"]]
    return installed(door.folder, str(frame.fields["name"]), wheels, progress, blob(door, frame.fields["model"]))


def check_runtime(door: Door, frame: Frame) -> Dict[str, Any]:
    """Tries what is installed."""
    from .install import check

    hold_on(0)
    model = frame.fields.get("model")
    return check(door.folder, str(frame.fields.get("name") or ""), blob(door, model) if model else "")


def remove_runtime(door: Door, frame: Frame) -> Dict[str, Any]:
    """Removes what was installed."""
    from .installed import remove

    return {"removed": remove(door.folder, str(frame.fields.get("name") or ""))}


def clean(door: Door, frame: Frame) -> Dict[str, Any]:
    """Removes everything that edgeprof keeps here."""
    import shutil

    busy = running(door)
    if busy:
        raise Wrong("running", "job %s is still running" % busy[0])
    freed = 0
    for name in ("blobs", "jobs", "runtimes", "agent"):
        for folder, _, files in os.walk(door.path(name)):
            freed += sum(size_of(os.path.join(folder, file)) or 0 for file in files)
        shutil.rmtree(door.path(name), ignore_errors=True)
    try:
        os.rmdir(door.folder)
    except OSError:  # something else lies there
        pass
    return {"bytes": freed}


def _in_runtime(door: Door, role: str, fields: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """What the agent says in the Python that jobs run in, when that is another one."""
    import subprocess

    python = python_of(door)
    if python == sys.executable:
        return None
    asked = subprocess.run(
        [python, "-X", "utf8", sys.argv[0], role], input=json.dumps(fields).encode(), stdout=subprocess.PIPE, timeout=60, check=False
    )
    try:
        found = json.loads(asked.stdout.decode())
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
