"""``edgeprof quantize MODEL -o OUT.onnx``: every layer that can be at a lower precision, but those that are named."""

from __future__ import annotations

import argparse
from typing import get_args

from edgeprof.commands import changing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof quantize``."""
    from edgeprof.recipes.recipe import ActivationType, Calibration, Precision

    parser.add_argument("model", metavar="MODEL", help="ONNX model")
    parser.add_argument(
        "--precision",
        choices=[one for one in get_args(Precision) if one != "fp32"],
        default="int8",
        help="int8 (default) needs data; *-weights and fp16 do not",
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="LAYER", help="layer that stays float, by name or pattern; repeat it"
    )
    parser.add_argument("--activation-type", choices=get_args(ActivationType), default="auto", help="auto follows the processor")
    parser.add_argument("--per-tensor", action="store_true", help="one scale for all channels of a weight (default: one each)")
    parser.add_argument(
        "--calibration-method", choices=get_args(Calibration), default="minmax", help="how ranges are found (default: minmax)"
    )
    changing.add_data(parser)
    changing.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Quantizes, and says what was and what was not."""
    from edgeprof.recipes.build import quantize_recipe
    from edgeprof.recipes.recipe import Quantization

    settings = Quantization(args.activation_type, not args.per_tensor, args.calibration_method)
    return changing.make(args, lambda graph: quantize_recipe(args.precision, args.exclude, settings, graph))
