"""``edgeprof boards`` and ``profile --board`` against a real SSH server, as a newcomer types them."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprof.records.bundle import load
from tests.boards.ssh.rig import Sshd


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A server that the user has no board for yet; their boards file is empty, and so are their known hosts."""
    monkeypatch.setenv("EDGEPROF_BOARDS", str(tmp_path / "boards.toml"))
    server = Sshd(tmp_path / "board", "pi5")
    server.known_hosts.unlink()
    yield server
    server.close()


def put_down(board: Sshd, tmp_path: Path) -> None:
    """As `boards add` writes it, with the files that keep the test from the user's own SSH settings."""
    entry = board.entry
    lines = [f"{key} = {json.dumps(getattr(entry, key))}" for key in ("known_hosts", "ssh_config", "lock")]
    file = tmp_path / "boards.toml"
    file.write_text(file.read_text() + "\n".join(lines) + "\n")


def added(board: Sshd, edgeprof) -> tuple[str, ...]:
    words = ("boards", "add", "pi5", board.entry.address, "--key", board.key, "--python", sys.executable, "--folder", board.cache)
    return edgeprof(*words, "--no-check")


def test_from_a_new_board_to_none(board, edgeprof, tmp_path, monkeypatch):
    assert edgeprof("boards", "list")[1].startswith("No board has a name yet.")
    assert added(board, edgeprof)[0] == 0
    put_down(board, tmp_path)
    assert json.loads(edgeprof("boards", "list", "--json")[1])["boards"][0]["name"] == "pi5"

    status, _, err = edgeprof("boards", "check", "pi5")  # nobody can be asked
    assert (status, "is not in" in err) == (2, True)
    seen = re.search(r"--fingerprint (SHA256:[A-Za-z0-9+/]+)", err)[1]
    status, _, err = edgeprof("boards", "check", "pi5", "--fingerprint", "SHA256:other")
    assert (status, f"fingerprint {seen}, not SHA256:other" in err) == (2, True)
    assert not board.known_hosts.exists()
    for answer in ("no\n", ""):  # "": Ctrl-D
        with monkeypatch.context() as patch:
            terminal = io.StringIO(answer)
            terminal.isatty = lambda: True
            patch.setattr(sys, "stdin", terminal)
            status, _, err = edgeprof("boards", "check", "pi5")
            assert (status, "is not in" in err) == (2, True)
    assert not board.known_hosts.exists()
    status, out, _ = edgeprof("boards", "check", "pi5", "--fingerprint", seen, "--json")
    assert (status, json.loads(out)["ok"]) == (0, True)
    assert board.known_hosts.read_text().startswith(f"[127.0.0.1]:{board.port} ssh-ed25519 ")

    assert edgeprof("profile", "tiny.onnx", "--board", "pi5", "--runs", 4, "--quiet")[0] == 0
    profile = load("tiny.edgeprof")
    assert (profile.context.board, profile.context.runs, profile.origin) == ("pi5", 4, "measured")
    assert profile.context.fingerprint["disk_free_bytes"] > 0
    assert board.jobs == []

    status, out, _ = edgeprof("profile", "tiny.onnx", "--board", "pi5", "--runs", 5, "--detach")
    job = out.strip()
    assert (status, re.fullmatch(r"pi5/\d{8}T\d{6}-[0-9a-f]{8}", job) is not None) == (0, True)
    (told,) = json.loads(edgeprof("boards", "jobs", "--json")[1])["jobs"]
    assert (f"pi5/{told['job']}", told["model"]) == (job, "tiny.onnx")
    assert edgeprof("profile", "--attach", job, "--quiet", "-o", "later.edgeprof")[0] == 0
    later = load("later.edgeprof")
    assert (later.context.runs, later.context.model_name, later.context.model_sha256) == (5, "tiny.onnx", profile.context.model_sha256)
    assert edgeprof("boards", "jobs")[1] == "No jobs are on the boards.\n"
    assert edgeprof("profile", "--attach", job)[0] == 2  # fetched once

    job = edgeprof("profile", "tiny.onnx", "--board", "pi5", "--runs", 1_000_000, "--detach", "--quiet")[1].strip()
    status, _, err = edgeprof("profile", "tiny.onnx", "--board", "pi5", "--runs", 4, "--wait", 0)
    assert (status, re.search(r"pi5 is in use by \S+@\S+ since \d\d:\d\d:\d\d", err) is not None) == (2, True)
    assert edgeprof("boards", "remove", "pi5", "--clean")[0] == 2  # not under a job's feet
    assert "ended and removed" in edgeprof("boards", "jobs", "--kill", job)[1]
    assert board.agents() == []
    assert edgeprof("boards", "remove", "pi5", "--clean")[0] == 0
    assert not board.cache.exists()
    assert edgeprof("profile", "tiny.onnx", "--board", "pi5")[0] == 2


def test_a_person_is_asked_for_the_host_key(board, edgeprof, tmp_path, monkeypatch):
    added(board, edgeprof)
    put_down(board, tmp_path)
    terminal = io.StringIO("yes\n")
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    status, out, err = edgeprof("boards", "check", "pi5")
    assert status == 0
    assert "pi5 is ready to measure." in out
    assert "SHA256:" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("boards",), "VERB"),
        (("boards", "check", "local"), "no board over SSH"),
        (("boards", "jobs", "pi6"), "There is no board 'pi6'"),
        (("boards", "jobs", "--kill", "x"), "expected BOARD/JOB"),
        (("boards", "add", "a b", "x"), "cannot be a board's name"),
        (("boards", "add", "x", "http://y"), "is no address"),
        (("boards", "remove", "local"), "every machine has"),
        (("boards", "remove", "pi6"), "There is no board 'pi6'"),
        (("profile",), "A model is needed"),
        (("profile", "--attach", "job"), "names no job"),
        (("profile", "tiny.onnx", "--detach"), "ends with whoever started it"),
        (("profile", "tiny.onnx", "--detach", "-o", "x.edgeprof"), "has no use for -o"),
        (("profile", "--attach", "pi5/job", "--detach"), "has no use for --attach"),
        (("profile", "tiny.onnx", "--wait", "-1"), "--wait"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(words, said, edgeprof, folder):
    status, out, err = edgeprof(*words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
