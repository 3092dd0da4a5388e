"""Memory by layer: hand-made events with exact answers, and ONNX Runtime itself against a count made here."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeprof.agent.runtimes.onnxruntime import load as load_onnxruntime
from edgeprof.importers.onnxruntime import decode_memory
from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.models.onnx import load_onnx
from edgeprof.records.memory import BOTH, EVENTS, RISEN, SHAPES, STATISTICS, layer_memory
from edgeprof.records.rows import Row, Rows, make_rows
from edgeprof.records.trace import Block, EventKind, MemoryTrace, ProcessMemory, Spans
from edgeprof.testing import make_graph

NAN = math.nan
CPU, GPU = "CPUExecutionProvider", "CUDAExecutionProvider"
PROCESS = {"load": ProcessMemory(1, 2, 3, 4)}


def events(*said, providers=None, parents=None, starts=None, ends=None, runs=None) -> MemoryTrace:
    """A trace of events ``(layer, requested, delta, high, held)``, one after another; ``runs`` and the like have one value an event."""
    n = len(said)
    providers, parents, runs = providers or [CPU] * n, parents or [-1] * n, runs or [0] * n
    starts = np.array(starts or range(0, 10 * n, 10), np.int64) * 1000
    ends = np.array(ends or starts // 1000 + 8, np.int64) * 1000
    kinds = list(dict.fromkeys(EventKind(event[0], "Relu", provider) for event, provider in zip(said, providers, strict=True)))
    kind = [kinds.index(EventKind(event[0], "Relu", provider)) for event, provider in zip(said, providers, strict=True)]
    whole = max(runs, default=-1) + 1
    spans = Spans(
        tuple(kinds),
        np.array(kind, np.int32),
        np.array(runs, np.int32),
        starts,
        ends - starts,
        np.array(parents, np.int32),
        np.arange(whole, dtype=np.int64),
        np.ones(whole, np.int64),
    )
    return MemoryTrace(spans, *(np.array([event[i] for event in said], np.int64) for i in (1, 2, 3, 4)))


def rows_for(trace: MemoryTrace | None, graph: Graph) -> Rows:
    """A row a layer, in the file's order; events go to the layer of their name. All of them ran."""
    made = tuple(
        Row(
            layer.name,
            layer.name,
            layer.op_type,
            "nested" if layer.parent else "layer",
            layer.parent or "",
            (layer.name,),
            EventKind(layer.name, layer.op_type),
        )
        for layer in graph.layers
    )
    at = {row.name: index for index, row in enumerate(made)}
    return Rows(made, {kind: at[kind.name] for kind in (trace.spans.kinds if trace else ()) if kind.name in at}, (), ())


def chain(n: int = 3, size: int = 25) -> Graph:
    """Layers ``Relu_0``, ``Relu_1`` ... in a chain, each tensor of 100 bytes."""
    return make_graph(["Relu"] * n, shape=(size,))


def memory_of(trace: MemoryTrace | None, graph: Graph, executed: bool = True):
    return layer_memory(trace, rows_for(trace, graph), graph if executed else None, graph, PROCESS)


# ---- what events say ----

SIMPLE = events(
    ("Relu_0", 1100, 100, 1300, 4096),
    ("Relu_1", 1200, 100, 1300, 4096),
    ("Relu_2", 1200, 100, 1300, 8192),
)


def test_live_bytes_are_those_beyond_what_was_held_before_the_run():
    found = memory_of(SIMPLE, chain())
    assert found.live.tolist() == [100, 200, 200]
    assert found.context.base_bytes == 1000 and found.context.held_bytes == 8192
    assert found.context.sources["live_memory_bytes"] == EVENTS
    assert found.context.process == PROCESS


def test_without_statistics_the_peak_is_the_high_water_mark_where_it_rose():
    rising = events(("Relu_0", 1100, 100, 1100, 0), ("Relu_1", 1200, 100, 1450, 0), ("Relu_2", 1200, 100, 1450, 0))
    found = memory_of(rising, chain())
    assert found.peak.tolist() == [100, 450, 200]
    assert np.isnan(found.workspace).all() and found.context.sources["peak_memory_bytes"] == RISEN
    assert (found.context.peak_bytes, found.context.peak_layer) == (450, "Relu_1")


