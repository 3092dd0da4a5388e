"""Which report a file name asks for, and that a report is written whole or not at all."""

import errno
import os
import re
import stat

import pytest

from edgeprof.errors import OutputError, UsageError
from edgeprof.reports import REPORTS, base, write
from edgeprof.testing import make_profile


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.suffix)
def test_every_kind_is_written(report, tmp_path):
    if report.suffix == ".xlsx":
        pytest.importorskip("xlsxwriter")
    path = tmp_path / f"x{report.suffix.upper()}"
    assert write([make_profile(), make_profile(origin="estimated")], path) == path
    assert path.stat().st_size > 100
    assert os.listdir(tmp_path) == [path.name], "no temporary file stays"
    assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR


def test_one_profile_needs_no_list(tmp_path):
    assert write(make_profile(), str(tmp_path / "x.csv")).read_text().startswith("profile,model,")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("x.docx", r"ends in \.docx; it can end in \.html, \.md"), ("x", "has no ending"), ("x.pdf", "open it in a browser and print it")],
)
def test_unknown_endings(name, sentence, tmp_path):
    with pytest.raises(OutputError, match=sentence):
        write(make_profile(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_no_profiles(tmp_path):
    with pytest.raises(UsageError, match="at least one profile"):
        write([], tmp_path / "x.md")


def test_no_folder(tmp_path):
    with pytest.raises(OutputError, match="no folder"):
        write(make_profile(), tmp_path / "nowhere" / "x.csv")


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        write(make_profile(), tmp_path / "x.csv")
    assert os.listdir(tmp_path) == ["x.csv"]


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is not a folder"):
        write(make_profile(), tmp_path / "file" / "x.csv")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "no permission"), (errno.EIO, os.strerror(errno.EIO))],
)
def test_a_failed_write_leaves_the_old_report_and_nothing_else(code, sentence, tmp_path, monkeypatch):
    path = tmp_path / "x.csv"
    path.write_text("old")

    def fail(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(base.os, "fsync", fail)
    with pytest.raises(OutputError, match=re.escape(sentence)) as caught:
        write(make_profile(), path)
    assert str(path) in str(caught.value) and isinstance(caught.value.__cause__, OSError)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x.csv"]


def test_a_link_keeps_pointing_at_the_file(tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    write(make_profile(), tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "real.csv").read_text().startswith("profile,")
