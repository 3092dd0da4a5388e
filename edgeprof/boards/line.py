"""The way to a board over SSH: a connection, and on it the agent's door (`edgeprof.agent.door`), asked and answered in frames.

Only this file and `hostkeys` import AsyncSSH. Everything here runs on the one event loop (`loop.py`). What comes from a board is believed
no further than its form: frames have limits, texts are cut and cleaned, files are named by what they hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
import shlex
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.agent import protocol
from edgeprof.boards.entries import Entry
from edgeprof.boards.package import agent_zipapp
from edgeprof.boards.ssh_settings import settings_of, with_jumps
from edgeprof.boards.words import clean
from edgeprof.errors import BoardError, BoardLost, BoardUnreachable, MissingExtra

if TYPE_CHECKING:
    import asyncssh

Passphrase = Callable[[str], str]
"""Asks a person for the passphrase of a key file."""
Told = Callable[[str, int, int], None]
"""Hears of progress: phase, done, total."""

CONNECT_S, LOGIN_S = 10.0, 15.0
KEEPALIVE_S, KEEPALIVES = 2.0, 3
"""A link that carries nothing back for about eight seconds is lost."""
PING_S = 5.0
ANSWERS_S = 60.0
"""A board that is asked something short answers within this, or it is stuck."""
SILENT_S = 60.0
"""A door that follows a job answers pings; one that said nothing for so long is stuck, though the link may be alive."""
PIECE = 1 << 18
IN_FLIGHT = 8
"""Pieces of a file that may be on their way before the first was answered: a link with a long delay stays full."""
MOST_HEADER_BYTES = protocol.MAX_HEADER_BYTES
MOST_PAYLOAD_BYTES = 64 << 20
MOST_HEADERS_BYTES = 256 << 20
"""Of all messages of a door together; times of runs are a few dozen bytes each."""
MOST_NOISE_BYTES = 1 << 16
"""What a board's shell may print before the agent speaks."""
_WORDS_BYTES = 300

_WITH_PID = 'echo EDGEPROF "$0" pid $$; exec "$@"'
"""Says the number of the process that runs the rest, which lets one that hangs be ended."""
_BOOTSTRAP = """\
import sys, os, hashlib
n, h, s, d = sys.argv[1:5]
def w(t):
    sys.stdout.write("EDGEPROF %s %s\\n" % (n, t)); sys.stdout.flush()
if sys.version_info < (3, 8):
    w("python %d.%d.%d" % tuple(sys.version_info[:3])); sys.exit(3)
d = os.path.expanduser(d); a = os.path.join(d, "agent"); p = os.path.join(a, h + ".pyz")
try:
    os.makedirs(d, 0o700, exist_ok=True); os.makedirs(a, 0o700, exist_ok=True)
    try:
        x = open(p, "rb").read()
    except OSError:
        x = b""
    if hashlib.sha256(x).hexdigest() != h:
        w("send"); x = b""
        while len(x) < int(s):
            y = os.read(0, int(s) - len(x))
            if not y:
                sys.exit(4)
            x += y
        if hashlib.sha256(x).hexdigest() != h:
            w("error the agent arrived damaged"); sys.exit(6)
        t = "%s.%d" % (p, os.getpid())
        with open(t, "wb") as f:
            f.write(x)
        os.replace(t, p)
        for o in sorted((os.path.join(a, q) for q in os.listdir(a)), key=os.path.getmtime)[:-3]:
            os.unlink(o)
    os.utime(p)
except OSError as e:
    w("error %s" % e); sys.exit(5)
w("ready"); os.execv(sys.executable, [sys.executable, "-X", "utf8", p, "door", d])
"""


