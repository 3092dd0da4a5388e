"""The supervisor and its processes, for real: which there are when, and that none of them can take the others' results with it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import parser

import edgeprof as ep
from edgeprof.agent import protocol
from edgeprof.boards.base import Arrived, Cancelled, Done, Event, Failed, Job, Planned, Progress, Sampled
from edgeprof.boards.local import LocalBoard
from edgeprof.boards.package import agent_zipapp
from edgeprof.boards.simulated import SimulatedBoard
from edgeprof.errors import BoardLost
from edgeprof.records.trace import EnergyPlan, RunPlan, Trace
from tests.agent.sensors.trees import plant
from tests.boards.conftest import own_temporary_folder, until

INPUTS = {"x": np.zeros((300, 300), np.float32)}
FEW = {"runs": 4, "warmup": 1, "inputs": INPUTS}
MANY = 3000
"""Runs that take some seconds, so that whoever wants to disturb them is in time."""

QUICK = EnergyPlan(samples=10, model_s=0.5, idle_s=0.2, warm_limit_s=0)
ENDLESS_ENERGY = EnergyPlan(model_s=10_000, warm_limit_s=0)
"""Loops that nobody could wait for: what ends them is what a test is about."""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for all temporary files, which must be empty when the test ends, as must be the list of the agent's processes."""
    folder = own_temporary_folder(tmp_path, monkeypatch)
    yield folder
    left = roles()
    for process in [process for group in left.values() for process in group]:  # so that one failure is not many
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert not left, "processes were left behind"
    assert not list(folder.glob("edgeprof-*")), "temporary files were left behind"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Takes a millisecond or two a run."""
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[300,300] x) => (float[300,300] y) { a = MatMul(x, x)\n y = Relu(a) }'
    onnx.save(parser.parse_model(text), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Jetson whose power never changes; its processes are those of this machine."""
    hwmon = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    rail = {"name": "ina3221\n", "in1_label": "VDD_IN\n", "in1_input": "5000\n", "curr1_input": "400\n"}
    plant(tmp_path / "root", {f"{hwmon}/{name}": text for name, text in rail.items()})
    (tmp_path / "root" / "proc").symlink_to("/proc")
    return tmp_path / "root"


@pytest.fixture
def at_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Has every worker run some lines when it imports the runtime; ``count`` says the how manieth it is: latency, memory, energy."""

    def set_up(body: str) -> Path:
        folder = tmp_path / "runtime"
        folder.mkdir()
        (folder / "onnxruntime.py").write_text(
            f"import os, pathlib, signal, sys\nhere = pathlib.Path({str(folder)!r})\n"
            "(here / str(os.getpid())).touch()\ncount = sum(path.name.isdigit() for path in here.iterdir())\n"
            f"{body}\nsys.path.remove(str(here))\ndel sys.modules['onnxruntime']\n"
            "import onnxruntime\nsys.modules['onnxruntime'] = onnxruntime\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(folder))
        return folder

    return set_up


def roles() -> dict[str, list[psutil.Process]]:
    """The agent's living processes below this one, by what they do: ``supervise``, ``work``, ``sample``."""
    found: dict[str, list[psutil.Process]] = defaultdict(list)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            words = process.cmdline()
            if process.status() != psutil.STATUS_ZOMBIE and any(word.endswith("agent.pyz") for word in words):
                found[[*words, "supervise"][[word.endswith("agent.pyz") for word in words].index(True) + 1]].append(process)
    return dict(found)


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended; one that has may be a zombie for as long as nobody asks how it went."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def wait_for_the_end(processes: list[psutil.Process]) -> None:
    patience = time.monotonic() + 60
    while any(map(lives, processes)):
        assert time.monotonic() < patience, "processes were left behind"


def start(model: Path, root: Path | str = "/", **options) -> Job:
    return LocalBoard(sysroot=root).start(model, RunPlan(**FEW | options))


def in_phase(phase: str) -> Callable[[Event], bool]:
    if phase == "energy":
        return lambda event: isinstance(event, Planned)
    return lambda event: isinstance(event, Progress) and event.phase == phase


def end(events: list[Event]) -> Trace:
    """The trace of a job that went to its end."""
    assert isinstance(events[-1], Done), events[-1]
    return events[-1].trace


def kill(role: str) -> Callable[[], None]:
    def strike() -> None:
        for process in roles()[role]:
            process.kill()

    return strike


def assert_layers(trace: Trace, runs: int = 4) -> None:
    assert sum(len(block.plain_ns) for block in trace.blocks) == runs
    assert all(len(block.spans) == 2 * len(block.instrumented_ns) for block in trace.blocks)
    assert trace.executed_model is not None


