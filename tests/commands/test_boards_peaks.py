"""``edgeprof boards peaks``: a line a ceiling, JSON, kept between calls; what is kept is found by ``edgeprof doctor``'s function."""

import json

import pytest

from edgeprof.peaks import cached_peaks
from edgeprof.records.bundle import load
from edgeprof.records.peaks import Peaks


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder that is nobody else's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_of_a_simulated_board(edgeprof):
    status, out, err = edgeprof("boards", "peaks", "simulated:?gb_per_s=5")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("simulated:?gb_per_s=5, simulated ") and "1 thread" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["ceiling", *sorted(["float16", "float32"], key=out.index), "memory"]
    assert "5.0" in lines[-1] and "GB/s" in lines[-1] and "FLOP/B" in lines[-2]

    status, told, _ = edgeprof("boards", "peaks", "simulated:?gb_per_s=5", "--json")
    peaks = Peaks.from_json(json.loads(told))
    assert status == 0 and lines[0].endswith(f"measured {peaks.measured_at[:16].replace('T', ' ')} UTC")  # those that were kept
    assert edgeprof("profile", "tiny.onnx", "--board", "simulated:?gb_per_s=5", "--runs", 4, "--quiet")[0] == 0
    profile = load("tiny.edgeprof")
    assert cached_peaks(profile) == peaks


def test_a_board_that_is_not_there(edgeprof):
    status, out, err = edgeprof("boards", "peaks", "nowhere")
    assert (status, out) == (2, "") and "There is no board 'nowhere'" in err
