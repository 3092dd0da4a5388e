"""Wheels of a runtime for a board, found and downloaded here by this machine's pip and kept in this user's cache.

pip is asked for the board's platform, Python and C library. `pip download` does that right; `pip install --dry-run --report` does not: it
takes the Python that runs it for the one that wheels must fit. Markers of requirements ("only on Windows") are read for this machine by
both, so they are read again here for the board.
"""

from __future__ import annotations

import email
import email.message
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from edgeprof.boards.about import WHEEL_MACHINES, About, refusal
from edgeprof.boards.wheel_store import Resolved, Store, package_of
from edgeprof.errors import BoardError, MissingExtra, OutputError, UsageError

UNUSED = frozenset({"sympy", "mpmath", "coloredlogs", "humanfriendly"})
"""Requirements of ONNX Runtime up to 1.23 that only its tools import (symbolic shapes, logs of conversions): 40 MB on a board. Importing
it and running a model takes numpy alone, tried with 1.19.2, 1.23.2 and 1.32.0; later versions do not require these."""
_NUMPY_2_SINCE = (1, 19)
_TAG = re.compile(r"cp3\d{1,2}t?")
_PIP_LIMIT_S = 1800.0
_ALIASES = {"x86_64": {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}, "aarch64": {17: "manylinux2014"}}
_NO_NETWORK = ("connection broken by", "NewConnectionError", "ConnectTimeout", "Max retries", "timed out", "SSLError", "ProxyError")


def resolve(about: About, runtime: str = "onnxruntime", into: Path | None = None, version: str | None = None) -> Resolved:
    """The newest ``runtime`` that this board can have (or that ``version``), with all that it needs, downloaded to the cache ``into``.

    Raises:
        BoardError: the board cannot have it, or no index can be reached and none was downloaded before.
        MissingExtra: there is no pip here.
        OutputError: the cache cannot be written.
    """
    if version is not None and not re.fullmatch(r"[0-9][0-9A-Za-z.+]{0,30}", version):
        raise UsageError(f"Expected the version of a runtime, such as 1.19.2, came '{version}'.")
    reason = refusal(about)
    if reason is not None:
        raise BoardError(reason)
    if about.glibc is None or not about.python_version or about.machine not in WHEEL_MACHINES or not _TAG.fullmatch(about.tag):
        raise BoardError(f"The board did not say which Python and C library it has, only {about.words}. Check what answers there.")
    store = Store(into or _default_folder())
    key = "-".join([runtime, version or "newest", about.tag, about.machine, "glibc{}.{}".format(*about.glibc)])
    known = store.load(key)
    if known is not None and (version or known.is_fresh):
        return known
    try:
        with store.room() as folder:
            left_out = _download(about, runtime, version, folder)
            return store.save(key, about.tag, runtime, sorted(folder.glob("*.whl")), left_out)
    except _Unreachable as error:
        if known is not None:
            return known.from_before()
        raise BoardError(
            f"Expected wheels of {_asked_for(about, runtime, version)} from the package index that pip uses here, and it cannot be "
            "reached. Set the board up from a network that reaches it: what was downloaded once is kept on this machine."
        ) from error
    except OSError as error:
        raise OutputError(
            f"Wheels cannot be kept in {store.folder}: {error.strerror or error}. Free space or change permissions."
        ) from error


def _default_folder() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("edgeprof") / "wheels"


class _Unreachable(Exception):
    """No package index answers."""


# pip


def platforms(about: About) -> list[str]:
    """Tags of wheels that run with the board's C library, newest first, with their old names; last what a maker's own index may use."""
    major, newest = about.glibc or (2, 0)
    aliases = _ALIASES.get(about.machine, {})
    tags = []
    for minor in range(newest, min(aliases, default=17) - 1, -1):
        tags.append(f"manylinux_{major}_{minor}_{about.machine}")
        if minor in aliases:
            tags.append(f"{aliases[minor]}_{about.machine}")
    return [*tags, f"linux_{about.machine}"]


def abis(about: About) -> list[str]:
    """Binary interfaces that the board's Python takes; one without a global lock takes no stable ones."""
    return [about.tag, "none"] if about.tag.endswith("t") else [about.tag, "abi3", "none"]


