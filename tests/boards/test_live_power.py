"""End to end: real ONNX Runtime, a real agent, and a `/sys` that a process writes live from the CPU time that the model takes."""

import math

import numpy as np
import pytest
from bench_energy_live import measured_and_true

import edgeprof as ep
from edgeprof import reports

MODEL = "sample_models/dscnn_mnist.onnx"
PLAN = ep.EnergyPlan(model_s=3, loop_s=0.3, samples=40, idle_s=0.5, passes=2, warm_limit_s=3)


@pytest.fixture(scope="module")
def measured():
    return measured_and_true(MODEL, PLAN)


def test_energy_of_an_inference_is_what_was_used(measured):
    profile, total_mj, above_mj = measured
    told = profile.context.energy
    assert told.method == "layers"
    assert told.channels == ("ina3221/VDD_IN_mw",)
    # a shared machine makes power itself jump: what the interval admits is allowed too
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
