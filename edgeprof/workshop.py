"""A `Workshop`: where candidates of one model are built, measured on one board and scored, and kept in a study folder.

A candidate is a recipe and what came of it. In the study lie ``recipes/KEY.recipe.toml`` with ``KEY.json`` (what became of each wish),
``models/SHA.onnx``, and the bundle of each that was measured, which holds its recipe, its parent and its scores. What is there is not
built, measured nor scored again; the key is a hash of the model, the recipe, the calibration data, the processor and edgeprof's version.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeprof import scoring
from edgeprof._version import __version__
from edgeprof.apart import Apart
from edgeprof.boards import get_board
from edgeprof.boards.base import Board, Event
from edgeprof.datasets import Dataset, load_data
from edgeprof.errors import BoardError, StudyError, UsageError
from edgeprof.models import Graph, load_model
from edgeprof.profiler import profile
from edgeprof.recipes.build import apply
from edgeprof.recipes.recipe import Recipe, recipe_text
from edgeprof.recipes.target import Target, target_of, this_machine
from edgeprof.records.bundle import write_atomically
from edgeprof.records.profile import Profile
from edgeprof.scoring import Metric, Outputs, Score
from edgeprof.studies import Study
from edgeprof.sweeping.plan import Task, make_plan

Told = Callable[[str, int, int], None]
CALIBRATION = 128
"""Samples to calibrate with, unless others are given; the rest is for scores."""


class Workshop:
    """Builds, measures and scores candidates of ``model`` on ``board``. Use it in a ``with``: it keeps a process apart.

    Args:
        model: path of an ONNX model, or its Graph.
        board: as of `edgeprof.profile`.
        data: samples (`edgeprof.datasets.load_data`), which are split: ``calibration`` of them, drawn at random, for calibration, all
            others for scores. None: nothing that needs data can be built, nothing is scored.
        calibration: how many, or data of its own; then all of ``data`` is for scores.
        study: folder to keep everything in; None is a temporary one, which goes with the workshop.
        metric: as of `edgeprof.scoring.score_outputs`.
        target: the processor that models are made for; None is the board's, as its profile tells.
        options: of `edgeprof.profile`, such as runs or threads.

    Raises:
        EdgeprofError: the model, the data or the study cannot be read.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Graph,
        *,
        board: str | Board = "local",
        data: Any = None,
        calibration: Any = CALIBRATION,
        study: str | os.PathLike[str] | Study | None = None,
        metric: Metric = "auto",
        target: Target | None = None,
        **options: Any,
    ) -> None:
        self._stack = ExitStack()
        self.graph = load_model(model)
        self.board = get_board(board)
        self.metric = metric
        self.options = {"runs": 100, **options}
        self.calibration, self.data = self._split(data, calibration)
        if study is None:
            study = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeprof-", ignore_cleanup_errors=True))
        self.study = study if isinstance(study, Study) else Study.create(study, self.graph.name)
        self.worker = self._stack.enter_context(Apart(f"working on {self.graph.name}"))
        self._owner = self._stack.enter_context(self.study.owner())
        self._target = target
        self._base: Profile | None = None
        self._reference: Outputs | None = None
        self._base_score: Score | None = None

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process apart, and removes a temporary study."""
        self._stack.close()

    @property
    def target(self) -> Target:
        """The processor that models are made for: that of the board, once the model was measured there; this machine's for a local one."""
        if self._target is None:
            if self.board.name == "local":
                self._target = this_machine()
            else:
                self._target = target_of(self.base().context.fingerprint, self.board.name)
        return self._target

    def base(self, *, told: Told | None = None) -> Profile:
        """The profile of the model as it is, with its score where there is data; measured at the first call."""
        if self._base is None:
            self._base = self._profiled(self.graph, None, told, score=self.data is not None)
        return self._base

    def build(self, recipe: Recipe, *, mend: bool = True, told: Told | None = None) -> Path:
        """The model that ``recipe`` makes, in the study; ``mend`` as of `apply`. RecipeError when it cannot be built."""
        text = recipe_text(replace(recipe, model_sha256=self.graph.digest))
        record = self._record(text, mend=mend)
        if record is not None:
            return self.study.path / "models" / str(record["model"])
        built = apply(self.graph, recipe, data=self.calibration, target=self.target, mend=mend, worker=self.worker, told=told)
        name = f"{hashlib.sha256(built.model).hexdigest()}.onnx"
        place = self._recipes / f"{self._key(text, mend=mend)}.json"
        record = {
            "model": name,
            "parent": self.graph.digest,
            "activation_type": built.activation_type,
            "notes": built.notes,
            "changes": [asdict(change) for change in built.changes],
        }
        write_atomically(self._made("models") / name, built.model)
        write_atomically(place.with_suffix(".recipe.toml"), text.encode())
        write_atomically(place, json.dumps(record, indent=1).encode())
        return self.study.path / "models" / name

    def changes(self, recipe: Recipe) -> list[dict[str, str]]:
        """What became of each wish of a recipe that was built; UsageError when it was not."""
        record = self._record(recipe_text(replace(recipe, model_sha256=self.graph.digest)))
        if record is None:
            raise UsageError("The recipe was not built here yet. Build it first.")
        return list(record["changes"])

    def measure(self, recipe: Recipe, *, score: bool = True, mend: bool = True, told: Told | None = None) -> Profile:
        """The measured profile of a recipe's model, with recipe, parent and score. BoardError of the board, RecipeError as `build`."""
        path = self.build(recipe, mend=mend, told=told)
        return self._profiled(load_model(path), recipe, told, score=score and self.data is not None)

    def score(self, recipe: Recipe | None = None, *, told: Told | None = None) -> Score:
        """The score of a recipe's model, or of the model itself. UsageError when there is no data."""
        path = Path(self.graph.path) if recipe is None else self.build(recipe, told=told)
        return self.score_model(path, told=told)

    @property
    def base_score(self) -> Score:
        """The score of the model as it is."""
        if self._base_score is None:
            self._base_score = scoring.score_outputs(self.reference, self._scored, self.metric, self.reference)
        return self._base_score

    def score_model(self, model: Path | bytes, *, told: Told | None = None) -> Score:
        """The score of any model with the same inputs and outputs, such as one that is not kept."""
        data = self._scored
        return scoring.score_outputs(scoring.outputs_of(model, data, worker=self.worker, told=told), data, self.metric, self.reference)

    @property
    def reference(self) -> Outputs:
        """The model's own outputs for the data that scores are made with."""
        if self._reference is None:
            self._reference = scoring.outputs_of(Path(self.graph.path), self._scored, worker=self.worker)
        return self._reference

    @property
    def _scored(self) -> Dataset:
        if self.data is None:
            raise UsageError("There is no data to score with. Give some: data=...")
        return self.data

    def _profiled(self, graph: Graph, recipe: Recipe | None, told: Told | None, *, score: bool) -> Profile:
        task = self._task(graph)
        row = self.study.claim(task.cell, self._owner)
        if row is not None and row["status"] == "running":
            raise StudyError(f"{graph.name} is being measured by another process in {self.study.path}. Wait for it, or use another study.")
        if row is not None:
            found = self.study.profile(task.cell.key)
            if not score or found.context.scores:
                return found
            self.study.claim(task.cell, self._owner, again=True)
        else:
            try:
                found = profile(graph, board=self.board, **self.options, progress=_listener(told))
            except BoardError as error:
                self.study.finish(task.cell, "failed", error.profile, str(error))
                raise
            except BaseException as error:
                self.study.finish(task.cell, "cancelled" if isinstance(error, KeyboardInterrupt) else "failed", None, str(error))
                raise
        if recipe is not None:
            text = recipe_text(replace(recipe, model_sha256=self.graph.digest))
            name = f"{self.graph.name}, {recipe.name}" if recipe.name else found.context.model_name
            found = replace(found, parent=self.graph.digest, context=replace(found.context, recipe=text, model_name=name))
        if score:
            found = scoring.with_scores(found, self.score_model(Path(graph.path), told=told))
        self.study.finish(task.cell, "done", found)
        return found

    def _task(self, graph: Graph) -> Task:
        plan = make_plan([graph], [self.board], None, self.options, remote=False)
        self.study.add_request(plan.request)
        return plan.tasks[self.board.name][0]

    def _split(self, data: Any, calibration: Any) -> tuple[Dataset | None, Dataset | None]:
        if data is None:
            return (None if isinstance(calibration, int) else load_data(calibration, self.graph)), None
        every = load_data(data, self.graph)
        if not isinstance(calibration, int):
            return load_data(calibration, self.graph), every
        if calibration < 1:
            raise UsageError(f"calibration is {calibration}; give how many samples, 1 or more, or data of its own.")
        if len(every) < 2:
            raise UsageError(f"The data has {len(every)} sample; two are needed at least, one to calibrate with and one to score with.")
        return every.split(min(calibration, len(every) // 2))

    def _record(self, text: str, *, mend: bool = True) -> dict[str, Any] | None:
        """What is known of a recipe that was built, when its model is still there."""
        try:
            found = json.loads((self._recipes / f"{self._key(text, mend=mend)}.json").read_text("utf-8"))
            known = isinstance(found, dict) and (self.study.path / "models" / Path(found["model"]).name).is_file()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if known else None

    def _key(self, text: str, *, mend: bool) -> str:
        target = [self.target.activation_type, self.target.channel_multiple, self.target.reduce_range]
        data = self.calibration.digest if self.calibration is not None else ""
        return hashlib.sha256(json.dumps([text, data, target, mend, __version__]).encode()).hexdigest()[:16]

    @property
    def _recipes(self) -> Path:
        return self._made("recipes")

    def _made(self, name: str) -> Path:
        path = self.study.path / name
        path.mkdir(exist_ok=True)
        return path


def _listener(told: Told | None) -> bool | Callable[[Event], None]:
    if told is None:
        return False
    from edgeprof.boards.base import Progress

    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            told(event.phase, event.done, event.total or 0)

    return listen


def scores_of(profile: Profile) -> Mapping[str, Mapping[str, Any]]:
    """Scores by metric, as `Score.record` has them."""
    return {name: value for name, value in profile.context.scores.items() if isinstance(value, Mapping)}
