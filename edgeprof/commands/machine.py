"""What works on this machine and why not, each line with what to do: ``edgeprof doctor`` without a model."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from edgeprof._version import __version__
from edgeprof.errors import BoardError, EdgeprofError

Status = Literal["ok", "info", "warn", "fail"]

OLDEST_PYTHON = (3, 11)
NEEDED = ("numpy", "pandas", "pyarrow", "onnx", "msgspec", "psutil", "plotly", "jinja2", "rich", "tqdm")
NOTEBOOK = ("jupyterlab", "anywidget", "ipywidgets", "matplotlib")
LEAST_TEMPORARY_BYTES = 200 << 20
BUSY_SHARE = 0.5
COARSE_CLOCK_NS = 1000
TRIAL_RUNS = 5
_FEW = 4
STEADY_GOVERNORS = ("performance", "userspace")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, how it is, and what to do when it is not well."""

    name: str
    status: Status
    text: str
    advice: str = ""


def look(*, as_json: bool) -> int:
    """Makes all checks and prints them; 0 when everything that is needed works, else 1."""
    found = []
    for check in checks():
        found.append(check)
        if not as_json:
            print_check(check)
    failed = [check for check in found if check.status == "fail"]
    if as_json:
        print_json(found, ok=not failed)
    else:
        print(f"\n{_verdict(found)}")
    return 1 if failed else 0


def checks() -> Iterator[Check]:
    """All checks, as they are made."""
    yield _python()
    yield _packages()
    yield _clock()
    yield _temporary_folder()
    try:
        health: Mapping[str, Any] = _health()
    except EdgeprofError as error:
        yield Check(
            "agent", "fail", str(error), "Check that this Python can start subprocesses, and that the temporary folder allows them."
        )
    else:
        yield Check("agent", "ok", "starts in a process of its own and answers")
        for reader in (_runtimes, _board, _sensors):
            yield from reader(health)
        yield _trial()
    yield _meters()
    yield _notebook()
    yield _browser()


# Here


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "fail", f"{version} at {sys.executable}", "Install Python {}.{} or newer.".format(*OLDEST_PYTHON))
    return Check("python", "ok", f"{version} at {sys.executable}, edgeprof {__version__}")


