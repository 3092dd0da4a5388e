"""Instruments that speak SCPI over a real connection: a socket on loopback, or a pseudo-terminal for a serial line."""

from __future__ import annotations

import os
import socket
import termios
import threading
import tty
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import BinaryIO

IDENTITY = "ACME,PSU-1,0042,1.0"


class Late:
    """An answer that comes only when the next command has been heard, before the answer to that."""

    def __init__(self, text: str) -> None:
        self.text = text


HANG_UP = object()
Answer = str | None | Late | object
"""A text with a line end after it (several lines where it holds some); None: no answer."""


class Instrument:
    """Answers what it is asked. What it does not know goes to its error queue, as SCPI has it, and is not answered.

    ``answers`` may be changed at any time; a callable among them is asked each time. ``heard`` are all commands so far.
    """

    def __init__(self, answers: Mapping[str, Answer | Callable[[], Answer]]) -> None:
        self.answers = {"*IDN?": IDENTITY, **answers}
        self.heard: list[str] = []
        self._errors: list[str] = []
        self._held = b""

    def obey(self, stream: BinaryIO) -> None:
        """Serves one connection until it ends."""
        with suppress(OSError, ValueError):
            for line in stream:
                answer = self._answer(line.decode().strip())
                if answer is HANG_UP:
                    return
                stream.write(self._bytes(answer))
                stream.flush()

    def _answer(self, command: str) -> Answer:
        self.heard.append(command)
        if command in self.answers:
            answer = self.answers[command]
            return answer() if callable(answer) else answer
        if command == "*CLS":
            self._errors.clear()
        elif command == "SYST:ERR?":
            return self._errors.pop(0) if self._errors else '0,"No error"'
        else:
            self._errors.append('-113,"Undefined header"')
        return None

    def _bytes(self, answer: Answer) -> bytes:
        before, self._held = self._held, b""
        if isinstance(answer, Late):
            self._held = f"{answer.text}\n".encode()
            return before
        return before if answer is None else before + f"{answer}\n".encode()


class OnSocket:
    """An instrument at a port of its own, for as long as the context lasts."""

    def __init__(self, answers: Mapping[str, Answer | Callable[[], Answer]]) -> None:
        self.instrument = Instrument(answers)
        self.was_left = threading.Event()  # a connection has ended

    def __enter__(self) -> OnSocket:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.switch_off()

    @property
    def resource(self) -> str:
        return f"TCPIP::127.0.0.1::{self._listening.getsockname()[1]}::SOCKET"

    def switch_off(self) -> None:
        """Ends all connections; nobody listens there any more."""
        if self._listening.fileno() >= 0:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._connections.append(connection)
                with connection, connection.makefile("rwb") as stream:
                    self.instrument.obey(stream)
                self.was_left.set()


class OnSerialLine:
    """An instrument at the other end of a pseudo-terminal."""

    def __init__(self, answers: Mapping[str, Answer | Callable[[], Answer]]) -> None:
        self.instrument = Instrument(answers)

    def __enter__(self) -> OnSerialLine:
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.path = os.ttyname(self._theirs)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._theirs, b"*BYE\n")
        self._thread.join()
        os.close(self._theirs)
        os.close(self._ours)

    @property
    def resource(self) -> str:
        return f"ASRL{self.path}::INSTR"

    @property
    def baud(self) -> int:
        """As a constant of termios, such as B9600."""
        return termios.tcgetattr(self._theirs)[5]

    def say(self, text: str) -> None:
        """Sends something that nobody asked for."""
        os.write(self._ours, text.encode())

    def _serve(self) -> None:
        self.instrument.answers["*BYE"] = HANG_UP
        with os.fdopen(os.dup(self._ours), "rb", buffering=0) as heard, os.fdopen(os.dup(self._ours), "wb", buffering=0) as said:
            self.instrument.obey(_Both(heard, said))


class _Both:
    """The two halves of a line as one stream."""

    def __init__(self, heard: BinaryIO, said: BinaryIO) -> None:
        self._heard, self.write, self.flush = heard, said.write, said.flush

    def __iter__(self):
        return iter(self._heard.readline, b"")
