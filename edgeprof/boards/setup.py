"""Setting up a bare board: look at it, find wheels for it here, send them, have them installed and tried there.

Everything that can be known before is checked before anything is sent. Doing it again is cheap: what is installed is only tried again,
files that arrived are not sent twice, and an installation that was cut short is begun anew by the agent (`agent/install.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from edgeprof import units
from edgeprof.boards.about import About, Installation, refusal, whole
from edgeprof.boards.wheel_store import Resolved
from edgeprof.boards.wheels import resolve
from edgeprof.errors import BoardError, BoardLost
from edgeprof.records.board_state import clean

SPARE_BYTES = 64 << 20
"""Left free on the board's disk beside what is sent and unpacked: the environment itself, byte code, room for other programs."""
_MOST_PROVIDERS = 20

Progress = Callable[[str, int, int], None]
"""Hears of a phase's name, how much of it is done, and how much it is in all (0: not known). ``send`` and ``unpack`` count bytes."""


class Session(Protocol):
    """A talk with the agent on a board. BoardError, with the agent's sentence, when it says no; BoardLost when the link is gone."""

    def ask(self, kind: str, fields: Mapping[str, Any], on_progress: Progress | None = None) -> Mapping[str, Any]:
        """Sends a request and returns the answer."""

    def put(self, path: Path, on_progress: Progress | None = None) -> str:
        """Sends a file, or what is missing of it, to the board's cache; its sha256."""


@runtime_checkable
class HasSession(Protocol):
    """A board that can be set up."""

    def session(self) -> AbstractContextManager[Session]:
        """Opens a talk with the agent there."""


@dataclass(frozen=True)
class SetupPlan:
    """What will be done: install ``resolved``; or, without it, only try what is ``present``, or the board's own runtime."""

    about: About
    resolved: Resolved | None = None
    present: Installation | None = None
    bytes_there: int = 0
    """Of the wheels: they need not be sent."""
    broken: str = ""
    """Why what is there already cannot be used."""

    @property
    def send_bytes(self) -> int:
        """What has to be sent."""
        return max(0, sum(wheel.size_bytes for wheel in self.resolved.wheels) - self.bytes_there) if self.resolved else 0

    @property
    def disk_bytes(self) -> int:
        """What must be free on the board's disk."""
        return self.send_bytes + self.resolved.unpacked_bytes + SPARE_BYTES if self.resolved else 0

    @property
    def lines(self) -> list[str]:
        """The plan for a person."""
        free = "" if self.about.free_bytes is None else f", {units.size(self.about.free_bytes)} free in {self.about.folder}"
        lines = [f"The board has {self.about.words}{free}."]
        if self.broken:
            lines.append(f"What is there cannot be used: {self.broken}")
        if self.resolved is not None:
            return lines + self._installing(self.resolved)
        if self.present is not None:
            return [*lines, f"{self.present.runtime} {self.present.version} was installed before: only one inference to see that it works."]
        return [*lines, f"{_own(self.about)}: only one inference to see that it works, nothing is installed."]

    def _installing(self, resolved: Resolved) -> list[str]:
        lines = [f"Install {resolved.runtime} {resolved.version} in {self.about.folder}/runtimes/{resolved.name}, from:"]
        lines += [
            f"  {wheel.path.name}  {units.size(wheel.size_bytes)}{'  (installs the others)' * wheel.is_pip}" for wheel in resolved.wheels
        ]
        if resolved.left_out:
            lines.append(f"Left out, since only tools of {resolved.runtime} need them: {', '.join(resolved.left_out)}.")
        if resolved.offline:
            lines.append("No package index can be reached: these are the versions that were downloaded before.")
        there = f" ({units.size(self.bytes_there)} more are there already)" if self.bytes_there else ""
        lines.append(
            f"Send {units.size(self.send_bytes)}{there}, unpack them to {units.size(resolved.unpacked_bytes)}; "
            f"{units.size(self.disk_bytes)} of the board's disk must be free."
        )
        return [*lines, "Then one inference to see that it works."]


Outcome = Literal["planned", "installed", "present", "own"]


@dataclass(frozen=True)
class SetupResult:
    """How it went, and what jobs on the board use from now on; all but ``plan`` is empty when it was only ``planned``."""

    plan: SetupPlan
    outcome: Outcome = "planned"
    name: str = ""
    python: str = ""
    version: str = ""
    numpy: str = ""
    providers: tuple[str, ...] = ()
    installed_bytes: int | None = None

    @property
    def sentence(self) -> str:
        """The result for a person."""
        if self.outcome == "planned":
            return "Nothing was changed."
        what = f"{self.version} with numpy {self.numpy} ({', '.join(self.providers)})"
        if self.outcome == "own":
            return f"Nothing to install: the board's own runtime {what} ran a model."
        runtime = self.name.split("-")[1] if "-" in self.name else "runtime"
        if self.outcome == "present":
            return f"Already set up: {runtime} {what} ran a model."
        size = "" if self.installed_bytes is None else f" It takes {units.size(self.installed_bytes)} on the board."
        return f"Set up: {runtime} {what} ran a model.{size}"


def set_up(
    session: Session,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    runtime: str = "onnxruntime",
    version: str | None = None,
    cache: Path | None = None,
) -> SetupResult:
    """Brings a ``runtime`` to the board (its newest, or ``version``) unless it has one, and tries it by one inference.

    Without ``version`` what was installed before is kept, and a runtime that the board's own Python has is used as it is. ``dry_run``
    only plans: that downloads the wheels to this machine's ``cache``, and changes nothing on the board.

    Raises:
        BoardError: the board cannot be set up, or the runtime does not work there; nothing of it is left there then.
    """
    made = plan(session, progress=progress, runtime=runtime, version=version, cache=cache)
    return SetupResult(made) if dry_run else carry_out(session, made, progress=progress, cache=cache)


