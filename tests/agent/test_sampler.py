"""The sampler: when what is read and what becomes of it on a clock that only tests turn, then the real process."""

from __future__ import annotations

import io
import math
import os
import signal
import subprocess
import sys
import zipfile
from itertools import chain, pairwise, repeat

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.agent import protocol
from edgeprof.agent.sampler import FLUSH_S, GIVE_UP_AFTER, SLOW_HZ, Sampler, run, unpack
from edgeprof.agent.sensors.base import COUNTER, NAN, SAMPLE, Channel, Found, Sensor
from edgeprof.boards.package import agent_zipapp
from edgeprof.boards.sensed import samples_of
from tests.agent.sensors.trees import plant

MS = 1_000_000
S = 1_000_000_000
START_NS = 12_345 * S


class Clock:
    def __init__(self) -> None:
        self.now_ns = START_NS

    def __call__(self) -> int:
        return self.now_ns


class Made(Sensor):
    """Each reading takes the next of ``takes_ns`` and gives, or raises, the next of ``gives``; the last of each goes on for ever."""

    def __init__(self, clock: Clock | None = None, name="made", rate_hz=10.0, channels=1, takes_ns=(0,), gives=(1.0,)) -> None:
        names = [f"{name}/c{i}_mw" for i in range(channels)]
        super().__init__([Channel(one, "mW", SAMPLE, "board", one) for one in names], {"board": names[:1]})
        self.name, self.rate_hz, self._clock = name, rate_hz, clock
        self._takes, self._gives = chain(takes_ns, repeat(takes_ns[-1])), chain(gives, repeat(gives[-1]))
        self.read_at, self.watched, self.closed = [], [], 0

    def read(self):
        if self._clock is not None:
            self.read_at.append(self._clock.now_ns)
            self._clock.now_ns += next(self._takes)
        given = next(self._gives)
        if isinstance(given, Exception):
            raise given
        return given if isinstance(given, list) else [given] * len(self.channels)

    def watch(self, pid):
        self.watched.append(pid)

    def close(self):
        self.closed += 1


class Heard:
    """All that a sampler says; `records` are those of its ``samples`` frames."""

    def __init__(self) -> None:
        self.frames = []

    def __call__(self, kind, fields, payload=b""):
        self.frames.append(protocol.read(io.BytesIO(protocol.encode(kind, fields, payload))))

    @property
    def records(self):
        return [record for frame in self.frames if frame.type == "samples" for record in unpack(frame.payload)]

    def last(self, kind):
        return [frame for frame in self.frames if frame.type == kind][-1].fields


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def heard():
    return Heard()


def go_on(sampler, clock, until_ns, late_ns=0):
    """Steps as often as the sampler wants to, each ``late_ns`` too late, until the clock shows that time."""
    while True:
        wait_s = sampler.step()
        assert 0 <= wait_s <= FLUSH_S
        # the time that a step's own work takes: without it a wait that is rounded down to 0 would never end
        clock.now_ns += max(1000, round(wait_s * S)) + late_ns
        if clock.now_ns >= until_ns:
            return


def tell(sampler, kind, **fields):
    sampler.take(protocol.Frame(kind, fields, b""))


# When what is read


def test_a_quick_sensor_is_read_when_it_is_due(clock, heard):
    sensor = Made(clock, rate_hz=10)
    sampler = Sampler(Found([sensor]), heard, clock)
    go_on(sampler, clock, START_NS + 2 * S)
    due = [START_NS + i * 100 * MS for i in range(20)]
    assert len(sensor.read_at) == 20
    assert all(0 <= at - when < 10_000 for at, when in zip(sensor.read_at, due, strict=True))
    assert sampler.readings[0].missed == 0


def test_each_at_its_own_rate(clock, heard):
    sensors = [Made(clock, "fast", 50), Made(clock, "slow", 2), Made(clock, "slower", 0.5)]
    sampler = Sampler(Found(sensors), heard, clock)
    go_on(sampler, clock, START_NS + 4 * S)
    assert [len(sensor.read_at) for sensor in sensors] == [200, 8, 2]


