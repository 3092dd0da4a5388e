"""Layers of several profiles of one model, side by side: what corresponds is what carries out the same original nodes.

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
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

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

    @property
    def title(self) -> str:
        """``model on 3 boards: pi4, pi5, local``: what every view says first."""
        return f"{self.profiles[0].context.model_name} on {len(self.profiles)} boards: {listed(self.labels, most=4)}"

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
    told = ["name", "op_type", "kind", "source_nodes", "latency_ms"]
    layers = [profile.layers[told].to_dict("records") for profile in profiles]
    rows = _rows(layers, _node_order(profiles))
    table = pd.DataFrame([_described(layers, parts) for parts in rows], columns=["name", "op_type", "kind", "source_nodes"])
    table["name"] = unique(list(table["name"]))
    cells = [_cells(profile, [[at for p, at in parts if p == i] for parts in rows]).assign(profile=i) for i, profile in enumerate(profiles)]
    return Alignment(profiles, board_labels(profiles), table, pd.concat(cells, ignore_index=True))


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


def board_labels(profiles: Sequence[Profile]) -> tuple[str, ...]:
    """What tells the profiles apart: the board, and then only what differs (threads, runtime ...) between profiles. No two are equal."""
    told: list[list[str]] = [[shorten(profile.context.board, 40) or "?"] for profile in profiles]
    for tell in DIFFERENCES:
        texts = [tell(profile) for profile in profiles]
        if len({text for text in texts if text}) > 1:
            told = [[*words, text] if text else words for words, text in zip(told, texts, strict=True)]
    return tuple(unique([", ".join(words) for words in told]))


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


DIFFERENCES: tuple[Callable[[Profile], str], ...] = (
    _runtime,
    lambda profile: "/".join(name.removesuffix("ExecutionProvider") for name in profile.context.providers),
    _threads, _precision, _optimization, _shapes,
)  # fmt: skip
"""What tells two profiles of a model on one board apart, each a short text or nothing."""


def _rows(layers: Sequence[_Layers], order: Mapping[str, int]) -> list[list[_Part]]:
    """Parts of each row, rows in the model's order; what was inserted comes after them and ``(between layers)`` last."""
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
                key, where = ("inserted", layer["op_type"]), (1.0,)
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


def _described(layers: Sequence[_Layers], parts: Sequence[_Part]) -> dict[str, Any]:
    """What a row is called. Its name is that of a layer that is the whole row in its profile, else of the longest in the first profile."""
    own = [layers[p][at] for p, at in parts]
    count = Counter(p for p, _ in parts)
    alone = next((layer for layer, (p, _) in zip(own, parts, strict=True) if count[p] == 1), None)
    longest = max(own[: count[parts[0][0]]], key=lambda layer: np.nan_to_num(layer["latency_ms"], nan=-np.inf))
    leader = alone or longest
    name = f"({leader['op_type']})" if leader["kind"] == "inserted" and not leader["source_nodes"] else leader["name"]
    sources = list(dict.fromkeys(source for layer in own for source in layer["source_nodes"]))
    return {"name": name, "op_type": leader["op_type"], "kind": leader["kind"], "source_nodes": sources}


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
