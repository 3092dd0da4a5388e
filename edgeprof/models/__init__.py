"""What a model is: reading model files, sizes of tensors, MACs, parameters and bytes, input data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from edgeprof.errors import ModelError
from edgeprof.models.graph import Graph, Layer, TensorInfo

__all__ = ["Graph", "Layer", "TensorInfo", "load_model"]


def load_model(path: str | PathLike[str] | Graph, shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
    """The Graph of a model file (ONNX), without its weights' values; a Graph is returned as it is.

    ``shapes`` gives inputs their sizes where the model leaves them open: ``{"image": [1, 3, 224, 224]}``. Sizes that nobody gave are
    assumed, and `Graph.notes` says so.
    """
    if isinstance(path, Graph):
        return path
    file = Path(path)
    if file.suffix.lower() == ".tflite":
        raise ModelError(f"{file.name} is a TFLite model, which edgeprof does not read yet. Give an ONNX model (.onnx).")
    from edgeprof.models.onnx import load_onnx

    return load_onnx(file, shapes)
