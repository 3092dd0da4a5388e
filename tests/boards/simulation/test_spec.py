"""Names of simulated boards: what they stand for, and what is said of those that stand for nothing."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.boards import get_board
from edgeprof.boards.simulated import SimulatedBoard
from edgeprof.boards.simulation.spec import PRESETS, BoardSpec, checked, parse
from edgeprof.errors import EdgeprofError, UsageError
from tests.laws import examples


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("simulated", BoardSpec()),
        ("simulated:", BoardSpec()),
        ("simulated:board", BoardSpec()),
        ("simulated:slow-sensor", PRESETS["slow-sensor"]),
        ("simulated:?seed=3", BoardSpec(seed=3)),
        ("simulated:no-sensor?seed=3&noise=0", BoardSpec(rate_hz=0, seed=3, noise=0)),
        ("simulated:hot?throttle_c=inf", BoardSpec()),
        ("simulated:?skew_ms=-2.5&ambient_c=-10", BoardSpec(skew_ms=-2.5, ambient_c=-10)),
        ("simulated:?seed=1&seed=2", BoardSpec(seed=2)),
    ],
)
def test_names(name, spec):
    assert parse(name) == spec
    assert SimulatedBoard.named(name).spec == spec and get_board(name).name == name


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_boards(preset):
    assert checked(PRESETS[preset]) == PRESETS[preset] == parse(f"simulated:{preset}")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("simulated:bord", "There is no simulated board 'bord' (did you mean 'board'?). There are: board, slow-sensor, "),
        ("simulated:zzz", "There is no simulated board 'zzz'. There are: "),
        ("simulated:?sead=3", "A simulated board has no 'sead' (did you mean 'seed'?). It has: gmacs_per_s, "),
        ("simulated:?=3", "A simulated board has no ''. It has: "),
        ("simulated:?seed", "seed of a simulated board is ''; give a number, such as seed=0."),
        ("simulated:?seed=1.5", "seed of a simulated board is '1.5'; give a number, such as seed=0."),
        ("simulated:?seed=-1", "seed of a simulated board is -1; give a number from 0 to "),
        ("simulated:?noise=much", "noise of a simulated board is 'much'; give a number, such as noise=0.01."),
        ("simulated:?noise=nan", "noise of a simulated board is nan; give a number from 0 to 1."),
        ("simulated:?noise=-0.1", "noise of a simulated board is -0.1; give a number from 0 to 1."),
        ("simulated:?idle_mw=inf", "idle_mw of a simulated board is inf; give a number from 0 to 1e+09."),
        ("simulated:?rate_hz=1e12", "rate_hz of a simulated board is 1000000000000.0; give a number from 0 to 100000."),
        ("simulated:?call_us=0", "call_us of a simulated board is 0.0; give a number from 1 to 1e+09."),
        ("simulated:?gmacs_per_s=0", "gmacs_per_s of a simulated board is 0.0; give a number from 0.01 to "),
        ("simulated:?throttle_c=nan", "throttle_c of a simulated board is nan; give a number from -273 to inf."),
    ],
)
def test_what_stands_for_no_board_is_said_in_a_sentence_or_two(name, sentence):
    with pytest.raises(UsageError) as caught:
        parse(name)
    text = str(caught.value)
    assert text.startswith(sentence) and text.endswith(".") and "\n" not in text and "?." not in text


@pytest.mark.parametrize("field", [f.name for f in fields(BoardSpec)])
@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf, -1e7])
def test_no_number_may_be_nonsense(field, nonsense):
    if field == "throttle_c" and nonsense == math.inf:
        return  # it never throttles
    with pytest.raises(UsageError, match=rf"^{field} of a simulated board is "):
        SimulatedBoard(replace(BoardSpec(), **{field: nonsense}))


@examples(2)
@given(st.text(max_size=30) | st.from_regex(r"[a-z-]{0,6}\?([a-z_]{1,8}=[0-9a-z.+-]{0,6}&?){0,3}", fullmatch=True))
def test_any_name_is_a_board_or_an_error_in_words(name):
    try:
        spec = parse(f"simulated:{name}")
    except EdgeprofError as error:
        assert str(error).endswith(".")
    else:
        assert checked(spec) is spec
