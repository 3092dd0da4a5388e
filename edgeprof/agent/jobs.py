"""The jobs of a board, each in ``jobs/<id>``: started in a process that outlives the link (`keep.py`), listed, ended, forgotten."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time

from .door import PIECE, Wrong
from .places import ALIVE, ERRORS, MODEL, OPENING, SPOOL, WORK
from .spool import SpoolReader
from .store import MOST_FILES, blob, place, size_of

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from .door import Door
    from .protocol import Frame

JOB = re.compile("[0-9]{8}T[0-9]{6}-[0-9a-f]{8}")
ENDS_WITHIN_S = 10.0
MOST_ABOUT_BYTES = 1 << 20
KEPT_JOBS = 20
_ABOUT = "about.json"


def start(door: Door, frame: Frame) -> Dict[str, Any]:
    """Starts a job whose files are all here."""
    import shutil

    fields = frame.fields
    folder = folder_of(door, fields["job"], new=True)
    about = json.dumps(fields.get("about") or {})
    if len(about) > MOST_ABOUT_BYTES or len(fields["files"]) > MOST_FILES:
        raise Wrong("protocol", "a job that describes itself at too great length")
    names = {_plain(name): blob(door, digest) for name, digest in fields["files"].items()}
    _forget_old(door)
    os.makedirs(folder, 0o700)
    try:
        for name, file in dict(names, **{os.path.join(os.pardir, OPENING): blob(door, fields["opening"])}).items():
            path = os.path.normpath(os.path.join(folder, MODEL, name))
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            place(file, path)
        os.mkdir(os.path.join(folder, WORK), 0o700)
        with open(os.path.join(folder, _ABOUT), "w", encoding="utf-8") as told:
            told.write(about)
        _spawn(door, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return {}


def get(door: Door, frame: Frame) -> None:
    """Sends a piece of a file of a job."""
    folder, name, offset = folder_of(door, frame.fields["job"]), str(frame.fields["name"]), int(frame.fields["offset"])
    path = os.path.join(folder, OPENING) if name == OPENING else os.path.join(folder, MODEL, _plain(name))
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, offset))
        door.host.say("reply", {"size": size}, file.read(PIECE))


def jobs(door: Door, frame: Frame) -> Dict[str, Any]:
    """The jobs that are here, with what they say of themselves."""
    return {"jobs": [_state_of(door, name) for name in names(door)]}


def kill(door: Door, frame: Frame) -> Dict[str, Any]:
    """Ends a job; ``killed`` is false when it was over."""
    return {"killed": end(folder_of(door, frame.fields["job"]))}


def forget(door: Door, frame: Frame) -> Dict[str, Any]:
    """Removes a job that is over."""
    import shutil

    folder = folder_of(door, frame.fields["job"])
    if lives(folder):
        raise Wrong("running", "job %s is still running" % frame.fields["job"])
    shutil.rmtree(folder)
    return {}


def names(door: Door) -> List[str]:
    """The ids of all jobs that are here, oldest first."""
    try:
        return sorted(name for name in os.listdir(door.path("jobs")) if JOB.fullmatch(name))
    except OSError:
        return []


def running(door: Door) -> List[str]:
    """The ids of those whose keepers live."""
    return [name for name in names(door) if lives(door.path("jobs", name))]


def folder_of(door: Door, job: Any, *, new: bool = False) -> str:
    """The folder of a job.

    Raises:
        Wrong: ``job`` is no id, or no job here has it and it is not to be a ``new`` one.
    """
    if not isinstance(job, str) or not JOB.fullmatch(job):
        raise Wrong("protocol", "expected the id of a job, came %r" % str(job)[:80])
    folder = door.path("jobs", job)
    if not new and not os.path.isdir(folder):
        raise Wrong("no-job", "there is no job %s on this board" % job)
    return folder


def python_of(door: Door) -> str:
    """The interpreter that jobs run in: of what was installed here, or this one."""
    from .installed import python_of as chosen

    return chosen(door.folder) or sys.executable


def lives(folder: str) -> bool:
    """Whether the keeper of a job is alive: the kernel knows, since it holds a lock."""
    import fcntl

    try:
        descriptor = os.open(os.path.join(folder, ALIVE), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def end(folder: str) -> bool:
    """Ends a job at once, with all its processes; False when it was over."""
    if not lives(folder):
        return False
    try:
        with open(os.path.join(folder, ALIVE), encoding="ascii") as file:
            keeper = int(file.read())
        os.kill(keeper, signal.SIGKILL)  # its workers and its sampler die with it
    except (OSError, ValueError):
        return False
    until = time.monotonic() + ENDS_WITHIN_S
    while lives(folder) and time.monotonic() < until:
        time.sleep(0.01)
    return True


def about_of(folder: str) -> Dict[str, Any]:
    """What a job's host wrote about it."""
    try:
        with open(os.path.join(folder, _ABOUT), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def last_words(folder: str, most: int = 300) -> str:
    """The end of what a job wrote to its standard error, on one line."""
    try:
        with open(os.path.join(folder, ERRORS), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most))
            text = file.read(most).decode(errors="replace")
    except OSError:
        return ""
    return " ".join(text.split())


def _state_of(door: Door, name: str) -> Dict[str, Any]:
    folder = door.path("jobs", name)
    with SpoolReader(folder) as spool:
        last = spool.skim()
    return {
        "job": name,
        "running": lives(folder),
        "ended": last if last in ("result", "error") else "",
        "bytes": size_of(os.path.join(folder, SPOOL)) or 0,
        "about": about_of(folder),
    }


def _spawn(door: Door, folder: str) -> None:
    import subprocess

    hear, tell = os.pipe()
    os.set_inheritable(tell, True)
    try:
        with open(os.path.join(folder, ERRORS), "ab") as errors:
            keeper = subprocess.Popen(
                [python_of(door), "-X", "utf8", sys.argv[0], "keep", folder, str(tell)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=[tell],
                start_new_session=True,
                cwd=folder,
            )
    finally:
        os.close(tell)
    with os.fdopen(hear, "rb") as said:
        started = said.read(1)
    if not started:
        keeper.wait()
        raise Wrong("os", "the job could not be started: %s" % (last_words(folder) or "it ended without a word"))
    door.keepers.append(keeper)


def _forget_old(door: Door) -> None:
    """Removes the oldest jobs that ended and were never fetched, when there are many."""
    import shutil

    ended = [name for name in names(door) if not lives(door.path("jobs", name))]
    for name in ended[: max(0, len(ended) - KEPT_JOBS + 1)]:
        shutil.rmtree(door.path("jobs", name), ignore_errors=True)


def _plain(name: Any) -> str:
    """``name`` itself, when it is a relative path that stays where it starts."""
    parts = str(name).split("/")
    odd = any(part in ("", ".", "..") or len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts)
    if odd or "\0" in str(name) or "\\" in str(name) or len(parts) > 20:
        raise Wrong("protocol", "expected a file's name inside the model's folder, came %r" % str(name)[:80])
    return str(name)
