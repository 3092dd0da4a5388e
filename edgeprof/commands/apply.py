"""``edgeprof apply MODEL RECIPE -o OUT.onnx``: the model that a recipe makes."""

from __future__ import annotations

import argparse

from edgeprof.commands import changing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof apply``."""
    parser.add_argument("model", metavar="MODEL", help="ONNX model")
    parser.add_argument("recipe", metavar="RECIPE", help="what to change: a .recipe.toml")
    changing.add_data(parser)
    changing.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Builds it, and says what became of each wish."""
    from edgeprof.recipes.recipe import read_recipe

    return changing.make(args, lambda graph: read_recipe(args.recipe))
