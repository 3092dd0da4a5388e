"""How a board is: `Health`, made from what its agent says, judged line by line; and a table of many boards.

What comes from a board is not to be trusted: types are checked, lists and texts are bounded, control characters are taken out. Texts may
still hold ``<`` and ``&``; whoever writes HTML escapes them, as for any text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from edgeprof import units
from edgeprof.errors import BoardError, EdgeprofError
from edgeprof.records import board_state
from edgeprof.records.board_state import clean, number, numbers, texts

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["ok", "info", "warn", "fail"]

STATUSES: tuple[Status, ...] = ("ok", "info", "warn", "fail")
"""From good to bad."""

HOT_C = 80.0
"""From here on boards of all makers slow down or are about to."""

SHORT_MEMORY = 0.1
"""Share of the memory that should be free."""

FULL_DISK_BYTES = 50_000_000
OLDEST_PYTHON = (3, 8)
TABLE_COLUMNS = (
    "board", "status", "model", "cpu", "os", "kernel", "governor", "clock_khz", "temperature_c", "throttled", "memory_available_bytes",
    "disk_free_bytes", "load_1min", "uptime_s", "power_mode", "python", "runtime", "providers", "sensors", "problems",
)  # fmt: skip
"""Columns of `health_table`."""

_NUMBERS = ("clock_khz", "temperature_c", "memory_available_bytes", "disk_free_bytes", "load_1min", "uptime_s")
_MOST_RUNTIMES = 8
_MOST_SENSORS = 64
_MOST_PROBLEMS = 32
_MOST_DEPTH = 4
_MOST_ENTRIES = 256
_LONG = 400
_NOT_KNOWN = "not known"


class Row(NamedTuple):
    """One thing about a board: ``value`` and its ``unit`` for programs, ``text`` for people, and what to do when it is not well."""

    item: str
    value: Any
    unit: str
    text: str
    status: Status
    advice: str = ""


@dataclass(frozen=True)
class Health:
    """How a board was at one time. ``when`` is this machine's time: the clock of a board may be wrong.

    ``environment`` is the fingerprint (docs/health.md), ``runtimes`` version and providers or an error by name, ``sensors`` names,
    ``problems`` what hinders others as ``(id, sentence)``. ``in_use`` says who measures on it now: empty is nobody, None not known.
    ``error`` is why the board could not be asked; then all else is empty.
    """

    name: str
    when: datetime
    environment: Mapping[str, Any] = field(default_factory=dict)
    runtimes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sensors: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    in_use: str | None = None
    error: str = ""

    @classmethod
    def of(cls, name: str, told: object, when: datetime | None = None) -> Health:
        """What an agent said (see `edgeprof.boards.local.LocalBoard.health`); what makes no sense in it is left out."""
        if not isinstance(told, Mapping):
            return cls.unreachable(name, "It said something that makes no sense. Look which edgeprof it has.", when)
        environment = _plain(told.get("environment"), _MOST_DEPTH)
        return cls(
            name=clean(name),
            when=when or datetime.now(UTC),
            environment=environment if isinstance(environment, dict) else {},
            runtimes=_runtimes(told.get("runtimes")),
            sensors=_sensors(told.get("sensors")),
            problems=_problems(told.get("problems")),
            in_use=_in_use(told["in_use"]) if "in_use" in told else None,
        )

    @classmethod
    def unreachable(cls, name: str, sentence: str, when: datetime | None = None) -> Health:
        """Of a board that could not be asked, and why."""
        return cls(name=clean(name), when=when or datetime.now(UTC), error=clean(sentence, _LONG) or "It did not say how it is.")

    @property
    def reached(self) -> bool:
        """True when the board could be asked."""
        return not self.error

    @property
    def worst(self) -> Status:
        """The worst status of all rows."""
        return max((row.status for row in self.rows()), key=STATUSES.index)

    @property
    def throttled(self) -> bool | None:
        """Whether the board slows itself down now, for heat or for a weak supply; None when it has no signs of that to read."""
        slowed, weak = board_state.slowed_down(self.environment), board_state.under_voltage(self.environment)
        return None if slowed is None and weak is None else bool(slowed) or bool(weak)

    def rows(self) -> list[Row]:
        """All there is to say, in the order to read it; what the board does not tell has no row, unless that is worth knowing."""
        if self.error:
            return [Row("board", None, "", "not reached", "fail", self.error)]
        return [row for make in _ROWS for row in make(self)]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain types."""
        return {
            "board": self.name,
            "when": self.when.isoformat(timespec="seconds"),
            "reached": self.reached,
            "status": self.worst,
            "in_use": self.in_use,
            "rows": [row._asdict() for row in self.rows()],
            "environment": dict(self.environment),
            "runtimes": {name: dict(told) for name, told in self.runtimes.items()},
            "sensors": list(self.sensors),
            "problems": [{"id": key, "text": text} for key, text in self.problems],
        }


