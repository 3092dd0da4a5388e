"""`board_peaks`: how fast a board computes and moves data at most, measured; what was measured is kept on this machine.

The method is that of the roofline model (S. Williams, A. Waterman, D. Patterson: "Roofline: an insightful visual performance model for
multicore architectures", CACM 52(4), 2009): a layer can go no faster than the processor computes, and no faster than memory brings what it
reads and takes what it writes. Both limits are measured here as profiles are: small ONNX models (`edgeprof.models.peak_nets`) run on the
board by the same agent, runtime, providers, threads and CPUs; the layer that goes fastest sets the ceiling.

1. **A look**: a tiny net tells roughly how fast the board is, what it is, and how much memory is free; in part of a second of runs.
2. **The measurement**: layers and arrays of a size that makes a run some 70 ms long, so that the whole takes a few seconds on any board.
   Arrays are as large as that time and a tenth of the free memory allow, at least 32 MiB where there is room: caches of last level of small
   boards hold 1 to 8 MB. Each is swept at full and at half size, and where half the size goes much faster, a note says that caches may
   still help.
3. **Compute**: products and 1x1 and 3x3 convolutions in float32, int8 and float16; of a precision only what the runtime did compute in
   it. 2 FLOPs a MAC.
4. **Memory**: Relu in place (reads and writes each byte), ReduceMean (reads), a product with one row (reads). Bytes are counted as for
   every layer: what is read and what is written, once each, nothing for cache lines that the processor reads in order to write them.

Limits: these are speeds of the runtime's kernels, not the data sheet's. A faster kernel that no net here calls can lie above; so can a
layer whose data stays in a cache, above the memory ceiling.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeprof.analysis.peaks import Reached, ceilings_of, reached
from edgeprof.boards import get_board
from edgeprof.boards.base import Board, Cancelled, Event
from edgeprof.errors import BoardError, OutputError, RunFailed, RuntimeRefused, UsageError
from edgeprof.models.peak_nets import MB, PRECISIONS, Work, peak_net
from edgeprof.profiler import OnEvent, bar_of, profile
from edgeprof.recipes.target import target_of
from edgeprof.records.board_state import by_name
from edgeprof.records.bundle import write_atomically
from edgeprof.records.context import RunContext
from edgeprof.records.peaks import Peaks, machine_of
from edgeprof.records.profile import Profile

METHOD = 1
"""Grows when the nets or the sums change: then everything is measured anew."""

MOST_BYTES = 64 << 10
MOST_FILES = 200

_TRIED = (PRECISIONS, ("float32", "int8"), ("float32",))
"""A runtime that refuses a net for one of its precisions may take the next."""

_TOLD = frozenset({"busy", "throttled", "under-voltage", "memory-pressure"})
"""Findings of the measurement that its reader must know."""


@dataclass(frozen=True)
class Effort:
    """How much is done. ``compute_s`` and ``memory_s`` are what the two halves of one run should take, ``runs`` how many runs are made of
    each kind (plain, instrumented), ``least_mib`` to ``most_mib`` the size of the largest array, ``limit_s`` the longest measurement.
    """

    runs: int = 12
    look_runs: int = 5
    look_flops: float = 16e6
    look_mib: int = 8
    compute_s: float = 0.025
    memory_s: float = 0.04
    least_mib: int = 32
    most_mib: int = 512
    limit_s: float = 20.0


_EFFORT = Effort()
_SWEEP = 3.3
"""By how much a sweep takes longer, a byte, in the measurement than in the look: there a cache helps, and the Expand is not counted."""

_OF_FREE_MEMORY = 10
"""The largest array may take one part in so many: two sessions hold it, and their allocators may take twice as much."""


def board_peaks(
    board: str | Board = "local",
    *,
    runtime: str = "auto",
    providers: Sequence[str] | None = None,
    provider_options: Mapping[str, Mapping[str, str]] | None = None,
    threads: int = 1,
    cpus: Sequence[int] | None = None,
    again: bool = False,
    wait_s: float = 10.0,
    effort: Effort = _EFFORT,
    folder: str | os.PathLike[str] | None = None,
    progress: bool | OnEvent | None = None,
) -> Peaks:
    """The highest GFLOP/s and GB/s that ``board`` reaches with these settings, by precision, each with a 95 % interval (docs/peaks.md).

    Takes 3 to 6 s the first time; then a look of a second, as long as the board, its clocks, its kernel and its runtime are the same.

    Args:
        board: as of `profile`; not a recording.
        runtime: as of `profile`.
        providers: as of `profile`.
        provider_options: as of `profile`.
        threads: as of `profile`; the ceilings are those of so many threads.
        cpus: as of `profile`.
        again: measure in any case.
        wait_s: as of `profile`.
        effort: how much is done.
        folder: where peaks are kept; None is this user's cache folder.
        progress: as of `profile`; two jobs are run, the look and the measurement.

    Raises:
        EdgeprofError: an option makes no sense (UsageError), or the board failed (BoardError).
        KeyboardInterrupt: it was cancelled; nothing is kept then.
    """
    place = get_board(board)
    if place.origin == "replayed":
        raise UsageError(f"{place.name} is a recording, which can do nothing new. Give the board that it was made on.")
    door = _Door(place, runtime, providers, provider_options, threads, cpus, wait_s, progress)
    look, precisions = _look(door, effort)
    store = Store(folder)
    if not again:
        known = store.get(look.context)
        if known is not None:
            return known
    measured = door.measure(_work(look, precisions, effort), effort.runs, effort.limit_s)
    peaks = peaks_of(measured)
    store.put(peaks)
    return peaks


def cached_peaks(profile: Profile, folder: str | os.PathLike[str] | None = None) -> Peaks | None:
    """Peaks measured before on the board of ``profile`` as it was, with the same runtime and settings; None where there are none."""
    return Store(folder).get(profile.context)


def peaks_of(measured: Profile) -> Peaks:
    """What a profile of a peak net says; BoardError when it says nothing."""
    compute, memory, notes = ceilings_of(reached(measured))
    context = measured.context
    if memory is None or not compute:
        raise BoardError(f"No layer of the nets that show the peaks of {context.board} could be timed. Measure again when it is less busy.")
    told = [finding.text for finding in measured.findings if finding.id in _TOLD]
    return Peaks(
        gflops=compute, memory_gb_s=memory, board=context.board, machine=machine_of(context.fingerprint), cpu=_cpu(context),
        runtime=context.runtime, runtime_version=context.runtime_version, providers=context.providers,
        provider_options=context.provider_options, threads=context.threads, cpus=context.cpus,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"), notes=tuple([*notes, *told][:8]),
    )  # fmt: skip


def _cpu(context: RunContext) -> str:
    return str(context.fingerprint.get("cpu_model") or "")[:100].strip()


@dataclass(frozen=True)
class _Door:
    """The way of a net to the board: that of every profile."""

    board: Board
    runtime: str
    providers: Sequence[str] | None
    provider_options: Mapping[str, Mapping[str, str]] | None
    threads: int
    cpus: Sequence[int] | None
    wait_s: float
    progress: bool | OnEvent | None

    def measure(self, work: Work, runs: int, limit_s: float | None = None) -> Profile:
        """A profile of the net that does this work; KeyboardInterrupt when it was cancelled."""
        hear = _Hearing(_listener(self.progress))
        with _net_file(work) as path:
            found = profile(
                path, board=self.board, runtime=self.runtime, providers=self.providers, provider_options=self.provider_options,
                threads=self.threads, cpus=self.cpus, runs=runs, warmup=2, memory=False, sensors=(), time_limit_s=limit_s,
                wait_s=self.wait_s, progress=hear,
            )  # fmt: skip
        if hear.cancelled:
            raise KeyboardInterrupt
        return found


def _listener(progress: bool | OnEvent | None) -> OnEvent:
    if callable(progress):
        return progress
    return bar_of("peaks") if progress is not False else lambda event: None


class _Hearing:
    """Passes events on, and knows whether the job was cancelled."""

    def __init__(self, listen: Callable[[Event], None]) -> None:
        self._listen, self.cancelled = listen, False

    def __call__(self, event: Event) -> None:
        self.cancelled = self.cancelled or isinstance(event, Cancelled)
        self._listen(event)


@contextlib.contextmanager
def _net_file(work: Work) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="edgeprof-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "peaks.onnx")
        path.write_bytes(peak_net(work))
        yield path


def _look(door: _Door, effort: Effort) -> tuple[Profile, list[str]]:
    """A profile of the tiny net, and the precisions that the runtime computes in."""
    before = ""
    for precisions in _TRIED:
        try:
            found = door.measure(Work(dict.fromkeys(precisions, effort.look_flops), (effort.look_mib,)), effort.look_runs)
        except (RuntimeRefused, RunFailed) as error:
            if precisions == _TRIED[-1] or str(error) == before:  # it is not for a precision
                raise
            before = str(error)
        else:
            seen = {one.mark.group for one in reached(found)}
            return found, [precision for precision in precisions if precision in seen]
    raise AssertionError("the last attempt returns or raises")


def _work(look: Profile, precisions: Sequence[str], effort: Effort) -> Work:
    """What the measurement does, by how fast the look says the board is."""
    seen = reached(look)
    if not precisions or not any(one.mark.group == "memory" for one in seen):
        raise BoardError(f"The layers of the first look at {look.context.board} could not be timed. Measure again when it is less busy.")
    each_s = effort.compute_s / (8 * len(precisions))
    flops = {name: each_s * 1e9 * max(one.value for one in seen if one.mark.group == name) for name in precisions}
    size = array_mib(seen, by_name(look.context.fingerprint.get("memory_bytes")).get("MemAvailable"), effort)
    return Work(flops, (size // 2, size), target_of(look.context.fingerprint).activation_type)


def array_mib(seen: Sequence[Reached], free_bytes: float | None, effort: Effort = _EFFORT) -> int:
    """MiB of the largest array: what the time of a run allows, at least ``least_mib``; never more than a tenth of the free memory."""
    per_mib = sum(one.seconds for one in seen if one.mark.group == "memory") / effort.look_mib
    wanted = max(effort.least_mib, min(effort.most_mib, int(effort.memory_s / (1.5 * _SWEEP * per_mib))))
    if free_bytes is not None:
        wanted = min(wanted, int(free_bytes / MB / _OF_FREE_MEMORY))
    return max(2, wanted // 2 * 2)


class Store:
    """Peaks by board, machine, runtime and settings: a small JSON file each, in ``folder`` or this user's cache folder.

    Whatever stands there is read with care, and what makes no sense is as good as nothing. At most `MOST_FILES` are kept, the newest.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self._folder = Path(folder) if folder is not None else _default_folder()

    def get(self, context: RunContext) -> Peaks | None:
        """Those that a profile with this context was made under; None where there are none."""
        try:
            with self._file(key_of(context)).open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            found = Peaks.from_json(json.loads(data)) if len(data) <= MOST_BYTES else None
        except (OSError, ValueError, RecursionError):
            return None
        return found if found is not None and key_of(found) == key_of(context) else None

    def put(self, peaks: Peaks) -> None:
        """Keeps them. A folder that cannot be written to only means that they are measured again."""
        file = self._file(key_of(peaks))
        with contextlib.suppress(OSError, ValueError, OutputError):
            data = json.dumps(Peaks.from_json(peaks.to_json()).to_json(), indent=1).encode()
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(file, data)
            newest = sorted(self._folder.glob("*.json"), key=lambda one: one.stat().st_mtime, reverse=True)
            for old in newest[MOST_FILES:]:
                old.unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def key_of(of: RunContext | Peaks) -> str:
    """A digest of all that peaks depend on."""
    machine = of.machine if isinstance(of, Peaks) else machine_of(of.fingerprint)
    told: list[Any] = [
        METHOD, of.board, machine, of.runtime, of.runtime_version, of.providers, {k: dict(v) for k, v in of.provider_options.items()},
        of.threads, of.cpus,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _default_folder() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("edgeprof") / "peaks"
