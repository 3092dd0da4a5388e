"""``edgeprof boards peaks [BOARD]``: how fast a board computes and moves data at most, measured."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from edgeprof.commands import options

if TYPE_CHECKING:
    from edgeprof.records.peaks import Peaks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof boards peaks``."""
    parser.add_argument("name", metavar="BOARD", nargs="?", default="local", help="as of `edgeprof profile --board` (default: local)")
    parser.add_argument("--runtime", default="auto", metavar="R", help="auto or onnxruntime")
    parser.add_argument("--provider", action="append", default=[], metavar="P", help="execution provider; repeat in order of preference")
    parser.add_argument(
        "--threads",
        type=options.whole_number("--threads", 0),
        default=1,
        metavar="N",
        help="threads within a layer, as of the profiles that are judged by these (default: 1; 0: the runtime's choice)",
    )
    parser.add_argument("--cpus", type=options.cpus, metavar="0-3,5", help="CPUs to pin the runtime to")
    parser.add_argument("--again", action="store_true", help="measure again though nothing of the board has changed")
    parser.add_argument(
        "--wait", type=options.seconds("--wait", 0), default=10.0, metavar="S", help="wait so long for a board that is in use (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="print them as JSON")


def run(args: argparse.Namespace) -> int:
    """Measures, unless that was done before, and prints."""
    from edgeprof.boards import get_board
    from edgeprof.commands.profile import shown_progress
    from edgeprof.peaks import board_peaks

    board = get_board(args.name)
    try:
        with shown_progress(f"peaks of {args.name}", args.json) as listen:
            peaks = board_peaks(
                board, runtime=args.runtime, providers=args.provider or None, threads=args.threads, cpus=args.cpus, again=args.again,
                wait_s=args.wait, progress=listen,
            )  # fmt: skip
    finally:
        if hasattr(board, "close"):
            board.close()
    if args.json:
        print(json.dumps(peaks.to_json(), indent=1))
    else:
        _print(peaks)
    return 0


def _print(peaks: Peaks) -> None:
    """A line a ceiling. Names and texts come from boards: they are never markup."""
    from rich.table import Table
    from rich.text import Text

    from edgeprof import units
    from edgeprof.analysis.names import visible
    from edgeprof.commands.screen import console_for

    console = console_for(sys.stdout)
    about = f"  {peaks.cpu}, measured {peaks.measured_at[:16].replace('T', ' ')} UTC"
    console.print(Text.assemble((visible(peaks.setting), "bold"), (visible(about), "dim")), soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for title in ("ceiling", "highest", "95 % interval", "ridge", "reached by"):
        table.add_column(title, justify="left" if title in ("ceiling", "reached by") else "right")
    for one in peaks.ceilings:
        value, low, high = (units.significant(number, 3) for number in (one.value, one.low, one.high))
        ridge = f"{units.significant(peaks.ridge(one.precision), 3)} FLOP/B" if one.kind == "compute" else ""
        table.add_row(visible(one.label), f"{value} {one.unit}", f"{low} to {high}", ridge, visible(one.reached_by))
    console.print(table)
    for note in peaks.notes:
        console.print(Text(visible(note), "yellow"), soft_wrap=True)
