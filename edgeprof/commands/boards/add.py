"""``edgeprof boards add NAME ADDRESS``."""

from __future__ import annotations

import argparse
import sys

from edgeprof.commands import options
from edgeprof.commands.boards import check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof boards add``."""
    parser.add_argument("name", metavar="NAME", help="what you call the board: letters, digits, '.', '_', '-'")
    parser.add_argument("address", metavar="ADDRESS", help="ssh://user@host:port, user@host, or a name from ~/.ssh/config")
    parser.add_argument("--python", default="python3", metavar="P", help="Python 3.8 or newer there (default: python3)")
    parser.add_argument(
        "--folder", default="~/.cache/edgeprof", metavar="F", help="where edgeprof keeps its files there (default: ~/.cache/edgeprof)"
    )
    parser.add_argument("--key", default="", metavar="FILE", help="private key (default: as SSH does, and the SSH agent)")
    parser.add_argument("--jump", default="", metavar="HOST", help="go through this host, as ssh -J does")
    parser.add_argument("--sensor", action="append", default=[], metavar="S", help="family of sensors to read there; repeat (default: all)")
    parser.add_argument(
        "--cache-mb", type=options.whole_number("--cache-mb", 1), default=2048, metavar="MB", help="room for models there (default: 2048)"
    )
    parser.add_argument("--time-limit", type=options.seconds("--time-limit"), metavar="S", help="longest measurement on this board")
    parser.add_argument("--project", action="store_true", help="write boards.toml of this folder instead of your own settings")
    parser.add_argument("--replace", action="store_true", help="in place of a board of this name")
    parser.add_argument("--no-check", action="store_true", help="write it down without going there")
    check.add_key_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the board down, then looks at it; 1 when it cannot measure yet."""
    from edgeprof.boards import entries

    entry = entries.entry_for(
        args.address,
        args.name,
        python=args.python,
        folder=args.folder,
        key=args.key,
        jump=args.jump,
        sensors=tuple(args.sensor) or None,
        cache_mb=args.cache_mb,
        time_limit_s=args.time_limit,
    )
    file = entries.add(entry, entries.project_file() if args.project else None, replace_it=args.replace)
    print(f"{entry.name} stands in {file}.", file=sys.stderr)
    return 0 if args.no_check else check.look(entry, args)
