"""A board of the user's, reached over SSH; nothing is installed there but a runtime.

A job runs there by itself (`edgeprof.agent.keep`): when the link is lost it goes on, and can be attached to later, from here or elsewhere.
Nothing is ever run again by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof._version import __version__
from edgeprof.agent import protocol
from edgeprof.agent.sensors import FAMILIES
from edgeprof.boards import line as lines
from edgeprof.boards import loop
from edgeprof.boards.base import AgentJob, Board, Job, refuse_unknown_sensors
from edgeprof.boards.collect import Collector
from edgeprof.boards.entries import Entry
from edgeprof.boards.line import Line, Passphrase, Told, connect, open_line
from edgeprof.boards.metering import Metering
from edgeprof.boards.opening import opening, plan_of, who
from edgeprof.boards.words import clean, tidy
from edgeprof.errors import BoardError, BoardLost, UsageError
from edgeprof.records.profile import Origin
from edgeprof.records.trace import RunPlan

if TYPE_CHECKING:
    import asyncssh

MODEL = "model.onnx"
"""How a model's file is called on the board; its other files keep their names beside it."""
OPENING = "opening"
COMPRESSION = 6
IDLE_S = 30.0
"""A connection that nobody uses is kept so long for the next job."""
MOST_OPENING_BYTES = 1 << 30
MOST_MODEL_BYTES = 16 << 30
_ENDS_WITHIN_S = 10.0
_MOST_NAME = 1000


