"""``edgeprof estimate MODEL RECIPE --data D``: what a recipe would bring on a board, with an error bar."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgeprof.commands import changing, options
from edgeprof.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof estimate``."""
    parser.add_argument("model", metavar="MODEL", help="ONNX model")
    parser.add_argument("recipe", metavar="RECIPE", nargs="+", help="recipes to estimate: .recipe.toml files")
    changing.add_data(parser, required=True)
    add_study(parser)
    parser.add_argument("-o", "--output", metavar="OUT.edgeprof", help="save the estimated profile (of a single recipe)")
    parser.add_argument("--json", action="store_true", help="print the profiles as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def add_study(parser: argparse._ActionsContainer) -> None:
    """Adds where things are measured and kept, and what variants are."""
    parser.add_argument("--board", default="local", metavar="B", help="board to measure on (default: local)")
    parser.add_argument("--study", default="study", metavar="DIR", help="folder that keeps models and profiles (default: study)")
    parser.add_argument(
        "--runs", type=options.whole_number("--runs", 1), default=100, metavar="N", help="runs of each variant (default: 100)"
    )
    parser.add_argument("--threads", type=options.whole_number("--threads", 0), default=1, metavar="N", help="threads within a layer")
    parser.add_argument(
        "--mixtures",
        type=options.whole_number("--mixtures", 0),
        default=6,
        metavar="N",
        help="random variants for the error bar (default: 6)",
    )


def run(args: argparse.Namespace) -> int:
    """Measures variants where the study has none, then estimates."""
    from edgeprof.commands import show
    from edgeprof.recipes.recipe import FLOAT, read_recipe
    from edgeprof.variants import measure_variants
    from edgeprof.whatif import estimate, fit

    recipes = [read_recipe(path) for path in args.recipe]
    if args.output and len(recipes) > 1:
        raise UsageError("-o saves one profile; give one recipe with it.")
    asked = {decision.precision for recipe in recipes for decision in recipe.decisions}
    wanted = sorted(one for one in asked if one is not None and one != FLOAT)
    widths = sorted({decision.prune for recipe in recipes for decision in recipe.decisions if decision.prune} | {0.25, 0.5})
    with changing.progress(Path(args.model).stem, quiet=args.quiet) as told, changing.workshop(args) as shop:
        variants = measure_variants(
            shop,
            precisions=wanted or ["int8"],
            widths=widths[-3:],
            mixed=args.mixtures,
            told=told,
        )
        costs = fit(variants.base, variants.profiles, target=shop.target)
    profiles = [estimate(costs, recipe) for recipe in recipes]
    if args.output:
        profiles[0].save(args.output)
    for profile in profiles:
        if args.json:
            show.print_json(profile)
        elif not args.quiet:
            show.print_table(profile)
    if args.output and not args.quiet:
        print(f"Saved {args.output}.", file=sys.stderr)
    return 0
