"""The one event loop of this process, in a thread of its own: everything asynchronous runs there, whoever waits for it.

So the public functions stay synchronous and can be called inside a running loop, in a notebook's cell as well as in a script.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def the_loop() -> asyncio.AbstractEventLoop:
    """The loop, running."""
    global _loop  # noqa: PLW0603 - one for the process, made when it is first wanted
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="background-loop", daemon=True).start()
        return _loop


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Starts ``work`` on the loop and returns at once."""
    return asyncio.run_coroutine_threadsafe(work, the_loop())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Does ``work`` on the loop and waits for it; interrupted (Ctrl-C), it is cancelled."""
    future = submit(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
