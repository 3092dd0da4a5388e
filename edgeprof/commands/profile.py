"""``edgeprof profile MODEL``: measure, save the bundle, show it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.commands import options
from edgeprof.errors import BoardError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeprof.boards.base import Event
    from edgeprof.records.profile import Profile

INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof profile``."""
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="ONNX model to measure (with --attach: only if the board's copy is not wanted)"
    )
    parser.add_argument("-o", "--output", metavar="OUT.edgeprof", help="where to save (default: the model's name in this folder)")
    where = parser.add_argument_group("where it runs")
    where.add_argument(
        "--board",
        default="local",
        metavar="B",
        help="local (default: this machine), one of your boards, ssh://user@host, simulated, or replay:FILE.edgeprof",
    )
    where.add_argument("--runtime", default="auto", metavar="R", help="auto or onnxruntime")
    where.add_argument("--provider", action="append", default=[], metavar="P", help="execution provider; repeat in order of preference")
    where.add_argument(
        "--provider-option", action="append", default=[], type=options.provider_option, metavar="P.KEY=VALUE", help="option of a provider"
    )
    where.add_argument(
        "--threads",
        type=options.whole_number("--threads", 0),
        default=1,
        metavar="N",
        help="threads within a layer (default: 1; 0: the runtime's choice)",
    )
    where.add_argument("--cpus", type=options.cpus, metavar="0-3,5", help="CPUs to pin the runtime to")
    where.add_argument(
        "--optimization", default="all", choices=("all", "extended", "basic", "disabled"), help="how far the runtime may rewrite the graph"
    )
    where.add_argument(
        "--wait", type=options.seconds("--wait", 0), default=10.0, metavar="S", help="wait so long for a board that is in use (default: 10)"
    )
    where.add_argument("--detach", action="store_true", help="start it on a board over SSH and leave; prints the job's name for --attach")
    where.add_argument("--attach", metavar="BOARD/JOB", help="take up a measurement that was started before, or whose link was lost")
    how = parser.add_argument_group("what is measured")
    how.add_argument(
        "--runs",
        type=options.whole_number("--runs", 1),
        default=100,
        metavar="N",
        help="plain runs, and as many instrumented ones (default: 100)",
    )
    how.add_argument(
        "--warmup", type=options.warmup, default="auto", metavar="N", help="runs before, or auto (default): until run times are flat"
    )
    how.add_argument(
        "--time-limit", type=options.seconds("--time-limit"), metavar="S", help="stop after this many seconds and keep what there is"
    )
    how.add_argument("--no-memory", action="store_true", help="leave out the runs for memory by layer")
    energy = parser.add_argument_group("energy", "needs a power sensor on the board, a meter, or a simulated board; see docs/energy.md")
    options.add_energy(energy)
    inputs = parser.add_argument_group("inputs")
    options.add_shape(inputs)
    inputs.add_argument("--inputs", metavar="FILE", help=".npz with an array an input, or .npy for a single one (default: random)")
    inputs.add_argument("--seed", type=options.whole_number("--seed", 0), default=0, metavar="N", help="for random inputs (default: 0)")
    shown = parser.add_argument_group("output")
    shown.add_argument("--json", action="store_true", help="print the profile as JSON")
    shown.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> int:
    """Measures and saves; 130 when it was stopped with Ctrl-C and something was kept."""
    from edgeprof.commands import bundles

    if args.model is None and args.attach is None:
        raise UsageError("A model is needed: edgeprof profile MODEL. See edgeprof profile --help.")
    if args.detach:
        if args.attach or args.output or args.json:
            other = "--attach" if args.attach else "-o" if args.output else "--json"
            raise UsageError(f"--detach only starts a measurement, so it has no use for {other}. Give that to `edgeprof profile --attach`.")
        return _detach(args)
    path = bundles.place(args.output, args.model or f"{args.attach.replace('/', '-')}.onnx")
    interrupted: list[bool] = []
    with _held() as hold:
        try:
            with shown_progress(Path(args.model or args.attach).name, args.quiet) as listen:
                profile = _measure(args, _both(hold, listen), interrupted)
        except BoardError as error:
            if error.profile is not None:
                kept = bundles.partial_place(path)
                try:
                    bundles.save(error.profile, kept)
                except OutputError as unsaved:
                    unsaved.add_note(f"It was cut short: {error}")
                    raise
                error.add_note(f"It is saved in {kept}, marked as incomplete.")
            raise
        if interrupted:
            path = bundles.partial_place(path)
        bundles.save(profile, path)
    _tell(profile, path, args, interrupted=bool(interrupted))
    return INTERRUPTED if interrupted else 0


