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
from typing import IO, Any, ParamSpec, TypeVar

from edgeprof.errors import EdgeprofError, WorkerError

P = ParamSpec("P")
T = TypeVar("T")
Told = Callable[[str, int, int], None]
"""Hears of progress: phase, done, total."""

_LENGTH = struct.Struct("<Q")
_LAST_WORDS_BYTES = 2000


class Apart:
    """A process for one thing after the other; it is started at the first call and ends with the ``with``.

    ``doing`` says in a few words what for; sentences about its death begin with it. Calls from several threads wait for each other.
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._process: subprocess.Popen[bytes] | None = None
        self._words: list[bytes] = []
        self._one = threading.Lock()

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def call(self, function: Callable[..., T], *args: Any, told: Told | None = None, **options: Any) -> T:
        """What ``function(*args, **options)`` returns there, or the EdgeprofError that it raises.

        Raises:
            WorkerError: the process is gone, the sentence says how, and the next call starts another; or a library failed in it.
        """
        with self._one:
            answer, value = self._answer((function, args, options), told)
        if answer == "failed":
            text, trace = value
            failed = WorkerError(f"{self._doing[:1].upper()}{self._doing[1:]} failed: {text}")
            failed.add_note(trace)
            raise failed
        if answer == "error":
            raise value
        return value  # type: ignore[no-any-return]

    def _answer(self, order: tuple[object, ...], told: Told | None) -> tuple[str, Any]:
        process = self._running()
        try:
            _write(process.stdin, order)
            while True:
                kind, value = _read(process.stdout)
                if kind != "told":
                    return kind, value
                if told is not None:
                    told(*value)
        except (EOFError, BrokenPipeError) as error:
            raise self._death(process) from error
        except BaseException:
            self.kill()  # an interrupt: nobody waits for what it does
            raise

    def kill(self) -> None:
        """Ends the process at once, whatever it does; who waits for it gets WorkerError."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def close(self) -> None:
        """Ends the process."""
        if self._process is None:
            return
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._words = []
            path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-X", "utf8", "-m", "edgeprof.apart"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for the one who waits
            )  # fmt: skip
            threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True).start()
        return self._process

    def _listen(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(stream.fileno(), 1 << 16):
                self._words[:] = [b"".join([*self._words, data])[-_LAST_WORDS_BYTES:]]

    def _death(self, process: subprocess.Popen[bytes]) -> WorkerError:
        status = process.wait()
        self.close()
        if status == -signal.SIGKILL:
            how = "was killed; the system does that when memory runs out. Free memory, use less data or a smaller model, then try again"
        elif status < 0:
            how = f"crashed ({signal.Signals(-status).name}). It is lost alone; try again, or leave out what it was doing"
        else:
            words = b"".join(self._words).decode(errors="replace").strip().splitlines()
            said = "".join(c for c in (words[-1] if words else "") if c.isprintable())[:300]
            how = f"ended with status {status}{f' ({said})' if said else ''}. Try again"
        return WorkerError(f"The process that was {self._doing} {how}.")


def call(doing: str, function: Callable[..., T], *args: Any, told: Told | None = None, **options: Any) -> T:
    """What one call of ``function`` returns in a process of its own; see `Apart.call`."""
    with Apart(doing) as worker:
        return worker.call(function, *args, told=told, **options)


def tell(phase: str, done: int, total: int) -> None:
    """Says how far one is to who waits for it; nothing outside of such a process."""
    if _host is not None:
        _write(_host, ("told", (phase, done, total)))


_host: IO[bytes] | None = None


def serve() -> int:
    """Does what comes over standard input until its end. What libraries print goes to standard error."""
    global _host  # noqa: PLW0603 - the one host of this process
    _host = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    orders: queue.Queue[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = queue.Queue()
    threading.Thread(target=_hear, args=(os.fdopen(os.dup(0), "rb"), orders), daemon=True).start()
    while True:
        function, args, options = orders.get()
        try:
            answer: tuple[str, Any] = ("done", function(*args, **options))
        except EdgeprofError as error:
            answer = ("error", error)
        except Exception as error:  # of a library, whose classes the other end need not know
            answer = ("failed", (f"{type(error).__name__}: {_short(error)}", traceback.format_exc()))
        _write(_host, answer)


def _short(error: BaseException) -> str:
    """The first line of what a library says; some say pages."""
    text = "".join(c if c.isprintable() else " " for c in (str(error).strip().splitlines() or ["no reason given"])[0])
    return text if len(text) <= 500 else f"{text[:497]}..."


def _hear(stream: IO[bytes], orders: queue.Queue[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]) -> None:
    try:
        while True:
            orders.put(_read(stream))
    except EOFError:
        os._exit(0)  # the host is gone, and what it wanted with it
    except BaseException:
        traceback.print_exc()
        os._exit(3)


def _write(stream: IO[bytes] | None, value: object) -> None:
    if stream is None:
        raise EOFError
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes] | None) -> Any:
    if stream is None:
        raise EOFError
    (size,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    return pickle.loads(_exactly(stream, size))  # noqa: S301 - from ourselves, see above


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


if __name__ == "__main__":
    import importlib

    sys.exit(importlib.import_module("edgeprof.apart").serve())  # functions that it calls know that module, not __main__
