"""How many channels of each group stay: what the recipe wishes for its layers, brought together and rounded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeprof.errors import RecipeError
from edgeprof.recipes.pruning.groups import Block, Coupling
from edgeprof.recipes.recipe import Choice

_LESSER_MULTIPLES = (8, 4)


@dataclass(frozen=True)
class Width:
    """Of ``total`` units ``stay`` stay; ``multiple`` is what the number of channels was rounded up to, 1 where it was not."""

    total: int
    stay: int
    multiple: int = 1


@dataclass(frozen=True)
class Wish:
    """What is wished for a group: ``part`` of its channels stays, or ``channels`` of the layer ``of``; chosen by ``importance``."""

    of: str
    part: float
    channels: int | None = None
    importance: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is to go."""
        return self.part >= 1


def round_up(wanted: float, total: int, multiple: int, step: int = 1) -> Width:
    """How many of ``total`` channels stay when ``wanted`` should, in units of ``step`` channels.

    The smallest multiple of ``multiple`` that is not below ``wanted``, if something still goes then; else of 8, of 4, else the smallest
    whole number of units. At least one unit stays.
    """
    wanted = min(max(wanted, step), total)
    for one in dict.fromkeys(one for one in (multiple, *_LESSER_MULTIPLES) if 1 < one <= multiple):
        block = math.lcm(one, step)
        rounded = math.ceil(wanted / block - 1e-9) * block
        if rounded < total:
            return Width(total // step, rounded // step, one)
    return Width(total // step, max(1, math.ceil(wanted / step - 1e-9)))


def wishes(coupling: Coupling, choices: Mapping[str, Choice]) -> dict[str, Wish]:
    """What is wished for each group, by its name; groups of whose layers nothing is said are left out.

    1. What is wished for one layer holds for its group.
    2. A layer that is called by its name comes before patterns; two that are and that differ are a RecipeError.
    3. Of the wishes that patterns bring the one that leaves most is taken. A wish for 0 counts: it keeps the group whole.
    """
    found: dict[str, Wish] = {}
    for group in coupling.groups:
        said = {layer: choices[layer] for layer in group.layers if layer in choices and _says(choices[layer])}
        if not said:
            continue
        named = {layer: choice for layer, choice in said.items() if choice.named & {"prune", "channels"}}
        all_said = {layer: _wish(coupling, layer, choice) for layer, choice in (named or said).items()}
        strongest = max(all_said.values(), key=lambda wish: wish.part)
        if named:
            _agree(all_said, choices)
        importance = next((choice.importance for choice in (*named.values(), *said.values()) if choice.importance), None)
        found[group.name] = Wish(strongest.of, strongest.part, strongest.channels, importance)
    return found


def _says(choice: Choice) -> bool:
    return choice.prune is not None or choice.channels is not None


def _wish(coupling: Coupling, layer: str, choice: Choice) -> Wish:
    total = len(coupling.made[layer])
    if choice.channels is not None:
        return Wish(layer, min(1.0, choice.channels / total), choice.channels)
    return Wish(layer, 1 - (choice.prune or 0.0))


def _agree(said: Mapping[str, Wish], choices: Mapping[str, Choice]) -> None:
    (first, one), *others = said.items()
    for layer, wish in others:
        if not math.isclose(one.part, wish.part, abs_tol=1e-9):
            line = choices[layer].lines.get("channels" if wish.channels is not None else "prune", 0)
            raise RecipeError(
                f"{f'line {line}: ' if line else ''}'{layer}' and '{first}' can only lose channels together, and different parts of them are"
                f" to stay ({wish.part:.4g} and {one.part:.4g}). Ask the same of both, or only of one."
            )


def width(coupling: Coupling, block: Block, wish: Wish, multiple: int) -> Width:
    """How many units of the block stay. A number of channels is taken as it is said, a part is rounded up."""
    labels = coupling.made[wish.of]
    total = int(np.isin(labels, block.units).sum())
    if not total:  # channels of other layers of the group
        total = max(int(np.isin(labels, block.units).sum()) for labels in coupling.made.values())
    step = total // len(block.units)
    if wish.channels is not None:
        whole = len(labels) == total
        wanted = wish.channels if whole else wish.part * total
        return Width(len(block.units), min(len(block.units), max(1, math.ceil(wanted / step - 1e-9))))
    return round_up(wish.part * total, total, multiple, step)