class SshBoard:
    """A board by its `Entry`. ``passphrase`` asks a person for the passphrase of a key file; without it a terminal is asked, if there is
    one.
    """

    origin: Origin = "measured"

    def __init__(self, entry: Entry, passphrase: Passphrase | None = None) -> None:
        self.entry = entry
        self._passphrase = passphrase
        self._connection: asyncssh.SSHClientConnection | None = None
        self._users = 0
        self._closing: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Lock | None = None

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.entry.name

    def start(self, model: Path, plan: RunPlan, runtime: str = "onnxruntime") -> Job:
        """See `edgeprof.boards.base.Board.start`."""
        files = {MODEL: model.resolve(), **{name: model.parent / name for name in plan.external_files}}
        return self._begin(files, plan, runtime)

    def start_detached(self, model: Path, plan: RunPlan, runtime: str = "onnxruntime") -> str:
        """Has the board do a job by itself, and returns its id for `attach`; BoardError when it cannot be started."""
        if plan.meters:
            raise UsageError("A meter is read from here, so a job that is left alone cannot have one. Leave meters out, or stay attached.")
        files = {MODEL: model.resolve(), **{name: model.parent / name for name in plan.external_files}}
        link = self._link(files, self._own(plan), runtime, None)
        with making_sense(self.name):
            loop.run(link.start_only())
        return link.job

    def attached(self, job: str) -> Attached:
        """What a job that was started before is about; BoardError when the board has no such job."""
        with self.session() as session, making_sense(self.name):
            said = next((told for told in session.ask("jobs", {})["jobs"] if told.get("job") == job), None)
            if said is None:
                raise BoardError(
                    f"There is no job {clean(job)} on {self.name}. `edgeprof boards jobs {self.name}` lists those that are there."
                )
            first = io.BytesIO()
            session.get(job, OPENING, MOST_OPENING_BYTES, first.write)
            plan, runtime = plan_of(first.getvalue())
        about = said.get("about")
        return Attached(self.name, job, about if isinstance(about, dict) else {}, plan, runtime)

    def follow(self, attached: Attached) -> Job:
        """A job that was started before, from its beginning on."""
        collector = Collector(self.name, attached.runtime, attached.plan, remote=True, started_at=attached.started_at)
        return SshJob(SshLink(self, attached.job, None, None), collector)

    def _begin(self, files: Mapping[str, Path], plan: RunPlan, runtime: str) -> Job:
        refuse_unknown_sensors(plan.sensors, FAMILIES)
        plan = self._own(plan)
        metering = Metering(plan.meters) if plan.meters else None
        try:
            link = self._link(files, plan, runtime, metering)
            return SshJob(link, Collector(self.name, runtime, plan, metering, remote=True))
        except BaseException:
            if metering is not None:
                metering.close()
            raise

    def _own(self, plan: RunPlan) -> RunPlan:
        """``plan`` with what is settled for this board, where the plan leaves it open."""
        if plan.sensors is None and self.entry.sensors is not None:
            plan = replace(plan, sensors=self.entry.sensors)
        return plan if plan.time_limit_s is not None else replace(plan, time_limit_s=self.entry.time_limit_s)

    def _link(self, files: Mapping[str, Path], plan: RunPlan, runtime: str, metering: Metering | None) -> SshLink:
        job = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        external = metering.sensors if metering is not None else ()
        first = opening(
            Path("model", MODEL), plan, runtime, workdir="work", compression=COMPRESSION, external=external, job=job, lock=self.entry.lock
        )
        about = {"model": files[MODEL].name, "who": who(), "edgeprof": __version__, "runs": plan.runs, "energy": plan.energy,
                 "started_at": datetime.now(UTC).isoformat(timespec="seconds")}  # fmt: skip
        return SshLink(self, job, first, files, about)

    # What can be asked of a board

    def health(self) -> Mapping[str, Any]:
        """See `edgeprof.boards.local.LocalBoard.health`."""
        with self.session() as session:
            return session.ask("health", {"sysroot": "/", "lock": self.entry.lock})

    def jobs(self) -> list[RemoteJob]:
        """Jobs that are on the board: those that run, and those that ended and were not fetched."""
        with self.session() as session, making_sense(self.name):
            found = list(session.ask("jobs", {})["jobs"])
        return [_remote(self.name, said) for said in found if isinstance(said, Mapping)]

    def kill(self, job: str) -> bool:
        """Ends a job at once and removes what it left; False when it was over already."""
        with self.session() as session, making_sense(self.name):
            killed = bool(session.ask("kill", {"job": job})["killed"])
            session.ask("forget", {"job": job})
        return killed

    def clean(self) -> int:
        """Removes everything that edgeprof keeps on the board; the bytes that this frees."""
        with self.session() as session, making_sense(self.name):
            return int(session.ask("clean", {})["bytes"])

    @contextmanager
    def session(self) -> Iterator[Session]:
        """The board's door, to ask several things."""
        with making_sense(self.name):
            line = loop.run(self.line())
        try:
            yield Session(line, self.entry)
        finally:
            loop.run(self.leave(line))

    def close(self) -> None:
        """Closes the connection; jobs on the board go on."""
        loop.run(self._close())

    # On the event loop

    async def connected(self) -> asyncssh.SSHClientConnection:
        """The connection, made when there is none; BoardUnreachable says why that cannot be."""
        if self._connecting is None:
            self._connecting = asyncio.Lock()
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self.entry, self._passphrase)
        return self._connection

    async def line(self) -> Line:
        """An open door; the connection is made when there is none, and used by all."""
        self._users += 1
        try:
            if self._closing is not None:
                self._closing.cancel()
                self._closing = None
            return await open_line(self.entry, await self.connected())
        except BaseException:
            self._one_less()
            raise

    async def leave(self, line: Line, within_s: float = 1.0) -> None:
        """Closes a door, and waits so long for its end."""
        await line.close(within_s)
        self._one_less()

    def _one_less(self) -> None:
        self._users -= 1
        if not self._users and self._connection is not None:
            self._closing = asyncio.get_running_loop().call_later(IDLE_S, self._let_go)

    def _let_go(self) -> None:
        self._closing = None
        if self._connection is not None and not self._users:
            self._connection.close()
            self._connection = None

    async def _close(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1.0):
                    await connection.wait_closed()

    def model_of(self, attached: Attached, folder: Path) -> Path:
        """The model of a job, fetched from the board into ``folder``; untrusted like every model."""
        with self.session() as session:
            for name in (*attached.plan.external_files, MODEL):
                if not _inside(name):
                    raise BoardError(
                        f"{self.name} names a file '{clean(str(name), 80)}' outside the model's folder. Do not trust what is on it."
                    )
                path = folder / (attached.model_name if name == MODEL else name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    session.get(attached.job, name, MOST_MODEL_BYTES, file.write)
        return path


@dataclass(frozen=True)
class Attached:
    """A job that was begun before: on which board, its id, what its starter said of it, its plan and its runtime."""

    board: str
    job: str
    about: Mapping[str, Any]
    plan: RunPlan
    runtime: str

    @property
    def model_name(self) -> str:
        """How the model's file was called where the job was started."""
        return Path(clean(str(self.about.get("model") or MODEL))).name or MODEL

    @property
    def started_at(self) -> str | None:
        """When it was started, by the clock of who did; None when it does not say."""
        try:
            return datetime.fromisoformat(str(self.about.get("started_at"))).isoformat(timespec="seconds")
        except ValueError:
            return None

    def checked_model(self, path: Path) -> Path:
        """``path`` itself; UsageError when it is not the model that the job runs."""
        files = self.about.get("files")
        known = files.get(MODEL) if isinstance(files, Mapping) else None
        if known is not None and path.is_file() and digest_of(path) != known:
            raise UsageError(f"{path.name} is not the model that job {self.job} runs ({self.model_name}). Give that one, or leave it out.")
        return path


@dataclass(frozen=True)
class RemoteJob:
    """A job on a board. ``state`` is ``running``, ``done``, ``failed`` or ``died``; ``bytes`` is what there is to fetch."""

    board: str
    job: str
    state: str
    who: str
    model: str
    bytes: int


def _remote(board: str, said: Mapping[str, Any]) -> RemoteJob:
    about = said.get("about")
    about = about if isinstance(about, Mapping) else {}
    state = "running" if said.get("running") else {"result": "done", "error": "failed"}.get(str(said.get("ended")), "died")
    size = said.get("bytes")
    return RemoteJob(
        board,
        clean(str(said.get("job"))),
        state,
        clean(str(about.get("who", ""))),
        clean(str(about.get("model", ""))),
        size if isinstance(size, int) else 0,
    )


def ssh_board(name: str | Board) -> SshBoard:
    """The board of this name; UsageError when it is none over SSH."""
    from edgeprof.boards import get_board

    board = get_board(name)
    if not isinstance(board, SshBoard):
        raise UsageError(f"'{board.name}' is no board over SSH. `edgeprof boards list` shows those that you have named.")
    return board


class Session:
    """A door that is asked from outside the event loop."""

    def __init__(self, line: Line, entry: Entry) -> None:
        self._line, self.entry = line, entry

    def ask(self, kind: str, fields: Mapping[str, Any], on_progress: Told | None = None) -> dict[str, Any]:
        """The fields of the board's answer; BoardError with its sentence when it refuses."""
        within_s = None if kind in ("install", "check-runtime") else 120.0
        with making_sense(self.entry.name):
            return dict(tidy(loop.run(self._line.ask(kind, fields, on_progress, within_s=within_s)).fields))

    def put(self, path: Path | bytes, on_progress: Told | None = None) -> str:
        """Has the board hold a file, and returns its sha256; sends nothing when it is there."""
        digest = digest_of(path)
        with making_sense(self.entry.name):
            loop.run(self._line.put({digest: path}, self.entry.cache_mb, on_progress))
        return digest

    def get(self, job: str, name: str, most_bytes: int, take: Callable[[bytes], object]) -> None:
        """Has ``take`` take a file of a job, piece by piece."""
        with making_sense(self.entry.name):
            loop.run(self._line.get(job, name, most_bytes, take))


class SshJob(AgentJob):
    """A job that the board keeps in a folder until it has been fetched."""

    def __init__(self, link: SshLink, collector: Collector) -> None:
        self._folder = link
        super().__init__(link, collector)

    def hold(self) -> None:
        """See `edgeprof.boards.base.Job.hold`."""
        self._folder.held = True

    def let_go(self, *, saved: bool) -> str:
        """See `edgeprof.boards.base.Job.let_go`."""
        return self._folder.let_go(forget=saved)


class SshLink:
    """A job on a board (see `edgeprof.boards.base.Link`). ``first`` and ``files`` are None for one that was started before."""

    def __init__(
        self, board: SshBoard, job: str, first: bytes | None, files: Mapping[str, Path] | None, about: Mapping[str, Any] | None = None
    ) -> None:
        self._board, self.job, self._first, self._files, self._about = board, job, first, files, about
        self._line: Line | None = None
        self._started = first is None
        self._starting = False
        self._followed = self._ended = self._stopped = False
        self._death = self._words = ""
        self.held = self._kept = False
        """What the board has of the job is wanted there although all of it was fetched, and so it is there."""
        self._current: Future[Any] | None = None
        self._order = threading.Lock()

    def frames(self) -> Iterator[protocol.Frame]:
        """See `edgeprof.boards.base.Link.frames`; what happens before the job begins comes as ``progress`` too."""
        work = self._frames()
        try:
            while True:
                with self._order:
                    if self._stopped and not self._followed:
                        return
                    self._current = loop.submit(_next(work))
                frame = self._current.result()
                if frame is None:
                    return
                yield frame
        except CancelledError:
            return

    def begin(self) -> None:
        """See `edgeprof.boards.base.Link.begin`; the job was begun when its first word came."""

    def cancel(self) -> None:
        """See `edgeprof.boards.base.Link.cancel`: before the job has begun, what is under way is given up."""
        with self._order:
            self._stopped = True
            if not self._followed:
                if self._current is not None:
                    self._current.cancel()
                return
        self._say("cancel")

    def kill(self) -> None:
        """See `edgeprof.boards.base.Link.kill`."""
        self.cancel()
        self._say("kill")

    def close(self) -> str:
        """See `edgeprof.boards.base.Link.close`. What has all been fetched is removed from the board, unless it is `held`."""
        with contextlib.suppress(BoardError, protocol.ProtocolError, OSError):
            loop.run(self._close())
        return self._death

    def last_words(self) -> str:
        """See `edgeprof.boards.base.Link.last_words`."""
        return self._words

    def let_go(self, *, forget: bool) -> str:
        """Leaves a job that was held, and removes it from the board when it is to be forgotten; its name when it is still there."""
        if not self._kept:
            return ""
        with contextlib.suppress(BoardError, protocol.ProtocolError, OSError):
            loop.run(self._let_go(forget))
        return f"{self._board.name}/{self.job}" if self._kept else ""

    def _say(self, kind: str) -> None:
        line = self._line
        if line is not None:
            loop.the_loop().call_soon_threadsafe(line.say, kind, {})

    async def start_only(self) -> None:
        """Has the board begin the job, and leaves it alone."""
        async for _ in self._begun():
            pass
        await self._leave()

    async def _begun(self) -> AsyncIterator[protocol.Frame]:
        """Connects, sends what the board does not have, starts the job; yields how far that is."""
        yield _progress("connect", 0, 0)
        self._line = await self._board.line()
        if self._first is None or self._files is None:
            return
        files = {name: await asyncio.to_thread(digest_of, path) for name, path in self._files.items()}
        first = digest_of(self._first)
        sources: dict[str, Path | bytes] = {digest: self._files[name] for name, digest in files.items()}
        sources[first] = self._first
        told: asyncio.Queue[protocol.Frame | None] = asyncio.Queue()
        line = self._line

        async def send() -> None:
            try:
                await line.put(
                    sources, self._board.entry.cache_mb, lambda phase, done, total: told.put_nowait(_progress(phase, done, total))
                )
            finally:
                told.put_nowait(None)

        task = asyncio.create_task(send())
        try:
            while (frame := await told.get()) is not None:
                yield frame
            await task
        finally:
            task.cancel()
        self._starting = True
        await line.ask("start", {"job": self.job, "files": files, "opening": first, "about": dict(self._about or {}, files=files)})
        self._started = True

    async def _frames(self) -> AsyncIterator[protocol.Frame]:
        try:
            async for frame in self._begun():
                yield frame
            line = self._line
            if line is None:
                return
            await line.ask("attach", {"job": self.job})
            with self._order:
                self._followed = True
                stopped = self._stopped
            if stopped:
                line.say("cancel", {})
            line.patience_s = lines.SILENT_S
            while True:
                frame = await line.hear()
                if frame.type == "ended":
                    self._take_end(frame)
                    return
                if frame.type == "error":  # what it said last comes with its end
                    with contextlib.suppress(BoardLost, TimeoutError):
                        await self._hear_end(line)
                yield frame
        except BoardLost as lost:
            raise self._lost(lost) from lost

    def _take_end(self, frame: protocol.Frame) -> None:
        self._ended = True
        self._death, self._words = clean(str(frame.fields.get("death", ""))), clean(str(frame.fields.get("words", "")))

    async def _hear_end(self, line: Line) -> None:
        """Waits for the job's processes to end after its last word; TimeoutError when they do not."""
        async with asyncio.timeout(_ENDS_WITHIN_S):
            while not self._ended:
                frame = await line.hear()
                if frame.type == "ended":
                    self._take_end(frame)

    def _lost(self, lost: BoardLost) -> BoardLost:
        if not self._started:
            return lost
        how = f"The job goes on there, if the board does: `edgeprof profile --attach {self._board.name}/{self.job}` fetches it."
        return BoardLost(f"{lost} {how}")

    async def _close(self) -> None:
        line = self._line
        if line is None:
            return
        try:
            if self._followed:
                await self._hear_end(line)
                if self.held:
                    self._kept = True
                    return
                await self._forget(line)
            elif self._starting and self._stopped:
                await self._never_began()
        except TimeoutError:
            return
        finally:
            if not self._kept:
                await self._leave()

    async def _let_go(self, forget: bool) -> None:
        line = self._line
        try:
            if forget and line is not None:
                await self._forget(line)
        finally:
            await self._leave()

    async def _forget(self, line: Line) -> None:
        async with asyncio.timeout(_ENDS_WITHIN_S):
            await line.ask("forget", {"job": self.job})
        self._kept = False

    async def _never_began(self) -> None:
        """Ends a job that was given up in the moment that it began: asked anew, since an answer may be on its way that nobody waits for,
        and when the first door has ended, which may still be starting the job.
        """
        await self._leave(_ENDS_WITHIN_S)
        line = await self._board.line()
        try:
            await line.ask("kill", {"job": self.job})
            await line.ask("forget", {"job": self.job})
        finally:
            await self._board.leave(line)

    async def _leave(self, within_s: float = 1.0) -> None:
        line, self._line = self._line, None
        if line is not None:
            self._words = self._words or line.last_words
            await self._board.leave(line, within_s)


async def _next(work: AsyncIterator[protocol.Frame]) -> protocol.Frame | None:
    return await anext(work, None)


def _progress(phase: str, done: int, total: int) -> protocol.Frame:
    return protocol.Frame("progress", {"phase": phase, "done": done, "total": total}, b"")


@contextmanager
def making_sense(board: str) -> Iterator[None]:
    """Meanwhile what a board says is taken apart: where it is not what was asked for, that is a BoardError."""
    try:
        yield
    except (protocol.ProtocolError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        said = clean(f"{type(error).__name__}: {error}")
        raise BoardLost(f"{board} said something that makes no sense ({said}). Nothing of it can be used.") from error


def _inside(name: object) -> bool:
    """Whether a file that a board names lies in the folder of the model that it belongs to."""
    if not isinstance(name, str) or "\0" in name or len(name) > _MOST_NAME:
        return False
    return all(part not in ("", ".", "..") and len(part.encode("utf-8", "surrogatepass")) <= 255 for part in name.split("/"))


def digest_of(source: Path | bytes) -> str:
    """The sha256 that a file is known by on boards."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
