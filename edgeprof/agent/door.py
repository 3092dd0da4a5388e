"""The door of a board: what a host at the other end of a link can ask for. It ends with the link; jobs do not.

Everything lies in one folder (``~/.cache/edgeprof`` unless the host names another): ``blobs/`` holds files by their sha256
(`store.py`), ``jobs/<id>/`` a job each (`keep.py`), ``runtimes/`` what was installed (`install.py`), ``agent/`` this program. A host names
files by digest, jobs by an id and a model's files by plain relative names, each checked where it is used: nothing that it says becomes
a path outside.

Each request is one frame and is answered with one ``reply`` or ``error``, perhaps after ``progress``. ``attach`` is different: the job's
own frames come as they are until ``ended``; meanwhile ``cancel``, ``kill`` and ``detach`` are heard.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

from . import protocol
from .runtimes import Refused

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    import subprocess
    from typing import Any, Callable, Dict, List, Optional

ANSWERED_IN = {
    "health": "board",
    "about": "board",
    "install": "board",
    "check-runtime": "board",
    "remove-runtime": "board",
    "clean": "board",
    "have": "store",
    "put": "store",
    "start": "jobs",
    "get": "jobs",
    "jobs": "jobs",
    "kill": "jobs",
    "forget": "jobs",
    "attach": "following",
}
"""Request and the module whose function of that name answers it, loaded when it is first asked for: a board may have little memory."""
SILENT_LIMIT_S = 60.0
"""A host says something every few seconds; one that does not is gone, whatever the network still believes."""
MOST_PAYLOAD_BYTES = 16 << 20
"""Of one frame that comes: files come in pieces."""
PIECE = 1 << 18
"""Bytes of a file that are handed on at once."""


class Wrong(Exception):
    """A request that makes no sense or cannot be met; ``kind`` as in `boards/failures.py`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Door:
    """Answers one host. ``folder`` is where everything lies."""

    def __init__(self, host: Any, folder: str) -> None:
        self.host = host
        self.folder = os.path.abspath(os.path.expanduser(folder))
        self.keepers: List[subprocess.Popen[bytes]] = []  # of the jobs that this host started
        self.wanted: List[str] = []  # files that this host wants together: none makes room for another

    def serve(self) -> int:
        """Answers until the host goes; the exit status."""
        self.host.say("hello", {"protocol": protocol.PROTOCOL, "python": "%d.%d.%d" % sys.version_info[:3], "pid": os.getpid()})
        while True:
            hold_on()
            try:
                frame = self.host.hear()
            except protocol.ProtocolError as error:
                self.host.say("error", {"kind": "protocol", "message": str(error)})
                return 2
            if frame is None or frame.type == "bye":
                return 0
            try:
                self._answer(frame)
            except (Wrong, Refused) as wrong:
                self.host.say("error", {"kind": wrong.kind, "message": str(wrong)})
                if wrong.kind == "protocol":
                    return 2
            except BrokenPipeError:
                return 1
            except MemoryError:
                self.host.say("error", {"kind": "memory", "message": "the board ran out of memory"})
            except OSError as error:
                from .files import kind_of

                self.host.say(
                    "error", {"kind": kind_of(error), "message": "%s (%s)" % (error.strerror or error, self._shown(error.filename))}
                )

    def path(self, *parts: str) -> str:
        """A path in the folder."""
        return os.path.join(self.folder, *parts)

    def made(self, *parts: str) -> str:
        """The path of a folder in the folder, made where there is none."""
        path = self.path(*parts)
        os.makedirs(path, 0o700, exist_ok=True)
        return path

    def _answer(self, frame: protocol.Frame) -> None:
        if frame.type == "ping":
            self.host.say("pong", {})  # not a reply: it comes between those that were asked for
            return
        if frame.type not in ANSWERED_IN:
            raise Wrong("protocol", "unknown request %r" % frame.type[:40])
        try:
            reply = _answerer(frame.type)(self, frame)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise Wrong("protocol", "the request %r makes no sense (%s: %s)" % (frame.type, type(error).__name__, error)) from error
        if reply is not None:
            self.host.say("reply", reply)

    def _shown(self, path: Any) -> str:
        return str(path or "on the board").replace(self.folder, "its folder")


def hold_on(seconds: float = SILENT_LIMIT_S) -> None:
    """Lets this process live on for so long; 0 is for ever. A signal, since what hangs may be a write to a link that is dead."""
    signal.alarm(int(seconds))


def _answerer(request: str) -> Callable[[Door, protocol.Frame], Optional[Dict[str, Any]]]:
    module = import_module("." + ANSWERED_IN[request], __package__)
    return getattr(module, request.replace("-", "_"))  # type: ignore[no-any-return]
