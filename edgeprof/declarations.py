"""``NAME.toml``: how files become samples of a model, declared once, so that calibration, scores and colleagues use the same.

    labels = "labels"                       # array of the .npz; or of images: "folders" (one a class) or a .csv of name,label
    file = "held_out_clutter.npz"           # arrays, beside this file; or
    images = "pictures"                     # a folder of images, beside this file

    [inputs.image]                          # by the model's name of the input
    array = "images"                        # of the .npz (default: the input's name)
    scale = 0.00392156862745098             # value * scale, then (value - mean) / std by channel
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]
    layout = "NCHW"                         # NCHW, NHWC: where the channels go; NHW has none
    add_axis = 1                            # a new axis of size 1 at this place (arrays)
    color = "RGB"                           # RGB, BGR, L (images)
    resize = [256, 256]                     # height, width (images); then
    crop = [224, 224]                       # the middle part (images)
    dtype = "float32"

Nothing else is done to the values. A path outside of the file's own folder is refused.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.errors import DataError, MissingExtra, did_you_mean
from edgeprof.models.graph import Graph
from edgeprof.models.inputs import read_arrays

Array = NDArray[Any]

_MOST_BYTES = 1 << 20
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
MOST_PIXELS = 100_000_000
"""Of one image; a file may claim more than any memory holds."""
_KEYS = ("array", "scale", "mean", "std", "layout", "add_axis", "color", "resize", "crop", "dtype")
_DTYPES = ("float32", "float16", "float64", "uint8", "int8", "int32", "int64")


def read_declaration(path: Path, graph: Graph, most_bytes: int) -> tuple[dict[str, Array], Array | None]:
    """Inputs by name, samples along the first axis, and labels, as the file at ``path`` declares them. DataError says what is wrong."""
    said = _parsed(path)
    for key in said:
        if key not in ("file", "images", "labels", "inputs"):
            raise DataError(f"{path.name} has '{key}', which means nothing{did_you_mean(key, ('file', 'images', 'labels', 'inputs'))}.")
    inputs = said.get("inputs", {tensor.name: {} for tensor in graph.inputs})
    if not isinstance(inputs, dict) or not all(isinstance(value, dict) for value in inputs.values()) or not inputs:
        raise DataError(f"{path.name}: inputs must be tables such as [inputs.{graph.inputs[0].name if graph.inputs else 'image'}].")
    for name, rule in inputs.items():
        _check(rule, f"{path.name}, input '{name}'")
    if ("file" in said) == ("images" in said):
        raise DataError(f"{path.name} must name either a file of arrays (file = ...) or a folder of images (images = ...).")
    if "file" in said:
        return _of_arrays(path, said, inputs, most_bytes)
    return _of_images(path, said, inputs, most_bytes)


def _of_arrays(
    path: Path, said: Mapping[str, Any], inputs: Mapping[str, dict[str, Any]], most_bytes: int
) -> tuple[dict[str, Array], Array | None]:
    found = read_arrays(_beside(path, said["file"]), most_bytes=most_bytes)
    arrays = found if isinstance(found, dict) else {"": found}

    def array(name: str) -> Array:
        if isinstance(found, np.ndarray):
            return found
        if name not in arrays:
            raise DataError(f"{said['file']} has no array '{name}'{did_you_mean(name, arrays)}. It has: {', '.join(arrays)}.")
        return arrays[name]

    labels = array(str(said["labels"])) if "labels" in said else None
    return {name: _prepared(array(str(rule.get("array", name))), rule, channels_last=False) for name, rule in inputs.items()}, labels


def _of_images(
    path: Path, said: Mapping[str, Any], inputs: Mapping[str, dict[str, Any]], most_bytes: int
) -> tuple[dict[str, Array], Array | None]:
    if len(inputs) != 1:
        raise DataError(f"{path.name} has a folder of images and {len(inputs)} inputs; images become one input. Prepare arrays instead.")
    ((name, rule),) = inputs.items()
    folder = _beside(path, said["images"])
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} with images. Check 'images' in {path.name}.")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _IMAGE_SUFFIXES)
    if not files:
        raise DataError(f"{folder} holds no images ({', '.join(_IMAGE_SUFFIXES)}).")
    images, total = [], 0
    for file in files:
        images.append(_image(file, rule))
        total += images[-1].size * 4
        if total > most_bytes:
            raise DataError(f"The images in {folder.name} need more than {units.size(most_bytes)}. Give fewer, or a smaller size (resize).")
        if images[-1].shape != images[0].shape:
            raise DataError(f"{file.name} has another size than {files[0].name}. Declare resize = [height, width].")
    return {name: _prepared(np.stack(images), rule, channels_last=True)}, _labels(path, said, folder, files)


def _image(file: Path, rule: Mapping[str, Any]) -> Array:
    """(height, width, channels) uint8, or (height, width) for L; resized so that the smaller side fits, when a crop follows."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("Images need Pillow. Install it with `pip install 'edgeprof[notebook]'`.") from error
    try:
        with Image.open(file) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise DataError(f"{file.name} claims {opened.width} x {opened.height} pixels; at most {MOST_PIXELS:,} are read.")
            color = str(rule.get("color", "RGB"))
            picture = opened.convert("L" if color == "L" else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file.name} is no image that can be read. Remove it, or save it again.") from error
    if "resize" in rule:
        height, width = rule["resize"]
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    if "crop" in rule:
        height, width = rule["crop"]
        if height > picture.height or width > picture.width:
            raise DataError(
                f"{file.name} is {picture.height} x {picture.width}, smaller than crop = [{height}, {width}]. Declare a resize."
            )
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        picture = picture.crop((left, top, left + width, top + height))
    array = np.asarray(picture)
    return array[..., ::-1] if rule.get("color") == "BGR" else array


