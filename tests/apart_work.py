"""What `test_apart` has done in a process apart: functions of a module, as the worker needs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from edgeprof import apart
from edgeprof.errors import BoardLost, BundleDamaged, DataError


def add(a, b=0):
    return a + b


def pid():
    return os.getpid()


def imported(name):
    return name in sys.modules


def raise_data_error(text):
    raise DataError(text)


def raise_damaged():
    raise BundleDamaged("Two members are damaged.", ("a.parquet", "b.json"))


def raise_unknown_key():
    from edgeprof.boards.entries import Entry
    from edgeprof.boards.hostkeys import HostKeyUnknown

    raise HostKeyUnknown("The host key is not known.", Entry("pi", "host"))


def raise_what_cannot_travel():
    error = BoardLost("The link is gone.", trace=lambda: None)
    error.profile = "what was made of it"
    raise error


def raise_library_error():
    raise ValueError("a library's first line.\nand a page more")


def refuse_a_model():
    import onnxruntime

    onnxruntime.InferenceSession(b"no model", providers=["CPUExecutionProvider"])


def run_out_of_memory():
    raise MemoryError


def end(status):
    sys.stderr.write("last words\n")
    sys.stderr.flush()
    os._exit(status)


def exit_politely():
    sys.exit(4)


def signal_itself(number):
    os.kill(os.getpid(), number)
    signal.pause()


def close_all_files():
    os.closerange(0, 100)
    signal.pause()


def speak():
    sys.stdout.write("to standard output\n")
    os.write(1, b"\x00" * 100_000)
    sys.stderr.write("and to standard error " * 10_000)
    os.system("echo of a shell")
    return sys.stdin.read()


def zeros(n):
    return bytes(n)


def size_of(data):
    return len(data)


def unpicklable():
    return lambda: None


def count(n):
    for done in range(n):
        apart.tell("count", done, n)
    return n


def tell_and_wait():
    apart.tell("ready", os.getpid(), 0)
    signal.pause()


def start_another_and_wait():
    other = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    apart.tell("ready", other.pid, 0)
    signal.pause()
