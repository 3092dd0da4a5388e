"""What ``apply``, ``quantize``, ``prune``, ``estimate`` and ``search`` have in common: data, progress, and what became of a recipe."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.commands import options
from edgeprof.errors import UsageError

if TYPE_CHECKING:
    from edgeprof.datasets import Dataset
    from edgeprof.models.graph import Graph
    from edgeprof.recipes.base import Built
    from edgeprof.recipes.recipe import Recipe
    from edgeprof.recipes.target import Target
    from edgeprof.workshop import Workshop

JSON_VERSION = 1
MOST_REASONS = 12


def add_data(parser: argparse._ActionsContainer, *, required: bool = False) -> None:
    """Adds ``--data`` and what goes with it."""
    parser.add_argument(
        "--data",
        required=required,
        metavar="DATA",
        help="samples: .npz, .npy, a folder of them, or a .toml that declares files or images; part calibrates, the rest gives the score",
    )
    parser.add_argument(
        "--calibration",
        type=options.whole_number("--calibration", 1),
        default=128,
        metavar="N",
        help="samples to calibrate with, drawn at random (default: 128)",
    )


def add_output(parser: argparse._ActionsContainer, *, required: bool = True) -> None:
    """Adds where the model goes and what is printed."""
    parser.add_argument("-o", "--output", required=required, metavar="OUT.onnx", help="file to write the changed model to")
    parser.add_argument("--save-recipe", metavar="FILE", help="write the recipe that was applied to FILE (.recipe.toml)")
    parser.add_argument("--target", metavar="BOARD", help="make it for the processor of this board (default: this machine)")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def make(args: argparse.Namespace, recipe_for: Callable[[Graph], Recipe]) -> int:
    """Applies a recipe to the model, writes it, says what became of each wish and what it cost on the data that is left."""
    from edgeprof.models import load_model
    from edgeprof.recipes.build import apply
    from edgeprof.recipes.recipe import write_recipe

    graph = load_model(args.model)
    recipe = recipe_for(graph)
    calibration, held_out = _data(args, graph)
    with progress(graph.name, quiet=args.quiet) as told:
        built = apply(graph, recipe, data=calibration, target=_target(args.target), output=args.output, told=told)
        scores = _scores(graph, Path(args.output), held_out, told) if held_out is not None else []
    if args.save_recipe:
        write_recipe(recipe, args.save_recipe)
    if args.json:
        _print_json(built, graph, args.output, scores)
    elif not args.quiet:
        _print(built, graph, args.output, scores)
    return 0


@contextmanager
def workshop(args: argparse.Namespace, **options: Any) -> Iterator[Workshop]:
    """The workshop that the arguments ask for. Ctrl-C says what stays: all that was built and measured."""
    from edgeprof.workshop import Workshop

    named = {name: getattr(args, name) for name in ("board", "data", "calibration", "study", "runs", "threads")}
    with Workshop(args.model, **named, **options) as shop:
        try:
            yield shop
        except KeyboardInterrupt as stopped:
            stopped.add_note(f"Stopped. What was built and measured is kept in {args.study}; the same command goes on from there.")
            raise


def split(data: Dataset, calibration: int) -> tuple[Dataset, Dataset | None]:
    """What to calibrate with, and what is left for the score; None when too little is."""
    if len(data) < 2:
        return data, None
    return data.split(min(calibration, len(data) // 2))


@contextmanager
def progress(name: str, *, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A listener that draws a progress bar on standard error when that is a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from edgeprof.analysis.names import shorten

    columns: tuple[Any, ...] = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        title = escape(shorten(name, 32))
        task = bar.add_task(title, total=None)
        yield lambda phase, done, total: bar.update(
            task, description=f"{title}: {escape(shorten(phase, 40))}", completed=done, total=total or None
        )


def _data(args: argparse.Namespace, graph: Graph) -> tuple[Dataset | None, Dataset | None]:
    if args.data is None:
        return None, None
    from edgeprof.datasets import load_data

    return split(load_data(args.data, graph), args.calibration)


def _target(board: str | None) -> Target | None:
    if board is None or board == "local":
        return None
    from edgeprof.boards import get_board
    from edgeprof.recipes.target import target_of

    health = getattr(get_board(board), "health", None)
    if health is None:
        raise UsageError(f"{board} does not say which processor it has. Name a board of yours, or leave --target out.")
    return target_of(health(), board)


def _scores(graph: Graph, changed: Path, data: Dataset, told: Any) -> list[Any]:
    """Score of the model, of the changed one, and the drop between them."""
    from edgeprof import scoring
    from edgeprof.apart import Apart

    with Apart(f"running {graph.name}") as worker:
        reference = scoring.outputs_of(graph.path, data, worker=worker, told=told)
        outputs = scoring.outputs_of(changed, data, worker=worker, told=told)
    before = scoring.score_outputs(reference, data, reference=reference)
    after = scoring.score_outputs(outputs, data, reference=reference)
    return [before, after, scoring.drop(before, after)]


def _print(built: Built, graph: Graph, output: str, scores: list[Any]) -> None:
    from rich.text import Text

    from edgeprof import units
    from edgeprof.analysis.names import shorten, visible
    from edgeprof.commands.screen import console_for

    console = console_for(sys.stdout)
    size = Path(output).stat().st_size
    part = f", {size / graph.file_bytes:.0%} of {units.size(graph.file_bytes)}" if graph.file_bytes else ""
    console.print(Text.assemble(("Wrote ", "dim"), visible(str(output)), f": {units.size(size)}{part}."))
    done = Counter((change.asked, change.done if change.asked == "precision" else "") for change in built.changes if change.done)
    for (asked, what), n in sorted(done.items()):
        verb = {"prune": "lost channels", "sparsity": "with zero weights"}.get(asked, what)
        console.print(Text(f"{n} layer{'s' * (n != 1)} {verb}."))
    for change in [change for change in built.changes if change.asked != "precision" and change.done][:MOST_REASONS]:
        why = f" ({change.reason})" if change.reason else ""
        console.print(Text(f"  {shorten(change.layer, 48)}: {change.done}{why}", "dim"), soft_wrap=True)
    reasons = Counter((change.asked, change.wish, change.reason) for change in built.refused)
    for (_, wish, reason), n in reasons.most_common(MOST_REASONS):
        first = next(change.layer for change in built.refused if (change.wish, change.reason) == (wish, reason))
        more = f" and {n - 1} more" if n > 1 else ""
        console.print(Text(f"Not done ({wish}): {shorten(first, 48)}{more}: {visible(reason)}.", "yellow"), soft_wrap=True)
    for note in built.notes:
        console.print(Text(visible(note), "dim"), soft_wrap=True)
    if scores:
        before, after, drop = scores
        console.print(Text(f"Before: {before}. After: {after}.") if before.metric != "sqnr_db" else Text(f"Against the model: {after}."))
        if before.metric != "sqnr_db":
            console.print(Text(_dropped(drop, before.unit)), soft_wrap=True)


def _dropped(drop: Any, unit: str) -> str:
    scale, points = (100, " points") if unit == "%" else (1, "")
    ends = "" if math.isnan(drop.low) else f" ({drop.low * scale:.2g} to {drop.high * scale:.2g}, 95 %)"
    return f"Loss: {drop.value * scale:.2g}{points}{ends}; the answer changed for {drop.changed} of {drop.n:,} samples."


def _print_json(built: Built, graph: Graph, output: str, scores: list[Any]) -> None:
    told: dict[str, Any] = {
        "schema_version": JSON_VERSION,
        "output": str(output),
        "model_bytes": Path(output).stat().st_size,
        "parent_bytes": graph.file_bytes,
        "parent_sha256": built.parent,
        "activation_type": built.activation_type,
        "changes": [change.__dict__ for change in built.changes],
        "notes": list(built.notes),
    }
    if scores:
        before, after, drop = scores
        told |= {"before": {before.metric: before.record()}, "after": {after.metric: after.record()}}
        told["drop"] = {name: None if math.isnan(value) else value for name, value in drop.__dict__.items()}
    json.dump(told, sys.stdout, allow_nan=False, indent=1)
    print()
