"""Mends a model that lost channels, without training: layers that take fewer inputs than before are fitted to give what they gave.

Least squares on calibration samples, after He, Zhang & Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017:

1. From the first layer to the last, so that each is fitted to what the layers before it, pruned and fitted, really give it. The target is
   what the layer gave in the original model.
2. A Conv is fitted on patches of its input at some places of each sample, drawn once; a Gemm or MatMul on rows.
3. The change of the weights is kept small (ridge regression); how small is chosen on a fifth of the samples, and so is whether weights
   change at all. A term for each output takes up what is left of the mean: bias correction, after Nagel et al., "Data-Free Quantization
   Through Weight Equalization and Bias Correction", ICCV 2019.
4. Weights that were made sparse, that several layers share, or that take more than `MOST_INPUTS` inputs stay, and the bias alone changes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import apart, running
from edgeprof.datasets import Dataset
from edgeprof.models.graph import Layer
from edgeprof.recipes.base import Work
from edgeprof.recipes.pruning.constants import Constants
from edgeprof.recipes.pruning.cut import store
from edgeprof.recipes.pruning.groups import Coupling
from edgeprof.recipes.pruning.least_squares import Sums, ridge_fit
from edgeprof.recipes.pruning.patches import padded_for, patches

Array = NDArray[Any]
Values = NDArray[np.float64]

MOST_SAMPLES = 500
MOST_INPUTS = 4608
"""Of one output: the normal equations have the square of it, in 170 MB."""
_LEAST_ROWS, _ROWS_EACH_INPUT = 4000, 8
_MOST_TARGET_BYTES = 1 << 29
_RIDGES = (1e-5, 1e-3, 1e-1)
"""Parts of the mean square of an input."""


@dataclass(eq=False)
class Fit:
    """One layer to be fitted. ``outputs``: (channels of the original,) which of them stay. ``targets``: rows by batch, in its order."""

    layer: Layer
    outputs: NDArray[np.bool_]
    rows: int
    seed: int
    targets: list[Array] = field(default_factory=list)


@dataclass(frozen=True)
class Gain:
    """How far the outputs are from the target, as part of their variance, before and after: on samples that they were not fitted to."""

    before: float
    after: float
    weights: bool


def compensate(work: Work, coupling: Coupling, model: Any, gone: set[int]) -> tuple[Any, str]:
    """``model``, an onnx ModelProto that lost the labels ``gone``, fitted to ``work.model`` on ``work.data``, and a sentence on it."""
    data = work.needs_data("Compensation").take(MOST_SAMPLES, seed=0)
    fits = _fits(coupling, gone, model, len(data))
    if not fits:
        return model, "No layer takes fewer inputs than before in a way that could be fitted."
    _take_targets(work.model, fits, data)
    gains: list[Gain] = []
    for together in _by_input(fits):
        apart.tell("compensate", len(gains), len(fits))
        gains += _fit(work, coupling, model, together, data)
    return model, _told(gains, data)


def _told(gains: Sequence[Gain], data: Dataset) -> str:
    fitted = [gain for gain in gains if gain.weights]
    told = []
    if fitted:
        before, after = (math.fsum(getattr(gain, name) for gain in fitted) / len(fitted) for name in ("before", "after"))
        told.append(
            f"{len(fitted)} layer{'s' * (len(fitted) != 1)} that lost inputs were fitted by least squares on {len(data)} samples: their"
            f" outputs differ from the original's by {after:.1%} of their variance on average, {before:.1%} without."
        )
    if len(fitted) < len(gains):
        told.append(f"Of {len(gains) - len(fitted)} layers that lost inputs the weights stayed and the bias alone was corrected.")
    return " ".join(told)


# What is to be fitted


def _fits(coupling: Coupling, gone: set[int], model: Any, samples: int) -> list[Fit]:
    taking = {
        edit.layer: edit for edit in coupling.flow.sliced if edit.role == "takes" and not coupling.kept(edit.ids, gone).all()
    }  # fmt: skip
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    fits = []
    for seed, layer in enumerate(layer for layer in coupling.flow.graph.layers if layer.name in taking):
        node = nodes[layer.name]
        if layer.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in stored:
            continue
        sizes = list(stored[node.input[1]].dims)
        inputs = math.prod(sizes[1:]) if layer.op_type == "Conv" else sizes[taking[layer.name].axis]
        rows = math.ceil(max(_LEAST_ROWS, _ROWS_EACH_INPUT * inputs) / samples)
        fits.append(Fit(layer, coupling.kept(coupling.made[layer.name], gone), rows, seed))
    columns = sum(int(fit.outputs.sum()) for fit in fits)
    most = max(1, _MOST_TARGET_BYTES // (4 * max(1, columns) * samples))
    for fit in fits:
        fit.rows = min(fit.rows, most)
    return fits


def _by_input(fits: Sequence[Fit]) -> Iterator[list[Fit]]:
    """Layers that take the same tensor are fitted at once."""
    groups: dict[str, list[Fit]] = {}
    for fit in fits:
        groups.setdefault(fit.layer.inputs[0], []).append(fit)
    yield from groups.values()


def _take_targets(model: Any, fits: Sequence[Fit], data: Dataset) -> None:
    """What the layers give in the original model, at some places of each batch."""
    names = [fit.layer.outputs[0] for fit in fits]
    for number, (found, _) in enumerate(running.batches_of(_until(model, names), data, names)):
        for fit in fits:
            value = found[fit.layer.outputs[0]]
            flat = np.moveaxis(value, 1, -1) if fit.layer.op_type == "Conv" else value
            rows = flat.reshape(-1, flat.shape[-1])
            fit.targets.append(np.asarray(rows[_places(fit, number, len(rows), data)][:, fit.outputs], np.float32))


def _places(fit: Fit, batch: int, there: int, data: Dataset) -> NDArray[np.int64]:
    """Which rows of a batch count: the same ones for target and input."""
    wanted = min(there, fit.rows * max(1, data.batch))
    return np.random.default_rng([fit.seed, batch]).permutation(there)[:wanted]


def _until(model: Any, names: Sequence[str]) -> bytes:
    """The part of the model that the tensors ``names`` need."""
    needed = set(names)
    kept = []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed.update(_reads(node))
    part = type(model)(ir_version=model.ir_version)
    part.opset_import.extend(model.opset_import)
    part.functions.extend(model.functions)
    part.graph.name = model.graph.name
    part.graph.node.extend(reversed(kept))
    stored = {tensor.name for tensor in model.graph.initializer}
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    part.graph.input.extend(one for one in model.graph.input if one.name not in stored or one.name in needed)
    for name in dict.fromkeys(names):
        part.graph.output.add(name=name)
    return bytes(part.SerializeToString())


def _reads(node: Any) -> Iterator[str]:
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            for one in inner.node:
                yield from _reads(one)
            yield from (output.name for output in inner.output)


# The fit


def _fit(work: Work, coupling: Coupling, model: Any, fits: Sequence[Fit], data: Dataset) -> list[Gain]:
    """Fits layers that take the same tensor, in ``model``."""
    name = fits[0].layer.inputs[0]
    places = [_Place(model, coupling, fit, work) for fit in fits]
    sums = [[[Sums(place.k, place.m, place.is_free) for _ in range(place.groups)] for _ in range(2)] for place in places]
    for number, (found, _) in enumerate(running.batches_of(_until(model, [name]), data, [name])):
        held_out = number % 5 == 4
        for place, of in zip(places, sums, strict=True):
            targets = place.fit.targets[number]
            inputs = place.rows(found[name], number, data)
            for group, (rows, wanted) in enumerate(zip(np.split(inputs, place.groups, 1), np.split(targets, place.groups, 1), strict=True)):
                of[held_out][group].add(rows, wanted)
    for one in itertools.chain.from_iterable(itertools.chain.from_iterable(sums)):
        one.close()
    return [place.solve(*of) for place, of in zip(places, sums, strict=True)]


class _Place:
    """Where the weights and the bias of a layer are in the pruned model."""

    def __init__(self, model: Any, coupling: Coupling, fit: Fit, work: Work) -> None:
        import onnx

        self.model, self.fit = model, fit
        self.node = next(node for node in model.graph.node if node.name == fit.layer.name)
        self.attributes = {one.name: onnx.helper.get_attribute_value(one) for one in self.node.attribute}
        self.stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self.weights = self._value(self.node.input[1])
        self.groups = int(self.attributes.get("group", 1)) if fit.layer.op_type == "Conv" else 1
        self.turned = fit.layer.op_type == "MatMul" or (fit.layer.op_type == "Gemm" and not self.attributes.get("transB", 0))
        table = self.weights.T if self.turned else self.weights.reshape(len(self.weights), -1)
        self.table: Values = table.astype(np.float64)  # (outputs, inputs)
        self.k, self.m = self.table.shape[1], self.table.shape[0] // self.groups
        choice = work.choices.get(fit.layer.name)
        sparse = choice is not None and bool(choice.sparsity)
        self.is_free = not sparse and self.k <= MOST_INPUTS and self._readers(self.node.input[1]) == 1
        self.bias_at = self._bias_at(coupling)

    def rows(self, value: Array, batch: int, data: Dataset) -> Array:
        """(rows, inputs of all groups) of the input at the places that the targets are from."""
        if self.fit.layer.op_type != "Conv":
            flat = value.reshape(-1, value.shape[-1])
            scale = float(self.attributes.get("alpha", 1.0)) if self.fit.layer.op_type == "Gemm" else 1.0
            return scale * flat[_places(self.fit, batch, len(flat), data)]
        kernel = self.weights.shape[2:]
        padded, spatial, strides, dilations = padded_for(value, kernel, self.attributes)
        places = _places(self.fit, batch, len(value) * math.prod(spatial), data)
        return patches(padded, places, spatial, kernel, strides, dilations)

    def solve(self, fitted: list[Sums], held_out: list[Sums]) -> Gain:
        """Chooses among weights as they are and fitted ones, and writes them."""
        tables = np.split(self.table, self.groups)
        has_bias = self.bias_at is not None
        bias = np.split(self._bias(), self.groups)
        new_tables, new_biases = [], []
        before = after = variance = 0.0
        for of, out, table, term in zip(fitted, held_out, tables, bias, strict=True):
            start = np.concatenate([table.T, term[None]])
            test = out if out.n >= 1 and of.n > out.n else of
            if not self.is_free:
                means = (of.products[-1] - of.squares[-1] @ start) / max(of.n, 1)
                new = start.copy()
                new[-1] += np.nan_to_num(means, nan=0.0, posinf=0.0, neginf=0.0) * has_bias
                chosen, errors = new, (0.0, 0.0)
            else:
                candidates = [start, *(ridge_fit(of, start, ridge, has_bias) for ridge in (math.inf, *_RIDGES))]
                best = min(range(len(candidates)), key=lambda at: test.error(candidates[at]))
                ridge = (None, math.inf, *_RIDGES)[best]
                chosen = start if ridge is None else ridge_fit(of + out, start, ridge, has_bias)
                errors = test.error(start), test.error(candidates[best])
                variance += test.variance()
            before, after = before + errors[0], after + errors[1]
            new_tables.append(chosen[:-1].T)
            new_biases.append(chosen[-1])
        self._write(np.concatenate(new_tables), np.concatenate(new_biases))
        share = variance if variance > 0 else math.inf
        return Gain(before / share, after / share, self.is_free)

    def _value(self, name: str) -> Array:
        import onnx

        if name not in self.stored:  # computed from constants
            return Constants(self.model).value(name)
        return np.asarray(onnx.numpy_helper.to_array(self.stored[name]))

    def _readers(self, name: str) -> int:
        return sum(list(node.input).count(name) for node in self.model.graph.node)

    def _bias_at(self, coupling: Coupling) -> tuple[Any, int] | None:
        """The node and input that the bias is at: for a MatMul that of the Add behind it. None when there is no place for one."""
        if self.fit.layer.op_type != "MatMul":
            name = self.node.input[2] if len(self.node.input) > 2 else ""
            ours = not name or (name in self.stored and self._readers(name) == 1 and self._value(name).size == len(self.table))
            return (self.node, 2) if ours and self.attributes.get("beta", 1.0) else None
        after = coupling.only_user(self.fit.layer.outputs[0])
        node = None if after is None or after.op_type != "Add" else next(one for one in self.model.graph.node if one.name == after.name)
        if node is None:
            return None
        at = 1 - list(node.input).index(self.fit.layer.outputs[0])
        ours = node.input[at] in self.stored and self._readers(node.input[at]) == 1
        shape = self._value(node.input[at]).shape if ours else ()
        return (node, at) if shape[-1:] == (len(self.table),) and math.prod(shape) == len(self.table) else None

    def _bias(self) -> Values:
        """What is added to each output of the node itself; nothing for a MatMul, whose bias comes after."""
        if self.fit.layer.op_type == "MatMul" or len(self.node.input) < 3 or not self.node.input[2]:
            return np.zeros(len(self.table))
        beta = float(self.attributes.get("beta", 1.0)) if self.fit.layer.op_type == "Gemm" else 1.0
        value = self._value(self.node.input[2]).astype(np.float64) * beta
        return np.resize(value, len(self.table)) if value.size in (1, len(self.table)) else np.zeros(len(self.table))

    def _write(self, table: Values, bias: Values) -> None:
        import onnx

        if self.is_free:
            shaped = (table.T if self.turned else table).reshape(self.weights.shape).astype(self.weights.dtype)
            self.stored[self.node.input[1]].CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(shaped), self.node.input[1]))
        if self.bias_at is None:
            return
        node, at = self.bias_at
        change = bias - self._bias()
        if len(node.input) > at and node.input[at]:
            beta = float(self.attributes.get("beta", 1.0)) if self.fit.layer.op_type == "Gemm" else 1.0
            old = self._value(node.input[at])
            new = (old.astype(np.float64) + change.reshape(old.shape) / beta).astype(old.dtype)
            self.stored[node.input[at]].CopyFrom(onnx.numpy_helper.from_array(new, node.input[at]))
            return
        while len(node.input) <= at:
            node.input.append("")
        node.input[at] = store(self.model, f"{node.name}/bias", change.astype(self.weights.dtype))
