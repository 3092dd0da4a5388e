"""The keeper of a job that must survive the link: a supervisor whose host is a folder.

It runs in a session of its own. What it says is appended to ``spool``, so that any number of doors (`door.py`) can read it from the
start, now or later; what it hears is ``opening``, then whatever a door sends over the socket ``bell``. Each frame that is written rings
the bell: a door reads the spool when there is something, not now and then, and a slow link never holds up what is measured.
"""

from __future__ import annotations

import errno
import os
import resource
import selectors
import socket
import threading
from typing import Any, Dict, List, Optional

from .places import ALIVE, BELL, OPENING, SPOOL
from .runtimes import Refused

RESERVE = "reserve"
_RESERVE_BYTES = 1 << 16
MOST_ERRORS_BYTES = 1 << 20


def keep(folder: str, ready: Optional[int] = None) -> int:
    """Does the job in ``folder``; the exit status. A byte is written to the descriptor ``ready`` once a door can come."""
    from .serve import Host, serve
    from .supervise import supervise

    def conduct(host: Any, job: Dict[str, Any], frames: List[Any]) -> Dict[str, Any]:
        paths = {key: _inside(folder, job[key]) for key in ("model_path", "workdir")}  # some runtimes take others for the model's
        return supervise(host, dict(job, **paths), frames)

    os.chdir(folder)
    alive = _lock(ALIVE)
    hear, tell = os.pipe()
    bell = Bell(tell)
    spool = Spool(bell.ring)
    if ready is not None:
        os.write(ready, b"1")
        os.close(ready)
    with open(OPENING, "rb") as opening, os.fdopen(hear, "rb", buffering=0) as control:
        status = serve(Host(Chain(opening, control), spool), conduct)  # type: ignore[arg-type]
    spool.close()
    os.close(alive)  # first: a door that hears the bell's end must find that nobody is left
    bell.close()
    return status


def _inside(folder: str, name: Any) -> str:
    """The path of what the host calls ``name``, in the job's own folder."""
    path = os.path.normpath(os.path.join(folder, str(name)))
    if "\0" in path or not path.startswith(os.path.join(folder, "")):
        raise Refused("job", "expected a path inside the job's folder, came %r" % str(name)[:80])
    return path


def _lock(path: str) -> int:
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits for a door that just looks whether somebody lives here
    os.ftruncate(descriptor, 0)
    os.write(descriptor, b"%d" % os.getpid())
    return descriptor


class Chain:
    """Two streams as one: what is in the first, then what comes from the second, whose descriptor it has."""

    def __init__(self, first: Any, second: Any) -> None:
        self._first, self._second = first, second

    def readline(self, most: int) -> bytes:
        """As of a file."""
        return self._first.readline(most) or self._second.readline(most)  # type: ignore[no-any-return]

    def read(self, size: int) -> bytes:
        """As of a file."""
        return self._first.read(size) or self._second.read(size)  # type: ignore[no-any-return]

    def fileno(self) -> int:
        """Of the second stream: the first never has to be waited for."""
        return self._second.fileno()  # type: ignore[no-any-return]


class Spool:
    """Where frames are appended, each whole or not at all; ``ring`` is called after each."""

    def __init__(self, ring: Any) -> None:
        self._descriptor = os.open(SPOOL, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._whole = os.fstat(self._descriptor).st_size
        self._ring = ring
        self._reserved = True
        with open(RESERVE, "wb") as reserve:
            reserve.write(b"\0" * _RESERVE_BYTES)

    def write(self, data: bytes) -> None:
        """Appends a frame; OSError when there is no room, and then there is room for a last one that says so."""
        view = memoryview(data)
        try:
            self._keep_reserve(len(data))
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            os.ftruncate(self._descriptor, self._whole)
            self._free_reserve()
            raise
        self._whole += len(data)

    def _keep_reserve(self, more: int) -> None:
        """OSError when the spool would come so near to the largest size of a file that no last frame would fit."""
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if self._reserved and limit != resource.RLIM_INFINITY and self._whole + more > limit - _RESERVE_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    def flush(self) -> None:
        """Says that there is something to read; and keeps what the runtime prints from filling the disk."""
        self._ring()
        if os.fstat(2).st_size > MOST_ERRORS_BYTES:
            os.ftruncate(2, 0)

    def close(self) -> None:
        """Nothing comes after this."""
        self._free_reserve()
        os.close(self._descriptor)

    def _free_reserve(self) -> None:
        self._reserved = False
        try:
            os.unlink(RESERVE)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


class Bell:
    """A socket that rings when the spool has grown; what doors send over it goes to the descriptor ``tell``."""

    def __init__(self, tell: int) -> None:
        self._tell = tell
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.unlink(BELL)
        except OSError:
            pass
        self._server.bind(BELL)
        os.chmod(BELL, 0o600)
        self._server.listen(4)
        self._doors: List[socket.socket] = []
        self._order = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def ring(self) -> None:
        """Wakes every door; one that does not listen has enough to read already."""
        with self._order:
            for door in self._doors:
                try:
                    door.send(b".", socket.MSG_DONTWAIT)
                except OSError:
                    continue

    def close(self) -> None:
        """Tells every door that nothing comes any more; from then on the job's folder is left alone, since a door may remove it."""
        try:
            os.unlink(BELL)
        except OSError:
            pass
        with self._order:
            for door in self._doors:
                door.close()
            self._doors = []
        self._server.close()

    def _listen(self) -> None:
        while True:
            try:
                ready = [key.fileobj for key, _ in self._selector.select()]
            except (OSError, ValueError):  # closed
                return
            for source in ready:
                if source is self._server:
                    self._let_in()
                else:
                    self._take(source)

    def _let_in(self) -> None:
        try:
            door, _ = self._server.accept()
        except OSError:
            return
        with self._order:
            self._doors.append(door)
        self._selector.register(door, selectors.EVENT_READ)

    def _take(self, door: Any) -> None:
        try:
            data = door.recv(1 << 16)
        except OSError:
            data = b""
        if data:
            os.write(self._tell, data)
            return
        self._selector.unregister(door)
        with self._order:
            if door in self._doors:
                self._doors.remove(door)
        door.close()
