"""`Bench`: all that a Workbench knows and does, without anything that draws: the `Desk`, work in the background, and files.

1. Whatever takes long is a `Task` in one background thread; what is quick is a property or a method that returns at once.
2. Every change is told to who listens (`on_change`), and soon written to the study, from which another Bench takes it up.
3. Methods may be called from any thread. Listeners are called from the thread that changed something, and hold no lock.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

from edgeprof._version import __version__
from edgeprof.analysis.names import shorten
from edgeprof.boards import get_board
from edgeprof.boards.base import Board, Cancelled, Done, Event, Failed, Planned, Progress, Waiting
from edgeprof.datasets import load_data
from edgeprof.errors import BundleError, EdgeprofError, Stopped, UsageError, did_you_mean
from edgeprof.models.graph import Graph
from edgeprof.peaks import board_peaks
from edgeprof.recipes.recipe import FLOAT, Precision, read_recipe, write_recipe
from edgeprof.records import bundle
from edgeprof.records.peaks import Peaks
from edgeprof.records.profile import Profile
from edgeprof.searching.constraints import Constraints
from edgeprof.searching.losses import quality_of
from edgeprof.searching.search import Knowledge, guess
from edgeprof.studies import Study
from edgeprof.sweeping.plan import make_plan
from edgeprof.variants import MIXED, WIDTHS, designs, measure_variants
from edgeprof.whatif import fit
from edgeprof.workbench import saving
from edgeprof.workbench import state as states
from edgeprof.workbench.candidates import BASE, Candidate
from edgeprof.workbench.code import code_of, code_of_profiles, shown_path
from edgeprof.workbench.desk import Desk
from edgeprof.workbench.past import Past
from edgeprof.workbench.saving import Saver
from edgeprof.workbench.selection import Held
from edgeprof.workbench.state import KeptCandidate, State
from edgeprof.workbench.subjects import opened
from edgeprof.workbench.tasks import Runner, Task
from edgeprof.workshop import CALIBRATION, Workshop

PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "int8-weights")
_OF_WORKSHOP = ("calibration", "metric", "target")
_OF_PEAKS = ("runtime", "providers", "provider_options", "threads", "cpus", "wait_s")
_MOST_RECIPES_READ = 200
_NO_DATA = "There is no data to score with. Open the Workbench with data=..."


class Bench(Desk):
    """A model, its candidates and what is known of them.

    Args:
        subject: path of an ONNX model or its Graph, which can be changed; a Profile, an ``.edgeprof`` file or several, which can only be
            looked at; or a study folder.
        board: as of `edgeprof.profile`.
        data: as of `Workshop`: without it nothing is scored, and int8 cannot be built.
        study: folder to keep everything in; None is ``MODEL.study`` in the current folder, made when there is something to keep.
        constraints: limits that previews are held against.
        precisions: what layers may become besides float; the board is learned for these.
        widths: parts of the channels that the board is learned for.
        mixed: mixtures to measure for the error bar of estimates.
        model: the model file that ``subject``, which is profiles or a study, is of.
        options: of `Workshop` (calibration, metric) and `edgeprof.profile` (runs, threads ...).

    ``on_event`` hears every event of a measurement, with its task. ``can_decide`` says whether there is a model to change; ``why_not`` is
    the reason, as a sentence, when there is none. ``findings`` are sentences on what could not be taken up from the study.

    Raises:
        EdgeprofError: the subject, the data or the study cannot be read.
    """

    def __init__(
        self,
        subject: Any,
        *,
        board: str | Board = "local",
        data: Any = None,
        study: str | os.PathLike[str] | Study | None = None,
        constraints: Constraints | Mapping[str, float] | None = None,
        precisions: Sequence[Precision] = PRECISIONS,
        widths: Sequence[float] = WIDTHS,
        mixed: int = MIXED,
        model: str | os.PathLike[str] | Graph | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(board, str) and not hasattr(board, "name"):
            raise UsageError(f"The Workbench measures on one board, and was given a {type(board).__name__}. Give the name of one.")
        _check_learning(precisions, widths, mixed)
        limits = constraints if isinstance(constraints, Constraints) else _limits(constraints or {})
        found = opened(subject, model, study)
        state, given, findings = found.state, found.given, list(found.findings)
        if state is not None and _is_folder(subject):  # settings are those of the study, unless others are given
            options = {**state.options, **options}
            if board == "local" and found.graph is not None and (problem := _unknown_board(state.board)):
                findings.append(f"What was measured here was measured on {shorten(state.board)!r}: {problem} It can be looked at.")
                given = tuple(("", one) for one in Study.open(found.study or "").profiles())
            elif board == "local":
                board = state.board
        can_decide = found.graph is not None and not found.why_not
        samples = load_data(data, found.graph) if data is not None and found.graph is not None else None
        calibration = options.get("calibration", CALIBRATION)
        counted = calibration if isinstance(calibration, int) else 0
        super().__init__(
            found.graph, found.why_not, [profile for _, profile in given], board=board, options=options,
            constraints=limits, precisions=precisions, widths=widths, mixed=mixed,
            samples=max(0, len(samples) - counted) if samples is not None else 0,
            can_calibrate=samples is not None or not isinstance(calibration, int),
        )  # fmt: skip
        self.findings += findings
        if can_decide and found.graph is not None:
            measuring = {name: value for name, value in options.items() if name not in _OF_WORKSHOP}
            make_plan([found.graph], [board], None, measuring, remote=False)  # whatever makes no sense is said now
        self.on_event: Callable[[Task, Event], object] | None = None
        self._data_given, self._data = data, samples
        self._study = found.study
        self._paths = [path for path, _ in given]
        self._opening = threading.Lock()
        self._learned: dict[str, Any] | None = None
        self._keeps_state = not found.findings  # else what lies there is moved aside first
        self._holder = _Holder()
        self._runner = Runner(self._holder.stop, self._holder.go_on)
        self._saver = Saver(self._write)
        self._finish = weakref.finalize(self, _finish, self._runner, self._holder, self._saver)
        try:
            if self.can_decide and self._study is not None and (self._study / "study.toml").is_file():
                self._shop()
            if state is not None:
                self._take_up(state)
            self._find_kept()
        except BaseException:
            self._finish()
            raise

    def __repr__(self) -> str:
        of = self.graph.name if self.graph is not None else f"{len(self._given)} profiles"
        board = self.board if isinstance(self.board, str) else self.board.name
        return f"<Bench of {of} on {board}: {max(0, len(self._candidates) - 1)} candidates, {len(self.recipe.decisions)} decisions>"

    @property
    def has_data(self) -> bool:
        """Whether there is data to score with."""
        return self._data is not None

    @property
    def study(self) -> Path | None:
        """The folder where everything is kept; it need not be there yet."""
        return self._study

    # Work in the background

    @property
    def tasks(self) -> list[Task]:
        """The first first."""
        return self._runner.tasks

    def learn(self, scores: bool = True) -> Task:
        """Measures variants of the model on the board and, with data, tries each decision alone: what estimates are made of."""
        return self._start("learn", f"Learn {self.board_name}", lambda task, shop: self._learn(task, shop, scores=scores))

    def estimate(self) -> Task:
        """Estimates the recipe that is now, as a candidate; the board is learned first where it was not yet."""
        one = self._candidate()
        return self._start("estimate", f"Estimate {one.name}", lambda task, shop: self._estimate(task, shop, one.key), one.key)

    def build(self) -> Task:
        """Builds the model of the recipe that is now."""
        one = self._candidate()
        return self._start("build", f"Build {one.name}", lambda task, shop: self._build(task, shop, one.key), one.key)

    def measure(self, key: str | None = None, *, score: bool = True) -> Task:
        """Builds and measures the recipe that is now, or a candidate; with data it is scored too. An empty recipe is the model as it is."""
        one = self._candidate(key, empty=BASE)
        return self._start("measure", f"Measure {one.name}", lambda task, shop: self._measure(task, shop, one.key, score=score), one.key)

    def score(self, key: str | None = None) -> Task:
        """Scores the recipe that is now, or a candidate, on the data."""
        if self._data is None:
            raise UsageError(self.why_not or _NO_DATA)
        one = self._candidate(key, empty=BASE)
        return self._start("score", f"Score {one.name}", lambda task, shop: self._score(task, shop, one.key), one.key)

    def measure_peaks(self) -> Task:
        """Measures how fast the board computes and moves data, for the roofline; kept on this machine (`edgeprof.peaks.board_peaks`)."""
        return self._start("peaks", f"Measure the peaks of {self.board_name}", self._peaks)

    def drop(self, key: str) -> None:
        """Takes a candidate off the list. What was built and measured stays in the study."""
        super().drop(key)
        if self._study is not None:
            (self._study / "estimates" / f"{key}.edgeprof").unlink(missing_ok=True)

    # Files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes all there is to a study folder at ``path``, which another Bench can open; OutputError when something else is there."""
        target = Path(path)
        self._saver.flush()
        own = self._holder.shop.study if self._holder.shop is not None else None
        if own is None and self.can_decide:
            own = self._shop().study
        if own is not None:
            if target.resolve() != own.path.resolve():
                saving.copied(own, target)
        else:
            saving.written(target.name, self._given.values(), target)
        states.write(self._state(), target)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Any) -> Bench:
        """The Bench that was saved to ``path``; ``options`` are those of the constructor."""
        return cls(Study.open(path), **options)

    def save_recipe(self, path: str | os.PathLike[str]) -> Path:
        """Writes the recipe that is now to a ``.recipe.toml`` file."""
        graph = self._deciding().graph
        return write_recipe(replace(self.recipe, model_sha256=graph.digest), Path(path))

    def load_recipe(self, path: str | os.PathLike[str]) -> None:
        """Takes the recipe in a file; RecipeError when it makes no sense or does not fit the model."""
        self.recipe = read_recipe(Path(path))

    def code(self) -> str:
        """The Python that does the same, by public calls."""
        if not self.can_decide or self.graph is None:
            return code_of_profiles(self._paths)
        learning = {"precisions": self._usable(), "widths": self.widths, "mixed": self.mixed, "score": self._data is not None}
        study = shown_path(str(self._study)) if self._study is not None else ""
        model = shown_path(self.graph.path)
        return code_of(
            model,
            self.candidates,
            self.recipe,
            board=self.board,
            data=self._data_given,
            study=study,
            options=self.options,
            learning=learning,
        )

    def flush(self) -> None:
        """Writes now what changed since it was last written."""
        self._saver.flush()

    def close(self) -> None:
        """Cancels what is under way, writes what changed and ends the processes. Closing again does nothing."""
        self._finish()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # The work itself, in the background thread

    def _start(self, kind: str, label: str, work: Callable[[Task, Workshop], Any], key: str = "") -> Task:
        self._deciding()
        if self._runner.is_closed:
            raise UsageError("This Workbench was closed. Open another.")

        def run(task: Task) -> Any:
            shop = self._shop()
            shop.on_event = lambda event: self._heard(task, event)
            try:
                return work(task, shop)
            except EdgeprofError as error:
                if key and not isinstance(error, Stopped) and not task.is_cancelling:
                    self._update(key, failed=str(error))
                raise
            finally:
                shop.on_event = None

        return self._runner.add(kind, label, run, lambda: self._changed("tasks", keep=False), key)

    def _heard(self, task: Task, event: Event) -> None:
        if isinstance(event, Planned | Waiting):
            task.say(event.text, always=True)
        elif isinstance(event, Progress) and task.phase != event.phase:
            task.say(f"{event.phase} {event.amount}".strip())
        listen = self.on_event
        if listen is not None:
            with self._contained():
                listen(task, event)

    def _learn(self, task: Task, shop: Workshop, *, scores: bool) -> Knowledge:
        self._measure_base(task, shop)
        scored, precisions = scores and shop.data is not None, self._usable()
        variants = measure_variants(shop, precisions=precisions, widths=self.widths, mixed=self.mixed, score=scored, told=task.tell)
        costs = fit(variants.base, variants.profiles, target=shop.target)
        quality = quality_of(shop, variants, costs, precisions, self.widths, task.tell) if scored else None
        known = Knowledge(costs, quality, variants.profiles)
        failed = [recipe.name for recipe, _ in variants.failed]
        task.check()
        with self._changing("knowledge"):
            self._knowledge = known
            self._learned = {**self._to_learn(), "scores": scored, "failed": failed}
        return known

    def _estimate(self, task: Task, shop: Workshop, key: str) -> Profile:
        known = self._knowledge or self._learn(task, shop, scores=True)
        task.tell("estimate")
        profile, _ = guess(known, self._recipe_of(key))
        folder = shop.study.path / "estimates"
        folder.mkdir(exist_ok=True)
        bundle.save(profile, folder / f"{key}.edgeprof")
        self._update(key, estimated=profile, failed="")
        return profile

    def _build(self, task: Task, shop: Workshop, key: str) -> Path:
        path = shop.build(self._recipe_of(key), told=task.tell)
        self._update(key, built=True, failed="")
        return path

    def _measure(self, task: Task, shop: Workshop, key: str, *, score: bool) -> Profile:
        if key == BASE:
            return self._measure_base(task, shop)
        recipe = self._recipe_of(key)
        self._build(task, shop, key)
        profile = shop.measure(recipe, score=False, told=task.tell)
        self._update(key, measured=profile, failed="")
        if score and shop.data is not None:
            profile = shop.measure(recipe, told=task.tell)
            self._update(key, measured=profile)
        return profile

    def _peaks(self, task: Task, shop: Workshop) -> Peaks:
        settings = {name: self.options[name] for name in _OF_PEAKS if name in self.options}

        def hear(event: Event) -> None:
            if isinstance(event, Progress):
                task.tell(event.phase, event.done, event.total)
            elif not isinstance(event, Done | Cancelled | Failed):
                task.check()

        found = board_peaks(shop.board, **settings, progress=hear)
        self._changed("profiles", keep=False)
        return found

    def _measure_base(self, task: Task, shop: Workshop) -> Profile:
        began, anew = time.monotonic(), self.base is None
        profile = shop.base(told=task.tell)
        if profile is not self.base:
            self._took_s = time.monotonic() - began if anew else self._took_s
            self._update(BASE, measured=profile, failed="")
        return profile

    def _score(self, task: Task, shop: Workshop, key: str) -> Any:
        if key == BASE:
            return self._update(BASE, measured=shop.base(told=task.tell), failed="").score
        recipe = self._recipe_of(key)
        if self._known(key).measured is not None:
            return self._update(key, measured=shop.measure(recipe, told=task.tell), failed="").score
        score = shop.score(recipe, told=task.tell)
        return self._update(key, built=True, scores={score.metric: score.record()}, failed="").score

    # What was there before

    def _take_up(self, state: State) -> None:
        """Takes up what an earlier Bench left; what does not fit any more is left out, and said."""
        if self._able is not None:
            try:
                for recipe in state.recipes:
                    self._able.said(recipe)
                self._recipes = Past(state.recipes, state.at, most=states.MOST_RECIPES)
            except EdgeprofError as error:
                self.findings.append(f"The recipe in the study does not fit the model and is left out: {error}")
            for one in state.candidates:
                recipe = replace(one.recipe, model_sha256=self._able.graph.digest)
                self._candidates[one.key] = Candidate(one.key, one.name, recipe, scores=one.scores, failed=one.failed)
                self._count = max(self._count, int(one.key[1:]))
        self._selected = Past([state.held]) if state.held != Held() else self._selected
        self._learned = dict(state.learned) if state.learned is not None else None
        if state.shown in self._keys():
            self._shown = state.shown

    def _find_kept(self) -> None:
        """Profiles of the candidates that lie in the study, and what was learned of the board, which is read in the background."""
        shop = self._holder.shop
        if shop is None:
            return
        for key, one in list(self._candidates.items()):
            try:
                measured = shop.kept(one.recipe)
                built = one.recipe is not None and shop.is_built(one.recipe)
                estimated = self._kept_estimate(shop, one)
            except EdgeprofError as error:
                self.findings.append(f"What was measured of {one.name} cannot be read: {error}")
                continue
            self._candidates[key] = self._dressed(replace(one, measured=measured, built=built, estimated=estimated))
        lost = [one.name for one in self._candidates.values() if one.measured is None and one.recipe is not None]
        if lost and self._data is None and self._were_built(shop, lost):
            text = "Candidates in this study were built with data that was not given now, so they stand here unmeasured."
            self.findings.append(f"{text} Give the same data=... again.")
        if self._learned is not None and self._was_learned(shop, self._learned):
            scores = bool(self._learned.get("scores"))
            self._start("learn", f"Read what was learned of {self.board_name}", lambda task, shop: self._learn(task, shop, scores=scores))

    def _were_built(self, shop: Workshop, names: Sequence[str]) -> bool:
        """Whether the study holds a recipe of one of these names: what it was built with is another matter."""
        for path in sorted(shop.study.path.glob("recipes/*.recipe.toml"))[:_MOST_RECIPES_READ]:
            with contextlib.suppress(EdgeprofError):
                if read_recipe(path).name in names:
                    return True
        return False

    def _kept_estimate(self, shop: Workshop, one: Candidate) -> Profile | None:
        path = shop.study.path / "estimates" / f"{one.key}.edgeprof"
        if one.recipe is None or not path.is_file():
            return None
        try:
            found = bundle.load(path)
        except BundleError as error:
            self.findings.append(f"The estimate of {one.name} cannot be read: {error} Estimate it again.")
            return None
        return found if found.origin == "estimated" and found.parent == shop.graph.digest else None

    def _was_learned(self, shop: Workshop, learned: Mapping[str, Any]) -> bool:
        """Whether all of it lies in the study: nothing is measured unasked."""
        if self.base is None or {name: learned.get(name) for name in self._to_learn()} != self._to_learn():
            return False
        mend, failed = bool(learned.get("scores")), learned.get("failed")
        wanted = designs(shop.graph, precisions=self._usable(), widths=self.widths, mixed=self.mixed)
        return all(shop.is_built(one, mend=mend) or (isinstance(failed, list) and one.name in failed) for one in wanted)

    def _to_learn(self) -> dict[str, Any]:
        """All that what is learned depends on."""
        return {
            "edgeprof": __version__, "board": self.board_name, "precisions": list(self._usable()), "widths": list(self.widths),
            "mixed": self.mixed, "options": states.plain_options(self.options), "data": self._data.digest if self._data is not None else "",
        }  # fmt: skip

    # Inside

    def _shop(self) -> Workshop:
        """The workshop; it is opened, and its study made, at the first call."""
        with self._opening:
            if self._holder.shop is None:
                if self.graph is None or self._holder.closed:
                    raise UsageError(self.why_not or "This Workbench was closed. Open another.")
                shop = Workshop(self.graph, board=self.board, data=self._data, study=self._study, **self.options)
                shop.waits = True
                self._holder.shop = shop
                shop.study.keep_model(self.graph)
            return self._holder.shop

    # What is written

    def _keep(self) -> None:
        self._saver.touch()

    def _state(self) -> State:
        with self._lock:
            kept = [
                KeptCandidate(one.key, one.name, one.recipe, one.scores, one.failed)
                for one in self._candidates.values()
                if one.recipe is not None
            ]
            graph = self.graph
            return State(
                model_name=graph.name if graph is not None else "",
                model_sha256=graph.digest if graph is not None else "",
                board=self.board_name, options=states.plain_options(self.options), shown=self._shown, held=self._selected.now,
                recipes=self._recipes.values, at=self._recipes.at, candidates=tuple(kept), learned=self._learned,
            )  # fmt: skip

    def _write(self) -> None:
        """Writes the state to the study, which is made when there is something to keep."""
        state = self._state()
        if self._study is None or (not self.can_decide and not (self._study / "study.toml").is_file()):
            return
        if self.can_decide and self._holder.shop is None and not (state.candidates or len(state.recipes) > 1):
            return
        try:
            folder = self._shop().study.path if self.can_decide else self._study
            if not self._keeps_state:  # what could not be read, or is another model's, is kept beside
                with contextlib.suppress(FileNotFoundError):
                    (folder / states.NAME).replace(folder / f"{states.NAME}.before")
                self._keeps_state = True
            states.write(state, folder)
        except (EdgeprofError, OSError) as error:
            text = f"The Workbench cannot be kept: {error}"
            if text not in self.findings:
                self.findings.append(text)