def test_workspace_comes_on_top_but_never_over_the_high_water_mark():
    trace = replace(SIMPLE, temporary_bytes={"Relu_0": (50,), "Relu_1": (80,), "Relu_2": (150,)})
    named = chain()
    named = replace(named, layers=tuple(replace(layer, given_name=layer.name) for layer in named.layers))
    found = memory_of(trace, named)
    assert found.workspace.tolist() == [50, 80, 150]
    assert found.peak.tolist() == [150, 280, 300], "the mark of 1300 is 300 above the base"
    assert found.context.sources == {"live_memory_bytes": EVENTS, "workspace_bytes": STATISTICS, "peak_memory_bytes": BOTH}
    assert (found.context.peak_bytes, found.context.peak_layer) == (300, "Relu_2")


def test_a_mark_below_what_is_live_takes_nothing_off():
    trace = replace(SIMPLE, in_use_peak_bytes=np.array([900, 900, 900]), temporary_bytes={"Relu": (7,)})
    assert memory_of(trace, chain()).peak.tolist() == [100, 200, 200]


def test_without_a_mark_workspace_comes_on_top_whole():
    trace = replace(SIMPLE, in_use_peak_bytes=None, held_bytes=None, temporary_bytes={"Relu": (7,)})
    found = memory_of(trace, chain())
    assert found.peak.tolist() == [107, 207, 207] and found.context.held_bytes is None
    assert memory_of(replace(SIMPLE, in_use_peak_bytes=None), chain()).peak.tolist() == [100, 200, 200]


def test_the_last_run_counts_and_the_first_tells_where_the_mark_rose():
    first = [("Relu_0", 1500, 500, 1500, 0), ("Relu_1", 1900, 400, 2400, 0), ("Relu_2", 1900, 0, 2400, 0)]
    last = [("Relu_0", 1200, 100, 2400, 0), ("Relu_1", 1300, 100, 2400, 0), ("Relu_2", 1300, 100, 2400, 0)]
    found = memory_of(events(*first, *last, runs=[0] * 3 + [1] * 3), chain())
    assert found.live.tolist() == [100, 200, 200] and found.context.base_bytes == 1100
    assert found.peak.tolist() == [100, 1300, 200]


def test_events_of_no_whole_run_do_not_count():
    cut = events(("Relu_0", 1100, 100, 0, 0), ("Relu_1", 1200, 100, 0, 0), ("Relu_2", 9900, 9900, 0, 0), runs=[0, 0, -1])
    found = memory_of(cut, chain())
    np.testing.assert_array_equal(found.live, [100, 200, NAN])
    np.testing.assert_array_equal(found.peak, [100, 200, NAN])


def test_a_layer_that_never_ran_is_not_known():
    found = memory_of(events(("Relu_0", 1100, 100, 1100, 0), ("Relu_2", 1200, 100, 1200, 0)), chain())
    np.testing.assert_array_equal(found.live, [100, NAN, 200])


def test_an_event_that_fits_no_layer_says_what_was_in_use_before():
    trace = events(("strange", 1000, 400, 1000, 0), ("Relu_0", 1100, 100, 1100, 0))
    found = memory_of(trace, chain(1))
    assert found.context.base_bytes == 600 and found.live.tolist() == [500]


def test_in_place_layers_share_their_storage():
    trace = events(("Relu_0", 1100, 100, 1100, 0), ("Relu_1", 1100, 0, 1100, 0), ("Relu_2", 1200, 100, 1200, 0))
    found = memory_of(trace, chain())
    assert found.tensors["storage"].tolist() == [0, 1, 1, 3]
    assert found.tensors.set_index("tensor")["at_peak"].to_dict() == {"x": False, "t0": False, "t1": True, "y": True}


def test_what_weights_were_rounded_up_to_is_nobodys_peak():
    """300 bytes above what was requested are there from the first layer on."""
    trace = events(("Relu_0", 1100, 100, 1400, 0), ("Relu_1", 1200, 100, 1550, 0), ("Relu_2", 1200, 100, 1550, 0))
    assert memory_of(trace, chain()).peak.tolist() == [100, 250, 200]


# ---- several providers ----


def test_each_provider_has_an_allocator_of_its_own():
    trace = events(
        ("Relu_0", 1100, 100, 1150, 4000), ("Relu_1", 5300, 300, 5350, 9000), ("Relu_2", 1200, 100, 1250, 4000),
        providers=[CPU, GPU, CPU],
    )  # fmt: skip
    found = memory_of(trace, chain())
    assert found.live.tolist() == [100, 400, 500]
    assert found.context.base_bytes == 1000 + 5000 and found.context.held_bytes == 13_000
    with_workspace = memory_of(replace(trace, temporary_bytes={"Relu": (1000,)}), chain())
    assert with_workspace.peak.tolist() == [600, 600, 600], "1250 - 1000 on one, 5350 - 5000 on the other"


