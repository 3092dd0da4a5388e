"""When a Workbench is written: soon after each change, at the end, and as a copy elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

from edgeprof.errors import OutputError
from edgeprof.records import bundle
from edgeprof.records.profile import Profile
from edgeprof.studies import Study

_SOON_S = 0.2
_LEFT_OUT = (".locks", ".*.tmp", "index.sqlite-journal")


class Saver:
    """Calls a method soon after `touch`, once for many, and at `flush` at once. Until then, not longer, it keeps the object alive."""

    def __init__(self, write: Callable[[], None]) -> None:
        self._write = weakref.WeakMethod(write)
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._timer: threading.Timer | None = None
        self._dirty = False

    def touch(self) -> None:
        """Something changed."""
        write = self._write()
        with self._lock:
            self._dirty = True
            if self._timer is None and write is not None:
                self._timer = threading.Timer(_SOON_S, self._fire, (write,))
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Writes now what has changed."""
        write = self._write()
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if write is not None:
            self._fire(write)

    def _fire(self, write: Callable[[], None]) -> None:
        with self._writing:  # the later one has the later state
            with self._lock:
                self._timer = None
                dirty, self._dirty = self._dirty, False
            if dirty:
                write()


def copied(study: Study, target: Path) -> Path:
    """A copy of a study folder at ``target``, whole or not at all. OutputError when something else is there, or there is no room."""
    return _moved_in(target, lambda folder: shutil.copytree(study.path, folder, ignore=shutil.ignore_patterns(*_LEFT_OUT)))


def written(name: str, profiles: Iterable[Profile], target: Path) -> Path:
    """A new study at ``target`` that holds ``profiles``."""

    def fill(folder: Path) -> None:
        study = Study.create(folder, name)
        for number, profile in enumerate(profiles, 1):
            bundle.save(profile, study.path / "profiles" / f"p{number:04}.edgeprof")
        (folder / "index.sqlite").unlink()  # it is made again, of what is there now
        shutil.rmtree(folder / ".locks", ignore_errors=True)

    return _moved_in(target, fill)


def _moved_in(target: Path, fill: Callable[[Path], object]) -> Path:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(f"There is something at {target} already. Give a new name, or an empty folder.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name[:60]}.", dir=target.parent, ignore_cleanup_errors=True) as place:
            made = Path(place, "study")
            fill(made)
            with contextlib.suppress(FileNotFoundError):
                target.rmdir()
            made.replace(target)
    except (OSError, shutil.Error) as error:
        text = getattr(error, "strerror", None) or str(error)[:200]
        raise OutputError(f"Cannot write {target}: {text}. Free some space, or choose another folder.") from error
    return target
