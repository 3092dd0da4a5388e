"""Whether it fits: budgets as people write them, and verdicts that never promise more than is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis import Budget, fits, parse_budget
from edgeprof.analysis.budget import board_memory, budget_of
from edgeprof.errors import UsageError
from edgeprof.records.context import Memory
from edgeprof.records.trace import ProcessMemory
from edgeprof.testing import make_graph, make_profile
from tests.analysis.memory_profiles import NAN, memory_profiles, residual
from tests.laws import examples


@pytest.mark.parametrize(
    ("given_", "nbytes"),
    [
        ("512 kB", 512_000), ("2 MiB", 2 << 20), ("1.5 MB", 1_500_000), ("3GiB", 3 << 30), ("256kb", 256_000), (" 7 B ", 7), ("4096", 4096),
        (4096, 4096), (1e6, 1_000_000), (np.int64(99), 99), ("1 TB", 10**12), ("0.5 KiB", 512),
    ],
)  # fmt: skip
def test_budgets_as_people_write_them(given_, nbytes):
    assert parse_budget(given_) == nbytes


@pytest.mark.parametrize(
    "nonsense",
    ["", "lots", "512 kBit", "-3 kB", "1e400", "9" * 400, "1,5 MB", "2 iB", 0, -1, 0.2, math.nan, True, None, [1], "10000 TB"],
)
def test_what_is_no_budget_is_refused_with_a_sentence(nonsense):
    with pytest.raises(UsageError, match=r'Expected a budget such as "512 kB", "2 MiB" or a number of bytes above zero, got '):
        parse_budget(nonsense)


@given(st.integers(1, 10**6), st.sampled_from(["B", "kB", "MB", "KiB", "MiB"]))
def test_a_number_and_its_unit_with_or_without_a_space(n, unit):
    assert parse_budget(f"{n} {unit}") == parse_budget(f"{n}{unit.lower()}") >= n


# ---- the board's memory ----


def with_board(profile, memory):
    return replace(profile, context=replace(profile.context, fingerprint={"memory_bytes": memory}))


def test_the_boards_memory_is_what_was_free_else_all_it_has():
    assert board_memory(with_board(residual(), {"MemTotal": 1000, "MemAvailable": 700})) == Budget(700, "free")
    assert board_memory(with_board(residual(), {"MemTotal": 1000})) == Budget(1000, "board")
    assert budget_of(with_board(residual(), {"MemTotal": 1000}), "2 kB") == Budget(2000, "asked")


@pytest.mark.parametrize("odd", [None, {}, "8 GB", {"MemTotal": "8 GB"}, {"MemTotal": -1}, {"MemTotal": math.nan}, {"MemTotal": True}, [1]])
def test_a_fingerprint_that_says_nothing_gives_no_budget(odd):
    assert board_memory(with_board(residual(), odd)) is None and budget_of(with_board(residual(), odd), None) is None


# ---- verdicts ----


def test_the_model_may_fit_where_the_process_does_not():
    verdict = fits(residual(param_bytes=[100, NAN, 68, NAN], macs=[1, 1, 1, 1]), 2000)
    assert verdict.process.fits is False and verdict.process.need_bytes == 60_000 and verdict.process.margin_bytes == -58_000
    assert verdict.model.fits is None, "weights of two layers are not known"
    whole = fits(residual(param_bytes=[100, 0, 68, 0]), 2000)
    assert whole.model.fits is True and whole.model.need_bytes == 800 and whole.model.margin_bytes == 1200
    assert whole.model.basis == "counted and measured"
    assert whole.model.sentence == (
        "The model alone fits: weights 168 B (counted) and activations with workspace 632 B (measured) make 800 B;"
        " 1.20 kB are left of the budget of 2.00 kB."
    )
    assert whole.process.sentence == (
        "The whole process does not fit: it took 60.0 kB at most (measured, onnxruntime 1.32.0 on local, phase load);"
        " 58.0 kB more than the budget of 2.00 kB."
    )


def test_exactly_enough_is_enough():
    profile = residual(param_bytes=[100, 0, 68, 0])
    assert fits(profile, 800).model.fits is True and fits(profile, 799).model.fits is False


def test_weights_come_from_the_graph_each_once_where_there_is_one():
    profile = replace(residual(param_bytes=[100, 0, 68, 0]), graph=make_graph(["Relu"] * 4))
    assert fits(profile, 632).model.fits is True, "this graph has no weights at all"


def test_what_is_not_known_makes_no_yes_but_may_make_a_no():
    bare = make_profile([0.1, 0.1], param_bytes=[300, 300])
    assert fits(bare, 10**9).model.fits is None and fits(bare, 10**9).process.fits is None
    no = fits(bare, 500).model
    assert no.fits is False and "at least 100 B more than the budget of 500 B" in no.sentence and "not counted: activations" in no.sentence
    assert "Profile the model on the board" in fits(bare, 500).process.sentence


def test_counted_activations_without_workspace_are_a_lower_bound():
    counted = residual(live=None, peak=None, workspace=[NAN] * 4, memory=Memory(), param_bytes=[0, 0, 0, 0])
    assert fits(counted, 10**6).model.fits is None and "workspace of the kernels" in fits(counted, 10**6).model.sentence
    assert fits(counted, 559).model.fits is False
    full = residual(live=None, peak=None, memory=Memory(), param_bytes=[0, 0, 0, 0])
    assert fits(full, 10**6).model.fits is True and "(counted)" in fits(full, 10**6).model.sentence


def test_nothing_known_at_all():
    verdict = fits(make_profile([0.1], param_bytes=[NAN]), "1 GB")
    assert verdict.model.fits is None and math.isnan(verdict.model.need_bytes) and verdict.model.basis == ""


def test_an_estimate_says_so():
    verdict = fits(residual(origin="estimated", param_bytes=[100, 0, 68, 0]), "1 MB")
    assert verdict.model.basis == "estimated" and "measured" not in verdict.model.sentence and "counted" not in verdict.model.sentence
    assert "(estimated, onnxruntime" in verdict.process.sentence


@examples(1 / 3)
@given(memory_profiles(), st.lists(st.integers(1, 1 << 50), min_size=2, max_size=4), st.none() | st.integers(1, 1 << 50))
def test_more_memory_never_makes_a_verdict_worse(profile, budgets, resident):
    memory = replace(profile.context.memory, process={"steady": ProcessMemory(resident)})
    profile = replace(profile, context=replace(profile.context, memory=memory))
    verdicts = [fits(profile, budget) for budget in sorted(budgets)]
    rank = {False: 0, None: 1, True: 2}
    for answers in ([verdict.model for verdict in verdicts], [verdict.process for verdict in verdicts]):
        ranks = [rank[answer.fits] for answer in answers]
        assert ranks == sorted(ranks)
        for answer, budget in zip(answers, sorted(budgets), strict=True):
            assert (answer.fits is True) == (answer.complete and answer.need_bytes <= budget)
            assert math.isnan(answer.margin_bytes) if answer.fits is None else answer.margin_bytes == budget - answer.need_bytes
