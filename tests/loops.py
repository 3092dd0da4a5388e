"""A running event loop, whatever the test's own thread has: with the browser's tests in the same process it may have one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def inside_a_loop(call: Callable[[], T]) -> T:
    """What ``call`` returns when it is called from within a running event loop."""

    async def cell() -> T:
        return call()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(cell())).result()
