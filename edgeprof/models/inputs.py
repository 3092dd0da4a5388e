"""Input tensors for a model: made at random with sensible values, or read from a file and checked."""

from __future__ import annotations

import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeprof import units
from edgeprof.errors import InputError
from edgeprof.models.graph import DTYPE_BITS, Graph, TensorInfo
from edgeprof.models.hints import Hint, hints
from edgeprof.models.shapes import describe_inputs, show_shape

Array = NDArray[Any]

MOST_BYTES = 4 << 30
"""Larger inputs are refused: a header may claim any shape."""

_UNSIZED_INTEGERS = 10  # whole numbers with no hint: 0 to 9
_NUMPY_DTYPES = frozenset(
    {"float64", "float32", "float16", "complex64", "complex128", "int64", "int32", "int16", "int8"}
    | {"uint64", "uint32", "uint16", "uint8", "bool", "string"}
)


def make_inputs(graph: Graph, *, seed: int = 0, most_bytes: int = MOST_BYTES) -> dict[str, Array]:
    """Random values for every input of the model, the same for the same ``seed``.

    Floats are drawn from the normal distribution of mean 0 and deviation 1 (as normalized pictures and features are), uint8 and
    int8 from their whole range, booleans are True, texts are ``"text"``. Whole numbers follow `hints`: below the axis that they index, ones
    for masks, zeros for token types, small counts and shapes that change nothing; without a hint they are 0 to 9.
    """
    rng = np.random.default_rng(seed)
    wanted = hints(graph)
    needed = 0.0
    for tensor in graph.inputs:
        _check_makeable(tensor)
        elements = math.prod(max(dim, 1) for dim in tensor.shape or () if isinstance(dim, int))  # NumPy refuses (0, 2**60) too
        needed += elements * DTYPE_BITS.get(tensor.dtype, 32) / 8
    if needed > most_bytes:
        raise InputError(
            f"The inputs need {units.size(needed)}, more than {units.size(most_bytes)}. Give smaller sizes with --shape. "
            f"{describe_inputs(graph.inputs)}"
        )
    return {tensor.name: _make(tensor, wanted[tensor.name], rng, graph) for tensor in graph.inputs}


def check_inputs(graph: Graph, given: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """The given arrays in the model's order, each of the right type and shape; InputError says which is not and what was expected."""
    by_name = {tensor.name: tensor for tensor in graph.inputs}
    unknown = [name for name in given if name not in by_name]
    if unknown:
        raise InputError(f"Data was given for '{unknown[0]}', which is no input. {describe_inputs(graph.inputs)}")
    missing = [name for name in by_name if name not in given]
    if missing:
        raise InputError(f"No data was given for the input '{missing[0]}'. {describe_inputs(graph.inputs)}")
    return {name: _checked(tensor, given[name]) for name, tensor in by_name.items()}


def shapes_of(inputs: Mapping[str, ArrayLike]) -> dict[str, list[int]]:
    """Shapes for `load_model`, so that axes which the model leaves open have the sizes of the data."""
    return {name: list(np.shape(array)) for name, array in inputs.items()}


def read_inputs(path: str | Path, graph: Graph, *, most_bytes: int = MOST_BYTES) -> dict[str, Array]:
    """Arrays from a ``.npz`` by their names, or from a ``.npy`` for a model with one input.

    No object of Python is ever unpickled, and the claimed sizes are checked before anything is loaded. What comes out is not yet
    checked against the model; see `check_inputs`.
    """
    found = read_arrays(path, most_bytes=most_bytes)
    return found if isinstance(found, dict) else {_only_input(graph, Path(path)): found}


def read_arrays(path: str | Path, *, most_bytes: int = MOST_BYTES) -> dict[str, Array] | Array:
    """Arrays by name from a ``.npz``, or the one array of a ``.npy``. InputError says what is wrong with the file."""
    file = Path(path)
    if not file.exists():
        raise InputError(f"There is no input data at {file}. Check the path.")
    if not file.is_file():
        raise InputError(f"{file} is not a file; expected a .npy or .npz file with input data.")
    try:
        return _read_npz(file, most_bytes) if zipfile.is_zipfile(file) else _read_npy(file, most_bytes)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.") from error


_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError)
"""What zipfile raises on damaged, truncated, encrypted or oddly compressed archives."""


# Making


def _check_makeable(tensor: TensorInfo) -> None:
    if not tensor.dtype:
        raise InputError(
            f"Input '{tensor.name}' is a sequence, map, optional or sparse tensor, which edgeprof cannot feed. Export the model without it."
        )
    if tensor.dtype not in _NUMPY_DTYPES:
        raise InputError(
            f"Input '{tensor.name}' is {tensor.dtype}, which NumPy does not have. Export the model with float32 or float16 inputs."
        )
    if tensor.shape is None or math.isnan(tensor.elements):
        raise InputError(f"Input '{tensor.name}' has the shape {show_shape(tensor.shape)}. Give its sizes with --shape {tensor.name}=...")


