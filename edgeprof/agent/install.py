"""A runtime in a virtual environment of its own, made from wheels that the host sent: no network, and no pip on the board.

pip does the work, run from its own wheel, which the host sends along in the newest version that this Python can have. An
installer of our own, 40 lines on `zipfile`, was tried beside it on Python 3.8, 3.11 and 3.13: 2.5 to 3 s against 4 to 5 s, 57 to 104 MB
of memory against 50 to 57 MB, and pip knows all that wheels may hold and which of them this Python takes. What pip does not look at is
checked before: digests, links, paths and sizes.

An installation is built under another name and renamed when a model has run in it, so what has its name is whole. The environment's
scripts would hold the first name: they are removed, since only ``bin/python`` is wanted.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from typing import Any, Callable, Dict, Iterator, Sequence

from .about import free_bytes
from .first_run import death, first_run, last_line
from .installed import (
    MANIFEST,
    NAME,
    UNFINISHED,
    Lock,
    choose,
    entries,
    interpreter,
    manifest_of,
    place_of,
    remove_unfinished,
    retire,
    root_of,
    tag,
    this_python,
)
from .runtimes import RUNTIMES, Refused

Say = Callable[[str, int, int], None]

WHEEL = re.compile(r"[A-Za-z0-9_.]+-[A-Za-z0-9_.!+]+(-[0-9][A-Za-z0-9_.]*)?(-[A-Za-z0-9_.]+){3}\.whl")
MOST_WHEELS = 64
MOST_WHEEL_FILES = 100_000
MOST_UNPACKED_BYTES = 4 << 30
SPARE_BYTES = 16 << 20
"""Beside the wheels' contents: the environment itself, folders, byte code of what is imported."""
LIMIT_S = 3600.0

_MODEL = "check.onnx"
_LOOK_EVERY_S = 0.5
_BLOCK_BYTES = 4096
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PIP = """
import os, runpy, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: nobody goes on writing when the agent is gone
except (ImportError, OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv.pop(1)):
    sys.exit("the agent is gone")
sys.path.insert(0, sys.argv.pop(1))
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
_PIP_GLOBAL = ("--isolated", "--disable-pip-version-check", "--no-input")
_PIP_INSTALL = ("install", "--quiet", "--no-index", "--no-deps", "--no-cache-dir", "--no-compile")


def install(folder: str, name: str, wheels: Sequence[Dict[str, Any]], say: Say, model: str = "") -> Dict[str, Any]:
    """Makes the installation ``name`` and runs the file ``model`` in it; one that is there and works is only checked (``already``).

    ``wheels``: dictionaries with ``filename``, ``sha256`` and ``path`` (where it lies on this board); one is pip's. They are deleted
    once they are installed. ``say(phase, done, total)`` hears of ``environment``, ``unpack`` (in bytes) and ``check``. The result is that
    of `check`, and ``already``.

    Raises:
        Refused: it cannot be done; nothing of it is left then.
    """
    match = NAME.fullmatch(name)
    if not match or match.group(1) != tag() or match.group(2) not in dict(RUNTIMES):
        raise Refused("install", "expected a runtime for this Python, such as %s-onnxruntime-1.19.2, came %r" % (tag(), name[:80]))
    needed = SPARE_BYTES
    try:
        os.makedirs(root_of(folder), 0o700, exist_ok=True)
        with Lock(root_of(folder)):
            remove_unfinished(root_of(folder))
            if os.path.lexists(place_of(folder, name)):
                try:
                    return dict(check(folder, name), already=True)
                except Refused:
                    retire(folder, name)
            needed += sum(_inspected(wheel) for wheel in _named(wheels))
            if (free_bytes(folder) or needed) < needed:
                raise _no_room(folder, needed)
            _make(folder, name, wheels, needed, say, model)
    except BrokenPipeError:  # nobody hears what we say
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise _no_room(folder, needed) from error
        raise Refused("install", "the runtime cannot be written to %s: %s" % (folder, error.strerror or error)) from error
    return dict(_described(folder, name), already=False)


def check(folder: str, name: str = "", model: str = "") -> Dict[str, Any]:
    """Runs the model kept in the installation ``name``, which jobs use from then on; with no name, ``model`` in the board's own Python.

    The result says ``name``, ``python`` (path of the interpreter), ``version``, ``numpy``, ``providers``, and ``bytes`` of an installation.

    Raises:
        Refused: there is no such installation, or the model does not run in it.
    """
    if not name:
        return dict(first_run(sys.executable, model), name="", python=sys.executable)
    manifest = manifest_of(folder, name)
    if manifest is None or not manifest["fits"]:
        raise Refused("install", "no whole runtime %r for this Python is installed here" % name[:80])
    place = place_of(folder, name)
    found = first_run(interpreter(place), os.path.join(place, _MODEL))
    choose(folder, name)
    return dict(found, name=name, python=interpreter(place), bytes=manifest.get("bytes"))


def _described(folder: str, name: str) -> Dict[str, Any]:
    manifest = manifest_of(folder, name) or {}
    told = {key: manifest.get(key) for key in ("version", "numpy", "providers", "bytes")}
    return dict(told, name=name, python=interpreter(place_of(folder, name)))


def _make(folder: str, name: str, wheels: Sequence[Dict[str, Any]], needed: int, say: Say, model: str) -> None:
    new = os.path.join(root_of(folder), UNFINISHED + name)
    try:
        say("environment", 0, 1)
        _make_environment(new)
        shutil.copyfile(model, os.path.join(new, _MODEL))
        _unpack(new, wheels, needed, say)
        say("check", 0, 1)
        found = first_run(interpreter(new), os.path.join(new, _MODEL))
        made_for = dict(zip(("tag", "machine", "bits"), this_python()))
        manifest = dict(found, **made_for, bytes=_size(new), wheels=sorted(wheel["filename"] for wheel in wheels))
        with open(os.path.join(new, MANIFEST), "w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1)
        os.sync()  # a board may lose its power: whole on the disk before it has its name
        os.rename(new, place_of(folder, name))
        choose(folder, name)
        say("check", 1, 1)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    for wheel in wheels:
        _unlink(wheel["path"])


def _make_environment(place: str) -> None:
    """Without pip: some systems leave out the module that would install it."""
    command = [sys.executable, "-I", "-m", "venv", "--without-pip", place]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=LIMIT_S, check=False
    )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace")
        _raise_if_full(said)
        raise Refused("install", "Python's venv module made no environment: %s" % (last_line(said) or "it gave no reason"))


def _unpack(place: str, wheels: Sequence[Dict[str, Any]], needed: int, say: Say) -> None:
    """Has pip install the wheels, run by the environment's Python; what this board's settings tell pip counts for nothing."""
    inbox = os.path.join(place, "inbox")  # wheels under names that pip can read, and its temporary files
    os.mkdir(inbox)
    for wheel in wheels:
        os.symlink(os.path.abspath(wheel["path"]), os.path.join(inbox, wheel["filename"]))
    paths = [os.path.join(inbox, wheel["filename"]) for wheel in wheels]
    pip = next(path for path in paths if _is_pip(os.path.basename(path)))
    process = subprocess.Popen(
        [
            interpreter(place),
            "-I",
            "-c",
            _PIP,
            str(os.getpid()),
            pip,
            *_PIP_GLOBAL,
            *_PIP_INSTALL,
            *(path for path in paths if path != pip),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(os.environ, TMPDIR=inbox, PIP_CONFIG_FILE=os.devnull),
    )
    try:
        said = _wait(process, place, needed, say).decode("utf-8", "replace")
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if process.returncode:
        _raise_if_full(said)
        raise Refused(
            "install", "pip could not install the wheels: %s" % (death(process.returncode) if process.returncode < 0 else _pip_error(said))
        )
    shutil.rmtree(inbox)
    scripts = os.path.join(place, "bin")
    for entry in entries(scripts):
        if not entry.startswith("python"):
            _unlink(os.path.join(scripts, entry))


def _wait(process: subprocess.Popen[bytes], place: str, needed: int, say: Say) -> bytes:
    """What the process says in the end; meanwhile tells how much has been written."""
    for _ in range(int(LIMIT_S / _LOOK_EVERY_S)):
        say("unpack", min(_size(place), needed), needed)
        try:
            _, said = process.communicate(timeout=_LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            continue
        say("unpack", needed, needed)
        return said
    raise Refused("install", "pip did not install the wheels within %d s" % LIMIT_S)


def _pip_error(said: str) -> str:
    return last_line("\n".join(line.partition("ERROR: ")[2] for line in said.splitlines() if "ERROR: " in line) or said)


# Wheels


def _named(wheels: Sequence[Dict[str, Any]]) -> Sequence[Dict[str, Any]]:
    """``wheels``, if each is named as a wheel is, none twice, and pip's is among them."""
    names = [str(wheel["filename"]) for wheel in wheels]
    odd = [name for name in names if not WHEEL.fullmatch(name)]
    if odd:
        raise Refused("install", "expected the file name of a wheel, came %r" % odd[0][:80])
    if len(set(names)) != len(names) or len(names) > MOST_WHEELS or sum(map(_is_pip, names)) != 1:
        raise Refused("install", "expected at most %d wheels, none twice and one of them pip's, came %d" % (MOST_WHEELS, len(names)))
    return wheels