def phases(trace: Trace) -> list[str]:
    return [window.phase for window in trace.windows]


# Which processes there are


def test_a_worker_for_each_phase_and_one_sampler_beside(model, root, at_import):
    folder = at_import("")
    seen: dict[str, set[int]] = defaultdict(set)
    most: dict[str, int] = defaultdict(int)

    def look(event: Event) -> bool:
        for role, processes in roles().items():
            seen[role].update(process.pid for process in processes)
            most[role] = max(most[role], len(processes))
        return in_phase("energy")(event)

    job = start(model, root, runs=20, energy="model", energy_plan=ENDLESS_ENERGY)
    events = until(job, look, job.cancel)
    assert isinstance(events[-1], Cancelled)
    assert (most["work"], most["sample"]) == (1, 1)
    assert len(seen["sample"]) == 1
    imported = {int(path.name) for path in folder.iterdir() if path.name.isdigit()}
    assert len(imported) == 3, "each phase has a process of its own, and no other process loads the runtime"
    assert seen["work"] <= imported
    assert not roles()


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, ["load", "warmup", "measure", "memory"]), ({"memory": False}, ["load", "warmup", "measure"])],
)
def test_phases_that_are_wanted(model, options, expected, at_import):
    folder = at_import("")
    trace = start(model, **options).result()
    assert phases(trace) == expected
    assert (trace.memory is not None) == ("memory" in expected)
    assert sum(path.name.isdigit() for path in folder.iterdir()) == 1 + ("memory" in expected)
    starts = [window.start_ns for window in trace.windows]
    assert starts == sorted(starts)
    assert all(a.end_ns <= b.start_ns for a, b in zip(trace.windows, trace.windows[1:], strict=False))


def test_all_phases_with_a_sensor_that_says_always_the_same(model, root):
    """The energy phase finds out that it is stuck, and says so; all else is there."""
    events = list(start(model, root, energy="layers", energy_plan=QUICK, sensors=("ina3221", "process")).events())
    trace = end(events)
    assert trace.complete
    assert_layers(trace)
    assert trace.energy.refused == "the power sensor is stuck: it read 2000 mW at rest and under load alike"
    assert (trace.energy.channels, trace.energy.scope, trace.energy.groups) == (("ina3221/VDD_IN_mw",), "module", ())
    assert phases(trace).count("model") == 10
    assert [(use.name, use.problem) for use in trace.sensors] == [("ina3221", ""), ("process", "")]
    power = trace.channels.index(next(c for c in trace.channels if c.name == "ina3221/VDD_IN_mw"))
    assert set(trace.samples.of(power)[1]) == {2000.0}
    assert len(trace.samples.of(power)[0]) > 20
    assert 0 < trace.sampling["cpu_share"] < 1


def test_no_sensors_no_sampler(model, at_import):
    at_import("")
    seen = []
    job = start(model, sensors=())
    trace = end(until(job, lambda event: bool(seen.append(set(roles()))) or isinstance(event, Arrived), lambda: None))
    assert not any("sample" in some for some in seen)
    assert (trace.channels, len(trace.samples), trace.sensors, trace.sampling) == ((), 0, (), {})
    assert trace.no_power == "there is no power sensor"
    assert trace.complete


@pytest.fixture
def unchecked(monkeypatch):
    """As of an agent that knows fewer families than this machine does."""
    monkeypatch.setattr("edgeprof.boards.local.refuse_unknown_sensors", lambda wanted, known: None)


@pytest.mark.usefixtures("unchecked")
def test_only_the_sensors_that_were_named(model):
    trace = start(model, sensors=("process", "abacus")).result()
    assert {channel.name.partition("/")[0] for channel in trace.channels} == {"process"}
    process, unknown = trace.sensors
    assert (process.name, process.problem) == ("process", "")
    assert unknown.name == "sensor-unknown"
    assert unknown.problem.startswith("there is no sensor family 'abacus'; known are ")


@pytest.mark.usefixtures("unchecked")
def test_energy_without_power_says_why_and_starts_no_worker(model, at_import):
    folder = at_import("")
    trace = start(model, sensors=("process", "abacus"), energy="model").result()
    assert trace.complete
    assert trace.energy.refused.startswith("there is no power sensor: there is no sensor family 'abacus'")
    assert sum(path.name.isdigit() for path in folder.iterdir()) == 2


