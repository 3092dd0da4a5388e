"""The first inference in a runtime that was just installed, or that a board has by itself; and why it failed."""

from __future__ import annotations

import json
import re
import signal
import subprocess

from .runtimes import Refused

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    from typing import Any, Dict, Tuple

LIMIT_S = 300.0
_SAID = "edgeprof: "
_PROGRAM = """
import json, sys
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level, options.intra_op_num_threads = 3, 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feeds = {i.name: numpy.ones(i.shape, dtype="float32") for i in session.get_inputs()}
if not all(numpy.isfinite(output).all() for output in session.run(None, feeds)):
    sys.exit("its results are not finite")
found = {"version": onnxruntime.__version__, "numpy": numpy.__version__, "providers": onnxruntime.get_available_providers()}
print("\\n" + sys.argv[2] + json.dumps(found))
"""
_KNOWN: Tuple[Tuple[str, str], ...] = (
    (r"(lib(?:gomp|stdc\+\+)[^\s:]*): cannot open shared", "the library %s is missing (Debian and Ubuntu: packages libgomp1, libstdc++6)"),
    (r"([^\s:'\"]+\.so[^\s:]*): cannot open shared object file", "the library %s is missing"),
    (r"version [`']((?:GLIBCXX|CXXABI)_[0-9.]+)' not found", "the system's libstdc++ is too old: it has no %s"),
    (r"version [`'](GLIBC_[0-9.]+)' not found", "the system's C library is too old: it has no %s"),
    (r"([^\s:]+): cannot allocate memory in static TLS block", "%s must be loaded first: set LD_PRELOAD to it"),
    (r"([^\s:]+): failed to map segment", "%s may not be run from there (a file system mounted noexec): choose another folder"),
    (r"No module named '([^']{1,60})'", "the module %s is missing"),
)
_DEATHS = {
    signal.SIGILL: "this CPU lacks an instruction that the runtime was built with",
    signal.SIGKILL: "the board ran out of memory, or somebody killed it",
    signal.SIGSEGV: "it crashed",
    signal.SIGABRT: "it gave up",
    signal.SIGBUS: "it crashed, or the disk failed",
}


def first_run(python: str, model: str) -> Dict[str, Any]:
    """``version``, ``numpy`` and ``providers`` of the runtime in this Python, after one inference of the file ``model``.

    Raises:
        Refused: it does not run.
    """
    command = [python, "-I", "-X", "utf8", "-c", _PROGRAM, model, _SAID]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Refused("check", "a model of a few nodes did not run within %d s" % LIMIT_S) from None
    except OSError as error:
        raise Refused("check", "%s cannot be started: %s" % (python, error.strerror or error)) from error
    told = [line[len(_SAID) :] for line in done.stdout.decode("utf-8", "replace").splitlines() if line.startswith(_SAID)]
    if done.returncode or not told:
        raise Refused("check", "a model of a few nodes does not run: %s" % explain(done.returncode, done.stderr.decode("utf-8", "replace")))
    return dict(json.loads(told[-1]))


def explain(status: int, said: str) -> str:
    """Why a process with a runtime failed, from its exit status and what it said on standard error."""
    if status < 0:
        return death(status)
    for pattern, text in _KNOWN:
        match = re.search(pattern, said)
        if match:
            return text % match.groups()
    return last_line(said) or "exit status %d" % status


def death(status: int) -> str:
    """``killed by SIGILL (...)`` for the negative status of a process that a signal ended."""
    try:
        number = signal.Signals(-status)
    except ValueError:
        return "killed by signal %d" % -status
    return "killed by %s%s" % (number.name, " (%s)" % _DEATHS[number] if number in _DEATHS else "")


def last_line(said: str) -> str:
    """The last line that says something, in at most 300 characters."""
    lines = said.strip().splitlines()
    return lines[-1].strip()[:300] if lines else ""
