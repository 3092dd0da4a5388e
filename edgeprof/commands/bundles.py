"""Where a command writes its bundle: found to be writable before anything long begins, and safe when the disk fills up."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgeprof.errors import OutputError
from edgeprof.records.profile import Profile

SUFFIX = ".edgeprof"
LONGEST_NAME_BYTES = 240
_ROOM_BYTES = 256 << 10


class SavedElsewhere(OutputError):
    """The profile could not be written where it was wanted, and is kept elsewhere; the sentence says where."""


def place(output: str | None, model: str) -> Path:
    """The path of the bundle: ``output``, or the model's name in the current folder.

    OutputError when it cannot be written: no such folder, no permission, no space, a folder of that name, another ending.
    """
    path = Path(output) if output is not None else Path(Path(model).stem + SUFFIX)
    if path.suffix != SUFFIX:
        raise OutputError(
            f"The output is '{path.name}'; a profile's name ends in {SUFFIX}. Use `edgeprof report` for other kinds of files."
        )
    if len(path.name.encode()) > LONGEST_NAME_BYTES:
        raise OutputError(f"The output's name has {len(path.name)} letters, more than a file can have. Give a shorter one with -o.")
    if path.is_dir():
        raise OutputError(f"The output {path} is a folder; give the name of a file, such as {path / Path(model).stem}{SUFFIX}.")
    folder = path.parent
    if not folder.is_dir():
        came = "is no folder" if folder.exists() else "does not exist"
        raise OutputError(f"The folder of the output, {folder}, {came}. Make it first, or choose another one with -o.")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM_BYTES))
    except OSError as error:
        raise OutputError(
            f"Nothing can be written in the output's folder {folder.resolve()}: {error.strerror or error}. Choose another one with -o."
        ) from error
    return path


def partial_place(path: Path) -> Path:
    """Where a measurement that was cut short goes: ``path``, or a name beside it when there is a file already that may be whole."""
    return path.with_name(f"{path.stem}.partial{SUFFIX}") if path.exists() else path


def save(profile: Profile, path: Path) -> None:
    """Writes ``path``. When that fails after all, saves the profile among the temporary files: `SavedElsewhere`, or OutputError."""
    from edgeprof.records import bundle

    try:
        bundle.save(profile, path)
    except OutputError as error:
        kept = _keep_elsewhere(profile, path.name)
        if kept is None:
            raise
        raise SavedElsewhere(f"{error} The profile was saved as {kept} instead.") from error


def _keep_elsewhere(profile: Profile, name: str) -> Path | None:
    from edgeprof.records import bundle

    try:
        folder = Path(tempfile.mkdtemp(prefix="edgeprof-kept-"))
    except OSError:
        return None
    try:
        bundle.save(profile, folder / name)
    except OutputError:
        folder.rmdir()
        return None
    return folder / name
