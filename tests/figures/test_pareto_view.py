"""What the Pareto chart on a canvas is sent: fronts of every pair of axes, estimates with their measurements, words."""

import json
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis.pareto import pareto_front
from edgeprof.errors import UsageError
from edgeprof.figures.pareto_picture import draw
from edgeprof.figures.pareto_view import NONE, STANDINGS, pareto_view
from edgeprof.figures.plot_pen import plain, ticks
from edgeprof.figures.theme import DARK
from edgeprof.records.context import Latency
from edgeprof.testing import make_profile
from tests.laws import examples

BASE = make_profile(runs=0)


def point(name, ms=1.0, top1=0.9, size=1000, *, origin="measured", sha=None, parent=None, width=0.1, recipe=""):
    latency = Latency() if ms is None else Latency(ms, ms * (1 - width), ms * (1 + width), runs=9)
    record = {"value": top1, "low": (top1 or 0) - 0.01, "high": (top1 or 0) + 0.01, "n": 1000, "better": "higher", "data": "digits",
              "data_sha256": "d"}  # fmt: skip
    context = replace(
        BASE.context, model_name=f"{name}.onnx", model_sha256=sha or name, model_bytes=size, latency=latency, recipe=recipe,
        scores={} if top1 is None else {"top1": record},
    )  # fmt: skip
    return replace(BASE, context=context, origin=origin, parent=parent)


def candidates():
    """A baseline, an estimate of a recipe, its measurement, and one that was never scored."""
    return [
        point("big", 8, 0.95, 900_000), point("q", 2, 0.93, 300_000, origin="estimated", sha="q", parent="big"),
        point("q", 2.5, 0.94, 310_000, sha="q", parent="big"), point("p", 5, None, 500_000, origin="estimated", parent="big"),
    ]  # fmt: skip


def view(profiles, **options):
    return pareto_view(profiles, keys=[f"k{i}" for i in range(len(profiles))], **options)


def standings(data, x, y):
    return [STANDINGS[code] for code in data.array(f"standing {x} {y}")]


def test_every_pair_of_objectives_comes_along_as_the_analysis_says():
    profiles = candidates()
    data = view(profiles)
    names = [one["name"] for one in data.meta["objectives"]]
    assert {"latency_ms", "model_bytes", "top1"} <= set(names)
    assert set(data.meta["pairs"]) == {f"{a} {b}" for a in names for b in names if a != b}
    for pair, told in data.meta["pairs"].items():
        made = pareto_front(profiles, *pair.split())
        assert standings(data, *pair.split()) == list(made.points["standing"])
        assert told["sweet"] == made.sweet
        assert [None if by == NONE else by for by in data.array(f"by {pair}")] == [None if by < 0 else by for by in made.points["by"]]
        assert [data.meta["texts"][f"why {pair}"][code] for code in data.array(f"why {pair}")] == list(made.points["why"])


def test_an_estimate_and_its_measurement_are_one_pair_with_the_error_of_each_objective():
    data = view(candidates())
    assert list(zip(data.array("estimates"), data.array("measurements"), strict=True)) == [(1, 2)]
    error = dict(zip([one["name"] for one in data.meta["objectives"]], data.meta["errors"][0], strict=True))
    assert (error["latency_ms"], error["top1"]) == ("−20.0 %", "−1.0 points")
    assert list(data.array("baseline")) == [1, 0, 0, 0]
    assert list(view(candidates(), baseline="k3").array("baseline")) == [0, 0, 0, 1]


def test_numbers_are_written_out_with_their_intervals_and_what_is_not_known_says_why():
    data = view(candidates(), x="latency_ms", y="top1")
    at = [one["name"] for one in data.meta["objectives"]].index("top1")
    assert data.meta["shown"][at] == ["95.0 % [94.0, 96.0]", "93.0 % [92.0, 94.0]", "94.0 % [93.0, 95.0]", "–"]
    assert data.meta["texts"][f"note {at}"][data.array(f"note {at}")[3]] == "no score top1"
    assert standings(data, "latency_ms", "top1") == ["front", "aside", "front", "missing"]
    json.dumps(data.to_json(), allow_nan=False)


