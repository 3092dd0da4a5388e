"""A cell of a study: one model on one board with one setting, its key, and the name of its file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprof.records.profile import Profile

SHORT = 12
"""Hex digits of a key that stand in file names and tables."""

_KEY_FIELDS = ("model_sha256", "board", "identity", "settings", "versions")


@dataclass(frozen=True)
class Cell:
    """One model on one board with one setting.

    ``settings`` are all options of `edgeprof.profiler.profile` as JSON values, ``given`` those that are not the default. ``identity`` is
    what else is known of the board, ``versions`` those of edgeprof and, where it is known beforehand, of the runtime.
    """

    model: str
    model_sha256: str
    board: str
    settings: Mapping[str, Any]
    given: tuple[str, ...] = ()
    identity: Mapping[str, Any] | None = None
    versions: Mapping[str, str] | None = None

    @property
    def key(self) -> str:
        """sha256 of all that the numbers depend on. The model's name is not among it."""
        told = {name: getattr(self, name) for name in _KEY_FIELDS}
        return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

    @property
    def label(self) -> str:
        """The options that were given, for people: ``threads=2, optimization=basic``; empty when all are the default."""
        return ", ".join(f"{name}={shown(self.settings.get(name))}" for name in self.given)

    @property
    def stem(self) -> str:
        """Name of the cell's file without its suffix."""
        setting = "_".join(f"{name}-{shown(self.settings.get(name))}" for name in self.given) or "default"
        parts = (plain(Path(self.model).stem, 40), plain(self.board, 40), plain(setting, 60))
        return "--".join((*parts, self.key[:SHORT]))


def cells_of(request: Mapping[str, Any]) -> Iterator[Cell]:
    """The cells that a request of study.toml stands for; none where it makes no sense."""
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        for model in request["models"]:
            for board in request["boards"]:
                for setting in request["settings"]:
                    told = json.loads(board["told"])
                    options = json.loads(setting["options"])
                    names = (str(model["name"]), str(model["sha256"]), str(board["name"]))
                    yield Cell(*names, options, tuple(setting["given"]), told["identity"], told["versions"])


def cell_of_bundle(profile: Profile, path: Path) -> Cell:
    """A cell for a bundle that no request knows, from what it says of itself."""
    context = profile.context
    settings = {"threads": context.threads, "optimization": context.optimization, "runs": context.runs}
    return Cell(context.model_name, context.model_sha256, context.board, settings, tuple(settings), {"file": path.name})


def shown(value: Any) -> str:
    """An option's value in few letters: ``2``, ``a+b``, ``x:1+3``."""
    if isinstance(value, Mapping):
        return "+".join(f"{name}:{shown(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return "+".join(map(shown, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def plain(text: str, limit: int) -> str:
    """``text`` as a part of a file's name: letters, digits, ``.``, ``_`` and single ``-``, at most ``limit`` of them."""
    plain = re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9._-]+", "_", text))
    return plain.strip("-._")[:limit].strip("-._") or "x"