def _download(about: About, runtime: str, version: str | None, folder: Path) -> tuple[str, ...]:
    """Has pip put what is needed into ``folder``; the packages that were left out."""
    asked = [f"{runtime}=={version}" if version else runtime, "pip"]
    if version and runtime == "onnxruntime" and _numbers(version) < _NUMPY_2_SINCE:
        asked.append("numpy<2")  # these do not say so, and cannot be imported with a newer one
    for _ in range(4):  # once, and again for what only the board's markers ask for
        _run_pip(about, runtime, version, asked, folder)
        packages = {package: path for path in folder.glob("*.whl") for package in [package_of(path)]}
        needed, missing = _closure(about, [runtime, "pip"], packages)
        if not missing:
            break
        asked += sorted(missing)
    for package, path in packages.items():
        if package not in needed:
            path.unlink()
    return tuple(sorted(set(packages) & UNUSED))


def _run_pip(about: About, runtime: str, version: str | None, asked: Sequence[str], folder: Path) -> None:
    if find_spec("pip") is None:
        raise MissingExtra(
            "Wheels for a board are found with pip, which this Python does not have. Install it with `pip install 'edgeprof[ssh]'`."
        )
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "2", "download", "--quiet"]
    command += ["--progress-bar", "off", "--dest", str(folder), "--only-binary", ":all:", "--implementation", "cp"]
    command += ["--python-version", ".".join(map(str, about.python_version))]
    command += [part for tag in platforms(about) for part in ("--platform", tag)]
    command += [part for tag in abis(about) for part in ("--abi", tag)]
    try:
        done = subprocess.run([*command, *asked], capture_output=True, text=True, errors="replace", timeout=_PIP_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise _Unreachable from error
    if done.returncode == 0:
        return
    if any(sign in done.stderr for sign in _NO_NETWORK):
        raise _Unreachable
    if "[Errno 28]" in done.stderr or "[Errno 122]" in done.stderr:
        raise OSError(28, "No space left on device")
    raise BoardError(_pip_refusal(about, runtime, version, done.stderr))


def _pip_refusal(about: About, runtime: str, version: str | None, said: str) -> str:
    """What pip answered, without the addresses of indexes in it."""
    if "No matching distribution found" in said:
        match = re.search(rf"requirement {re.escape(runtime)}\b.*?\(from versions: ([0-9A-Za-z.+, ]+)\)", said)
        offered = [name for name in (match[1].split(", ") if match else []) if re.fullmatch(r"[0-9.]+", name)]
        advice = (
            f"This board can have {offered[0]} to {offered[-1]}." if offered else "The index that pip uses here has none for such a board."
        )
        return f"Expected wheels of {_asked_for(about, runtime, version)}, and there are none. {advice}"
    errors = [line.partition("ERROR: ")[2] for line in said.splitlines() if "ERROR: " in line]
    reason = re.sub(r"\S*://\S*", "(address)", errors[-1] if errors else "it gave no reason").strip().rstrip(".")
    return f"pip could not find wheels of {_asked_for(about, runtime, version)}: {reason[:300]}."


def _asked_for(about: About, runtime: str, version: str | None) -> str:
    return f"{runtime} {version or ''}".strip() + f" for {about.words} ({about.tag})"


def _closure(about: About, roots: Iterable[str], packages: dict[str, Path]) -> tuple[set[str], set[str]]:
    """(packages that the board needs, requirements of them that are not there), by markers as they are true on the board."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    environment = _environment(about)
    needed: set[str] = set()
    missing: set[str] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        package = str(canonicalize_name(requirement.name))
        if package in needed or package in UNUSED:
            continue
        if package not in packages:
            requirement.marker = None
            missing.add(str(requirement))
            continue
        needed.add(package)
        for text in _metadata(packages[package]).get_all("Requires-Dist") or ():
            further = Requirement(text)
            if further.marker is None or further.marker.evaluate(environment):
                waiting.append(further)
    return needed, missing


def _environment(about: About) -> dict[str, str]:
    """What markers of requirements ask about, as it is on the board."""
    return {
        "implementation_name": "cpython",
        "implementation_version": about.python,
        "os_name": "posix",
        "platform_machine": about.machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": about.python,
        "python_version": ".".join(map(str, about.python_version[:2])),
        "sys_platform": "linux",
        "extra": "",
    }


def _metadata(wheel: Path) -> email.message.Message:
    try:
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            return email.message_from_bytes(archive.read(name))
    except (zipfile.BadZipFile, StopIteration) as error:
        raise BoardError(
            f"{wheel.name}, as pip downloaded it, is no wheel. Look at where this machine's pip takes packages from."
        ) from error


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
