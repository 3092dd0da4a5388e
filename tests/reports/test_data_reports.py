"""CSV, JSON, Parquet, Excel: what goes in comes out, and what was not measured is empty."""

import io
import json
import math
import zipfile

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from edgeprof.errors import MissingExtra
from edgeprof.records.profile import Finding
from edgeprof.records.schema import COLUMNS, SCHEMA_VERSION
from edgeprof.reports import REPORTS
from edgeprof.testing import make_profile

RENDER = {report.suffix: report.render for report in REPORTS}
PROFILE = make_profile([0.5, 0.1, 0.2], energy_mj=[1.0, math.nan, 2.0], source_nodes=[["a", "b,c"], [], ["d"]])
TWO = [PROFILE, make_profile(origin="estimated")]


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_csv_holds_all_rows_and_numbers_exactly():
    table = pd.read_csv(io.BytesIO(RENDER[".csv"](TWO)))
    assert list(table.columns[-len(COLUMNS) :]) == list(COLUMNS)
    assert list(table["profile"]) == [0] * 4 + [1] * 5 and list(table["origin"].unique()) == ["measured", "estimated"]
    np.testing.assert_array_equal(table["latency_ms"], np.concatenate([p.layers["latency_ms"] for p in TWO]))
    assert table["energy_mj"].isna().sum() == 7
    assert json.loads(table["source_nodes"][0]) == ["a", "b,c"]


def test_csv_has_no_formulas_and_every_name_on_its_own():
    profile = make_profile([0.1] * 4, name=["=HYPERLINK(1)", "@SUM(A1)", 'quote"comma,\nline', "-1"])
    names = pd.read_csv(io.BytesIO(RENDER[".csv"]([profile])))["name"]
    assert list(names[:4]) == ["'=HYPERLINK(1)", "'@SUM(A1)", 'quote"comma,\nline', "'-1"]


def test_json_is_strict_and_complete():
    report = strict(RENDER[".json"]([make_profile(findings=(Finding("drift", "warning", "d"),)), PROFILE]))
    assert report["schema_version"] == SCHEMA_VERSION
    first, second = report["profiles"]
    assert first["findings"][0] == {"id": "drift", "severity": "warning", "text": "d", "layers": []}
    assert [list(layer) for layer in second["layers"]] == [list(COLUMNS)] * 4
    assert second["layers"][1]["energy_mj"] is None and second["layers"][0]["source_nodes"] == ["a", "b,c"]
    assert second["layers"][0]["latency_ms"] == 0.5
    assert second["context"]["latency"]["median_ms"] == PROFILE.context.latency.median_ms
    assert second["context"]["input_shapes"] == {"x": [1, 3, 32, 32]}
    assert len(second["runs"]) == 16
    assert {column["name"]: column["unit"] for column in report["columns"]}["latency_ms"] == "ms"


def test_json_survives_odd_numbers_and_names():
    profile = make_profile([0.5, 0.1], arithmetic_intensity=[math.inf, 1.0], name=["a", "line\u2028\x00"])
    layers = strict(RENDER[".json"]([profile]).decode())["profiles"][0]["layers"]
    assert layers[0]["arithmetic_intensity"] is None and layers[1]["name"] == "line\u2028\x00"


def test_parquet_is_typed():
    table = pq.read_table(io.BytesIO(RENDER[".parquet"](TWO)))
    assert str(table.schema.field("source_nodes").type) == "list<element: string>" or "string" in str(
        table.schema.field("source_nodes").type
    )
    frame = table.to_pandas()
    assert len(frame) == 9 and list(frame["source_nodes"][0]) == ["a", "b,c"]
    assert table.column("energy_mj").null_count == 7
    about = strict(table.schema.metadata[b"edgeprof"])
    assert about["schema_version"] == SCHEMA_VERSION and len(about["profiles"]) == 2


def test_excel_holds_texts_as_texts():
    pytest.importorskip("xlsxwriter")
    book = RENDER[".xlsx"]([make_profile([0.5], name=["=1+1"])])
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        assert "=1+1" in archive.read("xl/sharedStrings.xml").decode()
        assert all("<f>" not in archive.read(name).decode() for name in archive.namelist() if "worksheets/sheet" in name)
        assert archive.read("xl/workbook.xml").decode().count("<sheet ") == 3


def test_excel_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(MissingExtra, match=r"edgeprof\[xlsx\]"):
        RENDER[".xlsx"]([PROFILE])
