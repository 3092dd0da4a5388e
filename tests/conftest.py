"""For all tests: their own lock of this machine, and no boards of whoever runs them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def pytest_configure() -> None:
    """Before anything is collected, and in every process that tests start."""
    folder = Path(tempfile.gettempdir(), f"edgeprof-tests-{os.getpid()}")
    os.environ.setdefault("EDGEPROF_LOCK", f"{folder}.lock")
    os.environ.setdefault("EDGEPROF_BOARDS", f"{folder}.toml")