def test_a_slow_read_makes_others_miss_theirs_and_that_is_counted(clock, heard):
    quick, slow = Made(clock, "quick", 100), Made(clock, "slow", 1, takes_ns=(0, 105 * MS, 0))
    sampler = Sampler(Found([quick, slow]), heard, clock)
    go_on(sampler, clock, START_NS + 2 * S)
    assert sampler.readings[0].missed == 9, "those that were due at 1.02 s to 1.10 s; that of 1.01 s came late"
    assert len(quick.read_at) == 191
    assert sampler.readings[1].missed == 0


def test_reads_that_take_two_periods_miss_every_second_time(clock, heard):
    sensor = Made(clock, rate_hz=10, takes_ns=(200 * MS,))
    sampler = Sampler(Found([sensor]), heard, clock)
    go_on(sampler, clock, START_NS + 2 * S)
    assert (len(sensor.read_at), sampler.readings[0].missed) == (10, 10)


@given(
    st.lists(
        st.tuples(st.floats(0.05, 2000), st.lists(st.integers(0, 3 * S) | st.integers(0, 30 * MS), min_size=1, max_size=12)),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 300 * MS),
    st.lists(st.sampled_from(["slow", "full"]), max_size=3),
)
def test_readings_and_those_missed_account_for_the_time(sensors, late_ns, modes):
    """For any rates, however long readings take and however late the sampler comes to them; within one period."""
    clock, heard = Clock(), Heard()
    made = [Made(clock, f"s{i}", rate, takes_ns=takes) for i, (rate, takes) in enumerate(sensors)]
    sampler = Sampler(Found(made), heard, clock)
    for mode in [None, *modes]:
        if mode is not None:
            tell(sampler, mode)
        began = clock.now_ns
        before = [(r.times, r.missed) for r in sampler.readings]
        for _ in range(12):
            clock.now_ns += max(1000, round(sampler.step() * S)) + late_ns
        for reading, (times, missed) in zip(sampler.readings, before, strict=True):
            period = max(reading.period_ns, S // 2) if sampler.slow else reading.period_ns
            if reading.times > times:
                accounted = (reading.times - times + reading.missed - missed) * period
                assert 0 <= accounted - (reading.last_ns - began) <= period
    assert [reading.times for reading in sampler.readings] == [len(sensor.read_at) for sensor in made]


@given(st.floats(0.1, 1000), st.lists(st.integers(0, 50 * MS), min_size=1, max_size=30))
def test_times_of_a_channel_only_grow_and_lie_within_their_readings(rate, takes):
    clock, heard = Clock(), Heard()
    sensor = Made(clock, rate_hz=rate, takes_ns=takes)
    sampler = Sampler(Found([sensor]), heard, clock)
    for _ in range(30):
        clock.now_ns += max(1000, round(sampler.step() * S))
    sampler.end()
    times = [time_ns for time_ns, _, _ in heard.records]
    assert all(a < b for a, b in pairwise(times)) or 0 in takes
    assert all(start <= time for start, time in zip(sensor.read_at, times, strict=True))
    assert all(time <= after for time, after in zip(times, sensor.read_at[1:], strict=False))


def test_slow_mode_and_back(clock, heard):
    sensors = [Made(clock, "fast", 50), Made(clock, "slower", 0.5)]
    sampler = Sampler(Found(sensors), heard, clock)
    go_on(sampler, clock, START_NS + S)
    tell(sampler, "slow")
    before = [len(sensor.read_at) for sensor in sensors]
    go_on(sampler, clock, START_NS + 5 * S)
    assert len(sensors[0].read_at) - before[0] == 4 * SLOW_HZ
    assert len(sensors[1].read_at) - before[1] == 2, "it is slower than that anyway"
    tell(sampler, "full")
    before = len(sensors[0].read_at)
    go_on(sampler, clock, START_NS + 6 * S)
    assert 49 <= len(sensors[0].read_at) - before <= 51
    assert sampler.readings[0].missed == 0


def test_without_sensors_it_waits_and_says_so(clock, heard):
    sampler = Sampler(Found([], [("rapl-permission", "do this")]), heard, clock)
    assert sampler.step() == FLUSH_S
    sampler.end()
    assert heard.last("sensors") == {"sensors": [], "problems": [["rapl-permission", "do this"]]}
    assert heard.last("sampled")["sensors"] == []
    assert heard.records == []


# What is read


def test_channels_are_numbered_over_all_sensors(clock, heard):
    sensors = [
        Made(clock, "a", channels=2, gives=([1.0, 2.0],)),
        Made(clock, "b", gives=(3.0,)),
        Made(clock, "c", channels=3, gives=(4.0,)),
    ]
    sampler = Sampler(Found(sensors), heard, clock)
    sampler.step()
    sampler.end()
    assert [(channel, value) for _, channel, value in heard.records] == [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0), (4, 4.0), (5, 4.0)]
    names = [channel["name"] for sensor in heard.last("sensors")["sensors"] for channel in sensor["channels"]]
    assert [names[number] for _, number, _ in heard.records] == ["a/c0_mw", "a/c1_mw", "b/c0_mw", "c/c0_mw", "c/c1_mw", "c/c2_mw"]


