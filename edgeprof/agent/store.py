"""Files that hosts send to a board, in ``blobs/`` by their sha256: each is sent once and used by many jobs, until room is needed."""

from __future__ import annotations

import errno
import os
import re

from .door import PIECE, Wrong

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from .door import Door
    from .protocol import Frame

DIGEST = re.compile("[0-9a-f]{64}")
MOST_FILES = 1000
MOST_BLOB_BYTES = 16 << 30
SPARE_BYTES = 64 << 20
"""So much of the disk is left free when a file is taken in."""
_PART = ".part-"


def have(door: Door, frame: Frame) -> Dict[str, Any]:
    """How many bytes of each file are here; those that are whole are used from now."""
    found = {}
    door.wanted = list(frame.fields["digests"])[:MOST_FILES]
    for digest in door.wanted:
        path = blob(door, digest)
        size = size_of(path)
        if size is not None:
            _touch(path)
        found[digest] = {"whole": size is not None, "bytes": size if size is not None else size_of(_part(door, digest)) or 0}
    return {"have": found}


def put(door: Door, frame: Frame) -> Dict[str, Any]:
    """Appends a piece to a file; the last one makes it whole, if its sha256 is right."""
    digest, size, offset = frame.fields["digest"], int(frame.fields["size"]), int(frame.fields["offset"])
    path = blob(door, digest)
    if size_of(path) is not None:
        return {"bytes": size}
    if not 0 <= offset <= offset + len(frame.payload) <= size <= MOST_BLOB_BYTES:
        raise Wrong("protocol", "a piece that is not in its file")
    if not frame.fields.get("goes_on"):
        _make_room(door, size - offset, int(frame.fields.get("cache_limit_bytes") or 0), digest)
    part = _part(door, digest)
    with open(part, "ab") as file:
        _lock_or_wrong(file)
        there = os.fstat(file.fileno()).st_size
        if there != offset:
            raise Wrong("upload", "expected the piece from byte %d on, came byte %d" % (there, offset))
        try:
            file.write(frame.payload)
            file.flush()
        except OSError as error:
            os.ftruncate(file.fileno(), offset)
            raise _no_room(error, size - offset, door.folder) from error
        if offset + len(frame.payload) == size:
            _finish(part, path, digest)
    return {"bytes": offset + len(frame.payload)}


def blob(door: Door, digest: Any) -> str:
    """The path of a file, whether it is here or not.

    Raises:
        Wrong: ``digest`` is none.
    """
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise Wrong("protocol", "expected a sha256, came %r" % str(digest)[:80])
    return os.path.join(door.made("blobs"), digest)


def place(file: str, path: str) -> None:
    """Puts a file of the store at ``path``: a second name of it where the file system has such, else a copy.

    Raises:
        Wrong: the file is not here.
    """
    if not os.path.exists(file):
        raise Wrong("upload", "a file of the job is not here; it may have been removed to make room")
    _touch(file)
    try:
        os.link(file, path)
    except OSError:
        import shutil

        shutil.copyfile(file, path)


def size_of(path: str) -> Optional[int]:
    """Bytes of a file; None when there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _part(door: Door, digest: str) -> str:
    return door.path("blobs", _PART + digest)


def _make_room(door: Door, wanted: int, limit: int, digest: str) -> None:
    """Removes the files that were not used for longest, until ``wanted`` bytes fit below the limit and on the disk."""
    import shutil

    folder = door.made("blobs")
    files = []
    kept = {digest, _PART + digest, *door.wanted}
    total = 0
    for name in os.listdir(folder):
        status = os.stat(os.path.join(folder, name))
        if not name.endswith(digest):  # a part of it is among the bytes that are wanted
            total += status.st_size
        if name not in kept:
            files.append((status.st_mtime, status.st_size, os.path.join(folder, name)))
    files.sort(reverse=True)
    while files and ((limit and total + wanted > limit) or shutil.disk_usage(folder).free < wanted + SPARE_BYTES):
        _, size, path = files.pop()
        os.unlink(path)
        total -= size
    free = shutil.disk_usage(folder).free
    if free < wanted + SPARE_BYTES:
        raise Wrong("disk", "%d bytes are needed in its folder and %d are free" % (wanted + SPARE_BYTES, free))


def _finish(part: str, path: str, digest: str) -> None:
    import hashlib

    hashed = hashlib.sha256()
    with open(part, "rb") as file:
        for piece in iter(lambda: file.read(PIECE), b""):
            hashed.update(piece)
    if hashed.hexdigest() != digest:
        os.unlink(part)
        raise Wrong("upload", "the file that arrived is not the one that was sent: its sha256 differs")
    os.replace(part, path)


def _lock_or_wrong(file: Any) -> None:
    import fcntl

    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Wrong("upload", "somebody else is sending the same file") from error


def _no_room(error: OSError, wanted: int, folder: str) -> Exception:
    import shutil

    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return Wrong("disk", "%d bytes are needed in its folder and %d are free" % (wanted, shutil.disk_usage(folder).free))


def _touch(path: str) -> None:
    try:
        os.utime(path)
    except OSError:
        return
