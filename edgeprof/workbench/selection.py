"""What is selected: layers, runs and candidates. Layers are held as original nodes, so that they are found again in another profile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from edgeprof.analysis.names import shorten
from edgeprof.errors import UsageError, did_you_mean
from edgeprof.models.graph import Graph
from edgeprof.records.profile import Profile


@dataclass(frozen=True)
class Selection:
    """Names of ``layers`` of the profile that is shown, numbers of its ``runs``, keys of ``candidates``; all in the order of the views."""

    layers: tuple[str, ...] = ()
    runs: tuple[int, ...] = ()
    candidates: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.layers or self.runs or self.candidates)


@dataclass(frozen=True)
class Held:
    """A selection as it is kept: ``layers`` as they are called in ``subject``, the original ``nodes`` that they stand for, and ``loose``
    those that stand for none (format changes, what is between layers).
    """

    subject: str = ""
    layers: tuple[str, ...] = ()
    nodes: frozenset[str] = frozenset()
    loose: frozenset[str] = frozenset()
    runs: tuple[int, ...] = ()
    candidates: tuple[str, ...] = ()


class Rows:
    """The layers of one profile, in order: ``nodes`` has the original nodes of each by its name. ``runs``: their numbers."""

    def __init__(self, nodes: Mapping[str, tuple[str, ...]], runs: Iterable[int] = ()) -> None:
        self.nodes = dict(nodes)
        self.runs = frozenset(runs)
        self._row_of = {node: name for name, own in reversed(self.nodes.items()) for node in own}

    def named(self, names: Iterable[str]) -> tuple[str, ...]:
        """Layers in order, each once. An original node stands for the first layer that carries it out. UsageError for what is neither."""
        found = set()
        for name in names:
            row = name if name in self.nodes else self._row_of.get(name) if isinstance(name, str) else None
            if row is None:
                close = did_you_mean(str(name)[:200], self.nodes) if len(self.nodes) <= 2000 else ""
                raise UsageError(f"There is no layer {shorten(str(name))!r} in what is shown{close}.")
            found.add(row)
        return tuple(name for name in self.nodes if name in found)

    def original(self, names: Iterable[str]) -> tuple[str, ...]:
        """The original nodes of layers, each once, in order."""
        return tuple(dict.fromkeys(node for name in names for node in self.nodes.get(name, ())))


def rows_of(profile: Profile | None, graph: Graph | None) -> Rows:
    """The layers of a profile; of a model that was not measured its nodes.

    Only nodes of ``graph`` are original; a quantized model has others too, which are its own. Without a graph all are.
    """
    own = {layer.name for layer in graph.layers} if graph is not None else None
    if profile is None:
        return Rows({layer.name: (layer.name,) for layer in graph.layers if layer.parent is None} if graph is not None else {})
    names, sources = profile.layers["name"].tolist(), profile.layers["source_nodes"].tolist()
    nodes = {name: tuple(node for node in found if own is None or node in own) for name, found in zip(names, sources, strict=True)}
    return Rows(nodes, profile.runs["run"].tolist())


def hold(selection: Selection, subject: str, rows: Rows) -> Held:
    """What to keep of a selection that was made in ``subject``."""
    loose = frozenset(name for name in selection.layers if not rows.nodes.get(name))
    return Held(subject, selection.layers, frozenset(rows.original(selection.layers)), loose, selection.runs, selection.candidates)


def found_in(held: Held, subject: str, rows: Rows, candidates: Iterable[str]) -> Selection:
    """What is held, as ``subject`` has it: layers that carry out any of the nodes, and those of the same name without nodes.

    In the subject that it was made in it is what it was. Runs belong to a subject: in another there are none.
    """
    if held.subject == subject:
        chosen = set(held.layers)
        layers = tuple(name for name in rows.nodes if name in chosen)
    else:
        layers = tuple(name for name, own in rows.nodes.items() if (name in held.loose if not own else not held.nodes.isdisjoint(own)))
    runs = tuple(run for run in held.runs if run in rows.runs) if held.subject == subject else ()
    known = set(candidates)
    return Selection(layers, runs, tuple(key for key in held.candidates if key in known))


def selection_of(given: object, now: Selection, rows: Rows, candidates: Sequence[str]) -> Selection:
    """The Selection that ``given`` stands for: one, names of layers (all else stays), or a dict of the parts that change.

    Raises:
        UsageError: something of it is not there; the sentence says what is closest.
    """
    if isinstance(given, Selection):
        parts: dict[str, Any] = {"layers": given.layers, "runs": given.runs, "candidates": given.candidates}
    elif isinstance(given, Mapping):
        parts = {str(name): value for name, value in given.items()}
        for name in parts:
            if name not in ("layers", "runs", "candidates"):
                raise UsageError(f"A selection has no {name!r}{did_you_mean(name, ('layers', 'runs', 'candidates'))}.")
    else:
        parts = {"layers": given if given is not None else ()}
    found = now
    if "layers" in parts:
        found = replace(found, layers=rows.named(_listed(parts["layers"], "layers")))
    if "runs" in parts:
        found = replace(found, runs=_runs(_listed(parts["runs"], "runs"), rows))
    if "candidates" in parts:
        wanted = _listed(parts["candidates"], "candidates")
        for key in wanted:
            if key not in candidates:
                close = did_you_mean(str(key)[:200], candidates)
                raise UsageError(f"There is no candidate {shorten(str(key))!r}{close}. There are: {', '.join(candidates) or 'none yet'}.")
        found = replace(found, candidates=tuple(key for key in candidates if key in wanted))
    return found


def _listed(value: object, what: str) -> list[Any]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable):
        raise UsageError(f"{what} is {value!r}; expected a list of them.")
    return list(value)


def _runs(given: list[Any], rows: Rows) -> tuple[int, ...]:
    for run in given:
        if isinstance(run, bool) or not isinstance(run, Integral) or run not in rows.runs:
            came = f"{min(rows.runs)} to {max(rows.runs)}" if rows.runs else "none"
            raise UsageError(f"There is no run {shorten(repr(run))} in what is shown; its runs are {came}.")
    return tuple(sorted({int(run) for run in given}))
