"""What the Workbench tells the browser: words for what is not known, for estimates and for limits, and names that mean harm."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeprof as ep
from edgeprof import units
from edgeprof.recipes.recipe import Decision, Recipe
from edgeprof.testing import make_profile
from edgeprof.workbench import Bench, told
from edgeprof.workbench.candidates import Candidate
from edgeprof.workbench.tasks import Task

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
CONV = "/stem/conv/Conv"
NAN = math.nan


def quantity(**values: Any) -> dict[str, Any]:
    """One quantity of a preview; what is not given is not known."""
    return {**dict.fromkeys(("before", "after", "low", "high", "change", "limit"), NAN), "over": False, "why": "", **values}


@pytest.fixture
def bench(tmp_path):
    """A Bench with a model to change and a profile of it; nothing runs."""
    made = Bench(
        SAMPLES / "dscnn_mnist.edgeprof", model=SAMPLES / "dscnn_mnist.onnx", study=tmp_path / "s", precisions=("int8-weights",), widths=()
    )
    made.shown = "p1"
    yield made
    made.close()


# ---- what the recipe changes ----


def test_a_change_has_its_interval_its_part_and_its_sign():
    row = told._row("latency_ms", quantity(before=2.0, after=1.0, low=0.9, high=1.2))
    assert row["after"] == units.latency_interval(1.0, 0.9, 1.2) and row["delta"] == "−50 %"
    assert (row["part"], row["low"], row["high"]) == (0.5, 0.45, 0.6)
    assert told._row("model_bytes", quantity(before=100.0, after=100.0))["delta"] == "same"
    assert told._row("model_bytes", quantity(before=100.0, after=150.0))["delta"] == "+50 %"


@pytest.mark.parametrize("name", told._TITLES)
def test_what_is_not_known_is_a_dash_and_no_bar(name):
    row = told._row(name, quantity(why="The model was not measured yet."))
    assert (row["after"], row["delta"], row["part"]) == ("not known", "–", None) and row["why"] == "The model was not measured yet."
    row = told._row(name, quantity(after=1.0))
    assert row["delta"] == "–" and row["part"] is None and row["after"] != "not known", "there is nothing to hold it against"
    row = told._row(name, quantity(before=0.0, after=1.0))
    assert row["delta"] == "–" and row["part"] is None
    json.dumps(row, allow_nan=False)


def test_scores_are_told_in_their_units():
    row = told._score_row(quantity(metric="top1", before=0.985, after=0.98, low=0.97, high=0.99))
    assert (row["title"], row["after"], row["delta"]) == ("Accuracy", "98.0 % [97.0, 99.0]", "−0.5 pt")
    row = told._score_row(quantity(metric="sqnr_db", before=NAN, after=31.25))
    assert (row["title"], row["after"], row["delta"]) == ("SQNR", "31.2 dB", "–")
    row = told._score_row(quantity(metric="mae", before=0.5, after=0.25))
    assert (row["title"], row["after"], row["delta"]) == ("mae", "0.250", "−0.250")
    assert told._score_row(quantity(metric="top1", why="No data."))["after"] == "not known"


def test_what_is_over_a_limit_says_so():
    row = told._row("latency_ms", quantity(before=1.0, after=2.0, limit=1.5, over=True))
    assert row["over"] and row["why"] == "over the limit"


def test_an_empty_recipe_changes_nothing_and_has_no_rows(bench):
    change = told.decide(bench, bench.profile_of("p1"))["change"]
    assert change["rows"] == [] and change["hint"]
    bench.decide([CONV], prune=0.5)
    change = told.decide(bench, bench.profile_of("p1"))["change"]
    assert [row["title"] for row in change["rows"]] == ["Latency", "Energy", "Model size", "Peak memory"], "without data no score"
    assert change["action"]["name"] == "learn" and not change["action"]["busy"] and "earning it measures" in change["hint"]


# ---- labels ----


def test_an_estimate_says_so_wherever_it_can_be_chosen(bench):
    bench.recipe = Recipe((Decision(layer=CONV, prune=0.5),), name="half")
    one = bench._candidate()
    bench._update(one.key, estimated=replace(make_profile(), origin="estimated", parent="ab" * 32))
    labels = {entry["key"]: entry["label"] for entry in told.subjects(bench, bench.subjects)}
    assert labels["c1"] == "half (estimated)" and "measured" in labels["p1"]
    header = told.head(bench, bench.profile_of("c1"))["header"]
    assert header["origin"] == "estimated" and "estimated" in header["origin_label"]
    bench._update(one.key, measured=make_profile())
    assert told.subjects(bench, bench.subjects)[0]["label"] == "half (measured)"


def test_what_runs_says_how_far_it_is():
    task = Task(3, "measure", "Measure it", lambda task: None, lambda: None, "base")
    assert told._task(task)["phase"] == "waiting" and told._task(task)["part"] is None
    task.status = "running"
    task.tell("measure", 25, 1000)
    assert told._task(task) == {"id": 3, "title": "Measure it", "phase": "measure 25/1,000", "part": 0.025}
    task.tell("measure", 7, 5)
    assert told._task(task)["part"] == 1.0, "more than all is all"


def test_what_failed_can_be_tried_again():
    task = Task(4, "build", "Build it", lambda task: None, lambda: None, "c1")
    task.error = "It cannot be built. Take a layer out."
    note = told.task_note(task)
    assert note["kind"] == "error" and note["text"] == task.error and (note["action"], note["label"]) == ("build", "Try again")
    assert "action" not in told.task_note(Task(5, "something", "", lambda task: None, lambda: None))


def test_the_first_button_is_what_can_be_done_next(bench):
    actions = {one["name"]: one for one in told.decide(bench, None)["actions"]}
    assert "recipe is empty" in actions["estimate"]["why"] and "recipe is empty" in actions["build"]["why"]
    assert actions["measure"]["why"] == "" and "no data" in actions["score"]["why"]
    bench.decide([CONV], prune=0.5)
    actions = {one["name"]: one for one in told.decide(bench, None)["actions"]}
    assert actions["estimate"]["why"] == actions["build"]["why"] == ""


# ---- many, long and hostile names ----

HOSTILE = [
    "</script><script>alert(1)</script>",
    "evil\u202egnp.exe",
    "two\nlines\r\n",
    "x" * 10_000,
    "<img src=x onerror=alert(1)>",
    "\x1b[31m\x00",
]


def test_thousands_of_selected_layers_are_sent_as_names_and_nothing_more():
    profile = make_profile(np.full(1000, 0.01), runs=0, name=[f"/{'block' * 40}/{i}/{'conv' * 40}" for i in range(1000)])
    wb = ep.Workbench(profile)
    wb.selection = profile.layers["name"].tolist()
    assert wb.selected["layers"] == profile.layers["name"].tolist() and wb.decide is None
    assert len(json.dumps(wb.get_state(["head", "subjects", "notes", "empty"]))) < 5000


def test_many_selected_layers_are_told_as_some_and_how_many_more(bench):
    bench.selection = bench.profile_of("p1").layers["name"].tolist()
    chosen = told.decide(bench, bench.profile_of("p1"))["chosen"]
    total = len(bench.selection.layers)
    assert chosen["title"] == f"{total} layers selected" and len(chosen["names"]) == min(total, told.MOST_CHIPS)
    assert " · " in chosen["note"] and "100" in chosen["note"]


def test_layers_without_a_number_have_no_note(bench):
    blank = bench.profile_of("p1")
    blank = replace(blank, layers=blank.layers.assign(latency_ms=np.nan, share=np.nan))
    bench.selection = [CONV]
    assert told.decide(bench, blank)["chosen"]["note"] == ""


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_longer_than_a_line_in_what_is_told(name):
    profile = make_profile(origin="measured")
    profile = replace(profile, context=replace(profile.context, model_name=name))
    bench = Bench([profile, make_profile()])
    for entry in told.subjects(bench, bench.subjects):
        assert len(entry["label"]) < 300 and "\n" not in entry["label"] and "\x00" not in entry["label"] and "\u202e" not in entry["label"]
    json.dumps(told.head(bench, profile), allow_nan=False)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_of_candidates_and_tasks(name, bench):
    bench.recipe = Recipe((Decision(layer=CONV, prune=0.5),), name="some")
    one = bench._candidate()
    bench._candidates[one.key] = Candidate(
        one.key, name, one.recipe, estimated=replace(make_profile(), origin="estimated", parent="ab" * 32)
    )
    (entry,) = (entry for entry in told.subjects(bench, bench.subjects) if entry["key"] == one.key)
    assert len(entry["label"]) < 100 and "\n" not in entry["label"] and entry["label"].endswith("(estimated)")
    assert len(told.names(bench)[one.key]) <= 61
    task = Task(1, "build", f"Build {name}", lambda task: None, lambda: None)
    assert len(told._task(task)["title"]) <= 91
