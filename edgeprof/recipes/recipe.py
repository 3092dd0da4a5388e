"""A `Recipe`: what is to be changed in a model, layer by layer, as data. ``*.recipe.toml`` is the same as text.

    format = 1
    name = "int8, the first layer float, the blocks a quarter narrower"

    [quantization]                  # of all layers that are int8; may be left out
    activation_type = "auto"        # auto, uint8, int8
    per_channel = true
    calibration = "minmax"          # minmax, entropy, percentile

    [[decisions]]                   # in order: what a later one says of a layer stands
    op_type = "Conv"                # or layer = a node's name, or pattern = "/block*/conv/*"
    precision = "int8"              # fp32, fp16, int8, int8-weights, int4-weights

    [[decisions]]
    layer = "/stem/conv/Conv"
    precision = "fp32"

    [[decisions]]
    pattern = "/block?/expand/*"
    prune = 0.25                    # part of the output channels that go; or channels = 48, those that stay
    importance = "l2"               # l1, l2, activation

    [[decisions]]
    op_type = "Gemm"
    sparsity = 0.5                  # part of the weights that become zero

Precision, pruning and sparsity are decided apart: a decision changes of a layer only what it names.
"""

from __future__ import annotations

import fnmatch
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from edgeprof.errors import OutputError, RecipeError, did_you_mean
from edgeprof.models.graph import Graph, Layer

FORMAT = 1
FLOAT = "fp32"
SUFFIX = ".recipe.toml"
MOST_BYTES = 4 << 20
MOST_DECISIONS = 100_000

Precision = Literal["fp32", "fp16", "int8", "int8-weights", "int4-weights"]
"""``int8``: weights and activations (static QDQ). ``int8-weights``, ``int4-weights``: weights alone, computed in float."""
Importance = Literal["l1", "l2", "activation"]
ActivationType = Literal["auto", "uint8", "int8"]
Calibration = Literal["minmax", "entropy", "percentile"]
SELECTORS = ("layer", "pattern", "op_type")


@dataclass(frozen=True)
class Quantization:
    """How the layers that are int8 are quantized. ``activation_type`` auto follows the processor (`recipes.target`)."""

    activation_type: ActivationType = "auto"
    per_channel: bool = True
    calibration: Calibration = "minmax"


@dataclass(frozen=True)
class Decision:
    """What is to happen to the layers that one of ``layer`` (a node's name), ``pattern`` (``*``, ``?``, ``[...]``) or ``op_type`` selects.

    ``prune``: part of the output channels that go, in [0, 1); ``channels``: how many stay. ``importance``: which channels matter least.
    ``sparsity``: part of the weights that become zero, in [0, 1). ``line`` is where it stands in its file, 0 for none; it does not count
    when decisions are compared.
    """

    layer: str = ""
    pattern: str = ""
    op_type: str = ""
    precision: Precision | None = None
    prune: float | None = None
    channels: int | None = None
    importance: Importance | None = None
    sparsity: float | None = None
    line: int = field(default=0, compare=False)

    @property
    def selector(self) -> str:
        """Which layers, in words: ``layer '/conv'``."""
        return next((f"{kind.replace('_', ' ')} '{getattr(self, kind)}'" for kind in SELECTORS if getattr(self, kind)), "no layer")

    def selects(self, layer: Layer) -> bool:
        """Whether it is about ``layer``."""
        if self.layer:
            return layer.name == self.layer
        if self.pattern:
            return fnmatch.fnmatchcase(layer.name, self.pattern)
        return layer.op_type == self.op_type


@dataclass(frozen=True)
class Recipe:
    """An ordered list of `Decision`s. The constructor checks each; RecipeError names what makes no sense.

    ``model_sha256`` says which model it was written for, where that is known.
    """

    decisions: tuple[Decision, ...] = ()
    quantization: Quantization = Quantization()
    name: str = ""
    model_sha256: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "decisions", tuple(self.decisions))
        if len(self.decisions) > MOST_DECISIONS:
            raise RecipeError(f"The recipe has {len(self.decisions):,} decisions; at most {MOST_DECISIONS:,} are taken.")
        for setting in fields(Quantization):
            _one_of(setting.name, getattr(self.quantization, setting.name), _CHOICES.get(setting.name, (True, False)), 0)
        for decision in self.decisions:
            _check(decision)

    def __add__(self, others: Iterable[Decision]) -> Recipe:
        """The same recipe with more decisions behind."""
        return replace(self, decisions=(*self.decisions, *others))


@dataclass(frozen=True)
class Choice:
    """What a recipe says of one layer, all decisions together. None: nothing is said, the layer stays as it is.

    ``named`` says for each field that is set whether a decision called the layer by its own name: then it must be done, or the recipe is
    refused; what a pattern or an op type brings to a layer that cannot have it is left out and reported.
    """

    precision: Precision | None = None
    prune: float | None = None
    channels: int | None = None
    importance: Importance | None = None
    sparsity: float | None = None
    named: frozenset[str] = frozenset()
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def is_pruned(self) -> bool:
        """Whether channels are to go."""
        return self.channels is not None or bool(self.prune)


