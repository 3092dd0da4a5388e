"""A selection is found again in another profile of the same model, and is what it was in its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.errors import UsageError
from edgeprof.workbench.selection import Rows, Selection, found_in, hold, selection_of
from tests.laws import examples

FLOAT = Rows({"conv": ("conv", "relu"), "pool": ("pool",), "reorder": (), "fc": ("fc",), "(between layers)": ()}, range(4))
INT8 = Rows({"quantize": (), "conv": ("conv",), "relu_q": ("relu",), "pool_fc": ("pool", "fc"), "(between layers)": ()}, range(2))
names = st.sets(st.sampled_from(list(FLOAT.nodes)))


def select(rows: Rows, *layers: str) -> Selection:
    return selection_of(layers, Selection(), rows, ["base", "c1"])


def test_layers_are_found_by_the_nodes_that_they_stand_for():
    held = hold(select(FLOAT, "conv", "fc", "(between layers)"), "base", FLOAT)
    assert found_in(held, "c1", INT8, []).layers == ("conv", "relu_q", "pool_fc", "(between layers)")
    assert found_in(held, "base", FLOAT, []).layers == ("conv", "fc", "(between layers)")
    assert found_in(hold(select(FLOAT, "reorder"), "base", FLOAT), "c1", INT8, []).layers == ()


@given(names, st.sets(st.integers(0, 3)))
@examples(1)
def test_in_its_own_profile_it_is_what_it_was(layers, runs):
    made = selection_of({"layers": layers, "runs": runs, "candidates": ["c1"]}, Selection(), FLOAT, ["base", "c1"])
    held = hold(made, "base", FLOAT)
    assert found_in(held, "base", FLOAT, ["base", "c1"]) == made
    assert found_in(held, "base", FLOAT, ["base"]) == Selection(made.layers, made.runs)
    elsewhere = found_in(held, "c1", INT8, ["c1"])
    assert elsewhere.runs == () and elsewhere.candidates == ("c1",)
    assert set(INT8.original(elsewhere.layers)) >= set(FLOAT.original(made.layers))


@given(names)
@examples(0.5)
def test_names_come_in_the_order_of_the_model_each_once(layers):
    made = select(FLOAT, *layers, *layers)
    assert list(made.layers) == [name for name in FLOAT.nodes if name in layers]


def test_an_original_node_stands_for_the_layer_that_carries_it_out():
    assert select(FLOAT, "relu").layers == ("conv",)


def test_parts_that_are_not_named_stay():
    now = Selection(("conv",), (1,), ("c1",))
    assert selection_of({"runs": [2, np.int64(0)]}, now, FLOAT, ["c1"]) == Selection(("conv",), (0, 2), ("c1",))
    assert selection_of("fc", now, FLOAT, ["c1"]) == Selection(("fc",), (1,), ("c1",))
    assert selection_of(None, now, FLOAT, ["c1"]) == Selection((), (1,), ("c1",))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["con"], r"no layer 'con' in what is shown \(did you mean 'conv'\?\)"),
        ([7], "no layer '7'"),
        ({"layer": []}, r"no 'layer' \(did you mean 'layers'"),
        ({"runs": [9]}, "no run 9 in what is shown; its runs are 0 to 3"),
        ({"runs": [True]}, "no run True"),
        ({"runs": 1}, "expected a list"),
        ({"candidates": ["c7"]}, r"no candidate 'c7'.*There are: base, c1"),
    ],
)
def test_what_is_not_there_is_refused(given, sentence):
    with pytest.raises(UsageError, match=sentence):
        selection_of(given, Selection(), FLOAT, ["base", "c1"])
