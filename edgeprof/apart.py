"""Work on models in a process of its own, so that a crash of the runtime is one sentence and a notebook's kernel never holds the runtime.

    with Apart("quantizing x.onnx") as worker:
        found = worker.call(module.function, path, told=show)

A function that is called so is one of a module, its arguments and result can be pickled, and it says how far it is with `tell`.
Both ends are this very program, started by it and joined by its own pipes: nothing else ever reaches the unpickling.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar, cast

from edgeprof.errors import EdgeprofError, UsageError, WorkerError

T = TypeVar("T")
Told = Callable[[str, int, int], None]
"""Hears of progress: phase, done, total."""

_LENGTH = struct.Struct("<Q")
_LAST_WORDS_BYTES = 2000
_DIES_WITHIN_S = 5.0


class Apart:
    """A process for one thing after the other; it is started at the first call and ends with the ``with``.

    ``doing`` says in a few words what for; sentences about its death begin with it. Calls from several threads wait for each other.
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: _Listener | None = None
        self._stopped = False
        self._one = threading.Lock()

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def call(self, function: Callable[..., T], *args: Any, told: Told | None = None, **options: Any) -> T:
        """What ``function(*args, **options)`` returns there, or the EdgeprofError that it raises.

        Raises:
            WorkerError: the process is gone, the sentence says how, and the next call starts another; or a library failed in it.
            UsageError: the function is not one of a module, or an argument cannot be sent.
        """
        try:
            order = _packed((function, args, options))
        except Exception as error:  # whatever a class of somebody's raises when it is pickled
            raise UsageError(
                f"What is to be done apart cannot be sent to the process that is {self._doing}: {_short(error)}. "
                "Give a function of a module, and arguments that can be pickled."
            ) from error
        with self._one:
            answer, value = self._answer(order, told)
        if answer == "failed":
            text, trace = value
            failed = WorkerError(f"{self._doing[:1].upper()}{self._doing[1:]} failed: {text}.")
            failed.add_note(trace)
            raise failed
        if answer == "error":
            raise value
        return value  # type: ignore[no-any-return]

    def _answer(self, order: bytes, told: Told | None) -> tuple[str, Any]:
        try:
            process = self._running()
            self._exchanged(process, lambda: _send(process.stdin, order))
            while True:
                kind, value = self._exchanged(process, lambda: _read(process.stdout))
                if kind != "told":
                    return kind, value
                if told is not None:
                    told(*value)
        except BaseException:
            self.close()  # an interrupt, or `told` failed: nobody waits for what it does
            raise

    def _exchanged(self, process: subprocess.Popen[bytes], exchange: Callable[[], Any]) -> Any:
        try:
            return exchange()
        except (EOFError, BrokenPipeError) as error:
            raise self._death(process) from error

    def kill(self) -> None:
        """Ends the process at once, whatever it does and whatever it has started; who waits for it gets WorkerError."""
        process = self._process
        if process is not None and process.poll() is None:
            self._stopped = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
            process.kill()

    def close(self) -> None:
        """Ends the process."""
        self.kill()
        process, self._process = self._process, None
        if process is None:
            return
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _running(self) -> subprocess.Popen[bytes]:
        process = self._process
        if process is not None and process.poll() is not None:
            self.close()
            process = None
        if process is None:
            self._stopped = False
            path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
            process = self._process = subprocess.Popen(
                [sys.executable, "-P", "-X", "utf8", "-m", "edgeprof.apart"],  # -P: nothing is imported from the folder it is started in
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for the one who waits
            )  # fmt: skip
            self._listener = _Listener(process.stderr)
        return process

    def _death(self, process: subprocess.Popen[bytes]) -> WorkerError:
        try:
            status = process.wait(_DIES_WITHIN_S)
        except subprocess.TimeoutExpired:  # it lives, and has closed the pipe
            process.kill()
            status = process.wait()
        stopped, listener = self._stopped, self._listener
        self.close()
        if stopped:
            how = "was stopped"
        elif status == -signal.SIGKILL:
            how = "was killed; the system does that when memory runs out. Free memory, use less data or a smaller model, then try again"
        elif status < 0:
            how = f"crashed ({_signal_name(-status)}). It is lost alone; try again, or leave out what it was doing"
        else:
            said = listener.last_line() if listener is not None else ""
            how = f"ended with status {status}{f' ({said})' if said else ''}. Try again"
        return WorkerError(f"The process that was {self._doing} {how}.")


