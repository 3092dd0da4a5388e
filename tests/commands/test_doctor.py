"""`edgeprof doctor`: of this machine, of a profile, of a model that is profiled first."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgeprof.commands import machine
from edgeprof.errors import BoardError
from edgeprof.models.graph import Graph, Layer
from edgeprof.profiler import profile
from edgeprof.records import bundle
from edgeprof.testing import make_profile

# This machine


def test_doctor(edgeprof):
    status, out, err = edgeprof("doctor", "--json")
    told = json.loads(out)
    checks = {check["name"]: check for check in told["checks"]}
    assert (status, err) == (0, "")
    assert (told["schema_version"], told["ok"]) == (1, True)
    assert {"python", "packages", "clock", "temporary folder", "agent", "onnxruntime", "processor", "trial measurement", "notebook"} <= set(
        checks
    )
    assert "CPUExecutionProvider" in checks["onnxruntime"]["text"]
    assert checks["trial measurement"]["status"] == "ok"


def test_doctor_says_what_is_wrong_and_what_to_do(edgeprof, monkeypatch):
    health = {
        "runtimes": {"onnxruntime": {"error": "onnxruntime is installed but cannot be imported: no libgomp"}},
        "environment": {"cpus": 4, "governor": "ondemand", "load_1min": 3.5, "affinity": [0, 1], "virtual_machine": True},
        "sensors": [],
        "problems": [
            ["rapl-permission", "RAPL is for root alone. Do: sudo chmod a+r ..."],
            ["hwmon-info", "Several channels may overlap."],
        ],
    }
    failing = machine.Check("trial measurement", "fail", "The runtime did not take the model.", "See above.")
    monkeypatch.setattr(machine, "_health", lambda: health)
    monkeypatch.setattr(machine, "_trial", lambda: failing)
    monkeypatch.setattr(machine, "_version", lambda name: None if name == "onnx" else "1.0")
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    status, out, _ = edgeprof("doctor")
    assert status == 1
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "fail packages not installed: onnx" in lines
    assert "fail onnxruntime onnxruntime is installed but cannot be imported: no libgomp" in lines
    assert "warn governor ondemand" in lines
    assert "warn sensor RAPL is for root alone. Do: sudo chmod a+r ..." in lines
    assert "info sensor Several channels may overlap." in lines
    assert "info power there is no power sensor" in lines
    assert "warn load 3.5 on 4 CPUs" in lines
    assert "info affinity only CPUs 0, 1 may be used" in lines
    assert "info notebook not installed: jupyterlab, anywidget, ipywidgets, matplotlib" in lines
    assert lines[-1] == "Not ready: packages, onnxruntime, trial measurement."


def test_doctor_without_an_agent(edgeprof, monkeypatch):
    def dead():
        raise BoardError("The agent cannot be started with python: Permission denied.")

    monkeypatch.setattr(machine, "_health", dead)
    status, out, _ = edgeprof("doctor")
    assert status == 1
    assert "Permission denied" in out


# A profile, a model


@pytest.fixture
def sick(folder):
    """A profile of which reorders take most of the time; a layer has a name that looks like markup."""
    names = ["[bold]conv[/bold]\x1b[2J", "reorder"]
    made = make_profile([0.2, 0.6], name=names, op_type=["Conv", "ReorderInput"], source_nodes=[names[:1], []])
    layers = made.layers.copy()
    layers["kind"] = ["layer", "inserted", "between"]
    graph = Graph("toy", (Layer(names[0], "Conv", ("x",), ("y",)), Layer("unused", "Relu", ("x",), ("z",))), (), (), {})
    bundle.save(replace(made, layers=layers, graph=graph), folder / "sick.edgeprof")
    return folder / "sick.edgeprof"


def test_of_a_profile(edgeprof, sick):
    status, out, err = edgeprof("doctor", sick)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("toy.onnx on local")
    assert "warning  Reorders between memory layouts: 600 µs [570, 630], 73.5 %" in lines
    assert any(line.startswith("try      Profile with `--optimization extended`") for line in lines)
    assert "id       layout-reorders" in lines
    assert lines[-1].startswith("Costs are time in question")


def test_names_are_written_out(edgeprof, folder):
    name = "[bold]conv[/bold]\x1b[2J"
    made = make_profile([0.002] * 5 + [0.5], name=[*(f"{name}{i}" for i in range(5)), "last"])
    bundle.save(made, folder / "odd.edgeprof")
    _, out, _ = edgeprof("doctor", "odd.edgeprof")
    assert "[bold]conv[/bold]\\u001b[2J0" in out and "\x1b" not in out


def test_as_json(edgeprof, sick):
    status, out, _ = edgeprof("doctor", sick, "--json", "--baseline", sick)
    told = json.loads(out)
    assert status == 0
    assert (told["schema_version"], told["model"], told["baseline"]) == (1, "toy.onnx", "toy.onnx")
    by_id = {one["id"]: one for one in told["diagnoses"]}
    assert by_id["layout-reorders"]["cost_ms"] == pytest.approx(0.6) and by_id["layout-reorders"]["layers"] == ["reorder"]
    assert by_id["against-baseline"]["evidence"]["times_as_fast"] == 1


def test_of_a_healthy_profile(edgeprof, folder):
    bundle.save(make_profile([0.5], op_type=["Conv"]), folder / "well.edgeprof")
    status, out, _ = edgeprof("doctor", "well.edgeprof")
    assert status == 0 and out.endswith("Nothing was found that keeps it from being faster.\n")


def test_of_a_model(edgeprof, folder):
    bundle.save(profile("tiny.onnx", runs=3, progress=False, memory=False), folder / "before.edgeprof")
    status, out, err = edgeprof("doctor", "tiny.onnx", "--runs", 4, "--baseline", "before.edgeprof", "--json")
    told = json.loads(out)
    assert (status, err) == (0, "")
    assert told["origin"] == "measured" and told["median_ms"] > 0
    assert "against-baseline" in {one["id"] for one in told["diagnoses"]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--baseline", "x.onnx"), "--baseline needs a model or a profile"),
        (("--runs", "5"), "--runs needs a model or a profile"),
        (("nosuch.edgeprof",), "nosuch.edgeprof"),
        (("nosuch.onnx",), "nosuch.onnx"),
        (("sick.edgeprof", "--board", "pi5"), "a profile was measured already"),
        (("sick.edgeprof", "--baseline", "nosuch.edgeprof"), "nosuch.edgeprof"),
        (("tiny.onnx", "--runs", "0"), "--runs is '0'"),
    ],
)
def test_bad_arguments(arguments, words, edgeprof, sick):
    status, out, err = edgeprof("doctor", *arguments)
    assert (status, out) == (2, "")
    assert words in err and err.count("\n") == 1
