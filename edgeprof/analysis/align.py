"""Layers of several profiles side by side: what corresponds is what carries out the same original nodes.

The profiles are of one model (on boards, with settings), or of a model and of models made from it by recipes, measured or estimated.

Runtimes fuse differently from CPU to CPU, so names and numbers of layers do not correspond; the model's own nodes do.

1. Layers whose sets of original nodes overlap belong to one row, and so does all that overlaps with those: rows are the finest common
   partition of the nodes that ran. They stand in the model's order.
2. A row's number is the sum over the profile's layers in it; of memory it is the largest, of power the mean over their time.
   A sum is over the layers that have a number, NaN when none has. So **no time is lost: a column's sum is that of its profile.**
3. An interval of a sum has the added ends of its parts. That is too wide rather than too narrow, since errors that differ from layer to
   layer partly cancel; it is NaN where a part has none.
4. What the runtime inserted (reorders, casts, copies) belongs to no node: one row for each op type, after all others. A layer that carries
   out no known node otherwise has a row by its own name. ``(between layers)`` is the last row.
5. A row that a profile has no layer for is not in ``cells``: fused away, folded, or never inserted. That is not the same as not measured.
6. What recipes insert (QuantizeLinear, DequantizeLinear, Cast ...) ties no layers together, though a fused layer carries it out too: one
   DequantizeLinear may be read by a convolution and by the addition at the end of its block. A layer that does nothing else is inserted, as
   in 4. In a comparison with an estimate, which knows only their time in all, all that was inserted is one row.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from edgeprof.analysis.labels import board_labels, profile_labels, unique
from edgeprof.analysis.names import listed, shorten
from edgeprof.errors import UsageError
from edgeprof.records.profile import Profile

SUMMED = (
    "latency_ms", "latency_raw_ms", "share", "energy_mj", "energy_closed_mj", "macs", "param_bytes", "activation_bytes",
)  # fmt: skip
LARGEST = ("peak_memory_bytes", "live_memory_bytes", "workspace_bytes")
ALIGNED_METRICS = (*SUMMED, *LARGEST, "power_mw", "arithmetic_intensity")
"""Metrics that have a meaning for several layers together. The 95th percentile of a sum, for one, is no sum of percentiles."""

INTERVALS = {"latency_ms": ("latency_low_ms", "latency_high_ms"), "energy_mj": ("energy_low_mj", "energy_high_mj")}

_Part = tuple[int, int]  # profile, row of its layer table
_Layers = Sequence[Mapping[Hashable, Any]]


@dataclass(frozen=True, eq=False, repr=False)
class Alignment:
    """Rows that profiles of one model have in common. Made by `align`; see the module for the rules.

    ``layers`` has one row a part of the model: ``name`` (unique), ``op_type``, ``kind`` and ``source_nodes``. ``cells`` has one row a part
    and profile: ``row`` and ``profile`` (positions), ``ran`` (what the runtime calls the layers), ``layers`` (how many),
    `ALIGNED_METRICS` and the ends of the intervals. ``labels`` say which profile is which.
    """

    profiles: tuple[Profile, ...]
    labels: tuple[str, ...]
    layers: pd.DataFrame
    cells: pd.DataFrame
    by_name: bool = False

    @property
    def noun(self) -> str:
        """What is compared: ``board`` where each profile is of one model on a board of its own, else ``profile``."""
        boards = {profile.context.board for profile in self.profiles}
        models = {profile.context.model_sha256 for profile in self.profiles}
        return "board" if len(models) == 1 and len(boards) == len(self.profiles) else "profile"

    @property
    def model(self) -> str:
        """The model that all are of, or were made from."""
        return self.profiles[original(self.profiles) or 0].context.model_name

    @property
    def title(self) -> str:
        """``model on 3 boards: pi4, pi5, local``: what every view says first."""
        within = " on" if self.noun == "board" else ","
        how = ", aligned by name" * self.by_name
        return f"{self.model}{within} {len(self.profiles)} {self.noun}s{how}: {listed(self.labels, most=4)}"

    def __repr__(self) -> str:
        return f"<Alignment of {self.title}: {len(self.layers)} rows>"

    def table(self, metric: str = "latency_ms") -> pd.DataFrame:
        """``layers`` with a column of ``metric`` for each profile, named by its label."""
        columns = {label: self.column(position, metric) for position, label in enumerate(self.labels)}
        return pd.concat([self.layers, pd.DataFrame(columns, index=self.layers.index)], axis=1)

    def column(self, profile: int, name: str) -> pd.Series[float]:
        """Column ``name`` of ``cells`` for one profile, a value for each row of ``layers``; NaN where there is no layer."""
        if name not in self.cells.columns:
            raise UsageError(f"{name!r} cannot be shown for several layers together. It can be one of: {', '.join(ALIGNED_METRICS)}.")
        return self._by_profile[profile][name].reindex(self.layers.index)

    @cached_property
    def _by_profile(self) -> list[pd.DataFrame]:
        return [self.cells[self.cells["profile"] == position].set_index("row") for position in range(len(self.profiles))]


def align(profiles: Sequence[Profile], *, same_file: bool = True) -> Alignment:
    """Layers of two or more ``profiles`` of one model, brought together by original nodes. UsageError when they are of several models.

    With ``same_file`` False they may be of a model and of one made from it, whose nodes kept their names: those are what corresponds.
    """
    profiles = tuple(profiles)
    if same_file:
        same_model(profiles)
    return _aligned(profiles, board_labels(profiles))


def align_variants(profiles: Sequence[Profile], *, by_name: bool = False, labels: Sequence[str] | None = None) -> Alignment:
    """Layers of two or more ``profiles`` of a model and of models made from it by recipes, measured or estimated, brought together.

    Args:
        profiles: what to align.
        by_name: of models that are not known to be related, equal names of nodes count as the same node; the title says so.
        labels: what the profiles are called; None says what differs between them.

    Raises:
        UsageError: the models are not related as far as the profiles say, or ``labels`` are not one for each.
    """
    profiles = tuple(profiles)
    if len(profiles) < 2:
        raise UsageError(f"Profiles are compared with at least two of them, not {len(profiles)}.")
    if not (known := related(profiles)) and not by_name:
        names = listed((profile.context.model_name for profile in profiles), most=4)
        raise UsageError(
            f"These profiles are of models that are not known to be made from each other: {names}. Compare profiles of one model and of"
            " what recipes made of it, or say by_name=True to take nodes of the same name for the same node."
        )
    called = profile_labels(profiles) if labels is None else tuple(unique([shorten(str(label), 60) for label in labels]))
    if len(called) != len(profiles):
        raise UsageError(f"labels has {len(called)} names for {len(profiles)} profiles. Give one for each, or none.")
    return replace(_aligned(profiles, called), by_name=not known)


def _aligned(profiles: tuple[Profile, ...], labels: tuple[str, ...]) -> Alignment:
    told = ["name", "op_type", "kind", "source_nodes", "latency_ms"]
    layers = [_tied(profile.layers[told].to_dict("records"), _untying(profile, profiles)) for profile in profiles]
    one_row = _estimate_of_all(profiles)
    rows = _rows(layers, _node_order(profiles), one_row)
    table = pd.DataFrame([_described(layers, parts, one_row) for parts in rows], columns=["name", "op_type", "kind", "source_nodes"])
    table["name"] = unique(list(table["name"]))
    cells = [_cells(profile, [[at for p, at in parts if p == i] for parts in rows]).assign(profile=i) for i, profile in enumerate(profiles)]
    return Alignment(profiles, labels, table, pd.concat(cells, ignore_index=True))


def related(profiles: Sequence[Profile]) -> bool:
    """True when all are known to be of one model or of models made from it."""
    kin = [[digest for digest in (profile.context.model_sha256, profile.parent or "") if digest] for profile in profiles]
    group_of = components(kin)
    return all(kin) and len({group_of[own[0]] for own in kin}) == 1


def original(profiles: Sequence[Profile]) -> int | None:
    """Position of the profile of the model that others were made from; None when it is not among them."""
    parents = {profile.parent for profile in profiles if profile.parent}
    return next((at for at, profile in enumerate(profiles) if profile.context.model_sha256 in parents), None)


FORMAT_OPS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"})
"""Op types of what stands between layers of different precision."""


def _untying(profile: Profile, profiles: Sequence[Profile]) -> set[str]:
    """Nodes of ``profile`` that tie no layers together: what a recipe inserted, and format changes that several layers carry out."""
    types = _types(profile)
    shared = Counter(source for sources in profile.layers["source_nodes"] for source in set(sources))
    copied = {name for name, op_type in types.items() if op_type in FORMAT_OPS and shared[name] > 1}
    if len({one.context.model_sha256 for one in profiles}) == 1:
        return copied
    first = original(profiles)
    if first is not None and (own := _types(profiles[first])):
        return copied | (types.keys() - own.keys())
    everywhere = set(types).intersection(*(_types(one) for one in profiles))
    return copied | {name for name, op_type in types.items() if op_type in FORMAT_OPS and name not in everywhere}


def _types(profile: Profile) -> dict[str, str]:
    """Op type of each node of the profile's own model."""
    graph = {layer.name: layer.op_type for layer in profile.graph.layers} if profile.graph is not None else {}
    return {node.node: node.op_type for node in profile.nodes} | graph


