"""Where the numbers of a column come from, for views that must say so."""

from __future__ import annotations

from edgeprof.records.profile import Profile
from edgeprof.records.schema import column

ESTIMATE = "an estimate"


def source_of(profile: Profile, name: str) -> str:
    """The source of a memory column's numbers in words; empty for a column that has one source only, which its meaning tells."""
    return profile.context.memory.sources.get(name, "")


def is_estimate(profile: Profile, name: str) -> bool:
    """True when the column's numbers were not measured though others of the profile were."""
    return ESTIMATE in source_of(profile, name)


def title_of(profile: Profile, name: str) -> str:
    """The column's title, marked where its numbers are an estimate among measured ones."""
    return f"{column(name).title} (estimate)" if is_estimate(profile, name) else column(name).title


def meaning_of(profile: Profile, name: str) -> str:
    """The column's meaning, with the source of its numbers."""
    source = source_of(profile, name)
    return f"{column(name).meaning} From {source}." if source else column(name).meaning
