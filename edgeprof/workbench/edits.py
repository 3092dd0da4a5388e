"""Changes of a recipe by pointing at layers: what each layer can have, what a decision takes along, and what the recipe says in words.

1. int8 is decided for layers that compute. Those that only pass values on or bound them (Relu, MaxPool, Reshape) become 8-bit with what
   they read, and leave with it (`recipes.plan.follow`); they stand in the recipe too, so that it says all that will be done.
2. Channels leave in whole groups: the decision stands at the layer that gives the group its name and holds for all of it.
3. A later decision replaces what earlier ones say of the same layers. What patterns and op types say stays where it is and is overruled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any, get_args

from edgeprof.analysis.names import listed as names_listed
from edgeprof.analysis.names import shorten
from edgeprof.errors import RecipeError, UsageError, did_you_mean
from edgeprof.models.graph import Graph, Layer
from edgeprof.recipes.kernels import ACTIVATIONS, COMPUTING, PASSING, is_quantized
from edgeprof.recipes.plan import WEIGHTED, follow, plan
from edgeprof.recipes.pruning.groups import Group, groups
from edgeprof.recipes.recipe import FLOAT, Choice, Decision, Precision, Recipe, choices
from edgeprof.recipes.target import Target

_PRUNING = ("prune", "channels", "importance")
_NO_CHOICE = Choice()


@dataclass(frozen=True)
class Edited:
    """A recipe after a decision: ``done`` are the layers that it is about, ``along`` go with them, ``left`` says why not others."""

    recipe: Recipe
    done: tuple[str, ...] = ()
    along: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)


class Able:
    """What the layers of one model can have. ``can_calibrate``: whether there is data to do it with."""

    def __init__(self, graph: Graph, *, can_calibrate: bool = True) -> None:
        self.graph = graph
        self.can_calibrate = can_calibrate
        self.layers = {layer.name: layer for layer in graph.layers}
        self.top = {name: at for at, (name, layer) in enumerate(self.layers.items()) if layer.parent is None}

    @cached_property
    def _eight_bit(self) -> frozenset[str]:
        every = Recipe((Decision(pattern="*", precision="int8"),))
        return frozenset(plan(every, self.graph, Target()).precision) if self.top else frozenset()

    @cached_property
    def group_of(self) -> dict[str, Group]:
        """The group that a layer loses its channels with."""
        return {name: group for group in groups(self.graph) for name in group.layers}

    @cached_property
    def _quantized(self) -> str:
        found = sorted({layer.op_type for layer in self.graph.layers if is_quantized(layer.op_type)})
        return f"the model is quantized already (it has {', '.join(found)})" if found else ""

    def why_not(self, name: str, precision: str) -> str:
        """Why a layer cannot be decided to have this precision, as a clause; empty when it can."""
        layer = self.layers[name]
        if precision == FLOAT:
            return ""
        if layer.parent is not None:
            return "it runs inside another layer (If, Loop or a function)"
        if self._quantized:
            return self._quantized
        if precision == "int8":
            return self._not_int8(layer)
        if precision == "fp16":
            kinds = {self.graph.tensor(tensor).dtype for tensor in layer.outputs if tensor}
            return "" if layer.domain in ("", "ai.onnx") and kinds <= {"float32", ""} and kinds else "it gives no 32-bit floats"
        if layer.op_type not in WEIGHTED or not self._has_weights(layer):
            return "it has no weights of its own"
        return ""

    def _not_int8(self, layer: Layer) -> str:
        if not self.can_calibrate:
            return "int8 needs samples to calibrate with; open the Workbench with data=FILE"
        if layer.op_type in PASSING | ACTIVATIONS:
            return "it becomes 8-bit with the layer before it"
        if layer.op_type not in COMPUTING:
            return f"ONNX Runtime has no 8-bit kernel for {layer.op_type}"
        return "" if layer.name in self._eight_bit else "its weights are not constant, or it does not compute in 32-bit floats"

    def why_not_pruned(self, name: str) -> str:
        """Why no channels of a layer can leave, as a clause; empty when some can."""
        group = self.group_of.get(name)
        if group is None:
            return "it has no output channels of its own"
        return self._quantized or group.reason

    def why_not_sparse(self, name: str) -> str:
        """Why a layer's weights cannot be made sparse, as a clause; empty when they can."""
        layer = self.layers[name]
        own = layer.parent is None and layer.op_type in WEIGHTED and self._has_weights(layer)
        return self._quantized or ("" if own else "it has no weights of its own")

    def _has_weights(self, layer: Layer) -> bool:
        return any(name in self.graph.initializers for name in layer.inputs[1:])

    def ordered(self, names: Iterable[str]) -> tuple[str, ...]:
        """Layers of the main graph, each once, in the model's order."""
        return tuple(sorted({name for name in names if name in self.top}, key=self.top.__getitem__))

    def said(self, recipe: Recipe) -> dict[str, Choice]:
        """What a recipe says of each layer. RecipeError when it does not fit the model."""
        return choices(recipe, self.graph)

    def followers(self, recipe: Recipe) -> frozenset[str]:
        """Layers that become 8-bit with what they read, by what the recipe says of the others."""
        said = self.said(recipe)
        chosen: dict[str, Precision] = {
            name: choice.precision
            for name, choice in said.items()
            if choice.precision not in (None, FLOAT) and self.layers[name].op_type not in PASSING | ACTIVATIONS
        }
        if "int8" not in chosen.values():
            return frozenset()
        return frozenset(name for name in follow(self.graph, chosen) if name not in chosen and self.layers[name].op_type not in WEIGHTED)


