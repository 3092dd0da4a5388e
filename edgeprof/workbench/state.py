"""What a Workbench keeps of itself in its study: ``workbench.json``.

It may have been written by anybody: it is bounded, nothing of it is a path, and what makes no sense is left out, piece by piece, and said
in one sentence. Profiles and models are not in it; they lie in the study and are found by the recipes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edgeprof._version import __version__
from edgeprof.errors import RecipeError
from edgeprof.recipes.recipe import Recipe, parse_recipe, recipe_text
from edgeprof.records.bundle import write_atomically
from edgeprof.workbench.selection import Held

NAME = "workbench.json"
FORMAT = 1
MOST_BYTES = 16 << 20
MOST_CANDIDATES = 10_000
MOST_RECIPES = 200
MOST_UNDO_BYTES = 4 << 20
"""Of all recipes that can be gone back to, as text; the oldest are not written when there are more."""

T = TypeVar("T")


@dataclass(frozen=True)
class KeptCandidate:
    """What is written of a candidate."""

    key: str
    name: str
    recipe: Recipe
    scores: Mapping[str, Any] | None = None
    failed: str = ""


@dataclass(frozen=True)
class State:
    """All that is written; see the fields of `Bench`. ``recipes[at]`` is the recipe that is now."""

    model_name: str = ""
    model_sha256: str = ""
    board: str = "local"
    options: Mapping[str, Any] = field(default_factory=dict)
    shown: str = ""
    held: Held = field(default_factory=Held)
    recipes: tuple[Recipe, ...] = (Recipe(),)
    at: int = 0
    candidates: tuple[KeptCandidate, ...] = ()
    learned: Mapping[str, Any] | None = None


def write(state: State, folder: Path) -> None:
    """Writes the state, whole or not at all. OutputError when that fails."""
    write_atomically(folder / NAME, text_of(state).encode())


def text_of(state: State) -> str:
    """The state as JSON."""
    recipes, at = _bounded(state.recipes, state.at)
    held = state.held
    told = {
        "format": FORMAT,
        "edgeprof": __version__,
        "model": {"name": state.model_name, "sha256": state.model_sha256},
        "board": state.board,
        "options": dict(state.options),
        "shown": state.shown,
        "selection": {
            "subject": held.subject, "layers": held.layers, "nodes": sorted(held.nodes), "loose": sorted(held.loose), "runs": held.runs,
            "candidates": held.candidates,
        },
        "undo": {"recipes": recipes, "at": at},
        "candidates": [
            {"key": one.key, "name": one.name, "recipe": recipe_text(one.recipe), "scores": _plain(one.scores), "failed": one.failed}
            for one in state.candidates
        ],
        "learned": state.learned,
    }  # fmt: skip
    return json.dumps(told, indent=1, allow_nan=False)


def read(folder: Path) -> tuple[State | None, str]:
    """The state in a study, and what must be said of it in a sentence: None where there is none, defaults for what is damaged."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return (
            None,
            f"{path} cannot be read ({error.strerror or error}), so the Workbench begins anew; profiles and models are still there.",
        )
    if len(data) > MOST_BYTES:
        return None, f"{path} is larger than {MOST_BYTES >> 20} MiB, which no Workbench writes; it begins anew, with what else is there."
    return parse(data, str(path))


def parse(data: bytes, name: str = NAME) -> tuple[State | None, str]:
    """The state that ``data`` says; see `read`."""
    try:
        told = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
        if not isinstance(told, dict):
            raise ValueError("it is no table")
    except (ValueError, RecursionError) as error:
        text = " ".join(str(error).split())[:120]
        return None, f"{name} is damaged ({text}), so the Workbench begins anew; profiles and models are still there."
    if told.get("format") != FORMAT:
        return None, f"{name} was written by another edgeprof (format {str(told.get('format'))[:20]}), so the Workbench begins anew."
    lost: list[str] = []

    def part(what: str, make: Callable[[], T], default: T) -> T:
        try:
            return make()
        except (KeyError, TypeError, ValueError, AttributeError, RecipeError, RecursionError):
            lost.append(what)
            return default

    nothing: tuple[tuple[Recipe, ...], int] = ((Recipe(),), 0)
    recipes, at = part("undo steps", lambda: _undo(told["undo"]), nothing)
    candidates: list[KeptCandidate] = []
    every: list[Any] = part("candidates", lambda: _list(told["candidates"], MOST_CANDIDATES), [])
    for number, one in enumerate(every, 1):
        made = part(f"candidate {number}", lambda one=one: _candidate(one), None)  # type: ignore[misc]
        if made is not None and made.key not in {other.key for other in candidates}:
            candidates.append(made)
    state = State(
        model_name=part("model", lambda: _text(told["model"]["name"]), ""),
        model_sha256=part("model", lambda: _text(told["model"]["sha256"]), ""),
        board=part("board", lambda: _text(told["board"]), "local"),
        options=part("options", lambda: _dict(told["options"]), {}),
        shown=part("shown", lambda: _text(told["shown"]), ""),
        held=part("selection", lambda: _held(told["selection"]), Held()),
        recipes=recipes,
        at=at,
        candidates=tuple(candidates),
        learned=part("learned", lambda: None if told["learned"] is None else _dict(told["learned"]), None),
    )
    what = ", ".join(dict.fromkeys(lost))
    return state, f"{name} is damaged: {what[:200]} could not be read and is left out; all else is there." if lost else ""


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that can be written, and read again as what they were."""
    return {name: value for name, value in options.items() if _is_plain(value)}


def _bounded(recipes: tuple[Recipe, ...], at: int) -> tuple[list[str], int]:
    """Recipes as text, those nearest to the one that is now, as many as there is room for."""
    texts = [recipe_text(recipe) for recipe in recipes]
    first, last = at, at
    room = MOST_UNDO_BYTES - len(texts[at])
    while last - first + 1 < MOST_RECIPES:
        before, after = first - 1 >= 0, last + 1 < len(texts)
        if before and len(texts[first - 1]) <= room:
            first -= 1
            room -= len(texts[first])
        elif after and len(texts[last + 1]) <= room:
            last += 1
            room -= len(texts[last])
        else:
            break
    return texts[first : last + 1], at - first


def _undo(told: Mapping[str, Any]) -> tuple[tuple[Recipe, ...], int]:
    texts, at = _list(told["recipes"], MOST_RECIPES), told["at"]
    if type(at) is not int or not 0 <= at < len(texts):
        raise ValueError
    return tuple(parse_recipe(_text(text)) for text in texts), at


def _candidate(told: Mapping[str, Any]) -> KeptCandidate:
    key = _text(told["key"])
    if not (key.startswith("c") and key[1:].isascii() and key[1:].isdigit() and len(key) < 10):
        raise ValueError
    scores = None if told["scores"] is None else {_text(name): _dict(record) for name, record in _dict(told["scores"]).items()}
    return KeptCandidate(key, _text(told["name"]), parse_recipe(_text(told["recipe"])), scores, _text(told["failed"]))


def _held(told: Mapping[str, Any]) -> Held:
    runs = _list(told["runs"])
    if any(type(run) is not int for run in runs):
        raise ValueError
    names = {name: tuple(map(_text, _list(told[name]))) for name in ("layers", "nodes", "loose", "candidates")}
    return Held(
        _text(told["subject"]), names["layers"], frozenset(names["nodes"]), frozenset(names["loose"]), tuple(runs), names["candidates"]
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError
    return value


def _list(value: object, most: int = 1_000_000) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError
    return value


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError
    return value


def _no_constant(text: str) -> float:
    raise ValueError(f"it has the number {text}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_plain(value: object) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False
