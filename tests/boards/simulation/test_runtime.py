"""The simulated runtime: what it says of a model is what it does, in the shape in which ONNX Runtime says it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgeprof as ep
from edgeprof.agent.runtimes import Refused
from edgeprof.boards.simulation import runtime
from edgeprof.boards.simulation.runtime import PROFILER_BASE, PROFILER_GAP_US, PROFILER_PER_TENSOR, SimulatedRuntime, truth_of
from edgeprof.boards.simulation.spec import BoardSpec
from edgeprof.boards.simulation.world import World
from edgeprof.importers.onnxruntime import decode, decode_memory
from edgeprof.models.inputs import make_inputs
from edgeprof.models.onnx import load_onnx
from edgeprof.records.memory import layer_memory
from edgeprof.records.rows import make_rows
from edgeprof.records.trace import Block
from tests.boards.conftest import MODELS, text

EVERY = [name for name in MODELS if name != "long chain"]
STEADY = BoardSpec(jitter=0.0)


def session_of(path: Path, folder: Path, spec: BoardSpec = STEADY, *, instrumented: bool = True, **more):
    graph = ep.load_model(path)
    world = World(spec)
    runtime = SimulatedRuntime(world, more.get("known"))
    options = {"workdir": str(folder), "providers": []}
    return world, runtime.open(str(path), make_inputs(graph), options, instrumented, str(more.get("save_to", ""))), graph


def spans_of(session, runs=3):
    session.run(runs)
    return decode(Path(session.end_trace()).read_bytes())


# ---- truth ----


@pytest.mark.parametrize("kind", EVERY)
def test_what_it_saves_as_optimised_takes_as_long_and_as_much(kind, make_model, tmp_path):
    path = make_model(kind)
    _, session, _ = session_of(path, tmp_path, save_to=tmp_path / "executed.onnx")
    again = truth_of(load_onnx(tmp_path / "executed.onnx", weights_here=False), STEADY)
    assert [layer.name for layer in again.layers] == [layer.name for layer in session.truth.layers]
    assert again.seconds.tolist() == session.truth.seconds.tolist()
    assert again.milliwatts.tolist() == session.truth.milliwatts.tolist()


def test_weights_do_not_travel(tmp_path):
    model = text("g (float[1,64] x) => (float[1,64] y) { y = MatMul(x, w) }", ("w", np.ones((64, 64), np.float32)))
    onnx.save(model, tmp_path / "model.onnx")
    session_of(tmp_path / "model.onnx", tmp_path, save_to=tmp_path / "executed.onnx")
    assert (tmp_path / "model.onnx").stat().st_size > 16_000 > 2_000 > (tmp_path / "executed.onnx").stat().st_size


def test_layers_take_what_is_known_of_them(make_model):
    graph = ep.load_model(make_model("two branches"))
    first = graph.layers[0].name
    own, known = truth_of(graph, STEADY), truth_of(graph, STEADY, {first: (2.5, 700.0)})
    assert (known.seconds[0], known.milliwatts[0]) == (0.0025, 700.0)
    assert known.seconds[1:].tolist() == own.seconds[1:].tolist()


def test_a_board_of_another_seed_is_another_board(make_model):
    graph = ep.load_model(make_model("two branches"))
    one, other = truth_of(graph, BoardSpec(seed=1)), truth_of(graph, BoardSpec(seed=2))
    assert (one.milliwatts != other.milliwatts).any()
    assert one.seconds.tolist() == truth_of(graph, BoardSpec(seed=1)).seconds.tolist()


@pytest.mark.parametrize("kind", EVERY)
def test_every_layer_takes_time_and_power_that_a_small_board_can(kind, make_model):
    truth = truth_of(ep.load_model(make_model(kind)), STEADY)
    assert (truth.seconds > 0).all() and (truth.milliwatts >= 0).all()
    assert (truth.milliwatts <= 1.25 * (STEADY.compute_mw / 0.35 + STEADY.memory_mw)).all()


# ---- runs ----


@pytest.mark.parametrize("kind", EVERY)
def test_a_run_takes_the_sum_of_its_layers_and_the_call(kind, make_model, tmp_path):
    _, session, _ = session_of(make_model(kind), tmp_path, instrumented=False)
    times = np.array(session.run(3)).reshape(-1, 2)
    expected = session.truth.seconds.sum() * 1e9 + STEADY.call_us * 1e3
    assert np.diff(times, axis=1).ravel() == pytest.approx([expected] * 3, abs=2)


def test_energy_of_a_run_is_that_of_its_layers_and_the_call(make_model, tmp_path):
    spec = BoardSpec(jitter=0.0, leak_mw=0.0, sampling_mw=0.0)
    world, session, _ = session_of(make_model("two branches"), tmp_path, spec, instrumented=False)
    before = world.now
    session.run(10)
    drawn = np.diff(world.energy(np.array([before, world.now])))[0] - spec.idle_mw * (world.now - before)
    call = spec.call_us / 1e6 * spec.compute_mw / 2
    assert drawn == pytest.approx(10 * ((session.truth.seconds * session.truth.milliwatts).sum() + call))


@pytest.mark.parametrize("kind", EVERY)
def test_its_trace_is_read_like_any_other(kind, make_model, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "PROFILER_JITTER_US", 0.0)
    _, session, graph = session_of(make_model(kind), tmp_path)
    spans = spans_of(session)
    top = [layer for layer in graph.layers if layer.parent is None]
    assert len(spans.run_start_ns) == 3 and len(spans) == 3 * len(top)
    assert [spans.kinds[kind].op_type for kind in spans.kind[: len(top)]] == [layer.op_type for layer in top]
    for layer, seconds, duration in zip(top, session.truth.seconds, spans.duration_ns, strict=False):
        tensors = sum(bool(name) for name in (*layer.inputs, *layer.outputs))
        own_us = seconds * 1e6 + (PROFILER_BASE + PROFILER_PER_TENSOR * tensors) * PROFILER_GAP_US
        assert own_us - 1 - 1e-6 <= duration / 1e3 <= own_us + 1e-6, "rounded down to whole microseconds"


def test_names_that_hurt(tmp_path):
    model = text("g (float[1,8] x) => (float[1,8] y) { t = Relu(x)\n y = Softmax(t) }")
    model.graph.node[0].name, model.graph.node[1].name = 'a "quoted"\\name\n</script>', "größer_kernel_time"
    onnx.save(model, tmp_path / "model.onnx")
    profile = ep.profile(tmp_path / "model.onnx", board="simulated", runs=3, warmup=1, progress=False)
    assert profile.measured_layers["name"].tolist() == [node.name for node in model.graph.node]
    assert profile.measured_layers["latency_ms"].notna().all()


def test_the_same_seed_writes_the_same_bytes_and_another_writes_others(make_model, tmp_path):
    path = make_model("two branches")

    def trace(seed):
        _, session, _ = session_of(path, tmp_path, BoardSpec(seed=seed, jitter=0.2))
        session.run(20)
        return Path(session.end_trace()).read_bytes()

    assert trace(1) == trace(1) != trace(2)


def test_shapes_that_only_a_real_run_can_tell_are_not_told(make_model, tmp_path):
    _, session, _ = session_of(make_model("dynamic outputs"), tmp_path)
    (kind,) = spans_of(session).kinds
    assert kind.input_types == (("float32", (8,)),) and kind.output_types == ()
    assert json.loads(json.dumps(kind.name)) == kind.name


# ---- memory ----


@pytest.mark.parametrize("kind", EVERY)
def test_memory_that_it_tells_is_that_of_the_tensors_that_are_alive(kind, make_model, tmp_path):
    """Counted twice: by the board from the graph, and from the table of tensors that is made of what it said."""
    path = make_model(kind)
    graph = ep.load_model(path)
    runtime, statistics = SimulatedRuntime(World(STEADY)), tmp_path / "statistics.csv"
    session = runtime.open_for_memory(str(path), make_inputs(graph), {"workdir": str(tmp_path)}, str(statistics))
    session.run(2)
    trace = decode_memory(Path(session.end_trace()).read_bytes())
    empty = np.empty(0, np.int64)
    rows = make_rows([Block(0, 0, True, empty, empty, empty, empty, trace.spans)], graph, graph)
    said = layer_memory(trace, rows, graph, graph, {})
    counted = layer_memory(None, rows, graph, graph, {})
    ran = [row.kind != "nested" for row in rows.rows]
    if any(ran):
        np.testing.assert_array_equal(said.live[ran], counted.live[ran])
        assert said.context.base_bytes == 0 or not len(trace.spans)
    assert len(statistics.read_text().splitlines()) == 1 + len(session.truth.layers)


def test_what_only_a_body_reads_is_kept_for_it(tmp_path):
    model = text(
        "g (float[1,8] x, bool c) => (float[1,8] y) { t = Tanh(x)\n u = Neg(x)\n z = If (c) <"
        " then_branch = th () => (float[1,8] a) { a = Relu(t) }, else_branch = el () => (float[1,8] b) { b = Neg(x) }>\n y = Add(z, u) }"
    )
    onnx.save(model, tmp_path / "model.onnx")
    _, session, _ = session_of(tmp_path / "model.onnx", tmp_path)
    session.run(1)
    requested = decode_memory(Path(session.end_trace()).read_bytes()).requested_bytes
    assert requested.tolist() == [32, 64, 96, 96], "t is held while the If runs"


# ---- layers by themselves ----


def test_a_layer_by_itself_takes_as_long_as_in_the_model(make_model, tmp_path):
    path = make_model("two branches")
    world, session, _ = session_of(path, tmp_path, save_to=tmp_path / "executed.onnx")
    isolation = SimulatedRuntime(world).isolate(str(tmp_path / "executed.onnx"), {}, {"workdir": str(tmp_path)})
    assert isolation.op_types == [layer.op_type for layer in session.truth.layers] and isolation.reasons == {}
    for node, seconds in enumerate(session.truth.seconds):
        times = isolation.open([node], 50).run(2)
        assert times[1] - times[0] == pytest.approx(50 * seconds * 1e9 + STEADY.call_us * 1e3, abs=2)
    both = isolation.open([0, 1], 2).run(1)
    assert both[1] - both[0] == pytest.approx(2 * session.truth.seconds[:2].sum() * 1e9 + STEADY.call_us * 1e3, abs=2)


def test_the_bias_of_isolation_is_in_powers_and_nowhere_else(make_model, tmp_path):
    path = make_model("two branches")
    session_of(path, tmp_path, save_to=tmp_path / "executed.onnx")

    def drawn(bias: float) -> list[float]:
        world = World(BoardSpec(jitter=0, leak_mw=0, sampling_mw=0, idle_mw=0, call_us=1, isolation_bias=bias))
        isolation = SimulatedRuntime(world).isolate(str(tmp_path / "executed.onnx"), {}, {"workdir": str(tmp_path)})
        found = []
        for node in range(len(isolation.op_types)):
            start = world.now
            isolation.open([node], 512).run(1)
            found.append(float(np.diff(world.energy(np.array([start, world.now])))[0] / (world.now - start)))
        return found

    truth = truth_of(ep.load_model(path), STEADY).milliwatts
    assert drawn(0.0) == pytest.approx(truth, rel=0.01)
    assert np.abs(np.array(drawn(0.3)) / truth - 1).max() > 0.05
    assert min(drawn(1.0)) >= 0


# ---- refusals ----


def test_what_is_no_model_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    runtime = SimulatedRuntime(World(STEADY))
    with pytest.raises(Refused) as caught:
        runtime.open(str(tmp_path / "model.onnx"), {}, {"workdir": str(tmp_path)})
    assert caught.value.kind == "load" and "model.onnx" in str(caught.value)


def test_providers_that_it_does_not_have_are_refused(make_model, tmp_path):
    runtime = SimulatedRuntime(World(STEADY))
    with pytest.raises(Refused, match="this board has no CUDAExecutionProvider; it has SimulatedExecutionProvider, CPUExecutionProvider"):
        runtime.open(str(make_model("one node")), {}, {"workdir": str(tmp_path), "providers": ["CUDAExecutionProvider"]})
