"""`HealthTable`: how boards feel, a row each, read again every few seconds without holding up the kernel.

1. A thread of its own calls ``ask`` and waits between two calls; traits are set on the kernel's own loop. While a cell runs, that loop is
   busy: the table is brought up to date when the cell has ended.
2. What ``ask`` returns comes from boards: it is text, shown as text, without invisible characters, and cut where it is too long.
3. When ``ask`` raises, the last reading stays, growing older, and the sentence of the error stands above it.
4. A saved notebook keeps the last reading as an HTML table beside the live view, brought up to date at most once a minute, and at the end.
"""

from __future__ import annotations

import asyncio
import html
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from edgeprof import units
from edgeprof.analysis.names import shorten
from edgeprof.errors import UsageError
from edgeprof.figures.modules import script, style
from edgeprof.widgets.base import STILL, WIDGET_MIME, compact, somebody_is_there

STATUSES = {
    "ok": ("●", "ok"), "warning": ("▲", "warning"), "error": ("✖", "error"), "busy": ("◆", "busy"), "lost": ("○", "not reachable"),
    "unknown": ("?", "unknown"),
}  # fmt: skip
"""Sign and word of each status; the colour says the same once more."""

SAME_STATUS = {"warn": "warning", "fail": "error", "info": "ok"}
"""Other words for a status."""

TITLES = {
    "model": "Model", "temperature_c": "Temperature", "clock_khz": "Clock", "governor": "Governor", "throttled": "Throttled",
    "memory_available_bytes": "Free memory", "load_1min": "Load", "disk_free_bytes": "Free disk", "uptime_s": "Uptime",
    "power_mode": "Power mode", "runtime": "Runtime", "sensors": "Sensors", "problems": "Problems", "cpu": "CPU", "os": "OS",
}  # fmt: skip
"""Columns in their order. Keys of a row that are not here come after them, in the order they first came."""

_RESERVED = ("board", "status", "at", "age_s")
_MOST_ROWS, _MOST_COLUMNS, _MOST_CHARACTERS = 500, 40, 120
_STILL_EVERY_S = 60.0
_LEAST_REFRESH_S = 0.5

Row = Mapping[str, object]


