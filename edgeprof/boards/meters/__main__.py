"""The process that reads external meters: ``python -m edgeprof.boards.meters SPEC...``, in frames as `edgeprof.agent.sampler` speaks.

When a meter cannot be opened it says an ``error`` frame with the sentence and ends with status 2.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from edgeprof.agent import protocol
from edgeprof.agent.sampler import run
from edgeprof.agent.sensors.base import Found
from edgeprof.agent.serve import streams
from edgeprof.boards.meters import open_meters
from edgeprof.errors import EdgeprofError


def main() -> int:
    """Opens the meters and samples them until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's, who ends this by closing the pipe
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    source, sink = streams()
    try:
        sensors = open_meters(sys.argv[1:])
    except EdgeprofError as error:
        protocol.write(sink, "error", {"kind": type(error).__name__, "message": str(error)})
        return 2
    run(Found(sensors), source, sink)
    return 0


def _end_with(parent: int) -> None:
    """Ends this process when the one that started it is gone, even while a meter does not answer."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main())
