"""What is written is read again; what was damaged by anybody is said in a sentence, and never fails."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from edgeprof.recipes.recipe import Decision, Recipe
from edgeprof.workbench import state as states
from edgeprof.workbench.selection import Held
from edgeprof.workbench.state import KeptCandidate, State
from tests.laws import examples

words = st.text('aé/*"\n\u202e', max_size=5)
decisions = st.builds(Decision, layer=words.filter(bool), precision=st.sampled_from(["int8", "fp16"]))
recipes = st.builds(Recipe, st.lists(decisions, max_size=3).map(tuple), name=words)
held = st.builds(
    Held, words, st.lists(words, max_size=3).map(tuple), st.frozensets(words, max_size=3), st.frozensets(words, max_size=3),
    st.lists(st.integers(0, 99), max_size=3).map(tuple), st.lists(words, max_size=2).map(tuple),
)  # fmt: skip
kept = st.lists(
    st.builds(KeptCandidate, st.integers(1, 99).map(lambda n: f"c{n}"), words, recipes), max_size=3, unique_by=lambda one: one.key
)
state_of = st.lists(recipes, min_size=1, max_size=4).flatmap(
    lambda undo: st.builds(State, words, words, words, st.dictionaries(words, st.integers()), words, held, st.just(tuple(undo)),
                           st.integers(0, len(undo) - 1), kept.map(tuple), st.none() | st.dictionaries(words, words))
)  # fmt: skip

WHOLE = State("net", "0" * 64, recipes=(Recipe(), Recipe((Decision(layer="a", precision="int8"),))), at=1,
              candidates=(KeptCandidate("c1", "one", Recipe((Decision(layer="a", prune=0.5),))),))  # fmt: skip


@given(state_of)
@examples(0.4)
def test_what_is_written_is_read_again(state):
    found, finding = states.parse(states.text_of(state).encode())
    assert (found, finding) == (state, "")


@given(st.data())
@examples(0.6)
def test_whatever_is_damaged_is_left_out_and_said(data):
    told = json.loads(states.text_of(WHOLE))
    nonsense = (
        st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2) | st.dictionaries(words, words, max_size=1)
    )
    place: object = told
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or not isinstance(place[key], dict | list):
            place[key] = data.draw(nonsense)
            break
        place = place[key]
    found, finding = states.parse(json.dumps(told).encode())
    assert finding if found is None else states.parse(states.text_of(found).encode()) == (found, "")


@given(st.binary(max_size=60))
@examples(1)
def test_bytes_of_any_kind(data):
    found, finding = states.parse(data)
    assert found is None and finding.startswith("workbench.json") and finding.endswith(".")


def test_one_damaged_candidate_does_not_take_the_others_along():
    told = json.loads(states.text_of(WHOLE))
    told["candidates"].insert(0, {"key": "../../c2", "name": "x", "recipe": "", "scores": None, "failed": ""})
    told["undo"]["at"] = 7
    found, finding = states.parse(json.dumps(told).encode())
    assert found.candidates == WHOLE.candidates and found.recipes == (Recipe(),)
    assert finding == "workbench.json is damaged: undo steps, candidate 1 could not be read and is left out; all else is there."


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    assert states.read(tmp_path) == (None, "")
    (tmp_path / states.NAME).write_text('{"format": 99}')
    assert "another edgeprof (format 99)" in states.read(tmp_path)[1]
    monkeypatch.setattr(states, "MOST_BYTES", 10)
    assert "larger than" in states.read(tmp_path)[1]
    (tmp_path / states.NAME).unlink()
    (tmp_path / states.NAME).mkdir()
    assert "cannot be read" in states.read(tmp_path)[1]


def test_undo_steps_are_bounded_around_the_one_that_is_now(monkeypatch):
    every = tuple(Recipe((Decision(layer=f"layer {n:03}", precision="int8"),)) for n in range(50))
    one = len(states.recipe_text(every[0]))
    monkeypatch.setattr(states, "MOST_UNDO_BYTES", 10 * one)
    found, _ = states.parse(states.text_of(State(recipes=every, at=20)).encode())
    assert len(found.recipes) == 10 and found.recipes[found.at] == every[20]


def test_options_that_are_no_plain_values_are_not_written():
    assert states.plain_options({"runs": 3, "metric": len, "cpus": (1, 2), "inputs": {"x": 1.5}}) == {"runs": 3, "inputs": {"x": 1.5}}