def _make(tensor: TensorInfo, hint: Hint, rng: np.random.Generator, graph: Graph) -> Array:
    shape = tuple(dim for dim in tensor.shape or () if isinstance(dim, int))
    if tensor.dtype == "string":
        return np.full(shape, "text")
    if hint.kind == "constant" and not (tensor.dtype == "bool" and hint.value == 0):
        return np.full(shape, hint.value).astype(tensor.dtype)
    if tensor.dtype == "bool":
        return np.full(shape, hint.kind != "constant")
    if tensor.dtype.startswith(("float", "complex")):
        return _normal(shape, tensor.dtype, rng)
    if hint.kind == "target shape":
        return np.array([-1] + [1] * (math.prod(shape) - 1), tensor.dtype)[: math.prod(shape)].reshape(shape)
    if hint.kind == "positions":
        row = np.arange(shape[-1] if shape else 1) % min(hint.value, 2**31)
        return np.broadcast_to(row, shape if shape else (1,)).astype(tensor.dtype).reshape(shape)
    return _integers(shape, tensor.dtype, hint, rng)


def _normal(shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> Array:
    if dtype == "float64":
        return rng.standard_normal(shape)
    values = rng.standard_normal(shape, np.float32)
    if dtype.startswith("complex"):
        return (values + 1j * rng.standard_normal(shape, np.float32)).astype(dtype)
    return values.astype(dtype, copy=False) if shape else np.asarray(values, dtype)


def _integers(shape: tuple[int, ...], dtype: str, hint: Hint, rng: np.random.Generator) -> Array:
    bounds = np.iinfo(dtype)
    if hint.kind == "below":
        low, high = 0, min(int(hint.value), int(bounds.max) + 1)
    elif dtype in ("int8", "uint8"):
        low, high = int(bounds.min), int(bounds.max) + 1
    else:
        low, high = 0, _UNSIZED_INTEGERS
    return np.asarray(rng.integers(low, high, shape, np.dtype(dtype).type), dtype)


# Checking


def _checked(tensor: TensorInfo, given: ArrayLike) -> Array:
    array = np.asarray(given)
    expected = f"expected {tensor.dtype or 'no tensor'} {show_shape(tensor.shape)}"
    if not tensor.dtype:
        raise InputError(f"Input '{tensor.name}' is a sequence, map, optional or sparse tensor, which edgeprof cannot feed.")
    came = _dtype_of(array)
    if came != tensor.dtype:
        way_out = (
            " Give data of that type."
            if "string" in (came, tensor.dtype) or came == "object"
            else f" Convert it with .astype('{tensor.dtype}')."
        )
        raise InputError(f"Input '{tensor.name}': {expected}, the data is {came}.{way_out}")
    if tensor.shape is not None:
        fits = len(tensor.shape) == array.ndim and all(
            size == dim for dim, size in zip(tensor.shape, array.shape, strict=True) if isinstance(dim, int)
        )
        if not fits:
            raise InputError(
                f"Input '{tensor.name}': {expected}, the data has the shape {show_shape(array.shape)}. "
                "Give data of that shape, or sizes for the model's open axes with --shape."
            )
    return np.ascontiguousarray(array) if array.ndim else array


def _dtype_of(array: Array) -> str:
    if array.dtype.kind in "UT" or (array.dtype.kind == "O" and all(isinstance(item, str) for item in array.reshape(-1))):
        return "string"
    return array.dtype.name


# Reading


def _only_input(graph: Graph, file: Path) -> str:
    if len(graph.inputs) != 1:
        raise InputError(f"{file.name} holds one array without a name; the model needs a .npz with names. {describe_inputs(graph.inputs)}")
    return graph.inputs[0].name


def _read_npy(file: Path, most_bytes: int) -> Array:
    with file.open("rb") as stream:
        return _read_array(stream, file.stat().st_size, file.name, most_bytes)


def _read_npz(file: Path, most_bytes: int) -> dict[str, Array]:
    arrays = {}
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            claimed = sum(member.file_size for member in members)
            if claimed > most_bytes:
                raise InputError(f"{file.name} unpacks to {units.size(claimed)}, more than {units.size(most_bytes)}. Give less data.")
            for member in members:
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as stream:
                    arrays[name] = _read_array(stream, member.file_size, f"'{name}' in {file.name}", most_bytes)
    except _DAMAGE as error:
        raise InputError(f"{file.name} is damaged: {str(error).rstrip('.')}. Save it again with numpy.savez.") from error
    if not arrays:
        raise InputError(f"{file.name} holds no arrays. Save the inputs by name with numpy.savez.")
    return arrays


def _read_array(stream: IO[bytes], size: int, what: str, most_bytes: int) -> Array:
    """One array in NumPy's format, whose header must claim exactly the bytes that follow it."""
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except (ValueError, EOFError, SyntaxError, TypeError) as error:
        raise InputError(f"{what} is not an array in NumPy's format. Save the inputs with numpy.save or numpy.savez.") from error
    if dtype.hasobject:
        raise InputError(f"{what} holds Python objects, which are not loaded because they could run code. Save plain numbers or texts.")
    claimed = math.prod(shape) * dtype.itemsize
    there = size - stream.tell()
    if claimed != there or claimed > most_bytes:
        limit = f", at most {units.size(most_bytes)} are read" if claimed > most_bytes else ""
        raise InputError(
            f"{what} claims {units.size(claimed)} ({show_shape(shape)} {dtype}), {units.size(there)} are there{limit}. Save it again."
        )
    content = stream.read(claimed)
    if len(content) < claimed:
        raise InputError(f"{what} ends after {units.size(len(content))} of {units.size(claimed)}. Save it again.")
    array = np.frombuffer(content, dtype).copy() if claimed else np.empty(math.prod(shape), dtype)
    array = array.reshape(shape[::-1]).transpose() if fortran else array.reshape(shape)
    return np.ascontiguousarray(array) if array.ndim else array
