"""A host follows a job: what is in its spool goes out as it is, then what comes; meanwhile the host is heard."""

from __future__ import annotations

import errno
import os
import select
import socket

from . import protocol
from .door import Wrong, hold_on
from .jobs import about_of, end, folder_of, last_words, lives
from .places import BELL
from .spool import SpoolReader

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    from typing import Any, Iterator, List, Optional

    from .door import Door


def attach(door: Door, frame: protocol.Frame) -> None:
    """Sends all that a job says, until it ends or the host wants to hear no more."""
    folder = folder_of(door, frame.fields["job"])
    door.host.say("attached", {"about": about_of(folder)})
    with Follower(folder) as follower:
        while True:
            for data in follower.news():
                door.host.send(data)
            if follower.over:
                break
            for source in select.select([door.host, *follower.sources], [], [])[0]:
                if source is door.host:
                    hold_on()
                    if _heard_meanwhile(door, folder, follower):
                        return
                else:
                    follower.hear()
        last = follower.last
    death = _death(door, folder) if last not in ("result", "error") else ""
    door.host.say("ended", {"death": death, "words": last_words(folder)})


class Follower:
    """Reads a job's spool as it grows, woken by its keeper's bell."""

    def __init__(self, folder: str) -> None:
        self.over = False
        self._spool = SpoolReader(folder)
        self._bell = _connect(folder)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: Any) -> None:
        self._spool.close()
        if self._bell is not None:
            self._bell.close()

    @property
    def last(self) -> str:
        """Type of the last frame that was read."""
        return self._spool.last

    @property
    def sources(self) -> List[Any]:
        """What to wait for."""
        return [self._bell] if self._bell is not None else []

    def hear(self) -> None:
        """Takes the bell's rings; its end is the keeper's."""
        try:
            said = self._bell.recv(1 << 12) if self._bell is not None else b""
        except OSError:
            said = b""
        if not said and self._bell is not None:
            self._bell.close()
            self._bell = None

    def tell(self, data: bytes) -> None:
        """Says something to the keeper; nothing when it is gone."""
        try:
            if self._bell is not None:
                self._bell.sendall(data)
        except OSError:
            return

    def news(self) -> Iterator[bytes]:
        """Pieces of the whole frames that are new."""
        gone = self._bell is None  # looked at before the reading: nothing is written after it
        yield from self._spool.news()
        self.over = gone


def _connect(folder: str) -> Optional[socket.socket]:
    """The keeper's bell, or None when there is no keeper any more. Relative, since names of sockets must be short."""
    if not lives(folder):
        return None
    before = os.getcwd()
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.chdir(folder)
        bell.connect(BELL)
    except OSError:
        bell.close()
        return None
    finally:
        os.chdir(before)
    return bell


def _heard_meanwhile(door: Door, folder: str, follower: Follower) -> bool:
    """Takes what the host says while a job is followed; True when it wants to hear no more."""
    frame = door.host.hear()
    if frame is None:
        raise BrokenPipeError(errno.EPIPE, "the host is gone")
    if frame.type == "detach":
        door.host.say("ended", {"detached": True})
        return True
    if frame.type == "cancel":
        follower.tell(protocol.encode("cancel", {}))
    elif frame.type == "kill":
        end(folder)
    elif frame.type == "ping":
        door.host.say("pong", {})
    else:
        raise Wrong("protocol", "unknown request %r while a job is followed" % frame.type[:40])
    return False


def _death(door: Door, folder: str) -> str:
    from .supervise import in_words

    for keeper in door.keepers:
        if keeper.args[-2] == folder:  # type: ignore[index]
            return in_words(keeper.wait()) or "exit status 0"
    return "it ended without a word"
