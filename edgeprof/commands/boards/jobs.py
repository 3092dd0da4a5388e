"""``edgeprof boards jobs``: measurements on boards that run by themselves, or ended and were not fetched."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING

from edgeprof.errors import BoardError, UsageError

if TYPE_CHECKING:
    from edgeprof.boards.ssh import RemoteJob


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof boards jobs``."""
    parser.add_argument("name", metavar="NAME", nargs="*", help="boards to ask (default: all of yours)")
    parser.add_argument("--kill", metavar="BOARD/JOB", help="end a job and remove what it left")
    parser.add_argument("--json", action="store_true", help="print the jobs as JSON")


def run(args: argparse.Namespace) -> int:
    """Prints the jobs; 1 when a board could not be asked."""
    from edgeprof.boards.ssh import ssh_board

    if args.kill:
        name, slash, job = args.kill.rpartition("/")
        if not slash:
            raise UsageError(f"--kill is '{args.kill}'; expected BOARD/JOB, as `edgeprof boards jobs` lists them.")
        killed = ssh_board(name).kill(job)
        print(f"Job {job} on {name} was {'ended and ' if killed else 'over; it was '}removed.")
        return 0
    from edgeprof.boards import names

    found: list[RemoteJob] = []
    problems = []
    for name in args.name or names()[1:]:
        board = ssh_board(name)
        try:
            found += board.jobs()
        except BoardError as error:
            problems.append(str(error))
        finally:
            board.close()
    if args.json:
        import json

        told = {"schema_version": 1, "jobs": [dataclasses.asdict(job) for job in found], "problems": problems}
        print(json.dumps(told, indent=1))
    else:
        _print(found)
        for problem in problems:
            print(problem, file=sys.stderr)
    return 1 if problems else 0


def _print(found: list[RemoteJob]) -> None:
    from rich.table import Table

    from edgeprof import units
    from edgeprof.commands.screen import console_for

    if not found:
        print("No jobs are on the boards.")
        return
    table = Table("job", "state", "model", "started by", "to fetch", box=None, pad_edge=False)
    for job in found:
        table.add_row(f"{job.board}/{job.job}", job.state, job.model, job.who, units.size(job.bytes))
    console_for(sys.stdout).print(table)
    print("Fetch one with `edgeprof profile --attach JOB`.")
