"""What a measurement shows while it runs: it grows, it is true so far, it costs little, and nothing of it is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeprof as ep
from edgeprof.agent import protocol
from edgeprof.boards.base import AgentJob, Arrived, Cancelled, Done, Failed, Job, Planned, Progress, Sampled, Started, Waiting
from edgeprof.boards.collect import Collector
from edgeprof.boards.local import LocalLink, work_folder
from edgeprof.boards.opening import opening
from edgeprof.boards.played import played
from edgeprof.boards.replay import ReplayBoard
from edgeprof.building import Builder
from edgeprof.errors import BoardLost
from edgeprof.live import MOST_POINTS, RUNNING, Live, Pace, RecentSamples
from edgeprof.models.inputs import make_inputs
from edgeprof.models.probes import make_probes
from edgeprof.records.profile import Profile
from edgeprof.records.sensing import Channel, Samples
from edgeprof.records.trace import RunPlan
from edgeprof.testing import make_graph, make_profile, make_sensed_profile
from tests.laws import examples

SAMPLES = Path(__file__).parents[1] / "sample_models"
MODEL = SAMPLES / "dscnn_mnist.onnx"
RUNS = 25
POWER = Channel("meter/board_mw", "mW", title="Board")
ENERGY = Channel("rapl/package_mj", "mJ", "counter")


class Clock:
    """A time that only passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Said:
    """A way to an agent that says what it was given (see `edgeprof.boards.base.Link`)."""

    def __init__(self, frames: list[protocol.Frame]) -> None:
        self._frames = frames

    def frames(self):
        yield from self._frames

    def begin(self) -> None: ...

    def cancel(self) -> None: ...

    def kill(self) -> None: ...

    def close(self) -> str:
        return "killed by SIGKILL"

    def last_words(self) -> str:
        return ""


class Held(Job):
    """A job whose snapshot is what the test says."""

    def __init__(self, *snapshots) -> None:
        super().__init__()
        self.snapshots = list(snapshots)

    def snapshot(self):
        found = self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0]
        if isinstance(found, Exception):
            raise found
        return found


class Told:
    """Hears of updates, and waits for them; ``seen`` are the profiles."""

    def __init__(self) -> None:
        self.seen: list[Profile] = []
        self._news = threading.Condition()

    def __call__(self, live: Live) -> None:
        with self._news:
            if live.profile is not None:
                self.seen.append(live.profile)
            self._news.notify_all()

    def wait_for(self, wanted) -> None:
        with self._news:
            assert self._news.wait_for(lambda: wanted(self.seen), 60)


def unhurried(graph, told=None, **options) -> Live:
    """One that builds at each piece of news."""
    return Live(graph, **{"origin": "measured", "on_update": told, "min_interval_s": 0, "share": 1e9} | options)


def is_running(profile: Profile) -> bool:
    return RUNNING in {finding.id for finding in profile.findings}


def is_true_so_far(profile: Profile) -> None:
    """Layers and what lies between them make up the plain latency, and every span belongs to a layer and an instrumented run."""
    assert "not-corrected" not in {finding.id for finding in profile.findings}
    assert profile.measured_layers["latency_ms"].notna().all()
    assert profile.layers["latency_ms"].sum() == pytest.approx(profile.context.latency.median_ms)
    assert profile.context.runs == (~profile.runs["instrumented"]).sum() > 0
    runs = profile.runs.set_index("run").loc[profile.spans["run"].unique()]
    assert runs["instrumented"].all()
    inside = profile.spans.groupby("run")["latency_raw_ms"].sum()
    assert (inside <= runs["latency_ms"] * 1.01).all()


@pytest.fixture(scope="module")
def graph():
    return ep.load_model(MODEL)


@pytest.fixture(scope="module")
def recorded(graph):
    """A plan, and all that an agent on this machine said of it."""
    plan = RunPlan(runs=RUNS, warmup=2, inputs=make_inputs(graph), probes=make_probes())
    folder = work_folder()
    link = LocalLink(sys.executable, folder, opening(MODEL, plan, "onnxruntime", workdir=folder.name, compression=0, sysroot="/"))
    frames = []
    for frame in link.frames():
        frames.append(frame)
        if frame.type == "hello":
            link.begin()
    link.close()
    assert frames[-1].type == "result"
    return plan, frames


@pytest.fixture(scope="module")
def whole(graph, recorded) -> Profile:
    """The profile of all of it."""
    plan, frames = recorded
    collector = Collector("local", "onnxruntime", plan)
    for frame in frames:
        collector.take(frame)
    return Builder(graph, "random", "measured").build(collector.trace(complete=True))


