"""``edgeprof boards check NAME``: whether a board can measure, each line with what to do."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from edgeprof.errors import BoardError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeprof.boards.entries import Entry
    from edgeprof.boards.hostkeys import HostKeyUnknown
    from edgeprof.boards.ssh import SshBoard
    from edgeprof.commands.machine import Check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof boards check``."""
    parser.add_argument("name", metavar="NAME", help="a board of yours, or ssh://user@host")
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")
    add_key_arguments(parser)


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """How a host key that is not known is accepted."""
    parser.add_argument(
        "--fingerprint",
        action="append",
        default=[],
        metavar="SHA256:...",
        help="accept the board's host key without asking when this is its fingerprint; repeat for a jump host",
    )


def run(args: argparse.Namespace) -> int:
    """Prints what was found; 0 when the board can measure, else 1."""
    from edgeprof.boards.ssh import ssh_board

    return look(ssh_board(args.name).entry, args)


def look(entry: Entry, args: argparse.Namespace) -> int:
    """Looks at a board and prints what was found."""
    from edgeprof.boards import loop
    from edgeprof.boards.hostkeys import HostKeyUnknown
    from edgeprof.boards.ssh import SshBoard
    from edgeprof.boards.ssh_settings import MOST_JUMPS
    from edgeprof.commands import machine

    board = SshBoard(entry)
    try:
        for _ in range(MOST_JUMPS + 1):  # hosts on the way, the board
            try:
                loop.run(board.connected())
            except HostKeyUnknown as unknown:
                _accept(unknown, args)
            else:
                break
        found = list(_checks(board))
    finally:
        board.close()
    failed = [check for check in found if check.status == "fail"]
    if getattr(args, "json", False):
        machine.print_json(found, ok=not failed)
    else:
        for check in found:
            machine.print_check(check)
        print(f"\n{entry.name} is {'not ready: ' + ', '.join(check.name for check in failed) if failed else 'ready to measure'}.")
    return 1 if failed else 0


def _accept(unknown: HostKeyUnknown, args: argparse.Namespace) -> None:
    """Shows the host key and asks whether it is that host's; the error itself when nobody can say."""
    from edgeprof.boards import hostkeys, loop

    entry = unknown.entry
    key = loop.run(hostkeys.host_key(entry))
    seen = hostkeys.fingerprint(key)
    said = [fingerprint.strip() for fingerprint in args.fingerprint]
    if said:
        if seen not in said:
            raise UsageError(f"The host key of {entry.name} has the fingerprint {seen}, not {' or '.join(said)}. Nothing was accepted.")
    elif sys.stdin is None or not sys.stdin.isatty():
        unknown.add_note(f"Its fingerprint is {seen}: if that is yours, accept it with --fingerprint {seen}.")
        raise unknown
    else:
        print(f"{entry.name} ({hostkeys.where(entry)}) is not known yet. The fingerprint of its host key is\n  {seen}", file=sys.stderr)
        print("There, `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` (or the file of its kind) prints it too.", file=sys.stderr)
        if not _agreed("Is this the one? [y/N] "):
            raise unknown
    file = hostkeys.accept(entry, key)
    print(f"The host key stands in {file} now.", file=sys.stderr)


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        print(file=sys.stderr)
        return False


def _checks(board: SshBoard) -> Iterator[Check]:
    from edgeprof.boards.health import Health
    from edgeprof.boards.hostkeys import where
    from edgeprof.commands.machine import Check

    try:
        health = Health.of(board.name, board.health())
    except BoardError as error:
        yield Check("connection", "fail", str(error))
        return
    yield Check("connection", "ok", f"{where(board.entry)}, host key known")
    for row in health.rows():
        missing = row.item == "onnxruntime" and row.status == "fail"
        advice = f"Put one there with `edgeprof boards setup {board.name}`." if missing else row.advice
        yield Check(row.item, row.status, row.advice if missing else row.text, advice if row.status != "ok" else "")
