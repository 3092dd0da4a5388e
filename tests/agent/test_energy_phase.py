"""What the energy phase decides for itself: whether the sensor is up to it, and how large its loops may be. On simulated boards."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import edgeprof as ep
from edgeprof.boards.base import Planned
from edgeprof.boards.simulated import SimulatedBoard
from edgeprof.boards.simulation.runtime import SimulatedIsolation
from edgeprof.boards.simulation.spec import BoardSpec
from edgeprof.models.inputs import make_inputs
from edgeprof.records.trace import EnergyPlan, RunPlan, Trace

QUIET = {"noise": 0.0, "leak_mw": 0.0, "sampling_mw": 0.0, "jitter": 0.0, "rate_hz": 20.0}
IDLE = {"compute_mw": 0.0, "memory_mw": 0.0}
PLAN = EnergyPlan(model_s=10, idle_s=5, warm_limit_s=0, loop_s=2, passes=1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two layers: one that computes and a tiny one."""
    body = "g (float[300,300] x) => (float[300] y) { a = MatMul(x, x)\n y = ReduceSum<keepdims = 0>(a, one) }"
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {body}')
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
    onnx.save(proto, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def measured(model: Path, energy: str = "model", plan: EnergyPlan = PLAN, **spec: float) -> Trace:
    job = SimulatedBoard(BoardSpec(**QUIET | spec)).start(
        model, RunPlan(runs=2, warmup=1, energy=energy, energy_plan=plan, inputs=make_inputs(ep.load_model(model)))
    )
    return job.result()


def test_a_sensor_with_steps_so_coarse_that_each_window_has_one_value_is_not_stuck(model):
    """2.4 W at rest reads as 2 W, 5.6 W under load as 6 W: each always the same, and not the same as the other."""
    trace = measured(model, step_mw=2000.0)
    assert trace.energy.refused == ""
    power = trace.samples.of(0)[1]
    values, count = np.unique(power[len(power) // 4 :], return_counts=True)
    assert set(values[count > 2]) == {2000.0, 6000.0}, "but for where one becomes the other"


def test_a_sensor_that_reads_the_same_at_rest_and_under_load_is_stuck(model):
    trace = measured(model, step_mw=20_000.0, idle_mw=18_000.0)
    assert trace.energy.refused == "the power sensor is stuck: it read 20000 mW at rest and under load alike"


def test_a_load_that_drowns_in_noise_is_refused(model):
    trace = measured(model, noise=0.05, **IDLE)
    assert trace.energy.refused.startswith("the power sensor cannot tell the model from rest: ")


def test_a_load_that_draws_nothing_is_refused_however_quiet_the_sensor(model):
    """Readings that differ from one another, by turns and alike at rest and under load."""
    trace = measured(model, noise=0.002, step_mw=1.0, **IDLE)
    assert trace.energy.refused.startswith("the power sensor cannot tell the model from rest: ")


def test_a_sensor_that_is_up_to_the_model_but_not_to_a_layer_says_so(model):
    plan = EnergyPlan(model_s=600, idle_s=100, warm_limit_s=0, loop_s=2, samples=10, passes=1)
    trace = measured(model, "layers", plan, noise=0.15, step_mw=0.0, compute_mw=200.0, memory_mw=200.0)
    assert "more passes or a longer budget may do" in trace.energy.refused
    assert trace.energy.groups == ()


def test_loops_hold_no_more_copies_than_the_layers_can_be_opened_with(model, monkeypatch):
    """A tree ensemble holds megabytes in each copy of its node."""
    free = measured(model, energy="layers")
    assert max(group.copies for group in free.energy.groups) > 3
    monkeypatch.setattr(SimulatedIsolation, "most_copies", lambda self, nodes, wanted: min(wanted, 3))
    held = measured(model, energy="layers")
    assert max(group.copies for group in held.energy.groups) == 3
    assert [group.nodes for group in held.energy.groups] == [group.nodes for group in free.energy.groups]


# What is told from rest, and how long it takes


def test_what_is_above_idle_by_less_than_three_standard_errors_is_refused(model):
    """Noise of 10 % of 2.4 W over a loop of 10 s and rests of 5 s: a standard error of some 25 mW; the load draws less than three."""
    trace = measured(model, noise=0.1, step_mw=0.0, compute_mw=100.0, memory_mw=100.0)
    assert trace.energy.refused.startswith("the power sensor cannot tell the model from rest: ")
    above, error = (float(text) for text in re.findall(r"(-?[0-9]+) mW", trace.energy.refused))
    assert 0 < above <= 3 * error


@pytest.mark.parametrize(("rate_hz", "passes", "loop_s"), [(20.0, 2, 5.0), (20.0, 1, 10.0), (200.0, 2, 2.0)])
def test_the_passes_together_have_as_many_readings_as_were_asked_for(rate_hz, passes, loop_s, model):
    """200 readings over the passes, and no loop shorter than 2 s."""
    plan = replace(PLAN, passes=passes, samples=200)
    trace = measured(model, "layers", plan, rate_hz=rate_hz, average_ms=0.1)
    lengths = [(w.end_ns - w.start_ns) / 1e9 for w in trace.windows if w.phase == "layers"]
    assert lengths == pytest.approx([loop_s] * len(lengths), rel=0.02)


def test_sensors_are_read_slowly_long_enough_to_tell_what_that_saves(model):
    (slow,) = [w for w in measured(model).windows if w.note == "slow"]
    assert (slow.end_ns - slow.start_ns) / 1e9 == pytest.approx(4, rel=0.01)


def test_nothing_counts_for_as_long_as_a_reading_averages_over_what_was_before(model):
    """Between a window and the one before of another kind lies at least the time of an average."""
    trace = measured(model, "layers", average_ms=700.0)
    windows = [w for w in trace.windows if w.phase in ("idle", "model", "layers")]
    apart = [(b.start_ns - a.end_ns) / 1e9 for a, b in itertools.pairwise(windows) if (a.phase, a.group) != (b.phase, b.group)]
    assert min(apart) >= 0.7
    assert trace.energy.refused == ""


def test_an_average_that_was_given_goes_before_what_the_sensor_says(model):
    trace = measured(model, plan=replace(PLAN, average_s=0.3), average_ms=700.0)
    idle = [w for w in trace.windows if w.phase == "idle"]
    assert (idle[1].start_ns - idle[0].end_ns) / 1e9 == pytest.approx(0.3, abs=0.01)


def test_a_model_that_runs_for_long_is_announced_to_take_long(model):
    """Two seconds a run: ten blocks of one run each take 20 s, though 10 s were asked for; so is each pass."""
    graph = ep.load_model(model)
    board = SimulatedBoard(BoardSpec(**QUIET | {"average_ms": 1.0}), known={layer.name: (1000.0, 3000.0) for layer in graph.layers})
    plan = RunPlan(runs=1, warmup=1, energy="layers", energy_plan=PLAN, inputs=make_inputs(graph))
    *events, end = board.start(model, plan).events()
    said = [event.seconds for event in events if isinstance(event, Planned)]
    windows = [w for w in end.trace.windows if w.phase in ("idle", "model", "layers")]
    took = [
        (max(w.end_ns for w in part) - min(w.start_ns for w in part)) / 1e9
        for part in ([w for w in windows if w.round < 0], [w for w in windows if w.round >= 0])
    ]
    assert took == pytest.approx(said, rel=0.1)
    assert took[0] > 20


def test_a_board_that_is_slowed_down_from_the_start_says_so(model):
    trace = measured(model, throttle_c=30.0)
    assert trace.energy.throttled and all("became too hot" in sign for sign in trace.energy.throttled)
