from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from edgeprof.errors import TraceError
from edgeprof.models.cost import layer_cost
from edgeprof.models.graph import Layer, TensorInfo
from edgeprof.records import schema
from edgeprof.records.build import build_profile
from edgeprof.records.conditions import condition_findings, mark_outliers
from edgeprof.testing import make_graph
from tests.records.traces import block, kind, probe_runs, spans, trace

PROBES = (*probe_runs("erf", 2, 1.5, 3.0, 3.0), *probe_runs("sum", 5, 2.0, 4.5, 3.0))
GRAPH = make_graph(["Relu", "Sigmoid"])
KINDS = [kind("Relu_0", "Relu"), kind("Sigmoid_1", "Sigmoid")]


def some_trace(blocks=6, plain_us=70, **fields):
    return trace(
        [block(i, plain_us, spans(KINDS, [20, 40])) for i in range(blocks)], PROBES, load_ns=5_000_000, first_run_ns=2_000_000, **fields
    )


def test_one_row_a_layer_and_the_rest():
    profile = build_profile(some_trace(), GRAPH, GRAPH)
    layers = profile.layers
    assert layers["name"].tolist() == ["Relu_0", "Sigmoid_1", schema.BETWEEN_LAYERS]
    assert layers["source_nodes"].tolist() == [["Relu_0"], ["Sigmoid_1"], []]
    assert layers["latency_ms"].sum() == pytest.approx(0.070)
    assert layers["share"].sum() == pytest.approx(1)
    assert layers["activation_bytes"].tolist()[:2] == [64, 64]
    assert layers["precision"].tolist() == ["float32", "float32", ""]
    assert layers["output_shape"][0] == "1×8"


def test_not_measured_is_nan():
    layers = build_profile(some_trace(), GRAPH, GRAPH).layers
    for name in ("workspace_bytes", "power_mw", "energy_mj", "energy_low_mj", "energy_high_mj", "energy_closed_mj", "latency_isolated_ms"):
        assert layers[name].isna().all()


def test_context_keeps_what_the_trace_said():
    context = build_profile(some_trace(), GRAPH, GRAPH).context
    assert context.latency.median_ms == pytest.approx(0.070)
    assert context.latency.runs == 24
    assert (context.load_ms, context.first_run_ms) == (5.0, 2.0)
    assert context.instrument.method == "tiny-nodes"
    assert context.closure == pytest.approx(1 - build_profile(some_trace(), GRAPH, GRAPH).measured_layers["latency_ms"].sum() / 0.070)


def test_runs_stand_in_the_order_they_ran_and_spans_point_to_them():
    profile = build_profile(some_trace(), GRAPH, GRAPH)
    assert profile.runs["start_ms"].is_monotonic_increasing
    assert profile.runs["run"].tolist() == list(range(48))
    instrumented = set(profile.runs.loc[profile.runs["instrumented"], "run"])
    assert set(profile.spans["run"]) == instrumented
    assert len(profile.spans) == 2 * len(instrumented)
    assert profile.spans.groupby("layer")["latency_raw_ms"].median().tolist() == pytest.approx([0.020, 0.040])


def test_without_an_executed_graph_events_go_by_their_names():
    profile = build_profile(some_trace(), GRAPH, None)
    assert profile.layers["source_nodes"].tolist()[:2] == [["Relu_0"], ["Sigmoid_1"]]
    assert {node.fate for node in profile.nodes} == {"executed"}


def test_an_event_that_fits_nothing_has_a_row_and_a_finding():
    strange = [*KINDS, kind("mystery", "Blah")]
    made = trace([block(i, 100, spans(strange, [20, 40, 10])) for i in range(6)], PROBES)
    profile = build_profile(made, GRAPH, GRAPH)
    row = profile.layers.set_index("name").loc["mystery"]
    assert row["source_nodes"] == [] and row["latency_raw_ms"] == pytest.approx(0.010)
    assert "unattributed-events" in {f.id for f in profile.findings}


def test_a_trace_without_runs_is_refused_with_a_sentence():
    with pytest.raises(TraceError, match="no whole run"):
        build_profile(trace([]), GRAPH, GRAPH)


