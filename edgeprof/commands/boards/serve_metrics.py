"""``edgeprof boards serve-metrics [NAME...]``: health of boards for Prometheus, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import threading

from edgeprof.commands import options
from edgeprof.errors import UsageError

LISTEN = ("127.0.0.1", 9464)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof boards serve-metrics``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="boards to ask (default: all that have a name, and this machine)")
    parser.add_argument(
        "--listen", type=address, default=LISTEN, metavar="ADDRESS:PORT",
        help="where to answer scrapes (default: 127.0.0.1:9464, this machine alone; whoever can reach it can read)",
    )  # fmt: skip
    parser.add_argument(
        "--every", type=options.seconds("--every", 1), default=30.0, metavar="S", help="ask a board at most once in S seconds (default: 30)"
    )


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C."""
    from edgeprof.boards.exporter import serve
    from edgeprof.boards.health import health_of
    from edgeprof.commands.boards.health import close, opened

    boards = opened(args.names)
    try:
        host, port = args.listen
        exporter = serve({name: health_of(board) for name, board in boards.items()}, host, port, args.every)
        try:
            print(f"Health of {', '.join(boards)} on http://{exporter.address}/metrics. Ctrl-C ends it.", file=sys.stderr, flush=True)
            with contextlib.suppress(KeyboardInterrupt):  # the way to end it
                threading.Event().wait()
        finally:
            exporter.close()
    finally:
        close(boards)
    return 0


def address(text: str) -> tuple[str, int]:
    """``ADDRESS:PORT``, ``[::1]:PORT`` or ``:PORT``: that port on this machine alone."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\s]*):([0-9]{1,5})", text)
    if not match or int(match[2]) > 65535:
        raise UsageError(f"--listen is '{text}'; give an address and a port, such as 127.0.0.1:9464.")
    return match[1].strip("[]") or LISTEN[0], int(match[2])
