"""Values of options that more than one subcommand takes, or that need more than a number: text in, value out, or a UsageError."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import Literal

from edgeprof.errors import UsageError

MOST_CPUS = 4096


def whole_number(option: str, least: int) -> Callable[[str], int]:
    """A reader of whole numbers from ``least`` on, for ``option``."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or int(text) < least:
            raise UsageError(f"{option} is '{text}'; give a whole number, {least} or more.")
        return int(text)

    return read


def warmup(text: str) -> int | Literal["auto"]:
    """``auto`` or a number of runs."""
    if text == "auto":
        return "auto"
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise UsageError(f"--warmup is '{text}'; give a number of runs, or auto: until run times are flat.")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf):
        raise UsageError(f"--time-limit is '{text}'; give a number of seconds above 0.")
    return value


def shape(text: str) -> tuple[str, list[int]]:
    """``NAME=1,3,224,224``; ``NAME=`` is a scalar."""
    name, equals, sizes = text.rpartition("=")
    parts = [part.strip() for part in sizes.split(",")] if sizes.strip() else []
    if not equals or not name or not all(re.fullmatch(r"[0-9]{1,18}", part) for part in parts):
        raise UsageError(f"--shape is '{text}'; expected the input's name and its sizes, such as image=1,3,224,224.")
    return name, [int(part) for part in parts]


def cpus(text: str) -> list[int]:
    """``0-3,5`` as ``[0, 1, 2, 3, 5]``."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,6})(?:-([0-9]{1,6}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= MOST_CPUS:
            raise UsageError(f"--cpus is '{text}'; expected numbers of CPUs and ranges of them, such as 0-3,5.")
        found.update(range(first, last + 1))
    return sorted(found)


def provider_option(text: str) -> tuple[str, str, str]:
    """``PROVIDER.KEY=VALUE`` as its three parts."""
    match = re.fullmatch(r"([^.=\s]+)\.([^=\s]+)=(.*)", text, re.DOTALL)
    if not match:
        raise UsageError(f"--provider-option is '{text}'; expected PROVIDER.KEY=VALUE, such as CUDAExecutionProvider.device_id=0.")
    return match[1], match[2], match[3]


def add_shape(parser: argparse._ActionsContainer) -> None:
    """Adds ``--shape``, which can be given for each input."""
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        type=shape,
        metavar="NAME=1,3,224,224",
        help="sizes of an input that the model leaves open",
    )


def shapes_by_name(pairs: list[tuple[str, list[int]]]) -> dict[str, list[int]]:
    """The shapes of all inputs; UsageError when one was given two."""
    found: dict[str, list[int]] = {}
    for name, sizes in pairs:
        if found.setdefault(name, sizes) != sizes:
            raise UsageError(f"--shape gives the input '{name}' two shapes; give one.")
    return found
