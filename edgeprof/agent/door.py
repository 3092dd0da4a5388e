"""The door of a board: what a host at the other end of a link can ask for. It ends with the link; jobs do not.

Everything lies in one folder (``~/.cache/edgeprof`` unless the host names another): ``blobs/`` holds files by their sha256,
``jobs/<id>/`` a job each (`keep.py`), ``runtimes/`` what was installed (`install.py`), ``agent/`` this program. A host names files by
digest, jobs by an id and a model's files by plain relative names, each checked here: nothing that it says becomes a path outside.

Each request is one frame and is answered with one ``reply`` or ``error``, perhaps after ``progress``. ``attach`` is different: the job's
own frames come as they are until ``ended``; meanwhile ``cancel``, ``kill`` and ``detach`` are heard.
"""

from __future__ import annotations

import errno
import json
import os
import re
import select
import signal
import sys
import time

from . import protocol
from .places import ALIVE, BELL, ERRORS, MODEL, OPENING, SPOOL, WORK
from .runtimes import Refused

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    import socket
    import subprocess
    from typing import Any, Callable, Dict, Iterator, List, Optional

DIGEST = re.compile("[0-9a-f]{64}")
JOB = re.compile("[0-9]{8}T[0-9]{6}-[0-9a-f]{8}")
SILENT_LIMIT_S = 60.0
"""A host says something every few seconds; one that does not is gone, whatever the network still believes."""
ENDS_WITHIN_S = 10.0
MOST_FILES = 1000
MOST_BLOB_BYTES = 16 << 30
MOST_ABOUT_BYTES = 1 << 20
MOST_PAYLOAD_BYTES = 16 << 20
"""Of one frame: files come in pieces, and a board may have little memory."""
KEPT_JOBS = 20
KEPT_AGENTS = 3
SPARE_BYTES = 64 << 20
"""So much of the disk is left free when a file is taken in."""
PIECE = 1 << 18
_PART = ".part-"
_ABOUT = "about.json"


