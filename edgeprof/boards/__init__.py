"""Boards: where models run. `get_board` finds one by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprof.errors import UsageError

if TYPE_CHECKING:
    from edgeprof.boards.base import Board


def get_board(board: str | Board) -> Board:
    """The board of this name; a Board is returned as it is."""
    if not isinstance(board, str):
        return board
    if board == "local":
        from edgeprof.boards.local import LocalBoard

        return LocalBoard()
    if board.startswith("replay:"):
        from edgeprof.boards.replay import ReplayBoard

        return ReplayBoard.named(board)
    if board.partition(":")[0].partition("?")[0] == "simulated":
        from edgeprof.boards.simulated import SimulatedBoard

        return SimulatedBoard.named(board)
    raise UsageError(f"There is no board '{board}'. Use 'local' (this machine), 'simulated' or 'replay:FILE.edgeprof'.")


def names() -> list[str]:
    """``local``, and the boards of the boards files."""
    return ["local"]