def test_the_mark_of_a_provider_is_above_its_own_base():
    trace = events(
        ("Relu_0", 1100, 100, 1100, 0), ("Relu_1", 5300, 300, 5300, 0), ("Relu_0", 1100, 100, 1100, 0), ("Relu_1", 5300, 300, 5900, 0),
        providers=[CPU, GPU] * 2, runs=[0, 0, 1, 1],
    )  # fmt: skip
    assert memory_of(trace, chain(2)).peak.tolist() == [100, 900]


# ---- bodies ----


def with_body() -> Graph:
    tensors = {name: TensorInfo(name, "float32", (25,)) for name in "xty"}
    layers = (
        Layer("first", "Relu", ("x",), ("t",)),
        Layer("loop", "Loop", ("t",), ("y",)),
        Layer("loop/body/in", "Relu", ("t",), ("b",), parent="loop", branch="body"),
    )
    return Graph("g", layers, (tensors["x"],), (tensors["y"],), tensors)


def test_several_events_of_a_layer_in_a_loop():
    trace = events(
        ("first", 1100, 100, 1100, 0), ("loop", 1200, 100, 1600, 0),
        ("loop/body/in", 1400, 200, 1400, 0), ("loop/body/in", 1600, 200, 1600, 0),
        parents=[-1, -1, 1, 1], starts=[0, 10, 12, 16], ends=[8, 30, 15, 20],
    )  # fmt: skip
    found = memory_of(trace, with_body())
    assert found.live.tolist() == [100, 200, 600], "the most of its calls"
    assert found.peak.tolist() == [100, 600, 600], "a layer's peak holds what runs in its bodies"
    assert found.context.peak_layer == "loop/body/in"
    assert found.tensors.set_index("tensor")["at_peak"].to_dict() == {"x": False, "t": True, "y": True}


def test_a_loop_that_comes_first_does_not_hide_what_it_took():
    """Its first body ends before it does; what was in use before the run is what was in use before the loop."""
    trace = events(
        ("loop", 1200, 100, 1700, 0), ("loop/body/in", 1400, 200, 1700, 0), ("first", 1300, 100, 1700, 0),
        parents=[-1, 0, -1], starts=[0, 2, 20], ends=[10, 8, 28],
    )  # fmt: skip
    found = memory_of(trace, with_body())
    assert found.context.base_bytes == 1100
    assert found.live.tolist() == [200, 100, 300]


def test_marks_rise_in_a_body_before_they_rise_around_it():
    trace = events(
        ("first", 1100, 100, 1100, 0), ("loop", 1200, 100, 1700, 0), ("loop/body/in", 1400, 200, 1700, 0),
        parents=[-1, -1, 1], starts=[0, 10, 12], ends=[8, 20, 20],
    )  # fmt: skip
    found = memory_of(trace, with_body())
    assert found.peak.tolist() == [100, 700, 700] and found.context.peak_layer == "loop/body/in"


# ---- statistics by name ----


def statistics(names: list[str], told: dict[str, tuple[int, ...]]) -> list[float]:
    """The workspace of Relu layers whose own names are ``names``."""
    graph = chain(len(names))
    graph = replace(graph, layers=tuple(replace(layer, given_name=name) for layer, name in zip(graph.layers, names, strict=True)))
    return memory_of(MemoryTrace(SIMPLE.spans, temporary_bytes=told), graph).workspace.tolist()


def test_workspace_goes_by_name():
    assert statistics(["a", "b"], {"a": (1,), "b": (2,)}) == [1, 2]


def test_nodes_without_a_name_go_by_their_op_type():
    assert statistics(["", ""], {"Relu": (5, 5)}) == [5, 5]


def test_what_is_told_differently_of_one_name_is_not_known():
    np.testing.assert_array_equal(statistics(["a", "", ""], {"a": (1,), "Relu": (5, 6)}), [1, NAN, NAN])


def test_of_a_layer_that_never_ran_nothing_is_told():
    graph, trace = chain(2), MemoryTrace(SIMPLE.spans, temporary_bytes={"Relu": (5,)})
    graph = replace(graph, layers=tuple(replace(layer, given_name="") for layer in graph.layers))
    rows = rows_for(None, graph)
    rows = replace(rows, rows=(rows.rows[0], replace(rows.rows[1], types=None)))
    np.testing.assert_array_equal(layer_memory(trace, rows, graph, graph, PROCESS).workspace, [5, NAN])