def decide(
    able: Able,
    recipe: Recipe,
    nodes: Sequence[str],
    *,
    precision: str | None = None,
    prune: float | None = None,
    sparsity: float | None = None,
) -> Edited:
    """``recipe`` with what is decided for ``nodes``: of each what is given, the rest as it was.

    Raises:
        UsageError: nothing is decided, or none of the nodes can have it; the sentence says why.
    """
    if precision is None and prune is None and sparsity is None:
        raise UsageError("Nothing is decided. Give precision, prune or sparsity.")
    _check(precision, prune, sparsity)
    nodes = able.ordered(nodes)
    if not nodes:
        raise UsageError("No layers are selected that the model has itself. Select some, or name them.")
    done: set[str] = set()
    along: set[str] = set()
    left: dict[str, str] = {}
    changed = recipe
    if precision is not None:
        step = _with_precision(able, changed, nodes, precision)
        changed, done, along, left = step.recipe, done | {*step.done}, along | {*step.along}, left | dict(step.left)
    if prune is not None:
        step = _with_prune(able, changed, nodes, prune)
        changed, done, along, left = step.recipe, done | {*step.done}, along | {*step.along}, left | dict(step.left)
    if sparsity is not None:
        step = _with_sparsity(able, changed, nodes, sparsity)
        changed, done, left = step.recipe, done | {*step.done}, left | dict(step.left)
    if able.said(changed) == able.said(recipe):
        changed = recipe  # it says so already, perhaps in another order
    return Edited(changed, able.ordered(done), able.ordered(along - done), {name: why for name, why in left.items() if name not in done})


def reset(able: Able, recipe: Recipe, nodes: Sequence[str] | None = None) -> Recipe:
    """``recipe`` without all that it says of ``nodes``, and of what is pruned with them; None empties it."""
    if nodes is None:
        return replace(recipe, decisions=())
    nodes = able.ordered(nodes)
    whole = {member for name in nodes if name in able.group_of for member in able.group_of[name].layers}
    changed = _without(_without(recipe, set(nodes), ("precision", "sparsity")), whole | set(nodes), _PRUNING)
    said = able.said(changed)
    more = []
    for name in nodes:  # what patterns and op types say is overruled
        choice = said.get(name, _NO_CHOICE)
        more += [Decision(layer=name, precision="fp32")] if choice.precision not in (None, FLOAT) else []
        more += [Decision(layer=name, sparsity=0.0)] if choice.sparsity else []
    more += [Decision(layer=name, prune=0.0) for name in able.ordered(whole) if said.get(name, _NO_CHOICE).is_pruned]
    return _followed(able, recipe, changed + more)


def remove(able: Able, recipe: Recipe, index: int) -> Recipe:
    """``recipe`` without the entry ``index`` of `listed`."""
    blocks = _blocks(recipe)
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(blocks):
        raise UsageError(f"There is no decision {index!r}; the recipe has {len(blocks)}, counted from 0.")
    kept = tuple(decision for at, block in enumerate(blocks) if at != index for decision in block)
    return _followed(able, recipe, replace(recipe, decisions=kept))


def listed(able: Able, recipe: Recipe) -> list[dict[str, Any]]:
    """The recipe for people: decisions that say the same of layers by name, one after the other, are one entry.

    Each has ``index``, ``text`` ("int8"), ``selector`` ("3 layers", "pattern '*'"), ``layers`` that it is about, ``along`` those that lose
    channels with them, and what it decides: precision, prune, channels, sparsity (None: nothing).
    """
    found = []
    for index, block in enumerate(_blocks(recipe)):
        first = block[0]
        about = [name for name in able.top if any(one.selects(able.layers[name]) for one in block)] if not first.layer else []
        about = about or list(dict.fromkeys(one.layer for one in block if one.layer))
        pruned = first.prune is not None or first.channels is not None
        along = able.ordered(m for name in about if pruned and name in able.group_of for m in able.group_of[name].layers if m not in about)
        found.append({
            "index": index, "text": _words(first), "selector": names_listed(about, most=1) if first.layer else first.selector,
            "layers": about, "along": list(along), "precision": first.precision, "prune": first.prune, "channels": first.channels,
            "sparsity": first.sparsity,
        })  # fmt: skip
    return found


