"""`search`: Optuna proposes recipes, estimates judge them, and the best are built, measured and scored.

1. The model and variants of it are measured (`edgeprof.variants`) and scored, each decision is tried alone
   (`edgeprof.sensitivity`): from these come estimates of time, energy, memory and size (`edgeprof.whatif`) and of the loss.
2. Optuna (Akiba et al., KDD 2019) makes all objectives small at once, under the constraints; the model as it is, uniform recipes and, one
   layer after the other, the decisions that cost least are among the first trials.
3. Of the estimated front, recipes that lie apart are built, measured on the board and scored: half of them first. The best of many
   estimates are those that are too good by chance; what was measured is therefore learned from, all trials are judged again, and the
   other half is taken from the new front. What each was estimated at before it was built stands beside its measurement.

The trials lie in an Optuna study: SQLite in the study folder, or any storage that ``storage`` names, which several processes and machines
may work on at once.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeprof.errors import BoardError, MissingExtra, RecipeError, UsageError, did_you_mean
from edgeprof.recipes.recipe import Decision, Precision, Recipe
from edgeprof.records.profile import Profile
from edgeprof.searching.constraints import OBJECTIVES, Constraints
from edgeprof.searching.live import LivePareto
from edgeprof.searching.result import Candidate, SearchResult
from edgeprof.searching.space import Space, make_space
from edgeprof.variants import MIXED, WIDTHS, measure_variants
from edgeprof.whatif import Costs, estimate, fit, totals
from edgeprof.whatif.quality import Quality
from edgeprof.workshop import Told, Workshop

if TYPE_CHECKING:
    import optuna

Sampler = Literal["tpe", "nsga2", "nsga3", "random"]
Watch = Callable[[SearchResult], object]
TRIALS = 400
BUILD = 5
LIVE = 40
"""After so many trials a live chart is drawn anew."""
SYNC = 16
"""After so many trials those of others are looked for."""
_NAME = "edgeprof"
_FREE = Constraints()


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What estimates are made of: times and sizes, and what decisions cost in answers (None without data).

    ``variants``: the measured profiles that ``costs`` were fitted to.
    """

    costs: Costs
    quality: Quality | None
    variants: tuple[Profile, ...] = ()

    def with_measured(self, profiles: Sequence[Profile]) -> Knowledge:
        """The same with more measured profiles of recipes: candidates that were built teach like variants."""
        every = (*self.variants, *profiles)
        return replace(self, costs=fit(self.costs.base, every, target=self.costs.target), variants=every)


def search(
    shop: Workshop,
    *,
    objectives: Sequence[str] = ("latency_ms", "loss"),
    constraints: Constraints = _FREE,
    precisions: Sequence[Precision] = ("int8",),
    widths: Sequence[float] = WIDTHS,
    trials: int = TRIALS,
    minutes: float | None = None,
    sampler: Sampler = "tpe",
    seed: int = 0,
    storage: str | None = None,
    build: int = BUILD,
    mixed: int = MIXED,
    knowledge: Knowledge | None = None,
    told: Told | None = None,
    live: bool | Watch = False,
) -> SearchResult:
    """Recipes for the workshop's model that make ``objectives`` small under ``constraints``.

    Args:
        shop: where candidates are built and measured; its study keeps all, and what it has is not done again.
        objectives: one to three of `OBJECTIVES`.
        constraints: limits that candidates must keep to.
        precisions: what layers may become besides float.
        widths: parts of the channels that groups of layers may lose.
        trials: how many recipes to estimate, those of earlier searches in the same storage included.
        minutes: ends the trials after so long; variants are measured and candidates built besides.
        sampler: how Optuna proposes: tpe, nsga2, nsga3 or random.
        seed: for the sampler and the mixtures.
        storage: URL of an Optuna storage; None is SQLite in the study.
        build: how many of the front to build, measure and score; 0 for none.
        mixed: mixtures to measure for the estimates.
        knowledge: of an earlier `learn`; None learns first.
        told: hears of progress.
        live: True draws the Pareto chart in the notebook's cell while it goes on; a callable gets what was found so far.

    Raises:
        UsageError: an option makes no sense.
        MissingExtra: Optuna is not installed.
        EdgeprofError: the model cannot be measured or scored.
    """
    _check(objectives, trials, minutes, sampler, build)
    optuna = _optuna()
    space = make_space(shop.graph, precisions, widths)
    if not space.variables:
        raise UsageError(f"{shop.graph.name} has no layer that can be quantized or pruned, so there is nothing to search.")
    known = knowledge or learn(shop, precisions=precisions, widths=widths, mixed=mixed, seed=seed, told=told)
    if known.quality is None and ("loss" in objectives or constraints.loss is not None):
        raise UsageError("A loss needs data to score with. Give some (data=...), or leave loss out of the objectives and constraints.")
    study = _open(optuna, shop, storage, objectives)
    watch = LivePareto() if live is True else live or None

    def found(candidates: Sequence[Candidate], *, whole: bool) -> SearchResult:
        metric = known.quality.metric if known.quality else ""
        return SearchResult(known.costs.base, tuple(objectives), constraints, metric, tuple(candidates), len(study.trials), whole)

    def show(candidates: Sequence[Candidate] | None = None) -> None:
        if watch is not None:
            watch(found(_front(study, space, known, objectives, constraints) if candidates is None else candidates, whole=False))

    complete = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # parts of samplers are, in Optuna's words
            _run(optuna, study, _sampler(optuna, sampler, seed), space, known, constraints, trials, minutes, told, show)
    except KeyboardInterrupt:
        complete = False
    candidates = _front(study, space, known, objectives, constraints)
    try:
        first = build // 2 if known.variants else build
        candidates = _built(shop, candidates, objectives, first if complete else 0, told, show)
        if complete and first < build:
            candidates = _taught(shop, study, space, known, objectives, constraints, candidates, build - first, told, show)
    except KeyboardInterrupt:
        complete = False
    return found(candidates, whole=complete)


