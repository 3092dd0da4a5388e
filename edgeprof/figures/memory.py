"""View data of the memory view: buffers and their lives, live bytes by layer, owners of the peak. Drawn by ``static/memory.js``.

1. Numbers travel as typed arrays in one block of bytes, texts as JSON; ``meta["arrays"]`` says where each array lies. Positions of
   layers are float32 too: exact up to 16 million.
2. Heights are bytes, offsets those of a static plan (`edgeprof.analysis.memory.arena_plan`), not addresses on the board.
3. What the profile does not have is not drawn; ``meta["missing"]`` says in sentences what that is and how to get it.
4. The line of a budget lies at the budget less the weights: what is left for activations and workspace. The curve reaches it exactly where
   the verdict on the model alone turns to "no".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.analysis.budget import Answer, Budget, budget_of, fits, model_parts
from edgeprof.analysis.memory import ArenaPlan, Peak, arena_plan, basis_of, buffers, live_curve, model_peak, peak_owners
from edgeprof.figures.theme import THEMES, op_family
from edgeprof.figures.view import ViewData, header, pack, themes
from edgeprof.records.profile import Profile

KINDS = ("activation", "output", "input")
MAX_OWNERS = 60
"""Owners of the peak in the table; what is smaller is one row, so that the table still sums to the peak."""

_BASIS_WORDS = {"measured": "measured", "counted": "counted from shapes", "estimated": "estimated", "simulated": "simulated"}


def memory(profile: Profile, budget: str | float | None = None) -> ViewData:
    """Lives of buffers, live bytes and owners of the peak of ``profile``, and whether it fits ``budget`` (None: the board's memory)."""
    room = budget_of(profile, budget)
    layers, peak, plan, every = profile.measured_layers, model_peak(profile), arena_plan(profile), buffers(profile)
    curve = live_curve(profile)
    codes, values = pd.factorize(layers["op_type"])
    op_types = [str(value) for value in values]
    arrays: dict[str, NDArray[Any]] = {"op_type": codes.astype(np.uint16)}
    arrays |= {name: curve[column].to_numpy(np.float32) for name, column in _CURVES if _says_something(profile, curve, column)}
    if curve["unsized"].any():
        arrays["unsized"] = curve["unsized"].to_numpy(np.float32)
    placed = _placed(every, plan)
    arrays |= _buffer_arrays(placed)
    type_codes, types = _types(placed)
    arrays["type"] = type_codes
    meta = {
        "view": "memory",
        "title": profile.title,
        "header": header(profile, *_headline(peak, bool(curve["workspace_bytes"].notna().any()))),
        "findings": [{"severity": f.severity, "text": f.text} for f in profile.findings],
        "names": [str(name) for name in layers["name"]],
        "op_types": op_types,
        "families": [op_family(op) for op in op_types],
        "tensors": [str(name) for name in placed["tensor"]],
        "kinds": list(KINDS),
        "types": types,
        # what works in place of the first tensor of a buffer, with the layer that makes it
        "sharers": {
            str(i): [[str(name), int(maker)] for name, maker in zip(names[1:], makers[1:], strict=True)]
            for i, (names, makers) in enumerate(zip(placed["tensors"], placed["makers"], strict=True))
            if len(names) > 1
        },
        "peak": None if peak is None else {"bytes": peak.bytes, "layer": peak.layer, "basis": peak.basis},
        "plan": {"bytes": plan.size_bytes, "least": plan.least_bytes} if plan.size_bytes else None,
        "live_basis": basis_of(profile, "live_memory_bytes"),
        "budget": _budget_line(profile, room),
        "verdict": [] if room is None else [_answer(a) for a in _answers(profile, room)],
        "owners": _owners(profile, placed, peak),
        "process": _process(profile),
        "sources": _sources(profile),
        "missing": list(_missing(profile, curve, every)),
        "themes": _themes(op_types),
    }
    return pack(meta, arrays)


_CURVES = (
    ("counted", "tensors_bytes"), ("live", "live_memory_bytes"), ("peak", "peak_memory_bytes"), ("workspace", "workspace_bytes"),
)  # fmt: skip


def _says_something(profile: Profile, curve: pd.DataFrame, column: str) -> bool:
    """True when there is a number; live bytes that were counted from shapes say what the tensors say."""
    again = column == "live_memory_bytes" and len(profile.tensors) > 0 and basis_of(profile, column) == "counted"
    return bool(curve[column].notna().any()) and not again


def _placed(every: pd.DataFrame, plan: ArenaPlan) -> pd.DataFrame:
    """All buffers with their offsets; those of the caller have none."""
    offsets = np.full(len(every), math.nan)
    offsets[(every["kind"] != "input").to_numpy()] = plan.buffers["offset_bytes"].to_numpy()
    return every.assign(offset_bytes=offsets)


def _buffer_arrays(placed: pd.DataFrame) -> dict[str, NDArray[Any]]:
    return {
        "first": placed["first"].to_numpy(np.float32),
        "last": placed["last"].to_numpy(np.float32),
        "size": placed["size_bytes"].to_numpy(np.float32),
        "offset": placed["offset_bytes"].to_numpy(np.float32),
        "kind": np.array([KINDS.index(kind) for kind in placed["kind"]], np.uint8),
    }


def _types(placed: pd.DataFrame) -> tuple[NDArray[Any], list[str]]:
    """Element type and shape of each buffer, as codes and texts."""
    codes, values = pd.factorize(placed["dtype"] + " " + placed["shape"])
    return codes.astype(np.float32), [str(value).strip() for value in values]


def _headline(peak: Peak | None, workspace: bool) -> tuple[str, str]:
    if peak is None:
        return units.MISSING, "peak of activations and workspace: not measured"
    what = "activations and workspace" if workspace or peak.basis in ("measured", "simulated") else "activations"
    return units.size(peak.bytes), f"peak of {what}, {_BASIS_WORDS[peak.basis]}"


def _budget_line(profile: Profile, room: Budget | None) -> dict[str, Any] | None:
    """Where the budget's line lies among activations; ``label`` says what it is."""
    if room is None:
        return None
    weights = model_parts(profile).weights_bytes
    if math.isnan(weights):
        return {"bytes": room.bytes, "line": room.bytes, "label": f"{units.size(room.bytes)}: {_ROOMS[room.source]}"}
    label = f"{units.size(room.bytes - weights)}: {_ROOMS[room.source]} less {units.size(weights)} of weights"
    return {"bytes": room.bytes, "line": room.bytes - weights, "label": label}


_ROOMS = {"asked": "budget", "free": "free on the board", "board": "memory of the board"}


def _answers(profile: Profile, room: Budget) -> tuple[Answer, Answer]:
    verdict = fits(profile, room)
    return verdict.model, verdict.process


def _answer(answer: Answer) -> dict[str, str]:
    return {"answer": {True: "yes", False: "no", None: "not known"}[answer.fits], "sentence": answer.sentence}


def _owners(profile: Profile, placed: pd.DataFrame, peak: Peak | None) -> list[dict[str, Any]]:
    """Rows of the table of owners; ``layers`` are the positions of those that make the buffer, for the selection."""
    if peak is None:
        return []
    owners = peak_owners(profile)
    makers = {names[0]: [m for m in layers if m >= 0] for names, layers in zip(placed["tensors"], placed["makers"], strict=True)}
    shown = owners[owners["kind"].isin(KINDS)].head(MAX_OWNERS)
    rows = [_owner_row(row, makers.get(row["tensor"], [])) for row in shown.to_dict("records")]
    left = owners[owners["kind"].isin(KINDS)].iloc[MAX_OWNERS:]
    if len(left):
        total = left["size_bytes"].sum()
        share = total / peak.bytes if peak.bytes else math.nan
        merged = {"tensor": f"({len(left)} smaller ones)", "kind": "several", "size_bytes": total, "share": share}
        rows.append(_owner_row(merged | {"tensors": [], "producer": "", "last_consumer": ""}, []))
    others = owners[~owners["kind"].isin(KINDS)].to_dict("records")
    return rows + [_owner_row(row, [peak.layer] if row["kind"] == "workspace" else []) for row in others]


def _owner_row(row: Mapping[Any, Any], layers: list[int]) -> dict[str, Any]:
    return {
        "name": row["tensor"], "sharers": list(row["tensors"][1:]), "kind": row["kind"], "bytes": _number(row["size_bytes"]),
        "share": _number(row["share"]), "producer": row["producer"], "consumer": row["last_consumer"], "layers": layers,
    }  # fmt: skip


def _process(profile: Profile) -> list[dict[str, Any]]:
    """Memory of the process by phase, in the order of the phases; None is not known."""
    rows = [
        {"phase": phase, "rss": m.rss_bytes, "peak": m.peak_bytes, "minor": m.minor_faults, "major": m.major_faults}
        for phase, m in profile.context.memory.process.items()
    ]
    return [row for row in rows if row["rss"] is not None or row["peak"] is not None]


def _sources(profile: Profile) -> list[list[str]]:
    """What each number is and where it comes from."""
    said = profile.context.memory.sources
    titles = (("live_memory_bytes", "live bytes"), ("peak_memory_bytes", "peak by layer"), ("workspace_bytes", "workspace"))
    rows = [[title, said.get(name, "") or _unnamed(profile, name)] for name, title in titles]
    if len(profile.tensors):
        rows.append(["sizes and lives of tensors", "counted from the executed graph"])
        rows.append(["offsets", "a static plan, greedy by size"])
    if profile.context.memory.process:
        rows.append(["process", "resident set, as the operating system says it"])
    return rows


def _unnamed(profile: Profile, name: str) -> str:
    if profile.measured_layers[name].isna().all():
        return "not measured"
    return "estimated" if profile.basis == "estimated" else "the source was not recorded"


def _missing(profile: Profile, curve: pd.DataFrame, every: pd.DataFrame) -> Iterator[str]:
    if not len(profile.tensors):
        yield (
            "This profile has no tensors, so the lives of buffers cannot be drawn: it comes from an older version of edgeprof or from an"
            " imported trace. Profile the model again with ep.profile() to have them."
        )
    if curve["live_memory_bytes"].isna().all() or basis_of(profile, "live_memory_bytes") == "counted":
        instead = ", and is counted from shapes instead" if len(profile.tensors) else ""
        yield (
            f"What the runtime held while each layer ran was not measured{instead}. Profile the model again with the memory phase (without"
            " --no-memory), by ONNX Runtime 1.28 or newer, whose events say it."
        )
    if not profile.context.memory.process:
        yield "The memory of the process was not recorded. Profile the model again on the board to have it."
    unsized = int((every["size_bytes"].isna() & (every["kind"] != "input")).sum())
    if unsized:
        yield (
            f"{unsized} of {len(every)} buffers have no known size: they are in no sum, and stand in a lane of their own. Profile the"
            " model with the sizes of its inputs given (shapes=) to have them."
        )


def _themes(op_types: list[str]) -> dict[str, dict[str, Any]]:
    kinds = {name: {"activation": t.bar, "output": t.good, "input": t.missing} for name, t in THEMES.items()}
    return {name: theme | {"kinds": kinds[name]} for name, theme in themes(op_types).items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
