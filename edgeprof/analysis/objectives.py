"""What a model can be chosen by: the quantities of whole profiles, each with its interval, and why one has no number.

1. ``latency_ms``: median of the plain runs, end to end. ``energy_mj``: all that one inference took, idle power included.
2. ``peak_memory_bytes``: activations and workspace at the worst moment, without weights (`analysis.memory.model_peak`).
   ``memory_bytes``: weights and that together, the memory of the model alone, which is what a budget is held against (`analysis.budget`).
3. ``model_bytes``: the model file.
4. Every score in the profile's context, by its metric. Scores on different data are different quantities: those on the data that most
   profiles were scored on count, the others have no number here and say why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast
from weakref import WeakKeyDictionary

from edgeprof.analysis.budget import model_parts
from edgeprof.analysis.memory import basis_of, model_peak
from edgeprof.analysis.names import shorten
from edgeprof.errors import UsageError, did_you_mean
from edgeprof.records.profile import Profile
from edgeprof.scoring import METRICS

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Objective:
    """A quantity that models are compared by. ``unit`` is that of the numbers, ``%`` for shares from 0 to 1, or empty."""

    name: str
    title: str
    unit: str
    better: Better = "lower"


@dataclass(frozen=True)
class Reading:
    """An objective's number for one profile with its 95 % interval; NaN is not known, and ``why`` says why. ``note``: how it came about."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    note: str = ""
    why: str = ""


def objectives_of(profiles: Sequence[Profile]) -> tuple[Objective, ...]:
    """What at least one of ``profiles`` has a number for: the profile's own quantities first, then its scores."""
    own = [objective for objective, read in _OWN if any(not math.isnan(_own(profile, objective, read).value) for profile in profiles)]
    return (*own, *(_score_objective(profiles, metric) for metric in _metrics(profiles)))


def objective(profiles: Sequence[Profile], name: str) -> Objective:
    """The objective ``name``, whether or not a profile has a number for it; UsageError when there is none of that name."""
    known = {one.name: one for one, _ in _OWN}
    if name in known:
        return known[name]
    metrics = _metrics(profiles)
    if name in metrics or name in METRICS:
        return _score_objective(profiles, name)
    every = [*known, *dict.fromkeys([*metrics, *METRICS])]
    raise UsageError(f"There is no objective {shorten(str(name))!r}{did_you_mean(str(name), every)}. There are: {', '.join(every)}.")


def readings(profiles: Sequence[Profile], wanted: Objective) -> list[Reading]:
    """The numbers of ``wanted``, one for each profile."""
    read = next((read for one, read in _OWN if one == wanted), None)
    if read is not None:
        return [_own(profile, wanted, read) for profile in profiles]
    records = [_record(profile, wanted.name) for profile in profiles]
    common = _common(records)
    return [_scored(wanted.name, record, common) for record in records]


def axes_of(profiles: Sequence[Profile]) -> tuple[Objective, Objective] | None:
    """What says most where nobody has chosen: the first of the profile's own quantities that differs, and a score or the next of them."""
    first = next((one for one, _ in _OWN if _differs(profiles, one)), None)
    if first is None:
        return None
    second = second_axis(profiles, (first.name,))
    return (first, second) if _differs(profiles, second) else None


def second_axis(profiles: Sequence[Profile], taken: Collection[str]) -> Objective:
    """A score, else a quantity of the profile, that differs between ``profiles``; else what any has a number for."""
    candidates = [*(_score_objective(profiles, metric) for metric in _metrics(profiles)), *(one for one, _ in _OWN)]
    for says_enough in (_differs, _is_known):
        for one in candidates:
            if one.name not in taken and says_enough(profiles, one):
                return one
    return objective(profiles, "model_bytes" if "top1" in taken else "top1")


def _differs(profiles: Sequence[Profile], one: Objective) -> bool:
    return len({read.value for read in readings(profiles, one) if not math.isnan(read.value)}) > 1


def _is_known(profiles: Sequence[Profile], one: Objective) -> bool:
    return any(not math.isnan(read.value) for read in readings(profiles, one))


def _own(profile: Profile, one: Objective, read: Callable[[Profile], Reading]) -> Reading:
    """What ``read`` says of ``profile``, kept as long as that lives: a peak of memory costs milliseconds, and live charts ask again."""
    kept = _READ.setdefault(profile, {})
    if one.name not in kept:
        kept[one.name] = read(profile)
    return kept[one.name]


def _latency(profile: Profile) -> Reading:
    end = profile.context.latency
    runs = "" if profile.basis == "estimated" else f"median of {end.runs} plain runs"
    return _reading(end.median_ms, end.low_ms, end.high_ms, runs, "latency was not measured")


