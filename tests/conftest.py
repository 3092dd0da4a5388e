"""For all tests: the profile that laws are tried with, a lock of this machine and a boards file that are nobody else's, and which tests
stay together when several processes share the suite.
"""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.laws import PROFILES

for name, count in PROFILES.items():
    # on top of what is loaded already: where CI is set, that takes the same examples each time
    settings.register_profile(name, settings.default, max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it to what it starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
_OWN = Path(tempfile.gettempdir(), f"edgeprof-tests-{os.getpid()}")
os.environ["EDGEPROF_LOCK"], os.environ["EDGEPROF_BOARDS"] = f"{_OWN}.lock", f"{_OWN}.toml"
settings.load_profile(os.environ.get("EDGEPROF_TESTS", "ordinary"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file of tests is one process's, for its fixtures; so are all that click in JupyterLab: there is one server of it."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path, _, _ = nodeid.partition("::")
            return "lab" if path.endswith(("_in_lab.py", "_notebook.py")) else path

    return ByFile(config, log)
