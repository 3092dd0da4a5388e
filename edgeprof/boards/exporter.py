"""Health of boards for Prometheus: `serve` answers scrapes on an address of this machine; nothing runs on the boards for it.

Boards are asked when a scrape comes, each in a thread of its own and at most once in so many seconds. A scrape waits for the answers, but
not longer than `SCRAPE_WAITS_S`, and not again for one that is late already; a board that is late shows what it said last, until it has
been silent for `SILENT_S`.
Names and units follow https://prometheus.io/docs/practices/naming/. What a board does not tell has no sample: nothing is put in its place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeprof.boards.health import Health, ask, memory, temperatures
from edgeprof.errors import MissingExtra, UsageError
from edgeprof.records import board_state
from edgeprof.records.board_state import clean, number, numbers

if TYPE_CHECKING:
    from prometheus_client import Metric

PORT = 9464
EVERY_S = 30.0
SCRAPE_WAITS_S = 5.0
"""Prometheus itself gives up after 10 s unless told otherwise."""

SILENT_S = 10.0
"""A board that has been asked and says nothing for so long is down."""

_PREFIX = "edgeprof_board_"
_INFO = ("model", "cpu", "os", "kernel", "machine", "governor", "power_mode", "python", "runtime", "providers")


class Watched:
    """One board that is asked again and again, in a thread that ends with the answer. At most one is under way."""

    def __init__(self, name: str, health: Callable[[], object]) -> None:
        self.name = clean(name)
        self._health = health
        self._lock = threading.Lock()
        self._last: Health | None = None
        self._asked_s = -float("inf")
        self._thread: threading.Thread | None = None

    def refresh(self, every_s: float) -> None:
        """Asks, unless that was done within ``every_s`` or is being done."""
        with self._lock:
            if self._thread is None and time.monotonic() - self._asked_s >= every_s:
                self._asked_s = time.monotonic()
                self._thread = threading.Thread(target=self._ask, name=f"edgeprof-health-{self.name}", daemon=True)
                self._thread.start()

    def wait(self, seconds: float) -> None:
        """Waits for the answer that is under way, if there is one, until ``seconds`` after it was asked for."""
        with self._lock:
            thread, left_s = self._thread, self._asked_s + seconds - time.monotonic()
        if thread is not None:
            thread.join(max(0.0, left_s))

    def health(self, silent_s: float) -> Health:
        """The last answer; that it is down when it has not answered for ``silent_s``, or has never answered."""
        with self._lock:
            silent = self._thread is not None and time.monotonic() - self._asked_s >= silent_s
            if self._last is None or silent:
                return Health.unreachable(self.name, "It has been asked and says nothing. Look whether it is up.")
            return self._last

    def _ask(self) -> None:
        found = ask(self.name, self._health)
        with self._lock:
            self._last, self._thread = found, None


class BoardCollector:
    """What `prometheus_client` collects from: all boards at once. ``boards``: for each name, what asks the board how it is."""

    def __init__(
        self,
        boards: Mapping[str, Callable[[], object]],
        every_s: float = EVERY_S,
        scrape_waits_s: float = SCRAPE_WAITS_S,
        silent_s: float = SILENT_S,
    ) -> None:
        self._watched = [Watched(name, health) for name, health in boards.items()]
        self._every_s, self._scrape_waits_s, self._silent_s = every_s, scrape_waits_s, silent_s

    def describe(self) -> Iterator[Metric]:
        """Nothing: what there is depends on the boards, and asking them takes time."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All metrics of all boards."""
        for board in self._watched:
            board.refresh(self._every_s)
        for board in self._watched:
            board.wait(self._scrape_waits_s)
        yield from metrics([board.health(self._silent_s) for board in self._watched])


class Exporter:
    """A server that answers scrapes until it is closed."""

    def __init__(self, server: Any, thread: threading.Thread) -> None:
        self._server, self._thread = server, thread

    @property
    def address(self) -> str:
        """``host:port`` that it listens on; for port 0 the one that the system chose."""
        host, port = self._server.server_address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        """Stops listening. Boards that are being asked are left to their answer."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def serve(
    boards: Mapping[str, Callable[[], object]],
    address: str = "127.0.0.1",
    port: int = PORT,
    every_s: float = EVERY_S,
    scrape_waits_s: float = SCRAPE_WAITS_S,
) -> Exporter:
    """A running `Exporter`. Whoever can reach ``address`` can read how the boards are: it is this machine alone unless told otherwise.

    Raises:
        MissingExtra: prometheus-client is not installed.
        UsageError: the address or port cannot be used.
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError as error:
        text = 'Metrics for Prometheus need prometheus-client, which is not installed: pip install "edgeprof[metrics]".'
        raise MissingExtra(text) from error
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BoardCollector(boards, every_s, scrape_waits_s))
    try:
        return Exporter(*start_http_server(port, address, registry))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"Metrics cannot be served on {address}:{port}: {reason}. Give another address or port with --listen.") from error


