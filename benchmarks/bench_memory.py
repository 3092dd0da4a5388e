"""Row 6: is the peak memory of a layer true? Against an independent count of the tensors that are alive.

Random graphs of Conv and MatMul, whose operators neither fuse nor work in place, with tensors of distinct sizes and skip
connections; optimization is off. The count walks the ONNX file by itself: every tensor from the node that makes it to the last that reads
it. Then the sample models as they are run, optimised: what the tensor table (lifetimes, in-place storage) explains of the bytes that
the runtime's own events say.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from common import LIGHT, SAMPLES, machine
from onnx import TensorProto, helper, numpy_helper

import edgeprof as ep


def random_graph(seed: int, nodes: int = 24) -> onnx.ModelProto:
    """Convolutions of 1x1 with channels by chance, each reading the newest tensor or an older one; all ends are outputs."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(12, 40))
    channels = {"x": 8}
    made, weights = [], []
    for i in range(nodes):
        names = list(channels)
        source = names[-1] if rng.random() < 0.6 else names[int(rng.integers(len(names)))]
        out = int(rng.integers(9, 60)) + 64 * i  # no two tensors of one size: nothing can be put into another's place
        weight = rng.standard_normal((out, channels[source], 1, 1)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{i}"))
        made.append(helper.make_node("Conv", [source, f"w{i}"], [f"t{i}"], name=f"n{i}", kernel_shape=[1, 1]))
        channels[f"t{i}"] = out
    read = {name for node in made for name in node.input}
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in channels if n not in read and n != "x"]
    graph = helper.make_graph(made, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, size, size])], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def count(model: onnx.ModelProto, order: list[str]) -> dict[str, int]:
    """Bytes of tensors alive while each node runs, in the ``order`` they ran; the model's inputs left out."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    by_name = {node.name: node for node in graph.node}
    nodes = [by_name[name] for name in order]
    size = {v.name: 4 * int(np.prod([d.dim_value for d in v.type.tensor_type.shape.dim])) for v in (*graph.value_info, *graph.output)}
    last = {name: i for i, node in enumerate(nodes) for name in node.input}
    last |= {output.name: len(nodes) for output in graph.output}
    alive, found = {}, {}
    for i, node in enumerate(nodes):
        alive[node.output[0]] = size[node.output[0]]
        found[node.name] = sum(alive.values())
        alive = {name: nbytes for name, nbytes in alive.items() if last[name] > i}
    return found


def explained(profile: ep.Profile) -> tuple[float, float, float]:
    """(part of the peak that the tensor table explains, the least such part over layers, the most by which it says too much)."""
    live = profile.measured_layers["live_memory_bytes"].to_numpy()
    own = profile.tensors[profile.tensors["kind"] != "input"]
    sums = np.zeros(len(live))
    for _, members in own.groupby("storage"):
        first, last = members["producer"].min(), members["last_use"].max()
        sums[first : last + 1] += members["size_bytes"].max()
    known = ~np.isnan(live) & (live > 0)
    part = sums[known] / live[known]
    return float(part[np.argmax(live[known])]), float(part.min()), float(max(0.0, part.max() - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=20)
    args = parser.parse_args()
    print(machine())
    worst, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.graphs):
            model = random_graph(seed)
            path = Path(folder, "graph.onnx")
            path.write_bytes(model.SerializeToString())
            profile = ep.profile(path, runs=2, warmup=1, optimization="disabled", progress=False)
            layers = profile.measured_layers.set_index("name")
            truth = count(model, layers.index.tolist())
            live = layers["peak_memory_bytes"] - layers["workspace_bytes"]
            worst.append(max(abs(live[name] / nbytes - 1) for name, nbytes in truth.items()))
            peaks.append(abs(live.max() / max(truth.values()) - 1))
    nothing = f"{args.graphs} graphs of 24 layers, nothing fused"
    print(f"row 6: {nothing}: live bytes of a layer against the count, worst {max(worst):.3%} (reach 1 %)")
    print(f"row 6: {nothing}: the peak of the whole run against the count, worst {max(peaks):.3%} (reach 1 %)")
    for path in (*sorted(SAMPLES.glob("*.onnx")), LIGHT / "light_squeezenet.onnx", LIGHT / "light_shufflenet.onnx"):
        profile = ep.profile(path, runs=2, warmup=1, progress=False)
        peak, least, too_much = explained(profile)
        print(
            f"row 6: {path.stem:20s} {len(profile.measured_layers):4d} layers, optimised: tensors explain {peak:.1%} of the peak, "
            f"{least:.1%} of each layer at least (the rest the runtime holds for reuse), {too_much:.1%} too much at most"
        )


if __name__ == "__main__":
    main()
