"""Excel report: sheets with the profiles, all layers and the op types."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from edgeprof.analysis import by_op_type
from edgeprof.errors import MissingExtra
from edgeprof.records.profile import Profile
from edgeprof.reports.summary import tiles
from edgeprof.reports.tables import layer_table


def render(profiles: Sequence[Profile]) -> bytes:
    """A workbook; texts are written as texts, never as formulas, and what was not measured is an empty cell."""
    try:
        import xlsxwriter  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtra('An .xlsx report needs XlsxWriter, which is not installed: pip install "edgeprof[xlsx]".') from error
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}) as book:
        bold = book.add_format({"bold": True, "bottom": 1})
        for name, table in _sheets(profiles).items():
            _write_sheet(book.add_worksheet(name), table, bold)
    return buffer.getvalue()


def _sheets(profiles: Sequence[Profile]) -> dict[str, pd.DataFrame]:
    about = [
        {"profile": i, "title": p.title, "started_at": p.context.started_at, **{t.title: t.value for t in tiles(p)}}
        for i, p in enumerate(profiles)
    ]
    ops = pd.concat([by_op_type(p).assign(profile=i) for i, p in enumerate(profiles)], ignore_index=True)
    return {"profiles": pd.DataFrame(about), "layers": layer_table(profiles), "op_types": ops[["profile", *ops.columns.drop("profile")]]}


def _write_sheet(sheet: Any, table: pd.DataFrame, bold: Any) -> None:
    for c, name in enumerate(table.columns):
        sheet.write_string(0, c, str(name), bold)
        for r, value in enumerate(table[name].tolist(), start=1):
            _write_cell(sheet, r, c, value)
    sheet.freeze_panes(1, 0)
    sheet.autofilter(0, 0, len(table), max(0, len(table.columns) - 1))
    sheet.set_column(0, max(0, len(table.columns) - 1), 14)


def _write_cell(sheet: Any, row: int, column: int, value: Any) -> None:
    if isinstance(value, list):
        value = ", ".join(value)
    if isinstance(value, str):
        sheet.write_string(row, column, value[:32_767])  # the most that a cell can hold
    elif value is not None and math.isfinite(value):
        sheet.write_number(row, column, value)
