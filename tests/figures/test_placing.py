"""Names beside points cover nothing, and axes hold what they must."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.figures.placing import Box, Place, _box, place, span_of
from tests.laws import examples

SIZE = (600.0, 440.0)
positions = st.tuples(st.floats(0, SIZE[0]), st.floats(0, SIZE[1]))
positive = st.floats(1e-3, 1e6)


@given(st.lists(st.tuples(positions, st.text("abcdef ", min_size=1, max_size=30)), max_size=12), st.lists(positions, max_size=12))
@examples(2)
def test_names_cover_neither_points_nor_each_other(named, others):
    marks = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in (*others, *(at for at, _ in named))]
    found = place([at for at, _ in named], [text for _, text in named], marks, SIZE)
    boxes = [_box(at, text, one.side, one.gap_px) for (at, text), one in zip(named, found, strict=True) if one.side]
    assert not any(box.meets(mark) for box in boxes for mark in marks)
    assert not any(a.meets(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.left >= 0 and box.right <= SIZE[0] and box.bottom >= 0 and box.top <= SIZE[1] for box in boxes)


def test_a_name_goes_where_there_is_room():
    assert place([(300, 200)], ["name"], [], SIZE) == [Place("top right")]
    assert place([(590, 200)], ["name"], [], SIZE) == [Place("top left")]
    assert place([(590, 435)], ["name"], [], SIZE) == [Place("bottom left")]
    line = Box(300, 199, 600, 220)
    assert place([(300, 200)], ["name"], [], SIZE, better_not=[line]) == [Place("top left")]
    assert place([(300, 200)], ["name"], [Box(0, 0, 600, 440)], SIZE) == [Place("")]


def test_what_must_have_a_name_gets_one_farther_off():
    crowd = Box(250, 150, 350, 250)
    (found,) = place([(300, 200)], ["name"], [crowd], SIZE, always=1)
    assert found.side and not found.is_near
    assert place([(300, 200)], ["name"], [Box(0, 0, 600, 440)], SIZE, always=1)[0].side
    assert place([(300, 200)], ["name" * 99], [], SIZE, always=1)[0].side, "even where it is too long"


@given(st.lists(positive, min_size=1, max_size=9), st.floats(0, 3), st.one_of(st.just(math.nan), st.floats(-1e6, 1e6)), st.booleans())
@examples(2)
def test_an_axis_holds_all_values_whatever_the_intervals_are(values, width, bound, may_be_log):
    value = np.array(values)
    span = span_of(value, value * (1 - width), value * (1 + width), bound, may_be_log=may_be_log)
    assert span.low < span.high and all(span.holds(one) for one in values)
    assert span.log == (may_be_log and max(values) > 30 * min(values))


def test_an_interval_a_hundred_times_as_wide_does_not_press_the_values_flat():
    span = span_of(np.array([1.0, 2.0]), np.array([-99.0, 1.9]), np.array([99.0, 2.1]))
    assert span.part(2) - span.part(1) > 0.25


def test_zero_has_no_place_on_a_logarithmic_axis():
    value = np.array([1.0, 100.0])
    span = span_of(value, np.array([0.0, 90.0]), np.array([2.0, 110.0]), 0.0)
    assert span.log and not span.holds(0) and span.part(10) == pytest.approx(0.5, abs=0.05)
