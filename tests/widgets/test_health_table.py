"""The table of boards: asks in a thread, ends it, shows what boards say as text."""

import queue
import threading
import time

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from edgeprof.errors import UsageError
from edgeprof.widgets import HealthTable
from edgeprof.widgets.health import checked_rows

HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[2J" + "x" * 5000


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "edgeprof health"]


def test_rows_are_text_of_bounded_length_with_a_known_status():
    rows, columns = checked_rows(
        [{"board": HOSTILE, "status": HOSTILE, "model": HOSTILE, "governor": None, "zeta": 3, "at": 90.0}, {"board": "b", "status": "ok"}],
        100.0,
    )
    assert columns == [["model", "Model"], ["zeta", "Zeta"]], "known columns first, none for what nobody knows"
    assert rows[0]["status"] == "unknown" and rows[0]["age_s"] == 10.0 and rows[1]["age_s"] == 0.0
    assert rows[0]["cells"]["zeta"] == "3" and rows[1]["cells"] == {}
    assert all(len(text) <= 120 and text.isprintable() for text in (rows[0]["board"], rows[0]["cells"]["model"]))
    numbers = {
        "temperature_c": 52.04,
        "clock_khz": 2_400_000,
        "memory_available_bytes": 3.1e9,
        "uptime_s": 300_000,
        "load_1min": 0.12,
        "at": 0,
    }
    rows, columns = checked_rows([{"board": "a", "status": "warn", "disk_free_bytes": float("nan"), **numbers}], 10.0)
    assert [title for _, title in columns] == ["Temperature", "Clock", "Free memory", "Load", "Uptime"]
    assert list(rows[0]["cells"].values()) == ["52.0 °C", "2400 MHz", "3.10 GB", "0.12", "3 d"] and rows[0]["word"] == "warning"
    many, wide = checked_rows([{"board": str(i), **{f"k{j}": j for j in range(100)}} for i in range(2000)], 0.0)
    assert len(many) == 500 and len(wide) == 40


def test_the_thread_asks_until_it_is_stopped_and_a_change_is_taken_at_once():
    answers, seen = queue.Queue(), queue.Queue()
    table = HealthTable(answers.get, refresh_s=3600)
    table.observe(lambda change: seen.put((change.new, table.rows[0]["board"])), "readings")
    table.start()
    answers.put([{"board": "a", "status": "ok"}])
    assert seen.get(timeout=20) == (1, "a")
    table.refresh_s = 1800.0  # wakes it: the next question comes now, not in an hour
    answers.put([{"board": "b", "status": "lost"}])
    assert seen.get(timeout=20) == (2, "b")
    (thread,) = threads()
    table.stop()
    thread.join(20)
    assert not thread.is_alive() and table.rows[0]["board"] == "b"


def test_what_comes_after_the_stop_is_not_taken_and_closing_ends_the_thread():
    asked, answer = threading.Event(), queue.Queue()

    def ask():
        asked.set()
        return answer.get()

    table = HealthTable(ask)
    table.start()
    assert asked.wait(20)
    (thread,) = threads()
    table.close()
    answer.put([{"board": "late", "status": "ok"}])
    thread.join(20)
    assert not thread.is_alive() and table.rows == [] and not table.running


def test_an_error_keeps_the_last_reading_and_says_what_went_wrong():
    answers = iter([[{"board": "a", "status": "ok"}], OSError(HOSTILE), "no rows"])

    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    table = HealthTable(ask)
    table.refresh()
    table.refresh()
    assert table.error.startswith("OSError: <img") and len(table.error) <= 400 and table.error.isprintable()
    assert table.rows[0]["board"] == "a" and table.readings == 1
    assert "<img" not in table.table() and "&lt;img" in table.table()
    table.refresh()
    assert table.error.startswith("AttributeError") and table.readings == 1


def test_a_saved_notebook_has_the_table_escaped():
    table = HealthTable(lambda: [{"board": HOSTILE, "status": "warning", "temperature_c": "<b>71 °C</b>", "at": time.time() - 5}])
    table.refresh()
    html = table._repr_mimebundle_()[0]["text/html"]
    assert (
        "&lt;b&gt;71 °C&lt;/b&gt;" in html and "<img" not in html and "▲ warning" in html and "<td style='text-align:left'>5 s</td>" in html
    )


@pytest.mark.parametrize("seconds", [0, 0.1, -1, float("nan"), 1e9])
def test_a_pace_that_makes_no_sense(seconds):
    with pytest.raises(UsageError, match=r"it can be 0\.5 to 86400 seconds"):
        HealthTable(list, refresh_s=seconds)


def test_with_nobody_there_it_asks_once_and_starts_no_thread():
    code = """
import threading
from edgeprof.widgets import HealthTable
table = HealthTable(lambda: [{"board": "pi5", "status": "ok", "temperature_c": 52.0}])
display(table)
print([thread.name for thread in threading.enumerate() if "edgeprof" in thread.name])
"""
    cell = new_code_cell(code)
    NotebookClient(new_notebook(cells=[cell])).execute()
    shown, printed = cell.outputs
    assert set(shown.data) == {"text/plain", "text/html"} and "52.0 °C" in shown.data["text/html"]
    assert printed.text == "[]\n"