def plan(
    session: Session,
    *,
    progress: Progress | None = None,
    runtime: str = "onnxruntime",
    version: str | None = None,
    cache: Path | None = None,
) -> SetupPlan:
    """What `set_up` would do; BoardError when it cannot be done."""
    about = About.parse(session.ask("about", {}))
    present = _present(about, runtime, version)
    if present is not None or (about.own is not None and version is None):
        return SetupPlan(about, present=present)
    return _plan_installing(session, about, runtime, version, cache, progress)


def carry_out(session: Session, plan: SetupPlan, *, progress: Progress | None = None, cache: Path | None = None) -> SetupResult:
    """Does what was planned. What is there and does not work any more is installed anew."""
    if plan.resolved is None:
        try:
            if plan.present is not None:  # it keeps a model: nothing is sent, so a full disk does not matter
                return _result(plan, "present", session.ask("check-runtime", {"name": plan.present.name}))
            return _result(plan, "own", session.ask("check-runtime", {"name": "", "model": _put_model(session)}))
        except BoardLost:
            raise
        except BoardError as error:
            runtime, version = (plan.present.runtime, plan.present.version) if plan.present else ("onnxruntime", None)
            plan = replace(_plan_installing(session, plan.about, runtime, version, cache, progress), broken=str(error))
    return _install(session, plan, progress)


def remove(session: Session, version: str | None = None) -> tuple[str, ...]:
    """Removes the runtimes that were installed on the board, or those of one ``version``; the names that are gone."""
    names = [""]
    if version is not None:
        there = About.parse(session.ask("about", {})).installed
        names = [each.name for each in there if each.version == version]
        if not names:
            have = ", ".join(each.version for each in there) or "none"
            raise BoardError(f"Expected a runtime {version} that was installed on the board; there are: {have}.")
    answers = [session.ask("remove-runtime", {"name": name}).get("removed") for name in names]
    return tuple(clean(name) for gone in answers if isinstance(gone, list) for name in gone)


def _present(about: About, runtime: str, version: str | None) -> Installation | None:
    """What is installed and fits; when no ``version`` is wanted, that which jobs use."""
    fitting = [each for each in about.installed if each.fits and each.runtime == runtime]
    return next((each for each in fitting if (each.version == version if version else each.current)), None)


def _plan_installing(
    session: Session, about: About, runtime: str, version: str | None, cache: Path | None, progress: Progress | None
) -> SetupPlan:
    reason = refusal(about)
    if reason is not None:
        raise BoardError(reason)
    if progress is not None:
        progress("find wheels", 0, 0)
    resolved = resolve(about, runtime, cache, version)
    there = session.ask("have", {"digests": [wheel.sha256 for wheel in resolved.wheels]}).get("have")
    bytes_there = 0
    for wheel in resolved.wheels:
        told = there.get(wheel.sha256) if isinstance(there, Mapping) else None
        bytes_there += min(whole(told.get("bytes")) or 0, wheel.size_bytes) if isinstance(told, Mapping) else 0
    made = SetupPlan(about, resolved, bytes_there=bytes_there)
    if about.free_bytes is not None and about.free_bytes < made.disk_bytes:
        raise BoardError(
            f"Expected {units.size(made.disk_bytes)} free on the board's disk ({units.size(made.send_bytes)} to send, "
            f"{units.size(resolved.unpacked_bytes)} unpacked, {units.size(SPARE_BYTES)} to spare), came {units.size(about.free_bytes)} in "
            f"{about.folder}. Free some there, or name a folder on another disk for the board."
        )
    return made


def _install(session: Session, plan: SetupPlan, progress: Progress | None) -> SetupResult:
    resolved = plan.resolved
    assert resolved is not None  # noqa: S101 - a plan to install
    total, before = sum(wheel.size_bytes for wheel in resolved.wheels), 0
    for wheel in resolved.wheels:
        session.put(wheel.path, _shifted(progress, before, total))
        before += wheel.size_bytes
        if progress is not None:
            progress("send", before, total)
    wheels = [{"filename": wheel.path.name, "sha256": wheel.sha256} for wheel in resolved.wheels]
    answer = session.ask("install", {"name": resolved.name, "wheels": wheels, "model": _put_model(session)}, progress)
    return _result(plan, "present" if answer.get("already") is True else "installed", answer)


def _put_model(session: Session) -> str:
    """Sends the model of the first inference; its sha256."""
    from edgeprof.models.probes import make_probes

    with tempfile.TemporaryDirectory(prefix="edgeprof-", ignore_cleanup_errors=True) as folder:
        model = Path(folder, "check.onnx")
        model.write_bytes(make_probes()[0].model)
        return session.put(model)


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Tells of one file's progress as part of all."""
    return None if progress is None else lambda _phase, done, _total: progress("send", min(before + done, total), total)


def _result(plan: SetupPlan, outcome: Outcome, answer: Mapping[str, Any]) -> SetupResult:
    providers = answer.get("providers")
    return SetupResult(
        plan,
        outcome,
        name=clean(answer.get("name")),
        python=clean(answer.get("python")),
        version=clean(answer.get("version")),
        numpy=clean(answer.get("numpy")),
        providers=tuple(clean(each) for each in providers[:_MOST_PROVIDERS]) if isinstance(providers, list) else (),
        installed_bytes=whole(answer.get("bytes")),
    )


def _own(about: About) -> str:
    own = about.own
    return f"Its own Python has {own.name} {own.version} with numpy {own.numpy}" if own else "It has a runtime"
