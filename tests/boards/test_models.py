"""Every kind of model on every board: each executed layer has a row, numbers are plausible, all nodes have a known fate."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import parser

import edgeprof as ep
from edgeprof.boards.base import Board
from edgeprof.records.profile import Profile
from tests.boards.conftest import BOARDS, real_only

OPS = {
    "one node": {"Softmax"},
    "two branches": {"Conv", "Add"},  # their activations are fused into the convolutions
    "ints": {"Gather"},
    "dynamic shapes": {"Relu", "Softmax"},
    "dynamic outputs": {"NonZero"},
    "if": {"If", "Relu"},
    "loop": {"Loop", "Tanh"},
    "external data": {"MatMul"},
    "int8": {"QLinearMatMul"},
}
AS_WRITTEN = {"int8": {"MatMul", "QuantizeLinear", "DequantizeLinear"}}
"""A simulated board optimises nothing."""

TRAVELS = ("external data", "dynamic outputs", "if")
"""A board over SSH runs the runtime that the local one runs; what differs is how files, inputs and traces get there and back."""

NO_WORK = ("strings", "no nodes")


def measured(path, board: Board, **options) -> Profile:
    return ep.profile(path, board=board, **{"runs": 3, "warmup": 1, "progress": False} | options)


def check(profile: Profile, instrumented: int, board: Board) -> None:
    layers, runs = profile.measured_layers, profile.runs
    assert profile.origin == board.origin == ("simulated" if board.name == "simulated" else "measured")
    assert (runs["instrumented"].sum(), (~runs["instrumented"]).sum()) == (instrumented, instrumented)
    assert (runs["latency_ms"] > 0).all()
    assert layers["name"].is_unique
    assert {node.fate for node in profile.nodes} <= {"executed", "folded", "removed"}
    assert {layer for node in profile.nodes for layer in node.layers} <= set(layers["name"])
    outer = layers[layers["kind"] != "nested"]
    ran = outer[outer["latency_raw_ms"].notna()]
    assert set(ran["index"]) <= set(profile.spans["layer"])
    # layers cannot take longer than the instrumented runs that hold them
    assert ran["latency_raw_ms"].sum() <= runs.loc[runs["instrumented"], "latency_ms"].max() * 1.05
    between = profile.layers.loc[profile.layers["kind"] == "between", "latency_ms"].item()
    whole = outer["latency_ms"].sum() + between
    assert math.isclose(whole, profile.context.latency.median_ms, rel_tol=0.05, abs_tol=0.01) or "nested" in set(layers["kind"])


@pytest.mark.parametrize(("kind", "board"), [(k, b) for k in OPS for b in BOARDS if b != "ssh" or k in TRAVELS], indirect=["board"])
def test_layers_that_ran_have_rows(kind, board, make_model):
    profile = measured(make_model(kind), board)
    check(profile, 3, board)
    expected = OPS[kind] if board.origin == "measured" else AS_WRITTEN.get(kind, OPS[kind])
    assert expected <= set(profile.measured_layers["op_type"]), profile.measured_layers["op_type"].tolist()


@pytest.mark.parametrize("kind", NO_WORK)
def test_model_with_nothing_to_do(kind, board, make_model):
    profile = measured(make_model(kind), board)
    assert profile.context.latency.median_ms > 0
    assert {node.fate for node in profile.nodes} <= {"executed", "removed"}


def test_model_without_inputs(board, make_model):
    profile = measured(make_model("no inputs"), board)
    check(profile, 3, board)
    assert profile.context.input_shapes == {}


def test_float16(board, make_model):
    profile = measured(make_model("float16"), board)
    check(profile, 3, board)
    assert "MatMul" in set(profile.measured_layers["op_type"]) | {node.op_type for node in profile.nodes}


@pytest.mark.parametrize("board", ["local", "simulated"], indirect=True)
def test_nothing_is_lost_of_a_long_chain(board, make_model):
    profile = measured(make_model("long chain"), board)
    executed = [node for node in profile.nodes if node.fate == "executed"]
    assert len(profile.nodes) == 2000
    assert len(executed) + sum(node.fate == "removed" for node in profile.nodes) == 2000
    assert profile.measured_layers["latency_raw_ms"].notna().all()


def test_no_optimization_runs_each_node(board, make_model):
    profile = measured(make_model("two branches"), board, optimization="disabled")
    assert profile.measured_layers["op_type"].tolist() == ["Conv", "Relu", "Conv", "Sigmoid", "Add"] or set(
        profile.measured_layers["op_type"]
    ) == {"Conv", "Relu", "Sigmoid", "Add"}
    assert all(len(sources) == 1 for sources in profile.measured_layers["source_nodes"])


def test_given_shapes_are_run(board, make_model):
    profile = measured(make_model("dynamic shapes"), board, shapes={"x": [2, 32]})
    assert profile.context.input_shapes == {"x": (2, 32)}
    assert set(profile.measured_layers["output_shape"]) == {"2×32"}


@real_only("a simulated board does not look into bodies")
@pytest.mark.parametrize(("condition", "op_type"), [(True, "Relu"), (False, "Neg")])
def test_given_inputs_decide_what_runs(condition, op_type, board, make_model):
    inputs = {"x": np.ones((1, 8), np.float32), "c": np.array(condition)}
    layers = measured(make_model("if"), board, inputs=inputs, optimization="disabled").measured_layers
    ran = layers[(layers["kind"] == "nested") & layers["latency_raw_ms"].notna()]
    assert op_type in set(ran["op_type"])


def test_saved_and_loaded_it_is_the_same(board, make_model, tmp_path):
    profile = measured(make_model("two branches"), board)
    profile.save(str(tmp_path / "x.edgeprof"))
    loaded = ep.load(tmp_path / "x.edgeprof")
    assert loaded.context == profile.context
    assert loaded.layers.equals(profile.layers)


@real_only("a simulated board runs no bodies")
def test_nodes_without_names_in_a_body_are_not_those_outside(board, tmp_path):
    """Names, numbers, types and shapes of the first three agree with those in the branch: the runtime's events differ in place alone."""
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[64,64] x, bool c) => (float[64,64] y) {
        a = MatMul(x, x)
        b = MatMul(a, x)
        d = If(c) <
            then_branch = t () => (float[64,64] u) { p = MatMul(b, x)  q = MatMul(p, x)  u = MatMul(q, x) },
            else_branch = e () => (float[64,64] v) { v = Relu(b) }
        >
        f = MatMul(d, x)
        y = MatMul(f, x)
    }"""
    onnx.save(parser.parse_model(text), tmp_path / "nameless.onnx")
    inputs = {"x": np.full((64, 64), 0.01, np.float32), "c": np.array(True)}
    layers = measured(tmp_path / "nameless.onnx", board, inputs=inputs).measured_layers
    products = layers[layers["op_type"] == "MatMul"]
    assert products["kind"].value_counts().to_dict() == {"layer": 4, "nested": 3}
    assert (products["calls"] == 1).all()
    assert products[["latency_ms", "latency_raw_ms", "live_memory_bytes"]].notna().all(axis=None)