def _tied(layers: list[dict[Hashable, Any]], untying: Set[str]) -> _Layers:
    """``layers`` with only those original nodes that tie; a layer that has no others was inserted."""
    for layer in layers:
        sources = [source for source in layer["source_nodes"] if source not in untying]
        if not sources and layer["source_nodes"]:
            layer["kind"] = "inserted"
        layer["source_nodes"] = sources
    return layers


def _estimate_of_all(profiles: Sequence[Profile]) -> str:
    """Name of the row that an estimate has for all that is inserted; empty where there is none."""
    for profile in profiles:
        layers = profile.layers
        names = layers["name"][(layers["kind"] == "inserted") & (layers["source_nodes"].str.len() == 0)]
        if profile.basis == "estimated" and len(names) == 1:
            return str(names.iloc[0])
    return ""


def same_model(profiles: Sequence[Profile]) -> None:
    """UsageError, with a sentence, unless these are two or more profiles of one model."""
    if len(profiles) < 2:
        raise UsageError(f"Boards are compared with at least two profiles, not {len(profiles)}.")
    digests = [profile.context.model_sha256 for profile in profiles]
    for profile, digest in zip(profiles, digests, strict=True):
        name = shorten(profile.context.model_name)
        if not digest:
            raise UsageError(f"The profile of {name} does not say which model it is of. Import its trace anew and name the model file.")
        if digest != digests[0]:
            first = shorten(profiles[0].context.model_name)
            raise UsageError(
                f"These are profiles of different models, {first} ({digests[0][:12]}) and {name} ({digest[:12]}); boards are compared by"
                " the nodes of one model file. Profile the same file on each board."
            )


