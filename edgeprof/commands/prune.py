"""``edgeprof prune MODEL RATIO -o OUT.onnx``: fewer channels; ``edgeprof prune MODEL --groups`` shows which go together."""

from __future__ import annotations

import argparse
import json
import sys
from typing import get_args

from edgeprof.commands import changing, options
from edgeprof.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof prune``."""
    from edgeprof.recipes.recipe import Importance

    parser.add_argument("model", metavar="MODEL", help="ONNX model")
    ratio = options.number("RATIO", above=0, below=1)
    parser.add_argument("ratio", metavar="RATIO", nargs="?", type=ratio, help="part of the output channels that goes, such as 0.25")
    parser.add_argument(
        "--layer", action="append", default=[], metavar="LAYER", help="only these, by name or pattern; repeat it (default: all that can)"
    )
    parser.add_argument("--importance", choices=get_args(Importance), help="which channels matter least (default: l2)")
    parser.add_argument("--groups", action="store_true", help="only show which channels go together, and why some cannot go")
    changing.add_data(parser)
    changing.add_output(parser, required=False)


def run(args: argparse.Namespace) -> int:
    """Prunes, or shows the groups."""
    if args.groups:
        return _show(args)
    if args.ratio is None or args.output is None:
        raise UsageError("Pruning needs a RATIO and -o OUT.onnx; --groups alone shows what can go.")
    from edgeprof.recipes.build import prune_recipe

    return changing.make(args, lambda graph: prune_recipe(args.ratio, args.layer or ["*"], args.importance, graph))


def _show(args: argparse.Namespace) -> int:
    from edgeprof.recipes.pruning.groups import groups

    found = groups(args.model)
    if args.json:
        json.dump({"schema_version": changing.JSON_VERSION, "groups": [group.__dict__ for group in found]}, sys.stdout, indent=1)
        print()
        return 0
    from rich.table import Table
    from rich.text import Text

    from edgeprof.analysis.names import shorten, visible
    from edgeprof.commands.screen import console_for

    console = console_for(sys.stdout)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for title, right in (("Group", False), ("Channels", True), ("Free", True), ("Layers", True), ("Followers", True), ("", False)):
        table.add_column(Text(title), justify="right" if right else "left", overflow="fold")
    for group in found:
        numbers = [str(group.channels), str(group.free), str(len(group.layers)), str(len(group.followers))]
        others = ", ".join(shorten(name, 32) for name in group.layers[1:4])
        table.add_row(
            Text(shorten(group.name, 48)), *map(Text, numbers), Text(visible(group.reason) or (f"with {others}" if others else ""), "dim")
        )
    console.print(table)
    return 0
