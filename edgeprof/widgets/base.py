"""`LayersView` and `View`: what every view in a cell shares: a static picture, refusal of unknown arguments, a selection of layers.

How a picture gets into every notebook:

1. Shown to a person, a view makes two outputs: the live view, and below it a PNG picture that the live view hides as soon as it is drawn
   (``still.js``). What is saved therefore has its picture on GitHub, under nbconvert with and without saved widget state, and
   in JupyterLab when the notebook is opened again without its kernel.
2. When nobody is at the screen (nbclient, so also ``nbconvert --execute``, papermill, Jupyter Book) the picture is the only output, and no
   comm is opened: nbclient would store the whole state, and pages made from it ask a CDN for code. Such clients say that they cannot
   answer ``input()``; see `somebody_is_there`.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import anywidget
import pandas as pd
import traitlets

from edgeprof.analysis.names import visible
from edgeprof.errors import UsageError, did_you_mean
from edgeprof.records.profile import Profile

STILL = (Path(__file__).parent / "still.js").read_text("utf-8")
CONNECT = (Path(__file__).parent / "connect.js").read_text("utf-8")
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


def somebody_is_there() -> bool:
    """True when a person may be looking at this kernel's outputs; False under nbclient and outside a kernel.

    A client that cannot answer ``input()`` has nobody in front of it. Voilà is the exception: it runs the cells with
    nbclient and then shows the live page.
    """
    if os.environ.get("SERVER_SOFTWARE", "").startswith("voila"):
        return True
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return False
    kernel = getattr(get_ipython(), "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))


def compact(source: str) -> str:
    """JavaScript without comments, indentation and needless spaces: it is sent with each view.

    Lines stay lines. Spaces stay within "texts", and on every line with a backtick, a quote of the other kind or a slash, which may
    begin a template or a pattern. Texts over several lines are not written there.
    """
    source = re.sub(r"(?m)^\s*/\*\*.*?\*/\s*$", "", source, flags=re.DOTALL)
    lines = (re.sub(r"\s// [^\"`]*$", "", line.strip()) for line in source.splitlines())
    return "\n".join(_squeeze(line) for line in lines if line and not line.startswith("//"))


def module(source: str, connected: str) -> str:
    """A view's module whole: its ``source``, and its render function ``connected`` to the widget's traits (``connect.js``)."""
    return compact(f"{source}\n{STILL}{CONNECT}export default {connected};\n")


def _squeeze(line: str) -> str:
    if re.search(r"['`/]", line):
        return line
    parts = re.split(r'("(?:[^"\\]|\\.)*")', line)  # code, text, code, ...
    parts[::2] = (re.sub(r"\s*([=*<>?:,;{}()&|+\[\]-])\s*", r"\1", code) for code in parts[::2])
    return "".join(parts)


class Layered(Protocol):
    """What a view can show: a Profile, or an Alignment of several."""

    @property
    def layers(self) -> pd.DataFrame:
        """One row a layer, with its ``name``."""

    @property
    def title(self) -> str:
        """What every view says first."""


class LayersView(anywidget.AnyWidget):
    """A view of a table of layers in a cell. ``selection`` holds the names of the selected layers, from both sides."""

    selection: Any = traitlets.Tuple().tag(sync=True)
    theme: Any = traitlets.Enum(("auto", "light", "dark"), "auto").tag(sync=True)

    still: Any = traitlets.Unicode().tag(sync=True)
    """End of the picture's base64 text: how the live view finds the picture that it replaces."""

    _where = "in this profile"

    picture_width = 1040
    """CSS pixels at which `picture` is shown."""

    def __init__(self, subject: Layered, **traits: Any) -> None:
        refuse_unknown(type(self).__name__, traits, [name for name in self.trait_names(sync=True) if not name.startswith("_")])
        self._subject = subject
        self._names = frozenset(subject.layers["name"])
        try:
            super().__init__(**traits)
        except traitlets.TraitError as error:
            raise UsageError(str(error)) from error

    def open(self) -> None:
        """Opens the way to the browser, when somebody is there."""
        if somebody_is_there():
            super().open()

    @property
    def selected(self) -> pd.DataFrame:
        """The rows of the selected layers, in execution order, with all columns of the layer table."""
        layers = self._subject.layers
        return layers[layers["name"].isin(self.selection)].reset_index(drop=True)

    def picture(self) -> bytes:
        """The view as a PNG picture for notebooks that no browser draws."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {visible(self._subject.title)}, {len(self.selection)} selected>"

    def _ipython_display_(self) -> None:
        """Shows the live view and, below it, the picture."""
        from IPython.display import display

        if self.comm is not None:
            # the empty HTML is what a reader without widgets sees of the first output
            spec = {"version_major": 2, "version_minor": 1, "model_id": self.model_id}
            display({"text/plain": repr(self), "text/html": "", WIDGET_MIME: spec}, raw=True)  # type: ignore[no-untyped-call]
        still, metadata = self._repr_mimebundle_()
        self.still = still["image/png"][-64:]
        display(still, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The picture with its text: all that a front end without widgets needs."""
        png = base64.b64encode(self.picture()).decode("ascii")
        return {"text/plain": repr(self), "image/png": png}, {"image/png": {"width": self.picture_width, "alt": repr(self).strip("<>")}}

    @traitlets.validate("selection")
    def _known_names(self, proposal: Any) -> tuple[str, ...]:
        names = tuple(map(str, proposal["value"]))
        for name in names:
            if name not in self._names:
                raise traitlets.TraitError(f"There is no layer {name!r} {self._where}{did_you_mean(name, self._names)}.")
        return names


class View(LayersView):
    """A view of one Profile in a cell."""

    def __init__(self, profile: Profile, **traits: Any) -> None:
        self._profile = profile
        super().__init__(profile, **traits)

    @property
    def profile(self) -> Profile:
        """The Profile that is shown."""
        return self._profile


def refuse_unknown(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raises UsageError for the first name of ``given`` that is not in ``known``."""
    for name in given:
        if name not in known:
            raise UsageError(f"{what} takes no argument {name!r}{did_you_mean(name, known)}. It takes: {', '.join(sorted(known))}.")


def known_sort(wish: object, sorts: Sequence[str]) -> str:
    """``wish`` itself, a way that a view can be sorted; TraitError when it is none of ``sorts``."""
    sort = str(wish)
    if sort not in sorts:
        raise traitlets.TraitError(f"Cannot sort by {sort!r}{did_you_mean(sort, sorts)}. Expected one of: {', '.join(sorts)}.")
    return sort