class Line:
    """A door on a board: `ask` it things. Made by `open_line`; one at a time reads from it."""

    def __init__(self, board: str, process: Any, buffer: bytearray) -> None:
        self.board = board
        self.patience_s: float | None = None
        """How long `hear` bears silence; None is for ever."""
        self.pid: int | None = None
        """Of the Python at the other end, before it is a door; None when that is not known."""
        self._header_bytes = 0
        self._process, self._buffer = process, buffer
        self._words = bytearray()
        self._tasks = [asyncio.create_task(self._listen_to_errors())]

    @property
    def last_words(self) -> str:
        """The end of what was said on standard error."""
        return clean(self._words.decode(errors="replace"))

    def keep_talking(self) -> None:
        """Says something now and then from here on: a door that hears nothing for long ends."""
        self._tasks.append(asyncio.create_task(self._ping()))

    def say(self, kind: str, fields: Mapping[str, Any], payload: bytes = b"") -> None:
        """Sends a frame; nothing when the link is gone, which who reads finds out."""
        with contextlib.suppress(OSError):
            self._process.stdin.write(protocol.encode(kind, dict(fields), payload))

    async def drain(self) -> None:
        """Waits until there is room for more to be sent; not when the link is gone, which who reads finds out."""
        with contextlib.suppress(Exception):  # AsyncSSH's own
            await self._process.stdin.drain()

    async def hear(self) -> protocol.Frame:
        """The next frame.

        Raises:
            BoardLost: the link is gone, the door has died, or it says nothing for longer than `patience_s`.
            ProtocolError: what came is no frame, or is over a limit.
        """
        while True:
            line = await self._line()
            header, payload = _lengths(line)
            self._header_bytes += header
            if self._header_bytes > MOST_HEADERS_BYTES:
                raise protocol.ProtocolError(f"more than {MOST_HEADERS_BYTES:,} bytes of messages came")
            fields = protocol.header_of(await self._exactly(header))
            frame = protocol.Frame(fields.pop("type"), fields, await self._exactly(payload))
            if frame.type != "pong":
                return frame

    async def ask(
        self, kind: str, fields: Mapping[str, Any], told: Told | None = None, *, within_s: float | None = ANSWERS_S
    ) -> protocol.Frame:
        """The board's answer; BoardError with its sentence when it refuses, or when it does not answer ``within_s``."""
        self.say(kind, fields)
        try:
            async with asyncio.timeout(within_s):
                return await self.answer(told)
        except TimeoutError as error:
            raise BoardLost(f"{self.board} did not answer within {within_s:.0f} s. Look what it is busy with, then try again.") from error

    async def answer(self, told: Told | None = None) -> protocol.Frame:
        """The next answer, past what is said of progress."""
        while True:
            frame = await self.hear()
            if frame.type == "progress":
                if told is not None:
                    told(str(frame.fields["phase"]), int(frame.fields["done"]), int(frame.fields["total"]))
            elif frame.type == "error":
                raise refusal(self.board, frame.fields)
            else:
                return frame

    async def put(self, sources: Mapping[str, Path | bytes], cache_mb: int, told: Told | None = None) -> None:
        """Has the board hold each of ``sources``, by its sha256; what is there is not sent, what is there in part goes on from where it
        stopped.
        """
        have = (await self.ask("have", {"digests": list(sources)})).fields["have"]
        missing = {digest: source for digest, source in sources.items() if not have[digest]["whole"]}
        sizes = {digest: _size(source) for digest, source in missing.items()}
        total, done = sum(sizes.values()), 0
        for digest, source in missing.items():
            start = min(max(0, int(have[digest]["bytes"])), sizes[digest])
            before = done
            async for sent in self._send(digest, source, start, sizes[digest], cache_mb << 20):
                done = before + sent
                if told is not None:
                    told("send", done, total)
            done = before + sizes[digest]

    async def _send(self, digest: str, source: Path | bytes, start: int, size: int, limit: int) -> AsyncIterator[int]:
        """Sends a file piece by piece, `IN_FLIGHT` ahead of the answers; yields the bytes that have arrived."""
        unanswered, first = 0, True
        for offset, piece in _pieces(source, start, size):
            self.say("put", {"digest": digest, "size": size, "offset": offset, "goes_on": not first, "cache_limit_bytes": limit}, piece)
            unanswered, first = unanswered + 1, False
            await self.drain()
            if unanswered >= IN_FLIGHT:
                yield int((await self._answer_in_time()).fields["bytes"])
                unanswered -= 1
        for _ in range(unanswered):
            yield int((await self._answer_in_time()).fields["bytes"])

    async def _answer_in_time(self) -> protocol.Frame:
        try:
            async with asyncio.timeout(ANSWERS_S):
                return await self.answer()
        except TimeoutError as error:
            raise BoardLost(f"{self.board} took nothing in for {ANSWERS_S:.0f} s. Try again: what has arrived is kept.") from error

    async def get(self, job: str, name: str, most_bytes: int, take: Callable[[bytes], object]) -> None:
        """Has ``take`` take a file of a job that is on the board, piece by piece."""
        came = 0
        while True:
            frame = await self.ask("get", {"job": job, "name": name, "offset": came})
            came += len(frame.payload)
            size = int(frame.fields["size"])
            if size > most_bytes or came > most_bytes:
                raise BoardError(f"{self.board} sends {max(size, came):,} bytes for {name}; at most {most_bytes:,} are taken.")
            take(frame.payload)
            if came >= size or not frame.payload:
                return

    async def close(self, within_s: float = 1.0, otherwise: Callable[[], Awaitable[object]] | None = None) -> None:
        """Leaves the door, and waits so long for its end; what was said by then still goes out. ``otherwise`` is done when it lives on."""
        self.say("bye", {})
        with contextlib.suppress(Exception):
            self._process.stdin.write_eof()
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(Exception):
            try:
                async with asyncio.timeout(within_s):
                    await self._process.wait_closed()
            except TimeoutError:
                if otherwise is not None:
                    await otherwise()
        with contextlib.suppress(Exception):
            self._process.close()

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            self.say("ping", {})

    async def _listen_to_errors(self) -> None:
        with contextlib.suppress(Exception):
            while data := await self._process.stderr.read(4096):
                self._words += data
                del self._words[:-_WORDS_BYTES]

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n", 0, 64)) < 0:
            if len(self._buffer) >= 64:
                raise protocol.ProtocolError(f"expected a frame, came {bytes(self._buffer[:60])!r}")
            await self._fill()
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._fill()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _fill(self) -> None:
        try:
            async with asyncio.timeout(self.patience_s):
                data = await self._process.stdout.read(1 << 16)
        except TimeoutError as error:
            raise BoardLost(f"The agent's door on {self.board} said nothing for {self.patience_s:.0f} s, it hangs.") from error
        except Exception as error:  # AsyncSSH's own
            raise await self._gone(error) from error
        if not data:
            raise await self._gone(None)
        self._buffer += data

    async def _gone(self, error: BaseException | None) -> BoardLost:
        if error is None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1.0):  # how it ended comes a little later than its end, if it comes
                    await asyncio.gather(self._process.wait_closed(), self._tasks[0])
        signal, status = self._process.exit_signal, self._process.exit_status
        if signal:
            return BoardLost(f"The agent's door on {self.board} was killed by SIG{clean(str(signal[0]))}.")
        if status is not None and error is None:
            said = f" Its last words: {self.last_words}" if self.last_words else ""
            return BoardLost(f"The agent's door on {self.board} ended with status {status}.{said}")
        return BoardLost(f"The link to {self.board} was lost{f' ({_reason(error)})' if error else ''}.")


