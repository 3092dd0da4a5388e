"""`sensitivity`: every decision on every layer, tried on real data, in the order of what is worth most, as long as there is time.

What was tried lies in the study (`kept`) and is not tried again, whoever stopped it. Trials run in a process apart (`bench`), in which
model, data and ranges stay from one to the next.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from edgeprof import scoring
from edgeprof._version import __version__
from edgeprof.analysis.names import shorten
from edgeprof.datasets import Dataset
from edgeprof.errors import EdgeprofError, RecipeError, UsageError, WorkerError, did_you_mean
from edgeprof.models.cost import graph_costs
from edgeprof.models.graph import Graph
from edgeprof.recipes.kernels import is_quantized
from edgeprof.recipes.recipe import Quantization
from edgeprof.scoring import Metric, Outputs, Score
from edgeprof.sensitivities import bench
from edgeprof.sensitivities.bench import Opened, Setup, Survey, Tried
from edgeprof.sensitivities.kept import Kept, mark_of
from edgeprof.sensitivities.result import Ended, Sensitivity, noise_of, table_of
from edgeprof.sensitivities.savings import Savings, can_be_measured
from edgeprof.sensitivities.trials import ALL, MODES, Mode, Trial, decision_names, mode_names, modes_of, prune_part, recipe_of
from edgeprof.workshop import CALIBRATION, Told, Workshop

if TYPE_CHECKING:
    from edgeprof.boards.base import Board
    from edgeprof.studies import Study
    from edgeprof.whatif import Costs

T = TypeVar("T")

SAMPLES = 256
"""Samples that each trial is scored on: a loss of top1 is then known within about a point."""


def sensitivity(
    model: str | os.PathLike[str] | Graph | Workshop,
    *,
    data: Any = None,
    decisions: Iterable[str | float] | str | float = ("int8",),
    modes: Iterable[str] | str = MODES,
    layers: Iterable[str] | None = None,
    metric: Metric = "auto",
    samples: int = SAMPLES,
    calibration: Any = CALIBRATION,
    quantization: Quantization | None = None,
    minutes: float | None = None,
    board: str | Board = "local",
    study: str | os.PathLike[str] | Study | None = None,
    measure: bool = True,
    costs: Costs | None = None,
    progress: bool | Told | None = None,
    **options: Any,
) -> Sensitivity:
    """What each decision costs in answers and saves on a board, layer by layer.

    Args:
        model: path of an ONNX model, its Graph, or a Workshop, which brings data, metric, board and study along.
        data: samples (`edgeprof.datasets.load_data`), with labels for a task metric: part calibrates, the rest gives the scores.
        decisions: precisions (``"int8"``) and parts of the channels to prune (0.25).
        modes: of ``only``, ``without``, ``weights``, ``activations``; see `edgeprof.sensitivities.trials`.
        layers: only these; None is every layer that can have a decision.
        metric: as of `edgeprof.scoring.score_outputs`. Without labels it is SQNR against the model as it is.
        samples: how many of those for scores each trial is scored on.
        calibration: as of `Workshop`.
        quantization: how int8 is made.
        minutes: ends after so long; what is not tried by then is listed as left, and the same call tries it another time.
        board: where savings are measured.
        study: folder to keep everything in. None: nothing is kept.
        measure: whether to measure the model, and with all layers at each precision, on the board, so that savings are known.
        costs: what `edgeprof.whatif.fit` made of measured variants; savings are then estimated from these.
        progress: None shows a bar, False nothing; a callable gets phase, done and total.
        options: of `edgeprof.profile`, such as runs or threads.

    Raises:
        UsageError: an option makes no sense.
        RecipeError: the model is quantized already, or int8 has no data to calibrate with.
        DataError: the data does not fit the model or the metric.
        EdgeprofError: the model itself cannot be run or measured.
    """
    names, chosen = decision_names(decisions), mode_names(modes)
    _check(samples, minutes)
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    with ExitStack() as stack:
        if isinstance(model, Workshop):
            if data is not None or study is not None or metric != "auto" or options:
                raise UsageError("A Workshop brings its own data, study, metric and options. Give it those, or give a model instead of it.")
            shop = model
        else:
            made = Workshop(model, board=board, data=data, calibration=calibration, study=study, metric=metric, **options)
            shop = stack.enter_context(made)
        told = stack.enter_context(_Bar(shop.graph.name)) if progress is None or progress is True else progress or None
        settings = quantization or Quantization()
        if shop.data is None:
            raise UsageError("Sensitivity needs data: samples that are like those in use. Give some: data=...")
        _refuse_quantized(shop.graph)
        conductor = _Conductor(shop, shop.data.take(samples, 0), settings, deadline, told)
        wanted = None if layers is None else _there(list(layers), shop.graph)
        savings = _savings(shop, names, settings, costs, told, measure=measure)
        return conductor.run(names, chosen, wanted, savings)


def _check(samples: int, minutes: float | None) -> None:
    if samples < 1:
        raise UsageError(f"samples is {samples}; give how many to score each trial on, 1 or more.")
    if minutes is not None and not minutes > 0:
        raise UsageError(f"minutes is {minutes}; give a time above 0, or None for no limit.")


def _there(layers: list[str], graph: Graph) -> set[str]:
    there = [layer.name for layer in graph.layers if layer.parent is None]
    for layer in layers:
        if layer not in there:
            raise UsageError(f"{graph.name} has no layer '{layer}'{did_you_mean(layer, there)}.")
    return set(layers)


def _refuse_quantized(graph: Graph) -> None:
    found = sorted({layer.op_type for layer in graph.layers if is_quantized(layer.op_type)})
    if found:
        raise RecipeError(f"{graph.name} is quantized already (it has {', '.join(found)}). Give the float model that it was made from.")


def _savings(
    shop: Workshop, decisions: Sequence[str], settings: Quantization, costs: Costs | None, told: Told | None, *, measure: bool
) -> Savings:
    if costs is not None or not measure:
        return Savings(costs=costs, quantization=settings)
    base = shop.base(told=told)
    whole = {}
    for decision in filter(can_be_measured, decisions):
        recipe = recipe_of(Trial(decision, "all", ALL), (), settings)
        whole[decision] = shop.measure(recipe, score=False, told=told)
    return Savings(base, whole, quantization=settings)


@dataclass
class _Found:
    """What is known of a trial: numbers as in the table, with the bytes of the model."""

    status: Literal["done", "left", "failed"] = "left"
    reason: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    model_bytes: int = 0


class _OutOfTime(Exception):
    """The time that was given is over."""


class _Conductor:
    """Tries what is not known yet, keeps it, and makes the table."""

    def __init__(self, shop: Workshop, data: Dataset, settings: Quantization, deadline: float | None, told: Told | None) -> None:
        self.shop, self.data, self.settings, self.deadline, self.told = shop, data, settings, deadline, told
        target, mark = shop.target, mark_of(shop.metric)
        self._keeps = mark is not None
        self._kept = Kept(shop.study.path, {
            "model": shop.graph.digest, "data": data.digest, "calibration": shop.calibration.digest if shop.calibration is not None else "",
            "quantization": asdict(settings), "target": [target.activation_type, target.reduce_range, target.channel_multiple],
            "metric": mark, "version": __version__,
        })  # fmt: skip
        self._opened: Opened | None = None
        self._base = Score("", math.nan)
        self._ran = 0
        self._longest = 0.0

    def run(self, decisions: Sequence[str], modes: Sequence[Mode], wanted: set[str] | None, savings: Savings) -> Sensitivity:
        """All trials, or as many as there is time for."""
        surveys: dict[str, Survey] = {}
        found: dict[Trial, _Found] = {}
        base, base_bytes = Score(self.shop.metric if isinstance(self.shop.metric, str) else "", math.nan), 0
        ended: Ended = "complete"
        end = self._alarm()
        try:
            base, base_bytes = self._own_score()
            for decision in decisions:
                surveys[decision] = self._survey(decision)
            trials = self._trials(surveys, modes, wanted, savings.order(self.shop.graph))
            self._all(trials, surveys, found)
        except _OutOfTime:
            ended = "out of time"
        except KeyboardInterrupt:
            ended = "interrupted"
        finally:
            if end is not None:
                end.cancel()
            self.shop.worker.close()  # it holds all outputs; whoever needs one starts it again
        surveys |= {decision: self._guessed(decision) for decision in decisions if decision not in surveys}
        rows = _Rows(self.shop.graph, surveys, found, savings, base_bytes).rows(modes, wanted)
        result = Sensitivity(
            model_name=self.shop.graph.name,
            model_sha256=self.shop.graph.digest,
            metric=base.metric,
            value=base.value,
            better=base.better,
            data=self.data.source,
            samples=len(self.data),
            board=self.shop.board.name,
            quantization=self.settings,
            table=table_of(rows),
            saved_error=savings.costs.error if savings.costs is not None else math.nan,
            ended=ended,
            ran=self._ran,
        )
        result.save(self.shop.study.path / "sensitivity.json")
        return result

    # What is tried

    def _trials(
        self, surveys: Mapping[str, Survey], modes: Sequence[Mode], wanted: set[str] | None, weight: Mapping[str, float]
    ) -> list[Trial]:
        """The whole model first, then mode by mode the layers on which most hangs."""
        found = []
        weighted = _weighted(self.shop.graph)
        for decision, survey in surveys.items():
            if survey.layers:
                found.append(Trial(decision, "all", ALL))
                found += [Trial(decision, mode, ALL) for mode in modes_of(decision, modes) if mode in ("weights", "activations")]
        for mode in modes:
            own = [
                Trial(decision, mode, layer)
                for decision, survey in surveys.items()
                for layer in survey.layers
                if (wanted is None or layer in wanted) and mode in modes_of(decision, modes, weights=layer in weighted)
            ]
            found += sorted(own, key=lambda trial: -weight.get(trial.layer, 0.0))
        return found

    def _all(self, trials: Sequence[Trial], surveys: Mapping[str, Survey], found: dict[Trial, _Found]) -> None:
        for trial in trials:
            if (known := self._known(trial)) is not None:
                found[trial] = known
        done = len(found)
        for trial in trials:
            if trial not in found:
                if self.told is not None:
                    self.told(str(trial), done, len(trials))
                found[trial] = self._one(trial, surveys[trial.decision].every)
                done += 1
        if self.told is not None:
            self.told("done", done, len(trials))

    def _one(self, trial: Trial, every: tuple[str, ...]) -> _Found:
        begun = time.monotonic()
        try:
            made = self._judged(self._call(bench.attempt, trial, every))
        except EdgeprofError as error:
            made = _Found("failed", str(error))
        self._ran += 1
        self._longest = max(self._longest * 0.8, time.monotonic() - begun)
        if self._keeps and made.status == "done":
            self._kept.put(
                {"numbers": {name: _plain(value) for name, value in made.numbers.items()}, "bytes": made.model_bytes}, *_key(trial)
            )
        return made

    def _judged(self, tried: Tried) -> _Found:
        if tried.reason or tried.sqnr is None or tried.cosine is None:
            return _Found("failed", tried.reason, model_bytes=tried.model_bytes)
        after = tried.score if tried.score is not None else self._scored(tried.outputs or {})
        numbers = _loss(self._base, after) | {
            "sqnr_db": tried.sqnr.value, "sqnr_low_db": tried.sqnr.low, "sqnr_high_db": tried.sqnr.high, "cosine": tried.cosine.value,
        }  # fmt: skip
        return _Found("done", "", numbers, tried.model_bytes)

    # What is known

    def _known(self, trial: Trial) -> _Found | None:
        value = self._kept.get(*_key(trial)) if self._keeps else None
        if value is None:
            return None
        numbers = {name: math.nan if number is None else float(number) for name, number in dict(value["numbers"]).items()}
        return _Found("done", "", numbers, int(value["bytes"]))

    def _own_score(self) -> tuple[Score, int]:
        """The model's own score, without what it is for each sample, and its bytes."""
        known = self._kept.get("base") if self._keeps else None
        if known is None:
            opened = self._open()
            known = {"metric": self._base.metric, "value": self._base.value, "better": self._base.better, "bytes": opened.model_bytes}
            if self._keeps:
                self._kept.put(known | {"value": _plain(known["value"])}, "base")
        value = math.nan if known["value"] is None else float(known["value"])
        return Score(known["metric"], value, better=known["better"]), int(known["bytes"])

    def _survey(self, decision: str) -> Survey:
        known = self._kept.get("survey", decision) if self._keeps else None
        if known is not None:
            return Survey(tuple(known["layers"]), dict(known["reasons"]), tuple(known["followers"]))
        if self.told is not None:
            self.told(f"calibrate, {decision}", 0, 0)
        found = self._call(bench.survey, decision)
        if self._keeps:
            self._kept.put({"layers": found.layers, "reasons": found.reasons, "followers": found.followers}, "survey", decision)
        return found

    def _guessed(self, decision: str) -> Survey:
        """Which layers will be tried, where there was no time to find out."""
        from edgeprof.recipes.plan import prunable_groups, quantizable

        return Survey((quantizable if prune_part(decision) is None else prunable_groups)(self.shop.graph), {})

    # The process apart

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        self._check_time()
        self._open()
        return self._apart(function, *args)

    def _open(self) -> Opened:
        if self._opened is None or not self._apart(bench.is_open):
            shop = self.shop
            setup = Setup(
                shop.graph.path, shop.graph, self.data, shop.calibration, self.settings, shop.target, bench.metric_name(shop.metric)
            )
            self._opened = self._apart(bench.open_bench, setup)
            self._base = self._opened.score if self._opened.score is not None else self._scored(self._opened.outputs or {})
        return self._opened

    def _apart(self, function: Callable[..., T], *args: Any) -> T:
        try:
            return self.shop.worker.call(function, *args)
        except WorkerError as error:
            self._opened = None
            if self._time_left() <= 0:
                raise _OutOfTime from error
            raise

    def _scored(self, outputs: Outputs) -> Score:
        """Scores by a function that cannot go to another process."""
        return scoring.score_outputs(outputs, self.data, self.shop.metric)

    # Time

    def _time_left(self) -> float:
        return math.inf if self.deadline is None else self.deadline - time.monotonic()

    def _check_time(self) -> None:
        if self._time_left() < self._longest or self._time_left() <= 0:
            raise _OutOfTime

    def _alarm(self) -> threading.Timer | None:
        """Ends the process apart when the time is over, whatever it is at."""
        if self.deadline is None:
            return None
        alarm = threading.Timer(max(0.0, self._time_left()), self.shop.worker.kill)
        alarm.daemon = True
        alarm.start()
        return alarm


