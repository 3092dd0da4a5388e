"""`search`: Optuna proposes recipes, estimates judge them, and the best are built, measured and scored.

1. The model and variants of it are measured (`edgeprof.variants`) and scored, each decision is tried alone
   (`edgeprof.sensitivity`): from these come estimates of time, energy, memory and size (`edgeprof.whatif`) and of the loss.
2. Optuna (Akiba et al., KDD 2019) makes all objectives small at once, under the constraints; the model as it is, uniform recipes and, one
   layer after the other, the decisions that cost least are among the first trials.
3. Of the estimated front, recipes that lie apart are built, measured on the board and scored. What they were estimated at stands beside.

The trials lie in an Optuna study: SQLite in the study folder, or any storage that ``storage`` names, which several processes and machines
may work on at once.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeprof.errors import BoardError, MissingExtra, RecipeError, UsageError, did_you_mean
from edgeprof.recipes.recipe import Precision, Recipe
from edgeprof.records.profile import Profile
from edgeprof.search.constraints import OBJECTIVES, Constraints
from edgeprof.search.result import Candidate, SearchResult
from edgeprof.search.space import Space, make_space
from edgeprof.variants import MIXED, WIDTHS, measure_variants
from edgeprof.whatif import Costs, estimate, fit
from edgeprof.whatif.quality import Quality
from edgeprof.workshop import Told, Workshop

if TYPE_CHECKING:
    import optuna

Sampler = Literal["tpe", "nsga2", "nsga3", "random", "qmc"]
TRIALS = 400
BUILD = 5
_NAME = "edgeprof"
_FREE = Constraints()


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What estimates are made of: times and sizes, and what decisions cost in answers (None without data)."""

    costs: Costs
    quality: Quality | None


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
        sampler: how Optuna proposes: tpe, nsga2, nsga3, random or qmc.
        seed: for the sampler and the mixtures.
        storage: URL of an Optuna storage; None is SQLite in the study.
        build: how many of the front to build, measure and score; 0 for none.
        mixed: mixtures to measure for the estimates.
        knowledge: of an earlier `learn`; None learns first.
        told: hears of progress.

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
    study = _open(optuna, shop, storage, objectives, constraints, sampler, seed)
    _enqueue(study, space, known, seed)
    complete = True
    try:
        _run(optuna, study, space, known, objectives, constraints, trials, minutes, told)
    except KeyboardInterrupt:
        complete = False
    candidates = _front(study, space, known, objectives, constraints)
    built = _built(shop, candidates, objectives, build if complete else 0, told)
    return SearchResult(
        base=known.costs.base,
        objectives=tuple(objectives),
        constraints=constraints,
        metric=known.quality.metric if known.quality else "",
        candidates=tuple(built),
        trials=len(study.trials),
        complete=complete,
    )


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
        return Knowledge(costs, None)
    from edgeprof.search.losses import quality_of

    return Knowledge(costs, quality_of(shop, variants, costs, precisions, widths, told))


def values_of(profile: Profile, loss: float) -> dict[str, float]:
    """A profile's values by objective; NaN is not known."""
    context = profile.context
    told = {
        "latency_ms": context.latency.median_ms, "energy_mj": context.energy.inference_mj,
        "peak_memory_bytes": context.memory.peak_bytes, "model_bytes": context.model_bytes,
    }  # fmt: skip
    return {"loss": loss} | {name: math.nan if value is None else float(value) for name, value in told.items()}


def guess(known: Knowledge, recipe: Recipe) -> tuple[Profile, dict[str, float]]:
    """The estimate of a recipe, with its estimated score, and its values by objective."""
    profile = estimate(known.costs, recipe)
    loss = math.nan
    if known.quality is not None:
        quality = known.quality
        noise = quality.noise_of(recipe, known.costs.graph)
        loss, value, error = quality.loss(noise), quality.score(noise), quality.error
        record = {"value": value, "low": value - error, "high": value + error, "better": quality.better, "estimated": True}
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


def _open(
    optuna: Any, shop: Workshop, storage: str | None, objectives: Sequence[str], constraints: Constraints, sampler: str, seed: int
) -> optuna.Study:
    """The Optuna study of this model, board, objectives and constraints, with what earlier searches tried."""
    url = storage or f"sqlite:///{shop.study.path.resolve() / 'search.sqlite'}"
    name = f"{_NAME} {shop.graph.digest[:16]} {shop.board.name} {' '.join(objectives)}"
    try:
        study = optuna.create_study(
            study_name=name,
            storage=url,
            directions=["minimize"] * len(objectives),
            sampler=_sampler(optuna, sampler, seed),
            load_if_exists=True,
        )
    except Exception as error:  # of SQLAlchemy, whichever driver it uses
        text = " ".join(str(error).split())[:200]
        raise UsageError(f"The storage {url.split('@')[-1]} cannot be opened: {text}. Give the URL of an Optuna storage.") from error
    study.set_user_attr("model", shop.graph.name)
    return study  # type: ignore[no-any-return]


