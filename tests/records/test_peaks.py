"""Peaks: written and read again they are the same; what makes no sense is refused; who they can judge."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.records.peaks import Ceiling, Peaks, machine_of
from edgeprof.testing import make_peaks, make_profile
from tests.laws import examples

NAMES = st.sampled_from(["float32", "int8", "float16"])
VALUES = st.floats(1e-3, 1e8)


@examples(0.5)
@given(st.dictionaries(NAMES, VALUES, min_size=1), VALUES, st.floats(0, 0.5), st.none() | st.lists(st.integers(0, 9), max_size=3))
def test_written_and_read_they_are_the_same(gflops, memory, interval, cpus):
    peaks = make_peaks(gflops, memory, interval=interval, cpus=None if cpus is None else tuple(cpus), notes=("A sentence.",))
    assert Peaks.from_json(json.loads(json.dumps(peaks.to_json(), allow_nan=False))) == peaks
    assert peaks.ceilings[0].value == max(gflops.values()) and peaks.ceilings[-1].kind == "memory"
    for precision, value in gflops.items():
        assert peaks.ridge(precision) == pytest.approx(value / memory)


def test_a_ceiling_without_an_interval_survives_too():
    peaks = replace(make_peaks(), memory_gb_s=Ceiling("memory", 10.0))
    again = Peaks.from_json(json.loads(json.dumps(peaks.to_json(), allow_nan=False)))
    assert again.memory_gb_s.value == again.memory_gb_s.upper == 10 and math.isnan(again.memory_gb_s.low)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("schema_version",), 2),
        (("board",), 7),
        (("board",), "two\nlines"),
        (("board",), "x" * 1000),
        (("providers",), "CPUExecutionProvider"),
        (("providers",), ["p"] * 100),
        (("provider_options",), {"p": "q"}),
        (("threads",), -1),
        (("threads",), True),
        (("cpus",), [0.5]),
        (("notes",), [{}]),
        (("ceilings",), []),
        (("ceilings",), "none"),
        (("ceilings", 0, "value"), None),
        (("ceilings", 0, "value"), -1.0),
        (("ceilings", 0, "value"), 1e300),
        (("ceilings", 0, "value"), "100"),
        (("ceilings", 0, "low"), 101.0),
        (("ceilings", 0, "precision"), ""),
        (("ceilings", 0, "kind"), "magic"),
        (("ceilings", 1, "kind"), "compute"),
    ],
)
def test_what_makes_no_sense_is_refused(where, value):
    told = make_peaks().to_json()
    place = told
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    with pytest.raises(ValueError):
        Peaks.from_json(told)


@pytest.mark.parametrize("told", [None, [], "peaks", {}, {"schema_version": 1}])
def test_what_are_no_peaks_at_all_is_refused(told):
    with pytest.raises(ValueError, match="expected"):
        Peaks.from_json(told)


def test_a_machine_is_what_decides_its_speed():
    told = make_profile().context.fingerprint
    assert machine_of({**told, "temperature_c": {"cpu": 71.0}, "load_1min": 3.0}) == machine_of(told)
    for other in ({"governor": "powersave"}, {"cpu_model": "Another"}, {"kernel": "6.18"}, {"affinity": [0]}):
        assert machine_of({**told, **other}) != machine_of(told)


@pytest.mark.parametrize(("field", "value"), [("board", "pi5"), ("threads", 4), ("providers", ("X",)), ("runtime", "other")])
def test_others_settings_cannot_judge(field, value):
    context = make_profile().context
    assert make_peaks().why_not(context) == "" and make_peaks().doubts(context) == []
    assert field in make_peaks(**{field: value}).why_not(context)


def test_a_profile_that_does_not_say_its_threads_can_be_judged():
    assert make_peaks().why_not(replace(make_profile().context, threads=None)) == ""


def test_doubts_are_sentences():
    doubts = make_peaks(machine="other", runtime_version="1.0", cpus=(1,)).doubts(make_profile().context)
    assert len(doubts) == 3 and all(doubt.endswith(".") for doubt in doubts)
