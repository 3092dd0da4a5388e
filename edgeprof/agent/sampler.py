"""Reads sensors, each at its useful rate, in a process of its own, and says what they said.

Standard input takes frames: ``watch`` (``pid`` of the process that runs the model), ``slow`` and ``full`` (rates). When it ends,
the sampler ends. Standard output gives frames: ``sensors`` (channels, totals, rates, problems) once, ``samples`` (records as
payload) several times a second, ``sampled`` (how well each sensor was read, and what it cost) at the end.

A record is `RECORD`: time in ns on the monotonic clock, number of the channel, value; NaN for a reading that failed.
"""

from __future__ import annotations

import os
import select
import struct
import sys
import time
from typing import Any, Callable, Dict, List, Sequence, Tuple

from . import protocol
from .sensors import discover
from .sensors.base import Found, Sensor

RECORD = struct.Struct("<qHd")
FLUSH_S = 0.2
SLOW_HZ = 2.0
GIVE_UP_AFTER = 10
"""Readings in a row that failed altogether, after which a sensor counts as lost."""

_NAN = float("nan")


class Reading:
    """One sensor while it is being read: when it is due, and how well that went."""

    def __init__(self, sensor: Sensor, first_channel: int) -> None:
        self.sensor, self.first = sensor, first_channel
        self.period_ns = int(1e9 / sensor.rate_hz)
        self.due_ns = 0
        self.times = self.missed = self.failed = 0
        self._slow = False
        self._began_ns = self.last_ns = self._since = 0  # of the stretch since the rate was changed
        self._full_ns = self._full_times = 0  # of those at full rate before
        self.problem = ""
        self.lost = False

    def read(self, now_ns: Callable[[], int], period_ns: int) -> bytes:
        """One reading as records; it is due again ``period_ns`` after it was due, and what came too late for that was missed."""
        before = now_ns()
        values = self._values()
        at = (before + now_ns()) // 2
        self.times += 1
        self._since += 1
        self._began_ns = self._began_ns or at
        self.last_ns = at
        self.due_ns += period_ns
        late = at - self.due_ns
        if late > 0:
            skipped = late // period_ns + 1
            self.missed += skipped
            self.due_ns += skipped * period_ns
        return b"".join(RECORD.pack(at, self.first + i, value) for i, value in enumerate(values))

    def watch(self, pid: int) -> None:
        """Tells the sensor which process runs the model."""
        try:
            self.sensor.watch(pid)
        except Exception as error:
            self._note(error)

    def turn(self, *, slow: bool) -> None:
        """From here on it is read slowly, or at its full rate again. What was read slowly says nothing of the rate that is reached."""
        if self.period_ns >= 1e9 / SLOW_HZ:
            return
        if slow and not self._slow:
            self._full_ns, self._full_times = self._at_full_rate()
        self._slow = slow
        self._began_ns = self.last_ns = self._since = 0

    def _at_full_rate(self) -> Tuple[int, int]:
        """Time that it was read at its full rate in ns, and how many periods that was."""
        if self._slow or self._since < 2:
            return self._full_ns, self._full_times
        return self._full_ns + self.last_ns - self._began_ns, self._full_times + self._since - 1

    def told(self) -> Dict[str, Any]:
        """How well it was read; the rate is that reached when it was not read slowly on purpose."""
        time_ns, times = self._at_full_rate()
        rate = times / time_ns * 1e9 if time_ns > 0 else None
        return {
            "name": self.sensor.name, "achieved_hz": rate, "samples": self.times, "missed": self.missed, "problem": self.problem,
        }  # fmt: skip

    def _values(self) -> List[float]:
        """A value for each channel, whatever the sensor does: it is one of many, and none is worth a measurement."""
        nothing = [_NAN] * len(self.sensor.channels)
        try:
            values = [float(value) for value in self.sensor.read()]
            if len(values) != len(nothing):
                raise ValueError("%d values for %d channels" % (len(values), len(nothing)))
        except ProcessLookupError:  # what it watches has ended; the next phase's process is soon named
            return nothing
        except Exception as error:
            self._note(error)
            return nothing
        self.failed = 0
        return values

    def _note(self, error: Exception) -> None:
        self.failed += 1
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if self.failed >= GIVE_UP_AFTER:
            self.lost = True
            self.problem = "%s stopped answering (%s); it was read no more" % (self.sensor.name, reason)
        elif not self.problem:
            self.problem = "some readings of %s failed (%s)" % (self.sensor.name, reason)


