"""View data of the memory view: exact arrays, rows and sentences from profiles made by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from edgeprof.figures.memory import MAX_OWNERS, memory
from edgeprof.figures.modules import script, style
from edgeprof.records.context import Memory
from edgeprof.records.profile import Finding
from edgeprof.testing import make_profile, make_sensed_profile
from tests.analysis.memory_profiles import NAN, memory_profiles, residual, with_memory
from tests.laws import examples


def test_curves_and_buffers_by_hand():
    data = memory(residual())
    assert data.array("counted").tolist() == [400, 400, 560, 560]
    assert data.array("live").tolist() == [400, 400, 600, 560]
    assert data.array("peak").tolist() == [464, 400, 632, 560]
    assert data.meta["tensors"] == ["x", "a", "c"]
    assert [data.meta["kinds"][k] for k in data.array("kind")] == ["input", "output", "activation"]
    assert data.array("first").tolist() == [0, 0, 2] and data.array("last").tolist() == [0, 3, 3]
    np.testing.assert_array_equal(data.array("offset"), [NAN, 0, 400])
    assert data.meta["sharers"] == {"1": [["b", 1], ["y", 3]]}
    assert data.meta["plan"] == {"bytes": 560.0, "least": 560.0}


def test_owners_say_which_layers_make_them():
    owners = memory(residual()).meta["owners"]
    assert [(owner["name"], owner["bytes"], owner["layers"]) for owner in owners] == [
        ("a", 400, [0, 1, 3]), ("c", 160, [2]), ("(workspace)", 32, [2]), ("(held by the runtime for reuse)", 40, []),
    ]  # fmt: skip
    assert owners[0]["sharers"] == ["b", "y"] and owners[0]["consumer"] == "(end of the run)"


def test_many_owners_are_cut_and_still_sum_to_the_peak():
    rows = [(f"t{i}", "activation", 16.0 * (i + 1), 0, 0, i) for i in range(MAX_OWNERS + 5)]
    owners = memory(with_memory(rows, layers=1, workspace=[8.0])).meta["owners"]
    assert [owner["name"] for owner in owners[-2:]] == ["(5 smaller ones)", "(workspace)"]
    assert sum(owner["bytes"] for owner in owners) == memory(with_memory(rows, layers=1, workspace=[8.0])).meta["peak"]["bytes"]
    assert sum(owner["share"] for owner in owners) == pytest.approx(1)


def test_header_says_what_the_number_is():
    assert memory(residual()).meta["header"]["number"] == "632 B"
    assert memory(residual()).meta["header"]["number_note"] == "peak of activations and workspace, measured"
    counted = residual(live=None, peak=None, workspace=[NAN] * 4, memory=Memory())
    assert memory(counted).meta["header"]["number_note"] == "peak of activations, counted from shapes"
    assert memory(residual(origin="estimated")).meta["header"]["number_note"] == "peak of activations and workspace, estimated"
    assert memory(make_profile()).meta["header"]["number"] == "–"


def test_live_bytes_that_were_counted_are_not_shown_as_measured():
    memory_ = Memory({"live_memory_bytes": "shapes: tensors alive", "peak_memory_bytes": "shapes: tensors alive"}, 632.0, "conv2")
    data = memory(residual(memory=memory_))
    assert "live" not in data.meta["arrays"] and data.meta["live_basis"] == "counted"
    assert any("was not measured, and is counted from shapes instead" in text for text in data.meta["missing"])


def test_the_line_of_the_budget_is_what_the_weights_leave():
    profile = residual(param_bytes=[100, 0, 68, 0])
    budget = memory(profile, "1 kB").meta["budget"]
    assert budget == {"bytes": 1000, "line": 832.0, "label": "832 B: budget less 168 B of weights"}
    assert memory(residual(param_bytes=[NAN] * 4), 1000).meta["budget"]["line"] == 1000


def test_the_verdict_has_both_questions_and_the_boards_memory_is_the_default():
    profile = residual(param_bytes=[100, 0, 68, 0])
    assert [answer["answer"] for answer in memory(profile, 900).meta["verdict"]] == ["yes", "no"]
    assert memory(profile).meta["verdict"] == [] and memory(profile).meta["budget"] is None
    board = replace(profile, context=replace(profile.context, fingerprint={"memory_bytes": {"MemTotal": 10**9}}))
    assert "the board's memory of 1.00 GB" in memory(board).meta["verdict"][0]["sentence"]


def test_memory_of_the_process_by_phase():
    assert memory(residual()).meta["process"] == [
        {"phase": "load", "rss": 50_000, "peak": 60_000, "minor": None, "major": None},
        {"phase": "steady", "rss": 55_000, "peak": 58_000, "minor": None, "major": None},
    ]


def test_sources_say_where_each_number_is_from():
    sources = dict(memory(residual()).meta["sources"])
    assert sources["live bytes"] == "events" and sources["workspace"] == "statistics" and "resident set" in sources["process"]
    assert dict(memory(make_profile()).meta["sources"]) == dict.fromkeys(("live bytes", "peak by layer", "workspace"), "not measured")


def test_what_is_missing_is_said_with_the_way_to_get_it():
    missing = memory(make_profile()).meta["missing"]
    assert len(missing) == 3 and all("Profile the model again" in text for text in missing)
    assert memory(make_sensed_profile()).meta["missing"] == []
    rows = [("a", "activation", NAN, 0, 0, 0), ("b", "activation", 16, 0, 0, 1)]
    assert "1 of 2 buffers have no known size" in memory(with_memory(rows, layers=1, live=[16])).meta["missing"][-1]


def test_findings_come_along():
    profile = replace(make_profile(), findings=(Finding("drift", "warning", "It got slower."),))
    assert memory(profile).meta["findings"] == [{"severity": "warning", "text": "It got slower."}]


@examples(1 / 3)
@given(memory_profiles(any_storage=True))
def test_the_data_is_json_for_all_kinds_of_profiles(profile):
    data = memory(profile, "1 MB")
    page = json.loads(json.dumps(data.to_json(), allow_nan=False))
    assert page["meta"]["tensors"] == data.meta["tensors"] and len(data.array("first")) == len(data.meta["tensors"])
    assert all(entry["offset"] % 8 == 0 for entry in data.meta["arrays"].values())


def test_a_profile_without_layers():
    profile = make_sensed_profile()
    empty = replace(profile, layers=profile.layers.iloc[:0], tensors=profile.tensors.iloc[:0])
    assert memory(empty).meta["names"] == [] and not math.isnan(memory(empty).meta["peak"]["bytes"])


def test_bytes_of_a_thousand_layers():
    rows = [
        (f"/model/stage{i // 100}/block{i // 10}/conv_{i}/Conv_output_0", "activation", 4096.0, i, min(i + 3, 999), i) for i in range(1000)
    ]
    data = memory(with_memory(rows, layers=1000, live=[8192.0] * 1000))
    assert len(data.numbers) + len(json.dumps(data.meta)) < 250_000


def test_the_module_is_one_file_without_imports():
    source = script("memory")
    assert "export function renderMemory" in source and "innerHTML" not in source
    assert not [line for line in source.splitlines() if line.startswith("import ")]
    assert ".ep-chart" in style("memory")