def test_every_worker_keeps_to_the_cpus(model, root, at_import):
    folder = at_import("(here / ('cpus-%d' % count)).write_text(str(sorted(os.sched_getaffinity(0))))")
    cpu = max(os.sched_getaffinity(0))
    job = start(model, root, cpus=(cpu,), energy="model", energy_plan=ENDLESS_ENERGY)
    until(job, in_phase("energy"), job.cancel)
    assert [(folder / f"cpus-{phase}").read_text() for phase in (1, 2, 3)] == [f"[{cpu}]"] * 3


def test_interpreter_flags_reach_all_processes(tmp_path):
    """Started without site-packages, no process of the agent sees them: the worker has no runtime, which is how that shows."""
    path = tmp_path / "agent.pyz"
    path.write_bytes(agent_zipapp())
    job = {"frames": 0, "options": {}, "workdir": ".", "compression": 0, "runtime": "onnxruntime", "sensors": ["process"]}
    words = protocol.encode("job", job)
    done = subprocess.run([sys.executable, "-I", "-S", "-X", "utf8", str(path)], input=words, capture_output=True, check=False)
    stream = io.BytesIO(done.stdout)
    frames = list(iter(lambda: protocol.read(stream), None))
    assert frames[0].fields["runtimes"] == []
    assert "onnxruntime is not installed" in frames[-1].fields["message"]
    assert (done.returncode, done.stderr) == (1, b"")


# Processes that die


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV. Nothing had been measured yet. The runtime crashed"),
        ("os.write(2, b'the last straw'); os._exit(7)", r"exit status 7\. .* Its last words: the last straw"),
        ("raise ZeroDivisionError('by zero')", "exit status 1.*ZeroDivisionError: by zero"),
    ],
)
def test_a_runtime_that_crashes_in_the_first_phase_says_how_and_its_last_words(how, words, model, at_import):
    at_import(how)
    with pytest.raises(BoardLost, match=words):
        start(model).result()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("os._exit(3)", "exit status 3"),
        ("raise ImportError('libfoo is missing')", "onnxruntime is installed but cannot be imported: libfoo is missing"),
        ("[os.close(fd) for fd in range(3, 30) if os.path.exists('/proc/self/fd/%d' % fd)]", "exit status 1"),
        ("raise MemoryError", "the board ran out of memory"),
    ],
)
def test_a_memory_phase_that_dies_loses_nothing_of_the_layers(how, words, model, at_import):
    at_import(f"if count == 2:\n    {how}")
    trace = start(model).result()
    assert_layers(trace)
    assert (trace.complete, trace.memory) == (True, None)
    ((key, text),) = trace.messages
    assert key == "memory-failed"
    assert text == f"the memory phase ended early: {words}"


def test_after_a_memory_phase_that_died_the_energy_phase_is_done(model, root, at_import):
    at_import("if count == 2:\n    os._exit(3)")
    job = start(model, root, energy="model", energy_plan=ENDLESS_ENERGY)
    last = until(job, in_phase("energy"), job.cancel)[-1]
    assert isinstance(last, Cancelled)
    assert "memory-failed" in dict(last.trace.messages)
    assert last.trace.energy is not None


def test_a_memory_phase_that_dies_is_a_finding_of_the_profile(model, at_import):
    at_import("if count == 2:\n    os._exit(3)")
    profile = ep.profile(model, runs=4, warmup=1, progress=False)
    (finding,) = [finding for finding in profile.findings if finding.id == "memory-failed"]
    assert finding.text == "The memory phase ended early: exit status 3."
    assert profile.measured_layers["latency_ms"].notna().all()
    assert "incomplete" not in {finding.id for finding in profile.findings}


def test_an_energy_phase_that_is_killed_loses_nothing_of_what_was_before(model, root):
    job = start(model, root, energy="layers", energy_plan=ENDLESS_ENERGY)
    trace = end(until(job, in_phase("energy"), kill("work")))
    assert_layers(trace)
    assert trace.memory is not None
    assert [(key, text) for key, text in trace.messages if key != "not-flat"] == [
        ("energy-failed", "the energy phase ended early: killed by SIGKILL")
    ]


def test_what_is_no_message_ends_a_worker(model, at_import):
    """Native code that writes where the protocol's pipe is."""
    strays = "        try:\n            os.write(fd, b'EP1 99999999999 0\\n')\n        except OSError:\n            pass"
    at_import(f"if count == 2:\n    for fd in range(3, 30):\n{strays}")
    trace = start(model).result()
    assert_layers(trace)
    assert (
        "it said something that is no message (a frame of 99999999999 + 0 bytes is over the limit)" in dict(trace.messages)["memory-failed"]
    )


