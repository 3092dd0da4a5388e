"""A Bench with ONNX Runtime on a small model: decide, preview, estimate, build, measure, score, cancel, and open it again."""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import threading
import weakref
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeprof as ep
from edgeprof.boards.base import Progress, Started
from edgeprof.datasets import load_data
from edgeprof.errors import OutputError, RecipeError, UsageError
from edgeprof.models import load_model
from edgeprof.recipes.recipe import Decision, Recipe
from edgeprof.workbench import Bench, Selection, tasks
from tests.laws import examples

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
MODEL = SAMPLES / "dscnn_mnist.onnx"
QUICK = {"runs": 3, "warmup": 1, "memory": False, "precisions": ("int8",), "widths": (0.5,), "mixed": 1, "calibration": 15}
STEM, DEPTHWISE, POINTWISE = "/stem/conv/Conv", "/block1/depthwise/conv/Conv", "/block1/pointwise/conv/Conv"
LONG_S = 120.0


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    some = load_data(SAMPLES / "held_out_digits.toml", load_model(MODEL)).take(40, seed=0)
    import numpy as np

    np.savez(path, labels=some.labels, **some.inputs)
    return path


@pytest.fixture(scope="module")
def lived(data, tmp_path_factory):
    """A study in which a person worked: learned, one candidate estimated and measured, another only estimated. And what was seen then."""
    study = tmp_path_factory.mktemp("work") / "dscnn.study"
    with Bench(MODEL, data=data, study=study, **QUICK) as bench:
        before = bench.preview(Recipe((Decision(layer=POINTWISE, precision="int8"),)))
        bench.selection = [STEM, DEPTHWISE]
        assert not study.exists(), "a selection alone is nothing to keep"
        bench.decide(precision="int8")
        both = [bench.estimate(), bench.measure()]
        assert both[-1].wait(LONG_S), both
        assert [task.status for task in both] == ["done", "done"], [(task.error, task.trace) for task in both]
        bench.decide([POINTWISE], prune=0.5)
        task = bench.estimate()
        assert task.wait(LONG_S) and task.status == "done", task.error
        after = bench.preview(bench.candidates[1].recipe)
        bench.shown = "c1"
        bench.selection = {"candidates": ["c1"]}
        code = bench.code()
        seen = {"before": before, "after": after, "code": code, "candidates": bench.candidates, "recipe": bench.recipe,
                "selection": bench.selection, "profiles": bench.profiles}  # fmt: skip
    return study, seen


@pytest.fixture
def bench(data, tmp_path):
    with Bench(MODEL, data=data, study=tmp_path / "study", **QUICK) as made:
        yield made


def test_before_the_board_is_learned_only_sizes_are_said(lived):
    _, seen = lived
    told = seen["before"]
    assert not told["known"] and told["seconds"] > 1 and "Learning it measures variants" in told["why"]
    assert told["model_bytes"]["change"] < 0 and told["model_bytes"]["why"] == ""
    assert math.isnan(told["latency_ms"]["after"]) and told["latency_ms"]["why"] == "The model was not measured yet."
    assert told["macs"]["before"] == told["macs"]["after"] > 0


def test_a_preview_has_every_quantity_with_its_interval_or_a_reason(lived):
    _, seen = lived
    told = seen["after"]
    assert told["known"] and told["why"] == "" and told["seconds"] == 0
    for name in ("latency_ms", "score"):
        one = told[name]
        assert one["low"] <= one["after"] <= one["high"] and one["change"] == pytest.approx(one["after"] - one["before"])
    assert (told["score"]["metric"], told["score"]["better"]) == ("top1", "higher") and told["score"]["high"] <= 1
    assert math.isnan(told["energy_mj"]["after"]) and told["energy_mj"]["why"] == "The energy of the model was not measured."


