"""The table: ranked, kept, made a recipe of; and what is kept in a study."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.errors import DataError, OutputError, UsageError
from edgeprof.recipes.recipe import Quantization, choices
from edgeprof.sensitivities import Sensitivity
from edgeprof.sensitivities.kept import NAME, Kept, mark_of
from edgeprof.sensitivities.result import noise_of
from edgeprof.sensitivities.savings import ESTIMATED, MEASURED, Savings, in_place
from edgeprof.sensitivities.trials import ALL, Trial, decision_names
from edgeprof.testing import make_graph, make_profile
from edgeprof.whatif import estimate, fit
from tests.laws import examples
from tests.sensitivity.nets import made
from tests.whatif.world import TARGET, graph_of, measured

HOSTILE = "</td><script>alert(1)</script>\u202e" + "x" * 500
FEW = st.lists(st.tuples(st.floats(-0.02, 0.5), st.floats(5, 120)), min_size=1, max_size=8)


def layers(table):
    return table["layer"].tolist()


def test_a_loss_that_may_be_0_counts_as_0_and_noise_decides():
    found = made([(0.0005, 40.0), (0.0, 20.0), (0.1, 50.0), (0.05, 10.0)])
    assert layers(found.ranking()) == ["/layer2", "/layer3", "/layer1", "/layer0"]


def test_rankings_by_what_is_saved():
    found = made([(0.0, 40.0), (0.0, 20.0), (0.0, 30.0)], saved_ms=[0.1, 1.0, -0.5])
    assert layers(found.ranking("saved_ms")) == ["/layer1", "/layer0", "/layer2"]
    assert layers(found.ranking("loss_per_ms")) == ["/layer0", "/layer1", "/layer2"]
    assert found.ranking("loss_per_ms")["loss_per_ms"].tolist()[:2] == pytest.approx([1e-4 / 0.1, 1e-2])
    with pytest.raises(UsageError, match="did you mean 'saved_ms'"):
        found.ranking("saved_m")
    with pytest.raises(UsageError, match="'int4-weights' was not tried"):
        found.ranking(decision="int4-weights")


@given(FEW, st.floats(0, 1), st.floats(0, 1))
@examples(1)
def test_the_more_may_be_lost_the_less_is_excluded(losses, a, b):
    found = made(losses, metric="sqnr_db", whole_db=12.0)
    little, much = (found.nodes_to_exclude(limit) for limit in sorted((a, b)))
    assert set(much) <= set(little)
    assert found.predicted_loss(little) <= min(a, b) or len(little) == len(losses)


@given(FEW)
@examples(0.5)
def test_what_is_excluded_is_the_noisiest(losses):
    found = made(losses, metric="sqnr_db")
    noise = {layer: value for (layer, _), value in found.noise().items()}
    excluded = found.nodes_to_exclude(sum(noise.values()) / 2)
    assert all(noise[out] >= noise[kept] for out in excluded for kept in set(noise) - set(excluded))
    assert found.nodes_to_exclude(math.inf) == [] and set(found.nodes_to_exclude(0)) == set(noise)


def test_together_layers_have_the_noise_that_the_whole_model_had():
    found = made([(0.0, 20.0), (0.0, 20.0)], metric="sqnr_db", whole_db=20.0)
    assert found.predicted_loss([]) == pytest.approx(0.01) and found.predicted_loss(["/layer0"]) == pytest.approx(0.005)


def test_the_recipe_leaves_out_what_costs_too_much():
    graph = make_graph(["Conv", "Conv", "Conv"])
    names = [layer.name for layer in graph.layers]
    found = made([(0.0, 40.0), (0.3, 5.0), None], metric="sqnr_db", names=names, quantization=Quantization(per_channel=False))
    recipe = found.recipe(0.01)
    chosen = choices(recipe, graph)
    assert [chosen[name].precision for name in names] == ["int8", "fp32", "fp32"], "the one that was not tried stays float too"
    assert recipe.quantization == Quantization(per_channel=False) and recipe.model_sha256 == found.model_sha256
    assert recipe.name == "int8 but 2 layers"
    with pytest.raises(UsageError, match="most_loss"):
        found.recipe(-1)


@given(FEW, st.sampled_from(["top1", "sqnr_db"]))
@examples(0.3)
def test_save_then_load_is_the_same(tmp_path_factory, losses, metric):
    found = made(losses, metric=metric, whole_db=30.0, names=[f"{HOSTILE}{n}" for n in range(len(losses))], saved_error=0.05, ran=3)
    back = Sensitivity.load(found.save(tmp_path_factory.mktemp("s") / "s.json"))
    assert back.table.equals(found.table) and back.record() == found.record()
    assert json.loads(json.dumps(back.record(), allow_nan=False)) == found.record()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "trials": [1]}', "\x00"])
def test_what_is_no_sensitivity_is_refused(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(DataError, match="no sensitivity"):
        Sensitivity.load(tmp_path / "s.json")
    with pytest.raises(DataError, match="Check the path"):
        Sensitivity.load(tmp_path / "none.json")
    with pytest.raises(OutputError, match="Cannot write"):
        made([(0.0, 30.0)]).save(tmp_path / "no" / "s.json")


def test_names_are_escaped_and_shortened():
    found = made([(0.1, 20.0)], names=[HOSTILE], whole_db=15.0, ops=[HOSTILE])
    text = found._repr_html_()
    assert "<script" not in text and "\u202e" not in text and len(text) < 3000 and "&lt;" in text
    assert "+10.0 pt [+9.9, +10.1]" in text and "20.0 dB" in text


def test_decisions_by_name():
    assert decision_names(("int8", 0.25, "prune 0.25", "0.5")) == ("int8", "prune 0.25", "prune 0.5")
    assert decision_names(0.3) == ("prune 0.3",)


# What is saved


def test_in_place_savings_are_differences_of_the_layers():
    graph = make_graph(["Conv", "Relu", "Conv"])
    a, b, c = (layer.name for layer in graph.layers)
    before = make_profile([0.5, 0.1, 0.3], source_nodes=[[a], [b], [c]], latency_low_ms=[0.49, 0.1, 0.3], latency_high_ms=[0.51, 0.1, 0.3])
    after = make_profile([0.2, 0.4], source_nodes=[[a, b], [c]], latency_low_ms=[0.2, 0.4], latency_high_ms=[0.2, 0.4])
    from dataclasses import replace

    found = in_place(replace(before, graph=graph), after)
    assert found[a].ms == pytest.approx(0.4) and (found[a].low_ms, found[a].high_ms) == pytest.approx((0.39, 0.41))
    assert found[c].ms == pytest.approx(-0.1) and b not in found and found[a].basis == MEASURED
    savings = Savings(replace(before, graph=graph), {"int8": after})
    assert savings.of(Trial("int8", "only", a), ()).ms == savings.of(Trial("int8", "without", a), ()).ms == pytest.approx(0.4)
    assert math.isnan(savings.of(Trial("int8", "weights", a), ()).ms) and savings.of(Trial("int8", "all", ALL), ()).basis == "measured"
    assert savings.order(graph)[a] == 0.5


def test_estimated_savings_are_differences_of_estimates():
    graph = graph_of("resnet8_mnist")
    from edgeprof.variants import designs

    variants = [measured(graph, recipe, seed=n) for n, recipe in enumerate(designs(graph, mixed=2), 1)]
    costs = fit(measured(graph), variants, target=TARGET)
    savings, layer = Savings(costs=costs), "/stage3/conv2/conv/Conv"
    from edgeprof.recipes.recipe import Decision, Recipe

    alone = estimate(costs, Recipe((Decision(layer=layer, precision="int8"),))).context.latency.median_ms
    saved = savings.of(Trial("int8", "only", layer), ())
    assert saved.ms == pytest.approx(estimate(costs, Recipe()).context.latency.median_ms - alone) and saved.basis == ESTIMATED
    without = savings.of(Trial("int8", "without", layer), ())
    assert without.ms > saved.ms, "between 8-bit neighbours no format changes"


# What is kept


def test_a_torn_line_is_left_out_and_what_follows_is_whole(tmp_path):
    Kept(tmp_path, "a").put({"x": 1}, "k")
    with (tmp_path / NAME).open("a") as file:
        file.write('{"about": "ab')
    again = Kept(tmp_path, "a")
    again.put({"x": 2}, "l")
    found = Kept(tmp_path, "a")
    assert found.get("k") == {"x": 1} and found.get("l") == {"x": 2} and found.get("m") is None
    assert Kept(tmp_path, "b").get("k") is None


def test_a_function_is_known_by_its_code():
    def one(outputs, labels):
        return outputs["y"] + 1

    def two(outputs, labels):
        return outputs["y"] + 2

    limit = 3
    assert mark_of(one) == mark_of(one) != mark_of(two) and mark_of("top1") == "top1"
    assert mark_of(lambda outputs, labels: limit) is None and mark_of(len) is None, "what a closure gives cannot be told from its code"


def test_noise_of_decibels():
    assert noise_of(20.0) == pytest.approx(0.01) and noise_of(200.0) == 0 and math.isnan(noise_of(math.nan))
