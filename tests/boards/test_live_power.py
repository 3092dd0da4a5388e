"""End to end: real ONNX Runtime, a real agent, and a `/sys` that a process writes live from what the model's process does."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from bench_energy_live import measured_and_true
from live_power import LivePower

import edgeprof as ep
from edgeprof import reports
from edgeprof.boards.base import Progress
from edgeprof.boards.local import LocalBoard

MODEL = "sample_models/dscnn_mnist.onnx"
PLAN = ep.EnergyPlan(model_s=3, loop_s=0.2, samples=30, idle_s=0.3, passes=2, warm_limit_s=1)
BRIEF = ep.EnergyPlan(model_s=0.5, loop_s=0.2, samples=10, idle_s=0.2, passes=2, warm_limit_s=1)
"""For what is stopped before its end: of how much it measured nothing depends."""


@pytest.fixture(scope="module")
def measured():
    return measured_and_true(MODEL, PLAN, by="state")


def test_energy_of_an_inference_is_what_was_used(measured):
    profile, total_mj, above_mj = measured
    told = profile.context.energy
    assert told.method == "layers"
    assert told.channels == ("ina3221/VDD_IN_mw",)
    # what the interval admits is allowed too
    for found, low, high, true in (
        (told.inference_mj, told.inference_low_mj, told.inference_high_mj, total_mj),
        (told.above_idle_mj, told.above_idle_low_mj, told.above_idle_high_mj, above_mj),
    ):
        assert abs(found - true) <= max(0.03 * true, high - low)


def test_every_layer_has_an_energy_or_a_reason(measured):
    layers = measured[0].measured_layers
    assert (layers["energy_method"] != "").all()
    loops = layers["energy_method"].str.contains("loop of|own loop")
    assert loops.any()
    known = layers.loc[loops]
    np.testing.assert_allclose(known["energy_mj"], known["power_mw"] * known["latency_ms"] / 1e3)
    assert ((known["energy_low_mj"] <= known["energy_mj"]) & (known["energy_mj"] <= known["energy_high_mj"])).all()


def test_layers_and_rest_are_the_model(measured):
    profile, _, _ = measured
    told, layers = profile.context.energy, profile.layers
    assert math.isclose(layers["energy_mj"].sum(), told.above_idle_mj, rel_tol=1e-6)
    rest = layers["energy_mj"].iloc[-1]
    assert math.isclose(rest / told.above_idle_mj, told.closure_gap, rel_tol=1e-6, abs_tol=1e-9)


def test_the_board_is_told_and_its_sensors(measured):
    profile, _, _ = measured
    assert profile.context.fingerprint["board_model"] == "NVIDIA Jetson Orin Nano Developer Kit"
    use = {sensor.name: sensor for sensor in profile.context.sensors}["ina3221"]
    assert use.achieved_hz > 0
    assert 0 < profile.context.sampling_cpu_share < 1


def test_reports_tell_the_energy(measured, tmp_path):
    profile, _, _ = measured
    page = tmp_path / "report.html"
    reports.write(profile, page)
    text = page.read_text("utf-8")
    assert "VDD_IN" in text
    assert "Energy" in text


# Stopped before its end


def stopped_when(reached, plan=BRIEF, **kwargs):
    """A profile that was interrupted at the first progress for which ``reached(phase, done)``."""

    stopped = []

    def listen(event):
        if not stopped and isinstance(event, Progress) and reached(event.phase, event.done):
            stopped.append(event)
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder, LivePower(Path(folder), "state") as live:
        board = LocalBoard(sysroot=live.root)
        return ep.profile(MODEL, board=board, runs=20, energy="layers", energy_plan=plan, progress=listen, **kwargs)


def test_interrupted_between_loops_keeps_those_that_were_run():
    seen = []

    def in_the_first_pass(phase, done):
        seen.append(phase)
        return "isolate" in seen and phase == "energy" and done == 3

    profile = stopped_when(in_the_first_pass)
    assert {f.id: f.text for f in profile.findings}[
        "incomplete"
    ] == "The measurement was stopped in the energy phase, after all 20 plain runs."
    told = profile.context.energy
    assert told.above_idle_mj > 0
    methods = profile.measured_layers["energy_method"]
    assert (profile.measured_layers["energy_mj"].notna() == methods.str.contains("own loop|short")).all()
    assert methods.str.contains("it was stopped before").any()


def test_interrupted_while_warming_keeps_latency_and_memory():
    seen = []

    def in_the_energy_phase(phase, done):
        seen.append(phase)
        return "memory" in seen and phase == "warmup"

    profile = stopped_when(in_the_energy_phase, ep.EnergyPlan())
    assert profile.context.energy.method == ""
    assert "stopped before" in profile.context.energy.reason
    assert profile.measured_layers["peak_memory_bytes"].notna().any()
    assert profile.context.runs == 20


def test_time_limit_ends_energy_too():
    profile = stopped_when(lambda phase, done: False, ep.EnergyPlan(model_s=10_000, warm_limit_s=0), time_limit_s=6)
    assert any(f.id == "time-limit" for f in profile.findings)
    assert profile.context.runs == 20
