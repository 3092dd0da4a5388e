"""``edgeprof boards health [NAME...]``: how boards are, each line with what to do."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeprof.commands import options

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprof.boards.health import Health

AT_ONCE = 16
"""Boards that are asked at the same time."""

_STYLES = {"ok": "green", "info": "dim", "warn": "yellow", "fail": "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof boards health``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="boards to ask (default: all that have a name, and this machine)")
    parser.add_argument("--json", action="store_true", help="print what they said as JSON; with --watch one line each time")
    parser.add_argument("--watch", type=options.seconds("--watch", 1), metavar="S", help="ask again every S seconds until Ctrl-C")


def run(args: argparse.Namespace) -> int:
    """Prints how the boards are; 1 when one cannot be reached or cannot measure."""
    boards = opened(args.names)
    try:
        if args.watch is None:
            found = _asked(boards)
            _print(found, as_json=args.json, indent=1)
            return 1 if any(health.worst == "fail" for health in found) else 0
        with contextlib.suppress(KeyboardInterrupt):  # the way to end it
            while True:
                _print(_asked(boards), as_json=args.json, indent=None)
                sys.stdout.flush()
                time.sleep(args.watch)
        return 0
    finally:
        close(boards)


def opened(names: Sequence[str]) -> dict[str, Any]:
    """The boards of these names, or all of the user's; UsageError for a name that is none."""
    from edgeprof import boards

    return {name: boards.get_board(name) for name in names or boards.names()}


def close(boards: Mapping[str, Any]) -> None:
    """Closes the connections of boards that have one."""
    for board in boards.values():
        if hasattr(board, "close"):
            board.close()


def _asked(boards: Mapping[str, Any]) -> list[Health]:
    """Their answers, in the order of the names."""
    from concurrent.futures import ThreadPoolExecutor

    from edgeprof.boards.health import ask, health_of

    with ThreadPoolExecutor(min(AT_ONCE, len(boards)), thread_name_prefix="edgeprof-health") as pool:
        return list(pool.map(lambda item: ask(item[0], health_of(item[1])), boards.items()))


def _print(found: Sequence[Health], *, as_json: bool, indent: int | None) -> None:
    if as_json:
        print(json.dumps({"schema_version": 1, "boards": [health.to_json() for health in found]}, indent=indent))
        return
    from edgeprof.commands.screen import console_for

    console = console_for(sys.stdout)
    for health in found:
        _print_board(console, health)
    if len(found) > 1:
        console.print(_verdict(found), soft_wrap=True, markup=False)


def _print_board(console: Console, health: Health) -> None:
    """A heading and a line for each row, advice below those that need it. Names and texts come from boards: they are never markup."""
    from rich.text import Text

    console.print(Text.assemble((health.name, "bold"), (f"  {health.when.astimezone():%Y-%m-%d %H:%M:%S}", "dim")), soft_wrap=True)
    for row in health.rows():
        console.print(Text.assemble((f"{row.status:<5}", _STYLES[row.status]), f"{row.item:<18}", row.text), soft_wrap=True)
        if row.advice and row.status != "ok":
            console.print(Text(f"{'':<23}{row.advice}", "dim"), soft_wrap=True)
    console.print()


def _verdict(found: Sequence[Health]) -> str:
    return "; ".join(f"{status}: {', '.join(names)}" for status, names in _by_status(found))


def _by_status(found: Sequence[Health]) -> Iterator[tuple[str, list[str]]]:
    from edgeprof.boards.health import STATUSES

    for status in reversed(STATUSES):
        names = [health.name for health in found if health.worst == status]
        if names:
            yield status, names