async def open_line(entry: Entry, connection: asyncssh.SSHClientConnection) -> Line:
    """A door on the board at the other end; the agent is sent when the board does not have this one.

    Raises:
        BoardUnreachable: there is no Python that can run it, or no place for it; the sentence says which.
        BoardLost: the link went meanwhile.
    """
    archive = agent_zipapp()
    digest, nonce = hashlib.sha256(archive).hexdigest(), hashlib.sha256(f"{time.time_ns()}".encode()).hexdigest()[:16]
    code = f"exec(bytes.fromhex('{_BOOTSTRAP.encode().hex()}'))"  # no quote, newline or dollar that some shell would read in its own way
    words = ["sh", "-c", _WITH_PID, nonce, *shlex.split(entry.python), "-c", code, nonce, digest, str(len(archive)), entry.folder]
    try:
        process = await _process(connection, " ".join(["exec", *map(shlex.quote, words)]))
    except Exception as error:
        raise BoardLost(f"The link to {entry.name} was lost ({_reason(error)}).") from error
    line = Line(entry.name, process, bytearray())

    async def kill() -> None:
        """A Python that hangs does not see that nobody is there, and the server does not end it with its connection."""
        if line.pid is not None:
            async with asyncio.timeout(LOGIN_S):
                await connection.run(f"exec sh -c 'kill -9 -{line.pid} || kill -9 {line.pid}'")

    try:
        async with asyncio.timeout(ANSWERS_S):
            said = await _first_words(entry, line, nonce)
            if said == "send":
                process.stdin.write(archive)
                await line.drain()
                said = await _first_words(entry, line, nonce)
            _check_first(entry, said)
            hello = await line.hear()
        line.keep_talking()  # not before: what is said until then is taken for the agent
    except TimeoutError as error:
        await line.close(otherwise=kill)
        raise BoardLost(
            f"{entry.name} took the connection but its Python said nothing for {ANSWERS_S:.0f} s. Look what it is busy with."
        ) from error
    except BaseException:
        await line.close(otherwise=kill)
        raise
    if hello.fields.get("protocol") != protocol.PROTOCOL:
        await line.close()
        raise BoardError(f"The agent on {entry.name} speaks protocol {clean(str(hello.fields.get('protocol')))}, not {protocol.PROTOCOL}.")
    return line