def _sampler(optuna: Any, sampler: str, seed: int) -> Any:
    def excess(trial: Any) -> Sequence[float]:
        return trial.user_attrs.get("excess") or (0.0,)

    samplers = optuna.samplers
    if sampler == "tpe":
        return samplers.TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=40, constraints_func=excess)
    if sampler == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=40, constraints_func=excess)
    if sampler == "nsga3":
        return samplers.NSGAIIISampler(seed=seed, population_size=40, constraints_func=excess)
    return samplers.RandomSampler(seed=seed) if sampler == "random" else samplers.QMCSampler(seed=seed, warn_independent_sampling=False)


def _enqueue(study: optuna.Study, space: Space, known: Knowledge, seed: int) -> None:
    """First trials that a person would try: nothing, everything, and decisions from the one that costs least on."""
    if study.trials:
        return
    for params in starts(space, known):
        study.enqueue_trial(params, skip_if_exists=True)


def starts(space: Space, known: Knowledge, steps: int = 12) -> list[dict[str, str | float]]:
    """Params to begin with; see `_enqueue`."""
    precisions = sorted({str(one) for name, choices in space.variables.items() if name.startswith("precision ") for one in choices[1:]})
    widths = sorted({float(one) for name, choices in space.variables.items() if name.startswith("prune ") for one in choices[1:]})
    found = [space.unchanged(), *(space.uniform(precision=p) for p in precisions)]
    found += [space.uniform(prune=w) for w in widths]
    found += [space.uniform(precision=p, prune=w) for p in precisions for w in widths[:1]]
    if known.quality is None:
        return found
    noise = known.quality.noise
    for precision in precisions:
        whole = space.uniform(precision=precision)
        order = sorted(
            (name for name in whole if name.startswith("precision ")), key=lambda name: noise.get((name[10:], precision), math.inf)
        )
        for step in range(1, steps):
            kept = set(order[: round(len(order) * step / steps)])
            found.append({name: value if name in kept else space.variables[name][0] for name, value in whole.items()})
    return found


def _run(
    optuna: Any,
    study: optuna.Study,
    space: Space,
    known: Knowledge,
    objectives: Sequence[str],
    constraints: Constraints,
    trials: int,
    minutes: float | None,
    told: Told | None,
) -> None:
    end = time.monotonic() + minutes * 60 if minutes is not None else math.inf
    done = len(study.trials) - sum(trial.state == optuna.trial.TrialState.WAITING for trial in study.trials)
    while done < trials and time.monotonic() < end:
        trial = study.ask()
        params: dict[str, Any] = {name: trial.suggest_categorical(name, list(choices)) for name, choices in space.variables.items()}
        try:
            _, values = guess(known, space.recipe(params))
            seen = [values[name] for name in objectives]
            trial.set_user_attr("excess", [float(over) for over in constraints.excess(values)])
            if any(math.isnan(value) for value in seen):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, seen)
        except (RecipeError, UsageError):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        except BaseException:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        done += 1
        if told is not None:
            told("search", done, trials)


def _front(study: optuna.Study, space: Space, known: Knowledge, objectives: Sequence[str], constraints: Constraints) -> list[Candidate]:
    """The estimated front, within the constraints where anything is, in the order of the first objective; each recipe once."""
    found: dict[tuple[object, ...], Candidate] = {}
    every = [trial for trial in study.trials if trial.values is not None]
    fitting = [trial for trial in every if all(over <= 0 for over in trial.user_attrs.get("excess", []))] or every
    for trial in sorted(_undominated(fitting), key=lambda trial: trial.values):
        recipe = space.recipe(trial.params)
        if recipe.decisions and recipe.decisions not in found:
            named = replace(recipe, name=f"candidate {len(found) + 1}", model_sha256=known.costs.graph.digest)
            profile, values = guess(known, named)
            found[recipe.decisions] = Candidate(named.name, named, values, profile)
    return list(found.values())


def _undominated(trials: Sequence[Any]) -> list[Any]:
    kept = []
    for one in trials:
        better = [all(a <= b for a, b in zip(other.values, one.values, strict=True)) and other.values != one.values for other in trials]
        if not any(better):
            kept.append(one)
    return kept


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


def _built(shop: Workshop, candidates: list[Candidate], objectives: Sequence[str], n: int, told: Told | None) -> list[Candidate]:
    """The candidates, those that were measured first."""
    chosen = spread(candidates, objectives, n)
    measured = []
    for done, position in enumerate(chosen):
        if told is not None:
            told("build and measure", done, len(chosen))
        measured.append(_measured(shop, candidates[position]))
    return [*measured, *(one for position, one in enumerate(candidates) if position not in chosen)]


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