def _energy(profile: Profile) -> Reading:
    told = profile.context.energy
    value, low, high = told.inference_mj, told.inference_low_mj, told.inference_high_mj
    return _reading(value, low, high, shorten(told.scope), "energy was not measured")


def _peak(profile: Profile) -> Reading:
    told = _reading(profile.context.memory.peak_bytes)
    if not math.isnan(told.value):  # many profiles: what the context says need not be counted
        return replace(told, note=f"activations and workspace, {basis_of(profile, 'peak_memory_bytes')}")
    peak = model_peak(profile)
    if peak is None:
        return Reading(why="peak memory is not known")
    return _reading(peak.bytes, note=f"activations and workspace, {peak.basis}", why="peak memory is not known")


def _memory(profile: Profile) -> Reading:
    parts = model_parts(profile)
    least = f", not counted: {', '.join(parts.unknown)}" if parts.unknown else ""
    note = f"weights, and activations {parts.activations_basis}{least}"
    return _reading(parts.weights_bytes + parts.activations_bytes, note=shorten(note, 120), why="memory is not known")


def _file(profile: Profile) -> Reading:
    return _reading(profile.context.model_bytes, why="the size of the model file is not known")


_OWN: tuple[tuple[Objective, Callable[[Profile], Reading]], ...] = (
    (Objective("latency_ms", "Latency", "ms"), _latency),
    (Objective("energy_mj", "Energy", "mJ"), _energy),
    (Objective("peak_memory_bytes", "Peak memory", "B"), _peak),
    (Objective("memory_bytes", "Memory of the model", "B"), _memory),
    (Objective("model_bytes", "Model size", "B"), _file),
)

_READ: WeakKeyDictionary[Profile, dict[str, Reading]] = WeakKeyDictionary()

_TITLES = {"top1": "Top-1 accuracy", "mae": "Mean absolute error", "sqnr_db": "SQNR", "cosine": "Cosine similarity"}
_UNITS = {"top1": "%", "sqnr_db": "dB"}
_LOWER = ("mae",)


def _reading(value: Any, low: Any = None, high: Any = None, note: str = "", why: str = "") -> Reading:
    """A reading of numbers that may be anything: what is no finite number is not known, and an interval holds its value."""
    number = _finite(value)
    if math.isnan(number):
        return Reading(why=why)
    low, high = _finite(low), _finite(high)
    if math.isnan(low) or math.isnan(high):
        return Reading(number, note=note)
    return Reading(number, min(low, number), max(high, number), note)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        return math.nan
    return float(value)


def _metrics(profiles: Sequence[Profile]) -> list[str]:
    """Metrics that some profile has a number for, those of `scoring.METRICS` first, without the names of a profile's own quantities."""
    taken = {one.name for one, _ in _OWN}
    found = dict.fromkeys(name for profile in profiles for name in profile.context.scores if _record(profile, name) is not None)
    return [name for name in dict.fromkeys([*METRICS, *found]) if name in found and name not in taken]


def _record(profile: Profile, metric: str) -> Mapping[str, Any] | None:
    """What the profile holds of a score; None when that is no number."""
    record = profile.context.scores.get(metric)
    return record if isinstance(record, Mapping) and not math.isnan(_finite(record.get("value"))) else None


def _common(records: Sequence[Mapping[str, Any] | None]) -> tuple[str, str]:
    """Digest of the data that most were scored on, and which way is better there; of equals the first."""
    count = Counter(_kind(record) for record in records if record is not None)
    return count.most_common(1)[0][0] if count else ("", "")


def _kind(record: Mapping[str, Any]) -> tuple[str, str]:
    return str(record.get("data_sha256", "")), str(record.get("better", ""))


def _scored(metric: str, record: Mapping[str, Any] | None, common: tuple[str, str]) -> Reading:
    if record is None:
        return Reading(why=f"no score {shorten(metric)}")
    data = shorten(str(record.get("data") or "data that is not named"))
    if _kind(record) != common:
        return Reading(why=f"{shorten(metric)} is of other data, {data}")
    n = _finite(record.get("n"))
    note = f"on {data}" + ("" if math.isnan(n) else f", n = {n:,.0f}")
    return _reading(record.get("value"), record.get("low"), record.get("high"), note)


def _score_objective(profiles: Sequence[Profile], metric: str) -> Objective:
    _, told = _common([_record(profile, metric) for profile in profiles])
    better = told if told in ("lower", "higher") else "lower" if metric in _LOWER else "higher"
    return Objective(metric, _TITLES.get(metric, shorten(metric)), _UNITS.get(metric, ""), cast(Better, better))
