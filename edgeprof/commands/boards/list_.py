"""``edgeprof boards list``."""

from __future__ import annotations

import argparse
import dataclasses
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof boards list``."""
    parser.add_argument("--json", action="store_true", help="print the boards as JSON")


def run(args: argparse.Namespace) -> int:
    """Prints all boards; nobody is asked how they are."""
    from edgeprof.boards import entries

    found = entries.read_entries()
    if args.json:
        import json

        print(json.dumps({"schema_version": 1, "boards": [dataclasses.asdict(entry) for entry in found.values()]}, indent=1))
        return 0
    if not found:
        print(f"No board has a name yet. Add one with `edgeprof boards add NAME ssh://user@host`; it will stand in {entries.user_file()}.")
        return 0
    from rich.table import Table

    from edgeprof.commands.screen import console_for

    table = Table("board", "address", "Python", "folder", "sensors", box=None, pad_edge=False)
    for entry in found.values():
        address = f"{entry.address} through {entry.jump}" if entry.jump else entry.address
        table.add_row(entry.name, address, entry.python, entry.folder, "all" if entry.sensors is None else ", ".join(entry.sensors))
    console_for(sys.stdout).print(table)
    return 0
