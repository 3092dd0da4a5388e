"""Progress of a sweep in a notebook or a script: one bar a board, by tqdm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeprof.analysis.names import shorten
from edgeprof.boards.base import Event, Progress
from edgeprof.sweeping.conduct import Begun, Ended


class Bars:
    """A context that listens; ``totals`` are the cells of each board."""

    def __init__(self, totals: Mapping[str, int]) -> None:
        from tqdm.auto import tqdm

        self._titles = {board: shorten(board, 24) for board in totals}
        self._bars: dict[str, Any] = {
            board: tqdm(total=total, desc=self._titles[board], unit="cell", position=at, leave=False)
            for at, (board, total) in enumerate(totals.items())
        }
        self._models: dict[str, str] = {}

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self._bars.values():
            bar.close()

    def __call__(self, board: str, event: Event | Begun | Ended) -> None:
        """Shows ``event``."""
        bar = self._bars[board]
        if isinstance(event, Ended):
            bar.update(1)
        else:
            text = stage(event, self._models, board)
            if text:
                bar.set_description(f"{self._titles[board]}: {text}")


def stage(event: Event | Begun | Ended, models: dict[str, str], board: str) -> str:
    """``model phase 20/100``, as far as ``event`` says; empty when it says nothing of it. ``models`` is what each board is at."""
    if isinstance(event, Begun):
        models[board] = shorten(event.cell.model, 32)
        return models[board]
    if isinstance(event, Progress):
        return f"{models.get(board, '')} {shorten(event.phase, 12)} {event.amount}".strip()
    return ""
