"""TOML that anybody may have written: what it says, and on which line it says each thing.

Reading takes time in proportion to the text: the standard library's parser takes its square for a key of very many parts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

MOST_KEY_PARTS = 64
Place = tuple[str | int, ...]
"""Keys from the outside in, and positions in arrays of tables: ``("decisions", 2, "precision")``."""


def parse(text: str) -> tuple[dict[str, Any], dict[Place, int]]:
    """What ``text`` says, and the line (from 1) of every table's header and of every key that begins a line.

    Raises:
        ValueError: it is no TOML; the message says why, and where.
    """
    lines = _lines(text)
    try:
        return tomllib.loads(text), lines
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        raise ValueError("a number in it has thousands of digits") from error


def line_of(lines: Mapping[Place, int], *place: str | int) -> int:
    """The line of ``place``, or of what it stands in; 0 when not even that is known."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 0)


_PART = r"""(?:[A-Za-z0-9_+:-]++|"(?:[^"\\\n]|\\[^\n])*+"|'[^'\n]*+')"""
_PARTS = re.compile(_PART)
_TOKEN = re.compile(
    r'''(?P<long>"""(?:[^\\"]|\\.|"(?!""))*+"{3,5}|\'\'\'(?:[^']|'(?!''))*+'{3,5})|(?P<open>"""|\'\'\')'''
    rf"|(?P<key>{_PART}(?:[ \t]*+\.[ \t]*+{_PART})*+)"
    r"""|(?P<broken>["'])|(?P<comment>\#[^\n]*+)|(?P<newline>\n)|(?P<mark>[\[\]{}=])""",
    re.DOTALL,
)


def _lines(text: str) -> dict[Place, int]:
    found: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    line, depth, in_value, head, key = 1, 0, False, "", ""
    for token in _TOKEN.finditer(text):
        kind, said = token.lastgroup, token[0]
        if kind in ("open", "broken"):
            break  # a text without end, which the parser tells of
        if kind == "newline":
            line, head, in_value = line + 1, "", in_value and depth > 0
        elif kind == "long":
            line, head = line + said.count("\n"), "?"
        elif kind == "key":
            if in_value and len(said) <= MOST_KEY_PARTS:
                continue
            if len(said) > MOST_KEY_PARTS and len(_PARTS.findall(said)) > MOST_KEY_PARTS:
                raise ValueError(f"the key on line {line} has more than {MOST_KEY_PARTS} parts")
            head, key = f"{head[:5]}k", key if in_value else said
        elif kind == "mark" and in_value:
            depth = max(0, depth + (said in "[{") - (said in "]}"))
        elif kind == "mark":
            head = f"{head[:5]}{said}"
            if head == "k=":
                found.setdefault((*table, *_names(key)), line)
                in_value, depth = True, 0
            elif head in ("[k]", "[[k]]"):
                table = _names(key)
                if head == "[[k]]":
                    counts[table] = counts.get(table, -1) + 1
                    table = (*table, counts[table])
                found.setdefault(table, line)
    return found


def _names(key: str) -> Place:
    return tuple(_name(part) for part in _PARTS.findall(key))


def _name(part: str) -> str:
    if part[0] not in "\"'":
        return part
    try:
        return str(tomllib.loads(f"name = {part}")["name"])
    except ValueError:  # an escape that is none, which the parser tells of
        return part
