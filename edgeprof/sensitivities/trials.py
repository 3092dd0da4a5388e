"""What can be tried: a decision in a mode, on a layer.

Decisions are precisions (``int8``) and parts of the channels that go (``0.25``, called ``prune 0.25``). Modes:

1. ``only``: the decision for this layer alone, the rest of the model stays as it is.
2. ``without``: the decision for all layers that can have it but this one.
3. ``weights`` and ``activations``, of int8: this layer alone, its weights in 8 bits and all that it reads and gives in float, or the
   other way round. No model to use, but it tells which of the two hurts. Not for layers without weights.
4. ``all``: the decision for all layers that can have it. It is tried once a decision, whichever modes are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from edgeprof.errors import UsageError, did_you_mean
from edgeprof.recipes.recipe import FLOAT, Choice, Decision, Precision, Quantization, Recipe

Mode = Literal["only", "without", "weights", "activations", "all"]
MODES: tuple[Mode, ...] = ("only", "without", "weights", "activations")
ALL = "(all)"
"""Stands for the layer where a trial is about all of them."""

_PRUNE = "prune "


@dataclass(frozen=True)
class Trial:
    """One thing to try: ``decision`` in ``mode`` on ``layer`` (`ALL`: every one)."""

    decision: str
    mode: Mode
    layer: str

    @property
    def is_half(self) -> bool:
        """Whether it is about weights or activations alone."""
        return self.mode in ("weights", "activations")

    def __str__(self) -> str:
        return f"{self.layer}, {self.decision}, {self.mode}" if self.layer != ALL else f"all layers, {self.decision}"


def decision_names(given: Iterable[str | float] | str | float) -> tuple[str, ...]:
    """The decisions' names; UsageError for one that there is not."""
    several = [given] if isinstance(given, str | int | float) else list(given)
    names = tuple(dict.fromkeys(_name(one) for one in several))
    if not names:
        raise UsageError("There is nothing to decide. Give decisions, such as 'int8' or 0.25 (channels to prune).")
    return names


def mode_names(given: Iterable[str] | str) -> tuple[Mode, ...]:
    """The modes in the order they are tried; UsageError for one that there is not."""
    several = [given] if isinstance(given, str) else list(given)
    for mode in several:
        if mode not in MODES:
            raise UsageError(f"There is no mode '{mode}'{did_you_mean(mode, MODES)}. There are: {', '.join(MODES)}.")
    return tuple(mode for mode in MODES if mode in several)


def modes_of(decision: str, modes: Sequence[Mode], *, weights: bool = True) -> tuple[Mode, ...]:
    """Those of ``modes`` that a decision can be tried in, on a layer with ``weights`` or without: then there are no halves of int8."""
    return tuple(mode for mode in modes if (decision == "int8" and weights) or mode not in ("weights", "activations"))


def prune_part(decision: str) -> float | None:
    """The part of the channels that goes; None of a precision."""
    return float(decision.removeprefix(_PRUNE)) if decision.startswith(_PRUNE) else None


def choice_of(decision: str) -> Choice:
    """What a recipe with this decision says of a layer that it does not call by name."""
    part = prune_part(decision)
    return Choice(precision=cast(Precision, decision)) if part is None else Choice(prune=part)


def choices_of(trial: Trial, every: Sequence[str]) -> dict[str, Choice]:
    """What a trial says of each layer; ``every`` are those that can have the decision."""
    choice = choice_of(trial.decision)
    if trial.layer != ALL and trial.mode != "without":
        return {trial.layer: choice}
    found = dict.fromkeys(every, choice)
    if trial.mode == "without" and prune_part(trial.decision) is None:
        return found | {trial.layer: Choice(precision="fp32")}
    found.pop(trial.layer, None)
    return found


def recipe_of(trial: Trial, every: Sequence[str], quantization: Quantization) -> Recipe:
    """A recipe that does what ``only``, ``without`` or ``all`` says."""
    part = prune_part(trial.decision)
    name = str(trial)
    if trial.mode == "only":
        return Recipe((_decision(trial.decision, trial.layer),), quantization, name)
    if part is not None:
        return Recipe(tuple(_decision(trial.decision, layer) for layer in every if layer != trial.layer), quantization, name)
    return excluding(trial.decision, [] if trial.layer == ALL else [trial.layer], quantization, name)


def excluding(decision: str, excluded: Iterable[str], quantization: Quantization, name: str = "") -> Recipe:
    """The recipe of a precision for all layers that can have it but ``excluded``."""
    floats = tuple(Decision(layer=layer, precision="fp32") for layer in excluded)
    return Recipe((Decision(pattern="*", precision=cast(Precision, decision)), *floats), quantization, name)


def keeping(decision: str, kept: Iterable[str], quantization: Quantization, name: str = "") -> Recipe:
    """The recipe of a decision for the layers ``kept`` alone."""
    return Recipe(tuple(_decision(decision, layer) for layer in kept), quantization, name)


def _decision(decision: str, layer: str) -> Decision:
    choice = choice_of(decision)
    return Decision(layer=layer, precision=choice.precision, prune=choice.prune)


def _name(given: str | float) -> str:
    known = [precision for precision in get_args(Precision) if precision != FLOAT]
    text = str(given).removeprefix(_PRUNE)
    if text in known:
        return text
    try:
        part = float(text)
    except ValueError:
        close = did_you_mean(text, known)
        raise UsageError(
            f"There is no decision '{text}'{close}. Give a precision ({', '.join(known)}) or a part of the channels to prune, such as 0.25."
        ) from None
    if not 0 < part < 1:
        raise UsageError(f"A part of the channels to prune is {text}; give one above 0 and below 1, such as 0.25.")
    return f"{_PRUNE}{part:g}"
