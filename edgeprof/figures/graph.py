"""View data of the model graph: original nodes as boxes, coloured by what their layers cost. Drawn by ``static/graph.js``.

1. A level is the model, or a block of it (`graph_blocks`); each is laid out for itself with its blocks folded. A view opens a block by
   stretching the level around it, so that everything keeps its order and nothing overlaps: `graph_compose`, and the same in JavaScript.
2. ``layer`` is the row of the layer that carries a node out, in ``names``; -1 where there is none (folded, removed). A node that several
   layers carry out has them all in ``more_layers``.
3. A block's number is the sum over its layers, or the largest where a sum means nothing (``how``). A layer counts where its own node is, so
   the blocks and single nodes sum to the layers that have a node.
4. An edge that enters or leaves a block ends at a port on its border and goes on inside. ``edge_from`` and ``edge_to`` are items of
   the edge's level, or its ports (``edge_flags`` 1: starts at an entry port, 2: ends at an exit port); ``edge_from_port`` and
   ``edge_to_port`` are ports of the block that the item is, plus one, or 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof.analysis.sources import meaning_of, title_of
from edgeprof.errors import UsageError, did_you_mean
from edgeprof.figures.graph_blocks import Blocks, Item, common, find_blocks
from edgeprof.figures.graph_layout import Layout, lay_out, order_of
from edgeprof.figures.heatmap import precision, scales
from edgeprof.figures.numbers import format_of
from edgeprof.figures.view import ViewData, end_to_end, header, pack, themes
from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.records import schema
from edgeprof.records.profile import Profile

Collapse = Literal["auto", "all", "none"]

COLLAPSES: tuple[Collapse, ...] = ("auto", "all", "none")

AUTO_NODES = 60
"""``auto`` folds the blocks of a model with more nodes than this."""

NODE, BLOCK, INPUT, OUTPUT = range(4)
"""Kinds of items, as ``item_kind`` has them."""

SIZES = {NODE: (148.0, 40.0), BLOCK: (188.0, 56.0), INPUT: (148.0, 28.0), OUTPUT: (148.0, 28.0)}
"""Width and height of an item in pixels at full size; of a block, folded."""

HEAD, PAD, LEAST = 26.0, 14.0, 188.0
"""Of an open block: height of its title, room around what is inside, and least width of that."""

_SUMS = frozenset({
    "latency_ms", "latency_raw_ms", "latency_isolated_ms", "share", "energy_mj", "energy_closed_mj", "macs", "param_bytes",
    "activation_bytes",
})  # fmt: skip
"""Metrics of which a block has the sum."""

_NO_METRICS = ("latency_low_ms", "latency_high_ms", "energy_low_mj", "energy_high_mj")
_INTERVALS = {"latency_ms": ("latency_low_ms", "latency_high_ms"), "energy_mj": ("energy_low_mj", "energy_high_mj")}

_FATES = {
    "executed": "",
    "folded": "Folded: computed once when the model is loaded.",
    "removed": "Removed: has no effect on the result.",
    "unattributed": "Not attributed to any layer.",
    "": "What became of it is not known.",
}

_NO_GRAPH = (
    "This profile has no graph of its model: it was made by an older version, or its graph could not be read. Profile the model again, "
    "or import its trace again together with the model."
)
_NO_NODES = "The graph of this profile's model has no nodes: there is nothing to draw. Profile a model that computes something."


def graph(profile: Profile, *, metric: str = "latency_ms", collapse: Collapse = "auto") -> ViewData:
    """The graph of ``profile``'s model with all metrics of its layers; ``metric`` colours it at first.

    ``collapse``: ``"all"`` folds all repeated blocks, ``"none"`` opens them, ``"auto"`` folds them in a large model.
    """
    if collapse not in COLLAPSES:
        raise UsageError(f"Expected collapse to be one of {', '.join(COLLAPSES)}, got {collapse!r}.")
    layers = profile.measured_layers.reset_index(drop=True)
    known = [name for name in schema.METRICS if name not in _NO_METRICS and layers[name].notna().any()]
    if metric not in known and metric not in schema.METRICS:
        raise UsageError(f"There is no metric {metric!r}{did_you_mean(metric, known)}. This profile has: {', '.join(known)}.")
    model = profile.graph or Graph("", (), (), (), {})
    nodes = _Nodes(model)
    blocks = find_blocks(model.layers, len(nodes.names) - len(model.layers), nodes.edges)
    drawn = _Drawing(nodes, blocks)
    carried = _carried(profile, nodes.names[: len(model.layers)])
    home = _homes(layers, carried, len(model.layers))
    inside = _layers_inside(blocks, home)
    columns, arrays = [], dict(drawn.arrays())
    for name in known:
        values = layers[name].to_numpy(float)
        of_blocks = np.array([_together(values[rows], name) for rows in inside])
        arrays[name] = values.astype(precision(name))
        arrays[f"block_{name}"] = of_blocks.astype(precision(name))
        columns.append(_column(profile, name, values, of_blocks[1:]))
    for name in (name for name in _NO_METRICS if layers[name].notna().any()):
        arrays[name] = layers[name].to_numpy(float)
    arrays["layer"] = np.array([rows[0] if rows else -1 for rows in carried] + [-1] * nodes.ends, np.float32)
    fates = {fate.node: fate.fate for fate in profile.nodes}
    words = ["executed" if rows else fates.get(name, "") for name, rows in zip(nodes.names, carried, strict=False)]
    texts: dict[str, list[str]] = {}
    for key, entries in (
        ("op_type", [layer.op_type for layer in model.layers]),
        ("shape", [_shape(model, layer) for layer in model.layers]),
        ("fate", [_FATES[word if word != "executed" or rows else ""] for word, rows in zip(words, carried, strict=True)]),
    ):
        codes, every = pd.factorize(np.array([*entries, *([""] * nodes.ends)], dtype=object))
        arrays[f"node_{key}"], texts[f"node_{key}"] = codes.astype(np.uint32), [str(value) for value in every]
    for key in ("op_type", "kind", "provider", "precision", "output_shape"):
        codes, every = pd.factorize(layers[key].to_numpy(object))
        arrays[f"layer_{key}"], texts[f"layer_{key}"] = codes.astype(np.uint16), [str(value) for value in every]
    foldable = [block.name for block in blocks.blocks[1:]]
    big = len(model.layers) > AUTO_NODES
    without = [i for i, at in enumerate(home) if at < 0]
    meta = {
        "view": "graph",
        "title": profile.title,
        "header": header(profile, *end_to_end(profile)),
        "findings": [{"severity": f.severity, "text": f.text} for f in profile.findings],
        "empty": "" if model.layers else _NO_GRAPH if profile.graph is None else _NO_NODES,
        "estimated": profile.basis == "estimated",
        "metric": metric if metric in known else (known or [metric])[0],
        "columns": columns,
        "names": [str(name) for name in layers["name"]],
        "nodes": nodes.names,
        "inputs": [_described(t) for t in model.inputs],
        "outputs": [_described(t) for t in model.outputs],
        "more_layers": {str(i): rows for i, rows in enumerate(carried) if len(rows) > 1},
        "blocks": [
            {"name": b.name, "title": b.title, "parent": b.parent, "head": b.head, "nodes": n, "layers": len(rows)}
            for b, n, rows in zip(blocks.blocks, _counts(blocks, len(model.layers)), inside, strict=True)
        ],
        "collapsed": foldable if collapse == "all" or (collapse == "auto" and big) else [],
        "no_node": {"layers": len(without), "latency_ms": _number(layers["latency_ms"].iloc[without].sum(min_count=1))},
        "sizes": {"head": HEAD, "pad": PAD, "least": LEAST},
        "texts": texts,
        "themes": themes(texts["node_op_type"]),
    }
    return pack(meta, arrays)


# ---- nodes and edges of the model ----


class _Nodes:
    """The model's layers, then its inputs, then its outputs, by position; edges between them, each once."""

    def __init__(self, model: Graph) -> None:
        self.layers = model.layers
        self.ends = len(model.inputs) + len(model.outputs)
        self.inputs = range(len(model.layers), len(model.layers) + len(model.inputs))
        self.names = [*(layer.name for layer in model.layers), *(t.name for t in model.inputs), *(t.name for t in model.outputs)]
        by_name = {layer.name: i for i, layer in enumerate(model.layers)}
        made: dict[tuple[str, str], dict[str, int]] = {("", ""): {}}
        for node, given in zip(self.inputs, model.inputs, strict=True):
            made["", ""][given.name] = node
        for i, layer in enumerate(model.layers):
            scope = made.setdefault((layer.parent or "", layer.branch or ""), {})
            scope.update((t, i) for t in layer.outputs if t)
        found: dict[tuple[int, int], None] = {}
        for i, layer in enumerate(model.layers):
            for t in layer.inputs:
                maker = self._maker(t, layer, by_name, made)
                if maker >= 0 and maker != i:
                    found[maker, i] = None
        for k, output in enumerate(model.outputs):
            maker = made["", ""].get(output.name, -1)
            if maker >= 0:
                found[maker, self.inputs.stop + k] = None
        self.edges = list(found)

    def _maker(self, tensor: str, layer: Layer | None, by_name: dict[str, int], made: dict[tuple[str, str], dict[str, int]]) -> int:
        """Who makes what ``layer`` reads: in its own branch, else in those around it; -1 for what the file stores."""
        while tensor and layer is not None:
            maker = made.get((layer.parent or "", layer.branch or ""), {}).get(tensor)
            if maker is not None:
                return maker
            layer = self.layers[by_name[layer.parent]] if layer.parent in by_name else None
        return -1

    def kind(self, node: int) -> int:
        return NODE if node < self.inputs.start else INPUT if node < self.inputs.stop else OUTPUT


