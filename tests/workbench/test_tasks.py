"""Tasks in one thread: in turn, with sentences for what goes wrong, and cancelled whatever they are at."""

from __future__ import annotations

import threading

import pytest

from edgeprof.errors import DataError, Stopped
from edgeprof.workbench import tasks
from edgeprof.workbench.tasks import Runner

LONG_S = 20.0


class Desk:
    """A runner whose work waits for `stop`, as a process apart or a measurement does."""

    def __init__(self) -> None:
        self.stopped, self.began, self.calls = threading.Event(), threading.Event(), []
        self.runner = Runner(self.stop, lambda: self.stopped.clear())

    def stop(self, at_once: bool) -> None:
        self.calls.append(at_once)
        self.stopped.set()

    def work(self, task):
        self.began.set()
        assert self.stopped.wait(LONG_S)
        raise RuntimeError("what was under way is gone")

    def add(self, work, changed=lambda: None):
        return self.runner.add("test", "Test", work, changed)


@pytest.fixture
def desk():
    made = Desk()
    yield made
    made.runner.close()


def test_tasks_are_done_in_turn_and_keep_what_came_of_them(desk):
    order = []
    every = [desk.add(lambda task, n=n: order.append(n) or n * n) for n in range(5)]
    assert every[-1].wait(LONG_S)
    assert order == list(range(5)) and [task.result for task in every] == [0, 1, 4, 9, 16]
    assert all(task.status == "done" and task.started <= task.ended for task in every)
    assert [task.id for task in desk.runner.tasks] == [1, 2, 3, 4, 5]
    assert every[0].record()["status"] == "done"


def test_one_that_is_under_way_ends_and_one_that_waits_never_begins(desk):
    first, second, third = desk.add(desk.work), desk.add(lambda task: 1 / 0), desk.add(lambda task: "well")
    assert desk.began.wait(LONG_S)
    second.cancel()
    assert second.wait(0) and second.status == "cancelled"
    first.cancel()
    first.cancel()
    assert third.wait(LONG_S)
    assert (first.status, third.status, third.result) == ("cancelled", "done", "well")
    assert not first.is_cancelling and desk.calls and not desk.stopped.is_set()
    third.cancel()
    assert third.status == "done"


def test_what_did_not_hear_is_told_again_and_then_at_once(desk, monkeypatch):
    monkeypatch.setattr(tasks, "_INSISTS_AFTER_S", 0.01)
    monkeypatch.setattr(tasks, "_AT_ONCE_AFTER_S", 0.02)
    deaf = threading.Event()

    def work(task):
        desk.began.set()
        while True not in desk.calls:
            assert not deaf.wait(0.005)
        raise Stopped("at last")

    task = desk.add(work)
    assert desk.began.wait(LONG_S)
    task.cancel()
    assert task.wait(LONG_S) and task.status == "cancelled" and desk.calls[0] is False


def test_progress_is_told_and_raises_once_it_was_cancelled(desk):
    seen, go = [], threading.Event()

    def work(task):
        task.tell("first", 1, 2)
        desk.began.set()
        assert go.wait(LONG_S)
        task.tell("second", 2, 2)

    task = desk.add(work, lambda: seen.append(True))
    assert desk.began.wait(LONG_S)
    assert (task.phase, task.done, task.total) == ("first", 1, 2) and "first 1/2" in repr(task)
    task.cancel()
    assert task.is_cancelling
    go.set()
    assert task.wait(LONG_S) and task.status == "cancelled" and task.phase == "first" and seen


def test_errors_become_sentences(desk):
    def fails(task):
        raise DataError("There is no data. Give some.")

    def breaks(task):
        return {}["nothing"]

    known, bug, after = desk.add(fails), desk.add(breaks), desk.add(lambda task: None)
    assert after.wait(LONG_S) and after.status == "done"
    assert (known.status, known.error, known.trace) == ("failed", "There is no data. Give some.", "")
    assert bug.status == "failed" and "KeyError: 'nothing'" in bug.error and "in breaks" in bug.trace


def test_the_list_is_bounded_and_a_closed_runner_cancels_what_waits(desk, monkeypatch):
    monkeypatch.setattr(tasks, "MOST_KEPT", 3)
    for _ in range(6):
        assert desk.add(lambda task: None).wait(LONG_S)
    assert len(desk.runner.tasks) <= 4
    under_way, waits = desk.add(desk.work), desk.add(lambda task: None)
    assert desk.began.wait(LONG_S)
    desk.runner.close()
    assert (under_way.status, waits.status) == ("cancelled", "cancelled")
