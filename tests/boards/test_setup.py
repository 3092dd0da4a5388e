"""Setting up a board that is a folder here: once with the real runtime, and with stand-ins for what may go wrong."""

from __future__ import annotations

import argparse
import platform
import subprocess
from pathlib import Path

import pytest

import edgeprof.boards
from edgeprof.agent import about
from edgeprof.agent.installed import place_of, python_of
from edgeprof.boards.about import About
from edgeprof.boards.setup import plan, remove, set_up
from edgeprof.boards.wheels import resolve
from edgeprof.commands.boards import setup as board_setup
from edgeprof.errors import BoardError, BoardLost, UsageError
from tests.agent.wheels import NAME
from tests.boards.folder_session import FolderBoard, FolderSession
from tests.boards.offered import offered

BARE = {"own": None}


@pytest.fixture
def session(tmp_path):
    return FolderSession(tmp_path / "board", **BARE)


@pytest.fixture
def cache(tmp_path):
    return offered(tmp_path / "cache")


def test_the_real_runtime_from_the_index(session, tmp_path):
    told = About.parse({**about.about(str(session.folder)), **BARE})
    try:
        wheels = resolve(told, into=tmp_path / "cache")
    except BoardError as error:
        if "cannot be reached" in str(error):
            pytest.skip("pip reaches no package index from here")
        raise
    heard: list[tuple[str, int, int]] = []
    result = set_up(session, progress=lambda *words: heard.append(words), cache=tmp_path / "cache")

    assert result.outcome == "installed"
    assert result.version == wheels.versions["onnxruntime"]
    assert "CPUExecutionProvider" in result.providers
    assert sorted(session.sent) == sorted(["check.onnx", *(wheel.path.name for wheel in wheels.wheels)])
    assert list(dict.fromkeys(phase for phase, _, _ in heard)) == ["find wheels", "send", "environment", "unpack", "check"]
    assert abs(result.installed_bytes / wheels.unpacked_bytes - 1) < 0.2, "what the plan says is what it takes"
    code = "import onnxruntime, sys; print(onnxruntime.__file__.startswith(sys.prefix))"
    assert subprocess.check_output([python_of(str(session.folder)), "-c", code], text=True) == "True\n"


def test_twice_broken_and_removed(session, cache):
    first = set_up(session, cache=cache)
    assert (first.outcome, first.name) == ("installed", NAME)
    assert first.sentence.startswith("Set up: onnxruntime 9.9.9 with numpy 8.8.8 (CPUExecutionProvider) ran a model. It takes ")

    session.asked, session.sent = [], []
    again = set_up(session, cache=Path("/not/there"))
    assert again.outcome == "present"
    assert again.sentence == "Already set up: onnxruntime 9.9.9 with numpy 8.8.8 (CPUExecutionProvider) ran a model."
    assert (session.asked, session.sent) == (["about", "check-runtime"], [])

    for path in Path(place_of(str(session.folder), NAME)).glob("lib/*/site-packages/numpy/*"):
        if path.is_file():
            path.write_text("raise ImportError('damaged')")
    mended = set_up(session, cache=cache)
    assert mended.outcome == "installed"
    assert "damaged" in mended.plan.broken
    assert len(session.sent) == 3

    with pytest.raises(BoardError, match=r"there are: 9\.9\.9"):
        remove(session, "1.0")
    assert remove(session, "9.9.9") == (NAME,)
    assert remove(session) == ()


def test_dry_run(session, cache):
    made = plan(session, cache=cache)
    assert session.put(made.resolved.wheels[0].path)
    result = set_up(session, dry_run=True, cache=cache)
    wheels = result.plan.resolved.wheels
    assert result.outcome == "planned"
    assert result.plan.bytes_there == wheels[0].size_bytes
    assert result.plan.send_bytes == sum(wheel.size_bytes for wheel in wheels[1:])
    assert not (session.folder / "runtimes").exists()
    text = "\n".join(result.plan.lines)
    for expected in (platform.machine(), "onnxruntime 9.9.9", wheels[1].path.name, "are there already", "sympy", "must be free"):
        assert expected in text


