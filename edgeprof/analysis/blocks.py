"""Blocks of a model, told from the names of its layers: ``/encoder/layer.3/attention/MatMul`` lies in three blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MAX_DEPTH = 12
"""Blocks within blocks that are told apart; names come from the model file, which may hold a path of any length."""

_SCOPE = re.compile(r"/|::")


def block_paths(names: Sequence[str], op_types: Sequence[str], sources: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The blocks each layer lies in, the outermost first; ``()`` for a layer in none.

    1. The path of a layer is its name up to the last ``/`` (or ``::``). Where no name has one, names with dots are read as
       paths (``layers.0.attn.q``), if more than half of them have dots. A name of several joined by ``;``, as TFLite
       gives to fused layers, lies where all of them lie.
    2. A layer whose name has no path lies where all of its original nodes lie (``sources``).
    3. One that has no original nodes either, because the runtime put it in, lies where both its neighbours lie: it does not
       cut a block in two. ``op_types`` tells layers that are called after their own op type alone: those have no path.
    """
    dotted = not any(_SCOPE.search(name) for name in names) and 2 * sum(_has_dots(name) for name in names) > len(names)
    own = [_path(name, dotted) if name != op_type else () for name, op_type in zip(names, op_types, strict=True)]
    paths = [path or shared_path(_path(node, dotted) for node in nodes) for path, nodes in zip(own, sources, strict=True)]
    homeless = [not path and not nodes for path, nodes in zip(paths, sources, strict=True)]
    after: list[tuple[str, ...]] = [()] * (len(paths) + 1)
    for i in reversed(range(len(paths))):
        after[i] = after[i + 1] if homeless[i] else paths[i]
    before: tuple[str, ...] = ()
    for i, alone in enumerate(homeless):
        if alone:
            paths[i] = shared_path((before, after[i + 1]))
        else:
            before = paths[i]
    return paths


def leaf(name: str, path: Sequence[str]) -> str:
    """``name`` without the blocks of ``path``, whichever way they are written in it; the whole name when it does not begin with them."""
    rest = name.lstrip("/")
    for part in path:
        if not rest.startswith(part):
            return name
        rest = re.sub(r"^(/|::|\.)+", "", rest[len(part) :])
    return rest or name


def shared_path(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The blocks that all ``paths`` lie in; ``()`` when there are none."""
    every = list(paths)
    if not every:
        return ()
    first, last = min(every), max(every)  # what these two share the ones between them share too
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return first[:same]


def _has_dots(name: str) -> bool:
    return re.fullmatch(r"\w+(\.\w+)+", name) is not None


def _path(name: str, dotted: bool) -> tuple[str, ...]:
    """Where the layer or node of this name lies."""
    if ";" in name:
        return shared_path(_path(part, dotted) for part in name.split(";") if part)
    parts = (name.split(".") if _has_dots(name) else [name]) if dotted else _SCOPE.split(name)
    return tuple(part for part in parts[:-1] if part)[:MAX_DEPTH]
