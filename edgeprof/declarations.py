"""``NAME.toml``: how files become samples of a model, declared once, so that calibration, scores and colleagues use the same.

    file = "held_out_clutter.npz"           # arrays, beside this file (below its folder); or
    images = "pictures"                     # a folder of images
    labels = "labels"                       # array of the .npz; or of images: "folders" (one a class) or a .csv of name,label

    [inputs.image]                          # by the model's name of the input
    array = "images"                        # arrays: which of the .npz (default: the input's name)
    add_axis = 1                            # arrays: a new axis of size 1 at this place
    resize = [256, 256]                     # images: height, width; then
    crop = [224, 224]                       # images: the middle part
    color = "RGB"                           # images: RGB, BGR, L
    layout = "NCHW"                         # where the channels go (images) or are (arrays): NCHW, NHWC; NHW has none
    scale = 0.00392156862745098             # value * scale, then (value - mean) / std, by channel where these are lists
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]
    dtype = "float32"

Nothing else is done to the values. Paths outside of the file's own folder, links out of it included, are refused.
"""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import toml_text, units
from edgeprof.errors import DataError, InputError, MissingExtra, did_you_mean
from edgeprof.models.graph import Graph
from edgeprof.models.inputs import read_arrays

Array = NDArray[Any]

_MOST_BYTES = 1 << 20
_MOST_LABEL_BYTES = 64 << 20
_MOST_IMAGES = 100_000
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
_LARGEST = 1e30
"""Of a scale or mean, and the reciprocal of a std: a float32 holds it."""
MOST_PIXELS = 100_000_000
"""Of one image; a file may claim more than any memory holds."""
_EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_OF_ARRAYS = ("array", "add_axis")
_OF_IMAGES = ("resize", "crop", "color")
_KEYS = (*_OF_ARRAYS, *_OF_IMAGES, "layout", "scale", "mean", "std", "dtype")
_DTYPES = ("float32", "float16", "float64", "uint8", "int8", "int32", "int64")


def read_declaration(path: Path, graph: Graph, most_bytes: int) -> tuple[dict[str, Array], Array | None]:
    """Inputs by name, samples along the first axis, and labels, as the file at ``path`` declares them. DataError says what is wrong."""
    said = _parsed(path)
    for key in said:
        if key not in ("file", "images", "labels", "inputs"):
            close = did_you_mean(key[:100], ("file", "images", "labels", "inputs"))
            raise DataError(f"{path.name} has {key[:100]!r}, which means nothing{close}.")
    if ("file" in said) == ("images" in said):
        raise DataError(f"{path.name} must name either a file of arrays (file = ...) or a folder of images (images = ...).")
    inputs = said.get("inputs", {tensor.name: {} for tensor in graph.inputs})
    if not isinstance(inputs, dict) or not all(isinstance(value, dict) for value in inputs.values()) or not inputs:
        raise DataError(f"{path.name}: inputs must be tables such as [inputs.{graph.inputs[0].name if graph.inputs else 'image'}].")
    for name, rule in inputs.items():
        _check(rule, f"{path.name}, input {name[:100]!r}", of_images="images" in said)
    if not isinstance(said.get("labels", ""), str):
        raise DataError(f'{path.name}: labels is {str(said["labels"])[:100]}; expected a text: an array\'s name, a .csv or "folders".')
    if "file" in said:
        return _of_arrays(path, said, inputs, most_bytes)
    return _of_images(path, said, inputs, most_bytes)


def _of_arrays(
    path: Path, said: Mapping[str, Any], inputs: Mapping[str, dict[str, Any]], most_bytes: int
) -> tuple[dict[str, Array], Array | None]:
    file = _beside(path, said["file"])
    try:
        found = read_arrays(file, most_bytes=most_bytes)
    except InputError as error:
        raise DataError(str(error)) from error
    if isinstance(found, np.ndarray):
        if "labels" in said or len(inputs) > 1 or any("array" in rule for rule in inputs.values()):
            raise DataError(f"{file.name} holds one array without a name. Save inputs and labels by name with numpy.savez.")
        return {name: _prepared(found, rule, name, layout_of_images=False) for name, rule in inputs.items()}, None

    def array(name: str) -> Array:
        if name not in found:
            close = did_you_mean(name[:100], found)
            raise DataError(f"{file.name} has no array {name[:100]!r}{close}. It has: {', '.join(list(found)[:30])}.")
        return found[name]

    labels = array(said["labels"]) if "labels" in said else None
    return {name: _prepared(array(rule.get("array", name)), rule, name, layout_of_images=False) for name, rule in inputs.items()}, labels


