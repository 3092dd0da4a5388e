"""What a sweep is to do: models x boards x settings as tasks, checked before anything runs."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edgeprof._version import __version__
from edgeprof.boards import get_board
from edgeprof.boards.base import Board
from edgeprof.errors import InputError, UsageError, did_you_mean
from edgeprof.models import Graph, load_model
from edgeprof.models.inputs import read_inputs
from edgeprof.profiler import check_options, profile
from edgeprof.studies import Cell

OPTIONS: Mapping[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(profile).parameters.items()
    if name not in ("model", "board", "progress")
}
"""What a setting may hold, and what each is unless it is given."""

Model = str | os.PathLike[str] | Graph


@dataclass(frozen=True)
class Task:
    """One cell and what it takes to measure it. ``stamp`` is the size and the time of the model's file when it was read."""

    cell: Cell
    graph: Graph
    options: Mapping[str, Any]
    stamp: tuple[int, int]

    def check(self) -> None:
        """UsageError when the model's file is not the one any more that was read."""
        if stamp_of(self.graph) != self.stamp:
            raise UsageError(f"{Path(self.graph.path).name} changed since the sweep began, so it was not measured. Sweep again.")


@dataclass(frozen=True)
class Plan:
    """Tasks by board, in the order they are to run. ``boards`` holds the boards themselves, or names that a cluster's workers know."""

    tasks: Mapping[str, tuple[Task, ...]]
    boards: Mapping[str, Board | str]
    graphs: tuple[Graph, ...]
    request: Mapping[str, Sequence[Mapping[str, Any]]]


def make_plan(
    models: Model | Sequence[Model],
    boards: str | Board | Sequence[str | Board],
    settings: Sequence[Mapping[str, Any]] | None,
    common: Mapping[str, Any],
    *,
    remote: bool,
) -> Plan:
    """The plan; an EdgeprofError when something of it makes no sense. With ``remote``, boards are names that only workers know."""
    chosen = _settings(settings, common)
    given = _boards(boards, remote=remote)
    loaded = _graphs(models, chosen)
    graphs = [by_shape[0] for by_shape in loaded]
    told = {name: _told(board, remote=remote) for name, board in given.items()}
    plain = [_plain_options(options) for options in chosen]
    tasks = {
        name: tuple(
            Task(_cell(graph, name, told[name], flat), graph, _sendable(options, graph) if remote else options, stamp_of(graph))
            for by_setting in loaded
            for graph, options, flat in zip(by_setting, chosen, plain, strict=True)
        )
        for name in given
    }
    first = [task.cell for task in next(iter(tasks.values()))]
    request: dict[str, list[dict[str, Any]]] = {
        "models": [{"name": _name(graph), "sha256": graph.digest} for graph in graphs],
        "boards": [{"name": name, "told": json.dumps(told[name], sort_keys=True)} for name in given],
        "settings": [
            {"label": cell.label, "given": list(cell.given), "options": json.dumps(cell.settings, sort_keys=True)}
            for cell in first[: len(chosen)]
        ],
    }
    return Plan(tasks, given, tuple(graphs), request)


# Settings


def _settings(settings: Sequence[Mapping[str, Any]] | None, common: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Options of each setting, over those that all have in common."""
    if settings is not None and (isinstance(settings, Mapping | str) or not all(isinstance(one, Mapping) for one in settings)):
        raise UsageError(f"settings is {settings!r}; expected a list of dicts, such as [{{'threads': 1}}, {{'threads': 2}}].")
    found: list[dict[str, Any]] = []
    for setting in settings if settings is not None else [{}]:
        options = {**common, **setting}
        for name in options:
            if name not in OPTIONS:
                raise UsageError(f"A setting has no option '{name}'{did_you_mean(str(name), OPTIONS)}. There are: {', '.join(OPTIONS)}.")
        every = {**OPTIONS, **options}
        try:
            check_options(*(every[name] for name in ("runs", "warmup", "threads", "runtime", "energy", "time_limit_s", "wait_s")))
        except TypeError as error:
            raise UsageError(f"The setting {setting} holds a value of the wrong type ({error}). Give what ep.profile takes.") from error
        found.append(options)
    if not found:
        raise UsageError("settings is empty, so there is nothing to measure. Leave it out for the default, or give at least one.")
    plain = [json.dumps(_plain_options(options), sort_keys=True) for options in found]
    for number, one in enumerate(plain):
        if plain.index(one) < number:
            raise UsageError(f"Settings {plain.index(one) + 1} and {number + 1} are the same. Give each once.")
    return found


def _plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """All options as JSON values: what a cell's key is made of."""
    return {name: _plain(options.get(name, default), name) for name, default in OPTIONS.items() if name != "wait_s"}


def _plain(value: Any, name: str) -> Any:
    if name == "inputs" and isinstance(value, str | Path):
        return {"file": Path(value).name, "sha256": _sha256_of(Path(value))}
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part, "") for key, part in value.items()}
    if isinstance(value, np.ndarray):
        data = repr(value.tolist()).encode() if value.dtype.kind == "O" else np.ascontiguousarray(value).tobytes()
        return f"{value.dtype}{list(value.shape)} sha256:{hashlib.sha256(data).hexdigest()}"
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Sequence | range):
        return [_plain(part, "") for part in value]
    raise UsageError(
        f"The option {name or 'value'} is {value!r}, a {type(value).__name__}, which a setting cannot hold. Give plain values."
    )


