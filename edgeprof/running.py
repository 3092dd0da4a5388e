"""Runs a model over samples, for calibration and scores. Only this file and `recipes` import the runtime, and only in a process apart.

Latency is never measured here: that is the boards' work (`edgeprof.profile`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import apart, units
from edgeprof.datasets import Dataset
from edgeprof.errors import ModelError, ModelNotFound

Array = NDArray[Any]
Model = str | Path | bytes
"""A model file, or what would be in it."""

MOST_OUTPUT_BYTES = 4 << 30


def outputs(model: Model, data: Dataset, names: Sequence[str] | None = None) -> dict[str, Array]:
    """The model's outputs by name (all, or those that ``names`` lists), samples along the first axis.

    Called in a process apart (`edgeprof.apart`). Tensors that are no outputs of the model can be had with `with_outputs`.

    Raises:
        ModelError: the runtime refuses the model or fails on a sample.
    """
    session = open_session(model)
    wanted = list(names) if names is not None else [output.name for output in session.get_outputs() if output.type.startswith("tensor(")]
    if not wanted:
        raise ModelError(
            "The model gives no tensors (its outputs are sequences or maps), which cannot be compared. Export it without them."
        )
    parts: dict[str, list[Array]] = {name: [] for name in wanted}
    total = done = 0
    for feed, count in data.batches():
        for name, value in zip(wanted, run(session, wanted, feed), strict=True):
            kept = _of_samples(name, value, data.batch, count)
            if parts[name] and parts[name][0].shape[1:] != kept.shape[1:]:
                raise ModelError(
                    f"The output '{name}' has another shape for each sample ({_shapes(parts[name][0], kept)}) and cannot be compared."
                )
            parts[name].append(kept)
            total += kept.nbytes
        if total > MOST_OUTPUT_BYTES:
            raise ModelError(f"The outputs for {len(data)} samples need more than {units.size(MOST_OUTPUT_BYTES)}. Use fewer samples.")
        done += count
        apart.tell("run", done, len(data))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _of_samples(name: str, value: Array, batch: int, count: int) -> Array:
    """The part of an output that belongs to the first ``count`` samples of a batch, along the first axis.

    1. The first axis is the batch's: its first ``count``. 2. The model takes one sample at a time and the output has no axis for it: the
    sample's, whole. 3. The first axis is a multiple of the batch (positions of a text, one after the other): so many for each sample.
    """
    size = value.shape[0] if value.ndim else 0
    if batch > 1 and size == batch:
        return value[:count]
    if batch <= 1:
        return value if batch == 1 and size == 1 else value[None]
    if size and size % batch == 0:
        return value.reshape(batch, size // batch, *value.shape[1:])[:count]
    raise ModelError(f"The output '{name}' has the shape {list(value.shape)} for {batch} samples; which part is whose cannot be told.")


def _shapes(one: Array, other: Array) -> str:
    return f"{list(one.shape[1:])}, then {list(other.shape[1:])}"


def batches_of(model: Model, data: Dataset, names: Sequence[str]) -> Iterator[tuple[dict[str, Array], int]]:
    """The same batch by batch, for what is too big to keep: values by name and how many samples count."""
    session = open_session(model)
    for feed, count in data.batches():
        yield dict(zip(names, run(session, list(names), feed), strict=True)), count


def run(session: Any, names: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
    """One run; ModelError with the runtime's reason when it fails."""
    try:
        return [np.asarray(value) for value in session.run(list(names), dict(feed))]
    except Exception as error:  # the runtime's own classes
        raise ModelError(f"The runtime failed on a sample: {_reason(error)}.") from error


def open_session(model: Model) -> Any:
    """A session on one thread of the processor. ModelError with the runtime's reason when it does not take the model."""
    import onnxruntime

    if not isinstance(model, bytes) and not Path(model).is_file():
        raise ModelNotFound(f"There is no model at {model}. Check the path.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own classes
        raise ModelError(f"The runtime does not take the model: {_reason(error)}.") from error


def with_outputs(model: Any, names: Sequence[str]) -> Any:
    """A copy of the ModelProto that also gives the tensors ``names``, whatever their types."""
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    there = {output.name for output in changed.graph.output}
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in there)
    return changed


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 400 else f"{text[:397]}..."
