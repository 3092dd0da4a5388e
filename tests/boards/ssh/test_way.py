"""Ways to a board: locked keys and jump hosts, with real SSH servers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import edgeprof as ep
from edgeprof.boards import hostkeys, loop
from edgeprof.boards.entries import Entry
from edgeprof.boards.line import connect
from edgeprof.boards.ssh import SshBoard
from edgeprof.errors import BoardUnreachable, UsageError
from tests.boards.ssh.faulty import FEW, is_one_sentence
from tests.boards.ssh.rig import USER, Sshd, await_, make_key


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


def test_key_of_the_ssh_agent_which_is_not_forwarded(sshd, model, tmp_path, monkeypatch):
    (tmp_path / "config").write_text("Host *\n  ForwardAgent yes\n")
    bare = replace(sshd.entry, key="", ssh_config=str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))  # which has no keys
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(BoardUnreachable, match=r"does not let .* in with any key that SSH offers"):
        loop.run(connect(bare))
    address = str(tmp_path / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", address], stdout=subprocess.DEVNULL) as agent:
        try:
            await_(lambda: Path(address).exists())
            monkeypatch.setenv("SSH_AUTH_SOCK", address)
            subprocess.run(["ssh-add", "-q", str(sshd.key)], check=True)
            board = SshBoard(bare)
            assert ep.profile(model, board=board, **FEW).origin == "measured"
            assert loop.run(_run(board, "echo agent: $SSH_AUTH_SOCK")) == "agent:"
            board.close()
        finally:
            agent.terminate()


async def _run(board: SshBoard, command: str) -> str:
    return str((await (await board.connected()).run(command)).stdout).strip()


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


# ~/.ssh/config


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    """The user's home, with SSH's settings and nobody known."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def named(server: Sshd, *lines: str) -> str:
    """How SSH's settings name a server."""
    own = ("HostName " + server.address, f"Port {server.port}", f"User {USER}", f"IdentityFile {server.key}")
    return "\n  ".join([f"Host {server.name}", *own, *lines]) + "\n"


def by_name(server: Sshd) -> Entry:
    return replace(server.entry, address=f"ssh://{server.name}", key="", known_hosts="", ssh_config="")


def settle(entry: Entry) -> list[str]:
    """Accepts every key on the way to the board; who was asked about."""
    asked = []
    while True:
        try:
            loop.run(_once(entry))
        except hostkeys.HostKeyUnknown as unknown:
            asked.append(unknown.entry.name)
            assert len(asked) < 9, asked
            hostkeys.accept(unknown.entry, loop.run(hostkeys.host_key(unknown.entry)))
        else:
            return asked


@pytest.mark.parametrize(("line", "known_as"), [("", "[127.0.0.1]:{port}"), ("HostKeyAlias the-board", "the-board")])
def test_name_of_ssh_settings_with_a_port(line, known_as, sshd, home, model):
    (home / ".ssh/config").write_text(named(sshd, line))
    assert settle(by_name(sshd)) == [sshd.name]
    known_as = known_as.format(port=sshd.port)
    assert (home / ".ssh/known_hosts").read_text().startswith(f"{known_as} ssh-ed25519 ")
    assert ep.profile(model, board=SshBoard(by_name(sshd)), **FEW).origin == "measured"
    _, other = make_key(home / "other").with_suffix(".pub").read_text().split()[:2]
    (home / ".ssh/known_hosts").write_text(f"{known_as} ssh-ed25519 {other}\n")
    with pytest.raises(BoardUnreachable, match=r"is not the one in") as caught:
        loop.run(connect(by_name(sshd)))
    is_one_sentence(caught.value)
    assert f"`ssh-keygen -R '{known_as}'`" in str(caught.value)


def test_advice_on_a_changed_key_works(sshd, home, tmp_path):
    known = tmp_path / "known hosts"
    _, other = make_key(tmp_path / "other").with_suffix(".pub").read_text().split()[:2]
    known.write_text(f"[127.0.0.1]:{sshd.port} ssh-ed25519 {other}\n")
    entry = replace(sshd.entry, known_hosts=str(known))
    with pytest.raises(hostkeys.HostKeyChanged) as caught:
        loop.run(connect(entry))
    subprocess.run(str(caught.value).split("`")[1], shell=True, check=True, capture_output=True)
    assert settle(entry) == [sshd.name]


@pytest.mark.parametrize("file", ["none", "/dev/null", "{home}/.ssh/boards", "~/.ssh/boards"])
def test_known_hosts_of_ssh_settings(file, sshd, home):
    """None at all is no leave to verify nothing."""
    (home / ".ssh/config").write_text(named(sshd, f"UserKnownHostsFile {file.format(home=home)}", "StrictHostKeyChecking no"))
    with pytest.raises(BoardUnreachable, match=r"is not in .*\.ssh/(known_hosts|boards), so it cannot be told"):
        loop.run(connect(by_name(sshd)))
    assert settle(by_name(sshd)) == [sshd.name]
    assert [path.name for path in (home / ".ssh").glob("*s")] == ["boards" if "boards" in file else "known_hosts"]


def test_jump_hosts_of_ssh_settings(gate, behind, home, model, tmp_path):
    with Sshd(tmp_path / "first", "first", settings="AllowTcpForwarding yes") as first:
        settings = [named(behind, f"ProxyJump {gate.name}"), named(gate, "ProxyJump first"), named(first), "Host *\n  ProxyJump first\n"]
        (home / ".ssh/config").write_text("".join(settings))
        (gate.folder / "authorized").write_text((gate.folder / "key.pub").read_text())
        assert settle(by_name(behind)) == ["the jump host of the jump host of pi5", "the jump host of pi5", "pi5"]
        board = SshBoard(by_name(behind))
        assert ep.profile(model, board=board, **FEW).origin == "measured"
        assert first.sessions() and gate.sessions() and behind.sessions()
        board.close()
        gate.new_host_key()
        with pytest.raises(BoardUnreachable, match=r"^The host key of the jump host of pi5 is not the one in"):
            ep.profile(model, board=SshBoard(by_name(behind)), **FEW)
    (home / ".ssh/config").write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    with pytest.raises(BoardUnreachable, match=r"^SSH's settings lead through more than 8 jump hosts\.") as caught:
        loop.run(connect(Entry("pi5", "ssh://a")))
    is_one_sentence(caught.value)
