"""What a report is, and how its file is written: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprof.errors import OutputError
from edgeprof.records.profile import Profile


@dataclass(frozen=True)
class Report:
    """A kind of report: the ending of its file, what it is, and the function that makes the bytes."""

    suffix: str
    what: str
    render: Callable[[Sequence[Profile]], bytes]


def write_file(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path`` under a temporary name beside it, then renames: readers never see half a report."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}.tmp")
    try:
        _write_new(temporary, content)
        temporary.replace(target)
    except OSError as error:
        raise OutputError(_sentence(path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_new(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sentence(path: Path, error: OSError) -> str:
    folder = path.parent
    reasons = {
        errno.ENOSPC: "the disk is full; free some space or choose another folder",
        errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
        errno.EFBIG: "the file would be larger than allowed here; choose another folder",
        errno.EROFS: "the file system is read-only; choose another folder",
        errno.EACCES: f"no permission to write in {folder}; choose another folder",
        errno.EPERM: f"no permission to write in {folder}; choose another folder",
        errno.ENOENT: f"there is no folder {folder}; make it first or choose another one",
        errno.ENOTDIR: f"{folder} is not a folder; choose another one",
        errno.EISDIR: "it is a folder; give a file name",
        errno.ENAMETOOLONG: "the file name is too long; choose a shorter one",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return f"Cannot write the report {path}: {reason}."