def choices(recipe: Recipe, graph: Graph) -> dict[str, Choice]:
    """What ``recipe`` says of each layer of ``graph`` that it says anything of, in the model's order.

    Nested layers (of If, Loop, functions) are not changed and cannot be selected.

    Raises:
        RecipeError: a decision selects no layer; the sentence has its line and the nearest names.
    """
    layers = [layer for layer in graph.layers if layer.parent is None]
    by_name = {layer.name: layer for layer in layers}
    by_op: dict[str, list[Layer]] = {}
    for layer in layers:
        by_op.setdefault(layer.op_type, []).append(layer)
    found: dict[str, Choice] = {}
    for decision in recipe.decisions:
        if decision.layer:
            selected = [by_name[decision.layer]] if decision.layer in by_name else []
        else:
            selected = by_op.get(decision.op_type, []) if decision.op_type else [layer for layer in layers if decision.selects(layer)]
        if not selected:
            raise RecipeError(_selects_none(decision, graph, layers))
        for layer in selected:
            found[layer.name] = _merged(found.get(layer.name, Choice()), decision)
    return {layer.name: found[layer.name] for layer in layers if layer.name in found}


def _merged(choice: Choice, decision: Decision) -> Choice:
    said = {name: getattr(decision, name) for name in _DECIDED if getattr(decision, name) is not None}
    if "prune" in said or "channels" in said:
        said = {"prune": None, "channels": None} | said
    named = (choice.named - set(said)) | (set(said) if decision.layer else set())
    return replace(choice, **said, named=frozenset(named), lines={**choice.lines, **dict.fromkeys(said, decision.line)})


def _selects_none(decision: Decision, graph: Graph, layers: list[Layer]) -> str:
    at = _at(decision.line)
    if decision.layer:
        inner = {layer.name for layer in graph.layers if layer.parent is not None}
        if decision.layer in inner:
            return (
                f"{at}'{decision.layer}' runs inside another layer (If, Loop or a function), whose layers cannot be changed. Leave it out."
            )
        return f"{at}{graph.name} has no layer '{decision.layer}'{did_you_mean(decision.layer, [layer.name for layer in layers])}."
    if decision.op_type:
        ops = sorted({layer.op_type for layer in layers})
        close = did_you_mean(decision.op_type, ops)
        return f"{at}{graph.name} has no layer of op type '{decision.op_type}'{close}. It has: {', '.join(ops[:30])}."
    some = ", ".join(f"'{layer.name}'" for layer in layers[:3])
    return f"{at}No layer of {graph.name} matches the pattern '{decision.pattern}'. Its layers are called {some} and so on."


