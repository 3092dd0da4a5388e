"""The process that runs the model: recorded ones for the arithmetic, real ones for the rest."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest

from edgeprof.agent.sensors import process
from tests.agent.sensors.trees import plant

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def stat(pid, *, name="python3", state="S", parent=1, minor=0, major=0, user=0, system=0, started=500, rss=0):
    """A line of /proc/<pid>/stat, as proc(5) has it."""
    head = f"{pid} ({name}) {state} {parent} {pid} {pid} 0 -1 4194560 {minor} 999 {major} 99 {user} {system} 7 8 20 0 1 0 {started}"
    return f"{head} 123456789 {rss} 18446744073709551615 1 1 0 0 0 0 0 16781312 134217730 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"


def proc(root, pid, children="", **fields):
    plant(root, {f"proc/{pid}/stat": stat(pid, **fields), f"proc/{pid}/task/{pid}/children": children})


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sensor(tmp_path, clock):
    sensor = process.Process(str(tmp_path), clock)
    sensor.watch(100)
    return sensor


def test_rates_are_means_since_the_last_reading(sensor, clock, tmp_path):
    proc(tmp_path, 100, rss=1000, user=40, system=10, minor=700, major=3)
    rss, *rates = sensor.read()
    assert rss == 1000 * PAGE
    assert all(math.isnan(rate) for rate in rates)
    clock.now = 2.0
    proc(tmp_path, 100, rss=1500, user=40 + 2 * TICKS, system=10 + TICKS, minor=1000, major=4)
    assert sensor.read() == [1500 * PAGE, 1.5, 150.0, 0.5]
    clock.now = 4.0
    assert sensor.read() == [1500 * PAGE, 0.0, 0.0, 0.0]


def test_nothing_is_read_before_a_process_is_named(tmp_path):
    proc(tmp_path, os.getpid(), rss=5)
    proc(tmp_path, "self", rss=5)
    assert all(math.isnan(value) for value in process.Process(str(tmp_path)).read())


def test_children_count(sensor, clock, tmp_path):
    """A child that started since is counted from its start; what one that ended had done is not taken away."""
    proc(tmp_path, 100, "200", rss=10, user=0)
    proc(tmp_path, 200, "300", parent=100, rss=20, user=1000)
    proc(tmp_path, 300, "", parent=200, rss=30, user=50)
    assert sensor.read()[0] == 60 * PAGE
    clock.now = 1.0
    proc(tmp_path, 100, "400", rss=10, user=TICKS)
    proc(tmp_path, 400, "", parent=100, rss=5, user=TICKS // 2)
    assert sensor.read()[:2] == [15 * PAGE, 1.5]


def test_children_of_other_threads_count(sensor, tmp_path):
    proc(tmp_path, 100, "", rss=1)
    plant(tmp_path, {"proc/100/task/101/children": "200 "})
    proc(tmp_path, 200, "", rss=2)
    assert sensor.read()[0] == 3 * PAGE


def test_children_without_a_list_of_them(sensor, tmp_path):
    """Kernels without CONFIG_PROC_CHILDREN: each process's parent is looked at, and again after ten readings."""
    parents = {1: 0, 100: 1, 200: 100, 300: 200, 400: 1, 500: 501, 501: 500}
    plant(tmp_path, {f"proc/{pid}/stat": stat(pid, parent=parent, rss=pid) for pid, parent in parents.items()})
    assert sensor.read()[0] == 600 * PAGE
    plant(tmp_path, {"proc/600/stat": stat(600, parent=300, rss=600)})
    found = [sensor.read()[0] for _ in range(10)]
    assert found == [600 * PAGE] * 9 + [1200 * PAGE]


def test_children_that_go_round(sensor, tmp_path):
    proc(tmp_path, 100, "200", rss=1)
    proc(tmp_path, 200, "100 200", rss=1)
    assert sensor.read()[0] == 2 * PAGE


def test_a_number_that_is_used_again(sensor, clock, tmp_path):
    proc(tmp_path, 100, "200", rss=1)
    proc(tmp_path, 200, "", rss=1, user=900, started=1000)
    sensor.read()
    clock.now = 1.0
    proc(tmp_path, 200, "", rss=1, user=TICKS, started=7000)
    assert sensor.read()[1] == 1.0


def test_a_name_with_brackets_and_blanks(sensor, tmp_path):
    proc(tmp_path, 100, name="a) R 1 (b", rss=7)
    assert sensor.read()[0] == 7 * PAGE


@pytest.mark.parametrize("line", ["", "garbage", "100 (x) S 1", b"\xff\xfe\x00", stat(100, state="Z"), stat(100, state="X")])
def test_a_process_that_is_gone(line, sensor, tmp_path):
    plant(tmp_path, {"proc/100/stat": line})
    with pytest.raises(ProcessLookupError, match="process 100 is gone"):
        sensor.read()


def test_another_process_starts_anew(sensor, clock, tmp_path):
    proc(tmp_path, 100, rss=1, user=5)
    sensor.read()
    proc(tmp_path, 900, rss=2, user=5000)
    sensor.watch(900)
    clock.now = 1.0
    rss, *rates = sensor.read()
    assert rss == 2 * PAGE
    assert all(math.isnan(rate) for rate in rates)


def test_two_readings_at_one_time(sensor, tmp_path):
    proc(tmp_path, 100, rss=1)
    sensor.read()
    assert all(math.isnan(rate) for rate in sensor.read()[1:])


WORK = """
import os, sys, time
held = bytearray(64 << 20)
held[::4096] = b"x" * (len(held) // 4096)
print("ready", flush=True)
sys.stdin.readline()
while time.process_time() < 0.5:
    pass
print("done", flush=True)
sys.stdin.readline()
"""
PARENT = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"


@pytest.mark.parametrize("arguments", [["-c", WORK], ["-c", PARENT, WORK]], ids=["itself", "its child"])
def test_a_real_process(arguments, clock):
    sensor = process.Process(clock=clock)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, *arguments], **pipes) as child:
        sensor.watch(child.pid)
        assert child.stdout.readline() == "ready\n"
        rss = sensor.read()[0]
        assert 64 << 20 < rss < 256 << 20
        child.stdin.write("go\n")
        child.stdin.flush()
        assert child.stdout.readline() == "done\n"
        clock.now = 5.0
        share = sensor.read()[1]
        child.stdin.close()
        child.wait()
        assert 0.05 < share < 0.15  # half a second of work in five, less what starting up took
        with pytest.raises(ProcessLookupError):
            sensor.read()


def test_wherever_there_is_a_proc(tmp_path):
    assert [sensor.name for sensor in process.discover("/").sensors] == ["process"]
    assert process.discover(str(tmp_path)).sensors == []
