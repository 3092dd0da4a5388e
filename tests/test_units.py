"""How numbers are shown to a person."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof import units


@pytest.mark.parametrize(
    ("nbytes", "shown"),
    [(0, "0 B"), (512, "512 B"), (999, "999 B"), (999.6, "1.00 kB"), (1240, "1.24 kB"), (999_800_000, "1.00 GB"), (5e15, "5000 TB")],
)
def test_size(nbytes, shown):
    assert units.size(nbytes) == shown


@pytest.mark.parametrize(("ms", "shown"), [(0.9998, "1.00 ms"), (0.01234, "12.3 µs"), (1234.5, "1.23 s"), (math.nan, "–"), (None, "–")])
def test_latency(ms, shown):
    assert units.latency(ms) == shown


@given(st.floats(1e-6, 1e12), st.integers(1, 6))
def test_significant_digits_tell_the_number_to_half_of_the_last(value, digits):
    shown = units.significant(value, digits)
    step = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    assert abs(float(shown) - value) <= 0.51 * max(step, 1e-9)
    if value < 10**digits:
        assert len(shown.replace(".", "").lstrip("0")) <= digits
