"""ONNX Runtime profiles: real ones of six versions, odd names, damaged files, and laws on made-up ones."""

import contextlib
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.errors import TraceError
from edgeprof.importers import events, import_trace, onnxruntime
from edgeprof.importers.onnxruntime import decode, read, read_trace
from edgeprof.models.graph import Graph
from edgeprof.testing import make_graph

DATA = Path(__file__).parent / "data"
VERSIONS = ("1.19.2", "1.20.1", "1.23.2", "1.27.0", "1.28.0", "1.32.0")
PLAIN = [*VERSIONS, "parallel-1.19.2", "parallel-1.32.0", "threads-1.32.0"]

LOOP_BODY = ["/loop > /loop/exp", "/loop > /loop/sigmoid", "/loop > /loop/cond"]
HEAD = ["c1_nchwc", "c2_nchwc", "ReorderOutput", "/gate/mean", "/gate/greater", "/gate/if"]
THEN = ["/gate/if > /then/relu", "/gate/if > /then/softmax"]
TAIL = ["/loop", *LOOP_BODY * 3, "/head/pool", "/head/fc"]
RUNS = [[*HEAD, *THEN, *TAIL], [*HEAD, "/gate/if > /else/neg", *TAIL], [*HEAD, *THEN, *TAIL]]


def golden(name):
    return gzip.decompress((DATA / f"{name}.json.gz").read_bytes())


def paths(spans, run):
    """Names of a run's events in order, a nested one behind its parent's."""
    name = [spans.kinds[k].name for k in spans.kind]
    return [f"{name[p]} > {n}" if p >= 0 else n for n, p, r in zip(name, spans.parent, spans.run, strict=True) if r == run]


def line(name, ts, dur, *, cat="Node", tid=1, args=None):
    """One event as ONNX Runtime writes it; ``name`` and ``args`` go in as they are."""
    args = '{"op_name" : "Neg","provider" : "P","node_index" : "3"}' if args is None else args
    text = f'{{"cat" : "{cat}","pid" :7,"tid" :{tid},"dur" :{dur},"ts" :{ts},"ph" : "X","name" :"{name}","args" : {args}}}'
    return text.encode()


def trace(*lines):
    return b"[\n" + b",\n".join(lines) + b"\n]\n"


def run_line(ts, dur, **kwargs):
    return line("model_run", ts, dur, cat="Session", args="{}", **kwargs)


def same(a, b):
    return a.kinds == b.kinds and all(
        np.array_equal(getattr(a, f), getattr(b, f)) and getattr(a, f).dtype == getattr(b, f).dtype
        for f in ("kind", "run", "start_ns", "duration_ns", "parent", "run_start_ns", "run_duration_ns")
    )


# Real files


@pytest.mark.parametrize("name", PLAIN)
def test_real_trace_has_every_layer_of_every_run_with_its_parent(name):
    recording = read(golden(name))
    assert [paths(recording.spans, run) for run in range(3)] == RUNS
    assert recording.messages == ()
    assert recording.complete
    assert recording.skipped == 0


@pytest.mark.parametrize("name", PLAIN)
def test_real_trace_has_the_numbers_that_json_reads(name):
    raw = json.loads(golden(name))
    nodes = [e for e in raw if e["name"].endswith("_kernel_time")]
    spans = decode(golden(name), start_ns=5)
    mine = sorted(
        (s, d, k.name, k.op_type, k.provider, k.node_index)
        for s, d, k in zip(spans.start_ns.tolist(), spans.duration_ns.tolist(), (spans.kinds[i] for i in spans.kind), strict=True)
    )
    theirs = sorted(
        (
            5 + 1000 * e["ts"],
            1000 * e["dur"],
            e["name"].removesuffix("_kernel_time"),
            e["args"]["op_name"],
            e["args"]["provider"],
            int(e["args"]["node_index"]),
        )
        for e in nodes
    )
    assert mine == theirs
    runs = [e for e in raw if e["name"] == "model_run"]
    assert spans.run_start_ns.tolist() == [5 + 1000 * e["ts"] for e in runs]
    assert spans.run_duration_ns.tolist() == [1000 * e["dur"] for e in runs]
    load = [e["dur"] for e in raw if e["name"] in ("model_loading_uri", "session_initialization")]
    assert read(golden(name)).load_ns == 1000 * sum(load)


@pytest.mark.parametrize("name", PLAIN)
def test_columns_have_the_contract_s_types_and_order(name):
    spans = decode(golden(name))
    assert [spans.kind.dtype, spans.run.dtype, spans.parent.dtype] == [np.int32] * 3
    assert [c.dtype for c in (spans.start_ns, spans.duration_ns, spans.run_start_ns, spans.run_duration_ns)] == [np.int64] * 4
    assert (np.diff(spans.start_ns) >= 0).all()
    assert (spans.parent < np.arange(len(spans))).all()
    assert len(set(spans.kinds)) == len(spans.kinds)
    assert set(spans.kind.tolist()) == set(range(len(spans.kinds)))


