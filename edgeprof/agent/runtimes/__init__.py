"""Runtimes that the agent can run models with; a name and the module that holds ``load()``."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import List, Tuple

from .base import Refused, Runtime

RUNTIMES: Tuple[Tuple[str, str], ...] = (("onnxruntime", "onnxruntime"),)
"""(name of the runtime, name of the module that must be installed)."""


def installed() -> List[str]:
    """Names of the runtimes whose module is there; nothing is imported."""
    return [name for name, module in RUNTIMES if find_spec(module) is not None]


def load(name: str) -> Runtime:
    """The runtime ``name``, imported.

    Raises:
        Refused: it is unknown, not installed, or cannot be imported.
    """
    if name not in dict(RUNTIMES):
        raise Refused("runtime", "unknown runtime %r; known are %s" % (name, ", ".join(n for n, _ in RUNTIMES)))
    if name not in installed():
        raise Refused("runtime", "%s is not installed for this Python; install it there with `pip install %s`" % (name, name))
    try:
        return import_module("." + name, __package__).load()  # type: ignore[no-any-return]
    except ImportError as error:
        raise Refused("runtime", "%s is installed but cannot be imported: %s" % (name, error)) from error
