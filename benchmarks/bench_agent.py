"""Row 10: what does the agent take on a board before the runtime is loaded? Resident memory as it says itself; nothing is installed.

While a job runs, a process conducts it and one reads sensors beside the one that holds the runtime: unique memory (USS) of both is printed
too, the middle of what was seen.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
from common import machine

import edgeprof as ep
from edgeprof.agent import protocol
from edgeprof.boards.package import agent_zipapp


def hello(command: list[str]) -> int:
    done = subprocess.run(command, input=protocol.encode("bye", {}), capture_output=True, check=True)
    frame = protocol.read(io.BytesIO(done.stdout))
    return int(frame.fields["rss_bytes"])


def of_door(command: list[str]) -> int:
    """Resident bytes of a door that has said hello."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as door:
        protocol.read(door.stdout)
        size = psutil.Process(door.pid).memory_info().rss
        door.stdin.close()
        return size


def beside_the_runtime() -> dict[str, float]:
    """USS in bytes of the agent's other processes, median over the progress of a job."""
    seen: dict[str, list[int]] = {"conductor": [], "sampler": []}

    def look(_event: object) -> None:
        for agent in psutil.Process().children():
            seen["conductor"].append(agent.memory_full_info().uss)
            for process in agent.children():
                if "sample" in process.cmdline():
                    seen["sampler"].append(process.memory_full_info().uss)

    ep.profile(Path(__file__).parents[1] / "sample_models/mobilenetv2_clutter.onnx", runs=200, memory=False, progress=look)
    return {name: statistics.median(values) for name, values in seen.items()}


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "agent.pyz")
        path.write_bytes(agent_zipapp())
        ours = hello([sys.executable, str(path)])
        door = of_door([sys.executable, str(path), "door", folder])
    code = "import onnxruntime; print(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])"
    raw = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout) * 1024
    print(f"row 10: agent {ours / 1e6:.1f} MB resident, zipapp of {len(agent_zipapp()) / 1e3:.0f} kB, 0 bytes installed (reach 12 MB)")
    print(f"row 10: the door that a host talks with over SSH: {door / 1e6:.1f} MB resident (reach 12 MB)")
    beside = ", ".join(f"{name} {uss / 1e6:.1f} MB" for name, uss in beside_the_runtime().items())
    print(f"row 10: while a job runs, beside the process of the runtime: {beside} (USS)")
    print(f"row 10: Python with onnxruntime imported: {raw / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
