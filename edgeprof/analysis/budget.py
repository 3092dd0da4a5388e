"""Whether a model fits into a given memory: the whole process on this runtime, and the model alone, kept apart."""

from __future__ import annotations

import contextlib
import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgeprof.analysis.memory import Basis, live_curve, model_peak, peak_bytes
from edgeprof.errors import UsageError
from edgeprof.models.cost import weight_bytes
from edgeprof.records.profile import Profile
from edgeprof.units import size

_UNITS = {"b": 1}
_UNITS |= {f"{letter}b": 1000**k for k, letter in enumerate("kmgt", 1)}
_UNITS |= {f"{letter}ib": 1024**k for k, letter in enumerate("kmgt", 1)}
_TEXT = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([kmgt]?i?b)?\s*", re.IGNORECASE)
_LARGEST = 2**53


@dataclass(frozen=True)
class Budget:
    """Memory that there is, and where that number is from: ``asked`` for, what was ``free`` on the board, or the whole ``board``."""

    bytes: int
    source: Literal["asked", "free", "board"] = "asked"

    @property
    def phrase(self) -> str:
        """What it is, in a sentence."""
        return {
            "asked": f"the budget of {size(self.bytes)}",
            "free": f"the {size(self.bytes)} that were free on the board",
            "board": f"the board's memory of {size(self.bytes)}",
        }[self.source]


@dataclass(frozen=True)
class Answer:
    """Whether it fits: True, False, or None when that is not known.

    ``need_bytes`` is what it takes, at least that where a part is not known (``complete`` is False), NaN when nothing is known.
    ``margin_bytes`` is what is left of the budget, negative when it does not fit; NaN when that is not known.
    ``basis`` says how the number was obtained, empty when there is none. ``sentence`` says all of it.
    """

    fits: bool | None
    need_bytes: float
    margin_bytes: float
    complete: bool
    basis: str
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """Two questions: does the whole ``process`` fit as it ran on this runtime; do weights, activations and workspace of the ``model``."""

    budget: Budget
    process: Answer
    model: Answer


@dataclass(frozen=True)
class Parts:
    """What the model alone takes: ``weights_bytes`` from the model file, and ``activations_bytes`` with workspace. NaN is not known.

    ``unknown`` names what is missing in them: with anything there the numbers are lower bounds.
    """

    weights_bytes: float
    activations_bytes: float
    activations_basis: Basis | None
    unknown: tuple[str, ...] = ()


def parse_budget(budget: str | float) -> int:
    """Bytes of ``"512 kB"`` (512 · 1000), ``"2 MiB"`` (2 · 1024²) or a plain number of bytes.

    Raises:
        UsageError: it is neither, or not between 1 byte and 9 PB.
    """
    amount = math.nan
    if isinstance(budget, str):
        found = _TEXT.fullmatch(budget)
        amount = float(found[1]) * _UNITS.get((found[2] or "b").lower(), math.nan) if found else math.nan
    elif isinstance(budget, numbers.Real) and not isinstance(budget, bool):
        with contextlib.suppress(OverflowError):
            amount = float(budget)
    if not 1 <= amount <= _LARGEST:
        raise UsageError(f'Expected a budget such as "512 kB", "2 MiB" or a number of bytes above zero, got {str(budget)[:80]!r}.')
    return int(amount)


def board_memory(profile: Profile) -> Budget | None:
    """The memory of the board that was profiled, by its fingerprint: what was free before the run, else all it has."""
    memory = profile.context.fingerprint.get("memory_bytes")
    if not isinstance(memory, Mapping):
        return None
    sources: tuple[tuple[str, Literal["free", "board"]], ...] = (("MemAvailable", "free"), ("MemTotal", "board"))
    for key, source in sources:
        value = memory.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= _LARGEST:
            return Budget(int(value), source)
    return None


def budget_of(profile: Profile, budget: str | float | None) -> Budget | None:
    """The budget that was asked for, else the board's memory; None when neither is known."""
    return board_memory(profile) if budget is None else Budget(parse_budget(budget))


def fits(profile: Profile, budget: str | float | Budget) -> Verdict:
    """Whether the process and the model alone fit into ``budget``; a part that is not known makes no "yes", but may make a "no"."""
    room = budget if isinstance(budget, Budget) else Budget(parse_budget(budget))
    return Verdict(room, _process(profile, room), _model(profile, room))