def _is_pip(filename: str) -> bool:
    return filename.lower().startswith("pip-")


def _inspected(wheel: Dict[str, Any]) -> int:
    """Bytes that the wheel will take on the disk.

    Raises:
        Refused: it is not the file that was sent, or holds what no wheel does.
    """
    name, path = wheel["filename"], wheel["path"]
    if _sha256(path) != wheel["sha256"]:
        _unlink(path)  # so that it is sent again
        raise Refused("install", "%s is damaged on the board's disk and was removed there" % name)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise Refused("install", "%s is no wheel: %s" % (name, error)) from error
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or "\0" in member.orig_filename:
            raise Refused("install", "%s holds a file that would lie outside: %r" % (name, member.filename[:80]))
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Refused("install", "%s holds a link or a device: %r" % (name, member.filename[:80]))
    total = sum(-(-member.file_size // _BLOCK_BYTES) * _BLOCK_BYTES for member in members)
    if total > MOST_UNPACKED_BYTES or len(members) > MOST_WHEEL_FILES:
        raise Refused("install", "%s claims to hold %d files of %d bytes" % (name, len(members), total))
    return 0 if _is_pip(name) else total


def _sha256(path: str) -> str:
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            hashed.update(piece)
    return hashed.hexdigest()


# Room


def _raise_if_full(said: str) -> None:
    """OSError when a subprocess said that there is no room."""
    for number in _FULL:
        if "[Errno %d]" % number in said or os.strerror(number) in said:
            raise OSError(number, os.strerror(number))


def _no_room(folder: str, needed: int) -> Refused:
    there = free_bytes(folder)
    return Refused("disk", "%d bytes are needed in %s and %s are free" % (needed, folder, "an unknown number" if there is None else there))


def _size(folder: str) -> int:
    """Bytes on the disk of all files below ``folder``."""
    return sum(status.st_blocks * 512 for status in _statuses(folder))


def _statuses(folder: str) -> Iterator[os.stat_result]:
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(where, name))
            except OSError:  # pip moves files about
                continue


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
