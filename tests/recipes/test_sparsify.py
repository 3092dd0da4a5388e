"""Sparsity: so many of the smallest weights are zero, of the chosen layer and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.apart import Apart
from edgeprof.errors import RecipeError
from edgeprof.recipes.recipe import Decision, Recipe
from edgeprof.recipes.sparsify import NOTE, with_zeros
from edgeprof.recipes.wiring import Wiring
from tests.recipes.nets import decided, made_of, samples, text_model
from tests.recipes.test_quantize import convs


@pytest.fixture(scope="module")
def worker() -> Iterator[Apart]:
    with Apart("testing recipes") as one:
        yield one


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.floats(0, 0.99))
def test_exactly_so_many_of_the_smallest_become_zero(values: list[int], part: float) -> None:
    weight = np.array([value or 5 for value in values], np.float32)
    sparse = with_zeros(weight, part)
    gone = sparse == 0
    assert gone.sum() == round(part * len(weight))
    np.testing.assert_array_equal(sparse[~gone], weight[~gone])
    if gone.any() and not gone.all():
        largest, smallest = np.abs(weight[gone]).max(), np.abs(weight[~gone]).min()
        assert largest <= smallest
        equal = np.flatnonzero(np.abs(weight) == largest)  # of equal ones the first go
        assert (np.diff(gone[equal].astype(int)) <= 0).all()


def test_one_layer_becomes_sparse(worker: Apart, tmp_path: Path) -> None:
    recipe = Recipe((Decision(layer="/a", sparsity=0.5), Decision(op_type="Relu", sparsity=0.5)))
    changed, built = made_of(convs(), recipe, tmp_path, worker)
    before, after = Wiring(convs()), Wiring(changed)
    weight = after.constant(after.node("/a").input[1])
    assert (weight == 0).sum() == 54
    np.testing.assert_array_equal(after.constant(after.node("/y").input[1]), before.constant("w2"))
    told = [(change.layer, change.wish, change.done, change.reason) for change in built.changes]
    assert told == [("/a", "50 %", "50 % of 108 weights are zero", ""), ("/b", "50 %", "", "Relu has no weight of its own")]
    assert built.notes == (NOTE,)


def test_zeros_stay_zeros_in_int8(worker: Apart, tmp_path: Path) -> None:
    recipe = Recipe((Decision(pattern="*", precision="int8"), Decision(layer="/a", sparsity=0.8)))
    changed, _ = made_of(convs(), recipe, tmp_path, worker, {"x": samples()})
    wiring = Wiring(changed)
    widened = wiring.maker[wiring.node("/a").input[1]]
    assert (wiring.constant(widened.input[0]) == 0).mean() >= round(0.8 * 108) / 108


def test_a_shared_weight_stays_whole_for_the_other(worker: Apart, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    model = text_model("(float[n,4] x) => (float[n,4] y, float[n,4] z) { y = MatMul(x, w)  z = MatMul(x, w) }", w=weight)
    wiring = Wiring(made_of(model, decided(None, ["/y"], sparsity=0.25), tmp_path, worker)[0])
    assert (wiring.constant(wiring.node("/y").input[1]) == 0).sum() == 4
    np.testing.assert_array_equal(wiring.constant(wiring.node("/z").input[1]), weight)


@pytest.mark.parametrize(
    ("body", "said"), [("{ y = Relu(x) }", "Relu has no weight of its own"), ("{ y = MatMul(x, x) }", "it has no constant weight")]
)
def test_a_named_layer_without_weights_is_refused(worker: Apart, tmp_path: Path, body: str, said: str) -> None:
    model = text_model(f"(float[4,4] x) => (float[4,4] y) {body}")
    with pytest.raises(RecipeError) as caught:
        made_of(model, decided(None, ["/y"], sparsity=0.3), tmp_path, worker)
    assert str(caught.value) == f"'/y' cannot be made sparse by 30 %: {said}. Leave it out."
