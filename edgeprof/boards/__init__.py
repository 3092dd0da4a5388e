"""Boards: where models run. `get_board` finds one by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprof.boards.entries import Entry, entry_for, entry_of, read_entries
from edgeprof.errors import UsageError, did_you_mean

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
    if "://" in board:
        return _ssh(entry_for(board))
    entry = entry_of(board)
    if entry is not None:
        return _ssh(entry)
    known = f"one of your boards ({', '.join(names()[1:])})" if names()[1:] else "one that `edgeprof boards add` named"
    close = did_you_mean(board, names())
    raise UsageError(
        f"There is no board '{board}'{close}. Use 'local' (this machine), 'simulated', 'replay:FILE.edgeprof', ssh://user@host, or {known}."
    )


def names() -> list[str]:
    """``local``, and the boards of the boards files."""
    return ["local", *read_entries()]


def _ssh(entry: Entry) -> Board:
    from edgeprof.boards.ssh import SshBoard

    return SshBoard(entry)
