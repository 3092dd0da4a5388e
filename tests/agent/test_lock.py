"""The lock of a board: who has it, who waits, and that a file of somebody else's is left alone."""

from __future__ import annotations

import pytest

from edgeprof.agent.lock import Busy, Lock, holder_of


def never(holder: dict) -> bool:
    pytest.fail("nobody has it")


def test_one_at_a_time(tmp_path):
    path = str(tmp_path / "lock")
    first, second = Lock(path), Lock(path)
    assert holder_of(path) is None
    assert first.acquire({"who": "a@b" * 1000, "job": "1"}, 0, never)
    assert holder_of(path)["job"] == "1"
    with pytest.raises(Busy) as busy:
        second.acquire({"who": "c@d"}, 0, lambda holder: True)
    assert busy.value.holder["who"].startswith("a@b")
    assert busy.value.holder["held_s"] >= 0
    assert second.acquire({"who": "c@d"}, 100, lambda holder: False) is False
    first.release()
    assert holder_of(path) is None
    assert second.acquire({"who": "c@d"}, 0, never)
    second.release()


def test_given_up_by_its_holder_while_somebody_waits(tmp_path):
    path = str(tmp_path / "lock")
    first, second = Lock(path), Lock(path)
    first.acquire({}, 0, never)

    def waiting(holder: dict) -> bool:
        first.release()
        return True

    assert second.acquire({}, 100, waiting)


@pytest.mark.parametrize("text", ["precious", "[1]", "{}", '{"who": "x"}'])
def test_a_file_that_is_no_lock_is_left_alone(text, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text(text)
    with pytest.raises(FileExistsError, match="no lock of edgeprof"):
        Lock(str(file)).acquire({}, 0, never)
    assert file.read_text() == text


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        Lock(str(tmp_path / "lock")).acquire({}, 0, never)
    assert not (tmp_path / "elsewhere").exists()