def test_the_host_reads_the_records_that_are_packed_here(clock, heard):
    sampler = Sampler(Found([Made(clock, gives=(NAN, -1.5, 1e300))]), heard, clock)
    go_on(sampler, clock, START_NS + S)
    sampler.end()
    payload = b"".join(frame.payload for frame in heard.frames if frame.type == "samples")
    samples = samples_of(payload, 1)
    assert samples.time_ns.tolist() == [time_ns for time_ns, _, _ in heard.records]
    assert samples.value[1:3].tolist() == [-1.5, 1e300]
    assert math.isnan(samples.value[0])


def test_a_reading_that_fails_is_nan_in_each_channel(clock, heard):
    sensor = Made(clock, channels=2, gives=(1.0, OSError(5, "Input/output error"), 2.0))
    sampler = Sampler(Found([sensor]), heard, clock)
    go_on(sampler, clock, START_NS + 290 * MS)
    sampler.end()
    values = [value for _, _, value in heard.records]
    assert values[:2] == [1.0, 1.0] and values[4:] == [2.0, 2.0]
    assert all(map(math.isnan, values[2:4]))
    (told,) = heard.last("sampled")["sensors"]
    assert (told["samples"], told["missed"]) == (3, 0)
    assert told["problem"] == "some readings of made failed (Input/output error)"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([1.0], "1 values for 2 channels"),
        ([1.0, 2.0, 3.0], "3 values for 2 channels"),
        ([], "0 values for 2 channels"),
        ([None, 1.0], "NoneType"),
        (["x", 1.0], "could not convert"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (OSError(), "OSError"),
        (OSError("it was lost"), "it was lost"),
        (KeyError("power"), "power"),
    ],
)
def test_whatever_a_driver_does_is_nan_and_said_and_hinders_no_other(given, reason, clock, heard):
    bad, good = Made(clock, "bad", channels=2, gives=(given,)), Made(clock, "good", gives=(7.0,))
    sampler = Sampler(Found([bad, good]), heard, clock)
    sampler.step()
    sampler.end()
    assert [channel for _, channel, _ in heard.records] == [0, 1, 2]
    assert [value for _, channel, value in heard.records if channel == 2] == [7.0]
    assert all(math.isnan(value) for _, channel, value in heard.records if channel < 2)
    assert reason in heard.last("sampled")["sensors"][0]["problem"]
    assert heard.last("sampled")["sensors"][1]["problem"] == ""


def test_nan_is_no_failure(clock, heard):
    sampler = Sampler(Found([Made(clock, gives=(NAN,))]), heard, clock)
    go_on(sampler, clock, START_NS + 3 * S)
    sampler.end()
    (told,) = heard.last("sampled")["sensors"]
    assert (told["samples"], told["problem"]) == (30, "")


