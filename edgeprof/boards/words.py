"""Texts that a board said, as they may be shown: a board is not trusted with the terminal, the notebook or the report."""

from __future__ import annotations

from typing import Any

from edgeprof.records import board_state

_MOST_CHARACTERS = 10_000
_MOST_DEPTH = 20
_MOST_WHOLE = 1 << 62


def clean(text: object, most: int = 500) -> str:
    """What `board_state.clean` makes of ``text``, as long as a sentence may be."""
    return board_state.clean(text, most)


def tidy(value: Any, depth: int = 0) -> Any:
    """A value of a frame with all its texts cleaned; ValueError when it is nested absurdly deep."""
    if isinstance(value, str):
        return value if value.isprintable() and len(value) <= _MOST_CHARACTERS else clean(value, _MOST_CHARACTERS)
    if depth > _MOST_DEPTH:
        raise ValueError("values nested too deep")
    if isinstance(value, dict):
        return {tidy(key, depth + 1): tidy(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [tidy(item, depth + 1) for item in value]
    return value


def whole(value: Any, least: int = -_MOST_WHOLE, most: int = _MOST_WHOLE) -> int:
    """A number that a board said, when it is a whole one within bounds; ValueError when it is not."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"expected a whole number, came {clean(repr(value), 60)}")
    return value
