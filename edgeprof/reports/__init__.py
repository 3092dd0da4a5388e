"""Profiles to a file: the ending of the name says which kind of report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeprof.errors import OutputError, UsageError
from edgeprof.records.profile import Profile
from edgeprof.reports import csv, html, json, markdown, parquet, xlsx
from edgeprof.reports.base import Report, write_file

REPORTS: tuple[Report, ...] = (
    Report(".html", "one offline page to look at", html.render),
    Report(".md", "tables for a pull request or a wiki", markdown.render),
    Report(".csv", "a row a layer, for a spreadsheet", csv.render),
    Report(".json", "everything but single spans, for programs", json.render),
    Report(".parquet", "a row a layer, typed, for pandas, polars and DuckDB", parquet.render),
    Report(".xlsx", "workbook with layers and op types (needs the extra xlsx)", xlsx.render),
)


def write(profiles: Profile | Sequence[Profile], path: str | Path) -> Path:
    """Writes the report that the ending of ``path`` asks for, whole or not at all; returns the path.

    OutputError when the ending is not known or the file cannot be written, MissingExtra when an optional package is missing.
    """
    path = Path(path)
    several = [profiles] if isinstance(profiles, Profile) else list(profiles)
    if not several:
        raise UsageError("A report needs at least one profile.")
    write_file(path, _report_for(path).render(several))
    return path


def _report_for(path: Path) -> Report:
    suffix = path.suffix.lower()
    for report in REPORTS:
        if report.suffix == suffix:
            return report
    known = ", ".join(report.suffix for report in REPORTS)
    if suffix == ".pdf":
        raise OutputError("PDF reports are not written yet: write .html, open it in a browser and print it to a PDF.")
    came = f"ends in {suffix}" if suffix else "has no ending"
    raise OutputError(f"The name of the report {came}; it can end in {known}.")