def ask(name: str, health: Callable[[], object]) -> Health:
    """What a board says of itself when ``health`` asks it; a board that cannot be asked is a `Health` too, with the reason."""
    try:
        return Health.of(name, health())
    except EdgeprofError as error:
        return Health.unreachable(name, str(error))
    except Exception as error:  # one board must not hide the others
        return Health.unreachable(name, f"It could not be asked: {type(error).__name__}: {error}.")


def health_of(board: object) -> Callable[[], object]:
    """The way to ask this board; BoardError, once asked, for one that has none, such as a recording."""

    def none() -> object:
        raise BoardError("It cannot be asked: it is a recording or a simulation, not a board.")

    return getattr(board, "health", none)


def health_table(boards: Sequence[Health]) -> pd.DataFrame:
    """One row a board, columns `TABLE_COLUMNS`. What is not known is NaN in columns of numbers and None in others."""
    import pandas as pd

    table = pd.DataFrame([_table_row(board) for board in boards], columns=list(TABLE_COLUMNS), dtype=object)
    return table.astype(dict.fromkeys(_NUMBERS, "float64"))


def _table_row(board: Health) -> dict[str, Any]:
    state = board.environment
    slowed = board_state.slowed_down(state)
    signs = [*(["under-voltage"] if board_state.under_voltage(state) else []), *(slowed or ())]
    named = list(board.runtimes.items())
    return {
        "board": board.name,
        "status": board.worst,
        "model": clean(state.get("board_model")) or None,
        "cpu": clean(state.get("cpu_model")) or None,
        "os": clean(state.get("os")) or None,
        "kernel": clean(state.get("kernel")) or None,
        "governor": ", ".join(board_state.governors(state)) or None,
        "clock_khz": max(numbers(state.get("clock_khz")), default=math.nan),
        "temperature_c": max(temperatures(board).values(), default=math.nan),
        "throttled": None if board.throttled is None else ", ".join(signs) or "no",
        "memory_available_bytes": memory(board).get("MemAvailable", math.nan),
        "disk_free_bytes": _nan(board_state.disk_free(state)),
        "load_1min": _nan(number(state.get("load_1min"))),
        "uptime_s": _nan(number(state.get("uptime_s"))),
        "power_mode": clean(state.get("power_mode")) or None,
        "python": clean(state.get("python")) or None,
        "runtime": ", ".join(f"{name} {told.get('version', 'does not work')}" for name, told in named) or None,
        "providers": ", ".join(dict.fromkeys(p for _, told in named for p in told.get("providers", ()))) or None,
        "sensors": (", ".join(board.sensors) or "none") if board.reached else None,
        "problems": board.error or "; ".join(text for _, text in board.problems) or None,
    }


def temperatures(board: Health) -> dict[str, float]:
    """°C by zone."""
    return board_state.by_name(board.environment.get("temperature_c"), least=-273.15, most=1000.0)


def memory(board: Health) -> dict[str, float]:
    """Bytes by their name in ``/proc/meminfo``."""
    return board_state.by_name(board.environment.get("memory_bytes"))


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


# Rows


def _in_use_row(health: Health) -> Iterator[Row]:
    if health.in_use is not None:
        yield Row("in use", health.in_use or None, "", health.in_use or "no", "info" if health.in_use else "ok")


def _identity(health: Health) -> Iterator[Row]:
    state = health.environment
    for item, key in (("model", "board_model"), ("cpu", "cpu_model"), ("os", "os"), ("kernel", "kernel"), ("JetPack", "jetpack")):
        text = clean(state.get(key))
        if text:
            yield Row(item, text, "", text, "ok")
    if state.get("virtual_machine") is True:
        advice = "Neighbours share its processor; measure on a real board for numbers that hold there."
        yield Row("virtual machine", True, "", "yes", "info", advice)


def _clocks(health: Health) -> Iterator[Row]:
    state = health.environment
    governors = board_state.governors(state)
    fixed = board_state.clock_is_fixed(state)
    if fixed is None:
        yield Row("governor", None, "", _NOT_KNOWN, "info", "The system does not say how clocks are governed.")
    else:
        text = ", ".join(governors) + (" (clock held)" if fixed and not {"performance", "userspace"}.issuperset(governors) else "")
        advice = (
            ""
            if fixed
            else "Fix the clock for steadier numbers: sudo cpupower frequency-set -g performance (on a Jetson: sudo jetson_clocks)."
        )
        yield Row("governor", ", ".join(governors), "", text, "ok" if fixed else "warn", advice)
    now, most = max(numbers(state.get("clock_khz")), default=None), max(numbers(state.get("clock_max_khz")), default=None)
    if now is not None:
        of = f" of {_hertz(most)}" if most else ""
        yield Row("clock", now, "kHz", f"{_hertz(now)}{of}", "ok")


