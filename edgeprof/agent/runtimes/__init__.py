"""Runtimes that the agent can run models with; a name and the module that holds ``load()``."""

from __future__ import annotations

from importlib import import_module
from importlib.machinery import PathFinder

TYPE_CHECKING = False  # see protocol.py
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from .base import Runtime


class Refused(Exception):
    """The job cannot be done; ``kind`` says why (see `boards/failures.py`), ``fields`` more of it."""

    def __init__(self, kind: str, message: str, fields: Optional[Dict[str, Any]] = None) -> None:
        super().__init__(message)
        self.kind, self.fields = kind, fields or {}


RUNTIMES: Tuple[Tuple[str, str], ...] = (("onnxruntime", "onnxruntime"),)
"""(name of the runtime, name of the module that must be installed)."""


def installed() -> List[str]:
    """Names of the runtimes whose module is there; nothing is imported."""
    return [name for name, module in RUNTIMES if PathFinder.find_spec(module) is not None]


def describe() -> Dict[str, Dict[str, Any]]:
    """Version and execution providers of each runtime, or why it cannot be used (``error``); imports them."""
    found: Dict[str, Dict[str, Any]] = {}
    for name, _ in RUNTIMES:
        try:
            runtime = load(name)
            found[name] = {"version": runtime.version, "providers": runtime.providers()}
        except Refused as refused:
            found[name] = {"error": str(refused)}
    return found


def load(name: str) -> Runtime:
    """The runtime ``name``, imported.

    Raises:
        Refused: it is unknown, not installed, or cannot be imported.
    """
    if name not in dict(RUNTIMES):
        raise Refused("runtime", "unknown runtime %r; known are %s" % (name, ", ".join(n for n, _ in RUNTIMES)))
    if name not in installed():
        raise Refused("no-runtime", "%s is not installed for this Python" % name)
    try:
        return import_module("." + name, __package__).load()  # type: ignore[no-any-return]
    except ImportError as error:
        raise Refused("runtime", "%s is installed but cannot be imported: %s" % (name, error)) from error