def test_a_sampler_that_is_killed_loses_nothing_but_what_it_would_have_read(model, root):
    job = start(model, root, runs=800)
    trace = end(until(job, lambda event: isinstance(event, Sampled), kill("sample")))
    assert_layers(trace, 800)
    assert dict(trace.messages)["sampler-failed"] == "the process that reads sensors ended early; what it had read is kept"
    assert len(trace.samples) > 0
    power = next(use for use in trace.sensors if use.name == "ina3221")
    assert power.samples > 0
    assert trace.sampling == {}


def test_a_sampler_that_does_not_come_up_loses_no_layers(model, root, tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import os, sys\nif 'sample' in sys.orig_argv:\n    os._exit(5)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    trace = start(model, root, energy="model", energy_plan=QUICK).result()
    assert_layers(trace)
    assert trace.complete
    assert "sampler-failed" in dict(trace.messages)
    assert trace.energy.refused == "there is no power sensor: the process that reads sensors ended early; what it had read is kept"
    assert trace.channels == ()


# Cancel, time limit


@pytest.mark.parametrize("phase", ["measure", "memory", "energy"])
def test_cancelled_in_each_phase_keeps_what_was_measured(phase, model, root, at_import):
    """The memory phase is short: it waits where it imports the runtime until the cancel has been sent."""
    folder = at_import("while count == 2 and not (here / 'sent').exists():\n    pass")
    many = {"runs": MANY} if phase == "measure" else {}
    job = start(model, root, energy="model", energy_plan=ENDLESS_ENERGY, **many)
    if phase == "energy":
        (folder / "sent").touch()
    last = until(job, in_phase(phase), lambda: (job.cancel(), (folder / "sent").touch()))[-1]
    assert isinstance(last, Cancelled)
    assert (last.trace.complete, last.trace.stopped_in) == (False, "latency" if phase == "measure" else phase)
    assert sum(len(block.plain_ns) for block in last.trace.blocks) >= 1
    if phase == "energy":
        assert last.trace.memory is not None
        assert last.trace.energy.refused == ""
    else:
        assert "idle" not in phases(last.trace)


@pytest.mark.parametrize("phase", ["measure", "memory", "energy"])
def test_a_worker_that_hangs_and_does_not_hear_a_cancel_can_be_killed(phase, model, root, at_import):
    """It stops where it imports the runtime, which is before it looks whether it was cancelled."""
    number = {"measure": 1, "memory": 2, "energy": 3}[phase]
    folder = at_import(f"if count == {number}:\n    (here / 'hangs').touch()\n    signal.pause()")
    job = start(model, root, energy="model", energy_plan=ENDLESS_ENERGY)

    def strike() -> None:
        end = time.monotonic() + 60
        while not (folder / "hangs").exists():
            assert time.monotonic() < end, f"the runtime was never imported; there are {roles()}"
        job.cancel()
        job.kill()

    if phase == "measure":
        strike()
        *before, last = job.events()
        assert last == Cancelled(None)
        assert all(isinstance(event, Sampled) for event in before), "what sensors said until then may have arrived"
    else:
        last = until(job, in_phase("memory"), strike)[-1]
        assert isinstance(last, Cancelled)
        assert_layers(last.trace)


def test_the_time_limit_ends_the_first_phase_and_is_said_as_it_was_given(model):
    trace = start(model, runs=MANY, time_limit_s=0.25).result()
    assert (trace.complete, trace.stopped_in) == (False, "latency")
    done = sum(len(block.plain_ns) for block in trace.blocks)
    assert dict(trace.messages)["time-limit"] == f"it stopped at the time limit of 0.25 s with {done} of {MANY} runs"
    assert phases(trace)[-1] == "measure", "there is no time for another phase"


def test_the_time_limit_leaves_no_time_for_another_phase(model, root, at_import):
    """The only run there is has been made when the limit is noticed, so that the first phase is whole."""
    folder = at_import("")
    trace = start(model, root, runs=1, time_limit_s=0.001, energy="model", energy_plan=ENDLESS_ENERGY).result()
    assert_layers(trace, 1)
    assert (trace.complete, trace.stopped_in, trace.memory, trace.energy) == (False, "memory", None, None)
    assert dict(trace.messages)["time-limit"] == "the time limit of 0.001 s left no time for the memory phase"
    assert sum(path.name.isdigit() for path in folder.iterdir()) == 1


@pytest.mark.parametrize("mode", ["model", "layers"])
def test_the_time_limit_ends_the_energy_phase(mode, model):
    """On a simulated board, whose hours are short."""
    plan = RunPlan(**FEW, energy=mode, energy_plan=EnergyPlan(model_s=200 if mode == "model" else 5, loop_s=200), time_limit_s=120)
    trace = SimulatedBoard().start(model, plan).result()
    assert (trace.complete, trace.stopped_in) == (False, "energy")
    assert dict(trace.messages)["time-limit"] == "energy: stopped at the time limit of 120 s"
    ends_s = [(window.end_ns - trace.start_ns) / 1e9 for window in trace.windows]
    assert 120 <= max(ends_s) < 130
    assert all(window.runs > 0 for window in trace.windows if window.phase in ("model", "layers"))


# A host that dies

HOST = """
import pathlib, sys
import edgeprof as ep
from edgeprof.boards.local import LocalBoard
from edgeprof.records.trace import EnergyPlan
def tell(event):
    print(getattr(event, 'phase', type(event).__name__), flush=True)
path = pathlib.Path(sys.argv[1])
plan = EnergyPlan(model_s=10_000, warm_limit_s=0)
ep.profile(path, board=LocalBoard(sysroot=sys.argv[2]), runs=int(sys.argv[3]), warmup=1, energy='model', energy_plan=plan, progress=tell)
"""


@pytest.mark.parametrize(("phase", "runs"), [("memory", 4), ("Planned", 4)])
def test_a_host_that_is_killed_leaves_no_process_and_no_folder(phase, runs, model, root, temporary):
    """In its first phase: see `tests/boards/test_local.py`."""
    command = [sys.executable, "-c", HOST, str(model), str(root), str(runs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)}) as host:
        while host.stdout.readline().strip() != phase.encode():
            assert host.poll() is None
        agents = psutil.Process(host.pid).children(recursive=True)
        assert len(agents) >= 2
        host.kill()
    wait_for_the_end(agents)


