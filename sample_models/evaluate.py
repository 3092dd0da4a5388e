"""Accuracy of a sample model, or of a changed copy of one, on the held-out digits beside this file.

    python sample_models/evaluate.py                      the four sample models
    python sample_models/evaluate.py MODEL.onnx ...       these

A quantized or pruned copy is measured on the same images, so long as its input keeps its shape.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

FOLDER = Path(__file__).parent
HELD_OUT_BY_SIDE = {28: FOLDER / "held_out_digits.npz", 96: FOLDER / "held_out_clutter.npz"}
Z_95 = 1.959964


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers with its 95 % Wilson interval.

    Attributes:
        n: Images answered.
        correct: Of these, right.
        value: `correct / n`.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    n: int
    correct: int
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}, {self.correct} of {self.n:,})"


def evaluate(path: Path | str, batch_size: int = 100) -> Accuracy:
    """The accuracy of a model on the held-out set that fits its input, on one thread of the processor.

    Raises:
        ValueError: No held-out set has images of the model's input shape.
    """
    session = open_model(path)
    images, labels = held_out(session)
    name = session.get_inputs()[0].name
    correct = 0
    for start in range(0, len(labels), batch_size):
        batch = slice(start, start + batch_size)
        (logits,) = session.run(None, {name: as_input(images[batch])})
        correct += int((logits.argmax(axis=1) == labels[batch]).sum())
    return wilson(correct, len(labels))


def open_model(path: Path | str) -> ort.InferenceSession:
    """An onnxruntime session on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def held_out(session: ort.InferenceSession) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (n, h, w) and labels (n,) that no sample model was trained on, of the size this one takes."""
    shape = session.get_inputs()[0].shape
    path = HELD_OUT_BY_SIDE.get(shape[-1])
    if path is None or shape[1:] != [1, shape[-1], shape[-1]]:
        sides = " or ".join(f"(batch, 1, {side}, {side})" for side in HELD_OUT_BY_SIDE)
        raise ValueError(f"the model takes {tuple(shape)}; the held-out sets are {sides}")
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["images"], arrays["labels"]


def as_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, h, w) uint8 to the (n, 1, h, w) float32 in [0, 1] that the models take."""
    return images[:, None].astype(np.float32) / np.float32(255)


def wilson(correct: int, n: int, z: float = Z_95) -> Accuracy:
    """The share with its Wilson score interval, which stays inside 0 to 1 where the plain one does not."""
    value = correct / n
    centre = (value + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z * math.sqrt(value * (1 - value) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return Accuracy(n, correct, value, centre - margin, centre + margin)


def main() -> None:
    """Print one line a model."""
    parser = argparse.ArgumentParser(description="Accuracy of sample models on held-out digits.")
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.onnx")
    paths = parser.parse_args().models or sorted(FOLDER.glob("*.onnx"))
    for path in paths:
        print(f"{path.name:28} {evaluate(path)}")


if __name__ == "__main__":
    main()
