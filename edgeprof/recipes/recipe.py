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

import contextlib
import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeprof import toml_text
from edgeprof.errors import OutputError, RecipeError, did_you_mean
from edgeprof.models.graph import Graph, Layer
from edgeprof.toml_text import Place, line_of

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
FLOAT = "fp32"
SUFFIX = ".recipe.toml"
MOST_BYTES = 4 << 20
MOST_DECISIONS = 100_000
MOST_CHANNELS = 1 << 31
MOST_SHOWN = 120
"""Letters of a name or value that a sentence shows."""

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
        return next((f"{kind.replace('_', ' ')} {_shown(getattr(self, kind))}" for kind in SELECTORS if getattr(self, kind)), "no layer")

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
            _one_of(setting.name, getattr(self.quantization, setting.name), _SETTINGS[setting.name], 0)
        for key in ("name", "model_sha256"):
            _check_text(key, getattr(self, key), 0)
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
    found: dict[str, _Said] = {}
    for decision in recipe.decisions:
        if decision.layer:
            selected = [by_name[decision.layer]] if decision.layer in by_name else []
        else:
            selected = by_op.get(decision.op_type, []) if decision.op_type else [layer for layer in layers if decision.selects(layer)]
        if not selected:
            raise RecipeError(_selects_none(decision, graph, layers))
        said = _said(decision)
        for layer in selected:
            found.setdefault(layer.name, {}).update(said)
    return {layer.name: _choice(found[layer.name]) for layer in layers if layer.name in found}


_Said = dict[str, tuple[Any, Decision]]
"""What is said of a layer by field, and by which decision."""


def _said(decision: Decision) -> _Said:
    said: _Said = {name: (getattr(decision, name), decision) for name in _DECIDED if getattr(decision, name) is not None}
    return {"prune": (None, decision), "channels": (None, decision)} | said if "prune" in said or "channels" in said else said


def _choice(said: _Said) -> Choice:
    return Choice(
        **{name: value for name, (value, _) in said.items()},
        named=frozenset(name for name, (_, decision) in said.items() if decision.layer),
        lines={name: decision.line for name, (_, decision) in said.items()},
    )


def diff_recipes(before: Recipe, after: Recipe, graph: Graph) -> pd.DataFrame:
    """What the two say differently of the layers of ``graph``: a row for each ``layer`` and ``field``, its values ``before`` and ``after``.

    None: nothing is said. Recipes that are written differently and say the same of every layer have no rows. How int8 layers are
    quantized is no layer's and stands first, with ``layer`` empty.
    """
    import pandas as pd

    rows: list[tuple[str, str, Any, Any]] = []
    for setting in fields(Quantization):
        old, new = (getattr(recipe.quantization, setting.name) for recipe in (before, after))
        if old != new:
            rows.append(("", setting.name, old, new))
    one, two, nothing = choices(before, graph), choices(after, graph), Choice()
    for layer in graph.layers:
        old_choice, new_choice = one.get(layer.name, nothing), two.get(layer.name, nothing)
        for name in _DECIDED:
            old, new = getattr(old_choice, name), getattr(new_choice, name)
            if old != new:
                rows.append((layer.name, name, old, new))
    return pd.DataFrame(rows, columns=["layer", "field", "before", "after"], dtype=object)


def _selects_none(decision: Decision, graph: Graph, layers: list[Layer]) -> str:
    at, name = _at(decision.line), graph.name
    if decision.layer:
        if any(layer.name == decision.layer for layer in graph.layers):
            inside = "runs inside another layer (If, Loop or a function), whose layers cannot be changed"
            return f"{at}{_shown(decision.layer)} {inside}. Leave it out."
        close = did_you_mean(decision.layer[:MOST_SHOWN], [layer.name for layer in layers])
        return f"{at}{name} has no layer {_shown(decision.layer)}{close}."
    if decision.op_type:
        ops = sorted({layer.op_type for layer in layers})
        close = did_you_mean(decision.op_type[:MOST_SHOWN], ops)
        return f"{at}{name} has no layer of op type {_shown(decision.op_type)}{close}. It has: {', '.join(ops[:30])}."
    some = ", ".join(_shown(layer.name) for layer in layers[:3])
    return f"{at}No layer of {name} matches the pattern {_shown(decision.pattern)}. Its layers are called {some} and so on."


