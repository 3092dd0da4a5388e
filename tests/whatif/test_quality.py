"""What decisions cost together, from what they cost alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.recipes.plan import prunable_groups, quantizable
from edgeprof.recipes.recipe import Decision, Recipe
from edgeprof.whatif.quality import Quality
from tests.whatif.world import graph_of

NOISE = {("a", "int8"): 0.01}
POINTS = ((0.01, 0.0), (0.03, 0.02), (0.08, 0.1))


@pytest.fixture(scope="module")
def graph():
    return graph_of("resnet8_mnist")


places = st.floats(0, 1, allow_nan=False)


def test_noise_adds_up_and_what_was_never_tried_is_not_known(graph):
    conv, other, *_ = quantizable(graph)
    leader = prunable_groups(graph)[1]
    noise = {(conv, "int8"): 0.01, (other, "int8"): 0.02, (leader, "prune 0.25"): 0.05, (leader, "prune 0.5"): 0.2}
    quality = Quality(noise, "top1", 0.9)

    def of(*decisions: Decision) -> float:
        return quality.noise_of(Recipe(decisions), graph)

    assert of() == 0
    assert of(Decision(layer=conv, precision="int8"), Decision(layer=other, precision="int8")) == pytest.approx(0.03)
    assert of(Decision(layer=leader, prune=0.25), Decision(layer=conv, precision="int8")) == pytest.approx(0.06)
    assert of(Decision(layer=leader, prune=0.375)) == pytest.approx(0.125)
    assert of(Decision(layer=conv, precision="fp32")) == 0
    assert of(Decision(op_type="Relu", precision="int8")) == 0  # follows its neighbours
    assert math.isnan(of(Decision(layer=leader, prune=0.75)))
    assert math.isnan(of(Decision(pattern="*", precision="int8")))
    assert math.isnan(quality.loss(math.nan))


def test_loss_is_read_from_the_curve_and_goes_on_beyond_it():
    quality = Quality(NOISE, "top1", 0.9, points=POINTS)
    assert quality.loss(0) == 0
    assert quality.loss(0.03) == pytest.approx(0.02)
    assert quality.loss(0.055) == pytest.approx(0.06)
    assert quality.loss(0.13) == pytest.approx(0.1 + 0.05 * 0.08 / 0.05)
    assert quality.score(0.03) == pytest.approx(0.88)
    assert Quality(NOISE, "mae", 0.5, "lower", POINTS).score(0.03) == pytest.approx(0.52)


def test_sqnr_needs_no_curve():
    quality = Quality(NOISE, "sqnr_db", math.nan)
    assert quality.score(0.01) == pytest.approx(20)
    assert quality.loss(0.1) == pytest.approx(-10)
    assert math.isnan(quality.error)


def test_without_scored_variants_nothing_is_said():
    quality = Quality(NOISE, "top1", 0.9)
    assert math.isnan(quality.loss(0.01)) and math.isnan(quality.error)


@given(st.lists(st.tuples(places, st.floats(-0.2, 1)), min_size=1, max_size=8), places, places)
def test_more_noise_never_helps(points, one, other):
    quality = Quality({}, "top1", 0.9, points=tuple(points))
    low, high = sorted((one, other))
    assert 0 <= quality.loss(low) <= quality.loss(high) + 1e-12


@given(st.lists(st.tuples(places, places), min_size=3, max_size=8))
def test_the_error_is_that_of_points_left_out(points):
    assert Quality({}, "top1", 0.9, points=tuple(points)).error >= 0


def test_points_on_a_line_are_met_exactly():
    points = tuple((n / 10, n / 20) for n in range(1, 6))
    assert Quality({}, "top1", 0.9, points=points).error == pytest.approx(0, abs=1e-12)
