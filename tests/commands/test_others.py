"""`edgeprof report`, `import` and `lab`."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import onnxruntime
import pytest

import edgeprof as ep
from edgeprof.models.inputs import make_inputs
from edgeprof.reports import REPORTS

# report


@pytest.mark.parametrize("suffix", [report.suffix for report in REPORTS if report.suffix != ".xlsx"])
def test_report(suffix, edgeprof, saved, folder):
    assert edgeprof("report", saved, saved, "-o", f"out{suffix}") == (0, "", f"Wrote out{suffix}.\n")
    assert (folder / f"out{suffix}").stat().st_size > 100


def test_report_of_unknown_kind(edgeprof, saved, folder):
    status, _, err = edgeprof("report", saved, "-o", "out.docx")
    assert status == 2
    assert "ends in .docx; it can end in .html, .md" in err
    assert not (folder / "out.docx").exists()


# import


@pytest.fixture
def trace(folder: Path) -> Path:
    """A profile that ONNX Runtime itself wrote, and the optimised model beside it."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "trace")
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    session = onnxruntime.InferenceSession("tiny.onnx", options, providers=["CPUExecutionProvider"])
    for _ in range(3):
        session.run(None, make_inputs(ep.load_model("tiny.onnx")))
    return Path(session.end_profiling()).rename(folder / "trace.json")


@pytest.mark.parametrize("extra", [[], ["--executed", "optimised.onnx"], ["--shape", "x=1,1,1,5760"]])
def test_import(extra, edgeprof, trace, folder):
    status, out, err = edgeprof("import", trace.name, "--model", "tiny.onnx", *extra)
    assert (status, err) == (0, "Saved trace.edgeprof.\n")
    assert "imported from another tool's trace: raw times, not corrected" in out
    assert "not measured: there are no plain runs" in out
    profile = ep.load(folder / "trace.edgeprof")
    assert (profile.origin, profile.context.input_source) == ("imported", "unknown")
    assert profile.runs["instrumented"].sum() == 3
    assert {"Split", "Concat", "Erf"} <= set(profile.measured_layers["op_type"])
    assert {node.fate for node in profile.nodes} <= {"executed", "removed", "folded"}


def test_import_of_a_gzipped_trace(edgeprof, trace, folder):
    (folder / "packed.json.gz").write_bytes(gzip.compress(trace.read_bytes()))
    assert edgeprof("import", "packed.json.gz", "--model", "tiny.onnx", "--quiet") == (0, "", "")
    assert (folder / "packed.edgeprof").exists()


def test_import_of_something_else(edgeprof, folder):
    (folder / "notes.json").write_text("{}")
    status, _, err = edgeprof("import", "notes.json", "--model", "tiny.onnx")
    assert status == 2
    assert err.startswith("notes.json is in no format known here.")
    assert not (folder / "notes.edgeprof").exists()


# lab


@pytest.fixture
def started(monkeypatch) -> list[list[str]]:
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append([path, *command]))
    return commands


def test_lab(edgeprof, folder, started):
    assert edgeprof("lab", "--port", 9999, "--ip", "0.0.0.0", "--no-browser", "--allow-root")[0] == 0
    root = f"--ServerApp.root_dir={folder.resolve()}"
    assert started == [
        [sys.executable, sys.executable, "-m", "jupyterlab", root, "--port=9999", "--ip=0.0.0.0", "--no-browser", "--allow-root"]
    ]


def test_lab_without_jupyterlab(edgeprof, started, monkeypatch):
    monkeypatch.setattr("edgeprof.commands.lab.find_spec", lambda name: None)
    assert edgeprof("lab") == (2, "", "JupyterLab is not installed. Install it with `pip install 'edgeprof[notebook]'`.\n")
    assert not started


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["nowhere"], "nowhere does not exist."), (["tiny.onnx"], "tiny.onnx is no folder."), (["--port", "70000"], "up to 65535")],
)
def test_lab_with_wrong_arguments(arguments, sentence, edgeprof, started):
    status, _, err = edgeprof("lab", *arguments)
    assert status == 2
    assert sentence in err
    assert not started
