"""The command that asks the firmware of a Raspberry Pi. Not a family: those that need it use it."""

from __future__ import annotations

import errno
import os
from typing import Optional

_LIMIT_S = 1.0
_DENIED = ("VCHI initialization failed", "/dev/vc")  # older and newer versions; newer ones open /dev/vcio_gencmd, then /dev/vcio

HELP = "this user may not ask the firmware. Allow it with: sudo usermod -aG video $USER (it holds from the next login on)"
"""What to do about `NotAllowed`."""


class NotAllowed(OSError):
    """This user may not ask the firmware."""


class Vcgencmd:
    """The command at ``path``."""

    def __init__(self, path: str) -> None:
        self.path = path

    def ask(self, question: str) -> str:
        """The firmware's answer. `NotAllowed` when this user may not ask, another OSError when there is no answer within a second."""
        import subprocess  # where there is firmware to ask: other boards keep the memory

        try:
            done = subprocess.run(
                [self.path, question], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_LIMIT_S,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise OSError(errno.ETIMEDOUT, "%s did not answer within %g s" % (self.path, _LIMIT_S)) from None
        text = done.stdout.decode("utf-8", "replace").strip()
        if any(sign in text for sign in _DENIED):
            raise NotAllowed(errno.EACCES, text.splitlines()[0])
        if done.returncode or not text or text.startswith("error="):
            raise OSError(errno.EIO, "%s %s failed: %s" % (self.path, question, text[:200] or "it said nothing"))
        return text


def find(sysroot: str = "/") -> Optional[Vcgencmd]:
    """The command: on PATH, or ``usr/bin/vcgencmd`` of a recorded board, whose answers that file gives. None when there is none."""
    import shutil

    path = shutil.which("vcgencmd") if os.path.abspath(sysroot) == "/" else os.path.join(sysroot, "usr/bin/vcgencmd")
    return Vcgencmd(path) if path and os.path.isfile(path) else None
