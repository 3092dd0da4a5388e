"""The Python that does what was done in a Workbench, by public calls alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from edgeprof.recipes.recipe import Decision, Recipe
from edgeprof.workbench.candidates import Candidate

_FIELDS = ("precision", "prune", "channels", "importance", "sparsity")


def code_of(
    model: str, candidates: Sequence[Candidate], recipe: Recipe, *, board: object, data: object, study: str, options: Mapping[str, Any],
    learning: Mapping[str, Any],
) -> str:  # fmt: skip
    """Python that builds, measures and estimates the candidates in the same study, where it finds what is there already.

    ``recipe`` is added when it is none of them. What is no plain value (arrays, a board of one's own) is a name that must be given first.
    """
    every = [one for one in candidates if one.recipe is not None]
    if recipe.decisions and not any(one.is_of(recipe) for one in every):
        every.append(Candidate("now", recipe.name or "recipe", recipe))
    given, head = _given(board, data)
    settings = [f"study={study!r}"] if study else []
    settings += [f"{name}={value!r}" for name, value in options.items()]
    names = {one.key: "recipe" if one.key == "now" else one.key for one in every}
    lines = ["import edgeprof as ep", "from edgeprof.recipes import Decision, Quantization, Recipe", *head, ""]
    for one in every:
        lines += [f"# {_comment(one.name)}", f"{names[one.key]} = {_recipe(one.recipe)}" if one.recipe is not None else "", ""]
    lines += [f"with ep.Workshop({model!r}, {', '.join([*given, *settings])}) as shop:", "    profiles = [shop.base()]"]
    only_estimated = [one for one in every if one.measured is None and one.estimated is not None]
    if only_estimated:
        told = ", ".join(f"{name}={value!r}" for name, value in learning.items())
        lines.append(f"    known = ep.measure_variants(shop, {told})")
    for one in every:
        if one in only_estimated:
            lines.append(f"    profiles.append(ep.estimate(known.base, {names[one.key]}, known.profiles))")
        else:
            lines.append(f"    profiles.append(shop.measure({names[one.key]}))")
    return "\n".join([*lines, "", "ep.pareto(profiles)"]) + "\n"


def code_of_profiles(paths: Sequence[str]) -> str:
    """Python that looks at profiles which are there. Those that came as objects are names that must be given first."""
    loaded = [f"ep.load({path!r})" if path else f"profile_{number}" for number, path in enumerate(paths, 1)]
    lines = ["import edgeprof as ep", ""]
    lines += [f"# profile_{number} is one that was given to the Workbench" for number, path in enumerate(paths, 1) if not path]
    return (
        "\n".join([*lines, f"profiles = [{', '.join(loaded)}]", "", "ep.pareto(profiles)" if len(paths) > 1 else "ep.bars(profiles[0])"])
        + "\n"
    )


def _given(board: object, data: object) -> tuple[list[str], list[str]]:
    """Arguments for board and data, and lines that say what must be given first."""
    arguments, head = [], []
    if isinstance(board, str):
        arguments.append(f"board={board!r}")
    else:
        arguments.append("board=board")
        head.append("# board: the one that was given to the Workbench")
    if isinstance(data, str | os.PathLike):
        arguments.append(f"data={os.fspath(data)!r}")
    elif data is not None:
        arguments.append("data=data")
        head.append("# data: what was given to the Workbench")
    return arguments, head


def _recipe(recipe: Recipe) -> str:
    parts = []
    for (by_name, *said), block in groupby(recipe.decisions, key=lambda one: (bool(one.layer), *(getattr(one, name) for name in _FIELDS))):
        decisions = list(block)
        if by_name and len(decisions) > 1:
            names = ", ".join(repr(one.layer) for one in decisions)
            decided = ", ".join(f"{name}={value!r}" for name, value in zip(_FIELDS, said, strict=True) if value is not None)
            parts.append(f"    *(Decision(layer=name, {decided}) for name in [{names}]),")
        else:
            parts += [f"    {_decision(one)}," for one in decisions]
    quantization = recipe.quantization
    settings = [f"name={recipe.name!r}"] if recipe.name else []
    if quantization != type(quantization)():
        told = ", ".join(f"{name}={getattr(quantization, name)!r}" for name in ("activation_type", "per_channel", "calibration"))
        settings.append(f"quantization=Quantization({told})")
    return "\n".join(["Recipe((", *parts, f"){''.join(f', {one}' for one in settings)})"])


def _decision(decision: Decision) -> str:
    said = {name: getattr(decision, name) for name in ("layer", "pattern", "op_type", *_FIELDS)}
    return f"Decision({', '.join(f'{name}={value!r}' for name, value in said.items() if value not in ('', None))})"


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:100]


def shown_path(path: str) -> str:
    """A path as it reads best: relative when it lies below the current folder."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path
