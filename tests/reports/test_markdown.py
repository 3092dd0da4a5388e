"""Markdown: rendered by a CommonMark parser with GitHub's tables, as a reader would see it."""

import re

import pytest

from edgeprof.records.profile import Finding
from edgeprof.reports.markdown import render
from edgeprof.testing import make_profile

markdown_it = pytest.importorskip("markdown_it")

HOSTILE = "a|b`c``</td><script>alert(1)</script> *x* [l](http://e) @all \u202e\n# h"


def html(*profiles):
    return markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render(render(profiles).decode())


def test_tables_have_all_rows():
    text = render([make_profile([0.5, 0.1, 0.2])]).decode()
    assert "## toy.onnx" in text and "local, onnxruntime 1.32.0" in text
    assert "| `Conv` | 1 | 500.0 | 475.0 – 525.0 | 61.3 % |" in text
    page = html(make_profile([0.5, 0.1, 0.2]))
    assert page.count("<table>") == 4
    assert page.count("<code>/block0/conv_0</code>") == 2


def test_several_profiles_have_a_section_each():
    assert html(make_profile(), make_profile(origin="estimated")).count("<h2>") == 2


def test_names_are_never_markup():
    page = html(
        make_profile([0.5, 0.1], name=[HOSTILE, "ok"], op_type=["Conv", "|`"], findings=(Finding("x`\n\n" + HOSTILE, "info", HOSTILE),))
    )
    assert "<script" not in page and "<em>x" not in page and "href" not in page and page.count("<h1>") == 0
    assert "&lt;script&gt;" in page
    rows = [row for row in re.findall("<tr>.*?</tr>", page, re.S) if "a|b" in row]
    assert rows and all(row.count("<td") >= 5 for row in rows), "a bar in a name ends no cell"
