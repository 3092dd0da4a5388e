"""Ceilings from what layers of the peak nets reached."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis.peaks import Reached, ceilings_of, quantile, reached
from edgeprof.models.peak_nets import Mark
from edgeprof.testing import make_profile


def one(group, words, value, width=0.01):
    return Reached(Mark(group, words), group, value, value * (1 - width), value * (1 + width), 1e6, 1e-3)


def memory(words, mib, value):
    return one("memory", f"{words}, {mib} MiB", value)


@given(st.lists(st.floats(0.1, 10), min_size=4, max_size=40))
def test_a_quantile_lies_in_its_interval_and_among_the_values(values):
    ordered = np.sort(values)
    middle, low, high = quantile(ordered)
    assert ordered[0] <= low <= middle <= high <= ordered[-1]


def test_the_interval_of_a_quantile_covers_it():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        _, low, high = quantile(np.sort(rng.random(16)))
        covered += low <= 0.25 <= high
    assert covered >= 0.93 * 400


@given(st.lists(st.tuples(st.sampled_from(["float32", "int8", "float16"]), st.floats(1, 1e4)), min_size=1, max_size=12))
def test_nothing_that_was_reached_lies_above_its_ceiling(rows):
    compute, nothing, _ = ceilings_of([one(precision, "MatMul", value) for precision, value in rows])
    assert nothing is None and set(compute) == {precision for precision, _ in rows}
    for precision, value in rows:
        assert value <= compute[precision].value


def test_only_the_largest_arrays_tell_of_memory():
    found = [memory("Relu", 4, 100.0), memory("Relu", 64, 21.0), memory("Relu", 128, 20.0), memory("ReduceMean", 128, 15.0)]
    _, ceiling, notes = ceilings_of(found)
    assert (ceiling.value, ceiling.reached_by, notes) == (20.0, "Relu, 128 MiB", [])


def test_a_cache_that_may_still_help_is_told():
    _, ceiling, notes = ceilings_of([memory("Relu", 8, 60.0), memory("Relu", 16, 20.0)])
    assert ceiling.value == 20.0
    assert len(notes) == 1 and "3.0 times as fast" in notes[0] and "17 MB" in notes[0]


def test_an_uncertain_ceiling_is_told():
    _, _, notes = ceilings_of([one("float32", "MatMul", 100.0, width=0.2)])
    assert len(notes) == 1 and "80 to 120 GFLOP/s" in notes[0]


def test_reached_from_a_profile():
    names = ["peak/float32/MatMul 64x64x64/1", "peak/float16/MatMul 64x64x64/1", "prepare/1", "peak/memory/Relu, 4 MiB/1"]
    profile = make_profile(
        [0.5, 0.5, 0.1, 0.25], runs=16, source_nodes=[[name] for name in names], precision=["float32"] * 4, macs=[5e6, 5e6, 1e6, 0.0],
        param_bytes=[0.0] * 4, activation_bytes=[1e6, 1e6, 1e6, 1e6],
    )  # fmt: skip
    product, sweep = reached(profile)  # a float16 product that ran in float32 tells nothing
    assert (product.mark, sweep.mark) == (Mark("float32", "MatMul 64x64x64"), Mark("memory", "Relu, 4 MiB"))
    assert product.value == pytest.approx(20, rel=0.05) and product.low <= product.value <= product.high
    assert sweep.value == pytest.approx(4, rel=0.05)
    assert reached(make_profile(runs=2, source_nodes=[[name] for name in names])) == []  # too few runs
