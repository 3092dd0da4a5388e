"""Widgets that ask boards: where `widgets/` (which know no board) and `boards/` meet."""

from __future__ import annotations

from typing import Any

from edgeprof.boards import get_board, names, status
from edgeprof.boards.base import Board
from edgeprof.errors import UsageError
from edgeprof.widgets.health import HealthTable


def board_health(*boards: str | Board, refresh_s: float = 10.0) -> HealthTable:
    """A table of how boards are, in a cell, asked again every ``refresh_s`` seconds while it is shown.

    Args:
        boards: names or Boards; without any, all of the user's and this machine.
        refresh_s: seconds between an answer and the next question.

    Raises:
        UsageError: there is no board of such a name, or ``refresh_s`` makes no sense.
    """
    found = [get_board(board) for board in boards or names()]
    if len({board.name for board in found}) < len(found):
        raise UsageError("A board is named twice. Give each once.")

    def ask() -> list[dict[str, Any]]:
        return [{str(key): value for key, value in row.items()} for row in status(*found).to_dict("records")]

    return HealthTable(ask, refresh_s)