# As text


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in the file at ``path``. RecipeError names the line that makes no sense."""
    file = Path(path)
    try:
        with file.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"There is no recipe to read at {file}: {error.strerror or error}. Check the path.") from error
    if len(data) > MOST_BYTES:
        raise RecipeError(f"{file.name} is larger than {MOST_BYTES:,} bytes; a recipe is not.")
    try:
        return parse_recipe(data.decode())
    except UnicodeDecodeError as error:
        raise RecipeError(f"{file.name} is no UTF-8 text; a recipe is TOML. Check the path.") from error
    except RecipeError as error:
        raise RecipeError(f"{file.name}: {error}") from error


def parse_recipe(text: str) -> Recipe:
    """The recipe that ``text`` says. RecipeError names the line that makes no sense."""
    try:
        said = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"That is no TOML: {error}. Correct it.") from error
    lines = _lines_of(text)
    _check_keys(said, ("format", "name", "model_sha256", "quantization", "decisions"), "A recipe", 0)
    if said.get("format", FORMAT) != FORMAT:
        raise RecipeError(f"format is {said['format']!r}; this edgeprof reads {FORMAT}. Update edgeprof, or write format = {FORMAT}.")
    texts = {key: said.get(key, "") for key in ("name", "model_sha256")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise RecipeError(f"{key} is {value!r}; expected a text.")
    settings, decisions = said.get("quantization", {}), said.get("decisions", [])
    if not isinstance(settings, dict):
        raise RecipeError("quantization is no table; write [quantization] and its settings below.")
    _check_keys(settings, [setting.name for setting in fields(Quantization)], "quantization", 0)
    if not isinstance(decisions, list) or not all(isinstance(entry, dict) for entry in decisions):
        raise RecipeError("decisions is no list of tables; write [[decisions]] above each.")
    found = [_decision(entry, lines[position] if position < len(lines) else 0) for position, entry in enumerate(decisions)]
    return Recipe(tuple(found), Quantization(**settings), **texts)


def recipe_text(recipe: Recipe) -> str:
    """The recipe as TOML, of which `parse_recipe` makes the same recipe. One decision a block, so that two can be compared line by line."""
    lines = [f"format = {FORMAT}"]
    lines += [f"{key} = {_toml(getattr(recipe, key))}" for key in ("name", "model_sha256") if getattr(recipe, key)]
    settings = [setting for setting in fields(Quantization) if getattr(recipe.quantization, setting.name) != setting.default]
    if settings:
        lines += ["", "[quantization]", *(f"{setting.name} = {_toml(getattr(recipe.quantization, setting.name))}" for setting in settings)]
    for decision in recipe.decisions:
        said = {name: getattr(decision, name) for name in (*SELECTORS, *_DECIDED)}
        lines += ["", "[[decisions]]", *(f"{name} = {_toml(value)}" for name, value in said.items() if value not in ("", None))]
    return "\n".join(lines) + "\n"


def write_recipe(recipe: Recipe, path: str | Path) -> Path:
    """Writes the recipe to ``path``, whole or not at all, and returns it. OutputError when it cannot be written."""
    file = Path(path)
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_text(recipe_text(recipe), encoding="utf-8")
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"{file} cannot be written: {error.strerror or error}. Free space or change permissions, then try again."
        ) from error
    return file


def _decision(said: Mapping[str, Any], line: int) -> Decision:
    _check_keys(said, (*SELECTORS, *_DECIDED), "A decision", line)
    decision = Decision(**said, line=line)
    _check(decision)
    return decision


def _check(decision: Decision) -> None:
    """RecipeError unless the decision makes sense by itself."""
    at = _at(decision.line)
    given = [kind for kind in SELECTORS if getattr(decision, kind) != ""]
    if len(given) != 1:
        came = " and ".join(given) or "none of them"
        raise RecipeError(f"{at}A decision selects layers by one of layer, pattern or op_type; this one has {came}.")
    if not isinstance(getattr(decision, given[0]), str):
        raise RecipeError(f"{at}{given[0]} is {getattr(decision, given[0])!r}; expected a text.")
    said = [name for name in _DECIDED if getattr(decision, name) is not None]
    if not set(said) - {"importance"}:
        raise RecipeError(f"{at}The decision for {decision.selector} decides nothing. Give precision, prune, channels or sparsity.")
    if decision.prune is not None and decision.channels is not None:
        raise RecipeError(f"{at}The decision for {decision.selector} has both prune and channels. Give one of them.")
    if decision.importance is not None and decision.prune is None and decision.channels is None:
        raise RecipeError(f"{at}The decision for {decision.selector} has an importance and prunes nothing. Give prune or channels with it.")
    for name in ("precision", "importance"):
        if getattr(decision, name) is not None:
            _one_of(name, getattr(decision, name), _CHOICES[name], decision.line)
    for name in ("prune", "sparsity"):
        value = getattr(decision, name)
        if value is not None and not (_is_number(value) and 0 <= value < 1):
            raise RecipeError(f"{at}{name} is {value!r}; expected a part from 0 up to but not 1.")
    channels = decision.channels
    if channels is not None and (not isinstance(channels, int) or isinstance(channels, bool) or channels < 1):
        raise RecipeError(f"{at}channels is {channels!r}; expected how many stay, 1 or more.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _one_of(name: str, value: object, known: Iterable[object], line: int) -> None:
    if isinstance(value, str | bool) and value in (known := list(known)):
        return
    close = did_you_mean(value, [one for one in known if isinstance(one, str)]) if isinstance(value, str) else ""
    raise RecipeError(f"{_at(line)}{name} is {value!r}{close}; expected one of {', '.join(str(one) for one in known)}.")


def _check_keys(said: Mapping[str, Any], known: Iterable[str], what: str, line: int) -> None:
    for key in said:
        if key not in (known := list(known)):
            raise RecipeError(
                f"{_at(line)}{what} has '{key}', which means nothing{did_you_mean(key, known)}. Known are: {', '.join(known)}."
            )


def _lines_of(text: str) -> list[int]:
    """The line of each ``[[decisions]]``, from 1. A text inside a multi-line string may look like one; lines are then a little off."""
    return [number for number, line in enumerate(text.splitlines(), 1) if _HEADER.match(line)]


def _at(line: int) -> str:
    return f"line {line}: " if line else ""


def _toml(value: str | bool | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_escaped(value)) + '"'
    return repr(value)


def _escaped(text: str) -> Iterator[str]:
    for c in text:
        if c in '"\\':
            yield f"\\{c}"
        elif c < " " or c == "\x7f":
            yield f"\\u{ord(c):04x}"
        else:
            yield c


_HEADER = re.compile(r"\s*\[\[\s*[\"']?decisions[\"']?\s*\]\]")
_DECIDED = ("precision", "prune", "channels", "importance", "sparsity")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "precision": get_args(Precision),
    "importance": get_args(Importance),
    "activation_type": get_args(ActivationType),
    "calibration": get_args(Calibration),
}
