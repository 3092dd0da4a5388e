"""Data for calibration and scores: a `Dataset`, read from files, images or anything that can be iterated over.

What may be given as data, everywhere:

1. a ``.npz`` with an array for each input by its name, samples along the first axis, and perhaps ``labels``; or a ``.npy`` for a model
   with one input;
2. a folder of ``.npy`` and ``.npz`` files, each a sample or a batch, in the order of their names;
3. a ``.toml`` that declares how files become inputs (`read_declaration`): arrays that must be scaled, or a folder of images;
4. a mapping from input name to array, an array for a model with one input, or ``(inputs, labels)`` of these;
5. an iterable of samples or batches, each as in 4; a list of two arrays is a pair too, as loaders of other libraries give them.

An array may be anything that NumPy makes one of. A sample without a batch axis gets one. No object of Python is ever unpickled; sizes are
checked before anything is loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.errors import DataError, InputError, UsageError, did_you_mean
from edgeprof.models.graph import Graph, TensorInfo
from edgeprof.models.inputs import read_arrays
from edgeprof.models.shapes import describe_inputs, show_shape

Array = NDArray[Any]

MOST_BYTES = 4 << 30
MOST_FILES = 100_000
LABELS = "labels"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples for a model: ``inputs`` by name, each of shape (n, ...) without the model's own batch axis; ``labels`` (n, ...) or None.

    ``batch`` says how many samples the model takes at once, as it is profiled: the size of its first axis (1 where that is open), or
    0 where it has no batch axis at all, and a sample is all of an input. ``source`` says where they come from, in words.
    """

    inputs: Mapping[str, Array]
    labels: Array | None = None
    batch: int = 1
    source: str = "given"

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __repr__(self) -> str:
        return f"<Dataset {self.source}: {len(self)} samples of {', '.join(self.inputs)}{'' if self.labels is None else ', with labels'}>"

    @cached_property
    def digest(self) -> str:
        """sha256 of names, types, shapes and values, labels included, in hex."""
        found = hashlib.sha256()
        for name, array in sorted({**self.inputs, **({} if self.labels is None else {f"{LABELS} ": self.labels})}.items()):
            found.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def take(self, n: int, seed: int | None = None) -> Dataset:
        """``n`` of the samples (all, when there are fewer): the first ones, or drawn at random with ``seed``, in their order."""
        if n < 1:
            raise UsageError(f"{n} samples were asked for; give 1 or more.")
        n = min(n, len(self))
        at = np.arange(n) if seed is None else np.sort(np.random.default_rng(seed).permutation(len(self))[:n])
        return self._at(at, f"{n} of {self.source}" if n < len(self) else self.source)

    def split(self, n: int, seed: int = 0) -> tuple[Dataset, Dataset]:
        """``n`` samples drawn at random, and all others: for calibration on the one and scores on the other."""
        if not 1 <= n < len(self):
            raise UsageError(f"{len(self)} samples cannot be split into {n} and others; give 1 to {len(self) - 1}.")
        order = np.random.default_rng(seed).permutation(len(self))
        first, rest = np.sort(order[:n]), np.sort(order[n:])
        return self._at(first, f"{len(first)} of {self.source}"), self._at(rest, f"the other {len(rest)} of {self.source}")

    def batches(self) -> Iterator[tuple[dict[str, Array], int]]:
        """What the model is fed with, and how many of the samples in it count: a last batch that is not full repeats its last sample."""
        size = max(1, self.batch)
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            at = [*range(start, stop), *[stop - 1] * (start + size - stop)]
            yield {name: array[start, ...] if self.batch == 0 else array[at] for name, array in self.inputs.items()}, stop - start

    def _at(self, at: NDArray[np.int64], source: str) -> Dataset:
        labels = None if self.labels is None else self.labels[at]
        return Dataset({name: array[at] for name, array in self.inputs.items()}, labels, self.batch, source)