def runs_table(latency):
    n = len(latency)
    return pd.DataFrame({"instrumented": [False] * n, "latency_ms": latency, "outlier": mark_outliers(np.array(latency))})


def test_drift_is_found_and_steady_runs_are_not_called_drifting():
    drifting = trace([block(i, 100 + 5 * i, spans(KINDS, [20, 40])) for i in range(12)])
    steady = trace([block(i, 100 + (i % 3), spans(KINDS, [20, 40])) for i in range(12)])
    table = runs_table([0.1] * 12)
    assert "drift" in {f.id for f in condition_findings(drifting, table)}
    assert "drift" not in {f.id for f in condition_findings(steady, table)}


def test_outliers_are_marked_by_mad_and_reported_when_many():
    latency = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0, 1.01, 5.0]
    assert mark_outliers(np.array(latency)).tolist() == [False] * 8 + [True]
    found = condition_findings(some_trace(), runs_table(latency))
    assert "outliers" in {f.id for f in found}


@pytest.mark.parametrize(
    ("environment", "after", "expected"),
    [
        ({"governor": "powersave"}, {}, "governor"),
        ({"governor": "performance"}, {}, None),
        ({"virtual_machine": True}, {}, "virtual-machine"),
        ({"load_1min": 3.0, "cpus": 4}, {}, "busy"),
        ({"load_1min": 0.5, "cpus": 4}, {}, None),
        ({"throttle_count": {"cpu0": 1}}, {"throttle_count": {"cpu0": 2}}, "throttled"),
        ({"throttle_count": {"cpu0": 1}}, {"throttle_count": {"cpu0": 1}}, None),
    ],
)
def test_conditions_of_the_board(environment, after, expected):
    found = condition_findings(some_trace(environment=environment, environment_after=after), runs_table([0.1] * 9))
    assert [f.id for f in found] == ([expected] if expected else [])


def test_an_unfinished_trace_says_so():
    found = condition_findings(some_trace(complete=False), runs_table([0.1] * 9))
    assert [f.id for f in found] == ["incomplete"]


def test_a_fused_layer_is_called_by_the_node_it_is_about():
    graph = make_graph(["Conv", "Relu"])
    fused = replace(graph, layers=(Layer("y_nchwc", "Conv", ("x",), ("y",), "com.microsoft.nchwc", {"activation": "Relu"}),))
    made = trace([block(i, 70, spans([kind("y_nchwc", "Conv")], [20])) for i in range(4)], PROBES)
    profile = build_profile(made, graph, fused)
    row = profile.layers.iloc[0]
    assert (row["name"], row["runtime_name"], row["source_nodes"]) == ("Conv_0", "y_nchwc", ["Conv_0", "Relu_1"])
    assert [node.layers for node in profile.nodes] == [("Conv_0",), ("Conv_0",)]


def test_what_a_body_costs_is_counted_for_each_call_and_not_for_a_branch_that_never_ran():
    graph = make_graph(["Loop", "Conv", "Conv"])
    outer, first, second = graph.layers
    layers = (outer, replace(first, parent="Loop_0", branch="body"), replace(second, parent="Loop_0", branch="body"))
    graph = replace(graph, layers=layers, tensors={**graph.tensors, "w": TensorInfo("w", "float32", (4, 8))})
    layers = (layers[0], replace(layers[1], op_type="MatMul", inputs=("t0", "w")), layers[2])
    graph = replace(graph, layers=layers)
    kinds = [kind("Loop_0", "Loop"), kind("Conv_1", "MatMul"), kind("Conv_1", "MatMul")]
    made = trace([block(i, 100, spans(kinds, [80, 20, 20], parents=[-1, 0, 0])) for i in range(4)], PROBES)
    table = build_profile(made, graph, graph).layers.set_index("name")
    once = layer_cost(layers[1], graph)
    assert table.loc["Conv_1", "calls"] == 2
    assert table.loc["Conv_1", "activation_bytes"] == 2 * once.activation_bytes
    assert table.loc["Conv_2", "calls"] == 0
    assert np.isnan(table.loc["Conv_2", "activation_bytes"]) and np.isnan(table.loc["Conv_2", "latency_ms"])
