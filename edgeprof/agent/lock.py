"""One measurement at a time on a board, whoever asks: ``flock`` on a file that all users of the board share.

The kernel frees the lock when its holder dies, however it dies. The file says who holds it and since when, for those who wait;
it is only read by people, so what it says is believed no further than that.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

_MOST_BYTES = 4096
_MOST_CHARACTERS = 200
_LOOK_EVERY_S = 0.1
_LEAST_S = 0.3
"""So long is always waited: who looks whether the board is free holds the lock for a moment, and so does a job that is just ending."""


class Busy(Exception):
    """Somebody else holds the board; ``holder`` is what the file says of them."""

    def __init__(self, holder: Dict[str, Any]) -> None:
        super().__init__("the board is in use")
        self.holder = holder


def default_path() -> str:
    """The lock of this board: the same file for all its users."""
    shared = "/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()  # noqa: S108 - shared is what it must be; links are not followed
    return os.environ.get("EDGEPROF_LOCK") or os.path.join(shared, "edgeprof.lock")


class Lock:
    """The lock, held from `acquire` to `release`."""

    def __init__(self, path: str = "") -> None:
        self._path = path or default_path()
        self._descriptor: Optional[int] = None

    def acquire(self, holder: Dict[str, Any], wait_s: float, waiting: Callable[[Dict[str, Any]], bool]) -> bool:
        """Takes the lock, waiting at most ``wait_s``; False when ``waiting`` said to give up. ``waiting(who holds it)`` is called now and
        then.

        Raises:
            Busy: it was not free in time.
            OSError: the file cannot be made or opened.
        """
        end = time.monotonic() + max(wait_s, _LEAST_S)
        while True:
            descriptor = self._open()
            if _try(descriptor):
                if not _is_at(descriptor, self._path):  # somebody cleaned up meanwhile: that lock holds nobody off
                    os.close(descriptor)
                    continue
                if os.fstat(descriptor).st_size and not _read(descriptor):
                    os.close(descriptor)
                    raise OSError(errno.EEXIST, "this file is no lock of edgeprof, name another", self._path)
                self._descriptor = descriptor
                short = {key: str(value)[:_MOST_CHARACTERS] for key, value in holder.items()}
                _write(descriptor, dict(short, monotonic_s=time.monotonic(), pid=os.getpid()))
                return True
            held_by = _read(descriptor)
            os.close(descriptor)
            if time.monotonic() >= end:
                raise Busy(held_by)
            if not waiting(held_by):
                return False
            time.sleep(min(_LOOK_EVERY_S, max(0.0, end - time.monotonic())))

    def release(self) -> None:
        """Lets the next one in."""
        if self._descriptor is not None:
            _write(self._descriptor, None)
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            return os.open(self._path, os.O_RDWR | flags)
        except FileNotFoundError:
            pass
        except PermissionError:  # made by somebody with a strict umask: enough to lock, not to write a name
            return os.open(self._path, os.O_RDONLY | flags)
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o666)
        except FileExistsError:
            return self._open()
        try:
            os.fchmod(descriptor, 0o666)  # also for users whose umask is not ours
        except OSError:
            pass
        return descriptor


def holder_of(path: str = "") -> Optional[Dict[str, Any]]:
    """Who holds the lock, or None when it is free or has never been taken."""
    try:
        descriptor = os.open(path or default_path(), os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        return None if _try(descriptor) else _read(descriptor)
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # not on this system: nobody is held off
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _write(descriptor: int, holder: Optional[Dict[str, Any]]) -> None:
    try:
        os.ftruncate(descriptor, 0)
        if holder is not None:
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    except OSError:
        return


def _read(descriptor: int) -> Dict[str, Any]:
    """``who``, ``job`` (texts) and ``held_s``, as far as the file says."""
    try:
        said = json.loads(os.pread(descriptor, _MOST_BYTES, 0).decode())
        found: Dict[str, Any] = {key: str(said[key])[:_MOST_CHARACTERS] for key in ("who", "job") if key in said}
        return dict(found, held_s=max(0.0, time.monotonic() - float(said["monotonic_s"])))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
