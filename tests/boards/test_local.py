"""Jobs on a board, whatever they run: how they end, what they leave behind, and that nothing can hang or break them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest

import edgeprof as ep
from edgeprof.agent import protocol
from edgeprof.boards.base import Arrived, Board, Cancelled, Done, Event, Failed, Job, Progress
from edgeprof.boards.local import LocalBoard
from edgeprof.boards.opening import who
from edgeprof.errors import BoardError, BoardLost, RunFailed, RuntimeRefused
from edgeprof.models.inputs import make_inputs
from edgeprof.records.profile import Profile
from edgeprof.records.trace import RunPlan, Trace
from tests.boards.conftest import MANY, real_only, with_replay
from tests.loops import inside_a_loop

FEW = {"runs": 4, "warmup": 1}


def start(board: Board, model: Path, **options) -> Job:
    graph = ep.load_model(model)
    return board.start(model, RunPlan(**{"inputs": make_inputs(graph)} | FEW | options))


def until(job: Job, wanted: Callable[[Event], bool], then: Callable[[], None]) -> list[Event]:
    """All events of the job; ``then`` is called at the first one that is ``wanted``."""
    events, called = [], False
    for event in job.events():
        events.append(event)
        if wanted(event) and not called:
            called = True
            then()
    return events


def measuring(event: Event) -> bool:
    return isinstance(event, Progress) and event.phase == "measure"


def whole(result: Trace | Profile) -> bool:
    """Whether all was measured that was planned."""
    return result.complete if isinstance(result, Trace) else "incomplete" not in {finding.id for finding in result.findings}


def agents() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "agent.pyz" in " ".join(child.cmdline())
    ]


@pytest.fixture
def model(make_model) -> Path:
    return make_model("one node")


@pytest.fixture
def slow_model(tmp_path) -> Path:
    """Takes some milliseconds a run, so that whoever wants to disturb it is in time."""
    from onnx import parser

    text = (
        '<ir_version: 8, opset_import: ["": 17]> g (float[200,200] x) => (float[200,200] y)'
        " { a = MatMul(x, x)\n b = MatMul(a, x)\n c = MatMul(b, x)\n y = MatMul(c, x) }"
    )
    onnx.save(parser.parse_model(text), tmp_path / "slow.onnx")
    return tmp_path / "slow.onnx"


# How a job goes


@with_replay
def test_events_come_in_order(board, model):
    events = list(start(board, model).events())
    phases = [event.phase for event in events if isinstance(event, Progress)]
    assert phases == sorted(phases, key=["connect", "send", "load", "warmup", "measure", "memory"].index)
    assert [event.done for event in events if measuring(event)][-1] == 4
    assert board.origin == "replayed" or [event.done for event in events if measuring(event)] == [1, 2, 3, 4]
    assert isinstance(events[-1], Done)
    assert not any(isinstance(event, Done | Failed | Cancelled) for event in events[:-1])
    assert sum(len(event.spans.run_start_ns) for event in events if isinstance(event, Arrived)) >= 4


def test_trace_holds_what_was_planned(board, model):
    trace = start(board, model).result()
    assert trace.complete
    assert sum(len(block.plain_ns) for block in trace.blocks) == sum(len(block.instrumented_ns) for block in trace.blocks) == 4
    assert (trace.board, trace.runtime) == (board.name, "onnxruntime" if board.origin == "measured" else "simulated")
    assert trace.load_ns > 0
    assert trace.first_run_ns > 0
    assert len(trace.warmup_ns) == 1
    starts = [start for block in trace.blocks for start in block.plain_start_ns.tolist()]
    assert starts == sorted(starts)
    assert starts[0] > trace.start_ns


@with_replay
def test_two_jobs_at_once(board, model):
    jobs = [start(board, model) for _ in range(2)]
    assert all(whole(job.result()) for job in jobs)


@with_replay
def test_in_a_running_event_loop(board, model):
    assert inside_a_loop(lambda: ep.profile(model, board=board, progress=False, **FEW)).context.runs == 4


@with_replay
def test_from_a_thread(board, model):
    found = []
    thread = threading.Thread(target=lambda: found.append(ep.profile(model, board=board, progress=False, **FEW)))
    thread.start()
    thread.join()
    assert found[0].context.runs == 4


@with_replay
def test_job_is_the_same_for_a_relative_path(board, model, monkeypatch):
    monkeypatch.chdir(model.parent)
    assert whole(start(board, Path(model.name)).result())


# How a job ends early


def test_cancelled_job_keeps_what_was_measured(board, slow_model):
    job = start(board, slow_model, runs=MANY[board.name])
    end = until(job, measuring, job.cancel)[-1]
    assert isinstance(end, Cancelled)
    assert not end.trace.complete
    assert 0 < sum(len(block.plain_ns) for block in end.trace.blocks) < MANY[board.name]


def test_cancelled_twice(board, slow_model):
    job = start(board, slow_model, runs=MANY[board.name])
    end = until(job, measuring, lambda: (job.cancel(), job.cancel()))[-1]
    assert isinstance(end, Cancelled)
    job.cancel()


@with_replay
def test_cancelled_at_once(board, model):
    job = start(board, model, runs=2000)
    job.cancel()
    end = list(job.events())[-1]
    assert isinstance(end, Cancelled)


@real_only("a simulated board may have measured something by then")
def test_result_of_a_job_that_was_cancelled_before_it_began(board, model):
    job = start(board, model)
    job.kill()
    with pytest.raises(BoardError, match="cancelled before anything was measured"):
        job.result()


@with_replay
def test_cancelling_a_finished_job_does_nothing(board, model):
    job = start(board, model)
    result = job.result()
    job.cancel()
    job.kill()
    assert whole(result)


def test_killed_job_keeps_what_had_arrived(board, slow_model):
    job = start(board, slow_model, runs=min(20_000, MANY[board.name]))
    end = until(job, lambda event: isinstance(event, Arrived), job.kill)[-1]
    assert isinstance(end, Cancelled)
    assert sum(len(block.spans.run_start_ns) for block in end.trace.blocks) > 0
    assert not agents()


def test_time_limit(board, slow_model):
    trace = start(board, slow_model, runs=2000, time_limit_s=0.001).result()
    assert not trace.complete
    assert any(key == "time-limit" for key, _ in trace.messages)


def test_profile_says_that_the_time_limit_cut_it_short(board, slow_model):
    profile = ep.profile(slow_model, board=board, runs=2000, warmup=1, time_limit_s=0.001, progress=False)
    assert {"incomplete", "time-limit"} <= {finding.id for finding in profile.findings}
    assert profile.context.runs < 2000


def test_listener_that_fails_ends_the_agent(board, slow_model):
    def fail(event: Event) -> None:
        if measuring(event):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ep.profile(slow_model, board=board, runs=MANY[board.name], warmup=1, progress=fail)
    psutil.wait_procs(agents())
    assert not agents()


def test_interrupt_keeps_what_was_measured(board, slow_model):
    interrupted: list[bool] = []

    def interrupt(event: Event) -> None:
        if measuring(event) and not interrupted:
            interrupted.append(True)
            signal.raise_signal(signal.SIGINT)

    profile = ep.profile(slow_model, board=board, runs=MANY[board.name], warmup=1, progress=interrupt)
    assert "incomplete" in {finding.id for finding in profile.findings}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# How a job fails


def test_agent_killed_in_mid_run(slow_model):
    board = LocalBoard()
    job = start(board, slow_model, runs=2000)
    end = until(job, lambda event: isinstance(event, Arrived), lambda: agents()[0].kill())[-1]
    assert isinstance(end, Failed)
    assert isinstance(end.error, BoardLost)
    assert "killed by SIGKILL" in str(end.error)
    assert "What was measured until then is kept" in str(end.error)
    assert sum(len(block.spans.run_start_ns) for block in end.error.trace.blocks) > 0


def test_profile_of_a_lost_board_comes_with_the_error(slow_model):
    def murder(event: Event) -> None:
        if isinstance(event, Arrived):
            for agent in agents():
                agent.kill()

    with pytest.raises(BoardLost) as caught:
        ep.profile(slow_model, runs=2000, warmup=1, progress=murder)
    assert caught.value.profile.context.runs > 0
    assert caught.value.profile.context.fingerprint["cpus"] >= 1  # what the board was is known all the same
    assert "incomplete" in {finding.id for finding in caught.value.profile.findings}


def program(tmp_path: Path, body: str) -> str:
    """A stand-in for Python that runs ``body`` in place of the agent."""
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\nout = sys.stdout.buffer\n{body}\n")
    script.chmod(0o755)
    return str(script)


HELLO = protocol.encode("hello", {"protocol": 1})
RUDE_AGENTS = {
    "ends at once": ("sys.exit(3)", "exit status 3"),
    "ends without a word": ("pass", "it closed the connection"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
    "last words": ("sys.exit('no such module: cheese')", "Its last words: no such module: cheese"),
    "talks": ("print('Hello, here I am')", "that is no message"),
    "huge": (r"out.write(b'EP1 99999999999 0\n')", "over the limit"),
    "cut off": (f"out.write({HELLO[:-3]!r})", "ended inside a frame"),
    "no JSON": (r"out.write(b'EP1 3 0\nxyz')", "not JSON"),
    "odd trace": (f"out.write({protocol.encode('trace', {'of': ''}, b'not zlib')!r})", "that is no message"),
    "odd fields": (f"out.write({protocol.encode('progress', {'phase': 1})!r})", "makes no sense"),
    "odd block": (f"out.write({protocol.encode('block', {'of': '', 'index': 0})!r})", "makes no sense"),
    "odd result": (f"out.write({protocol.encode('result', {})!r})", "makes no sense"),
}


@pytest.mark.parametrize("kind", RUDE_AGENTS)
def test_agent_that_misbehaves_is_lost_and_nothing_hangs(kind, model, tmp_path):
    body, sentence = RUDE_AGENTS[kind]
    with pytest.raises(BoardLost, match=sentence):
        start(LocalBoard(python=program(tmp_path, body)), model).result()


def test_python_that_is_not_there(model):
    with pytest.raises(BoardError, match=r"cannot be started with /nowhere/python: No such file"):
        start(LocalBoard(python="/nowhere/python"), model)


def test_runtime_that_is_unknown(board, model):
    with pytest.raises(RuntimeRefused, match="nknown runtime 'abacus'"):
        board.start(model, RunPlan(inputs={"x": np.zeros((1, 8), np.float32)}), runtime="abacus").result()


def test_provider_that_is_not_there(board, model):
    with pytest.raises(RuntimeRefused, match=r"has no AbacusExecutionProvider; it has .*CPUExecutionProvider.*--provider"):
        start(board, model, providers=("AbacusExecutionProvider",)).result()


def test_cpus_that_are_not_there(board, model):
    with pytest.raises(RuntimeRefused, match=r"Cannot pin to CPUs 4000; this board has CPUs .*--cpus"):
        start(board, model, cpus=(4000,)).result()


def test_pinned_to_a_cpu(board, model):
    cpu = min(os.sched_getaffinity(0))
    assert start(board, model, cpus=(cpu,)).result().complete


@real_only("a simulated board computes nothing, so nothing is out of range")
def test_run_that_fails(board, make_model):
    with pytest.raises(RunFailed, match=r"A run of the model failed: .*--inputs"):
        start(board, make_model("ints"), inputs={"ids": np.full((1, 4), 99)}).result()


@real_only("it is the runtime that looks for its inputs")
def test_input_of_another_name(board, model):
    with pytest.raises(RuntimeRefused, match="nonsense"):
        start(board, model, inputs={"nonsense": np.zeros((1, 8), np.float32)}).result()


def test_runtime_that_prints_cannot_break_the_talk(model, tmp_path):
    """What native code writes to standard output, past Python's own stream, goes elsewhere."""
    folder = tmp_path / "noisy"
    folder.mkdir()
    (folder / "onnxruntime.py").write_text(
        "import os, sys\n"
        "os.write(1, b'EP1 2 0\\n{} I am a frame, believe me\\n')\nprint('Hello')\n"
        "sys.path.remove(os.environ['NOISY'])\ndel sys.modules['onnxruntime']\n"
        "import onnxruntime\nsys.modules['onnxruntime'] = onnxruntime\n"
    )
    python = program(
        tmp_path,
        f"os.environ.update(NOISY={str(folder)!r}, PYTHONPATH={str(folder)!r})\n"
        f"os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])",
    )
    assert start(LocalBoard(python=python), model).result().complete


