"""What the browser is told of the recipe: choices that differ, what is decided, what does not change."""

from pathlib import Path

import pytest

from edgeprof.workbench import Bench, told

SAMPLES = Path(__file__).parents[2] / "sample_models"
WIDE, OTHER = "/block1/pointwise/conv/Conv", "/block4/pointwise/conv/Conv"


@pytest.fixture
def bench(tmp_path):
    with Bench(SAMPLES / "dscnn_mnist.edgeprof", model=SAMPLES / "dscnn_mnist.onnx", study=tmp_path / "s") as bench:
        bench.shown = "p1"
        yield bench


def test_parts_to_prune_that_differ_are_mixed_and_a_number_all_the_same(bench):
    bench.decide([WIDE], prune=0.25)
    bench.selection = [WIDE]
    alone = told.decide(bench, bench.profile_of("p1"))["chosen"]["prune"]
    bench.selection = [WIDE, OTHER]
    both = told.decide(bench, bench.profile_of("p1"))["chosen"]["prune"]
    assert (alone["value"], alone["mixed"]) == (0.25, False) and (both["value"], both["mixed"]) == (0.0, True)


def test_what_is_decided_leads(bench):
    bench.decide([WIDE], prune=0.25)
    (one,) = told.decide(bench, bench.profile_of("p1"))["recipe"]["decisions"]
    assert one["text"].startswith("25 % pruned: /block1/")