def learn(
    shop: Workshop,
    *,
    precisions: Sequence[Precision] = ("int8",),
    widths: Sequence[float] = WIDTHS,
    mixed: int = MIXED,
    seed: int = 0,
    told: Told | None = None,
) -> Knowledge:
    """Measures and scores variants, tries each decision alone, and fits what estimates are made of."""
    variants = measure_variants(shop, precisions=precisions, widths=widths, mixed=mixed, seed=seed, score=shop.data is not None, told=told)
    costs = fit(variants.base, variants.profiles, target=shop.target)
    if shop.data is None:
        return Knowledge(costs, None, variants.profiles)
    from edgeprof.searching.losses import quality_of

    return Knowledge(costs, quality_of(shop, variants, costs, precisions, widths, told), variants.profiles)


def values_of(profile: Profile, loss: float) -> dict[str, float]:
    """A profile's values by objective; NaN is not known."""
    context = profile.context
    told = {
        "latency_ms": context.latency.median_ms, "energy_mj": context.energy.inference_mj,
        "peak_memory_bytes": context.memory.peak_bytes, "model_bytes": context.model_bytes,
    }  # fmt: skip
    return {"loss": loss} | {name: math.nan if value is None else float(value) for name, value in told.items()}


def judge(known: Knowledge, recipe: Recipe) -> dict[str, float]:
    """The estimated values of a recipe by objective, without making a Profile of them: quick."""
    loss = math.nan
    if known.quality is not None:
        loss = known.quality.loss(known.quality.noise_of(recipe, known.costs.graph))
    return {"loss": loss, **totals(known.costs, recipe)}


def guess(known: Knowledge, recipe: Recipe) -> tuple[Profile, dict[str, float]]:
    """The estimate of a recipe, with its estimated score, and its values by objective."""
    profile = estimate(known.costs, recipe)
    loss = math.nan
    if known.quality is not None:
        quality = known.quality
        noise = quality.noise_of(recipe, known.costs.graph)
        loss, value, error = quality.loss(noise), quality.score(noise), quality.error
        own = known.costs.base.context.scores.get(quality.metric)  # an estimate is on the data that the model itself was scored on
        data = {name: own.get(name, "") for name in ("data", "data_sha256")} if isinstance(own, Mapping) else {}
        record = {"value": value, "low": value - error, "high": value + error, "better": quality.better, "estimated": True, **data}
        kept = {name: None if isinstance(one, float) and math.isnan(one) else one for name, one in record.items()}
        profile = replace(profile, context=replace(profile.context, scores={quality.metric: kept}))
    return profile, values_of(profile, loss)


def _check(objectives: Sequence[str], trials: int, minutes: float | None, sampler: str, build: int) -> None:
    for name in objectives:
        if name not in OBJECTIVES:
            raise UsageError(f"There is no objective '{name}'{did_you_mean(name, OBJECTIVES)}. There are: {', '.join(OBJECTIVES)}.")
    if not 1 <= len(set(objectives)) == len(objectives) <= 3:
        raise UsageError(f"Objectives are {', '.join(objectives) or 'none'}; give one to three different ones.")
    if trials < 1 or build < 0:
        raise UsageError(f"trials is {trials} and build {build}; give 1 or more trials, and 0 or more to build.")
    if minutes is not None and not 0 < minutes < math.inf:
        raise UsageError(f"minutes is {minutes}; give a number above 0, or None.")
    if sampler not in get_args(Sampler):
        raise UsageError(
            f"There is no sampler '{sampler}'{did_you_mean(sampler, get_args(Sampler))}. There are: {', '.join(get_args(Sampler))}."
        )


