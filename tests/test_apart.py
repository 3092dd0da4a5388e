"""Work in a process apart: what comes back, what is said when it dies, and that nothing is left behind."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from edgeprof import apart, errors
from edgeprof.apart import Apart
from edgeprof.boards.entries import Entry
from edgeprof.boards.hostkeys import HostKeyUnknown
from edgeprof.errors import BoardLost, BundleDamaged, DataError, EdgeprofError, UsageError, WorkerError
from tests import apart_work as work
from tests.loops import inside_a_loop

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def shared():
    """One process for all tests that do it no harm."""
    with Apart("testing") as worker:
        yield worker


def gone(pid):
    """Waits for the process's end; its reaper may be slow."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return True
    return process.status() == psutil.STATUS_ZOMBIE or not psutil.wait_procs([process], timeout=10)[1]


# What comes back


def test_a_result_of_one_process_for_several_calls(shared):
    assert shared.call(work.add, 2, b=3) == 5
    assert shared.call(work.pid) == shared.call(work.pid) != os.getpid()
    assert apart.call("adding", work.add, 1) == 1


def test_an_error_of_edgeprof_travels_with_its_class_sentence_and_all_it_carries(shared):
    with pytest.raises(DataError, match=r"^No data\.$"):
        shared.call(work.raise_data_error, "No data.")
    with pytest.raises(BundleDamaged, match=r"^Two members are damaged\.$") as damaged:
        shared.call(work.raise_damaged)
    assert damaged.value.members == ("a.parquet", "b.json")
    with pytest.raises(HostKeyUnknown) as unknown:
        shared.call(work.raise_unknown_key)
    assert unknown.value.entry == Entry("pi", "host")


def test_every_class_of_error_travels():
    for kind in [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, EdgeprofError)]:
        made = kind("A sentence.")
        made.add_note("a note")
        again = pickle.loads(pickle.dumps(made))
        assert (type(again), str(again), again.__dict__) == (kind, "A sentence.", made.__dict__)


def test_an_error_loses_what_cannot_travel_and_nothing_else(shared):
    with pytest.raises(BoardLost, match=r"^The link is gone\.$") as lost:
        shared.call(work.raise_what_cannot_travel)
    assert (lost.value.trace, lost.value.profile) == (None, "what was made of it")


def test_an_error_of_a_library_is_one_sentence_with_its_trace_as_a_note(shared):
    with pytest.raises(WorkerError) as failed:
        shared.call(work.raise_library_error)
    assert str(failed.value) == "Testing failed: ValueError: a library's first line."
    assert "raise_library_error" in failed.value.__notes__[0]
    with pytest.raises(WorkerError, match="memory ran out"):
        shared.call(work.run_out_of_memory)
    assert shared.call(work.add, 1) == 1


