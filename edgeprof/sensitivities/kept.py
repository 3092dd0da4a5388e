"""What trials found, kept in the study: ``sensitivity.jsonl``, a line a trial, added to as they end. A torn last line is left out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeprof.errors import OutputError
from edgeprof.scoring import Metric

NAME = "sensitivity.jsonl"


class Kept:
    """Lines by key. ``about`` is what all of them depend on: model, data, settings, version; another ``about`` sees none of them."""

    def __init__(self, folder: Path, about: object) -> None:
        self._file = folder / NAME
        self._about = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        self._lines: dict[str, dict[str, Any]] = {}
        try:
            text = self._file.read_text("utf-8", errors="replace")
        except OSError:
            return
        for line in text.splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                found = json.loads(line)
                if found["about"] == self._about:
                    self._lines[str(found["key"])] = dict(found["value"])

    def get(self, *key: str) -> dict[str, Any] | None:
        """What is known under a key."""
        return self._lines.get(_joined(key))

    def put(self, value: Mapping[str, Any], *key: str) -> None:
        """Keeps a value. OutputError when the study cannot be written."""
        self._lines[_joined(key)] = dict(value)
        line = json.dumps({"about": self._about, "key": _joined(key), "value": value})
        try:
            torn = self._file.exists() and self._file.read_bytes()[-1:] not in (b"", b"\n")
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{chr(10) * torn}{line}\n")
        except OSError as error:
            raise OutputError(
                f"{self._file} cannot be written: {error.strerror or error}. Free space or change permissions, then try again."
            ) from error


def mark_of(metric: Metric) -> str | None:
    """What a metric is known by: its name, or of a function its code. None where that does not tell what it gives, and nothing is kept."""
    if isinstance(metric, str):
        return metric
    code = getattr(metric, "__code__", None)
    kept = [getattr(metric, name, None) for name in ("__closure__", "__defaults__", "__kwdefaults__")]
    if not isinstance(code, types.CodeType) or any(kept):
        return None
    return hashlib.sha256(repr(_told(code)).encode()).hexdigest()


def _told(code: types.CodeType) -> tuple[object, ...]:
    inner = tuple(_told(one) if isinstance(one, types.CodeType) else repr(one) for one in code.co_consts)
    return code.co_name, code.co_code, code.co_names, inner


def _joined(key: tuple[str, ...]) -> str:
    return "\0".join(key)
