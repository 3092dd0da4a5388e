"""An ``.onnx`` file as a `Graph`: layers, tensors with sizes, and what was assumed on the way."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprof.errors import InputError, ModelError, UnsafeModel
from edgeprof.models import external, wire
from edgeprof.models.features import feature_sizes
from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.models.inference import all_graphs, infer, is_known
from edgeprof.models.layers import domain_of, expand
from edgeprof.models.shapes import LARGEST_SIZE, InputShapes, choose, info_of, set_shape, show_shape
from edgeprof.models.wire import DTYPES

MOST_CONSTANT_ELEMENTS = 64
_FIRST_IR_WITH_OPSETS = 3


def load_onnx(path: Path, shapes: Mapping[str, Sequence[int]] | None = None, *, weights_here: bool = True) -> Graph:
    """The Graph of the ONNX file at ``path``, with ``shapes`` (input -> sizes) for axes that the model leaves open.

    Without ``weights_here`` external data is not looked for: the graph came from a board, its weights stayed there.
    """
    model = _parse(wire.strip_weights(path), path.name)
    external_files = external.take_in(_tensors_of(model), path) if weights_here else ()
    ir_version, notes = model.ir_version, _import_opsets(model)
    expansion = expand(model)
    layers = expansion.layers
    _check_opset(model, layers, path.name)
    stored = _stored(model)
    chosen = _choose_inputs(model, layers, stored, shapes or {})
    inferred = infer(model, expansion.declared, chosen.symbols)
    tensors = inferred.tensors | stored.tensors | {info.name: info for info in chosen.inputs}
    return Graph(
        name=path.stem,
        layers=tuple(layers),
        inputs=chosen.inputs,
        outputs=tuple(tensors.get(output.name, TensorInfo(output.name)) for output in model.graph.output),
        tensors={name: info for name, info in tensors.items() if info.dtype or info.shape is not None},
        initializers=frozenset(stored.initializers),
        constants=stored.constants,
        opsets={_domain(entry.domain): entry.version for entry in model.opset_import},
        ir_version=ir_version,
        producer=" ".join(part for part in (model.producer_name, model.producer_version) if part),
        path=str(path),
        digest=digest_of(path, external_files),
        file_bytes=path.stat().st_size,
        external_files=external_files,
        notes=(*notes, *chosen.notes, *inferred.notes, *_what_is_open(layers, tensors, {output.name for output in model.graph.output})),
    )


def digest_of(path: Path, external_files: Iterable[str] = ()) -> str:
    """sha256 of the model file, in hex.

    With external files it is the sha256 of a text of lines: the sha256 of the model file, then for each location in order the
    location and the sha256 of that file. So it changes when the weights do.
    """
    own = _sha256(path)
    lines = [line for location in sorted(external_files) for line in (location, _sha256(path.parent / location))]
    return hashlib.sha256("".join(f"{line}\n" for line in [own, *lines]).encode()).hexdigest() if lines else own


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(data: bytes, name: str) -> Any:
    import onnx

    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # protobuf's DecodeError
        raise ModelError(f"{name} is damaged: its bytes are no valid ONNX model ({error}). Copy or export it again.") from error
    if not model.graph.node and not model.graph.output:
        raise ModelError(f"{name} holds an empty graph: no layers and no outputs. Export it again.")
    return model


def _tensors_of(model: Any) -> Iterator[Any]:
    """Every TensorProto of the model: initializers and attributes, in subgraphs and functions too."""
    for graph in all_graphs(model.graph):
        yield from _tensors_of_graph(graph)
    for function in model.functions:
        yield from _tensors_of_attributes(function.attribute_proto)
        for node in function.node:
            yield from _tensors_of_attributes(node.attribute)
            for attribute in node.attribute:
                for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                    for inner in all_graphs(graph):
                        yield from _tensors_of_graph(inner)


def _tensors_of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _tensors_of_attributes(node.attribute)


def _tensors_of_attributes(attributes: Any) -> Iterator[Any]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in [*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []), *attribute.sparse_tensors]:
            yield from (sparse.values, sparse.indices)


# Versions


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _import_opsets(model: Any) -> list[str]:
    """Notes on versions; the domains that only functions import are imported for the whole model too."""
    import onnx
    import onnx.defs

    versions = {_domain(entry.domain): entry.version for entry in model.opset_import}
    other: list[str] = []
    for function in model.functions:
        for entry in function.opset_import:
            domain = _domain(entry.domain)
            if domain not in versions:
                versions[domain] = entry.version
                model.opset_import.add(domain=domain, version=entry.version)
            elif versions[domain] != entry.version and domain == "":
                other.append(function.name)
    notes = []
    if other:
        notes.append(f"The functions {', '.join(sorted(set(other))[:5])} use another opset than the model; sizes follow the model's.")
    if model.ir_version > onnx.IR_VERSION:
        notes.append(
            f"IR version {model.ir_version} is newer than the installed onnx knows ({onnx.IR_VERSION}); update onnx if sizes are missing."
        )
    newest = onnx.defs.onnx_opset_version()
    if versions.get("", 0) > newest:
        notes.append(f"Opset {versions['']} is newer than the installed onnx knows ({newest}); update onnx if sizes are missing.")
    return notes


def _check_opset(model: Any, layers: Sequence[Layer], name: str) -> None:
    if model.ir_version < _FIRST_IR_WITH_OPSETS or any(_domain(entry.domain) == "" for entry in model.opset_import):
        return
    if any(layer.domain == "" for layer in layers):
        raise ModelError(f"{name} does not say which opset it uses: it may be truncated after its graph. Copy or export it again.")


# What the file stores


@dataclass
class _Stored:
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    initializers: set[str] = field(default_factory=set)
    constants: dict[str, tuple[int, ...]] = field(default_factory=dict)


def _stored(model: Any) -> _Stored:
    """Initializers and Constant nodes: types, shapes, and the values of small integer ones."""
    stored = _Stored()
    for graph in all_graphs(model.graph):
        for tensor in graph.initializer:
            stored.initializers.add(tensor.name)
            _store(tensor.name, tensor, stored)
        for sparse in graph.sparse_initializer:
            stored.initializers.add(sparse.values.name)
            stored.tensors[sparse.values.name] = TensorInfo(sparse.values.name, DTYPES.get(sparse.values.data_type, ""), tuple(sparse.dims))
        for node in graph.node:
            if node.op_type == "Constant" and not domain_of(node) and node.output and node.attribute:
                _store_constant(node.output[0], node.attribute[0], stored)
    return stored


def _store_constant(name: str, attribute: Any, stored: _Stored) -> None:
    if attribute.HasField("t"):
        _store(name, attribute.t, stored)
    elif attribute.name in ("value_int", "value_ints"):
        values = [attribute.i] if attribute.name == "value_int" else list(attribute.ints)
        stored.tensors[name] = TensorInfo(name, "int64", () if attribute.name == "value_int" else (len(values),))
        if len(values) <= MOST_CONSTANT_ELEMENTS:
            stored.constants[name] = tuple(values)
    elif attribute.name in ("value_float", "value_floats"):
        stored.tensors[name] = TensorInfo(name, "float32", () if attribute.name == "value_float" else (len(attribute.floats),))
    elif attribute.name in ("value_string", "value_strings"):
        stored.tensors[name] = TensorInfo(name, "string", () if attribute.name == "value_string" else (len(attribute.strings),))
    elif attribute.HasField("sparse_tensor"):
        sparse = attribute.sparse_tensor
        stored.tensors[name] = TensorInfo(name, DTYPES.get(sparse.values.data_type, ""), tuple(sparse.dims))


def _store(name: str, tensor: Any, stored: _Stored) -> None:
    from onnx import numpy_helper

    dtype = DTYPES.get(tensor.data_type, "")
    stored.tensors[name] = TensorInfo(name, dtype, tuple(tensor.dims))
    small = math.prod(tensor.dims) <= MOST_CONSTANT_ELEMENTS
    if small and dtype.startswith(("int", "uint")) and tensor.data_location != tensor.EXTERNAL:
        stored.constants[name] = tuple(int(value) for value in numpy_helper.to_array(tensor).reshape(-1))


# Inputs


def _choose_inputs(model: Any, layers: Sequence[Layer], stored: _Stored, shapes: Mapping[str, Sequence[int]]) -> InputShapes:
    """Inputs that a caller must give, with concrete shapes, which are written into the model."""
    required = [value for value in model.graph.input if value.name not in stored.initializers]
    inputs = [info_of(value.name, value.type) for value in required]
    for name in shapes:
        if name in stored.initializers:
            raise InputError(f"A shape was given for '{name}', which is a weight of the model, not an input. Leave it out.")
    for info in inputs:
        if any(isinstance(dim, int) and dim > LARGEST_SIZE for dim in info.shape or ()):
            raise UnsafeModel(
                f"Input '{info.name}' claims the shape {show_shape(info.shape)}, which no machine holds. Export the model again."
            )
    chosen = choose(inputs, shapes, feature_sizes(inputs, layers, stored.tensors))
    for value, info in zip(required, chosen.inputs, strict=True):
        if info.shape is not None:
            set_shape(value, info)
    return chosen


def _what_is_open(layers: Sequence[Layer], tensors: Mapping[str, TensorInfo], outputs: set[str]) -> list[str]:
    used = {name for layer in layers for name in layer.inputs} | outputs
    unknown = [layer for layer in layers if any(name in used and not is_known(tensors.get(name)) for name in layer.outputs if name)]
    if not unknown:
        return []
    first = unknown[0]
    return [
        f"{len(unknown)} of {len(layers)} layers have an output whose size is not known before it runs, the first is '{first.name}' "
        f"({first.op_type}); counts that need it are NaN."
    ]
