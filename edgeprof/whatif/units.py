"""Units: the finest parts of a model that every variant of it times as a whole.

A runtime fuses nodes differently once some are int8, so a layer of one variant is part of a layer of another. Units are the connected
components of original nodes that some layer of some variant carries out together. What carries out no original node (QuantizeLinear,
DequantizeLinear, reorders, casts, transposes between layouts) is boundary: it comes and goes with the recipe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeprof.analysis.align import components
from edgeprof.models.cost import Cost, graph_costs
from edgeprof.models.graph import Graph
from edgeprof.records.profile import Profile


@dataclass(frozen=True)
class Unit:
    """Original nodes that are timed together. ``leader`` is the one with the most MACs: its choice of precision is the unit's."""

    leader: str
    op_type: str
    nodes: tuple[str, ...]


def units_of(graph: Graph, profiles: Iterable[Profile]) -> tuple[Unit, ...]:
    """The units that these profiles of variants of ``graph`` have in common, in the model's order."""
    known = {layer.name: layer for layer in graph.layers if layer.parent is None}
    sets = [[name for name in sources if name in known] for p in profiles for sources in p.measured_layers["source_nodes"]]
    root = components(nodes for nodes in sets if nodes)
    members: dict[str, list[str]] = {}
    for name in known:
        if name in root:
            members.setdefault(root[name], []).append(name)
    costs = graph_costs(graph)
    made = []
    for nodes in members.values():
        macs = {name: 0.0 if math.isnan(costs[name].macs) else costs[name].macs for name in nodes}
        leader = max(nodes, key=macs.__getitem__)
        made.append(Unit(leader, known[leader].op_type, tuple(nodes)))
    return tuple(made)


def unit_times(units: Sequence[Unit], profile: Profile) -> tuple[list[float], float]:
    """Milliseconds of each unit in this profile (NaN where none of its nodes ran), and of all boundary layers together."""
    place = {node: number for number, unit in enumerate(units) for node in unit.nodes}
    found = [math.nan] * len(units)
    boundary = 0.0
    layers = profile.measured_layers
    layers = layers[(layers["kind"] != "nested") & layers["latency_ms"].notna()]
    for sources, latency in zip(layers["source_nodes"], layers["latency_ms"].tolist(), strict=True):
        number = next((place[name] for name in sources if name in place), None)
        if number is None:
            boundary += latency
        else:
            found[number] = latency if math.isnan(found[number]) else found[number] + latency
    return found, boundary


def unit_figures(units: Sequence[Unit], profile: Profile) -> list[dict[str, Any]]:
    """What a profile says of each unit: latency_ms, energy with its interval, mean power over its time, provider, precision."""
    place = {node: number for number, unit in enumerate(units) for node in unit.nodes}
    numbers = dict.fromkeys(("latency_ms", "energy_mj", "energy_low_mj", "energy_high_mj", "power_mw"), math.nan)
    found: list[dict[str, Any]] = [{**numbers, "provider": "", "precision": ""} for _ in units]
    work = np.zeros((len(units), 2))
    rows: list[dict[str, Any]] = profile.measured_layers.to_dict("records")  # type: ignore[assignment]
    for row in rows:
        number = next((place[name] for name in row["source_nodes"] if name in place), None)
        if number is None:
            continue
        own = found[number]
        own["provider"], own["precision"] = own["provider"] or row["provider"], own["precision"] or row["precision"]
        for name in ("latency_ms", "energy_mj", "energy_low_mj", "energy_high_mj"):
            own[name] = row[name] if math.isnan(own[name]) else own[name] + row[name]
        if not math.isnan(row["power_mw"]) and row["latency_ms"] > 0:
            work[number] += (row["power_mw"] * row["latency_ms"], row["latency_ms"])
    for own, (energy, time) in zip(found, work.tolist(), strict=True):
        own["power_mw"] = energy / time if time > 0 else math.nan
    return found


def work_of(units: Sequence[Unit], costs: Mapping[str, Cost]) -> list[float]:
    """How much each unit has to do: MACs, or bytes of activations where it has none. NaN where neither is known."""
    found = []
    for unit in units:
        macs = math.fsum(costs[name].macs for name in unit.nodes if costs[name].macs > 0)
        found.append(macs or math.fsum(costs[name].activation_bytes for name in unit.nodes))
    return found


def widths_of(units: Sequence[Unit], graph: Graph) -> list[tuple[int, int]]:
    """Channels that the leader of each unit reads and makes (the second axis of images, else the last); 0 where that is not known."""
    layers = {layer.name: layer for layer in graph.layers}

    def channels(names: Sequence[str]) -> int:
        shape = graph.tensor(names[0]).shape if names and names[0] else None
        size = shape[1 if len(shape) >= 3 else -1] if shape else None
        return size if isinstance(size, int) else 0

    return [(channels(layers[unit.leader].inputs), channels(layers[unit.leader].outputs)) for unit in units]


def boundary_rows(units: Sequence[Unit], profile: Profile) -> list[tuple[str, float, float]]:
    """(op type, elements, milliseconds) of each layer that carries out no original node."""
    known = {node for unit in units for node in unit.nodes}
    layers = profile.measured_layers
    layers = layers[(layers["kind"] != "nested") & layers["latency_ms"].notna()]
    found = []
    columns = (layers[name].tolist() for name in ("op_type", "source_nodes", "output_shape", "latency_ms"))
    for op, sources, shape, latency in zip(*columns, strict=True):
        if not any(name in known for name in sources):
            found.append((op, float(math.prod(int(size) for size in shape.split("×") if size.isdigit())), latency))
    return found


Crossings = Sequence[tuple[int, int, float]]
"""Of each tensor that goes from one unit to another: who makes it, who reads it, elements."""


def crossings(units: Sequence[Unit], graph: Graph) -> list[tuple[int, int, float]]:
    """Tensors that go from one unit to another: (unit that makes it, unit that reads it, elements), each pair and tensor once.

    -1 is the caller: who gives the model's inputs and takes its outputs.
    """
    place = {node: number for number, unit in enumerate(units) for node in unit.nodes}
    made: dict[str, int] = {tensor.name: -1 for tensor in graph.inputs}
    read: dict[str, set[int]] = {output.name: {-1} for output in graph.outputs}
    passed: Mapping[str, str] = _passed_on(graph, place)
    for layer in graph.layers:
        if layer.parent is None and layer.name in place:
            made.update(dict.fromkeys((name for name in layer.outputs if name), place[layer.name]))
            for name in layer.inputs:
                read.setdefault(_origin(name, passed), set()).add(place[layer.name])
    found = []
    for name, readers in read.items():
        if name in made:
            elements = graph.tensor(name).elements
            found += [(made[name], reader, elements) for reader in sorted(readers) if reader != made[name] and elements > 0]
    return found


def _passed_on(graph: Graph, place: Mapping[str, int]) -> dict[str, str]:
    """Outputs of nodes that never ran (folded, removed) and the tensor that they hand on."""
    return {
        output: layer.inputs[0]
        for layer in graph.layers
        if layer.parent is None and layer.name not in place and layer.inputs
        for output in layer.outputs
        if output
    }


def _origin(name: str, passed: Mapping[str, str]) -> str:
    for _ in range(len(passed) + 1):
        if name not in passed:
            break
        name = passed[name]
    return name