def test_candidates_have_what_came_of_them(lived):
    study, seen = lived
    base, first, second = seen["candidates"]
    assert [one.status for one in seen["candidates"]] == ["measured", "measured", "estimated"]
    assert base.measured.parent is None and first.measured.parent == base.measured.context.model_sha256
    assert first.measured.origin == "measured" and first.estimated.origin == "estimated"
    assert first.measured.context.model_name == f"dscnn_mnist, {first.name}" == first.estimated.context.model_name
    assert first.score["estimated"] is False and first.score["n"] == 25 and second.score["estimated"] is True
    assert [profile.origin for profile in seen["profiles"]] == ["measured", "estimated", "measured", "estimated"]
    assert (study / "models" / f"{base.measured.context.model_sha256}.onnx").read_bytes() == MODEL.read_bytes()


def test_the_selection_is_found_again_in_the_8_bit_model(lived):
    _, seen = lived
    layers = seen["selection"].layers
    measured = seen["candidates"][1].measured
    assert STEM in layers and DEPTHWISE in layers and set(layers) <= set(measured.layers["name"])
    assert not set(layers) & set(seen["candidates"][0].measured.layers["name"]) - {STEM, DEPTHWISE}


def test_the_code_does_the_same(lived):
    study, seen = lived
    before = sorted((study / "profiles").iterdir())
    names: dict[str, object] = {}
    exec(compile(seen["code"], "copied", "exec"), names)
    base, measured, estimated = names["profiles"]
    assert measured.context.latency == seen["candidates"][1].measured.context.latency, "it was measured again"
    assert measured.context.scores == seen["candidates"][1].measured.context.scores
    assert estimated.context.latency.median_ms == pytest.approx(seen["candidates"][2].estimated.context.latency.median_ms)
    assert base.parent is None and sorted((study / "profiles").iterdir()) == before


def test_after_a_restart_everything_is_back(lived, data):
    study, seen = lived
    with Bench(MODEL, data=data, study=study, **QUICK) as again:
        assert [(one.key, one.name, one.status) for one in again.candidates] == [
            (one.key, one.name, one.status) for one in seen["candidates"]
        ]
        assert again.recipe == seen["recipe"] and again.shown == "c1" and again.selection == seen["selection"]
        assert again.findings == [] and again.candidates[1].score == seen["candidates"][1].score
        (reading,) = again.tasks
        assert reading.wait(LONG_S) and reading.status == "done", reading.error
        assert again.preview(seen["candidates"][1].recipe)["latency_ms"] == pytest.approx(seen["after"]["latency_ms"], nan_ok=True)
        assert again.undo() and again.undo() and again.recipe == Recipe() and not again.can_undo
        assert again.redo() and again.redo() and again.recipe == seen["recipe"]
    with Bench(MODEL, data=data, study=study, **{**QUICK, "runs": 4}) as other:
        assert [one.status for one in other.candidates][:2] == ["new", "built"], "with other settings it is another measurement"
        assert other.tasks == []


def test_without_its_data_a_study_says_what_is_missing(lived, tmp_path):
    study, _ = lived
    copy = shutil.copytree(study, tmp_path / "copy.study")
    with Bench(MODEL, study=copy, **QUICK) as bare:
        assert bare.candidates[1].measured is None
        assert [text for text in bare.findings if "Give the same data=... again." in text] == bare.findings != []


def test_a_damaged_state_is_one_sentence_and_what_was_measured_is_there(lived, data, tmp_path):
    study, _ = lived
    with Bench(study, data=data) as whole:
        copy = whole.save(tmp_path / "copy.study")
        with pytest.raises(OutputError, match=r"something at .* already"):
            whole.save(tmp_path / "copy.study")
    told = json.loads((copy / "workbench.json").read_text())
    told["selection"] = told["undo"] = 7
    (copy / "workbench.json").write_text(json.dumps(told))
    with Bench(MODEL, data=data, study=copy, **QUICK) as found:
        (finding,) = found.findings
        assert "undo steps, selection could not be read" in finding or "selection" in finding
        assert [one.status for one in found.candidates] == ["measured", "measured", "estimated"] and found.recipe == Recipe()
        [task.cancel() for task in found.tasks]
    (copy / "workbench.json").write_text("{")
    with Bench(MODEL, data=data, study=copy, **QUICK) as found:
        assert "is damaged" in found.findings[0] and found.base is not None and len(found.candidates) == 1
        found.decide([STEM], precision="int8")
    assert (copy / "workbench.json.before").read_text() == "{"
    (copy / "workbench.json").write_text((copy / "workbench.json").read_text().replace("/stem/conv/Conv", "/gone"))
    with Bench(MODEL, data=data, study=copy, **QUICK) as found:
        assert "does not fit the model" in found.findings[0] and found.recipe == Recipe()


