"""`memory`: who holds memory when, in a cell; the selection of layers is readable and settable from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import traitlets

from edgeprof.analysis import peak_owners
from edgeprof.analysis.budget import Verdict, budget_of, fits
from edgeprof.errors import UsageError
from edgeprof.figures.memory import memory as memory_data
from edgeprof.figures.memory_picture import draw
from edgeprof.figures.modules import script, style
from edgeprof.figures.pen import WIDTH
from edgeprof.figures.view import ViewData
from edgeprof.records.profile import Profile
from edgeprof.widgets.base import View, module, refuse_unknown


class MemoryView(View):
    """Memory of a Profile. Made by `memory`; see there.

    ``selection`` (names of layers) and ``height`` can be read, set and observed; ``budget`` can be read and set.
    """

    _esm = module(script("memory"), 'connect(renderMemory, ["height", "theme"])')
    _css = style("memory")

    picture_width = WIDTH

    data: Any = traitlets.Dict().tag(sync=True)
    height: Any = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, profile: Profile, *, budget: str | float | None = None, **traits: Any) -> None:
        self._budget = budget
        super().__init__(profile, data=_data(profile, budget), **traits)

    @property
    def budget(self) -> str | float | None:
        """The memory that there is, as it was given; None is the board's. Setting it judges anew."""
        return self._budget

    @budget.setter
    def budget(self, budget: str | float | None) -> None:
        self.data = _data(self.profile, budget)  # an odd budget is refused here, and nothing has changed
        self._budget = budget

    @property
    def owners(self) -> pd.DataFrame:
        """Who owns the peak, largest first; see `edgeprof.analysis.peak_owners`."""
        return peak_owners(self.profile)

    @property
    def verdict(self) -> Verdict | None:
        """Whether it fits the budget, else the board's memory; None when neither is known."""
        room = budget_of(self.profile, self.budget)
        return None if room is None else fits(self.profile, room)

    def picture(self) -> bytes:
        """The view as a PNG picture, with the budget and the selection that it has now."""
        return draw(ViewData(**self.data), selection=self.selection)


def memory(
    profile: Profile | str | Path,
    *,
    budget: str | float | None = None,
    selection: Sequence[str] = (),
    height: int | None = None,
    **unknown: Any,
) -> MemoryView:
    """Memory of ``profile`` (a Profile, or the path of a ``.edgeprof``) for a notebook cell: lives of buffers, the peak and its owners.

    Args:
        profile: what to show.
        budget: memory that there is, as ``"512 kB"``, ``"2 MiB"`` or a number of bytes; None is the memory of the board that was profiled.
        selection: names of the layers that are selected at first.
        height: of the chart in CSS pixels; None leaves it to the view.
        **unknown: refused with a sentence.
    """
    refuse_unknown("memory", unknown, ("budget", "selection", "height"))
    if isinstance(profile, str | Path):
        from edgeprof.records.bundle import load

        profile = load(profile)
    if not isinstance(profile, Profile):
        raise UsageError(f"memory expected a Profile or the path of a .edgeprof file, got {type(profile).__name__}.")
    return MemoryView(profile, budget=budget, selection=selection, height=height or 0)


def _data(profile: Profile, budget: str | float | None) -> dict[str, Any]:
    view = memory_data(profile, budget)
    return {"meta": view.meta, "numbers": view.numbers}
