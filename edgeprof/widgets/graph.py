"""`graph`: the model's graph in a cell; metric, folded blocks and selection are readable and settable from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import traitlets

from edgeprof.errors import UsageError, did_you_mean
from edgeprof.figures.graph import Collapse
from edgeprof.figures.graph import graph as graph_data
from edgeprof.figures.graph_picture import draw
from edgeprof.figures.modules import script, style
from edgeprof.figures.pen import WIDTH
from edgeprof.figures.view import ViewData
from edgeprof.records.profile import Profile
from edgeprof.widgets.base import View, module, refuse_unknown


class GraphView(View):
    """The graph of a Profile's model. Made by `graph`; see there.

    ``selection`` (names of layers), ``metric``, ``collapsed`` (names of folded blocks) and ``height`` can be read, set and observed.
    """

    _esm = module(script("graph"), 'connect(renderGraph, ["metric", "collapsed", "height", "theme"])')
    _css = style("graph")

    picture_width = WIDTH

    data: Any = traitlets.Dict().tag(sync=True)
    metric: Any = traitlets.Unicode().tag(sync=True)
    collapsed: Any = traitlets.Tuple().tag(sync=True)
    height: Any = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, profile: Profile, *, metric: str = "latency_ms", collapse: Collapse = "auto", **traits: Any) -> None:
        view = graph_data(profile, metric=metric, collapse=collapse)
        self._metrics = tuple(column["name"] for column in view.meta["columns"])
        self._blocks = tuple(block["name"] for block in view.meta["blocks"][1:])
        data = {"meta": view.meta, "numbers": view.numbers}
        super().__init__(profile, data=data, **{"metric": view.meta["metric"], "collapsed": view.meta["collapsed"], **traits})

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of all blocks that can be folded, outer ones first."""
        return self._blocks

    def picture(self) -> bytes:
        """The view as a PNG picture: the metric, folded blocks and selection that it has now."""
        return draw(ViewData(**self.data), metric=self.metric, collapsed=self.collapsed, selection=self.selection)

    @traitlets.validate("metric")
    def _known_metric(self, proposal: Any) -> str:
        metric = str(proposal["value"])
        if self._metrics and metric not in self._metrics:
            known = ", ".join(self._metrics)
            raise traitlets.TraitError(f"There is no metric {metric!r}{did_you_mean(metric, self._metrics)}. This profile has: {known}.")
        return metric

    @traitlets.validate("collapsed")
    def _known_blocks(self, proposal: Any) -> tuple[str, ...]:
        names = tuple(map(str, proposal["value"]))
        for name in names:
            if name not in self._blocks:
                raise traitlets.TraitError(f"There is no block {name!r} in this graph{did_you_mean(name, self._blocks)}.")
        return names


def graph(
    profile: Profile | str | Path,
    *,
    metric: str = "latency_ms",
    collapse: Collapse = "auto",
    selection: Sequence[str] = (),
    height: int | None = None,
    **unknown: Any,
) -> GraphView:
    """The graph of the model of ``profile`` (a Profile, or the path of a ``.edgeprof``) for a notebook cell, coloured by a metric.

    Args:
        profile: what to show.
        metric: what colours the nodes: ``"latency_ms"``, ``"energy_mj"``, ``"macs"``, ``"peak_memory_bytes"`` ...
        collapse: ``"all"`` folds repeated blocks into a box each, ``"none"`` opens them, ``"auto"`` folds them in a large model.
        selection: names of the layers that are selected at first.
        height: of the graph in CSS pixels; None leaves it to the view.
        **unknown: refused with a sentence.
    """
    refuse_unknown("graph", unknown, ("metric", "collapse", "selection", "height"))
    if isinstance(profile, str | Path):
        from edgeprof.records.bundle import load

        profile = load(profile)
    if not isinstance(profile, Profile):
        raise UsageError(f"graph expected a Profile or the path of a .edgeprof file, got {type(profile).__name__}.")
    return GraphView(profile, metric=metric, collapse=collapse, selection=selection, height=height or 0)
