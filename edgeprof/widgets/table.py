"""`table`: the layers of a profile in a cell: sorted, filtered, searched, summed; the selection is readable and settable from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import traitlets

from edgeprof.errors import UsageError
from edgeprof.figures.heatmap import heatmap as heatmap_data
from edgeprof.figures.modules import script, style
from edgeprof.figures.pen import WIDTH
from edgeprof.figures.table_picture import draw
from edgeprof.figures.view import ViewData
from edgeprof.records.profile import Profile
from edgeprof.widgets.base import View, known_sort, module, refuse_unknown

WAYS = ("ascending", "descending")


class TableView(View):
    """Table of the layers of a Profile. Made by `table`; see there.

    ``selection`` (names of layers), ``sort`` and ``height`` can be read, set and observed.
    """

    _esm = module(script("layer_table"), 'connect(renderLayerTable, ["sort", "height", "theme"])')
    _css = style("layer_table")

    picture_width = WIDTH

    data: Any = traitlets.Dict().tag(sync=True)
    sort: Any = traitlets.Any(()).tag(sync=True)
    height: Any = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, profile: Profile, **traits: Any) -> None:
        data = heatmap_data(profile)
        self._sorts = ("name", *data.meta["texts"], "nodes", "runtime_name", *(column["name"] for column in data.meta["columns"]))
        super().__init__(profile, data={"meta": data.meta, "numbers": data.numbers}, **traits)

    def picture(self) -> bytes:
        """The table as a PNG picture, with the order and the selection that it has now."""
        return draw(ViewData(**self.data), sort=self.sort, selection=self.selection)

    @traitlets.validate("sort")
    def _known_sort(self, proposal: Any) -> tuple[str, ...]:
        """Always the columns, the most important first; no column is the order of execution."""
        wish = proposal["value"]
        wishes = [wish] if isinstance(wish, str) else list(wish)
        return tuple(self._key(str(one)) for one in wishes if one != "execution")

    def _key(self, wish: str) -> str:
        name, space, way = wish.partition(" ")
        if space and way not in WAYS:
            raise traitlets.TraitError(f"Cannot sort {name!r} {way!r}. Expected {' or '.join(WAYS)}, such as {f'{name} {WAYS[0]}'!r}.")
        return known_sort("latency_ms" if name == "latency" else name, self._sorts) + space + way


def table(
    profile: Profile | str | Path,
    *,
    sort: str | Sequence[str] = "execution",
    selection: Sequence[str] = (),
    height: int | None = None,
    **unknown: Any,
) -> TableView:
    """Table of the layers of ``profile`` (a Profile, or the path of a ``.edgeprof``) for a notebook cell.

    Args:
        profile: what to show.
        sort: ``"execution"``, or columns, the most important first: ``"latency_ms"``, ``["op_type", "energy_mj"]``. Numbers run from the
            largest, texts from A; ``"latency_ms ascending"`` turns that round.
        selection: names of the layers that are selected at first.
        height: of the rows in CSS pixels; None fits the layers, up to 16 rows.
        **unknown: refused with a sentence.
    """
    refuse_unknown("table", unknown, ("sort", "selection", "height"))
    if isinstance(profile, str | Path):
        from edgeprof.records.bundle import load

        profile = load(profile)
    if not isinstance(profile, Profile):
        raise UsageError(f"table expected a Profile or the path of a .edgeprof file, got {type(profile).__name__}.")
    return TableView(profile, sort=sort, selection=selection, height=height or 0)
