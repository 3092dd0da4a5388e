"""External meters while a job runs: a real process reads real instruments on loopback, and nothing that becomes of them hurts the job."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgeprof.boards.base import Arrived, Cancelled, Event, Job, Planned, Progress
from edgeprof.boards.local import LocalBoard
from edgeprof.boards.metering import Metering
from edgeprof.errors import BoardError, MeterError, MissingExtra, UsageError
from edgeprof.records.trace import EnergyPlan, RunPlan, Trace
from tests.boards.conftest import until
from tests.boards.meters.instruments import OnSocket

FEW = {"runs": 4, "warmup": 1, "inputs": {"x": np.zeros((1, 8), np.float32)}}


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    yield
    assert not readers(), "a process that reads meters was left behind"


@pytest.fixture
def model(make_model) -> Path:
    return make_model("one node")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Has processes that were started with this word run some lines first."""

    def set_up(word: str, body: str) -> None:
        folder = tmp_path / "site"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(f"import os, sys\nif {word!r} in sys.orig_argv:\n    {body}\n")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(Path(__file__).parents[2])]))

    return set_up


def readers() -> list[psutil.Process]:
    """Living processes that read meters."""
    children = [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in children if "edgeprof.boards.meters" in child.cmdline()]


def spec(supply: OnSocket, rate: int = 100) -> str:
    return f"visa:{supply.resource}?rate={rate}&timeout=5"


def start(model: Path, *meters: str, **options) -> Job:
    return LocalBoard().start(model, RunPlan(**FEW | {"sensors": ("process",)} | options, meters=meters))


def of(trace: Trace, name: str) -> tuple[np.ndarray, np.ndarray]:
    return trace.samples.of([channel.name for channel in trace.channels].index(name))


def measuring(event: Event) -> bool:
    return isinstance(event, Progress) and event.phase == "measure"


# Samples


def test_readings_land_behind_those_of_the_board(model):
    """Each on its own channel, in order, on the clock of the job."""
    watts = itertools.count(1)
    began = time.perf_counter_ns()
    with OnSocket({"MEAS:POW?": lambda: str(next(watts))}) as supply:
        trace = start(model, spec(supply)).result()
        asked = supply.instrument.heard.count("MEAS:POW?")
    names = [channel.name for channel in trace.channels]
    assert names[-1] == "visa/power_mw"
    assert {name.partition("/")[0] for name in names[:-1]} == {"process"}
    times, values = of(trace, "visa/power_mw")
    assert len(values) > 10
    assert values.tolist() == [1000.0 * n for n in range(asked - len(values) + 1, asked + 1)], "each reading once, none lost at the end"
    assert (np.diff(times) > 0).all()
    assert began < times[0] < times[-1] < time.perf_counter_ns()
    assert times[0] < trace.blocks[0].plain_start_ns[0] < times[-1]
    assert set(of(trace, "process/rss_bytes")[1] > 1e6) == {True}
    (use,) = [use for use in trace.sensors if use.name == "visa"]
    assert (use.rate_hz, use.samples, use.problem) == (100.0, len(values), "")
    assert trace.complete


def test_two_meters(model):
    with OnSocket({"MEAS:POW?": "1"}) as one, OnSocket({"MEAS:VOLT?": "5", "MEAS:CURR?": "0.5"}) as two:
        queries = "&voltage=MEAS:VOLT?&current=MEAS:CURR?"
        trace = start(model, spec(one), spec(two) + queries, sensors=()).result()
    names = [channel.name for channel in trace.channels]
    assert names == ["visa/power_mw", "visa-2/voltage_mv", "visa-2/current_ma", "visa-2/power_mw"]
    assert [set(of(trace, name)[1]) for name in names] == [{1000.0}, {5000.0}, {500.0}, {2500.0}]
    assert [(use.name, use.problem) for use in trace.sensors] == [("visa", ""), ("visa-2", "")]


def test_a_meter_is_what_energy_is_measured_with(model):
    with OnSocket({"MEAS:POW?": "1"}) as supply:
        job = start(model, spec(supply), energy="model", energy_plan=EnergyPlan(model_s=10_000, warm_limit_s=0), sensors=None)
        last = until(job, lambda event: isinstance(event, Planned), job.cancel)[-1]
    assert isinstance(last, Cancelled)
    assert (last.trace.energy.channels, last.trace.energy.scope) == (("visa/power_mw",), "board")
    assert last.trace.no_power == ""


def test_a_meter_goes_on_when_the_boards_own_sampler_does_not_come_up(model, site):
    site("sample", "os._exit(5)")
    with OnSocket({"MEAS:POW?": "3"}) as supply:
        trace = start(model, spec(supply)).result()
    assert "sampler-failed" in dict(trace.messages)
    assert [channel.name for channel in trace.channels] == ["visa/power_mw"]
    assert set(of(trace, "visa/power_mw")[1]) == {3000.0}


# Meters that cannot be opened

