"""``edgeprof boards setup``: brings a runtime to a board that has nothing but Python and SSH."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeprof import units
from edgeprof.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprof.boards.setup import Progress, Session

OK = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the subcommand's own arguments."""
    parser.add_argument("board", metavar="NAME", help="a board from boards.toml, or its address")
    parser.add_argument("--runtime-version", metavar="VERSION", help="of ONNX Runtime (default: what is installed, or else the newest)")
    parser.set_defaults(when_stopped="What is on the board by now is used when it is set up again.")
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--dry-run", action="store_true", help="say what would be done; nothing is changed on the board")
    doing.add_argument("--remove", action="store_true", help="remove what was installed")


def run(args: argparse.Namespace) -> int:
    """Plans and does it; the plan goes to standard output first."""
    from edgeprof.boards import get_board
    from edgeprof.boards.setup import HasSession
    from edgeprof.commands.screen import console_for

    board = get_board(args.board)
    if not isinstance(board, HasSession):
        raise UsageError(f"'{args.board}' needs no set-up: it runs on this machine. Name a board that is reached over SSH.")
    console = console_for(sys.stdout)
    with board.session() as session:
        if args.remove:
            _remove(console, session, args.runtime_version)
        else:
            _set_up(console, session, args.runtime_version, dry_run=args.dry_run)
    return OK


def _set_up(console: Console, session: Session, version: str | None, *, dry_run: bool) -> None:
    from edgeprof.boards import setup

    with _progress() as progress:
        plan = setup.plan(session, version=version, progress=progress)
    for line in plan.lines:
        console.print(line, soft_wrap=True)
    if dry_run:
        console.print(setup.SetupResult(plan).sentence, soft_wrap=True)
        return
    with _progress() as progress:
        result = setup.carry_out(session, plan, progress=progress)
    if result.plan.broken:
        console.print(f"What was there could not be used: {result.plan.broken}", soft_wrap=True)
    console.print(result.sentence, soft_wrap=True)


def _remove(console: Console, session: Session, version: str | None) -> None:
    from edgeprof.boards.setup import remove

    gone = remove(session, version)
    console.print(f"Removed {', '.join(gone)}." if gone else "Nothing was installed there.", soft_wrap=True)


_LABELS = {
    "find wheels": "finding wheels",
    "send": "sending",
    "environment": "making the environment",
    "unpack": "installing",
    "check": "trying",
}


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on standard error for the phase that is on, when that is a terminal."""
    from rich import progress

    from edgeprof.commands.screen import console_for

    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.TextColumn("{task.fields[amount]}"))
    with progress.Progress(*columns, console=console_for(sys.stderr), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("looking at the board", total=None, amount="")

        def show(phase: str, done: int, total: int) -> None:
            amount = f"{units.size(done)} of {units.size(total)}" if phase in ("send", "unpack") else ""
            bar.update(task, description=_LABELS.get(phase, "working"), completed=done, total=total or None, amount=amount)

        yield show