class _Rows:
    """The table's rows."""

    def __init__(
        self, graph: Graph, surveys: Mapping[str, Survey], found: Mapping[Trial, _Found], savings: Savings, base_bytes: int
    ) -> None:
        self._graph, self._surveys, self._found, self._savings, self._base_bytes = graph, surveys, found, savings, base_bytes

    def rows(self, modes: Sequence[Mode], wanted: set[str] | None) -> list[dict[str, Any]]:
        """A row a trial, layer by layer in the model's order; of layers that cannot have a decision one that says why."""
        made: list[dict[str, Any]] = []
        weighted = _weighted(self._graph)
        for decision, survey in self._surveys.items():
            whole: list[Mode] = ["all", *(mode for mode in modes_of(decision, modes) if mode in ("weights", "activations"))]
            made += [self._row(Trial(decision, mode, ALL), "", survey) for mode in whole if survey.layers]
            for layer in self._graph.layers:
                if layer.parent is not None or (wanted is not None and layer.name not in wanted):
                    continue
                if layer.name in survey.layers:
                    tried = modes_of(decision, modes, weights=layer.name in weighted)
                    made += [self._row(Trial(decision, mode, layer.name), layer.op_type, survey) for mode in tried]
                elif layer.name in survey.reasons:
                    made.append({
                        "layer": layer.name, "op_type": layer.op_type, "decision": decision, "mode": "only", "status": "cannot",
                        "reason": survey.reasons[layer.name],
                    })  # fmt: skip
        return made

    def _row(self, trial: Trial, op_type: str, survey: Survey) -> dict[str, Any]:
        found = self._found.get(trial, _Found())
        saving = self._savings.of(trial, survey.every)
        return {
            "layer": trial.layer, "op_type": op_type, "decision": trial.decision, "mode": trial.mode, "status": found.status,
            **found.numbers, "saved_ms": saving.ms, "saved_low_ms": saving.low_ms, "saved_high_ms": saving.high_ms, "saved_mj": saving.mj,
            "saved_bytes": self._saved_bytes(trial, found), "saved_basis": saving.basis, "reason": found.reason,
        }  # fmt: skip

    def _saved_bytes(self, trial: Trial, found: _Found) -> float:
        if trial.is_half or not found.model_bytes:
            return math.nan
        if trial.mode != "without":
            return float(self._base_bytes - found.model_bytes)
        whole = self._found.get(Trial(trial.decision, "all", ALL), _Found()).model_bytes
        return float(found.model_bytes - whole) if whole else math.nan


class _Bar:
    """A bar of trials, with the time left, by tqdm."""

    def __init__(self, name: str) -> None:
        self._name = shorten(name, 32)
        self._bar: Any = None

    def __enter__(self) -> _Bar:
        from tqdm.auto import tqdm

        self._bar = tqdm(total=None, desc=self._name, unit="trial", leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Shows how far it is."""
        self._bar.set_description(f"{self._name}: {shorten(phase, 48)}", refresh=False)
        self._bar.total, self._bar.n = total or None, done
        self._bar.refresh()


def _loss(before: Score, after: Score) -> dict[str, float]:
    """The loss of the table, with its interval and how many samples it is from."""
    if after.metric == "sqnr_db":
        return {"loss": noise_of(after.value), "loss_low": noise_of(after.high), "loss_high": noise_of(after.low)}
    drop = scoring.drop(before, after)
    return {"loss": drop.value, "loss_low": drop.low, "loss_high": drop.high, "changed": float(drop.changed)}


def _weighted(graph: Graph) -> set[str]:
    return {layer for layer, cost in graph_costs(graph).items() if cost.params > 0}


def _key(trial: Trial) -> tuple[str, str, str]:
    return trial.decision, trial.mode, trial.layer


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