def _rows(layers: Sequence[_Layers], order: Mapping[str, int], one_row: str) -> list[list[_Part]]:
    """Parts of each row, rows in the model's order; what was inserted comes after them and ``(between layers)`` last.

    With ``one_row`` all that was inserted is in one.
    """
    group_of = components(layer["source_nodes"] for own in layers for layer in own)
    rows: dict[tuple[str, str], list[_Part]] = defaultdict(list)
    place: dict[tuple[str, str], tuple[float, ...]] = {}
    for p, own in enumerate(layers):
        before = -1.0  # the last node that ran
        for at, layer in enumerate(own):
            key: tuple[str, str]
            where: tuple[float, ...]
            if layer["kind"] == "between":
                key, where = ("between", ""), (2.0,)
            elif sources := layer["source_nodes"]:
                before = float(min(order[source] for source in sources))
                key, where = ("nodes", group_of[sources[0]]), (0.0, before, 0.0)
            elif layer["kind"] == "inserted":
                key, where = ("inserted", one_row or layer["op_type"]), (1.0,)
            else:
                key, where = ("name", layer["name"]), (0.0, before, 1.0)
            rows[key].append((p, at))
            place[key] = min(place.get(key, where), where)
    return [rows[key] for key in sorted(rows, key=place.__getitem__)]


