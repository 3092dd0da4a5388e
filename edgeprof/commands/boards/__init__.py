"""``edgeprof boards``: the user's own boards, a verb each."""

from __future__ import annotations

import argparse
import sys

from edgeprof.commands.boards import add, check, health, jobs, list_, peaks, remove, serve_metrics, setup

INTERRUPTED = 130
VERBS = (
    ("add", add, "name a board, look at its host key, see what it can do"),
    ("list", list_, "the boards that have names"),
    ("check", check, "whether a board can measure, and what is missing"),
    ("setup", setup, "put a runtime on a board that has nothing but Python and SSH"),
    ("health", health, "how boards are: clocks, heat, throttling, memory, disk, who else runs"),
    ("peaks", peaks, "how fast a board computes and moves data at most, measured: the ceilings of the roofline"),
    ("jobs", jobs, "measurements on boards: running, and ended but not fetched"),
    ("serve-metrics", serve_metrics, "health of boards for Prometheus"),
    ("remove", remove, "forget a board; --clean also removes what edgeprof put there"),
)
"""(name, module with ``add_arguments`` and ``run``, what it does)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof boards``."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for name, verb, text in VERBS:
        own = verbs.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")
        own.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        verb.add_arguments(own)
        own.set_defaults(run_verb=verb.run)


def run(args: argparse.Namespace) -> int:
    """Does what the verb says; 130 when it was stopped with Ctrl-C."""
    try:
        return int(args.run_verb(args))
    except KeyboardInterrupt:
        print(f"Stopped. {getattr(args, 'when_stopped', '')}".rstrip(), file=sys.stderr)
        return INTERRUPTED