def possible(able: Able, recipe: Recipe, nodes: Sequence[str], precisions: Sequence[str]) -> dict[str, Any]:
    """What ``nodes`` can have: see `Bench.possible`."""
    nodes = able.ordered(nodes)
    if not nodes:
        why = "Select layers first."
        return {"precisions": dict.fromkeys((FLOAT, *precisions), why), "prune": why, "sparsity": why, "group": [], "layers": [],
                "current": dict.fromkeys(("precision", "prune", "sparsity"))}  # fmt: skip
    try:
        said = able.said(recipe)
    except RecipeError:  # one that was made for another model: the preview says so
        said = {}
    members = able.ordered(m for name in nodes if not able.why_not_pruned(name) for m in able.group_of[name].layers)
    return {
        "layers": list(nodes),
        "precisions": {name: _none_can(nodes, lambda node, name=name: able.why_not(node, name)) for name in (FLOAT, *precisions)},  # type: ignore[misc]
        "prune": _none_can(nodes, able.why_not_pruned),
        "sparsity": _none_can(nodes, able.why_not_sparse),
        "group": list(members),
        "current": {
            "precision": _common(said.get(name, _NO_CHOICE).precision or FLOAT for name in nodes if _has_own(able, name)),
            "prune": _common(_pruned(able, said, name) for name in nodes if not able.why_not_pruned(name)),
            "sparsity": _common(said.get(name, _NO_CHOICE).sparsity or 0.0 for name in nodes if not able.why_not_sparse(name)),
        },
    }


