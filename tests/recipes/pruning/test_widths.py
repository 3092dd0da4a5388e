"""How many channels stay."""

import pytest

from edgeprof.errors import RecipeError
from edgeprof.recipes.prune import prune
from edgeprof.recipes.pruning.widths import round_up
from edgeprof.recipes.recipe import Decision
from edgeprof.recipes.target import Target
from tests.recipes.pruning.models import Net
from tests.recipes.pruning.running import pruned, pruned_by, width_of, work_for

WIDE = Target(architecture="x86_64", features=frozenset({"avx512f"}))


@pytest.mark.parametrize(
    ("wanted", "total", "multiple", "step", "stay", "by"),
    [
        (72.0, 96, 16, 1, 80, 16),  # up, not to the nearest
        (64.0, 96, 16, 1, 64, 16),
        (24.0, 32, 16, 1, 24, 8),  # 16 would leave all 32
        (12.0, 16, 16, 1, 12, 4),
        (57.6, 64, 16, 1, 60, 4),
        (14.4, 16, 16, 1, 15, 1),  # no multiple of 4 below 16: as it was asked
        (0.4, 8, 8, 1, 4, 4),
        (0.2, 3, 8, 1, 1, 1),  # one stays
        (6.0, 7, 8, 1, 6, 1),
        (64.0, 64, 8, 1, 64, 1),
        (72.0, 96, 16, 24, 72, 8),  # heads of 24
        (60.0, 96, 16, 24, 72, 8),
        (80.0, 96, 16, 24, 96, 1),  # no head can go
    ],
)
def test_rounding(wanted, total, multiple, step, stay, by):
    found = round_up(wanted, total, multiple, step)
    assert (found.total * step, found.stay * step, found.multiple) == (total, stay, by)


def test_what_the_processor_takes_at_once_is_rounded_to():
    model = residual(96)
    assert width_of(pruned(model, 0.25, target=WIDE).model, "a") == 80
    done = pruned(model, 0.3)
    assert width_of(done.model, "a") == 72
    assert done.changes[0].reason == "67.2 rounded up to a multiple of 8"


def residual(channels=16):
    net = Net(image=(1, 3, 4, 4))
    a = net.conv("image", channels, name="a")
    inner = net.conv(net.op("Relu", a), channels, name="inner")
    b = net.conv(inner, channels, name="b")
    added = net.op("Add", a, b)
    pooled = net.op("Flatten", net.op("GlobalAveragePool", added, shape=(1, channels, 1, 1)), shape=(1, channels))
    return net.model(net.gemm(pooled, 3, name="head"))


def widths(done):
    return [width_of(done.model, name) for name in ("a", "inner", "b")]


def test_what_is_asked_of_one_holds_for_its_group():
    done = pruned_by(residual(), b=0.5)
    assert widths(done) == [8, 16, 8]
    assert [(change.layer, change.wish, change.done, change.reason) for change in done.changes] == [
        ("b", "50 % of 16 channels", "16 to 8 channels (with a)", "")
    ]


def test_a_number_of_channels_is_taken_as_it_is():
    done = pruned_by(residual(), a=7, target=WIDE)
    assert widths(done) == [7, 16, 7] and done.changes[0].wish == "7 of 16 channels" and done.changes[0].reason == ""


def test_named_layers_of_a_group_must_agree():
    with pytest.raises(RecipeError, match="'b' and 'a' can only lose channels together"):
        pruned_by(residual(), a=0.5, b=0.25)
    assert widths(pruned_by(residual(), a=0.5, b=8)) == [8, 16, 8]


def test_a_named_layer_comes_before_patterns():
    done = prune(work_for(residual(), Decision(pattern="*", prune=0.25), Decision(layer="a", prune=0.5)))
    assert widths(done) == [8, 12, 8]
    told = {change.layer: change.reason for change in done.changes}
    assert told["b"] == "'a', which it goes with, is called by its name"


def test_of_patterns_the_one_that_leaves_more():
    done = prune(work_for(residual(), Decision(pattern="[a]", prune=0.25), Decision(pattern="b*", prune=0.5)))
    assert widths(done) == [12, 16, 12]
    assert {change.layer: change.reason for change in done.changes} == {"a": "", "b": "'a', which it goes with, is to keep more"}


def test_nothing_asked_of_one_keeps_the_group_whole():
    done = prune(work_for(residual(), Decision(pattern="*", prune=0.25), Decision(layer="a", prune=0.0)))
    assert widths(done) == [16, 12, 16]
    told = {change.layer: change for change in done.changes}
    assert "a" not in told and not told["b"].done and "are to keep theirs (with a)" in told["b"].reason


def test_more_channels_than_there_are_is_nothing_to_do():
    done = pruned_by(residual(), a=20)
    assert widths(done) == [16, 16, 16] and done.changes[0].done == "16 channels"
