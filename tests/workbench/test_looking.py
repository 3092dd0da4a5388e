"""A Bench that can only look: profiles, files of them, and studies whose model is not there."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import edgeprof as ep
from edgeprof.errors import StudyError, UsageError
from edgeprof.models import load_model
from edgeprof.studies import Study
from edgeprof.workbench import Bench

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
PATHS = [SAMPLES / "dscnn_mnist.edgeprof", SAMPLES / "resnet8_mnist.edgeprof"]


def test_profiles_are_shown_and_compared_and_nothing_is_decided():
    with Bench(PATHS) as bench:
        assert not bench.can_decide and "Give the model too" in bench.why_not and bench.graph is None
        assert list(bench.subjects) == ["p1", "p2"] and bench.shown == "p1" and bench.candidates == []
        assert bench.base is bench.profile_of("p1") and len(bench.profiles) == 2
        first = bench.base.layers["name"][0]
        bench.selection = {"layers": [first], "candidates": ["p2"], "runs": [0]}
        assert bench.selection.layers == (first,) and bench.selection.candidates == ("p2",)
        bench.shown = "p2"
        assert bench.selection.runs == () and bench.back() and bench.selection.layers == ()
        assert bench.possible()["prune"] == bench.why_not and bench.decisions == []
        for refused in (
            lambda: bench.decide(precision="int8"),
            bench.learn,
            bench.measure,
            bench.preview,
            lambda: bench.undo() or bench.score(),
        ):
            with pytest.raises(UsageError, match=r"no model file to change|Give the model too"):
                refused()
        with pytest.raises(UsageError, match=r"There is no 'p3' here.*There are: p1, p2"):
            bench.shown = "p3"


@pytest.mark.parametrize("subject", [PATHS, PATHS[0], [ep.load(PATHS[0])]])
def test_the_code_looks_too(subject):
    code = Bench(subject).code()
    assert "ep.load(" in code or "profile_1 is one that was given" in code
    exec(compile(code, "copied", "exec"), {"profile_1": ep.load(PATHS[0])})


def test_with_the_model_it_can_decide(tmp_path):
    with Bench(PATHS[0], model=SAMPLES / "dscnn_mnist.onnx", study=tmp_path / "s") as bench:
        assert bench.can_decide and list(bench.subjects) == ["p1"] and bench.base is None
        bench.shown = "p1"
        bench.selection = ["/stem/conv/Conv"]
        assert bench.decide(sparsity=0.5)["layers"] == ["/stem/conv/Conv"]
    with Bench(PATHS[0], model=SAMPLES / "dscnn_mnist.onnx", study=tmp_path / "s") as again:
        assert again.shown == "p1" and again.selection.layers == ("/stem/conv/Conv",) and len(again.decisions) == 1


def test_what_is_saved_opens_again(tmp_path):
    with Bench(PATHS) as bench:
        bench.shown = "p2"
        bench.selection = list(bench.profile_of("p2").layers["name"][:2])
        selected = bench.selection
        folder = bench.save(tmp_path / "two.study")
    with Bench.load(folder) as found:
        assert [profile.context.model_name for profile in found.profiles] == [profile.context.model_name for profile in bench.profiles]
        assert found.shown == "p2" and found.selection == selected and not found.can_decide
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two.study"]


def test_a_study_of_a_sweep_opens_with_its_model(tmp_path):
    study = Study.create(tmp_path / "sweep")
    graph = load_model(SAMPLES / "dscnn_mnist.onnx")
    profile = ep.load(PATHS[0])
    profile.save(tmp_path / "sweep" / "profiles" / "x.edgeprof")
    (tmp_path / "sweep" / "index.sqlite").unlink()
    with Bench(tmp_path / "sweep") as without:
        assert not without.can_decide and list(without.subjects) == ["p1"]
    kept = study.keep_model(graph)
    if graph.digest == profile.context.model_sha256:
        with Bench(tmp_path / "sweep") as found:
            assert found.can_decide and found.graph.digest == graph.digest and "p1" in found.subjects
    kept.write_bytes(b"something else")
    with pytest.raises(Exception, match="."):
        load_model(kept)


def test_another_models_state_is_left_alone(tmp_path):
    folder = tmp_path / "s"
    with Bench(SAMPLES / "dscnn_mnist.onnx", study=folder) as bench:
        bench.decide(["/stem/conv/Conv"], sparsity=0.5)
    written = (folder / "workbench.json").read_text()
    with Bench(SAMPLES / "resnet8_mnist.onnx", study=folder) as other:
        assert "last used with another dscnn_mnist" in other.findings[0] and other.decisions == []
        assert (folder / "workbench.json").read_text() == written
        other.decide(["/stem/conv/Conv"], sparsity=0.25)
    assert (folder / "workbench.json.before").read_text() == written


def test_what_it_cannot_be_opened_with(tmp_path):
    shutil.copy(SAMPLES / "dscnn_mnist.onnx", tmp_path)
    (tmp_path / "folder").mkdir()
    for subject, options, kind, sentence in (
        (7, {}, UsageError, "given a int"),
        ([], {}, UsageError, "empty list"),
        (tmp_path / "folder", {}, StudyError, "is no study"),
        (tmp_path / "dscnn_mnist.onnx", {"model": SAMPLES / "resnet8_mnist.onnx"}, UsageError, "two models"),
        (tmp_path / "dscnn_mnist.onnx", {"constraints": {"loss": -1}}, UsageError, "constraint loss is -1"),
        (tmp_path / "dscnn_mnist.onnx", {"runs": 0, "study": Study.create(tmp_path / "s").path}, UsageError, "runs is 0"),
    ):
        with pytest.raises(kind, match=sentence):
            Bench(subject, **options)
    with Bench(replace(load_model(tmp_path / "dscnn_mnist.onnx"), path="/gone.onnx")) as bench:
        assert not bench.can_decide and "is not there" in bench.why_not and bench.graph is not None