def _packages() -> Check:
    versions = {name: _version(name) for name in NEEDED}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        return Check("packages", "fail", f"not installed: {', '.join(missing)}", "Install them with `pip install --upgrade edgeprof`.")
    return Check("packages", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _clock() -> Check:
    info = time.get_clock_info("perf_counter")
    readings = [time.perf_counter_ns() for _ in range(2000)]
    step = min(b - a for a, b in itertools.pairwise(readings) if b > a)
    text = f"{info.implementation}, steps of {step} ns as read"
    if not info.monotonic or step > COARSE_CLOCK_NS:
        return Check("clock", "warn", text, "Short layers cannot be timed well here.")
    return Check("clock", "ok", text)


def _temporary_folder() -> Check:
    folder = tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check("temporary folder", "fail", f"{folder}: {error.strerror or error}", "Set TMPDIR to a folder with space.")
    text = f"{folder}, {free / 1e9:.1f} GB free"
    if free < LEAST_TEMPORARY_BYTES:
        return Check("temporary folder", "warn", text, "Traces of large models need more: set TMPDIR to a folder with space.")
    return Check("temporary folder", "ok", text)


# On the board


def _health() -> Mapping[str, Any]:
    from edgeprof.boards.local import LocalBoard

    return LocalBoard().health()


def _runtimes(health: Mapping[str, Any]) -> Iterator[Check]:
    for name, told in health["runtimes"].items():
        if "error" in told:
            yield Check(name, "fail", told["error"], f"Install it with `pip install --force-reinstall {name}`.")
        else:
            yield Check(name, "ok", f"{told['version']}, {', '.join(told['providers'])}")


def _board(health: Mapping[str, Any]) -> Iterator[Check]:
    environment = health["environment"]
    cpus, affinity = environment.get("cpus"), environment.get("affinity")
    names = " ".join(str(environment[key]) for key in ("board_model", "cpu_model") if environment.get(key))
    yield Check("processor", "ok", f"{names or 'not known'}, {cpus} CPUs, {environment.get('machine', '')}".rstrip(", "))
    if affinity and isinstance(cpus, int) and len(affinity) < cpus:
        yield Check("affinity", "info", f"only CPUs {', '.join(map(str, affinity))} may be used")
    yield _governor(environment.get("governor"))
    if environment.get("virtual_machine"):
        yield Check(
            "virtual machine", "warn", "yes: neighbours share the processor", "Measure on the real board for numbers that hold there."
        )
    load = environment.get("load_1min")
    if isinstance(load, float) and isinstance(cpus, int):
        busy = load > BUSY_SHARE * cpus
        yield Check("load", "warn" if busy else "ok", f"{load:.1f} on {cpus} CPUs", "End other work before measuring." if busy else "")


def _governor(governor: Any) -> Check:
    if not governor:
        return Check("governor", "info", "the system does not say how clocks are governed")
    if governor in STEADY_GOVERNORS:
        return Check("governor", "ok", str(governor))
    advice = "Fix the clock for steadier numbers: `sudo cpupower frequency-set -g performance`."
    return Check("governor", "warn", str(governor), advice)


def _sensors(health: Mapping[str, Any]) -> Iterator[Check]:
    """Each sensor, what hinders others, and which channels would count as the power."""
    from edgeprof.agent.power import choose

    for sensor in health["sensors"]:
        names = [channel["title"] or channel["name"] for channel in sensor["channels"]]
        more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
        yield Check("sensor", "ok", f"{sensor['name']}: {', '.join(names[:_FEW])}{more}; {sensor['rate_hz']:.3g} readings a second")
    for key, text in health["problems"]:
        yield Check("sensor", "info" if str(key).endswith("-info") else "warn", str(text))
    source, why_not = choose(health["sensors"], [], [])
    if source is not None:
        yield Check("power", "ok", f"{' + '.join(source.channels)} ({source.scope}), for --energy model and --energy layers")
    else:
        advice = (
            "Times and memory are measured all the same. Energy: use a board with a sensor, a meter (docs/meters.md), or --board simulated."
        )
        yield Check("power", "info", why_not, advice)


def _trial() -> Check:
    """A tiny model measured for real."""
    from edgeprof import units
    from edgeprof.models.probes import make_probes
    from edgeprof.profiler import profile

    with tempfile.TemporaryDirectory(prefix="edgeprof-", ignore_cleanup_errors=True) as folder:
        model = Path(folder, "tiny.onnx")
        model.write_bytes(make_probes()[0].model)
        try:
            measured = profile(model, runs=TRIAL_RUNS, warmup=1, progress=False)
        except BoardError as error:
            return Check("trial measurement", "fail", str(error), "See the lines above; run with --debug for more.")
    times = f"{len(measured.measured_layers)} layers, {units.latency(measured.context.latency.median_ms)} a run"
    return Check("trial measurement", "ok", times)


# Extras


def _meters() -> Check:
    from edgeprof.boards.meters import available

    found = [f"{meter.name}{f' ({meter.package} {meter.version})' if meter.version else ''}" for meter in available() if meter.version]
    problems = [f"{meter.name}: {meter.problem}" for meter in available() if meter.problem]
    if problems:
        return Check("meters", "warn", "; ".join(problems), "Rename or remove the plug-in.")
    return Check("meters", "info", ", ".join(found) or "no package for external power meters is installed; docs/meters.md lists them")


def _notebook() -> Check:
    missing = [name for name in NOTEBOOK if find_spec(name) is None]
    if missing:
        return Check("notebook", "info", f"not installed: {', '.join(missing)}", "Install it with `pip install 'edgeprof[notebook]'`.")
    return Check("notebook", "ok", ", ".join(f"{name} {_version(name)}" for name in NOTEBOOK))


def _browser() -> Check:
    found = os.environ.get("EDGEPROF_CHROMIUM") or next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    return Check("chromium", "info", found or "not found; only the project's own browser tests need it")


# Printing


def print_check(check: Check) -> None:
    """Prints one line, and below it what to do."""
    from rich.text import Text

    from edgeprof.analysis.names import visible
    from edgeprof.commands.screen import console_for

    style = {"ok": "green", "info": "dim", "warn": "yellow", "fail": "bold red"}[check.status]
    line = Text.assemble((f"{check.status:<5}", style), (f"{check.name:<18}", ""), visible(check.text.replace("\n", " ")))
    console = console_for(sys.stdout)
    console.print(line, soft_wrap=True)
    if check.advice:
        console.print(Text(f"{'':<23}{check.advice}", "dim"), soft_wrap=True)


def print_json(found: list[Check], *, ok: bool) -> None:
    """Prints all checks as JSON."""
    import json

    print(json.dumps({"schema_version": 1, "ok": ok, "checks": [dataclasses.asdict(check) for check in found]}, indent=1))


def _verdict(found: list[Check]) -> str:
    failed = [check.name for check in found if check.status == "fail"]
    if failed:
        return f"Not ready: {', '.join(failed)}."
    warned = [check.name for check in found if check.status == "warn"]
    return f"Ready to measure; numbers will be steadier after a look at: {', '.join(warned)}." if warned else "Ready to measure."
