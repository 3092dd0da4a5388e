"""Recordings that are played: everything in its order and once, at the speed that was asked for, whatever a bundle holds."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import edgeprof as ep
from edgeprof.analysis.memory import basis_of
from edgeprof.boards import get_board
from edgeprof.boards.base import Arrived, Cancelled, Done, Failed, Progress, Sampled
from edgeprof.boards.replay import ReplayBoard, ReplayJob
from edgeprof.boards.simulated import SimulatedBoard
from edgeprof.errors import BoardError, EdgeprofError, UsageError
from edgeprof.figures.theme import origin_label
from edgeprof.records.context import Energy
from edgeprof.records.profile import Profile
from edgeprof.records.sensing import Channel, SensorUse
from edgeprof.records.trace import EnergyPlan, RunPlan
from edgeprof.testing import make_profile, make_sensed_profile
from tests.boards.conftest import MODELS
from tests.laws import examples
from tests.records import strategies


def played(profile: Profile, speed: float = float("inf")) -> tuple[list, list[float]]:
    """Events of a replay, and the seconds that it waited one after another."""
    waits: list[float] = []
    return list(ReplayJob(profile, speed, waits.append).events()), waits


def of(kind: type, events: list) -> list:
    return [event for event in events if isinstance(event, kind)]


def as_recorded(profile: Profile) -> Profile:
    """A replayed profile as it was before."""
    return replace(profile, origin=profile.basis, context=replace(profile.context, recorded_origin=""))


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A model, and what a simulated board measured of it."""
    folder = tmp_path_factory.mktemp("recording")
    path = folder / "model.onnx"
    onnx.save(MODELS["two branches"](folder), path)
    plan = EnergyPlan(budget_s=8, passes=1, model_s=1, samples=20, warm_limit_s=5)
    return path, ep.profile(path, board=SimulatedBoard(), runs=8, warmup=1, energy="layers", energy_plan=plan, progress=False)


# ---- what comes out ----


def test_the_result_is_the_recording_but_for_its_origin(recording):
    path, profile = recording
    again = ep.profile(path, board=ReplayBoard(profile), progress=False)
    assert again.origin == "replayed" and profile.origin == "simulated"
    assert again.basis == "simulated" and again.context.recorded_origin == "simulated"
    strategies.assert_same(as_recorded(again), profile)


def test_what_was_simulated_is_not_called_measured_when_it_is_replayed(recording):
    path, profile = recording
    again = ep.profile(path, board=ReplayBoard(profile), progress=False)
    assert basis_of(again, "peak_memory_bytes") == basis_of(profile, "peak_memory_bytes") == "simulated"
    assert origin_label(again) == "replayed from a recording, simulated, no real board"
    twice = ep.profile(path, board=ReplayBoard(again), progress=False)
    assert twice.basis == "simulated"
    measured = replace(profile, origin="measured")
    assert origin_label(ep.profile(path, board=ReplayBoard(measured), progress=False)) == "replayed from a recording"


def test_a_recording_without_energy_says_so_when_it_was_asked_for(recording):
    path, profile = recording
    silent = replace(profile, context=replace(profile.context, energy=Energy()))
    again = ep.profile(path, board=ReplayBoard(silent), energy="layers", progress=False)
    assert again.context.energy.reason == "The recording has no energy: it was not asked for when it was made."


@pytest.mark.parametrize("options", [{"meters": ["joulescope"]}, {"sensors": ["rapl"]}])
def test_a_replay_reads_nothing(options, recording):
    path, profile = recording
    with pytest.raises(UsageError, match="leave meters and sensors out"):
        ep.profile(path, board=ReplayBoard(profile), progress=False, **options)


def test_from_a_bundle_by_name(recording, tmp_path):
    path, profile = recording
    profile.save(str(tmp_path / "x.edgeprof"))
    for name in (f"replay:{tmp_path / 'x.edgeprof'}", f"replay:{tmp_path / 'x.edgeprof'}?speed=inf"):
        board = get_board(name)
        assert isinstance(board, ReplayBoard) and board.name == "simulated" and board.origin == "replayed"
        strategies.assert_same(as_recorded(ep.profile(path, board=name, progress=False)), profile)


def test_a_name_of_its_own():
    assert ReplayBoard(make_profile(), name="bench").name == "bench" and ReplayBoard(make_profile()).name == "local"


# ---- events ----


def test_events_come_in_the_order_they_happened(recording):
    events, _ = played(recording[1])
    assert isinstance(events[-1], Done) and not of(Cancelled, events) and not of(Failed, events)
    phases = [event.phase for event in of(Progress, events)]
    turns = [phase for phase, before in zip(phases, [None, *phases], strict=False) if phase != before]
    assert turns == ["load", "warmup", "measure", "memory", "warmup", "energy"], "for energy it is warmed up once more"


