"""Values of options that more than one subcommand takes, or that need more than a number: text in, value out, or a UsageError."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from edgeprof.errors import UsageError

if TYPE_CHECKING:
    from edgeprof.records.trace import EnergyPlan

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


def seconds(option: str, least: float | None = None) -> Callable[[str], float]:
    """A reader of numbers of seconds above 0, or of ``least`` and more, for ``option``."""
    wanted = "a number of seconds above 0" if least is None else f"{least:g} seconds or more"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (0 <= value < math.inf) or value < (least or 0) or (least is None and not value):
            raise UsageError(f"{option} is '{text}'; give {wanted}.")
        return value

    return read


def number(option: str, *, above: float | None = None, below: float = math.inf) -> Callable[[str], float]:
    """A reader of numbers from 0 on (or ``above`` a bound) and ``below`` another, for ``option``."""
    least = "0 or more" if above is None else f"above {above:g}"
    wanted = f"a number, {least}{f' and below {below:g}' if below < math.inf else ''}"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < below or (above is not None and not value > above):
            raise UsageError(f"{option} is '{text}'; give {wanted}.")
        return value

    return read


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


def add_energy(parser: argparse._ActionsContainer) -> None:
    """Adds ``--energy`` and all that says how."""
    parser.add_argument(
        "--energy",
        default="off",
        choices=("off", "model", "layers"),
        help="off (default), the whole model, or each layer too (minutes)",
    )
    parser.add_argument("--passes", type=whole_number("--passes", 1), metavar="N", help="times that each layer's loop is run (default: 3)")
    parser.add_argument("--loop-seconds", type=seconds("--loop-seconds", 0.1), metavar="S", help="shortest loop of a layer (default: 2)")
    parser.add_argument("--energy-budget", type=seconds("--energy-budget", 5), metavar="S", help="time for all loops of layers together")
    parser.add_argument("--cool-down", type=seconds("--cool-down"), metavar="S", help="rest between passes")
    parser.add_argument(
        "--sensor-average", type=seconds("--sensor-average"), metavar="S", help="what a reading averages over (default: as the sensor says)"
    )
    parser.add_argument("--on-throttle", choices=("mark", "stop"), help="what to do when the board slows itself down (default: mark)")
    parser.add_argument(
        "--rail",
        action="append",
        default=[],
        metavar="NAME",
        help="power channel that counts; repeat to sum several (default: the total)",
    )
    parser.add_argument(
        "--sensor", action="append", default=[], metavar="FAMILY", help="sensors to read, such as rapl; repeat it (default: all)"
    )
    parser.add_argument(
        "--meter", action="append", default=[], metavar="SPEC", help="external power meter read from here, such as joulescope"
    )


def energy_plan(args: argparse.Namespace) -> EnergyPlan:
    """The plan that the options of `add_energy` ask for; what was not given is the default plan's."""
    from edgeprof.records.trace import EnergyPlan

    given = {
        "passes": args.passes, "loop_s": args.loop_seconds, "budget_s": args.energy_budget, "cool_down_s": args.cool_down,
        "on_throttle": args.on_throttle, "channels": tuple(args.rail) or None,
        "average_s": args.sensor_average,
    }  # fmt: skip
    return EnergyPlan(**{name: value for name, value in given.items() if value is not None})


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