def _gpu(health: Health) -> Iterator[Row]:
    told = health.environment.get("gpu")
    if not isinstance(told, Mapping):
        return
    load, clock = board_state.gpu_load(health.environment), number(told.get("clock_khz"))
    if load is not None:
        busy = load >= board_state.BUSY_GPU
        yield Row("GPU load", load, "1", f"{load:.0%}", "warn" if busy else "ok", "End what uses the GPU before measuring." if busy else "")
    if clock is not None:
        governor = clean(told.get("governor"), 40)
        yield Row("GPU clock", clock, "kHz", _hertz(clock) + (f" ({governor})" if governor else ""), "ok")


def _heat(health: Health) -> Iterator[Row]:
    zones = temperatures(health)
    if zones:
        zone, hottest = max(zones.items(), key=lambda item: item[1])
        advice = "It is about to slow down, if it does not yet: let it cool." if hottest >= HOT_C else ""
        yield Row("temperature", hottest, "°C", f"{hottest:.1f} °C ({zone})", "warn" if advice else "ok", advice)
    slowed = board_state.slowed_down(health.environment)
    if slowed is not None:
        advice = "It slows itself down now: let it cool, or cool it better." if slowed else ""
        yield Row("throttled", bool(slowed), "", ", ".join(slowed) or "no", "warn" if slowed else "ok", advice)
    past = sorted(board_state.throttle_flags(health.environment, "since_boot") or ())
    if past:
        advice = "It was so at some time since it started; a restart forgets that."
        yield Row("since boot", ", ".join(past), "", ", ".join(past), "info", advice)
    counts = board_state.throttle_counts(health.environment)
    if counts:
        total = int(sum(counts.values()))
        yield Row("throttle count", total, "1", f"{total} since boot", "info" if total else "ok")


def _power(health: Health) -> Iterator[Row]:
    state = health.environment
    weak = board_state.under_voltage(state)
    if weak is not None:
        advice = "Its supply is too weak: use a stronger one or a shorter cable." if weak else ""
        yield Row("supply", "under-voltage" if weak else "ok", "", "under-voltage" if weak else "ok", "warn" if weak else "ok", advice)
    source = state.get("power_source")
    if source in ("battery", "mains"):
        advice = "On battery the system may hold clocks down: plug it in." if source == "battery" else ""
        yield Row("power source", source, "", str(source), "info" if advice else "ok", advice)
    mode = clean(state.get("power_mode"), 40)
    if mode:
        yield Row("power mode", mode, "", mode, "ok")


def _space(health: Health) -> Iterator[Row]:
    known, state = memory(health), health.environment
    free, total = known.get("MemAvailable"), known.get("MemTotal")
    if free is not None:
        advice = "Little is free: large models may not load." if total and free < SHORT_MEMORY * total else ""
        text = f"{units.size(free)} free" + (f" of {units.size(total)}" if total else "")
        yield Row("memory", free, "B", text, "warn" if advice else "ok", advice)
    swap, left = known.get("SwapTotal"), known.get("SwapFree")
    if swap and left is not None and left <= swap:
        yield Row("swap", swap - left, "B", f"{units.size(swap - left)} used of {units.size(swap)}", "ok")
    short = board_state.pressure(state, "memory")
    if short is not None and short >= board_state.SHORT_PERCENT:
        yield Row("memory pressure", short, "%", f"programs wait for memory {short:.0f} % of the time", "warn", "End some of them.")
    yield from _disk(state)


def _disk(state: Mapping[str, Any]) -> Iterator[Row]:
    free, total = board_state.disk_free(state), number(state.get("disk_total_bytes"))
    if free is None:
        return
    status: Status = "fail" if free < FULL_DISK_BYTES else "warn" if free < board_state.LEAST_DISK_BYTES else "ok"
    advice = "" if status == "ok" else "Make room: models, runtimes and traces need it."
    yield Row("disk", free, "B", f"{units.size(free)} free" + (f" of {units.size(total)}" if total else ""), status, advice)


