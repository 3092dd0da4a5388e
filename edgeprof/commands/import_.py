"""``edgeprof import TRACE --model MODEL``: a profile from a trace that another tool recorded."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprof.commands import options

if TYPE_CHECKING:
    from edgeprof.models import Graph


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof import``."""
    parser.add_argument("trace", metavar="TRACE", help="a profile that ONNX Runtime wrote (JSON, plain or gzipped)")
    parser.add_argument("--model", required=True, metavar="MODEL", help="the ONNX model that was run")
    parser.add_argument(
        "--executed", metavar="OPTIMISED.onnx", help="the optimised model, if the session saved it: layers are matched better"
    )
    options.add_shape(parser)
    parser.add_argument("-o", "--output", metavar="OUT.edgeprof", help="where to save (default: the trace's name in this folder)")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> int:
    """Reads the trace, saves the bundle, shows it."""
    from edgeprof.commands import bundles, show
    from edgeprof.importers import import_trace
    from edgeprof.models import load_model
    from edgeprof.records.build import build_profile

    path = bundles.place(args.output, args.trace.removesuffix(".gz"))
    graph = load_model(args.model, options.shapes_by_name(args.shape))
    trace = import_trace(args.trace, graph)
    profile = build_profile(trace, graph, _executed(args.executed), origin="imported", input_source="unknown")
    bundles.save(profile, path)
    if not args.quiet:
        show.print_table(profile)
        print(f"Saved {path}.", file=sys.stderr)
    return 0


def _executed(path: str | None) -> Graph | None:
    from edgeprof.models.onnx import load_onnx

    return None if path is None else load_onnx(Path(path), weights_here=False)
