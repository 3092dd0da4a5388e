"""External meters while a job runs: they are read in a process of this machine, and what they said becomes part of the Trace."""

from __future__ import annotations

import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from edgeprof import errors
from edgeprof.agent import protocol
from edgeprof.boards.sensed import samples_of
from edgeprof.errors import EdgeprofError, MeterError
from edgeprof.records.sensing import Samples

OPENS_WITHIN_S = 60.0
_ENDS_WITHIN_S = 10.0
_DIED = "the process that reads meters ended early; what it had read is kept"


class Metering:
    """Opens the meters of ``specs`` and reads them until `close`. Their channels are numbered from 0 here.

    Raises:
        EdgeprofError: a meter cannot be opened; the sentence says why.
    """

    def __init__(self, specs: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgeprof.boards.meters", *specs], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._parts: list[Samples] = []
        self._told: dict[str, Any] = {}
        try:
            self.sensors = self._opened()
        except BaseException as error:
            if not isinstance(error, EdgeprofError):  # Ctrl-C: a meter that is being opened may take its time
                self._process.kill()
            self._end()
            raise
        self._channels = sum(len(sensor["channels"]) for sensor in self.sensors)
        self._thread = threading.Thread(target=self._listen, name="edgeprof-meters", daemon=True)
        self._thread.start()

    def samples(self) -> list[Samples]:
        """What was read until now."""
        return list(self._parts)

    def told(self) -> list[dict[str, Any]]:
        """How well each meter was read; known once it is closed."""
        if self._told or self._process.poll() is None:
            return list(self._told.get("sensors", ()))
        return [{"name": sensor["name"], "problem": _DIED} for sensor in self.sensors]

    def close(self) -> None:
        """Ends the process and takes in what it still says."""
        self._hang_up()
        self._thread.join(_ENDS_WITHIN_S)
        self._end()

    def _hang_up(self) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def _end(self) -> None:
        self._hang_up()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _opened(self) -> list[dict[str, Any]]:
        """The meters as the process describes them."""
        source = self._process.stdout
        if source is None or not select.select([source], [], [], OPENS_WITHIN_S)[0]:
            self._process.kill()
            raise MeterError(
                f"A meter did not open within {OPENS_WITHIN_S:.0f} s. Check its cable and address, and that nothing else uses it."
            )
        try:
            frame = protocol.read(source)  # type: ignore[arg-type]
        except protocol.ProtocolError:
            frame = None
        if frame is not None and frame.type == "sensors":
            return [{**sensor, "external": True} for sensor in frame.fields["sensors"]]
        if frame is None:
            self._end()
            raise MeterError(f"The process that reads meters ended with status {self._process.returncode}. Try it again with one meter.")
        kind = getattr(errors, str(frame.fields.get("kind")), MeterError)
        if not (isinstance(kind, type) and issubclass(kind, EdgeprofError)):
            kind = MeterError
        raise kind(str(frame.fields.get("message")))

    def _listen(self) -> None:
        try:
            while (frame := protocol.read(self._process.stdout)) is not None:  # type: ignore[arg-type]
                if frame.type == "samples":
                    self._parts.append(samples_of(frame.payload, self._channels))
                elif frame.type == "sampled":
                    self._told = dict(frame.fields)
        except (protocol.ProtocolError, OSError, ValueError):
            return  # it died; what it had said is kept
