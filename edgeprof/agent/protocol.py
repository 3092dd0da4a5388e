"""Messages between host and agent: length-checked JSON with an optional binary payload.

A frame is one line ``EP1 <bytes of JSON> <bytes of payload>``, then the JSON object, then the payload.
Both ends use this file. A frame that does not start with the magic, or claims more than the limits, ends the talk:
nothing is guessed, nothing is skipped.

A supervisor's host says to it: ``job`` (what to run), one ``array`` and one ``probe`` for each input and probe, ``cancel``, ``bye``; or
``health`` in place of a job, answered with a ``result`` that holds the board's fingerprint, its runtimes and sensors. It says: ``hello``,
``waiting`` (somebody else has the board), ``progress``, ``message``, ``loaded``, ``block``, ``trace`` (a zlib-compressed piece of a
runtime's trace file), ``executed`` (a piece of the optimised model), ``node-memory`` (the runtime's own statistics), ``sensors`` (what
can be read), ``samples`` (zlib-compressed records, see `sampler.py`), ``window`` (what ran from when to when), ``plan`` (what the energy
measurement will take), ``groups`` (its loops), ``energy`` (how it went), ``result``, ``error``. A board at the other end of a link has a
door, which is asked otherwise: see `door.py`. Within a board, supervisor and workers speak it too, with ``power``, ``slow`` and ``full``
beside these, supervisor and sampler with ``watch``, ``slow``, ``full`` and ``sampled``.
"""

from __future__ import annotations

import json
from collections import namedtuple

TYPE_CHECKING = False  # importing `typing` takes 1.5 MB of a board's memory; type checkers know this name
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Dict

PROTOCOL = 1
MAGIC = b"EP1"
MAX_HEADER_BYTES = 8 << 20
MAX_PAYLOAD_BYTES = 1 << 30
_MAX_LINE = 64
_PIECE = 1 << 20


class ProtocolError(Exception):
    """The other end said something that is not a frame."""


Frame = namedtuple("Frame", ["type", "fields", "payload"])  # noqa: PYI024 - see TYPE_CHECKING above
"""One message: its ``type`` (str), its ``fields`` (dict) and its ``payload`` (bytes)."""


def encode(kind: str, fields: Dict[str, Any], payload: bytes = b"") -> bytes:
    """The frame as bytes."""
    header = json.dumps({"type": kind, **fields}, separators=(",", ":"), allow_nan=False).encode()
    return b"%s %d %d\n" % (MAGIC, len(header), len(payload)) + header + payload


def write(stream: Any, kind: str, fields: Dict[str, Any], payload: bytes = b"") -> None:
    """Writes one frame and flushes."""
    stream.write(encode(kind, fields, payload))
    stream.flush()


def read(stream: BinaryIO, most_bytes: int = MAX_PAYLOAD_BYTES) -> Frame | None:
    """The next frame, or None when the stream ended between two frames. ``most_bytes``: of its payload.

    Raises:
        ProtocolError: the bytes are not a frame, a length is over its limit, or the stream ended inside a frame.
    """
    line = stream.readline(_MAX_LINE)
    if not line:
        return None
    parts = line.split()
    if not line.endswith(b"\n") or len(parts) != 3 or parts[0] != MAGIC or not (parts[1] + parts[2]).isdigit():
        raise ProtocolError("expected a frame, came %r" % line[:60])
    header_bytes, payload_bytes = int(parts[1]), int(parts[2])
    if header_bytes > MAX_HEADER_BYTES or payload_bytes > most_bytes:
        raise ProtocolError("a frame of %d + %d bytes is over the limit" % (header_bytes, payload_bytes))
    header = _exactly(stream, header_bytes)
    payload = _exactly(stream, payload_bytes)
    fields = header_of(header)
    return Frame(fields.pop("type"), fields, payload)


def header_of(header: bytes) -> Dict[str, Any]:
    """The JSON object of a frame, ``type`` and fields; ProtocolError when it is none."""
    try:
        fields = json.loads(header.decode())
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a frame's header is not JSON") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise ProtocolError("a frame's header has no type")
    return fields


def _exactly(stream: BinaryIO, size: int) -> bytes:
    pieces = []
    left = size
    while left:
        piece = stream.read(min(left, _PIECE))  # a raw stream sets aside what it is asked for, before anything has come
        if not piece:
            raise ProtocolError("the stream ended inside a frame")
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