async def _process(connection: asyncssh.SSHClientConnection, command: str) -> Any:
    """A process on the board; one that is given up while it is being started is closed once it has."""
    starting = asyncio.ensure_future(connection.create_process(command, encoding=None))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(lambda done: None if done.cancelled() or done.exception() else done.result().close())
        raise


async def _first_words(entry: Entry, line: Line, nonce: str) -> str:
    """What the bootstrap says, past whatever the board's shell prints before."""
    sign, noise = f"EDGEPROF {nonce} ".encode(), 0
    while True:
        end = line._buffer.find(b"\n")
        if end >= 0:
            text = bytes(line._buffer[:end])
            del line._buffer[: end + 1]
            if text.startswith(sign + b"pid "):
                line.pid = _number(text[len(sign) + 4 :])
            elif text.startswith(sign):
                return clean(text[len(sign) :].decode(errors="replace"))
            noise += end
        if noise + len(line._buffer) > MOST_NOISE_BYTES:
            raise BoardUnreachable(
                f"{entry.name} prints without end before it runs anything (over {MOST_NOISE_BYTES:,} bytes). Quieten its login scripts."
            )
        if end < 0:
            try:
                await line._fill()
            except BoardLost as lost:
                raise await _no_python(entry, line, lost) from lost


def _number(said: bytes) -> int | None:
    return int(said) if said.isdigit() and len(said) < 10 and int(said) > 1 else None


async def _no_python(entry: Entry, line: Line, lost: BoardLost) -> BoardError:
    """What it means that the bootstrap ended without a word."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(2.0):
            await line._tasks[0]
    status = line._process.exit_status
    if status in (126, 127):
        return BoardUnreachable(
            f"There is no '{entry.python}' on {entry.name}. "
            "Install Python 3.8 or newer there, or name another with `edgeprof boards add --python`."
        )
    signal = line._process.exit_signal
    if signal or status is not None:
        how = f"was killed by SIG{clean(str(signal[0]))}" if signal else f"ended with status {status}"
        words = f" It said: {line.last_words}" if line.last_words else ""
        return BoardUnreachable(
            f"'{entry.python}' on {entry.name} {how} before the agent ran. Check that it runs there, or name another Python.{words}"
        )
    return lost


def _check_first(entry: Entry, said: str) -> None:
    what, _, rest = said.partition(" ")
    if what == "python":
        raise BoardUnreachable(
            f"'{entry.python}' on {entry.name} is Python {rest}; the agent needs 3.8 or newer. "
            "Install one there and name it with `edgeprof boards add --python`."
        )
    if what != "ready":
        raise BoardUnreachable(
            f"The agent cannot be put in {entry.folder} on {entry.name}: {rest or said}. Free space or name another folder."
        )


async def connect(entry: Entry, passphrase: Passphrase | None = None) -> asyncssh.SSHClientConnection:
    """A connection to the board, its host key verified; through the board's jump host, whose key is verified too.

    Raises:
        BoardUnreachable: the sentence says why: host down, key refused, host key unknown or changed; of the board or of the jump host.
        MissingExtra: AsyncSSH is not installed.
    """
    asyncssh = _asyncssh()
    tunnel = await tunnel_to(entry, passphrase)
    try:
        options = connection_options(entry) | {"tunnel": tunnel}
        try:
            connection = await _connected(options)
        except (asyncssh.PermissionDenied, asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as denied:
            keys = await _locked_keys(entry, passphrase)
            if not keys:
                raise
            try:
                connection = await _connected(dict(options, client_keys=keys))
            except asyncssh.PermissionDenied:
                raise denied from None
        connection.set_tunnel(tunnel)  # which ends with it
    except BaseException as error:
        if tunnel:
            tunnel.close()
        if not isinstance(error, Exception):
            raise
        from edgeprof.boards.hostkeys import unreachable

        raise unreachable(entry, error) from error
    return connection


async def tunnel_to(entry: Entry, passphrase: Passphrase | None = None) -> asyncssh.SSHClientConnection | None:
    """The connection to the board's jump host: with the board's key or, where that is not let in, as SSH's settings say."""
    try:
        host = with_jumps(entry).jump_host
    except Exception as error:
        from edgeprof.boards.hostkeys import unreachable

        raise unreachable(entry, error) from error
    if host is None:
        return None
    try:
        return await connect(host, passphrase)
    except BoardUnreachable as error:
        if not host.key or not isinstance(error.__cause__, _asyncssh().PermissionDenied):
            raise
        return await connect(replace(host, key=""), passphrase)


async def _connected(options: Mapping[str, Any]) -> asyncssh.SSHClientConnection:
    connection: asyncssh.SSHClientConnection = await _asyncssh().connect(**options)
    return connection


