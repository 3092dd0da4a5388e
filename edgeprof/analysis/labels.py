"""What tells several profiles apart, in few words: board, recipe, precision, threads, and whether it is an estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeprof.analysis.names import shorten
from edgeprof.errors import EdgeprofError
from edgeprof.recipes.recipe import FLOAT, parse_recipe
from edgeprof.records.profile import Profile

_Tell = Callable[[Profile], str]


def board_labels(profiles: Sequence[Profile]) -> tuple[str, ...]:
    """What tells profiles of one model apart: the board, and then only what differs (threads, runtime ...). No two are equal."""
    told = [[_board(profile)] for profile in profiles]
    for tell in DIFFERENCES:
        told = _with(told, [tell(profile) for profile in profiles])
    return tuple(unique([", ".join(words) for words in told]))


def profile_labels(profiles: Sequence[Profile]) -> tuple[str, ...]:
    """What tells profiles of a model and of models made from it apart. No two are equal.

    1. The recipe or the model, the board and whether it was measured stand in a label where they differ between profiles.
    2. Threads do too; runtime, precision and the rest only where two labels would be equal without them, the date after those.
    3. Where nothing of it differs the board stands, or that it was measured, and a number.
    """
    told: list[list[str]] = [[] for _ in profiles]
    first: tuple[_Tell, ...] = (_model, _board, _threads)
    for tell in first:
        told = _with(told, [tell(profile) for profile in profiles])
    told = _with(told, [profile.basis for profile in profiles], unless="measured")
    for tell in (*DIFFERENCES, _date):
        if len({tuple(words) for words in told}) < len(told):
            told = _with(told, [tell(profile) for profile in profiles])
    several = len({profile.basis for profile in profiles}) > 1
    alone = [profile.basis if several else _board(profile) for profile in profiles]
    return tuple(unique([", ".join(words) or other for words, other in zip(told, alone, strict=True)]))


def _with(told: list[list[str]], texts: Sequence[str], unless: str = "") -> list[list[str]]:
    """``told`` with another word each, where there are different ones."""
    if len({text for text in texts if text}) < 2:
        return told
    return [[*words, text] if text and text != unless and text not in words else words for words, text in zip(told, texts, strict=True)]


def _board(profile: Profile) -> str:
    return shorten(profile.context.board, 40) or "?"


def _model(profile: Profile) -> str:
    """What the recipe is called or does; without one the model's name."""
    return recipe_word(profile) or shorten(profile.context.model_name, 40)


def recipe_word(profile: Profile) -> str:
    """The name of the recipe that the model was made by, or what it decides; empty for a model as it came."""
    if not profile.context.recipe:
        return ""
    try:
        recipe = parse_recipe(profile.context.recipe)
    except EdgeprofError:
        return "a recipe"
    precisions = "/".join(sorted({one.precision for one in recipe.decisions if one.precision and one.precision != FLOAT}))
    does = [
        precisions,
        "pruned" * any(bool(one.prune) or one.channels is not None for one in recipe.decisions),
        "sparse" * any(one.sparsity is not None for one in recipe.decisions),
    ]
    return shorten(recipe.name or " ".join(filter(None, does)) or "a recipe", 40)


def _date(profile: Profile) -> str:
    return profile.context.started_at[:16].replace("T", " ")


def _threads(profile: Profile) -> str:
    threads = profile.context.threads
    return "" if threads is None else f"{threads} thread{'s' * (threads != 1)}"


def _optimization(profile: Profile) -> str:
    return f"optimization {profile.context.optimization}" if profile.context.optimization else ""


def _precision(profile: Profile) -> str:
    return "/".join(sorted(set(profile.measured_layers["precision"]) - {""}))


def _shapes(profile: Profile) -> str:
    return " ".join("×".join(map(str, shape)) for shape in profile.context.input_shapes.values())


def _runtime(profile: Profile) -> str:
    """Runtime and version; nothing for a simulated one, whose origin says it all."""
    return "" if profile.basis == "simulated" else f"{profile.context.runtime} {profile.context.runtime_version}".strip()


DIFFERENCES: tuple[_Tell, ...] = (
    _runtime,
    lambda profile: "/".join(name.removesuffix("ExecutionProvider") for name in profile.context.providers),
    _threads, _precision, _optimization, _shapes,
)  # fmt: skip
"""What tells two profiles of a model on one board apart, each a short text or nothing."""


def unique(names: Sequence[str]) -> list[str]:
    """``names``, later ones of the same name with a number: ``conv``, ``conv (2)``."""
    taken: set[str] = set()
    made = []
    for name in names:
        unique, number = name, 1
        while unique in taken:
            number += 1
            unique = f"{name} ({number})"
        taken.add(unique)
        made.append(unique)
    return made
