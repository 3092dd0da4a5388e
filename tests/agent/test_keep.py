"""What the keeper of a job writes when there is no room for it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprof.agent import protocol
from edgeprof.agent.keep import Spool
from edgeprof.agent.places import SPOOL

LIMIT_BYTES = 200_000


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    """In a folder where no file may be larger than `LIMIT_BYTES`."""
    monkeypatch.chdir(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    made = Spool(lambda: None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, limits[1]))
    try:
        yield made
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        made.close()


@pytest.mark.parametrize("size", range(990, 1010))
def test_there_is_room_for_a_last_word_whatever_the_size_of_frames(spool, size, tmp_path):
    frame = protocol.encode("trace", {}, bytes(size))
    with pytest.raises(OSError, match="File too large"):
        while True:
            spool.write(frame)
    last = protocol.encode("error", {"kind": "file-limit", "message": "x" * 10_000})
    spool.write(last)
    with (tmp_path / SPOOL).open("rb") as file:
        said = list(iter(lambda: protocol.read(file), None))
    assert [frame.type for frame in said] == ["trace"] * (len(said) - 1) + ["error"] and len(said) > 50
