"""Made the traces in this folder. By hand, once a version, in an environment with that onnxruntime and onnx.

python record.py            tiny.onnx (convs, an If, a Loop), three runs, the second takes the other branch
python record.py parallel   the same with the parallel executor
python record.py threads    two threads inside operators: thread_scheduling_stats is an object
python record.py overlap    three threads run one session at once (again, until two runs overlap)
python record.py names      odd.onnx, whose nodes have names that JSON would escape
python record.py memory     tiny.onnx as the memory phase runs it, and what the runtime wrote of each node's memory (.csv)
"""

import gzip
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort

HERE = Path(__file__).parent
ODD_NAMES = ['a"b', "c\\nd", "e\nf", "tab\tx", "é", 'q","args" : {},"x":"']


def tiny():
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    node, value = helper.make_node, helper.make_tensor_value_info
    then = [node("Relu", ["c2"], ["t0"], "/then/relu"), node("Softmax", ["t0"], ["t1"], "/then/softmax", axis=1)]
    body = [
        node("Identity", ["go_in"], ["go_out"], "/loop/cond"),
        node("Exp", ["acc"], ["a1"], "/loop/exp"),
        node("Sigmoid", ["a1"], ["a2"], "/loop/sigmoid"),
    ]
    then_branch = helper.make_graph(then, "then", [], [value("t1", TensorProto.FLOAT, None)])
    else_branch = helper.make_graph([node("Neg", ["c2"], ["e1"], "/else/neg")], "else", [], [value("e1", TensorProto.FLOAT, None)])
    loop = helper.make_graph(
        body,
        "body",
        [value("i", TensorProto.INT64, []), value("go_in", TensorProto.BOOL, []), value("acc", TensorProto.FLOAT, None)],
        [value("go_out", TensorProto.BOOL, []), value("a2", TensorProto.FLOAT, None)],
    )
    nodes = [
        node("Conv", ["x", "w1"], ["c1"], "/stem/conv", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]),
        node("Conv", ["c1", "w2"], ["c2"], "/block0/conv", kernel_shape=[3, 3], pads=[1] * 4),
        node("ReduceMean", ["c2"], ["m"], "/gate/mean", axes=[0, 1, 2, 3], keepdims=0),
        node("Greater", ["m", "zero"], ["g"], "/gate/greater"),
        node("If", ["g"], ["b"], "/gate/if", then_branch=then_branch, else_branch=else_branch),
        node("Loop", ["trips", "", "b"], ["l"], "/loop", body=loop),
        node("ReduceMean", ["l"], ["p"], "/head/pool", axes=[2, 3], keepdims=0),
        node("MatMul", ["p", "w3"], ["y"], "/head/fc"),
    ]
    weights = {
        "w1": rng.normal(size=(8, 3, 3, 3)).astype("f4"),
        "w2": rng.normal(size=(8, 8, 3, 3)).astype("f4"),
        "w3": rng.normal(size=(8, 4)).astype("f4"),
        "zero": np.float32(0),
        "trips": np.int64(3),
    }
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    x, y = value("x", TensorProto.FLOAT, [1, 3, 16, 16]), value("y", TensorProto.FLOAT, [1, 4])
    return _model(helper.make_graph(nodes, "tiny", [x], [y], initializers))


def odd():
    from onnx import TensorProto, helper

    nodes = [helper.make_node(("Exp", "Neg")[i % 2], [f"t{i}"], [f"t{i + 1}"], name) for i, name in enumerate(ODD_NAMES)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("t0", f"t{len(nodes)}")]
    return _model(helper.make_graph(nodes, "odd", ends[:1], ends[1:])).replace(b"tab\tx", b"tab\xff\x01")


def _model(graph):
    from onnx import helper

    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def main(kind=""):
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(tempfile.mkdtemp()) / "p")
    options.log_severity_level = 3
    options.intra_op_num_threads = 2 if kind == "threads" else 1
    if kind == "parallel":
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        options.inter_op_num_threads = 2
    if kind == "names":
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    statistics = Path(tempfile.mkdtemp(), "memory.csv")
    if kind == "memory":
        options.enable_cpu_mem_arena, options.enable_mem_pattern = True, False
        options.add_session_config_entry("session.collect_node_memory_stats_to_file", str(statistics))
    name = "odd.onnx" if kind == "names" else "tiny.onnx"
    session = ort.InferenceSession(name, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).normal(size=(1, 3, 16, 16)).astype("f4")
    inputs = [{"t0": np.ones((rows, 4), "f4")} for rows in (0, 2, 2)] if kind == "names" else [{"x": x * sign} for sign in (1, -1, 1)]
    run_all(session, inputs, threads=3 if kind == "overlap" else 1)
    trace = Path(session.end_profiling()).read_bytes()
    name = "-".join(filter(None, [kind, ort.__version__]))
    with gzip.GzipFile(HERE / f"{name}.json.gz", "wb", mtime=0) as file:
        file.write(trace)
    del session  # writes the statistics
    if statistics.exists():
        (HERE / f"{name}.csv").write_bytes(statistics.read_bytes())


def run_all(session, inputs, threads):
    start = threading.Barrier(threads)

    def work():
        start.wait()
        for feed in inputs:
            session.run(None, feed)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    Path("tiny.onnx").write_bytes(tiny()) if not Path("tiny.onnx").exists() else None
    Path("odd.onnx").write_bytes(odd()) if not Path("odd.onnx").exists() else None
    main(*sys.argv[1:])
