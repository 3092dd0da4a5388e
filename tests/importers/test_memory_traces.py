"""What traces say of memory: real ones of versions that do and that do not, and damaged ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.errors import TraceError
from edgeprof.importers.onnxruntime import decode, decode_memory
from tests.laws import examples

DATA = Path(__file__).parent / "data"
SAYS = ("memory-1.28.0", "memory-1.32.0", "1.28.0", "1.32.0")
SAYS_NOTHING = ("memory-1.20.1", "memory-1.27.0", "1.19.2", "1.20.1", "1.23.2", "1.27.0")
COLUMNS = {
    "requested_bytes": "mem_bytes_requested_in_use",
    "requested_delta_bytes": "mem_requested_in_use_delta",
    "in_use_peak_bytes": "mem_in_use_peak",
    "held_bytes": "mem_arena_held",
}
"""What a MemoryTrace has, and what ONNX Runtime calls it."""


def golden(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.json.gz").read_bytes())


def nodes(data: bytes) -> list[dict]:
    return [event for event in json.loads(data) if event["cat"] == "Node" and event["name"].endswith("_kernel_time")]


def columns(memory) -> list:
    return [getattr(memory, name) for name in COLUMNS]


@pytest.mark.parametrize("name", SAYS)
def test_each_event_has_the_numbers_that_json_reads(name):
    """In the order of the spans, which is by start and not the file's: a Loop's event stands behind those of its body."""
    data = golden(name)
    memory = decode_memory(data)
    kinds = [memory.spans.kinds[kind].name for kind in memory.spans.kind]
    mine = sorted(zip(kinds, memory.spans.start_ns.tolist(), *(column.tolist() for column in columns(memory)), strict=True))
    raw = sorted(
        (event["name"].removesuffix("_kernel_time"), event["ts"] * 1000, *(int(event["args"][key]) for key in COLUMNS.values()))
        for event in nodes(data)
    )
    assert mine == raw
    assert len(mine) > 40
    starts = [event["ts"] for event in nodes(data)]
    assert starts != sorted(starts)


@pytest.mark.parametrize("name", SAYS)
def test_what_real_numbers_mean(name):
    """Within a run the allocator holds at least what it was asked for, and never more than its high-water mark, which only grows."""
    memory = decode_memory(golden(name))
    requested, delta, peak, held = columns(memory)
    assert (requested >= 0).all() and (peak <= held).all()
    assert (requested <= peak).all()
    ended = np.argsort(memory.spans.start_ns + memory.spans.duration_ns, kind="stable")
    assert (np.diff(peak[ended]) >= 0).all()
    assert (delta != 0).any()


@pytest.mark.parametrize("name", SAYS_NOTHING)
def test_versions_that_say_nothing_have_no_columns(name):
    memory = decode_memory(golden(name))
    assert columns(memory) == [None] * 4
    assert memory.temporary_bytes is None
    assert len(memory.spans) == len(nodes(golden(name)))


@pytest.mark.parametrize("name", [*SAYS, *SAYS_NOTHING])
def test_spans_are_those_of_the_trace_without_memory(name):
    with_memory, without = decode_memory(golden(name)).spans, decode(golden(name))
    assert with_memory.kinds == without.kinds
    for column in ("kind", "run", "start_ns", "duration_ns", "parent", "run_start_ns", "run_duration_ns"):
        assert np.array_equal(getattr(with_memory, column), getattr(without, column)), column


# Damaged files


def changed(change, name="memory-1.32.0") -> bytes:
    """A real trace with ``change(args)`` made to the third node's event, in the layout of ONNX Runtime."""
    lines = golden(name).split(b"\n")
    third = [i for i, line in enumerate(lines) if b"_kernel_time" in line][2]
    event = json.loads(lines[third].rstrip(b","))
    change(event["args"])
    keys = ", ".join(f'"{key}" : {json.dumps(event[key])}' for key in ("cat", "pid", "tid", "dur", "ts", "ph", "name", "args"))
    lines[third] = f"{{{keys}}},".replace('"cat" : ', '"cat" : ').encode()
    return b"\n".join(lines)


def test_a_change_that_changes_nothing_does_not():
    """So that the tests below say something of the change and not of how it is made."""
    memory, real = decode_memory(changed(lambda args: None)), decode_memory(golden("memory-1.32.0"))
    assert all(np.array_equal(a, b) for a, b in zip(columns(memory), columns(real), strict=True))


@pytest.mark.parametrize("key", COLUMNS.values())
@pytest.mark.parametrize("value", [None, "", "many", "1.5", "nan", 7, "9" * 19, "-" + "9" * 30, [], "0x10"])
def test_one_event_that_says_nothing_or_nonsense_leaves_all_unknown(key, value):
    """A sum over layers with a hole in it would be wrong; the spans are there all the same."""
    damaged = changed(lambda args: args.pop(key) if value is None else args.update({key: value}))
    memory = decode_memory(damaged)
    assert columns(memory) == [None] * 4
    assert len(memory.spans) == len(nodes(golden("memory-1.32.0")))


def test_a_negative_change_is_a_number():
    memory = decode_memory(changed(lambda args: args.update(mem_requested_in_use_delta="-12")))
    assert -12 in memory.requested_delta_bytes.tolist()


def test_a_trace_that_was_cut_off_keeps_what_came():
    data = golden("memory-1.32.0")
    memory = decode_memory(data[: len(data) // 2])
    assert 0 < len(memory.spans) < len(nodes(data))
    assert all(len(column) == len(memory.spans) for column in columns(memory))


def test_another_layout_has_spans_alone():
    memory = decode_memory(json.dumps(json.loads(golden("memory-1.32.0"))).encode())
    assert columns(memory) == [None] * 4
    assert len(memory.spans) == len(nodes(golden("memory-1.32.0")))


@pytest.mark.parametrize("data", [b"[\n]\n", b"[]"])
def test_no_event_at_all(data):
    memory = decode_memory(data)
    assert columns(memory) == [None] * 4
    assert len(memory.spans) == 0


@pytest.mark.parametrize("data", [b"", b"\n", b"{}", b"no trace", b"\x1f\x8b\x08"])
def test_no_trace(data):
    with pytest.raises(TraceError, match="not a profile written by ONNX Runtime"):
        decode_memory(data)


SHORT = b"\n".join(golden("memory-1.32.0").split(b"\n")[:12]) + b"\n]\n"


@examples(2)
@given(st.data())
def test_changed_bytes_are_refused_or_columns_of_one_length(data):
    damaged = bytearray(SHORT)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b'"', b"\n", b"{", b"}", b"\\"])
        )
    try:
        memory = decode_memory(bytes(damaged))
    except TraceError:
        return
    assert {None if column is None else len(column) for column in columns(memory)} in ({None}, {len(memory.spans)})
