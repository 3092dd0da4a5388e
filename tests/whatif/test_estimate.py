"""Estimates on a board whose times are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import edgeprof as ep
from edgeprof.errors import UsageError
from edgeprof.recipes.recipe import Decision, Recipe, parse_recipe
from edgeprof.records import schema
from edgeprof.records.context import Energy, Memory
from edgeprof.records.profile import Profile
from edgeprof.variants import designs, random_recipe
from edgeprof.whatif import estimate, fit
from edgeprof.whatif.estimate import BOUNDARY
from edgeprof.whatif.fit import nnls
from edgeprof.whatif.units import units_of
from tests.whatif.world import TARGET, graph_of, measured

ALL_INT8 = Recipe((Decision(pattern="*", precision="int8"),), name="all int8")


@pytest.fixture(scope="module")
def graph():
    return graph_of("resnet8_mnist")


@pytest.fixture(scope="module")
def variants(graph) -> list[Profile]:
    return [measured(graph, recipe) for recipe in designs(graph, mixed=10)]


@pytest.fixture(scope="module")
def costs(graph, variants):
    return fit(measured(graph), variants, target=TARGET)


def total(profile: Profile) -> float:
    return profile.context.latency.median_ms


def test_estimates_meet_measurements_that_they_never_saw(graph, costs):
    rng = np.random.default_rng(77)
    errors = []
    for _ in range(12):
        recipe = random_recipe(graph, rng)
        errors.append(total(estimate(costs, recipe)) / total(measured(graph, recipe)) - 1)
    assert np.median(np.abs(errors)) < 0.01 and np.max(np.abs(errors)) < 0.04


def test_the_model_itself_comes_out_as_it_was_measured(graph, costs):
    found = estimate(costs, Recipe())
    assert total(found) == pytest.approx(total(costs.base), rel=0.01)
    assert found.layers["latency_ms"].sum() == pytest.approx(total(found))


def test_what_an_estimate_says_of_itself(graph, costs, variants, tmp_path):
    found = estimate(costs, ALL_INT8)
    assert (found.origin, found.parent, found.context.model_sha256) == ("estimated", graph.digest, "")
    assert parse_recipe(found.context.recipe) == ALL_INT8
    assert "estimated" in found.title and found.context.scores == {} and found.runs.empty
    (finding,) = [one for one in found.findings if one.id == "estimate"]
    assert f"{len(variants)} variants" in finding.text and "%" in finding.text
    latency = found.context.latency
    assert latency.low_ms < latency.median_ms < latency.high_ms
    assert (latency.high_ms / latency.median_ms - 1) == pytest.approx(costs.error)
    found.save(str(tmp_path / "x.edgeprof"))
    assert ep.load(str(tmp_path / "x.edgeprof")).context.recipe == found.context.recipe


def test_every_node_is_in_one_unit_and_boundaries_have_a_row(graph, costs, variants):
    nodes = [node for unit in units_of(graph, [costs.base, *variants]) for node in unit.nodes]
    assert sorted(nodes) == sorted(layer.name for layer in graph.layers)
    mixed = estimate(costs, Recipe((Decision(layer=costs.units[2].leader, precision="int8"),)))
    row = mixed.layers[mixed.layers["name"] == BOUNDARY].iloc[0]
    assert row["kind"] == "inserted" and row["latency_ms"] > 0
    assert list(mixed.layers.columns) == list(schema.COLUMNS)
    assert (mixed.layers["latency_low_ms"] >= 0).all() and (mixed.layers["latency_high_ms"] >= mixed.layers["latency_ms"]).all()


def test_noisy_variants_give_a_wide_error_bar(graph, costs):
    noisy = [measured(graph, recipe, noise=0.3, seed=n) for n, recipe in enumerate(designs(graph, mixed=6))]
    wide = fit(measured(graph), noisy, target=TARGET)
    assert wide.error > 3 * costs.error
    assert fit(measured(graph), noisy[:1], target=TARGET).error != fit(measured(graph), noisy[:1], target=TARGET).error  # NaN: not known


def test_what_was_never_measured_is_refused(graph):
    alone = fit(measured(graph), target=TARGET)
    assert total(estimate(alone, Recipe())) == pytest.approx(total(alone.base))
    with pytest.raises(UsageError, match=r"No variant of resnet8_mnist was measured with int8 layers on local.*measure_variants"):
        estimate(alone, ALL_INT8)


def test_a_layer_that_was_never_int8_borrows_from_others(graph):
    some = Recipe(
        tuple(Decision(layer=name, precision="int8") for name in [layer.name for layer in graph.layers if layer.op_type == "Conv"][:4])
    )
    found = estimate(fit(measured(graph), [measured(graph, some)], target=TARGET), ALL_INT8)
    (finding,) = [one for one in found.findings if one.id == "estimate-borrowed"]
    assert finding.severity == "warning" and finding.layers


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda p: replace(p, parent="0" * 64), r"is no variant of .*another parent"),
        (lambda p: replace(p, context=replace(p.context, recipe="")), r"is no variant of"),
        (lambda p: replace(p, context=replace(p.context, board="pi5")), r"with board 'pi5', the model with 'local'"),
        (lambda p: replace(p, context=replace(p.context, threads=4)), r"with threads 4"),
        (lambda p: replace(p, origin="estimated"), r"cannot be made from estimates"),
    ],
)
def test_variants_of_something_else_are_refused(change, sentence, graph, variants):
    with pytest.raises(UsageError, match=sentence):
        fit(measured(graph), [change(variants[0])], target=TARGET)


def test_an_estimate_is_no_base(costs):
    with pytest.raises(UsageError, match=r"from an estimate|no graph"):
        estimate(estimate(costs, ALL_INT8), Recipe())


def test_size_macs_and_memory_follow_the_recipe(graph, variants):
    base = measured(graph)
    tensors = _tensors(graph)
    base = replace(base, tensors=tensors, context=replace(base.context, memory=Memory(peak_bytes=1e6, peak_layer="x")))
    costs = fit(base, variants, target=TARGET)
    same, small, narrow = (estimate(costs, recipe) for recipe in (Recipe(), ALL_INT8, designs(graph)[2]))
    assert same.context.model_bytes == graph.file_bytes and same.context.memory.peak_bytes == pytest.approx(1e6)
    assert small.context.model_bytes < 0.5 * graph.file_bytes
    assert small.context.memory.peak_bytes == pytest.approx(0.25e6, rel=0.3)  # the input of the model stays float
    assert narrow.layers["macs"].sum() < 0.5 * same.layers["macs"].sum()
    assert narrow.context.model_bytes < 0.6 * graph.file_bytes
    assert narrow.context.memory.peak_bytes < 0.8e6


def _tensors(graph):
    import pandas as pd

    rows = []
    last = {name: number for number, layer in enumerate(graph.layers) for name in layer.inputs}
    for number, layer in enumerate(graph.layers):
        for name in layer.outputs:
            rows.append({
                "tensor": name, "kind": "activation", "dtype": "float32", "shape": "", "size_bytes": graph.tensor(name).nbytes,
                "producer": number, "last_use": last.get(name, len(graph.layers) - 1), "storage": len(rows), "at_peak": False,
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_energy_follows_time_and_says_so(graph, variants):
    base = measured(graph)
    energy = Energy(
        asked="model", method="model", inference_mj=3.0, above_idle_mj=2.0, above_idle_low_mj=1.9, above_idle_high_mj=2.1, idle_mw=500.0
    )
    base = replace(base, context=replace(base.context, energy=energy))
    found = estimate(fit(base, variants, target=TARGET), ALL_INT8)
    ratio = total(found) / total(base)
    assert found.context.energy.above_idle_mj == pytest.approx(2.0 * ratio)
    assert found.context.energy.method.startswith("estimated")
    assert found.context.energy.above_idle_low_mj < found.context.energy.above_idle_mj
    without = estimate(fit(measured(graph), variants, target=TARGET), ALL_INT8)
    assert without.context.energy.inference_mj is None and "not measured" in without.context.energy.reason


@given(
    hnp.arrays(float, st.tuples(st.integers(3, 6), st.integers(1, 3)), elements=st.floats(-1, 1, width=16)),
    st.randoms(use_true_random=False),
)
def test_nnls_is_at_the_optimum(matrix, random):
    target = np.array([random.uniform(-1, 1) for _ in range(len(matrix))])
    x = nnls(matrix, target)
    gradient = matrix.T @ (matrix @ x - target)
    assert (x >= 0).all()
    assert (gradient >= -1e-8).all()  # Karush, Kuhn, Tucker: no way down into the allowed
    assert np.abs(gradient * x).max() < 1e-6 * (1 + x.max())


def test_estimates_of_many_recipes_are_told_apart(graph, costs):
    convs = [unit.leader for unit in costs.units if unit.op_type == "Conv"]
    times = [
        total(estimate(costs, Recipe(tuple(Decision(layer=name, precision="int8") for name in convs[:n])))) for n in range(len(convs) + 1)
    ]
    assert len({round(time, 9) for time in times}) == len(times)
    assert not math.isnan(sum(times))
