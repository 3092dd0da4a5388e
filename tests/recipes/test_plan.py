"""A plan says what `apply` makes: widths and precisions, for recipes drawn at random and on real architectures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeprof.datasets import load_data
from edgeprof.errors import EdgeprofError, RecipeError
from edgeprof.models import load_model
from edgeprof.models.cost import total_cost
from edgeprof.recipes import plan as planning
from edgeprof.recipes.build import apply, prune_recipe, quantize_recipe
from edgeprof.recipes.pruning.groups import groups
from edgeprof.recipes.recipe import Decision, Recipe
from edgeprof.recipes.target import Target
from edgeprof.variants import random_recipe

SAMPLES = Path(__file__).parents[2] / "sample_models"
TARGET = Target("x86_64", frozenset({"avx2", "avx512f", "avx512_vnni"}), "test CPU")
DATA = {"resnet8_mnist": "held_out_digits", "dscnn_mnist": "held_out_digits", "vit_clutter": "held_out_clutter"}
SHIPPED = Path(onnx.__file__).parent / "backend" / "test" / "data"
LIGHT = sorted((SHIPPED / "light").glob("*.onnx"))


@pytest.mark.parametrize(("name", "seed"), [("resnet8_mnist", 1), ("resnet8_mnist", 2), ("dscnn_mnist", 3), ("vit_clutter", 4)])
def test_what_is_built_is_what_was_planned(name, seed, tmp_path):
    graph = load_model(SAMPLES / f"{name}.onnx")
    recipe = random_recipe(graph, np.random.default_rng(seed), name="drawn")
    planned = planning.plan(recipe, graph, TARGET)
    data = load_data(SAMPLES / f"{DATA[name]}.toml", graph).take(4)
    built = apply(graph, recipe, data=data, target=TARGET, mend=False, output=tmp_path / "built.onnx")

    made = load_model(tmp_path / "built.onnx")
    weights = {layer.name: layer.inputs[1] for layer in graph.layers if layer.op_type == "Conv"}
    for layer, tensor in weights.items():
        other = next(one for one in made.layers if one.name == layer)
        assert made.tensor(other.inputs[1]).shape == planned.graph.tensor(tensor).shape, layer
    for tensor in graph.outputs:
        assert made.tensor(tensor.name).shape == planned.graph.tensor(tensor.name).shape

    done = {change.layer for change in built.changes if change.done == "int8"}
    asked = {layer for layer, precision in planned.precision.items() if precision == "int8"}
    weighted = set(planning.quantizable(graph))
    assert done & weighted == asked & weighted


def test_a_recipe_that_changes_nothing_plans_nothing():
    graph = load_model(SAMPLES / "resnet8_mnist.onnx")
    planned = planning.plan(Recipe(), graph, TARGET)
    assert planned.graph is graph and planned.precision == {}
    floats = planning.plan(Recipe((Decision(pattern="*", precision="fp32"),)), graph, TARGET)
    assert floats.precision == {}


def test_widths_are_rounded_as_pruning_does():
    graph = load_model(SAMPLES / "resnet8_mnist.onnx")
    planned = planning.plan(prune_recipe(0.25), graph, TARGET)
    shapes = {layer.name: planned.graph.tensor(layer.outputs[0]).shape for layer in planned.graph.layers if layer.op_type == "Conv"}
    assert shapes["/stage3/conv1/conv/Conv"][1] == 48 and shapes["/stage1/conv1/conv/Conv"][1] == 12
    assert total_cost(planned.graph).macs < 0.65 * total_cost(graph).macs
    assert planned.graph.outputs == graph.outputs


def test_layers_without_weights_follow_what_they_read():
    graph = load_model(SAMPLES / "resnet8_mnist.onnx")
    every = planning.follow(graph, dict.fromkeys(planning.quantizable(graph), "int8"))
    assert set(every) == {layer.name for layer in graph.layers}
    none = planning.follow(graph, {})
    assert none == {}
    stem = planning.follow(graph, {"/stem/conv/Conv": "int8"})
    assert "/stage1/Add" not in stem or len(stem) < 5  # its other input is float


def test_what_apply_refuses_is_refused_here():
    graph = load_model(SAMPLES / "resnet8_mnist.onnx")
    with pytest.raises(RecipeError, match="no layer '/nothing'"):
        planning.plan(Recipe((Decision(layer="/nothing", prune=0.5),)), graph, TARGET)


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_real_architectures_are_planned(path):
    graph = load_model(path)
    every = planning.plan(Recipe((*quantize_recipe().decisions, *prune_recipe(0.5).decisions)), graph, TARGET)
    assert set(planning.quantizable(graph)) <= set(every.precision)
    if planning.prunable_groups(graph):
        assert total_cost(every.graph).macs < total_cost(graph).macs


def test_every_other_model_that_onnx_ships_is_planned_or_refused_with_a_sentence():
    paths = sorted(
        path for folder in ("simple", "pytorch-operator", "pytorch-converted") for path in (SHIPPED / folder).rglob("model.onnx")
    )
    assert len(paths) > 50
    planned = 0
    for path in paths:
        try:
            graph = load_model(path)
        except EdgeprofError:
            continue
        groups(graph)
        planning.plan(quantize_recipe(), graph, TARGET)
        planned += 1
    assert planned > 50
