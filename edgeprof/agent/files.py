"""Small files that tell something, such as those of ``/sys``: read at once or not at all; and what it means that one cannot be written."""

from __future__ import annotations

import errno
import math
import os
from itertools import groupby
from typing import List, Optional, Tuple

NO_WAIT = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe where a file belongs must not hold us up
MOST_BYTES = 4096


def text_of(*parts: str, most: int = MOST_BYTES) -> Optional[str]:
    """What stands in a file (its first ``most`` bytes); None when it is not there, not permitted, or has nothing to say just now."""
    try:
        handle = os.open(os.path.join(*parts), NO_WAIT)
    except OSError:
        return None
    pieces: List[bytes] = []
    try:
        while most > 0:  # /proc hands out a page at a time
            pieces.append(os.read(handle, most))
            most -= len(pieces[-1])
            if not pieces[-1]:
                break
    except OSError:
        return None
    finally:
        os.close(handle)
    return b"".join(pieces).decode("utf-8", "replace").strip("\0 \n\t")


def number_of(*parts: str) -> float:
    """The number in a file, or NaN."""
    return number(text_of(*parts) or "")


def number(text: str) -> float:
    """The finite number that ``text`` is, or NaN."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def names_in(*parts: str) -> List[str]:
    """Names in a folder, sorted by the numbers in them (``in2`` before ``in10``); empty when there is none."""
    try:
        return sorted(os.listdir(os.path.join(*parts)), key=by_numbers)
    except OSError:
        return []


def by_numbers(name: str) -> Tuple[List[Tuple[int, str]], str]:
    """A key to sort names by, numbers in them as numbers."""
    return [(int(run), "") if digits else (-1, run) for digits, run in _runs(name)], name


def readable(path: str) -> bool:
    """Whether this process may read a file. Asked by opening it: ``access`` knows nothing of capabilities and file systems."""
    try:
        handle = os.open(path, NO_WAIT)
    except PermissionError:
        return False
    except OSError:  # there, but has nothing to say just now
        return os.path.exists(path)
    os.close(handle)
    return True


def kind_of(error: OSError) -> str:
    """The kind of an ``error`` frame (see `boards/failures.py`) for what the system said."""
    return "file-limit" if error.errno == errno.EFBIG else "os"


def _runs(name: str) -> List[Tuple[bool, str]]:
    return [(digits, "".join(run)) for digits, run in groupby(name, lambda c: "0" <= c <= "9")]