def describe(able: Able, recipe: Recipe) -> str:
    """A recipe in a few words: ``int8 on 3 layers, 25 % pruned of 1``; a name for what has none."""
    parts: dict[str, set[str]] = {}
    for entry in listed(able, recipe):
        own = [name for name in entry["layers"] if entry["precision"] is None or _has_own(able, name)] or entry["layers"]
        parts.setdefault(entry["text"], set()).update(own)
    texts = [f"{text} on {len(names)} layer{'s' * (len(names) != 1)}" for text, names in parts.items()]
    return shorten(", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else ""), 80) or "as it is"


# Inside


def _with_precision(able: Able, recipe: Recipe, nodes: Sequence[str], precision: str) -> Edited:
    reasons = {name: able.why_not(name, precision) for name in nodes}
    can = [name for name, why in reasons.items() if not why]
    if not can:
        raise UsageError(_sentence(reasons, f"be {precision}"))
    changed = _without(recipe, set(can), ("precision",))
    if precision == FLOAT:
        said = able.said(changed)
        can_more = [name for name in can if said.get(name, _NO_CHOICE).precision not in (None, FLOAT)]
    else:
        can_more = can
    changed = _followed(able, recipe, changed + [Decision(layer=name, precision=precision) for name in can_more])  # type: ignore[arg-type]
    along = able.followers(changed) - set(nodes) if precision == "int8" else frozenset[str]()
    return Edited(changed, tuple(can), tuple(along - able.followers(recipe)), {name: why for name, why in reasons.items() if why})


def _with_prune(able: Able, recipe: Recipe, nodes: Sequence[str], part: float) -> Edited:
    reasons = {name: able.why_not_pruned(name) for name in nodes}
    can = [name for name, why in reasons.items() if not why]
    if not can:
        raise UsageError(_sentence(reasons, "lose channels"))
    leaders = able.ordered(able.group_of[name].name for name in can)
    members = {member for name in leaders for member in able.group_of[name].layers}
    changed = _without(recipe, members, _PRUNING)
    if not part:
        said = able.said(changed)
        leaders = tuple(name for name in leaders if any(said.get(m, _NO_CHOICE).is_pruned for m in able.group_of[name].layers))
    changed += [Decision(layer=name, prune=float(part)) for name in leaders]
    return Edited(changed, tuple(can), tuple(members - set(can)), {name: why for name, why in reasons.items() if why})


def _with_sparsity(able: Able, recipe: Recipe, nodes: Sequence[str], part: float) -> Edited:
    reasons = {name: able.why_not_sparse(name) for name in nodes}
    can = [name for name, why in reasons.items() if not why]
    if not can:
        raise UsageError(_sentence(reasons, "be made sparse"))
    changed = _without(recipe, set(can), ("sparsity",))
    said = able.said(changed)
    changed += [Decision(layer=name, sparsity=float(part)) for name in can if part or said.get(name, _NO_CHOICE).sparsity]
    return Edited(changed, tuple(can), (), {name: why for name, why in reasons.items() if why})


def _followed(able: Able, before: Recipe, after: Recipe) -> Recipe:
    """``after`` with the layers that follow others into 8 bits; those that did before and do not any more are left out. Rule 1."""
    old, new = able.followers(before), able.followers(after)
    left = {one.layer for one in after.decisions if one.layer in old - new and one.precision == "int8"}
    found = _without(after, left, ("precision",)) if left else after
    named = {one.layer for one in found.decisions if one.precision is not None and one.layer}
    more = able.ordered(new - named)
    return _joined(able, found, more) if more else found


def _joined(able: Able, recipe: Recipe, more: Sequence[str]) -> Recipe:
    """int8 for ``more``, beside the last decisions that are int8 by layer, so that they are read together."""
    decisions = list(recipe.decisions)
    at = max(
        (n for n, one in enumerate(decisions) if _payload(one) == _payload(Decision(precision="int8")) and one.layer),
        default=len(decisions) - 1,
    )
    decisions[at + 1 : at + 1] = [Decision(layer=name, precision="int8") for name in more]
    return replace(recipe, decisions=tuple(decisions))


def _without(recipe: Recipe, layers: set[str], fields: Sequence[str]) -> Recipe:
    """``recipe`` without what decisions by name say of ``layers`` in ``fields``."""
    kept = []
    for decision in recipe.decisions:
        gone: dict[str, Any] = dict.fromkeys(fields)
        one = replace(decision, **gone) if decision.layer in layers and decision.layer else decision
        if any(value is not None for value in _payload(one)):
            kept.append(one)
    return replace(recipe, decisions=tuple(kept)) if tuple(kept) != recipe.decisions else recipe


def _payload(decision: Decision) -> tuple[Any, ...]:
    return (decision.precision, decision.prune, decision.channels, decision.importance, decision.sparsity)


def _blocks(recipe: Recipe) -> list[list[Decision]]:
    """Decisions that say the same of layers by name, one after the other; any other by itself."""
    found: list[list[Decision]] = []
    for (by_name, _), block in groupby(recipe.decisions, key=lambda one: (bool(one.layer), _payload(one))):
        same = list(block)
        found += [same] if by_name else [[one] for one in same]
    return found


def _words(decision: Decision) -> str:
    parts: list[str] = [decision.precision] if decision.precision is not None else []
    if decision.prune is not None:
        parts.append(f"{decision.prune * 100:.3g} % pruned")
    if decision.channels is not None:
        parts.append(f"{decision.channels} channels left")
    if decision.sparsity is not None:
        parts.append(f"{decision.sparsity * 100:.3g} % of weights zero")
    return ", ".join(parts)


def _has_own(able: Able, name: str) -> bool:
    """Whether a layer's precision is decided for itself, not with what it reads."""
    return able.layers[name].op_type not in PASSING | ACTIVATIONS


def _pruned(able: Able, said: Mapping[str, Choice], name: str) -> float:
    """The part of a layer's channels that goes with its group."""
    group = able.group_of[name]
    for member in (name, *group.layers):
        choice = said.get(member, _NO_CHOICE)
        if choice.is_pruned:
            return choice.prune if choice.prune is not None else 1 - (choice.channels or 0) / group.channels
    return 0.0


def _common(values: Iterable[Any]) -> Any:
    """What all have; "mixed" when they differ, None when there are none."""
    found = set(values)
    return None if not found else found.pop() if len(found) == 1 else "mixed"


def _none_can(nodes: Sequence[str], why: Callable[[str], str]) -> str:
    """Why none of them can, as a sentence; empty when one can."""
    reasons = []
    for name in nodes:
        reason = why(name)
        if not reason:
            return ""
        reasons.append(reason)
    return f"{reasons[0][:1].upper()}{reasons[0][1:]}."


def _sentence(reasons: Mapping[str, str], wish: str) -> str:
    (name, why), *others = reasons.items()
    more = f"; neither can the {len(others)} others" if others else ""
    return f"{shorten(name)!r} cannot {wish}: {why}{more}. Select other layers."


def _check(precision: str | None, prune: float | None, sparsity: float | None) -> None:
    known = get_args(Precision)
    if precision is not None and precision not in known:
        raise UsageError(f"There is no precision {precision!r}{did_you_mean(str(precision)[:100], known)}. There are: {', '.join(known)}.")
    for name, value in (("prune", prune), ("sparsity", sparsity)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1):
            raise UsageError(f"{name} is {value!r}; give a part from 0 up to but not 1.")