def _sha256_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"Cannot read the inputs {path}: {error.strerror or error}. Give the path of a .npz or .npy file.") from error


def _sendable(options: Mapping[str, Any], graph: Graph) -> Mapping[str, Any]:
    """Options that another machine can use: input data in place of a path."""
    inputs = options.get("inputs")
    return {**options, "inputs": dict(read_inputs(inputs, graph))} if isinstance(inputs, str | Path) else options


# Boards


def _boards(boards: str | Board | Sequence[str | Board], *, remote: bool) -> dict[str, Board | str]:
    """Boards by name, each name once."""
    found: dict[str, Board | str] = {}
    for given in [boards] if isinstance(boards, str) or not isinstance(boards, Sequence) else boards:
        if remote and not isinstance(given, str):
            raise UsageError(f"With dask a board is a name that the cluster's workers know; {given.name} came as an object. Give its name.")
        board = given if remote else get_board(given)
        name = board if isinstance(board, str) else board.name
        if name in found:
            raise UsageError(
                f"Two boards are called '{name}'; a board runs one job at a time. Give it once, or give the other a name of its own."
            )
        found[name] = board
    if not found:
        raise UsageError("boards is empty; give at least one, such as 'local'.")
    return found


def _told(board: Board | str, *, remote: bool) -> dict[str, Any]:
    """What a cell's key holds of a board beside its name."""
    versions = {"edgeprof": __version__}
    if isinstance(board, str):
        return {"identity": {"dask": True} if remote else None, "versions": versions}
    identity: dict[str, Any] = {"origin": board.origin}
    if is_dataclass(spec := getattr(board, "spec", None)):  # a simulated board is its numbers
        identity["spec"] = hashlib.sha256(repr(spec).encode()).hexdigest()
    if board.origin == "replayed":
        recorded = board.profile.context  # type: ignore[attr-defined]  # of a ReplayBoard
        identity["recorded"] = [recorded.board, recorded.model_sha256, recorded.started_at]
    if board.name == "local":
        with suppress(metadata.PackageNotFoundError):  # it came under another name
            versions["runtime"] = metadata.version("onnxruntime")
    return {"identity": identity, "versions": versions}


# Models


def _graphs(models: Model | Sequence[Model], settings: Sequence[Mapping[str, Any]]) -> list[list[Graph]]:
    """For each model a Graph a setting; a file is read once for each set of shapes."""
    several = isinstance(models, Sequence) and not isinstance(models, str)
    every: Sequence[Model] = models if several else [models]  # type: ignore[assignment,list-item]
    found: list[list[Graph]] = []
    for model in every:
        by_shapes: dict[str, Graph] = {}
        graphs = []
        for options in settings:
            shapes = options.get("shapes")
            known = json.dumps(_plain(shapes, "shapes"), sort_keys=True)
            if known not in by_shapes:
                path = model.path if isinstance(model, Graph) and shapes else model
                by_shapes[known] = load_model(path, shapes)
            graphs.append(by_shapes[known])
        found.append(graphs)
    if not found:
        raise UsageError("models is empty; give at least one path of an ONNX model.")
    _refuse_twins([graphs[0] for graphs in found])
    return found


def _refuse_twins(graphs: Sequence[Graph]) -> None:
    known: dict[str, str] = {}
    for graph in graphs:
        if graph.digest in known:
            raise UsageError(f"{known[graph.digest]} and {graph.path} are the same model (sha256 {graph.digest[:12]}). Give it once.")
        known[graph.digest] = graph.path


def _cell(graph: Graph, board: str, told: Mapping[str, Any], options: Mapping[str, Any]) -> Cell:
    given = tuple(name for name, value in options.items() if value != _plain(OPTIONS[name], name))
    return Cell(_name(graph), graph.digest, board, options, given, told["identity"], told["versions"])


def _name(graph: Graph) -> str:
    return Path(graph.path).name or graph.name


def stamp_of(graph: Graph) -> tuple[int, int]:
    """Size and time of the model's file; (-1, -1) when it is gone."""
    try:
        state = Path(graph.path).stat()
    except OSError:
        return (-1, -1)
    return (state.st_size, state.st_mtime_ns)
