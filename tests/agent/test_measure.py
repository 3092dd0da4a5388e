"""Measurements under conditions that are rare: short memory, a tracer that is nearly full. The runtime is real, the host is a list."""

import io

import numpy as np
import pytest

from edgeprof.agent import measure, protocol
from edgeprof.agent.machine import Machine
from edgeprof.agent.runtimes import onnxruntime
from edgeprof.boards.collect import Collector
from edgeprof.boards.opening import opening
from edgeprof.models.probes import make_probes
from edgeprof.records.trace import RunPlan


class Listener:
    """Keeps what the agent says; asks to stop once ``stop_after`` blocks of the model have come."""

    def __init__(self, stop_after=None):
        self.frames, self._stop_after = [], stop_after

    def say(self, kind, fields, payload=b""):
        self.frames.append(protocol.read(io.BytesIO(protocol.encode(kind, fields, payload))))

    def cancelled(self):
        return self._stop_after is not None and sum(f.type == "block" and f.fields["of"] == "" for f in self.frames) >= self._stop_after


def run(tmp_path, runs=20, warmup=2, listener=None):
    """(trace, messages) of a measurement of the longest probe, as a model like any other."""
    probe = make_probes()[1]
    path = tmp_path / "model.onnx"
    path.write_bytes(probe.model)
    plan = RunPlan(runs=runs, warmup=warmup, inputs={"x": np.zeros(probe.input_shape, np.float32)}, probes=make_probes())
    stream = io.BytesIO(opening(path, plan, "onnxruntime", workdir=str(tmp_path), compression=1))
    job, *frames = iter(lambda: protocol.read(stream), None)
    listener = listener or Listener()
    result = measure.Measurement(listener, job.fields, frames, Machine(listener)).run()
    collector = Collector("here", "onnxruntime", plan)
    for frame in listener.frames:
        list(collector.take(frame))
    return collector.trace(complete=result["complete"]), {f.fields["id"] for f in listener.frames if f.type == "message"}


def assert_whole(trace, runs):
    """Every block has its plain runs, its instrumented runs and the layers of each of them."""
    layers = len(trace.blocks[0].spans.kinds)
    assert sum(len(block.plain_ns) for block in trace.blocks) == runs
    for block in trace.blocks:
        assert len(block.plain_ns) == len(block.instrumented_ns) == len(block.spans.run_start_ns)
        assert len(block.spans) == layers * len(block.plain_ns)
        assert (np.bincount(block.spans.run) == layers).all()
        assert (block.plain_ns > 0).all()
    for probe in trace.probes:
        assert {block.index for block in probe.blocks} >= {block.index for block in trace.blocks}
        assert all(len(block.spans) > 0 for block in probe.blocks) == probe.probe.instrumented


def test_plenty_of_memory(tmp_path):
    trace, messages = run(tmp_path)
    assert_whole(trace, 20)
    assert not messages & {"memory-short", "event-cap"}
    assert {block.plain_first for block in trace.blocks} == {True, False}


def test_short_memory_takes_one_session_at_a_time_and_measures_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(measure.Measurement, "_memory_is_short", lambda _: True)
    trace, messages = run(tmp_path)
    assert "memory-short" in messages
    assert_whole(trace, 20)
    assert len({block.session for block in trace.blocks}) >= 2


def test_sessions_that_are_opened_at_the_same_time_have_a_trace_each(tmp_path):
    """The runtime puts the time into a trace's name, to the millisecond; some of these share one."""
    model, inputs = make_probes()[0].model, {"x": np.zeros(make_probes()[0].input_shape, np.float32)}
    runtime = onnxruntime.load()
    sessions = [runtime.open(model, inputs, {"workdir": str(tmp_path)}, instrumented=True) for _ in range(40)]
    assert len({session.end_trace() for session in sessions}) == len(list(tmp_path.iterdir())) == 40


@pytest.mark.parametrize("runs", [20, 33])
def test_sessions_are_made_anew_before_the_tracer_is_full(tmp_path, monkeypatch, runs):
    monkeypatch.setattr(measure, "EVENT_CAP", 400)
    monkeypatch.setattr(measure, "FEWEST_EVENTS", 400)
    monkeypatch.setattr(measure, "MAX_SESSIONS", 1)
    trace, _ = run(tmp_path, runs)
    assert_whole(trace, runs)
    events_of_a_run = len(trace.blocks[0].spans.kinds) + 2
    by_session = np.bincount([block.session for block in trace.blocks], [len(block.plain_ns) for block in trace.blocks])
    assert len(by_session) >= runs * events_of_a_run / 400


def test_long_measurements_have_more_sessions_so_that_layers_arrive(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "SESSION_NS", 1)
    monkeypatch.setattr(measure.Measurement, "note_open", lambda self, duration_ns: None)  # loading costs nothing
    trace, _ = run(tmp_path)
    assert_whole(trace, 20)
    assert len({block.session for block in trace.blocks}) == 20


def test_a_run_of_more_events_than_the_tracer_keeps_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "EVENT_CAP", 10)
    _, messages = run(tmp_path, 3)
    assert "event-cap" in messages


def test_no_frame_holds_times_without_end(tmp_path, monkeypatch):
    """The header of a frame has a limit, and there may be millions of runs."""
    monkeypatch.setattr(measure, "MOST_TIMES", 5)
    listener = Listener()
    trace, _ = run(tmp_path, 200, warmup=23, listener=listener)
    assert_whole(trace, 200)
    assert [len(f.fields["times_ns"]) for f in listener.frames if f.type == "warmup"] == [5, 5, 5, 5, 3]
    assert len(trace.warmup_ns) == 23
    blocks = [f.fields for f in listener.frames if f.type == "block" and f.fields["of"] == ""]
    assert max(len(block["plain"]) for block in blocks) == 2 * 5, "start and end of each run"


@pytest.mark.parametrize("short", [False, True])
def test_cancelled_in_the_middle_keeps_whole_blocks(tmp_path, monkeypatch, short):
    if short:
        monkeypatch.setattr(measure.Measurement, "_memory_is_short", lambda _: True)
    trace, _ = run(tmp_path, listener=Listener(stop_after=3))
    assert not trace.complete
    done = sum(len(block.plain_ns) for block in trace.blocks)
    assert 0 < done < 20
    assert_whole(trace, done)


def test_split_and_group_lose_nothing():
    for total in (1, 7, 100):
        for parts in range(1, total + 1):
            sizes = measure._split(total, parts)
            assert sum(sizes) == total and max(sizes) - min(sizes) <= 1
            for sessions in range(1, parts + 1):
                groups = measure._group(sizes, sessions)
                assert [count for group in groups for _, count in group] == sizes
                assert len(groups) == sessions