def test_the_runtime_fails_apart_and_is_not_imported_here():
    code = """
import sys
from edgeprof import apart
from edgeprof.errors import WorkerError
from tests import apart_work
try:
    apart.call("opening", apart_work.refuse_a_model)
except WorkerError as error:
    print(error)
print("onnxruntime" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    assert len(said) == 2
    assert said[0].startswith("Opening failed: ")
    assert said[1] == "False"


def test_what_is_printed_there_and_read_there_disturbs_nothing(shared):
    assert shared.call(work.speak) == ""
    assert shared.call(work.add, 1) == 1


def test_a_hundred_megabytes_there_and_back(shared):
    size = 100_000_000
    assert shared.call(work.size_of, bytes(size)) == size
    assert len(shared.call(work.zeros, size)) == size


def test_progress_is_told(shared):
    heard = []
    assert shared.call(work.count, 3, told=lambda *told: heard.append(told)) == 3
    assert heard == [("count", 0, 3), ("count", 1, 3), ("count", 2, 3)]
    apart.tell("nobody", 0, 1)  # outside of such a process nothing happens


def test_what_cannot_be_pickled_is_refused_and_the_process_lives(shared):
    before = shared.call(work.pid)
    with pytest.raises(UsageError, match="cannot be sent to the process that is testing"):
        shared.call(work.add, threading.Lock())
    with pytest.raises(UsageError, match="function of a module"):
        shared.call(lambda: 1)
    with pytest.raises(WorkerError, match="Testing failed"):
        shared.call(work.unpicklable)
    assert shared.call(work.pid) == before


def test_a_function_that_the_other_end_cannot_find_is_one_sentence(shared, monkeypatch):
    before = shared.call(work.pid)
    monkeypatch.setattr(work, "only_here", eval("lambda: 1"), raising=False)
    work.only_here.__qualname__, work.only_here.__module__ = "only_here", work.__name__
    with pytest.raises(WorkerError, match="only_here"):
        shared.call(work.only_here)
    assert shared.call(work.pid) == before


# Its death


@pytest.mark.parametrize(
    ("function", "argument", "sentence"),
    [
        (work.end, 0, r"^The process that was testing ended with status 0 \(last words\)\. Try again\.$"),
        (work.end, 7, r"ended with status 7 \(last words\)"),
        (work.signal_itself, signal.SIGSEGV, r"crashed \(SIGSEGV\)"),
        (work.signal_itself, signal.SIGKILL, "was killed; the system does that when memory runs out"),
        (work.signal_itself, signal.SIGRTMIN + 3, "crashed"),
    ],
)
def test_a_death_is_one_sentence_and_the_next_call_works(function, argument, sentence):
    with Apart("testing") as worker:
        with pytest.raises(WorkerError, match=sentence):
            worker.call(function, argument)
        assert worker.call(work.add, 1) == 1


def test_a_process_that_dies_between_two_calls_is_started_anew():
    with Apart("testing") as worker:
        first = worker.call(work.pid)
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)  # with all its threads
        assert worker.call(work.pid) != first


def test_an_exit_of_python_there_is_a_death(monkeypatch):
    with pytest.raises(WorkerError, match="ended with status 4"):
        apart.call("testing", work.exit_politely)


def test_a_process_that_closes_its_pipes_does_not_hang(monkeypatch):
    monkeypatch.setattr(apart, "_DIES_WITHIN_S", 0.05)
    with pytest.raises(WorkerError, match="The process that was testing"):
        apart.call("testing", work.close_all_files)


def test_killed_from_another_thread_is_said_to_be_stopped():
    with Apart("testing") as worker:
        with pytest.raises(WorkerError, match=r"^The process that was testing was stopped\.$"):
            worker.call(work.tell_and_wait, told=lambda *_: threading.Thread(target=worker.kill).start())
        assert worker.call(work.add, 1) == 1


def test_who_hears_of_progress_may_fail_and_the_next_call_works():
    def broken(phase, done, total):
        raise BrokenPipeError("standard output is gone")

    with Apart("testing") as worker:
        with pytest.raises(BrokenPipeError, match="standard output"):
            worker.call(work.tell_and_wait, told=broken)
        assert worker.call(work.add, 1) == 1


def test_closing_ends_what_it_started_too():
    pids = []

    def interrupted(phase, pid, total):
        pids.append(pid)
        raise KeyboardInterrupt

    with Apart("testing") as worker, pytest.raises(KeyboardInterrupt):
        worker.call(work.start_another_and_wait, told=interrupted)
    assert all(gone(pid) for pid in pids)
    assert len(pids) == 1


# Who calls


def script(tmp_path, text):
    """Starts a script without ``if __name__ == "__main__"``; it prints the worker's pid."""
    path = tmp_path / "script.py"
    path.write_text(text)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )


WAITS = """
from edgeprof import apart
from tests import apart_work
apart.call("waiting", apart_work.tell_and_wait, told=lambda phase, pid, total: print(pid, flush=True))
"""


def test_a_script_needs_no_main_guard_and_files_beside_it_are_not_taken_for_modules(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "queue.py").write_text("raise SystemExit('imported from the folder it was started in')")
    process = script(
        folder,
        f"import os; os.chdir({str(tmp_path)!r})\nfrom edgeprof import apart\nimport operator\nprint(apart.call('x', operator.add, 1, 1))",
    )
    assert process.communicate(timeout=60) == ("2\n", "")


@pytest.mark.parametrize(("number", "words"), [(signal.SIGKILL, ""), (signal.SIGINT, "KeyboardInterrupt")])
def test_when_the_caller_is_killed_or_interrupted_nothing_is_left(tmp_path, number, words):
    with script(tmp_path, WAITS) as process:
        worker = int(process.stdout.readline())
        assert psutil.pid_exists(worker)
        process.send_signal(number)
        assert words in process.communicate(timeout=60)[1]
    assert process.returncode == -number
    assert gone(worker)


def test_two_threads_wait_for_each_other(shared):
    found = []
    threads = [threading.Thread(target=lambda n=n: found.append((n, shared.call(work.count, n)))) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(n, n) for n in range(1, 9)]


def test_inside_a_running_event_loop(shared):
    assert inside_a_loop(lambda: shared.call(work.add, 1, 2)) == 3


def test_the_process_is_not_kept_by_one_that_was_closed():
    worker = Apart("testing")
    pid = worker.call(work.pid)
    worker.close()
    assert gone(pid)
    worker.close()
    worker.kill()
