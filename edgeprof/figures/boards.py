"""View data of layers x boards: the heatmap of one model on several boards. Drawn by ``static/heatmap.js`` and `heatmap_picture`.

1. Rows are those of `edgeprof.analysis.align`, columns are profiles: the same metric in each, so all columns share one colour scale.
2. Four modes: absolute; share of the profile's own total (where a sum means something); ratio to one profile, the baseline, and
   difference to it.
3. The ratio's scale is logarithmic and symmetric about 1, the difference's linear and symmetric about 0; each ends where 98 % of its
   numbers lie within. Intervals are those of the worst case: the low end against the baseline's high one.
4. Where both intervals overlap the difference is marked: these runs do not tell the two apart.
5. A part that a board has no layer for is left blank; one that was not measured is hatched. Of what is summed the difference of a part
   that only one of them has is its whole number.
6. A column that is not measured on the board itself says so in its head, and the head is hatched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof.analysis.align import ALIGNED_METRICS, INTERVALS, SUMMED, Alignment, align
from edgeprof.analysis.difference import difference, over
from edgeprof.analysis.names import shorten
from edgeprof.errors import UsageError, did_you_mean
from edgeprof.figures.heatmap import scales
from edgeprof.figures.numbers import format_of
from edgeprof.figures.theme import origin_label
from edgeprof.figures.view import ViewData, end_to_end, facts, pack, themes
from edgeprof.records.profile import Profile
from edgeprof.records.schema import column

MODES = {"absolute": "Absolute", "share": "Share", "ratio": "Ratio", "difference": "Difference"}
_MIN_RATIO_LIMIT, _MAX_RATIO_LIMIT = 1.25, 64.0
_OPEN_LINES = 4
"""Up to so many boards are described in the header at once; more are folded away."""

_Column = dict[str, Any]
Floats = NDArray[Any]


def boards(
    profiles: Sequence[Profile] | Alignment, *, metric: str = "latency_ms", baseline: str | None = None, own_findings: bool = True
) -> ViewData:
    """Layers x boards of ``profiles`` (two or more of one model), a value of ``metric`` each.

    ``baseline`` is the label of the profile that the ratios are to; None is the first. Without ``own_findings`` the profiles' findings are
    left out, for a page that lists them itself.
    """
    aligned = profiles if isinstance(profiles, Alignment) else align(profiles)
    check_metric(aligned, metric)
    first = baseline_position(aligned, baseline)
    arrays: dict[str, NDArray[Any]] = {}
    modes = _modes(aligned, metric, first, arrays)
    texts: dict[str, list[str]] = {}
    for name in ("op_type", "kind"):
        codes, values = pd.factorize(aligned.layers[name])
        arrays[name], texts[name] = codes.astype(np.uint16), [str(value) for value in values]
    texts["ran"] = ran(aligned, arrays)
    names = list(aligned.layers["name"])
    label = aligned.labels[first]
    meta = {
        "view": "heatmap-boards",
        "title": aligned.title,
        "header": heading(aligned, metric),
        "findings": _findings(aligned) if own_findings else [],
        "metric": metric,
        "modes": modes,
        "columns": modes["absolute"]["columns"],
        "lead": {
            "name": f"absolute: {label}", "title": column(metric).title, "note": label, "by": f"{column(metric).title.lower()} on {label}",
            "estimated": aligned.profiles[first].basis == "estimated",
        },
        "order": "Model order",
        "absent": f"blank: the {aligned.noun} has no such layer",
        "menus": _menus(aligned, metric, label),
        "meanings": {},
        "names": names,
        "texts": texts,
        "parents": {},
        "sources": {str(i): s for i, (n, s) in enumerate(zip(names, aligned.layers["source_nodes"], strict=True)) if s != [n]},
        "themes": themes(texts["op_type"]),
        "instrumented_runs": 0,
    }  # fmt: skip
    return pack(meta, arrays)


def known_metrics(aligned: Alignment) -> list[str]:
    """Metrics that at least one of the profiles has a number for, ``share`` being a mode."""
    return [name for name in ALIGNED_METRICS if name != "share" and (name == "latency_ms" or aligned.cells[name].notna().any())]


def check_metric(aligned: Alignment, metric: str) -> None:
    """UsageError unless ``metric`` can be shown for layers together and was measured on some board."""
    known = known_metrics(aligned)
    if metric not in known:
        raise UsageError(
            f"metric is {metric!r}{did_you_mean(metric, known)}; here it can be {', '.join(known)}. Others are on none of the boards, or"
            " have no meaning for several layers together."
        )


def baseline_position(aligned: Alignment, baseline: str | None) -> int:
    """Which profile is the baseline; UsageError when no label is ``baseline``."""
    if baseline is None:
        return 0
    if baseline not in aligned.labels:
        raise UsageError(
            f"No {aligned.noun} is called {baseline!r}{did_you_mean(baseline, aligned.labels)}. There are: {'; '.join(aligned.labels)}."
        )
    return aligned.labels.index(baseline)


def origin_word(profile: Profile) -> str:
    """One word for the head of a column; empty when it was measured."""
    word = profile.origin if profile.basis == "measured" else profile.basis
    return "" if word == "measured" else word


def _modes(aligned: Alignment, metric: str, first: int, arrays: dict[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """What each mode is called, its columns and a note on its scale; the numbers go into ``arrays``."""
    own = (aligned.layers["kind"] != "between").to_numpy()
    count = range(len(aligned.profiles))
    values = [aligned.column(i, metric).to_numpy(float) for i in count]
    ends = [_ends(aligned, i, metric) for i in count]
    scale = f"all {aligned.noun}s on one scale"
    modes: dict[str, dict[str, Any]] = {"absolute": {
        "title": MODES["absolute"], "legend": column(metric).title, "note": scale,
        "columns": _columns(aligned, arrays, "absolute", values, ends, metric, _scales(values, own)),
    }}  # fmt: skip
    if metric in SUMMED:
        shares = [_shares(aligned, i, metric) for i in count]
        modes["share"] = {
            "title": MODES["share"], "legend": f"Share of the {aligned.noun}'s own {column(metric).title.lower()}", "note": scale,
            "columns": _columns(aligned, arrays, "share", shares, [None] * len(shares), "share", _scales(shares, own)),
        }  # fmt: skip
    ratios = [over(value, values[first]) for value in values]
    worst = [_worst_ends(i == first, ends[i], ends[first]) for i in count]
    modes["ratio"] = {
        "title": MODES["ratio"], "legend": f"{column(metric).title} over that {_of(aligned)} {aligned.labels[first]}",
        "note": f"log, 1× in the middle; {scale}", "diverging": True,
        "columns": _columns(aligned, arrays, "ratio", ratios, worst, "", _ratio_scales(ratios, own)),
    }  # fmt: skip
    modes["difference"] = _difference_mode(aligned, metric, first, arrays, own, scale)
    return modes


def _difference_mode(
    aligned: Alignment, metric: str, first: int, arrays: dict[str, NDArray[Any]], own: NDArray[np.bool_], scale: str
) -> dict[str, Any]:
    """Numbers less the baseline's. ``same`` of a column names the array that is 1 where the intervals overlap."""
    tables = [difference(aligned, baseline=first, other=i, metric=metric) for i in range(len(aligned.profiles))]
    values = [table["difference"].to_numpy(float) for table in tables]
    ends = [
        (table["difference_low"].to_numpy(float), table["difference_high"].to_numpy(float)) if metric in INTERVALS and i != first else None
        for i, table in enumerate(tables)
    ]
    columns = _columns(aligned, arrays, "difference", values, ends, metric, _difference_scales(values, own))
    for i, (made, table) in enumerate(zip(columns, tables, strict=True)):
        made["signed"] = True
        if metric in SUMMED:
            del made["ran"]  # what only one of them has is a difference too
        if ends[i] is not None:
            made["same"] = f"same {made['name']}"
            arrays[made["same"]] = (~table["distinguishable"].fillna(True)).to_numpy(np.uint8)
    return {
        "title": MODES["difference"], "legend": f"{column(metric).title} less that {_of(aligned)} {aligned.labels[first]}",
        "note": f"0 in the middle; {scale}" + "; ≈ the intervals overlap" * any(one is not None for one in ends),
        "diverging": True, "columns": columns,
    }  # fmt: skip


