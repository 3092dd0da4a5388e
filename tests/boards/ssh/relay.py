"""``relay.py HOST PORT [DELAY_MS LOSS_PERCENT]``: standard input and output as a connection, for ``ProxyCommand``.

With a delay each piece comes so much later, one way; a piece that is lost comes 200 ms after that, as TCP would send it again.
"""

from __future__ import annotations

import os
import random
import select
import socket
import sys
import time
from collections import deque

SENT_AGAIN_S = 0.2
PIECE = 1 << 14


def main(host: str, port: str, delay_ms: str = "0", loss_percent: str = "0") -> None:
    server = socket.create_connection((host, int(port)), 20)
    server.settimeout(None)
    delay_s, loss = float(delay_ms) / 1e3, float(loss_percent) / 100
    ways = {0: (lambda: os.read(0, PIECE), server.sendall), server.fileno(): (lambda: server.recv(PIECE), write)}
    waiting: deque[tuple[float, object, bytes]] = deque()
    last = dict.fromkeys(ways, 0.0)
    while ways or waiting:
        patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for source in select.select(list(ways), [], [], patience)[0]:
            read, send = ways[source]
            data = read()
            if not data:  # one side is gone, and so is the other
                ways.clear()
                break
            late = delay_s + (SENT_AGAIN_S if random.random() < loss else 0)
            last[source] = max(last[source], time.monotonic() + late)
            waiting.append((last[source], send, data))
            waiting = deque(sorted(waiting, key=lambda piece: piece[0]))
        while waiting and waiting[0][0] <= time.monotonic():
            _, send, data = waiting.popleft()
            send(data)


def write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main(*sys.argv[1:])