# ---- levels, their ports and where everything lies ----


@dataclass
class _Level:
    """Boxes of one level in the order of ``items``; then its entry ports and exit ports, each named by the node that they are of."""

    items: list[Item] = field(default_factory=list)
    entries: dict[int, int] = field(default_factory=dict)
    exits: dict[int, int] = field(default_factory=dict)
    edges: dict[tuple[Item, Item, int], None] = field(default_factory=dict)
    """From and to (an item, ``("entry", node)`` or ``("exit", node)``), and whose output it is."""


class _Drawing:
    """All levels laid out; items and ports are numbered over all levels."""

    def __init__(self, nodes: _Nodes, blocks: Blocks) -> None:
        self.nodes, self.blocks = nodes, blocks
        self.levels = [_Level() for _ in blocks.blocks]
        for number, block in enumerate(blocks.blocks):
            level = self.levels[number]
            level.items += [("node", node) for node in block.nodes if node not in blocks.heads]
            if number:
                self.levels[block.parent].items.append(("block", number))
        self._connect()
        for level in self.levels:  # ties in a layout go by the order of the model
            level.items.sort(key=self._first_node)
        self._known: dict[tuple[Any, ...], Layout] = {}
        self.layouts = [self._lay_out(level) for level in self.levels]

    def _first_node(self, item: Item) -> int:
        kind, number = item
        if kind == "node":
            return number - (len(self.nodes.names) if self.nodes.kind(number) == INPUT else 0)
        block = self.blocks.blocks[number]
        inner = [child for child in self.levels[number].items if child[0] == "block"]
        return min([block.head] if block.head >= 0 else [*block.nodes, *(self._first_node(child) for child in inner)])

    def _connect(self) -> None:
        blocks = self.blocks
        paths = [blocks.path(node) for node in range(len(blocks.home))]
        position = _positions(blocks, self.nodes.edges)
        for a, b in self.nodes.edges:
            if position is not None and (a not in position or b not in position):
                continue  # a circle, which no valid model has
            pa, pb = paths[a], paths[b]
            at = common(pa, pb)
            for depth in range(len(pa) - 1, at, -1):
                level = self.levels[pa[depth]]
                level.exits.setdefault(a, len(level.exits))
                level.edges[blocks.item(a, pa, depth), ("exit", a), a] = None
            ends = blocks.item(a, pa, at), blocks.item(b, pb, at)
            if ends[0] != ends[1]:
                self.levels[pa[at]].edges[ends[0], ends[1], a] = None
            for depth in range(at + 1, len(pb)):
                level = self.levels[pb[depth]]
                level.entries.setdefault(a, len(level.entries))
                level.edges[("entry", a), blocks.item(b, pb, depth), a] = None

    def _lay_out(self, level: _Level) -> Layout:
        boxes = [*level.items, *(("entry", node) for node in level.entries), *(("exit", node) for node in level.exits)]
        number = {item: k for k, item in enumerate(boxes)}
        sizes = [SIZES[BLOCK] if kind == "block" else SIZES[self.nodes.kind(n)] if kind == "node" else (2.0, 0.0) for kind, n in boxes]
        items, ports = len(level.items), len(level.items) + len(level.entries)
        edges = [(number[a], number[b]) for a, b, _ in level.edges]
        key = (items, ports, tuple(sizes), tuple(edges))
        if key not in self._known:  # blocks repeat themselves
            first, last = range(items, ports), range(ports, len(boxes))
            self._known[key] = lay_out([w for w, _ in sizes], [h for _, h in sizes], edges, first=first, last=last)
        return self._known[key]

    def _anchor(self, level: _Level, layout: Layout) -> float:
        """What stands in the column of the folded box when the block is open: its first way in, else its first way out."""
        return float(layout.x[len(level.items)]) if level.entries or level.exits else layout.width / 2

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays of items, ports and edges."""
        items: list[tuple[float, ...]] = []
        ports: list[tuple[float, ...]] = []
        at: dict[tuple[int, Item], int] = {}
        for number, (level, layout) in enumerate(zip(self.levels, self.layouts, strict=True)):
            boxes = [*level.items, *(("entry", node) for node in level.entries), *(("exit", node) for node in level.exits)]
            for k, (kind, ref) in enumerate(boxes):
                place = layout.x[k], layout.y[k]
                if kind in ("node", "block"):
                    of = BLOCK if kind == "block" else self.nodes.kind(ref)
                    at[number, (kind, ref)] = len(items)
                    items.append((number, of, ref, *place, *SIZES[of]))
                else:
                    at[number, (kind, ref)] = len(ports)
                    ports.append((number, place[0], float(kind == "exit")))
        edges, starts, bends = self._edges(at)
        table = np.array(items, float).reshape(-1, 7)
        gates = np.array(ports, float).reshape(-1, 3)
        lines = np.array(edges, float).reshape(-1, 9)
        points = np.array(bends, float).reshape(-1, 2)
        pairs = np.array(self.nodes.edges, np.uint32).reshape(-1, 2)
        whole = dict(zip(("item_level", "item_kind", "item_ref"), table.T[:3].astype(np.uint32), strict=True))
        whole |= dict(zip(("item_x", "item_y", "item_w", "item_h"), table.T[3:].astype(np.float32), strict=True))
        whole |= {"port_x": gates.T[1].astype(np.float32), "port_level": gates.T[0].astype(np.uint32)}
        names = ("edge_level", "edge_from", "edge_to", "edge_flags", "edge_from_port", "edge_to_port", "edge_node")
        whole |= dict(zip(names, lines.T[:7].astype(np.uint32), strict=True))
        whole |= dict(zip(("edge_leave", "edge_arrive"), lines.T[7:].astype(np.float32), strict=True))
        whole |= {
            "bend_start": np.array(starts, np.uint32),
            "bend_x": points.T[0].astype(np.float32),
            "bend_y": points.T[1].astype(np.float32),
        }
        whole |= {"level_w": np.array([layout.width for layout in self.layouts], np.float32)}
        anchors = [self._anchor(level, layout) for level, layout in zip(self.levels, self.layouts, strict=True)]
        whole |= {"level_anchor": np.array(anchors, np.float32)}
        whole |= {"level_h": np.array([layout.height for layout in self.layouts], np.float32)}
        return whole | {"link_from": pairs[:, 0], "link_to": pairs[:, 1]}

    def _edges(self, at: dict[tuple[int, Item], int]) -> tuple[list[tuple[float, ...]], list[int], list[tuple[float, float]]]:
        edges: list[tuple[float, ...]] = []
        starts, bends = [0], []  # type: tuple[list[int], list[tuple[float, float]]]
        for number, (level, layout) in enumerate(zip(self.levels, self.layouts, strict=True)):
            for k, (a, b, node) in enumerate(level.edges):
                flags = (a[0] == "entry") + 2 * (b[0] == "exit")
                from_port = at[a[1], ("exit", node)] + 1 if a[0] == "block" and node in self.levels[a[1]].exits else 0
                to_port = at[b[1], ("entry", node)] + 1 if b[0] == "block" and node in self.levels[b[1]].entries else 0
                ends = at[number, a], at[number, b]
                edges.append((number, *ends, flags, from_port, to_port, node, layout.leave[k], layout.arrive[k]))
                s, e = layout.bend_start[k], layout.bend_start[k + 1]
                bends += zip(layout.bend_x[s:e].tolist(), layout.bend_y[s:e].tolist(), strict=True)
                starts.append(len(bends))
        return edges, starts, bends


def _positions(blocks: Blocks, edges: Sequence[tuple[int, int]]) -> dict[int, int] | None:
    """Nodes that lie on no circle, by position; None when no node does."""
    order = order_of(len(blocks.home), edges)
    return None if len(order) == len(blocks.home) else {node: k for k, node in enumerate(order)}


# ---- which layer carries out which node ----


def _carried(profile: Profile, names: Sequence[str]) -> list[list[int]]:
    """Rows of the layers that carry out each node, as the profile's nodes say it; else as the layers' sources do."""
    rows = {str(name): i for i, name in enumerate(profile.measured_layers["name"])}
    found: dict[str, list[int]] = {fate.node: [rows[layer] for layer in fate.layers if layer in rows] for fate in profile.nodes}
    for name, sources in zip(profile.measured_layers["name"], profile.measured_layers["source_nodes"], strict=True):
        for source in sources:
            if rows[str(name)] not in found.setdefault(source, []):
                found[source].append(rows[str(name)])
    return [found.get(name, []) for name in names]


def _homes(layers: pd.DataFrame, carried: Sequence[Sequence[int]], nodes: int) -> list[int]:
    """The node where each layer counts: the first that it carries out; -1 when it has none."""
    home = [-1] * len(layers)
    for node in reversed(range(nodes)):
        for row in carried[node]:
            home[row] = node
    return home


def _layers_inside(blocks: Blocks, home: Sequence[int]) -> list[list[int]]:
    """Of each block the rows of the layers that count in it, its head's and those of inner blocks too."""
    inside: list[list[int]] = [[] for _ in blocks.blocks]
    for row, node in enumerate(home):
        if node >= 0:
            for number in {*blocks.path(node), blocks.heads.get(node, 0)}:
                inside[number].append(row)
    return inside