def test_progress_counts_up_to_the_end(recording):
    events, _ = played(recording[1])
    for phase in ("measure", "energy"):
        told = [event for event in of(Progress, events) if event.phase == phase]
        assert {event.total for event in told} == {told[-1].done}
        assert [event.done for event in told] == sorted({event.done for event in told})
    assert [event.done for event in of(Progress, events) if event.phase == "measure"] == list(range(1, 9))


def test_layer_times_arrive_as_they_were_recorded(recording):
    profile = recording[1]
    arrived = of(Arrived, played(profile)[0])
    spans = [event.spans for event in arrived]
    assert sum(len(part) for part in spans) == len(profile.spans)
    assert sum(len(part.run_start_ns) for part in spans) == int(profile.runs["instrumented"].sum())
    names = [part.kinds[kind].name for part in spans for kind in part.kind]
    durations = np.concatenate([part.duration_ns for part in spans])
    expected = profile.spans.sort_values(["run", "start_ms"], kind="stable")
    assert names == profile.layers["name"].to_numpy()[expected["layer"]].tolist()
    assert durations / 1e6 == pytest.approx(expected["latency_raw_ms"].to_numpy(), abs=1e-6)


def test_every_sample_is_delivered_once_and_in_order(recording):
    profile = recording[1]
    events, _ = played(profile)
    sampled = of(Sampled, events)
    times = np.concatenate([event.samples.time_ns for event in sampled])
    names = [event.channels[channel].name for event in sampled for channel in event.samples.channel]
    values = np.concatenate([event.samples.value for event in sampled])
    assert len(times) == len(profile.samples) > 500
    assert (np.diff(times) >= 0).all() and times / 1e6 == pytest.approx(profile.samples["time_ms"].to_numpy())
    assert names == profile.samples["channel"].tolist() and values.tolist() == profile.samples["value"].tolist()


def test_samples_before_the_first_window_and_behind_the_last_are_delivered_too():
    profile = make_sensed_profile(runs=4)
    rail = profile.context.sensors[0].channels[0].name
    end = float(profile.windows["end_ms"].max())
    samples = pd.DataFrame({"time_ms": [-5.0, 0.0, end + 900], "channel": [rail] * 3, "value": [1.0, 2.0, 3.0]})
    events, waits = played(replace(profile, samples=samples), speed=1.0)
    assert [value for event in of(Sampled, events) for value in event.samples.value] == [1, 2, 3]
    assert sum(waits) == pytest.approx((end + 900) / 1e3)


def test_when_a_window_ends_the_samples_read_until_then_have_been_delivered(recording):
    profile = recording[1]
    times = profile.samples["time_ms"].to_numpy()
    ends = iter(np.sort(profile.windows.loc[profile.windows["phase"].isin(["idle", "model", "layers"]), "end_ms"]))
    delivered = 0
    for event in played(profile)[0]:
        if isinstance(event, Sampled):
            delivered += len(event.samples)
        elif isinstance(event, Progress) and event.phase == "energy":
            assert delivered == int((times <= next(ends)).sum())
    assert next(ends, None) is None


def test_a_channel_that_no_sensor_has_is_left_out():
    profile = make_sensed_profile(runs=4)
    channel = Channel("a/b_mw", "mW")
    context = replace(profile.context, sensors=(SensorUse("a", (channel,)),))
    samples = pd.DataFrame({"time_ms": [1.0, 2.0], "channel": ["a/b_mw", "gone"], "value": [7.0, 8.0]})
    (event,) = of(Sampled, played(replace(profile, context=context, samples=samples))[0])
    assert event.channels == (channel,) and event.samples.value.tolist() == [7]


@pytest.mark.parametrize("missing", ["spans", "samples", "windows", "runs", "tensors"])
def test_recordings_that_lack_something_are_played_all_the_same(missing):
    profile = make_sensed_profile(runs=4)
    profile = replace(profile, **{missing: getattr(profile, missing).iloc[:0]})
    events, _ = played(profile)
    assert isinstance(events[-1], Done) and events[-1].trace.origin == "replayed"
    assert bool(of(Sampled, events)) == (missing != "samples")
    assert bool(of(Arrived, events)) == (missing != "runs")
    if missing == "spans":
        assert sum(len(event.spans) for event in of(Arrived, events)) == 0


def test_a_profile_of_nothing_but_layers():
    profile = make_profile()
    bare = Profile(profile.layers, profile.context)
    assert [type(event) for event in played(bare)[0]] == [Done]


def test_instrumented_runs_alone_are_counted_as_progress():
    profile = make_profile(runs=8)
    only = profile.runs[profile.runs["instrumented"]]
    told = of(Progress, played(replace(profile, runs=only))[0])
    assert told[-1].done == told[-1].total == 8


