"""Candidates of a real model: built, measured and scored once, and found again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from edgeprof import workshop
from edgeprof.boards.base import Cancelled, Progress, Started
from edgeprof.datasets import load_data
from edgeprof.errors import RecipeError, Stopped, UsageError, WorkerError
from edgeprof.models import load_model
from edgeprof.recipes.build import prune_recipe, quantize_recipe
from edgeprof.recipes.recipe import Decision, Recipe, parse_recipe, read_recipe
from edgeprof.variants import designs, measure_variants
from edgeprof.workshop import Workshop

SAMPLES = Path(__file__).parents[1] / "sample_models"
MODEL = SAMPLES / "resnet8_mnist.onnx"
QUICK = {"runs": 3, "warmup": 1, "memory": False}
INT8 = quantize_recipe()


@pytest.fixture(scope="module")
def data():
    return load_data(SAMPLES / "held_out_digits.toml", load_model(MODEL)).take(60, seed=0)


@pytest.fixture
def shop(data, tmp_path):
    with Workshop(MODEL, data=data, calibration=20, study=tmp_path / "study", **QUICK) as made:
        yield made


def test_a_candidate_knows_its_recipe_parent_and_score_and_is_made_once(shop, data, tmp_path, monkeypatch):
    recipe = Recipe(INT8.decisions, name="all int8")
    profile = shop.measure(recipe)
    assert (profile.origin, profile.parent) == ("measured", shop.graph.digest)
    assert parse_recipe(profile.context.recipe).decisions == recipe.decisions
    assert profile.context.model_name == "resnet8_mnist, all int8"
    score = profile.context.scores["top1"]
    assert score["n"] == 40 and score["low"] <= score["value"] <= score["high"]
    assert profile.context.model_bytes < shop.graph.file_bytes
    assert any(change["done"] == "int8" for change in shop.changes(recipe))

    (record,) = (tmp_path / "study" / "recipes").glob("*.json")
    assert json.loads(record.read_text())["parent"] == shop.graph.digest
    assert read_recipe(record.with_suffix(".recipe.toml")).decisions == recipe.decisions

    def never(*args, **options):
        raise AssertionError("made again")

    monkeypatch.setattr(workshop, "apply", never)
    monkeypatch.setattr(workshop, "profile", never)
    with Workshop(MODEL, data=data, calibration=20, study=tmp_path / "study", **QUICK) as again:
        found = again.measure(recipe)
    assert found.context.latency == profile.context.latency and found.context.scores == profile.context.scores
    assert [one.parent for one in again.study.profiles()] == [shop.graph.digest]


def test_other_data_or_settings_are_another_candidate(shop, data, tmp_path):
    path = shop.build(INT8)
    with Workshop(MODEL, data=data, calibration=10, study=shop.study, **QUICK) as other:
        assert other.build(INT8) != path
    pruned = prune_recipe(0.5, ["/stage1/conv1/conv/Conv"])
    assert shop.build(pruned) != shop.build(pruned, mend=False)


def test_calibration_and_scores_never_share_a_sample(shop, data):
    every = {sample.tobytes() for sample in shop.calibration.inputs["image"]} & {sample.tobytes() for sample in shop.data.inputs["image"]}
    assert not every
    assert len(shop.calibration) + len(shop.data) == len(data)
    with Workshop(MODEL, data=data, calibration=data.take(5), study=shop.study) as own:
        assert (len(own.calibration), len(own.data)) == (5, 60)


def test_without_data_nothing_is_scored(tmp_path):
    with Workshop(MODEL, study=tmp_path / "study", **QUICK) as shop:
        with pytest.raises(UsageError, match="no data to score with"):
            shop.score()
        with pytest.raises(RecipeError, match="int8 needs calibration data"):
            shop.build(INT8)
        assert shop.measure(prune_recipe(0.5)).context.scores == {}
    with pytest.raises(UsageError, match="calibration is 0"):
        Workshop(MODEL, data=np.zeros((4, 1, 28, 28), np.float32), calibration=0)


def test_a_recipe_that_cannot_be_built_leaves_no_trace(shop):
    with pytest.raises(RecipeError, match=r"no layer '/nothing'"):
        shop.measure(Recipe((Decision(layer="/nothing", precision="int8"),)))
    assert shop.study.table.empty
    with pytest.raises(UsageError, match="not built here yet"):
        shop.changes(INT8)


def test_variants_are_measured_and_those_that_fail_are_listed(shop):
    bad = Recipe((Decision(layer="/head/fc/Gemm", prune=0.5),), name="cannot")
    found = measure_variants(shop, [Recipe(INT8.decisions, name="all int8"), bad])
    assert [profile.context.model_name for profile in found.profiles] == ["resnet8_mnist, all int8"]
    ((recipe, reason),) = found.failed
    assert recipe is bad and "cannot be pruned" in reason
    assert "1 measured, 1 failed" in repr(found)


def test_designs_have_the_whole_model_the_widths_and_mixtures():
    graph = load_model(MODEL)
    names = [recipe.name for recipe in designs(graph, mixed=2)]
    assert names == ["all int8", "pruned 25%", "pruned 50%", "all int8, pruned 50%", "mixture 1", "mixture 2"]
    assert designs(graph, mixed=2, seed=1)[-1] != designs(graph, mixed=2)[-1]
    assert designs(graph, mixed=2) == designs(graph, mixed=2)
    without = designs(graph, precisions=(), mixed=2)
    assert [recipe.name for recipe in without] == ["pruned 25%", "pruned 50%", "mixture 1", "mixture 2"]
    assert all(one.precision is None for recipe in without for one in recipe.decisions)


def test_scores_of_the_model_itself(shop):
    assert shop.base_score.value == shop.score().value
    assert not math.isnan(shop.base_score.low)
    assert shop.base().context.scores["top1"]["value"] == shop.base_score.value


def test_a_measurement_that_is_stopped_is_kept_as_cancelled_and_never_counts(tmp_path):
    with Workshop(MODEL, study=tmp_path / "study", runs=2000, warmup=1, memory=False) as shop:
        heard = []

        def hear(event):
            heard.append(type(event))
            if isinstance(event, Progress) and event.phase == "measure":
                shop.stop()

        shop.on_event = hear
        with pytest.raises(Stopped, match=r"kept in .* as a partial profile"):
            shop.base()
        assert heard[0] is Started and heard[-1] is Cancelled
        assert list(shop.study.table["status"]) == ["cancelled"] and shop.kept() is None
        (partial,) = shop.study.profiles(partial=True)
        assert len(partial.runs) and shop.study.profiles() == []
        with pytest.raises(Stopped, match="was stopped"):
            shop.measure(prune_recipe(0.5))
        shop.go_on()
        shop.on_event, shop.options["runs"] = None, 3
        measured = shop.base()
        assert shop.kept().context.latency == measured.context.latency


def test_who_hears_of_progress_may_stop_it(tmp_path):
    def told(phase, done, total):
        if phase == "measure":
            raise Stopped("enough")

    with Workshop(MODEL, study=tmp_path / "study", runs=2000, warmup=1, memory=False) as shop:
        with pytest.raises(Stopped, match="kept in"):
            shop.base(told=told)
        assert len(shop.study.profiles(partial=True)) == 1


def test_what_was_measured_is_kept_when_its_score_fails(shop, monkeypatch):
    def fails(*args, **options):
        raise WorkerError("it crashed")

    monkeypatch.setattr(shop, "score_model", fails)
    with pytest.raises(WorkerError):
        shop.base()
    monkeypatch.undo()
    assert shop.kept().context.scores == {}
    assert shop.base().context.scores["top1"]["n"] == 40


def test_built_and_kept_are_told_apart(shop):
    recipe = Recipe(INT8.decisions, name="all int8")
    assert not shop.is_built(recipe) and shop.kept(recipe) is None
    shop.build(recipe)
    assert shop.is_built(recipe) and shop.kept(recipe) is None
    measured = shop.measure(recipe, score=False)
    assert shop.kept(recipe).context.latency == measured.context.latency
