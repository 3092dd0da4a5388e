"""Markdown report: tables as GitHub shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgeprof import units
from edgeprof._version import __version__
from edgeprof.analysis import findings, top_layers
from edgeprof.analysis.names import shorten, visible
from edgeprof.figures.theme import origin_label
from edgeprof.records.profile import Profile
from edgeprof.reports import summary
from edgeprof.reports.html_tables import Table, layer_table, op_type_table

TOP_LAYERS = 20
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()#+!|~$@-])")


def render(profiles: Sequence[Profile]) -> bytes:
    """A section a profile: summary, findings, op types, the longest layers, all layers folded away, how it was measured."""
    parts = [part for profile in profiles for part in _section(profile)]
    text = "\n\n".join([*parts, f"Made by edgeprof {__version__}."])
    return f"{text}\n".encode("utf-8", "backslashreplace")


def _section(profile: Profile) -> list[str]:
    context = profile.context
    about = [context.board, f"{context.runtime} {context.runtime_version}".strip(), context.started_at[:16].replace("T", " ")]
    facts = ", ".join([*filter(None, about), origin_label(profile)])
    summary_rows = [(tile.title, tile.value, tile.note) for tile in summary.tiles(profile)]
    found = [f"- **{finding.severity}** {_text(finding.text)} {_code(finding.id)}" for finding in findings(profile)]
    layers = layer_table(profile)
    longest = _longest(profile)
    return [
        f"## {_text(shorten(context.model_name, 100))}",
        _text(facts),
        _grid(("", "", ""), [[_text(cell) for cell in row] for row in summary_rows], right=(1,)),
        *(["### Findings", "\n".join(found)] if found else []),
        "### Time by op type",
        _table(op_type_table(profile), "Op type"),
        f"### The {len(longest)} longest layers",
        _grid(("Layer", "Op type", "Latency", "95 % interval", "Share"), longest, right=(2, 3, 4)),
        f"<details><summary>All {len(profile.measured_layers)} layers</summary>\n\n{_table(layers, 'Layer')}\n\n</details>",
        "### How the numbers were obtained",
        "\n".join(f"- {_text(sentence)}" for sentence in summary.method(profile)),
    ]


def _longest(profile: Profile) -> list[list[str]]:
    rows = []
    for row in top_layers(profile, TOP_LAYERS).to_dict("records"):
        value, _, ends = units.latency_interval(row["latency_ms"], row["latency_low_ms"], row["latency_high_ms"]).partition(" [")
        rows.append([_code(row["name"]), _code(row["op_type"]), value, ends.rstrip("]"), units.share(row["share"])])
    return rows


def _table(table: Table, first: str) -> str:
    headings = [first, *(heading.title for heading in table.headings)]
    right = [i for i, heading in enumerate(table.headings, start=1) if heading.numeric]
    rows = []
    for row in table.rows:
        note = f" ({row.note})" if row.note else ""
        cells = [cell.text if heading.numeric else _code(cell.text) for heading, cell in zip(table.headings, row.cells, strict=True)]
        rows.append([f"{_code(row.name)}{note}", *cells])
    return _grid(headings, rows, right)


def _grid(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int]) -> str:
    right = set(right)
    rule = ["---:" if i in right else "---" for i in range(len(headings))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [[_text(h) for h in headings], rule, *rows])


def _text(text: str) -> str:
    """``text`` with nothing that Markdown or HTML would read as markup, on one line."""
    escaped = visible(text).replace("&", "&amp;").replace("<", "&lt;")
    return _PUNCTUATION.sub(r"\\\1", escaped)


def _code(name: str) -> str:
    """``name`` as code: nothing in it is markup, a mention or a link; a table needs the bar escaped even so."""
    name = shorten(name, 80).replace("|", "\\|")
    if not name.strip():
        return ""
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", name)), default=0))
    space = " " if name[0] in "` " or name[-1] in "` " else ""
    return f"{ticks}{space}{name}{space}{ticks}"