def test_a_host_that_is_killed_while_the_runtime_hangs_leaves_nothing(model, root, temporary, at_import):
    folder = at_import("(here / 'hangs').touch()\nsignal.pause()")
    command = [sys.executable, "-c", HOST, str(model), str(root), "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)}) as host:
        while not (folder / "hangs").exists():
            assert host.poll() is None
        agents = psutil.Process(host.pid).children(recursive=True)
        assert len(agents) == 3
        host.kill()
    wait_for_the_end(agents)


def test_a_supervisor_that_is_killed_takes_its_processes_with_it(model, root):
    job = start(model, root, runs=MANY)
    below: list[psutil.Process] = []

    def strike() -> None:
        there = roles()
        below.extend(there["work"] + there["sample"])
        there["supervise"][0].kill()

    last = until(job, in_phase("measure"), strike)[-1]
    assert isinstance(last, Failed)
    assert len(below) == 2
    wait_for_the_end(below)


# Frames over the limits


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(b"EP1 %d 0\n" % (protocol.MAX_HEADER_BYTES + 1), id="a job"),
        pytest.param(protocol.encode("job", {"frames": 1}) + b"EP1 10 %d\n" % (protocol.MAX_PAYLOAD_BYTES + 1), id="an array"),
        pytest.param(protocol.encode("job", {"frames": 1}) + b"EP1 2", id="half a frame"),
        pytest.param(protocol.encode("job", {"frames": 2}) + protocol.encode("array", {}), id="an array too few"),
    ],
)
def test_a_host_that_says_too_much_or_too_little_starts_no_process(words, tmp_path):
    path = tmp_path / "agent.pyz"
    path.write_bytes(agent_zipapp())
    marker = tmp_path / "started"
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nif len(sys.orig_argv) > 2:\n    open({str(marker)!r}, 'w').close()")
    done = subprocess.run(
        [sys.executable, str(path)], input=words, capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )
    stream = io.BytesIO(done.stdout)
    assert [frame.type for frame in iter(lambda: protocol.read(stream), None)] == ["hello"]
    assert not marker.exists()


def test_an_array_over_the_limit_is_a_lost_board_with_the_reason(model, monkeypatch):
    monkeypatch.setattr("edgeprof.agent.protocol.MAX_PAYLOAD_BYTES", 1 << 40)
    first = protocol.encode("job", {"frames": 1}) + b"EP1 10 %d\n" % (1 << 31)
    monkeypatch.setattr("edgeprof.boards.local.opening", lambda *args, **options: first)
    with pytest.raises(BoardLost, match=r"exit status 1.*a frame of 10 \+ 2147483648 bytes is over the limit"):
        start(model).result()