def _open(optuna: Any, shop: Workshop, storage: str | None, objectives: Sequence[str]) -> optuna.Study:
    """The Optuna study of this model, board and objectives, with what earlier searches tried."""
    url = storage or f"sqlite:///{shop.study.path.resolve() / 'search.sqlite'}"
    name = f"{_NAME} {shop.graph.digest[:16]} {shop.board.name} {' '.join(objectives)}"
    try:
        study = optuna.create_study(study_name=name, storage=url, directions=["minimize"] * len(objectives), load_if_exists=True)
        study.set_user_attr("objectives", list(objectives))
    except Exception as error:  # of SQLAlchemy, whichever driver it uses
        text = " ".join(str(error).split())[:200]
        raise UsageError(f"The storage {url.split('@')[-1]} cannot be opened: {text}. Give the URL of an Optuna storage.") from error
    return study  # type: ignore[no-any-return]


def _sampler(optuna: Any, sampler: str, seed: int) -> Any:
    samplers = optuna.samplers
    if sampler == "tpe":
        return samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=40)
    if sampler == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=40)
    if sampler == "nsga3":
        return samplers.NSGAIIISampler(seed=seed, population_size=40)
    return samplers.RandomSampler(seed=seed)


def starts(space: Space, known: Knowledge, steps: int = 12) -> list[dict[str, str | float]]:
    """Params to begin with, each once; see `_enqueue`."""
    precisions = sorted({str(one) for name, choices in space.variables.items() if name.startswith("precision ") for one in choices[1:]})
    widths = sorted({float(one) for name, choices in space.variables.items() if name.startswith("prune ") for one in choices[1:]})
    found = [space.unchanged(), *(space.uniform(precision=p) for p in precisions)]
    found += [space.uniform(prune=w) for w in widths]
    found += [space.uniform(precision=p, prune=w) for p in precisions for w in widths]
    noise = known.quality.noise if known.quality is not None else {}
    for precision in precisions if noise else []:
        whole = space.uniform(precision=precision)
        order = sorted(
            (name for name in whole if name.startswith("precision ")), key=lambda name: noise.get((name[10:], precision), math.inf)
        )
        for step in range(1, steps):
            kept = set(order[: round(len(order) * step / steps)])
            found.append({name: value if name in kept else space.variables[name][0] for name, value in whole.items()})
    return list({tuple(params.items()): params for params in found}.values())


def _run(
    optuna: Any,
    shared: optuna.Study,
    sampler: Any,
    space: Space,
    known: Knowledge,
    constraints: Constraints,
    trials: int,
    minutes: float | None,
    told: Told | None,
    show: Callable[[], None],
) -> None:
    """Tries recipes: proposed from memory, where asking is quick; those that are done go to the storage, others' come from it."""
    end = time.monotonic() + minutes * 60 if minutes is not None else math.inf
    study = optuna.create_study(directions=shared.directions, sampler=sampler)
    objectives: list[str] = shared.user_attrs["objectives"]
    seen: set[int] = set()
    first = starts(space, known) if not shared.get_trials(deepcopy=False) else []
    while time.monotonic() < end:
        if not len(seen) % SYNC:
            _take_in(study, shared, seen)
        if len(seen) >= trials:
            return
        if first:
            study.enqueue_trial(first.pop(0))
        trial = study.ask()
        params: dict[str, Any] = {name: trial.suggest_categorical(name, list(choices)) for name, choices in space.variables.items()}
        study.tell(trial, *_tried(optuna, trial, space, known, params, objectives, constraints))
        done = study.get_trials(deepcopy=False)[-1]
        shared.add_trial(done)
        seen.add(shared.get_trials(deepcopy=False)[-1].number)
        if told is not None:
            told("search", len(seen), trials)
        if not len(seen) % LIVE:
            show()


def _tried(
    optuna: Any, trial: Any, space: Space, known: Knowledge, params: Mapping[str, Any], objectives: Sequence[str], constraints: Constraints
) -> tuple[list[float] | None, Any]:
    """What to tell Optuna of a trial: its values, or that it came to nothing."""
    failed = (None, optuna.trial.TrialState.FAIL)
    try:
        values = judge(known, space.recipe(params))
    except (RecipeError, UsageError):
        return failed
    for name, over in constraints.excess(values).items():
        trial.set_constraint(name, over)
    wanted = [values[name] for name in objectives]
    return failed if any(math.isnan(value) for value in wanted) else (wanted, optuna.trial.TrialState.COMPLETE)


