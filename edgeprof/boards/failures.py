"""What went wrong on a board, in a sentence: expected, came, do this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from edgeprof import units
from edgeprof.boards.collect import Collector
from edgeprof.errors import BoardBusy, BoardError, BoardLost, RunFailed, RuntimeRefused
from edgeprof.records.trace import Trace

_ADVICE: Mapping[str, str] = {
    "runtime": "",
    "no-runtime": "Install it there with `pip install onnxruntime`.",
    "provider": "Name one of those with --provider.",
    "cpus": "Name CPUs that it has with --cpus.",
    "ir": "Update the runtime on the board, or export the model with an older onnx.",
    "opset": "Update the runtime on the board, or export the model with an older opset.",
    "op": "Export the model without it, or use a runtime that has it.",
    "model": "Check that the file is whole: copy or export it again.",
    "input": "Give the sizes it takes with --shape, or arrays with --inputs.",
    "run": "If an input's values are the cause, give real ones with --inputs.",
    "memory": "Use a smaller batch or a board with more memory.",
    "os": "",
    "file-limit": "Raise the limit on the size of files there (`ulimit -f`), then try again.",
    "load": "",
}

_CRASHED = "The runtime crashed: try another version of it, or other providers."
_DEATHS: Mapping[str, str] = {
    "SIGKILL": "The board may have run out of memory: use a smaller batch.",
    "SIGSEGV": _CRASHED,
    "SIGBUS": _CRASHED,
    "SIGABRT": _CRASHED,
    "SIGFPE": _CRASHED,
    "SIGILL": "The runtime was built for another processor: install one for this board.",
}


def failure_of(fields: Mapping[str, Any], collector: Collector, last_words: Callable[[], str]) -> BoardError:
    """The error that an agent's ``error`` message stands for; ``last_words`` is asked when the runtime died."""
    if fields.get("kind") == "died":
        return lost(collector, str(fields.get("message", "for no known reason")), last_words())
    kind, message = str(fields.get("kind", "load")), str(fields.get("message", "no reason given")).rstrip(". ")
    trace = collector.trace(complete=False)
    if kind == "run":
        return RunFailed(_sentence(f"A run of the model failed: {message}", kind), trace)
    if kind == "no-runtime" and collector.remote:
        text = f"There is no runtime on {collector.board}: {message}. Put one there with `edgeprof boards setup {collector.board}`."
        return RuntimeRefused(text, trace)
    if kind in ("runtime", "no-runtime", "provider", "cpus"):
        return RuntimeRefused(_sentence(message[:1].upper() + message[1:], kind), trace)
    if kind == "busy":
        return BoardBusy(f"{collector.board} is in use{_by(fields)}. Wait for it with --wait SECONDS, or try again later.", trace)
    if kind in ("os", "file-limit", "memory"):
        return BoardError(_sentence(f"The board could not go on: {message}", kind), trace)
    return RuntimeRefused(_sentence(f"The runtime did not take the model: {message}", kind), trace)


def lost(collector: Collector, how: str, last_words: str) -> BoardLost:
    """The error for an agent that died without a word."""
    trace = collector.trace(complete=False)
    kept = _kept(trace)
    said = f" Its last words: {last_words}" if last_words else ""
    advice = next((text for sign, text in _DEATHS.items() if sign in how), "Start it again.")
    return BoardLost(f"The agent on {collector.board} died: {how}. {kept}. {advice}{said}", trace)


def with_what_is_kept(error: BoardError, collector: Collector) -> BoardError:
    """``error`` itself, with what had arrived; when the board was lost its sentence says how much that is."""
    trace = collector.trace(complete=False)
    if isinstance(error, BoardLost):
        return BoardLost(f"{error} {_kept(trace)}.", trace)
    error.trace = trace
    return error


def waits_for(fields: Mapping[str, Any], board: str) -> str:
    """What a ``waiting`` frame says, as a sentence."""
    return f"{board} is in use{_by(fields)}. Waiting for it, at most {units.duration(float(fields.get('wait_s', 0)))}."


def _by(fields: Mapping[str, Any]) -> str:
    who = f" by {fields['who']}" if fields.get("who") else " by another measurement"
    held_s = fields.get("held_s")
    if not isinstance(held_s, int | float):
        return who
    since = datetime.now() - timedelta(seconds=min(max(0.0, held_s), 1e9))
    return f"{who} since {since:%H:%M:%S} ({units.duration(held_s)})"


def _kept(trace: Trace | None) -> str:
    if trace is None:
        return "Nothing had been measured yet"
    if any(len(block.spans.run_start_ns) for block in trace.blocks):
        return "What was measured until then is kept"
    return "No layer times had arrived yet, so nothing is kept"


def _sentence(text: str, kind: str) -> str:
    return f"{text}. {_ADVICE.get(kind, '')}".rstrip()
