"""What a board can do at most, measured: `Peaks`, one compute ceiling a precision and one memory ceiling, with where they come from.

`edgeprof.peaks.board_peaks` measures them; `edgeprof.analysis.roofline` judges layers by them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeprof.records.board_state import clean
from edgeprof.records.context import RunContext

SCHEMA_VERSION = 1
MOST_CEILINGS = 16
MOST_NOTES = 16
_LONG = 400
_MOST = 1e9
"""No board does more GFLOP/s or GB/s; a larger number is a mistake."""

_MACHINE = (
    "machine_id", "board_model", "cpu_model", "cpu_features", "machine", "cpus", "affinity", "governor", "clock_min_khz", "clock_max_khz",
    "power_mode", "kernel", "simulation",
)  # fmt: skip
"""What of a fingerprint decides how fast the board is; what changes from minute to minute (temperature, load) is not among it."""

Kind = Literal["compute", "memory"]
Source = Literal["board", "profile"]


@dataclass(frozen=True)
class Ceiling:
    """One line of a roof. ``value`` is GFLOP/s of a ``compute`` ceiling, GB/s of a ``memory`` ceiling; ``low`` and ``high`` are its 95 %
    interval, NaN where there is none.

    ``precision`` is that of the layers under it, empty: of all. ``reached_by`` says in words what reached it. ``source`` is ``"board"``
    when it was measured to find the board's peak, ``"profile"`` when it is only the highest that layers of one profile reached.
    """

    kind: Kind
    value: float
    low: float = math.nan
    high: float = math.nan
    precision: str = ""
    reached_by: str = ""
    source: Source = "board"

    @property
    def unit(self) -> str:
        """Of ``value``."""
        return "GFLOP/s" if self.kind == "compute" else "GB/s"

    @property
    def label(self) -> str:
        """``float32`` or ``memory``: what stands beside its line."""
        return "memory" if self.kind == "memory" else self.precision or "all layers"

    @property
    def upper(self) -> float:
        """The upper end of the interval, or the value itself where there is none."""
        return self.value if math.isnan(self.high) else self.high


@dataclass(frozen=True)
class Peaks:
    """What a runtime's kernels reached at most on one board with one setting (docs/peaks.md); not what a data sheet promises.

    ``gflops`` has a ceiling a precision (float32, int8, float16). ``machine`` is a digest of what the board is (see `machine_of`), ``cpu``
    its processor in words. ``measured_at`` is this machine's time. ``notes`` are sentences that a reader must know.
    """

    gflops: Mapping[str, Ceiling]
    memory_gb_s: Ceiling
    board: str = "local"
    machine: str = ""
    cpu: str = ""
    runtime: str = ""
    runtime_version: str = ""
    providers: tuple[str, ...] = ()
    provider_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    threads: int | None = 1
    cpus: tuple[int, ...] | None = None
    measured_at: str = ""
    notes: tuple[str, ...] = ()

    @property
    def ceilings(self) -> tuple[Ceiling, ...]:
        """All of them, the highest compute ceiling first, memory last."""
        return (*sorted(self.gflops.values(), key=lambda one: -one.value), self.memory_gb_s)

    def ridge(self, precision: str = "float32") -> float:
        """FLOP/B where the ceiling of this precision meets that of memory; NaN where it was not measured."""
        ceiling = self.gflops.get(precision)
        return math.nan if ceiling is None else ceiling.value / self.memory_gb_s.value

    @property
    def setting(self) -> str:
        """``pi5, onnxruntime 1.32.0, CPUExecutionProvider, 4 threads``."""
        threads = "" if self.threads is None else f"{self.threads} thread{'s' * (self.threads != 1)}"
        cpus = "" if self.cpus is None else f"CPUs {', '.join(map(str, self.cpus))}"
        runtime = f"{self.runtime} {self.runtime_version}".strip()
        return ", ".join(filter(None, [self.board, runtime, *self.providers, threads, cpus]))

    def why_not(self, context: RunContext) -> str:
        """Why these cannot judge a profile with this context, as a part of a sentence; empty when they can."""
        for name, ours, theirs in (
            ("board", self.board, context.board),
            ("runtime", self.runtime, context.runtime),
            ("providers", self.providers, context.providers),
            ("threads", self.threads, context.threads),
        ):
            if ours != theirs and theirs not in ("", (), None):  # an imported profile may not say
                return f"they were measured with {name} {_shown(ours)}, the profile with {_shown(theirs)}"
        return ""

    def doubts(self, context: RunContext) -> list[str]:
        """Sentences on what may differ between these and a profile that they can judge."""
        found = []
        if self.machine != machine_of(context.fingerprint):
            found.append("The peaks were measured while the board, its clocks or its kernel were others than at the time of the profile.")
        if self.runtime_version != context.runtime_version:
            found.append(
                f"The peaks are those of {self.runtime} {self.runtime_version}, the profile was made with {context.runtime_version}."
            )
        if self.cpus != context.cpus:
            found.append("The peaks were measured with other pinned CPUs than the profile.")
        return found

    def to_json(self) -> dict[str, Any]:
        """All of it as plain types; numbers that are not known are None."""
        return {
            "schema_version": SCHEMA_VERSION,
            **{name: getattr(self, name) for name in _TEXTS},
            "providers": list(self.providers),
            "provider_options": {name: dict(options) for name, options in self.provider_options.items()},
            "threads": self.threads,
            "cpus": None if self.cpus is None else list(self.cpus),
            "ceilings": [_ceiling_json(ceiling) for ceiling in self.ceilings],
            "ridge_flop_per_byte": {precision: self.ridge(precision) for precision in self.gflops},
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, told: object) -> Peaks:
        """What `to_json` gave, read with care: it may come from a file that anyone could write. ValueError when it makes no sense."""
        if not isinstance(told, dict) or told.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"expected peaks of schema version {SCHEMA_VERSION}")
        listed = told.get("ceilings")
        if not isinstance(listed, list) or not 0 < len(listed) <= MOST_CEILINGS:
            raise ValueError(f"expected 1 to {MOST_CEILINGS} ceilings")
        ceilings = [_ceiling(one) for one in listed]
        compute = {one.precision: one for one in ceilings if one.kind == "compute"}
        memory = [one for one in ceilings if one.kind == "memory"]
        if len(memory) != 1 or len(compute) != len(ceilings) - 1 or "" in compute:
            raise ValueError("expected one memory ceiling, and a compute ceiling a precision")
        threads, cpus, options = told.get("threads"), told.get("cpus"), told.get("provider_options")
        notes = _texts(told.get("notes"), "notes")
        return cls(
            gflops=compute,
            memory_gb_s=memory[0],
            providers=_texts(told.get("providers"), "providers"),
            provider_options=_options(options),
            threads=None if threads is None else _whole(threads, "threads"),
            cpus=None if cpus is None else tuple(_whole(cpu, "cpus") for cpu in _listed(cpus, "cpus", 4096)),
            notes=notes,
            **{name: _text(told.get(name), name) for name in _TEXTS},
        )


_TEXTS = ("board", "machine", "cpu", "runtime", "runtime_version", "measured_at")


def machine_of(fingerprint: Mapping[str, object]) -> str:
    """A digest of what decides how fast the board of this fingerprint is; the same while nothing of that changes."""
    told = {name: fingerprint[name] for name in _MACHINE if fingerprint.get(name) is not None}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) or "the runtime's own" if isinstance(value, tuple) else str(value)


def _ceiling_json(ceiling: Ceiling) -> dict[str, Any]:
    fields = {name: getattr(ceiling, name) for name in ("kind", "label", "precision", "unit", "reached_by", "source")}
    numbers = {name: getattr(ceiling, name) for name in ("value", "low", "high")}
    return fields | {name: number if math.isfinite(number) else None for name, number in numbers.items()}


def _ceiling(told: object) -> Ceiling:
    if not isinstance(told, dict) or told.get("kind") not in ("compute", "memory"):
        raise ValueError("expected a compute or a memory ceiling")
    value, low, high = (_number(told.get(name)) for name in ("value", "low", "high"))
    if math.isnan(value) or low > value or high < value:
        raise ValueError("expected a number above 0 within its interval")
    precision, reached_by = (_text(told.get(name), name) for name in ("precision", "reached_by"))
    return Ceiling(told["kind"], value, low, high, precision, reached_by)


def _number(value: object) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST:
        raise ValueError("expected a number above 0")
    return float(value)


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 20:
        raise ValueError(f"{name}: expected whole numbers")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or clean(value, _LONG) != value:
        raise ValueError(f"{name}: expected a text")
    return value


def _texts(values: object, name: str) -> tuple[str, ...]:
    return tuple(_text(value, name) for value in _listed(values, name, MOST_NOTES))


def _listed(values: object, name: str, most: int) -> list[Any]:
    if not isinstance(values, list) or len(values) > most:
        raise ValueError(f"{name}: expected a list of at most {most}")
    return values


def _options(values: object) -> dict[str, dict[str, str]]:
    if not isinstance(values, dict) or len(values) > MOST_NOTES:
        raise ValueError("provider_options: expected a mapping")
    found: dict[str, dict[str, str]] = {}
    for provider, options in values.items():
        if not isinstance(options, dict) or len(options) > MOST_NOTES:
            raise ValueError("provider_options: expected mappings")
        found[_text(provider, "provider")] = {_text(key, "option"): _text(value, "option") for key, value in options.items()}
    return found