class Sampler:
    """Reads all of ``found`` and hands frames to ``say``. ``now_ns`` is the clock."""

    def __init__(self, found: Found, say: Callable[..., None], now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._say, self._now = say, now_ns
        self.readings: List[Reading] = []
        first = 0
        for sensor in found.sensors:
            self.readings.append(Reading(sensor, first))
            first += len(sensor.channels)
        self.slow = False
        self._pending: List[bytes] = []
        self._flushed_ns = now_ns()
        self._began_ns = now_ns()
        self._cpu_s = time.process_time()
        say("sensors", describe(found))

    def step(self) -> float:
        """Reads what is due; seconds until something is due again."""
        now = self._now()
        for reading in self.readings:
            if reading.lost:
                continue
            if reading.due_ns == 0:
                reading.due_ns = now
            if reading.due_ns <= now:
                period = max(reading.period_ns, int(1e9 / SLOW_HZ)) if self.slow else reading.period_ns
                self._pending.append(reading.read(self._now, period))
        if self._now() - self._flushed_ns > FLUSH_S * 1e9:
            self.flush()
        due = min([r.due_ns for r in self.readings if not r.lost], default=self._now() + int(1e9))
        return max(0.0, min((due - self._now()) / 1e9, FLUSH_S))

    def take(self, frame: protocol.Frame) -> None:
        """Does what the other end says."""
        if frame.type == "watch":
            for reading in self.readings:
                reading.watch(int(frame.fields["pid"]))
        elif frame.type in ("slow", "full"):
            self.slow = frame.type == "slow"
            for reading in self.readings:
                reading.turn(slow=self.slow)
                reading.due_ns = self._now()

    def flush(self) -> None:
        """Says all that was read since the last time."""
        records, self._pending = b"".join(self._pending), []
        self._flushed_ns = self._now()
        if records:
            self._say("samples", {}, records)

    def end(self) -> None:
        """Says the rest, and how it went."""
        self.flush()
        wall_s = max(1e-9, (self._now() - self._began_ns) / 1e9)
        self._say("sampled", {"sensors": [r.told() for r in self.readings], "cpu_share": (time.process_time() - self._cpu_s) / wall_s})


def describe(found: Found) -> Dict[str, Any]:
    """``found`` as the fields of a ``sensors`` frame."""
    sensors = [
        {
            "name": s.name, "rate_hz": s.rate_hz, "average_s": s.average_s,
            "channels": [c._asdict() for c in s.channels], "totals": s.totals,
        }
        for s in found.sensors
    ]  # fmt: skip
    return {"sensors": sensors, "problems": [list(problem) for problem in found.problems]}


def unpack(records: bytes) -> List[Tuple[int, int, float]]:
    """``(time_ns, channel, value)`` of each record."""
    return list(RECORD.iter_unpack(records))


def run(found: Found, source: Any, sink: Any) -> None:
    """Samples until ``source`` ends, from which frames come; frames go to ``sink``."""

    def say(kind: str, fields: Dict[str, Any], payload: bytes = b"") -> None:
        protocol.write(sink, kind, fields, payload)

    try:
        sampler = Sampler(found, say)
        while True:
            wait_s = sampler.step()
            if select.select([source], [], [], wait_s)[0]:
                frame = protocol.read(source)
                if frame is None:
                    break
                sampler.take(frame)
        sampler.end()
    except (BrokenPipeError, protocol.ProtocolError):
        return  # nobody listens any more
    finally:  # whoever reads it may be gone, but an external meter must not go on recording
        for sensor in found.sensors:
            _close(sensor)


def _close(sensor: Sensor) -> None:
    try:
        sensor.close()
    except Exception:  # it has been read by then, and the others must be closed too
        return


def main(arguments: Sequence[str]) -> int:
    """The process: ``arguments`` are the root of the file system, the CPUs of the model ("" or "0,1"), then wanted families (none: all)."""
    from .serve import streams

    source, sink = streams()
    _leave_room([int(cpu) for cpu in arguments[1].split(",") if cpu])
    run(discover(arguments[0], list(arguments[2:]) or None), source, sink)
    return 0


def _leave_room(taken: Sequence[int]) -> None:
    """Keeps to the last CPU that the model does not have: unless it was given CPUs, its threads fill them from the first on."""
    if hasattr(os, "sched_setaffinity") and sys.platform.startswith("linux"):
        cpus = sorted(os.sched_getaffinity(0))
        free = [cpu for cpu in cpus if cpu not in taken] or cpus
        if len(cpus) > 1:
            try:
                os.sched_setaffinity(0, free[-1:])
            except OSError:
                return
