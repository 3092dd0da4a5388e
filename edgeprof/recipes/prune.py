"""Structured pruning: the step. How it is done is in `recipes.pruning`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgeprof.errors import RecipeError
from edgeprof.recipes.base import Change, Work, refuse_or_report
from edgeprof.recipes.pruning.compensate import compensate
from edgeprof.recipes.pruning.constants import Constants
from edgeprof.recipes.pruning.cut import cut
from edgeprof.recipes.pruning.groups import Coupling, Group, couple, graph_of
from edgeprof.recipes.pruning.importance import by_activations, by_weights
from edgeprof.recipes.pruning.widths import Width, Wish, width, wishes
from edgeprof.recipes.recipe import Choice

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
_DEFAULT = "l2"


def prune(work: Work) -> Work:
    """The work without the channels that its choices ask to remove, and with what is left made to give what was given before.

    1. Layers that can only lose channels together do; see `pruning.widths.wishes` for what is done when they are asked for different ones.
    2. Layers without weights are passed over where a pattern selects them; one that is called by its name is a RecipeError.
    3. With data the layers that take fewer channels than before are fitted anew (`pruning.compensate`).
    """
    if not any(choice.is_pruned for choice in work.choices.values()):
        return work
    _refuse_quantized(work)
    coupling = couple(_graph(work))
    wished = {name: wish for name, wish in wishes(coupling, work.choices).items() if not wish.is_whole}
    groups = {group.name: group for group in coupling.groups}
    widths = {
        name: {block: width(coupling, block, wish, work.target.channel_multiple) for block in coupling.blocks[name]}
        for name, wish in wished.items()
        if not groups[name].reason
    }
    gone = _least_important(work, coupling, {name: wished[name] for name in widths}, widths)
    changes = _changes(work, coupling, widths, gone)
    if not gone:
        return work.then(work.model, changes)
    model = cut(work.model, coupling, gone)
    if not work.mend:
        return work.then(model, changes, ["Channels were removed and what is left was not fitted to make up for them: for timing only."])
    if work.data is None:
        return work.then(model, changes, ["Channels were removed without data: what is left was not fitted to make up for them."])
    model, note = compensate(work, coupling, model, gone)
    return work.then(model, changes, [note])


def _refuse_quantized(work: Work) -> None:
    for node in work.model.graph.node:
        if node.op_type in _QUANTIZED:
            raise RecipeError(
                f"{work.graph.name} is quantized already ('{node.name}' is a {node.op_type}); channels are removed before that. Prune the"
                " float model and quantize the result, or both in one recipe."
            )


def _graph(work: Work) -> Any:
    """The graph of the model as it is now."""
    top = [layer.name for layer in work.graph.layers if layer.parent is None]
    same = work.graph.format == "onnx" and top == [node.name for node in work.model.graph.node]
    return work.graph if same else graph_of(work.model)


def _least_important(work: Work, coupling: Coupling, wished: Mapping[str, Wish], widths: Mapping[str, Mapping[Any, Width]]) -> set[int]:
    """The labels that go: of each block the least important ones."""
    groups = {group.name: group for group in coupling.groups}
    seen = [groups[name] for name, wish in wished.items() if wish.importance == "activation"]
    active = by_activations(coupling, seen, work.model, work.needs_data("Importance by activations")) if seen else {}
    constants = Constants(work.model)
    gone: set[int] = set()
    for name, wish in wished.items():
        if all(one.stay == one.total for one in widths[name].values()):
            continue
        numbers = active[name] if name in active else by_weights(coupling, groups[name], constants, wish.importance or _DEFAULT)
        for block, one in widths[name].items():
            ranked = sorted(block.units, key=lambda label: (numbers.get(label, 0.0), label))
            gone.update(ranked[: one.total - one.stay])
    return gone


# What became of each wish


def _changes(work: Work, coupling: Coupling, widths: Mapping[str, Mapping[Any, Width]], gone: set[int]) -> list[Change]:
    changes = []
    for name, choice in work.choices.items():
        if not choice.is_pruned:
            continue
        group = coupling.group_of.get(name)
        if group is None:
            reason = coupling.flow.refused.get(name)
            if reason or choice.named & {"prune", "channels"}:
                changes.append(
                    refuse_or_report(work, name, "prune", _asked(choice, 0), reason or "it makes no channels with weights of its own")
                )
            continue
        changes.append(_change(work, coupling, group, name, choice, widths, gone))
    return changes


def _change(
    work: Work, coupling: Coupling, group: Group, name: str, choice: Choice, widths: Mapping[str, Mapping[Any, Width]], gone: set[int]
) -> Change:
    before = len(coupling.made[name])
    after = int(coupling.kept(coupling.made[name], gone).sum())
    wish = _asked(choice, before)
    if after < before:
        return Change(
            name, "prune", wish, f"{before} to {after} channels{_with(group, name)}", _rounded(choice, before, after, widths[group.name])
        )
    if group.reason:
        return refuse_or_report(work, name, "prune", wish, group.reason)
    if group.name not in widths:
        return Change(
            name, "prune", wish, "", f"it can only lose channels together with others, which are to keep theirs{_with(group, name)}"
        )
    if choice.channels is not None and choice.channels >= before:
        return Change(name, "prune", wish, f"{before} channels", "it has no more")
    return refuse_or_report(work, name, "prune", wish, f"no whole unit of it can go: channels go {group.step} at a time")


def _asked(choice: Choice, channels: int) -> str:
    of = f"of {channels} channels" if channels else "of the channels"
    return f"{choice.channels} {of}" if choice.channels is not None else f"{100 * (choice.prune or 0):.4g} % {of}"


def _with(group: Group, name: str) -> str:
    others = [layer for layer in group.layers if layer != name]
    if not others:
        return ""
    return f" (with {others[0]})" if len(others) == 1 else f" (with {others[0]} and others: {len(group.layers)} layers)"


def _rounded(choice: Choice, before: int, after: int, widths: Mapping[Any, Width]) -> str:
    """What rounding did to the wish; empty when it is met exactly."""
    wanted = choice.channels if choice.channels is not None else (1 - (choice.prune or 0)) * before
    if math.isclose(after, wanted, abs_tol=0.01):
        return ""
    multiple = max((one.multiple for one in widths.values()), default=1)
    if multiple > 1:
        return f"{wanted:.4g} rounded up to a multiple of {multiple}"
    return f"{wanted:.4g} rounded up" if after - wanted > 0 else "others that it goes with asked so"
