"""What an agent says beside layer times, frame by frame: samples and their limits, the runtime's statistics, sensors that fell silent."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.agent.memory import SUBJECT
from edgeprof.agent.protocol import Frame, ProtocolError
from edgeprof.agent.sampler import RECORD
from edgeprof.boards import sensed
from edgeprof.boards.collect import Collector
from edgeprof.boards.sensed import Sensed
from edgeprof.records.trace import RunPlan
from tests.importers.test_memory_traces import golden

DATA = Path(__file__).parents[1] / "importers" / "data"
HEAD = b"#name,input_sizes,initializers_sizes,total_dynamic_sizes,total_temp_allocations\n"


def channel(name, unit="mW"):
    return {"name": name, "unit": unit, "kind": "sample", "scope": "board", "title": name}


def describe(*sensors, problems=()):
    """A ``sensors`` frame; each sensor is (name, number of channels)."""
    described = [
        {"name": name, "rate_hz": 10.0, "channels": [channel(f"{name}/c{i}_mw") for i in range(count)], "totals": {}}
        for name, count in sensors
    ]
    return Frame("sensors", {"sensors": described, "problems": list(problems), "source": None, "why_not": "none"}, b"")


def samples(*records, squeeze=zlib.compress):
    return Frame("samples", {}, squeeze(b"".join(RECORD.pack(*record) for record in records)))


def statistics(*pieces: bytes) -> dict[str, tuple[int, ...]] | None:
    """Temporary bytes by node that come of a statistics file, sent in these pieces."""
    collector = Sensed()
    collector.take_memory_trace(golden("memory-1.32.0"), None)
    for piece in pieces:
        collector.take(Frame("node-memory", {}, piece))
    return collector.trace_fields({}, None)["memory"].temporary_bytes


# Statistics by node

TINY = {
    "/gate/mean", "/gate/greater", "/gate/if", "/then/relu", "/then/softmax", "/else/neg", "/loop", "/loop/cond", "/loop/exp",
    "/loop/sigmoid", "/head/pool", "/head/fc", "c1_nchwc", "c2_nchwc", "ReorderOutput",
}  # fmt: skip


@pytest.mark.parametrize("version", ["1.27.0", "1.28.0", "1.32.0"])
def test_real_statistics(version):
    """Softmax alone takes memory for itself; names hold slashes and underscores, and lose the hash behind them."""
    found = statistics((DATA / f"memory-{version}.csv").read_bytes())
    assert found == {name: (4096,) if name == "/then/softmax" else (0,) for name in TINY}


def test_no_statistics_are_not_none_at_all():
    assert statistics() is None
    assert statistics(b"") is None
    assert statistics(HEAD) == {}


ODD = {
    "commas": ("a,b,1,2,3,4", b"a,b,1,2,3,4"),
    "what looks like a hash": ("conv_123_45", b"conv_123_45"),
    "quotes and braces": ('q","args" : {},"x":"', b'q","args" : {},"x":"'),
    "backslashes": (r"c\nd", rb"c\nd"),
    "line ends": ("e\nf\n\ng", b"e\nf\n\ng"),
    "separators that Python takes for line ends": ("a\u2028b\x0cc\x1dd\x85e", "a\u2028b\x0cc\x1dd\x85e".encode()),
    "no name": ("", b""),
    "no UTF-8": (r"tab\xff", b"tab\xff"),
    "other letters": ("é日本\U0001f600", "é日本\U0001f600".encode()),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_names(kind):
    name, written = ODD[kind]
    found = statistics(HEAD + b"before_11,0,0,0,1\n" + written + b"_18446744073709551615,32,0,256,77\nafter_12,0,0,0,2\n")
    assert found == {"before": (1,), name: (77,), "after": (2,)}


def test_nodes_of_one_name_each_have_their_number():
    assert statistics(HEAD + b"Conv_1,0,0,0,5\nConv_2,0,0,0,0\nRelu_3,0,0,0,1\nConv_4,0,0,0,5\n") == {"Conv": (5, 0, 5), "Relu": (1,)}


def test_pieces_are_put_together_wherever_they_were_cut():
    whole = HEAD + "é_1,0,0,0,5\nb_2,0,0,0,6\n".encode()
    for cut in range(len(whole)):
        assert statistics(whole[:cut], whole[cut:]) == {"é": (5,), "b": (6,)}


@pytest.mark.parametrize(
    "last",
    [
        b"cut_1",
        b"cut_1,2,3",
        b"cut_1,2,3,4",
        b"cut_1,2,3,4,",
        b"_",
        b"cut_1,2,3,4,x",
        b"cut_1,-2,3,4,5",
        b"cut_,1,2,3,4",
        "cut_1,2,3,4,٣".encode(),
    ],
)
def test_a_damaged_record_is_left_out_and_those_before_it_are_kept(last):
    assert statistics(HEAD + b"whole_1,0,0,0,5\n" + last) == {"whole": (5,)}


def test_an_absurd_number_is_left_out_and_does_not_stick_to_the_next():
    assert statistics(HEAD + b"a_1,0,0,0,99999999999999999999\nb_1,0,0,0,5\n") == {"b": (5,)}


def test_windows_line_ends():
    assert statistics(HEAD + b"a_1,0,0,0,7\r\nb_2,0,0,0,8\r\n") == {"a": (7,), "b": (8,)}


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=3), max_size=5))
def test_what_was_written_is_read(written):
    """Any names, but those that hold a whole record's end and a line end behind it."""
    records = [f"{name}_{i},1,2,3,{size}\n" for name, sizes in written.items() for i, size in enumerate(sizes)]
    assert statistics(HEAD + "".join(records).encode()) == {name: tuple(sizes) for name, sizes in written.items()}


