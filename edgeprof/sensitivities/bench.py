"""Where trials are carried out: a `Bench` in a process apart, which keeps model, data and ranges of tensors from one trial to the next.

A trial is made by the very steps that `edgeprof.recipes.build.apply` takes, so what is found holds for the models that it makes. Ranges
are found once, by the first whole model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeprof import apart, running
from edgeprof.datasets import Dataset
from edgeprof.errors import RecipeError, UsageError
from edgeprof.models.graph import Graph
from edgeprof.recipes.base import Work
from edgeprof.recipes.build import carry_out, load_weights
from edgeprof.recipes.kernels import ACTIVATIONS, PASSING
from edgeprof.recipes.quantize import prepared
from edgeprof.recipes.recipe import Quantization
from edgeprof.recipes.target import Target
from edgeprof.scoring import Metric, Outputs, Score, score_outputs
from edgeprof.sensitivities.halves import activations_alone, weights_alone
from edgeprof.sensitivities.trials import ALL, Trial, choice_of, choices_of, prune_part


@dataclass(frozen=True, eq=False)
class Setup:
    """What a bench works on. ``metric`` is None where scores are made elsewhere, of outputs that come back."""

    path: str
    graph: Graph
    data: Dataset = field(repr=False)
    calibration: Dataset | None = field(repr=False)
    quantization: Quantization
    target: Target
    metric: str | None


@dataclass(frozen=True, eq=False)
class Opened:
    """The model as it is: its score (or its outputs), and how many bytes it takes in a file."""

    score: Score | None
    outputs: Outputs | None
    model_bytes: int


@dataclass(frozen=True)
class Survey:
    """Which layers can have a decision by themselves; ``reasons``: why others cannot, as a clause; ``followers`` have it with others."""

    layers: tuple[str, ...]
    reasons: Mapping[str, str]
    followers: tuple[str, ...] = ()

    @property
    def every(self) -> tuple[str, ...]:
        """All that have it when the whole model has."""
        return (*self.layers, *self.followers)


@dataclass(frozen=True, eq=False)
class Tried:
    """What came of a trial: ``reason`` why it could not be done, else its scores (or outputs) and the bytes of its model."""

    reason: str = ""
    score: Score | None = None
    sqnr: Score | None = None
    cosine: Score | None = None
    model_bytes: int = 0
    outputs: Outputs | None = None


class Bench:
    """A model, its data, and all that trials share."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.model = load_weights(Path(setup.path), setup.graph)
        self.ops = {layer.name: layer.op_type for layer in setup.graph.layers}
        data = self.model.SerializeToString()
        self.model_bytes = len(data)
        self.reference = running.outputs(data, setup.data)
        self._ranges: dict[str, tuple[float, float]] = {}
        self._float: Any = None

    def opened(self) -> Opened:
        """How the model itself does."""
        if self.setup.metric is None:
            return Opened(None, self.reference, self.model_bytes)
        return Opened(score_outputs(self.reference, self.setup.data, self.setup.metric, self.reference), None, self.model_bytes)

    def survey(self, decision: str) -> Survey:
        """Which layers can have a decision: what becomes of the model in which all have it."""
        if prune_part(decision) is not None:
            return self._groups()
        names = [layer.name for layer in self.setup.graph.layers if layer.parent is None]
        work = carry_out(self._work(self.model, dict.fromkeys(names, choice_of(decision))))
        done = [change.layer for change in work.changes if change.done == decision]
        reasons = {change.layer: change.reason or change.done for change in work.changes if change.done != decision}
        reasons |= {name: "nothing was to be done to it" for name in names if name not in reasons and name not in done}
        followers = tuple(name for name in done if self.ops[name] in PASSING | ACTIVATIONS)
        why = "becomes int8 with the layer that it follows" if decision == "int8" else "adds next to no error of its own"
        reasons |= {name: f"{self.ops[name]} {why}" for name in followers}
        order = {name: place for place, name in enumerate(names)}
        layers = sorted((name for name in done if name not in followers), key=order.__getitem__)
        return Survey(tuple(layers), dict(sorted(reasons.items(), key=lambda item: order[item[0]])), followers)

    def make(self, trial: Trial, every: tuple[str, ...]) -> tuple[Any, str]:
        """The model of a trial, and why it is not what was asked for (a clause, else empty)."""
        model, choices = self.model, choices_of(trial, every)
        if trial.decision == "int8":
            model = self.float_model(every)
            there = {node.name for node in model.graph.node}
            choices = {layer: choice for layer, choice in choices.items() if layer in there}
        work = carry_out(self._work(model, choices))
        if trial.layer != ALL and trial.mode != "without":
            change = next((change for change in work.changes if change.layer == trial.layer and change.asked != "importance"), None)
            if change is None or not change.done:
                return work.model, change.reason if change is not None else "nothing was to be done to it"
        if trial.mode == "weights":
            return weights_alone(work.model), ""
        if trial.mode == "activations":
            return activations_alone(work.model, model), ""
        return work.model, ""

    def attempt(self, trial: Trial, every: tuple[str, ...]) -> Tried:
        """Carries a trial out and scores it."""
        model, reason = self.make(trial, every)
        if reason:
            return Tried(reason)
        data = model.SerializeToString()
        outputs, setup = running.outputs(data, self.setup.data), self.setup
        if not all(np.isfinite(values).all() for values in outputs.values() if values.dtype.kind == "f"):
            return Tried("its outputs are not finite on some sample", model_bytes=len(data))
        score = None if setup.metric is None else score_outputs(outputs, setup.data, setup.metric, self.reference)
        sqnr, cosine = (score_outputs(outputs, setup.data, name, self.reference) for name in ("sqnr_db", "cosine"))
        return Tried("", score, sqnr, cosine, len(data), outputs if setup.metric is None else None)

    def _groups(self) -> Survey:
        from edgeprof.recipes.pruning.groups import couple

        groups = couple(self.setup.graph).groups
        return Survey(
            tuple(group.name for group in groups if not group.reason), {group.name: group.reason for group in groups if group.reason}
        )

    def float_model(self, every: tuple[str, ...]) -> Any:
        """The float model that int8 starts from, norms folded."""
        if self._float is None:
            self._float = prepared(self._work(self.model, dict.fromkeys(every, choice_of("int8"))))
        return self._float

    def _work(self, model: Any, choices: Mapping[str, Any]) -> Work:
        import onnx

        own = onnx.ModelProto()
        own.CopyFrom(model)
        setup = self.setup
        ordered = {layer.name: choices[layer.name] for layer in setup.graph.layers if layer.name in choices}
        return Work(own, setup.graph, ordered, setup.quantization, setup.target, setup.calibration, ranges=self._ranges_for(choices))

    def _ranges_for(self, choices: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
        """Those of the float model, which pruned ones do not share."""
        return {} if any(choice.is_pruned for choice in choices.values()) else self._ranges


_bench: Bench | None = None


def open_bench(setup: Setup) -> Opened:
    """Makes this process's bench. RecipeError, ModelError or DataError when the model or the data will not do."""
    global _bench  # noqa: PLW0603 - the process apart is there for this one
    _bench = None
    _bench = Bench(setup)
    return _bench.opened()


def is_open() -> bool:
    """Whether this process has a bench: one that took the place of another that died has none."""
    return _bench is not None


def close_bench() -> None:
    """Forgets the bench and what it holds."""
    global _bench  # noqa: PLW0603
    _bench = None


def survey(decision: str) -> Survey:
    """`Bench.survey` of this process's bench."""
    return _there().survey(decision)


def attempt(trial: Trial, every: tuple[str, ...]) -> Tried:
    """`Bench.attempt` of this process's bench; what cannot be done is a reason, not an error."""
    apart.tell("try", 0, 1)
    try:
        return _there().attempt(trial, every)
    except RecipeError as error:
        return Tried(str(error).rstrip("."))


def _there() -> Bench:
    if _bench is None:
        raise UsageError("No bench was opened in this process. Open one first.")
    return _bench


def metric_name(metric: Metric) -> str | None:
    """The metric where it can go to another process: a name. None of a function."""
    return metric if isinstance(metric, str) else None
