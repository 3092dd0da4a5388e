"""CSV report: one row a layer, units in the column names, all profiles one below the other."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pandas as pd

from edgeprof.records.profile import Profile
from edgeprof.reports.tables import layer_table

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def render(profiles: Sequence[Profile]) -> bytes:
    """UTF-8, comma-separated, not measured is empty.

    ``source_nodes`` is a JSON array. A text that a spreadsheet would take for a formula (it begins with ``=``, ``+``, ``-``
    or ``@``) gets an apostrophe in front: names come from the model file, which a stranger may have made.
    """
    table = layer_table(profiles)
    table["source_nodes"] = [json.dumps(nodes, ensure_ascii=False) for nodes in table["source_nodes"]]
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = [_harmless(text) for text in table[name]]
    return table.to_csv(index=False, lineterminator="\n").encode("utf-8", "backslashreplace")


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
