"""What a Workbench is opened with: a model that can be changed, profiles that can be looked at, or a study with both."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeprof.analysis.names import shorten
from edgeprof.errors import UsageError
from edgeprof.models import Graph, load_model
from edgeprof.records import bundle
from edgeprof.records.profile import Profile
from edgeprof.studies import Study
from edgeprof.studies.study import SUFFIX
from edgeprof.workbench import state as states
from edgeprof.workbench.state import State

_NO_MODEL = "There is no model file to change, only what was measured. Give the model too (model=...) to decide, build and measure."


@dataclass(frozen=True)
class Opened:
    """``graph``: the model that can be changed, or None, and ``why_not`` says why; ``given``: profiles with the path that each is from.

    ``study`` is the folder where everything is kept, or None where there is no place for it. ``state`` is what an earlier Workbench left
    there, ``findings`` are sentences about it.
    """

    graph: Graph | None
    given: tuple[tuple[str, Profile], ...] = ()
    study: Path | None = None
    state: State | None = None
    why_not: str = ""
    findings: tuple[str, ...] = ()


def opened(subject: Any, model: str | os.PathLike[str] | Graph | None, study: str | os.PathLike[str] | Study | None) -> Opened:
    """What ``subject`` is; EdgeprofError when it cannot be read, UsageError when it is nothing of the kind."""
    folder = study.path if isinstance(study, Study) else Path(study) if study is not None else None
    if isinstance(subject, Study) or (isinstance(subject, str | os.PathLike) and Path(subject).is_dir()):
        if folder is not None:
            raise UsageError("The Workbench was given a study twice. Open the folder itself, or a model and study=...")
        return _of_study(subject if isinstance(subject, Study) else Study.open(subject), model)
    if isinstance(subject, Graph) or (isinstance(subject, str | os.PathLike) and Path(subject).suffix.lower() != SUFFIX):
        if model is not None:
            raise UsageError("The Workbench was given two models. Leave out model=..., which belongs to profiles.")
        return _of_model(load_model(subject), folder)
    several = isinstance(subject, Sequence) and not isinstance(subject, str)
    given = tuple(_loaded(one) for one in (subject if several else [subject]))
    if not given:
        raise UsageError("The Workbench was opened with an empty list. Give a model, a profile or several.")
    if model is None:
        return Opened(None, given, why_not=_NO_MODEL)
    return replace(_of_model(load_model(model), folder), given=given)


def _of_model(graph: Graph, folder: Path | None) -> Opened:
    if not Path(graph.path).is_file():
        return Opened(graph, why_not=f"The file of the model {shorten(graph.name)} is not there, so nothing can be built. Give its path.")
    folder = folder if folder is not None else Path(f"{Path(graph.path).stem}.study")
    state, finding = states.read(folder)
    findings = [finding] if finding else []
    if state is not None and state.model_sha256 not in ("", graph.digest):
        text = f"{folder} was last used with another {shorten(state.model_name) or 'model'}; its recipe and candidates are left out here."
        state, findings = None, [*findings, text]
    return Opened(graph, (), folder, state, "", tuple(findings))


def _of_study(study: Study, model: str | os.PathLike[str] | Graph | None) -> Opened:
    if model is not None:
        found = _of_model(load_model(model), study.path)
    else:
        state, finding = states.read(study.path)
        profiles = study.profiles() if state is None or not state.model_sha256 else []
        digests = {one.context.model_sha256 for one in profiles if one.parent is None}
        graph = _kept_model(study, state.model_sha256 if state is not None and state.model_sha256 else next(iter(digests), "")
                            if len(digests) == 1 else "", state)  # fmt: skip
        found = Opened(graph, (), study.path, state, "" if graph is not None else _NO_MODEL, (finding,) if finding else ())
    if found.state is not None and found.graph is not None:
        return found
    return replace(found, given=tuple(("", one) for one in study.profiles()))


def _kept_model(study: Study, digest: str, state: State | None) -> Graph | None:
    """The study's own copy of a model; None where it has none, or another under its name."""
    if not digest or not digest.isalnum():
        return None
    path = study.path / "models" / f"{digest}.onnx"
    if not path.is_file():
        return None
    graph = load_model(path)
    if graph.digest != digest:
        return None
    return replace(graph, name=state.model_name[:200]) if state is not None and state.model_name else graph


def _loaded(one: Any) -> tuple[str, Profile]:
    if isinstance(one, Profile):
        return "", one
    if isinstance(one, str | os.PathLike):
        return os.fspath(one), bundle.load(Path(one))
    raise UsageError(
        f"The Workbench was given a {type(one).__name__}. Give a model file, a Profile, an .edgeprof file or several, or a study."
    )
