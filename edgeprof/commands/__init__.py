"""The command line: the list of subcommands, and the one place where errors become sentences.

Exit status: 0 fine, 1 a check did not pass, 2 an error that one or two sentences on standard error explain, 130 stopped with Ctrl-C,
141 the reader of the output went away.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NamedTuple, NoReturn, Protocol

from edgeprof._version import __version__
from edgeprof.commands import (
    apply,
    boards,
    doctor,
    estimate,
    import_,
    lab,
    profile,
    prune,
    quantize,
    report,
    search,
    sensitivity,
    show,
    sweep,
)
from edgeprof.errors import EdgeprofError, UsageError

OK, FAILED, ERROR, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141


class Command(Protocol):
    """What a module of this folder offers. Nothing heavy is imported before ``run``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the subcommand's own arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Does it; the exit status. EdgeprofError goes up to `main`."""


class _Entry(NamedTuple):
    name: str
    command: Command
    help: str


COMMANDS: tuple[_Entry, ...] = (
    _Entry("profile", profile, "measure where a model spends its time"),
    _Entry("sweep", sweep, "measure many models on many boards with many settings"),
    _Entry("show", show, "a profile as a table in the terminal"),
    _Entry("report", report, "profiles as a file: HTML, Markdown, CSV, JSON, Parquet, Excel"),
    _Entry("import", import_, "a profile from a trace that another tool recorded"),
    _Entry("boards", boards, "your own boards over SSH: add, list, check, set up, health, jobs, remove"),
    _Entry("apply", apply, "the model that a recipe makes"),
    _Entry("quantize", quantize, "a model at a lower precision"),
    _Entry("prune", prune, "a model with fewer channels; --groups shows which go together"),
    _Entry("estimate", estimate, "what a recipe would bring on a board, before it is built for good"),
    _Entry("sensitivity", sensitivity, "what each decision costs in answers, layer by layer, and what it saves"),
    _Entry("search", search, "recipes under constraints, the best of them built and measured"),
    _Entry("doctor", doctor, "what keeps a model from being faster; without a model, what works on this machine and why not"),
    _Entry("lab", lab, "JupyterLab in a folder"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line ``argv`` (None: that of the process); the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _never_fail_to_print()
    try:
        try:
            status = _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return BROKEN_PIPE
    except EdgeprofError as error:
        return _failed(_told(error), arguments)
    except KeyboardInterrupt as stopped:
        print(*getattr(stopped, "__notes__", ["Stopped. Nothing was kept."]), file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        return _failed(
            f"The system said no: {error.strerror or error}{place}. Free space or change permissions, then try again.", arguments
        )
    except Exception as error:
        text = f"edgeprof itself failed with {type(error).__name__}: {error}. This is a bug: report it with the output of --debug."
        return _failed(text, arguments)
    return status


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(prog="edgeprof", description="Where edge models spend their time, and what to do about it.")
    parser.add_argument("--version", action="version", version=f"edgeprof {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the Python traceback of an error")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, command, text in COMMANDS:
        own = subparsers.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")
        own.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as an error like all others, without the usage in front."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:].rstrip('.')}. See {self.prog} --help.")


def _run(arguments: list[str]) -> int:
    parser = make_parser()
    try:
        args = parser.parse_args(arguments)
    except SystemExit as stop:  # --help and --version
        return int(stop.code or OK)
    if args.command is None:
        parser.print_help()
        return OK
    return int(args.run(args))


def _told(error: EdgeprofError) -> str:
    """The error's sentence and the notes that were added on the way up, on one line."""
    return " ".join([str(error), *getattr(error, "__notes__", ())])


def _failed(sentence: str, arguments: list[str]) -> int:
    if "--debug" in arguments:
        traceback.print_exc()
    one_line = " ".join(sentence.split())
    print("".join(c if c.isprintable() else ascii(c)[1:-1] for c in one_line), file=sys.stderr)
    return ERROR


def _never_fail_to_print() -> None:
    """What a stream's encoding does not have is written as an escape: a name must not stop a table."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _forget_output() -> None:
    """Points standard output at nothing, so that the interpreter's last flush is quiet too."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
