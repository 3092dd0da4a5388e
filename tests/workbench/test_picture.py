"""The Workbench as one picture: what a notebook shows where nothing runs."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import edgeprof as ep
from edgeprof.errors import UsageError
from edgeprof.figures import icicle_picture
from edgeprof.figures.pen import SCALE, WIDTH
from edgeprof.testing import make_profile
from edgeprof.workbench import told
from edgeprof.workbench.picture import picture
from edgeprof.workbench.selection import Selection


def drawn(subjects, shown="a", against="", layers=()):
    """The picture, as an image."""
    bench = ep.workbench.Bench(list(subjects.values()))
    head = told.head(bench, subjects.get(shown))
    image = Image.open(io.BytesIO(picture(subjects, shown, against, Selection(layers=layers), head)))
    assert image.format == "PNG" and image.width == round(WIDTH * SCALE)
    return image


ONE = {"a": make_profile()}
TWO = {**ONE, "b": make_profile((0.4, 0.1, 0.2, 0.1))}


@pytest.fixture(scope="module")
def alone():
    """The picture of one profile."""
    return drawn(ONE)


def test_all_views_stand_one_below_the_other(alone):
    compared = drawn(TWO, against="b")
    assert alone.height > 1500 and compared.height > alone.height + 300, "Pareto and difference are two more"
    assert len(alone.getcolors(256)) > 50


def test_the_selection_is_in_it(alone):
    marked = drawn(ONE, layers=tuple(ONE["a"].layers["name"][:1]))
    assert alone.size == marked.size and alone.convert("RGB").tobytes() != marked.convert("RGB").tobytes()


def test_before_anything_was_measured_it_says_so():
    bench = ep.workbench.Bench([make_profile()])
    image = Image.open(io.BytesIO(picture({}, "base", "", Selection(), told.head(bench, None))))
    assert image.width == round(WIDTH * SCALE) and image.height < 400 and len(image.getcolors(100_000)) > 10


def test_a_view_that_cannot_be_drawn_is_left_out(monkeypatch, alone):
    def refuse(*_, **__):
        raise UsageError("There is nothing to draw. Measure again.")

    monkeypatch.setattr(icicle_picture, "draw", refuse)
    assert 1000 < drawn(ONE).height < alone.height


@pytest.mark.parametrize("name", ["\u202eevil\n\x00", "x" * 10_000, "</script>"])
def test_hostile_names_are_drawn(name):
    profile = make_profile((0.5, np.nan), runs=0, name=[name, "ok"])
    assert drawn({"a": replace(profile, context=replace(profile.context, model_name=name))}).height > 1000
