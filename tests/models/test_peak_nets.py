"""Nets for peaks: valid models that do the work they were asked for, with names that say what each node is for."""

import onnx
import pytest

from edgeprof.models import load_model
from edgeprof.models.cost import graph_costs
from edgeprof.models.peak_nets import CHAIN, MB, PRECISIONS, Mark, Work, parse_name, peak_net


def costs(work, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(peak_net(work))
    graph = load_model(path)
    return {name: cost for name, cost in graph_costs(graph).items() if parse_name(name)}


@pytest.mark.parametrize("flops", [1e6, 7e6, 5e7, 3e8, 2e9, 9e9])
def test_each_layer_does_about_the_work_that_was_asked_for(flops, tmp_path):
    for name, cost in costs(Work({"float32": flops}), tmp_path).items():
        least = 2 * 64 * 9 * 32 * 32 if "3x3" in name else 2 * 64 * 128 * 128  # one block of rows of the narrowest
        assert flops * 0.6 <= 2 * cost.macs <= max(flops * 1.5, 2 * least), name


@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_valid_in_all_precisions(activation, tmp_path):
    model = peak_net(Work(dict.fromkeys(PRECISIONS, 4e6), (2, 4), activation))
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    assert len(model) < 1 << 20  # little is sent


def test_arrays_are_swept_in_the_sizes_that_were_asked_for(tmp_path):
    found = costs(Work({}, (2, 4)), tmp_path)
    relu, mean, product = (found[f"peak/memory/{what}, 4 MiB/1"] for what in ("Relu", "ReduceMean", "MatMul of a row"))
    assert relu.activation_bytes == 8 * MB
    assert 4 * MB < mean.activation_bytes < product.activation_bytes < 4.02 * MB
    assert len(found) == 6


def test_names_say_what_nodes_are_for(tmp_path):
    found = list(costs(Work({"float32": 1e7}), tmp_path))
    marks = [parse_name(name) for name in found]
    assert len(found) == len(set(found)) == 4 * CHAIN and {mark.group for mark in marks} == {"float32"}
    assert parse_name("peak/int8/MatMul 64x64x64/2") == Mark("int8", "MatMul 64x64x64")
    for other in ("prepare/3", "peak/int8", "/block1/peak/int8/Conv/1", "peak/int8/a/b/1"):
        assert parse_name(other) is None