@contextmanager
def _held() -> Iterator[Callable[[Event], None]]:
    """A listener that has the board keep its job until this ends: what cannot be saved here can be fetched from there again."""
    from edgeprof.boards.base import Job, Started
    from edgeprof.commands.bundles import SavedElsewhere

    jobs: list[Job] = []
    saved = True

    def hold(event: Event) -> None:
        if isinstance(event, Started):
            jobs.append(event.job)
            event.job.hold()

    try:
        yield hold
    except SavedElsewhere:
        raise
    except OutputError as error:
        saved = False
        for name in filter(None, [job.let_go(saved=False) for job in jobs]):
            error.add_note(f"The board still has it: `edgeprof profile --attach {name}` fetches it.")
        raise
    finally:
        for job in jobs if saved else ():
            job.let_go(saved=True)


def _both(*listeners: Callable[[Event], None]) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        for each in listeners:
            each(event)

    return listen


def _measure(args: argparse.Namespace, listen: Callable[[Event], None], interrupted: list[bool]) -> Profile:
    from edgeprof.boards.base import Cancelled
    from edgeprof.profiler import attach, profile

    def hear(event: Event) -> None:
        if isinstance(event, Cancelled):
            interrupted.append(True)
        listen(event)

    if args.attach:
        return attach(args.attach, args.model, progress=hear)
    return profile(args.model, board=args.board, progress=hear, **_options(args))


def _detach(args: argparse.Namespace) -> int:
    from edgeprof.profiler import start

    job = start(args.model, board=args.board, **_options(args))
    print(job)
    if not args.quiet:
        print(
            f"It runs by itself now. Fetch it with `edgeprof profile --attach {job}`; `edgeprof boards jobs` shows how it is.",
            file=sys.stderr,
        )
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """What `edgeprof.profile` is called with."""
    return {
        "runtime": args.runtime,
        "providers": args.provider or None,
        "provider_options": _provider_options(args),
        "threads": args.threads,
        "runs": args.runs,
        "warmup": args.warmup,
        "optimization": args.optimization,
        "cpus": args.cpus,
        "shapes": options.shapes_by_name(args.shape),
        "inputs": args.inputs,
        "seed": args.seed,
        "energy": args.energy,
        "energy_plan": options.energy_plan(args),
        "memory": not args.no_memory,
        "sensors": args.sensor or None,
        "meters": args.meter,
        "time_limit_s": args.time_limit,
        "wait_s": args.wait,
    }


def _provider_options(args: argparse.Namespace) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for provider, key, value in args.provider_option:
        if provider not in args.provider:
            raise UsageError(f"--provider-option is for {provider}, which is not used. Add --provider {provider}, or leave the option out.")
        found.setdefault(provider, {})[key] = value
    return found


def _tell(profile: Profile, path: Path, args: argparse.Namespace, *, interrupted: bool) -> None:
    from edgeprof.commands import show

    if args.json:
        show.print_json(profile)
    elif not args.quiet:
        show.print_table(profile)
    if interrupted or not args.quiet:
        stopped = [finding.text for finding in profile.findings if interrupted and finding.id == "incomplete"]
        print(*stopped, f"Saved {path}.", file=sys.stderr)


@contextmanager
def shown_progress(name: str, quiet: bool) -> Iterator[Callable[[Event], None]]:
    """A listener that draws a progress bar on standard error when that is a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet:
        yield lambda event: None
        return
    if not console.is_terminal:
        yield _announce
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from edgeprof.analysis.names import shorten

    columns: tuple[Any, ...] = (
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        title = shorten(name, 32)
        task = bar.add_task(f"{title}: load", total=None, amount="")
        yield _shower(bar, task, title)


def _announce(event: Event) -> None:
    """Without a terminal: only what takes long is said, before it begins."""
    from edgeprof.boards.base import Planned, Waiting

    if isinstance(event, Waiting):
        print(event.text, file=sys.stderr)
    elif isinstance(event, Planned):
        print(f"{event.text[:1].upper()}{event.text[1:]}.", file=sys.stderr)


def _shower(bar: Any, task: Any, title: str) -> Callable[[Event], None]:
    def show(event: Event) -> None:
        from edgeprof.analysis.names import shorten
        from edgeprof.boards.base import Planned, Progress, Waiting

        if isinstance(event, Progress):
            bar.tasks[task].total = event.total or None  # to `update` None means: as it was
            bar.update(task, description=f"{title}: {shorten(event.phase, 12)}", completed=event.done, amount=event.amount)
        elif isinstance(event, Waiting):
            bar.console.print(event.text, highlight=False, markup=False)
        elif isinstance(event, Planned):
            text = f"{event.text[:1].upper()}{event.text[1:]}. Ctrl-C ends it and keeps what there is."
            bar.console.print(text, highlight=False, markup=False)

    return show
