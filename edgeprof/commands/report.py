"""``edgeprof report FILE... -o OUT``: profiles as a file for people or programs."""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof report``."""
    parser.add_argument("files", metavar="FILE", nargs="+", help=".edgeprof bundles")
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="its ending says which kind: .html .md .csv .json .parquet .xlsx"
    )
    parser.add_argument("--partial", action="store_true", help="read what can be read of damaged files")


def run(args: argparse.Namespace) -> int:
    """Loads all, writes one file."""
    from edgeprof.records.bundle import load
    from edgeprof.reports import write

    path = write([load(file, partial=args.partial) for file in args.files], args.output)
    print(f"Wrote {path}.", file=sys.stderr)
    return 0
