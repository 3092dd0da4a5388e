"""Rows of a study's index as a table for people and programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeprof.studies.cell import SHORT, shown
from edgeprof.studies.index import Row, numbers_of

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = tuple(numbers_of(None))


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows of the index as a table for people and programs; a column for each option that any of them was given."""
    import pandas as pd

    settings = [json.loads(row["settings"]) for row in rows]
    given = {name for row in rows for name in json.loads(row["given"])}
    options = [name for name in dict.fromkeys(name for setting in settings for name in setting) if name in given]
    told = [
        {
            "key": row["key"][:SHORT], "model": row["model"], "board": row["board"],
            **{name: _scalar(setting.get(name)) for name in options},
            **{name: row[name] for name in ("status", *NUMBERS, "attempts", "file", "error")},
        }
        for row, setting in zip(rows, settings, strict=True)
    ]  # fmt: skip
    columns = ["key", "model", "board", *options, "status", *NUMBERS, "attempts", "file", "error"]
    return pd.DataFrame(told, columns=columns).astype(dict.fromkeys(NUMBERS, float))


def sentence(text: str, limit: int = 1000) -> str:
    """``text`` on one line, invisible characters written out, of bounded length."""
    from edgeprof.analysis.names import visible

    line = visible(" ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _scalar(value: Any) -> Any:
    return shown(value) if isinstance(value, Mapping | list | tuple) else value