def load_data(data: Any, graph: Graph, *, most_bytes: int = MOST_BYTES) -> Dataset:
    """``data`` as samples for the model; see the module for what it may be. A Dataset is checked against the model and returned.

    Raises:
        DataError: there is none, or a name, shape, type or value does not fit the model; the sentence says which.
    """
    if isinstance(data, Dataset):
        return checked({**data.inputs}, data.labels, graph, data.source)
    if isinstance(data, str | os.PathLike):
        return _from_path(Path(data), graph, most_bytes)
    if isinstance(data, Mapping) or _is_array(data) or (isinstance(data, tuple) and len(data) == 2):
        return checked(*_pair(data, graph), graph, "given arrays")
    if isinstance(data, Iterable) and not isinstance(data, bytes | bytearray):
        return _stacked((_pair(item, graph) for item in data), graph, "given samples", most_bytes)
    raise DataError(f"Data is {type(data).__name__}; give a path, arrays by input name, or an iterable of samples.")


def checked(inputs: dict[str, Array], labels: Array | None, graph: Graph, source: str) -> Dataset:
    """A Dataset of arrays that fit the model; DataError says which does not."""
    names = [tensor.name for tensor in graph.inputs]
    for name in inputs:
        if name not in names:
            raise DataError(f"{_from(source)} has '{name}', which is no input{did_you_mean(name, names)}. {describe_inputs(graph.inputs)}")
    for name in names:
        if name not in inputs:
            raise DataError(f"{_from(source)} has nothing for the input '{name}'. {describe_inputs(graph.inputs)}")
    if not names:
        raise DataError(f"{graph.name} takes no inputs; there is nothing to feed it with.")
    given = {name: _array(inputs[name], f"the data for '{name}'") for name in names}
    batches = {tensor.name: _batch(tensor, given[tensor.name].shape, source, graph) for tensor in graph.inputs}
    if len(set(batches.values())) > 1:
        told = ", ".join(f"'{name}' takes {batch or 'no axis for them'}" for name, batch in batches.items())
        raise DataError(f"The inputs take samples in different numbers ({told}); such a model cannot be fed from a set of samples.")
    arrays = {tensor.name: _fitting(tensor, given[tensor.name], batches[tensor.name], source, graph) for tensor in graph.inputs}
    truth = None if labels is None else _labels(labels, source)
    counts = {name: len(array) for name, array in arrays.items()} | ({} if truth is None else {LABELS: len(truth)})
    if len(set(counts.values())) > 1:
        raise DataError(f"{_from(source)} has different numbers of samples: {', '.join(f'{n} of {name}' for name, n in counts.items())}.")
    if not next(iter(counts.values())):
        raise DataError(f"{_from(source)} has no samples. Give at least one; for calibration 100 or more.")
    return Dataset(arrays, truth, next(iter(batches.values())), source)


def _array(values: Any, what: str) -> Array:
    """An array of numbers or texts, of whatever was given; DataError when it is none."""
    try:
        array = np.asarray(values)
    except Exception as error:  # ragged lists, tensors on another device: each library has its own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"NumPy makes no array of {what}: {first}. Give arrays, all samples of one shape.") from error
    if array.dtype.kind not in "fiubcSUV" or array.dtype.names is not None:
        raise DataError(f"{what[:1].upper()}{what[1:]} is no array of numbers ({array.dtype}).")
    return array


def _labels(labels: Any, source: str) -> Array:
    array = _array(labels, "the labels")
    if array.dtype.kind not in "fiub" or not array.ndim:
        raise DataError(f"{_from(source)} has {array.dtype} labels {show_shape(array.shape)}; expected a number for each sample.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{_from(source)} holds NaN or infinity among its labels. Remove those samples.")
    return array