def _labels(path: Path, said: Mapping[str, Any], folder: Path, files: list[Path]) -> Array | None:
    if "labels" not in said:
        return None
    if said["labels"] == "folders":
        names = sorted({file.parent.name for file in files})
        return np.array([names.index(file.parent.name) for file in files], np.int64)
    table = _beside(path, said["labels"])
    try:
        with table.open(newline="", encoding="utf-8") as stream:
            rows = {row[0].strip(): row[1].strip() for row in csv.reader(stream) if len(row) >= 2}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The labels cannot be read from {table}: {error}.") from error
    missing = [file for file in files if file.name not in rows and file.relative_to(folder).as_posix() not in rows]
    if missing:
        raise DataError(f"{table.name} has no label for {missing[0].name} and {len(missing) - 1} others; expected lines of name,label.")
    texts = [rows.get(file.name, rows.get(file.relative_to(folder).as_posix(), "")) for file in files]
    try:
        return np.array([int(text) for text in texts], np.int64)
    except ValueError as error:
        raise DataError(f"{table.name}: {error}; labels are whole numbers, the position of the class in the model's output.") from error


def _prepared(array: Array, rule: Mapping[str, Any], *, channels_last: bool) -> Array:
    dtype = str(rule.get("dtype", "float32"))
    changed = array
    if "add_axis" in rule:
        changed = np.expand_dims(changed, rule["add_axis"])
    layout = str(rule.get("layout", ""))
    if channels_last and changed.ndim == 3 and layout != "NHW":
        changed = changed[..., None]
    if channels_last and layout != "NHWC" and changed.ndim == 4:
        changed = np.moveaxis(changed, -1, 1)
    if any(key in rule for key in ("scale", "mean", "std")):
        changed = changed.astype(np.float64 if dtype == "float64" else np.float32)
        changed = changed * np.asarray(rule.get("scale", 1.0), changed.dtype)
        axis = -1 if layout == "NHWC" else 1
        changed = (changed - _by_channel(rule.get("mean", 0.0), changed, axis)) / _by_channel(rule.get("std", 1.0), changed, axis)
    return np.ascontiguousarray(changed.astype(dtype))


def _by_channel(values: Any, array: Array, axis: int) -> Array:
    found = np.asarray(values, array.dtype)
    if found.ndim == 0:
        return found
    if array.ndim < 2 or len(found) != array.shape[axis]:
        raise DataError(f"mean and std have {len(found)} values, the data has {array.shape[axis] if array.ndim > 1 else 'no'} channels.")
    shape = [1] * array.ndim
    shape[axis] = len(found)
    return found.reshape(shape)


def _check(rule: Mapping[str, Any], where: str) -> None:
    for key in rule:
        if key not in _KEYS:
            raise DataError(f"{where} has '{key}', which means nothing{did_you_mean(key, _KEYS)}. Known are: {', '.join(_KEYS)}.")
    for key, known in (("layout", ("NCHW", "NHWC", "NHW")), ("color", ("RGB", "BGR", "L")), ("dtype", _DTYPES)):
        if key in rule and rule[key] not in known:
            raise DataError(f"{where}: {key} is {rule[key]!r}; expected one of {', '.join(known)}.")
    for key in ("resize", "crop"):
        value = rule.get(key, [1, 1])
        if not isinstance(value, list) or len(value) != 2 or not all(isinstance(n, int) and 0 < n <= 1 << 14 for n in value):
            raise DataError(f"{where}: {key} is {value!r}; expected [height, width].")
    for key in ("scale", "mean", "std"):
        value = rule.get(key, 1.0)
        numbers = value if isinstance(value, list) and key != "scale" else [value]
        if not numbers or not all(isinstance(n, int | float) and not isinstance(n, bool) and np.isfinite(n) for n in numbers):
            raise DataError(f"{where}: {key} is {value!r}; expected a number{'' if key == 'scale' else ', or one for each channel'}.")
        if key == "std" and not all(numbers):
            raise DataError(f"{where}: std is 0, which nothing can be divided by.")
    axis = rule.get("add_axis", 1)
    if not isinstance(axis, int) or not 1 <= axis <= 5:
        raise DataError(f"{where}: add_axis is {axis!r}; expected the place of the new axis, 1 or more (0 is the samples').")


def _beside(path: Path, name: Any) -> Path:
    """A file or folder below the declaration's own folder."""
    file = (path.parent / str(name)).resolve()
    if not isinstance(name, str) or not file.is_relative_to(path.parent.resolve()):
        raise DataError(f"{path.name} names {name!r}, which is not in its folder. Put the data beside it.")
    return file


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise DataError(f"{path.name} is larger than {_MOST_BYTES:,} bytes; a declaration of data is not.")
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path.name} is no TOML: {error}. Correct it.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