def _others(health: Health) -> Iterator[Row]:
    state = health.environment
    known, waited = board_state.load(state), board_state.pressure(state, "cpu")
    advice = "End other work before measuring."
    if known is not None:
        busy = board_state.is_loaded(state)
        yield Row("load", known[0], "1", f"{known[0]:.2f} on {known[1]} CPUs", "warn" if busy else "ok", advice if busy else "")
    if waited is not None:
        busy = waited >= board_state.BUSY_PERCENT
        text = f"tasks waited for a CPU {waited:.0f} % of the time"
        yield Row("CPU pressure", waited, "%", text, "warn" if busy else "ok", advice if busy else "")
    running = board_state.busy_processes(state)
    if running:
        busy = bool(board_state.busy_words(state))
        text = ", ".join(f"{name} {share:.2f}" for name, share in running)
        yield Row("others", text, "CPUs", f"{text} CPUs", "warn" if busy else "info", advice if busy else "")


def _uptime(health: Health) -> Iterator[Row]:
    seconds = number(health.environment.get("uptime_s"), most=1e11)
    if seconds is not None:
        yield Row("uptime", seconds, "s", _time(seconds), "ok")


def _software(health: Health) -> Iterator[Row]:
    version = clean(health.environment.get("python"), 40)
    if version:
        parts = tuple(int(part) for part in version.split(".")[:2] if part.isascii() and part.isdigit())
        old = len(parts) == 2 and parts < OLDEST_PYTHON
        advice = "The agent needs Python {}.{} or newer.".format(*OLDEST_PYTHON) if old else ""
        yield Row("python", version, "", version, "fail" if old else "ok", advice)
    if not health.runtimes:
        yield Row("runtime", None, "", _NOT_KNOWN, "info", "The agent told of no runtime.")
    for name, told in health.runtimes.items():
        if "error" in told:
            yield Row(name, None, "", "does not work", "fail", told["error"])
        else:
            yield Row(name, told["version"], "", f"{told['version']}: {', '.join(told['providers']) or 'no providers'}", "ok")


def _sensing(health: Health) -> Iterator[Row]:
    text = ", ".join(health.sensors) or "none"
    yield Row("sensors", list(health.sensors), "", text, "ok" if health.sensors else "info")
    for key, sentence in health.problems:
        yield Row("sensor problem", key, "", sentence, "info" if key.endswith("-info") else "warn")


_ROWS = (_in_use_row, _identity, _clocks, _gpu, _heat, _power, _space, _others, _uptime, _software, _sensing)


def _hertz(khz: float) -> str:
    return f"{units.significant(khz / 1e6, 3)} GHz" if khz >= 1e6 else f"{units.significant(khz / 1e3, 3)} MHz"


def _time(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86400)
    hours, minutes = rest // 3600, rest % 3600 // 60
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min"


# What an agent says, made safe


def _plain(value: object, depth: int) -> Any:
    """``value`` as plain types of bounded size, or None."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int | float):
        return value if number(value, least=-1e18) is not None else None
    if depth and isinstance(value, list | tuple):
        return [_plain(item, depth - 1) for item in value[:_MOST_ENTRIES]]
    if depth and isinstance(value, Mapping):
        entries = ((clean(key, 80), _plain(item, depth - 1)) for key, item in list(value.items())[:_MOST_ENTRIES])
        return {key: item for key, item in entries if key and item is not None}
    return None


def _runtimes(told: object) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, about in list(told.items())[:_MOST_RUNTIMES] if isinstance(told, Mapping) else ():
        name = clean(key, 40)
        if name and isinstance(about, Mapping):
            version, error = clean(about.get("version"), 40), clean(about.get("error"), _LONG)
            works = bool(version) and not error
            found[name] = (
                {"version": version, "providers": list(texts(about.get("providers"), 80)[:32])}
                if works
                else {"error": error or "It has no version."}
            )
    return found


def _sensors(told: object) -> tuple[str, ...]:
    listed = told[:_MOST_SENSORS] if isinstance(told, list | tuple) else ()
    names = (clean(sensor.get("name"), 40) for sensor in listed if isinstance(sensor, Mapping))
    return tuple(dict.fromkeys(name for name in names if name))


def _problems(told: object) -> tuple[tuple[str, str], ...]:
    listed = told[:_MOST_PROBLEMS] if isinstance(told, list | tuple) else ()
    pairs = ((clean(p[0], 80), clean(p[1], _LONG)) for p in listed if isinstance(p, list | tuple) and len(p) == 2)
    return tuple((key, text) for key, text in pairs if key and text)


def _in_use(told: object) -> str:
    """By whom, as far as the board says; empty when by nobody. An empty mapping is a holder of whom nothing is known."""
    if told is None or told is False:
        return ""
    about = told if isinstance(told, Mapping) else {"who": told}
    who, since_s = clean(about.get("who"), 80), number(about.get("held_s"))
    return (f"by {who}" if who else "by somebody") + (f" for {_time(since_s)}" if since_s is not None else "")