def test_axes_are_in_units_that_suit_the_numbers():
    data = view([point("a", 0.02, 0.5, 4000), point("b", 0.3, 0.9, 9000)], constraints={"model_bytes": "8 kB"})
    x, y = data.meta["pairs"]["latency_ms top1"]["axes"]
    assert (x["title"], x["scale"], y["title"], y["scale"]) == ("Latency (µs), ← better", 1e3, "Top-1 accuracy (%), better →", 100)
    assert data.meta["pairs"]["model_bytes top1"]["axes"][0]["title"] == "Model size (kB), ← better"
    assert x["low"] < 20 < 300 < x["high"] and y["low"] < 50 < 90 < y["high"]
    assert [(limit["objective"], limit["text"]) for limit in data.meta["constraints"]] == [("model_bytes", "at most 8.00 kB")]
    assert list(data.array("meets")) == [1, 0]


@pytest.mark.parametrize("profiles", [[], [point("a", None, None)], [point("a", 1, None)]])
def test_without_points_the_view_says_what_to_do(profiles):
    data = view(profiles, x="latency_ms", y="top1")
    pair = data.meta["pairs"]["latency_ms top1"]
    assert pair["empty"].startswith("No candidate has both latency and top-1 accuracy yet: estimate or measure a recipe.")
    assert pair["axes"] == [] and draw(data)[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"keys": ["a"]}, "Expected a key for each of 2 profiles, got 1"), ({"keys": ["a", "a"]}, "'a' stands for 2 candidates"),
        ({"keys": ["a", "b"], "baseline": "c"}, "No candidate has the key 'c'"), ({"keys": ["a", "b"], "x": "speed"}, "no objective"),
        ({"keys": ["a", "b"], "x": "top1", "y": "top1"}, "Both axes are top1"), ({"keys": ["a", "b"], "recipes": []}, "Expected a recipe"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong, sentence):
    with pytest.raises(UsageError, match=sentence):
        pareto_view([point("a"), point("b", 2)], **wrong)


some = st.tuples(
    st.sampled_from([1.0, 2.0, 3.0]), st.sampled_from([None, 0.4, 0.6]), st.sampled_from(["measured", "estimated"]), st.integers(0, 1)
)


@cache
def made(ms, top1, origin, model):
    """The same point is the same profile: what was read of it once is known."""
    return point("n", ms, top1, origin=origin, sha=f"m{model}", parent="base")


@given(st.lists(some, min_size=1, max_size=7))
@examples(0.2)
def test_a_front_as_sent_holds_no_dominated_point_and_twins_are_symmetric(drawn):
    data = view([made(*one) for one in drawn], x="latency_ms", y="top1")
    at = [[one["name"] for one in data.meta["objectives"]].index(name) for name in ("latency_ms", "top1")]
    ms, top1 = (data.array(f"value {i}") for i in at)
    part = [row for row, standing in enumerate(standings(data, "latency_ms", "top1")) if standing in ("front", "unsure", "dominated")]
    for row in [row for row in part if standings(data, "latency_ms", "top1")[row] == "front"]:
        assert not any(ms[a] <= ms[row] and top1[a] >= top1[row] and (ms[a], top1[a]) != (ms[row], top1[row]) for a in part)
    assert standings(data, "latency_ms", "top1") == standings(data, "top1", "latency_ms")
    pairs = list(zip(data.array("estimates"), data.array("measurements"), strict=True))
    models = [model for _, _, _, model in drawn]
    assert all((drawn[a][2], drawn[b][2], models[a]) == ("estimated", "measured", models[b]) for a, b in pairs)
    assert {a for a, _ in pairs} == {
        a for a, one in enumerate(drawn) if one[2] == "estimated" and any(o[2:] == ("measured", one[3]) for o in drawn)
    }


def test_the_picture_shows_selection_axes_and_both_themes():
    data = view(candidates(), constraints={"latency_ms": 4, "top1": 0.9})
    plain_one = draw(data)
    assert len({plain_one, draw(data, selection=["k2"]), draw(data, x="model_bytes", y="top1"), draw(data, theme=DARK)}) == 4
    assert draw(data, x="nothing", y="top1") == plain_one


@given(st.floats(-3, 6), st.floats(0.05, 7), st.booleans())
@examples(1)
def test_ticks_are_round_few_and_inside(low, width, log):
    found = ticks({"low": low, "high": low + width, "log": log}, 380, 44)
    assert found == sorted(set(found)) and 1 <= len(found) <= 12
    on = [math.log10(value) if log else value for value in found]
    assert low - 1e-6 <= on[0] and on[-1] <= low + width + 1e-6
    assert all(len(plain(value)) < 12 for value in found)
    assert np.isfinite(found).all()