class Wrong(Exception):
    """A request that makes no sense or cannot be met; ``kind`` as in `boards/failures.py`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Door:
    """Answers one host. ``folder`` is where everything lies."""

    def __init__(self, host: Any, folder: str) -> None:
        self._host = host
        self._folder = os.path.abspath(os.path.expanduser(folder))
        self._children: List[subprocess.Popen[bytes]] = []
        self._wanted: List[str] = []  # files that this host wants together: none makes room for another

    def serve(self) -> int:
        """Answers until the host goes; the exit status."""
        self._host.say("hello", {"protocol": protocol.PROTOCOL, "python": "%d.%d.%d" % sys.version_info[:3], "pid": os.getpid()})
        while True:
            _hold_on()
            try:
                frame = self._host.hear()
            except protocol.ProtocolError as error:
                self._host.say("error", {"kind": "protocol", "message": str(error)})
                return 2
            if frame is None or frame.type == "bye":
                return 0
            try:
                self._answer(frame)
            except (Wrong, Refused) as wrong:
                self._host.say("error", {"kind": wrong.kind, "message": str(wrong)})
                if wrong.kind == "protocol":
                    return 2
            except BrokenPipeError:
                return 1
            except MemoryError:
                self._host.say("error", {"kind": "memory", "message": "the board ran out of memory"})
            except OSError as error:
                from .files import kind_of

                self._host.say(
                    "error", {"kind": kind_of(error), "message": "%s (%s)" % (error.strerror or error, self._shown(error.filename))}
                )

    def _answer(self, frame: protocol.Frame) -> None:
        answer = self._answers().get(frame.type)
        if answer is None:
            raise Wrong("protocol", "unknown request %r" % frame.type[:40])
        try:
            reply = answer(frame)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise Wrong("protocol", "the request %r makes no sense (%s: %s)" % (frame.type, type(error).__name__, error)) from error
        if reply is not None:
            self._host.say("reply", reply)

    def _answers(self) -> Dict[str, Callable[[protocol.Frame], Optional[Dict[str, Any]]]]:
        return {
            "ping": self._pong,
            "health": self._health,
            "about": self._about,
            "have": self._have,
            "put": self._put,
            "get": self._get,
            "start": self._start,
            "attach": self._attach,
            "jobs": self._jobs,
            "kill": self._kill,
            "forget": self._forget,
            "install": self._install,
            "check-runtime": self._check,
            "remove-runtime": self._remove_runtime,
            "clean": self._clean,
        }

    def _pong(self, frame: protocol.Frame) -> None:
        self._host.say("pong", {})  # not a reply: it comes between those that were asked for

    def _shown(self, path: Any) -> str:
        return str(path or "on the board").replace(self._folder, "its folder")

    def _path(self, *parts: str) -> str:
        return os.path.join(self._folder, *parts)

    def _made(self, *parts: str) -> str:
        path = self._path(*parts)
        os.makedirs(path, 0o700, exist_ok=True)
        return path

    # What the board is

    def _health(self, frame: protocol.Frame) -> Dict[str, Any]:
        from .lock import holder_of
        from .serve import health

        held = holder_of(str(frame.fields.get("lock") or ""))
        fields = dict(frame.fields, folder=self._folder)
        told = self._in_runtime("health", fields) or health(fields)
        return dict(told, in_use=held, jobs=sum(1 for name in self._job_names() if _lives(self._path("jobs", name))))

    def _in_runtime(self, role: str, fields: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """What the agent says in the Python that jobs run in, when that is another one."""
        import subprocess

        python = self._python()
        if python == sys.executable:
            return None
        asked = subprocess.run(
            [python, "-X", "utf8", sys.argv[0], role], input=json.dumps(fields).encode(), stdout=subprocess.PIPE, timeout=60, check=False
        )
        try:
            found = json.loads(asked.stdout.decode())
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _about(self, frame: protocol.Frame) -> Dict[str, Any]:
        from .about import about

        return about(self._folder)

    # Files

    def _blob(self, digest: Any) -> str:
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise Wrong("protocol", "expected a sha256, came %r" % str(digest)[:80])
        return os.path.join(self._made("blobs"), digest)

    def _have(self, frame: protocol.Frame) -> Dict[str, Any]:
        """How many bytes of each file are here; those that are whole are used from now."""
        found = {}
        self._wanted = list(frame.fields["digests"])[:MOST_FILES]
        for digest in self._wanted:
            path = self._blob(digest)
            size = _size(path)
            if size is not None:
                _touch(path)
            found[digest] = {"whole": size is not None, "bytes": size if size is not None else _size(self._part(digest)) or 0}
        return {"have": found}

    def _part(self, digest: str) -> str:
        return self._path("blobs", _PART + digest)

    def _put(self, frame: protocol.Frame) -> Dict[str, Any]:
        """Appends a piece to a file; the last one makes it whole, if its sha256 is right."""
        digest, size, offset = frame.fields["digest"], int(frame.fields["size"]), int(frame.fields["offset"])
        path = self._blob(digest)
        if _size(path) is not None:
            return {"bytes": size}
        if not 0 <= offset <= offset + len(frame.payload) <= size <= MOST_BLOB_BYTES:
            raise Wrong("protocol", "a piece that is not in its file")
        if not frame.fields.get("goes_on"):
            self._make_room(size - offset, int(frame.fields.get("cache_limit_bytes") or 0), digest)
        part = self._part(digest)
        with open(part, "ab") as file:
            _lock_or_wrong(file)
            there = os.fstat(file.fileno()).st_size
            if there != offset:
                raise Wrong("upload", "expected the piece from byte %d on, came byte %d" % (there, offset))
            try:
                file.write(frame.payload)
                file.flush()
            except OSError as error:
                os.ftruncate(file.fileno(), offset)
                raise _no_room(error, size - offset, self._folder) from error
            if offset + len(frame.payload) == size:
                self._finish(part, path, digest)
        return {"bytes": offset + len(frame.payload)}

    def _finish(self, part: str, path: str, digest: str) -> None:
        import hashlib

        hashed = hashlib.sha256()
        with open(part, "rb") as file:
            for piece in iter(lambda: file.read(PIECE), b""):
                hashed.update(piece)
        if hashed.hexdigest() != digest:
            os.unlink(part)
            raise Wrong("upload", "the file that arrived is not the one that was sent: its sha256 differs")
        os.replace(part, path)

    def _make_room(self, wanted: int, limit: int, digest: str) -> None:
        """Removes the files that were not used for longest, until ``wanted`` bytes fit below the limit and on the disk."""
        import shutil

        folder = self._made("blobs")
        files = []
        kept = {digest, _PART + digest, *self._wanted}
        for name in os.listdir(folder):
            if name not in kept:
                status = os.stat(os.path.join(folder, name))
                files.append((status.st_mtime, status.st_size, os.path.join(folder, name)))
        files.sort(reverse=True)
        total = sum(size for _, size, _ in files)
        while files and ((limit and total + wanted > limit) or shutil.disk_usage(folder).free < wanted + SPARE_BYTES):
            _, size, path = files.pop()
            os.unlink(path)
            total -= size
        free = shutil.disk_usage(folder).free
        if free < wanted + SPARE_BYTES:
            raise Wrong("disk", "%d bytes are needed in its folder and %d are free" % (wanted + SPARE_BYTES, free))

    def _get(self, frame: protocol.Frame) -> None:
        """Sends a piece of a file of a job."""
        folder, name, offset = self._job(frame.fields["job"]), str(frame.fields["name"]), int(frame.fields["offset"])
        path = os.path.join(folder, OPENING) if name == OPENING else os.path.join(folder, MODEL, _plain(name))
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, offset))
            self._host.say("reply", {"size": size}, file.read(PIECE))

    # Jobs

    def _job_names(self) -> List[str]:
        try:
            return sorted(name for name in os.listdir(self._path("jobs")) if JOB.fullmatch(name))
        except OSError:
            return []

    def _job(self, job: Any, *, new: bool = False) -> str:
        if not isinstance(job, str) or not JOB.fullmatch(job):
            raise Wrong("protocol", "expected the id of a job, came %r" % str(job)[:80])
        folder = self._path("jobs", job)
        if not new and not os.path.isdir(folder):
            raise Wrong("no-job", "there is no job %s on this board" % job)
        return folder

    def _python(self) -> str:
        """The interpreter that jobs run in: of what was installed here, or this one."""
        from .installed import python_of

        return python_of(self._folder) or sys.executable

    def _start(self, frame: protocol.Frame) -> Dict[str, Any]:
        """Starts a job whose files are all here."""
        import shutil

        fields = frame.fields
        folder = self._job(fields["job"], new=True)
        about = json.dumps(fields.get("about") or {})
        if len(about) > MOST_ABOUT_BYTES or len(fields["files"]) > MOST_FILES:
            raise Wrong("protocol", "a job that describes itself at too great length")
        names = {_plain(name): self._blob(digest) for name, digest in fields["files"].items()}
        self._forget_old()
        os.makedirs(folder, 0o700)
        try:
            for name, blob in dict(names, **{os.path.join(os.pardir, OPENING): self._blob(fields["opening"])}).items():
                path = os.path.normpath(os.path.join(folder, MODEL, name))
                os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
                _place(blob, path)
            os.mkdir(os.path.join(folder, WORK), 0o700)
            with open(os.path.join(folder, _ABOUT), "w", encoding="utf-8") as file:
                file.write(about)
            self._spawn(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return {}

    def _spawn(self, folder: str) -> None:
        import subprocess

        hear, tell = os.pipe()
        os.set_inheritable(tell, True)
        try:
            with open(os.path.join(folder, ERRORS), "ab") as errors:
                keeper = subprocess.Popen(
                    [self._python(), "-X", "utf8", sys.argv[0], "keep", folder, str(tell)],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=[tell],
                    start_new_session=True,
                    cwd=folder,
                )
        finally:
            os.close(tell)
        with os.fdopen(hear, "rb") as said:
            started = said.read(1)
        if not started:
            keeper.wait()
            raise Wrong("os", "the job could not be started: %s" % (_tail(os.path.join(folder, ERRORS)) or "it ended without a word"))
        self._children.append(keeper)

    def _jobs(self, frame: protocol.Frame) -> Dict[str, Any]:
        found = []
        for name in self._job_names():
            folder = self._path("jobs", name)
            with Follower(folder) as follower:
                last = follower.skim()
            found.append({
                "job": name,
                "running": _lives(folder),
                "ended": last if last in ("result", "error") else "",
                "bytes": _size(os.path.join(folder, SPOOL)) or 0,
                "about": _about_of(folder),
            })  # fmt: skip
        return {"jobs": found}

    def _kill(self, frame: protocol.Frame) -> Dict[str, Any]:
        return {"killed": _kill(self._job(frame.fields["job"]))}

    def _forget(self, frame: protocol.Frame) -> Dict[str, Any]:
        import shutil

        folder = self._job(frame.fields["job"])
        if _lives(folder):
            raise Wrong("running", "job %s is still running" % frame.fields["job"])
        shutil.rmtree(folder)
        return {}

    def _forget_old(self) -> None:
        """Removes the oldest jobs that ended and were never fetched, when there are many."""
        import shutil

        ended = [name for name in self._job_names() if not _lives(self._path("jobs", name))]
        for name in ended[: max(0, len(ended) - KEPT_JOBS + 1)]:
            shutil.rmtree(self._path("jobs", name), ignore_errors=True)

    def _attach(self, frame: protocol.Frame) -> None:
        folder = self._job(frame.fields["job"])
        self._host.say("attached", {"about": _about_of(folder)})
        with Follower(folder) as follower:
            while True:
                for data in follower.news():
                    self._host.send(data)
                if follower.over:
                    break
                for source in select.select([self._host, *follower.sources], [], [])[0]:
                    if source is self._host:
                        _hold_on()
                        if self._heard_meanwhile(folder, follower):
                            return
                    else:
                        follower.hear()
            last = follower.last
        death = self._death(folder) if last not in ("result", "error") else ""
        self._host.say("ended", {"death": death, "words": _tail(os.path.join(folder, ERRORS))})

    def _heard_meanwhile(self, folder: str, follower: "Follower") -> bool:
        """Takes what the host says while a job is followed; True when it wants to hear no more."""
        frame = self._host.hear()
        if frame is None:
            raise BrokenPipeError(errno.EPIPE, "the host is gone")
        if frame.type == "detach":
            self._host.say("ended", {"detached": True})
            return True
        if frame.type == "cancel":
            follower.tell(protocol.encode("cancel", {}))
        elif frame.type == "kill":
            _kill(folder)
        elif frame.type == "ping":
            self._host.say("pong", {})
        else:
            raise Wrong("protocol", "unknown request %r while a job is followed" % frame.type[:40])
        return False

    def _death(self, folder: str) -> str:
        from .supervise import in_words

        for child in self._children:
            if child.args[-2] == folder:  # type: ignore[index]
                return in_words(child.wait()) or "exit status 0"
        return "it ended without a word"

    # Runtimes

    def _progress(self, phase: str, done: int, total: int) -> None:
        self._host.say("progress", {"phase": phase, "done": done, "total": total})

    def _install(self, frame: protocol.Frame) -> Dict[str, Any]:
        from .install import install

        _hold_on(0)
        wheels = [{"filename": str(w["filename"]), "sha256": w["sha256"], "path": self._blob(w["sha256"])} for w in frame.fields["wheels"]]
        return install(self._folder, str(frame.fields["name"]), wheels, self._progress, self._blob(frame.fields["model"]))

    def _check(self, frame: protocol.Frame) -> Dict[str, Any]:
        from .install import check

        _hold_on(0)
        model = frame.fields.get("model")
        return check(self._folder, str(frame.fields.get("name") or ""), self._blob(model) if model else "")

    def _remove_runtime(self, frame: protocol.Frame) -> Dict[str, Any]:
        from .installed import remove

        return {"removed": remove(self._folder, str(frame.fields.get("name") or ""))}

    def _clean(self, frame: protocol.Frame) -> Dict[str, Any]:
        """Removes everything that edgeprof keeps here."""
        import shutil

        running = [name for name in self._job_names() if _lives(self._path("jobs", name))]
        if running:
            raise Wrong("running", "job %s is still running" % running[0])
        freed = 0
        for name in ("blobs", "jobs", "runtimes", "agent"):
            for folder, _, files in os.walk(self._path(name)):
                freed += sum(_size(os.path.join(folder, file)) or 0 for file in files)
            shutil.rmtree(self._path(name), ignore_errors=True)
        try:
            os.rmdir(self._folder)
        except OSError:  # something else lies there
            pass
        return {"bytes": freed}


class Follower:
    """Reads a job's spool as it grows."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file: Any = None
        self._at = 0
        self.last = ""
        self.over = False
        self._bell: Optional[socket.socket] = _connect(folder)

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: Any) -> None:
        for thing in (self._file, self._bell):
            if thing is not None:
                thing.close()

    @property
    def sources(self) -> List[Any]:
        """What to wait for."""
        return [self._bell] if self._bell is not None else []

    def hear(self) -> None:
        """Takes the bell's rings; its end is the keeper's."""
        try:
            said = self._bell.recv(1 << 12) if self._bell is not None else b""
        except OSError:
            said = b""
        if not said and self._bell is not None:
            self._bell.close()
            self._bell = None

    def tell(self, data: bytes) -> None:
        """Says something to the keeper; nothing when it is gone."""
        try:
            if self._bell is not None:
                self._bell.sendall(data)
        except OSError:
            return

    def news(self) -> Iterator[bytes]:
        """Whole frames that are new."""
        gone = self._bell is None  # looked at before the reading: nothing is written after it
        if self._file is None:
            try:
                self._file = open(os.path.join(self._folder, SPOOL), "rb")  # noqa: SIM115 - closed in __exit__
            except OSError:
                self.over = gone
                return
        while True:
            size = self._frame_bytes()
            if size is None:
                break
            self._file.seek(self._at)
            left = size
            while left:
                piece = self._file.read(min(left, PIECE))
                if not piece:
                    return
                left -= len(piece)
                yield piece
            self._at += size
        self.over = gone

    def skim(self) -> str:
        """Type of the last whole frame that there is; nothing of what stands before it is read."""
        try:
            self._file = open(os.path.join(self._folder, SPOOL), "rb")  # noqa: SIM115 - closed in __exit__
        except OSError:
            return ""
        size = self._frame_bytes()
        while size is not None:
            self._at += size
            size = self._frame_bytes()
        return self.last

    def _frame_bytes(self) -> Optional[int]:
        """Size of the next frame, or None when it is not whole yet."""
        self._file.seek(self._at)
        line = self._file.readline(64)
        parts = line.split()
        if not line.endswith(b"\n") or len(parts) != 3 or not (parts[1] + parts[2]).isdigit():
            return None
        head, size = int(parts[1]), len(line) + int(parts[1]) + int(parts[2])
        if self._at + size > os.fstat(self._file.fileno()).st_size:
            return None
        start = self._file.read(min(head, 40))
        if start.startswith(b'{"type":"'):
            self.last = start[9:].split(b'"')[0].decode("ascii", "replace")
        return size


