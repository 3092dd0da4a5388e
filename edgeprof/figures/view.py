"""What the data of every canvas view is made of: `ViewData`, the header above it, the colours of both themes."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.figures.theme import THEMES, op_family, origin_label
from edgeprof.records.profile import Profile


@dataclass(frozen=True)
class ViewData:
    """``meta`` can be written as JSON; ``numbers`` holds little-endian arrays, each starting at a multiple of 8 bytes."""

    meta: dict[str, Any]
    numbers: bytes

    def array(self, name: str) -> NDArray[Any]:
        """The array ``name``, one-dimensional; KeyError when there is none."""
        entry = self.meta["arrays"][name]
        return np.frombuffer(self.numbers, dtype=np.dtype(f"<{entry['type']}"), count=entry["length"], offset=entry["offset"])

    def to_json(self) -> dict[str, Any]:
        """``{"meta": ..., "numbers": base64}``: the form to put into an HTML page; ``base.js`` reads it as it is."""
        return {"meta": self.meta, "numbers": base64.b64encode(self.numbers).decode("ascii")}


def pack(meta: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> ViewData:
    """``meta`` with ``arrays`` packed into one block; ``meta["arrays"]`` says where each lies."""
    entries, parts, offset = {}, [], 0
    for name, values in arrays.items():
        block = values.astype(values.dtype.newbyteorder("<")).tobytes()
        block += b"\0" * (-len(block) % 8)
        entries[name] = {"type": f"{values.dtype.kind}{values.dtype.itemsize}", "offset": offset, "length": int(values.size)}
        parts.append(block)
        offset += len(block)
    return ViewData({**meta, "arrays": entries}, b"".join(parts))


def header(profile: Profile, number: str, note: str) -> dict[str, Any]:
    """What stands above a view: model, where and when, origin, and the one ``number`` that it is about with a ``note`` on what that is."""
    return {
        "model": profile.context.model_name,
        "facts": facts(profile),
        "origin": profile.origin if profile.basis == "measured" else profile.basis,
        "origin_label": origin_label(profile),
        "number": number,
        "number_note": note,
    }


def end_to_end(profile: Profile) -> tuple[str, str]:
    """The end-to-end latency with its interval, and what it is: for `header`."""
    latency, nan = profile.context.latency, math.nan
    median, low, high = (nan if v is None else v for v in (latency.median_ms, latency.low_ms, latency.high_ms))
    return units.latency_interval(median, low, high), _latency_note(profile)


def _latency_note(profile: Profile) -> str:
    latency = profile.context.latency
    if latency.median_ms is None:
        return "end to end: not measured"
    interval = "" if latency.low_ms is None else ", 95 % interval"
    if profile.basis == "estimated":
        return f"end to end, estimated{interval}"
    return f"end to end: median of {latency.runs} plain run{'s' * (latency.runs != 1)}{interval}"


def themes(op_types: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colours of each theme: the scales, and of each op type in ``op_types``."""
    return {
        name: {
            "sequential": list(theme.sequential),
            "diverging": list(theme.diverging),
            "ops": [theme.families[op_family(op)] for op in op_types],
        }
        for name, theme in THEMES.items()
    }


def facts(profile: Profile) -> list[str]:
    """Where and when: board, runtime, threads, date; what is not known is left out."""
    context = profile.context
    threads = "" if context.threads is None else f"{context.threads} thread{'s' * (context.threads != 1)}"
    when = context.started_at[:16].replace("T", " ") + (" UTC" if context.started_at.endswith(("+00:00", "Z")) else "")
    words = [f"on {context.board}", f"{context.runtime} {context.runtime_version}".strip(), threads, when if context.started_at else ""]
    return [word for word in words if word]