def test_a_sensor_that_comes_back_in_time_is_read_on(clock, heard):
    gone = [FileNotFoundError(2, "No such file or directory")] * (GIVE_UP_AFTER - 1)
    sampler = Sampler(Found([Made(clock, gives=(1.0, *gone, 2.0, *gone, 3.0))]), heard, clock)
    go_on(sampler, clock, START_NS + 3 * S)
    sampler.end()
    (told,) = heard.last("sampled")["sensors"]
    assert told["samples"] == 30
    assert told["problem"] == "some readings of made failed (No such file or directory)"
    assert [value for _, _, value in heard.records if not math.isnan(value)][:2] == [1.0, 2.0]


def test_a_sensor_that_stays_away_is_read_no_more(clock, heard):
    lost = Made(clock, "lost", gives=(1.0, OSError(19, "No such device")))
    other = Made(clock, "other")
    sampler = Sampler(Found([lost, other]), heard, clock)
    go_on(sampler, clock, START_NS + 3 * S)
    tell(sampler, "slow")
    tell(sampler, "full")
    go_on(sampler, clock, START_NS + 4 * S)
    sampler.end()
    assert len(lost.read_at) == 1 + GIVE_UP_AFTER
    assert len(other.read_at) >= 40
    told = heard.last("sampled")["sensors"][0]
    assert told["problem"] == "lost stopped answering (No such device); it was read no more"
    assert told["samples"] == 1 + GIVE_UP_AFTER


def test_when_all_are_lost_it_still_ends_in_order(clock, heard):
    sampler = Sampler(Found([Made(clock, gives=(OSError(),))]), heard, clock)
    go_on(sampler, clock, START_NS + 5 * S)
    assert sampler.step() == FLUSH_S
    sampler.end()
    assert len(heard.records) == GIVE_UP_AFTER


def test_a_process_that_has_ended_is_nothing_to_read_and_no_failure(clock, heard):
    """Between two phases there is none: however long that lasts, the next one's is read."""
    sensor = Made(clock, gives=(1.0, *[ProcessLookupError(3, "process 77 is gone")] * 25, 2.0))
    sampler = Sampler(Found([sensor]), heard, clock)
    tell(sampler, "watch", pid=77)
    go_on(sampler, clock, START_NS + 3 * S)
    sampler.end()
    assert sensor.watched == [77]
    assert [value for _, _, value in heard.records][-4:] == [2.0] * 4
    assert sum(math.isnan(value) for _, _, value in heard.records) == 25
    assert heard.last("sampled")["sensors"][0]["problem"] == ""


def test_a_sensor_that_cannot_watch_hinders_no_other(clock, heard):
    class Blind(Made):
        def watch(self, pid):
            raise AttributeError("watch")

    other = Made(clock, "other")
    sampler = Sampler(Found([Blind(clock), other]), heard, clock)
    tell(sampler, "watch", pid=5)
    assert other.watched == [5]


# What is said


def test_samples_come_several_times_a_second(clock, heard):
    sampler = Sampler(Found([Made(clock, rate_hz=100)]), heard, clock)
    said = []
    while clock.now_ns < START_NS + 2 * S:
        before = len(heard.frames)
        wait_s = sampler.step()
        said += [clock.now_ns] * (len(heard.frames) - before)
        clock.now_ns += max(1000, round(wait_s * S))
    steps = [b - a for a, b in zip([START_NS, *said], said, strict=False)]
    assert max(steps) <= FLUSH_S * S + 20 * MS
    assert min(steps) > FLUSH_S * S / 2


def test_nothing_is_said_of_nothing(clock, heard):
    sampler = Sampler(Found([Made(clock, rate_hz=0.1)]), heard, clock)
    go_on(sampler, clock, START_NS + 9 * S)
    assert [frame.type for frame in heard.frames] == ["sensors", "samples"]


