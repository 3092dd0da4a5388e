"""What the Workbench tells the browser of a `Bench`: small plain dicts with texts that are ready to be read.

Each function makes one part of the state that ``figures/static/workbench.js`` follows:

- ``head``: header and findings of the profile that is looked at, as in every view
- ``subjects``: what can be looked at, ``{key, label}`` each
- ``decide``: the selected layers and what can be chosen for them, what the recipe changes, the recipe, and what can be done; None where
  nothing can be decided
- ``tasks``: what runs and waits; ``notes``: what went wrong or must be known
- ``empty``: of each view that has nothing to show, why and what to do; ``offers``: what could be measured so that one says more
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeprof import units
from edgeprof.analysis.align import related
from edgeprof.analysis.names import shorten
from edgeprof.figures.view import end_to_end, header
from edgeprof.peaks import cached_peaks
from edgeprof.records.profile import Profile
from edgeprof.workbench.bench import Bench
from edgeprof.workbench.candidates import BASE
from edgeprof.workbench.tasks import Task

MOST_CHIPS = 40
MOST_DECISIONS_SHOWN = 200
PRUNE_STEP, PRUNE_MOST = 0.125, 0.75

PRECISIONS: Mapping[str, str] = {
    "fp32": "float", "fp16": "fp16", "int8": "int8", "int8-weights": "int8 weights", "int4-weights": "int4 weights",
}  # fmt: skip
Told = dict[str, Any]


def head(bench: Bench, shown: Profile | None, *, running: str = "") -> Told:
    """Header and findings of what is looked at. ``running`` says how far a measurement is whose profile this is."""
    if shown is None:
        model = bench.graph.name if bench.graph is not None else "No model"
        told = {
            "model": model, "facts": [f"on {shorten(bench.board_name, 40)}"], "origin": "measured",
            "origin_label": running or "not measured yet",
            "number": "–", "number_note": "end to end: not measured", "running": bool(running),
        }  # fmt: skip
        return {"header": told, "findings": []}
    told = header(shown, *end_to_end(shown))
    if running:
        so_far = ", so far" if shown.context.latency.median_ms is not None else ""
        told |= {"origin_label": running, "number_note": f"{told['number_note']}{so_far}", "running": True}
    return {"header": told, "findings": [{"severity": f.severity, "text": f.text} for f in shown.findings]}


def subjects(bench: Bench, profiles: Mapping[str, Profile]) -> list[Told]:
    """What can be looked at."""
    names = {one.key: one.name for one in bench.candidates}
    found = []
    for key, profile in profiles.items():
        if key == BASE:
            label = "The model as it is"
        else:
            label = f"{shorten(names[key], 60)} ({profile.basis})" if key in names else shorten(profile.title, 100)
        found.append({"key": key, "label": label})
    return _told_apart(found)


def _told_apart(found: list[Told]) -> list[Told]:
    """Equal labels with a number, so that a person can choose between them."""
    count = Counter(one["label"] for one in found)
    seen: Counter[str] = Counter()
    for one in found:
        label = one["label"]
        if count[label] > 1:
            seen[label] += 1
            one["label"] = f"{seen[label]}: {label}"
    return found


def names(bench: Bench) -> dict[str, str] | None:
    """What candidates are called in charts, by key; None where profiles were given, which say it themselves."""
    if not bench.can_decide:
        return None
    return {one.key: "as it is" if one.key == BASE else shorten(one.name, 60) for one in bench.candidates}


def running(bench: Bench) -> str:
    """How far the measurement under way is, in a few words; empty when nothing is measured."""
    for task in bench.tasks:
        if task.status == "running" and task.kind in ("measure", "learn"):
            return f"running: {task.done:,} of {task.total:,} runs" if task.phase == "measure" and task.total else "running"
    return ""


def notes(bench: Bench) -> list[Told]:
    """What must be known of the whole."""
    found = [{"id": f"finding {text}", "kind": "warning", "title": "", "text": shorten(text, 600)} for text in bench.findings]
    if not bench.can_decide and bench.graph is not None:
        found.append({"id": "why not", "kind": "info", "title": "Looking only.", "text": bench.why_not})
    return found


def decide(bench: Bench, shown: Profile | None) -> Told | None:
    """What stands beside the views."""
    if not bench.can_decide:
        return None
    return {"chosen": _chosen(bench, shown), "change": _change(bench), "recipe": _recipe(bench), "actions": _actions(bench)}


def tasks(bench: Bench) -> list[Told]:
    """What runs and waits, in order."""
    return [_task(task) for task in bench.tasks if not task.is_over]


def task_note(task: Task) -> Told:
    """What is said of a task that failed."""
    title = {"measure": "It could not be measured.", "learn": "The board could not be learned.", "build": "It could not be built."}
    retry = {"action": task.kind, "label": "Try again"} if task.kind in ("measure", "learn", "estimate", "build", "score") else {}
    return {"id": f"task {task.id}", "kind": "error", "title": title.get(task.kind, "That did not work."), "text": task.error, **retry}


def empty(bench: Bench, shown: Profile | None, against: str, count: int) -> dict[str, Told]:
    """Why a view has nothing to show, and what to do, by view; ``count`` profiles can be looked at."""
    found: dict[str, Told] = {}
    if shown is None:
        board = shorten(bench.board_name, 40)
        busy = any(not task.is_over for task in bench.tasks)
        text = "The first numbers are on their way." if busy else f"Nothing was measured of this model on {board} yet."
        told = {"text": text} if busy else {"text": text, "action": "measure_base", "label": "Measure now"}
        found = dict.fromkeys(("heatmap", "icicle", "table", "timeline", "roofline", "memory", "graph"), told)
        found["pareto"] = {"text": "Each recipe that you estimate or measure is a point here: how quick it is, and how good."}
    if count < 2:
        text = "Estimate or measure a recipe: then it stands here beside the model as it is, row by row."
        if not bench.can_decide:
            text = "One profile only. Give two or more to see them side by side: ep.Workbench([a, b])."
        found["candidates"] = found["compare"] = {"text": text}
    elif not bench.can_decide and not related(list(bench.subjects.values())):
        text = "These are profiles of different models: there are no layers to put side by side. The Pareto chart compares them as a whole."
        found["candidates"] = found["compare"] = {"text": text}
    elif not against:
        found["compare"] = {"text": "Choose what to compare with: “against”, at the top."}
    return found


def offers(bench: Bench, shown: Profile | None) -> dict[str, Told]:
    """What could be measured to make a view say more, by view."""
    if not bench.can_decide or shown is None or shown.basis == "estimated" or bench.base is None or cached_peaks(shown) is not None:
        return {}
    busy = any(task.kind == "peaks" and not task.is_over for task in bench.tasks)
    title = f"How fast {shorten(bench.board_name, 40)} computes and moves data: takes some seconds, once"
    return {"roofline": {"action": "peaks", "label": "Measure the board's own ceilings", "title": title, "busy": busy}}


# ---- what is decided ----


def _chosen(bench: Bench, shown: Profile | None) -> Told:
    names = list(bench.selection.layers)
    told: Told = {
        "title": "No layer selected", "note": "", "names": [], "more": "", "precisions": [], "prune": None, "hints": [], "hint": "",
    }  # fmt: skip
    if not names or shown is None:
        hint = "Select layers in any view: their precision and pruning are decided here."
        return {**told, "hint": hint if shown is not None else "Layers can be selected when the model was measured."}
    rows = shown.layers[shown.layers["name"].isin(names)]
    time, share = rows["latency_ms"].sum(min_count=1), rows["share"].sum(min_count=1)
    told |= {
        "title": f"{len(names):,} layer{'s' * (len(names) != 1)} selected",
        "note": " · ".join(filter(lambda text: text != units.MISSING, (units.latency(time), units.share(share)))),
        "names": names[:MOST_CHIPS],
        "more": f"and {len(names) - MOST_CHIPS:,} more" if len(names) > MOST_CHIPS else "",
    }
    can = bench.possible()
    current = can["current"]
    told["precisions"] = [
        {"name": name, "title": PRECISIONS.get(name, name), "on": current["precision"] == name, "why": why}
        for name, why in can["precisions"].items()
    ]
    hints = sorted({why for why in can["precisions"].values() if why})
    told["hints"] = hints[:1] if all(can["precisions"].values()) else []
    mixed = isinstance(current["prune"], str)
    part = 0.0 if mixed else current["prune"] or 0.0
    told["prune"] = {"value": part, "mixed": mixed, "most": PRUNE_MOST, "step": PRUNE_STEP, "why": can["prune"]}
    if can["prune"]:
        told["hints"].append(can["prune"])
    elif can["group"]:
        n = len(can["group"])
        told["hints"].append(f"Pruning takes {n} other layer{'s' * (n != 1)} along: they share channels.")
    told["hints"] = list(dict.fromkeys(told["hints"]))
    return told


_TITLES = {"latency_ms": "Latency", "energy_mj": "Energy", "model_bytes": "Model size", "peak_memory_bytes": "Peak memory"}


def _change(bench: Bench) -> Told:
    preview = bench.preview()
    rows = [_row(name, preview[name]) for name in _TITLES]
    if bench.has_data:
        rows.append(_score_row(preview["score"]))
    told: Told = {"rows": rows if bench.recipe.decisions else [], "hint": "", "action": None}
    if not bench.recipe.decisions:
        told["hint"] = "Nothing yet: the recipe is empty."
    if not preview["known"]:
        busy = any(task.kind in ("learn", "estimate") and not task.is_over for task in bench.tasks)
        told["hint"] = preview["why"]
        title = "Builds and measures some variants of the model, so that any recipe can be estimated at once"
        told["action"] = {"name": "learn", "label": "Learn this board", "title": title, "busy": busy}
    return told


def _row(name: str, told: Mapping[str, Any]) -> Told:
    """One quantity: what it becomes with its interval, by how much, and where its bar ends as a part of what it is now."""
    before, after, low, high = (float(told[key]) for key in ("before", "after", "low", "high"))
    if math.isnan(after):
        return _unknown(_TITLES[name], told)
    shown = {"latency_ms": units.latency_interval, "energy_mj": units.energy_interval}.get(name)
    text = shown(after, low, high) if shown else units.size(after)
    parts = [value / before if before > 0 else math.nan for value in (after, low, high)]
    percent = (parts[0] - 1) * 100
    delta = "same" if after == before else f"{percent:+.{0 if abs(percent) >= 0.95 else 1}f} %".replace("-", "−")
    delta = units.MISSING if math.isnan(parts[0]) else delta
    return {"title": _TITLES[name], "after": text, "delta": delta, **_limit(told), **_bar(*parts)}


_METRICS = {"top1": ("Accuracy", 100.0, " %", " pt", 1), "sqnr_db": ("SQNR", 1.0, " dB", " dB", 1)}


def _score_row(told: Mapping[str, Any]) -> Told:
    metric = str(told.get("metric", ""))
    title, scale, unit, of_change, digits = _METRICS.get(metric, (metric or "Score", 1.0, "", "", 3))
    before, after, low, high = (float(told[key]) for key in ("before", "after", "low", "high"))
    if math.isnan(after):
        return _unknown(title, told)
    ends = "" if math.isnan(low + high) else f" [{low * scale:.{digits}f}, {high * scale:.{digits}f}]"
    change = round((after - before) * scale, digits) + 0.0  # no −0.0
    delta = units.MISSING if math.isnan(change) else f"{change:+.{digits}f}{of_change}".replace("-", "−")
    parts = [value / before if before > 0 else math.nan for value in (after, low, high)]
    return {"title": title, "after": f"{after * scale:.{digits}f}{unit}{ends}", "delta": delta, **_limit(told), **_bar(*parts)}


def _unknown(title: str, told: Mapping[str, Any]) -> Told:
    nothing = {"part": None, "low": 0.0, "high": 0.0}
    return {"title": title, "after": "not known", "delta": units.MISSING, "why": told["why"], "over": False, **nothing}


def _limit(told: Mapping[str, Any]) -> Told:
    return {"why": "over the limit" if told["over"] else "", "over": bool(told["over"])}


def _bar(part: float, low: float, high: float) -> Told:
    if math.isnan(part):
        return {"part": None, "low": 0.0, "high": 0.0}
    return {"part": part, "low": part if math.isnan(low) else low, "high": part if math.isnan(high) else high}


def _recipe(bench: Bench) -> Told:
    decisions = bench.decisions
    shown = decisions[:MOST_DECISIONS_SHOWN]
    n = len(decisions)
    return {
        "title": f"Recipe, {n} decision{'s' * (n != 1)}" if n else "Recipe",
        "hint": "Empty: the model as it is." if not n else "",
        "decisions": [
            {"index": one["index"], "text": _decided(one, 60), "title": _decided(one, 300), "layers": list(one["layers"])[:500]}
            for one in shown
        ],
        "can_undo": bench.can_undo,
        "can_redo": bench.can_redo,
    }


def _decided(one: Mapping[str, Any], most: int) -> str:
    return f"{shorten(str(one['text']), most)}: {shorten(str(one['selector']), most)}"


def _actions(bench: Bench) -> list[Told]:
    nothing = "" if bench.recipe.decisions else "The recipe is empty: select layers and decide something first."
    no_data = "" if bench.has_data else "There is no data to score with. Give some: ep.Workbench(model, data=...)."
    known = bench.preview()["known"]
    board = shorten(bench.board_name, 40)
    done = "The model as it is was measured already: decide something first." if nothing and bench.base is not None else ""
    measured = f"Measures the model as it is on {board}" if nothing else f"Builds it and measures it on {board}"
    return [
        {"name": "estimate", "label": "Estimate", "title": "Keeps this recipe as a candidate, estimated", "why": nothing},
        {"name": "build", "label": "Build", "title": "Makes the changed model", "why": nothing},
        {
            "name": "measure", "label": "Measure", "primary": not done and bool(known or nothing), "title": measured,
            "why": done,
        },
        {"name": "score", "label": "Score", "title": "Builds it and scores it on the data", "why": no_data},
    ]  # fmt: skip


def _task(task: Task) -> Told:
    part = task.done / task.total if task.total else None
    amount = f" {task.done:,}/{task.total:,}" if task.total else ""
    phase = "waiting" if task.status == "waiting" else f"{shorten(task.phase, 60)}{amount}".strip()
    return {"id": task.id, "title": shorten(task.label, 90), "phase": phase, "part": None if part is None else min(1.0, max(0.0, part))}


def choices_to_save(bench: Bench) -> Sequence[Told]:
    """What can be saved and where to, for the sheet that asks."""
    stem = Path(bench.graph.path).stem if bench.graph is not None and bench.graph.path else "workbench"
    paths = {"page": f"{stem}.html", "recipe": f"{stem}.recipe.toml", "all": f"{stem}-copy.study"}
    page = {"what": "page", "title": "Page", "load": False, "hint": "One HTML file with all views, for whoever has no Python."}
    recipe = {"what": "recipe", "title": "Recipe", "load": True, "hint": "What is decided, as a text file."}
    whole = {"what": "all", "title": "Everything", "load": False, "hint": "A study folder: profiles, recipes, candidates, selection."}
    return [{**one, "path": paths[str(one["what"])]} for one in ((recipe, page, whole) if bench.can_decide else (page,))]