def _of(aligned: Alignment) -> str:
    return "on" if aligned.noun == "board" else "of"


_Ends = tuple[Floats, Floats] | None


def _columns(
    aligned: Alignment, arrays: dict[str, NDArray[Any]], mode: str, values: Sequence[Floats], ends: Sequence[_Ends],
    metric: str, scale: dict[str, Any],
) -> list[_Column]:  # fmt: skip
    """A column for each profile, named ``mode: label``. Without ``metric`` the numbers are ratios."""
    made = []
    for i, (profile, label) in enumerate(zip(aligned.profiles, aligned.labels, strict=True)):
        name = f"{mode}: {label}"  # a board may be called anything: no other array's name begins like this
        board = shorten(profile.context.board, 40) or label
        title = board if label.startswith(board) else label.removesuffix(f", {origin_word(profile)}")
        note = label.removeprefix(board).lstrip(", ") * (title == board)
        unit = column(metric).unit if metric else "×"
        made.append({
            "name": name, "title": title, "label": label, "note": note, "origin": origin_word(profile),
            "hatched": profile.basis != "measured", "unit": unit, "format": format_of(metric) if metric else "ratio", "metric": metric,
            "meaning": _meaning(profile), "scales": scale, "ran": f"ran {i}",
        })  # fmt: skip
        arrays[name] = values[i] if metric in INTERVALS else values[i].astype(np.float32)
        if (both := ends[i]) is not None:
            made[-1]["interval"] = [f"low {name}", f"high {name}"]
            arrays[f"low {name}"], arrays[f"high {name}"] = both
    return made


