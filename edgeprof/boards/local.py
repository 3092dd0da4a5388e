"""This machine: the agent in a subprocess, so that a crash of the runtime leaves the caller alive."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from edgeprof.agent import protocol
from edgeprof.agent.lock import holder_of
from edgeprof.agent.sensors import FAMILIES
from edgeprof.boards.base import AgentJob, Job, refuse_unknown_sensors
from edgeprof.boards.collect import Collector
from edgeprof.boards.metering import Metering
from edgeprof.boards.opening import Saying, opening
from edgeprof.boards.package import agent_zipapp
from edgeprof.errors import BoardError
from edgeprof.records.profile import Origin
from edgeprof.records.trace import RunPlan

_LAST_WORDS_BYTES = 300
_GRACE_S = 5.0


class LocalBoard:
    """Runs models on this machine with the Python that runs edgeprof, or with ``python``, another one that has a runtime.

    ``sysroot`` stands in for ``/`` where sensors, clocks and temperatures are read: a recorded or simulated ``/sys`` and ``/proc``.
    """

    origin: Origin = "measured"

    def __init__(self, python: str | None = None, name: str = "local", sysroot: str | Path = "/") -> None:
        self._python = python or sys.executable
        self._name = name
        self._sysroot = str(sysroot)

    @property
    def name(self) -> str:
        """``local`` unless named otherwise."""
        return self._name

    def start(self, model: Path, plan: RunPlan, runtime: str = "onnxruntime") -> Job:
        """See `edgeprof.boards.base.Board.start`."""
        refuse_unknown_sensors(plan.sensors, FAMILIES)
        metering = Metering(plan.meters) if plan.meters else None
        try:
            folder = work_folder()
            external = metering.sensors if metering is not None else ()
            first = opening(model.resolve(), plan, runtime, workdir=folder.name, compression=0, sysroot=self._sysroot, external=external)
            return AgentJob(self._link(folder, first), Collector(self._name, runtime, plan, metering))
        except BaseException:
            if metering is not None:
                metering.close()
            raise

    def health(self) -> Mapping[str, Any]:
        """What the board is (``environment``), its ``runtimes``, its ``sensors``, what hinders others (``problems``), and who
        measures on it now (``in_use``).

        BoardError when the agent does not answer.
        """
        link = self._link(work_folder(), protocol.encode("health", {"sysroot": self._sysroot}))
        try:
            for frame in link.frames():
                if frame.type == "result":
                    return dict(frame.fields, in_use=holder_of())
                link.begin()
        except (protocol.ProtocolError, OSError) as error:
            raise BoardError(f"The agent on {self._name} did not say how it is: {error}.") from error
        finally:
            death = link.close()
        raise BoardError(f"The agent on {self._name} died: {death or 'it closed the connection'}. Its last words: {link.last_words()}")

    def _link(self, folder: tempfile.TemporaryDirectory[str], opening: bytes) -> LocalLink:
        try:
            return LocalLink(self._python, folder, opening)
        except OSError as error:
            folder.cleanup()
            text = f"The agent cannot be started with {self._python}: {error.strerror or error}."
            raise BoardError(f"{text} Check that this Python runs, and that {tempfile.gettempdir()} has space (or set TMPDIR).") from error


class LocalLink:
    """An agent in a subprocess, in a session of its own so that Ctrl-C reaches the caller alone. ``opening``: its job."""

    def __init__(self, python: str, folder: tempfile.TemporaryDirectory[str], opening: bytes) -> None:
        self._folder = folder
        self._say = Saying(self._send, opening)
        archive = Path(folder.name, "agent.pyz")
        archive.write_bytes(agent_zipapp())
        with contextlib.ExitStack() as undo:
            self._errors = undo.enter_context(tempfile.TemporaryFile(dir=folder.name))  # closed in close()
            self._process = subprocess.Popen(
                [python, "-X", "utf8", str(archive)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                bufsize=1 << 16,
            )
            undo.pop_all()
        self._words = ""

    @property
    def pid(self) -> int:
        """Process number of the agent."""
        return self._process.pid

    def begin(self) -> None:
        """See `edgeprof.boards.base.Link.begin`."""
        self._say.begin()

    def cancel(self) -> None:
        """See `edgeprof.boards.base.Link.cancel`."""
        self._say.cancel()

    def _send(self, data: bytes) -> None:
        if self._process.stdin is None or self._process.stdin.closed:
            raise OSError("the agent's input is closed")
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def frames(self) -> Iterator[protocol.Frame]:
        """See `edgeprof.boards.base.Link.frames`."""
        stream = self._process.stdout
        if stream is None:
            return
        while (frame := protocol.read(stream)) is not None:  # type: ignore[arg-type]
            yield frame

    def kill(self) -> None:
        """See `edgeprof.boards.base.Link.kill`."""
        with contextlib.suppress(psutil.NoSuchProcess):
            agent = psutil.Process(self.pid)
            for process in [agent, *agent.children(recursive=True)]:  # it first, or it would start the next phase's process
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    def close(self) -> str:
        """See `edgeprof.boards.base.Link.close`."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        status = self._end()
        if not self._errors.closed:
            self._words = _tail(self._errors.fileno())
            self._errors.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._folder.cleanup()
        return _in_words(status)

    def last_words(self) -> str:
        """See `edgeprof.boards.base.Link.last_words`."""
        return self._words if self._errors.closed else _tail(self._errors.fileno())

    def _end(self) -> int:
        try:
            return self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()


def work_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for one job, removed when it is cleaned up; BoardError when none can be made."""
    try:
        return tempfile.TemporaryDirectory(prefix="edgeprof-", ignore_cleanup_errors=True)
    except OSError as error:
        raise BoardError(
            f"A temporary folder is needed and cannot be made: {error.strerror or error}. Set TMPDIR to one with space."
        ) from error


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    text = os.pread(descriptor, _LAST_WORDS_BYTES, max(0, size - _LAST_WORDS_BYTES)).decode(errors="replace")
    return " ".join(text.split())


def _in_words(status: int) -> str:
    if status >= 0:
        return f"exit status {status}" if status else ""
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
