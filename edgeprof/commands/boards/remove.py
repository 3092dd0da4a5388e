"""``edgeprof boards remove NAME``."""

from __future__ import annotations

import argparse

from edgeprof.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof boards remove``."""
    parser.add_argument("name", metavar="NAME", help="a board of yours")
    parser.add_argument("--clean", action="store_true", help="first remove all that edgeprof keeps on the board: runtimes, models, jobs")


def run(args: argparse.Namespace) -> int:
    """Forgets the board; its host key stays known to SSH."""
    from edgeprof import units
    from edgeprof.boards import entries, get_board
    from edgeprof.boards.ssh import SshBoard

    if args.name in entries.RESERVED:
        raise UsageError(f"'{args.name}' is a board that every machine has; it cannot be removed.")
    if args.clean:
        board = get_board(args.name)
        if isinstance(board, SshBoard):
            freed = board.clean()
            board.close()
            print(f"Removed {units.size(freed)} from {args.name}.")
    print(f"{args.name} was taken out of {entries.remove(args.name)}.")
    return 0