def _batch(tensor: TensorInfo, shape: tuple[int, ...], source: str, graph: Graph) -> int:
    """How many samples the input takes at once; see `Dataset.batch`."""
    if not tensor.dtype:
        raise DataError(f"'{tensor.name}' is a sequence, map, optional or sparse tensor, which no array can be given for.")
    if tensor.shape is not None and len(shape) == len(tensor.shape) + 1:
        return 0
    if not shape or (tensor.shape is not None and len(shape) != len(tensor.shape)):
        wanted = "anything" if tensor.shape is None else show_shape(tensor.shape[1:])
        raise DataError(
            f"{_from(source)} has the shape {show_shape(shape)} for '{tensor.name}'; expected samples of {wanted} along a first axis."
            f"{_open(tensor, graph)}"
        )
    first = tensor.shape[0] if tensor.shape else 1
    return first if isinstance(first, int) and first > 0 else 1


def _fitting(tensor: TensorInfo, array: Array, batch: int, source: str, graph: Graph) -> Array:
    """The samples of one input, of its type and shape, all finite."""
    wanted = tensor.shape if tensor.shape is None or batch == 0 else tensor.shape[1:]
    if wanted is not None:
        same = all(not isinstance(dim, int) or dim == came for dim, came in zip(wanted, array.shape[1:], strict=True))
        if not same:
            raise DataError(
                f"{_from(source)} has samples of the shape {show_shape(array.shape[1:])} for '{tensor.name}';"
                f" expected {show_shape(wanted)}.{_open(tensor, graph)}"
            )
    came = "string" if array.dtype.kind == "U" else array.dtype.name
    if came != tensor.dtype:
        array = _converted(tensor, array, came, source)
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(axis=tuple(range(1, array.ndim))).sum())
        raise DataError(f"{_from(source)} holds NaN or infinity in {bad} of {len(array)} samples for '{tensor.name}'. Remove those.")
    return array


def _converted(tensor: TensorInfo, array: Array, came: str, source: str) -> Array:
    """The same values in the model's type, where that is one of the same kind and holds them."""
    floats = array.dtype.kind == "f" and tensor.dtype in ("float32", "float16", "float64")
    whole = array.dtype.kind in "iu" and tensor.dtype in ("int64", "int32")
    if not (floats or whole):
        raise DataError(
            f"{_from(source)} is {came} for '{tensor.name}'; expected {tensor.dtype}. Convert it, or declare how"
            " (scale, mean) in a data file: docs/data.md."
        )
    with np.errstate(over="ignore"):
        converted = array.astype(tensor.dtype)
    lost = int((~np.isfinite(converted) & np.isfinite(array)).sum()) if floats else int((converted != array).sum())
    if lost:
        raise DataError(f"{_from(source)} has values for '{tensor.name}' that {tensor.dtype} cannot hold, {lost} of them. Scale them.")
    return converted


def _open(tensor: TensorInfo, graph: Graph) -> str:
    """What to do where the expected size was only assumed, since the model leaves it open."""
    if not any(note.startswith(f"Input '{tensor.name}': the model leaves sizes open") for note in graph.notes):
        return ""
    return f" The model leaves sizes open: load it with those of the data (--shape {tensor.name}=..., load_model(path, shapes))."


def _from_path(path: Path, graph: Graph, most_bytes: int) -> Dataset:
    try:
        is_there, reason = path.exists(), ""
    except (OSError, ValueError) as error:  # a name that is too long, or has a NUL in it
        is_there, reason = False, f" ({getattr(error, 'strerror', None) or error})"
    if not is_there:
        shown = str(path) if str(path).isprintable() else repr(str(path))
        raise DataError(f"There is no data at {shown[:300]}{reason}. Check the path.")
    if path.is_dir():
        return _from_folder(path, graph, most_bytes)
    if path.suffix.lower() == ".toml":
        from edgeprof.declarations import read_declaration

        return checked(*read_declaration(path, graph, most_bytes), graph, path.name)
    return checked(*_named_arrays(path, graph, most_bytes), graph, path.name)