# ---- speed ----


@pytest.mark.parametrize("speed", [0.5, 1.0, 10.0, 1e9])
def test_it_waits_as_long_as_it_took_over_the_speed(speed, recording):
    profile = recording[1]
    events, waits = played(profile, speed)
    ends = [
        profile.windows["end_ms"].max(),
        (profile.runs["start_ms"] + profile.runs["latency_ms"]).max(),
        profile.samples["time_ms"].max(),
    ]
    assert sum(waits) == pytest.approx(max(ends) / 1e3 / speed) and all(wait > 0 for wait in waits)
    assert [type(event) for event in events] == [type(event) for event in played(profile)[0]]


def test_at_once_it_waits_for_nothing(recording):
    assert played(recording[1])[1] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("?speed=0", "The speed of a replay is 0.0; give a number above 0"),
        ("?speed=-1", "The speed of a replay is -1.0; give a number above 0"),
        ("?speed=nan", "The speed of a replay is nan; give a number above 0"),
        ("?speed=fast", "The speed of a replay is 'fast'; give a number above 0, such as speed=1."),
        ("?speed=", "The speed of a replay is ''; give a number above 0, such as speed=1."),
        ("?rate=3", "A replay has no option 'rate'. It has: speed."),
    ],
)
def test_speeds_and_options_that_make_no_sense(options, sentence, tmp_path):
    make_profile().save(str(tmp_path / "x.edgeprof"))
    with pytest.raises(UsageError) as caught:
        get_board(f"replay:{tmp_path / 'x.edgeprof'}{options}")
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(("text", "speed"), [("1", 1.0), ("0.25", 0.25), ("1e3", 1000.0), ("inf", float("inf")), ("2&speed=3", 3.0)])
def test_speeds(text, speed, tmp_path):
    make_profile().save(str(tmp_path / "x.edgeprof"))
    assert ReplayBoard.named(f"replay:{tmp_path / 'x.edgeprof'}?speed={text}")._speed == speed


@pytest.mark.parametrize("name", ["replay:", "replay:?speed=1"])
def test_a_replay_needs_a_file(name):
    with pytest.raises(UsageError, match="A replay needs a file"):
        get_board(name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(EdgeprofError, match=r"nothing\.edgeprof"):
        get_board(f"replay:{tmp_path}/nothing.edgeprof")


# ---- another model ----


def test_another_model_is_refused_with_both_named(recording, tmp_path):
    other = tmp_path / "other.onnx"
    onnx.save(MODELS["one node"](tmp_path), other)
    board = ReplayBoard(recording[1])
    with pytest.raises(BoardError, match=r"The recording is of model\.onnx \(sha256 .{12}\), not of other\.onnx \(sha256 .{12}\)\. Give"):
        board.start(other, RunPlan())
    with pytest.raises(BoardError, match="The recording is of"):
        ep.profile(other, board=board, progress=False)


# ---- stopped ----


def test_cancelled_while_it_waits(recording):
    """The wait is the real one; it would take a day."""
    job = ReplayJob(recording[1], 1e-4)
    job.cancel()
    job.cancel()
    assert of(Cancelled, list(job.events())) == [Cancelled(None)]


def test_cancelled_in_the_middle_it_gives_nothing(recording):
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            job.cancel()

    ready = threading.Event()
    job = ReplayJob(recording[1], 1.0, lambda seconds: (ready.wait(), wait(seconds)))
    ready.set()
    events = list(job.events())
    assert events[-1] == Cancelled(None) and not of(Done, events) and len(waits) == 3
    with pytest.raises(BoardError, match="cancelled before anything was measured"):
        _cancelled(recording[1]).result()


def _cancelled(profile: Profile) -> ReplayJob:
    job = ReplayJob(profile, 1e-4)
    job.kill()
    return job


def test_cancelling_at_the_end_does_nothing(recording):
    job = ReplayJob(recording[1], float("inf"))
    assert job.result().origin == "replayed"
    job.cancel()
    job.kill()


# ---- whatever a bundle holds ----


@examples(1 / 3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strategies.profiles(), st.sampled_from([float("inf"), 1.0, 1e-300]))
def test_any_recording_comes_to_an_end(profile, speed):
    events, waits = played(profile, speed)
    assert isinstance(events[-1], Done), events[-1]
    assert all(0 <= wait <= threading.TIMEOUT_MAX for wait in waits)
    for event in of(Arrived, events):
        assert (event.spans.kind >= 0).all() and (event.spans.kind < len(event.spans.kinds)).all()
    for event in of(Sampled, events):
        assert (event.samples.channel < len(event.channels)).all()
