"""The Pareto front with intervals: laws on random points, and small tables with exact answers."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis.objectives import Objective
from edgeprof.analysis.pareto import certainly_dominates, front, knee, labels_of, pareto_front
from edgeprof.errors import UsageError
from edgeprof.records.context import Latency
from edgeprof.testing import make_profile
from tests.laws import examples

# Few different numbers, so that equal and touching ones come about.
numbers = st.integers(-4, 4).map(float)
intervals = st.tuples(numbers, numbers, numbers).map(sorted)


@st.composite
def tables(draw, *, exact=False, missing=False, least=1):
    """Objectives, and for each a table of values with intervals; NaN values with ``missing``."""
    count, width = draw(st.integers(least, 9)), draw(st.integers(1, 3))
    objectives = [Objective(f"o{k}", f"O{k}", "", draw(st.sampled_from(["lower", "higher"]))) for k in range(width)]
    made = {}
    for one in objectives:
        rows = draw(st.lists(intervals, min_size=count, max_size=count))
        made[one.name] = pd.DataFrame([(v, v, v) if exact else (v, low, high) for low, v, high in rows], columns=["value", "low", "high"])
        if missing:
            gone = draw(st.lists(st.integers(0, 5).map(lambda n: n == 0), min_size=count, max_size=count))
            made[one.name].loc[gone, "value"] = math.nan
    return made, objectives


def picked(made, rows):
    return {name: table.iloc[list(rows)].reset_index(drop=True) for name, table in made.items()}


def before(a, b):
    """Whether ``a`` is no worse in all and better in one, less being better; said in the plainest way."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def classical(values):
    """Which rows of ``values`` no other dominates."""
    return [not any(before(other, own) for other in values) for own in values]


def ends(made, objectives):
    """Best ends, values and worst ends of each row, turned so that less is better."""
    turned = {one.name: (1, ("low", "value", "high")) if one.better == "lower" else (-1, ("high", "value", "low")) for one in objectives}
    columns = [[(sign * made[name][end]).tolist() for name, (sign, order) in turned.items() for end in order[k : k + 1]] for k in range(3)]
    return [list(zip(*part, strict=True)) for part in columns]


def certain(made, objectives):
    """Pairs of which the first certainly dominates the second."""
    best, _, worst = ends(made, objectives)
    return {(a, b) for a in range(len(best)) for b in range(len(best)) if before(worst[a], best[b])}


@given(tables(least=2))
@examples(1)
def test_certain_domination_is_irreflexive_antisymmetric_and_transitive(drawn):
    made, objectives = drawn
    rows = range(len(made["o0"]))
    over = {(a, b) for a in rows for b in rows if certainly_dominates(made, objectives, a, b)}
    assert over == certain(made, objectives)
    assert not any((a, a) in over or ((a, b) in over and (b, a) in over) for a in rows for b in rows)
    assert all((a, d) in over for a, b in over for c, d in over if b == c)


@given(tables(missing=True))
@examples(1)
def test_standings_are_what_the_pairs_say(drawn):
    """The front holds no point that is dominated, by values or certainly; ``dominated`` and ``unsure`` name one that does it."""
    made, objectives = drawn
    standings, by = front(made, objectives)
    _, values, _ = ends(made, objectives)
    over = certain(made, objectives)
    known = [row for row, own in enumerate(values) if not any(map(math.isnan, own))]
    best = dict(zip(known, classical([values[row] for row in known]), strict=True))
    for row, (standing, other) in enumerate(zip(standings, by, strict=True)):
        beaten = any((rival, row) in over for rival in known)
        expected = "missing" if row not in known else "dominated" if beaten else "front" if best[row] else "unsure"
        assert standing == expected
        if standing == "dominated":
            assert (other, row) in over
        elif standing == "unsure":
            assert before(values[other], values[row])
        else:
            assert other == -1


