"""``edgeprof sweep MODEL... --board B...``: models x boards x settings into a study, one table at the end."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgeprof.commands import options
from edgeprof.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from edgeprof.sweeping import Sweep
    from edgeprof.sweeping.conduct import OnEvent

OK, FAILED, INTERRUPTED = 0, 1, 130
MOST_SETTINGS = 1000
JSON_VERSION = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof sweep``."""
    parser.add_argument("model", metavar="MODEL", nargs="+", help="ONNX models to measure")
    parser.add_argument("-o", "--output", default="study", metavar="STUDY", help="study folder; made if it is not there (default: study)")
    parser.add_argument("--force", action="store_true", help="measure what is done already too")
    where = parser.add_argument_group("where it runs")
    where.add_argument("--board", action="append", default=[], metavar="B", help="a board; repeat it (default: local)")
    where.add_argument("--dask", metavar="URL", help="let the workers of a Dask cluster measure: tcp://host:port or tls://host:port")
    for name, what in (("ca", "certificate of the authority"), ("cert", "certificate"), ("key", "key")):
        where.add_argument(f"--dask-{name}", metavar="FILE", help=f"{what} for tls://")
    how = parser.add_argument_group("what is measured")
    how.add_argument(
        "--runs", type=options.whole_number("--runs", 1), default=100, metavar="N", help="plain runs of each cell, and as many instrumented"
    )
    how.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=A,B",
        help="values of an option, such as threads=1,2; repeat it: all combinations are measured",
    )
    options.add_shape(how)
    shown = parser.add_argument_group("output")
    shown.add_argument("--json", action="store_true", help="print the table as JSON")
    shown.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> int:
    """Measures; 0 when all is done, 1 when something is not, 130 when it was stopped with Ctrl-C."""
    settings = _settings(args.set)
    security = _security(args)
    from edgeprof.sweeping import sweep

    shapes = options.shapes_by_name(args.shape)
    with _progress(quiet=args.quiet) as listen:
        found = sweep(
            args.model,
            boards=args.board or ["local"],
            settings=settings,
            out=args.output,
            runs=args.runs,
            resume=not args.force,
            progress=listen,
            dask=args.dask,
            dask_security=security,
            **({"shapes": shapes} if shapes else {}),
        )
    _tell(found, args)
    if found.interrupted:
        return INTERRUPTED
    return FAILED if len(found.failures) else OK


# Options


def _words(text: str) -> list[str]:
    return text.split("+")


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise UsageError(f"--set memory is '{text}'; give yes or no.")
    return text == "yes"


_READERS: Mapping[str, Callable[[str], Any]] = {
    "threads": options.whole_number("--set threads", 0),
    "runs": options.whole_number("--set runs", 1),
    "warmup": options.warmup,
    "optimization": str,
    "runtime": str,
    "providers": _words,
    "cpus": lambda text: options.cpus(text.replace("+", ",")),
    "inputs": str,
    "seed": options.whole_number("--set seed", 0),
    "energy": str,
    "memory": _yes,
    "sensors": _words,
    "meters": _words,
    "time_limit_s": options.seconds("--set time_limit_s"),
    "wait_s": options.seconds("--set wait_s", 0),
}
"""What ``--set`` takes; parts of one value are joined with ``+``."""


def _settings(given: list[str]) -> list[dict[str, Any]] | None:
    """All combinations of the values that ``--set`` gives; None when there are none."""
    values: dict[str, list[Any]] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        if not equals or not all(rest.split(",")):
            raise UsageError(f"--set is '{text}'; expected an option and its values, such as threads=1,2.")
        if name not in _READERS:
            raise UsageError(f"--set has no option '{name}'{did_you_mean(name, _READERS)}. There are: {', '.join(_READERS)}.")
        if name in values:
            raise UsageError(f"--set gives {name} twice. Give all values at once: {name}={','.join([*map(str, values[name]), rest])}.")
        values[name] = [_READERS[name](part) for part in rest.split(",")]
    count = 1
    for some in values.values():
        count *= len(some)
    if count > MOST_SETTINGS:
        raise UsageError(f"--set makes {count:,} combinations, more than {MOST_SETTINGS}. Give fewer values.")
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())] if values else None


def _security(args: argparse.Namespace) -> dict[str, str] | None:
    given = {name: getattr(args, f"dask_{name}") for name in ("ca", "cert", "key")}
    files = {name: path for name, path in given.items() if path is not None}
    if not files:
        return None
    missing = [f"--dask-{name}" for name in given if name not in files]
    if missing or args.dask is None:
        raise UsageError(
            f"TLS needs --dask tls://... and all of --dask-ca, --dask-cert, --dask-key; missing: {', '.join(missing) or '--dask'}."
        )
    return files


# Output


