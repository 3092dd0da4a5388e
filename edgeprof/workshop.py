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
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeprof import scoring
from edgeprof._version import __version__
from edgeprof.apart import Apart
from edgeprof.boards import get_board
from edgeprof.boards.base import Board, Cancelled, Event, Job, Progress, Started
from edgeprof.datasets import Dataset, load_data
from edgeprof.errors import BoardError, Stopped, StudyError, UsageError, WorkerError
from edgeprof.models import Graph, load_model
from edgeprof.profiler import profile
from edgeprof.recipes.build import apply
from edgeprof.recipes.recipe import Recipe, recipe_text
from edgeprof.recipes.target import Target, target_of, this_machine
from edgeprof.records.bundle import write_atomically
from edgeprof.records.profile import Profile
from edgeprof.scoring import Metric, Outputs, Score
from edgeprof.studies import Study
from edgeprof.sweeping.plan import Plan, Task, make_plan

Told = Callable[[str, int, int], None]
CALIBRATION = 128
"""Samples to calibrate with, unless others are given; the rest is for scores."""
BUSY = "waiting for another that measures it"
"""What is told while another process, or another Workshop here, measures the same."""
_LOOKS_EVERY_S = 0.3


class Workshop:
    """Builds, measures and scores candidates of ``model`` on ``board``. Use it in a ``with``: it keeps a process apart.

    ``on_event`` hears every event of its measurements, `Started` with the job first. What another measures in the same study is a
    StudyError; with ``waits`` True it is waited for, and taken from there. `stop` may be called from any thread, all else from
    one at a time.

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
        self.on_event: Callable[[Event], None] | None = None
        self.waits = False
        self._job: Job | None = None
        self._stopping = threading.Event()

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process apart, and removes a temporary study."""
        self._stack.close()

    def stop(self, *, at_once: bool = False) -> None:
        """Has what is under way end soon, with Stopped; nothing begins before `go_on`. What was measured is kept as a partial profile.

        A measurement ends after the runs that it is in, or ``at_once``. May be called from any thread, and again. What hears of progress
        (``told``) may raise Stopped to the same end, and then nothing needs to go on.
        """
        self._stopping.set()
        self.worker.kill()
        job = self._job
        if job is not None:
            job.kill() if at_once else job.cancel()

    def go_on(self) -> None:
        """Takes work again after `stop`."""
        if self._stopping.is_set():
            self.worker.close()  # it was killed: nobody is to find it dying
            self._stopping.clear()

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
        with self._stoppable():
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

    def kept(self, recipe: Recipe | None = None, *, mend: bool = True) -> Profile | None:
        """The profile of a recipe, or of the model itself, that was measured here before; None where there is none."""
        graph = self.graph
        if recipe is not None:
            if self._target is None and self.board.name != "local":
                base = self.kept()
                if base is None:
                    return None
                self._target = target_of(base.context.fingerprint, self.board.name)
            record = self._record(recipe_text(replace(recipe, model_sha256=self.graph.digest)), mend=mend)
            if record is None:
                return None
            graph = load_model(self.study.path / "models" / record["model"])
        cell = self._plan(graph).tasks[self.board.name][0].cell
        return self.study.profile(cell.key) if self.study.row(cell).get("status") == "done" else None

    def is_built(self, recipe: Recipe, *, mend: bool = True) -> bool:
        """Whether the model of a recipe is in the study."""
        known = self._target is not None or self.board.name == "local" or self._base is not None
        return known and self._record(recipe_text(replace(recipe, model_sha256=self.graph.digest)), mend=mend) is not None

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
        with self._stoppable():
            outputs = scoring.outputs_of(model, data, worker=self.worker, told=told)
        return scoring.score_outputs(outputs, data, self.metric, self.reference)

    @property
    def reference(self) -> Outputs:
        """The model's own outputs for the data that scores are made with."""
        if self._reference is None:
            with self._stoppable():
                self._reference = scoring.outputs_of(Path(self.graph.path), self._scored, worker=self.worker)
        return self._reference

    @property
    def _scored(self) -> Dataset:
        if self.data is None:
            raise UsageError("There is no data to score with. Give some: data=...")
        return self.data

    def _profiled(self, graph: Graph, recipe: Recipe | None, told: Told | None, *, score: bool) -> Profile:
        self._refuse_when_stopped()
        task = self._task(graph)
        row = self._claimed(task, graph, told)
        if row is not None:
            found = self.study.profile(task.cell.key)
            if not score or found.context.scores:
                return found
            self.study.claim(task.cell, self._owner, again=True)
        else:
            found = self._measured(task, graph, told)
        if recipe is not None:
            text = recipe_text(replace(recipe, model_sha256=self.graph.digest))
            name = f"{self.graph.name}, {recipe.name}" if recipe.name else found.context.model_name
            found = replace(found, parent=self.graph.digest, context=replace(found.context, recipe=text, model_name=name))
        try:
            scored = scoring.with_scores(found, self.score_model(Path(graph.path), told=told)) if score else found
        except BaseException:
            self.study.finish(task.cell, "done", found)  # it was measured, and is not measured again for the want of a score
            raise
        self.study.finish(task.cell, "done", scored)
        return scored

    def _claimed(self, task: Task, graph: Graph, told: Told | None) -> Mapping[str, Any] | None:
        """None when it is ours to measure, else what is known of it. StudyError, or with ``waits`` a wait, while others measure it."""
        while True:
            row = self.study.claim(task.cell, self._owner)
            if row is None or row["status"] != "running":
                return row
            if not self.waits:
                text = f"{graph.name} is being measured by another process in {self.study.path}. Wait for it, or use another study."
                raise StudyError(text)
            if told is not None:
                told(BUSY, 0, 0)
            self._stopping.wait(_LOOKS_EVERY_S)
            self._refuse_when_stopped()

    def _measured(self, task: Task, graph: Graph, told: Told | None) -> Profile:
        """A profile of ``graph``. One that was stopped is kept as cancelled, with what there is of it."""
        ear = _Ear(self, told)
        try:
            found = profile(graph, board=self.board, **self.options, progress=ear)
        except BoardError as error:
            self.study.finish(task.cell, "failed", error.profile, str(error))
            raise
        except BaseException as error:
            self.study.finish(task.cell, "cancelled" if isinstance(error, KeyboardInterrupt) else "failed", None, str(error))
            if ear.stopped or self._stopping.is_set():
                raise Stopped(f"The measurement of {graph.name} was stopped before anything was measured.") from error
            raise
        finally:
            self._job = None
        if ear.cancelled:
            text = f"The measurement of {graph.name} was stopped; what was measured is kept in {self.study.path}, as a partial profile."
            self.study.finish(task.cell, "cancelled", found, text)
            raise Stopped(text) if ear.stopped or self._stopping.is_set() else KeyboardInterrupt(text)
        return found

    def _heard(self, event: Event) -> None:
        if isinstance(event, Started):
            self._job = event.job
            if self._stopping.is_set():
                event.job.cancel()
        if self.on_event is not None:
            self.on_event(event)

    def _refuse_when_stopped(self) -> None:
        if self._stopping.is_set():
            raise Stopped(f"The work on {self.graph.name} was stopped.")

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Around work in the process apart, which `stop` kills."""
        self._refuse_when_stopped()
        try:
            yield
        except WorkerError as error:
            if self._stopping.is_set():
                raise Stopped(f"The work on {self.graph.name} was stopped.") from error
            raise

    def _task(self, graph: Graph) -> Task:
        plan = self._plan(graph)
        self.study.add_request(plan.request)
        return plan.tasks[self.board.name][0]

    def _plan(self, graph: Graph) -> Plan:
        return make_plan([graph], [self.board], None, self.options, remote=False)

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
            found["model"] = Path(found["model"]).name  # whoever wrote it: of this folder
            known = isinstance(found, dict) and (self.study.path / "models" / found["model"]).is_file()
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


class _Ear:
    """Hears the events of one measurement for its workshop, and tells of progress.

    ``cancelled``: it ended so; ``stopped``: who was told of progress wanted that.
    """

    def __init__(self, shop: Workshop, told: Told | None) -> None:
        self._shop, self._told = shop, told
        self.cancelled = self.stopped = False

    def __call__(self, event: Event) -> None:
        """Takes one event."""
        self.cancelled = isinstance(event, Cancelled)
        self._shop._heard(event)
        if isinstance(event, Progress) and self._told is not None:
            try:
                self._told(event.phase, event.done, event.total or 0)
            except Stopped:  # its way to end what is under way: what was measured is to be kept
                self.stopped = True
                if self._shop._job is not None:
                    self._shop._job.cancel()


def scores_of(profile: Profile) -> Mapping[str, Mapping[str, Any]]:
    """Scores by metric, as `Score.record` has them."""
    return {name: value for name, value in profile.context.scores.items() if isinstance(value, Mapping)}