def test_a_study_folder_opens_alone(lived, data):
    study, seen = lived
    with Bench.load(study, data=data, precisions=("int8",), widths=(0.5,), mixed=1) as found:
        assert found.can_decide and found.graph.name == "dscnn_mnist" and found.options["runs"] == 3
        assert [one.status for one in found.candidates] == ["measured", "measured", "estimated"]
        assert found.recipe == seen["recipe"]
        (reading,) = found.tasks
        assert reading.wait(LONG_S) and reading.status == "done" and found.knowledge is not None
    with Bench(study) as no_data:
        assert "calibrate with" in no_data.possible([STEM])["precisions"]["int8"]
        with pytest.raises(UsageError, match="no data to score with"):
            no_data.score()


def test_a_measurement_that_is_cancelled_is_kept_as_partial_and_never_as_done(data, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "_AT_ONCE_AFTER_S", LONG_S)  # however busy the machine is, what was measured can be sent
    with Bench(MODEL, data=data, study=tmp_path / "study", **{**QUICK, "runs": 5000}) as bench:
        arrived, events, threads = threading.Event(), [], set()

        def hear(task, event):
            events.append(type(event))
            threads.add(threading.current_thread().name)
            if isinstance(event, Progress) and event.phase == "measure":
                arrived.set()
            raise ValueError("a listener's own trouble")

        bench.on_event = hear
        task = bench.measure()
        assert arrived.wait(LONG_S) and task.status == "running"
        task.cancel()
        assert task.wait(LONG_S)
        assert (task.status, task.result) == ("cancelled", None) and "kept in" in task.error
        assert events[0] is Started and threads == {"edgeprof-workbench"}
        assert bench.base is None and bench.candidates[0].status == "new"
        study = ep.Study(tmp_path / "study")
        assert list(study.table["status"]) == ["cancelled"] and study.profiles() == []
        (partial,) = study.profiles(partial=True)
        assert 0 < len(partial.runs) < 10_000
        assert "ValueError: a listener's own trouble" in bench.findings[0]
        bench.on_event = None
        bench.options["runs"] = bench._shop().options["runs"] = 3
        after = bench.measure()
        assert after.wait(LONG_S) and after.status == "done" and bench.base is not None, after.error


def test_learning_is_cancelled_in_the_process_apart_and_goes_on_from_there(lived, data, tmp_path):
    study, _ = lived
    with Bench(study, data=data) as whole:
        copy = whole.save(tmp_path / "copy.study")
    (copy / "sensitivity.jsonl").unlink()
    with Bench(copy, data=data, precisions=("int8",), widths=(0.5,), mixed=1) as bench:
        task = bench.tasks[0]
        stopped = threading.Event()

        def watch(kinds):
            if task.phase.startswith("calibrate"):
                task.cancel()
                stopped.set()

        bench.on_change(watch)
        watch(frozenset())
        assert stopped.wait(LONG_S) and task.wait(LONG_S)
        assert task.status == "cancelled" and bench.knowledge is None
        again = bench.learn()
        assert again.wait(LONG_S) and again.status == "done" and bench.knowledge is not None, again.error


def test_scores_and_builds_without_measuring(bench):
    bench.recipe = Recipe((Decision(layer=STEM, precision="int8"),), name="the first layer")
    built, scored = bench.build(), bench.score()
    assert scored.wait(LONG_S) and (built.status, scored.status) == ("done", "done"), (built.error, scored.error)
    one = bench.candidates[1]
    assert (one.key, one.name, one.status) == ("c1", "the first layer", "built") and built.result.is_file()
    assert one.score["metric"] == "top1" and one.score["estimated"] is False and one.measured is None
    bench.rename("c1", "stem")
    with pytest.raises(UsageError, match="as it is stays"):
        bench.drop("base")
    bench.shown = "c1"
    assert bench.possible([STEM])["current"]["precision"] == "int8", "nothing is measured: nodes of the model are shown"
    bench.drop("c1")
    assert [one.key for one in bench.candidates] == ["base"] and bench.shown == "base"