@pytest.mark.parametrize("name", VERSIONS)
def test_types_and_shapes_are_read(name):
    kinds = {kind.name: kind for kind in decode(golden(name)).kinds}
    assert kinds["c1_nchwc"].input_types == (("float32", (1, 3, 16, 16)), ("float32", (8, 3, 3, 3)))
    assert kinds["c1_nchwc"].output_types == (("float32", (1, 8, 8, 8)),)
    assert kinds["/loop"].input_types == (("int64", ()), ("float32", (1, 8, 8, 8)))
    assert kinds["/gate/greater"].output_types == (("bool", ()),)


def test_runs_of_several_threads_are_told_apart_and_reported():
    recording = read(golden("overlap-1.32.0"))
    for run in range(9):
        assert paths(recording.spans, run) in RUNS
    assert [identity for identity, _ in recording.messages] == ["trace-runs-overlap"]


@pytest.mark.parametrize("version", ["1.19.2", "1.30.0", "1.31.0", "1.32.0"])
@pytest.mark.parametrize("told", [True, False])
def test_odd_names_are_read_as_they_are_in_the_model(version, told):
    recording = read(golden(f"names-{version}"), version=version if told else "")
    names = ['a"b', "c\\nd", "e\nf", "tab\\xff\x01", "é", 'q","args" : {},"x":"']
    assert [paths(recording.spans, run) for run in range(3)] == [names] * 3
    assert recording.messages == ()


# Names, escaped or not

_anything = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
_nasty = st.text(st.sampled_from('ab"\\,:{}[]\nu0 é'), min_size=1, max_size=12)
_injections = st.sampled_from([
    'x_kernel_time","name" :"y', 'x_kernel_time","args" : {},"name" :"y', 'x","dur" :0,"name" :"y', 'x"}},\n{"no" :"y',
    'x_kernel_time","args" : {"op_name" : "If"}},', "C:\\new\\table",
])  # fmt: skip
_names = st.lists(_anything | _nasty | _injections, min_size=1, max_size=5)


@given(_names)
def test_any_name_comes_back_from_a_version_that_does_not_escape(names):
    lines = [line(f"{name}_kernel_time", 10 + i, 1) for i, name in enumerate(names)]
    spans = decode(trace(*lines, run_line(5, 100)), version="1.30.0")
    assert paths(spans, 0) == names


@given(_names)
def test_any_name_comes_back_from_a_version_that_escapes(names):
    lines = [line(json.dumps(f"{name}_kernel_time", ensure_ascii=False)[1:-1], 10 + i, 1) for i, name in enumerate(names)]
    spans = decode(trace(*lines, run_line(5, 100)), version="1.31.0")
    assert paths(spans, 0) == names


def test_a_file_that_never_escapes_is_recognised_by_a_name_that_is_no_json():
    spans = decode(trace(line(r"C:\dir_kernel_time", 1, 1), line(r"C:\new_kernel_time", 2, 1), run_line(0, 9)))
    assert paths(spans, 0) == [r"C:\dir", r"C:\new"]


def test_an_index_of_an_old_version_is_taken():
    args = '{"op_name" : "Conv","graph_index" : "4","exec_plan_index" : "9","provider" : "CPUExecutionProvider"}'
    (kind,) = decode(trace(line("a_kernel_time", 1, 1, args=args))).kinds
    assert kind.node_index == 4


def test_shapes_in_a_string_are_read_and_odd_ones_left_empty():
    first = r'{"input_type_shape" : "[{\"float\":[1,2]}]","output_type_shape" : "none"}'
    second = '{"input_type_shape" : [{"double":[3]}],"output_type_shape" : {"a":1}}'
    one, two = decode(trace(line("a_kernel_time", 1, 1, args=first), line("b_kernel_time", 2, 1, args=second))).kinds
    assert (one.input_types, one.output_types) == ((("float32", (1, 2)),), ())
    assert (two.input_types, two.output_types) == ((("float64", (3,)),), ())


def test_one_node_with_several_shapes_has_a_kind_for_each():
    def args(n):
        return f'{{"op_name" : "Neg","node_index" : "0","input_type_shape" : [{{"float":[{n}]}}]}}'

    spans = decode(trace(*(line("a_kernel_time", t, 1, args=args(n)) for t, n in enumerate([2, 3, 2, 3, 4]))))
    assert [spans.kinds[k].input_types[0][1] for k in spans.kind] == [(2,), (3,), (2,), (3,), (4,)]
    assert len(spans.kinds) == 3