@given(tables(least=2))
@examples(1)
def test_ruled_out_is_what_no_true_values_inside_the_intervals_bring_to_the_front(drawn):
    """A point is certainly dominated by a single other exactly when even its best ends against all others' worst ones are dominated."""
    made, objectives = drawn
    standings, _ = front(made, objectives)
    best, _, worst = ends(made, objectives)
    for row, standing in enumerate(standings):
        assert any(before(other, best[row]) for i, other in enumerate(worst) if i != row) == (standing == "dominated")


@given(tables(), st.randoms(use_true_random=False))
@examples(1)
def test_what_is_ruled_out_is_ruled_out_by_any_values_inside_the_intervals(drawn, random):
    made, objectives = drawn
    standings, by = front(made, objectives)
    true = {name: table.assign(value=[random.uniform(*pair) for pair in zip(table["low"], table["high"], strict=True)])
            for name, table in made.items()}  # fmt: skip
    _, values, _ = ends(true, objectives)
    for row, (standing, other) in enumerate(zip(standings, by, strict=True)):
        if standing == "dominated":
            assert classical([values[row], values[other]]) == [False, True]


@given(tables(exact=True))
@examples(1)
def test_without_width_it_is_the_ordinary_front(drawn):
    made, objectives = drawn
    ordinary = classical(ends(made, objectives)[1])
    bare = {name: table[["value"]] for name, table in made.items()}
    for table in (made, bare):
        assert front(table, objectives)[0] == ["front" if best else "dominated" for best in ordinary]


@given(tables(missing=True), st.data())
@examples(1)
def test_order_does_not_matter(drawn, data):
    made, objectives = drawn
    order = data.draw(st.permutations(range(len(made["o0"]))))
    before, after = front(made, objectives)[0], front(picked(made, order), objectives)[0]
    assert after == [before[row] for row in order]


@given(tables(missing=True))
@examples(1)
def test_less_is_better_is_more_is_better_with_the_sign_turned(drawn):
    made, objectives = drawn
    turned = [replace(one, better="higher" if one.better == "lower" else "lower") for one in objectives]
    negated = {name: pd.DataFrame({"value": -table["value"], "low": -table["high"], "high": -table["low"]}) for name, table in made.items()}
    assert front(negated, turned) == front(made, objectives)


@given(tables(), st.data())
@examples(1)
def test_a_dominated_point_more_changes_nothing(drawn, data):
    """One that lies beyond the worst ends of some point, with intervals as they come."""
    made, objectives = drawn
    row = data.draw(st.integers(0, len(made["o0"]) - 1))
    more = {}
    for one in objectives:
        away, width = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2))
        last = made[one.name].iloc[row]
        near = last["high"] + away if one.better == "lower" else last["low"] - away - width
        added = pd.DataFrame({"value": [near + width / 2], "low": [near], "high": [near + width]})
        more[one.name] = pd.concat([made[one.name], added], ignore_index=True)
    before, after = front(made, objectives)[0], front(more, objectives)[0]
    assert after == [*before, "dominated"]


LOW, HIGH = Objective("ms", "Time", "ms"), Objective("top1", "Accuracy", "%", "higher")


def table(*rows):
    """A table of (value, low, high)."""
    return pd.DataFrame(rows, columns=["value", "low", "high"], dtype=float)


def test_the_three_standings():
    made = {
        "ms": table((1, 0.9, 1.1), (2, 1.9, 2.1), (2, 1.9, 2.1)),
        "top1": table((0.9, 0.88, 0.92), (0.89, 0.86, 0.91), (0.8, 0.78, 0.88)),
    }
    assert front(made, (LOW, HIGH)) == (["front", "unsure", "dominated"], [-1, 0, 0])


def test_intervals_that_touch_do_not_speak_against_being_no_worse_but_are_no_proof_of_better():
    made = {"ms": table((1, 0, 2), (3, 2, 4)), "top1": table((0.9, 0.9, 0.9), (0.9, 0.9, 0.9))}
    assert front(made, (LOW, HIGH))[0] == ["front", "unsure"]
    made["top1"] = table((0.9, 0.9, 0.9), (0.8, 0.8, 0.8))
    assert front(made, (LOW, HIGH))[0] == ["front", "dominated"]


