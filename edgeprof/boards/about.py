"""What a board says of itself before it is set up, checked: and why one cannot be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeprof.records.board_state import clean

WHEEL_MACHINES = ("x86_64", "aarch64")
"""What ONNX Runtime offers Linux wheels for. None were found for riscv64, 32-bit ARM or musl."""
LEAST_PYTHON = (3, 8)
_MOST_INSTALLED = 100
_THIRTY_TWO_BITS = re.compile(r"arm|armv[5-8].*|i[3-6]86|x86|mips(el)?|ppc")


@dataclass(frozen=True)
class OwnRuntime:
    """A runtime that the board's Python has by itself."""

    name: str
    version: str
    numpy: str


@dataclass(frozen=True)
class Installation:
    """A runtime that was installed on the board. It ``fits`` while the Python is what it was made for; jobs use the ``current`` one."""

    name: str
    runtime: str
    version: str
    fits: bool
    current: bool


@dataclass(frozen=True)
class About:
    """What decides which wheels fit a board, and what may be missing. What it did not say is empty or None."""

    system: str = ""
    machine: str = ""
    bits: int | None = None
    libc: str = ""
    libc_version: str = ""
    python: str = ""
    implementation: str = ""
    tag: str = ""
    venv: bool | None = None
    own: OwnRuntime | None = None
    folder: str = ""
    free_bytes: int | None = None
    unwritable: str = ""
    installed: tuple[Installation, ...] = ()

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> About:
        """From a board's answer, which may hold anything: texts are cut and rid of control characters, what has another type is dropped."""
        own, listed = answer.get("own"), answer.get("installed")
        return cls(
            **{key: clean(answer.get(key)) for key in _TEXTS},
            bits=whole(answer.get("bits")),
            venv=answer["venv"] if isinstance(answer.get("venv"), bool) else None,
            own=OwnRuntime(*(clean(own.get(key)) for key in ("name", "version", "numpy"))) if isinstance(own, Mapping) else None,
            free_bytes=whole(answer.get("free_bytes")),
            installed=tuple(_installation(each) for each in listed[:_MOST_INSTALLED] if isinstance(each, Mapping))
            if isinstance(listed, list)
            else (),
        )

    @property
    def python_version(self) -> tuple[int, ...]:
        """The numbers of its Python's version, such as (3, 11, 2); empty when it did not say."""
        match = re.match(r"\d{1,4}(\.\d{1,4})*", self.python)
        return tuple(int(part) for part in match.group().split(".")) if match else ()

    @property
    def glibc(self) -> tuple[int, int] | None:
        """Its C library's version when that is glibc."""
        match = re.match(r"(\d{1,3})\.(\d{1,3})", self.libc_version)
        return (int(match[1]), int(match[2])) if match and self.libc == "glibc" else None

    @property
    def words(self) -> str:
        """``Python 3.11.2 on aarch64 with glibc 2.36``: a part of a sentence."""
        libc = f" with {self.libc} {self.libc_version}".rstrip() if self.libc else ""
        return f"{self.implementation or 'Python'} {self.python or '?'} on {self.machine or 'an unknown machine'}{libc}"


_TEXTS = ("system", "machine", "libc", "libc_version", "python", "implementation", "tag", "folder", "unwritable")


def whole(value: object) -> int | None:
    """What a board said, if that is a whole number that is not negative and not absurd."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62 else None


def refusal(about: About) -> str | None:
    """Why no runtime can be installed on this board, in a sentence or two; None when nothing speaks against it.

    What it did not say is not held against it: a Python that is too old cannot run the agent, only tell its version.
    """
    if about.system and about.system != "Linux":
        return (
            f"Expected Linux on the board, came {about.system}: there is no set-up for it. Install Python and onnxruntime there yourself."
        )
    if about.implementation and about.implementation != "CPython":
        return (
            f"Expected CPython on the board, came {about.implementation}: runtimes have no wheels for it. "
            "Name its CPython as the board's Python."
        )
    if about.python_version and about.python_version < LEAST_PYTHON:
        return (
            f"Expected Python 3.8 or newer on the board, came {about.python}. Install a newer one there (on JetPack 4: apt-get install "
            "python3.8 python3.8-venv) and name it as the board's Python."
        )
    return _wrong_machine(about) or _missing(about)


def _wrong_machine(about: About) -> str | None:
    use_own = "Or install onnxruntime and numpy for the board's Python from another source; edgeprof uses what is there."
    if about.bits == 32 and about.machine in WHEEL_MACHINES:
        return (
            f"Expected a 64-bit Python on the board, came a 32-bit one on {about.machine}: runtimes have no 32-bit wheels. "
            f"Install a 64-bit system (Raspberry Pi OS 64-bit). {use_own}"
        )
    if about.bits == 32 or _THIRTY_TWO_BITS.fullmatch(about.machine):
        return f"Expected a 64-bit board ({' or '.join(WHEEL_MACHINES)}), came {about.machine}: runtimes have no 32-bit wheels. {use_own}"
    if about.machine and about.machine not in WHEEL_MACHINES:
        return f"Expected a board with {' or '.join(WHEEL_MACHINES)}, came {about.machine}: ONNX Runtime has no wheels for it. {use_own}"
    if about.libc and about.libc != "glibc":
        return f"Expected glibc on the board, came {about.libc}: ONNX Runtime has no wheels for it. {use_own}"
    return None


def _missing(about: About) -> str | None:
    if about.venv is False:
        return (
            "Expected Python's venv module on the board, and it is not there. Install the rest of Python's standard library "
            "(Debian and Ubuntu: apt-get install python3-venv)."
        )
    if about.unwritable:
        return (
            f"The board's folder {about.folder or 'for edgeprof'} cannot be written to: {about.unwritable}. "
            "Change its permissions, or name another folder for the board."
        )
    return None


def _installation(told: Mapping[str, Any]) -> Installation:
    return Installation(
        name=clean(told.get("name")),
        runtime=clean(told.get("runtime")),
        version=clean(told.get("version")),
        fits=told.get("fits") is True,
        current=told.get("current") is True,
    )
