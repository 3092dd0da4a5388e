"""Names from strangers' files, shown to people."""

from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis.names import listed, shorten, visible


def test_invisible_characters_are_written_out():
    assert visible("a\u202eb\n\x00") == "a\\u202eb\\u000a\\u0000"
    assert visible("×µ שלום 層") == "×µ שלום 層"


@given(st.text(max_size=200), st.integers(3, 60))
def test_shorten_keeps_both_ends_and_the_limit(text, limit):
    short = shorten(text, limit)
    assert len(short) <= limit
    if len(visible(text)) <= limit:
        assert short == visible(text)
    else:
        assert visible(text).startswith(short[: (limit - 1) // 2]) and visible(text).endswith(short[-1])


def test_listed():
    assert listed(["a", "b"]) == "a, b"
    assert listed("abcde") == "a, b, c and 2 more"