# It grows


def test_layers_with_numbers_are_there_before_the_end(graph):
    told = Told()
    live = unhurried(graph, told)

    def listen(event) -> None:
        live(event)
        if isinstance(event, Arrived):
            told.wait_for(lambda seen: any(profile.context.runs for profile in seen))

    profile = ep.profile(graph, runs=RUNS, warmup=2, memory=False, progress=listen)
    assert live.wait(60)
    growing = [seen for seen in told.seen if is_running(seen) and seen.context.runs]
    assert growing
    for seen in growing:
        is_true_so_far(seen)
    assert live.profile is profile
    assert not is_running(profile)
    assert live.progress.ended == live.progress.text == "done"


@given(data=st.data())
@examples(0.2)
def test_what_is_shown_is_a_part_of_the_whole(graph, recorded, whole, data):
    plan, frames = recorded
    first = next(i for i, frame in enumerate(frames) if frame.type == "trace" and frame.fields["of"] == "" and frame.fields.get("last"))
    collector = Collector("local", "onnxruntime", plan)
    for frame in frames[: data.draw(st.integers(first + 1, len(frames)))]:
        collector.take(frame)
    some = Builder(graph, "random", "measured").build(collector.snapshot(), passing=True)
    is_true_so_far(some)
    assert list(some.layers["name"]) == list(whole.layers["name"])
    assert len(some.spans) == len(whole.layers[whole.layers["kind"] != "between"]) * some.runs["instrumented"].sum()
    key = ["layer", "start_ms", "latency_raw_ms"]
    assert len(some.spans.merge(whole.spans, on=key)) == len(some.spans)


def test_one_run_is_shown_until_a_session_has_come(graph, recorded):
    plan, frames = recorded
    collector = Collector("local", "onnxruntime", plan)
    for frame in frames:
        if frame.type == "block" and frame.fields["of"] == "":
            break
        collector.take(frame)
    told = Told()
    live = unhurried(graph, told)
    live(Started(Held(collector.snapshot())))
    live(Progress("warmup", 0, 2))
    told.wait_for(bool)
    profile = live.profile
    assert profile.findings[0].text.startswith("Running: the first layer times are of one run")
    assert profile.context.runs == 0
    assert profile.measured_layers["latency_ms"].notna().all()
    assert profile.layers["latency_low_ms"].isna().all()
    assert collector.trace(complete=False) is None
    live.done()


def test_the_last_live_profile_is_the_final_one(graph, recorded):
    plan, frames = recorded
    live = unhurried(graph)
    job = AgentJob(Said(frames), Collector("local", "onnxruntime", plan))
    live(Started(job))
    for event in job.events():
        live(event)
    assert live.wait(60)
    assert isinstance(event, Done)
    final = Builder(graph, "random", "measured").build(event.trace)
    pd.testing.assert_frame_equal(live.profile.layers, final.layers, check_exact=True)
    pd.testing.assert_frame_equal(live.profile.spans, final.spans, check_exact=True)
    assert live.profile.findings == final.findings


def test_a_measurement_that_is_cancelled_ends_with_what_it_has(graph):
    live = unhurried(graph)
    jobs = []

    def listen(event) -> None:
        live(event)
        if isinstance(event, Started):
            jobs.append(event.job)
        if isinstance(event, Progress) and event.phase == "measure":
            jobs[0].cancel()

    profile = ep.profile(graph, runs=20_000, warmup=1, progress=listen)
    assert live.wait(60)
    assert live.profile is profile
    assert live.progress.ended == "cancelled"
    assert "incomplete" in {finding.id for finding in profile.findings}


@pytest.mark.parametrize("share", [0.05, 0.7])
def test_a_board_that_dies_leaves_what_had_come(graph, recorded, share):
    plan, frames = recorded
    told = Told()
    live = unhurried(graph, told)
    job = AgentJob(Said(frames[: int(len(frames) * share)]), Collector("local", "onnxruntime", plan))
    live(Started(job))
    for event in job.events():
        live(event)
    assert live.wait(60)
    assert isinstance(event, Failed)
    assert isinstance(event.error, BoardLost)
    assert live.progress.ended == "failed"
    assert live.progress.said == str(event.error)
    if share < 0.1:
        assert live.profile is None
    else:
        assert live.profile.context.runs > 0
        assert "incomplete" in {finding.id for finding in live.profile.findings}


