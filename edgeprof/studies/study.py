"""The study folder: many profiles of models on boards with settings, as files that outlive the program that made them.

    study.toml      name, when and by which edgeprof it was made, and what was asked for: models, boards, settings
    profiles/       one bundle a cell; ``*.partial.edgeprof`` is what came of one that was cut short
    models/         the models by content hash, so that the folder stands alone
    index.sqlite    one row a cell; made again from the rest when it is missing or damaged

A cell is one model on one board with one setting. Rules:

1. Its key is a hash of all that its numbers depend on: change anything, and it is another cell. What is done is never measured again
   unless one asks for it.
2. Several processes may work on a study at once. One of them claims a cell before it measures it; the claim ends with the process,
   whatever ended that.
3. Nothing is tried again by itself; ``attempts`` counts how often a cell was begun.
4. Names come from users, model files and boards: those of files are made of plain letters, bounded, and stay inside the folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof._version import __version__
from edgeprof.errors import BundleError, OutputError, StudyError, UsageError
from edgeprof.records import bundle
from edgeprof.studies.cell import SHORT, Cell, cell_of_bundle, cells_of, plain
from edgeprof.studies.index import Index, Row, numbers_of
from edgeprof.studies.table import sentence, table_of

if TYPE_CHECKING:
    import pandas as pd

    from edgeprof.models.graph import Graph
    from edgeprof.records.profile import Profile

MODEL_LIMIT_BYTES = 64 << 20
"""Larger models are named in the study and not copied into it."""

SUFFIX, PARTIAL = ".edgeprof", ".partial.edgeprof"


class Study:
    """A study folder that is there. ``Study(path)`` opens it; `create` makes one where there is none."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not (self.path / "study.toml").is_file():
            came = "holds no study.toml" if self.path.is_dir() else "is not there" if not self.path.exists() else "is a file"
            raise StudyError(f"{self.path} is no study: it {came}. Give the folder that `edgeprof sweep -o` wrote.")
        with _writing(self.path):
            (self.path / "profiles").mkdir(exist_ok=True)
            with self._opening():
                self._index = Index(self.path / "index.sqlite", self._found)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Study:
        """The study in this folder; StudyError when there is none."""
        return cls(path)

    @classmethod
    def create(cls, path: str | os.PathLike[str], name: str = "") -> Study:
        """The study in this folder, made first where there is none. Other people's folders are left alone: StudyError."""
        folder = Path(path)
        if not (folder / "study.toml").is_file():
            if folder.exists() and not folder.is_dir():
                raise StudyError(f"{folder} is a file; a study is a folder. Give another name.")
            if folder.is_dir() and any(entry.name != _LOCKS for entry in folder.iterdir()):
                raise StudyError(f"{folder} holds other files and is no study. Give an empty folder or a new name.")
            with _writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                with _lock(folder, "open"):
                    if not (folder / "study.toml").exists():  # by another process meanwhile
                        told = {"name": name or folder.resolve().name, "created": _now(), "edgeprof": __version__}
                        _write_toml(folder / "study.toml", told)
        return cls(folder)

    def __repr__(self) -> str:
        return f"Study({str(self.path)!r})"

    # Reading

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._told().get("name", self.path.name))

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What was asked for, the first first: ``at``, ``edgeprof``, ``models``, ``boards``, ``settings``."""
        return [request for request in self._told().get("requests", []) if isinstance(request, dict)]

    @property
    def table(self) -> pd.DataFrame:
        """One row a cell that was begun, the first first. See docs/fleets.md for its columns."""
        return table_of([self._settled(row) for row in self._index.rows()])

    def profiles(self, *, model: str | None = None, board: str | None = None, partial: bool = False) -> list[Profile]:
        """Profiles of the cells that are done, the first first; of one ``model`` (its file's name) or ``board`` only where given.

        ``partial`` adds what is there of cells that were cut short.
        """
        wanted = [row for row in map(self._settled, self._index.rows()) if row["file"] and (partial or row["status"] == "done")]
        return [
            bundle.load(self._file(row))
            for row in wanted
            if model in (None, row["model"], Path(row["model"]).stem) and board in (None, row["board"])
        ]

    def profile(self, key: str) -> Profile:
        """The profile of the cell with this key (or its first digits), or of this file's name."""
        found = [row for row in self._index.rows() if key and (row["key"].startswith(key) or row["file"] == key)]
        if len(found) != 1:
            came = "no cell" if not found else f"{len(found)} cells"
            raise UsageError(f"{came.capitalize()} of this study has the key '{key}'. Take one of the column `key` of its table.")
        if not found[0]["file"]:
            raise UsageError(f"The cell '{key}' has no profile: it is {self._settled(found[0])['status']}. Sweep again to measure it.")
        return bundle.load(self._file(found[0]))

    # Writing

    def add_request(self, request: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Notes what was asked for (``models``, ``boards``, ``settings``), unless the study knows it already."""
        with _writing(self.path), self._opening():
            told = self._told()
            known = told.setdefault("requests", [])
            if any(all(old.get(part) == request[part] for part in request) for old in known):
                return
            known.append({"at": _now(), "edgeprof": __version__, **request})
            _write_toml(self.path / "study.toml", told)

    def keep_model(self, graph: Graph) -> Path | None:
        """The copy of a model by its hash; None for one that is too large or that keeps weights in other files."""
        if graph.external_files or graph.file_bytes > MODEL_LIMIT_BYTES:
            return None
        place = self.path / "models" / f"{plain(graph.digest, 64)}.{plain(graph.format, 8)}"
        if not place.exists():
            data = Path(graph.path).read_bytes()
            if hashlib.sha256(data).hexdigest() != graph.digest:
                raise StudyError(f"{Path(graph.path).name} changed while it was read. Start again when it is whole.")
            with _writing(self.path):
                place.parent.mkdir(exist_ok=True)
                bundle.write_atomically(place, data)
        return place

    @contextmanager
    def owner(self) -> Iterator[str]:
        """A name to claim cells with. It holds as long as this process lives and the context lasts."""
        token = secrets.token_hex(8)
        with self._opening():
            self._sweep_locks()
            held = _lock(self.path, token)
            held.__enter__()
        try:
            yield token
        finally:
            with self._opening():
                (self.path / _LOCKS / token).unlink(missing_ok=True)
                held.__exit__(None, None, None)

    def claim(self, cell: Cell, owner: str, *, again: bool = False) -> Row | None:
        """None when the cell is ``owner``'s to measure now: its attempt is counted. Else its row: done, or under way elsewhere.

        ``again`` claims what is done too.
        """
        new = {**_begun(cell), "status": "running", "owner": owner}
        with self._index.exclusive() as db:
            row = db.get(cell.key)
            if row is not None:
                row = self._settled(row)
                if row["status"] == "running" or (row["status"] == "done" and not again):
                    return row
                new["attempts"] = row["attempts"] + 1
            db.put(new)
        return None

    def finish(self, cell: Cell, status: str, profile: Profile | None = None, error: str = "") -> Row:
        """Saves what came of a cell and its profile; the row. ``status``: done, failed or cancelled."""
        name = cell.stem + (SUFFIX if status == "done" else PARTIAL)
        change: Row = {"status": status, "error": sentence(error), "file": "", "owner": "", "changed": _now()}
        if profile is not None:
            try:
                bundle.save(profile, self.path / "profiles" / name)
                change |= {"file": name, **numbers_of(profile)}
            except (OutputError, BundleError) as problem:
                change |= {"status": "failed", "error": sentence(f"{error} {problem}")}
        if change["status"] == "done":
            self.partial(cell).unlink(missing_ok=True)
        elif not change["file"] and self.partial(cell).is_file():
            change["file"] = self.partial(cell).name
        with self._index.exclusive() as db:
            row = {**(db.get(cell.key) or _begun(cell)), **change}
            db.put(row)
        return row

    def partial(self, cell: Cell) -> Path:
        """Where what has come of a cell can be kept while it is measured (`edgeprof.live.Live`): the study finds it there."""
        return self.path / "profiles" / (cell.stem + PARTIAL)

    def row(self, cell: Cell) -> Row:
        """What is known of a cell now; attempts 0 when it was never begun."""
        with self._index.exclusive() as db:
            known = db.get(cell.key)
        return self._settled(known) if known is not None else self.blank(cell)

    @staticmethod
    def blank(cell: Cell) -> Row:
        """The row of a cell that was never begun."""
        return {**_begun(cell), "attempts": 0}

    # Inside

    def _told(self) -> dict[str, Any]:
        path = self.path / "study.toml"
        try:
            return tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise StudyError(f"Cannot read {path}: {error.strerror or error}. Check its permissions.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise StudyError(
                f"{path} is damaged: {error}. Mend it, or sweep into another folder; the profiles can be read by themselves."
            ) from error

    def _file(self, row: Row) -> Path:
        return self.path / "profiles" / Path(row["file"]).name

    def _settled(self, row: Row) -> Row:
        """``row`` as it is now: done only while its file is there, running only while its owner lives."""
        if row["status"] == "done" and not self._file(row).is_file():
            return {**row, "status": "failed", "file": "", "error": "Its profile was removed from the folder.", **numbers_of(None)}
        if row["status"] == "running" and not self._lives(row["owner"]):
            kept = next((self.path / "profiles").glob(f"*--{row['key'][:SHORT]}{PARTIAL}"), None)
            what = "nothing of it was kept" if kept is None else "what had come until then is kept"
            text = f"What measured it ended without a word; {what}."
            return {**row, "status": "failed", "file": kept.name if kept else "", "error": text, **numbers_of(None)}
        return row

    def _lives(self, owner: str) -> bool:
        try:
            with (self.path / _LOCKS / plain(owner, 40)).open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _sweep_locks(self) -> None:
        """Removes what processes left that were killed."""
        for path in (self.path / _LOCKS).iterdir():
            if path.name != "open" and not self._lives(path.name):
                path.unlink(missing_ok=True)

    def _opening(self) -> Any:
        return _lock(self.path, "open")

    def _found(self) -> Iterator[Row]:
        """Rows of all bundles in the folder, for a new index. Which cell each is, its file's name and study.toml say."""
        cells = {cell.stem: cell for request in self.requests for cell in cells_of(request)}
        for path in sorted((self.path / "profiles").glob(f"*{SUFFIX}")):
            partial = path.name.endswith(PARTIAL)
            stem = path.name.removesuffix(PARTIAL if partial else SUFFIX)
            if partial and path.with_name(stem + SUFFIX).exists():
                continue
            try:
                profile = bundle.load(path)
            except BundleError:
                continue
            cell = cells.get(stem) or cell_of_bundle(profile, path)
            row = {**_begun(cell), "status": "done", "file": path.name, **numbers_of(profile)}
            if partial:
                row |= {"status": "failed", "error": "It was cut short; why is not known any more, the index was made again since."}
            yield row


def _begun(cell: Cell) -> Row:
    """The row of a cell that was begun once and of which nothing else is known."""
    return {
        "key": cell.key, "model": cell.model, "model_sha256": cell.model_sha256, "board": cell.board, "settings": json.dumps(cell.settings),
        "given": json.dumps(cell.given), "attempts": 1, "owner": "", "error": "", "file": "", "changed": _now(), **numbers_of(None),
    }  # fmt: skip


# Files

_LOCKS = ".locks"


@contextmanager
def _lock(folder: Path, name: str) -> Iterator[None]:
    """Holds a lock of the folder; the system drops it when the process ends."""
    (folder / _LOCKS).mkdir(exist_ok=True)
    with (folder / _LOCKS / name).open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"Cannot write in the study {folder}: {error.strerror or error}. Free some space, or choose another folder."
        ) from error


def _write_toml(path: Path, told: Mapping[str, Any]) -> None:
    import tomlkit

    bundle.write_atomically(path, tomlkit.dumps(told).encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