@real_only("a simulated board has the health it was given")
def test_health(board):
    health = board.health()
    assert "CPUExecutionProvider" in health["runtimes"]["onnxruntime"]["providers"]
    assert health["environment"]["cpus"] >= 1


def test_health_says_who_measures_here(slow_model):
    told = []
    job = start(LocalBoard(), slow_model, runs=MANY["local"])
    until(job, measuring, lambda: (told.append(LocalBoard().health()["in_use"]), job.cancel()))
    assert told[0]["who"] == who()
    assert LocalBoard().health()["in_use"] is None


def test_runtime_leaves_nothing_in_the_home(model, tmp_path, monkeypatch):
    """ONNX Runtime 1.32 would keep an id of the machine and what it wants to report there."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    ep.profile(model, **FEW)
    assert list(home.rglob("*")) == []


def test_health_of_an_agent_that_dies(tmp_path):
    with pytest.raises(BoardError, match="exit status 3"):
        LocalBoard(python=program(tmp_path, "sys.exit(3)")).health()


def test_no_room_for_temporary_files(model, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", "/proc/nothing")
    with pytest.raises(BoardError, match="A temporary folder is needed"):
        start(LocalBoard(), model)


def test_a_host_that_is_killed_leaves_no_folder_behind(tmp_path):
    code = """
import pathlib, sys
import edgeprof as ep
from edgeprof.models.probes import make_probes
path = pathlib.Path(sys.argv[1], "tiny.onnx")
path.write_bytes(make_probes()[1].model)
ep.profile(path, runs=20_000, progress=lambda event: print(getattr(event, 'phase', ''), flush=True))
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}) as host:
        while host.stdout.readline().strip() != b"measure":
            assert host.poll() is None
        agents = psutil.Process(host.pid).children()
        assert agents and list(tmp_path.glob("edgeprof-*"))
        host.terminate()
    assert psutil.wait_procs(agents, timeout=60)[1] == []
    assert not list(tmp_path.glob("edgeprof-*"))