def _node_order(profiles: Sequence[Profile]) -> dict[str, int]:
    """Position of each original node: that in the model where a profile has it, then in the order they ran."""
    graph = next((profile.graph for profile in profiles if profile.graph is not None), None)
    names = [layer.name for layer in graph.layers] if graph is not None else []
    names += [node.node for profile in profiles for node in profile.nodes]
    names += [source for profile in profiles for sources in profile.layers["source_nodes"] for source in sources]
    return {name: position for position, name in enumerate(dict.fromkeys(names))}


def components(sets: Iterable[Sequence[str]]) -> dict[str, str]:
    """A representative of the connected component of each node: nodes of one set are connected."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]  # halves the way for the next
            node = above
        return node

    for nodes in sets:
        for node in nodes:
            parent[root(node)] = root(nodes[0])
    return {node: root(node) for node in list(parent)}


def _described(layers: Sequence[_Layers], parts: Sequence[_Part], one_row: str) -> dict[str, Any]:
    """What a row is called. Its name is that of a layer that is the whole row in its profile, else of the longest in the first profile."""
    own = [layers[p][at] for p, at in parts]
    count = Counter(p for p, _ in parts)
    alone = next((layer for layer, (p, _) in zip(own, parts, strict=True) if count[p] == 1), None)
    longest = max(own[: count[parts[0][0]]], key=lambda layer: np.nan_to_num(layer["latency_ms"], nan=-np.inf))
    leader = alone or longest
    inserted = leader["kind"] == "inserted" and not leader["source_nodes"]
    name = one_row or f"({leader['op_type']})" if inserted else leader["name"]
    sources = list(dict.fromkeys(source for layer in own for source in layer["source_nodes"]))
    return {"name": name, "op_type": "" if inserted and one_row else leader["op_type"], "kind": leader["kind"], "source_nodes": sources}


def _cells(profile: Profile, parts: Sequence[Sequence[int]]) -> pd.DataFrame:
    """A row for each part of ``parts`` that has layers, with the numbers of those together."""
    row = np.repeat(np.arange(len(parts)), [len(own) for own in parts])
    layers = profile.layers.iloc[[at for own in parts for at in own]].reset_index(drop=True)
    grouped = layers.groupby(row)
    names = [runtime or name for runtime, name in zip(profile.layers["runtime_name"], profile.layers["name"], strict=True)]
    made = pd.DataFrame({
        "ran": [[names[at] for at in own] for own in parts if own], "layers": grouped.size(),
    })  # fmt: skip
    made[list(SUMMED)] = grouped[list(SUMMED)].sum(min_count=1)
    made[list(LARGEST)] = grouped[list(LARGEST)].max()
    for name, ends in INTERVALS.items():
        for end in ends:
            made[end] = grouped[end].sum(min_count=1).where(grouped[end].count() == grouped.size())
            made[end] = made[end].where(grouped[name].count() == grouped.size())
    both = layers["power_mw"].notna() & layers["latency_ms"].notna()
    weighted = pd.DataFrame({"work": layers["power_mw"] * layers["latency_ms"], "time": layers["latency_ms"]}).where(both, axis=0)
    sums = weighted.groupby(row).sum(min_count=1)
    several = made["layers"] > 1
    made["power_mw"] = (sums["work"] / sums["time"]).where(several, grouped["power_mw"].first())
    read = (made["param_bytes"] + made["activation_bytes"]).replace(0, np.nan)
    made["arithmetic_intensity"] = (2 * made["macs"] / read).where(several, grouped["arithmetic_intensity"].first())
    return made.rename_axis("row").reset_index()