def test_how_well_it_was_read(clock, heard):
    sensors = [Made(clock, "good", 100), Made(clock, "slow", 20, takes_ns=(75 * MS,)), Made(clock, "once", 0.01)]
    sampler = Sampler(Found(sensors), heard, clock)
    go_on(sampler, clock, START_NS + 10 * S)
    sampler.end()
    told = {entry["name"]: entry for entry in heard.last("sampled")["sensors"]}
    assert told["slow"]["achieved_hz"] == pytest.approx(1000 / 75, rel=0.01), "one after the other"
    assert told["slow"]["samples"] + told["slow"]["missed"] == pytest.approx(200, abs=1)
    assert told["once"]["achieved_hz"] is None
    assert [told[sensor.name]["samples"] for sensor in sensors] == [len(sensor.read_at) for sensor in sensors]
    assert heard.last("sampled")["cpu_share"] >= 0


def test_sensors_are_described_for_the_host(heard, clock):
    counter = Made(clock, "rapl", 20)
    counter.channels = [Channel("rapl/package_mj", "mJ", COUNTER, "package", "Package")]
    counter.totals = {"package": ["rapl/package_mj"]}
    Sampler(Found([counter]), heard, clock)
    channel = {"name": "rapl/package_mj", "unit": "mJ", "kind": "counter", "scope": "package", "title": "Package"}
    described = {"name": "rapl", "rate_hz": 20, "average_s": 0.0, "channels": [channel], "totals": {"package": ["rapl/package_mj"]}}
    assert heard.frames[0].fields == {"sensors": [described], "problems": []}


# Between two pipes


class Pipes:
    """What `run` is given: a source of frames and a sink for them."""

    def __init__(self) -> None:
        (source, self._to), (self._from, sink) = os.pipe(), os.pipe()
        self.source, self.sink = os.fdopen(source, "rb", buffering=0), os.fdopen(sink, "wb", buffering=0)

    def send(self, data: bytes) -> None:
        os.write(self._to, data)

    def hang_up(self) -> None:
        os.close(self._to)

    def stop_listening(self) -> None:
        os.close(self._from)

    def heard(self) -> list[protocol.Frame]:
        self.sink.close()
        with os.fdopen(self._from, "rb") as stream:
            return list(iter(lambda: protocol.read(stream), None))


@pytest.fixture
def pipes():
    pipes = Pipes()
    yield pipes
    pipes.source.close()
    pipes.sink.close()


def test_it_ends_when_its_source_ends_and_says_how_it_went(pipes):
    sensors = [Made(rate_hz=1000), Made(name="other")]
    pipes.send(protocol.encode("watch", {"pid": 12}) + protocol.encode("slow", {}))
    pipes.hang_up()
    run(Found(sensors), pipes.source, pipes.sink)
    frames = pipes.heard()
    assert (frames[0].type, frames[-1].type) == ("sensors", "sampled")
    assert {frame.type for frame in frames[1:-1]} == {"samples"}
    assert [sensor.watched for sensor in sensors] == [[12], [12]]
    assert [sensor.closed for sensor in sensors] == [1, 1]


@pytest.mark.parametrize("when", ["before it began", "meanwhile"])
def test_when_nobody_listens_any_more_it_ends_and_closes_its_sensors(pipes, when):
    """An external meter would go on recording."""
    sensors = [Made(), Made(name="other")]
    if when == "before it began":
        pipes.stop_listening()
    else:
        sensors[0].read = lambda: pipes.stop_listening() or [1.0]
        pipes.hang_up()
    run(Found(sensors), pipes.source, pipes.sink)
    assert [sensor.closed for sensor in sensors] == [1, 1]
    if when != "before it began":
        return
    pipes.hang_up()


def test_noise_ends_it(pipes):
    sensor = Made()
    pipes.send(b"GET / HTTP/1.1\r\n\r\n")
    run(Found([sensor]), pipes.source, pipes.sink)
    assert sensor.closed == 1
    assert pipes.heard()[0].type == "sensors"
    pipes.hang_up()


