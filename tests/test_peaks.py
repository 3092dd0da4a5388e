"""Peaks of boards: measured for real here and on a simulated board, kept, found again, and measured anew when what was kept is no good."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeprof as ep
from edgeprof.analysis.peaks import Reached
from edgeprof.boards.base import Progress, Started
from edgeprof.errors import BoardError, RuntimeRefused, UsageError
from edgeprof.models.peak_nets import Mark
from edgeprof.peaks import MOST_BYTES, MOST_FILES, Effort, Store, array_mib, board_peaks, cached_peaks, key_of, peaks_of
from edgeprof.testing import make_peaks, make_profile

SMALL = Effort(runs=6, look_runs=4, look_flops=1e6, look_mib=2, compute_s=0.004, memory_s=0.002, least_mib=4, most_mib=8)
SIMULATED = "simulated:?gmacs_per_s=10&gb_per_s=5&seed=1"


def measured(folder, board=SIMULATED, **options):
    return board_peaks(board, effort=SMALL, folder=folder, progress=False, **options)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """(peaks of this machine, the folder that they are kept in)."""
    folder = tmp_path_factory.mktemp("peaks")
    return measured(folder, "local", providers=["CPUExecutionProvider"]), folder


def test_this_machine(here):
    peaks, _ = here
    assert (peaks.board, peaks.runtime, peaks.threads, peaks.providers) == ("local", "onnxruntime", 1, ("CPUExecutionProvider",))
    assert {"float32", "int8"} <= set(peaks.gflops)  # float16 only where the processor has it
    for ceiling in peaks.ceilings:
        assert 0 < ceiling.low <= ceiling.value <= ceiling.high and ceiling.reached_by
    assert 0.1 < peaks.memory_gb_s.value < 1e4 and 0.1 < peaks.gflops["float32"].value < 1e6


def test_a_profile_finds_them(here):
    peaks, folder = here
    profile = make_profile()
    same = {name: getattr(peaks, name) for name in ("board", "runtime", "runtime_version", "providers", "threads")}
    context = replace(profile.context, **same)
    (file,) = folder.glob("*.json")
    assert file.stat().st_size < MOST_BYTES
    assert cached_peaks(replace(profile, context=context), folder) is None  # another machine
    now = replace(peaks, machine=make_peaks().machine)
    Store(folder).put(now)
    assert cached_peaks(replace(profile, context=context), folder) == now
    assert cached_peaks(replace(profile, context=replace(context, threads=2)), folder) is None


def test_a_simulated_board_reaches_what_its_spec_says(tmp_path):
    peaks = measured(tmp_path)
    assert peaks.memory_gb_s.value == pytest.approx(5.0, rel=0.02)
    assert 0.6 * 20 < peaks.gflops["float32"].value <= 20 * 1.02  # a layer reaches a part of the 20 GFLOP/s by its name


def jobs_of(folder, **options):
    """How many jobs the call made, and the peaks."""
    heard = []
    peaks = board_peaks(SIMULATED, effort=SMALL, folder=folder, progress=heard.append, **options)
    return sum(isinstance(event, Started) for event in heard), peaks


def test_kept_peaks_are_not_measured_again_unless_that_is_wanted(tmp_path):
    first, peaks = jobs_of(tmp_path)
    second, again = jobs_of(tmp_path)
    assert (first, second, again == peaks) == (2, 1, True)
    assert jobs_of(tmp_path, again=True)[0] == 2
    assert jobs_of(tmp_path, threads=3)[0] == 2  # others


@pytest.mark.parametrize("damage", [b"", b"{", b"[" * 50_000, b"\xff\xfe", b"null", b'{"schema_version": 9}', b" " * (MOST_BYTES + 1)])
def test_damaged_files_are_as_good_as_none(damage, tmp_path):
    store, peaks = Store(tmp_path), make_peaks()
    context = make_profile().context
    store.put(peaks)
    assert store.get(context) == peaks
    (file,) = tmp_path.glob("*.json")
    file.write_bytes(damage)
    assert store.get(context) is None
    store.put(peaks)
    assert store.get(context) == peaks


def test_a_file_that_tells_of_another_board_does_not_count(tmp_path):
    store, context = Store(tmp_path), make_profile().context
    store.put(make_peaks())
    (file,) = tmp_path.glob("*.json")
    for name, value in (("board", "pi5"), ("machine", "0" * 16), ("runtime_version", "0.1"), ("threads", 8), ("cpus", [0])):
        file.write_text(json.dumps(make_peaks().to_json() | {name: value}))
        assert store.get(context) is None


@given(
    st.sampled_from(
        [
            {"board": "pi5"},
            {"threads": 2},
            {"cpus": (0,)},
            {"runtime_version": "9"},
            {"providers": ("X",)},
            {"provider_options": {"X": {"a": "b"}}},
            {"fingerprint": {"cpu_model": "Test CPU", "governor": "powersave"}},
        ]
    )
)
def test_whatever_differs_has_a_key_of_its_own(change):
    context = make_profile().context
    assert key_of(make_peaks()) == key_of(context) != key_of(replace(context, **change))


def test_a_folder_that_cannot_be_written_to_costs_nothing_but_time(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "peaks")
    store.put(make_peaks())
    assert store.get(make_profile().context) is None


def test_what_cannot_be_read_again_is_not_kept(tmp_path):
    Store(tmp_path).put(make_peaks(board="two\nlines"))
    assert list(tmp_path.iterdir()) == []


def test_only_the_newest_are_kept(tmp_path):
    store = Store(tmp_path)
    for number in range(MOST_FILES + 3):
        (tmp_path / f"{number}.json").write_text("{}")
    store.put(make_peaks())
    assert len(list(tmp_path.iterdir())) == MOST_FILES and store.get(make_profile().context) == make_peaks()


def test_cancelled_nothing_is_kept(tmp_path):
    jobs = []

    def stop(event):
        jobs.extend([event.job] if isinstance(event, Started) else [])
        if len(jobs) == 2 and isinstance(event, Progress) and event.phase == "measure":
            jobs[-1].cancel()

    with pytest.raises(KeyboardInterrupt):
        board_peaks("local", effort=replace(SMALL, runs=10_000), folder=tmp_path, progress=stop)
    assert len(jobs) == 2 and list(tmp_path.iterdir()) == []


def test_a_recording_can_do_nothing_new(tmp_path):
    ep.Profile.save(make_profile(), str(tmp_path / "old.edgeprof"))
    with pytest.raises(UsageError, match="is a recording"):
        measured(tmp_path, f"replay:{tmp_path / 'old.edgeprof'}")


def test_a_provider_that_is_not_there(tmp_path):
    with pytest.raises(RuntimeRefused, match="NoSuchProvider"):
        measured(tmp_path, providers=["NoSuchProvider"])


def test_a_profile_of_something_else_has_no_peaks():
    with pytest.raises(BoardError, match="could be timed"):
        peaks_of(make_profile())


@given(st.floats(1e-5, 10), st.none() | st.floats(0, 1e12))
def test_arrays_keep_to_their_limits(seconds, free):
    look = [
        Reached(Mark("memory", f"{what}, 8 MiB"), "float32", 1.0, 1.0, 1.0, 1e6, seconds / 3) for what in ("Relu", "ReduceMean", "MatMul")
    ]
    size = array_mib(look, free)
    assert size % 2 == 0 and 2 <= size <= 512
    assert size >= 32 or (free is not None and (size + 2) * (1 << 20) * 10 > free)
    assert free is None or size == 2 or size * (1 << 20) * 10 <= free