def _tell(found: Sweep, args: argparse.Namespace) -> None:
    if args.json:
        _print_json(found)
    elif not args.quiet:
        _print_table(found)
    if not args.quiet or found.interrupted:
        again = " Stopped; the same command measures the rest." if found.interrupted else ""
        print(f"{_counted(found)} in {found.study.path}.{again}", file=sys.stderr)


def _counted(found: Sweep) -> str:
    counts = found.table["status"].value_counts()
    return ", ".join(f"{counts[status]} {status}" for status in ("done", "skipped", "failed", "cancelled") if status in counts)


def _print_json(found: Sweep) -> None:
    import json

    from edgeprof.reports.tables import records

    told = {"schema_version": JSON_VERSION, "study": str(found.study.path), "interrupted": found.interrupted, "cells": records(found.table)}
    json.dump(told, sys.stdout, allow_nan=False, indent=1)
    print()


def _print_table(found: Sweep) -> None:
    """One row a cell, and the sentences of those that failed below."""
    from rich.table import Table
    from rich.text import Text

    from edgeprof import units
    from edgeprof.analysis.names import shorten
    from edgeprof.commands.screen import console_for

    console = console_for(sys.stdout)
    names = list(found.table.columns)
    settings = names[names.index("board") + 1 : names.index("status")]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for title in ("Model", "Board", *settings, "Status"):
        table.add_column(Text(title), no_wrap=True, overflow="ellipsis")
    for title in ("Latency", "p95", "Energy", "Peak mem."):
        table.add_column(Text(title), justify="right", no_wrap=True)
    for row in found.table.to_dict("records"):
        latency = units.latency_interval(row["latency_ms"], row["latency_low_ms"], row["latency_high_ms"])
        numbers = (latency, units.latency(row["latency_p95_ms"]), units.energy(row["energy_mj"]), units.size(row["peak_memory_bytes"]))
        words = (shorten(row["model"], 32), shorten(row["board"], 24), *(shorten(str(row[name]), 24) for name in settings), row["status"])
        table.add_row(*map(Text, words), *map(Text, numbers), style=_STYLES.get(row["status"], ""))
    console.print(table)
    for row in found.failures.to_dict("records"):
        chosen = ", ".join(f"{name}={row[name]}" for name in settings)
        where = f"{shorten(row['model'], 48)} on {shorten(row['board'], 32)}" + (f" ({shorten(chosen, 60)})" if chosen else "")
        kept = f" Kept: {row['file']}." if row["file"] else ""
        console.print(Text.assemble("\n", (f"{row['status']} ", "yellow"), f"{where}: {row['error']}{kept}"))


_STYLES = {"failed": "red", "cancelled": "yellow", "skipped": "dim"}


@contextmanager
def _progress(*, quiet: bool) -> Iterator[OnEvent | bool]:
    """A listener that draws one line a board on standard error when that is a terminal, and tells of what ended when it is none."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if quiet:
        yield False
        return
    if not console.is_terminal:
        yield _announce
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns: tuple[Any, ...] = (
        SpinnerColumn(), TextColumn("{task.fields[board]}", markup=False), BarColumn(bar_width=20), TextColumn("{task.fields[left]}"),
        TextColumn("{task.description}", markup=False), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Lines(bar)


class _Lines:
    """One line a board: its queue, the model and how far that is."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._tasks: dict[str, Any] = {}
        self._models: dict[str, str] = {}

    def __call__(self, board: str, event: Any) -> None:
        from edgeprof.analysis.names import shorten
        from edgeprof.boards.base import Planned
        from edgeprof.sweeping.bars import stage
        from edgeprof.sweeping.conduct import Begun, Ended

        if board not in self._tasks:
            total = event.total if isinstance(event, Begun) else None
            self._tasks[board] = self._bar.add_task("", total=total, board=shorten(board, 24), left="")
        task = self._tasks[board]
        if isinstance(event, Begun):
            self._bar.update(task, total=event.total, left=f"{event.total - event.number} to go")
        if isinstance(event, Ended):
            self._bar.advance(task)
            if event.status in ("failed", "cancelled"):
                self._bar.console.print(_line(board, event))
        elif isinstance(event, Planned):
            self._bar.console.print(f"{shorten(board, 24)}: {shorten(event.text, 200)}.")
        elif text := stage(event, self._models, board):
            self._bar.update(task, description=text)


def _announce(board: str, event: Any) -> None:
    """Without a terminal: a line for each cell that has ended."""
    from edgeprof.sweeping.conduct import Ended

    if isinstance(event, Ended):
        print(_line(board, event), file=sys.stderr)


def _line(board: str, event: Any) -> str:
    from edgeprof.analysis.names import shorten

    label = f" ({shorten(event.cell.label, 60)})" if event.cell.label else ""
    why = f": {event.error}" if event.error else ""
    return f"{shorten(board, 24)}: {shorten(event.cell.model, 32)}{label} {event.status}{why}"
