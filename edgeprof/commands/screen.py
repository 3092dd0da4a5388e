"""A profile in a terminal: header, table, findings, as wide as the terminal.

Names come from model files: they are never read as markup, and control characters are written out.
"""

from __future__ import annotations

import math
import shutil
from typing import IO

from rich.console import Console
from rich.text import Text

from edgeprof import units
from edgeprof.analysis import findings
from edgeprof.analysis.names import visible
from edgeprof.analysis.sources import is_estimate
from edgeprof.commands.table import layer_rows, op_type_rows, print_rows
from edgeprof.records.profile import Profile

PIPED_WIDTH = 120
LEAST_PIPED_WIDTH = 100
LEAST_WIDTH = 60
LABEL_CELLS = 9
_ORIGINS = {
    "measured": "measured",
    "estimated": "ESTIMATED: a what-if, nothing was run",
    "replayed": "replayed from a recording",
    "simulated": "SIMULATED: a board that is not there",
    "imported": "imported from another tool's trace: raw times, not corrected for the profiler",
}
SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


def _origin(profile: Profile) -> str:
    """In words; of a replay also how the numbers of its recording came about, unless they were measured."""
    words = _ORIGINS[profile.origin]
    return words if profile.basis in (profile.origin, "measured") else f"{words}, {_ORIGINS[profile.basis]}"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Hands a reader that went away up to `edgeprof.commands.main`; rich itself would leave with status 1."""
        self.quiet = True
        raise BrokenPipeError


def console_for(stream: IO[str]) -> Console:
    """A console on ``stream``; into a file or pipe it has no colour and is at least 100 columns wide."""
    columns, _ = shutil.get_terminal_size((PIPED_WIDTH, 24))
    if stream.isatty():
        return _Console(file=stream, highlight=False, emoji=False, markup=False, width=max(columns, LEAST_WIDTH))
    width = max(columns, LEAST_PIPED_WIDTH)
    return _Console(file=stream, highlight=False, emoji=False, markup=False, force_terminal=False, color_system=None, width=width)


def print_profile(console: Console, profile: Profile, *, by: str = "layer", top: int | None = None, sort: str = "time") -> None:
    """Prints it all. ``top`` rows with the most time are shown, in the order ``sort``; None is every row."""
    _print_header(console, profile)
    console.print()
    rows = op_type_rows(profile) if by == "op_type" else layer_rows(profile)
    print_rows(console, profile, rows, by=by, top=top, sort=sort)
    _print_findings(console, profile)


def _print_header(console: Console, profile: Profile) -> None:
    context = profile.context
    runtime = f"{context.runtime} {context.runtime_version}".strip() or "unknown runtime"
    threads = "" if context.threads is None else f", {context.threads} thread{'s' * (context.threads != 1)}"
    where = f" on {context.board or 'an unknown board'}, {runtime}{threads}"
    console.print(Text.assemble((visible(context.model_name), "bold"), visible(where)))
    for label, text in (
        ("Origin", _origin(profile)),
        ("Latency", _end_to_end(profile)),
        ("Start", _start(profile)),
        ("Memory", _memory(profile)),
        ("Energy", _energy(profile)),
        ("Runs", _runs(profile)),
        ("Inputs", ", ".join(f"{name} {'×'.join(map(str, sizes)) or 'scalar'}" for name, sizes in context.input_shapes.items())),
    ):
        if text:
            print_hanging(console, Text(label, "dim"), visible(text))


def print_hanging(console: Console, label: Text, text: str, style: str = "") -> None:
    """A label, and beside it a text that stays to its right when it is long."""
    lines = Text(text, style).wrap(console, console.width - LABEL_CELLS)
    label.pad_right(LABEL_CELLS - len(label))
    for line in lines:
        line.rstrip()
        console.print(Text.assemble(label, line), soft_wrap=True)
        label = Text(" " * LABEL_CELLS)


def _end_to_end(profile: Profile) -> str:
    end = profile.context.latency
    if end.median_ms is None:
        return "not measured: there are no plain runs"
    low, high = (math.nan if v is None else v for v in (end.low_ms, end.high_ms))
    word = "estimated median" if profile.basis == "estimated" else "median"
    told = f"{units.latency_interval(end.median_ms, low, high)} {word} end to end"
    return told if end.p95_ms is None else f"{told}, p95 {units.latency(end.p95_ms)}"


def _start(profile: Profile) -> str:
    parts = (("load", profile.context.load_ms), ("first run", profile.context.first_run_ms))
    return ", ".join(f"{name} {units.latency(ms)}" for name, ms in parts if ms is not None)


def _memory(profile: Profile) -> str:
    """Peak of the model's activations and who was running, and of the process."""
    told = profile.context.memory
    parts = []
    if told.peak_bytes is not None:
        word = "an estimate from shapes" if is_estimate(profile, "peak_memory_bytes") else ""
        where = ", ".join(filter(None, [f"in {told.peak_layer}" if told.peak_layer else "", word]))
        parts.append(f"{units.size(told.peak_bytes)} of activations and workspace at most{f' ({where})' if where else ''}")
    peaks = [process.peak_bytes for process in told.process.values() if process.peak_bytes is not None]
    if peaks:
        parts.append(f"{units.size(max(peaks))} the whole process")
    return ", ".join(parts)


def _energy(profile: Profile) -> str:
    """Energy of one inference, or why there is none."""
    told = profile.context.energy
    if told.inference_mj is None or told.above_idle_mj is None:
        advice = "" if profile.origin != "measured" or told.asked == "off" else " See edgeprof doctor."
        return f"not measured: {told.reason[:1].lower()}{told.reason[1:]}{advice}" if told.reason else ""
    low, high = (math.nan if v is None else v for v in (told.above_idle_low_mj, told.above_idle_high_mj))
    text = f"{units.energy_interval(told.above_idle_mj, low, high)} above idle a run, {units.energy(told.inference_mj)} in all"
    text += f" (idle {units.power(told.idle_mw)}, running {units.power(told.loop_mw)}; {' + '.join(told.channels)})"
    if told.closure_gap is not None:
        text += f"; closure gap of the layers {units.share(told.closure_gap)}"
    return text


def _runs(profile: Profile) -> str:
    if profile.basis == "estimated":
        return ""
    instrumented = int(profile.runs["instrumented"].sum())
    when = f", {profile.context.started_at}" if profile.context.started_at else ""
    return f"{len(profile.runs) - instrumented} plain, {instrumented} instrumented{when}"


def _print_findings(console: Console, profile: Profile) -> None:
    found = findings(profile)
    if found:
        console.print()
    for finding in found:
        style = SEVERITY_STYLES[finding.severity]
        print_hanging(console, Text(finding.severity, style), visible(finding.text), "dim" if finding.severity == "info" else "")