def _counts(blocks: Blocks, layers: int) -> list[int]:
    """Nodes in each block, inner ones and the head included."""
    counts = [0] * len(blocks.blocks)
    for node in range(layers):
        for number in {*blocks.path(node), blocks.heads.get(node, 0)}:
            counts[number] += 1
    return counts


def _together(values: NDArray[np.float64], name: str) -> float:
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan")
    return float(known.sum() if name in _SUMS else known.max())


def _column(profile: Profile, name: str, values: NDArray[np.float64], of_blocks: NDArray[np.float64]) -> dict[str, Any]:
    c = schema.column(name)
    return {
        "name": name,
        "title": title_of(profile, name),
        "unit": c.unit,
        "meaning": meaning_of(profile, name),
        "format": format_of(name),
        "how": "sum" if name in _SUMS else "largest",
        "scales": scales(pd.Series(values)),
        "block_scales": scales(pd.Series(np.r_[values, of_blocks])),
        "interval": [end for end in _INTERVALS.get(name, ()) if profile.layers[end].notna().any()],
    }


# ---- words ----


def _shape(model: Graph, layer: Layer) -> str:
    made = [t for t in layer.outputs if t]
    return _sized(model.tensor(made[0])) if made else ""


def _sized(tensor: TensorInfo) -> str:
    shape = "" if tensor.shape is None else "×".join("?" if dim is None else str(dim) for dim in tensor.shape) or "scalar"
    return " ".join(filter(None, (shape, tensor.dtype)))


def _described(tensor: TensorInfo) -> dict[str, str]:
    return {"name": tensor.name, "shape": _sized(tensor)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
