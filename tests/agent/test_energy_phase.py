"""What the energy phase decides for itself: whether the sensor is up to it, and how large its loops may be. On simulated boards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import edgeprof as ep
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
    assert set(power[len(power) // 4 :]) == {2000.0, 6000.0}


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
