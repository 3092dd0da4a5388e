"""Counters, sorting, names, and files that are not what they should be."""

from __future__ import annotations

import math
import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.agent.files import by_numbers, names_in, number_of, readable, text_of
from edgeprof.agent.sensors.base import NAN, SAMPLE, TOO_MUCH, Channel, Counter, FileSensor, Product, Source, Sysfile, slug, unique
from tests.agent.sensors.trees import public_folder, seal, without_rights


@given(st.data(), st.integers(2, 2**48), st.integers(0, 2**48))
def test_counter_gives_back_the_sum_of_the_steps(data, span, start):
    steps = data.draw(st.lists(st.integers(0, (span - 1) // 2)))
    counter, true = Counter(span), start
    assert counter.total(true % span) == 0
    for step in steps:
        true += step
        assert counter.total(true % span) == true - start


@given(st.lists(st.floats(0, 1e12)), st.one_of(st.none(), st.floats()))
def test_a_counter_falls_to_nothing_or_not_at_all(raws, span):
    counter = Counter(span)
    totals = list(map(counter.total, raws))
    assert all(after >= before or after == 0 for before, after in pairwise(totals))


def test_counter_after_a_reset_starts_anew():
    counter = Counter(1000.0)
    assert counter.total(400) == 0
    assert counter.total(600) == 200
    assert counter.total(300) == 0, "fell by less than half the span"
    assert counter.total(350) == 50


def test_counter_without_span_does_not_wrap():
    counter = Counter()
    assert [counter.total(raw) for raw in (4_000_000_000, 4_000_000_007, 5, 7)] == [0, 7, 0, 2]


def test_counter_skips_a_failed_reading():
    counter = Counter(1000.0)
    assert counter.total(990) == 0
    assert math.isnan(counter.total(NAN))
    assert counter.total(10) == 20


@pytest.mark.parametrize("span", [NAN, 0.0, -1.0, 1.0])
def test_counter_whose_span_is_nonsense(span):
    counter = Counter(span)
    assert [counter.total(raw) for raw in (500, 520, 100, 160)] == [0, 20, 0, 60]


letters = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=4)


@given(letters, st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from(["", "_input", "_label"]))
def test_numbers_in_names_sort_as_numbers(word, a, b, rest):
    assert (by_numbers(f"{word}{a}{rest}") < by_numbers(f"{word}{b}{rest}")) == (a < b)


@given(st.lists(st.text(max_size=12)))
def test_sorting_takes_any_names(names):
    ordered = sorted(names, key=by_numbers)
    assert sorted(ordered) == sorted(names)
    names.reverse()
    assert sorted(names, key=by_numbers) == ordered


@given(st.text())
def test_a_slug_is_a_part_of_a_name(text):
    found = slug(text, "other")
    assert found.isascii()
    assert 0 < len(found) <= 40
    assert not set(found) & set(" /\n\"'<>&\\")


@given(st.lists(st.sampled_from(["a", "a-2", "a-3", "b", "b-2"])))
def test_unique_labels(labels):
    found = unique(labels)
    assert len(set(found)) == len(labels)
    assert all(name.startswith(label) for name, label in zip(found, labels, strict=True))


@pytest.mark.parametrize(
    ("content", "number"),
    [(b"42\n", 42.0), (b"-7\0", -7.0), (b" 1.5 \n", 1.5), (b"", NAN), (b"\xff\xfe\x00", NAN), (b"inf", NAN), (b"nan", NAN), (b"1e999", NAN),
     (b"12 34", NAN), (b"0x10", NAN), (b"9" * 5000, NAN)],
)  # fmt: skip
def test_numbers(tmp_path, content, number):
    path = tmp_path / "file"
    path.write_bytes(content)
    for found in (Sysfile(str(path)).number(), number_of(str(path))):
        assert found == number or (math.isnan(found) and math.isnan(number))


def test_a_file_is_read_anew_each_time(tmp_path):
    path = tmp_path / "file"
    path.write_text("1\n")
    file = Sysfile(str(path))
    assert file.number() == 1
    path.write_text("22\n")
    assert file.number() == 22
    file.close()
    file.close()
    assert file.number() == 22


def test_a_device_that_has_nothing_to_say():
    """Address 0 of a process cannot be read: EIO, as from a sensor that sleeps."""
    file = Sysfile("/proc/self/mem")
    assert math.isnan(file.number())
    with pytest.raises(OSError, match="Input/output"):
        file.text()


def test_a_pipe_does_not_hold_us_up(tmp_path):
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    assert text_of(path) == ""
    writer = os.open(path, os.O_RDWR)
    assert text_of(path) is None  # EAGAIN: somebody could write, nobody did
    assert readable(path)
    os.close(writer)
    with pytest.raises(OSError, match="Illegal seek"):
        Sysfile(path).number()


def test_loops_folders_and_nothing(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("loop", "absent", "."):
        path = str(tmp_path / name)
        assert text_of(path) is None
        assert math.isnan(number_of(path))
        with pytest.raises(OSError):
            Sysfile(path).number()
    assert names_in(str(tmp_path), "loop") == names_in(str(tmp_path), "absent") == []
    assert not readable(str(tmp_path / "loop"))


def test_readable_is_about_this_user():
    with public_folder() as folder:
        (folder / "file").write_text("1")
        (folder / "secret").write_text("1")
        seal(folder / "secret")
        assert without_rights(lambda: [readable(str(folder / name)) for name in ("file", "secret")]) == [True, False]


class Fixed(Source):
    def __init__(self, outcome):
        self.outcome = outcome

    def value(self):
        if isinstance(self.outcome, OSError):
            raise self.outcome
        return self.outcome


def channels(count):
    return [Channel(f"x/{i}_mw", "mW", SAMPLE, "rail", "") for i in range(count)]


@given(st.lists(st.one_of(st.floats(0, 10), st.just(OSError(19, "gone"))), min_size=1))
def test_a_sensor_fails_only_when_all_its_sources_are_gone(outcomes):
    sensor = FileSensor(channels(len(outcomes)), [Fixed(outcome) for outcome in outcomes])
    if all(isinstance(outcome, OSError) for outcome in outcomes):
        with pytest.raises(OSError, match="gone"):
            sensor.read()
    else:
        for value, outcome in zip(sensor.read(), outcomes, strict=True):
            assert math.isnan(value) if isinstance(outcome, OSError) else value == outcome


@given(st.integers(-(2**31), 2**31), st.integers(-(2**31), 2**31))
def test_a_product_is_rounded_once(a, b):
    with public_folder() as folder:
        (folder / "a").write_text(str(a))
        (folder / "b").write_text(str(b))
        source = Product([str(folder / "a"), str(folder / "b")], 1000.0)
        value = source.value()
        source.close()
    assert math.isnan(value) if not 0 <= a * b / 1000 <= TOO_MUCH else value == float(a * b) / 1000
