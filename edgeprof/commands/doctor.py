"""``edgeprof doctor [MODEL|PROFILE]``: what keeps a model from being faster; without one, what works on this machine and why not."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprof.commands import options
from edgeprof.errors import UsageError

if TYPE_CHECKING:
    from edgeprof.analysis.doctor import Diagnoses, Diagnosis
    from edgeprof.boards.base import Event
    from edgeprof.records.profile import Profile

RUNS = 30
SUFFIX = ".edgeprof"
LAYERS_TOLD = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof doctor``."""
    parser.add_argument(
        "subject",
        metavar="MODEL|PROFILE",
        nargs="?",
        help="ONNX model (it is profiled first) or .edgeprof bundle; none: look at this machine",
    )
    parser.add_argument(
        "--baseline",
        metavar="MODEL|PROFILE",
        help="the model that this one was made from, or a profile of it: says why this one is not faster",
    )
    parser.add_argument("--board", metavar="B", help="where a model is profiled (default: local, this machine)")
    parser.add_argument(
        "--runs", type=options.whole_number("--runs", 1), metavar="N", help=f"plain runs, and as many instrumented ones (default: {RUNS})"
    )
    parser.add_argument("--threads", type=options.whole_number("--threads", 0), metavar="N", help="threads within a layer (default: 1)")
    parser.add_argument("--provider", action="append", default=[], metavar="P", help="execution provider; repeat in order of preference")
    options.add_shape(parser)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    """Diagnoses; 0 whatever was found. Without a model 1 when something that is needed does not work."""
    measures = [path for path in (args.subject, args.baseline) if path is not None and not path.lower().endswith(SUFFIX)]
    given = {
        "--board": args.board, "--runs": args.runs, "--threads": args.threads, "--provider": args.provider or None,
        "--shape": args.shape or None,
    }  # fmt: skip
    unused = [name for name, value in given.items() if value is not None]
    if args.subject is None:
        if args.baseline is not None or unused:
            raise UsageError(f"{(['--baseline'] if args.baseline else unused)[0]} needs a model or a profile: edgeprof doctor MODEL.")
        from edgeprof.commands import machine

        return machine.look(as_json=args.json)
    if unused and not measures:
        raise UsageError(f"{unused[0]} is for measuring, but a profile was measured already. Give the model instead, or leave it out.")
    from edgeprof.analysis.doctor import diagnose
    from edgeprof.peaks import cached_peaks

    profile = _profile(args.subject, args)
    baseline = None if args.baseline is None else _profile(args.baseline, args)
    found = diagnose(profile, baseline=baseline, peaks=cached_peaks(profile))
    if args.json:
        _print_json(profile, baseline, found)
    else:
        _print(profile, baseline, found)
    return 0


def _profile(path: str, args: argparse.Namespace) -> Profile:
    """The profile itself, or one of the model, measured now."""
    if path.lower().endswith(SUFFIX):
        from edgeprof.records.bundle import load

        return load(path)
    from edgeprof.boards.base import Cancelled
    from edgeprof.commands.profile import shown_progress
    from edgeprof.profiler import profile

    stopped: list[Event] = []
    with shown_progress(Path(path).name, args.json) as listen:

        def hear(event: Event) -> None:
            if isinstance(event, Cancelled):
                stopped.append(event)
            listen(event)

        measured = profile(
            path, board=args.board or "local", runs=args.runs or RUNS, threads=1 if args.threads is None else args.threads,
            providers=args.provider or None, shapes=options.shapes_by_name(args.shape), progress=hear,
        )  # fmt: skip
    if stopped:
        raise KeyboardInterrupt
    return measured


def _print_json(profile: Profile, baseline: Profile | None, found: Diagnoses) -> None:
    import json

    context = profile.context
    told = {
        "model": context.model_name, "board": context.board, "origin": profile.origin, "median_ms": context.latency.median_ms,
        "baseline": None if baseline is None else baseline.context.model_name, **found.as_dict(),
    }  # fmt: skip
    print(json.dumps(told, allow_nan=False, indent=1))


def _print(profile: Profile, baseline: Profile | None, found: Diagnoses) -> None:
    """The dearest first; below each what was found and what to try. Names come from model files and are written out, never read."""
    from rich.text import Text

    from edgeprof import units
    from edgeprof.analysis.names import visible
    from edgeprof.commands.screen import console_for

    console = console_for(sys.stdout)
    against = "" if baseline is None else f", beside {visible(baseline.context.model_name)}"
    median = units.latency(profile.context.latency.median_ms)
    console.print(Text.assemble((visible(profile.title), "bold"), f": {median} end to end{against}"), soft_wrap=True)
    for one in found:
        console.print()
        _print_one(one, profile)
    console.print()
    if found:
        print("Costs are time in question in one run, the most that can be won; the same layers may count in several.")
    else:
        print("Nothing was found that keeps it from being faster.")


def _print_one(one: Diagnosis, profile: Profile) -> None:
    from rich.text import Text

    from edgeprof import units
    from edgeprof.analysis.names import listed, visible
    from edgeprof.commands.screen import SEVERITY_STYLES, console_for, print_hanging

    console = console_for(sys.stdout)
    total = profile.context.latency.median_ms
    part = f", {units.share(one.cost_ms / total)}" if total and one.cost_ms == one.cost_ms else ""
    cost = f"{one.cost}{part}" if part or one.cost != units.MISSING else "cost not known"
    print_hanging(console, Text(one.severity, SEVERITY_STYLES[one.severity]), f"{one.title}: {cost}", "bold")
    print_hanging(console, Text(""), visible(one.text))
    print_hanging(console, Text("try", "dim"), visible(one.experiment))
    if one.layers:
        print_hanging(console, Text("layers", "dim"), listed(one.layers, most=LAYERS_TOLD), "dim")
    print_hanging(console, Text("id", "dim"), one.id, "dim")