def _take_in(study: optuna.Study, shared: optuna.Study, seen: set[int]) -> None:
    """Takes in what others have tried meanwhile, and what was tried before."""
    for trial in shared.get_trials(deepcopy=False):
        if trial.number not in seen:
            seen.add(trial.number)
            study.add_trial(trial)


def _front(study: optuna.Study, space: Space, known: Knowledge, objectives: Sequence[str], constraints: Constraints) -> list[Candidate]:
    """The estimated front, within the constraints where anything is, in the order of the first objective; each recipe once."""
    judged: dict[tuple[Decision, ...], tuple[Recipe, tuple[float, ...], bool]] = {}
    for trial in study.get_trials(deepcopy=False):
        recipe = space.recipe(trial.params) if trial.values is not None else Recipe()
        if recipe.decisions and recipe.decisions not in judged:
            values = judge(known, recipe)
            judged[recipe.decisions] = (recipe, tuple(values[name] for name in objectives), constraints.holds(values))
    every = [one for one in judged.values() if not any(math.isnan(value) for value in one[1])]
    fitting = [one for one in every if one[2]] or every
    front = [one for one in fitting if not any(_dominates(other[1], one[1]) for other in fitting)]
    found: list[Candidate] = []
    for recipe, _, _ in sorted(front, key=lambda one: one[1]):
        named = replace(recipe, name=f"candidate {len(found) + 1}", model_sha256=known.costs.graph.digest)
        profile, values = guess(known, named)
        found.append(Candidate(named.name, named, values, profile))
    return found


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _taught(
    shop: Workshop,
    study: optuna.Study,
    space: Space,
    known: Knowledge,
    objectives: Sequence[str],
    constraints: Constraints,
    candidates: list[Candidate],
    n: int,
    told: Told | None,
    show: Callable[[Sequence[Candidate]], None],
) -> list[Candidate]:
    """``candidates`` that were measured, and ``n`` more of the front as it is with what they taught; see the module, case 3."""
    measured = [one for one in candidates if one.profile is not None]
    wiser = known.with_measured([one.profile for one in measured if one.profile is not None])
    done = {one.recipe.decisions for one in measured}
    fresh = [one for one in _front(study, space, wiser, objectives, constraints) if one.recipe.decisions not in done]
    renamed = []
    for number, one in enumerate(fresh, len(candidates) + 1):
        recipe = replace(one.recipe, name=f"candidate {number}")
        renamed.append(replace(one, name=recipe.name, recipe=recipe, round=2))
    return [*measured, *_built(shop, renamed, objectives, n, told, lambda made: show([*measured, *made]))]


def spread(candidates: Sequence[Candidate], objectives: Sequence[str], n: int) -> list[int]:
    """Positions of ``n`` candidates that lie far apart, the ends of the first objective among them (farthest first, Gonzalez 1985)."""
    if not candidates or n < 1:
        return []
    columns = [[one.estimated[name] for one in candidates] for name in objectives]
    scaled = [[(v - min(col)) / ((max(col) - min(col)) or 1.0) for v in col] for col in columns]
    points = list(zip(*scaled, strict=True))
    chosen = [0]
    if len(points) > 1 and n > 1:
        chosen.append(len(points) - 1)
    while len(chosen) < min(n, len(points)):
        far = max((i for i in range(len(points)) if i not in chosen), key=lambda i: min(math.dist(points[i], points[c]) for c in chosen))
        chosen.append(far)
    return sorted(chosen)


def _built(
    shop: Workshop,
    candidates: list[Candidate],
    objectives: Sequence[str],
    n: int,
    told: Told | None,
    show: Callable[[Sequence[Candidate]], None],
) -> list[Candidate]:
    """The candidates, those that were measured first."""
    chosen = spread(candidates, objectives, n)
    made = list(candidates)
    for done, position in enumerate(chosen):
        if told is not None:
            told("build and measure", done, len(chosen))
        made[position] = _measured(shop, candidates[position])
        show(made)
    return [*(made[position] for position in chosen), *(one for position, one in enumerate(made) if position not in chosen)]


def _measured(shop: Workshop, candidate: Candidate) -> Candidate:
    try:
        profile = shop.measure(candidate.recipe, score=False)
        loss = math.nan
        if shop.data is not None:
            from edgeprof.scoring import drop, with_scores

            score = shop.score(candidate.recipe)
            profile = with_scores(profile, score)
            loss = drop(shop.base_score, score).value
    except (RecipeError, BoardError) as error:
        return replace(candidate, failed=str(error))
    return replace(candidate, profile=profile, measured=values_of(profile, loss))


def _optuna() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import optuna
    except ImportError as error:
        raise MissingExtra("Searching needs Optuna. Install it with `pip install 'edgeprof[search]'`.") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


__all__ = ["Knowledge", "guess", "learn", "search", "spread", "starts", "values_of"]