def test_equals_share_the_front_and_no_number_is_missing():
    made = {"ms": table((1, 1, 1), (1, 1, 1), (math.nan, math.nan, math.nan)), "top1": table((0.9,) * 3, (0.9,) * 3, (0.99,) * 3)}
    assert front(made, (LOW, HIGH))[0] == ["front", "front", "missing"]
    assert front({"ms": table(), "top1": table()}, (LOW, HIGH)) == ([], [])


def test_the_knee_is_nearest_to_the_ideal_corner_in_ranges():
    away = knee(np.array([[0.0, 100.0], [1.0, 20.0], [10.0, 0.0]]))
    assert away == pytest.approx([1, math.hypot(0.1, 0.2), 1])
    assert knee(np.array([[3.0, 3.0]])) == pytest.approx([0])


# Profiles


def point(name, ms=None, top1=None, *, size=None, origin="measured", sha="", parent=None, width=0.0, data="digits", board="local"):
    profile = make_profile(origin=origin)
    latency = Latency() if ms is None else Latency(ms, ms * (1 - width), ms * (1 + width), runs=9)
    record = {"value": top1, "low": None, "high": None, "n": 100, "better": "higher", "data": data, "data_sha256": data}
    context = replace(
        profile.context, model_name=name, model_sha256=sha or name, model_bytes=size, latency=latency, board=board,
        scores={} if top1 is None else {"top1": record},
    )  # fmt: skip
    return replace(profile, context=context, parent=parent)


NETS = (point("big.onnx", 9, 0.99, size=900), point("mid.onnx", 3, 0.97, size=400), point("small.onnx", 1, 0.8, size=100),
        point("bad.onnx", 5, 0.7, size=500))  # fmt: skip


def standings(made):
    return dict(zip(made.points["label"], made.points["standing"], strict=True))


def sweet(made):
    return made.points["label"].iloc[made.sweet] if made.sweet >= 0 else None


def test_front_and_sweet_spot_of_profiles():
    made = pareto_front(NETS)
    assert [one.name for one in made.axes] == ["latency_ms", "top1"]
    assert standings(made) == {"big": "front", "mid": "front", "small": "front", "bad": "dominated"}
    assert sweet(made) == "mid" and made.reason == "nearest to the ideal corner of 3 on the front"
    assert made.points["by"].tolist() == [-1, -1, -1, 1] and list(made.table["top1"]) == [0.99, 0.97, 0.8, 0.7]


@pytest.mark.parametrize(
    ("constraints", "best", "expected"),
    [
        ({}, "latency_ms", "small"),
        ({"top1": 0.9}, "latency_ms", "mid"),
        ({"top1": 0.9}, "top1", "big"),
        ({"latency_ms": 2}, "knee", "small"),
        ({"latency_ms": 9, "top1": 0.99}, "knee", "big"),
        ({"latency_ms": 2, "top1": 0.9}, "knee", None),
        ({"model_bytes": "0.4 kB", "top1": 0.9}, "model_bytes", "mid"),
    ],
)
def test_the_sweet_spot_meets_all_constraints(constraints, best, expected):
    made = pareto_front(NETS, constraints=constraints, best=best)
    assert sweet(made) == expected
    if expected is None:
        assert made.reason == "no point meets all constraints"


def test_a_constraint_on_an_axis_leaves_the_front_another_puts_points_aside():
    assert standings(pareto_front(NETS, constraints={"latency_ms": 2}))["big"] == "front"
    made = pareto_front([*NETS, point("unsized.onnx", 0.5, 0.99)], constraints={"model_bytes": 450})
    assert standings(made) == {"big": "aside", "mid": "front", "small": "front", "bad": "aside", "unsized": "aside"}
    assert made.points["why"].tolist()[0] == "misses the constraint on model size"
    assert "size of the model file is not known" in made.points["why"].tolist()[4]


def test_a_point_that_only_the_left_out_dominate_takes_their_place():
    made = pareto_front([NETS[1], NETS[3]], constraints={"model_bytes": 600})
    assert standings(made) == {"mid": "front", "bad": "dominated"}
    assert standings(pareto_front([NETS[0], NETS[3]], constraints={"model_bytes": 600})) == {"big": "aside", "bad": "front"}


