"""boards.toml: what is read, what is refused and with which sentence, and that writing loses nothing of what a person wrote."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof import boards
from edgeprof.boards import entries
from edgeprof.boards.entries import Entry, entry_for, read_entries
from edgeprof.boards.ssh import SshBoard
from edgeprof.errors import OutputError, UsageError


@pytest.fixture(autouse=True)
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's boards file, in an empty folder which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPROF_BOARDS", str(tmp_path / "settings" / "boards.toml"))
    return tmp_path / "settings" / "boards.toml"


def written(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_no_file_is_no_boards():
    assert read_entries() == {}
    assert boards.names() == ["local"]


def test_the_projects_board_comes_before_the_users(user_file):
    written(user_file, '[pi5]\naddress = "ssh://pi@here"\n[nano]\naddress = "nano"\n')
    Path("boards.toml").write_text('[pi5]\naddress = "ssh://pi@there:2222"\nsensors = ["thermal"]\ntime_limit_s = 30.5\n')
    found = read_entries()
    assert boards.names() == ["local", "pi5", "nano"]
    assert (found["pi5"].host, found["pi5"].user, found["pi5"].port) == ("there", "pi", 2222)
    assert (found["pi5"].sensors, found["pi5"].time_limit_s) == (("thermal",), 30.5)
    assert (found["nano"].host, found["nano"].user, found["nano"].port, found["nano"].sensors) == ("nano", None, None, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = ", "cannot be read"),
        ("pi5 = 3", "is no table"),
        ("[pi5]\npython = 'python3'", "has no address"),
        ("[pi5]\naddress = 'ssh://pi@x'\npassword = 'raspberry'", "keeps none"),
        ("[pi5]\naddress = 'ssh://pi:raspberry@x'", "holds a password"),
        ("[pi5]\naddress = 'ssh://pi@x'\nadress = 'y'", "'adress', which means nothing (did you mean 'address'?)"),
        ("[pi5]\naddress = 'ssh://pi@x'\ncache_mb = 'much'", "cache_mb is 'much'; expected a number"),
        ("[pi5]\naddress = 'ssh://pi@x'\ncache_mb = 0", "give megabytes from 1"),
        ("[pi5]\naddress = 'ssh://pi@x'\nsensors = 'all'", "expected a list of names"),
        ("[pi5]\naddress = 'ssh://pi@x'\npython = ''", "python of pi5 is empty"),
        ("[pi5]\naddress = 'ssh://pi@x'\ntime_limit_s = -1", "a number of seconds above 0"),
        ("[local]\naddress = 'ssh://pi@x'", "every machine has"),
        ("['a b']\naddress = 'ssh://pi@x'", "cannot be a board's name"),
        ("['\\u001b']\naddress = 'ssh://pi@x'".replace("'\\", '"\\').replace("b']", 'b"]'), "cannot be a board's name"),
        ("[pi5]\naddress = 'http://pi@x'", "is no address"),
        ("[pi5]\naddress = 'ssh://pi@x:99999'", "is no address"),
        ("[pi5]\naddress = 'ssh://-oProxyCommand=x'", "is no address"),
        ("[pi5]\naddress = 'ssh://'", "is no address"),
        ("#" * (1 << 20) + "#", "larger than"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(user_file, text, said):
    written(user_file, text)
    with pytest.raises(UsageError) as caught:
        read_entries()
    assert said in str(caught.value)
    assert "raspberry" not in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.text(max_size=40))
def test_any_address_is_an_entry_or_a_sentence(address):
    try:
        entry = entry_for(address, "board")
    except UsageError as error:
        assert str(error).isprintable()
    else:
        assert entry.host
        assert not entry.host.startswith("-")
        assert str(entry.address).isprintable()


def test_adding_keeps_what_a_person_wrote(user_file):
    written(user_file, '# mine\n[nano]  # the old one\naddress = "nano"\n')
    entry = Entry("pi5", "ssh://pi@x", python="python3.11", sensors=("thermal", "pi_pmic"), cache_mb=10, time_limit_s=5.0)
    assert entries.add(entry) == user_file
    assert user_file.read_text().startswith('# mine\n[nano]  # the old one\naddress = "nano"\n')
    assert read_entries()["pi5"] == entry
    with pytest.raises(UsageError, match="already"):
        entries.add(entry)
    entries.add(dataclasses.replace(entry, cache_mb=20), replace_it=True)
    assert read_entries()["pi5"].cache_mb == 20
    entries.remove("pi5")
    assert user_file.read_text().strip() == '# mine\n[nano]  # the old one\naddress = "nano"'
    with pytest.raises(UsageError, match="did you mean 'nano'"):
        entries.remove("nao")


def test_python_adds_removes_and_finds(user_file):
    assert boards.add("pi5", "pi@x", python="python3.11") == user_file
    board = boards.get_board("pi5")
    assert isinstance(board, SshBoard)
    assert (board.name, board.entry.user, board.entry.python) == ("pi5", "pi", "python3.11")
    assert boards.add("nano", "nano", project=True) == Path("boards.toml")
    with pytest.raises(UsageError, match="A board has no 'pyton'"):
        boards.add("x", "x", pyton="3")
    boards.remove("pi5")
    with pytest.raises(UsageError, match="no board 'pi5'"):
        boards.get_board("pi5")


def test_an_address_needs_no_name():
    board = boards.get_board("ssh://pi@192.0.2.7:2222")
    assert (board.name, board.entry.port) == ("192.0.2.7", 2222)


def test_a_file_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPROF_BOARDS", "/proc/edgeprof/boards.toml")
    with pytest.raises(OutputError, match="cannot be written"):
        entries.add(Entry("pi5", "ssh://x"))