def test_what_is_not_told_is_not_known():
    np.testing.assert_array_equal(statistics(["a", "b"], {"b": (0,)}), [NAN, 0])


# ---- nothing said ----


def test_from_shapes_alone_it_is_an_estimate():
    found = memory_of(None, chain())
    assert found.live.tolist() == [100, 200, 200] and found.peak.tolist() == [100, 200, 200]
    assert found.context.sources == {"live_memory_bytes": SHAPES, "peak_memory_bytes": SHAPES} and "estimate" in SHAPES
    assert found.context.base_bytes is None and found.context.held_bytes is None
    assert np.isnan(found.workspace).all()
    assert found.tensors["storage"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "trace",
    [
        MemoryTrace(SIMPLE.spans),
        events(("Relu_0", 1100, 100, 1100, 0), runs=[-1]),
        events(),
    ],
    ids=["an old runtime", "no whole run", "no events"],
)
def test_events_that_say_nothing_leave_the_shapes(trace):
    found = memory_of(trace, chain())
    assert found.live.tolist() == [100, 200, 200]
    assert found.context.sources["live_memory_bytes"] == SHAPES
    assert found.context.base_bytes is None


def test_statistics_help_where_events_say_nothing():
    found = memory_of(MemoryTrace(SIMPLE.spans, temporary_bytes={"Relu": (40,)}), chain())
    assert found.peak.tolist() == [140, 240, 240]
    assert found.context.sources["peak_memory_bytes"].startswith(SHAPES)


def test_bodies_are_not_known_from_shapes():
    found = memory_of(None, with_body())
    np.testing.assert_array_equal(found.live, [100, 200, NAN])


def test_nothing_at_all():
    empty = Graph("empty", (), (), (), {})
    found = memory_of(None, empty)
    assert not len(found.live) and found.tensors.empty
    assert found.context.peak_bytes is None and found.context.peak_layer == "" and found.context.sources == {}
    assert found.context.process == PROCESS


def test_without_the_executed_graph_the_models_is_taken_if_it_is_what_ran():
    assert memory_of(None, chain(), executed=False).live.tolist() == [100, 200, 200]


@pytest.mark.parametrize("what", ["fused", "inserted", "renamed"])
def test_a_model_that_ran_otherwise_than_it_stands_in_the_file_is_not_guessed_at(what):
    graph = chain()
    rows = rows_for(None, graph)
    if what == "fused":  # Relu_1 ran within Relu_0
        rows = replace(rows, rows=(rows.rows[0], rows.rows[2]))
    elif what == "inserted":
        rows = replace(rows, rows=(*rows.rows, Row("reorder", "reorder", "ReorderOutput", "layer")), unattributed=("reorder",))
    else:
        rows = replace(rows, rows=(replace(rows.rows[0], runtime_name="conv", op_type="FusedConv"), *rows.rows[1:]))
    found = layer_memory(None, rows, None, graph, PROCESS)
    assert np.isnan(found.live).all() and np.isnan(found.peak).all() and found.tensors.empty
    assert found.context.sources == {} and found.context.peak_bytes is None
    told = replace(rows, of_kind={SIMPLE.spans.kinds[0]: 0})
    assert layer_memory(SIMPLE, told, None, graph, PROCESS).live[0] == 100, "what the runtime says needs no graph"


def test_constants_that_became_weights_are_no_layers_that_are_missing():
    graph = chain(2)
    constant = Layer("c", "Constant", (), ("k",))
    rows = rows_for(None, graph)
    found = layer_memory(None, rows, None, replace(graph, layers=(constant, *graph.layers)), PROCESS)
    assert found.live.tolist() == [100, 200]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2000), st.integers(-500, 500), st.integers(0, 4000), st.sampled_from([CPU, GPU])),
        max_size=12,
    ),
    st.dictionaries(st.sampled_from(["Relu", "Relu_1"]), st.lists(st.integers(0, 900), max_size=2).map(tuple)),
    st.data(),
)
def test_whatever_events_say_a_peak_is_not_below_what_is_live(said, told, data):
    runs = sorted(data.draw(st.lists(st.integers(-1, 2), min_size=len(said), max_size=len(said))), key=lambda run: run % 4)
    made = [(f"Relu_{layer}", requested, delta, high, high) for layer, requested, delta, high, _ in said]
    trace = events(*made, providers=[entry[4] for entry in said], runs=runs)
    found = memory_of(replace(trace, temporary_bytes=told or None), chain(4))
    known = ~np.isnan(found.live)
    assert (found.peak[known] >= found.live[known]).all()
    if found.context.peak_bytes is not None:
        assert found.context.peak_bytes == np.nanmax(found.peak)
    assert set(found.context.sources) >= {"live_memory_bytes", "peak_memory_bytes"}


