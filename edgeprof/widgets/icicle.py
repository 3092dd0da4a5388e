"""`icicle`: layers in the order they ran under their blocks, in a cell; the selection is readable and settable from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import traitlets

from edgeprof.errors import UsageError, did_you_mean
from edgeprof.figures.icicle import icicle as icicle_data
from edgeprof.figures.icicle_picture import draw
from edgeprof.figures.modules import script, style
from edgeprof.figures.pen import WIDTH
from edgeprof.figures.view import ViewData
from edgeprof.records.profile import Profile
from edgeprof.widgets.base import View, module, refuse_unknown


class IcicleView(View):
    """Icicle of a Profile. Made by `icicle`; see there.

    ``selection`` (names of layers), ``measure``, ``color``, ``order`` and ``height`` can be read, set and observed.
    """

    _esm = module(script("icicle"), 'connect(renderIcicle, ["measure", "color", "order", "height", "theme"])')
    _css = style("icicle")

    picture_width = WIDTH

    data: Any = traitlets.Dict().tag(sync=True)
    measure: Any = traitlets.Unicode("latency_ms").tag(sync=True)
    color: Any = traitlets.Unicode("op_family").tag(sync=True)
    order: Any = traitlets.Enum(("time", "longest"), "time").tag(sync=True)
    height: Any = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, profile: Profile, **traits: Any) -> None:
        data = icicle_data(profile)
        self._measures = tuple(dict.fromkeys(["latency_ms", *data.meta["measures"]]))
        self._colors = (*data.meta["categories"], *(column["name"] for column in data.meta["columns"]))
        super().__init__(profile, data={"meta": data.meta, "numbers": data.numbers}, **traits)

    def picture(self) -> bytes:
        """The view as a PNG picture, with the measure, colour, order and selection that it has now."""
        return draw(ViewData(**self.data), measure=self.measure, color=self.color, order=self.order, selection=self.selection)

    @traitlets.validate("measure")
    def _known_measure(self, proposal: Any) -> str:
        return _one_of(proposal["value"], self._measures, "Widths cannot say")

    @traitlets.validate("color")
    def _known_color(self, proposal: Any) -> str:
        return _one_of(proposal["value"], self._colors, "Colours cannot say")


def icicle(
    profile: Profile | str | Path,
    *,
    measure: str = "latency_ms",
    color: str = "op_family",
    selection: Sequence[str] = (),
    height: int | None = None,
    **unknown: Any,
) -> IcicleView:
    """Layers of ``profile`` (a Profile, or the path of a ``.edgeprof``) in the order they ran, under their blocks, for a notebook cell.

    Args:
        profile: what to show.
        measure: what widths say: ``"latency_ms"``, ``"energy_mj"``, ``"macs"``, ``"param_bytes"`` or ``"activation_bytes"``.
        color: what colours say: ``"op_family"``, ``"precision"``, ``"provider"``, ``"kind"``, or a column such as ``"energy_mj"``.
        selection: names of the layers that are selected at first.
        height: of the chart in CSS pixels; None leaves it to the view.
        **unknown: refused with a sentence.
    """
    refuse_unknown("icicle", unknown, ("measure", "color", "selection", "height"))
    if isinstance(profile, str | Path):
        from edgeprof.records.bundle import load

        profile = load(profile)
    if not isinstance(profile, Profile):
        raise UsageError(f"icicle expected a Profile or the path of a .edgeprof file, got {type(profile).__name__}.")
    return IcicleView(profile, measure=measure, color=color, selection=selection, height=height or 0)


def _one_of(wish: str, known: Sequence[str], what: str) -> str:
    if wish not in known:
        raise traitlets.TraitError(f"{what} {wish!r}{did_you_mean(wish, known)} here. Expected one of: {', '.join(known)}.")
    return wish
