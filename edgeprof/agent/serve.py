"""The agent's main loop: says hello, takes one job, does it, says how it went.

Without arguments it is the supervisor that the host talks with (`supervise.py`); as ``work`` it is a worker that does one phase
of a job for the supervisor (`work.py`), as ``sample`` it reads sensors (`sampler.py`). On a board at the other end of a link it is the
``door`` that a host talks with (`door.py`) and, for each job, a supervisor that outlives the link: ``keep`` (`keep.py`).

Standard output belongs to the protocol: it is duplicated away and file descriptor 1 is pointed at standard error, so
nothing that a runtime prints can be mistaken for a frame.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from . import protocol
from .runtimes import Refused, describe, installed

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Dict, List, Optional, Sequence, Tuple


class Host:
    """The other end: frames out, and a look whether it wants us to stop. ``most_bytes``: of a frame's payload."""

    def __init__(self, source: BinaryIO, sink: Any, most_bytes: int = protocol.MAX_PAYLOAD_BYTES) -> None:
        self._source, self._sink, self._most_bytes = source, sink, most_bytes
        self._cancelled = False

    def say(self, kind: str, fields: Dict[str, Any], payload: bytes = b"") -> None:
        """Sends one frame."""
        protocol.write(self._sink, kind, fields, payload)

    def send(self, data: bytes) -> None:
        """Sends bytes that are frames already."""
        self._sink.write(data)

    def hear(self) -> protocol.Frame | None:
        """Waits for the next frame; None when the host is gone."""
        return protocol.read(self._source, self._most_bytes)

    def is_gone(self) -> bool:
        """True when the host's end is closed: it died, or closed the link."""
        try:
            while select.select([self._source], [], [], 0)[0]:
                if self.hear() is None:
                    return True
        except (OSError, protocol.ProtocolError):
            return True
        return False

    def cancelled(self) -> bool:
        """True once the host asked to cancel, or is gone. Does not wait."""
        self._listen(0)
        return self._cancelled

    def rest(self, seconds: float) -> None:
        """Waits so long, or until the host asks to cancel."""
        end = time.perf_counter() + seconds
        while not self._cancelled and time.perf_counter() < end:
            self._listen(max(0.0, end - time.perf_counter()))

    def ask(self, kind: str, fields: Dict[str, Any]) -> Dict[str, Any]:
        """Sends a frame and waits for the answer, a frame of the same type; empty when the host is gone."""
        self.say(kind, fields)
        while True:
            frame = self.hear()
            if frame is None or frame.type == kind:
                return {} if frame is None else dict(frame.fields)
            self._cancelled = self._cancelled or frame.type in ("cancel", "bye")

    def fileno(self) -> int:
        """The descriptor that its words come from, for ``select``."""
        return self._source.fileno()

    def _listen(self, seconds: float) -> None:
        while not self._cancelled and select.select([self._source], [], [], seconds)[0]:
            frame = self.hear()
            self._cancelled = frame is None or frame.type in ("cancel", "bye")
            seconds = 0


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the agent on this process's standard streams."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's; it sends `cancel`
    role, *rest = list(sys.argv[1:] if arguments is None else arguments) or [""]
    if role in ("sample", "work"):
        from .work import die_with_parent

        die_with_parent()
        os.setpgrp()  # so that it can be ended with all that it started; still of the same session
    if role == "sample":
        from .sampler import main as sample

        return sample(rest)
    if role == "door":
        from .door import MOST_PAYLOAD_BYTES, Door

        return Door(Host(*streams(), MOST_PAYLOAD_BYTES), *rest).serve()
    if role == "keep":
        from .keep import keep

        return keep(rest[0], *(int(number) for number in rest[1:]))
    if role == "health":
        return _say_health()
    if role == "work":
        from .work import work

        return serve(Host(*streams()), work)
    return serve(Host(*streams()), _supervise)


def _supervise(host: Host, job: Dict[str, Any], frames: List[protocol.Frame]) -> Dict[str, Any]:
    from .supervise import supervise  # when there is a job: until then an agent takes no more memory than it must

    return supervise(host, job, frames)


def streams() -> Tuple[BinaryIO, Any]:
    """(source, sink): what the protocol comes from and goes to; what anybody prints goes to standard error."""
    sink = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return os.fdopen(os.dup(0), "rb", buffering=0), Whole(sink)


class Whole:
    """A raw stream whose ``write`` writes everything."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def write(self, data: bytes) -> None:
        """Writes all of it."""
        view = memoryview(data)
        while view:
            view = view[self._raw.write(view) :]

    def flush(self) -> None:
        """Raw streams hold nothing back."""


def serve(host: Host, conduct: Callable[[Any, Dict[str, Any], List[protocol.Frame]], Dict[str, Any]]) -> int:
    """Talks with ``host`` until the job is done; the exit status. ``conduct(host, job, frames)`` does it and gives the result's fields."""
    hello = {"protocol": protocol.PROTOCOL, "python": "%d.%d.%d" % sys.version_info[:3], "pid": os.getpid(), "runtimes": installed()}
    host.say("hello", dict(hello, rss_bytes=_resident()))
    frame = host.hear()
    if frame is None or frame.type == "bye":
        return 0
    if frame.type == "health":
        host.say("result", health(frame.fields))
        return 0
    if frame.type != "job":
        host.say("error", {"kind": "protocol", "message": "expected a job, came %s" % frame.type})
        return 2
    try:
        return _do(host, frame.fields, conduct)
    except BrokenPipeError:
        return 1  # nobody is there to be told
    finally:
        if not frame.fields.get("phase") and host.is_gone():
            _clear(str(frame.fields.get("workdir", "")))


def health(fields: Dict[str, Any]) -> Dict[str, Any]:
    """What the board is, its runtimes and its sensors."""
    from .health import fingerprint
    from .sampler import describe as describe_sensors
    from .sensors import discover

    root, folder = str(fields.get("sysroot") or "/"), fields.get("folder")
    environment = fingerprint(root, folder=None if folder is None else str(folder), busy=True)
    return dict(describe_sensors(discover(root)), environment=environment, runtimes=describe())


def _say_health() -> int:
    """Takes the fields of a request as JSON from standard input and writes the answer as JSON."""
    import json

    source, sink = streams()
    sink.write(json.dumps(health(json.loads(source.read() or b"{}"))).encode())
    return 0


def _clear(folder: str) -> None:
    """Removes the job's folder, which the host would have removed had it lived."""
    import shutil

    if os.path.isabs(folder) and os.path.basename(folder).startswith("edgeprof-"):
        shutil.rmtree(folder, ignore_errors=True)


def _do(host: Host, job: Dict[str, Any], conduct: Callable[[Any, Dict[str, Any], List[protocol.Frame]], Dict[str, Any]]) -> int:
    frames: List[protocol.Frame] = []
    for _ in range(int(job["frames"])):
        frame = host.hear()
        if frame is None:
            return 0
        frames.append(frame)
    try:
        result = conduct(host, job, frames)
    except Refused as refused:
        host.say("error", dict(refused.fields, kind=refused.kind, message=str(refused)))
        return 1
    except MemoryError:
        host.say("error", {"kind": "memory", "message": "the board ran out of memory"})
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:
        from .files import kind_of

        host.say("error", {"kind": kind_of(error), "message": "%s: %s" % (error.strerror or error, error.filename or "on the board")})
        return 1
    host.say("result", result)
    return 0


def _resident() -> Optional[int]:
    """Bytes of memory that this process takes, or None where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


if __name__ == "__main__":
    sys.exit(main())
