"""One instrument that speaks SCPI: commands out, answers in, and each answer to its own question.

What can go wrong and what becomes of it:

1. No answer in time: none. It may come later and would be taken for that of the next question, so the next one first asks ``*IDN?`` and
   drops what comes before the answer to it, which is known from opening. The same after an answer that makes no sense.
2. Nothing comes even then, `_MOST_SILENCES` times in a row, or the connection breaks: OSError.
3. An answer of several lines ends as in 1, unless a later line makes sense too: so queries are tried with `Link.settle` before use.
4. 9.9E37 (infinity, minus for negative) and 9.91E37 (not a number) are how SCPI says that there is no value: NaN.

Sources: SCPI-1999 volume 1, 7.2.1; IEEE 488.2, 10.14 (``*IDN?``); PyVISA's ``resources/messagebased.py``, pyvisa-py's ``tcpip.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from edgeprof.agent.sensors.base import NAN
from edgeprof.boards.meters.base import shown

if TYPE_CHECKING:
    from pyvisa.resources import MessageBasedResource

_MOST_SILENCES = 3
_MOST_LINES = 100
_MOST_ERRORS = 10
_NO_VALUE = 9.9e37
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)")


class Link:
    """The line to one instrument. Raises OSError when it is lost."""

    def __init__(self, instrument: MessageBasedResource) -> None:
        self._instrument = instrument
        self._resource = shown(instrument.resource_name)
        self._in_step = True
        self._silences = 0
        self.identity = ""

    @property
    def model(self) -> str:
        """Maker and model, as the instrument says them."""
        return shown(" ".join(self.identity.split(",")[:2])) or self._resource

    def tell(self, command: str) -> None:
        """Sends a command; nothing is answered."""
        with self._talking():
            self._instrument.write_raw(command.encode("ascii") + b"\n")

    def ask(self, query: str) -> str | None:
        """The answer; None when there was none in time, or when answers are out of step and cannot be brought in step again."""
        if not self._in_step and not self._catch_up():
            return None
        try:
            self.tell(query)
            return self._line()
        except _Silent:
            self._in_step = False
            return None

    def distrust(self) -> None:
        """Has the next question make sure first that its answer will be its own."""
        self._in_step = False

    def identify(self) -> str:
        """Asks who it is, which is what later brings answers in step; empty when it does not say."""
        self.identity = self.ask("*IDN?") or ""
        return self.identity

    def settle(self) -> int:
        """Drops what comes before the answer to ``*IDN?`` and says how many lines that were; -1 when there is no such answer.

        0 when all answers had been fetched: they were in step.
        """
        self._in_step = False
        try:
            self.tell("*IDN?")
            for count in range(_MOST_LINES):
                if self._line() == self.identity:
                    self._in_step = True
                    return count
        except _Silent:
            pass
        return -1

    def errors(self) -> str:
        """What stands in the instrument's error queue, which is empty after that; empty when there is nothing or no such queue."""
        found = []
        for _ in range(_MOST_ERRORS):
            answer = self.ask("SYST:ERR?")
            if answer is None or re.match(r"[+-]?0+\b", answer) or not answer:
                break
            found.append(shown(answer))
        return "; ".join(found)

    def close(self) -> None:
        """Closes it; the instrument goes on as it is."""
        with suppress(Exception):  # pyvisa-py's transports raise whatever they like once the other end is gone
            self._instrument.close()

    def _catch_up(self) -> bool:
        self.tell("*CLS")  # what it could not do is answered by NaN; its error queue shall not fill up
        if self.settle() < 0:
            self._silences += 1
            if self._silences >= _MOST_SILENCES:
                raise OSError(f"The instrument {self._resource} does not answer any more. Check that it is on and connected.")
            return False
        self._silences = 0
        return True

    def _line(self) -> str:
        with self._talking():
            return self._instrument.read_raw().decode("ascii", "replace").strip("\0 \t\r\n")

    @contextmanager
    def _talking(self) -> Iterator[None]:
        from pyvisa.constants import StatusCode
        from pyvisa.errors import VisaIOError

        try:
            yield
        except TimeoutError as error:
            raise _Silent from error
        except Exception as error:  # pyvisa-py lets errors of its transports through, and some of them are bare Exceptions
            if isinstance(error, VisaIOError) and error.error_code == StatusCode.error_timeout:
                raise _Silent from error
            raise OSError(f"The instrument {self._resource} was lost: {shown(error) or type(error).__name__}.") from error


class _Silent(Exception):
    """No answer in time."""


def number_in(answer: str, si_unit: str) -> float | None:
    """The number of an answer such as ``+1.20E+00`` or ``1.2 W``; NaN when there is no value (4), None when the answer is no number."""
    match = _NUMBER.fullmatch(answer)
    if match is None or match[2].upper() not in ("", si_unit):
        return None
    value = float(match[1])
    return NAN if abs(value) >= _NO_VALUE else value
