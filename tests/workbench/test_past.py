"""Laws of going back and forward."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeprof.workbench.past import Past
from tests.laws import examples

steps = st.lists(st.one_of(st.integers(0, 3), st.sampled_from(["back", "forward"])), max_size=40)


def walked(past: Past[int], moves: list[int | str]) -> Past[int]:
    for move in moves:
        if isinstance(move, int):
            past.put(move)
        else:
            getattr(past, move)()
    return past


@given(steps, st.integers(4, 9))
@examples(1)
def test_back_after_a_change_is_where_one_was(moves, value):
    past = walked(Past([0]), moves)
    before = past.now
    assert past.put(value) and past.now == value and not past.can_forward
    assert past.back() and past.now == before
    assert past.forward() and past.now == value


@given(steps, st.integers(1, 5))
@examples(1)
def test_there_is_always_one_that_is_now_and_never_more_than_so_many(moves, most):
    past = walked(Past([0], most=most), moves)
    assert 1 <= len(past.values) <= most and past.values[past.at] == past.now
    assert past.can_back == (past.at > 0) and past.can_forward == (past.at < len(past.values) - 1)
    assert all(a != b for a, b in zip(past.values, past.values[1:], strict=False))
    assert not past.put(past.now)


@given(st.lists(st.integers(), min_size=1, max_size=30), st.integers(-5, 40), st.integers(1, 30))
@examples(1)
def test_what_was_written_is_taken_up_where_it_was(values, at, most):
    past = Past(values, at, most=most)
    assert past.now == values[min(max(at, 0), len(values) - 1)]
