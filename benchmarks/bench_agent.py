"""Row 10: what does the agent take on a board before the runtime is loaded? Resident memory as it says itself; nothing is installed."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from common import machine

from edgeprof.agent import protocol
from edgeprof.boards.package import agent_zipapp


def hello(command: list[str]) -> int:
    done = subprocess.run(command, input=protocol.encode("bye", {}), capture_output=True, check=True)
    frame = protocol.read(io.BytesIO(done.stdout))
    return int(frame.fields["rss_bytes"])


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "agent.pyz")
        path.write_bytes(agent_zipapp())
        ours = hello([sys.executable, str(path)])
    code = "import onnxruntime; print(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])"
    raw = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout) * 1024
    print(f"row 10: agent {ours / 1e6:.1f} MB resident, zipapp of {len(agent_zipapp()) / 1e3:.0f} kB, 0 bytes installed (reach 12 MB)")
    print(f"row 10: Python with onnxruntime imported: {raw / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
