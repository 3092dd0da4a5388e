"""Names of layers and models as a person can read them: no invisible characters, no 2,000-letter lines."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def visible(text: str) -> str:
    r"""``text`` with control, direction and other invisible characters written out, such as ``\u202e``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _INVISIBLE else c for c in text)


def shorten(text: str, limit: int = 48) -> str:
    """``visible(text)`` in at most ``limit`` characters, cut in the middle: both ends of a path tell more than its start."""
    text = visible(text)
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def listed(names: Iterable[str], *, most: int = 3, limit: int = 48) -> str:
    """``a, b, c and 4 more``: the first ``most`` names, each shortened to ``limit``."""
    every = list(names)
    shown = ", ".join(shorten(name, limit) for name in every[:most])
    return f"{shown} and {len(every) - most} more" if len(every) > most else shown


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
