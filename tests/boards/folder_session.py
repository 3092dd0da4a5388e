"""A board that is a folder on this machine: the agent's own functions, without a link between."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeprof.agent import about, install, installed
from edgeprof.agent.runtimes import Refused
from edgeprof.boards.setup import Progress
from edgeprof.errors import BoardError


class FolderSession:
    """Keeps what was asked in ``asked`` and what was sent in ``sent``. ``facts`` are told instead of what is true."""

    def __init__(self, folder: Path, **facts: Any) -> None:
        self.folder, self.facts = folder, facts
        self.asked: list[str] = []
        self.sent: list[str] = []

    def ask(self, kind: str, fields: Mapping[str, Any], on_progress: Progress | None = None) -> Mapping[str, Any]:
        """As the door of a board answers."""
        self.asked.append(kind)
        folder = str(self.folder)
        say = on_progress or (lambda *_: None)
        try:
            if kind == "about":
                return {**about.about(folder), **self.facts}
            if kind == "have":
                return {"have": {digest: self._have(digest) for digest in fields["digests"]}}
            if kind == "install":
                wheels = [{**wheel, "path": str(self._blob(wheel["sha256"]))} for wheel in fields["wheels"]]
                return install.install(folder, fields["name"], wheels, say, model=str(self._blob(fields["model"])))
            if kind == "check-runtime":
                return install.check(folder, fields["name"], str(self._blob(fields["model"])) if "model" in fields else "")
            if kind == "remove-runtime":
                return {"removed": installed.remove(folder, fields["name"])}
        except Refused as refused:
            raise BoardError(str(refused)) from refused
        raise AssertionError(kind)

    def put(self, path: Path, on_progress: Progress | None = None) -> str:
        """Copies it, unless it is there."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        blob = self._blob(digest)
        if not blob.exists():
            blob.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, blob)
            self.sent.append(path.name)
            if on_progress is not None:
                on_progress("send", path.stat().st_size, path.stat().st_size)
        return digest

    def _blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest

    def _have(self, digest: str) -> dict[str, Any]:
        blob = self._blob(digest)
        return {"whole": blob.exists(), "bytes": blob.stat().st_size if blob.exists() else 0}


class FolderBoard:
    """A board with such a session."""

    def __init__(self, session: FolderSession) -> None:
        self._session = session

    @contextlib.contextmanager
    def session(self) -> Iterator[FolderSession]:
        """The same one each time."""
        yield self._session
