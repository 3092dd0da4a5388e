"""JSON report: everything a profile holds but its spans and samples (those are in the bundle)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edgeprof._version import __version__
from edgeprof.analysis import findings
from edgeprof.records.profile import Profile
from edgeprof.records.schema import LAYER_COLUMNS, SCHEMA_VERSION
from edgeprof.reports.tables import plain, records


def render(profiles: Sequence[Profile]) -> bytes:
    """One object with ``schema_version``, ``columns`` (name, unit, meaning) and ``profiles``; not measured is null."""
    report = {
        "schema_version": SCHEMA_VERSION,
        "generator": f"edgeprof {__version__}",
        "columns": [{"name": c.name, "title": c.title, "unit": c.unit, "meaning": c.meaning} for c in LAYER_COLUMNS],
        "profiles": [_profile(profile) for profile in profiles],
    }
    text = json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1)
    return f"{text}\n".encode("utf-8", "backslashreplace")


def _profile(profile: Profile) -> dict[str, Any]:
    return {
        "title": profile.title,
        "origin": profile.origin,
        "parent": profile.parent,
        "context": plain(profile.context),
        "findings": plain(findings(profile)),
        "layers": records(profile.layers),
        "nodes": plain(profile.nodes),
        "runs": records(profile.runs),
    }
