"""Frames: what is sent arrives, and what is no frame is refused."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.agent import protocol

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.dictionaries(st.text().filter(lambda key: key != "type"), values, max_size=5)


@given(st.text(), fields, st.binary(max_size=2000))
def test_round_trip(kind, fields, payload):
    stream = io.BytesIO(protocol.encode(kind, fields, payload) * 2)
    assert protocol.read(stream) == protocol.read(stream) == (kind, fields, payload)
    assert protocol.read(stream) is None


@given(st.data(), fields, st.binary(max_size=50))
def test_a_cut_frame_is_refused(data, fields, payload):
    whole = protocol.encode("x", fields, payload)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(protocol.ProtocolError):
        protocol.read(io.BytesIO(whole[:cut]))


@given(st.data(), fields, st.binary(max_size=50))
def test_a_changed_frame_is_refused_or_another_frame(data, fields, payload):
    """Whatever byte is changed, reading ends: with a frame, or with a ProtocolError and nothing else."""
    whole = bytearray(protocol.encode("x", fields, payload))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    stream = io.BytesIO(whole)
    try:
        while protocol.read(stream) is not None:
            pass
    except protocol.ProtocolError:
        pass


@given(st.binary(min_size=1, max_size=200))
def test_noise_is_refused(noise):
    with pytest.raises(protocol.ProtocolError):
        protocol.read(io.BytesIO(b"x" + noise))


@pytest.mark.parametrize(
    "data",
    [
        b"EP1 -1 0\n",
        b"EP1 2 0\n{}",
        b"EP1 2 0\n[]",
        b'EP1 10 0\n{"type":1}',
        b"EP1 99999999999 0\n",
        b"EP1 2 99999999999\n{}",
        b"EP1 2\n{}",
        b"EP1 %s 0\n" % ("٣".encode()),
        b"EP1 " + b"1" * 100,
        b"EP1 5000 0\n" + b"[" * 5000,
    ],
)
def test_not_a_frame(data):
    with pytest.raises(protocol.ProtocolError):
        protocol.read(io.BytesIO(data))


def test_nan_is_not_sent():
    with pytest.raises(ValueError, match="not JSON compliant"):
        protocol.encode("x", {"value": float("nan")})