# As text


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in the file at ``path``. RecipeError names the line that makes no sense."""
    file = Path(path)
    try:
        with file.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"There is no recipe to read at {file}: {reason}. Check the path.") from error
    if len(data) > MOST_BYTES:
        raise RecipeError(f"{file.name} is larger than {MOST_BYTES:,} bytes; a recipe is not.")
    try:
        return parse_recipe(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RecipeError(f"{file.name} is no UTF-8 text; a recipe is TOML. Check the path.") from error
    except RecipeError as error:
        raise RecipeError(f"{file.name}: {error}") from error


def parse_recipe(text: str) -> Recipe:
    """The recipe that ``text`` says. RecipeError names the line that makes no sense."""
    try:
        said, lines = toml_text.parse(text)
    except ValueError as error:
        raise RecipeError(f"That is no TOML: {error}. Correct it.") from error
    _check_keys(said, ("format", "name", "model_sha256", "quantization", "decisions"), "A recipe", lines)
    version = said.get("format", FORMAT)
    if type(version) is not int or version != FORMAT:
        at = _at(line_of(lines, "format"))
        raise RecipeError(f"{at}format is {_shown(version)}; this edgeprof reads {FORMAT}. Update edgeprof, or write format = {FORMAT}.")
    texts = {key: said.get(key, "") for key in ("name", "model_sha256")}
    for key, value in texts.items():
        _check_text(key, value, line_of(lines, key))
    settings, decisions = said.get("quantization", {}), said.get("decisions", [])
    if not isinstance(settings, dict):
        raise RecipeError(f"{_at(line_of(lines, 'quantization'))}quantization is no table; write [quantization] and its settings below.")
    _check_keys(settings, [setting.name for setting in fields(Quantization)], "quantization", lines, "quantization")
    for key, value in settings.items():
        _one_of(key, value, _SETTINGS[key], line_of(lines, "quantization", key))
    if not isinstance(decisions, list) or not all(isinstance(entry, dict) for entry in decisions):
        raise RecipeError(f"{_at(line_of(lines, 'decisions'))}decisions is no list of tables; write [[decisions]] above each.")
    return Recipe(tuple(_decision(entry, position, lines) for position, entry in enumerate(decisions)), Quantization(**settings), **texts)


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
    return write_whole(path, recipe_text(recipe).encode())


def write_whole(path: str | Path, data: bytes) -> Path:
    """Writes a file, whole or not at all, and returns its path. OutputError when it cannot be written."""
    file = Path(path)
    try:
        part = file.with_name(f".{file.name[:100]}.{os.getpid()}.part")
        try:
            part.write_bytes(data)
            part.replace(file)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except (OSError, ValueError) as error:  # ValueError: a path that has no name, or a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{str(file)!r} cannot be written: {reason}. Free space, change permissions or name another file.") from error
    return file


def _decision(said: Mapping[str, Any], position: int, lines: Mapping[Place, int]) -> Decision:
    _check_keys(said, (*SELECTORS, *_DECIDED), "A decision", lines, "decisions", position)
    decision = Decision(**said, line=line_of(lines, "decisions", position))
    _check(decision, {key: line_of(lines, "decisions", position, key) for key in said})
    return decision


def _check(decision: Decision, lines: Mapping[str, int] | None = None) -> None:
    """RecipeError unless the decision makes sense by itself; ``lines`` are those of its keys."""

    def at(*names: str) -> str:
        return _at(next((lines[name] for name in names if name in lines), decision.line) if lines else decision.line)

    given = [kind for kind in SELECTORS if getattr(decision, kind) != ""]
    if len(given) != 1:
        came = " and ".join(given) or "none of them"
        raise RecipeError(f"{at()}A decision selects layers by one of layer, pattern or op_type; this one has {came}.")
    _check_text(given[0], getattr(decision, given[0]), (lines or {}).get(given[0], decision.line))
    said = [name for name in _DECIDED if getattr(decision, name) is not None]
    if not set(said) - {"importance"}:
        raise RecipeError(f"{at()}The decision for {decision.selector} decides nothing. Give precision, prune, channels or sparsity.")
    if decision.prune is not None and decision.channels is not None:
        raise RecipeError(f"{at()}The decision for {decision.selector} has both prune and channels. Give one of them.")
    if decision.importance is not None and decision.prune is None and decision.channels is None:
        raise RecipeError(f"{at()}The decision for {decision.selector} has an importance and prunes nothing. Give prune or channels too.")
    for name in ("precision", "importance"):
        if getattr(decision, name) is not None:
            _one_of(name, getattr(decision, name), _CHOICES[name], (lines or {}).get(name, decision.line))
    for name in ("prune", "sparsity"):
        value = getattr(decision, name)
        if value is not None and not (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1):
            raise RecipeError(f"{at(name)}{name} is {_shown(value)}; expected a part from 0 up to but not 1.")
    channels = decision.channels
    if channels is not None and (not isinstance(channels, Integral) or isinstance(channels, bool) or not 1 <= channels <= MOST_CHANNELS):
        raise RecipeError(f"{at('channels')}channels is {_shown(channels)}; expected how many stay, 1 or more.")


def _check_text(name: str, value: object, line: int) -> None:
    if not isinstance(value, str):
        raise RecipeError(f"{_at(line)}{name} is {_shown(value)}; expected a text.")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise RecipeError(f"{_at(line)}{name} is {_shown(value)}, which holds half a character and cannot be written to a file.")


def _one_of(name: str, value: object, known: Iterable[object], line: int) -> None:
    known = list(known)
    if isinstance(value, str | bool) and value in known:
        return
    close = did_you_mean(value[:MOST_SHOWN], [one for one in known if isinstance(one, str)]) if isinstance(value, str) else ""
    expected = ", ".join(str(one).lower() if isinstance(one, bool) else str(one) for one in known)
    raise RecipeError(f"{_at(line)}{name} is {_shown(value)}{close}; expected one of {expected}.")


def _check_keys(said: Mapping[str, Any], known: Iterable[str], what: str, lines: Mapping[Place, int], *place: str | int) -> None:
    known = list(known)
    for key in said:
        if key not in known:
            at, close = _at(line_of(lines, *place, key)), did_you_mean(key[:MOST_SHOWN], known)
            raise RecipeError(f"{at}{what} has {_shown(key)}, which means nothing{close}. Known are: {', '.join(known)}.")


def _shown(value: object) -> str:
    """As it may stand in a sentence: on one line, and not too long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return "a number that is far too large"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


def _at(line: int) -> str:
    return f"line {line}: " if line else ""


def _toml(value: str | bool | float) -> str:
    """A value as TOML; numbers of NumPy are numbers."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_escaped(value)) + '"'
    return repr(float(value) if isinstance(value, float) else int(value))


def _escaped(text: str) -> Iterator[str]:
    for c in text:
        if c in '"\\':
            yield f"\\{c}"
        elif c < " " or c == "\x7f":
            yield f"\\u{ord(c):04x}"
        else:
            yield c


_DECIDED = ("precision", "prune", "channels", "importance", "sparsity")
_CHOICES: Mapping[str, tuple[str, ...]] = {"precision": get_args(Precision), "importance": get_args(Importance)}
_SETTINGS: Mapping[str, tuple[object, ...]] = {
    "activation_type": get_args(ActivationType),
    "per_channel": (True, False),
    "calibration": get_args(Calibration),
}