# Layout and blocks


@given(size=st.integers(1, 3000), name=st.sampled_from([*PLAIN, "names-1.19.2", "names-1.32.0"]))
def test_block_size_changes_nothing(size, name):
    data = golden(name)
    whole = decode(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "_BLOCK_BYTES", size)
        assert same(decode(data), whole)


@pytest.mark.parametrize("style", [{}, {"indent": 2}, {"separators": (",", ":")}])
def test_a_file_rewritten_by_a_json_tool_says_the_same(style):
    data = golden("1.32.0")
    assert same(decode(json.dumps(json.loads(data), **style).encode()), decode(data))


def test_windows_line_ends_and_a_byte_order_mark_say_the_same():
    data = golden("1.32.0")
    assert same(decode(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")), decode(data))


def test_a_path_a_file_bytes_and_gzip_say_the_same(tmp_path):
    data = golden("1.28.0")
    path = tmp_path / "t.json"
    path.write_bytes(data)
    whole = decode(data)
    for source in (path, str(path), io.BytesIO(data), gzip.compress(data), io.BytesIO(gzip.compress(data))):
        assert same(read_trace(source), whole)
    with path.open("rb") as file:
        assert same(read_trace(file), whole)
    stays_open = io.BytesIO(data)
    read_trace(stays_open)
    assert not stays_open.closed


class Endless(io.RawIOBase):
    """A long trace that never exists as a whole."""

    def __init__(self, repeats):
        body = golden("1.32.0")[2:].rstrip()[:-2]
        self._pieces = iter([b"[\n" + body, *[b",\n" + body] * repeats, b"\n]\n"])
        self._left = b""
        self.size = len(body) * (repeats + 1)

    def readable(self):
        return True

    def readinto(self, buffer):
        self._left = self._left or next(self._pieces, b"")
        n = min(len(buffer), len(self._left))
        buffer[:n], self._left = self._left[:n], self._left[n:]
        return n


def test_memory_is_bounded_by_the_columns_and_not_by_the_file():
    import tracemalloc

    file = Endless(600)
    tracemalloc.start()
    try:
        spans = read_trace(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(spans) == 59 * 601
    assert file.size > 22e6
    assert peak < 12e6


# What is missing is said


@pytest.mark.parametrize("name", ["1.19.2", "1.32.0", "names-1.19.2"])
def test_a_trace_cut_anywhere_gives_the_whole_events_before_the_cut_and_says_so(name):
    data = golden(name)
    whole = decode(data)
    times = set(zip(whole.start_ns.tolist(), whole.duration_ns.tolist(), strict=True))
    for cut in range(data.index(b"Node"), len(data) - 2, 97):
        recording = read(data[:cut], version=name.rpartition("-")[2])
        spans = recording.spans
        assert recording.skipped == 0
        assert not recording.complete
        assert "trace-cut" in dict(recording.messages)
        assert len(spans) == data[:cut].count(b"_kernel_time") or len(spans) == data[:cut].count(b"_kernel_time") - 1
        assert set(zip(spans.start_ns.tolist(), spans.duration_ns.tolist(), strict=True)) <= times
        assert (spans.run < len(spans.run_start_ns)).all()


def test_a_line_that_cannot_be_read_is_counted_and_said():
    broken = line("b_kernel_time", 2, 1).replace(b'"dur" :1', b'"dur" :"one"')
    huge = line("c_kernel_time", 10**19, 1)
    recording = read(trace(line("a_kernel_time", 1, 1), broken, huge, line("d_kernel_time", 3, 1), run_line(0, 9)))
    assert paths(recording.spans, 0) == ["a", "d"]
    assert recording.skipped == 2
    assert not recording.complete
    assert dict(recording.messages)["trace-lines-skipped"].startswith("2 of 5 lines of the trace could not be read")


def test_a_full_profiler_is_said(monkeypatch):
    monkeypatch.setattr(onnxruntime, "EVENT_CAP", 3)
    recording = read(trace(line("a_kernel_time", 1, 1), run_line(0, 9), line("a_kernel_time", 11, 1)))
    messages = dict(recording.messages)
    assert "profiler stops at 3" in messages["trace-full"]
    assert messages["trace-events-outside-runs"].startswith("1 event")
    assert recording.spans.run.tolist() == [0, -1]
    assert not recording.complete


def test_kernels_of_an_accelerator_are_no_layers():
    gpu = line("sgemm_kernel_time", 2, 50, cat="Kernel", args='{"stream" : "7","grid_x" : "1"}')
    api = line("model_run", 3, 1, cat="Api", args="{}")
    recording = read(trace(line("sgemm_kernel_time", 1, 1), gpu, gpu, api, run_line(0, 9)))
    assert paths(recording.spans, 0) == ["sgemm"]
    assert len(recording.spans.run_start_ns) == 1
    assert dict(recording.messages)["trace-other-events"].startswith("3 events")


@pytest.mark.parametrize("data", [b"[\n]\n", b"[]", b" [ ] "])
def test_a_session_that_never_ran_is_an_empty_trace(data):
    recording = read(data)
    assert len(recording.spans) == len(recording.spans.run_start_ns) == 0
    assert recording.load_ns is None


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"{}", b"null", b"[1,2]", b"[{}]", b'[{"cat":"Node"}]', b"[", b"hello", b"\x00\xff\x00", b"\x89PNG\r\n\x1a\n",
        b'{"traceEvents": []}', b'[\n{"cat" : 3}\n]', b"[" * 100_000, gzip.compress(b"hello", mtime=0),
        gzip.compress(b"[\n]", mtime=0)[:-9], b"\x1f\x8b\x08\xff",
    ],
)  # fmt: skip
def test_what_is_no_trace_is_refused_with_a_sentence(data):
    with pytest.raises(TraceError, match=r"^[^\n]*\.$"):
        read(data)


def test_a_path_that_cannot_be_read_is_refused_with_a_sentence(tmp_path):
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(TraceError, match=r"Cannot read the trace"):
            read(path)


@given(st.binary(max_size=200), st.sampled_from([b"", b"[", b"[\n", b'[\n{"cat" : "Node",']))
def test_any_bytes_give_spans_or_a_trace_error(data, head):
    with contextlib.suppress(TraceError):
        read(head + data)


@given(st.data())
def test_a_damaged_trace_gives_spans_or_a_trace_error(data):
    text = bytearray(golden("1.23.2"))
    for _ in range(data.draw(st.integers(1, 5))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        spans = read(bytes(text)).spans
    except TraceError:
        return
    assert (spans.duration_ns >= 0).all()
    assert (spans.parent < np.arange(len(spans))).all()


def test_shapes_that_are_no_text_do_not_stop_the_reader():
    damaged = golden("1.23.2").replace(b'"input_type_shape" : [{"float"', b'"input_type_shape" : [{"fl\x80at"')
    assert damaged != golden("1.23.2")
    assert len(read(damaged).spans)


# Importing


def tiny_graph():
    return make_graph(["Conv"], name="tiny")


def test_import_gives_one_block_without_plain_runs(tmp_path):
    path = tmp_path / "t.json"
    path.write_bytes(golden("1.32.0"))
    graph = make_graph(["MatMul"])
    named = Graph(**{**vars(graph), "layers": (type(graph.layers[0])("/head/fc", "MatMul", ("x",), ("y",)),)})
    imported = import_trace(path, named)
    (block,) = imported.blocks
    assert imported.runtime == "onnxruntime"
    assert imported.providers == ("CPUExecutionProvider",)
    assert imported.plan.runs == 3
    assert imported.complete
    assert imported.messages == ()
    assert dict(imported.environment) == {}
    assert imported.load_ns is not None
    assert len(block.plain_ns) == len(block.plain_start_ns) == 0
    assert block.instrumented_ns.tolist() == block.spans.run_duration_ns.tolist()
    assert same(block.spans, decode(golden("1.32.0")))


def test_import_says_when_the_trace_fits_no_layer_of_the_model():
    assert "trace-other-model" in dict(import_trace(DATA / "1.19.2.json.gz", tiny_graph()).messages)


@pytest.mark.parametrize("name", [p.name for p in sorted(DATA.glob("*.gz"))])
def test_sniff_knows_every_recorded_file(name):
    packed = (DATA / name).read_bytes()
    assert onnxruntime.OnnxRuntimeTrace().sniff(packed[:4096])
    assert onnxruntime.OnnxRuntimeTrace().sniff(gzip.decompress(packed)[:4096])


@pytest.mark.parametrize("head", [b"", b"hello", b"{}", b'[ { "count" : 100 }', b'[\n{"name": "x"}', b"\x1f\x8b", b"PK\x03\x04", b"TFL3"])
def test_import_refuses_what_no_importer_knows(tmp_path, head):
    path = tmp_path / "t.json"
    path.write_bytes(head)
    with pytest.raises(TraceError, match=r"Expected a profile written by one of: onnxruntime"):
        import_trace(path, tiny_graph())


def test_import_refuses_a_trace_without_runs(tmp_path):
    path = tmp_path / "t.json"
    path.write_bytes(trace(line("a_kernel_time", 1, 1)))
    with pytest.raises(TraceError, match="holds no whole run"):
        import_trace(path, tiny_graph())


def test_import_refuses_a_path_that_cannot_be_read(tmp_path):
    with pytest.raises(TraceError, match="Cannot read"):
        import_trace(tmp_path / "none.json", tiny_graph())
