"""What a Conv multiplies its weights with, at some places."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def padded_for(value: Array, kernel: Sequence[int], attributes: dict[str, Any]) -> tuple[Array, list[int], list[int], list[int]]:
    """The padded input of a Conv, the spatial shape of its output, strides and dilations."""
    rank = len(kernel)
    strides, dilations = (list(attributes.get(name, [1] * rank)) for name in ("strides", "dilations"))
    reach = [dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    pads = list(attributes.get("pads", [0] * (2 * rank)))
    auto = attributes.get("auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        totals = [
            max(0, (math.ceil(size / stride) - 1) * stride + far - size)
            for size, stride, far in zip(value.shape[2:], strides, reach, strict=True)
        ]
        less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
        pads = [*less, *more] if auto == b"SAME_UPPER" else [*more, *less]
    padded = np.pad(value, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    spatial = [(size - far) // stride + 1 for size, far, stride in zip(padded.shape[2:], reach, strides, strict=True)]
    return padded, spatial, strides, dilations


def patches(
    padded: Array,
    places: NDArray[np.int64],
    spatial: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Array:
    """(places, channels x kernel): what a Conv multiplies with its weights at each place of its output, places counted over all samples."""
    sample, *at = np.unravel_index(places, (len(padded), *spatial))
    parts = []
    for offset in itertools.product(*(range(size) for size in kernel)):
        index = [one * stride + o * dilation for one, stride, o, dilation in zip(at, strides, offset, dilations, strict=True)]
        where: tuple[Any, ...] = (sample, slice(None), *index)
        parts.append(padded[where])
    return np.stack(parts, axis=-1).reshape(len(places), -1)