def _from_folder(folder: Path, graph: Graph, most_bytes: int) -> Dataset:
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror or error}.") from error
    files = [path for path in found if path.suffix.lower() in (".npy", ".npz")]
    if len(files) > MOST_FILES:
        raise DataError(f"{folder} holds more than {MOST_FILES:,} files; put samples together in one .npz.")
    if not files:
        from edgeprof.declarations import IMAGE_SUFFIXES

        images = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in found)
        advice = f" Its {images} images need a .toml that says how they become inputs: docs/data.md." if images else ""
        raise DataError(f"{folder} holds no .npy or .npz files.{advice}")
    return _stacked((_named_arrays(path, graph, most_bytes) for path in files), graph, f"{folder.name}/", most_bytes)


def _named_arrays(path: Path, graph: Graph, most_bytes: int) -> tuple[dict[str, Array], Array | None]:
    try:
        found = read_arrays(path, most_bytes=most_bytes)
    except InputError as error:
        raise DataError(str(error)) from error
    if isinstance(found, np.ndarray):
        return _pair(found, graph)
    names = {tensor.name for tensor in graph.inputs}
    labels = None if LABELS in names else found.pop(LABELS, None)
    return found, labels


def _pair(item: Any, graph: Graph) -> tuple[dict[str, Array], Array | None]:
    """Inputs by name and labels of what somebody gave for a sample or for all."""
    inputs, labels = item if _is_pair(item) else (item, None)
    if not isinstance(inputs, Mapping):
        if len(graph.inputs) != 1:
            raise DataError(f"An array was given without a name, and {graph.name} has several inputs. {describe_inputs(graph.inputs)}")
        inputs = {graph.inputs[0].name: inputs}
    named = {str(name): _array(array, f"the data for '{name}'") for name, array in inputs.items()}
    return named, None if labels is None else _array(labels, "the labels")


def _is_pair(item: Any) -> bool:
    if isinstance(item, list):
        return len(item) == 2 and (isinstance(item[0], Mapping) or all(hasattr(one, "__array__") for one in item))
    return isinstance(item, tuple) and len(item) == 2


def _stacked(items: Iterable[tuple[dict[str, Array], Array | None]], graph: Graph, source: str, most_bytes: int) -> Dataset:
    """One Dataset of many samples or batches; a sample without a batch axis gets one."""
    ranks = {tensor.name: None if tensor.shape is None else len(tensor.shape) for tensor in graph.inputs}
    parts: dict[str, list[Array]] = {}
    labels: list[Array] = []
    total = count = 0
    for inputs, label in items:
        count += 1
        sizes = set()
        for name, given in inputs.items():
            array = given[None] if given.ndim == 0 or given.ndim + 1 == ranks.get(name) else given
            parts.setdefault(name, []).append(array.copy())  # who gives samples may use the same memory for the next
            sizes.add(len(array))
            total += array.nbytes
        if len(sizes) > 1:
            raise DataError(f"{_from(source)} has different numbers of samples for its inputs in item {count}.")
        if label is not None:
            is_one = label.ndim == 0 or (sizes == {1} and len(label) != 1)
            labels.append((label[None] if is_one else label).copy())
        if total > most_bytes:
            raise DataError(
                f"{_from(source)} needs more than {units.size(most_bytes)}. Give fewer samples; 100 to 1,000 are enough to calibrate."
            )
    if not count:
        raise DataError(f"{_from(source)} has no samples. Give at least one; for calibration 100 or more.")
    try:
        joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        truth = np.concatenate(labels) if labels else None
    except ValueError as error:
        raise DataError(f"{_from(source)} has samples of different shapes; all must have the same. Bring them to one size.") from error
    return checked(joined, truth, graph, source)


def _is_array(data: Any) -> bool:
    return hasattr(data, "__array__") or (isinstance(data, list) and bool(data) and isinstance(data[0], int | float))


def _from(source: str) -> str:
    return f"The data ({source})"
