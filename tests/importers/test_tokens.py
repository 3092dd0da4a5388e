"""Names that the runtime makes up anew in each session: told apart by the order in which their layers run."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeprof as ep
from edgeprof.importers.tokens import with_names_of
from edgeprof.records.trace import EventKind, Spans

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def spans(*names: str, sizes=None, runs: int = 1) -> Spans:
    """Events of these names in this order, each a kind of its own, in so many runs."""
    sizes = sizes or [i + 1 for i in range(len(names))]
    kinds = tuple(
        EventKind(name, re.sub(r"_token_\d+", "", name), output_types=(("float", (size,)),))
        for name, size in zip(names, sizes, strict=True)
    )
    kind = np.tile(np.arange(len(names), dtype=np.int32), runs)
    run = np.repeat(np.arange(runs, dtype=np.int32), len(names))
    times = np.arange(len(kind), dtype=np.int64)
    return Spans(kinds, kind, run, times, times, np.full(len(kind), -1, np.int32), np.arange(runs), np.arange(runs))


def names_of(found: Spans) -> list[str]:
    return [kind.name for kind in found.kinds]


def test_made_up_names_become_those_of_the_reference():
    own = spans("conv", "R_token_7", "relu", "R_token_9", "Reorder_token_1")
    reference = spans("conv", "R_token_21", "relu", "R_token_20", "Reorder_token_4")
    assert names_of(with_names_of(own, reference)) == ["conv", "R_token_21", "relu", "R_token_20", "Reorder_token_4"]


def test_the_first_one_has_the_base_name_itself():
    own = spans("R_token_7", "conv", "R")
    assert names_of(with_names_of(own, spans("R", "conv", "R_token_3"))) == ["R", "conv", "R_token_3"]


def test_names_that_nobody_made_up_stay():
    own, reference = spans("a_token", "token_3", "b"), spans("x", "y", "z")
    assert with_names_of(own, reference) is own


@pytest.mark.parametrize(
    "reference",
    [
        spans("R_token_1"),
        spans("R_token_1", "R_token_2", "R_token_3"),
        spans("S_token_1", "S_token_2"),
        spans("R_token_1", "R_token_2", sizes=[2, 1]),
    ],
    ids=["fewer", "more", "others", "of other shapes"],
)  # fmt: skip
def test_layers_that_do_not_correspond_keep_their_names(reference):
    own = spans("R_token_8", "R_token_9")
    assert names_of(with_names_of(own, reference)) == ["R_token_8", "R_token_9"]


def test_nothing_was_run():
    empty = spans("R_token_8", runs=0)
    assert with_names_of(empty, spans("R_token_1")) is empty
    own = spans("R_token_8")
    assert names_of(with_names_of(own, empty)) == ["R_token_8"]


@given(st.lists(st.sampled_from(["R", "S", "conv"]), min_size=1, max_size=12), st.randoms(use_true_random=False), st.integers(1, 3))
def test_any_two_sessions_of_one_graph_agree(bases, chance, runs):
    """Law: whatever numbers two sessions make up, after renaming the layers at one place in the order have one name."""

    def session() -> Spans:
        numbers = iter(chance.sample(range(1000), len(bases)))
        return spans(*[base if base == "conv" else f"{base}_token_{next(numbers)}" for base in bases], runs=runs)

    first, second = session(), session()
    assert names_of(with_names_of(second, first)) == names_of(first)
    again = with_names_of(second, first)
    assert np.array_equal(again.kind, second.kind)


def test_real_layers_are_the_same_in_all_sessions():
    """ORT names some twenty ReorderOutput layers of this net anew in each of the sessions that one profile takes."""
    ended = []
    profile = ep.profile(LIGHT / "light_shufflenet.onnx", runs=10, progress=lambda event: ended.append(event))
    shape_of = profile.measured_layers.set_index("name")["output_shape"]
    made_up = {name for name in shape_of.index if "_token_" in name}
    if not made_up:
        pytest.skip("this processor's ONNX Runtime inserts no layers with made-up names")
    recorded = ended[0].job.snapshot()
    seen = {(kind.name, kind.output_types[0][1]) for block in recorded.blocks for kind in block.spans.kinds if "_token_" in kind.name}
    assert {name for name, _ in seen} == made_up
    for name, shape in seen:  # what ran under a name in any session has the shape that the saved model says
        assert shape_of[name] == "×".join(map(str, shape)), name
