"""The spool of a job as doors read it, while the keeper still writes it (`keep.py`) or later: frames, each when it is whole."""

from __future__ import annotations

import os

from .door import PIECE
from .places import SPOOL

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional


class SpoolReader:
    """Reads the spool in ``folder`` from its start."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, SPOOL)
        self._file: Any = None
        self._at = 0
        self.last = ""
        """Type of the last frame that was read."""

    def __enter__(self) -> SpoolReader:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()

    def news(self) -> Iterator[bytes]:
        """Pieces of the whole frames that are new."""
        size = self._frame_bytes()
        while size is not None:
            self._file.seek(self._at)
            left = size
            while left:
                piece = self._file.read(min(left, PIECE))
                if not piece:
                    return
                left -= len(piece)
                yield piece
            self._at += size
            size = self._frame_bytes()

    def skim(self) -> str:
        """Type of the last whole frame that there is; nothing of what stands before it is read."""
        size = self._frame_bytes()
        while size is not None:
            self._at += size
            size = self._frame_bytes()
        return self.last

    def _frame_bytes(self) -> Optional[int]:
        """Size of the next frame, or None when it is not whole yet."""
        if self._file is None:
            try:
                self._file = open(self._path, "rb")  # noqa: SIM115 - closed in __exit__
            except OSError:
                return None
        self._file.seek(self._at)
        line = self._file.readline(64)
        parts = line.split()
        if not line.endswith(b"\n") or len(parts) != 3 or not (parts[1] + parts[2]).isdigit():
            return None
        head, size = int(parts[1]), len(line) + int(parts[1]) + int(parts[2])
        if self._at + size > os.fstat(self._file.fileno()).st_size:
            return None
        start = self._file.read(min(head, 40))
        if start.startswith(b'{"type":"'):
            self.last = start[9:].split(b'"')[0].decode("ascii", "replace")
        return size