def test_a_bound_inside_the_interval_is_said():
    made = pareto_front([point("a.onnx", 1, 0.9, width=0.2), point("b.onnx", 2, 0.95)], constraints={"latency_ms": 1.1})
    assert sweet(made) == "a" and made.reason.endswith("though a bound lies inside its interval")
    assert made.points["doubt"].tolist() == [True, False]


def test_not_measured_is_listed_with_the_reason():
    made = pareto_front([*NETS, point("slow.onnx", None, 0.999), point("other.onnx", 0.1, 0.999, data="clutter"), point("plain.onnx", 0.1)])
    assert list(standings(made).values())[4:] == ["missing"] * 3
    assert made.points["why"].tolist()[4:] == ["latency was not measured", "top1 is of other data, clutter", "no score top1"]


def test_the_measurement_speaks_for_its_estimate():
    """Only where it is of the same model file, and only when it has the numbers itself."""
    estimate = point("net.onnx", 0.5, 0.99, origin="estimated", sha="built", parent="base")
    measured = point("net.onnx", 1, 0.9, sha="built", parent="base")
    base = point("base.onnx", 2, 0.95, sha="base")
    made = pareto_front([estimate, measured, base])
    assert made.points["standing"].tolist() == ["aside", "front", "front"] and made.points["twin"].tolist() == [1, -1, -1]
    assert made.points["why"].iloc[0] == f"measured too, as {made.points['label'].iloc[1]}"
    unbuilt = replace(estimate, context=replace(estimate.context, model_sha256="base"))
    assert pareto_front([unbuilt, measured, base]).points["twin"].tolist() == [-1, -1, -1], (
        "the base is no measurement of what is made of it"
    )
    unscored = pareto_front([estimate, replace(measured, context=replace(measured.context, scores={})), base])
    assert unscored.points["standing"].tolist() == ["front", "missing", "dominated"]


def test_labels_tell_only_what_is_needed():
    assert labels_of(NETS) == ["big", "mid", "small", "bad"]
    assert labels_of([point("a.onnx", 1), point("a.onnx", 1, board="pi5")]) == ["a, local", "a, pi5"]
    assert labels_of([point("a.onnx", 1), point("a.onnx", 1, origin="estimated")]) == ["a", "a, estimated"]
    assert labels_of([point("a.onnx", 1), point("a.onnx", 1)]) == ["a", "a (2)"]
    assert labels_of(NETS[:2], ["x", "x"]) == ["x", "x (2)"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"x": "latncy_ms"}, "no objective 'latncy_ms'.*latency_ms"),
        ({"y": "latency_ms"}, "different objective on each"),
        ({"constraints": {"top1": 95}}, "share from 0 to 1, such as 0.95"),
        ({"constraints": {"latency_ms": "5 ms"}}, "expected a number in ms"),
        ({"constraints": {"latency_ms": math.nan}}, "expected a number in ms"),
        ({"constraints": {"latency_ms": True}}, "expected a number"),
        ({"constraints": {"model_bytes": "much"}}, "Expected a budget"),
        ({"constraints": {"speed": 1}}, "no objective 'speed'"),
        ({"best": "kne"}, "best is 'kne'.*knee"),
        ({"best": "model_bytes"}, "can be one of knee, latency_ms, top1"),
        ({"labels": ["one"]}, "label for each of 4 profiles"),
        ({"labels": "abcd"}, "label for each of 4 profiles"),
    ],
)
def test_bad_arguments_are_refused_with_a_sentence(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        pareto_front(NETS, **arguments)


def test_nothing_one_and_three_objectives():
    assert len(pareto_front([]).points) == 0 and pareto_front([]).sweet == -1
    assert standings(pareto_front(NETS[:1])) == {"big": "front"}
    three = pareto_front([*NETS, point("tiny.onnx", 6, 0.6, size=50)], z="model_bytes")
    assert standings(three)["tiny"] == "front" and standings(pareto_front([*NETS, point("tiny.onnx", 6, 0.6)]))["tiny"] == "dominated"