class _Listener:
    """Takes what a process says on its standard error, so that it never waits for a reader, and keeps the end of it."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._words = b""
        self._thread = threading.Thread(target=self._listen, args=(stream,), daemon=True)
        self._thread.start()

    def _listen(self, stream: IO[bytes] | None) -> None:
        if stream is None:
            return
        with stream:  # closed here and nowhere else: no other file can get its number while this waits
            while data := os.read(stream.fileno(), 1 << 16):
                self._words = (self._words + data)[-_LAST_WORDS_BYTES:]

    def last_line(self) -> str:
        """The last line, when all has come (or what it started holds the stream open)."""
        self._thread.join(1.0)
        lines = self._words.decode(errors="replace").strip().splitlines()
        return "".join(c for c in (lines[-1] if lines else "") if c.isprintable())[:300]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def call(doing: str, function: Callable[..., T], *args: Any, told: Told | None = None, **options: Any) -> T:
    """What one call of ``function`` returns in a process of its own; see `Apart.call`."""
    with Apart(doing) as worker:
        return worker.call(function, *args, told=told, **options)


def tell(phase: str, done: int, total: int) -> None:
    """Says how far one is to who waits for it; nothing outside of such a process."""
    if _host is not None:
        _send(_host, _packed(("told", (phase, done, total))))


_host: IO[bytes] | None = None
_host_lock = threading.Lock()
_Order = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def serve() -> int:
    """Does what comes over standard input until its end. What libraries print goes to standard error, what they read is empty."""
    global _host
    _host, orders_in = os.fdopen(os.dup(1), "wb"), os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    orders: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_hear, args=(orders_in, orders), daemon=True).start()
    while True:
        _send(_host, _answer_to(orders.get()))


def _answer_to(order: bytes) -> bytes:
    """The packed answer; whatever cannot be unpacked, done or packed is an answer too."""
    try:
        function, args, options = cast(_Order, pickle.loads(order))  # noqa: S301 - from ourselves, see above
        return _packed(("done", function(*args, **options)))
    except EdgeprofError as error:
        for name, value in error.__dict__.items():
            if not _can_travel(value):
                error.__dict__[name] = None
        return _packed(("error", error))
    except MemoryError:
        return _packed(("failed", ("memory ran out. Use less data or a smaller model", traceback.format_exc())))
    except Exception as error:  # of a library, whose classes the other end need not know
        return _packed(("failed", (f"{type(error).__name__}: {_short(error)}", traceback.format_exc())))


def _can_travel(value: object) -> bool:
    try:
        _packed(value)
    except Exception:  # of whatever class is in it
        return False
    return True


def _short(error: BaseException) -> str:
    """The first line of what a library says, without its full stop; some say pages."""
    text = "".join(c if c.isprintable() else " " for c in (str(error).strip().splitlines() or ["no reason given"])[0]).rstrip(".")
    return text if len(text) <= 500 else f"{text[:497]}..."


def _hear(stream: IO[bytes], orders: queue.Queue[bytes]) -> None:
    try:
        while True:
            orders.put(_received(stream))
    except EOFError:
        os._exit(0)  # the host is gone, and what it wanted with it
    except BaseException:
        traceback.print_exc()
        os._exit(3)


def _packed(value: object) -> bytes:
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def _send(stream: IO[bytes] | None, data: bytes) -> None:
    if stream is None:
        raise EOFError
    with _host_lock if stream is _host else contextlib.nullcontext():
        stream.write(_LENGTH.pack(len(data)))
        stream.write(data)
        stream.flush()


def _received(stream: IO[bytes] | None) -> bytes:
    if stream is None:
        raise EOFError
    (size,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    return _exactly(stream, size)


def _read(stream: IO[bytes] | None) -> Any:
    return pickle.loads(_received(stream))  # noqa: S301 - from ourselves, see above


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


if __name__ == "__main__":
    import importlib

    sys.exit(importlib.import_module("edgeprof.apart").serve())  # functions that it calls know that module, not __main__