def metrics(boards: Sequence[Health]) -> Iterator[Metric]:
    """The metrics of some boards."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    yield _gauge("up", "Whether the board could be asked how it is.", boards, lambda board: float(board.reached))
    for name, text, read in _GAUGES:
        yield _gauge(name, text, [board for board in boards if board.reached], read)
    zones = GaugeMetricFamily(f"{_PREFIX}temperature_celsius", "Temperature of a zone.", labels=("board", "zone"))
    clocks = GaugeMetricFamily(f"{_PREFIX}clock_hertz", "Clock of a CPU now.", labels=("board", "cpu"))
    throttled = CounterMetricFamily(f"{_PREFIX}throttle_events", "How often a CPU was slowed down since boot.", labels=("board", "cpu"))
    waits = GaugeMetricFamily(f"{_PREFIX}pressure_ratio", "Share of the last 10 s in which tasks waited.", labels=("board", "resource"))
    info = GaugeMetricFamily(f"{_PREFIX}info", "What the board is; always 1.", labels=("board", *_INFO))
    for board in boards:
        for zone, celsius in temperatures(board).items():
            zones.add_metric((board.name, zone), celsius)
        for cpu, khz in enumerate(numbers(board.environment.get("clock_khz"))):
            clocks.add_metric((board.name, str(cpu)), khz * 1000)
        for core, count in board_state.throttle_counts(board.environment).items():
            throttled.add_metric((board.name, core.removeprefix("cpu")), count)
        for resource in ("cpu", "memory"):
            share = board_state.pressure(board.environment, resource)
            if share is not None:
                waits.add_metric((board.name, resource), share / 100)
        if board.reached:
            info.add_metric((board.name, *_about(board)), 1)
    yield from (zones, clocks, throttled, waits, info)


def _gauge(name: str, text: str, boards: Sequence[Health], read: Callable[[Health], float | bool | None]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(_PREFIX + name, text, labels=("board",))
    for board in boards:
        value = read(board)
        if value is not None:
            family.add_metric((board.name,), float(value))
    return family


def _about(board: Health) -> list[str]:
    state = board.environment
    found = {
        **{key: clean(state.get(key)) for key in ("os", "kernel", "machine", "power_mode", "python")},
        "model": clean(state.get("board_model")),
        "cpu": clean(state.get("cpu_model")),
        "governor": ",".join(board_state.governors(state)),
        "runtime": ",".join(f"{name} {told['version']}" for name, told in board.runtimes.items() if "version" in told),
        "providers": ",".join(dict.fromkeys(p for told in board.runtimes.values() for p in told.get("providers", ()))),
    }
    return [found[key] for key in _INFO]


_GAUGES: tuple[tuple[str, str, Callable[[Health], float | bool | None]], ...] = (
    ("health_timestamp_seconds", "When it last said how it is, by this machine's clock.", lambda b: b.when.timestamp()),
    ("busy", "Whether somebody measures on it now.", lambda b: None if b.in_use is None else bool(b.in_use)),
    ("throttled", "Whether it slows itself down now, for heat or a weak supply.", lambda b: b.throttled),
    ("under_voltage", "Whether its supply is too weak now.", lambda b: board_state.under_voltage(b.environment)),
    ("clock_fixed", "Whether the CPU clock is held.", lambda b: board_state.clock_is_fixed(b.environment)),
    ("memory_available_bytes", "Memory that can be taken without swapping.", lambda b: memory(b).get("MemAvailable")),
    ("memory_total_bytes", "All memory.", lambda b: memory(b).get("MemTotal")),
    ("swap_free_bytes", "Swap that is free.", lambda b: memory(b).get("SwapFree")),
    ("disk_free_bytes", "Free where the agent keeps things.", lambda b: board_state.disk_free(b.environment)),
    ("disk_total_bytes", "All of that disk.", lambda b: number(b.environment.get("disk_total_bytes"))),
    ("load1", "Load over one minute.", lambda b: number(b.environment.get("load_1min"))),
    ("gpu_load_ratio", "How busy the GPU is, 0 to 1.", lambda b: board_state.gpu_load(b.environment)),
    ("uptime_seconds", "Time since it started.", lambda b: number(b.environment.get("uptime_s"))),
    ("sensor_problems", "Sensors that are there and cannot be used.", lambda b: float(sum(not k.endswith("-info") for k, _ in b.problems))),
)
"""Name after the prefix, help, and how it is read; None is not known."""