class _Holder:
    """The workshop of a Bench, once there is one, apart from the Bench: it must be closed when that is gone."""

    def __init__(self) -> None:
        self.shop: Workshop | None = None
        self.closed = False

    def stop(self, at_once: bool) -> None:
        """See `Workshop.stop`."""
        if self.shop is not None:
            self.shop.stop(at_once=at_once)

    def go_on(self) -> None:
        """See `Workshop.go_on`."""
        if self.shop is not None:
            self.shop.go_on()


def _finish(runner: Runner, holder: _Holder, saver: Saver) -> None:
    runner.close()
    saver.flush()
    holder.closed = True
    if holder.shop is not None:
        holder.shop.close()


def _check_learning(precisions: Sequence[str], widths: Sequence[float], mixed: int) -> None:
    """UsageError for what a board cannot be learned for."""
    known = get_args(Precision)
    others = ", ".join(name for name in known if name != FLOAT)
    if isinstance(precisions, str):
        raise UsageError(f"precisions is the text {shorten(precisions, 60)!r}. Give a list of some of: {others}.")
    for one in precisions:
        if one not in known or one == FLOAT:
            raise UsageError(f"There is no precision {shorten(str(one), 60)!r} to learn. Give a list of some of: {others}.")
    if not all(isinstance(part, int | float) and 0 < part < 1 for part in widths):
        raise UsageError(f"widths is {shorten(str(widths), 60)}. Give parts of the channels that stay, each between 0 and 1: [0.5, 0.75].")
    if not isinstance(mixed, int) or mixed < 0:
        raise UsageError(f"mixed is {shorten(str(mixed), 60)!r}. Give how many mixtures to measure, 0 or more.")


def _limits(given: Mapping[str, float]) -> Constraints:
    known = [one.name for one in fields(Constraints)]
    for name in given:
        if name not in known:
            raise UsageError(
                f"There is no constraint {shorten(str(name), 60)!r}{did_you_mean(str(name), known)}. There are: {', '.join(known)}."
            )
    return Constraints(**given)


def _unknown_board(name: str) -> str:
    """Why the board that a study names cannot be used here; empty when it can."""
    if not all(c.isalnum() or c in "._-" for c in name):  # a path of a recording, perhaps: nobody asked for it
        return "Name it with board=... to measure more."
    try:
        get_board(name)
    except EdgeprofError as error:
        return str(error)
    return ""


def _is_folder(subject: Any) -> bool:
    return isinstance(subject, Study) or (isinstance(subject, str | os.PathLike) and Path(subject).is_dir())