def _scales(values: Sequence[Floats], own: NDArray[np.bool_]) -> dict[str, Any]:
    return scales(pd.Series(np.concatenate([value[own] for value in values])))


def _ratio_scales(ratios: Sequence[Floats], own: NDArray[np.bool_]) -> dict[str, Any]:
    """One scale, whatever is wished for: logarithmic, as far below 1 as above."""
    every = np.concatenate([ratio[own] for ratio in ratios])
    away = np.exp(np.abs(np.log(every[np.isfinite(every)])))
    limit = float(np.quantile(away, 0.98)) if away.size else _MIN_RATIO_LIMIT
    limit = float(np.clip(limit, _MIN_RATIO_LIMIT, _MAX_RATIO_LIMIT))
    return {wish: {"log": True, "min": 1 / limit, "max": limit, "below": True} for wish in ("auto", "linear", "log")}


def _difference_scales(values: Sequence[Floats], own: NDArray[np.bool_]) -> dict[str, Any]:
    """One scale, whatever is wished for: linear, as far below 0 as above."""
    away = np.abs(np.concatenate([value[own] for value in values]))
    away = away[np.isfinite(away) & (away > 0)]
    limit = float(np.quantile(away, 0.98)) if away.size else 1.0
    return {wish: {"log": False, "min": -limit, "max": limit, "below": True} for wish in ("auto", "linear", "log")}


def _ends(aligned: Alignment, position: int, metric: str) -> _Ends:
    if metric not in INTERVALS:
        return None
    low, high = (aligned.column(position, end).to_numpy(float) for end in INTERVALS[metric])
    return low, high


def _worst_ends(is_baseline: bool, own: _Ends, base: _Ends) -> _Ends:
    """Ends of the ratio when one errs up and the other down; the baseline's own ratio is 1 and has none."""
    if is_baseline or own is None or base is None:
        return None
    return over(own[0], base[1]).astype(np.float32), over(own[1], base[0]).astype(np.float32)


def _shares(aligned: Alignment, position: int, metric: str) -> Floats:
    """Of latency the share of the plain median, as in the layer table; of others that of the column's sum."""
    if metric == "latency_ms":
        return aligned.column(position, "share").to_numpy(float)
    values = aligned.column(position, metric)
    total = values.sum(min_count=1)
    return (values / total).to_numpy(float) if total > 0 else np.full(len(values), np.nan)


