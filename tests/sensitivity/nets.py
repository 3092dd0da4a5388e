"""Small nets to try decisions on, samples for them, and a `Sensitivity` made by hand."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeprof.recipes.recipe import Quantization
from edgeprof.sensitivities import Sensitivity
from edgeprof.sensitivities.result import noise_of, table_of

CONVS = ("first", "second", "third")


def net(path, *, damaged=None, taken_back=False, tail=(), seed=0):
    """Three convolutions with Relu behind each, a mean over the image, and five classes.

    ``damaged``: a convolution, the weights of one of whose channels are a thousand times as large; with one scale for all weights the other
    channels are lost. The channel is shut by its bias, or else ``taken_back`` by the next layer, which then suffers too.
    ``tail``: op types behind the classes.
    """
    rng = np.random.default_rng(seed)
    weights = {
        "first": rng.normal(0, 0.5, (6, 1, 3, 3)),
        "second": rng.normal(0, 0.3, (6, 6, 3, 3)),
        "third": rng.normal(0, 0.3, (6, 6, 3, 3)),
    }
    biases = {name: rng.normal(0, 0.1, 6) for name in CONVS}
    if damaged is not None:
        weights[damaged][0] *= 1000
        if taken_back:
            biases[damaged][0] *= 1000
            weights[CONVS[CONVS.index(damaged) + 1]][:, 0] /= 1000
        else:
            biases[damaged][0] = -1e6
    nodes, stored, before = [], [], "x"
    for name in CONVS:
        nodes.append(helper.make_node("Conv", [before, f"{name}.w", f"{name}.b"], [f"{name}.y"], name, pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"{name}.y"], [f"{name}.r"], f"{name}_relu"))
        stored += [_stored(f"{name}.w", weights[name]), _stored(f"{name}.b", biases[name])]
        before = f"{name}.r"
    nodes.append(helper.make_node("GlobalAveragePool", [before], ["mean"], "pool"))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"], "flatten"))
    nodes.append(helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["y"], "fc"))
    stored += [_stored("fc.w", rng.normal(0, 1, (6, 5))), _stored("fc.b", rng.normal(0, 0.1, 5))]
    for number, op in enumerate(tail):
        nodes[-1].output[0] = f"t{number}"
        nodes.append(helper.make_node(op, [f"t{number}"], ["y"], f"tail_{op}"))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        stored,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def images(n=48, seed=1):
    return np.random.default_rng(seed).normal(0, 1, (n, 1, 8, 8)).astype(np.float32)


def labelled(path, n=48, seed=1):
    """Images, and the classes that the model itself gives them."""
    from edgeprof import running
    from edgeprof.datasets import load_data
    from edgeprof.models import load_model

    x = images(n, seed)
    return x, running.outputs(path, load_data(x, load_model(path)))["y"].argmax(axis=1)


def made(losses, *, metric="top1", whole_db=None, saved_ms=None, basis="measured in place", half=0.001, ops=None, names=None, **fields):
    """A Sensitivity to int8 of layers with these (loss, SQNR in dB), each alone; None is one that was not tried."""
    saved_ms = saved_ms if saved_ms is not None else [math.nan] * len(losses)
    names = names or [f"/layer{number}" for number in range(len(losses))]
    rows = [_row("(all)", "all", 0.02, whole_db, math.nan, basis, half)] if whole_db is not None else []
    for number, (name, pair) in enumerate(zip(names, losses, strict=True)):
        loss, db = pair if pair is not None else (math.nan, math.nan)
        row = _row(name, "only", noise_of(db) if metric == "sqnr_db" else loss, db, saved_ms[number], basis, half)
        rows.append(row | {"op_type": ops[number] if ops else "Conv", "status": "left" if pair is None else "done"})
    about = {"model_name": "toy", "model_sha256": "ab" * 32, "data": "given arrays", "samples": 100, "board": "local"}
    return Sensitivity(
        **about | {"metric": metric, "value": 0.9, "better": "higher", "quantization": Quantization(), "table": table_of(rows)} | fields
    )


def _row(layer, mode, loss, db, saved_ms, basis, half):
    return {
        "layer": layer, "op_type": "", "decision": "int8", "mode": mode, "status": "done", "loss": loss, "loss_low": loss - half,
        "loss_high": loss + half, "changed": 1.0, "sqnr_db": db, "sqnr_low_db": db - 1, "sqnr_high_db": db + 1, "cosine": 0.99,
        "saved_ms": saved_ms, "saved_low_ms": saved_ms - 0.1, "saved_high_ms": saved_ms + 0.1, "saved_bytes": 1000.0,
        "saved_basis": basis if saved_ms == saved_ms else "",
    }  # fmt: skip


def _stored(name, values):
    return numpy_helper.from_array(np.asarray(values, np.float32), name)
