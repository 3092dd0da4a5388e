"""Weights that stand in files beside the model: where they are, and that they stay in the model's folder.

ONNX gives a location relative to the model's folder (https://onnx.ai/onnx/repo-docs/ExternalData.html). A model
from elsewhere may name any path, so a location that is absolute, climbs with ``..`` or leaves the folder
through a symbolic link is refused before anything is opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from edgeprof import units
from edgeprof.errors import ModelError, UnsafeModel
from edgeprof.models.graph import TensorInfo
from edgeprof.models.wire import DTYPES, SMALL_PAYLOAD_BYTES


@dataclass(frozen=True)
class _Place:
    """Where one tensor's bytes stand."""

    path: Path
    offset: int
    length: int | None


def take_in(tensors: Iterable[Any], model_path: Path) -> tuple[str, ...]:
    """Locations of the external files, sorted, each checked; small integer tensors among ``tensors`` get their values.

    ``tensors`` are TensorProtos. Those whose payload was left out by `wire.strip_weights` have no location and are
    not external.
    """
    found: dict[str, Path] = {}
    for tensor in tensors:
        if tensor.data_location != tensor.EXTERNAL or not tensor.external_data:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if location not in found:
            found[location] = _inside(location, model_path, tensor.name)
        place = _Place(found[location], _number(entries, "offset", tensor.name) or 0, _number(entries, "length", tensor.name))
        _check_length(place, tensor, location)
        if DTYPES.get(tensor.data_type, "").startswith(("int", "uint", "bool")):
            _read_small(tensor, place)
    return tuple(sorted(found))


def folders_of(model_path: Path) -> tuple[Path, ...]:
    """Folders that external data may stand in: the model's own, and that of the file it is a link to (model caches link both)."""
    return (model_path.parent.resolve(), model_path.resolve().parent)


def _inside(location: str, model_path: Path, tensor: str) -> Path:
    who = f"Tensor '{tensor}' of {model_path.name} keeps its data in '{location}'"
    if not location or "\0" in location:
        raise ModelError(f"Tensor '{tensor}' of {model_path.name} keeps its data in another file but does not say which. Export it again.")
    windows = PureWindowsPath(location)
    if PurePosixPath(location).is_absolute() or windows.drive or windows.root:
        raise UnsafeModel(f"{who}, an absolute path; expected a file in the model's folder. Do not trust this model.")
    if ".." in windows.parts:
        raise UnsafeModel(f"{who}, which leaves the model's folder; expected a file inside it. Do not trust this model.")
    path = model_path.parent / location
    try:
        resolved = path.resolve(strict=True)
    except FileNotFoundError as error:
        raise ModelError(f"{who}, which is not there. Copy that file beside the model (looked for {path}).") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise ModelError(f"{who}, which cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not any(resolved.is_relative_to(folder) for folder in folders_of(model_path)):
        raise UnsafeModel(f"{who}, a link that leads out of the model's folder to {resolved}. Put the file itself there.")
    if not resolved.is_file():
        raise ModelError(f"{who}, which is not a file.")
    return resolved


def _number(entries: dict[str, str], key: str, tensor: str) -> int | None:
    text = entries.get(key, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ModelError(f"Tensor '{tensor}' says its external data has the {key} '{text}', expected a whole number. Export it again.")
    return int(text)


def _check_length(place: _Place, tensor: Any, location: str) -> None:
    size = place.path.stat().st_size
    exact = TensorInfo(tensor.name, DTYPES.get(tensor.data_type, ""), tuple(tensor.dims)).nbytes
    needed = math.ceil(exact) if not math.isnan(exact) else None
    if place.length is not None and needed is not None and place.length != needed:
        kind = UnsafeModel if needed > size else ModelError
        raise kind(
            f"Tensor '{tensor.name}' needs {units.size(needed)} by its shape but says it has {units.size(place.length)} "
            f"in '{location}'. Export the model again."
        )
    length = place.length if place.length is not None else needed or 0
    if place.offset + length > size:
        raise ModelError(
            f"'{location}' is too short: tensor '{tensor.name}' needs bytes {place.offset:,} to {place.offset + length:,}, "
            f"the file has {size:,}. Copy or download it again."
        )


def _read_small(tensor: Any, place: _Place) -> None:
    """Take the values of a small integer tensor in: shapes and axes are needed to know the model."""
    nbytes = TensorInfo("", DTYPES[tensor.data_type], tuple(tensor.dims)).nbytes
    if nbytes > SMALL_PAYLOAD_BYTES:
        return
    with place.path.open("rb") as file:
        file.seek(place.offset)
        tensor.raw_data = file.read(math.ceil(nbytes))
    tensor.data_location = tensor.DEFAULT
    del tensor.external_data[:]