def _hold_on(seconds: float = SILENT_LIMIT_S) -> None:
    """Lets this process live on for so long; 0 is for ever. A signal, since what hangs may be a write to a link that is dead."""
    signal.alarm(int(seconds))


def _connect(folder: str) -> Optional[socket.socket]:
    """The keeper's bell, or None when there is no keeper any more. Relative, since names of sockets must be short."""
    import socket

    if not _lives(folder):
        return None
    before = os.getcwd()
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.chdir(folder)
        bell.connect(BELL)
    except OSError:
        bell.close()
        return None
    finally:
        os.chdir(before)
    return bell


def _lives(folder: str) -> bool:
    """Whether the keeper of a job is alive: the kernel knows, since it holds a lock."""
    import fcntl

    try:
        descriptor = os.open(os.path.join(folder, ALIVE), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _kill(folder: str) -> bool:
    """Ends a job at once, with all its processes; False when it was over."""
    if not _lives(folder):
        return False
    try:
        with open(os.path.join(folder, ALIVE), encoding="ascii") as file:
            keeper = int(file.read())
        os.kill(keeper, signal.SIGKILL)  # its workers and its sampler die with it
    except (OSError, ValueError):
        return False
    end = time.monotonic() + ENDS_WITHIN_S
    while _lives(folder) and time.monotonic() < end:
        time.sleep(0.01)
    return True


def _plain(name: Any) -> str:
    """``name`` itself, when it is a relative path that stays where it starts."""
    parts = str(name).split("/")
    odd = any(part in ("", ".", "..") or len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts)
    if odd or "\0" in str(name) or "\\" in str(name) or len(parts) > 20:
        raise Wrong("protocol", "expected a file's name inside the model's folder, came %r" % str(name)[:80])
    return str(name)


def _place(blob: str, path: str) -> None:
    """Puts a file that is here at ``path``: a second name of it where the file system has such, else a copy."""
    import shutil

    if not os.path.exists(blob):
        raise Wrong("upload", "a file of the job is not here; it may have been removed to make room")
    _touch(blob)
    try:
        os.link(blob, path)
    except OSError:
        shutil.copyfile(blob, path)


def _lock_or_wrong(file: Any) -> None:
    import fcntl

    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Wrong("upload", "somebody else is sending the same file") from error


def _no_room(error: OSError, wanted: int, folder: str) -> Exception:
    import shutil

    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return Wrong("disk", "%d bytes are needed in its folder and %d are free" % (wanted, shutil.disk_usage(folder).free))


def _size(path: str) -> Optional[int]:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _touch(path: str) -> None:
    try:
        os.utime(path)
    except OSError:
        return


def _tail(path: str, most: int = 300) -> str:
    """The end of a file of messages, on one line."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most))
            text = file.read(most).decode(errors="replace")
    except OSError:
        return ""
    return " ".join(text.split())


def _about_of(folder: str) -> Dict[str, Any]:
    try:
        with open(os.path.join(folder, _ABOUT), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