def model_parts(profile: Profile) -> Parts:
    """What the model alone takes, see `Parts`."""
    weights, unknown = _weights(profile)
    said = peak_bytes(profile)
    if said is not None and said[1] in ("measured", "simulated"):
        return Parts(weights, *said, unknown)
    peak = model_peak(profile)
    if peak is None:
        return Parts(weights, math.nan, None, (*unknown, "activations"))
    if peak.basis not in ("measured", "simulated"):
        curve = live_curve(profile)
        if unsized := int(curve["unsized"].max()):
            unknown += (f"{unsized} buffer{'s' * (unsized != 1)} of unknown size",)
        if curve["workspace_bytes"].isna().any():
            unknown += ("workspace of the kernels",)
    return Parts(weights, peak.bytes, peak.basis, unknown)


def process_peak(profile: Profile) -> tuple[float, str]:
    """Highest resident set of the process in bytes and the phase it was in; NaN when it was not measured."""
    seen = [
        (float(value), phase)
        for phase, memory in profile.context.memory.process.items()
        for value in (memory.peak_bytes, memory.rss_bytes)
        if value is not None and 0 < value <= _LARGEST
    ]
    return max(seen, key=lambda item: item[0], default=(math.nan, ""))


def _weights(profile: Profile) -> tuple[float, tuple[str, ...]]:
    """Bytes of the weights, each once, and what of them is not known; without the graph weights that layers share count more than once."""
    if profile.graph is not None:
        total = weight_bytes(profile.graph)
        return total, ("weights",) if math.isnan(total) else ()
    column = profile.measured_layers["param_bytes"]
    total = float(column.sum(min_count=1))
    if math.isnan(total):
        return total, ("weights",)
    return total, (f"weights of {column.isna().sum()} layers",) if column.isna().any() else ()


def _process(profile: Profile, room: Budget) -> Answer:
    need, phase = process_peak(profile)
    if math.isnan(need):
        text = "Whether the whole process fits is not known: its memory was not recorded. Profile the model on the board to measure it."
        return Answer(None, need, math.nan, False, "", text)
    context = profile.context
    basis = profile.basis if profile.basis in ("estimated", "simulated") else "measured"
    runtime = f"{context.runtime} {context.runtime_version}".strip() or "the runtime"
    took = f"it {'takes' if basis == 'estimated' else 'took'} {size(need)} at most ({basis}, {runtime} on {context.board}, phase {phase})"
    return _answer("The whole process", took, need, (), basis, room)


def _model(profile: Profile, room: Budget) -> Answer:
    parts = model_parts(profile)
    weights_basis = "estimated" if profile.basis == "estimated" else "counted"
    both = (("weights", parts.weights_bytes, weights_basis), ("activations", parts.activations_bytes, parts.activations_basis))
    named = [(name, value, basis) for name, value, basis in both if not math.isnan(value)]
    if not named:
        text = "Whether the model alone fits is not known: neither its weights nor its activations were counted or measured."
        return Answer(None, math.nan, math.nan, False, "", text)
    need = sum(value for _, value, _ in named)
    workspace = "" if "workspace of the kernels" in parts.unknown else " with workspace"
    told = [f"{name}{workspace * (name == 'activations')} {size(value)} ({basis})" for name, value, basis in named]
    took = " and ".join(told) + (f" make {size(need)}" if len(told) > 1 else "")
    basis = " and ".join(dict.fromkeys(str(basis) for _, _, basis in named))
    return _answer("The model alone", took, need, parts.unknown, basis, room)


def _answer(what: str, took: str, need: float, unknown: tuple[str, ...], basis: str, room: Budget) -> Answer:
    """The answer with its sentence: a need of which a part is ``unknown`` can rule the budget out, never in."""
    margin = room.bytes - need
    least, but = ("at least ", f", not counted: {', '.join(unknown)}") if unknown else ("", "")
    if margin < 0:
        text = f"{what} does not fit: {took}; {least}{size(-margin)} more than {room.phrase}{but}."
        return Answer(False, need, margin, not unknown, basis, text)
    if unknown:
        text = f"Whether {what[0].lower()}{what[1:]} fits is not known: {took} of {room.phrase}{but}."
        return Answer(None, need, math.nan, False, basis, text)
    return Answer(True, need, margin, True, basis, f"{what} fits: {took}; {size(margin)} are left of {room.phrase}.")
