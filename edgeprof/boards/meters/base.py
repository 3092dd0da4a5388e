"""What the meters share: how an address is taken apart, a channel of the board, and names that come from an instrument.

A meter is a `edgeprof.agent.sensors.base.Sensor` that this machine reads: it measures what flows into the board, beside whatever the
board says of itself. Its channels are ``<meter>/<what>_<unit>``, their scope is ``board``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from edgeprof.agent.sensors.base import Channel
from edgeprof.errors import MissingExtra, UsageError

_LONGEST_NAME = 60


def board_channel(meter: str, what: str, unit: str, kind: str, title: str) -> Channel:
    """A channel for ``what`` flows into the board."""
    return Channel(f"{meter}/{what}_{unit.lower()}", unit, kind, "board", title)


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Imports of a meter's package stand within; MissingExtra when it is not there or does not work."""
    try:
        yield
    except ImportError as error:
        package = error.name or extra
        raise MissingExtra(
            f'The meter {extra} needs the package {package}, which cannot be imported ({error}). Do: pip install "edgeprof[{extra}]"'
        ) from error


def split_options(address: str, known: Collection[str], meter: str) -> tuple[str, dict[str, str]]:
    """``(PLACE, {"a": "x", "b": "y"})`` of ``PLACE?a=x&b=y``.

    The first ``?`` ends the place; those in values stay, as do ``=``, ``+`` and ``;``: SCPI needs them. Values stay quoted, see `plain`.
    """
    place, _, tail = address.partition("?")
    options: dict[str, str] = {}
    for part in tail.split("&") if tail else ():
        name, equals, value = part.partition("=")
        if name not in known:
            raise UsageError(f"The meter {meter} has no option '{name}'. It has: {', '.join(known)}.")
        if not equals or not value.strip():
            raise UsageError(f"The option {name} of the meter {meter} is empty. Write {name}=VALUE.")
        if name in options:
            raise UsageError(f"The option {name} of the meter {meter} is given twice. Give it once; write %26 for a & in a value.")
        options[name] = value
    return place.strip(), options


def plain(value: str) -> str:
    """An option's value as it is meant: ``%26`` is ``&``, ``%3B`` is ``;``."""
    return unquote(value).strip()


def number_between(text: str, low: float, high: float, option: str) -> float:
    """The number that an option gives; UsageError when it is none, or lies outside."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise UsageError(f"The option {option} is '{text}'; give a number from {low:g} to {high:g}.")
    return number


def shown(text: object) -> str:
    """What an instrument or a package said, fit for a sentence: printable, on one line, not long."""
    words = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return words if len(words) <= _LONGEST_NAME else words[: _LONGEST_NAME - 1] + "…"
