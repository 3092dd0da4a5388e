"""Who else uses the processor."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from edgeprof.agent import others
from edgeprof.agent.others import Census, Process, busiest, census
from tests.agent.sensors.trees import plant

SPIN = "import sys\nprint(flush=True)\nwhile True: pass"


def stat(number, name, ticks, *, parent=1, session=1, flags=0x400000, start=100):
    """A line of /proc/PID/stat: utime has all ticks but one."""
    fields = ["S", parent, number, session, 0, -1, flags, 0, 0, 0, 0, ticks - 1, 1, 0, 0, 20, 0, 1, 0, start, 10_000, 200]
    return {f"proc/{number}/stat": f"{number} ({name}) " + " ".join(map(str, fields)) + "\n"}


def test_two_readings_tell_who_used_how_much(tmp_path):
    root = plant(tmp_path, {**stat(10, "chrome", 500), **stat(11, "chrome", 100), **stat(12, "a) R (b", 50), **stat(13, "idle", 9)})
    before = census(root)
    plant(tmp_path, {**stat(10, "chrome", 550), **stat(11, "chrome", 140), **stat(12, "a) R (b", 80), **stat(14, "new", 20)})
    after = census(root)._replace(time_s=before.time_s + 1)
    assert busiest(before, after, set(), 100) == [
        {"name": "chrome", "cpu_share": 0.9}, {"name": "a) R (b", "cpu_share": 0.3}, {"name": "new", "cpu_share": 0.2},
    ]  # fmt: skip
    assert [entry["name"] for entry in busiest(before, after, {10, 11}, 100)] == ["a) R (b", "new"]


def test_threads_of_the_kernel_are_left_out(tmp_path):
    root = plant(tmp_path, {**stat(2, "kswapd0", 500, flags=0x00A20840), **stat(3, "user", 5)})
    assert [process.name for process in census(root).processes.values()] == ["user"]


def test_a_number_given_anew_is_another_process():
    before = Census(0.0, {(7, 100): Process("old", 1, 1, 5_000)})
    after = Census(1.0, {(7, 900): Process("new", 1, 1, 60)})
    assert busiest(before, after, set(), 100) == [{"name": "new", "cpu_share": 0.6}]


def test_five_names_at_most_and_none_that_hardly_runs():
    processes = {(n, 1): Process(f"p{n}", 1, 1, 0) for n in range(1, 12)}
    ran = {(n, 1): Process(f"p{n}", 1, 1, n * 5) for n in range(1, 12)}
    found = busiest(Census(0.0, processes), Census(1.0, ran), set(), 100)
    assert [entry["name"] for entry in found] == ["p11", "p10", "p9", "p8", "p7"]
    assert busiest(Census(0.0, processes), Census(10.0, ran), set(), 100) == []
    assert busiest(Census(1.0, processes), Census(1.0, ran), set(), 100) == []


@pytest.mark.parametrize("text", ["", "9", "9 (x", "9 (x) S", "9 (x) S 1 2 3", "9 (x) " + "z " * 30, "\x1b[2J"])
def test_odd_files_are_left_out(text, tmp_path):
    assert census(plant(tmp_path, {"proc/9/stat": text, **stat(10, "good", 5)})).processes.keys() == {(10, 100)}


def test_names_hold_nothing_that_moves_a_cursor(tmp_path):
    (process,) = census(plant(tmp_path, stat(10, "\x1b[31mred\u202e", 5))).processes.values()
    assert process.name == "?[31mred?"


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="there is no /proc")
def test_another_session_is_named_and_our_own_is_not(tmp_path):
    script = tmp_path / "stranger"
    script.symlink_to(sys.executable)

    def spin(**how):
        process = subprocess.Popen([str(script), "-S", "-c", SPIN], stdout=subprocess.PIPE, **how)
        process.stdout.readline()
        return process

    before = census()
    with spin(start_new_session=True) as stranger, spin() as ours:
        try:
            strangers, everybody = set(), {}
            while stranger.pid not in strangers or ours.pid not in everybody:  # both have run for some ticks
                after = census()
                everybody = {key[0]: p for key, p in after.processes.items() if p.ticks >= 20}
                strangers = everybody.keys() - others._own(after)
        finally:
            stranger.kill()
            ours.kill()
    assert "stranger" in {entry["name"] for entry in busiest(before, after, others._own(after), os.sysconf("SC_CLK_TCK"))}
    assert {ours.pid, os.getpid(), os.getppid()} <= others._own(after)
    assert stranger.pid not in others._own(after)
