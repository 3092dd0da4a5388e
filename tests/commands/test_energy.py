"""`edgeprof profile --energy` and its kin through the command line, on simulated boards and on this machine, which has no power sensor."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import edgeprof as ep

METERS, BOARDS = "joulescope, otii, visa", "board, slow-sensor, fast-sensor, hot, no-sensor"
FEW = ("--runs", 5, "--warmup", 1)


def test_energy_by_layer_on_a_simulated_board(edgeprof):
    status, out, err = edgeprof("profile", "tiny.onnx", *FEW, "--board", "simulated", "--energy", "layers", "--passes", 2)
    assert status == 0
    said = err.splitlines()
    assert said[0].startswith("Energy of the model will take about ")
    assert said[1].startswith("Energy by layer will take about ")
    assert said[1].endswith("in 2 passes.")
    assert said[2:] == ["Saved tiny.edgeprof."]
    head = dict(line.split(None, 1) for line in out.split("\n\n")[0].splitlines()[1:] if line[:1].strip())
    assert head["Origin"].startswith("SIMULATED")
    assert "above idle" in head["Energy"]
    assert "simulated/input_mw" in head["Energy"]
    assert "Energy" in out.split("\n\n")[1].splitlines()[0]
    profile = ep.load("tiny.edgeprof")
    assert profile.origin == "simulated"
    assert profile.context.energy.passes == 2


def test_options_reach_the_plan(edgeprof):
    options = ["--energy=layers", "--passes=2", "--loop-seconds=3", "--cool-down=4", "--on-throttle=stop", "--rail=simulated/input_mw"]
    status, _, err = edgeprof("profile", "tiny.onnx", *FEW, "--board=simulated", *options, "--no-memory", "-o", "a.edgeprof")
    assert (status, "loops of 3.0 s in 2 passes" in err) == (0, True)
    profile = ep.load("a.edgeprof")
    assert profile.context.thermal.cool_down_s == 4
    assert profile.context.thermal.on_throttle == "stop"
    assert profile.context.energy.channels == ("simulated/input_mw",)
    assert "estimate" in profile.context.memory.sources["peak_memory_bytes"]
    status, _, err = edgeprof(
        "profile", "tiny.onnx", *FEW, "--board=simulated", "--energy=layers", "--energy-budget=20", "-o", "b.edgeprof"
    )
    told = ep.load("b.edgeprof").context.energy
    assert sum(group.seconds for group in told.groups) <= 20 + 1


def test_show_and_json_tell_the_energy(edgeprof):
    edgeprof("profile", "tiny.onnx", *FEW, "--board", "simulated", "--energy", "model", "--quiet")
    _, out, _ = edgeprof("show", "tiny.edgeprof")
    assert "above idle a run" in out
    _, out, _ = edgeprof("show", "tiny.edgeprof", "--json")
    told = json.loads(out)
    assert told["context"]["energy"]["method"] == "model"
    assert all(layer["energy_mj"] is None for layer in told["layers"])


def test_rail_that_is_not_there(edgeprof):
    status, out, _ = edgeprof("profile", "tiny.onnx", *FEW, "--board", "simulated", "--energy", "model", "--rail", "nosuch")
    assert status == 0
    assert "no power channel is called 'nosuch'; there are: simulated/input_mw" in out


def test_no_power_sensor_is_said_in_one_line_and_nothing_breaks(edgeprof):
    status, out, err = edgeprof("profile", "tiny.onnx", *FEW, "--sensor", "process")
    assert (status, err) == (0, "Saved tiny.edgeprof.\n")
    assert [line for line in out.splitlines() if "nergy" in line] == ["Energy   not measured: there is no power sensor."]
    profile = ep.load("tiny.edgeprof")
    for column in ("power_mw", "energy_mj", "energy_low_mj", "energy_high_mj", "energy_closed_mj"):
        assert profile.layers[column].isna().all(), column
    assert profile.measured_layers["latency_ms"].notna().any()
    assert profile.context.energy.above_idle_mj is None
    for ending in ("html", "md", "json", "csv", "xlsx", "parquet"):
        assert edgeprof("report", "tiny.edgeprof", "-o", f"r.{ending}")[0] == 0
    for view in (ep.heatmap, ep.timeline, ep.memory, ep.bars, ep.roofline):
        assert view(profile) is not None


def test_energy_that_was_asked_for_and_cannot_be_had(edgeprof):
    status, out, _ = edgeprof("profile", "tiny.onnx", *FEW, "--energy", "layers", "--sensor", "process")
    assert status == 0
    assert "Energy was not measured. There is no power sensor." in out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--passes", "0"), "--passes is '0'; give a whole number, 1 or more."),
        (("--loop-seconds", "x"), "--loop-seconds is 'x'; give 0.1 seconds or more."),
        (("--energy-budget", "1", "--energy", "layers"), "--energy-budget is '1'; give 5 seconds or more."),
        (("--meter", "nosuch"), f"There is no meter 'nosuch'. Known are: {METERS}; a plug-in can add others, see docs/meters.md."),
        (("--board", "simulated:nosuch"), f"There is no simulated board 'nosuch'. There are: {BOARDS}."),
        (("--board", "simulated", "--meter", "visa:x"), "A simulated board has a meter of its own; leave meters out."),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(edgeprof, folder, options, sentence):
    assert edgeprof("profile", "tiny.onnx", *FEW, *options) == (2, "", sentence + "\n")
    assert [path.name for path in folder.iterdir()] == ["tiny.onnx"]


def test_replay(edgeprof):
    edgeprof("profile", "tiny.onnx", *FEW, "--board", "simulated", "--energy", "layers", "--quiet", "-o", "first.edgeprof")
    status, out, _ = edgeprof("profile", "tiny.onnx", "--board", "replay:first.edgeprof?speed=1000", "-o", "again.edgeprof")
    assert status == 0
    assert "replayed" in out
    first, again = ep.load("first.edgeprof"), ep.load("again.edgeprof")
    assert again.origin == "replayed"
    np.testing.assert_array_equal(first.layers["energy_mj"], again.layers["energy_mj"])
    assert math.isclose(first.context.energy.closure_gap, again.context.energy.closure_gap)


def test_replay_of_nothing(edgeprof, folder):
    status, out, err = edgeprof("profile", "tiny.onnx", "--board", "replay:nosuch.edgeprof")
    assert (status, out) == (2, "")
    assert "nosuch.edgeprof" in err
    assert err.count("\n") == 1


def test_doctor_tells_of_power(edgeprof):
    _, out, _ = edgeprof("doctor")
    assert "power" in out
    assert "no power sensor" in out or "mw" in out
