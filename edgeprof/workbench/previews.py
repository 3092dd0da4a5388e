"""What a recipe would bring, quickly: before it is estimated as a whole Profile, built or measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgeprof import units
from edgeprof.errors import EdgeprofError
from edgeprof.models.graph import Graph
from edgeprof.recipes.plan import Plan, plan, prunable_groups, quantizable
from edgeprof.recipes.recipe import Recipe
from edgeprof.recipes.target import Target
from edgeprof.records.context import RunContext
from edgeprof.records.profile import Profile, empty_table
from edgeprof.searching.constraints import Constraints
from edgeprof.searching.search import Knowledge, judge
from edgeprof.whatif import Costs, sizes
from edgeprof.workshop import scores_of

QUANTITIES = ("latency_ms", "energy_mj", "peak_memory_bytes", "model_bytes", "score")
_NOT_LEARNED = "The board was not learned yet."
_STARTUP_S = 1.2
"""Of a measurement: the agent, the model, warm-up."""
_TRIAL_S = 0.05


def preview(
    graph: Graph,
    recipe: Recipe,
    *,
    base: Profile | None,
    knowledge: Knowledge | None,
    target: Target,
    constraints: Constraints,
    learning_s: float,
) -> dict[str, Any]:
    """See `Bench.preview`."""
    found: dict[str, Any] = {name: _entry(before) for name, before in _before(graph, base).items()}
    score = _score_of(base)
    found["score"] = _entry(score.get("value", math.nan)) | {"metric": score.get("metric", ""), "better": score.get("better", "higher")}
    about = units.duration(learning_s) if learning_s >= 1 else "a moment"
    why = "" if knowledge is not None else f"{_NOT_LEARNED} Learning it measures variants of the model there, about {about}."
    found |= {"known": knowledge is not None, "why": why, "seconds": 0.0 if knowledge is not None else learning_s, "macs": _entry()}
    for name in QUANTITIES:
        found[name]["why"] = _NOT_LEARNED if knowledge is None else ""
    try:
        planned = plan(recipe, graph, target)
        _sizes(found, graph, base, planned, target)
        if not recipe.decisions:
            _as_it_is(found)
        elif knowledge is not None:
            _learned(found, knowledge, recipe)
    except EdgeprofError as error:
        found |= {"known": False, "why": str(error)}
        for name in QUANTITIES:
            if math.isnan(found[name]["after"]):
                found[name]["why"] = str(error)
    for name in (*QUANTITIES, "macs"):
        _close(found[name])
    _hold_against(found, constraints)
    return found


def learning_s(graph: Graph, base: Profile | None, *, runs: int, precisions: Sequence[str], widths: Sequence[float], mixed: int,
               samples: int, told_s: float = math.nan) -> float:  # fmt: skip
    """About how long it takes to learn the board: variants, and each decision alone on ``samples``. ``told_s``: what one took, if known."""
    latency = base.context.latency.median_ms if base is not None else None
    run_s = (latency or 10.0) / 1e3
    one = told_s if not math.isnan(told_s) else _STARTUP_S + 2.5 * runs * run_s
    groups = len(prunable_groups(graph))
    variants = len(precisions) + (len(widths) + len(precisions) if groups else 0) + mixed + (base is None)
    trials = (len(quantizable(graph)) * len(precisions) + groups * len(widths)) if samples else 0
    return variants * (one + samples * run_s) + trials * (_TRIAL_S + min(samples, 256) * run_s)


def _entry(before: float = math.nan) -> dict[str, Any]:
    return {"before": before, "after": math.nan, "low": math.nan, "high": math.nan, "change": math.nan, "why": "", "limit": math.nan,
            "over": False}  # fmt: skip


def _before(graph: Graph, base: Profile | None) -> dict[str, float]:
    context = base.context if base is not None else RunContext("")
    told = (
        context.latency.median_ms,
        context.energy.inference_mj,
        context.memory.peak_bytes,
        context.model_bytes or graph.file_bytes or None,
    )
    return dict(zip(QUANTITIES, (math.nan if one is None else float(one) for one in told), strict=False))


def _score_of(profile: Profile | None) -> dict[str, Any]:
    for metric, record in (scores_of(profile) if profile is not None else {}).items():
        return {"metric": metric, "better": record.get("better", "higher"), "value": _number(record.get("value"))}
    return {}


def _sizes(found: dict[str, Any], graph: Graph, base: Profile | None, planned: Plan, target: Target) -> None:
    """What needs no board: sizes and work."""
    costs = Costs(base if base is not None else unmeasured(graph), graph, target, (), ())
    for name, value in sizes(costs, planned).items():
        found[name] |= {"after": value, "why": "" if not math.isnan(value) else found[name]["why"]}
    before, after = (math.fsum(cost.macs for cost in one.costs.values() if not math.isnan(cost.macs)) for one in (costs.as_it_is, planned))
    found["macs"] |= {"before": before, "after": after}
    if base is None:
        found["peak_memory_bytes"]["why"] = "The model was not measured yet."
    for name in ("energy_mj", "latency_ms", "score"):
        if base is None:
            found[name]["why"] = "The model was not measured yet."
    if base is not None and math.isnan(found["energy_mj"]["before"]):
        found["energy_mj"]["why"] = "The energy of the model was not measured."
    if base is not None and math.isnan(found["score"]["before"]):
        found["score"]["why"] = "There is no score; open the Workbench with data=..."


def _as_it_is(found: dict[str, Any]) -> None:
    for name in (*QUANTITIES, "macs"):
        found[name]["after"] = found[name]["before"]
        if not math.isnan(found[name]["after"]):
            found[name]["why"] = ""
    found |= {"known": True, "why": ""}


def _learned(found: dict[str, Any], knowledge: Knowledge, recipe: Recipe) -> None:
    values = judge(knowledge, recipe)
    error, quality = knowledge.costs.error, knowledge.quality
    for name in ("latency_ms", "energy_mj"):
        value = float(values[name])
        found[name]["after"] = value
        if not math.isnan(value):
            found[name] |= {"low": max(0.0, value * (1 - error)), "high": value * (1 + error), "why": ""}
    if quality is None:
        return
    value = quality.score(quality.noise_of(recipe, knowledge.costs.graph))
    found["score"] |= {"metric": quality.metric, "better": quality.better, "after": value}
    if quality.metric != "sqnr_db":
        found["score"]["before"] = quality.value
    if math.isnan(value):
        found["score"]["why"] = "Not tried: a decision of the recipe was never scored alone on this model."
    else:
        least, most = (0.0, 1.0) if quality.metric == "top1" else (-math.inf, math.inf)
        found["score"] |= {"low": max(least, value - quality.error), "high": min(most, value + quality.error), "why": ""}


def _close(entry: dict[str, Any]) -> None:
    entry["change"] = entry["after"] - entry["before"]


def _hold_against(found: dict[str, Any], constraints: Constraints) -> None:
    for name in QUANTITIES[:-1]:
        limit = getattr(constraints, name)
        if limit is not None:
            found[name] |= {"limit": float(limit), "over": found[name]["after"] > limit}
    if constraints.loss is not None:
        entry = found["score"]
        sign = 1.0 if entry["better"] == "higher" else -1.0
        entry |= {"limit": entry["before"] - sign * constraints.loss, "over": -sign * entry["change"] > constraints.loss}


def unmeasured(graph: Graph) -> Profile:
    """A profile that says nothing but what the model file tells."""
    context = RunContext(graph.name, graph.digest, graph.format, graph.file_bytes or None)
    return Profile(empty_table("layers"), context, origin="estimated", graph=graph)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