def test_a_replay_grows_and_ends_as_the_recording():
    recording = ep.load(SAMPLES / "dscnn_mnist.edgeprof")
    told = Told()
    live = unhurried(recording.graph, told, origin="replayed")
    job = ReplayBoard(recording).start(MODEL, RunPlan())
    live(Started(job))
    for event in job.events():
        live(event)
        if isinstance(event, Arrived):
            told.wait_for(bool)
    assert live.wait(60)
    assert is_running(told.seen[0])
    assert live.profile is event.trace
    pd.testing.assert_frame_equal(live.profile.layers, recording.layers)


@given(blocks=st.integers(1, 4), until=st.floats(0, 1e4))
@examples(0.4)
def test_a_played_part_has_nothing_of_what_is_to_come(blocks, until):
    recording = make_sensed_profile(runs=8)
    some = played(recording, until, blocks)
    assert set(some.runs["block"]) == set(list(dict.fromkeys(recording.runs["block"]))[:blocks])
    if some.context.runs:
        assert some.layers["latency_ms"].sum() == pytest.approx(some.context.latency.median_ms)
    assert set(some.spans["run"]) <= set(some.runs["run"])
    assert some.samples["time_ms"].max() <= until or some.samples.empty
    assert some.layers["energy_mj"].isna().all()
    memory = recording.windows[recording.windows["phase"] == "memory"]["end_ms"].min()
    assert some.layers["peak_memory_bytes"].isna().all() == (until < memory)
    assert played(recording, until, 0) is None


# It costs little


@given(
    costs=st.lists(st.floats(0, 50), min_size=2, max_size=30),
    waits=st.floats(0, 5),
    least=st.floats(0.1, 5),
    share=st.floats(0.01, 0.5),
)
@examples(2)
def test_work_takes_its_share_of_the_time_at_most(costs, waits, least, share):
    clock, pace, begun = Clock(), Pace(least, share), []
    for cost in costs:
        clock.now = max(clock.now + waits, pace.due)
        begun.append(clock.now)
        pace.began(clock.now)
        assert pace.due == float("inf")
        clock.now += cost
        pace.ended(clock.now)
    assert all(later - earlier >= least * (1 - 1e-9) for earlier, later in pairwise(begun))
    assert sum(costs[:-1]) <= share * (begun[-1] - begun[0]) * (1 + 1e-6) + 1e-9


def test_nothing_is_built_before_it_is_due_and_the_end_is_not_waited_for():
    clock, told = Clock(), Told()
    one, two = make_profile(runs=4), make_profile(runs=8)
    live = Live(make_graph(["Relu"]), origin="measured", on_update=told, min_interval_s=10, clock=clock)
    held = Held(one)
    live(Started(held))
    live(Progress("measure", 4, 8))
    told.wait_for(lambda seen: len(seen) >= 1)
    live(Progress("memory", 0, 0))
    live(Done(two))
    assert live.wait(60)
    assert live.profile is two
    assert [len(profile.runs) for profile in told.seen][-2:] == [8, 16]
    assert clock.now == 0


# It fails nothing


def test_what_cannot_be_built_is_said_and_left_out():
    good = make_profile()
    asked = threading.Event()
    live = unhurried(make_graph(["Relu"]), lambda live: asked.set() if live.note else None)
    live(Started(Held(RuntimeError("no room"))))
    live(Progress("measure", 1, 4))
    assert asked.wait(60)
    assert live.profile is None
    assert "no room" in live.note
    live(Done(good))
    assert live.wait(60)
    assert live.profile is good


def test_a_listener_that_fails_does_not_end_it(graph):
    def fails(live: Live) -> None:
        raise ValueError("a broken view")

    live = unhurried(graph, fails)
    profile = ep.profile(graph, runs=2, warmup=1, memory=False, progress=live)
    assert live.wait(60)
    assert live.profile is profile
    assert "a broken view" in live.note


# How far it is


def test_the_time_that_is_left_follows_from_the_pace():
    clock = Clock()
    live = Live(make_graph(["Relu"]), origin="measured", clock=clock)
    assert live.progress.text == "starting"
    live(Waiting("ann@desk measures on pi5."))
    assert live.progress.said == "ann@desk measures on pi5."
    live(Progress("measure", 10, 100))
    assert live.progress.seconds_left is None
    clock.now = 2.0
    live(Progress("measure", 30, 100))
    assert live.progress.seconds_left == pytest.approx(7.0)
    assert live.progress.text == "measure 30/100, about 7 s left (estimated)"
    live(Planned(60.0, "Energy takes 1 min."))
    live(Progress("energy", 0, 0))
    clock.now = 12.0
    assert live.progress.seconds_left == pytest.approx(50.0)
    live(Progress("memory", 0, 0))
    assert live.progress.seconds_left is None
    live(Cancelled(None))
    assert live.progress.text == "cancelled"
    assert live.wait(60)
    assert live.profile is None


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30), span=st.floats(0.1, 5))
def test_recent_readings_are_the_last_ones(lengths, span):
    recent, every = RecentSamples(span), []
    for number, length in enumerate(lengths):
        time = np.arange(length) * 10_000_000 + sum(lengths[:number]) * 10_000_000 + 5_000
        every.append(time)
        recent.add((POWER,), Samples(time, np.zeros(length, np.int32), np.full(length, 1.0 + number)))
    time = np.concatenate(every)
    expected = time[time >= time[-1] - int(span * 1e9)]
    found = recent.by_channel()[POWER.name]
    assert found.time_s == pytest.approx((expected - 5_000) / 1e9)
    assert len(found.power_mw) == len(found.time_s)


