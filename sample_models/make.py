"""Train the sample models and write their `.onnx` files.

    python sample_models/make.py                          all four
    python sample_models/make.py vit_clutter              one

Needs torch, onnx and mlxtend beside what edgeprof needs; README.md has the versions. Everything
is seeded and runs on one thread, so the same versions on the same processor give the same files.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import data
import networks
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

FOLDER = Path(__file__).parent
OPSET = 17
ROLES = {
    "Conv": ("input", "weight", "bias"),
    "Gemm": ("input", "weight", "bias"),
    "MatMul": ("input", "weight"),
    "Clip": ("input", "min", "max"),
    "Reshape": ("input", "shape"),
    "Mul": ("input", "factor"),
}
"""What each input of an operator is, by place."""

log = logging.getLogger("make")


@dataclass(frozen=True)
class Plan:
    """How one sample model is trained.

    Attributes:
        network: Makes the untrained network.
        side: Pixels of an image each way.
        images: (train digits, epoch) to the images of that epoch; epochs count from 1.
        epochs: Passes over the 4,000 training digits.
        learning_rate: The peak of a one-cycle schedule.
        batch_size: Images a step.
        weight_decay: AdamW's.
    """

    network: Callable[[], nn.Module]
    side: int
    images: Callable[[data.Digits, int], data.Digits]
    epochs: int
    learning_rate: float
    batch_size: int = 32
    weight_decay: float = 0.01


PLANS = {
    "resnet8_mnist": Plan(networks.resnet8, 28, data.shifted, epochs=12, learning_rate=5e-3),
    "dscnn_mnist": Plan(networks.dscnn, 28, data.shifted, epochs=16, learning_rate=5e-3),
    "mobilenetv2_clutter": Plan(networks.mobilenetv2, 96, data.cluttered, epochs=10, learning_rate=4e-3),
    "vit_clutter": Plan(networks.vit, 96, data.cluttered, epochs=20, learning_rate=1e-3, weight_decay=0.05),
}


def main() -> None:
    """Train and write the models named on the command line, or all."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description="Train sample models and write their .onnx files.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of: {', '.join(PLANS)}")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the .onnx files go")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PLANS):
        parser.error(f"no sample model named {', '.join(sorted(unknown))}; there are {', '.join(PLANS)}")
    for name in arguments.names or PLANS:
        make(name, arguments.folder / f"{name}.onnx")


def make(name: str, path: Path) -> None:
    """Train the model of that name and write it to `path`."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    started = time.monotonic()
    plan, digits = PLANS[name], data.split().train
    network = plan.network().to(memory_format=torch.channels_last)  # half the time, where it is depthwise
    train(network, plan, digits)
    export(network, plan.side, path)
    tidy(path)
    parameters = sum(p.numel() for p in network.parameters())
    log.info("%s: %d parameters, %.0f s", path.name, parameters, time.monotonic() - started)


def train(network: nn.Module, plan: Plan, digits: data.Digits) -> None:
    """Fit the network, in place, on fresh images every epoch. The held-out set is not looked at."""
    steps = -(-len(digits.labels) // plan.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        plan.learning_rate,
        epochs=plan.epochs,
        steps_per_epoch=steps,
        pct_start=0.2,
    )
    network.train()
    for epoch in range(1, plan.epochs + 1):
        losses = []
        for images, labels in _batches(plan.images(digits, epoch), plan.batch_size, seed=epoch):
            loss = nn.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        log.info("epoch %d of %d, mean loss %.4f", epoch, plan.epochs, np.mean(losses))


def export(network: nn.Module, side: int, path: Path) -> None:
    """Write the network as ONNX: `image` (batch, 1, side, side) float32 in, `logits` (batch, 10) out."""
    network.eval()
    torch.onnx.export(
        network,
        (torch.zeros(1, 1, side, side),),
        path,
        dynamo=False,
        opset_version=OPSET,
        do_constant_folding=True,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )


def tidy(path: Path) -> None:
    """Make the exported file read well: no Constant nodes, weights named after their layer."""
    model = onnx.load(path)
    _constants_to_initializers(model.graph)
    _drop_shared_identities(model.graph)
    _name_after_layers(model.graph)
    model.doc_string = f"{path.stem}: a sample model of edgeprof, Apache-2.0; see {path.stem}.md"
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _batches(digits: data.Digits, size: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    order = np.random.default_rng((data.SPLIT_SEED, seed)).permutation(len(digits.labels))
    chunks = [order[start : start + size] for start in range(0, len(order), size)]
    return [(_as_input(digits.images[rows]), torch.from_numpy(digits.labels[rows]).long()) for rows in chunks]


def _as_input(images: np.ndarray) -> Tensor:
    """(n, h, w) uint8 to (n, 1, h, w) float32 in [0, 1]."""
    pixels = torch.from_numpy(images[:, None].astype(np.float32) / 255)
    return pixels.contiguous(memory_format=torch.channels_last)


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    constants = [node for node in graph.node if node.op_type == "Constant"]
    for node in constants:
        value = numpy_helper.to_array(node.attribute[0].t)
        graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        graph.node.remove(node)


def _drop_shared_identities(graph: onnx.GraphProto) -> None:
    """Read equal initializers in place: the exporter keeps one and passes it on through Identity."""
    initializers = {tensor.name for tensor in graph.initializer}
    shared = [node for node in graph.node if node.op_type == "Identity" and node.input[0] in initializers]
    source = {node.output[0]: node.input[0] for node in shared}
    for node in shared:
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [source.get(name, name) for name in node.input]


def _name_after_layers(graph: onnx.GraphProto) -> None:
    """Give each initializer the name of the first layer that reads it, and of what it is there."""
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    renamed: dict[str, str] = {}
    for node in graph.node:
        for slot, name in enumerate(node.input):
            if name in initializers:
                node.input[slot] = renamed.setdefault(name, _initializer_name(node, slot, name))
    for name, tensor in initializers.items():
        tensor.name = renamed[name]


def _initializer_name(node: onnx.NodeProto, slot: int, name: str) -> str:
    """`stem.conv.weight` for input 1 of `/stem/conv/Conv`; a name the exporter took from torch stays."""
    layer = node.name.strip("/").replace("/", ".")
    scope = layer.rpartition(".")[0]
    if name.startswith(f"{scope}."):
        return name
    roles = ROLES.get(node.op_type, ())
    return f"{scope}.{roles[slot]}" if slot < len(roles) else f"{layer}.input{slot}"


if __name__ == "__main__":
    main()