def connection_options(entry: Entry) -> dict[str, Any]:
    """What `asyncssh.connect` is called with for a board; what is left out is as ``~/.ssh/config`` says."""
    options: dict[str, Any] = {
        "host": entry.host,
        "agent_forwarding": False,
        "x11_forwarding": False,
        "connect_timeout": CONNECT_S,
        "login_timeout": LOGIN_S,
        "keepalive_interval": KEEPALIVE_S,
        "keepalive_count_max": KEEPALIVES,
        "compression_algs": None,  # traces come compressed
    }
    named = {"port": entry.port, "username": entry.user}
    files = {"client_keys": entry.key, "config": entry.ssh_config}
    options |= {key: value for key, value in named.items() if value is not None}
    options |= {key: str(Path(value).expanduser()) for key, value in files.items() if value}
    known_hosts = [str(path) for path in settings_of(entry).known_hosts if path.exists()]
    return options | {"known_hosts": known_hosts or b""}  # none: nobody is known yet; a file is made when the first key is accepted


async def _locked_keys(entry: Entry, passphrase: Passphrase | None) -> list[Any]:
    """Keys that need a passphrase, opened with what a person says: once, however many boards know the key."""
    asyncssh = _asyncssh()
    ask = passphrase or (_ask_on_terminal if sys.stdin is not None and sys.stdin.isatty() else None)
    names = [entry.key] if entry.key else [f"~/.ssh/{name}" for name in ("id_ed25519", "id_ecdsa", "id_rsa")]
    found = []
    for path in [Path(name).expanduser() for name in names]:
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if not _is_locked(data):
                continue
            async with _ASKING:
                if data not in _OPENED and ask is not None:
                    _OPENED[data] = asyncssh.import_private_key(data, await asyncio.to_thread(ask, str(path)))
            if data in _OPENED:
                found.append(_OPENED[data])
    return found


_OPENED: dict[bytes, Any] = {}
"""Keys that a passphrase opened, by what their files hold; in memory only."""
_ASKING = asyncio.Lock()
"""One question at a time."""


def _is_locked(data: bytes) -> bool:
    asyncssh = _asyncssh()
    try:
        asyncssh.import_private_key(data)
    except asyncssh.KeyEncryptionError:
        return True
    except asyncssh.KeyImportError as error:
        return "assphrase" in str(error)  # AsyncSSH has no other word for it
    return False


def _ask_on_terminal(path: str) -> str:
    return getpass.getpass(f"Passphrase for {path}: ")


def _asyncssh() -> Any:
    try:
        import asyncssh
    except ImportError as error:
        raise MissingExtra("Boards over SSH need AsyncSSH. Install it with `pip install 'edgeprof[ssh]'`.") from error
    return asyncssh


def refusal(board: str, fields: Mapping[str, Any]) -> BoardError:
    """The error that an ``error`` frame of a door stands for."""
    kind, message = str(fields.get("kind", "")), clean(str(fields.get("message", "no reason given"))).rstrip(". ")
    advice = {
        "disk": "Free space there, or lower cache_mb of the board.",
        "file-limit": "Raise the limit on the size of files there (`ulimit -f`), then try again.",
        "os": "Free space there or change permissions, then try again.",
        "no-job": "`edgeprof boards jobs` lists those that there are.",
        "running": "End it first with `edgeprof boards jobs --kill`.",
        "upload": "Try again.",
    }.get(kind, "")
    return BoardError(f"{board} refused: {message}. {advice}".rstrip())


def _reason(error: BaseException | None) -> str:
    return clean(str(getattr(error, "reason", None) or error or type(error).__name__))


def _lengths(line: bytes) -> tuple[int, int]:
    parts = line.split()
    if len(parts) != 3 or parts[0] != protocol.MAGIC or not (parts[1] + parts[2]).isdigit():
        raise protocol.ProtocolError(f"expected a frame, came {line[:60]!r}")
    header, payload = int(parts[1]), int(parts[2])
    if header > MOST_HEADER_BYTES or payload > MOST_PAYLOAD_BYTES:
        raise protocol.ProtocolError(f"a frame of {header} + {payload} bytes is over the limit")
    return header, payload


def _size(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _pieces(source: Path | bytes, start: int, size: int) -> Any:
    if isinstance(source, bytes):
        for offset in range(start, size, PIECE) or [start]:
            yield offset, source[offset : offset + PIECE]
        return
    with source.open("rb") as file:
        file.seek(start)
        for offset in range(start, size, PIECE) or [start]:
            yield offset, file.read(min(PIECE, size - offset))
