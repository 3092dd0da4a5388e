"""A working folder with a tiny model and a profile of it; the command line as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprof.commands import main
from edgeprof.models.probes import make_probes
from edgeprof.records import bundle
from edgeprof.testing import make_profile


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty but for ``tiny.onnx``; output is not a terminal's."""
    monkeypatch.chdir(tmp_path)
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tiny.onnx").write_bytes(make_probes()[0].model)
    return tmp_path


@pytest.fixture
def edgeprof(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line: exit status, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def saved(folder: Path) -> Path:
    """A profile with numbers that can be checked by hand: 0.5, 0.1, 0.2, 0.2 ms."""
    path = folder / "toy.edgeprof"
    bundle.save(make_profile(), path)
    return path