def test_what_cannot_be_built_is_a_sentence_at_the_candidate(bench):
    bench.recipe = Recipe((Decision(layer="/head/flatten/Flatten", precision="int8"),))
    task = bench.build()
    assert task.wait(LONG_S) and task.status == "failed" and "cannot be made int8" in task.error
    assert bench.candidates[1].status == "failed" and bench.candidates[1].failed == task.error
    with pytest.raises(RecipeError, match="no layer '/nothing'"):
        bench.recipe = Recipe((Decision(layer="/nothing", precision="int8"),))
    with pytest.raises(UsageError, match="give a Recipe"):
        bench.recipe = "int8"


def test_an_empty_recipe_has_nothing_to_build(bench):
    for action in (bench.build, bench.estimate):
        with pytest.raises(UsageError, match="decides nothing yet"):
            action()
    with pytest.raises(UsageError, match="no candidate 'c9'"):
        bench.measure("c9")
    told = bench.preview()
    assert told["known"] and told["model_bytes"]["change"] == 0


def test_recipes_go_to_files_and_come_back(bench, tmp_path):
    bench.decide([STEM], precision="int8")
    path = bench.save_recipe(tmp_path / "one.recipe.toml")
    made = bench.recipe
    bench.reset()
    assert bench.decisions == []
    bench.load_recipe(path)
    assert bench.recipe.decisions == made.decisions
    bench.remove(0)
    assert bench.recipe.decisions == ()


def test_constraints_are_held_against_previews(data, tmp_path):
    with Bench(MODEL, data=data, study=tmp_path / "s", constraints={"model_bytes": 80_000, "loss": 0.01}, **QUICK) as bench:
        assert bench.preview()["model_bytes"]["over"] and bench.preview()["model_bytes"]["limit"] == 80_000
        smaller = Recipe((Decision(pattern="*", precision="int8"),))
        assert not bench.preview(smaller)["model_bytes"]["over"]


nodes = st.lists(st.sampled_from([STEM, DEPTHWISE, POINTWISE, "/head/fc/Gemm"]), min_size=1, max_size=3)
acts = st.lists(st.tuples(st.sampled_from(["int8", "prune", "reset", "undo", "redo", "select", "back", "forward"]), nodes), max_size=12)


@pytest.fixture(scope="module")
def shared(data, tmp_path_factory):
    with Bench(MODEL, data=data, study=tmp_path_factory.mktemp("shared") / "study", **QUICK) as made:
        yield made


def act(bench: Bench, what: str, names: list[str]) -> None:
    if what == "int8":
        bench.decide(names, precision="int8")
    elif what == "prune":
        bench.decide([STEM, *names], prune=0.5)
    elif what == "reset":
        bench.reset(names)
    elif what == "select":
        bench.selection = names
    else:
        getattr(bench, what)()


@given(acts, nodes)
@examples(0.3)
def test_undo_after_a_decision_and_back_after_a_selection_change_nothing(shared, moves, names):
    for what, own in moves:
        act(shared, what, own)
    recipe, selection = shared.recipe, shared.selection
    shared.decide(names, precision="int8")
    if shared.recipe != recipe:
        after = shared.recipe
        assert shared.undo() and shared.recipe == recipe
        assert shared.redo() and shared.recipe == after
        shared.undo()
    shared.selection = Selection(tuple(names))
    if shared.selection != selection:
        assert shared.back() and shared.selection == selection and shared.can_go[1]
        assert shared.forward() and set(shared.selection.layers) == set(names)
    here = shared.can_go
    shared.selection = shared.selection
    assert shared.can_go == here, "the same selection made an entry"


