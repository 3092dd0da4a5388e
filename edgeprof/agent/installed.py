"""Runtimes that were installed on this board, each in ``runtimes/<name>`` with a manifest: one without it is not whole."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import sysconfig

from .files import text_of
from .runtimes import Refused

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

MANIFEST = "edgeprof.json"
NAME = re.compile(r"(cp3[0-9]{1,2}t?)-([a-z][a-z0-9_]{0,30})-([0-9][0-9A-Za-z.+]{0,30})")
"""Python's tag, the runtime, its version: ``cp311-onnxruntime-1.32.0``."""
UNFINISHED = ".new-"
"""What the name of an installation starts with until it is whole, and again from when it is being removed."""
_CHOSEN = "chosen"


def installed(folder: str) -> List[Dict[str, Any]]:
    """The whole installations in ``folder``, as `manifest_of` tells them; ``current`` is the one that jobs use."""
    manifests = [manifest_of(folder, name) for name in entries(root_of(folder))]
    found = [manifest for manifest in manifests if manifest is not None]
    fitting = [manifest for manifest in found if manifest["fits"]]
    chosen = text_of(root_of(folder), _CHOSEN)
    fitting.sort(key=lambda manifest: (manifest["name"] == chosen, _by_version(manifest["version"])))
    for manifest in found:
        manifest["current"] = manifest is fitting[-1] if fitting else False
    return found


def python_of(folder: str) -> Optional[str]:
    """The interpreter of the installation that jobs use: that chosen last, or else the newest, of those that fit this Python; or None."""
    current = [manifest["name"] for manifest in installed(folder) if manifest["current"]]
    return interpreter(place_of(folder, current[0])) if current else None


def choose(folder: str, name: str) -> None:
    """Has jobs use the installation ``name`` from now on."""
    path = os.path.join(root_of(folder), _CHOSEN)
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(name)
    os.replace(path + ".new", path)


def remove(folder: str, name: str = "") -> List[str]:
    """Removes the installation ``name``, or all and what is left of interrupted ones; the names that are gone.

    Raises:
        Refused: ``name`` is no installation's, or another set-up is at work.
        OSError: one could not be removed.
    """
    root = root_of(folder)
    if name and (not NAME.fullmatch(name) or not os.path.isdir(place_of(folder, name))):
        raise Refused("install", "no runtime %r is installed here" % name[:80])
    if not os.path.isdir(root):
        return []
    with Lock(root):
        gone = [name] if name else [entry for entry in entries(root) if NAME.fullmatch(entry)]
        for entry in gone:
            retire(folder, entry)
        remove_unfinished(root)
        if text_of(root, _CHOSEN) in gone:
            os.unlink(os.path.join(root, _CHOSEN))
    return gone


def retire(folder: str, name: str) -> None:
    """Takes its name from an installation and removes it: if that is cut short, no half of it has a whole one's name."""
    aside = os.path.join(root_of(folder), UNFINISHED + name)
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(place_of(folder, name), aside)
    shutil.rmtree(aside)


def remove_unfinished(root: str) -> None:
    """Removes what interrupted installations and removals have left."""
    for entry in entries(root):
        if entry.startswith(UNFINISHED):
            shutil.rmtree(os.path.join(root, entry), ignore_errors=True)


def manifest_of(folder: str, name: str) -> Optional[Dict[str, Any]]:
    """``name``, ``runtime``, ``version``, ``numpy``, ``bytes``, ``wheels`` and ``fits`` of an installation; None when it is not whole."""
    place = place_of(folder, name)
    try:
        with open(os.path.join(place, MANIFEST), encoding="utf-8") as file:
            found = json.load(file)
        fits = [found["tag"], found["machine"], found["bits"]] == list(this_python()) and os.path.exists(interpreter(place))
        _, runtime, version = NAME.fullmatch(name).groups()  # type: ignore[union-attr]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return dict(found, name=name, runtime=runtime, version=version, fits=fits)


def this_python() -> Tuple[str, str, int]:
    """(tag, machine, bits) that wheels must fit."""
    return tag(), platform.machine(), bits()


def tag() -> str:
    """The tag of wheels for this Python, such as ``cp311``; ``cp313t`` without a global lock."""
    short = {"cpython": "cp", "pypy": "pp"}.get(sys.implementation.name, sys.implementation.name)
    return "%s%d%d%s" % (short, sys.version_info[0], sys.version_info[1], "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "")


def bits() -> int:
    """Of this Python's pointers: a 32-bit one may run on a 64-bit system."""
    return 64 if sys.maxsize > 1 << 32 else 32


def root_of(folder: str) -> str:
    """Where the installations lie."""
    return os.path.join(folder, "runtimes")


def place_of(folder: str, name: str) -> str:
    """Where the installation ``name`` lies."""
    return os.path.join(root_of(folder), name)


def interpreter(place: str) -> str:
    """Of the environment in ``place``."""
    return os.path.join(place, "bin", "python")


def entries(folder: str) -> List[str]:
    """Names in a folder; empty when there is none."""
    try:
        return sorted(os.listdir(folder or "."))
    except OSError:
        return []


def _by_version(version: str) -> Tuple[List[int], bool]:
    """A key to sort versions by; ``1.20.0rc1`` comes before ``1.20.0``."""
    release = re.match(r"[0-9]+(\.[0-9]+)*", version)
    numbers = release.group() if release else ""
    return [int(part) for part in numbers.split(".") if part], numbers == version


class Lock:
    """Held while something is installed or removed; the kernel lets go of it when the agent dies."""

    def __init__(self, root: str) -> None:
        self._path = os.path.join(root, ".lock")
        self._file: Any = None

    def __enter__(self) -> None:
        import fcntl

        self._file = open(self._path, "a")  # noqa: SIM115 - closed in __exit__
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise Refused("install", "another set-up of this board is at work") from error

    def __exit__(self, *_: object) -> None:
        self._file.close()
