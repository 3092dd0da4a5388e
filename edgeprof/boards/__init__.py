"""Boards: where models run. `get_board` finds one by name; `add`, `trust`, `set_up`, `remove` and `status` take care of the user's own."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from edgeprof.boards import entries
from edgeprof.boards.entries import Entry, entry_for, entry_of, read_entries
from edgeprof.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from edgeprof.boards.base import Board
    from edgeprof.boards.line import Told
    from edgeprof.boards.setup import SetupResult


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


def add(name: str, address: str, *, replace: bool = False, project: bool = False, **options: Any) -> Path:
    """Names a board, and returns the boards file that it stands in.

    Args:
        name: up to 64 letters, digits, ``.``, ``_`` and ``-``.
        address: ``ssh://user@host:port``, ``user@host``, or a name from ``~/.ssh/config``.
        replace: whether a board of this name may be replaced.
        project: write ``boards.toml`` of the current folder, not the user's own.
        options: fields of `edgeprof.boards.entries.Entry`, such as ``python``, ``folder``, ``key``, ``jump``, ``sensors``, ``cache_mb``.

    Raises:
        UsageError: something of it makes no sense, or there is such a board.
    """
    known = [field.name for field in fields(Entry) if field.name not in ("name", "address")]
    for option in options:
        if option not in known:
            raise UsageError(f"A board has no '{option}'{did_you_mean(option, known)}. Known are: {', '.join(known)}.")
    return entries.add(entry_for(address, name, **options), entries.project_file() if project else None, replace_it=replace)


def remove(name: str) -> None:
    """Forgets the board of this name; what is on it stays. UsageError when there is none."""
    entries.remove(name)


def trust(board: str | Board, fingerprint: str) -> None:
    """Accepts the board's host key, when its fingerprint is this one; UsageError says what it is otherwise.

    That of a jump host on the way, while it is not known: call it once for each.
    """
    from edgeprof.boards import hostkeys, loop
    from edgeprof.boards.ssh import ssh_board

    entry, key = loop.run(hostkeys.first_key(ssh_board(board).entry))
    seen = hostkeys.fingerprint(key)
    if fingerprint.strip() != seen:
        raise UsageError(f"The host key of {entry.name} has the fingerprint {seen}, not {fingerprint}. Nothing was accepted.")
    hostkeys.accept(entry, key)


def set_up(board: str | Board, *, version: str | None = None, dry_run: bool = False, progress: Told | None = None) -> SetupResult:
    """Brings a runtime to a board that has nothing but Python and SSH (docs/board-setup.md); ``dry_run`` only says what would be done.

    Raises:
        BoardError: it cannot be done; the sentence says what is missing.
    """
    from edgeprof.boards import setup
    from edgeprof.boards.ssh import ssh_board

    with ssh_board(board).session() as session:
        return setup.set_up(session, dry_run=dry_run, progress=progress, version=version)


def status(*boards: str | Board) -> pd.DataFrame:
    """How boards are now, a row each (docs/health.md); without names all of the user's and this machine. One that is lost is a row too."""
    from concurrent.futures import ThreadPoolExecutor

    from edgeprof.boards.health import ask, health_of, health_table

    found = [get_board(board) for board in boards or names()]
    with ThreadPoolExecutor(16, thread_name_prefix="edgeprof-health") as pool:
        return health_table(list(pool.map(lambda board: ask(board.name, health_of(board)), found)))


def _ssh(entry: Entry) -> Board:
    from edgeprof.boards.ssh import SshBoard

    return SshBoard(entry)