def test_recent_readings_are_bounded_and_counters_become_power():
    recent = RecentSamples(1e9)
    for part in range(12):
        time = (np.arange(5_000) + part * 5_000) * 1_000_000
        recent.add((ENERGY,), Samples(time, np.zeros(5_000, np.int32), time / 1e9 * 3.0))
    found = recent.by_channel()[ENERGY.name]
    assert len(found.value) == MOST_POINTS
    assert np.isnan(found.power_mw[0])
    assert found.power_mw[1:] == pytest.approx(3.0, rel=1e-6)
    load = Channel("process/cpu_share", "")
    recent.add((load,), Samples(np.array([10**12]), np.zeros(1, np.int32), np.ones(1)))
    assert recent.by_channel()[load.name].power_mw is None


def test_readings_come_with_the_events():
    live = Live(make_graph(["Relu"]), origin="measured")
    live(Sampled((POWER, ENERGY), Samples(np.array([5, 6]), np.array([0, 0], np.int32), np.array([1.0, np.nan]))))
    assert {name: list(found.value) for name, found in live.recent_samples.items()} == {POWER.name: [1.0]}
    live.done()


# Nothing is lost


def test_what_has_come_is_kept_until_it_is_done_with(tmp_path):
    clock, told, path = Clock(), Told(), tmp_path / "cell.partial.edgeprof"
    parts = [make_profile(runs=runs) for runs in (4, 8, 12)]
    live = unhurried(make_graph(["Relu"]), told, keep=path, clock=clock)
    held = Held(*parts)
    live(Started(held))
    for i, runs_kept in ((1, 4), (2, 4)):  # the second one comes too early
        live(Arrived(None))
        told.wait_for(lambda seen, i=i: len(seen) >= i)
        assert (~ep.load(path).runs["instrumented"]).sum() == runs_kept
    clock.now = 10.0
    live(Arrived(None))
    told.wait_for(lambda seen: len(seen[-1].runs) == 24)
    kept = ep.load(path)
    assert len(kept.runs) == 24
    assert not is_running(kept)
    live(Done(make_profile(runs=16)))
    assert live.wait(60)
    assert len(ep.load(path).runs) == 32
    live.done()
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_kept_is_said(tmp_path):
    told = Told()
    live = unhurried(make_graph(["Relu"]), told, keep=tmp_path / "missing" / "x.edgeprof")
    live(Started(Held(make_profile())))
    live(Arrived(None))
    told.wait_for(bool)
    assert "could not be kept" in live.note
    live.done()


KILLED = """
import sys
from pathlib import Path
import edgeprof as ep
from edgeprof.live import Live

graph = ep.load_model(sys.argv[1])
said = []

def tell(live):
    if not said and Path(sys.argv[2]).exists():
        said.append(print("kept", flush=True))

live = Live(graph, origin="measured", on_update=tell, min_interval_s=0, share=1e9, keep=Path(sys.argv[2]))
ep.profile(graph, runs=8_000, warmup=1, time_limit_s=60, progress=live, wait_s=60)
"""


def test_a_kernel_that_is_killed_leaves_its_profile_and_no_agent(tmp_path):
    path = tmp_path / "cell.partial.edgeprof"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(MODEL), str(path)], stdout=subprocess.PIPE, text=True) as kernel:
        assert kernel.stdout.readline() == "kept\n"
        left = psutil.Process(kernel.pid).children(recursive=True)
        assert left
        kernel.send_signal(signal.SIGKILL)
        kernel.wait()
    _, alive = psutil.wait_procs(left, timeout=60)
    assert alive == []
    profile = ep.load(path)
    assert profile.context.runs > 0
    assert profile.measured_layers["latency_ms"].notna().all()
    assert "incomplete" in {finding.id for finding in profile.findings}
