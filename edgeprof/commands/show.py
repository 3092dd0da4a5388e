"""``edgeprof show FILE``: a profile as a table in the terminal."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from edgeprof.commands import options

if TYPE_CHECKING:
    from edgeprof.records.profile import Profile

TOP = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof show``."""
    parser.add_argument("file", metavar="FILE", help="a .edgeprof bundle")
    parser.add_argument("--by", choices=("layer", "op_type"), default="layer", help="a row a layer (default), or a row an operator")
    parser.add_argument(
        "--top", type=options.whole_number("--top", 1), metavar="N", help=f"how many of the longest to show (default: {TOP})"
    )
    parser.add_argument("--all", action="store_true", help="show every row")
    parser.add_argument("--sort", choices=("time", "execution"), default="time", help="order of the rows (default: longest first)")
    parser.add_argument("--partial", action="store_true", help="read what can be read of a damaged file")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    """Loads and prints."""
    from edgeprof.records.bundle import load

    profile = load(args.file, partial=args.partial)
    if args.json:
        print_json(profile)
    else:
        top = None if args.all else args.top or TOP
        print_table(profile, by=args.by, top=top, sort=args.sort)
    return 0


def print_json(profile: Profile) -> None:
    """The profile as one JSON object on standard output: see docs/command-line.md for its members."""
    import json

    from edgeprof.analysis import by_op_type, findings
    from edgeprof.records.schema import SCHEMA_VERSION
    from edgeprof.reports.tables import plain, records

    told = {
        "schema_version": SCHEMA_VERSION,
        "origin": profile.origin,
        "parent": profile.parent,
        "context": plain(profile.context),
        "layers": records(profile.layers),
        "op_types": records(by_op_type(profile)),
        "findings": plain(findings(profile)),
    }
    json.dump(told, sys.stdout, allow_nan=False, indent=1)
    print()


def print_table(profile: Profile, *, by: str = "layer", top: int | None = TOP, sort: str = "time") -> None:
    """Header, table and findings on standard output, as wide as the terminal; ``top`` None is every row."""
    from edgeprof.commands.screen import console_for, print_profile

    print_profile(console_for(sys.stdout), profile, by=by, top=top, sort=sort)