@given(st.binary(max_size=200))
def test_noise_is_read_as_something_and_never_fails(noise):
    found = statistics(HEAD + noise)
    assert all(size >= 0 for sizes in found.values() for size in sizes)


def test_statistics_have_a_size_limit(monkeypatch):
    monkeypatch.setattr(sensed, "MAX_STATISTICS_BYTES", 100)
    with pytest.raises(ProtocolError, match="over the size limit"):
        statistics(HEAD, HEAD)


# The memory phase's trace


def test_a_memory_trace_that_cannot_be_read_is_said_and_nothing_else_is_lost():
    collector = Collector("here", "onnxruntime", RunPlan())
    fields = {"of": SUBJECT, "last": True, "session": 0, "order": [[0, 3]], "starts_ns": [1, 2, 3]}
    assert list(collector.take(Frame("trace", fields, zlib.compress(b"")))) == []
    block = {"of": "", "index": 0, "session": 0, "plain_first": True, "plain": [1, 2], "instrumented": [3, 4]}
    collector.take(Frame("block", block, b""))
    trace = collector.trace(complete=True)
    assert trace.memory is None
    ((key, text),) = trace.messages
    assert key == "memory-unreadable"
    assert text.startswith("memory by layer is not known, this is not a profile written by ONNX Runtime (it is empty)")


# Samples


def test_samples_are_those_that_were_packed():
    collector = Sensed()
    collector.take(describe(("a", 2), ("b", 1)))
    came = collector.take(samples((5, 0, 1.0), (5, 1, 2.0), (6, 2, float("nan"))))
    assert came.channel.tolist() == [0, 1, 2]
    assert (came.time_ns.dtype, came.channel.dtype, came.value.dtype) == (np.int64, np.int32, np.float64)
    collector.take(samples((7, 2, 3.0)))
    whole = collector.trace_fields({}, None)["samples"]
    assert whole.time_ns.tolist() == [5, 5, 6, 7]
    assert whole.of(2)[1].tolist() == [3.0]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (samples((5, 3, 1.0)), "of a channel that there is not"),
        (Frame("samples", {}, zlib.compress(b"x" * 17)), "in the middle of a record"),
        (Frame("samples", {}, zlib.compress(b"x" * 19)), "in the middle of a record"),
    ],
)
def test_samples_that_make_no_sense_are_refused(frame, words):
    collector = Sensed()
    collector.take(describe(("a", 3)))
    with pytest.raises(ProtocolError, match=words):
        collector.take(frame)


def test_samples_before_any_sensor_was_named_are_refused():
    with pytest.raises(ProtocolError, match="of a channel that there is not"):
        Sensed().take(samples((5, 0, 1.0)))


def test_samples_that_unpack_to_far_too_much_are_refused(monkeypatch):
    monkeypatch.setattr(sensed, "MAX_UNPACKED_BYTES", 1000)
    collector = Sensed()
    collector.take(describe(("a", 1)))
    with pytest.raises(ProtocolError, match="more than the size limit"):
        collector.take(Frame("samples", {}, zlib.compress(bytes(18 * 100))))


def test_there_is_a_limit_to_samples(monkeypatch):
    monkeypatch.setattr(sensed, "MAX_SAMPLES", 3)
    collector = Sensed()
    collector.take(describe(("a", 1)))
    collector.take(samples((1, 0, 1.0), (2, 0, 1.0)))
    with pytest.raises(ProtocolError, match="more than 3 samples"):
        collector.take(samples((3, 0, 1.0), (4, 0, 1.0)))


# How sensors were read


def test_each_sensor_and_each_problem_has_its_entry():
    collector = Sensed()
    collector.take(describe(("a", 2), ("b", 0), ("c", 1), problems=[["rapl-permission", "do this"]]))
    told = [{"name": "c", "achieved_hz": 9.5, "samples": 4, "missed": 1, "problem": "slow"}]
    a, b, c, problem = collector.trace_fields({"sensors": told, "cpu_share": 0.01}, None)["sensors"]
    assert [one.name for one in (a, b, c)] == ["a", "b", "c"]
    assert ([len(one.channels) for one in (a, b, c)], a.rate_hz, a.achieved_hz) == ([2, 0, 1], 10.0, None)
    assert (c.achieved_hz, c.samples, c.missed, c.problem) == (9.5, 4, 1, "slow")
    assert (problem.name, problem.problem, problem.channels, problem.rate_hz) == ("rapl-permission", "do this", (), None)


def test_readings_of_a_sensor_that_could_not_say_how_it_went_are_counted():
    """Its process was killed: what had come is there, so it was not read 0 times."""
    collector = Sensed()
    collector.take(describe(("a", 2), ("b", 1)))
    collector.take(samples((1, 0, 1.0), (1, 1, 1.0), (2, 2, 1.0), (3, 0, 1.0), (3, 1, 1.0), (4, 0, 1.0), (4, 1, float("nan"))))
    a, b = collector.trace_fields({}, None)["sensors"]
    assert (a.samples, b.samples) == (3, 1)
