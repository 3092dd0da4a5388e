"""The index of a study: one row a cell in an SQLite file, which several processes may write."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.errors import OutputError, StudyError

if TYPE_CHECKING:
    from edgeprof.records.profile import Profile

Row = dict[str, Any]
"""One cell: a value for each of `COLUMNS`."""

VERSION = 1
WAIT_S = 60.0
"""Longest wait for another process that is writing; it writes for milliseconds."""

COLUMNS: Mapping[str, str] = {
    "key": "TEXT PRIMARY KEY", "model": "TEXT", "model_sha256": "TEXT", "board": "TEXT", "settings": "TEXT", "given": "TEXT",
    "status": "TEXT", "attempts": "INTEGER", "owner": "TEXT", "error": "TEXT", "file": "TEXT", "changed": "TEXT",
    "latency_ms": "REAL", "latency_low_ms": "REAL", "latency_high_ms": "REAL", "latency_p95_ms": "REAL", "energy_mj": "REAL",
    "peak_memory_bytes": "REAL",
}  # fmt: skip

_FULL_OR_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def numbers_of(profile: Profile | None) -> dict[str, float | None]:
    """What a table shows of a profile; None is not measured. Energy is that of one inference above idle."""
    if profile is None:
        return dict.fromkeys(("latency_ms", "latency_low_ms", "latency_high_ms", "latency_p95_ms", "energy_mj", "peak_memory_bytes"))
    context = profile.context
    latency = context.latency
    return {
        "latency_ms": latency.median_ms, "latency_low_ms": latency.low_ms, "latency_high_ms": latency.high_ms,
        "latency_p95_ms": latency.p95_ms, "energy_mj": context.energy.above_idle_mj, "peak_memory_bytes": context.memory.peak_bytes,
    }  # fmt: skip


class Index:
    """The index at ``path``. A missing or damaged one is made of the rows that ``found`` gives; what was damaged is kept beside it."""

    def __init__(self, path: Path, found: Callable[[], Iterable[Row]]) -> None:
        self._path = path
        if path.exists():
            if self._is_whole():
                return
            path.replace(path.with_name(f"{path.name}.damaged"))
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
        self._make(found())

    @contextmanager
    def exclusive(self) -> Iterator[Open]:
        """The index for reading and writing, and nobody else's meanwhile."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield Open(connection)
            connection.execute("COMMIT")

    def rows(self) -> list[Row]:
        """All rows, the first first."""
        with self._connected() as connection:
            return [dict(row) for row in connection.execute("SELECT * FROM cells ORDER BY rowid")]

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=WAIT_S, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                yield connection
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _FULL_OR_BUSY:
                raise OutputError(f"Cannot write {self._path}: {error}. Free some space, or end what else uses it.") from error
            raise StudyError(f"{self._path} is damaged ({error}). Remove it: it is made again from the profiles.") from error

    def _is_whole(self) -> bool:
        try:
            with self._connected() as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version > VERSION:
                    raise _TooNew
                whole = connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
                columns = [row["name"] for row in connection.execute("PRAGMA table_info(cells)")]
        except StudyError:
            return False
        except _TooNew:
            raise StudyError(f"{self._path.parent} was written by a newer edgeprof. Update edgeprof to open it.") from None
        return whole and version == VERSION and columns == list(COLUMNS)

    def _make(self, rows: Iterable[Row]) -> None:
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"CREATE TABLE cells ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})")
            for row in rows:
                Open(connection).put(row)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")


class Open:
    """An index within a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, key: str) -> Row | None:
        """The row of a cell."""
        row = self._connection.execute("SELECT * FROM cells WHERE key = ?", (key,)).fetchone()
        return dict(row) if row is not None else None

    def put(self, row: Row) -> None:
        """Writes a row; what it does not name is not known."""
        names = list(COLUMNS)
        changes = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
        marks = ", ".join("?" * len(names))
        text = f"INSERT INTO cells ({', '.join(names)}) VALUES ({marks}) ON CONFLICT (key) DO UPDATE SET {changes}"  # noqa: S608  # names of ours
        self._connection.execute(text, [row.get(name) for name in names])


class _TooNew(Exception):
    """A version of the index that this edgeprof does not know."""
