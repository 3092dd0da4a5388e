"""Search on estimates whose truth is known; what is built is built for real."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.datasets import load_data
from edgeprof.errors import UsageError
from edgeprof.models import load_model
from edgeprof.recipes.plan import prunable_groups, quantizable
from edgeprof.recipes.recipe import Recipe
from edgeprof.searching import Candidate, Constraints, search
from edgeprof.searching.search import Knowledge, guess, spread, starts
from edgeprof.searching.space import make_space
from edgeprof.testing import make_profile
from edgeprof.variants import designs
from edgeprof.whatif import fit
from edgeprof.whatif.quality import Quality
from edgeprof.workshop import Workshop
from tests.whatif.world import SAMPLES, TARGET, graph_of, measured

MODEL = SAMPLES / "resnet8_mnist.onnx"
QUICK = {"runs": 3, "warmup": 1, "memory": False}


@pytest.fixture(scope="module")
def graph():
    return graph_of("resnet8_mnist")


@pytest.fixture(scope="module")
def known(graph) -> Knowledge:
    costs = fit(measured(graph), [measured(graph, recipe) for recipe in designs(graph)], target=TARGET)
    noise = {(layer, "int8"): 1e-4 * (n + 1) for n, layer in enumerate(quantizable(graph))}
    noise |= {(layer, f"prune {w}"): w * 1e-2 * (n + 1) for n, layer in enumerate(prunable_groups(graph)) for w in (0.25, 0.5)}
    return Knowledge(costs, Quality(noise, "top1", 0.98, points=((1e-3, 0.0), (1e-2, 0.01), (0.1, 0.2))))


@pytest.fixture
def shop(tmp_path: Path):
    data = load_data(SAMPLES / "held_out_digits.toml", load_model(MODEL)).take(50, seed=0)
    with Workshop(MODEL, data=data, calibration=20, study=tmp_path / "study", **QUICK) as made:
        yield made


def test_the_front_is_estimated_and_the_best_are_built_measured_and_scored(shop, known):
    found = search(shop, trials=60, build=2, knowledge=known)
    assert (found.trials, found.complete, found.metric) == (60, True, "top1")
    for one in found.candidates:
        for other in found.candidates:
            pair = [(one.estimated[name], other.estimated[name]) for name in found.objectives]
            assert not (all(a <= b for a, b in pair) and any(a < b for a, b in pair)), "a dominated candidate is on the front"
    built = [one for one in found.candidates if one.profile is not None]
    assert len(built) == 2 and found.candidates[:2] == tuple(built)
    for one in built:
        assert one.profile.parent == shop.graph.digest and one.profile.context.scores["top1"]["n"] == 30
        assert one.measured["latency_ms"] > 0 and not math.isnan(one.measured["loss"])
        assert one.gap("latency_ms") == pytest.approx(one.estimated["latency_ms"] / one.measured["latency_ms"] - 1)
    assert found.best in built
    assert list(found.table["candidate"][:2]) == [one.name for one in built]
    assert "2 measured" in repr(found) and "<td>" in found._repr_html_()
    assert [profile.origin for profile in found.profiles].count("estimated") == len(found.candidates)


def test_what_was_built_first_teaches_the_second_half(shop, known, graph):
    variants = tuple(measured(graph, recipe) for recipe in designs(graph))
    taught = Knowledge(known.costs, known.quality, variants)
    seen = []
    found = search(shop, trials=40, build=2, knowledge=taught, live=seen.append)
    built = [one for one in found.candidates if one.profile is not None]
    assert [one.round for one in built] == [1, 2]
    assert len({one.name for one in found.candidates}) == len(found.candidates)
    assert all(one.name == one.recipe.name for one in found.candidates)
    assert list(found.table["round"])[:2] == [1, 2]
    assert built[0].recipe.decisions != built[1].recipe.decisions
    assert built[0].estimated["latency_ms"] == pytest.approx(guess(taught, built[0].recipe)[1]["latency_ms"])
    assert built[1].estimated["latency_ms"] != pytest.approx(
        guess(taught, built[1].recipe)[1]["latency_ms"], rel=1e-3
    )  # it knows the first
    assert len(seen) >= 3 and not seen[0].complete


def test_constraints_are_kept_and_searches_go_on_where_they_were(shop, known):
    base = known.costs.base.context.latency.median_ms
    limit = Constraints(latency_ms=base * 0.6, loss=0.02)
    first = search(shop, trials=50, build=0, constraints=limit, knowledge=known)
    assert first.candidates and all(limit.holds(one.estimated) for one in first.candidates)
    assert first.best is None  # nothing was measured
    more = search(shop, trials=70, build=0, constraints=limit, knowledge=known)
    assert more.trials == 70
    assert min(one.estimated["latency_ms"] for one in more.candidates) <= min(one.estimated["latency_ms"] for one in first.candidates)


def test_an_interrupt_keeps_what_there_is(shop, known):
    def stop(phase: str, done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    found = search(shop, trials=100, build=3, knowledge=known, told=stop)
    assert not found.complete and found.candidates and all(one.profile is None for one in found.candidates)
    assert "interrupted" in repr(found)
    assert search(shop, trials=25, build=0, knowledge=known).complete


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "random"])
def test_samplers(sampler, shop, known):
    found = search(shop, trials=24, build=0, sampler=sampler, knowledge=known, objectives=["latency_ms", "loss", "model_bytes"])
    assert found.candidates and set(found.candidates[0].estimated) >= {"latency_ms", "loss", "model_bytes"}


def test_storage_of_ones_own(shop, known, tmp_path):
    url = f"sqlite:///{tmp_path / 'team.sqlite'}"
    search(shop, trials=15, build=0, knowledge=known, storage=url)
    assert (tmp_path / "team.sqlite").exists()
    assert search(shop, trials=18, build=0, knowledge=known, storage=url).trials == 18  # another worker goes on


def test_one_objective_finds_the_fastest(shop, known, graph):
    found = search(shop, objectives=["latency_ms"], trials=60, build=0, knowledge=known)
    fastest = make_space(graph, ["int8"], [0.25, 0.5]).recipe(make_space(graph, ["int8"], [0.25, 0.5]).uniform("int8", 0.5))
    assert found.candidates[0].estimated["latency_ms"] <= guess(known, fastest)[1]["latency_ms"] * 1.3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"objectives": ["speed"]}, r"no objective 'speed'.*latency_ms"),
        ({"objectives": []}, r"one to three"),
        ({"objectives": ["latency_ms", "latency_ms"]}, r"one to three different"),
        ({"trials": 0}, r"1 or more trials"),
        ({"minutes": 0}, r"minutes is 0"),
        ({"sampler": "tpo"}, r"no sampler 'tpo' \(did you mean 'tpe'\?\)"),
        ({"precisions": [], "widths": []}, r"nothing to search"),
        ({"storage": "nowhere://x"}, r"storage .* cannot be opened"),
    ],
)
def test_what_makes_no_sense(options, sentence, shop, known):
    with pytest.raises(UsageError, match=sentence):
        search(shop, knowledge=known, **options)


def test_a_loss_needs_data(known, tmp_path):
    with Workshop(MODEL, study=tmp_path / "study", **QUICK) as shop:
        without = Knowledge(known.costs, None)
        with pytest.raises(UsageError, match=r"A loss needs data"):
            search(shop, knowledge=without)
        found = search(shop, objectives=["latency_ms", "model_bytes"], trials=15, build=0, knowledge=without)
    assert found.candidates and found.metric == ""


def test_first_trials_are_what_a_person_would_try(graph, known):
    space = make_space(graph, ["int8"], [0.25, 0.5])
    tried = [space.recipe(params) for params in starts(space, known)]
    assert tried[0] == Recipe()
    everything = tried[1]
    assert {decision.precision for decision in everything.decisions} == {"int8"}
    assert set(quantizable(graph)) <= {decision.layer for decision in everything.decisions}
    assert len({recipe.decisions for recipe in tried}) == len(tried)


def test_a_constraint_of_nonsense():
    with pytest.raises(UsageError, match="constraint loss is -1"):
        Constraints(loss=-1)
    assert not Constraints(energy_mj=1).holds({"energy_mj": math.nan})
    assert Constraints().holds({})


PROFILE = make_profile()
points = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=12)


@given(points, st.integers(1, 6))
def test_spread_takes_different_candidates_and_the_ends(values, n):
    candidates = [Candidate(str(i), Recipe(), {"latency_ms": x, "loss": y}, PROFILE) for i, (x, y) in enumerate(sorted(values))]
    chosen = spread(candidates, ["latency_ms", "loss"], n)
    assert len(chosen) == len(set(chosen)) == min(n, len(candidates)) and chosen == sorted(chosen)
    assert 0 in chosen and (n < 2 or len(candidates) - 1 in chosen)