# ---- ONNX Runtime itself ----


def random_model(seed: int, kind: str) -> onnx.ModelProto:
    """Convolutions or matrix products, each reading the newest tensor or an older one; no two tensors of one size."""
    rng = np.random.default_rng(seed)
    width, nodes, weights = {"x": 8}, [], []
    for i in range(14):
        names = list(width)
        source = names[-1] if rng.random() < 0.6 else names[int(rng.integers(len(names)))]
        out = int(rng.integers(9, 40)) + 40 * i
        shape = (out, width[source], 1, 1) if kind == "Conv" else (width[source], out)
        weights.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), f"w{i}"))
        nodes.append(helper.make_node(kind, [source, f"w{i}"], [f"t{i}"], name=f"n{i}"))
        width[f"t{i}"] = out
    read = {name for node in nodes for name in node.input}
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in width if n not in read and n != "x"]
    start = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 9, 9] if kind == "Conv" else [37, 8])
    graph = helper.make_graph(nodes, "g", [start], ends, weights)
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def counted(model: onnx.ModelProto, order: list[str]) -> dict[str, int]:
    """Bytes of the tensors alive while each node runs: from the node that makes them to the last that reads them, outputs to the end."""
    graph = model.graph
    sizes = {v.name: 4 * int(np.prod([d.dim_value for d in v.type.tensor_type.shape.dim])) for v in (*graph.value_info, *graph.output)}
    nodes = {node.name: node for node in graph.node}
    found = {}
    for position, name in enumerate(order):
        made = {tensor for done in order[: position + 1] for tensor in nodes[done].output}
        needed = {tensor for later in order[position:] for tensor in (*nodes[later].input, *nodes[later].output)}
        kept = made & (needed | {output.name for output in graph.output})
        found[name] = sum(sizes[tensor] for tensor in kept)
    return found


@pytest.mark.parametrize(("kind", "seed"), [("Conv", 0), ("Conv", 1), ("MatMul", 0), ("MatMul", 1)])
def test_onnx_runtimes_own_bytes_are_those_of_the_tensors_that_are_alive(kind, seed, tmp_path):
    model = random_model(seed, kind)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    runtime, statistics = load_onnxruntime(), tmp_path / "node_memory.csv"
    options = {"optimization": "disabled", "threads": 1, "workdir": str(tmp_path)}
    inputs = {"x": np.ones([d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim], np.float32)}
    session = runtime.open_for_memory(str(path), inputs, options, str(statistics))
    session.run(3)
    trace = decode_memory(Path(session.end_trace()).read_bytes())
    session.close()
    if trace.requested_bytes is None or not statistics.exists():
        pytest.skip(f"onnxruntime {runtime.version} does not say it")
    told = [line.split(",") for line in statistics.read_text().splitlines()[1:]]
    trace = replace(trace, temporary_bytes={line[0].rpartition("_")[0]: (int(line[-1]),) for line in told})
    graph, empty = load_onnx(path), np.empty(0, np.int64)
    rows = make_rows([Block(0, 0, True, empty, empty, empty, empty, trace.spans)], graph, graph)
    found = layer_memory(trace, rows, graph, graph, {})
    truth = counted(model, [row.name for row in rows.rows])
    assert len(truth) == len(graph.layers) == 14
    for row, live, peak in zip(rows.rows, found.live, found.peak, strict=True):
        assert live == pytest.approx(truth[row.name], rel=0.01), row.name
        assert peak >= live
    assert found.context.sources["peak_memory_bytes"] == BOTH and not np.isnan(found.workspace).any()
    assert found.context.peak_bytes == pytest.approx(max(truth.values()), rel=0.01)
    own = found.tensors[found.tensors["kind"] != "input"]
    assert own.loc[own["at_peak"], "size_bytes"].sum() == pytest.approx(found.context.peak_bytes, rel=0.01)
    assert (own["storage"] == own.index).all(), "nothing here can work in place"
