"""Ways to a board: locked keys and jump hosts, with real SSH servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import edgeprof as ep
from edgeprof.boards import hostkeys, loop
from edgeprof.boards.line import connect
from edgeprof.boards.ssh import SshBoard
from edgeprof.errors import BoardUnreachable, UsageError
from tests.boards.ssh.faulty import FEW, is_one_sentence
from tests.boards.ssh.rig import USER, Sshd, make_key


@pytest.fixture
def model(make_model) -> Path:
    return make_model("one node")


# Locked keys


@pytest.fixture
def locked(sshd: Sshd, tmp_path: Path) -> Iterator[str]:
    """A key with a passphrase that the board lets in."""
    key = make_key(tmp_path / "locked", "open sesame")
    authorized = sshd.folder / "authorized"
    before = authorized.read_text()
    authorized.write_text(before + key.with_suffix(".pub").read_text())
    yield str(key)
    authorized.write_text(before)


def test_locked_key_is_opened_once(sshd, locked, model):
    asked = []

    def ask(path: str) -> str:
        asked.append(path)
        return "open sesame"

    for _ in range(2):
        board = SshBoard(replace(sshd.entry, key=locked), passphrase=ask)
        assert ep.profile(model, board=board, **FEW).origin == "measured"
        board.close()
    assert asked == [locked]


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (None, r"^The key .*locked needs a passphrase and there is no terminal to ask for it\. Load it .*`ssh-add .*locked`\.$"),
        (lambda path: "open the door", r"^The key .*locked cannot be used: Incorrect passphrase\. Try again, or load it"),
    ],
)
def test_locked_key_that_stays_locked(ask, sentence, sshd, locked, model):
    board = SshBoard(replace(sshd.entry, key=locked), passphrase=ask)
    with pytest.raises(BoardUnreachable, match=sentence) as caught:
        ep.profile(model, board=board, **FEW)
    is_one_sentence(caught.value)
    assert "sesame" not in str(caught.value)


# Jump hosts


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Sshd]:
    """A host to go through."""
    with Sshd(tmp_path / "gate", "gate", settings="AllowTcpForwarding yes") as server:
        yield server


@pytest.fixture
def behind(gate: Sshd, tmp_path: Path) -> Iterator[Sshd]:
    """A board that the user reaches through the gate; one key opens both and one file knows both."""
    with Sshd(tmp_path / "board", "pi5") as server:
        (gate.folder / "authorized").write_text((server.folder / "key.pub").read_text())
        with server.known_hosts.open("a") as file:
            file.write(gate.known_hosts.read_text())
        yield server


def through(behind: Sshd, *gates: Sshd):
    return replace(behind.entry, jump=",".join(f"{USER}@{gate.address}:{gate.port}" for gate in gates))


def test_profile_through_jump_hosts(gate, behind, model, tmp_path):
    board = SshBoard(through(behind, gate))
    assert ep.profile(model, board=board, **FEW).origin == "measured"
    assert gate.sessions() and behind.sessions()
    gate.cut()  # the way is gone
    with pytest.raises(BoardUnreachable):
        loop.run(connect(replace(board.entry, jump=f"{gate.address}:1")))
    board.close()
    with Sshd(tmp_path / "first", "first", settings="AllowTcpForwarding yes") as first:
        (first.folder / "authorized").write_text((behind.folder / "key.pub").read_text())
        behind.known_hosts.write_text(behind.known_hosts.read_text() + first.known_hosts.read_text())
        two = SshBoard(through(behind, first, gate))
        assert ep.profile(model, board=two, **FEW).origin == "measured"
        assert first.sessions() and gate.sessions()
        two.close()
    behind.is_left_clean()


def test_jump_host_with_a_key_of_its_own_in_the_settings(gate, behind, model):
    (gate.folder / "authorized").write_text((gate.folder / "key.pub").read_text())
    board = SshBoard(through(behind, gate))
    with pytest.raises(BoardUnreachable, match=r"^The jump host of pi5 \(127.0.0.1:\d+\) does not let .* in with") as caught:
        ep.profile(model, board=board, **FEW)
    is_one_sentence(caught.value)
    (behind.folder / "ssh_config").write_text(f"Host {gate.address}\n  IdentityFile {gate.key}\n")
    assert ep.profile(model, board=SshBoard(replace(board.entry)), **FEW).origin == "measured"


def test_keys_of_jump_hosts_are_verified_and_shown_first(gate, behind):
    entry = through(behind, gate)
    behind.known_hosts.unlink()
    with pytest.raises(BoardUnreachable, match=r"^The host key of the jump host of pi5 .* not in .*boards check pi5`") as caught:
        loop.run(connect(entry))
    is_one_sentence(caught.value)
    for server in (gate, behind):
        asked, key = loop.run(hostkeys.first_key(entry))
        assert asked.port == server.port
        with pytest.raises(BoardUnreachable, match="is not in"):
            loop.run(connect(entry))
        hostkeys.accept(asked, key)
    loop.run(_once(entry))
    gate.new_host_key()
    with pytest.raises(BoardUnreachable, match=r"^The host key of the jump host of pi5 is not the one in"):
        loop.run(connect(entry))


async def _once(entry) -> None:
    (await connect(entry)).close()


@pytest.mark.parametrize("jump", ["gate,", "me@gate:port", "me:secret@gate", "a b"])
def test_jump_that_is_no_address(jump, sshd):
    with pytest.raises(UsageError, match=r"is no address|holds a password") as caught:
        ep.boards.add("pi5", "me@pi5", jump=jump)
    assert "secret" not in str(caught.value)