class HealthTable(anywidget.AnyWidget):
    """A table of boards with live refresh.

    ``refresh_s`` and ``running`` can be read, set and observed from both sides; ``rows`` and ``error`` can be read and observed.
    """

    _esm = compact(script("health") + STILL + (Path(__file__).parent / "health.js").read_text("utf-8"))
    _css = style("health")

    rows: Any = traitlets.List().tag(sync=True)
    columns: Any = traitlets.List().tag(sync=True)
    readings: Any = traitlets.Int(0).tag(sync=True)
    error: Any = traitlets.Unicode("").tag(sync=True)
    asking: Any = traitlets.Bool(False).tag(sync=True)
    running: Any = traitlets.Bool(False).tag(sync=True)
    refresh_s: Any = traitlets.Float(10.0).tag(sync=True)
    theme: Any = traitlets.Enum(("auto", "light", "dark"), "auto").tag(sync=True)
    still: Any = traitlets.Unicode().tag(sync=True)

    def __init__(self, ask: Callable[[], Sequence[Row]], refresh_s: float = 10.0) -> None:
        """Shows what ``ask`` returns, and asks again ``refresh_s`` seconds after each answer; it starts when it is shown, or with `start`.

        A row is a mapping with ``board``, ``status`` (a key of `STATUSES` or `SAME_STATUS`), optionally ``at`` (when it was read, Unix time
        in seconds; now if absent), and cells: text, or numbers whose unit ends the key (``_c``, ``_khz``, ``_bytes``, ``_s``). `TITLES` has
        the keys that are expected, others are shown too; None, NaN or no key is not known. ``ask`` runs in a thread, one call at a time.
        """
        self._ask = ask
        self._wake, self._one_call, self._one_change = threading.Condition(), threading.Lock(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop = _kernel_loop()
        self._closed = False
        self._kept: Any = None
        self._read_at, self._still_at = 0.0, -_STILL_EVERY_S
        try:
            super().__init__(refresh_s=refresh_s)
        except traitlets.TraitError as error:
            raise UsageError(str(error)) from error

    def open(self) -> None:
        """Opens the way to the browser, when somebody is there."""
        if somebody_is_there():
            super().open()

    def start(self) -> None:
        """Asks now, and again and again."""
        self.running = True

    def stop(self) -> None:
        """Asks no more; the last reading stays."""
        self.running = False

    def refresh(self) -> None:
        """Asks once, here and now, and waits for the answer."""
        self._take(*self._asked())

    def close(self) -> None:
        """Ends the thread, keeps the last reading in the notebook and takes the live view away."""
        if not self._closed:
            self._closed = True
            self.running = False
            self._keep(now=True)
        super().close()

    # -- asking --

    def _asked(self) -> tuple[list[dict[str, Any]], list[list[str]], str] | tuple[None, None, str]:
        try:
            with self._one_call:
                rows = list(self._ask())
            return *checked_rows(rows, time.time()), ""
        except Exception as error:  # a thread has nobody above it: what went wrong is shown in the table
            return None, None, shorten(f"{type(error).__name__}: {error}", 400)

    def _work(self) -> None:
        while self._goes_on():
            self._on_loop(self._set_asking)
            answer = self._asked()
            if self._goes_on():
                self._on_loop(self._take, *answer)
            with self._wake:
                if self._goes_on():
                    self._wake.wait(self.refresh_s)

    def _goes_on(self) -> bool:
        return self.running and not self._closed and self._thread is threading.current_thread()

    def _on_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        """Calls it on the kernel's loop; where there is none (a script, a test), here, one at a time."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)
            return
        with self._one_change:
            call(*arguments)

    def _set_asking(self) -> None:
        if not self._closed:
            self.asking = True

    def _take(self, rows: list[dict[str, Any]] | None, columns: list[list[str]] | None, error: str) -> None:
        if self._closed:
            return
        with self.hold_sync():
            self.asking, self.error = False, error
            if rows is not None:
                self._read_at = time.time()
                self.rows, self.columns, self.readings = rows, columns, self.readings + 1
        self._keep()

    @traitlets.observe("running", "refresh_s")
    def _told(self, change: Any) -> None:
        with self._wake:
            if change.name == "running" and self.running:
                self._thread = threading.Thread(target=self._work, name="edgeprof health", daemon=True)
                self._thread.start()
            self._wake.notify_all()
        if change.name == "running" and not self.running:
            self.asking = False
            self._keep(now=True)

    @traitlets.validate("refresh_s")
    def _not_too_often(self, proposal: Any) -> float:
        seconds = float(proposal["value"])
        if not _LEAST_REFRESH_S <= seconds <= 86_400:
            raise traitlets.TraitError(f"refresh_s is {seconds:g}; it can be {_LEAST_REFRESH_S} to 86400 seconds.")
        return seconds

    # -- in the notebook --

    def table(self) -> str:
        """The last reading as an HTML table, everything in it escaped."""
        return still_table(self.rows, self.columns, self.error, self._read_at)

    def __repr__(self) -> str:
        pace = f"read every {self.refresh_s:g} s" if self.running else "stopped"
        return f"<HealthTable of {len(self.rows)} board{'s' * (len(self.rows) != 1)}, {pace}>"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The last reading: all that a front end without widgets needs."""
        return {"text/plain": repr(self), "text/html": self._marked()}, {}

    def _ipython_display_(self) -> None:
        """Shows the live view and, below it, the table that a saved notebook keeps; with nobody there asks once and shows that."""
        from IPython.display import display

        if self.comm is None:
            if not self.rows:
                self.refresh()
            display(*self._repr_mimebundle_()[:1], raw=True)  # type: ignore[no-untyped-call]
            return
        if not self.running and not self._closed:
            self.start()
        self.still = f"ep-health-{self.model_id}"
        spec = {"version_major": 2, "version_minor": 1, "model_id": self.model_id}
        display({"text/plain": repr(self), "text/html": "", WIDGET_MIME: spec}, raw=True)  # type: ignore[no-untyped-call]
        self._kept = display(self._repr_mimebundle_()[0], raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def _marked(self) -> str:
        return f'<div class="{self.still}">{self.table()}</div>' if self.still else self.table()

    def _keep(self, *, now: bool = False) -> None:
        """Brings the table in the notebook up to date: rarely, since each time the notebook counts as changed."""
        if self._kept is None or not (now or time.monotonic() - self._still_at >= _STILL_EVERY_S):
            return
        self._still_at = time.monotonic()
        self._kept.update(self._repr_mimebundle_()[0], raw=True)


def checked_rows(rows: Sequence[Row], now: float) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """``rows`` fit to be shown, and the key and title of each column that some row has: all text, visible, of bounded length and number."""
    keys = dict.fromkeys(str(key) for row in rows[:_MOST_ROWS] for key, value in row.items() if cell_text(str(key), value))
    known = [key for key in TITLES if key in keys]
    others = [key for key in keys if key not in TITLES and key not in _RESERVED]
    columns = [[key, TITLES.get(key) or shorten(key.replace("_", " ").capitalize(), 40)] for key in (*known, *others)][:_MOST_COLUMNS]
    return [_checked_row(row, [key for key, _ in columns], now) for row in rows[:_MOST_ROWS]], columns


def _checked_row(row: Row, keys: Sequence[str], now: float) -> dict[str, Any]:
    at, status = row.get("at"), str(row.get("status"))
    status = SAME_STATUS.get(status, status)
    status = status if status in STATUSES else "unknown"
    age = max(0.0, now - at) if isinstance(at, (int, float)) else 0.0
    cells = {key: text for key in keys if (text := cell_text(key, row.get(key)))}
    return {
        "board": shorten(str(row.get("board", "?")), 60),
        "status": status,
        "sign": STATUSES[status][0],
        "word": STATUSES[status][1],
        "age_s": age if age < 1e9 else None,
        "cells": cells,
    }


def cell_text(key: str, value: object) -> str:
    """A cell as it is shown; empty when it is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    unit = key.rpartition("_")[2]
    if unit not in _NUMBERS or not isinstance(value, (int, float)):
        return shorten(f"{value:.4g}" if isinstance(value, float) else str(value), _MOST_CHARACTERS)
    return _NUMBERS[unit](float(value))


def _span(seconds: float) -> str:
    """``42 s``, ``3 min``, ``2 h``, ``5 d``."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


_NUMBERS: dict[str, Callable[[float], str]] = {
    "c": lambda value: f"{value:.1f} °C", "khz": lambda value: f"{value / 1000:.0f} MHz", "bytes": units.size, "s": _span,
}  # fmt: skip
"""How a number is shown, by the unit that ends its key."""


def still_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Sequence[str]], error: str, read_at: float) -> str:
    """Checked rows as an HTML table, everything escaped: what a saved notebook shows. ``read_at`` is Unix time in seconds."""
    if not rows:
        return f"<p>{html.escape(error or 'The boards have not answered yet.')}</p>"
    titles = ("Board", "Status", "Age", *(title for _, title in columns))
    head = "".join(f"<th style='text-align:left'>{html.escape(title)}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(_cell(text) for text in _texts(row, columns))}</tr>" for row in rows)
    note = f"<p>{html.escape(error)}</p>" if error else ""
    told = f"As of {time.strftime('%Y-%m-%d %H:%M:%S %z', time.localtime(read_at))}. Run the cell to ask the boards again."
    return f"{note}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{told}</p>"


def _cell(text: str) -> str:
    return f"<td style='text-align:left'>{html.escape(text)}</td>"


def _texts(row: Mapping[str, Any], columns: Sequence[Sequence[str]]) -> list[str]:
    age = "–" if row["age_s"] is None else _span(row["age_s"])
    return [row["board"], f"{row['sign']} {row['word']}", age, *(row["cells"].get(key) or "–" for key, _ in columns)]


def _kernel_loop() -> asyncio.AbstractEventLoop | None:
    """The loop of the kernel that this runs in; None outside a kernel."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None
    if getattr(get_ipython(), "kernel", None) is None:
        return None
    try:
        return asyncio.get_running_loop()  # cells run on it
    except RuntimeError:
        return None
