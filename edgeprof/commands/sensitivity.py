"""``edgeprof sensitivity MODEL --data D``: what each decision costs in answers, layer by layer, and what it saves on a board."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.commands import changing, options

if TYPE_CHECKING:
    from edgeprof.sensitivities import Sensitivity, TensorError
    from edgeprof.workshop import Workshop

OK, INTERRUPTED = 0, 130
MOST_LOSS = 0.005
RANKINGS = ("loss", "saved_ms", "saved_mj", "saved_bytes", "loss_per_ms", "loss_per_mj", "loss_per_byte")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof sensitivity``."""
    parser.add_argument("model", metavar="MODEL", help="ONNX model")
    changing.add_data(parser, required=True)
    tried = parser.add_argument_group("what is tried")
    tried.add_argument("--precision", action="append", default=[], metavar="P", help="a precision, repeat it (default: int8)")
    tried.add_argument("--prune", action="append", default=[], metavar="R", help="a part of the channels to prune, such as 0.25; repeat it")
    tried.add_argument(
        "--mode", action="append", default=[], metavar="M", help="only, without, weights or activations; repeat it (default: all four)"
    )
    tried.add_argument("--layer", action="append", default=[], metavar="L", help="a layer, repeat it (default: all that can)")
    tried.add_argument(
        "--samples", type=options.whole_number("--samples", 1), default=256, metavar="N", help="samples to score with (default: 256)"
    )
    tried.add_argument("--metric", default="auto", metavar="M", help="top1, mae, sqnr_db, cosine or auto (default)")
    tried.add_argument(
        "--minutes", type=options.number("--minutes", above=0), metavar="M", help="end after so long; the same command goes on"
    )
    where = parser.add_argument_group("what it saves")
    where.add_argument("--board", default="local", metavar="B", help="board to measure on (default: local)")
    where.add_argument("-o", "--study", default="study", metavar="STUDY", help="folder that keeps all that was found (default: study)")
    where.add_argument("--no-measure", action="store_true", help="measure nothing: what is saved is not known then")
    where.add_argument(
        "--mixtures",
        type=options.whole_number("--mixtures", 0),
        default=0,
        metavar="N",
        help="measure so many random variants too, and estimate what is saved from them, format changes included",
    )
    where.add_argument("--runs", type=options.whole_number("--runs", 1), default=100, metavar="N", help="runs of each (default: 100)")
    where.add_argument("--threads", type=options.whole_number("--threads", 0), default=1, metavar="N", help="threads within a layer")
    shown = parser.add_argument_group("output")
    shown.add_argument("--by", choices=RANKINGS, default="loss", help="rank by this (default: loss)")
    shown.add_argument("--top", type=options.whole_number("--top", 1), metavar="N", help="show so many layers")
    shown.add_argument("--tensor", metavar="NAME", help="show this tensor, or the output of this layer, in float and int8 instead")
    shown.add_argument("--export", metavar="FILE", help="write a recipe (.recipe.toml) that keeps the loss within --most-loss")
    shown.add_argument(
        "--most-loss",
        type=options.number("--most-loss"),
        default=MOST_LOSS,
        metavar="X",
        help="for --export: 0.005 is half a point of top1 (default: 0.005)",
    )
    shown.add_argument("--json", action="store_true", help="print all as JSON")
    shown.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> int:
    """Tries; 0 when done or out of time, 130 when it was stopped."""
    from edgeprof.sensitivities import sensitivity, tensor_error

    with changing.progress(Path(args.model).stem, quiet=args.quiet) as told, changing.workshop(args, metric=args.metric) as shop:
        if args.tensor:
            compared = tensor_error(shop, args.tensor, told=told)
            return _show_tensor(compared, args)
        decisions = [*args.precision, *args.prune] or ["int8"]
        found = sensitivity(
            shop,
            decisions=decisions,
            modes=args.mode or ("only", "without", "weights", "activations"),
            layers=args.layer or None,
            samples=args.samples,
            minutes=args.minutes,
            measure=not args.no_measure,
            costs=_costs(shop, args, told) if args.mixtures else None,
            progress=told or False,
        )
        exported = _export(found, shop, args, told) if args.export else []
    if args.json:
        json.dump({"schema_version": changing.JSON_VERSION, **found.record()}, sys.stdout, allow_nan=False, indent=1)
        print()
    elif not args.quiet:
        _print(found, args)
    for line in exported if not args.quiet else []:
        print(line, file=sys.stderr)
    return INTERRUPTED if found.ended == "interrupted" else OK


def _costs(shop: Workshop, args: argparse.Namespace, told: Any) -> Any:
    from edgeprof.variants import measure_variants
    from edgeprof.whatif import fit

    widths = [float(part) for part in args.prune]
    variants = measure_variants(
        shop, precisions=args.precision or ([] if widths else ["int8"]), widths=widths, mixed=args.mixtures, told=told
    )
    return fit(variants.base, variants.profiles, target=shop.target)


def _export(found: Sensitivity, shop: Workshop, args: argparse.Namespace, told: Any) -> list[str]:
    """Writes the recipe, builds and scores its model; what is to say of it."""
    from edgeprof import scoring
    from edgeprof.recipes.recipe import write_recipe

    decision = found.decisions[0]
    excluded = found.nodes_to_exclude(args.most_loss, decision)
    recipe = found.recipe(args.most_loss, decision)
    path = write_recipe(recipe, args.export)
    after = shop.score(recipe, told=told)
    scale, unit = (100, " points") if found.metric == "top1" else (1, "")
    if found.metric == "sqnr_db":
        told_loss = f"scored: {after}"
    else:
        drop = scoring.drop(shop.base_score, after)
        ends = "" if math.isnan(drop.low) else f" ({drop.low * scale:.2g} to {drop.high * scale:.2g}, 95 %)"
        told_loss = f"scored on {drop.n:,} samples: {drop.value * scale:.2g}{unit}{ends}"
    expected = found.predicted_loss(excluded, decision)
    return [f"Wrote {path}: {recipe.name}. Loss expected {expected * scale:.2g}{unit}, {told_loss}."]


def _print(found: Sensitivity, args: argparse.Namespace) -> None:
    from rich.table import Table
    from rich.text import Text

    from edgeprof.analysis.names import visible
    from edgeprof.commands.screen import console_for

    console = console_for(sys.stdout)
    console.print(Text(visible(repr(found)[1:-1]), "bold"), soft_wrap=True)
    for line in found.notes():
        console.print(Text(visible(line), "dim"), soft_wrap=True)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for number, title in enumerate(found.headings()):
        table.add_column(Text(title), justify="left" if not number else "right", no_wrap=True, overflow="ellipsis")
    rows = found.rows(args.top, args.by)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    every = len(found.rows(None, args.by))
    if len(rows) < every:
        console.print(Text(f"{every - len(rows)} more; --top shows them.", "dim"))
    if found.left:
        console.print(Text(f"{found.left} trials are left; the same command tries them.", "yellow"))


def _show_tensor(found: TensorError, args: argparse.Namespace) -> int:
    from edgeprof.analysis.names import visible

    if args.json:
        json.dump({"schema_version": changing.JSON_VERSION, **found.record()}, sys.stdout, allow_nan=False, indent=1)
        print()
    elif not args.quiet:
        print(visible(f"{found.tensor} ({found.part} of {found.layer})"))
        print("\n".join(f"  {visible(fact)}" for fact in found.facts()))
        for percent, (before, after) in found.percentiles.items():
            print(f"  {percent:>5g} %  float {before:>10.4g}  quantized {after:>10.4g}")
    return OK
