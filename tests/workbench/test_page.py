"""The Workbench as one HTML file: all data in it, nothing that is loaded, and no name that could become markup or script."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import replace

import numpy as np
import pytest

import edgeprof as ep
from edgeprof.testing import make_profile
from edgeprof.workbench.page import MOST_PROFILES, RENDERERS
from edgeprof.workbench.views import MODULES

HOSTILE = [
    "</script><script>alert(1)</script>", "<!--<script>", "evil\u202egnp.exe", "two\nlines\u2028", "x" * 10_000,
    "\"'><img src=x onerror=alert(1)>", "{{0}} {style}",
]  # fmt: skip


def page_of(profiles, tmp_path, **chosen):
    """The page of these profiles as text, and the data in it by their names."""
    wb = ep.Workbench(profiles)
    for name, value in chosen.items():
        setattr(wb, name, value)
    text = wb.save_page(tmp_path / "page.html").read_text("utf-8")
    found = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', text, re.DOTALL)
    data = {html.unescape(name): json.loads(value) for name, value in found}
    assert len(data) == len(found), "no name twice"
    return text, data


def test_only_its_own_scripts_run_and_nothing_is_loaded(tmp_path):
    text, _ = page_of(make_profile(), tmp_path)
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1])
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert {rules[name] for name in ("default-src", "base-uri", "form-action")} == {"'none'"} and "unsafe" not in rules["script-src"]
    scripts = re.findall(r'<script type="module">(.*?)</script>', text, re.DOTALL)
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'" for source in scripts}
    assert hashes == set(rules["script-src"].split()) and len(scripts) == len(MODULES) + 1
    outside = re.sub(r"<script.*?</script>|<style>.*?</style>", "", text, flags=re.DOTALL)
    assert re.findall(r"(?:src|href)\s*=|@import|url\(", outside) == [] and "@import" not in text
    for module in MODULES:
        assert f".{module} = {{ {RENDERERS.get(module, f'render{module.title()}')} }}" in text


def test_each_profile_brings_its_views_and_all_together_theirs(tmp_path):
    _, data = page_of([make_profile(), make_profile((0.4, 0.1, 0.2, 0.1))], tmp_path)
    assert {"told", "data pareto", "data compare p2", "data candidates p1", "data graph p2", "data heatmap p1"} <= set(data)
    told = data["told"]
    assert "compare" in told["empty"]["p1"] and told["state"]["shown"] == "p2" and told["state"]["decide"] is None
    assert set(told["heads"]) == set(told["nodes"]) == {"p1", "p2"} and "pareto" in told["views"]
    assert told["nodes"]["p1"]["/block0/conv_0"] == ["/block0/conv_0"]
    assert set(data["data heatmap p1"]) == {"data", "runs"}


def test_one_profile_alone_has_no_view_of_several(tmp_path):
    _, data = page_of(make_profile(), tmp_path)
    assert not set(data["told"]["views"]) & {"pareto", "candidates", "compare"} and "data pareto" not in data


def test_the_selection_goes_with_it(tmp_path):
    _, data = page_of(make_profile(), tmp_path, selection=["/block0/relu_1"])
    assert data["told"]["state"]["selected"]["layers"] == ["/block0/relu_1"]


def test_of_many_profiles_the_first_and_the_one_that_is_looked_at(tmp_path):
    many = [make_profile((0.5, 0.1, 0.2, i / 100), runs=4) for i in range(1, MOST_PROFILES + 4)]
    wb = ep.Workbench(many)
    wb.bench.shown = f"p{len(many)}"
    text = wb.save_page(tmp_path / "page.html").read_text("utf-8")
    told = json.loads(re.search(r'id="told">(.*?)</script>', text, re.DOTALL)[1])
    assert [one["key"] for one in told["state"]["subjects"]] == [*(f"p{i}" for i in range(1, MOST_PROFILES)), f"p{len(many)}"]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup(name, tmp_path):
    profile = make_profile((0.5, 0.1), runs=2, name=[name, "ok"], source_nodes=[(name,), ("ok",)])
    profile = replace(profile, context=replace(profile.context, model_name=name))
    text, data = page_of(profile, tmp_path)
    assert text.count("<script") == text.count("</script>") == len(data) + len(MODULES) + 1
    assert "<img" not in text and "\u202e" not in re.search(r"<title>(.*?)</title>", text, re.DOTALL)[1]
    assert data["data graph p1"] and name in data["data heatmap p1"]["data"]["meta"]["names"], "it is there as it is"


def test_what_is_not_measured_is_no_number(tmp_path):
    text, data = page_of(make_profile((np.nan, np.nan), runs=0), tmp_path)
    assert "data roofline p1" in data or "roofline" in data["told"]["empty"]["p1"]
    numbers = "".join(re.findall(r'<script type="application/json".*?</script>', text, re.DOTALL))
    assert not re.search(r"[:,\[](NaN|-?Infinity)[,\]}]", numbers)