def _of_images(
    path: Path, said: Mapping[str, Any], inputs: Mapping[str, dict[str, Any]], most_bytes: int
) -> tuple[dict[str, Array], Array | None]:
    if len(inputs) != 1:
        raise DataError(f"{path.name} has a folder of images and {len(inputs)} inputs; images become one input. Prepare arrays instead.")
    ((name, rule),) = inputs.items()
    folder = _beside(path, said["images"])
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} with images. Check 'images' in {path.name}.")
    files = sorted(islice(_image_files(folder), _MOST_IMAGES + 1))
    if not files:
        raise DataError(f"{folder} holds no images ({', '.join(IMAGE_SUFFIXES)}).")
    if len(files) > _MOST_IMAGES:
        raise DataError(f"{folder} holds more than {_MOST_IMAGES:,} images. Give fewer; 100 to 1,000 are enough to calibrate.")
    for file in files:
        if not file.resolve().is_relative_to(path.parent.resolve()):
            raise DataError(f"{file.relative_to(folder)} is a link to a file that is not in the folder of {path.name}. Put a copy there.")
    labels = _labels(path, said, folder, files)  # before images are read: that may take minutes
    images, total = [], 0
    for file in files:
        images.append(_image(file, rule))
        total += images[-1].size * 4
        if total > most_bytes:
            raise DataError(f"The images in {folder.name} need more than {units.size(most_bytes)}. Give fewer, or a smaller size (resize).")
        if images[-1].shape != images[0].shape:
            raise DataError(f"{file.name} has another size than {files[0].name}. Declare resize = [height, width].")
    return {name: _prepared(np.stack(images), rule, name, layout_of_images=True)}, labels


