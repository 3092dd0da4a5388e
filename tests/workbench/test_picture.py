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
from edgeprof.testing import make_profile, make_sensed_profile
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


ONE = {"a": make_sensed_profile()}
TWO = {"a": make_profile(), "b": make_profile((0.4, 0.1, 0.2, 0.1))}


def test_all_views_stand_one_below_the_other():
    alone, pair, compared = drawn(ONE), drawn(TWO), drawn(TWO, against="b")
    assert min(alone.height, pair.height) > 1500 and compared.height > pair.height, "the difference is one more"
    assert len(alone.getcolors(256)) > 100


def test_the_selection_is_in_it():
    plain, marked = drawn(ONE), drawn(ONE, layers=tuple(ONE["a"].layers["name"][:1]))
    assert plain.size == marked.size and plain.convert("RGB").tobytes() != marked.convert("RGB").tobytes()


def test_before_anything_was_measured_it_says_so():
    bench = ep.workbench.Bench([make_profile()])
    image = Image.open(io.BytesIO(picture({}, "base", "", Selection(), told.head(bench, None))))
    assert image.width == round(WIDTH * SCALE) and image.height < 400 and len(image.getcolors(100_000)) > 10


def test_a_view_that_cannot_be_drawn_is_left_out(monkeypatch):
    whole = drawn(ONE)

    def refuse(*_, **__):
        raise UsageError("There is nothing to draw. Measure again.")

    monkeypatch.setattr(icicle_picture, "draw", refuse)
    assert 1000 < drawn(ONE).height < whole.height


@pytest.mark.parametrize("name", ["\u202eevil\n\x00", "x" * 10_000, "</script>"])
def test_hostile_names_are_drawn(name):
    profile = make_profile((0.5, np.nan), runs=0, name=[name, "ok"])
    assert drawn({"a": replace(profile, context=replace(profile.context, model_name=name))}).height > 1000