def test_listeners_hear_what_changed_and_hold_no_lock(bench):
    heard, others = [], []

    def listen(kinds):
        heard.append(kinds)
        thread = threading.Thread(target=lambda: others.append((bench.selection, bench.recipe, bench.candidates)))
        thread.start()
        thread.join(LONG_S)
        assert not thread.is_alive(), "a lock was held"

    end = bench.on_change(listen)
    bench.selection = [STEM]
    bench.selection = [STEM]
    bench.decide(precision="int8")
    bench.undo()
    assert heard == [frozenset({"selection"}), frozenset({"recipe"}), frozenset({"recipe"})] and len(others) == 3
    bench.live = ep.load(SAMPLES / "dscnn_mnist.edgeprof")
    bench.shown = "live"
    assert heard[3:] == [frozenset({"profiles"}), frozenset({"shown", "selection"})]
    assert bench.selection.layers == (STEM,) and "live" in bench.subjects and bench.findings == []
    end()
    bench.selection = []
    assert len(heard) == 5


def test_many_threads_at_once(bench):
    bench.on_change(lambda kinds: bench.preview())
    trouble = []

    def work(number):
        try:
            for turn in range(6):
                act(bench, ("int8", "select", "undo", "back", "reset", "prune")[(number + turn) % 6], [STEM, POINTWISE][: 1 + turn % 2])
        except Exception as error:
            trouble.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    [thread.start() for thread in threads]
    [thread.join(LONG_S) for thread in threads]
    assert trouble == [] and bench.findings == []
    bench.flush()
    assert json.loads((bench.study / "workbench.json").read_text())["undo"]["at"] == bench._recipes.at


def test_a_bench_that_is_forgotten_ends_its_process_and_its_thread(data, tmp_path):
    bench = Bench(MODEL, data=data, study=tmp_path / "s", **QUICK)
    bench.recipe = Recipe((Decision(layer=STEM, precision="int8"),))
    task = bench.build()
    assert task.wait(LONG_S) and task.status == "done"
    bench.flush()
    process, thread, gone = bench._holder.shop.worker._process, bench._runner._thread, weakref.ref(bench)
    del bench, task
    gc.collect()
    assert gone() is None
    thread.join(LONG_S)
    assert not thread.is_alive() and process.poll() is not None


def test_a_bench_that_was_closed_takes_no_work(bench):
    bench.close()
    bench.close()
    with pytest.raises(UsageError, match="was closed"):
        bench.measure()


def test_the_runtime_never_comes_into_this_process(lived):
    import subprocess
    import sys

    code = "import sys, edgeprof.workbench as w; w.Bench; print([m for m in ('onnxruntime', 'IPython', 'anywidget') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert found.stdout.strip() == "[]"


def test_what_another_measures_in_the_same_study_is_waited_for_and_not_measured_again(tmp_path):
    quick = {**QUICK, "runs": 40}
    with Bench(MODEL, study=tmp_path / "s", **quick) as one, Bench(MODEL, study=tmp_path / "s", **quick) as other:
        begun, go_on, waits, started = threading.Event(), threading.Event(), threading.Event(), []
        one.on_event = lambda task, event: (begun.set(), go_on.wait(LONG_S)) if isinstance(event, Started) else None
        other.on_event = lambda task, event: started.append(event) if isinstance(event, Started) else None
        first = one.measure()
        assert begun.wait(LONG_S)
        second = other.measure()
        other.on_change(lambda kinds: waits.set() if second.phase.startswith("waiting for another") else None)
        assert waits.wait(LONG_S) and second.status == "running" and second.error == ""
        second.cancel()
        assert second.wait(LONG_S) and second.status == "cancelled"
        third = other.measure()
        go_on.set()
        assert third.wait(LONG_S) and third.status == "done", third.error
        assert first.wait(LONG_S) and started == [] and other.base.runs.equals(one.base.runs)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"precisions": "int8"}, "precisions is the text 'int8'"),
        ({"precisions": ["int9"]}, "no precision 'int9'"),
        ({"widths": [2.0]}, "between 0 and 1"),
        ({"mixed": "3"}, "how many mixtures"),
        ({"constraints": {"latncy_ms": 1.0}}, "did you mean 'latency_ms'"),
        ({"board": ["local", "simulated"]}, "on one board"),
    ],
)
def test_what_makes_no_sense_is_said_when_it_is_opened(wrong, says, tmp_path):
    with pytest.raises(UsageError, match=says):
        Bench(MODEL, study=tmp_path / "s", **wrong)
