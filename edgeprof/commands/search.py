"""``edgeprof search MODEL --data D``: recipes under constraints; the best are built, measured and scored."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.commands import changing, options
from edgeprof.commands.estimate import add_study

if TYPE_CHECKING:
    from edgeprof.searching import SearchResult

OK, FAILED, INTERRUPTED = 0, 1, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof search``."""
    parser.add_argument("model", metavar="MODEL", help="ONNX model")
    changing.add_data(parser, required=True)
    add_study(parser)
    how = parser.add_argument_group("what is searched")
    how.add_argument(
        "--objective", action="append", default=[], metavar="O", help="what to make small, up to three (default: latency_ms, loss)"
    )
    how.add_argument("--precision", action="append", default=[], metavar="P", help="what layers may become, repeat it (default: int8)")
    how.add_argument(
        "--width",
        action="append",
        default=[],
        type=options.number("--width", above=0, below=1),
        metavar="W",
        help="part that a group may lose (default: 0.25, 0.5)",
    )
    how.add_argument("--no-prune", action="store_true", help="precisions alone")
    how.add_argument(
        "--trials", type=options.whole_number("--trials", 1), default=400, metavar="N", help="recipes to estimate (default: 400)"
    )
    how.add_argument("--minutes", type=options.number("--minutes", above=0), metavar="M", help="end the trials after so long")
    how.add_argument("--sampler", default="tpe", metavar="S", help="tpe (default), nsga2, nsga3 or random")
    how.add_argument("--seed", type=options.whole_number("--seed", 0), default=0, metavar="N", help="of the sampler")
    how.add_argument("--storage", metavar="URL", help="Optuna storage to share with others (default: SQLite in the study)")
    how.add_argument("--build", type=options.whole_number("--build", 0), default=5, metavar="N", help="candidates to build and measure")
    limits = parser.add_argument_group("constraints")
    for name, text in (
        ("latency-ms", "milliseconds end to end"), ("loss", "loss of the score (0.01 is a point of top1)"), ("energy-mj", "millijoules"),
        ("peak-memory-bytes", "bytes of activations at once"), ("model-bytes", "bytes of the file"),
    ):  # fmt: skip
        limits.add_argument(f"--max-{name}", type=options.number(f"--max-{name}"), metavar="X", help=f"most {text}")
    parser.add_argument("--save-recipe", metavar="FILE", help="write the recipe of the best measured candidate to FILE")
    parser.add_argument("--json", action="store_true", help="print the candidates as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> int:
    """Searches; 0 when some measured candidate keeps to the constraints, 1 when none does, 130 when it was stopped."""
    from edgeprof.recipes.recipe import write_recipe
    from edgeprof.searching import Constraints, search

    limits = {name: getattr(args, f"max_{name}") for name in ("latency_ms", "loss", "energy_mj", "peak_memory_bytes", "model_bytes")}
    with changing.progress(Path(args.model).stem, quiet=args.quiet) as told, changing.workshop(args) as shop:
        found = search(
            shop,
            objectives=args.objective or ["latency_ms", "loss"],
            constraints=Constraints(**limits),
            precisions=args.precision or ["int8"],
            widths=[] if args.no_prune else args.width or [0.25, 0.5],
            trials=args.trials,
            minutes=args.minutes,
            sampler=args.sampler,
            seed=args.seed,
            storage=args.storage,
            build=args.build,
            mixed=args.mixtures,
            told=told,
        )
    best = found.best
    if best is not None and args.save_recipe:
        write_recipe(best.recipe, args.save_recipe)
    if args.json:
        _print_json(found)
    elif not args.quiet:
        _print(found)
    if not found.complete:
        return INTERRUPTED
    return OK if best is not None or not args.build else FAILED


def _print(found: SearchResult) -> None:
    from rich.table import Table
    from rich.text import Text

    from edgeprof.analysis.names import visible
    from edgeprof.commands.screen import console_for

    console = console_for(sys.stdout)
    console.print(Text(visible(repr(found)[1:-1]), "bold"), soft_wrap=True)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for number, title in enumerate(found.headings()):
        table.add_column(Text(title), justify="left" if not number else "right", overflow="fold")
    for row in found.rows():
        table.add_row(*map(Text, row))
    console.print(table)
    best = found.best
    if best is not None:
        console.print(Text(f"Best: {best.name}, measured within the constraints."))
    elif any(one.profile is not None for one in found.candidates):
        console.print(Text("No measured candidate keeps to the constraints. Loosen one, or allow other precisions or widths.", "yellow"))


def _print_json(found: SearchResult) -> None:
    from edgeprof.recipes.recipe import recipe_text

    def plain(values: Any) -> dict[str, float | None]:
        return {name: None if math.isnan(value) else value for name, value in values.items()}

    told = {
        "schema_version": changing.JSON_VERSION,
        "objectives": list(found.objectives),
        "metric": found.metric,
        "trials": found.trials,
        "complete": found.complete,
        "best": found.best.name if found.best is not None else None,
        "candidates": [
            {
                "name": one.name,
                "estimated": plain(one.estimated),
                "measured": plain(one.measured),
                "failed": one.failed,
                "fits": found.constraints.holds(one.measured if one.profile is not None else one.estimated),
                "recipe": recipe_text(one.recipe),
            }
            for one in found.candidates
        ],
    }
    json.dump(told, sys.stdout, allow_nan=False, indent=1)
    print()