def _image_files(folder: Path) -> Iterator[Path]:
    """All images below ``folder``; what is hidden (thumbnails, checkpoints) is left out."""
    for file in folder.rglob("*"):
        if file.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _image(file: Path, rule: Mapping[str, Any]) -> Array:
    """(height, width, channels) uint8, or (height, width) for L."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("Images need Pillow. Install it with `pip install 'edgeprof[notebook]'`.") from error
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file) as opened:  # MOST_PIXELS decides, not Pillow's warning
            if opened.width * opened.height > MOST_PIXELS:
                raise DataError(f"{file.name} claims {opened.width} x {opened.height} pixels; at most {MOST_PIXELS:,} are read.")
            if opened.mode not in _EIGHT_BITS:
                raise DataError(
                    f"{file.name} has pixels of the kind {opened.mode}, not of 8 bits, which would be cut off. Prepare arrays instead."
                )
            picture = opened.convert("L" if rule.get("color") == "L" else "RGB")
    except DataError:
        raise
    except Exception as error:  # of whichever part of Pillow reads this kind of file
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
    places = [file.relative_to(folder) for file in files]
    if said["labels"] == "folders":
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        for place in places:
            if len(place.parts) < 2:
                raise DataError(
                    f'{place} is in no folder of a class below {folder.name}, which labels = "folders" needs. Move it into one.'
                )
        return np.array([names.index(place.parts[0]) for place in places], np.int64)
    table = _beside(path, said["labels"])
    rows = _rows(table)
    same = Counter(place.name for place in places)
    # a name alone says which image only where no other has it
    texts = [rows.get(place.as_posix(), rows.get(place.name) if same[place.name] == 1 else None) for place in places]
    missing = [place for place, text in zip(places, texts, strict=True) if text is None]
    if missing:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise DataError(f"{table.name} has no label for {missing[0]}{others}; expected lines of name,label.")
    try:
        return np.array([int(str(text)) for text in texts], np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{table.name}: {error}; labels are whole numbers, the position of the class in the model's output.") from error


def _rows(table: Path) -> dict[str, str]:
    """Labels by file name."""
    try:
        with table.open("rb") as stream:
            data = stream.read(_MOST_LABEL_BYTES + 1)
        if len(data) > _MOST_LABEL_BYTES:
            raise DataError(f"{table.name} is larger than {units.size(_MOST_LABEL_BYTES)}; a table of labels is not.")
        lines = data.decode("utf-8-sig").splitlines()  # -sig: spreadsheets put a mark in front
        return {row[0].strip(): row[1].strip() for row in csv.reader(lines) if len(row) >= 2}
    except OSError as error:
        raise DataError(f"The labels cannot be read from {table}: {error.strerror or error}. Check 'labels'.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table.name} is no table of name,label in UTF-8: {error}. Save it again.") from error


def _prepared(array: Array, rule: Mapping[str, Any], name: str, *, layout_of_images: bool) -> Array:
    """The samples as the rule says; images are (n, height, width[, channels])."""
    dtype, layout = np.dtype(rule.get("dtype", "float32")), rule.get("layout", "")
    if array.dtype.kind not in "fiub":
        raise DataError(f"The data for '{name}' is no array of numbers ({array.dtype}).")
    changed = array
    if layout_of_images and changed.ndim == 3 and layout != "NHW":
        changed = changed[..., None]
    if layout_of_images and changed.ndim == 4 and layout != "NHWC":
        changed = np.moveaxis(changed, -1, 1)
    if "add_axis" in rule:
        if rule["add_axis"] > changed.ndim:
            raise DataError(f"The data for '{name}' has {changed.ndim} axes; add_axis = {rule['add_axis']} is behind the last.")
        changed = np.expand_dims(changed, rule["add_axis"])
    if any(key in rule for key in ("scale", "mean", "std")):
        changed = changed.astype(np.float64 if dtype == np.float64 else np.float32)
        axis = -1 if layout == "NHWC" else 1
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are refused when the samples are checked
            changed *= changed.dtype.type(rule.get("scale", 1.0))
            changed -= _by_channel(rule.get("mean", 0.0), changed, axis)
            changed /= _by_channel(rule.get("std", 1.0), changed, axis)
    return np.ascontiguousarray(_as_type(changed, dtype, name))


def _as_type(array: Array, dtype: np.dtype[Any], name: str) -> Array:
    if dtype.kind in "iu" and array.size:
        low, high, bounds = array.min(), array.max(), np.iinfo(dtype)
        if not bounds.min <= low <= high <= bounds.max:
            raise DataError(f"The data for '{name}' goes from {low:g} to {high:g}, which {dtype} cannot hold. Check scale, mean and dtype.")
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _by_channel(values: Any, array: Array, axis: int) -> Array:
    found = np.asarray(values, array.dtype)
    if found.ndim == 0:
        return found
    if array.ndim < 2 or len(found) != array.shape[axis]:
        channels = array.shape[axis] if array.ndim > 1 else "no"
        raise DataError(f"mean or std has {len(found)} values, the data {channels} channels. Give one number, or one for each channel.")
    shape = [1] * array.ndim
    shape[axis] = len(found)
    return found.reshape(shape)


def _check(rule: Mapping[str, Any], where: str, *, of_images: bool) -> None:
    for key in rule:
        if key not in _KEYS:
            raise DataError(
                f"{where} has {key[:100]!r}, which means nothing{did_you_mean(key[:100], _KEYS)}. Known are: {', '.join(_KEYS)}."
            )
        if key in (_OF_ARRAYS if of_images else _OF_IMAGES):
            raise DataError(f"{where} has {key}, which is for {'arrays' if of_images else 'images'}. Leave it out.")
    if "array" in rule and not isinstance(rule["array"], str):
        raise DataError(f"{where}: array is {_shown(rule['array'])}; expected a name.")
    for key, known in (("layout", ("NCHW", "NHWC", "NHW")), ("color", ("RGB", "BGR", "L")), ("dtype", _DTYPES)):
        if key in rule and rule[key] not in known:
            raise DataError(f"{where}: {key} is {_shown(rule[key])}; expected one of {', '.join(known)}.")
    for key in ("resize", "crop"):
        value = rule.get(key, [1, 1])
        if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int and 0 < n <= 1 << 14 for n in value):
            raise DataError(f"{where}: {key} is {_shown(value)}; expected [height, width].")
    for key in ("scale", "mean", "std"):
        value = rule.get(key, 1.0)
        numbers = value if isinstance(value, list) and key != "scale" else [value]
        if not numbers or not all(type(n) in (int, float) and abs(n) <= _LARGEST for n in numbers):
            raise DataError(f"{where}: {key} is {_shown(value)}; expected a number{'' if key == 'scale' else ', or one for each channel'}.")
        if key == "std" and not all(abs(n) >= 1 / _LARGEST for n in numbers):
            raise DataError(f"{where}: std is 0, which nothing can be divided by.")
    axis = rule.get("add_axis", 1)
    if type(axis) is not int or not 1 <= axis <= 5:
        raise DataError(f"{where}: add_axis is {_shown(axis)}; expected the place of the new axis, 1 or more (0 is the samples').")
    if rule.get("layout") == "NHW":
        if of_images and rule.get("color") != "L":
            raise DataError(f'{where}: layout NHW has no place for colors. Declare color = "L", or another layout.')
        if isinstance(rule.get("mean"), list) or isinstance(rule.get("std"), list):
            raise DataError(f"{where}: layout NHW has no channels; give mean and std as one number each.")


def _shown(value: object) -> str:
    try:
        return repr(value)[:100]
    except ValueError:  # a number of thousands of digits
        return "a number that is far too large"


def _beside(path: Path, name: Any) -> Path:
    """A file or folder below the declaration's own folder."""
    outside = DataError(f"{path.name} names {_shown(name)}, which is not in its folder. Put the data beside it.")
    if not isinstance(name, str) or "\0" in name:
        raise outside
    try:
        file = (path.parent / name).resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise outside from error
    if not file.is_relative_to(path.parent.resolve()):
        raise outside
    return file


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise DataError(f"{path.name} is larger than {_MOST_BYTES:,} bytes; a declaration of data is not.")
        return toml_text.parse(data.decode("utf-8-sig"))[0]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # UnicodeDecodeError too
        raise DataError(f"{path.name} is no TOML: {error}. Correct it.") from error
