"""Decisions by pointing at layers, on the sample models' graphs; what a recipe says in the end is asked of `choices`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.errors import UsageError
from edgeprof.models import load_model
from edgeprof.recipes.plan import follow, prunable_groups, quantizable
from edgeprof.recipes.recipe import Decision, Recipe
from edgeprof.workbench import edits
from edgeprof.workbench.edits import Able
from tests.laws import examples

SAMPLES = Path(__file__).parents[2] / "sample_models"
DSCNN = Able(load_model(SAMPLES / "dscnn_mnist.onnx"))
RESNET = Able(load_model(SAMPLES / "resnet8_mnist.onnx"))
LAYERS = list(RESNET.top)
STEM, DEPTHWISE, POINTWISE = "/stem/conv/Conv", "/block1/depthwise/conv/Conv", "/block1/pointwise/conv/Conv"

some = st.lists(st.sampled_from(LAYERS), min_size=1, max_size=6, unique=True)
wishes = st.fixed_dictionaries(
    {}, optional={"precision": st.sampled_from(["fp32", "fp16", "int8", "int8-weights"]), "prune": st.sampled_from([0.0, 0.25, 0.5]),
                  "sparsity": st.sampled_from([0.0, 0.5])}
).filter(bool)  # fmt: skip


def decided(recipe: Recipe, nodes: list[str], wish: dict[str, object]) -> Recipe:
    try:
        return edits.decide(RESNET, recipe, nodes, **wish).recipe
    except UsageError:
        return recipe


def built(steps: list[tuple[list[str], dict[str, object]]]) -> Recipe:
    recipe = Recipe()
    for nodes, wish in steps:
        recipe = decided(recipe, nodes, wish)
    return recipe


recipes = st.lists(st.tuples(some, wishes), max_size=4).map(built)


@given(recipes, some, wishes)
@examples(0.6)
def test_what_is_decided_is_what_the_recipe_says(recipe, nodes, wish):
    try:
        made = edits.decide(RESNET, recipe, nodes, **wish)
    except UsageError:
        return
    said = RESNET.said(made.recipe)
    for name in made.done:
        choice = said.get(name)
        if "precision" in wish and name not in made.left and not RESNET.why_not(name, wish["precision"]):
            assert ((choice.precision if choice else None) or "fp32") == wish["precision"]
        if "prune" in wish and not RESNET.why_not_pruned(name):
            leader = said.get(RESNET.group_of[name].name)
            assert ((leader.prune if leader else None) or 0.0) == wish["prune"]
    assert edits.decide(RESNET, made.recipe, nodes, **wish).recipe.decisions == made.recipe.decisions, "deciding it again changes something"


@given(recipes)
@examples(0.6)
def test_what_follows_others_into_8_bits_stands_in_the_recipe(recipe):
    said = RESNET.said(recipe)
    chosen = {name: one.precision for name, one in said.items() if one.precision not in (None, "fp32")}
    followers = [name for name in follow(RESNET.graph, chosen) if name not in chosen]
    assert all(name in said for name in followers), "a layer that follows was left float unasked"


@given(recipes, some)
@examples(0.6)
def test_reset_leaves_the_layers_as_they_are_and_nothing_behind(recipe, nodes):
    after = edits.reset(RESNET, recipe, nodes)
    said = RESNET.said(after)
    for name in nodes:
        if RESNET.layers[name].op_type in ("Conv", "Gemm"):
            assert name not in said or not (said[name].precision or said[name].is_pruned or said[name].sparsity)
    assert edits.reset(RESNET, recipe).decisions == ()
    assert edits.reset(RESNET, recipe, LAYERS).decisions == ()


@given(recipes)
@examples(0.6)
def test_entries_hold_all_layers_and_can_be_removed_one_by_one(recipe):
    entries = edits.listed(RESNET, recipe)
    assert [one["index"] for one in entries] == list(range(len(entries)))
    assert {name for one in entries for name in one["layers"]} == {one.layer for one in recipe.decisions}
    while entries:
        recipe = edits.remove(RESNET, recipe, len(entries) - 1)
        assert len(edits.listed(RESNET, recipe)) < len(entries)
        entries = edits.listed(RESNET, recipe)
    assert recipe.decisions == ()


def test_a_whole_group_is_pruned_and_says_who_goes_along():
    made = edits.decide(DSCNN, Recipe(), [DEPTHWISE], prune=0.5)
    assert made.recipe.decisions == (Decision(layer=STEM, prune=0.5),)
    assert (made.done, made.along) == ((DEPTHWISE,), (STEM,))
    (entry,) = edits.listed(DSCNN, made.recipe)
    assert (entry["layers"], entry["along"], entry["text"]) == ([STEM], [DEPTHWISE], "50 % pruned")
    now = edits.possible(DSCNN, made.recipe, [DEPTHWISE], ["int8"])
    assert now["group"] == [STEM, DEPTHWISE] and now["current"] == {"precision": "fp32", "prune": 0.5, "sparsity": 0.0}
    assert edits.decide(DSCNN, made.recipe, [STEM], prune=0.0).recipe.decisions == ()


def test_relu_goes_into_8_bits_with_its_convolution_and_out_again():
    made = edits.decide(DSCNN, Recipe(), [STEM, "/stem/relu/Relu"], precision="int8")
    assert {one.layer for one in made.recipe.decisions} == {STEM, "/stem/relu/Relu"}
    assert edits.describe(DSCNN, made.recipe) == "int8 on 1 layer"
    assert edits.decide(DSCNN, made.recipe, [STEM], precision="fp32").recipe.decisions == ()
    every = edits.decide(DSCNN, Recipe(), list(DSCNN.top), precision="int8").recipe
    assert {one.layer for one in every.decisions} == set(DSCNN.top)
    assert set(quantizable(DSCNN.graph)) <= {one.layer for one in every.decisions}


def test_what_a_pattern_says_is_overruled_by_name():
    recipe = Recipe((Decision(pattern="*", precision="int8"), Decision(op_type="Conv", prune=0.25)))
    after = edits.reset(DSCNN, recipe, [STEM])
    assert after.decisions[:2] == recipe.decisions
    said = DSCNN.said(after)
    assert said[STEM].precision == "fp32" and not said[STEM].is_pruned and not said[DEPTHWISE].is_pruned
    assert said[POINTWISE].precision == "int8" and said[POINTWISE].is_pruned
    entries = edits.listed(DSCNN, after)
    assert entries[0]["selector"] == "pattern '*'" and entries[0]["layers"] == list(DSCNN.top)
    assert edits.remove(DSCNN, after, 0).decisions[0] == recipe.decisions[1]


def test_what_can_be_had_says_why_not():
    found = edits.possible(DSCNN, Recipe(), ["/stem/relu/Relu", "/head/fc/Gemm"], ["int8", "fp16", "int8-weights"])
    assert set(found["precisions"].values()) == {""}
    assert found["prune"] == "It has no output channels of its own." and found["group"] == []
    assert "model's output 'logits'" in edits.possible(DSCNN, Recipe(), ["/head/fc/Gemm"], [])["prune"]
    assert "calibrate with" in edits.possible(Able(DSCNN.graph, has_data=False), Recipe(), [STEM], ["int8"])["precisions"]["int8"]
    mixed = edits.decide(DSCNN, Recipe(), [STEM], precision="int8").recipe
    assert edits.possible(DSCNN, mixed, [STEM, POINTWISE], ["int8"])["current"]["precision"] == "mixed"
    assert len(prunable_groups(DSCNN.graph)) == sum(not edits.possible(DSCNN, Recipe(), [name], [])["prune"] for name in
                                                    prunable_groups(DSCNN.graph))  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "wish", "sentence"),
    [
        ([STEM], {}, "Nothing is decided"),
        ([], {"precision": "int8"}, "No layers are selected"),
        (["/nothing"], {"precision": "int8"}, "No layers are selected"),
        ([STEM], {"precision": "int9"}, r"no precision 'int9' \(did you mean 'int8'"),
        ([STEM], {"prune": 1.0}, "prune is 1.0"),
        ([STEM], {"sparsity": True}, "sparsity is True"),
        (["/stem/relu/Relu"], {"precision": "int8"}, "becomes 8-bit with the layer before it"),
        (["/stem/relu/Relu", "/head/flatten/Flatten"], {"prune": 0.5}, "neither can the 1 others"),
        (["/head/fc/Gemm"], {"prune": 0.5}, "cannot lose channels"),
        (["/stem/relu/Relu"], {"sparsity": 0.5}, "no weights of its own"),
    ],
)
def test_what_makes_no_sense(nodes, wish, sentence):
    with pytest.raises(UsageError, match=sentence):
        edits.decide(DSCNN, Recipe(), nodes, **wish)
    with pytest.raises(UsageError, match="no decision 3; the recipe has 0"):
        edits.remove(DSCNN, Recipe(), 3)
