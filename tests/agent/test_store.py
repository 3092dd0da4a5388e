"""Files on a board, by their sha256: what makes room for what."""

from __future__ import annotations

import hashlib
import os

import pytest

from edgeprof.agent import store
from edgeprof.agent.door import Door, Wrong
from edgeprof.agent.protocol import Frame

KB = 1024


@pytest.fixture
def door(tmp_path) -> Door:
    return Door(None, str(tmp_path / "cache"))


def put(door: Door, text: bytes, limit: int = 0, used_s: float | None = None) -> str:
    """Sends a file of a kilobyte in one piece; ``used_s``: when it was last used."""
    data = text.ljust(KB, b".")
    digest = hashlib.sha256(data).hexdigest()
    fields = {"digest": digest, "size": KB, "offset": 0, "goes_on": False, "cache_limit_bytes": limit}
    assert store.put(door, Frame("put", fields, data)) == {"bytes": KB}
    if used_s is not None:
        os.utime(store.blob(door, digest), (used_s, used_s))
    return digest


def there(door: Door) -> set[str]:
    return set(os.listdir(door.path("blobs")))


def test_what_was_not_used_for_longest_makes_room(door):
    put(door, b"old", used_s=100.0)
    middle, new = put(door, b"middle", used_s=200.0), put(door, b"new", used_s=300.0)
    another = put(door, b"another", limit=3 * KB)
    assert there(door) == {middle, new, another}
    assert store.have(door, Frame("have", {"digests": [middle]}, b""))["have"][middle]["whole"]  # used now, and wanted by this host
    last = put(door, b"last", limit=3 * KB)
    assert there(door) >= {middle, last} and new not in there(door)


def test_a_file_that_is_there_is_not_taken_again(door):
    digest = put(door, b"one", limit=KB)
    assert put(door, b"one", limit=KB) == digest
    assert there(door) == {digest}


def test_a_file_that_is_not_what_was_sent_is_dropped(door):
    fields = {"digest": "0" * 64, "size": KB, "offset": 0, "goes_on": False, "cache_limit_bytes": 0}
    with pytest.raises(Wrong, match="its sha256 differs"):
        store.put(door, Frame("put", fields, b"." * KB))
    assert there(door) == set()
