"""What a host must know of a board to choose wheels for it, and to say what is missing."""

from __future__ import annotations

import errno
import os
import platform
import re
import sys

from .files import text_of
from .installed import bits, entries, installed, tag

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Sequence, Tuple

_OWN = re.compile(r"(onnxruntime[a-z_]*|numpy)-([0-9][^-]*)(-py[0-9.]+)?\.(dist|egg)-info", re.IGNORECASE)


def about(folder: str) -> Dict[str, Any]:
    """What decides which wheels fit, and what may be missing. Nothing is left in ``folder``; what cannot be told is empty or None."""
    libc, libc_version = libc_of()
    free, unwritable = _room(folder)
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "bits": bits(),
        "libc": libc,
        "libc_version": libc_version,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "tag": tag(),
        "executable": sys.executable or "",
        "venv": _has("venv"),
        "ensurepip": _has("ensurepip"),
        "own": own_runtime(sys.path) if _has("onnxruntime") else None,
        "folder": folder,
        "free_bytes": free,
        "unwritable": unwritable,
        "installed": installed(folder),
    }


def libc_of(sysroot: str = "/") -> Tuple[str, str]:
    """(``glibc`` or ``musl`` or nothing, version) of this process. A loader of musl's may lie beside a glibc that is used."""
    try:
        told = (os.confstr("CS_GNU_LIBC_VERSION") if sysroot == "/" else "") or ""
    except (ValueError, OSError, AttributeError):
        told = ""
    name, _, version = told.partition(" ")
    if name:
        return name, version
    mapped = text_of(sysroot, "proc/self/maps", most=1 << 20) or ""
    if "musl" in mapped or any(name.startswith("ld-musl-") for name in entries(os.path.join(sysroot, "lib"))):
        return "musl", ""
    return "", ""


def own_runtime(paths: Sequence[str]) -> Optional[Dict[str, str]]:
    """``name`` and ``version`` of the runtime in these folders, and numpy's version, by the names of their metadata; None without both."""
    found: Dict[str, str] = {}
    for path in paths:
        for match in filter(None, map(_OWN.fullmatch, entries(path))):
            found.setdefault(match.group(1).lower().replace("_", "-"), match.group(2))
    name = next((name for name in found if name != "numpy"), "")
    return {"name": name, "version": found[name], "numpy": found["numpy"]} if name and "numpy" in found else None


def free_bytes(place: str) -> Optional[int]:
    """What a user may still write there, or None."""
    try:
        status = os.statvfs(place)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def _room(folder: str) -> Tuple[Optional[int], str]:
    """(bytes free for ``folder``, why it cannot be written to), found by writing there or where it would be made."""
    import tempfile

    place = os.path.abspath(folder)
    while not os.path.isdir(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    try:
        with tempfile.TemporaryFile(dir=place):
            return free_bytes(place), ""
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return free_bytes(place), "" if full else str(error.strerror or error)


def _has(module: str) -> bool:
    from importlib.machinery import PathFinder

    return PathFinder.find_spec(module) is not None