def test_a_sensor_that_cannot_be_closed_hinders_no_other(pipes):
    sensors = [Made(), Made(name="other")]
    sensors[0].close = lambda: 1 / 0
    pipes.hang_up()
    run(Found(sensors), pipes.source, pipes.sink)
    assert sensors[1].closed == 1
    assert pipes.heard()[-1].type == "sampled"


# The process


@pytest.fixture
def root(tmp_path):
    plant(tmp_path / "root", {
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48300\n",
        "proc/self/stat": "1 (x) S 0\n",
    })  # fmt: skip
    return tmp_path / "root"


def archive(tmp_path, **changed: str):
    """The agent, with some of its files replaced."""
    path = tmp_path / "agent.pyz"
    with zipfile.ZipFile(io.BytesIO(agent_zipapp())) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            base = name.rpartition("/")[2].removesuffix(".py")
            new.writestr(name, changed.get(base) if base in changed and "/sensors/" in name else old.read(name))
    return path


def sampler(path, root, *families: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-I", str(path), "sample", str(root), "", *families]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def rest_of(process: subprocess.Popen) -> tuple[list[protocol.Frame], bytes]:
    """(frames, standard error) until it ends, once its input has ended."""
    out, err = process.communicate(timeout=60)
    stream = io.BytesIO(out)
    return list(iter(lambda: protocol.read(stream), None)), err


def test_process_speaks_frames_and_ends_with_its_input(tmp_path, root):
    process = sampler(archive(tmp_path), root, "thermal", "process")
    first = protocol.read(process.stdout)
    process.stdin.write(protocol.encode("watch", {"pid": process.pid}))
    second = protocol.read(process.stdout)
    frames, err = rest_of(process)
    assert (first.type, second.type, frames[-1].type) == ("sensors", "samples", "sampled")
    assert [sensor["name"] for sensor in first.fields["sensors"]] == ["thermal", "process"]
    assert (process.returncode, err) == (0, b"")
    values = [value for frame in (second, *frames[:-1]) for _, channel, value in unpack(frame.payload) if channel == 0]
    assert values and set(values) == {48.3}


def test_process_that_nobody_reads_ends(tmp_path, root):
    process = sampler(archive(tmp_path), root, "thermal")
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stdin.close()
    process.stderr.close()


BROKEN = {
    "cannot be imported": "raise RuntimeError('broken')",
    "cannot be asked": "def discover(sysroot):\n    return 1 / 0",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_process_survives_a_family_that_fails(kind, tmp_path, root):
    process = sampler(archive(tmp_path, rapl=BROKEN[kind]), root, "rapl", "thermal", "abacus")
    frames, err = rest_of(process)
    assert (process.returncode, err) == (0, b"")
    assert [sensor["name"] for sensor in frames[0].fields["sensors"]] == ["thermal"]
    (failed, sentence), (unknown, _) = frames[0].fields["problems"]
    assert (failed, unknown) == ("sensor-failed", "sensor-unknown")
    assert sentence.startswith("the sensors of rapl cannot be used: ")


def test_process_survives_what_a_driver_prints(tmp_path, root):
    noisy = "import os\ndef discover(sysroot):\n    os.write(1, b'EP1 2 0\\n{}')\n    print('Hello')\n    raise OSError"
    process = sampler(archive(tmp_path, rapl=noisy), root, "rapl", "thermal")
    frames, err = rest_of(process)
    assert (frames[0].type, frames[-1].type, process.returncode) == ("sensors", "sampled", 0)
    assert b"Hello" in err


def test_process_does_not_outlive_its_parent(tmp_path, root):
    code = "import subprocess, sys\np = subprocess.Popen(sys.argv[1:], stdin=-1, stdout=-1)\nprint(p.pid, flush=True)\np.wait()"
    words = [sys.executable, "-I", str(archive(tmp_path)), "sample", str(root), "", "thermal"]
    with subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    assert psutil.wait_procs([child], timeout=60)[1] == []
