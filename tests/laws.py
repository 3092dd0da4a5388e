"""How many examples a law is tried with: `conftest.py` loads one of `PROFILES`, whichever ``EDGEPROF_TESTS`` names."""

from __future__ import annotations

from hypothesis import settings

PROFILES = {"ordinary": 50, "thorough": 1000}


def examples(share: float, **options: object) -> settings:
    """Settings with so many times the examples of the profile: less than 1 where one costs much, more where it costs next to nothing."""
    return settings(max_examples=max(5, round(share * settings.default.max_examples)), **options)
