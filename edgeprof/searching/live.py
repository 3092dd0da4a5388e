"""The Pareto chart of a search while it runs, in the output of a notebook's cell."""

from __future__ import annotations

from typing import Any

from edgeprof.errors import MissingExtra
from edgeprof.searching.result import SearchResult


class LivePareto:
    """Called with what was found so far, it draws the chart, the first time anew and then in its place."""

    def __init__(self) -> None:
        try:
            from IPython.display import display
        except ImportError as error:
            raise MissingExtra("A live chart needs a notebook. Install one with `pip install 'edgeprof[notebook]'`.") from error
        self._display: Any = display
        self._handle: Any = None

    def __call__(self, found: SearchResult) -> None:
        """Draws what was found so far."""
        from edgeprof.figures import pareto

        figure = pareto(found.profiles)
        if self._handle is None:
            self._handle = self._display(figure, display_id=True)
        else:
            self._handle.update(figure)