REFUSED = {
    "nobody listens": ("visa:TCPIP::127.0.0.1::9::SOCKET", MeterError, "refused"),
    "no such meter": ("abacus", UsageError, "There is no meter 'abacus'. Known are: "),
    "not installed": ("joulescope", MissingExtra, r'pip install "edgeprof\[joulescope\]"'),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_meter_that_cannot_be_opened_stops_all_before_anything_runs(kind, model, monkeypatch):
    address, error, words = REFUSED[kind]
    monkeypatch.setattr("edgeprof.boards.local.LocalLink", lambda *args: pytest.fail("the agent was started"))
    with OnSocket({"MEAS:POW?": "1"}) as supply:
        with pytest.raises(error, match=words) as caught:
            start(model, spec(supply), address)
        assert type(caught.value) is error
        assert supply.was_left.wait(30), "the one that could be opened is closed again"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os._exit(9)", "The process that reads meters ended with status 9"),
        ("os.write(1, b'EP1 99999999999 0\\n')", "The process that reads meters ended with status"),
    ],
)
def test_a_process_that_dies_or_says_nonsense_is_a_meter_error(body, words, model, site):
    site("edgeprof.boards.meters", body)
    with OnSocket({"MEAS:POW?": "1"}) as supply, pytest.raises(MeterError, match=words):
        start(model, spec(supply))


def test_a_meter_that_does_not_open_is_given_up(model, site, monkeypatch):
    monkeypatch.setattr("edgeprof.boards.metering.OPENS_WITHIN_S", 0.5)
    site("edgeprof.boards.meters", "import time; time.sleep(600)")
    with pytest.raises(MeterError, match="did not open within"):
        start(model, "visa:TCPIP::127.0.0.1::9::SOCKET")


def test_a_meter_that_hangs_does_not_outlive_the_one_who_asked_for_it(tmp_path):
    """The instrument takes the call and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        address = f"visa:TCPIP::127.0.0.1::{server.getsockname()[1]}::SOCKET?timeout=60"
        code = f"from edgeprof.boards.metering import Metering\nMetering([{address!r}])"
        with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2]) as parent, server.accept()[0]:
            (child,) = psutil.Process(parent.pid).children()
            parent.kill()
            assert psutil.wait_procs([child], timeout=30)[1] == [], "sooner than the instrument's time is up"


def test_ctrl_c_while_a_meter_is_being_opened(model):
    """It takes its time to answer; whoever does not want to wait does not have to."""
    asked, main = threading.Event(), threading.main_thread().ident

    def interrupt() -> None:
        asked.wait()
        signal.pthread_kill(main, signal.SIGINT)

    with OnSocket({"*IDN?": lambda: asked.set()}) as supply:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            start(model, f"visa:{supply.resource}?timeout=60")
        thread.join()
        assert supply.was_left.wait(30)


def test_an_agent_that_cannot_be_started_lets_the_meter_go(model):
    with OnSocket({"MEAS:POW?": "1"}) as supply:
        with pytest.raises(BoardError, match="cannot be started"):
            LocalBoard(python="/nowhere/python").start(model, RunPlan(**FEW, meters=(spec(supply),)))
        assert supply.was_left.wait(30)


# Meters that are lost


def test_a_meter_that_is_switched_off_in_the_middle_loses_nothing_else(model):
    """Once the other one has answered often enough again, this one has been asked as often."""
    with OnSocket({"MEAS:POW?": "1"}) as supply, OnSocket({"MEAS:POW?": "2"}) as other:
        job = start(model, f"visa:{supply.resource}?rate=100&timeout=1", spec(other), runs=1_000_000)
        off_at = None
        for event in job.events():
            if measuring(event) and off_at is None:
                supply.switch_off()
                off_at = len(other.instrument.heard)
            elif off_at is not None and len(other.instrument.heard) > off_at + 30:
                job.cancel()
    assert isinstance(event, Cancelled)
    trace = event.trace
    assert trace.blocks
    lost, stays = (next(use for use in trace.sensors if use.name == name) for name in ("visa", "visa-2"))
    assert "was lost" in lost.problem
    assert stays.problem == ""
    assert set(of(trace, "visa/power_mw")[1]) == {1000.0}
    assert set(of(trace, "visa-2/power_mw")[1]) == {2000.0}
    assert lost.samples < stays.samples


def test_a_process_that_is_killed_in_the_middle_loses_nothing_that_was_read(model):
    with OnSocket({"MEAS:POW?": "1"}) as supply:
        job = start(model, spec(supply), runs=20_000)
        trace = until(job, lambda event: isinstance(event, Arrived), lambda: [one.kill() for one in readers()])[-1].trace
    assert trace.complete
    (use,) = [use for use in trace.sensors if use.name == "visa"]
    assert use.problem == "the process that reads meters ended early; what it had read is kept"
    assert use.samples == len(of(trace, "visa/power_mw")[1]) > 0


@pytest.mark.parametrize("how", ["cancel", "kill"])
def test_a_job_that_is_stopped_lets_the_meter_go(how, model):
    with OnSocket({"MEAS:POW?": "1"}) as supply:
        job = start(model, spec(supply), runs=200_000)
        last = until(job, measuring, getattr(job, how))[-1]
        assert isinstance(last, Cancelled)
        assert supply.was_left.wait(30)


def test_closing_twice_is_closing_once():
    with OnSocket({"MEAS:POW?": "1"}) as supply:
        metering = Metering([spec(supply)])
        metering.close()
        metering.close()
        assert [told["name"] for told in metering.told()] == ["visa"]
        assert supply.was_left.wait(30)
