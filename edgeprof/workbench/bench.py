"""`Bench`: all that a Workbench knows and does, without anything that draws.

1. Whatever takes long is a `Task` in one background thread; what is quick is a property or a method that returns at once.
2. Every change is told to who listens (`on_change`), and soon written to the study, from which another Bench takes it up.
3. Methods may be called from any thread. Listeners are called from the thread that changed something, and hold no lock.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeprof._version import __version__
from edgeprof.boards.base import Board, Event, Planned, Progress, Waiting
from edgeprof.datasets import Dataset, load_data
from edgeprof.errors import BundleError, EdgeprofError, Stopped, UsageError, did_you_mean
from edgeprof.models.graph import Graph
from edgeprof.recipes.recipe import Precision, Recipe, read_recipe, write_recipe
from edgeprof.recipes.target import Target, target_of, this_machine
from edgeprof.records import bundle
from edgeprof.records.profile import Profile
from edgeprof.searching.constraints import Constraints
from edgeprof.searching.losses import quality_of
from edgeprof.searching.search import Knowledge, guess
from edgeprof.studies import Study
from edgeprof.sweeping.plan import make_plan
from edgeprof.variants import MIXED, WIDTHS, designs, measure_variants
from edgeprof.whatif import fit
from edgeprof.workbench import edits, saving
from edgeprof.workbench import state as states
from edgeprof.workbench.candidates import BASE, Candidate, named, titled
from edgeprof.workbench.code import code_of, code_of_profiles, shown_path
from edgeprof.workbench.past import Past
from edgeprof.workbench.previews import learning_s, preview
from edgeprof.workbench.saving import Saver
from edgeprof.workbench.selection import Held, Rows, Selection, found_in, hold, rows_of, selection_of
from edgeprof.workbench.state import KeptCandidate, State
from edgeprof.workbench.subjects import opened
from edgeprof.workbench.tasks import Runner, Task
from edgeprof.workshop import Workshop

Kinds = frozenset[str]
PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "int8-weights")
LIVE = "live"
_FREE = Constraints()
_PREVIEWS = 64
_OF_WORKSHOP = ("calibration", "metric", "target")
_NO_DATA = "There is no data to score with. Open the Workbench with data=..."


class Bench:
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
        found = opened(subject, model, study)
        state = found.state
        of_folder = state is not None and model is None and found.study is not None and _is_folder(subject)
        self.graph: Graph | None = found.graph
        self.why_not = found.why_not
        self.board: str | Board = state.board if of_folder and state is not None and board == "local" else board
        self.options: dict[str, Any] = {**(state.options if of_folder and state is not None else {}), **options}
        self.constraints = constraints if isinstance(constraints, Constraints) else Constraints(**constraints) if constraints else _FREE
        self.precisions = tuple(precisions)
        self.widths, self.mixed = tuple(widths), mixed
        self.findings: list[str] = list(found.findings)
        self.on_event: Callable[[Task, Event], object] | None = None
        self._data_given = data
        self._data: Dataset | None = load_data(data, self.graph) if data is not None and self.graph is not None else None
        self._study = found.study
        if self.graph is not None and self.can_decide:
            measuring = {name: value for name, value in self.options.items() if name not in _OF_WORKSHOP}
            make_plan([self.graph], [self.board], None, measuring, remote=False)  # whatever makes no sense is said now
        self._given = {f"p{number}": profile for number, (_, profile) in enumerate(found.given, 1)}
        self._paths = [path for path, _ in found.given]
        self._live: Profile | None = None
        self._able = edits.Able(self.graph, has_data=data is not None or "calibration" in options) if self.can_decide else None  # type: ignore[arg-type]
        self._lock = threading.RLock()
        self._opening = threading.Lock()
        self._listeners: list[Callable[[Kinds], object]] = []
        self._candidates: dict[str, Candidate] = {}
        if self.can_decide and self.graph is not None:
            self._candidates[BASE] = Candidate(BASE, self.graph.name)
        self._count = 0
        self._knowledge: Knowledge | None = None
        self._learned: dict[str, Any] | None = None
        self._shown = BASE if self.can_decide else next(iter(self._given), "")
        self._selected: Past[Held] = Past([Held()])
        self._recipes: Past[Recipe] = Past([Recipe()], most=states.MOST_RECIPES)
        self._rows: dict[str, tuple[Profile | None, Rows]] = {}
        self._previews: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._keeps_state = state is not None or found.study is None or not (found.study / states.NAME).exists()
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

    # What there is

    @property
    def can_decide(self) -> bool:
        """Whether there is a model to change."""
        return self.graph is not None and not self.why_not

    @property
    def has_data(self) -> bool:
        """Whether there is data to score with."""
        return self._data is not None

    @property
    def study(self) -> Path | None:
        """The folder where everything is kept; it need not be there yet."""
        return self._study

    @property
    def base(self) -> Profile | None:
        """The measured profile of the model as it is; where there is no model to change, the first profile that was given."""
        with self._lock:
            if BASE in self._candidates:
                return self._candidates[BASE].measured
            return next(iter(self._given.values()), None)

    @property
    def candidates(self) -> list[Candidate]:
        """The model as it is, and recipes in the order in which they were first tried."""
        with self._lock:
            return list(self._candidates.values())

    @property
    def profiles(self) -> list[Profile]:
        """All there are, for charts: the model, of each candidate estimate and measurement, and those that were given."""
        with self._lock:
            own = [profile for one in self._candidates.values() for profile in (one.estimated, one.measured) if profile is not None]
            return [*own, *self._given.values()]

    @property
    def subjects(self) -> dict[str, Profile]:
        """What can be shown, by its key: of each candidate the measurement, else the estimate; profiles that were given; what is live."""
        with self._lock:
            found = {key: one.profile for key, one in self._candidates.items()} | self._given | {LIVE: self._live}
        return {key: profile for key, profile in found.items() if profile is not None}

    def profile_of(self, key: str) -> Profile | None:
        """What is known under a key: measured, else estimated; None when nothing is yet. UsageError when there is no such key."""
        with self._lock:
            if key in self._candidates:
                return self._candidates[key].profile
            if key == LIVE:
                return self._live
            if key in self._given:
                return self._given[key]
            raise UsageError(
                f"There is no {str(key)[:60]!r} here{did_you_mean(str(key)[:60], self._keys())}. There are: {', '.join(self._keys())}."
            )

    @property
    def live(self) -> Profile | None:
        """What has arrived of the measurement that is under way; whoever follows its events sets it."""
        return self._live

    @live.setter
    def live(self, profile: Profile | None) -> None:
        with self._changing("profiles", keep=False):
            self._live = profile

    @property
    def knowledge(self) -> Knowledge | None:
        """What was learned of the board; None before."""
        return self._knowledge

    def on_change(self, callback: Callable[[Kinds], object]) -> Callable[[], None]:
        """Calls ``callback`` with the kinds of what changed: selection, shown, recipe, candidates, tasks, profiles, knowledge.

        It is called from any thread; what it raises is kept in ``findings``. Returns a function that ends it.
        """
        with self._lock:
            self._listeners.append(callback)

        def end() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._listeners.remove(callback)

        return end

    # What is shown and selected

    @property
    def shown(self) -> str:
        """The key of what views show; set it to another. What is selected is found again there."""
        return self._shown

    @shown.setter
    def shown(self, key: str) -> None:
        self.profile_of(key)  # there is one
        if key != self._shown:
            with self._changing("shown", "selection"):
                self._shown = key

    @property
    def selection(self) -> Selection:
        """What is selected. Set it to a Selection, to names of layers of what is shown, or to a dict of the parts that change."""
        with self._lock:
            return self._found(self._selected.now)

    @selection.setter
    def selection(self, given: Selection | Mapping[str, Any] | Iterable[str] | None) -> None:
        with self._lock:
            tag, rows = self._tag_and_rows()
            now = self._found(self._selected.now)
            new = selection_of(given, now, rows, self._keys())
            if new == now:
                return
            self._selected.put(hold(new, tag, rows))
        self._changed("selection")

    def back(self) -> bool:
        """Selects what was selected before; False when there is nothing."""
        return self._moved(Past.back)

    def forward(self) -> bool:
        """Selects what was gone back from; False when there is nothing."""
        return self._moved(Past.forward)

    @property
    def can_go(self) -> tuple[bool, bool]:
        """Whether there is a selection to go back to, and one to go forward to."""
        with self._lock:
            return self._selected.can_back, self._selected.can_forward

    def original(self, layers: Iterable[str] | None = None) -> tuple[str, ...]:
        """The original nodes of ``layers`` of what is shown; None is those that are selected."""
        with self._lock:
            _, rows = self._tag_and_rows()
            return rows.original(self.selection.layers if layers is None else rows.named(_names(layers)))

    # The recipe

    @property
    def recipe(self) -> Recipe:
        """What is decided. Set it to another; RecipeError when that does not fit the model."""
        return self._recipes.now

    @recipe.setter
    def recipe(self, recipe: Recipe) -> None:
        if not isinstance(recipe, Recipe):
            raise UsageError(f"The recipe is a {type(recipe).__name__}; give a Recipe (edgeprof.recipes), or read one with load_recipe.")
        self._deciding().said(recipe)
        self._put(recipe)

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """The recipe as entries to show; see `edits.listed`."""
        return edits.listed(self._able, self.recipe) if self._able is not None else []

    def decide(
        self,
        layers: Iterable[str] | None = None,
        *,
        precision: str | None = None,
        prune: float | None = None,
        sparsity: float | None = None,
    ) -> dict[str, Any]:
        """Decides for ``layers`` of what is shown, by their original nodes; None is those that are selected.

        Returns ``layers`` that it was decided for, ``along`` those that go with them (of the same group when pruned, or 8-bit with what
        they read), and ``left``, why not the others. UsageError when none of them can have it.
        """
        able = self._deciding()
        with self._lock:
            made = edits.decide(able, self.recipe, self.original(layers), precision=precision, prune=prune, sparsity=sparsity)
        self._put(made.recipe)
        return {"layers": list(made.done), "along": list(made.along), "left": dict(made.left)}

    def reset(self, layers: Iterable[str] | None = None) -> None:
        """Takes back what is decided for ``layers`` of what is shown; None is those that are selected, or all when none is."""
        able = self._deciding()
        with self._lock:
            nodes = self.original(layers) if layers is not None or self.selection.layers else None
            made = edits.reset(able, self.recipe, nodes)
        self._put(made)

    def remove(self, index: int) -> None:
        """Removes an entry of ``decisions``."""
        self._put(edits.remove(self._deciding(), self.recipe, index))

    def undo(self) -> bool:
        """Takes the last change of the recipe back; False when there is none."""
        return self._moved(Past.back, recipe=True)

    def redo(self) -> bool:
        """Makes the change again that was taken back; False when there is none."""
        return self._moved(Past.forward, recipe=True)

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return self._recipes.can_back

    @property
    def can_redo(self) -> bool:
        """Whether there is a change to make again."""
        return self._recipes.can_forward

    def possible(self, layers: Iterable[str] | None = None) -> dict[str, Any]:
        """What can be decided for ``layers`` of what is shown; None is those that are selected.

        ``precisions``: each with "" or why not; ``prune`` and ``sparsity``: the same; ``group``: all that lose channels together with them;
        ``layers``: their original nodes; ``current``: what is decided now, "mixed" where that differs, None where it does not apply.
        """
        if self._able is None:
            none = dict.fromkeys(("fp32", *self.precisions), self.why_not)
            return {"precisions": none, "prune": self.why_not, "sparsity": self.why_not, "group": [], "layers": [],
                    "current": dict.fromkeys(("precision", "prune", "sparsity"))}  # fmt: skip
        return edits.possible(self._able, self.recipe, self.original(layers), self.precisions)

    def preview(self, recipe: Recipe | None = None) -> dict[str, Any]:
        """What a recipe would bring, at once; None is the one that is being decided.

        For each of latency_ms, energy_mj, peak_memory_bytes, model_bytes, score (with its ``metric`` and which is ``better``) and macs:
        ``before``, ``after`` with its interval ``low`` to ``high``, and ``change``, after less before, all NaN where it is not known; then
        ``why`` says why. ``limit`` is that of the constraints, and ``over`` whether it is exceeded. ``known`` is False while the board was
        not learned or where the recipe does not fit, ``why`` says so, ``seconds`` about how long learning will take.
        """
        recipe = self.recipe if recipe is None else recipe
        graph = self._deciding().graph
        with self._lock:
            base, known = self.base, self._knowledge
        key = (recipe.decisions, recipe.quantization, id(base), id(known), self.constraints)
        if key not in self._previews:
            told = preview(
                graph, recipe, base=base, knowledge=known, target=self._target(), constraints=self.constraints,
                learning_s=0.0 if known is not None else self._learning_s(base),
            )  # fmt: skip
            if len(self._previews) >= _PREVIEWS:
                self._previews.clear()
            self._previews[key] = told
        return {name: dict(value) if isinstance(value, dict) else value for name, value in self._previews[key].items()}

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

    def rename(self, key: str, name: str) -> None:
        """Gives a candidate another name."""
        with self._changing("candidates", "profiles"):
            one = self._known(key)
            self._candidates[key] = self._dressed(replace(one, name=str(name).strip()[:200] or one.name))

    def drop(self, key: str) -> None:
        """Takes a candidate off the list. What was built and measured stays in the study."""
        if self._known(key).key == BASE:
            raise UsageError("The model as it is stays. Drop a candidate.")
        with self._changing("candidates", "profiles", "shown", "selection"):
            del self._candidates[key]
            self._shown = BASE if self._shown == key else self._shown
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

    def _measure_base(self, task: Task, shop: Workshop) -> Profile:
        profile = shop.base(told=task.tell)
        if profile is not self.base:
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
        if self._learned is not None and self._was_learned(shop, self._learned):
            scores = bool(self._learned.get("scores"))
            self._start("learn", f"Read what was learned of {self.board_name}", lambda task, shop: self._learn(task, shop, scores=scores))

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
                self._holder.shop = shop
                shop.study.keep_model(self.graph)
            return self._holder.shop

    def _deciding(self) -> edits.Able:
        if self._able is None:
            raise UsageError(self.why_not)
        return self._able

    def _candidate(self, key: str | None = None, empty: str = "") -> Candidate:
        """The candidate ``key``, or that of the recipe that is now, made where there is none; ``empty`` is that of an empty recipe."""
        able = self._deciding()
        if key is not None:
            return self._known(key)
        recipe = self.recipe
        if not recipe.decisions:
            if empty:
                return self._known(empty)
            raise UsageError("The recipe decides nothing yet. Select layers and decide something for them.")
        with self._lock:
            found = next((one for one in self._candidates.values() if one.is_of(recipe)), None)
            if found is not None:
                return found
            name = named(recipe.name or edits.describe(able, recipe), {one.name for one in self._candidates.values()})
            self._count += 1
            found = Candidate(f"c{self._count}", name, replace(recipe, name=name, model_sha256=able.graph.digest))
            self._candidates[found.key] = found
        self._changed("candidates")
        return found

    def _known(self, key: str) -> Candidate:
        with self._lock:
            if key not in self._candidates:
                raise UsageError(f"There is no candidate {str(key)[:60]!r}{did_you_mean(str(key)[:60], self._candidates)}.")
            return self._candidates[key]

    def _recipe_of(self, key: str) -> Recipe:
        recipe = self._known(key).recipe
        if recipe is None:
            raise UsageError("The model as it is has no recipe.")
        return recipe

    def _update(self, key: str, **found: Any) -> Candidate:
        with self._changing("candidates", *(("profiles",) if {"estimated", "measured"} & found.keys() else ())):
            one = self._dressed(replace(self._known(key), **found))
            self._candidates[key] = one
        return one

    def _dressed(self, one: Candidate) -> Candidate:
        """With its name in the titles of its profiles."""
        if one.recipe is None or self.graph is None:
            return one
        title = f"{self.graph.name}, {one.name}"
        estimated, measured = (titled(profile, title) if profile is not None else None for profile in (one.estimated, one.measured))
        return replace(one, estimated=estimated, measured=measured)

    def _put(self, recipe: Recipe) -> None:
        with self._lock:
            moved = self._recipes.put(recipe)
        if moved:
            self._changed("recipe")

    def _moved(self, move: Callable[[Past[Any]], bool], *, recipe: bool = False) -> bool:
        with self._lock:
            moved = move(self._recipes if recipe else self._selected)
        if moved:
            self._changed("recipe" if recipe else "selection")
        return moved

    def _keys(self) -> list[str]:
        return [*self._candidates, *self._given, *([LIVE] if self._live is not None else [])]

    def _found(self, held: Held) -> Selection:
        tag, rows = self._tag_and_rows()
        return found_in(held, tag, rows, self._keys())

    def _tag_and_rows(self) -> tuple[str, Rows]:
        """The rows of what is shown, and what tells them from those of another profile."""
        profile = self.profile_of(self._shown) if self._shown else None
        tag = f"{self._shown} {profile.origin if profile is not None else 'model'}"
        known = self._rows.get(tag)
        if known is None or known[0] is not profile:
            known = self._rows[tag] = (profile, rows_of(profile, self.graph))
        return tag, known[1]

    @property
    def board_name(self) -> str:
        """What the board is called."""
        return self.board if isinstance(self.board, str) else self.board.name

    def _usable(self) -> tuple[Precision, ...]:
        """Precisions that can be built: int8 needs something to calibrate with."""
        return tuple(one for one in self.precisions if one != "int8" or (self._able is not None and self._able.has_data))

    def _target(self) -> Target:
        base = self.base
        if self.board_name == "local":
            return this_machine()
        return target_of(base.context.fingerprint, self.board_name) if base is not None else Target()

    def _learning_s(self, base: Profile | None) -> float:
        calibration = self.options.get("calibration", 128)
        samples = len(self._data) - (calibration if isinstance(calibration, int) else 0) if self._data is not None else 0
        runs = self.options.get("runs", 100)
        return learning_s(
            self._deciding().graph, base, runs=runs if isinstance(runs, int) else 100, precisions=self._usable(), widths=self.widths,
            mixed=self.mixed, samples=max(0, samples), told_s=self._took_s(),
        )  # fmt: skip

    def _took_s(self) -> float:
        """How long the last measurement took; NaN when there was none."""
        took = [task.ended - task.started for task in self.tasks if task.kind == "measure" and task.status == "done"]
        return took[-1] if took else math.nan

    @contextmanager
    def _changing(self, *kinds: str, keep: bool = True) -> Iterator[None]:
        with self._lock:
            yield
        self._changed(*kinds, keep=keep)

    def _changed(self, *kinds: str, keep: bool = True) -> None:
        """Tells who listens, and has it written soon. Nobody calls it with the lock held."""
        if keep:
            self._saver.touch()
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            with self._contained():
                listener(frozenset(kinds))

    @contextmanager
    def _contained(self) -> Iterator[None]:
        """What listeners raise is their own, and no reason to stop."""
        try:
            yield
        except Exception as error:
            self.findings.append(f"What listens to this Workbench failed with {type(error).__name__}: {str(error)[:200]}.")
            del self.findings[:-100]

    # What is written

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


def _is_folder(subject: Any) -> bool:
    return isinstance(subject, Study) or (isinstance(subject, str | os.PathLike) and Path(subject).is_dir())


def _names(layers: Iterable[str]) -> list[str]:
    return [layers] if isinstance(layers, str) else list(layers)