def test_the_boards_own_runtime_is_used_and_left_alone(tmp_path, cache):
    session = FolderSession(tmp_path / "board")
    result = set_up(session, cache=cache)
    assert result.outcome == "own"
    assert "Nothing to install" in result.sentence
    assert "nothing is installed" in result.plan.lines[-1]
    assert set_up(session, version="9.9.9", dry_run=True, cache=cache).plan.resolved is not None


def test_an_own_runtime_that_does_not_run_is_replaced(tmp_path, cache, monkeypatch):
    session = FolderSession(tmp_path / "board", own={"name": "onnxruntime-gpu", "version": "1", "numpy": "1"})
    ask = session.ask

    def refuse(kind, fields, on_progress=None):
        if kind == "check-runtime":
            raise BoardError("libcudart.so is missing")
        if kind == "install":
            raise BoardLost("the cable fell out")
        return ask(kind, fields, on_progress)

    monkeypatch.setattr(session, "ask", refuse)
    with pytest.raises(BoardLost):
        set_up(session, cache=cache)
    assert len(session.sent) == 4


def test_a_lost_link_is_no_broken_runtime(tmp_path, cache, monkeypatch):
    session = FolderSession(tmp_path / "board")

    def lose(kind, fields, on_progress=None):
        if kind == "check-runtime":
            raise BoardLost("the cable fell out")
        return about.about(str(session.folder))

    monkeypatch.setattr(session, "ask", lose)
    with pytest.raises(BoardLost):
        set_up(session, cache=cache)


@pytest.mark.parametrize(
    ("facts", "says"),
    [({"machine": "armv7l", "bits": 32}, "came armv7l"), ({"free_bytes": 10**6}, r"Expected .* MB free .* came 1\.00 MB in .*board\.")],
)
def test_what_cannot_be_is_said_before_anything_is_sent(tmp_path, cache, facts, says):
    session = FolderSession(tmp_path / "board", **BARE, **facts)
    with pytest.raises(BoardError, match=says):
        set_up(session, cache=cache)
    assert session.sent == []
    assert not session.folder.exists()


def test_a_hostile_boards_answers(tmp_path, cache, monkeypatch):
    session = FolderSession(tmp_path / "board")
    ask = session.ask
    answer = {"name": "\x1b[31m", "version": 3, "numpy": "2\n", "providers": ["a\u202e"] * 1000, "bytes": "many"}
    monkeypatch.setattr(session, "ask", lambda kind, *rest: answer if kind == "check-runtime" else ask(kind, *rest))
    result = set_up(session, cache=cache)
    assert (result.version, result.numpy, result.installed_bytes) == ("", "2", None)
    assert set(result.providers) == {"a"}
    assert len(result.providers) < 100
    assert result.sentence.isprintable()


# The command


@pytest.fixture
def command(session, cache, monkeypatch, capsys):
    monkeypatch.setattr(edgeprof.boards, "get_board", lambda name: FolderBoard(session) if name == "pi" else object())
    monkeypatch.setattr("edgeprof.boards.wheels._default_folder", lambda: cache)
    parser = argparse.ArgumentParser()
    board_setup.add_arguments(parser)

    def run(*arguments: str) -> str:
        assert board_setup.run(parser.parse_args(arguments)) == 0
        return capsys.readouterr().out

    return run


def test_the_command_plans_sets_up_and_removes(command):
    planned = command("pi", "--dry-run")
    assert planned.endswith("Then one inference to see that it works.\nNothing was changed.\n")
    done = command("pi")
    assert done.startswith(planned.partition("Nothing was")[0])
    assert "Set up: onnxruntime 9.9.9" in done
    assert "Already set up" in command("pi", "--runtime-version", "9.9.9")
    assert command("pi", "--remove") == f"Removed {NAME}.\n"
    assert command("pi", "--remove") == "Nothing was installed there.\n"


def test_a_board_that_needs_no_set_up(command):
    with pytest.raises(UsageError, match="'local' needs no set-up"):
        command("local")