def ran(aligned: Alignment, arrays: dict[str, NDArray[Any]]) -> list[str]:
    """What each board ran for each row, as texts that ``ran 0``, ``ran 1`` ... point into; the first text is that of no layer."""
    pool = {"": 0}
    for i in range(len(aligned.profiles)):
        texts = aligned.column(i, "ran").map(lambda ran: " + ".join(_some(ran)) if isinstance(ran, list) else "")
        arrays[f"ran {i}"] = np.array([pool.setdefault(text or "(no name)" * bool(n), len(pool)) for text, n in zip(
            texts, aligned.column(i, "layers").fillna(0), strict=True)], np.uint32)  # fmt: skip
    return list(pool)


def _some(names: list[str], most: int = 4) -> list[str]:
    return names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]


def _meaning(profile: Profile) -> str:
    """How, with what and when a column came about, and its end-to-end latency, in a sentence."""
    number, note = end_to_end(profile)
    _, *told = facts(profile)  # the board is the label
    return f"{', '.join([origin_label(profile), *told])}; {number}, {note.removeprefix('end to end: ')}."


def heading(aligned: Alignment, metric: str) -> dict[str, Any]:
    """What stands above a view of several profiles: the model, what is compared and how each came about."""
    number, note = _fastest(aligned)
    words = Counter(origin_word(profile) or "measured" for profile in aligned.profiles)
    only = next(iter(words)) if len(words) == 1 else ""
    label = origin_label(aligned.profiles[0]) if only else ", ".join(f"{n} {word}" for word, n in words.items())
    boards = f"{len(aligned.profiles)} {aligned.noun}s"
    how = "rows aligned by equal names of nodes" if aligned.by_name else "rows aligned by the model's nodes"
    lines = [f"{label}: {_meaning(profile)}" for profile, label in zip(aligned.profiles, aligned.labels, strict=True)]
    return {
        "model": aligned.model,
        "facts": [boards, column(metric).heading, how],
        "origin": only or "mixed",
        "origin_label": label,
        "number": number,
        "number_note": note,
        "lines": {
            "title": f"What ran {_of(aligned) if aligned.noun == 'board' else 'in'} the {boards}",
            "items": lines,
            "open": len(lines) <= _OPEN_LINES,
        },
    }


def _fastest(aligned: Alignment) -> tuple[str, str]:
    """The fastest board end to end, and the slowest."""
    timed = [(p.context.latency.median_ms, label, p) for p, label in zip(aligned.profiles, aligned.labels, strict=True)]
    known = sorted(((ms, label, p) for ms, label, p in timed if ms is not None), key=lambda one: one[0])
    if not known:
        return "–", "end to end: not measured"
    (best, label, profile), (worst, slowest, _) = known[0], known[-1]
    rest = f"; slowest {slowest}, {worst / best:.3g}×" if len(known) > 1 and best > 0 else ""
    return end_to_end(profile)[0], f"fastest end to end: {label}{rest}"


def _findings(aligned: Alignment) -> list[dict[str, str]]:
    """Warnings of all profiles, each with the board it is about; of infos there would be too many."""
    return [
        {"severity": finding.severity, "text": f"{label}: {finding.text}"}
        for profile, label in zip(aligned.profiles, aligned.labels, strict=True)
        for finding in profile.findings
        if finding.severity != "info"
    ]


def _menus(aligned: Alignment, metric: str, baseline: str) -> list[dict[str, Any]]:
    """Choices that only Python can answer, shown where there is one."""
    ways: list[tuple[str, str, dict[str, str], str]] = [
        ("metric", "Metric", {name: column(name).title for name in known_metrics(aligned)}, metric),
        ("baseline", "Baseline", {label: label for label in aligned.labels}, baseline),
    ]
    return [{"name": name, "title": title, "choices": choices, "value": value} for name, title, choices, value in ways if len(choices) > 1]
